"""From Hounsfield units to contrast: baseline, noise, enhancement.

On CT the concentration is proportional to the enhancement, C(t) = HU(t) - baseline, and the iodine
constant cancels in the deconvolution. The baseline ends when the contrast reaches the arteries; a
fixed count of frames would cut into the bolus of one patient and waste the quiet frames of another.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from inference.preprocess.frames import Frames

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
_Floats = TypeVar("_Floats", Float32Array, Float64Array)

_PRIOR_FRAMES = 8
_MEDIAN_PER_SIGMA = 0.6745


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
