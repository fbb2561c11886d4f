"""The frame that others are registered to, and the head on it."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.dicom.volumes import TimeSeries
from inference.preprocess.morphology import erode, largest_component
from inference.preprocess.registration import Grid

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_CT_LIMITS_HU = (-500.0, 500.0)
_CT_HEAD_HU = -200.0
_MR_BRIGHT = 0.995
_MR_HEADROOM = 1.5
_MR_HEAD = 0.15
_SKULL_MM = 16.0
_LEAST_RESEMBLANCE = 0.8
_FIRST_FRAMES = 3
_ARRIVAL_SHARE, _STRONGEST = 0.1, 0.95
_SIMILAR_NOISE = 1.15


def choose_reference(series: TimeSeries, grid: Grid) -> int:
    """Index of the frame that suits best: before contrast, little noise, where the head mostly lay.

    Parameters
    ----------
    series : TimeSeries
        The scan.
    grid : Grid
        The same, from :func:`~inference.preprocess.registration.blurred_grid`.
    """
    typical = np.median(grid.data, axis=0)
    inner = interior(head_on(typical, series.units), grid)
    whole = np.array([_resemblance(volume, typical) for volume in grid.data])
    usable = whole >= _LEAST_RESEMBLANCE
    if not inner.any() or not usable.any():
        return 0
    early = _before_contrast(grid.data[:, inner], usable)
    noise = np.array([_noise(series, index, inner) for index in early])
    quiet = early[noise <= _SIMILAR_NOISE * noise.min()]
    away = np.abs(grid.data[quiet] - typical).mean(axis=(1, 2, 3))
    return int(quiet[np.argmin(away)])


def _before_contrast(brain: Float32Array, usable: BoolArray) -> npt.NDArray[np.intp]:
    """Usable frames from before the change that contrast makes; ``brain`` is ``(time, voxel)``.

    Arteries change first, so the frames' strongest changes against the first ones count. Motion
    changes values too and may end the search early, which leaves fewer frames to choose from.
    """
    which = np.flatnonzero(usable)
    start = np.median(brain[which[:_FIRST_FRAMES]], axis=0)
    change = np.quantile(np.abs(brain[which] - start), _STRONGEST, axis=1)
    change -= change.min()
    unchanged = change <= _ARRIVAL_SHARE * change.max()
    arrival = np.flatnonzero(~unchanged[_FIRST_FRAMES:])
    end = _FIRST_FRAMES + int(arrival[0]) if arrival.size else len(which)
    early = which[:end][unchanged[:end]]
    return early if early.size else which[:1]


def _noise(series: TimeSeries, frame: int, inner: BoolArray) -> float:
    """Median difference of neighbouring pixels in the box around the brain, three slices."""
    used = [np.flatnonzero(inner.any(axis=axes)) for axes in ((0, 2), (0, 1))]
    box = tuple(
        slice(int(index[0]) * full // size, (int(index[-1]) + 1) * full // size)
        for index, full, size in zip(used, series.data.shape[2:], inner.shape[1:], strict=True)
    )
    slices = np.unique(np.linspace(0, series.geometry.slices - 1, 5).round().astype(int)[1:4])
    return float(np.median(np.abs(np.diff(series.data[frame][slices][(..., *box)], axis=2))))


def _resemblance(volume: Float32Array, typical: Float32Array) -> float:
    """Correlation of two volumes; 0 where one has no contrast."""
    first, second = (v - v.mean(dtype=np.float64) for v in (volume, typical))
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / size if size > 0 else 0.0


def value_limits(series: TimeSeries) -> tuple[float, float]:
    """Values beyond which nothing of the head's edges is lost."""
    if series.units == "HU":
        return _CT_LIMITS_HU
    middle = series.data[:, series.geometry.slices // 2]
    return 0.0, _MR_HEADROOM * float(np.quantile(middle, _MR_BRIGHT))


def head_on(volume: Float32Array, units: str) -> BoolArray:
    """The head on a blurred volume, air inside filled."""
    limit = _CT_HEAD_HU if units == "HU" else _MR_HEAD * float(np.quantile(volume, _MR_BRIGHT))
    head = largest_component(volume > limit)
    return np.stack([ndimage.binary_fill_holes(plane) for plane in head])


def interior(head: BoolArray, grid: Grid) -> BoolArray:
    """The head without scalp and skull."""
    columns, rows, _ = grid.spacing_mm
    return erode(head, _SKULL_MM, (float(rows), float(columns)))
