"""HU of extravasated blood, and the oedema around it."""

import numpy as np

from training.simulate.arrays import Float32Array
from training.simulate.pathology.bleeds import Bleed
from training.simulate.pathology.growing import distance_mm, rough_field
from training.simulate.pathology.head import BloodKind
from training.simulate.pathology.surroundings import Surroundings
from training.simulate.space import Box, bounding_box

ISODENSE_HEMATOCRIT = 0.23
_ACUTE_HU, _ACUTE_SD = 69.0, 5.5
_SUBACUTE_HU = 40.0
_CHRONIC_HU = (15.0, 30.0)
_HYPERACUTE_H, _SUBACUTE_H, _CHRONIC_H = 3.0, 72.0, 480.0
_RANGE_HU: dict[BloodKind, tuple[float, float]] = {
    BloodKind.INTRAPARENCHYMAL: (50, 80),
    BloodKind.SUBDURAL: (50, 80),
    BloodKind.EPIDURAL: (50, 80),
    BloodKind.INTRAVENTRICULAR: (50, 70),
    BloodKind.SUBARACHNOID: (45, 65),
}
# CSF dilutes blood in the ventricles and in the subarachnoid space.
_DILUTION: dict[BloodKind, float] = {
    BloodKind.INTRAVENTRICULAR: 0.87,
    BloodKind.SUBARACHNOID: 0.88,
}


def clot_hu(kind: BloodKind, bleed: Bleed, hematocrit: float, rng: np.random.Generator) -> float:
    """Mean HU of blood of a kind: rises as it clots, falls as it is broken down.

    Acute clot has 69 ± 5.5 HU at a normal haematocrit and that of brain below 23 %; fresh blood
    has what its haematocrit gives; subacute blood comes down to about 40 HU, chronic subdural
    blood to 15 to 30 HU (textbook).
    """
    if bleed.anaemic:
        return float(rng.uniform(32, 40))
    age = bleed.age_h
    red = (hematocrit - ISODENSE_HEMATOCRIT) / (0.42 - ISODENSE_HEMATOCRIT)
    clot = 36 + (rng.normal(_ACUTE_HU, _ACUTE_SD) - 36) * np.clip(red, 0, 1.3) ** 0.35
    clot *= _DILUTION.get(kind, 1.0)
    low, high = _RANGE_HU[kind]
    acute = float(np.clip(clot, low, high))
    if age < _HYPERACUTE_H and kind not in _DILUTION:
        fresh = float(np.clip(8 + 105 * hematocrit, 45, 62))
        return fresh + (acute - fresh) * age / _HYPERACUTE_H
    if age <= _SUBACUTE_H:
        return acute
    if kind == BloodKind.SUBDURAL and age > _CHRONIC_H:
        return float(rng.uniform(*_CHRONIC_HU))
    lost = min((age - _SUBACUTE_H) / (_CHRONIC_H - 150 - _SUBACUTE_H), 1.0)
    return acute + (min(_SUBACUTE_HU, acute) - acute) * lost


def blood_hu(
    around: Surroundings,
    bleed: Bleed,
    shares: dict[BloodKind, Float32Array],
    hematocrit: float,
    rng: np.random.Generator,
) -> Float32Array:
    """HU of the blood in each voxel of the surroundings' box, 0 where there is none.

    Where kinds share a voxel it is their mean by share.
    """
    shape = around.cavity.shape
    weighted = np.zeros(shape, dtype=np.float32)
    total = np.zeros(shape, dtype=np.float32)
    for kind, share in shares.items():
        bounds = bounding_box(share > 0)
        if not share[bounds].size:
            continue
        values = _texture(around, bleed, kind, share[bounds], bounds, hematocrit, rng)
        weighted[bounds] += share[bounds] * values
        total[bounds] += share[bounds]
    return np.where(total > 0, weighted / np.maximum(total, np.float32(1e-6)), 0)


def _texture(
    around: Surroundings,
    bleed: Bleed,
    kind: BloodKind,
    share: Float32Array,
    bounds: Box,
    hematocrit: float,
    rng: np.random.Generator,
) -> Float32Array:
    """HU within one kind: texture, swirls of fresh blood, layers, fading from the edge."""
    mean = clot_hu(kind, bleed, hematocrit, rng)
    values = np.full(share.shape, mean, dtype=np.float32)
    values += np.float32(rng.uniform(1.5, 5.0)) * rough_field(rng, share.shape, 10.0, octaves=2)
    low, high = _RANGE_HU[kind]
    solid = kind in (BloodKind.INTRAPARENCHYMAL, BloodKind.SUBDURAL, BloodKind.EPIDURAL)
    if bleed.anaemic:
        return values
    if solid and bleed.age_h < 12:
        mixed = 0.75 if bleed.age_h < _HYPERACUTE_H else 0.25
        if rng.random() < mixed:
            values -= _liquid(share, mean, rng)
            low = 33
    if kind == BloodKind.INTRAPARENCHYMAL and bleed.age_h > _SUBACUTE_H:
        inward = np.maximum(-distance_mm(share > 0.5), 0)
        values += np.clip(inward - 5, -6, 8)
        low, high = 28, 75
    elif bleed.age_h > _SUBACUTE_H:
        low, high = 10, 75
    behind = around.axes_mm[1][:, bounds[1]]
    if kind == BloodKind.INTRAVENTRICULAR:
        values += np.clip((behind - behind.mean()) * np.float32(0.12), -4, 4)
    if kind == BloodKind.SUBDURAL and bleed.age_h > _SUBACUTE_H:
        values = _layered(values, share, behind, bleed, rng)
    return np.clip(values, np.float32(low), np.float32(high))


def _liquid(share: Float32Array, mean: float, rng: np.random.Generator) -> Float32Array:
    """By how much unclotted blood within a clot is less dense: swirls, or one sharp part."""
    size = max(float((share > 0.5).sum()) ** (1 / 3) / 1.5, 4.0)
    field = rough_field(rng, share.shape, size, octaves=2)
    threshold = float(rng.uniform(0.4, 1.1))
    steep = float(rng.uniform(1.5, 4.0))
    loss = max(mean - float(rng.uniform(36, 46)), 5.0)
    return np.asarray(np.float32(loss) * np.clip((field - threshold) * steep, 0, 1))


def _layered(
    values: Float32Array,
    share: Float32Array,
    behind: Float32Array,
    bleed: Bleed,
    rng: np.random.Generator,
) -> Float32Array:
    """Old subdural blood: cells sink to the back, or fresh blood has come in."""
    draw = rng.random()
    if draw < 0.4:
        weights = share.sum(axis=(0, 2), dtype=np.float64)
        reached = np.searchsorted(np.cumsum(weights) / weights.sum(), rng.uniform(0.45, 0.8))
        level = behind.ravel()[min(int(reached), len(weights) - 1)]
        depth = np.clip((behind - level) / 3 + 0.5, 0, 1)
        values = values + np.float32(rng.uniform(14, 30)) * depth
    elif draw < 0.6 and bleed.age_h > _CHRONIC_H:
        fresh = rough_field(rng, share.shape, 25.0, octaves=2)
        values = values + np.float32(rng.uniform(20, 38)) * np.clip((fresh - 0.5) * 2.5, 0, 1)
    return values


def oedema_hu(
    around: Surroundings,
    bleed: Bleed,
    parenchymal: Float32Array,
    rng: np.random.Generator,
) -> Float32Array:
    """By how many HU tissue around parenchymal blood is darker, on the surroundings' box.

    The rim is 1 to 3 mm wide in the first hours and grows to about 10 mm in days; it keeps more
    to white matter.
    """
    days = bleed.age_h / 24
    wide = float(np.clip(1.5 + 3.2 * np.log1p(days) * np.exp(rng.normal(0, 0.3)), 1.5, 10))
    dark = float(np.clip(5 + 4 * np.log1p(days) * np.exp(rng.normal(0, 0.25)), 5, 15))
    small = np.clip(float(parenchymal.sum(dtype=np.float64)) / 3000, 0.35, 1)
    water = np.zeros_like(parenchymal)
    bounds = bounding_box(parenchymal > 0, margin=int(np.ceil(2 * wide)) + 2)
    if not water[bounds].size:
        return water
    outside = distance_mm(parenchymal[bounds] > 0.5)
    uneven = 1 + 0.35 * rough_field(rng, outside.shape, 10.0)
    width = np.float32(wide * small) * np.clip(uneven, 0.3, 1.4)
    fading = np.clip((1.3 * width - outside) / np.maximum(0.8 * width, 1), 0, 1)
    white = around.anatomy.white[around.box][bounds]
    water[bounds] = np.float32(dark) * fading * (np.float32(0.55) + np.float32(0.45) * white)
    water[bounds] *= outside > -3
    return np.asarray(water * around.cavity)
