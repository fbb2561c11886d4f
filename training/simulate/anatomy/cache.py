"""Keep anatomies on disk: building one takes seconds, reading it a fraction of one.

An entry holds every array without loss: shares as steps of 1/255, HU as whole numbers, depth in
half precision, each in the narrowest of these codings that gives back the same bits, cropped to
where it differs from its background. The name of an entry holds a digest of everything that
decides its content, so that entries of other versions of the simulator are never read.
"""

import hashlib
import io
import json
import logging
import tempfile
import zipfile
import zlib
from dataclasses import fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.simulate.anatomy.build import build_anatomy
from training.simulate.anatomy.model import Anatomy
from training.simulate.anatomy.person import Person
from training.simulate.anatomy.template import TEMPLATE_FILE
from training.simulate.arrays import SHARE_STEPS
from training.simulate.space import HEAD_SHAPE, bounding_box

_LOG = logging.getLogger(__name__)
_LIBRARIES = ("numpy", "scipy", "SimpleITK", "torch")
_ARRAYS = tuple(entry.name for entry in fields(Anatomy) if entry.name != "person")
_CODINGS = ("shares", "int16", "float16", "as is")
_LAYOUT = "layout.json"
_SHARES = np.arange(SHARE_STEPS + 1, dtype=np.float32) / np.float32(SHARE_STEPS)


def cached_anatomy(person: Person, folder: Path | None) -> Anatomy:
    """Return a person's anatomy, from the cache where it is there, else built and stored.

    Parameters
    ----------
    person : Person
        Whose anatomy.
    folder : Path or None
        Folder of the cache, made when absent; processes may share it. None builds and stores
        nothing.

    Returns
    -------
    Anatomy
        Equal, bit for bit, to what :func:`~training.simulate.anatomy.build.build_anatomy` returns.
        An entry that cannot be read is built again, with a warning in the log.
    """
    if folder is None:
        return build_anatomy(person)
    path = entry_path(person, folder)
    if path.exists():
        try:
            return _read(path, person)
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            _LOG.warning("%s cannot be read (%s) and is built again", path, error)
    anatomy = build_anatomy(person)
    folder.mkdir(parents=True, exist_ok=True)
    _write(anatomy, path)
    return anatomy


def entry_path(person: Person, folder: Path) -> Path:
    """Where the cache keeps the anatomy of a person, for this version of the simulator."""
    traits = hashlib.sha256(repr(person).encode()).hexdigest()[:8]
    return folder / f"{person.cohort}-{person.seed}-{traits}-{simulator_version()}.npz"


@cache
def simulator_version() -> str:
    """Digest of the simulator's source, its template and the libraries that it computes with."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted([*root.rglob("*.py"), TEMPLATE_FILE]):
        name = path.relative_to(root).as_posix()
        digest.update(name.encode() + b"\0" + path.read_bytes())
    for name in _LIBRARIES:
        digest.update(f"{name} {version(name)}\n".encode())
    return digest.hexdigest()[:12]


def _write(anatomy: Anatomy, path: Path) -> None:
    """Write an entry by a rename, so that it is whole or absent; remove those of other versions."""
    layout: dict[str, Any] = {}
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as sink:
        try:
            with zipfile.ZipFile(sink, "w") as archive:
                for name in _ARRAYS:
                    coding, coded = _encode(getattr(anatomy, name))
                    box = bounding_box(coded != coded.flat[0])
                    layout[name] = {
                        "coding": coding,
                        "background": coded.flat[0].item(),
                        "start": [part.start for part in box],
                    }
                    _add_array(archive, name, coded[box])
                _add(archive, _LAYOUT, json.dumps(layout).encode())
            Path(sink.name).chmod(0o644)
            Path(sink.name).replace(path)
        finally:
            Path(sink.name).unlink(missing_ok=True)
    same_person = path.stem.rpartition("-")[0]
    for other in path.parent.glob(f"{same_person}-*.npz"):
        if other != path:
            other.unlink(missing_ok=True)


def _add_array(archive: zipfile.ZipFile, name: str, values: npt.NDArray[Any]) -> None:
    sink = io.BytesIO()
    np.lib.format.write_array(sink, np.ascontiguousarray(values), allow_pickle=False)
    _add(archive, f"{name}.npy", sink.getvalue())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a member without the time of day, so that equal anatomies give equal files."""
    about = zipfile.ZipInfo(name)
    about.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(about, content, compresslevel=1)


def _read(path: Path, person: Person) -> Anatomy:
    arrays: dict[str, Any] = {}
    with path.open("rb") as source, np.load(source, allow_pickle=False) as stored:
        layout = json.loads(stored[_LAYOUT])
        for name in _ARRAYS:
            coded, about = stored[name], layout[name]
            background = np.array(about["background"], coded.dtype)
            values = _decode(coded, about["coding"])
            whole = _full(values.dtype, _decode(background, about["coding"]))
            box = tuple(
                slice(start, start + size)
                for start, size in zip(about["start"], coded.shape, strict=True)
            )
            whole[box] = values
            arrays[name] = whole
    return Anatomy(person=person, **arrays)


def _full(dtype: np.dtype[Any], background: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A head of one value; zeros cost nothing until they are read."""
    return np.full(HEAD_SHAPE, background, dtype) if background else np.zeros(HEAD_SHAPE, dtype)


def _encode(values: npt.NDArray[Any]) -> tuple[str, npt.NDArray[Any]]:
    """Return the narrowest coding that gives back the same bits, and the coded array."""
    if values.dtype != np.float32:
        return "as is", values
    sample = values[:: max(1, len(values) // 20)]
    for coding in ("shares", "int16", "float16"):
        if _lossless(sample, coding) and _lossless(values, coding):
            return coding, _coded(values, coding)
    return "as is", values


def _lossless(values: npt.NDArray[Any], coding: str) -> bool:
    again = _decode(_coded(values, coding), coding)
    return bool(np.array_equal(again.view(np.uint32), values.view(np.uint32)))


def _coded(values: npt.NDArray[Any], coding: str) -> npt.NDArray[Any]:
    if coding == "shares":
        return np.asarray(np.rint(np.clip(values, 0, 1) * np.float32(SHARE_STEPS)), dtype=np.uint8)
    if coding == "int16":
        return np.asarray(np.clip(np.rint(values), -32768, 32767), dtype=np.int16)
    if coding == "float16":
        return np.asarray(np.clip(values, -65504, 65504), dtype=np.float16)
    raise ValueError(f"unknown coding {coding!r}, expected one of {_CODINGS}")


def _decode(coded: npt.NDArray[Any], coding: str) -> npt.NDArray[Any]:
    """Undo :func:`_coded`; ValueError for a coding that there is not."""
    if coding == "shares":
        return np.asarray(_SHARES[coded])
    if coding in ("int16", "float16"):
        return coded.astype(np.float32)
    if coding == "as is":
        return coded
    raise ValueError(f"unknown coding {coding!r}, expected one of {_CODINGS}")
