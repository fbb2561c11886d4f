"""Perfusion analysis of simulated patients, against the same analysis without noise and motion.

Tmax and CBF of a deconvolution are its own: what noise, motion and a scanner's habits change is
told by the same engine on the same patient scanned without noise in a still head. The simulated
truth (pure physiology) stands beside it. One in six CT scans is cut short and one in six scans has
a weak bolus; they count for the warnings only. MR (PWI) has no core.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from inference.dicom.volumes import TimeSeries
from inference.errors import NotAnalysable
from inference.results import PipelineResult
from training.evaluate.patient_scans import (
    WARNINGS,
    examine_ctp,
    examine_pwi,
    largest_displacement_mm,
    series_of,
)
from training.simulate.arrays import stream
from training.simulate.cohort import anatomy_seeds
from training.simulate.ct.ctp_scan import Irregularity
from training.simulate.pathology.patient import Case, make_patient
from training.simulate.scanner import SCANNERS, Scanner

BoolArray = npt.NDArray[np.bool_]
Analyse = Callable[[TimeSeries], PipelineResult]
Kind = Literal["ctp", "pwi"]

_NOISE_HU = (4.0, 9.0)
_WITHOUT_LESION = 5
_FLAWS: tuple[Irregularity | None, ...] = (
    None, None, Irregularity.TRUNCATED, None, None, Irregularity.WEAK_BOLUS,
)  # fmt: skip
_LARGE_LESION_ML = 10.0


@dataclass(frozen=True)
class Volumes:
    """Core and tissue with Tmax > 6 s in mL; the core is None where none is drawn."""

    core: float | None
    hypoperfused: float


@dataclass(frozen=True)
class Outcome:
    """What the analysis made of one patient.

    Parameters
    ----------
    seed, scanner, noise
        Who, where, and how noisy a voxel was: HU, or on MR the noise in percent of the brain's
        signal.
    displacement_mm : float
        Mean distance of the brain's points between the two frames that lie farthest apart.
    flaw : str
        What the scan was made with: ``truncated``, ``weak_bolus`` (low, or late and broad) or
        empty.
    expected : tuple of str
        Codes of the warnings that the scan deserves: ``truncated`` where the blood of the veins is
        above 30 % of its peak at the end, ``weak_bolus`` where the arteries' stays below 100 HU or,
        on MR, where the dose was low, ``motion`` above 3 mm.
    borderline : tuple of str
        Those that are within 10 % of their limit, where either answer is right.
    reason : str
        Why it was not analysed; empty where it was.
    found, reference, truth : Volumes or None
        Of the scan, of the scan without noise, motion and flaw, and of the patient.
    core_dice, hypoperfused_dice : float or None
        Overlap of the first two; None where both are empty.
    side, true_side : str or None
        ``L``, ``R``, ``both``; None without a lesion.
    warnings : tuple of str
        Codes, that of a refusal too.
    seconds : float
        Of the analysis.
    """

    seed: int
    scanner: Scanner
    noise: float
    displacement_mm: float
    flaw: str
    expected: tuple[str, ...]
    borderline: tuple[str, ...]
    reason: str
    found: Volumes | None
    reference: Volumes | None
    truth: Volumes
    core_dice: float | None
    hypoperfused_dice: float | None
    side: str | None
    true_side: str | None
    warnings: tuple[str, ...]
    seconds: float

    @property
    def counts_for_lesions(self) -> bool:
        """Analysed, and neither cut short nor with a weak bolus."""
        analysed = self.found is not None and self.reference is not None
        return analysed and not self.flaw and not {"truncated", "weak_bolus"} & set(self.expected)


def analyse_ctp(series: TimeSeries) -> PipelineResult:
    """Run the pipeline with its usual settings on the CPU."""
    from inference.pipelines import RunContext
    from inference.pipelines.ctp_perfusion import CtpPerfusionSettings, run

    return run(series, CtpPerfusionSettings(), RunContext("cpu", lambda stage, fraction: None))


def analyse_pwi(series: TimeSeries) -> PipelineResult:
    """The same for MR."""
    from inference.pipelines import RunContext
    from inference.pipelines.pwi_perfusion import PwiPerfusionSettings, run

    return run(series, PwiPerfusionSettings(), RunContext("cpu", lambda stage, fraction: None))


_ANALYSES: dict[Kind, Analyse] = {"ctp": analyse_ctp, "pwi": analyse_pwi}


def evaluate_patients(
    seed: int,
    count: int,
    *,
    kind: Kind = "ctp",
    analyse: Analyse | None = None,
    processes: int = 1,
) -> Iterator[Outcome]:
    """Scan and analyse patients of the test split, the four scanners in turn.

    Parameters
    ----------
    seed : int
        Decides all of them.
    count : int
        How many.
    kind : "ctp" or "pwi"
        CT or MR.
    analyse : callable, optional
        From a series to a result; raises NotAnalysable. The kind's pipeline when not given.
    processes : int
        How many patients at a time; each takes about 2 GB.
    """
    work = list(enumerate(anatomy_seeds(seed, "test", count)))
    chosen = analyse or _ANALYSES[kind]
    if processes == 1:
        yield from (_evaluate(number, own, kind, chosen) for number, own in work)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from pool.map(_evaluate, *zip(*work, strict=True), [kind] * count, [chosen] * count)


def _evaluate(number: int, seed: int, kind: Kind, analyse: Analyse) -> Outcome:
    scanner = SCANNERS[number % len(SCANNERS)]
    rng = stream(seed, "perfusion evaluation")
    noise_hu = float(rng.uniform(*_NOISE_HU))
    flaw = _FLAWS[int(rng.integers(len(_FLAWS)))]
    if kind == "pwi" and flaw is Irregularity.TRUNCATED:
        flaw = None
    moves = number // len(SCANNERS) % 3 > 0
    healthy = number % _WITHOUT_LESION == _WITHOUT_LESION - 1
    patient = make_patient(Case(seed, stroke="none" if healthy else None, hemorrhage="none"))
    faults = [*([Irregularity.MOTION] if moves else []), *([flaw] if flaw else [])]
    make = examine_pwi if kind == "pwi" else partial(examine_ctp, noise_hu=noise_hu)
    examined = make(patient, scanner, seed, faults)
    reference = _analysed(analyse, series_of(examined.clean))[0]
    series = series_of(examined.scan)
    start = time.perf_counter()
    found, reason, warnings = _analysed(analyse, series)
    seconds = time.perf_counter() - start
    truth = examined.scan.truth.arrays
    hypoperfused, core = (_volume(truth[name].values, series) for name in ("hypoperfused", "core"))
    return Outcome(
        seed=seed,
        scanner=scanner,
        noise=examined.noise,
        displacement_mm=largest_displacement_mm(examined.scan),
        flaw=str(flaw) if flaw else "",
        expected=examined.expected,
        borderline=examined.borderline,
        reason=reason,
        found=None if found is None else _volumes(found),
        reference=None if reference is None else _volumes(reference),
        truth=Volumes(core, hypoperfused),
        core_dice=_overlap(found, reference, "core"),
        hypoperfused_dice=_overlap(found, reference, "hypoperfused"),
        side=None if found is None else found.side,
        true_side=None if patient.stroke is None or hypoperfused == 0 else patient.stroke.side,
        warnings=warnings,
        seconds=seconds,
    )


def _analysed(
    analyse: Analyse, series: TimeSeries
) -> tuple[PipelineResult | None, str, tuple[str, ...]]:
    """The result, or else the reason why there is none; codes of the warnings."""
    try:
        result = analyse(series)
    except NotAnalysable as error:
        return None, str(error), (error.code,) if error.code else ()
    return result, "", tuple(warning.code for warning in result.warnings)


def _mask(result: PipelineResult, name: str) -> BoolArray | None:
    return next((region.mask for region in result.segmentations if region.name == name), None)


def _volumes(result: PipelineResult) -> Volumes:
    by_name = {region.name: region.volume_ml for region in result.segmentations}
    return Volumes(by_name.get("core"), by_name["hypoperfused"])


def _volume(mask: npt.NDArray[np.generic], series: TimeSeries) -> float:
    return float(np.count_nonzero(mask, axis=(1, 2)) @ series.geometry.voxel_volumes_ml)


def _overlap(
    found: PipelineResult | None, reference: PipelineResult | None, name: str
) -> float | None:
    """Dice's coefficient; None where both are empty or one was not analysed or not drawn."""
    if found is None or reference is None:
        return None
    one, other = _mask(found, name), _mask(reference, name)
    if one is None or other is None:
        return None
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else None


@dataclass(frozen=True)
class Summary:
    """Numbers over all patients; None where there is nothing to count.

    ``volume_error`` and ``core_error`` (median, 90th percentile) are relative, for regions of more
    than 10 mL without noise; ``*_dice`` are medians for those regions; ``false_ml`` is the median
    volume where there is no lesion; ``precision`` and ``recall`` are per warning.
    """

    analysed: int
    patients: int
    volume_error: tuple[float, float] | None
    core_error: tuple[float, float] | None
    hypoperfused_dice: float | None
    core_dice: float | None
    sides_right: tuple[int, int]
    false_ml: float | None
    precision: dict[str, float | None]
    recall: dict[str, float | None]
    seconds: float


def summarise(outcomes: Sequence[Outcome]) -> Summary:
    """Bring the outcomes of all patients together."""
    counted = [outcome for outcome in outcomes if outcome.counts_for_lesions]
    large = [o for o in counted if o.reference and o.reference.hypoperfused > _LARGE_LESION_ML]
    cores = [o for o in counted if o.reference and (o.reference.core or 0) > _LARGE_LESION_ML]
    sided = [o for o in large if o.true_side in ("L", "R")]
    healthy = [o.found.hypoperfused for o in counted if o.found and o.truth.hypoperfused == 0]
    return Summary(
        analysed=sum(outcome.found is not None for outcome in outcomes),
        patients=len(outcomes),
        volume_error=_errors(large, "hypoperfused"),
        core_error=_errors(cores, "core"),
        hypoperfused_dice=_median([o.hypoperfused_dice for o in large]),
        core_dice=_median([o.core_dice for o in cores]),
        sides_right=(sum(o.side == o.true_side for o in sided), len(sided)),
        false_ml=_median(healthy),
        precision={code: _precision(outcomes, code) for code in WARNINGS},
        recall={code: _recall(outcomes, code) for code in WARNINGS},
        seconds=float(np.median([outcome.seconds for outcome in outcomes])),
    )


def _precision(outcomes: Sequence[Outcome], code: str) -> float | None:
    """Share of the warnings that were deserved."""
    given = [
        code in outcome.expected
        for outcome in outcomes
        if code in outcome.warnings and code not in outcome.borderline
    ]
    return sum(given) / len(given) if given else None


def _recall(outcomes: Sequence[Outcome], code: str) -> float | None:
    """Share of the deserved warnings that were given.

    A scan that was not analysed said more, and frames that were dropped tell of motion too.
    """
    telling = {code, "frames_dropped"} if code == "motion" else {code}
    given = [
        bool(telling & set(outcome.warnings)) or bool(outcome.reason)
        for outcome in outcomes
        if code in outcome.expected and code not in outcome.borderline
    ]
    return sum(given) / len(given) if given else None


def _errors(outcomes: Sequence[Outcome], name: str) -> tuple[float, float] | None:
    errors = []
    for outcome in outcomes:
        assert outcome.found is not None
        assert outcome.reference is not None
        reference = float(getattr(outcome.reference, name))
        errors.append(abs(float(getattr(outcome.found, name)) - reference) / reference)
    if not errors:
        return None
    return float(np.median(errors)), float(np.percentile(errors, 90))


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
