"""Hemorrhagic transformation: who bleeds into an infarct within a day, and where.

The risk is logistic in what has been found to predict it: volume with a long Tmax (R² 0.37), size
of the infarct (0.34), volume of very low CBV (0.25), leakage of the barrier (parenchymal
hematoma 25 ± 4.5 %, none 17 ± 9 %), then reperfusion, glucose and age. No single one decides, and
part of the risk shows in no image.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np

from training.simulate.anatomy.fields import signed_distance_mm, smooth_noise
from training.simulate.arrays import BoolArray, Float32Array, FloatArray, in_steps, stream
from training.simulate.pathology.patient import Patient
from training.simulate.pathology.perfusion import PerfusionMaps
from training.simulate.space import HEAD_SHAPE, HEAD_VOXEL_ML, Box, bounding_box

LONG_TMAX_S = 14.0
VERY_LOW_CBV = 0.42
"""Share of normal CBV below which it is very low (Campbell 2010)."""
_LEAKAGE_PERCENT = (7.0, 28.5)
"""Leakage in percent of any starved tissue, and what a fully open barrier adds to it."""
_HALF_OPEN = 0.15
"""Relative leakage at which the barrier shows 63 % of that: the measure saturates."""


class TransformationKind(StrEnum):
    """ECASS classes: petechiae, confluent petechiae, hematoma up to 30 % of the infarct, more."""

    HI1 = "HI1"
    HI2 = "HI2"
    PH1 = "PH1"
    PH2 = "PH2"


@dataclass(frozen=True)
class Predictors:
    """Numbers that the risk depends on.

    Parameters
    ----------
    long_tmax_ml, core_ml, low_cbv_ml : float
        Volumes with Tmax > 14 s, of the core, and of very low CBV within the hypoperfused tissue.
    leakage_percent : float
        Mean leakage of the core, of the hypoperfused tissue where there is no core.
    reperfused : bool
        Whether treatment opened the artery.
    glucose_mmol : float
        Blood glucose at admission in mmol/L.
    age_years : float
        Age.
    """

    long_tmax_ml: float
    core_ml: float
    low_cbv_ml: float
    leakage_percent: float
    reperfused: bool
    glucose_mmol: float
    age_years: float


@dataclass(frozen=True, eq=False)
class Transformation:
    """What became of the infarct within a day.

    Parameters
    ----------
    probability : float
        The patient's risk before chance decided.
    present : bool
        Whether it bled.
    kind : TransformationKind or None
        How; None where it did not.
    mask : float32 array of shape ``HEAD_SHAPE``
        Share of each voxel that is blood.
    volume_ml : float
        Sum of ``mask`` in mL.
    predictors : dict of name to number
        The :class:`Predictors`; empty without a stroke.
    """

    probability: float
    present: bool
    kind: TransformationKind | None
    mask: Float32Array
    volume_ml: float
    predictors: dict[str, float]


# Unit (mL) of ln(1 + volume / unit), its mean and standard deviation over the strokes that the
# simulator draws, and the log-odds of one standard deviation. The intercept gives the published
# 16-31 % over those strokes (tested).
_INTERCEPT = -1.45
_VOLUMES = {
    "long_tmax_ml": (1.0, 0.50, 1.04, 0.65),
    "core_ml": (3.0, 1.89, 1.41, 0.20),
    "low_cbv_ml": (3.0, 1.74, 1.37, 0.10),
}
_LEAKAGE = (18.6, 8.0, 0.65)
_REPERFUSED = 0.7
_GLUCOSE = (7.0, 2.2, 0.25)
_AGE = (68.0, 13.0, 0.2)


def risk(predictors: Predictors, unseen: float = 0.0) -> float:
    """Probability of any transformation; ``unseen`` is what no predictor tells, in log-odds."""
    odds = _INTERCEPT + unseen + _REPERFUSED * (predictors.reperfused - 0.6)
    for name, (unit, middle, scale, weight) in _VOLUMES.items():
        size = np.log1p(getattr(predictors, name) / unit)
        odds += weight * (size - middle) / scale
    for value, (middle, scale, weight) in (
        (predictors.leakage_percent, _LEAKAGE),
        (predictors.glucose_mmol, _GLUCOSE),
        (predictors.age_years, _AGE),
    ):
        odds += weight * (value - middle) / scale
    return float(1 / (1 + np.exp(-odds)))


def draw_outcome(
    predictors: Predictors, rng: np.random.Generator
) -> tuple[float, TransformationKind | None]:
    """Draw risk and fate of a patient: the probability, and the kind or None.

    Of those that bleed one third are hematomas; leakage beyond the middle makes them likelier.
    """
    probability = risk(predictors, unseen=float(rng.normal(0, 0.6)))
    bleeds, confluent, larger = rng.random(3)
    if bleeds >= probability:
        return probability, None
    middle, scale, _ = _LEAKAGE
    lean = -1.0 + 0.7 * (predictors.leakage_percent - middle) / scale
    hematoma = confluent < 1 / (1 + np.exp(-lean))
    if hematoma:
        return probability, TransformationKind.PH2 if larger < 0.45 else TransformationKind.PH1
    return probability, TransformationKind.HI2 if larger < 0.45 else TransformationKind.HI1


def draw_circumstances(rng: np.random.Generator) -> tuple[bool, float]:
    """Draw what no image tells: whether the artery was opened, and glucose in mmol/L."""
    return bool(rng.random() < 0.6), float(np.clip(rng.lognormal(np.log(6.8), 0.28), 3.5, 25))


def draw_transformation(patient: Patient, seed: int) -> Transformation:
    """Draw what becomes of a patient's infarct within a day; nothing without a stroke."""
    none = np.zeros(HEAD_SHAPE, dtype=np.float32)
    if patient.stroke is None:
        return Transformation(0.0, False, None, none, 0.0, {})
    rng = stream(seed, "transformation")
    predictors = measure(patient, *draw_circumstances(rng))
    probability, kind = draw_outcome(predictors, rng)
    numbers = {name: float(value) for name, value in asdict(predictors).items()}
    if kind is None or not patient.perfusion.hypoperfused.any():
        return Transformation(probability, False, None, none, 0.0, numbers)
    mask = _bleed(patient, kind, stream(seed, "transformation mask"))
    volume = float(mask.sum(dtype=np.float64)) * HEAD_VOXEL_ML
    return Transformation(probability, True, kind, mask, volume, numbers)


def leakage_percent(maps: PerfusionMaps) -> Float32Array:
    """Leakage of the blood-brain barrier of every voxel in percent, on the head grid.

    0 in healthy tissue; it begins with Tmax above 4 s and is at its least in starved tissue
    at 8 s.
    """
    least, full = (np.float32(value) for value in _LEAKAGE_PERCENT)
    starved = np.clip((maps.tmax_s - np.float32(4)) / np.float32(4), 0, 1)
    opened = 1 - np.exp(maps.leakage / np.float32(-_HALF_OPEN))
    return np.asarray(least * starved + full * opened, dtype=np.float32)


def measure(patient: Patient, reperfused: bool, glucose_mmol: float) -> Predictors:
    """Read the predictors off a patient's true perfusion."""
    maps = patient.perfusion
    lesion = maps.hypoperfused
    worst = maps.core if maps.core.any() else lesion
    leaks = float(leakage_percent(maps)[worst].mean()) if worst.any() else 0.0
    return Predictors(
        long_tmax_ml=_volume(lesion & (maps.tmax_s > LONG_TMAX_S)),
        core_ml=_volume(maps.core),
        low_cbv_ml=_volume(very_low_cbv(patient)),
        leakage_percent=leaks,
        reperfused=reperfused,
        glucose_mmol=glucose_mmol,
        age_years=patient.person.age_years,
    )


def very_low_cbv(patient: Patient) -> BoolArray:
    """Hypoperfused tissue with less than 42 % of the CBV of healthy tissue of its kind."""
    maps, anatomy = patient.perfusion, patient.head.anatomy
    low = np.zeros(HEAD_SHAPE, dtype=np.bool_)
    healthy = ~maps.hypoperfused & (maps.cbv > 0)
    grey = anatomy.grey >= anatomy.white
    for kind in (grey, ~grey):
        normal = maps.cbv[healthy & kind]
        if normal.size:
            low |= kind & (maps.cbv < np.float32(VERY_LOW_CBV) * np.median(normal))
    return np.asarray(low & maps.hypoperfused & (maps.cbv > 0))


def _volume(mask: BoolArray) -> float:
    return float(np.count_nonzero(mask)) * HEAD_VOXEL_ML


def _bleed(patient: Patient, kind: TransformationKind, rng: np.random.Generator) -> Float32Array:
    """Where it bleeds: share of blood on the head grid, in and around the worst tissue."""
    box, tissue, weight = _vulnerable(patient)
    infarct_ml = _volume(weight > 0)
    share = np.zeros(weight.shape, dtype=np.float32)
    if kind is TransformationKind.HI1:
        share = _petechiae(weight, rng, int(rng.integers(5, 22)))
    elif kind is TransformationKind.HI2:
        share = _patches(weight, rng, rng.uniform(0.12, 0.4))
    else:
        larger = kind is TransformationKind.PH2
        target = infarct_ml * (rng.uniform(0.32, 0.7) if larger else rng.uniform(0.06, 0.28))
        share = _hematoma(
            weight, tissue, target, rng,
            beyond=rng.uniform(0.05, 0.25) if larger else rng.uniform(0, 0.08),
            reach_mm=5.0 if larger else 2.0,
        )  # fmt: skip
        share = np.maximum(share, _petechiae(weight, rng, int(rng.integers(0, 8))))
    mask = np.zeros(HEAD_SHAPE, dtype=np.float32)
    mask[box] = in_steps(share * tissue)
    return mask


def _vulnerable(patient: Patient) -> tuple[Box, Float32Array, Float32Array]:
    """Box around the lesion, share of tissue in it, and how prone each voxel is to bleed.

    Core and very low CBV are prone, the more the more they leak; where there is hardly any of
    either, the hypoperfused tissue that leaks most.
    """
    maps: PerfusionMaps = patient.perfusion
    prone = maps.core | very_low_cbv(patient)
    if _volume(prone) < 0.5:
        prone = maps.hypoperfused
    box = bounding_box(prone, margin=10)
    anatomy = patient.head.anatomy
    tissue = anatomy.grey[box] + anatomy.white[box]
    leakage = maps.leakage[box]
    inside = prone[box]
    usual = max(float(leakage[inside].mean()), 1e-3)
    # grey matter, with its denser vessels, bleeds first
    weight = inside * (0.3 + leakage / np.float32(usual)) * (0.6 + 0.8 * anatomy.grey[box])
    return box, tissue, np.asarray(weight, dtype=np.float32)


def _places(weight: Float32Array, count: int, rng: np.random.Generator) -> FloatArray:
    """Draw voxels in proportion to the square of their weight, shape ``(count, 3)``."""
    flat = np.cumsum(weight.ravel().astype(np.float64) ** 2)
    picks = np.searchsorted(flat, rng.random(count) * flat[-1], side="right")
    return np.column_stack(np.unravel_index(picks, weight.shape)).astype(np.float64)


def _petechiae(weight: Float32Array, rng: np.random.Generator, count: int) -> Float32Array:
    """Scattered small spots, 1 to 5 mm wide, within the prone tissue, most where it is worst."""
    share = np.zeros(weight.shape, dtype=np.float32)
    if not count or not weight.any():
        return share
    patchy = weight * np.exp(0.8 * smooth_noise(rng, weight.shape, 5.0))
    for place in _places(patchy, count, rng):
        radius = rng.uniform(0.7, 2.4)
        stretch = rng.uniform(0.6, 1.6, 3)
        corner = np.maximum(place.astype(int) - 5, 0)
        box = tuple(slice(int(low), int(low) + 11) for low in corner)
        index = np.indices(share[box].shape, dtype=np.float32)
        offset = [(index[axis] + corner[axis] - place[axis]) / stretch[axis] for axis in range(3)]
        distance = np.sqrt(offset[0] ** 2 + offset[1] ** 2 + offset[2] ** 2)
        spot = np.clip(radius + 0.5 - distance, 0, 1) * np.float32(rng.uniform(0.5, 1.0))
        share[box] = np.maximum(share[box], spot)
    return np.asarray(share * (weight > 0), dtype=np.float32)


def _patches(weight: Float32Array, rng: np.random.Generator, part: float) -> Float32Array:
    """Confluent petechiae: ``part`` of the prone tissue, in ragged patches, diluted."""
    inside = weight > 0
    if not inside.any():
        return np.zeros(weight.shape, dtype=np.float32)
    field = smooth_noise(rng, weight.shape, 1.6) + 1.4 * smooth_noise(rng, weight.shape, 6.0)
    field += weight / max(float(weight.max()), 1e-6)
    level = np.quantile(field[inside], 1 - part)
    dilution = np.clip(0.65 + 0.2 * smooth_noise(rng, weight.shape, 2.0), 0.35, 1)
    return np.asarray(np.clip((field - level) * 2.5, 0, 1) * inside * dilution, dtype=np.float32)


def _hematoma(
    weight: Float32Array,
    tissue: Float32Array,
    target_ml: float,
    rng: np.random.Generator,
    *,
    beyond: float,
    reach_mm: float,
) -> Float32Array:
    """One confluent bleeding of about a volume, around a prone place, irregular at its border.

    The prone tissue nearest to the place fills up. At most the share ``beyond`` of the volume
    breaks out of it, by ``reach_mm`` and into tissue only: an infarct may be a thin folded ribbon
    with more tissue next to it than in it.
    """
    share = np.zeros(weight.shape, dtype=np.float32)
    if not weight.any():
        return share
    centre = _places(weight, 1, rng)[0]
    index = np.indices(weight.shape, dtype=np.float32)
    stretch = rng.uniform(0.75, 1.3, 3)
    offset = [(index[axis] - centre[axis]) * stretch[axis] for axis in range(3)]
    distance = np.sqrt(offset[0] ** 2 + offset[1] ** 2 + offset[2] ** 2)
    size = (3000 * target_ml / (4 * np.pi)) ** (1 / 3)
    distance *= 1 + 0.22 * smooth_noise(rng, weight.shape, max(size / 2.5, 1.5))
    prone = weight > 0
    around = (signed_distance_mm(prone, 1) > -reach_mm) & ~prone & (tissue > 0.5)
    edge = _edge(distance, prone, tissue, (1 - beyond) * target_ml)
    # what breaks out stays next to what fills up
    outer = min(edge, _edge(distance, around, tissue, beyond * target_ml))
    share[prone] = np.clip(edge + 0.5 - distance[prone], 0, 1)
    share[around] = np.clip(outer + 0.5 - distance[around], 0, 1)
    return share


def _edge(
    distance: Float32Array, where: BoolArray, tissue: Float32Array, volume_ml: float
) -> float:
    """Distance within which some voxels hold a volume of tissue; the largest if all hold less."""
    inside = distance[where]
    if not inside.size:
        return 0.0
    order = np.argsort(inside, kind="stable")
    filled = np.cumsum(tissue[where][order], dtype=np.float64) * HEAD_VOXEL_ML
    return float(inside[order[min(int(np.searchsorted(filled, volume_ml)), len(order) - 1)]])
