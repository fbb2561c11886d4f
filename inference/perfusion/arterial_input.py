"""Arterial input and venous output function, found without a reader.

Features of bright voxels come from a lightly median-filtered copy of their curves, before any
smoothing would mix vessel and tissue. Arteries are high, early and narrow, and ahead of the
tissue; clusters are judged by their bright core and grown only over voxels of the same timing, so
that one more voxel does not change the shape of the curve. The vein is the strongest of the late
curves; the ratio of its area to the artery's undoes the artery's partial volume.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.errors import NotAnalysable
from inference.geometry import Geometry
from inference.perfusion.concentration import Baseline, onset
from inference.preprocess.frames import Frames
from inference.preprocess.morphology import components

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_PEAK_NOISE = 6.0
_ARRIVAL_NOISE = 4.0
_ARRIVAL_SHARE = 0.1
_BRIGHT_SHARE = 0.002
_CANDIDATE_SHARE = 0.25
_MOST_CANDIDATES = 20_000
_WIDTH_S = (3.0, 20.0)
_CUT_SHARE = 0.5
_AHEAD_S = 2.0
_ARRIVAL_WEIGHT = 3.5
_TIMING_S = 1.0
_CORE_PEAK_SHARE = 0.5
_SEEDS = 40
_CORE_VOXELS = 4
_MOST_VOXELS = 12
_VEIN_VOXELS = 20
_VEIN_PEAK_SHARE = 0.5
_VEIN_LATEST_S = 12.0
_VEIN_UNREST_SHARE = 0.25
_PARTIAL_VOLUME = (1.0, 2.5)
TRUNCATED_TAIL = 0.3


@dataclass(frozen=True, eq=False)
class VesselCurve:
    """Mean enhancement of a cluster of vessel voxels, and what its shape says.

    Parameters
    ----------
    curve : array, shape ``(time,)``
        Enhancement in HU.
    voxels : array, shape ``(voxel, 3)``
        Slice, row and column indices on the searched grid.
    position_mm : array, shape ``(3,)``
        Centre of the voxels, LPS.
    arrival_s, peak_time_s, width_s : float
        Onset, time of the maximum and full width at half maximum. A curve that has not come down
        to half by the end of the scan has an infinite width.
    peak_hu, tail_hu : float
        Maximum, and mean of the last three samples.
    """

    curve: Float64Array
    voxels: IntArray
    position_mm: Float64Array
    arrival_s: float
    peak_time_s: float
    width_s: float
    peak_hu: float
    tail_hu: float

    @property
    def tail_share(self) -> float:
        """What is left of the peak at the end of the scan."""
        return self.tail_hu / self.peak_hu


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Bright voxels: indices ``(voxel, 3)``, curves ``(voxel, time)`` and one feature each."""

    index: IntArray
    raw: Float32Array
    smooth: Float32Array
    peak: Float64Array
    peak_time: Float64Array
    arrival: Float64Array
    width: Float64Array

    def take(self, which: BoolArray | IntArray) -> "_Candidates":
        return _Candidates(
            self.index[which],
            self.raw[which],
            self.smooth[which],
            self.peak[which],
            self.peak_time[which],
            self.arrival[which],
            self.width[which],
        )


def find_vessels(
    frames: Frames, baseline: Baseline, cavity: BoolArray, tissue_peak_s: float
) -> tuple[VesselCurve, VesselCurve | None]:
    """Find the arterial input and, where there is one, the venous output function.

    Parameters
    ----------
    frames : Frames
        HU of shape ``(time, slice, row, column)``, not smoothed.
    baseline : Baseline
        Of these frames.
    cavity : array, shape ``(slice, row, column)``
        Where vessels are looked for.
    tissue_peak_s : float
        From :func:`tissue_peak_time`: arteries must be ahead of it.

    Raises
    ------
    NotAnalysable
        No curve looks like an artery.
    """
    times = frames.times_s
    found = _candidates(frames, baseline, cavity)
    artery = _artery(found, times, tissue_peak_s, frames.geometry)
    vein = _vein(found, times, artery, tissue_peak_s, frames.geometry)
    return artery, vein


def tissue_peak_time(frames: Frames, tissue: BoolArray) -> float:
    """Time at which the whole parenchyma is brightest."""
    curve = np.array([volume[tissue].mean(dtype=np.float64) for volume in frames.data])
    peak = int(np.argmax(curve[1:-1] + 0.5 * (curve[:-2] + curve[2:]))) + 1
    return float(frames.times_s[peak])


def partial_volume_factor(artery: VesselCurve, vein: VesselCurve | None) -> float:
    """Factor by which the artery's curve is too low for its partial volume with tissue.

    The ratio of the vein's to the artery's area, where it lies between 1 and 2.5 and the scan saw
    the vein's bolus to its end; otherwise 1.
    """
    if vein is None or vein.tail_share > TRUNCATED_TAIL:
        return 1.0
    ratio = float(vein.curve.sum() / artery.curve.sum())
    return ratio if _PARTIAL_VOLUME[0] < ratio < _PARTIAL_VOLUME[1] else 1.0


def describe_curve(
    curve: Float64Array, times_s: Float64Array, voxels: IntArray, geometry: Geometry
) -> VesselCurve:
    """Measure onset, peak, width and tail of a vessel's mean curve."""
    peak = int(np.argmax(curve))
    height = float(curve[peak])
    arrival = onset(curve, times_s, peak, _ARRIVAL_SHARE * height)
    position = np.mean([geometry.voxel_to_lps(int(s), r, c) for s, r, c in voxels], axis=0)
    return VesselCurve(
        curve,
        voxels,
        position,
        float(times_s[0]) if arrival is None else arrival,
        float(times_s[peak]),
        _width(curve, times_s, peak),
        height,
        float(curve[-3:].mean()),
    )


def _width(curve: Float64Array, times_s: Float64Array, peak: int) -> float:
    """Full width at half maximum; infinite when the curve stays above half to the end."""
    half = 0.5 * float(curve[peak])
    rise = onset(curve, times_s, peak, half)
    fall = onset(curve[::-1], -times_s[::-1], len(curve) - 1 - peak, half)
    if fall is None:
        return float("inf")
    return -fall - (float(times_s[0]) if rise is None else rise)


def _candidates(frames: Frames, baseline: Baseline, cavity: BoolArray) -> _Candidates:
    """The voxels of the cavity that enhance like vessels, with their features."""
    peak = frames.data.max(axis=0) - baseline.image
    inside = peak[cavity]
    count = max(1, round(_BRIGHT_SHARE * inside.size))
    bright = float(np.partition(inside, inside.size - count)[inside.size - count])
    wanted = cavity & (peak >= np.maximum(_PEAK_NOISE * baseline.noise, _CANDIDATE_SHARE * bright))
    if int(wanted.sum()) > _MOST_CANDIDATES:
        values = peak[wanted]
        wanted &= peak >= np.partition(values, len(values) - _MOST_CANDIDATES)[-_MOST_CANDIDATES]
    index = np.argwhere(wanted)
    raw = (frames.data[:, wanted] - baseline.image[wanted]).T
    smooth = _median_curves(frames, baseline, index)
    noise = baseline.noise[wanted]
    features = np.array(
        [_features(s, frames.times_s, n) for s, n in zip(smooth, noise, strict=True)]
    ).reshape(-1, 4)
    found = _Candidates(index, raw, smooth, *features.T)
    return found.take(np.isfinite(found.peak))


def _features(
    curve: Float32Array, times_s: Float64Array, noise: float
) -> tuple[float, float, float, float]:
    """Peak, peak time, arrival and width of one curve; NaN for what is no bolus."""
    peak = int(np.argmax(curve))
    height = float(curve[peak])
    nothing = (np.nan, np.nan, np.nan, np.nan)
    if height < _PEAK_NOISE * noise or peak == 0:
        return nothing
    values = curve.astype(np.float64)
    arrival = onset(values, times_s, peak, max(_ARRIVAL_NOISE * noise, _ARRIVAL_SHARE * height))
    if arrival is None:
        return nothing
    return height, float(times_s[peak]), arrival, _width(values, times_s, peak)


def _median_curves(frames: Frames, baseline: Baseline, index: IntArray) -> Float32Array:
    """Curves of voxels, each the median of its 3 × 3 neighbours in the slice and then of three
    neighbouring times, shape ``(voxel, time)``.

    A vessel narrower than two pixels would vanish in the spatial median; the voxel itself then
    counts as often as its neighbours together, which keeps its peak.
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
    mixed = np.where(neighbours > _CORE_PEAK_SHARE * own, neighbours, own)
    padded = np.concatenate([mixed[:1], mixed, mixed[-1:]])
    out: Float32Array = np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
    return out.T


def _artery(
    found: _Candidates, times_s: Float64Array, tissue_peak_s: float, geometry: Geometry
) -> VesselCurve:
    """Best cluster of early, high and narrow curves."""
    plausible = (found.width >= _WIDTH_S[0]) & (found.width <= _WIDTH_S[1])
    for ahead in (_AHEAD_S, 0.0):
        chosen = found.take(plausible & (found.peak_time <= tissue_peak_s - ahead))
        if len(chosen.peak) >= _CORE_VOXELS:
            break
    else:
        if len(found.peak) and float(np.mean(np.isinf(found.width))) > _CUT_SHARE:
            raise NotAnalysable(
                f"the scan ends at {times_s[-1]:.0f} s while {int(np.isinf(found.width).sum())} of "
                f"{len(found.peak)} vessel curves are above half of their peak: it was cut before "
                "the bolus had passed"
            )
        raise NotAnalysable(
            f"no arterial input: {len(found.peak)} voxels enhance, {len(chosen.peak)} of them "
            f"like an artery and before the tissue, expected at least {_CORE_VOXELS}"
        )
    score = _z(chosen.peak) - _ARRIVAL_WEIGHT * _z(chosen.arrival) - _z(chosen.width)
    clusters = _clusters(chosen, score, geometry)
    best = max(clusters, key=lambda c: float(np.mean(np.sort(score[c])[-_CORE_VOXELS:])))
    return describe_curve(
        chosen.raw[best].mean(axis=0, dtype=np.float64), times_s, chosen.index[best], geometry
    )


def _clusters(chosen: _Candidates, score: Float64Array, geometry: Geometry) -> list[IntArray]:
    """Voxels around each good seed that touch it and share its timing, brightest first."""
    grid = np.full(geometry.shape, -1, np.int64)
    grid[tuple(chosen.index.T)] = np.arange(len(score))
    clusters = []
    for seed in np.argsort(score)[::-1][:_SEEDS]:
        alike = (
            (np.abs(chosen.arrival - chosen.arrival[seed]) <= _TIMING_S)
            & (np.abs(chosen.peak_time - chosen.peak_time[seed]) <= _TIMING_S)
            & (chosen.peak >= _CORE_PEAK_SHARE * chosen.peak[seed])
        )
        clusters.append(_grow(int(seed), alike, chosen, grid, geometry))
    large = [c for c in clusters if len(c) >= _CORE_VOXELS]
    return large or clusters


def _grow(
    seed: int, alike: BoolArray, chosen: _Candidates, grid: IntArray, geometry: Geometry
) -> IntArray:
    """Add the brightest neighbour that is alike until there is none or there are enough."""
    members, frontier = [seed], set(_neighbours(seed, chosen.index, grid, alike))
    while frontier and len(members) < _MOST_VOXELS:
        best = max(frontier, key=lambda i: float(chosen.peak[i]))
        members.append(best)
        frontier.update(_neighbours(best, chosen.index, grid, alike))
        frontier.difference_update(members)
    return np.array(members)


def _neighbours(voxel: int, index: IntArray, grid: IntArray, alike: BoolArray) -> list[int]:
    """Candidates in the 3 × 3 × 3 block around one candidate that are alike."""
    low = np.maximum(index[voxel] - 1, 0)
    high = index[voxel] + 2
    block = grid[low[0] : high[0], low[1] : high[1], low[2] : high[2]].ravel()
    return [int(i) for i in block[block >= 0] if alike[i]]


def _vein(
    found: _Candidates,
    times_s: Float64Array,
    artery: VesselCurve,
    tissue_peak_s: float,
    geometry: Geometry,
) -> VesselCurve | None:
    """The connected group of late, strong curves with the largest area under its core.

    Blood reaches the veins while the tissue is still filling; what brightens later, or moves
    before the artery does, is the edge of the skull in a moving head.
    """
    late = found.take(
        (found.peak_time > artery.peak_time_s + _TIMING_S)
        & (found.peak_time <= tissue_peak_s + _VEIN_LATEST_S)
        & (found.arrival >= artery.arrival_s)
        & (found.arrival <= tissue_peak_s)
    )
    early = np.abs(late.smooth[:, times_s < artery.arrival_s]).max(axis=1, initial=0.0)
    late = late.take(early <= _VEIN_UNREST_SHARE * late.peak)
    late = late.take(late.peak >= _VEIN_PEAK_SHARE * np.max(late.peak, initial=0.0))
    if len(late.peak) < _CORE_VOXELS:
        return None
    mask = np.zeros(geometry.shape, bool)
    mask[tuple(late.index.T)] = True
    labels, counts = components(mask)
    label = labels[tuple(late.index.T)]
    area = late.smooth.sum(axis=1, dtype=np.float64)
    best, best_area = None, 0.0
    for group in np.flatnonzero(counts >= _CORE_VOXELS):
        members = np.flatnonzero(label == group)
        core = members[np.argsort(area[members])[::-1][:_VEIN_VOXELS]]
        if float(area[core].mean()) > best_area:
            best, best_area = core, float(area[core].mean())
    if best is None:
        return None
    return describe_curve(
        late.raw[best].mean(axis=0, dtype=np.float64), times_s, late.index[best], geometry
    )


def _z(values: Float64Array) -> Float64Array:
    """Distance from the mean in standard deviations."""
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-6))
