"""The head's own voxel grid, and how a scanner's grid samples it.

Head coordinates are LPS in mm (x to the patient's left, y to the back, z up) with the origin of
MNI space at the anterior commissure. Everything that a patient consists of lies on one grid of
1 mm in these coordinates, as arrays of shape ``HEAD_SHAPE`` = ``(slice, row, column)``; a scan is
made from them by :func:`render`, whatever its resolution, tilt or motion.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from inference.geometry import Geometry
from training.simulate.arrays import BoolArray, Float32Array, FloatArray

if TYPE_CHECKING:
    import torch

HEAD_SHAPE = (204, 256, 200)
HEAD_ORIGIN_MM = (-100.0, -122.0, -95.0)
HEAD_VOXEL_ML = 0.001
Box = tuple[slice, slice, slice]
"""Part of a grid: slices, rows and columns."""
_SAMPLES_AT_ONCE = 2_000_000
_SAMPLE_MM = 1.0


@dataclass(frozen=True, eq=False)
class Pose:
    """Where the head lies in the scanner: ``scanner = rotation @ head + shift_mm``."""

    rotation: FloatArray
    shift_mm: FloatArray

    @classmethod
    def from_angles(
        cls, degrees: Sequence[float] = (0, 0, 0), shift_mm: Sequence[float] = (0, 0, 0)
    ) -> "Pose":
        """Turn about x (nodding), then y (rolling), then z (shaking), then shift."""
        from scipy.spatial.transform import Rotation

        rotation = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
        return cls(np.asarray(rotation), np.asarray(shift_mm, dtype=np.float64))

    @property
    def matrix(self) -> FloatArray:
        """4×4 matrix from head to scanner coordinates in mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.rotation
        matrix[:3, 3] = self.shift_mm
        return matrix

    def after(self, first: "Pose") -> "Pose":
        """The pose that ``first`` and then this one give."""
        return Pose(self.rotation @ first.rotation, self.rotation @ first.shift_mm + self.shift_mm)

    def to_head(self, points_mm: FloatArray) -> FloatArray:
        """Head coordinates of points in the scanner, shape ``(..., 3)``."""
        return np.asarray(np.einsum("...i,ij->...j", points_mm - self.shift_mm, self.rotation))

    def to_scanner(self, points_mm: FloatArray) -> FloatArray:
        """Scanner coordinates of points in the head, shape ``(..., 3)``."""
        return np.asarray(np.einsum("...j,ij->...i", points_mm, self.rotation) + self.shift_mm)


def head_axes_mm() -> tuple[Float32Array, Float32Array, Float32Array]:
    """Coordinates z, y, x of the head grid, shapes that broadcast to ``HEAD_SHAPE``."""
    z, y, x = (
        np.arange(count, dtype=np.float32) + np.float32(origin)
        for count, origin in zip(HEAD_SHAPE, reversed(HEAD_ORIGIN_MM), strict=True)
    )
    return z[:, None, None], y[None, :, None], x[None, None, :]


def head_index(points_mm: FloatArray) -> FloatArray:
    """Fractional ``(slice, row, column)`` indices of points ``(..., 3)`` given as x, y, z in mm."""
    return np.asarray((points_mm - np.array(HEAD_ORIGIN_MM))[..., ::-1])


def bounding_box(mask: BoolArray, margin: int = 0) -> Box:
    """Smallest box that holds a mask, with a margin in voxels; an empty one for an empty mask."""
    spans = []
    rest = mask
    for size in mask.shape:
        hit = np.flatnonzero(rest.any(axis=tuple(range(1, rest.ndim))))
        if not hit.size:
            return slice(0, 0), slice(0, 0), slice(0, 0)
        first, last = int(hit[0]), int(hit[-1])
        spans.append(slice(max(first - margin, 0), min(last + 1 + margin, size)))
        rest = np.asarray(rest[first : last + 1].any(axis=0))
    return spans[0], spans[1], spans[2]


def render(
    volumes: Sequence[Float32Array],
    geometry: Geometry,
    pose: Pose,
    thickness_mm: float,
) -> Float32Array:
    """Sample volumes of the head grid as a scanner does, by the mean over each of its voxels.

    Trilinear, over at least one point per mm in all three directions; beyond the head grid its
    border goes on (air at the sides, the neck below).

    Parameters
    ----------
    volumes : sequence of float32 arrays of shape ``HEAD_SHAPE``
        What to sample; linear quantities only (HU, fractions, concentrations).
    geometry : Geometry
        The scanner's grid.
    pose : Pose
        Where the head lies.
    thickness_mm : float
        Slice thickness (rectangular slice profile).

    Returns
    -------
    float32 array of shape ``(volume, slice, row, column)``
    """
    parts = [values for _, values in render_slices(volumes, geometry, pose, thickness_mm)]
    return np.concatenate(parts, axis=1)


def render_slices(
    volumes: Sequence[Float32Array],
    geometry: Geometry,
    pose: Pose,
    thickness_mm: float,
) -> Iterator[tuple[slice, Float32Array]]:
    """Yield the result of :func:`render` in slabs: which slices, and their values."""
    import torch
    from torch.nn import functional

    together = volumes[0][None] if len(volumes) == 1 else np.stack(volumes)
    source = torch.from_numpy(together[None])
    layers = max(1, round(thickness_mm / _SAMPLE_MM))
    fine = max(1, round(max(geometry.pixel_spacing_mm) / _SAMPLE_MM))
    per_slice = layers * geometry.rows * geometry.columns * fine**2
    at_once = max(1, _SAMPLES_AT_ONCE // per_slice)
    for first in range(0, geometry.slices, at_once):
        chosen = slice(first, min(first + at_once, geometry.slices))
        grid = _sampling_grid(geometry, pose, thickness_mm, chosen, layers, fine)
        values = functional.grid_sample(
            source, grid[None], mode="bilinear", padding_mode="border", align_corners=True
        )[0]
        count = chosen.stop - chosen.start
        values = values.reshape(len(volumes), count, layers, *values.shape[2:]).mean(2)
        if fine > 1:
            values = functional.avg_pool2d(values, fine)
        yield chosen, values.numpy()


def _sampling_grid(
    geometry: Geometry, pose: Pose, thickness_mm: float, chosen: slice, layers: int, fine: int
) -> "torch.Tensor":
    """Points to sample in units of grid_sample (-1 to 1), ``(slice · layer, row, column, 3)``."""
    import torch

    to_head = pose.rotation.T
    scale = 2 / (np.array(HEAD_SHAPE[::-1]) - 1)
    offsets = ((np.arange(layers) + 0.5) / layers - 0.5) * thickness_mm
    origins = geometry.positions_mm[chosen, None, :] + offsets[:, None] * geometry.normal
    start = (pose.to_head(origins.reshape(-1, 3)) - np.array(HEAD_ORIGIN_MM)) * scale - 1
    rows, columns = (
        (np.arange(count * fine) + 0.5) / fine - 0.5 for count in (geometry.rows, geometry.columns)
    )
    row_step = (to_head @ geometry.column_cosines) * geometry.pixel_spacing_mm[0] * scale
    column_step = (to_head @ geometry.row_cosines) * geometry.pixel_spacing_mm[1] * scale
    plane = rows[:, None, None] * row_step + columns[None, :, None] * column_step
    return torch.from_numpy(start.astype(np.float32))[:, None, None, :] + torch.from_numpy(
        plane.astype(np.float32)
    )
