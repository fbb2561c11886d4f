"""Analytic anatomy of a head: scalp, skull, brain, ventricles and vessels as formulas.

Head coordinates are in mm: x to the patient's left, y to the back, z up, with the origin between
the thalami. Anatomy is evaluated on planes of points; :func:`tissue_on_plane` says what each point
is made of.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
Point = tuple[float, float, float]


class Tissue(IntEnum):
    """What a point of the head is made of; the order is that of :data:`BASELINE_HU`."""

    AIR = 0
    SKIN = 1
    FAT = 2
    SKULL = 3
    DIPLOE = 4
    CSF = 5
    WHITE = 6
    GREY = 7
    FALX = 8
    CALCIFICATION = 9
    ARTERY = 10
    LATE_ARTERY = 11
    VEIN = 12


BASELINE_HU = np.array(
    [-1000, 35, -90, 1100, 480, 6, 28, 37, 46, 140, 45, 47, 48], dtype=np.float32
)

Course = tuple[Point, ...]
# Radius in mm and course of the vessels of the left side; the right side mirrors them.
_CAROTID: tuple[float, Course] = (
    2.0,
    ((13, -16, -62), (13, -16, -40), (15, -18, -30), (14, -15, -22)),
)
_ACA: tuple[float, Course] = (
    1.2,
    ((14, -15, -22), (3, -26, -16), (2, -50, 2), (2, -48, 30), (2, -20, 50)),
)
_PCA: tuple[float, Course] = (1.2, ((0, 8, -22), (12, 14, -19), (22, 30, -12), (20, 58, -2)))
_MIDDLE: tuple[tuple[float, Course], ...] = (
    (1.5, ((14, -15, -22), (28, -13, -20), (42, -10, -16))),
    (1.3, ((42, -10, -16), (41, -4, -4), (42, 6, 8), (50, 16, 18), (55, 26, 34))),
    (1.2, ((42, -10, -16), (41, -16, 0), (43, -24, 14), (46, -30, 34))),
)
_BASILAR: tuple[float, Course] = (1.6, ((0, 6, -60), (0, 7, -40), (0, 8, -22)))
_STRAIGHT_SINUS: tuple[float, Course] = (2.2, ((0, 26, 4), (0, 50, -4), (0, 76, -14)))
_TRANSVERSE_SINUS: tuple[float, Course] = (3.2, ((0, 78, -14), (30, 70, -18), (52, 44, -26)))
_VENTRICLE: Course = (
    (12, -37, 0),
    (7, -26, 10),
    (8, -6, 20),
    (14, 16, 20),
    (24, 32, 10),
    (26, 42, 4),
)


@dataclass(frozen=True)
class Tube:
    """A chain of points in head coordinates with one radius, mm."""

    tissue: Tissue
    radius_mm: float
    points_mm: tuple[Point, ...]


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane of points in head coordinates: origin + column · column_step + row · row_step."""

    origin: FloatArray
    column_step: FloatArray
    row_step: FloatArray
    columns: FloatArray
    rows: FloatArray

    @cached_property
    def xyz(self) -> Float32Array:
        """Coordinates of the points, shape ``(3, row, column)``, mm."""
        along = self.column_step[:, None] * self.columns
        down = self.row_step[:, None] * self.rows + self.origin[:, None]
        return np.asarray(down[:, :, None] + along[:, None, :], dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Waves:
    """Smooth random field of unit variance: a sum of plane waves in head coordinates."""

    vectors_per_mm: FloatArray
    phases: FloatArray

    @classmethod
    def draw(cls, rng: np.random.Generator, wavelengths_mm: tuple[float, float]) -> "Waves":
        """Draw 24 waves with directions in all of space and lengths in the range given."""
        directions = rng.normal(size=(24, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = rng.uniform(*wavelengths_mm, size=(24, 1))
        return cls(2 * np.pi * directions / lengths, rng.uniform(0, 2 * np.pi, 24))

    def on_plane(self, plane: Plane) -> Float32Array:
        """Values on a plane, shape ``(row, column)``; the waves factorise over rows and columns."""
        alpha = np.outer(self.vectors_per_mm @ plane.column_step, plane.columns)
        beta = np.outer(self.vectors_per_mm @ plane.row_step, plane.rows)
        beta += (self.vectors_per_mm @ plane.origin + self.phases)[:, None]
        down = np.concatenate([np.cos(beta), -np.sin(beta)]).astype(np.float32)
        across = np.concatenate([np.cos(alpha), np.sin(alpha)]).astype(np.float32)
        down /= np.float32(np.sqrt(len(self.phases) / 2))
        field = np.empty((len(plane.rows), len(plane.columns)), dtype=np.float32)
        for first in range(0, len(field), 8):  # few rows at once: no threads to start for them
            rows = slice(first, first + 8)
            np.matmul(down[:, rows].T, across, out=field[rows])
        return field


@dataclass(frozen=True, eq=False)
class Head:
    """What the seed decides about the anatomy; ``rotation`` turns head into patient coordinates."""

    brain_axes_mm: FloatArray
    rotation: FloatArray
    shift_mm: FloatArray
    skull_scale: float
    atrophy: float
    calcified: bool
    gyri: Waves
    slow: Waves
    tubes: tuple[Tube, ...]


def draw_head(rng: np.random.Generator, late_side: int, vessel_scale: float) -> Head:
    """Draw an anatomy.

    ``late_side`` is +1 or -1 where the middle cerebral artery of the left or right side fills late
    through collaterals, 0 for none; it changes nothing else. ``vessel_scale`` widens arteries for
    grids too coarse to show a radius of 1 to 2 mm.
    """
    axes = rng.normal((66, 83, 72), (2, 2.5, 2))
    angles = rng.normal(0, (4.0, 2.0, 3.0)).clip(-8, 8)
    atrophy = rng.uniform(0.7, 1.5)
    return Head(
        brain_axes_mm=axes,
        rotation=Rotation.from_euler("xyz", angles, degrees=True).as_matrix(),
        shift_mm=rng.normal(0, 2.0, 3),
        skull_scale=rng.uniform(0.8, 1.3),
        atrophy=atrophy,
        calcified=bool(rng.uniform() < 0.6),
        gyri=Waves.draw(rng, (24, 36)),
        slow=Waves.draw(rng, (60, 120)),
        tubes=_tubes(axes, atrophy, late_side, vessel_scale),
    )


def _tubes(axes: FloatArray, atrophy: float, late_side: int, scale: float) -> tuple[Tube, ...]:
    tubes = [Tube(Tissue.CSF, 4.2 * atrophy, _side(_VENTRICLE, side)) for side in (1, -1)]
    tubes.append(Tube(Tissue.ARTERY, _BASILAR[0] * scale, _BASILAR[1]))
    tubes.append(Tube(Tissue.VEIN, *_STRAIGHT_SINUS))
    for side in (1, -1):
        middle = Tissue.LATE_ARTERY if side == late_side else Tissue.ARTERY
        courses = [(Tissue.ARTERY, *course) for course in (_CAROTID, _ACA, _PCA)]
        courses += [(middle, *course) for course in _MIDDLE]
        tubes += [
            Tube(kind, radius * scale, _side(points, side)) for kind, radius, points in courses
        ]
        tubes.append(Tube(Tissue.VEIN, _TRANSVERSE_SINUS[0], _side(_TRANSVERSE_SINUS[1], side)))
    _, b, c = 0.975 * axes
    for start in range(30, 190, 20):
        arc = np.radians([start, start + 10, start + 20])
        sagittal = tuple((0.0, float(-b * np.cos(at)), float(c * np.sin(at))) for at in arc)
        tubes.append(Tube(Tissue.VEIN, 1.6 + 3.0 * start / 170, sagittal))
    return tuple(tubes)


def _side(points: tuple[Point, ...], side: int) -> tuple[Point, ...]:
    return tuple((side * x, y, z) for x, y, z in points)


def tissue_on_plane(head: Head, plane: Plane) -> npt.NDArray[np.uint8]:
    """Say what every point of a plane is made of, as :class:`Tissue`, shape ``(row, column)``."""
    xyz = plane.xyz
    distance = hull_distance(head.brain_axes_mm, xyz)
    tissue = np.zeros(distance.shape, dtype=np.uint8)
    slow = head.slow.on_plane(plane)
    thickness = head.skull_scale * (1 + 0.12 * slow)
    for kind, limit in (
        (Tissue.SKIN, 6.5 * thickness + 5.5),
        (Tissue.FAT, 6.5 * thickness + 3.5),
        (Tissue.SKULL, 6.5 * thickness),
        (Tissue.DIPLOE, 4.7 * thickness),
        (Tissue.SKULL, 1.9 * thickness),
        (Tissue.CSF, 0.0),
    ):
        tissue[distance < limit] = kind
    if (tissue == Tissue.CSF).any():
        _fill_brain(head, plane, distance, tissue)
    for tube in head.tubes:
        tissue[_inside(tube, xyz) & (distance < 1.0)] = tube.tissue
    return tissue


def hull_distance(axes_mm: FloatArray, xyz: Float32Array) -> Float32Array:
    """Distance in mm from the brain's hull along the ray from the centre, positive outside."""
    a, b, c = axes_mm
    x, y, z = xyz
    egg = a * (1 + 0.06 * np.clip(y / b, -1.2, 1.2))
    radius = np.sqrt((x / egg) ** 2 + (y / b) ** 2 + (z / c) ** 2)
    length = np.sqrt(x * x + y * y + z * z)
    return np.asarray(length * (1 - 1 / np.maximum(radius, 1e-3)), dtype=np.float32)


def _fill_brain(
    head: Head, plane: Plane, distance: Float32Array, tissue: npt.NDArray[np.uint8]
) -> None:
    """Replace the CSF inside the hull by brain with its own CSF spaces, in place."""
    gyri, slow = head.gyri.on_plane(plane), head.slow.on_plane(plane)
    xyz = _mirrored(plane.xyz)
    xyz[1] += 1.5 * gyri + 2.0 * slow
    xyz[0] *= 1 + 0.02 * gyri
    x, y, z = xyz
    depth = -distance - 0.8 - 0.9 * head.atrophy
    fade = np.clip(1 - depth / 30, 0, 1)
    sulcus = np.abs(gyri) < 0.16 * head.atrophy * fade
    cortex = (depth < 3.0) | ((np.abs(gyri) < 0.16 * head.atrophy * fade + 0.75) & (depth < 24))
    insula = (ellipsoid(xyz, (38, 0, 4), (9, 25, 21)) < 1) & (x > 36)
    deep = (
        (ellipsoid(xyz, (13, -24, 7), (5, 11, 9)) < 1)
        | (ellipsoid(xyz, (26, -6, 2), (6, 17, 11)) < 1)
        | (ellipsoid(xyz, (10, 8, 4), (8, 13, 9)) < 1)
    )
    brain = depth > 0
    tissue[brain] = Tissue.WHITE
    tissue[brain & (cortex | insula | deep)] = Tissue.GREY
    wide = head.atrophy
    fissure = (x < 0.7 + 0.7 * wide) & (depth < 38) & (z > -18)
    sylvian = (np.abs(y + 9 + 0.3 * (x - 42)) < 0.5 + 0.6 * wide) & (x > 41) & (np.abs(z) < 17)
    shell = np.abs(ellipsoid(xyz, (31, 0, 4), (11, 22, 19)) - 1) < 0.09 * wide
    cistern = shell & (x > 38)
    spaces = (
        (ellipsoid(xyz, (0, 0, -2), (1.2 + 1.4 * wide, 12, 9)) < 1)
        | (ellipsoid(xyz, (0, 33, -38), (6, 5, 8)) < 1)
        | (ellipsoid(xyz, (0, 22, -8), (9, 3.5, 6)) < 1)
        | (ellipsoid(xyz, (0, -13, -25), (12, 9, 6)) < 1)
    )
    tissue[brain & (sulcus | fissure | sylvian | cistern | spaces)] = Tissue.CSF
    tissue[(x < 0.5) & (depth < 34) & (distance < 0) & (z > -14)] = Tissue.FALX
    if head.calcified:
        spots = (ellipsoid(xyz, (24, 33, 9), (2, 3, 2)) < 1) | (
            ellipsoid(xyz, (0, 19, -2), (2, 2, 2)) < 1
        )
        tissue[spots] = Tissue.CALCIFICATION


def ellipsoid(xyz: Float32Array, centre: object, axes: object) -> Float32Array:
    """Normalised radius around ``centre``: 1 on the surface of the ellipsoid."""
    scaled = (xyz - np.reshape(np.asarray(centre, np.float32), (3, 1, 1))) / np.reshape(
        np.asarray(axes, np.float32), (3, 1, 1)
    )
    return np.asarray(np.sqrt((scaled * scaled).sum(axis=0)), dtype=np.float32)


def _mirrored(xyz: Float32Array) -> Float32Array:
    return np.stack([np.abs(xyz[0]), xyz[1], xyz[2]])


def _inside(tube: Tube, xyz: Float32Array) -> npt.NDArray[np.bool_]:
    """Points closer to the tube's chain than its radius."""
    inside = np.zeros(xyz.shape[1:], dtype=np.bool_)
    lowest, highest = float(xyz[2].min()), float(xyz[2].max())
    points = np.asarray(tube.points_mm, dtype=np.float32)
    for start, end in pairwise(points):
        low = np.minimum(start, end) - tube.radius_mm
        high = np.maximum(start, end) + tube.radius_mm
        if highest < low[2] or lowest > high[2]:
            continue
        near = np.ones_like(inside)
        for axis in range(3):
            near &= (xyz[axis] >= low[axis]) & (xyz[axis] <= high[axis])
        part = xyz[:, near] - start[:, None]
        along = end - start
        share = np.clip(along @ part / float(along @ along), 0, 1)
        offset = part - along[:, None] * share
        inside[near] |= (offset * offset).sum(axis=0) < tube.radius_mm**2
    return inside
