"""One case on disk: a CT perfusion and the head CT on its grid, ready for the network.

A case is a folder: ``ctp.npy`` and ``ncct.npy`` (HU, half precision, read piece by piece),
``masks.npz``, of simulated patients ``truth.npy`` too, and ``case.json``. It exists only from the
moment in which the folder gets its name: an interrupted run leaves nothing that looks whole.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
HalfArray = npt.NDArray[np.float16]

SPLITS = ("train", "validation", "test", "shifted")
"""``shifted`` is a test on heads and scanners that no other split has."""

_CASE = "case.json"
_HIGHEST_HU = 3071.0
_LOWEST_HU = -1024.0


@dataclass(frozen=True)
class Case:
    """Who and where.

    Parameters
    ----------
    name : str
        Unique, name of the folder.
    split : str
        One of :data:`SPLITS`.
    scanner : str
        Vendor.
    pathology : bool
        Whether there is blood, an occlusion or a fault of the scan.
    spacing_mm : (slice, row, column)
        Distances of voxels.
    """

    name: str
    split: str
    scanner: str
    pathology: bool
    spacing_mm: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"{self.name}: split {self.split!r}, expected one of {SPLITS}")


@dataclass(frozen=True, eq=False)
class Pair:
    """A case and its images.

    Parameters
    ----------
    case : Case
    ctp : array, shape ``(time, slice, row, column)``
        HU, all frames as the first one lies.
    ncct : array, shape ``(slice, row, column)``
        HU, as measured, with noise.
    masks : dict of arrays, shape ``(slice, row, column)``
        ``cavity`` always; of simulated patients ``brain``, ``ich``, ``core``, ``vessels`` too.
    truth : array or None
        HU of the head CT without noise; known of simulated patients only.
    """

    case: Case
    ctp: HalfArray
    ncct: HalfArray
    masks: dict[str, BoolArray]
    truth: HalfArray | None = None

    def __post_init__(self) -> None:
        grids = {self.ctp.shape[1:], self.ncct.shape, *(m.shape for m in self.masks.values())}
        if self.ctp.ndim != 4 or len(grids) != 1:
            raise ValueError(f"{self.case.name}: arrays on different grids, {sorted(grids)}")
        if not self.masks.get("cavity", np.zeros(1)).any():
            raise ValueError(f"{self.case.name}: nothing inside the skull to learn from")

    def save(self, folder: Path) -> None:
        """Write the case under its name into ``folder``; one that is there is replaced."""
        final = folder / self.case.split / self.case.name
        part = final.with_name(f".{final.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        np.save(part / "ctp.npy", self.ctp, allow_pickle=False)
        np.save(part / "ncct.npy", self.ncct, allow_pickle=False)
        if self.truth is not None:
            np.save(part / "truth.npy", self.truth, allow_pickle=False)
        packed = {name: np.packbits(mask) for name, mask in self.masks.items()}
        np.savez(part / "masks.npz", allow_pickle=False, **packed)
        text = json.dumps(asdict(self.case), indent=2)
        (part / _CASE).write_text(text + "\n", encoding="utf-8")
        shutil.rmtree(final, ignore_errors=True)
        part.replace(final)

    @classmethod
    def load(cls, folder: Path) -> "Pair":
        """Open a case; images stay on disk until they are read.

        Parameters
        ----------
        folder : Path
            Of the case itself.
        """
        ctp = np.load(folder / "ctp.npy", mmap_mode="r", allow_pickle=False)
        ncct = np.load(folder / "ncct.npy", mmap_mode="r", allow_pickle=False)
        truth = folder / "truth.npy"
        with np.load(folder / "masks.npz", allow_pickle=False) as packed:
            masks = {
                name: np.unpackbits(packed[name], count=ncct.size).reshape(ncct.shape).astype(bool)
                for name in packed.files
            }
        return cls(
            read_case(folder),
            ctp,
            ncct,
            masks,
            np.load(truth, mmap_mode="r", allow_pickle=False) if truth.exists() else None,
        )


def read_case(folder: Path) -> Case:
    """What is known of a case besides its images."""
    entry = json.loads((folder / _CASE).read_text(encoding="utf-8"))
    return Case(**{**entry, "spacing_mm": tuple(entry["spacing_mm"])})


def case_folders(folder: Path, split: str) -> Iterator[Path]:
    """The cases of a split, by name.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    found = sorted(path.parent for path in (folder / split).glob(f"*/{_CASE}"))
    found = [path for path in found if not path.name.startswith(".")]
    if not found:
        raise FileNotFoundError(f"no case of split {split!r} in {folder}")
    yield from found


def as_half(hu: npt.NDArray[np.generic]) -> HalfArray:
    """HU within what CT can tell, in half precision: 0.03 HU apart at 50 HU."""
    half: HalfArray = np.clip(hu, _LOWEST_HU, _HIGHEST_HU).astype(np.float16)
    return half
