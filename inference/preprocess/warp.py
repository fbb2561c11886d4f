"""A volume moved rigidly onto its own grid or another: linear between slices, then bicubic in the
plane.

Bicubic interpolation keeps the width of vessels and most of the noise's texture, which a linear one
would blur frame by frame. Slices may be tilted and unevenly spaced. Every plane to be fetched is
first made on the pixels of the volume, each pixel a mean of the slices above and below the plane
there, and then sampled where its own pixels lie: sampling slice by slice gives the same and takes
two to three times as long.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from inference.geometry import Geometry

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

_NEGLIGIBLE_MM = 1e-3


def warp(
    volume: Float32Array,
    geometry: Geometry,
    slices: range,
    rotation: FloatArray,
    shift: FloatArray,
    *,
    rows: range | None = None,
    columns: range | None = None,
    onto: Geometry | None = None,
) -> Float32Array:
    """Fetch the content of some slices from where it moved to.

    Parameters
    ----------
    volume : array, shape ``(slice, row, column)``
        The volume that moved.
    geometry : Geometry
        Its grid.
    slices : range
        Which slices to make.
    rotation : array, shape ``(3, 3)``
    shift : array, shape ``(3,)``
        A point ``x`` (LPS, mm) is fetched from ``rotation @ x + shift``. Beyond the grid the values
        of its border go on.
    rows, columns : range, optional
        Which pixels to make; all by default.
    onto : Geometry, optional
        The grid whose slices, rows and columns are made; the volume's own by default.

    Returns
    -------
    array, shape ``(len(slices), len(rows), len(columns))``
    """
    target = onto or geometry
    rows, columns = rows or range(target.rows), columns or range(target.columns)
    planes = _planes(geometry, target, slices, rotation, shift)
    source = torch.from_numpy(volume)
    down = torch.arange(rows.start, rows.stop, dtype=torch.float32)[:, None]
    across = torch.arange(columns.start, columns.stop, dtype=torch.float32)
    x, y = (
        torch.from_numpy(planes.starts[:, axis].astype(np.float32))[:, None, None]
        + down * float(planes.row_step[axis])
        + across * float(planes.column_step[axis])
        for axis in (0, 1)
    )
    used = _needed(y, geometry.rows), _needed(x, geometry.columns)
    # All planes at once: torch samples several images side by side.
    images = torch.stack([_between_slices(source, planes, start, used) for start in planes.starts])
    return _bicubic(images, x - used[1].start, y - used[0].start).numpy()


@dataclass(frozen=True, eq=False)
class _Planes:
    """Where the wanted slices lie in the volume, in columns, rows and mm along the normal.

    ``starts`` of shape ``(slice, 3)`` is that of the first pixels, the steps of shape ``(3,)`` lead
    to the next row and column; ``heights`` of shape ``(slice,)`` are those of the volume's slices.
    Columns and rows are counted from the first pixel of a slice at that height, so that the planes
    of a tilted stack, which slide over each other, count as if they did not.
    """

    starts: FloatArray
    row_step: FloatArray
    column_step: FloatArray
    heights: FloatArray


def _planes(
    geometry: Geometry, target: Geometry, slices: range, rotation: FloatArray, shift: FloatArray
) -> _Planes:
    """The wanted slices of ``target``, moved, in the volume of ``geometry``."""
    # LPS mm to columns, rows and mm along the normal.
    to_grid = np.stack(
        [
            geometry.row_cosines / geometry.pixel_spacing_mm[1],
            geometry.column_cosines / geometry.pixel_spacing_mm[0],
            geometry.normal,
        ]
    )
    places = geometry.positions_mm @ to_grid.T
    height = float(np.ptp(places[:, 2]))
    slide = (places[-1, :2] - places[0, :2]) / max(height, _NEGLIGIBLE_MM)
    upright = np.eye(3)
    upright[:2, 2] = -slide
    first = upright @ places[0]
    origin = np.array([first[0], first[1], 0.0])
    moved = target.positions_mm[slices.start : slices.stop] @ rotation.T + shift
    row_mm, column_mm = target.pixel_spacing_mm
    return _Planes(
        starts=moved @ to_grid.T @ upright.T - origin,
        row_step=upright @ to_grid @ rotation @ target.column_cosines * row_mm,
        column_step=upright @ to_grid @ rotation @ target.row_cosines * column_mm,
        heights=places[:, 2],
    )


def _between_slices(
    volume: torch.Tensor, planes: _Planes, start: FloatArray, used: tuple[slice, slice]
) -> torch.Tensor:
    """A plane on some rows and columns of the volume, linear between the slices."""
    rows, columns = used
    # Height over the pixels of the volume: the steps turned round.
    steps = np.stack([planes.column_step, planes.row_step])
    slope = np.linalg.solve(steps[:, :2], steps[:, 2])
    at_origin = float(start[2] - start[:2] @ slope)
    down = torch.arange(rows.start, rows.stop, dtype=torch.float32)[:, None] * float(slope[1])
    across = torch.arange(columns.start, columns.stop, dtype=torch.float32) * float(slope[0])
    heights = planes.heights
    height = (at_origin + down + across).clamp(float(heights[0]), float(heights[-1]))
    last = len(heights) - 1
    low = int(np.searchsorted(heights, float(height.min()), side="right")) - 1
    high = int(np.searchsorted(heights, float(height.max()) - _NEGLIGIBLE_MM, side="left"))
    low, high = min(max(low, 0), last), min(max(high, 0), last)
    image = volume[low, rows, columns].clone()
    for layer in range(low, high):
        share = (height - float(heights[layer])) / float(heights[layer + 1] - heights[layer])
        step = volume[layer + 1, rows, columns] - volume[layer, rows, columns]
        image += share.clamp_(0, 1) * step
    return image


def _bicubic(images: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Values of images, shape ``(image, row, column)``, each at fractional columns and rows."""
    _, rows, columns = images.shape
    places = torch.stack([(2 * x + 1) / columns - 1, (2 * y + 1) / rows - 1], dim=-1)
    return torch.nn.functional.grid_sample(
        images[:, None], places, mode="bicubic", padding_mode="border", align_corners=False
    )[:, 0]


def _needed(places: torch.Tensor, size: int) -> slice:
    """The rows or columns that a bicubic kernel reads at some places."""
    first = min(max(int(places.min()) - 2, 0), size - 1)
    last = min(max(int(places.max()) + 3, first), size - 1)
    return slice(first, last + 1)
