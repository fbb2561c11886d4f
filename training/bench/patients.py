"""Engines on the brains of simulated patients, beside the automatic analysis of the same patients.

The engines are given what no one has in practice: true poses, true brain, true arterial input, and
curves smoothed by the same Gaussian; their low-flow region is taken as it comes, without rules for
clusters. The automatic analysis starts from the images alone. CBF is correlated with the simulated
truth over the voxels that both the truth and the automatic analysis call brain. The truth is that
of the tissue beside a vessel, and few voxels of blood, where CBF has no meaning, outweigh the rest:
the correlation is told once with all voxels, once without those that hold a large vessel, and once
without those that a reader would leave out, of a CBV above 2.5 times the median of the engine's own
map, which are not the same for all. The low-flow region, Tmax above 6 s, is compared with that of
the truth, whole. One patient in five has no stroke.

The truth lies at the first pose, the automatic analysis at that of a frame before contrast: what
the head moved in between counts as its error.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from inference.dicom.volumes import TimeSeries
from inference.errors import NotAnalysable
from training.bench.engines import (
    TOLERANCES,
    USUAL_TOLERANCE,
    Tolerances,
    correlation,
    dcmri_engine,
    timed,
)
from training.bench.scans import Given, Size, give, scan_patient
from training.evaluate.engines import Engine, all_engines
from training.evaluate.patient_scans import largest_displacement_mm, series_of
from training.evaluate.perfusion_patients import analyse_ctp
from training.simulate.arrays import stream
from training.simulate.cohort import anatomy_seeds
from training.simulate.ct.ctp_scan import Irregularity
from training.simulate.pathology.patient import Case, make_patient
from training.simulate.scanner import SCANNERS, Scanner

BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]

AUTOMATIC = "automatic analysis"
LOW_FLOW_S = 6.0
SIZE = Size(256, 16)
_NOISE_HU = (7.0, 10.0)
_WITHOUT_LESION = 5
_VESSEL_CBV = 2.5


@dataclass(frozen=True)
class PatientRow:
    """How an engine does on one patient.

    Parameters
    ----------
    seed, scanner, noise_hu, displacement_mm
        Who, where, how noisy a voxel was, and how far the head moved at most.
    truth_ml : float
        Tissue with a true Tmax above 6 s.
    engine : str
    r_cbf, r_cbf_tissue, r_cbf_shown : float or None
        Pearson's coefficient with the true CBF: of all voxels, without large vessels, and without
        a high CBV; None where nothing was analysed.
    dice : float or None
        Overlap of the region of Tmax above 6 s with the true one; None where both are empty.
    found_ml : float or None
        Volume of the region.
    seconds : float
        Of the deconvolution, or of the whole automatic analysis.
    reason : str
        Why it was not analysed; empty where it was.
    """

    seed: int
    scanner: Scanner
    noise_hu: float
    displacement_mm: float
    truth_ml: float
    engine: str
    r_cbf: float | None
    r_cbf_tissue: float | None
    r_cbf_shown: float | None
    dice: float | None
    found_ml: float | None
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class EngineSummary:
    """Medians over patients; Dice over those with a lesion, ``false_ml`` over those without.

    ``tuned`` tells for what dcmri's tolerance was chosen, for all patients together.
    """

    engine: str
    tuned: str
    patients: int
    analysed: int
    r_cbf: float | None
    r_cbf_tissue: float | None
    r_cbf_shown: float | None
    dice: float | None
    false_ml: float | None
    seconds: float


def compare_on_patients(
    seed: int, count: int, size: Size = SIZE, tolerances: Tolerances = TOLERANCES
) -> Iterator[list[PatientRow]]:
    """Scan patients of the test split, the four scanners in turn, and run everything on each.

    The second four of every eight move.

    Parameters
    ----------
    seed : int
        Decides all of them.
    count : int
        How many.
    size : Size
        Of the scans.
    tolerances : mapping of rule to floats
        What dcmri's tolerance is chosen from.
    """
    engines = all_engines()
    engines += [dcmri_engine(rule, t) for rule, tried in tolerances.items() for t in tried]
    if USUAL_TOLERANCE not in tolerances["TSVD"]:
        engines.append(dcmri_engine("TSVD", USUAL_TOLERANCE))
    for number, own in enumerate(anatomy_seeds(seed, "test", count)):
        scanner = SCANNERS[number % len(SCANNERS)]
        noise_hu = float(stream(own, "perfusion benchmark").uniform(*_NOISE_HU))
        moves = number // len(SCANNERS) % 2 == 1
        healthy = number % _WITHOUT_LESION == _WITHOUT_LESION - 1
        patient = make_patient(Case(own, stroke="none" if healthy else None, hemorrhage="none"))
        faults = (Irregularity.MOTION,) if moves else ()
        scan = scan_patient(patient, scanner, own, size, noise_hu, faults)
        series = series_of(scan)
        given = give(scan, series)
        moved, truth = largest_displacement_mm(scan), _volume_ml(given.hypoperfused, given)
        about = PatientRow(
            own, scanner, noise_hu, moved, truth, "", None, None, None, None, None, 0.0
        )
        automatic, counted = _automatic(series, given, about)
        yield [_engine(engine, given, counted, about) for engine in engines] + [automatic]


def _engine(engine: Engine, given: Given, counted: BoolArray, about: PatientRow) -> PatientRow:
    """Run an engine on given curves; CBF is judged on the voxels ``counted``."""
    residue, seconds = timed(engine, given.curves, given.times_s, given.aif)
    cbf, cbv, tmax = (
        given.volume(values) for values in (residue.flow, given.curves.sum(axis=1), residue.tmax_s)
    )
    row = replace(about, engine=engine.name, seconds=seconds)
    return _judged(row, cbf, cbv, tmax > LOW_FLOW_S, given, counted)


def _automatic(series: TimeSeries, given: Given, about: PatientRow) -> tuple[PatientRow, BoolArray]:
    """Run the whole analysis; also returns the true brain where it measured something."""
    row = replace(about, engine=AUTOMATIC)
    start = time.perf_counter()
    try:
        result = analyse_ctp(series)
    except NotAnalysable as error:
        return replace(row, seconds=time.perf_counter() - start, reason=str(error)), given.brain
    row = replace(row, seconds=time.perf_counter() - start)
    maps = {one.quantity.name: one.data for one in result.maps}
    counted = given.brain & np.isfinite(maps["cbf"])
    low = next(one.mask for one in result.segmentations if one.name == "hypoperfused")
    return _judged(row, maps["cbf"], maps["cbv"], low, given, counted), counted


def _judged(
    row: PatientRow,
    cbf: Float32Array,
    cbv: Float32Array,
    low: BoolArray,
    given: Given,
    counted: BoolArray,
) -> PatientRow:
    blood = cbv > _VESSEL_CBV * np.median(cbv[counted])
    r, r_tissue, r_shown = (
        correlation(cbf[where], given.cbf[where])
        for where in (counted, counted & ~given.vessels, counted & ~blood)
    )
    total = int(low.sum()) + int(given.hypoperfused.sum())
    dice = 2 * int((low & given.hypoperfused).sum()) / total if total else None
    return replace(
        row, r_cbf=r, r_cbf_tissue=r_tissue, r_cbf_shown=r_shown, dice=dice,
        found_ml=_volume_ml(low, given),
    )  # fmt: skip


def _volume_ml(mask: BoolArray, given: Given) -> float:
    return float(np.count_nonzero(mask, axis=(1, 2)) @ given.geometry.voxel_volumes_ml)


def summarise_patients(rows: Sequence[PatientRow]) -> list[EngineSummary]:
    """Bring all patients together: StrokeNode, and dcmri as usual and at its best tolerances."""
    names = list(dict.fromkeys(row.engine for row in rows))
    found = {name: _summary(name, [row for row in rows if row.engine == name]) for name in names}
    usual = f"dcmri TSVD {USUAL_TOLERANCE:g}"
    chosen = [found[name] for name in names if name == usual or not name.startswith("dcmri")]
    for rule in TOLERANCES:
        tried = [one for name, one in found.items() if name.startswith(f"dcmri {rule} ")]
        if tried:
            best = max(tried, key=lambda one: one.r_cbf_shown or 0.0)
            chosen.append(replace(best, tuned="CBF"))
            chosen.append(replace(max(tried, key=lambda one: one.dice or 0.0), tuned="Dice"))
    return sorted(chosen, key=lambda one: one.engine == AUTOMATIC)


def _summary(name: str, rows: Sequence[PatientRow]) -> EngineSummary:
    return EngineSummary(
        engine=name,
        tuned="",
        patients=len(rows),
        analysed=sum(not row.reason for row in rows),
        r_cbf=_median([row.r_cbf for row in rows]),
        r_cbf_tissue=_median([row.r_cbf_tissue for row in rows]),
        r_cbf_shown=_median([row.r_cbf_shown for row in rows]),
        dice=_median([row.dice for row in rows if row.truth_ml > 0]),
        false_ml=_median([row.found_ml for row in rows if row.truth_ml == 0]),
        seconds=float(np.median([row.seconds for row in rows])),
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
