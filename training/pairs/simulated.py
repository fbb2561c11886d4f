"""Simulated patients as pairs: a CT perfusion, the noisy head CT before it, and the true one.

Half of the patients of every split have pathology (a stroke, blood) and faults of the scan; of the
others some move, as healthy people do.
"""

import json
import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inference.derived_ncct.frames import still_frames
from inference.errors import NotAnalysable
from training.evaluate.patient_scans import series_of
from training.pairs.pair import Case as PairCase
from training.pairs.pair import Pair, as_half
from training.simulate.anatomy.cache import cached_anatomy, simulator_version
from training.simulate.arrays import BoolArray, stream
from training.simulate.cohort import anatomy_seeds, split_cohort
from training.simulate.ct.ctp_scan import CtpScan, Irregularity, draw_irregularities, scan_ctp
from training.simulate.ct.protocols import draw_ctp_protocol
from training.simulate.ct.scan import paired_ncct
from training.simulate.pathology.patient import Case, make_patient
from training.simulate.scanner import SCANNERS, Scanner

_BLOOD_SHARE = 0.6
_TRUTH = ("ncct", "brain", "ich", "core", "artery", "vein")
_FEWEST_SLICES = 4
_HALF = 0.5
_ORIGIN_FILE = "simulated.json"


@dataclass(frozen=True)
class Grid:
    """Sizes of the scans.

    Parameters
    ----------
    matrix : int
        Rows and columns.
    slices : int
        How many there are at most.
    thicknesses_mm : tuple of float
        One of these is drawn.
    covered_mm : float
        How much of the head is scanned at most.
    """

    matrix: int = 256
    slices: int = 16
    thicknesses_mm: tuple[float, ...] = (2.0, 3.0, 4.0, 5.0, 5.0, 5.0, 8.0, 10.0)
    covered_mm: float = 96.0


@dataclass(frozen=True)
class Request:
    """One patient to simulate.

    Parameters
    ----------
    folder : Path
        Where the pairs are kept.
    split : str
        One of :data:`training.pairs.pair.SPLITS`; decides heads and scanners too.
    seed : int
        Decides the patient and the scan.
    scanner : str
        Vendor.
    pathology : bool
        With a stroke or blood, and with faults of the scan.
    grid : Grid
        Sizes.
    """

    folder: Path
    split: str
    seed: int
    scanner: Scanner
    pathology: bool
    grid: Grid

    @property
    def name(self) -> str:
        """Name of the case."""
        return f"{self.scanner}-{self.seed}"


def simulate_pairs(
    folder: Path,
    counts: Mapping[str, int],
    seed: int,
    grid: Grid,
    *,
    processes: int = 1,
) -> Iterator[str]:
    """Simulate what is not there yet; yields the names of the cases as they get ready.

    Parameters
    ----------
    folder : Path
        Where the pairs are kept.
    counts : mapping of split to int
        How many patients.
    seed : int
        Decides all of them.
    grid : Grid
        Sizes.
    processes : int
        Patients at a time, 2 GB each.

    Raises
    ------
    ValueError
        The folder holds patients of another seed, of other sizes or of another simulator.
    """
    _keep_origin(folder, {"simulator": simulator_version(), "seed": seed, "grid": asdict(grid)})
    requests = [
        Request(
            folder, split, own, SCANNERS[number % len(SCANNERS)],
            number // len(SCANNERS) % 2 > 0, grid,
        )
        for split, count in counts.items()
        for number, own in enumerate(anatomy_seeds(seed, split, count))
    ]  # fmt: skip
    if processes == 1:
        yield from map(_make, requests)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from pool.map(_make, requests)


def _keep_origin(folder: Path, origin: Mapping[str, Any]) -> None:
    """Note how patients are simulated, or see that it is still the same."""
    path, text = folder / _ORIGIN_FILE, json.dumps(origin, indent=2, sort_keys=True) + "\n"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    elif (there := path.read_text(encoding="utf-8")) != text:
        raise ValueError(
            f"{folder} holds patients simulated with {' '.join(there.split())}, now "
            f"{' '.join(text.split())} is wanted: give another folder"
        )


def _make(request: Request) -> str:
    if not (request.folder / request.split / request.name).exists():
        simulate_pair(request).save(request.folder)
    return request.name


def simulate_pair(request: Request) -> Pair:
    """Simulate one patient.

    A scan that is of no use by itself, for example one in which the head moves too much, is made
    again without faults.
    """
    seed, cohort = request.seed, split_cohort(request.split)
    rng = stream(seed, "pair")
    blood = request.pathology and rng.random() < _BLOOD_SHARE
    person_case = Case(
        seed,
        cohort=cohort,
        stroke=None if request.pathology and not blood else "none",
        hemorrhage=None if blood else "none",
    )
    patient = make_patient(person_case, cached_anatomy(person_case.person, None))
    grid = request.grid
    thickness = float(rng.choice(grid.thicknesses_mm))
    sizes: dict[str, Any] = {
        "matrix": grid.matrix,
        "slices": max(_FEWEST_SLICES, min(grid.slices, round(grid.covered_mm / thickness))),
        "thickness_mm": thickness,
    }
    protocol = draw_ctp_protocol(seed, request.scanner, cohort, **sizes)
    for faults in (_faults(request), frozenset[Irregularity]()):
        scan = scan_ctp(patient, protocol, seed, faults, truth=_TRUTH)
        try:
            still = still_frames(series_of(scan))
        except NotAnalysable:
            continue
        ncct = paired_ncct(patient, scan, seed)
        slice_mm = scan.geometry.slice_spacing_mm
        case = PairCase(
            request.name, request.split, request.scanner, request.pathology,
            (slice_mm, *scan.geometry.pixel_spacing_mm),
        )  # fmt: skip
        return Pair(
            case,
            as_half(still.data),
            as_half(ncct),
            {"cavity": still.cavity, **_masks(scan)},
            as_half(scan.truth.arrays["ncct"].values),
        )
    raise NotAnalysable(f"patient {seed}: no head on a scan without faults")


def _faults(request: Request) -> frozenset[Irregularity]:
    drawn = draw_irregularities(request.seed)
    return drawn if request.pathology else drawn & {Irregularity.MOTION}


def _masks(scan: CtpScan) -> dict[str, BoolArray]:
    arrays = {name: quantity.values for name, quantity in scan.truth.arrays.items()}
    return {
        "brain": np.asarray(arrays["brain"] > _HALF),
        "ich": np.asarray(arrays["ich"] > _HALF),
        "core": np.asarray(arrays["core"] > _HALF),
        "vessels": np.asarray(arrays["artery"] + arrays["vein"] > _HALF),
    }
