"""What looks like blood and is not: calcium, dense vessels, contrast left in tissue, metal.

None of it ever lies in a voxel that holds blood.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from training.simulate.anatomy.model import Region, Vessel
from training.simulate.arrays import BoolArray, Float32Array, in_steps, stream
from training.simulate.pathology.arteries import clot
from training.simulate.pathology.growing import box_around, rough_field
from training.simulate.pathology.head import Head, Inclusion
from training.simulate.pathology.implants import (
    PROXIMAL,
    Bearer,
    Shares,
    add_ball,
    clip,
    cochlear_implant,
    dental,
    empty_share,
    random_point_mm,
    shunt,
)
from training.simulate.pathology.stroke import Stroke
from training.simulate.pathology.surroundings import Surroundings
from training.simulate.space import Box, bounding_box

METAL_HU = 3000.0
_SIPHON_MM = 18.0
_LARGE_ARTERIES = (Vessel.ICA, Vessel.M1, Vessel.BASILAR, Vessel.VERTEBRAL)


def add_mimics(
    head: Head, seed: int, stroke: Stroke | None = None, names: Sequence[str] | None = None
) -> Head:
    """Put into a head what can be taken for blood.

    Parameters
    ----------
    head : Head
        Stays as it is.
    seed : int
        Decides place, size and density.
    stroke : Stroke or None
        Decides where a hyperdense artery and contrast staining can be.
    names : sequence of str or None
        Keys of :data:`MIMICS` or of :data:`GROUPS` (one of the group is then drawn); None draws
        them with the frequencies of elderly patients with suspected stroke (textbook).

    Returns
    -------
    Head
        With inclusions named after their group. What does not fit into this head (a hyperdense
        artery without any artery) is left out.

    Raises
    ------
    ValueError
        An unknown name.
    """
    chosen = _draw_names(head, seed, stroke) if names is None else _resolve(names, seed)
    if not chosen:
        return head
    around = Surroundings(head.anatomy)
    blood = head.blood_share() > 0
    inclusions = dict(head.inclusions)
    for name in chosen:
        mimic = MIMICS[name]
        rng = stream(seed, "mimic", name)
        share = mimic.make(Bearer(head, stroke, around, rng))
        if share is None:
            continue
        share[blood] = 0
        box = bounding_box(share > 0)
        share[box] = in_steps(np.clip(share[box], 0, 1))
        low, high = mimic.hu
        hu = float(rng.uniform(low, high))
        if not share[box].any():
            continue
        if mimic.group in inclusions:
            share, hu = _joined(inclusions[mimic.group], Inclusion(share, hu))
        inclusions[mimic.group] = Inclusion(share, hu)
    return replace(head, inclusions=inclusions)


def _joined(first: Inclusion, second: Inclusion) -> tuple[Float32Array, float]:
    """Two inclusions as one of the denser one's HU, with smaller shares of the other."""
    hu = max(first.hu, second.hu)
    joined = np.zeros_like(first.share)
    for one in (first, second):
        box = bounding_box(one.share > 0)
        part = in_steps(np.float32(one.hu / hu) * one.share[box])
        np.maximum(joined[box], part, out=joined[box])
    return joined, hu


def _draw_names(head: Head, seed: int, stroke: Stroke | None) -> list[str]:
    rng = stream(seed, "which mimics")
    person = head.anatomy.person
    old = float(np.clip((person.age_years - 35) / 35, 0.2, 1.5))
    names = []
    for name, mimic in MIMICS.items():
        chance = mimic.chance * (old if mimic.ages else 1)
        if person.cohort == "shifted":
            chance *= mimic.shifted
        if mimic.needs_stroke:
            chance *= stroke is not None
        if rng.random() < chance:
            names.append(name)
    return names


def _resolve(names: Sequence[str], seed: int) -> list[str]:
    resolved = []
    for name in names:
        if name not in MIMICS and name not in GROUPS:
            known = ", ".join([*MIMICS, *GROUPS])
            raise ValueError(f"unknown mimic {name!r}; known are {known}")
        if name in MIMICS:
            resolved.append(name)
        else:
            members = GROUPS[name]
            resolved.append(members[int(stream(seed, "which of", name).integers(len(members)))])
    return resolved


def _speckled(bearer: Bearer, mask: BoolArray, coverage: float, scale_mm: float) -> Shares:
    """Irregular part of a mask: deposits where a rough field is high, denser in their middle."""
    if not mask.any():
        return None
    local = bounding_box(mask, 1)
    field = rough_field(bearer.rng, mask[local].shape, scale_mm, octaves=2)
    level = float(np.quantile(field[mask[local]], 1 - coverage))
    share = empty_share()
    whole = share[bearer.around.box]
    whole[local] = np.clip((field - level) * 1.2, 0, 1) * mask[local]
    return share


def _basal_ganglia(bearer: Bearer) -> Shares:
    """Both pallida (and sometimes thalami), alike on both sides."""
    region = bearer.around.region
    mask = region == Region.LENTIFORM
    middle = bearer.around.middle_mm[0]
    mask &= np.abs(bearer.around.axes_mm[2] - np.float32(middle)) < 25
    if bearer.rng.random() < 0.15:
        mask |= region == Region.THALAMUS
    return _speckled(bearer, mask, float(bearer.rng.uniform(0.1, 0.5)), 8.0)


def _choroid(bearer: Bearer) -> Shares:
    """Glomera in the atria of the lateral ventricles, rarely of one side only."""
    around, rng, share = bearer.around, bearer.rng, empty_share()
    lateral = around.region == Region.LATERAL_VENTRICLE
    for side in ("L", "R"):
        mask = lateral & around.on_side("L" if side == "L" else "R")
        if not mask.any() or rng.random() < 0.15:
            continue
        index = np.nonzero(mask)
        behind = index[1] >= np.quantile(index[1], 0.7)
        pick = rng.choice(np.flatnonzero(behind))
        where = [axis.ravel()[at[pick]] for axis, at in zip(around.axes_mm, index, strict=True)]
        radius = float(rng.uniform(1.5, 4.0))
        add_ball(share, np.array(where[::-1]), radius * rng.uniform(0.7, 1.4, 3))
    return share


def _falx(bearer: Bearer) -> Shares:
    """Plaques in the falx."""
    around, rng, share = bearer.around, bearer.rng, empty_share()
    upper = around.axes_mm[0] > np.float32(around.middle_mm[2] + 15)
    mask = (np.abs(around.from_midline_mm("L")) < 1.5) & upper & around.cavity
    mask &= (around.depth_mm > 5) & (around.depth_mm < 30)
    for _ in range(int(rng.integers(1, 5))):
        point = random_point_mm(bearer, mask)
        if point is not None:
            add_ball(share, point, (rng.uniform(1, 2), rng.uniform(3, 9), rng.uniform(2, 6)))
    return share * bearer.head.anatomy.cavity


def _meningioma(bearer: Bearer) -> Shares:
    """A round, dense mass with broad contact to the inner table, partly calcified."""
    around, rng = bearer.around, bearer.rng
    mask = (around.depth_mm > 1) & (around.depth_mm < 3) & ~around.infratentorial
    point = random_point_mm(bearer, mask & (around.axes_mm[0] > around.middle_mm[2] - 25))
    if point is None:
        return None
    share, radius = empty_share(), float(rng.uniform(5, 16))
    add_ball(share, point, radius * rng.uniform(0.85, 1.15, 3))
    share *= bearer.head.anatomy.cavity
    local = box_around(point, radius + 4)
    spots = np.clip(rough_field(rng, share[local].shape, 6.0) - rng.uniform(0.8, 2.0), 0, 1)
    share[local] *= np.clip(np.float32(rng.uniform(0.08, 0.2)) + spots, 0, 1)
    return share


def _granuloma(bearer: Bearer) -> Shares:
    """One to four calcified spots in the brain."""
    around, rng, share = bearer.around, bearer.rng, empty_share()
    tissue = bearer.head.anatomy.grey[around.box] > 0.5
    for _ in range(int(rng.integers(1, 5))):
        point = random_point_mm(bearer, tissue)
        if point is not None:
            add_ball(share, point, rng.uniform(1.0, 3.0) * rng.uniform(0.8, 1.2, 3))
    return share * bearer.head.anatomy.cavity


def _wall(bearer: Bearer) -> Shares:
    """Plaques in the walls of the carotid, vertebral and basilar arteries."""
    around, rng, share = bearer.around, bearer.rng, empty_share()
    vessel = bearer.head.anatomy.vessel[around.box]
    mask = np.isin(vessel, _LARGE_ARTERIES) & (bearer.head.anatomy.artery[around.box] > 0.3)
    for _ in range(int(rng.integers(1, 7))):
        point = random_point_mm(bearer, mask)
        if point is not None:
            add_ball(share, point, rng.uniform(0.8, 1.6) * rng.uniform(0.8, 1.5, 3))
    return share


def _siphon(bearer: Bearer) -> Shares:
    """Calcium in the walls of both carotid siphons, in tracks along the vessel."""
    anatomy, around = bearer.head.anatomy, bearer.around
    vessel, artery = anatomy.vessel[around.box], anatomy.artery[around.box]
    height = np.broadcast_to(around.axes_mm[0], vessel.shape)
    end = height[vessel == Vessel.M1]
    if not end.size:
        return None
    wall = (vessel == Vessel.ICA) & (artery > 0.15) & (artery < 0.8)
    wall &= (height < end.mean()) & (height > end.mean() - _SIPHON_MM)
    return _speckled(bearer, wall, float(bearer.rng.uniform(0.1, 0.6)), 5.0)


def _thrombus(bearer: Bearer) -> Shares:
    """The clot of the stroke; without a stroke, a dense piece of a proximal artery."""
    anatomy, around = bearer.head.anatomy, bearer.around
    if bearer.stroke is not None:
        where = clot(anatomy, bearer.stroke)
    else:
        where = np.isin(anatomy.vessel, PROXIMAL) & (anatomy.artery > 0.2)
        point = random_point_mm(bearer, where[around.box])
        if point is None:
            return None
        near = empty_share()
        add_ball(near, point, np.full(3, bearer.rng.uniform(6, 20)))
        where &= near > 0.5
    return np.asarray(np.clip(anatomy.artery * np.float32(1.6), 0, 1) * where)


def _dense_vessels(bearer: Bearer) -> Shares:
    """All vessels, arteries and veins alike, in a patient with too many red cells."""
    anatomy = bearer.head.anatomy
    return np.asarray(anatomy.artery + anatomy.vein)


def _staining(bearer: Bearer) -> Shares:
    """Iodine that leaked into dead grey matter when the artery was reopened."""
    stroke, anatomy = bearer.stroke, bearer.head.anatomy
    if stroke is None:
        return None
    mask = (stroke.core_weight > 0.3) & (anatomy.grey > 0.4)
    if not mask.any():
        return None
    local: Box = bounding_box(mask, 4)
    soft = ndimage.gaussian_filter((mask[local] * anatomy.grey[local]).astype(np.float32), 1.0)
    level = float(bearer.rng.uniform(-1.2, 0.3))
    patches = np.clip(rough_field(bearer.rng, soft.shape, 18.0, octaves=2) - level, 0, 1)
    share = empty_share()
    tissue = anatomy.grey[local] + anatomy.white[local]
    share[local] = np.clip(soft * patches * 1.4, 0, 1) * tissue
    return share


@dataclass(frozen=True)
class Mimic:
    """One thing that can be taken for blood.

    Parameters
    ----------
    group : str
        Name of the inclusion that it becomes part of.
    chance : float
        How often a patient has it.
    hu : (low, high)
        HU at 120 kVp where it fills a voxel.
    make : callable
        Gives its shares on the head grid, or None where this head has no place for it.
    ages : bool
        Whether it becomes more frequent with age.
    shifted : float
        Factor of the frequency in the shifted cohort.
    needs_stroke : bool
        Whether only patients with a stroke have it.
    """

    group: str
    chance: float
    hu: tuple[float, float]
    make: Callable[[Bearer], Shares]
    ages: bool = False
    shifted: float = 1.0
    needs_stroke: bool = False


MIMICS: dict[str, Mimic] = {
    "basal_ganglia_calcification": Mimic(
        "calcification", 0.08, (110, 260), _basal_ganglia, ages=True, shifted=2.0
    ),
    "choroid_calcification": Mimic(
        "calcification", 0.15, (120, 400), _choroid, ages=True, shifted=1.5
    ),
    "falx_calcification": Mimic("calcification", 0.1, (150, 500), _falx, ages=True, shifted=1.5),
    "meningioma": Mimic("calcification", 0.015, (110, 250), _meningioma, ages=True, shifted=2.5),
    "granuloma": Mimic("calcification", 0.03, (150, 400), _granuloma, shifted=2.5),
    "wall_calcification": Mimic("calcification", 0.25, (200, 700), _wall, ages=True),
    "siphon_calcification": Mimic("calcification", 0.7, (250, 900), _siphon, ages=True),
    "thrombus": Mimic("hyperdense_artery", 0.35, (62, 90), _thrombus, needs_stroke=True),
    "dense_vessels": Mimic("hyperdense_artery", 0.015, (62, 74), _dense_vessels, shifted=3.0),
    "contrast_staining": Mimic(
        "contrast_staining", 0.06, (95, 170), _staining, shifted=2.0, needs_stroke=True
    ),
    "clip": Mimic("metal", 0.012, (METAL_HU, METAL_HU), clip, shifted=3.0),
    "shunt": Mimic("metal", 0.006, (METAL_HU, METAL_HU), shunt, shifted=3.0),
    "cochlear_implant": Mimic("metal", 0.004, (METAL_HU, METAL_HU), cochlear_implant, shifted=3.0),
    "dental": Mimic("metal", 0.25, (METAL_HU, METAL_HU), dental),
}
GROUPS: dict[str, tuple[str, ...]] = {
    group: tuple(name for name, mimic in MIMICS.items() if mimic.group == group)
    for group in dict.fromkeys(mimic.group for mimic in MIMICS.values())
}
