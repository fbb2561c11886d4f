"""Frames at common times: per-slice acquisition times and thin slices brought to one grid.

Shuttle, jog and cine scans measure their slices at different and uneven times. Everything after
this module works on :class:`Frames`, where all slices share one even time axis and no slice is
thinner than the chosen slab. Resampling in time and averaging over slices are both linear, so they
are done in one pass, slab by slice group, without a second copy of the acquisition.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.dicom.volumes import TimeSeries
from inference.errors import NotAnalysable
from inference.geometry import Geometry

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

_SUBSTEPS = 5
_THICK_ENOUGH = 0.7


@dataclass(frozen=True, eq=False)
class Frames:
    """Volumes at common, evenly spaced times.

    ``data`` has shape ``(time, slice, row, column)`` in HU, ``times_s`` shape ``(time,)`` in
    seconds after the first image of the acquisition. ``acquired`` holds the indices of the times
    that lie next to acquired ones: the others repeat their noise.
    """

    data: Float32Array
    times_s: Float64Array
    geometry: Geometry
    acquired: npt.NDArray[np.int64]

    @property
    def step_s(self) -> float:
        """Seconds between frames."""
        return float(self.times_s[1] - self.times_s[0])


def common_times(times_s: Float64Array, step_s: float, max_duration_s: float) -> Float64Array:
    """Even time grid that every slice covers without extrapolation, shape ``(time,)``.

    Parameters
    ----------
    times_s : array, shape ``(frame, slice)``
        Acquisition times in seconds.
    step_s, max_duration_s : float
        Step of the grid and the longest part of the scan to keep: late frames for permeability
        carry no first pass.

    Raises
    ------
    NotAnalysable
        The slices have less than three steps of time in common.
    """
    start = float(times_s[0].max())
    end = min(float(times_s[-1].min()), start + max_duration_s)
    steps = int(np.floor((end - start) / step_s + 1e-6))
    if steps < 3:
        raise NotAnalysable(
            f"all slices together cover {max(end - start, 0.0):.1f} s, expected at least "
            f"{3 * step_s:.0f} s: the scan is too short or its slices were not scanned together"
        )
    return np.asarray(start + step_s * np.arange(steps + 1, dtype=np.float64))


def interpolation_matrix(times_s: Float64Array, grid_s: Float64Array) -> Float32Array:
    """Weights of shape ``(grid, frame)`` that bring one slice's frames to the grid.

    Linear interpolation; frames closer together than half a grid step are averaged over the step
    first, so that fast cine scans lose noise instead of frames.
    """
    step = float(grid_s[1] - grid_s[0])
    offsets = np.zeros(1)
    if float(np.median(np.diff(times_s))) <= 0.75 * step:
        offsets = step * (np.arange(_SUBSTEPS) + 0.5 - _SUBSTEPS / 2) / _SUBSTEPS
    weights = np.zeros((len(grid_s), len(times_s)))
    rows = np.arange(len(grid_s))
    for offset in offsets:
        wanted = np.clip(grid_s + offset, times_s[0], times_s[-1])
        right = np.clip(np.searchsorted(times_s, wanted), 1, len(times_s) - 1)
        fraction = (wanted - times_s[right - 1]) / (times_s[right] - times_s[right - 1])
        np.add.at(weights, (rows, right), fraction)
        np.add.at(weights, (rows, right - 1), 1 - fraction)
    return (weights / len(offsets)).astype(np.float32)


def slab_groups(geometry: Geometry, thickness_mm: float) -> list[range]:
    """Neighbouring slices that are averaged so that every slab is at least ``thickness_mm`` high.

    Slices that already are that high, or nearly so, stay alone. A rest at the end that does not
    fill a slab is left out, so that even slices give even slabs.
    """
    groups: list[range] = []
    start, height = 0, 0.0
    for index, extent in enumerate(geometry.slice_extents_mm):
        height += float(extent)
        alone = index == start and extent >= _THICK_ENOUGH * thickness_mm
        if alone or height >= thickness_mm - 0.01 or extent == 0:
            groups.append(range(start, index + 1))
            start, height = index + 1, 0.0
    return groups or [range(geometry.slices)]


def slab_geometry(geometry: Geometry, groups: list[range], bin_size: int = 1) -> Geometry:
    """Geometry of the slabs, with ``bin_size`` × ``bin_size`` pixels averaged into one."""
    shift = (bin_size - 1) / 2
    spacing = geometry.pixel_spacing_mm
    centre = geometry.column_cosines * (shift * spacing[0]) + geometry.row_cosines * (
        shift * spacing[1]
    )
    positions = np.stack([geometry.positions_mm[group].mean(axis=0) for group in groups])
    return Geometry(
        positions + centre,
        geometry.row_cosines,
        geometry.column_cosines,
        (spacing[0] * bin_size, spacing[1] * bin_size),
        geometry.rows // bin_size,
        geometry.columns // bin_size,
    )


def resample(
    series: TimeSeries, grid_s: Float64Array, thickness_mm: float, bin_size: int = 1
) -> Frames:
    """Bring a series to common times and slabs.

    Parameters
    ----------
    series : TimeSeries
        The acquisition, with its own time per slice and frame.
    grid_s : array, shape ``(time,)``
        From :func:`common_times`.
    thickness_mm : float
        Height of a slab, see :func:`slab_groups`.
    bin_size : int
        In-plane pixels averaged in each direction.

    Returns
    -------
    Frames
        ``data`` of shape ``(time, slab, row / bin_size, column / bin_size)``.
    """
    groups = slab_groups(series.geometry, thickness_mm)
    geometry = slab_geometry(series.geometry, groups, bin_size)
    out = np.empty((len(grid_s), *geometry.shape), np.float32)
    for slab, group in enumerate(groups):
        total = np.zeros((len(grid_s), geometry.rows * geometry.columns), np.float32)
        for part in _scanned_together(group, series.times_s):
            plane = _sum_pixels(series.data[:, part.start : part.stop], geometry, bin_size)
            total += interpolation_matrix(series.times_s[:, part.start], grid_s) @ plane
        total /= len(group) * bin_size**2
        out[:, slab] = total.reshape(len(grid_s), geometry.rows, geometry.columns)
    return Frames(out, grid_s, geometry, _next_to_acquired(series.times_s, grid_s))


def average(
    volume: Float32Array, geometry: Geometry, thickness_mm: float, bin_size: int = 1
) -> Float32Array:
    """Bring one volume of shape ``(slice, row, column)`` to the slabs of :func:`resample`."""
    groups = slab_groups(geometry, thickness_mm)
    slabs = slab_geometry(geometry, groups, bin_size)
    planes = [
        _sum_pixels(volume[None, group.start : group.stop], slabs, bin_size)
        / np.float32(len(group) * bin_size**2)
        for group in groups
    ]
    return np.stack(planes).reshape(slabs.shape)


def _scanned_together(group: range, times_s: Float64Array) -> list[range]:
    """Split a slab's slices into neighbours with the same times, which need one product only."""
    parts = [range(group.start, group.start + 1)]
    for index in group[1:]:
        if np.array_equal(times_s[:, index], times_s[:, parts[-1].start]):
            parts[-1] = range(parts[-1].start, index + 1)
        else:
            parts.append(range(index, index + 1))
    return parts


def _sum_pixels(data: Float32Array, geometry: Geometry, bin_size: int) -> Float32Array:
    """Sum over slices and over ``bin_size`` × ``bin_size`` pixels, shape ``(frame, pixel)``."""
    total = data.sum(axis=1) if data.shape[1] > 1 else data[:, 0]
    rows, columns = geometry.rows * bin_size, geometry.columns * bin_size
    out = np.zeros((len(data), geometry.rows, geometry.columns), np.float32)
    for row in range(bin_size):
        for column in range(bin_size):
            out += total[:, row:rows:bin_size, column:columns:bin_size]
    return out.reshape(len(data), -1)


def _next_to_acquired(times_s: Float64Array, grid_s: Float64Array) -> npt.NDArray[np.int64]:
    """Indices of the grid times that are nearest to the frames' mean times."""
    step = float(grid_s[1] - grid_s[0])
    index = np.round((times_s.mean(axis=1) - grid_s[0]) / step).astype(np.int64)
    return np.unique(np.clip(index, 0, len(grid_s) - 1))
