"""Blood around the brain: subarachnoid, subdural and epidural."""

import numpy as np
from scipy import ndimage

from training.simulate.anatomy.fields import coarsen, refine
from training.simulate.anatomy.model import Region, Vessel
from training.simulate.arrays import BoolArray, Float32Array, FloatArray
from training.simulate.pathology.bleeds import Part, Place
from training.simulate.pathology.growing import grow, rough_field
from training.simulate.pathology.surroundings import Surroundings

_TRAVEL_MM = 2
_DISTENDED = 1.5
# Direction (x to the bleed's side, y to the back, z up) in which the middle of an epidural
# hematoma lies from the middle of the cavity.
_EPIDURAL: dict[Place, tuple[float, float, float]] = {
    Place.TEMPORAL: (1.0, -0.1, -0.1),
    Place.FRONTAL: (0.55, -0.9, 0.25),
    Place.PARIETAL: (0.8, 0.35, 0.7),
    Place.OCCIPITAL: (0.45, 1.0, 0.15),
    Place.POSTERIOR_FOSSA: (0.5, 0.75, -0.9),
}


def subarachnoid(
    around: Surroundings, part: Part, taken: Float32Array, rng: np.random.Generator
) -> Float32Array:
    """Share of subarachnoid blood on the box of the surroundings.

    It spreads through CSF outside the ventricles, by the way that it has to flow: from an aneurysm
    of the circle of Willis into the basal cisterns, the Sylvian and the interhemispheric fissures,
    or from a torn cortical vessel along the sulci of one convexity. It distends what it fills.
    """
    outside = around.csf * ~around.ventricles * around.cavity
    distended = np.clip(outside * np.float32(_DISTENDED), 0, 1)
    room = np.minimum(distended, 1 - np.clip(taken + around.firm, 0, 1))
    basal = part.place == Place.BASAL
    start = _aneurysm_mm(around, part, rng) if basal else _sulcus_mm(around, part, room, rng)
    travel = _travel_mm(around, room, start)
    spread = 8.0 if basal else 4.0
    score = -travel + np.float32(spread) * rough_field(rng, room.shape, 25.0, octaves=2)
    wide = ndimage.uniform_filter(outside, 5)
    score += np.float32(50 if basal else 12) * np.minimum(wide, 0.7)
    shell = np.clip((3.5 - around.depth_mm) / 2, 0, 1)
    if basal:
        shell *= np.clip((around.axes_mm[0] - np.float32(start[2]) - 8) / 12, 0, 1)
    score -= np.float32(30) * shell
    return grow(score, room, part.volume_ml, edge_mm=6.0 if basal else 3.0)


def _aneurysm_mm(around: Surroundings, part: Part, rng: np.random.Generator) -> FloatArray:
    """A point of the circle of Willis: anterior, middle or posterior communicating, basilar top."""
    vessel = around.anatomy.vessel[around.box]
    name = (Vessel.ACA, Vessel.M1, Vessel.ICA, Vessel.BASILAR)[
        int(rng.choice(4, p=(0.35, 0.22, 0.3, 0.13)))
    ]
    found = np.nonzero((vessel == name) & around.cavity & (around.on_side(part.side)))
    points = np.column_stack(
        [axis.ravel()[at] for axis, at in zip(around.axes_mm, found, strict=True)][::-1]
    )
    outward = np.abs(points[:, 0] - around.middle_mm[0])
    order = {
        Vessel.ACA: points[:, 2] + outward,
        Vessel.M1: -outward,
        Vessel.ICA: -points[:, 2],
        Vessel.BASILAR: -points[:, 2],
    }[name]
    near = np.argsort(order, kind="stable")[: max(len(order) // 10, 1)]
    return np.asarray(points[near].mean(axis=0), dtype=np.float64)


def _sulcus_mm(
    around: Surroundings, part: Part, room: Float32Array, rng: np.random.Generator
) -> FloatArray:
    upper = (around.depth_mm > 4) & (around.depth_mm < 18) & (room > 0.4)
    upper &= around.axes_mm[0] > np.float32(around.middle_mm[2] - 20)
    upper &= around.on_side(part.side) & ~around.infratentorial
    return around.point_mm(int(rng.choice(np.flatnonzero(upper))))


def _travel_mm(around: Surroundings, room: Float32Array, start_mm: FloatArray) -> Float32Array:
    """Length of the way through CSF from a point, with tissue passed eight times as slowly."""
    import SimpleITK as sitk  # noqa: N813

    coarse = coarsen(room, _TRAVEL_MM)
    speed = sitk.GetImageFromArray(np.clip(coarse * 1.6, 0.12, 1).astype(np.float32))
    origin = [float(axis.ravel()[0]) for axis in reversed(around.axes_mm)]
    seed = [int((at - low) // _TRAVEL_MM) for at, low in zip(start_mm, origin, strict=True)]
    marched = sitk.FastMarching(speed, trialPoints=[seed], normalizationFactor=1.0)  # type: ignore[no-untyped-call]
    times = sitk.GetArrayFromImage(marched).astype(np.float32)
    times = np.minimum(times, np.float32(1000)) * np.float32(_TRAVEL_MM)
    return refine(times, _TRAVEL_MM, room.shape)


def subdural(
    around: Surroundings, part: Part, taken: Float32Array, rng: np.random.Generator
) -> Float32Array:
    """Share of subdural blood on the box of the surroundings.

    Over a hemisphere it is a crescent along the inner table that thins out towards its edges and
    ends at falx and tentorium; otherwise a thin sheet along one of these two.
    """
    if part.place == Place.HEMISPHERE:
        sheet, cover = around.depth_mm, _crescent(around, part, rng)
    elif part.place == Place.FALX:
        sheet = around.from_midline_mm(part.side)
        cover = _falx_cover(around, rng)
    else:
        sheet = around.tentorium_mm - 1
        cover = np.clip((around.depth_mm + 2) / 10, 0, 1)
        cover *= around.from_midline_mm(part.side) > 3
        behind = around.axes_mm[1] - np.float32(around.middle_mm[1])
        cover *= np.clip((behind - 5) / 15, 0, 1)
    allowed = around.cavity & around.on_side(part.side) & ~around.infratentorial & (sheet > 0)
    uneven = 1 + 0.22 * rough_field(rng, taken.shape, 45.0, octaves=2)
    thin = cover * np.maximum(uneven, 0.3)
    return _fill_sheet(around, sheet, np.where(allowed, thin, 0), taken, part.volume_ml)


def _crescent(around: Surroundings, part: Part, rng: np.random.Generator) -> Float32Array:
    """Relative thickness over a hemisphere, 1 in the middle and 0 beyond the edge."""
    thickness = float(np.clip(2.4 * part.volume_ml**0.4 * np.exp(rng.normal(0, 0.2)), 2, 20))
    area = 1000 * part.volume_ml / (0.5 * thickness)
    half = float(np.arccos(np.clip(1 - area / (2 * np.pi * 68**2), -0.2, 0.98)))
    sideways = 1.0 if part.side == "L" else -1.0
    centre = (sideways, float(rng.uniform(-0.45, 0.45)), float(rng.uniform(0.1, 0.7)))
    along, up = _angles(around, np.array(centre))
    longer = float(rng.uniform(1.1, 1.6))
    reach = (along / np.float32(half * longer)) ** 2 + (up / np.float32(half / longer**0.5)) ** 2
    cover = np.clip(1 - reach, 0, 1) ** np.float32(rng.uniform(0.5, 0.9))
    cover *= np.clip((around.from_midline_mm(part.side) - 1) / 8, 0, 1)
    return np.asarray(cover)


def _angles(around: Surroundings, centre: FloatArray) -> tuple[Float32Array, Float32Array]:
    """Angles from a direction, backwards and upwards, as seen from the middle of the cavity."""
    outward = centre / np.linalg.norm(centre)
    back = np.cross(np.array([0.0, 0.0, 1.0]), outward)
    back = back / np.linalg.norm(back)
    above = np.cross(outward, back)
    z, y, x = around.offsets_mm(around.middle_mm)
    parts = [
        np.float32(axis[0]) * x + np.float32(axis[1]) * y + np.float32(axis[2]) * z
        for axis in (outward, back, above)
    ]
    along, up = np.arctan2(parts[1], parts[0]), np.arctan2(parts[2], np.abs(parts[0]))
    return along, up


def _falx_cover(around: Surroundings, rng: np.random.Generator) -> Float32Array:
    """The upper, mostly the posterior part of the falx."""
    z, y, _ = around.offsets_mm(around.middle_mm)
    middle = np.float32(rng.uniform(-30, 55))
    cover = np.clip(1 - ((y - middle) / np.float32(rng.uniform(30, 55))) ** 2, 0, 1)
    free_edge = np.where(y > 25, -10, 22).astype(np.float32)
    return np.asarray(cover * np.clip((z - free_edge) / 8, 0, 1) * (around.depth_mm < 45))


def epidural(
    around: Surroundings, part: Part, taken: Float32Array, rng: np.random.Generator
) -> Float32Array:
    """Share of epidural blood on the box of the surroundings: a lens against the inner table.

    Dura is attached at the sutures, so that the lens is thick and ends abruptly.
    """
    x, y, z = np.array(_EPIDURAL[part.place]) + rng.normal(0, 0.12, 3)
    direction = np.array([x if part.side == "L" else -x, y, z])
    direction /= np.linalg.norm(direction)
    radius = float((part.volume_ml * 1000 / (0.5 * np.pi * rng.uniform(0.6, 0.9))) ** (1 / 3))
    centre = _inner_table_mm(around, direction)
    offsets = around.offsets_mm(centre)[::-1]
    along = sum(
        np.float32(unit) * axis for unit, axis in zip(direction, offsets, strict=True)
    )  # fmt: skip
    square = sum(axis**2 for axis in offsets) - np.asarray(along) ** 2
    lens = np.clip(1 - square / np.float32(radius**2), 0, 1) ** np.float32(rng.uniform(0.7, 1.0))
    lens *= (along > -min(radius + 6, 38)) & (along < 15)
    lens *= np.maximum(1 + 0.08 * rough_field(rng, taken.shape, 30.0), 0.3)
    allowed = around.cavity & around.on_side(part.side)
    below = part.place == Place.POSTERIOR_FOSSA
    allowed &= around.infratentorial == below
    lens *= np.clip((around.from_midline_mm(part.side) - 1) / 6, 0, 1)
    return _fill_sheet(around, around.depth_mm, np.where(allowed, lens, 0), taken, part.volume_ml)


def _inner_table_mm(around: Surroundings, direction: FloatArray) -> FloatArray:
    """Where a ray from the middle of the cavity leaves it, as x, y, z."""
    steps = np.arange(5.0, 130.0)
    points = around.middle_mm + steps[:, None] * direction
    low = np.array([float(axis.ravel()[0]) for axis in reversed(around.axes_mm)])
    index = np.round(points - low).astype(int)[:, ::-1]
    index = np.clip(index, 0, np.array(around.cavity.shape) - 1)
    outside = ~around.cavity[tuple(index.T)]
    last = int(np.argmax(outside)) if outside.any() else len(steps) - 1
    return np.asarray(points[max(last - 1, 0)])


def _fill_sheet(
    around: Surroundings,
    sheet_mm: Float32Array,
    cover: Float32Array | FloatArray,
    taken: Float32Array,
    target_ml: float,
) -> Float32Array:
    """Fill from a surface inwards, to a thickness proportional to ``cover``."""
    covered = cover > 0.02
    score = np.full(taken.shape, -np.inf, dtype=np.float32)
    score[covered] = -sheet_mm[covered] / cover[covered].astype(np.float32)
    room = _free(around, taken) * covered
    return grow(score, room, target_ml, edge_mm=1.0)


def _free(around: Surroundings, taken: Float32Array) -> Float32Array:
    """Share of each voxel that extra-axial blood can take: not dura, bone or a sinus."""
    sinus: BoolArray = around.region == Region.NONE
    vein = np.where(sinus, around.anatomy.vein[around.box], 0)
    return np.asarray((1 - np.clip(taken + around.firm + vein, 0, 1)) * around.cavity)
