"""Curves of vessels: what their shape says, and which voxels of a scan could be vessels.

Vessels are tubes of a few millimetres, so their voxels are looked at before any smoothing would
mix vessel and tissue; the features come from a lightly median-filtered copy of the curves. What
tells blood from the edges of bone in a moving head is the brain as a whole, which answers to the
artery and shares its timing with the veins.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from inference.geometry import Geometry
from inference.perfusion.agent import IODINE, Agent
from inference.perfusion.concentration import Baseline, onset
from inference.perfusion.tissue_curve import TissueCurve, line_end
from inference.preprocess.frames import Frames

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

CORE_VOXELS = 4
"""Fewer voxels than this are no vessel but noise."""

_PEAK_NOISE = 6.0
_ARRIVAL_NOISE = 4.0
_ARRIVAL_SHARE = 0.1
_OWN_SHARE = 0.5
_MOST_CANDIDATES = 40_000
_LEAST_CORRELATION = 0.9
_BEST_PERCENT = 95
_WORSE_FIT = 2.5
_TRANSIT_TIMES_S = (2.0, 4.0, 8.0)
_TISSUE_DELAYS_S = (0.0, 1.0, 2.0)
_VENOUS_DELAYS_S = tuple(range(8))


@dataclass(frozen=True, eq=False)
class VesselCurve:
    """Mean enhancement of a cluster of vessel voxels, and what its shape says.

    Parameters
    ----------
    curve : array, shape ``(time,)``
        Enhancement above the vessel's own baseline.
    voxels : array, shape ``(voxel, 3)``
        Slice, row and column indices on the searched grid.
    position_mm : array, shape ``(3,)``
        Centre of the voxels, LPS.
    arrival_s, peak_time_s, width_s : float
        Onset, time of the maximum and full width at half maximum. A curve that has not come down
        to half by the end of the scan has an infinite width.
    peak, tail : float
        Maximum, and end of the line through the last three samples.
    """

    curve: Float64Array
    voxels: IntArray
    position_mm: Float64Array
    arrival_s: float
    peak_time_s: float
    width_s: float
    peak: float
    tail: float

    @property
    def tail_share(self) -> float:
        """What is left of the peak at the end of the scan."""
        return self.tail / self.peak


@dataclass(frozen=True, eq=False)
class Candidates:
    """Voxels that enhance like vessels.

    ``index`` has shape ``(voxel, 3)``; ``raw`` and ``smooth``, the curves before and after the
    median filter, have shape ``(voxel, time)``; the features of the smooth ones have shape
    ``(voxel,)``, ``arterial`` and ``venous`` are the correlations that tell how well the curve fits
    that of the brain as an artery and as a vein.
    """

    index: IntArray
    raw: Float32Array
    smooth: Float32Array
    peak: Float64Array
    peak_time: Float64Array
    arrival: Float64Array
    width: Float64Array
    arterial: Float64Array
    venous: Float64Array

    def take(self, which: BoolArray | IntArray) -> "Candidates":
        """Some of the voxels."""
        return Candidates(
            self.index[which],
            self.raw[which],
            self.smooth[which],
            self.peak[which],
            self.peak_time[which],
            self.arrival[which],
            self.width[which],
            self.arterial[which],
            self.venous[which],
        )


def describe_curve(
    curve: Float64Array, times_s: Float64Array, voxels: IntArray, geometry: Geometry
) -> VesselCurve:
    """Measure onset, peak, width and tail of a vessel's mean curve."""
    peak = int(np.argmax(curve))
    height = float(curve[peak])
    arrival = onset(curve, times_s, peak, _ARRIVAL_SHARE * height)
    position = np.mean([geometry.voxel_to_lps(int(s), r, c) for s, r, c in voxels], axis=0)
    half = np.array([0.5 * height])
    return VesselCurve(
        curve,
        voxels,
        position,
        float(times_s[0]) if arrival is None else arrival,
        float(times_s[peak]),
        float(_widths(curve[None], times_s, np.array([peak]), half)[0]),
        height,
        line_end(curve),
    )


def cluster_curve(
    found: Candidates, members: IntArray, frames: Frames, tissue: TissueCurve
) -> VesselCurve:
    """Mean curve of some candidates, above its own baseline.

    The common baseline ends before any artery enhances. Most vessels fill later: their own ends
    one interval of the frames before their onset, since interpolation lets a curve rise that much
    too early.
    """
    times = frames.times_s
    curve = found.raw[members].mean(axis=0, dtype=np.float64)
    peak = int(np.argmax(curve))
    arrival = onset(curve, times, peak, _ARRIVAL_SHARE * float(curve[peak]))
    end = tissue.baseline_end_s
    if arrival is not None:
        end = max(end, arrival - interval_at(frames, arrival))
    quiet = times <= end
    quiet[0] = True
    return describe_curve(curve - curve[quiet].mean(), times, found.index[members], frames.geometry)


def interval_at(frames: Frames, time_s: float) -> float:
    """Seconds between the acquired frames before and after a time."""
    acquired = frames.times_s[frames.acquired]
    after = int(np.clip(np.searchsorted(acquired, time_s), 1, len(acquired) - 1))
    return float(acquired[after] - acquired[after - 1])


def find_candidates(
    frames: Frames,
    baseline: Baseline,
    region: BoolArray,
    tissue: TissueCurve,
    agent: Agent = IODINE,
) -> Candidates:
    """Voxels of a region that enhance by six times their noise and as blood does.

    Parameters
    ----------
    frames : Frames
        HU or ΔR2* of shape ``(time, slice, row, column)``, not smoothed.
    baseline : Baseline
        Of these frames.
    region : array, shape ``(slice, row, column)``
    tissue : TissueCurve
        Of these frames.
    agent : Agent
        Says what vessels measure without contrast.
    """
    lowest, highest = agent.vessel_baseline
    peak = frames.data.max(axis=0) - baseline.image
    wanted = region & (peak >= _PEAK_NOISE * baseline.noise)
    wanted &= (baseline.image >= lowest) & (baseline.image <= highest)
    if int(wanted.sum()) > _MOST_CANDIDATES:
        values = peak[wanted]
        wanted &= peak >= np.partition(values, len(values) - _MOST_CANDIDATES)[-_MOST_CANDIDATES]
    index = np.argwhere(wanted)
    raw = (frames.data[:, wanted] - baseline.image[wanted]).T
    smooth = _median_curves(frames, baseline, index)
    found = _with_features(index, raw, smooth, frames.times_s, baseline.noise[wanted], tissue)
    fits = np.maximum(found.arterial, found.venous) >= _LEAST_CORRELATION
    return found.take(np.isfinite(found.arrival) & fits)


def best_fitting(correlation: Float64Array, least_misfit: float) -> BoolArray:
    """Which curves fit the brain's nearly as well as the best ones do, whatever the noise.

    An edge near a vessel that moves a little adds to the area before it spoils the correlation:
    what is missing to 1 may be 2.5 times that of the 95th percentile, or ``least_misfit``.
    """
    if not len(correlation):
        return np.zeros(0, bool)
    best = float(np.percentile(correlation, _BEST_PERCENT))
    misfit = max(_WORSE_FIT * (1 - best), least_misfit)
    return np.asarray(correlation >= max(_LEAST_CORRELATION, 1 - misfit))


def _with_features(
    index: IntArray,
    raw: Float32Array,
    smooth: Float32Array,
    times_s: Float64Array,
    noise: Float32Array,
    tissue: TissueCurve,
) -> Candidates:
    """Measure every curve; the arrival is NaN where there is no bolus."""
    curves = smooth.astype(np.float64)
    peaks = np.argmax(curves, axis=1)
    height = np.take_along_axis(curves, peaks[:, None], axis=1)[:, 0]
    level = np.maximum(_ARRIVAL_NOISE * noise, _ARRIVAL_SHARE * height)
    arrival = _onsets(curves, times_s, peaks, level)
    arrival[(height < _PEAK_NOISE * noise) | (peaks == 0)] = np.nan
    return Candidates(
        index,
        raw,
        smooth,
        height,
        times_s[peaks],
        arrival,
        _widths(curves, times_s, peaks, 0.5 * height),
        feeds_tissue(curves, times_s, tissue.curve),
        drains_tissue(curves, times_s, tissue.curve),
    )


def feeds_tissue(curves: Float64Array, times_s: Float64Array, tissue: Float64Array) -> Float64Array:
    """How well the brain answers to a curve: an exponential residue makes its mean curve of it."""
    found = np.full(len(curves), -1.0)
    for delay_s, transit_s in product(_TISSUE_DELAYS_S, _TRANSIT_TIMES_S):
        since = times_s[:, None] - times_s - delay_s
        answer = np.where(since >= 0, np.exp(-np.maximum(since, 0) / transit_s), 0.0)
        np.maximum(found, _correlation(curves @ answer.T, tissue), out=found)
    return found


def drains_tissue(
    curves: Float64Array, times_s: Float64Array, tissue: Float64Array
) -> Float64Array:
    """How well a curve has the shape of the brain's mean curve, at the same time or later."""
    found = np.full(len(curves), -1.0)
    for delay_s in _VENOUS_DELAYS_S:
        late = np.interp(times_s - delay_s, times_s, tissue)
        np.maximum(found, _correlation(curves, late), out=found)
    return found


def _correlation(curves: Float64Array, other: Float64Array) -> Float64Array:
    """Pearson's coefficient of every curve with another one; 0 for constant ones."""
    centred = curves - curves.mean(axis=1, keepdims=True)
    shape = other - other.mean()
    scale = np.sqrt(np.square(centred).sum(axis=1) * np.square(shape).sum())
    return np.asarray(centred @ shape / np.maximum(scale, 1e-12))


def _onsets(
    curves: Float64Array, times_s: Float64Array, peaks: IntArray, levels: Float64Array
) -> Float64Array:
    """:func:`onset` of every curve; NaN where the curve is above its level from the start."""
    samples = np.arange(curves.shape[1])
    below = (curves <= levels[:, None]) & (samples < peaks[:, None])
    last = curves.shape[1] - 1 - np.argmax(below[:, ::-1], axis=1)
    found = below.any(axis=1)
    last[~found] = 0
    rows = np.arange(len(curves))
    low, high = curves[rows, last], curves[rows, last + 1]
    share = (levels - low) / np.where(high > low, high - low, 1)
    out = times_s[last] + share * (times_s[last + 1] - times_s[last])
    return np.where(found, out, np.nan)


def _widths(
    curves: Float64Array, times_s: Float64Array, peaks: IntArray, halves: Float64Array
) -> Float64Array:
    """Full widths at half maximum; infinite where a curve stays above half to the end."""
    rise = _onsets(curves, times_s, peaks, halves)
    fall = -_onsets(curves[:, ::-1], -times_s[::-1], len(times_s) - 1 - peaks, halves)
    rise[np.isnan(rise)] = times_s[0]
    fall[np.isnan(fall)] = np.inf
    return fall - rise


def _median_curves(frames: Frames, baseline: Baseline, index: IntArray) -> Float32Array:
    """Curves of voxels, each the median of its 3 × 3 neighbours in the slice and then of three
    neighbouring times, shape ``(voxel, time)``.

    A vessel narrower than two pixels would vanish in the spatial median; the voxel itself then
    takes its place.
    """
    _, _, rows, columns = frames.data.shape
    slices = index[:, 0]
    stack = []
    for row_step in (-1, 0, 1):
        for column_step in (-1, 0, 1):
            row = np.clip(index[:, 1] + row_step, 0, rows - 1)
            column = np.clip(index[:, 2] + column_step, 0, columns - 1)
            curve = frames.data[:, slices, row, column] - baseline.image[slices, row, column]
            stack.append(curve)
    own = stack[4]
    neighbours = np.median(np.stack(stack), axis=0)
    mixed = np.where(neighbours > _OWN_SHARE * own, neighbours, own)
    padded = np.concatenate([mixed[:1], mixed, mixed[-1:]])
    out: Float32Array = np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
    return out.T
