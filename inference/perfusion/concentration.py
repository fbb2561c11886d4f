"""From Hounsfield units to contrast: arrival of the bolus, baseline, noise, enhancement.

On CT the concentration is proportional to the enhancement, C(t) = HU(t) - baseline, and the iodine
constant cancels in the deconvolution. The baseline ends when the contrast reaches the arteries,
which is measured on the brightest voxels; a fixed count of frames would cut into the bolus of one
patient and waste the quiet frames of another.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from inference.errors import NotAnalysable
from inference.preprocess.frames import Frames

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
_Floats = TypeVar("_Floats", Float32Array, Float64Array)

_BRIGHTEST_SHARE = 0.005
_SMALLEST_SAMPLE = 30
_RISE_SHARE = 0.1
_NOISE_FLOOR = 4.0
_PRIOR_FRAMES = 8
_MEDIAN_PER_SIGMA = 0.6745


@dataclass(frozen=True, eq=False)
class Arrival:
    """The bolus as the brightest voxels see it.

    ``time_s`` is its arrival, ``peak_hu`` the height of their mean curve above the quiet part
    before it, ``noise_hu`` the standard deviation of that part.
    """

    time_s: float
    peak_hu: float
    noise_hu: float


@dataclass(frozen=True, eq=False)
class Baseline:
    """Mean of the frames before the bolus, and the noise around it.

    ``image`` and ``noise`` have shape ``(slice, row, column)`` in HU; ``frames`` of shape
    ``(time,)`` marks the frames on the common time grid that were averaged.
    """

    image: Float32Array
    noise: Float32Array
    frames: BoolArray


def moving_mean(curves: _Floats) -> _Floats:
    """Mean of three consecutive samples along the first axis, which gets shorter by two."""
    out = curves[:-2] + curves[1:-1]
    out += curves[2:]
    out /= 3
    return out


def onset(curve: Float64Array, times_s: Float64Array, peak: int, level: float) -> float | None:
    """Time at which ``curve`` last rises through ``level`` before sample ``peak``.

    Searched backwards from the peak, so that noise long before the bolus cannot pass for it.
    Returns None when the curve is above the level from its first sample on.
    """
    below = np.flatnonzero(curve[:peak] <= level)
    if len(below) == 0:
        return None
    last = int(below[-1])
    low, high = float(curve[last]), float(curve[last + 1])
    return float(times_s[last] + (level - low) / (high - low) * (times_s[last + 1] - times_s[last]))


def arterial_arrival(frames: Frames, region: BoolArray, minimum_rise_hu: float) -> Arrival:
    """Find when the contrast arrives, on the 0.5 % of ``region`` that enhance most.

    Parameters
    ----------
    frames : Frames
        ``data`` of shape ``(time, slice, row, column)``.
    region : array, shape ``(slice, row, column)``
        The cranial cavity, vessels included.
    minimum_rise_hu : float
        A smaller rise of the mean curve counts as no contrast.

    Raises
    ------
    NotAnalysable
        No contrast arrives, or it is there from the first frame on.
    """
    curve = _brightest_curve(frames, region)
    times = frames.times_s
    peak = int(np.argmax(moving_mean(curve))) + 1
    quiet = np.sort(curve[: max(peak, 1)])[: max(3, peak // 3)]
    low = float(quiet.mean())
    rise = float(curve[peak]) - low
    before = curve[:peak][curve[:peak] <= low + _RISE_SHARE * rise]
    noise = float(np.std(before)) if len(before) > 2 else 0.0
    if rise < max(minimum_rise_hu, _NOISE_FLOOR * noise):
        raise NotAnalysable(
            f"the vessels brighten by {rise:.1f} HU only, expected at least "
            f"{max(minimum_rise_hu, _NOISE_FLOOR * noise):.1f} HU: no contrast bolus in this scan"
        )
    time = onset(curve, times, peak, low + max(_RISE_SHARE * rise, _NOISE_FLOOR * noise))
    if time is None or time <= times[0]:
        raise NotAnalysable(
            "the contrast is already there in the first frame, expected at least one frame "
            "before it: without a baseline the enhancement cannot be measured"
        )
    return Arrival(time, rise, noise)


def measure_baseline(frames: Frames, region: BoolArray, arrival_s: float) -> Baseline:
    """Average the frames up to the arrival and measure the noise around their mean.

    Parameters
    ----------
    frames : Frames
        ``data`` of shape ``(time, slice, row, column)`` in HU.
    region : array, shape ``(slice, row, column)``
        Where the typical noise of each slice is taken from.
    arrival_s : float
        End of the baseline; the first frame always belongs to it.

    Notes
    -----
    A few frames alone tell the noise of one voxel badly. Its variance is therefore a mean of its
    own one and that of its slice, which counts like eight frames; the latter comes from the
    whole scan and so needs no baseline.
    """
    used = frames.times_s <= arrival_s
    used[0] = True
    quiet = frames.data[used]
    image = quiet.mean(axis=0)
    own = np.square(quiet - image).sum(axis=0)
    at = frames.acquired
    typical = np.array(
        [
            curve_noise(frames.data[at, index][:, region[index]], frames.times_s[at])
            for index in range(len(region))
        ],
        np.float32,
    )
    weight = len(quiet) - 1 + _PRIOR_FRAMES
    noise = np.sqrt((own + _PRIOR_FRAMES * np.square(typical)[:, None, None]) / weight)
    return Baseline(image, noise, used)


def enhancement(frames: Frames, baseline: Baseline) -> Frames:
    """HU above the baseline; the frames' array is changed in place to save a copy."""
    np.subtract(frames.data, baseline.image, out=frames.data)
    return frames


def _brightest_curve(frames: Frames, region: BoolArray) -> Float64Array:
    """Mean curve of the voxels whose running mean over three frames rises most."""
    size = int(region.sum())
    spans = []
    for index in range(region.shape[0]):
        curves = moving_mean(frames.data[:, index][:, region[index]])
        spans.append(curves.max(axis=0) - curves.min(axis=0))
    span = np.concatenate(spans)
    count = min(size, max(_SMALLEST_SAMPLE, round(_BRIGHTEST_SHARE * size)))
    threshold = np.partition(span, size - count)[size - count]
    total = np.zeros(len(frames.times_s))
    for index, values in enumerate(spans):
        bright = np.zeros_like(region[index])
        bright[region[index]] = values >= threshold
        total += frames.data[:, index][:, bright].sum(axis=1, dtype=np.float64)
    return np.asarray(total / int((span >= threshold).sum()))


def contrast_to_noise(curves: Float32Array, frames: Frames) -> float:
    """Peak of the mean curve over the noise of single curves, for curves ``(voxel, time)``."""
    noise = curve_noise(curves.T[frames.acquired], frames.times_s[frames.acquired])
    return float(curves.mean(axis=0, dtype=np.float64).max()) / max(noise, 1e-6)


def curve_noise(curves: Float32Array, times_s: Float64Array) -> float:
    """Typical noise of curves of shape ``(time, voxel)`` at the acquired times.

    From the distance of every sample to the line between its neighbours, so that neither the
    bolus nor a drift counts.
    """
    if len(curves) < 3 or curves.shape[1] == 0:
        return 0.0
    after = (times_s[1:-1] - times_s[:-2]) / (times_s[2:] - times_s[:-2])
    gain = np.sqrt(1 + after**2 + (1 - after) ** 2)
    weight = after[:, None].astype(np.float32)
    off = curves[1:-1] - (1 - weight) * curves[:-2] - weight * curves[2:]
    return float(np.median(np.abs(off) / gain[:, None].astype(np.float32))) / _MEDIAN_PER_SIGMA
