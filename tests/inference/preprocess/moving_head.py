"""Heads by formula in any pose, on any stack of slices, for the tests of motion correction."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from inference.dicom.volumes import Source, TimeSeries
from inference.geometry import Geometry
from tests.support.analytic.head import hull_distance

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
Pose = Sequence[float]

STILL: Pose = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
_AXES_MM = np.array([64.0, 84.0, 105.0])
_LYING = Rotation.from_euler("xyz", (5, -3, 7), degrees=True)
# Distance from the brain's hull in mm, and HU there: brain, skull, skin, air, without steps.
_LAYERS_MM = (-1.5, 0.5, 6.0, 8.0, 12.0, 14.0)
_LAYERS_HU = (32.0, 900.0, 900.0, 30.0, 30.0, -1000.0)
# Signal of gradient-echo EPI: brain bright, skull dark, skin in between.
_LAYERS_MR = (400.0, 40.0, 40.0, 150.0, 150.0, 0.0)
# Centre and radius in mm of what the base of the skull has: petrous bones and a frontal sinus.
_PETROUS_MM = ((-42.0, 8.0, -30.0), (42.0, 8.0, -30.0))
_SINUS_MM = (0.0, -84.0, -22.0)
_RADIUS_MM = 11.0
_SUB_SLICES = 4


def stack(
    heights_mm: Sequence[float] | FloatArray,
    matrix: int = 96,
    *,
    tilt_deg: float = 0.0,
    fov_mm: float = 230.0,
) -> Geometry:
    """Slices at some heights of the table; a tilted gantry shears them towards the feet."""
    tilt = np.radians(tilt_deg)
    rows, columns = np.array([1.0, 0, 0]), np.array([0, np.cos(tilt), np.sin(tilt)])
    pixel = fov_mm / matrix
    half = pixel * (matrix - 1) / 2
    middle = np.asarray(heights_mm, np.float64)[:, None] * np.array([0, 0, 1.0])
    return Geometry(middle - half * (rows + columns), rows, columns, (pixel, pixel), matrix, matrix)


def even(slices: int, thickness_mm: float, matrix: int = 96, **options: float) -> Geometry:
    """Slices without gaps around the middle of the head."""
    heights = (np.arange(slices, dtype=np.float64) - (slices - 1) / 2) * thickness_mm
    return stack(heights, matrix, **options)


def displaced(points_mm: FloatArray, pose: Pose) -> FloatArray:
    """Where points go when the head turns about the origin (degrees) and shifts (mm)."""
    turn = Rotation.from_euler("xyz", pose[3:], degrees=True)
    return np.asarray(turn.apply(points_mm) + np.array(pose[:3]))


def brain_points_mm() -> FloatArray:
    """Points all over the brain."""
    rng = np.random.default_rng(3)
    directions = rng.normal(size=(400, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.asarray(directions * rng.uniform(0, 1, (400, 1)) ** (1 / 3) * (58.0, 76.0, 50.0))


def head(geometry: Geometry, pose: Pose = STILL, *, mr: bool = False) -> Float32Array:
    """Image of the head in a pose, mean over the thickness of each slice; HU, or the MR signal."""
    levels = _LAYERS_MR if mr else _LAYERS_HU
    total = np.zeros(geometry.shape)
    for layer in range(_SUB_SLICES):
        inside, distance = _in_head(geometry, pose, (layer + 0.5) / _SUB_SLICES - 0.5)
        values = np.interp(distance, _LAYERS_MM, levels)
        for centre in _PETROUS_MM:
            values += (levels[1] - levels[0]) * _ball(inside, centre) * (distance < 0)
        values += (levels[-1] - values) * _ball(inside, _SINUS_MM)
        total += values.reshape(geometry.shape)
    return (total / _SUB_SLICES).astype(np.float32)


def _in_head(geometry: Geometry, pose: Pose, offset: float) -> tuple[FloatArray, Float32Array]:
    """Where the voxels lie in the head, ``(voxel, 3)``, and their distance from the brain's hull.

    ``offset`` in slice thicknesses from the middle of the slice.
    """
    grid = np.stack([geometry.coordinates_mm(axis) for axis in range(3)], axis=-1)
    grid += offset * geometry.slice_extents_mm[:, None, None, None] * geometry.normal
    turn = Rotation.from_euler("xyz", pose[3:], degrees=True) * _LYING
    inside = turn.inv().apply((grid - np.array(pose[:3])).reshape(-1, 3))
    return inside, hull_distance(_AXES_MM, inside.T[:, None].astype(np.float32))[0]


def _ball(points_mm: FloatArray, centre_mm: tuple[float, ...]) -> FloatArray:
    """1 inside a ball, 0 outside, over 2 mm from one to the other."""
    distance = np.linalg.norm(points_mm - np.array(centre_mm), axis=1)
    return np.asarray(np.clip((_RADIUS_MM + 1 - distance) / 2, 0, 1))


def series(
    geometry: Geometry,
    poses: Sequence[Pose],
    *,
    noise: float | Sequence[float] = 0.0,
    times_s: FloatArray | None = None,
    mr: bool = False,
    seed: int = 0,
) -> TimeSeries:
    """Frames of the head in some poses, 2 s apart, with white noise of one or many sizes."""
    rng = np.random.default_rng(seed)
    images = {tuple(pose): head(geometry, pose, mr=mr) for pose in poses}
    data = np.stack([images[tuple(pose)] for pose in poses])
    sizes = np.broadcast_to(np.asarray(noise, np.float32), len(poses))
    data += rng.normal(size=data.shape).astype(np.float32) * sizes[:, None, None, None]
    if times_s is None:
        times_s = np.repeat(2.0 * np.arange(len(poses))[:, None], geometry.slices, axis=1)
    uids = np.array([[f"1.{t}.{s}" for s in range(geometry.slices)] for t in range(len(poses))])
    source = Source("1", ("1",), uids)
    return TimeSeries(data, times_s, geometry, "1" if mr else "HU", source)


def with_bolus(
    plain: TimeSeries, poses: Sequence[Pose], arrival: int, *, peak: float
) -> TimeSeries:
    """Contrast from frame ``arrival`` on: in tissue, and twenty times as much in two vessels.

    ``peak`` is that of the tissue: HU that CT gains, or the share of the signal that MR loses.
    """
    after = np.maximum(np.arange(len(plain.data)) - arrival + 1, 0)
    course = after * np.exp(1 - after / 3) / 3
    data = plain.data.copy()
    for frame, pose, height in zip(data, poses, course, strict=True):
        inside, distance = _in_head(plain.geometry, pose, 0.0)
        vessels = np.hypot(np.abs(inside[:, 0]) - 40, inside[:, 1] + 20) < 5
        weight = ((distance < -1) * (1 + 19.0 * vessels)).reshape(frame.shape)
        if plain.units == "HU":
            frame += (peak * height * weight).astype(np.float32)
        else:
            frame *= np.exp(np.log1p(-peak) * height * np.minimum(weight, 3)).astype(np.float32)
    return replace(plain, data=data)
