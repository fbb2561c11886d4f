"""Balls and rods that mimics are made of, and implants of metal."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.simulate.anatomy.model import Region, Vessel
from training.simulate.arrays import BoolArray, Float32Array, FloatArray
from training.simulate.pathology.growing import box_around, box_axes_mm
from training.simulate.pathology.head import Head
from training.simulate.pathology.stroke import Stroke
from training.simulate.pathology.surroundings import Surroundings
from training.simulate.space import HEAD_ORIGIN_MM, HEAD_SHAPE, head_index

PROXIMAL = (Vessel.ICA, Vessel.M1, Vessel.BASILAR, Vessel.PCA, Vessel.ACA, Vessel.VERTEBRAL)


@dataclass(frozen=True)
class Bearer:
    """What the mimics are drawn from."""

    head: Head
    stroke: Stroke | None
    around: Surroundings
    rng: np.random.Generator


Shares = Float32Array | None


def empty_share() -> Float32Array:
    """Nothing yet, on the head grid."""
    return np.zeros(HEAD_SHAPE, dtype=np.float32)


def add_ball(
    share: Float32Array,
    centre_mm: FloatArray,
    radii_mm: Sequence[float] | FloatArray,
    strength: float = 1.0,
) -> None:
    """Put an ellipsoid with an edge of 1 mm into ``share``."""
    box = box_around(centre_mm, max(radii_mm) + 2)
    z, y, x = box_axes_mm(box)
    radius = float(np.mean(radii_mm))
    square = sum(
        ((axis - np.float32(at)) / np.float32(reach)) ** 2
        for axis, at, reach in zip((x, y, z), centre_mm, radii_mm, strict=True)
    )
    inside = np.clip((1 - np.sqrt(square)) * np.float32(radius) + 0.5, 0, 1)
    share[box] = np.maximum(share[box], np.float32(strength) * inside)


def random_point_mm(bearer: Bearer, mask: BoolArray) -> FloatArray | None:
    """Any voxel of a mask on the surroundings' box, as x, y, z; None where it is empty."""
    candidates = np.flatnonzero(mask)
    if not candidates.size:
        return None
    return bearer.around.point_mm(int(bearer.rng.choice(candidates)))


def add_rod(
    share: Float32Array,
    start_mm: FloatArray,
    direction: FloatArray,
    length_mm: float,
    radius_mm: float,
    strength: float = 1.0,
) -> None:
    """Put a straight rod into ``share``."""
    unit = direction / np.linalg.norm(direction)
    for step in np.arange(0, length_mm, 1.0):
        add_ball(share, start_mm + step * unit, (radius_mm, radius_mm, radius_mm), strength)


def clip(bearer: Bearer) -> Shares:
    """An aneurysm clip or coil at the circle of Willis."""
    around, rng = bearer.around, bearer.rng
    vessel = bearer.head.anatomy.vessel[around.box]
    circle = np.isin(vessel, PROXIMAL) & around.cavity
    middle = np.isin(vessel, (Vessel.M1,)) & around.cavity
    if not middle.any():
        return None
    height = around.axes_mm[0].ravel()[np.nonzero(middle)[0]].mean()
    circle &= np.abs(around.axes_mm[0] - height) < 12
    point = random_point_mm(bearer, circle)
    if point is None:
        return None
    share = empty_share()
    if rng.random() < 0.5:
        add_ball(share, point, rng.uniform(2.5, 6.0) * rng.uniform(0.85, 1.15, 3))
        return share
    add_rod(share, point, rng.standard_normal(3), float(rng.uniform(6, 11)), 1.0)
    return share


def shunt(bearer: Bearer) -> Shares:
    """A ventricular catheter from the parietal bone, with its valve under the scalp."""
    around, rng = bearer.around, bearer.rng
    right = rng.random() < 0.75
    lateral = (around.region == Region.LATERAL_VENTRICLE) & around.on_side("R" if right else "L")
    end = random_point_mm(bearer, lateral)
    if end is None:
        return None
    outward = np.array([-0.75 if right else 0.75, rng.uniform(0.2, 0.7), rng.uniform(0.4, 0.9)])
    outward /= np.linalg.norm(outward)
    share = empty_share()
    length = 0.0
    for length in np.arange(0, 110, 1.0):
        point = np.clip(np.round((end + length * outward) - _lowest(around)), 0, None).astype(int)
        at = tuple(np.minimum(point[::-1], np.array(around.cavity.shape) - 1))
        if not around.cavity[at]:
            break
    thickness = bearer.head.anatomy.person.skull_thickness_mm
    add_rod(share, end, outward, length + thickness, 1.2, 0.25)
    add_ball(share, end + (length + thickness + 3) * outward, (4, 4, 4))
    return share


def _lowest(around: Surroundings) -> FloatArray:
    return np.array([float(axis.ravel()[0]) for axis in reversed(around.axes_mm)])


def cochlear_implant(bearer: Bearer) -> Shares:
    """An implant's electrode in the petrous bone and its receiver behind the ear."""
    around, rng = bearer.around, bearer.rng
    side = -1.0 if rng.random() < 0.5 else 1.0
    share = empty_share()
    inner = _nearest_bone(bearer, around.middle_mm + np.array([side * 27, 5, -45]))
    add_ball(share, inner, (2.5, 2.5, 2.5))
    outward = np.array([side, rng.uniform(0.3, 0.5), rng.uniform(-0.35, -0.1)])
    surface = _scalp_mm(bearer, outward / np.linalg.norm(outward))
    add_ball(share, surface, (3, 9, 9))
    return share * ~bearer.head.anatomy.cavity


def _nearest_bone(bearer: Bearer, near_mm: FloatArray) -> FloatArray:
    """The voxel of bone that is nearest to a point, as x, y, z."""
    box = box_around(near_mm, 30)
    index = np.nonzero(bearer.head.anatomy.bone[box] > 0.5)
    axes = box_axes_mm(box)
    points = [axis.ravel()[at] for axis, at in zip(axes, index, strict=True)]
    places = np.column_stack(points[::-1]).astype(np.float64)
    if not len(places):
        return near_mm
    return np.asarray(places[np.argmin(np.sum((places - near_mm) ** 2, axis=1))])


def _scalp_mm(bearer: Bearer, direction: FloatArray) -> FloatArray:
    """A point under the scalp where a ray from the middle of the cavity leaves the head."""
    body = bearer.head.anatomy
    points = bearer.around.middle_mm + np.arange(30.0, 130.0)[:, None] * direction
    index = np.round(head_index(points)).astype(int)
    index = index[np.all((index >= 0) & (index < np.array(HEAD_SHAPE)), axis=1)]
    at = tuple(index.T)
    solid = np.flatnonzero(body.bone[at] > 0.5)
    return np.asarray(points[int(solid[-1]) + 4 if solid.size else 40])


def dental(bearer: Bearer) -> Shares:
    """Crowns and fillings: below the brain, at the front."""
    around, rng, share = bearer.around, bearer.rng, empty_share()
    front = [around.middle_mm[0], around.middle_mm[1] - 80, HEAD_ORIGIN_MM[2] + 2]
    for _ in range(int(rng.integers(1, 9))):
        place = _nearest_bone(bearer, np.array(front) + rng.uniform(-25, 25, 3) * (1, 1, 0.2))
        add_ball(share, place, rng.uniform(2.0, 4.5) * np.ones(3))
    return share * ~bearer.head.anatomy.cavity
