"""A hospital's own cases as pairs for training, from a table of where they lie.

The manifest is a CSV file (comma-separated, UTF-8) with a header and one case per line::

    case,split,scanner,pathology,ctp,ncct
    p001,train,siemens,no,p001/ctp,p001/ncct
    p002,test,canon,yes,p002_ctp.nii.gz,p002_ncct.nii.gz

``ctp`` and ``ncct`` are a folder of DICOM files or a NIfTI file, absolute or relative to the
manifest. ``split`` is one of :data:`~training.pairs.pair.SPLITS`; whoever is tested on must not
have been trained on: with a column ``patient`` (any name that tells patients apart) this is
checked. ``pathology`` (yes or no) says whether there is blood, an infarct, an occlusion or a fault
of the scan.
"""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from inference.derived_ncct.frames import still_frames
from inference.dicom.reader import AIR_HU
from inference.dicom.volumes import Volume
from inference.errors import InferenceError, NotAnalysable
from inference.preprocess.morphology import dilate
from training.pairs.pair import SPLITS, BoolArray, Case, Pair, as_half
from training.pairs.register import Registered, register
from training.pairs.sources import is_nifti, read_ctp, read_ncct

COLUMNS = ("case", "split", "scanner", "pathology", "ctp", "ncct")
PATIENT = "patient"

_TRUE, _FALSE = ("yes", "true", "1"), ("no", "false", "0")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
_MORE = "more cells"
_LEAST_COVERED = 0.5
_LEAST_LIKENESS = 0.8
# More than the 3 mm around the cavity in which networks still learn.
_UNCOVERED_RIM_MM = 4.0

Progress = Callable[[str, int, int], None]
"""Called with a case, how many were done before it, and how many there are."""


@dataclass(frozen=True)
class Entry:
    """One line of a manifest.

    Parameters
    ----------
    case, split, scanner, pathology
        As of :class:`~training.pairs.pair.Case`.
    ctp, ncct : Path
        Folder of DICOM files, or NIfTI file.
    patient : str
        Tells patients apart; empty where it is not said.
    """

    case: str
    split: str
    scanner: str
    pathology: bool
    ctp: Path
    ncct: Path
    patient: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Parameters
    ----------
    case, split : str
    state : str
        ``made``, ``ready`` (it was there before) or ``refused``.
    reason : str
        Why it was refused, else empty.
    moved_mm, likeness : float or None
        How far the registration moved the head CT, and the correlation of the registered images
        (:class:`~training.pairs.register.Registered`); of cases that were made only.
    """

    case: str
    split: str
    state: Literal["made", "ready", "refused"]
    reason: str = ""
    moved_mm: float | None = None
    likeness: float | None = None


class ManifestError(ValueError):
    """A manifest that cannot be used.

    Parameters
    ----------
    path : Path
        The manifest.
    problems : list of str
        All of them, each with its line, what was found and what was expected.
    """

    def __init__(self, path: Path, problems: list[str]) -> None:
        super().__init__("\n".join([f"{path} cannot be used:", *problems]))
        self.problems = tuple(problems)


def read_manifest(path: Path) -> list[Entry]:
    """Read and check a manifest.

    Raises
    ------
    ManifestError
        With everything that is wrong with it.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as source:
            reader = csv.DictReader(source, restkey=_MORE)
            columns = reader.fieldnames or []
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problem = f"not readable as CSV in UTF-8 ({type(error).__name__}: {error})"
        raise ManifestError(path, [problem]) from error
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        found = ",".join(columns) or "nothing"
        problem = f"line 1: no column {', '.join(missing)} in {found!r}, expected"
        raise ManifestError(path, [f"{problem} {','.join(COLUMNS)}, separated by commas"])
    if not rows:
        raise ManifestError(path, ["no case, expected one per line after the header"])
    problems: list[str] = []
    entries: list[Entry] = []
    for line, row in rows:
        entry, wrong = _entry(path.parent, row)
        entries.append(entry)
        problems += [_at(line, text) for text in wrong]
    lines = [line for line, _ in rows]
    problems += _conflicts(lines, entries)
    if problems:
        raise ManifestError(path, sorted(problems, key=_line))
    return entries


def _at(line: int, text: str) -> str:
    return f"line {line}: {text}"


def _line(problem: str) -> int:
    return int(problem.removeprefix("line ").partition(":")[0])


def _entry(root: Path, row: dict[str, str | None]) -> tuple[Entry, list[str]]:
    """One line as an entry, and what is wrong with it."""
    problems = []
    if _MORE in row or None in row.values():
        problems.append("more or fewer cells than the header has columns")
    cells = dict.fromkeys((*COLUMNS, PATIENT), "")
    cells |= {name: value.strip() for name, value in row.items() if isinstance(value, str)}
    if not _NAME.fullmatch(cells["case"]):
        problems.append(
            f"case {cells['case']!r}, expected letters, digits, '-', '_' and '.', not beginning"
            " with '.', at most 100"
        )
    if cells["split"] not in SPLITS:
        problems.append(f"split {cells['split']!r}, expected one of {', '.join(SPLITS)}")
    if not cells["scanner"]:
        problems.append("no scanner, expected its vendor")
    if cells["pathology"].lower() not in _TRUE + _FALSE:
        problems.append(f"pathology {cells['pathology']!r}, expected yes or no")
    paths = {name: root / cells[name] if cells[name] else Path() for name in ("ctp", "ncct")}
    problems += filter(None, (_path_problem(name, cells[name], paths[name]) for name in paths))
    entry = Entry(
        cells["case"], cells["split"], cells["scanner"], cells["pathology"].lower() in _TRUE,
        paths["ctp"], paths["ncct"], cells[PATIENT],
    )  # fmt: skip
    return entry, problems


def _path_problem(name: str, cell: str, path: Path) -> str:
    """What is wrong with where images lie; empty if nothing."""
    expected = "expected a folder of DICOM files or a NIfTI file (.nii, .nii.gz)"
    if not cell:
        return f"no {name}, {expected}"
    if not path.exists():
        return f"{name} {cell!r} does not exist (looked for {path}), {expected}"
    if not path.is_dir() and not is_nifti(path):
        return f"{name} {cell!r} is a file of another kind, {expected}"
    return ""


def _conflicts(lines: list[int], entries: list[Entry]) -> Iterator[str]:
    """Names and images that occur twice, and patients in two splits."""
    names: dict[str, int] = {}
    images: dict[Path, int] = {}
    patients: dict[str, tuple[str, int]] = {}
    for line, entry in zip(lines, entries, strict=True):
        if entry.case:
            first = names.setdefault(entry.case.casefold(), line)
            if first != line:
                yield _at(line, f"case {entry.case!r} is that of line {first}, expected another")
        for name, path in (("ctp", entry.ctp), ("ncct", entry.ncct)):
            if path.name and path.exists():
                first = images.setdefault(path.resolve() / name, line)
                if first != line:
                    yield _at(
                        line, f"{name} {str(path)!r} is that of line {first}, expected another"
                    )
        if entry.patient:
            split, first = patients.setdefault(entry.patient, (entry.split, line))
            if split != entry.split:
                yield _at(
                    line,
                    f"patient {entry.patient!r} in split {entry.split}, but in {split} on line"
                    f" {first}: expected all scans of a patient in one split",
                )


def prepare_pairs(
    manifest: Path, folder: Path, progress: Progress | None = None
) -> Iterator[Outcome]:
    """Make pairs of a manifest's cases, those that are not there yet.

    The frames of a CT perfusion are brought to its first one; the head CT is registered rigidly to
    the mean of the first frames and brought to their grid (van de Leemput et al. 2020, IEEE Trans
    Med Imaging 39:985, section III-A). Where the head CT shows nothing the pair has air, and no
    cavity there or within 4 mm in the plane. A case that cannot be prepared does not stop the
    others.

    Parameters
    ----------
    manifest : Path
        See :func:`read_manifest`, which is called before this function returns.
    folder : Path
        Where the pairs are kept.
    progress : callable or None

    Raises
    ------
    ManifestError
        The manifest cannot be used.
    """
    return _prepare_all(read_manifest(manifest), folder, progress)


def _prepare_all(
    entries: list[Entry], folder: Path, progress: Progress | None
) -> Iterator[Outcome]:
    for done, entry in enumerate(entries):
        if progress is not None:
            progress(entry.case, done, len(entries))
        known = [split for split in SPLITS if (folder / split / entry.case).exists()]
        if known == [entry.split]:
            yield Outcome(entry.case, entry.split, "ready")
            continue
        if known:
            reason = (
                f"already there in split {', '.join(known)}; remove it from {folder} or give the"
                " case its old split"
            )
            yield Outcome(entry.case, entry.split, "refused", reason)
            continue
        try:
            pair, registered = prepare_pair(entry)
        except (InferenceError, OSError, ValueError) as error:
            yield Outcome(entry.case, entry.split, "refused", str(error))
            continue
        pair.save(folder)
        yield Outcome(
            entry.case, entry.split, "made",
            moved_mm=registered.moved_mm, likeness=registered.likeness,
        )  # fmt: skip


def prepare_pair(entry: Entry) -> tuple[Pair, Registered]:
    """Read a case, correct its motion and register its head CT.

    Raises
    ------
    DicomReadError
        Images cannot be read.
    NotAnalysable
        They are not one CT perfusion and one head CT of a head, or do not fit each other.
    """
    ctp, ncct = read_ctp(entry.ctp), read_ncct(entry.ncct)
    if ctp.patient and ncct.patient and ctp.patient != ncct.patient:
        raise NotAnalysable("CT perfusion and head CT are of two patients (two PatientIDs)")
    still = still_frames(ctp.image)
    first = Volume(still.first_mean, still.geometry, "HU", ctp.image.source)
    registered = register(ncct.image, first)
    cavity = _covered(registered, still.cavity, still.geometry.pixel_spacing_mm)
    if registered.likeness < _LEAST_LIKENESS:
        raise NotAnalysable(
            f"the registered head CT resembles the perfusion by {registered.likeness:.2f}"
            f" (correlation in the head), expected {_LEAST_LIKENESS} or more: are they of one"
            " patient?"
        )
    case = Case(
        entry.case, entry.split, entry.scanner, entry.pathology,
        (still.geometry.slice_spacing_mm, *still.geometry.pixel_spacing_mm),
    )  # fmt: skip
    ncct_hu = np.nan_to_num(registered.data, nan=AIR_HU)
    pair = Pair(case, as_half(still.data), as_half(ncct_hu), {"cavity": cavity})
    return pair, registered


def _covered(
    registered: Registered, cavity: BoolArray, spacing_mm: tuple[float, float]
) -> BoolArray:
    """The part of the cavity that the head CT shows, without what lies near to where it does not.

    Raises
    ------
    NotAnalysable
        That is less than half of it.
    """
    absent = dilate(np.isnan(registered.data), _UNCOVERED_RIM_MM, spacing_mm)
    covered = cavity & ~absent
    share = float(covered.sum() / cavity.sum())
    if share < _LEAST_COVERED:
        raise NotAnalysable(
            f"the head CT shows {share:.0%} of the cranial cavity on the perfusion, expected"
            f" {_LEAST_COVERED:.0%} or more"
        )
    return covered
