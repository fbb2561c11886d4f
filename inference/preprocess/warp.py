"""A volume moved rigidly onto its own grid or another: bicubic in the plane, linear between slices.

Bicubic interpolation keeps the width of vessels and most of the noise's texture, which a linear one
would blur frame by frame. Slices may be tilted and unevenly spaced: every source slice is sampled
where a point projects onto it and weighted by the point's height above it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from inference.geometry import Geometry

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

_NEGLIGIBLE_MM = 1e-3
_SAMPLES_AT_ONCE = 2_000_000
_TILE_SLICES = 1.0
_LEAST_TILE = 32


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
    # LPS mm to columns, rows and mm along the normal.
    to_grid = np.stack(
        [
            geometry.row_cosines / geometry.pixel_spacing_mm[1],
            geometry.column_cosines / geometry.pixel_spacing_mm[0],
            geometry.normal,
        ]
    )
    places = geometry.positions_mm @ to_grid.T
    chosen = target.positions_mm[slices.start : slices.stop]
    moved = _Moved(
        starts=(chosen @ rotation.T + shift) @ to_grid.T,
        row_step=to_grid @ rotation @ target.column_cosines * target.pixel_spacing_mm[0],
        column_step=to_grid @ rotation @ target.row_cosines * target.pixel_spacing_mm[1],
    )
    source = torch.from_numpy(volume)
    out = np.empty((len(slices), len(rows), len(columns)), np.float32)
    reach = _TILE_SLICES * max(geometry.slice_spacing_mm, _NEGLIGIBLE_MM)
    for down in _tiles(rows, moved.row_step, reach):
        for across in _tiles(columns, moved.column_step, reach):
            part = out[
                :,
                down.start - rows.start : down.stop - rows.start,
                across.start - columns.start : across.stop - columns.start,
            ]
            _warp_tile(source, places, moved, down, across, part)
    return out


@dataclass(frozen=True, eq=False)
class _Moved:
    """Where the voxels lie in the volume, in columns, rows and mm along the normal.

    ``starts`` of shape ``(slice, 3)`` is that of the first pixels, the steps of shape ``(3,)`` lead
    to the next row and column.
    """

    starts: FloatArray
    row_step: FloatArray
    column_step: FloatArray


def _tiles(pixels: range, step: FloatArray, reach_mm: float) -> list[range]:
    """Cut rows or columns into parts over which the height changes by little."""
    size = max(_LEAST_TILE, int(reach_mm / max(abs(float(step[2])), _NEGLIGIBLE_MM)))
    return [
        range(start, min(start + size, pixels.stop))
        for start in range(pixels.start, pixels.stop, size)
    ]


def _warp_tile(
    source: torch.Tensor,
    places: FloatArray,
    moved: _Moved,
    rows: range,
    columns: range,
    out: Float32Array,
) -> None:
    """Fill ``out``, which is some rows and columns of all slices."""
    down = torch.arange(rows.start, rows.stop, dtype=torch.float32)[:, None]
    across = torch.arange(columns.start, columns.stop, dtype=torch.float32)
    x, y, height = (
        down * float(moved.row_step[axis]) + across * float(moved.column_step[axis])
        for axis in range(3)
    )
    heights = places[:, 2]
    first, count = _layers(heights, moved.starts[:, 2], float(height.min()), float(height.max()))
    at_once = max(1, _SAMPLES_AT_ONCE // (count * x.numel()))
    for begin in range(0, len(out), at_once):
        part = slice(begin, begin + at_once)
        layers = np.minimum(first[part, None] + np.arange(count), len(heights) - 1)
        origins = moved.starts[part, None] - places[layers]
        above = (height + _spread(moved.starts[part, None, 2])).clamp(heights[0], heights[-1])
        shares = _hats(above, heights, layers)
        # The last slice stands in for those beyond it, and counts once.
        shares *= _spread((np.diff(layers, axis=1, prepend=-1) > 0).astype(np.float64))
        values = _bicubic(
            source, layers, x + _spread(origins[..., 0]), y + _spread(origins[..., 1])
        )
        out[part] = (values * shares).sum(dim=1).numpy()


def _layers(
    heights: FloatArray, starts: FloatArray, lowest: float, highest: float
) -> tuple[npt.NDArray[np.intp], int]:
    """For planes that reach from ``starts + lowest`` to ``starts + highest`` mm: which slice is the
    first with a share in each, and how many have one at most.
    """
    last_slice = len(heights) - 1
    first = np.searchsorted(heights, starts + lowest, side="right") - 1
    last = np.searchsorted(heights, starts + highest - _NEGLIGIBLE_MM, side="left")
    first, last = np.clip(first, 0, last_slice), np.clip(last, 0, last_slice)
    return first, int((last - first).max()) + 1


def _hats(above: torch.Tensor, heights: FloatArray, layers: npt.NDArray[np.intp]) -> torch.Tensor:
    """Shares of slices at some heights, ``(slice, layer, row, column)``, linear in between."""
    gaps = np.diff(heights, prepend=-np.inf, append=np.inf)
    away = above - _spread(heights[layers])
    share = torch.minimum(1 + away / _spread(gaps[layers]), 1 - away / _spread(gaps[layers + 1]))
    return share.clamp_(min=0)


def _spread(values: FloatArray) -> torch.Tensor:
    """Numbers for each slice and layer, to be spread over rows and columns."""
    return torch.from_numpy(values.astype(np.float32))[..., None, None]


def _bicubic(
    volume: torch.Tensor, layers: npt.NDArray[np.intp], x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    """Values of slices, ``(slice, layer, row, column)``, at fractional columns and rows."""
    rows, columns = _needed(y, volume.shape[1]), _needed(x, volume.shape[2])
    images = volume[:, rows, columns][layers]
    places = torch.stack(
        [
            (2 * (x - columns.start) + 1) / images.shape[3] - 1,
            (2 * (y - rows.start) + 1) / images.shape[2] - 1,
        ],
        dim=-1,
    )
    return torch.nn.functional.grid_sample(
        images.flatten(0, 1)[:, None],
        places.flatten(0, 1),
        mode="bicubic",
        padding_mode="border",
        align_corners=False,
    ).reshape(x.shape)


def _needed(places: torch.Tensor, size: int) -> slice:
    """The rows or columns that a bicubic kernel reads at some places."""
    first = min(max(int(places.min()) - 2, 0), size - 1)
    last = min(max(int(places.max()) + 3, first), size - 1)
    return slice(first, last + 1)
