"""Rendering of the same voxels many times: :func:`~training.simulate.space.render` as a matrix."""

import numpy as np
import numpy.typing as npt

from inference.geometry import Geometry
from training.simulate.arrays import Float32Array, FloatArray
from training.simulate.space import HEAD_SHAPE, Pose, head_index


class Sampler:
    """What some voxels of the head grid give to each voxel of a scanner.

    The same points and weights as :func:`~training.simulate.space.render`, kept as a sparse
    matrix: worth it from about ten volumes with one pose.

    Parameters
    ----------
    voxels : int64 array, shape ``(voxel,)``
        Flat indices into the head grid, ascending; all others give 0.
    geometry, pose, thickness_mm :
        As for ``render``.
    """

    def __init__(
        self,
        voxels: npt.NDArray[np.int64],
        geometry: Geometry,
        pose: Pose,
        thickness_mm: float,
    ) -> None:
        from scipy import sparse

        self._shape = geometry.shape
        column = np.full(int(np.prod(HEAD_SHAPE)), -1, dtype=np.int32)
        column[voxels] = np.arange(len(voxels), dtype=np.int32)
        column = column.reshape(HEAD_SHAPE)
        pixels = geometry.rows * geometry.columns
        slabs = []
        for index in range(geometry.slices):
            points = _points(geometry, pose, thickness_mm, index)
            pixel, place, weight = _corners(points, column)
            weight /= np.float32(points.shape[1])
            slabs.append(sparse.csr_matrix((weight, (pixel, place)), shape=(pixels, len(voxels))))
        self._matrix = sparse.vstack(slabs, format="csr")

    def __call__(self, values: Float32Array) -> Float32Array:
        """Values of the voxels, averaged over the scanner's: ``(slice, row, column)``."""
        return np.asarray(self._matrix @ values, dtype=np.float32).reshape(self._shape)


def _points(geometry: Geometry, pose: Pose, thickness_mm: float, index: int) -> FloatArray:
    """Fractional head indices of the points of one slice, shape ``(pixel, point, 3)``."""
    layers = max(1, round(thickness_mm))
    fine = max(1, round(max(geometry.pixel_spacing_mm)))
    along = ((np.arange(layers) + 0.5) / layers - 0.5) * thickness_mm
    inside = (np.arange(fine) + 0.5) / fine - 0.5
    row_step = geometry.column_cosines * geometry.pixel_spacing_mm[0]
    column_step = geometry.row_cosines * geometry.pixel_spacing_mm[1]
    offsets = (
        along[:, None, None, None] * geometry.normal
        + inside[None, :, None, None] * row_step
        + inside[None, None, :, None] * column_step
    ).reshape(-1, 3)
    centres = (
        geometry.positions_mm[index]
        + np.arange(geometry.rows)[:, None, None] * row_step
        + np.arange(geometry.columns)[None, :, None] * column_step
    ).reshape(-1, 3)
    start = head_index(pose.to_head(centres))
    # the map to head indices is affine: offsets need its linear part only
    moves = head_index(pose.to_head(offsets)) - head_index(pose.to_head(np.zeros(3)))
    return np.asarray(start[:, None, :] + moves[None, :, :])


def _corners(
    points: FloatArray, column: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], Float32Array]:
    """Pixel, column of the matrix and trilinear weight of every corner that counts."""
    limit = np.array(HEAD_SHAPE) - 1
    flat = np.clip(points.reshape(-1, 3), 0, limit)
    low = np.minimum(flat.astype(np.int32), limit - 1)
    part = (flat - low).astype(np.float32)
    pixel = np.arange(len(flat)) // points.shape[1]
    pixels, places, weights = [], [], []
    for corner in np.ndindex(2, 2, 2):
        z, y, x = (low[:, axis] + corner[axis] for axis in range(3))
        place = column[z, y, x]
        weight = np.ones(len(flat), dtype=np.float32)
        for axis in range(3):
            weight *= part[:, axis] if corner[axis] else 1 - part[:, axis]
        kept = place >= 0
        pixels.append(pixel[kept])
        places.append(place[kept])
        weights.append(weight[kept])
    return np.concatenate(pixels), np.concatenate(places), np.concatenate(weights)
