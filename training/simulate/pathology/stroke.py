"""Acute ischaemic stroke: which artery is occluded, what tissue that starves, and what has died."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from training.simulate.anatomy.fields import (
    BRAIN_STEP,
    BrainBox,
    head_noise,
    refine,
    signed_distance_mm,
)
from training.simulate.anatomy.model import Anatomy, Region, Territory, Vessel
from training.simulate.anatomy.person import Side, Sides
from training.simulate.arrays import BoolArray, Float32Array, stream
from training.simulate.space import HEAD_SHAPE, bounding_box

_NODE_ML = BRAIN_STEP**3 / 1000
_MIN_CORE_ML = 0.2
MAX_EARLY_CHANGE_HU = 8.0


class Occlusion(StrEnum):
    """Where the clot sits."""

    ICA = "ica"
    M1 = "m1"
    M2_SUPERIOR = "m2_superior"
    M2_INFERIOR = "m2_inferior"
    ACA = "aca"
    PCA = "pca"
    BASILAR = "basilar"
    CEREBELLAR = "cerebellar"
    PERFORATOR = "perforator"


FREQUENCIES = {
    Occlusion.M1: 0.34,
    Occlusion.ICA: 0.15,
    Occlusion.M2_SUPERIOR: 0.14,
    Occlusion.M2_INFERIOR: 0.11,
    Occlusion.PCA: 0.07,
    Occlusion.PERFORATOR: 0.06,
    Occlusion.BASILAR: 0.045,
    Occlusion.ACA: 0.04,
    Occlusion.CEREBELLAR: 0.045,
}
BILATERAL_FRACTION = 0.02

_MIDDLE = (Territory.MCA_SUPERIOR, Territory.MCA_INFERIOR)
_TERRITORIES: dict[Occlusion, tuple[Territory, ...]] = {
    Occlusion.ICA: (*_MIDDLE, Territory.MCA_DEEP, Territory.ANTERIOR_CHOROIDAL),
    Occlusion.M1: _MIDDLE,
    Occlusion.M2_SUPERIOR: (Territory.MCA_SUPERIOR,),
    Occlusion.M2_INFERIOR: (Territory.MCA_INFERIOR,),
    Occlusion.ACA: (Territory.ACA,),
    Occlusion.PCA: (Territory.PCA,),
    Occlusion.BASILAR: (Territory.BASILAR, Territory.SCA),
    Occlusion.CEREBELLAR: (Territory.SCA, Territory.PICA),
    Occlusion.PERFORATOR: (
        Territory.MCA_DEEP,
        Territory.THALAMIC,
        Territory.ANTERIOR_CHOROIDAL,
        Territory.BASILAR,
    ),
}
# Territories that are starved in only a part of the patients: how often.
_SOMETIMES: dict[Occlusion, dict[Territory, float]] = {
    Occlusion.ICA: {Territory.ACA: 0.3, Territory.PCA: 0.08},
    Occlusion.M1: {Territory.MCA_DEEP: 0.65, Territory.ANTERIOR_CHOROIDAL: 0.1},
    Occlusion.PCA: {Territory.THALAMIC: 0.4},
    Occlusion.BASILAR: {Territory.PCA: 0.5, Territory.THALAMIC: 0.6, Territory.PICA: 0.2},
}
_ONE_OF = frozenset({Occlusion.CEREBELLAR, Occlusion.PERFORATOR})
_OCCLUDED = {
    Occlusion.ICA: Vessel.ICA,
    Occlusion.M1: Vessel.M1,
    Occlusion.M2_SUPERIOR: Vessel.M2_SUPERIOR,
    Occlusion.M2_INFERIOR: Vessel.M2_INFERIOR,
    Occlusion.ACA: Vessel.ACA,
    Occlusion.PCA: Vessel.PCA,
    Occlusion.BASILAR: Vessel.BASILAR,
    Occlusion.CEREBELLAR: Vessel.CEREBELLAR,
}
_CLOT_MM = (8.0, 22.0)
# Median hypoperfused volume in mL with collaterals of 0.5: wide, as in thrombectomy trials.
_MEDIAN_ML = {
    Occlusion.ICA: 150.0,
    Occlusion.M1: 128.0,
    Occlusion.M2_SUPERIOR: 66.0,
    Occlusion.M2_INFERIOR: 60.0,
    Occlusion.ACA: 40.0,
    Occlusion.PCA: 42.0,
    Occlusion.BASILAR: 52.0,
    Occlusion.CEREBELLAR: 28.0,
}


@dataclass(frozen=True, eq=False)
class Stroke:
    """One acute stroke.

    Parameters
    ----------
    occlusion : Occlusion
        Where the clot sits.
    side : "L", "R" or "both"
        The patient's side.
    onset_h : float
        Hours from onset to imaging.
    collaterals : float
        From 0 (none) to 1 (excellent).
    hypoperfusion : float32 array of ``HEAD_SHAPE``
        From 0 (normal flow) to 1 (as starved as this stroke makes any tissue); 0 outside brain.
    core_weight : float32 array of ``HEAD_SHAPE``
        The same for death: 1 in the middle of the core, at most ``hypoperfusion``.
    occluded : Vessel or None
        The segment that holds the clot, on ``side``; None where it is too small to be seen.
    clot_mm : float
        Length of the clot, see :func:`~training.simulate.pathology.arteries.clot`.
    """

    occlusion: Occlusion
    side: Sides
    onset_h: float
    collaterals: float
    hypoperfusion: Float32Array
    core_weight: Float32Array
    occluded: Vessel | None
    clot_mm: float

    def on_side(self, left: BoolArray) -> BoolArray:
        """Where the side that the stroke is on lies, given what is left of the midline."""
        if self.side == "both":
            return np.ones_like(left)
        return left if self.side == "L" else ~left


def draw_stroke(
    anatomy: Anatomy,
    seed: int,
    occlusion: Occlusion | None = None,
    side: Side | None = None,
) -> Stroke:
    """Draw a stroke in a person's brain.

    Occlusion sites follow their textbook frequencies. Collaterals spare what is nearest to the
    watershed; the core starts where they reach last and grows with the time since onset.

    Parameters
    ----------
    anatomy : Anatomy
        The brain, with mass effect if there is one.
    seed : int
        Decides everything that is not given.
    occlusion : Occlusion or None
        Where the clot sits; drawn when None.
    side : "L", "R" or None
        Drawn when None, then in rare cases both.

    Raises
    ------
    ValueError
        The anatomy has no tissue in the territory of that artery.
    """
    rng = stream(seed, "stroke")
    site = _draw_site(rng)
    where = _draw_side(rng, occlusion or site)
    occlusion, where = occlusion or site, side or where
    collaterals = float(rng.beta(1.6, 1.6))
    late = rng.random() < 0.35
    onset = float(rng.uniform(6, 24) if late else np.exp(rng.uniform(np.log(0.7), np.log(7))))
    grid = BrainBox.of(anatomy)
    territories = _draw_territories(rng, occlusion, grid, where)
    field = stream(seed, "stroke shape")
    if occlusion is Occlusion.PERFORATOR:
        low, core = _lacune(field, grid, territories, where)
    else:
        reach, score = _starvation_score(field, grid, territories, where)
        target = _target_ml(rng, occlusion, collaterals, where)
        inside = _largest_scores(score, reach, grid.tissue, target, most=0.97)
        border = _graded(inside, float(rng.uniform(2, 8)))
        ratio = _core_ratio(rng, onset, collaterals)
        core = _core(field, grid, inside, border, territories, where, ratio)
        depth = np.clip(signed_distance_mm(inside, BRAIN_STEP) / np.float32(18), 0, 1)
        least = np.float32(rng.uniform(0.7, 1))
        low = np.maximum(border * (least + (1 - least) * depth), core)
    fine_low, fine_core = _on_head_grid(anatomy, grid, low, core, where)
    clot_mm = float(stream(seed, "clot").uniform(*_CLOT_MM))
    return Stroke(
        occlusion, where, onset, collaterals, fine_low, fine_core, _OCCLUDED.get(occlusion), clot_mm
    )


def _draw_site(rng: np.random.Generator) -> Occlusion:
    sites = list(FREQUENCIES)
    weights = np.array([FREQUENCIES[site] for site in sites])
    return sites[int(rng.choice(len(sites), p=weights / weights.sum()))]


def _draw_side(rng: np.random.Generator, occlusion: Occlusion) -> Sides:
    both = rng.random() < (0.75 if occlusion is Occlusion.BASILAR else BILATERAL_FRACTION)
    one: Sides = "L" if rng.random() < 0.52 else "R"
    return "both" if both and occlusion is not Occlusion.PERFORATOR else one


def _draw_territories(
    rng: np.random.Generator, occlusion: Occlusion, grid: BrainBox, side: Sides
) -> tuple[Territory, ...]:
    """Choose the territories that starve, of those that the anatomy has on that side."""
    chosen = list(_TERRITORIES[occlusion])
    for territory, probability in _SOMETIMES.get(occlusion, {}).items():
        if rng.random() < probability:
            chosen.append(territory)
    here = grid.territory[(grid.tissue > 0.5) & _on_side(grid.left, side)]
    present = np.bincount(here, minlength=len(Territory)) * _NODE_ML > 1.0
    chosen = [territory for territory in chosen if present[territory]]
    if not chosen:
        raise ValueError(f"the anatomy has no tissue that lives on the artery {occlusion.value}")
    if occlusion in _ONE_OF:
        chosen = [chosen[int(rng.integers(len(chosen)))]]
    return tuple(chosen)


def _target_ml(
    rng: np.random.Generator, occlusion: Occlusion, collaterals: float, side: Sides
) -> float:
    """Hypoperfused volume in mL: lognormal, smaller with good collaterals."""
    volume = _MEDIAN_ML[occlusion] * np.exp(rng.normal(0, 0.55) + 1.1 * (0.5 - collaterals))
    if side == "both" and occlusion is not Occlusion.BASILAR:
        volume *= 1.6
    return float(np.clip(volume, 6, 235))


def _core_ratio(rng: np.random.Generator, onset_h: float, collaterals: float) -> float:
    """Share of the hypoperfused tissue that has died: slow and fast progressors, 0 to 1."""
    none, full = rng.random(2)
    hours = 1.8 * np.exp(2.7 * collaterals + rng.normal(0, 0.7))
    if none < 0.1 + 0.15 * collaterals:
        return 0.0
    if full < 0.07 and onset_h > 4:
        return 1.0
    return float(1 - np.exp(-onset_h / hours))


def _on_side(left: BoolArray, side: Sides) -> BoolArray:
    return np.ones_like(left) if side == "both" else left == (side == "L")


def _starvation_score(
    rng: np.random.Generator, grid: BrainBox, territories: tuple[Territory, ...], side: Sides
) -> tuple[BoolArray, Float32Array]:
    """Where the occluded artery reaches, and how late collaterals reach each node of it.

    The distance from the border with the neighbouring territories decides, with noise of two
    scales and a pull towards one point: occlusions of a branch starve a wedge. CSF belongs to the
    tissue that is nearest to it, so that sulci do not cut the region.
    """
    brain = (grid.territory > 0) & _on_side(grid.left, side)
    own = brain & np.isin(grid.territory, np.array(territories, dtype=np.uint8))
    to_own = -signed_distance_mm(own, BRAIN_STEP)
    to_other = -signed_distance_mm(brain & ~own, BRAIN_STEP)
    reach = (to_own < to_other) & _on_side(grid.left, side)
    inside = own & (grid.tissue > 0.5)
    scale = float(np.percentile(to_other[inside], 95)) if (brain & ~own).any() else np.inf
    score = np.clip(to_other / np.float32(max(scale, 4.0)), 0, 1.5)
    score += np.float32(0.38) * grid.noise(rng, 13)
    score += np.float32(0.10) * grid.noise(rng, 5)
    pull = float(rng.uniform(0, 1.2))
    extent = (float(inside.sum()) * BRAIN_STEP**3) ** (1 / 3)
    score -= np.float32(pull / extent) * grid.distance_mm(_random_node(rng, inside))
    return reach, score.astype(np.float32)


def _largest_scores(
    score: Float32Array, allowed: BoolArray, tissue: Float32Array, volume_ml: float, most: float
) -> BoolArray:
    """Nodes of the highest scores that hold a volume of tissue, at most a part of all allowed."""
    nodes = np.flatnonzero(allowed & (tissue > 0))
    order = nodes[np.argsort(-score.ravel()[nodes], kind="stable")]
    volume = np.cumsum(tissue.ravel()[order], dtype=np.float64) * _NODE_ML
    count = int(np.searchsorted(volume, min(volume_ml, most * volume[-1])))
    limit = score.ravel()[order[min(count, len(order) - 1)]]
    return np.asarray(allowed & (score >= limit))


def _graded(inside: BoolArray, width_mm: float) -> Float32Array:
    """1 inside, 0 outside, a smooth ramp of that width around the border."""
    ramp = np.clip(0.5 + signed_distance_mm(inside, BRAIN_STEP) / np.float32(width_mm), 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), dtype=np.float32)


def _core(
    rng: np.random.Generator,
    grid: BrainBox,
    inside: BoolArray,
    low: Float32Array,
    territories: tuple[Territory, ...],
    side: Sides,
    ratio: float,
) -> Float32Array:
    """Weight of the core: grown from one or several seeds, the perforators' own tissue first."""
    amount = grid.tissue * inside
    target = ratio * float(amount.sum(dtype=np.float64)) * _NODE_ML
    count = 1 + int(rng.poisson(0.7)) + (side == "both")
    width = float(rng.uniform(2, 4))
    noise = np.float32(0.45) * grid.noise(rng, 9)
    noise += np.float32(0.25) * grid.noise(rng, 4)
    deep = inside & (grid.territory == Territory.MCA_DEEP) & (grid.tissue > 0.5)
    seeds = [_random_node(rng, inside & (grid.tissue > 0.7), low) for _ in range(count)]
    if Territory.MCA_DEEP in territories and deep.any():
        seeds[0] = _random_node(rng, deep)
    score = np.full(inside.shape, -np.inf, dtype=np.float32)
    for index, node in enumerate(seeds):
        reach_mm = 22 * np.exp(rng.normal(0, 0.35)) * (1.0 if index == 0 else rng.uniform(0.3, 0.9))
        score = np.maximum(score, 1 - grid.distance_mm(node) / np.float32(reach_mm))
    if target < _MIN_CORE_ML:
        return np.zeros_like(low)
    if ratio == 1:
        return low
    chosen = _largest_scores(score + noise, inside & (low > 0.6), grid.tissue, target, most=1.0)
    return np.asarray(np.minimum(_graded(chosen, width), low), dtype=np.float32)


def _lacune(
    rng: np.random.Generator, grid: BrainBox, territories: tuple[Territory, ...], side: Sides
) -> tuple[Float32Array, Float32Array]:
    """Starved and dead tissue of one perforator: a small ovoid, longest along z."""
    own = np.isin(grid.territory, np.array(territories, dtype=np.uint8))
    own &= _on_side(grid.left, side) & (grid.tissue > 0.7)
    node = _random_node(rng, own, np.clip(signed_distance_mm(own, BRAIN_STEP), 0.1, 6))
    shape = tuple(float(value) for value in rng.uniform((0.6, 0.8, 0.8), (0.9, 1.2, 1.2)))
    score = -grid.distance_mm(node, shape) / np.float32(6) + np.float32(0.15) * grid.noise(rng, 4)
    score -= np.where(own, np.float32(0), np.float32(0.7))
    volume = float(np.exp(rng.uniform(np.log(0.5), np.log(3))))
    near = (grid.distance_mm(node) < 18) & _on_side(grid.left, side) & (grid.tissue > 0.3)
    low = _graded(_largest_scores(score, near, grid.tissue, volume, most=1.0), 3.0)
    part = float(rng.uniform(0.3, 1.0))
    core = _graded(_largest_scores(score, near, grid.tissue, volume * part, most=1.0), 3.0)
    return low, np.minimum(core, low)


def _random_node(
    rng: np.random.Generator, where: BoolArray, weight: Float32Array | None = None
) -> tuple[int, int, int]:
    """Draw a node of a mask, by weight if there is one."""
    nodes = np.flatnonzero(where)
    if len(nodes) == 0:
        nodes = np.arange(where.size)
    chance = None
    if weight is not None:
        values = weight.ravel()[nodes].astype(np.float64) + 1e-6
        chance = values / values.sum()
    z, y, x = np.unravel_index(int(rng.choice(nodes, p=chance)), where.shape)
    return int(z), int(y), int(x)


def _on_head_grid(
    anatomy: Anatomy, grid: BrainBox, low: Float32Array, core: Float32Array, side: Sides
) -> tuple[Float32Array, Float32Array]:
    """Bring both weights to the head grid, to tissue of the right side only."""
    z, y, x = (
        slice(first * BRAIN_STEP, (first + count) * BRAIN_STEP)
        for first, count in zip(grid.start, grid.shape, strict=True)
    )
    tissue = (anatomy.grey[z, y, x] + anatomy.white[z, y, x]) > 0
    tissue &= _on_side(anatomy.left[z, y, x], side)
    fine_low, fine_core = np.zeros((2, *HEAD_SHAPE), dtype=np.float32)
    fine_low[z, y, x] = refine(low, BRAIN_STEP) * tissue
    fine_core[z, y, x] = np.minimum(refine(core, BRAIN_STEP) * tissue, fine_low[z, y, x])
    return fine_low, fine_core


def early_change_hu(stroke: Stroke, anatomy: Anatomy, seed: int) -> Float32Array:
    """How much darker early ischaemia makes the tissue on an NCCT, for ``Head.water_hu``.

    About 1 HU for each percent of water taken up (textbook): up to 8 HU in the core, growing with
    the time since onset; grey matter first, so that cortex, insula and lentiform nucleus lose
    their contrast to white matter. Penumbra hardly changes.

    Returns
    -------
    float32 array of ``HEAD_SHAPE``, 0 to 8 HU
    """
    rng = stream(seed, "early ischaemic change")
    grown = 1 - np.exp(-stroke.onset_h / rng.uniform(3.5, 8))
    full = np.float32(MAX_EARLY_CHANGE_HU * grown * rng.uniform(0.55, 1.1))
    penumbra = np.float32(rng.uniform(0.02, 0.12))
    mottle = 1 + np.float32(0.15) * head_noise(rng, 4, 8)
    change = np.zeros(anatomy.grey.shape, dtype=np.float32)
    box = bounding_box(stroke.hypoperfusion > 0)
    grey, white = anatomy.grey[box], anatomy.white[box]
    region = anatomy.region[box]
    share = grey / np.maximum(grey + white, np.float32(1e-3))
    sensitive = np.isin(region, (Region.INSULA, Region.LENTIFORM, Region.CAUDATE))
    kind = (np.float32(0.55) + np.float32(0.45) * share) * np.where(
        sensitive, np.float32(1.15), np.float32(1)
    )
    weight = stroke.core_weight[box]
    weight = weight + penumbra * (stroke.hypoperfusion[box] - weight)
    darker = full * weight * kind * refine(mottle, 4)[box]
    change[box] = np.clip(darker, 0, MAX_EARLY_CHANGE_HU)
    return change
