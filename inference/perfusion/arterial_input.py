"""Arterial input and venous output function, found without a reader or where a reader points.

Arteries are high, early and narrow, and ahead of the tissue. The best cluster of voxels is looked
for on the left, on the right and near the midline; clusters grow over voxels of the same timing
only, so that one more voxel does not change the shape of the curve. Behind an occlusion an artery
fills late and wide: the cluster that is earliest, tallest and narrowest is used, and why the
others were not is kept.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from inference.errors import NotAnalysable
from inference.geometry import Geometry
from inference.perfusion.agent import IODINE, Agent
from inference.perfusion.concentration import Baseline
from inference.perfusion.tissue_curve import TissueCurve
from inference.perfusion.venous_output import (
    late_voxels,
    strongest,
    venous_groups,
    venous_score,
)
from inference.perfusion.vessel_curves import (
    CORE_VOXELS,
    BoolArray,
    Candidates,
    Float64Array,
    IntArray,
    VesselCurve,
    best_fitting,
    cluster_curve,
    feeds_tissue,
    find_candidates,
    interval_at,
)
from inference.preprocess.frames import Frames
from inference.preprocess.midplane import Midplane

Place = Literal["left", "right", "midline"]
Point = tuple[float, float, float]

_BRIGHT_SHARE = 0.002
_CANDIDATE_SHARE = 0.25
_WIDTH_S = (3.0, 20.0)
_CUT_SHARE = 0.5
_AHEAD_S = 2.0
_LATE_S = 2.0
_MISFIT = 0.1
# The brain's curve is a mean over many transit times: true arteries miss it by this much.
_LEAST_MISFIT = 0.02
_TIMING_S = 1.0
_CORE_PEAK_SHARE = 0.5
_SEEDS = 20
_MOST_VOXELS = 12
_MIDLINE_MM = 8.0
_REACH_MM = 6.0
_TOLD_VEINS = 3
_NEAR_S = 0.5
_NEAR_SHARE = 0.9


@dataclass(frozen=True, eq=False)
class Candidate:
    """A cluster that was considered as the arterial input or the venous output function.

    ``score`` is that of :func:`arterial_score` or ``venous_score``; the highest one is used.
    ``rejected`` says why this one was not; it is empty for the one that is used.
    """

    vessel: Literal["artery", "vein"]
    place: Place
    curve: VesselCurve
    score: float
    rejected: str

    def reason(self, unit: str) -> str:
        """Where the cluster lies, its numbers, and the choice, in one line."""
        letters = zip(self.curve.position_mm, ("LR", "PA", "SI"), strict=True)
        place = ", ".join(f"{pair[int(value < 0)]} {abs(value):.0f}" for value, pair in letters)
        return (
            f"{self.place} ({place} mm): peak {self.curve.peak:.0f} "
            f"{unit}, arrival {self.curve.arrival_s:.1f} s, width {self.curve.width_s:.1f} s; "
            + (f"not used: {self.rejected}" if self.rejected else "used")
        )


@dataclass(frozen=True, eq=False)
class Vessels:
    """Arterial input, venous output function (None: not found), and all that was considered."""

    artery: VesselCurve
    vein: VesselCurve | None
    candidates: tuple[Candidate, ...]


def find_vessels(
    frames: Frames,
    baseline: Baseline,
    cavity: BoolArray,
    tissue: TissueCurve,
    midplane: Midplane,
    *,
    artery_at_mm: Point | None = None,
    vein_at_mm: Point | None = None,
    agent: Agent = IODINE,
) -> Vessels:
    """Find the arterial input and, where there is one, the venous output function.

    Parameters
    ----------
    frames : Frames
        HU or ΔR2* of shape ``(time, slice, row, column)``, not smoothed.
    baseline : Baseline
        Of these frames.
    cavity : array, shape ``(slice, row, column)``
        Where vessels are looked for.
    tissue : TissueCurve
        Arteries are ahead of it and feed it, veins drain it.
    midplane : Midplane
        Tells left from right.
    artery_at_mm, vein_at_mm : (x, y, z), optional
        Where a reader sees the vessel, LPS: its best voxels within 6 mm are used.
    agent : Agent
        Says what vessels look like.

    Raises
    ------
    NotAnalysable
        No curve looks like an artery, or none near the given place like a vessel.
    """
    found = find_candidates(frames, baseline, cavity, tissue, agent)
    found = found.take(found.peak >= _floor(found.peak, int(cavity.sum())))
    if artery_at_mm is None:
        arteries = _arteries(found, frames, tissue, midplane)
    else:
        near = _near(frames, baseline, tissue, agent, artery_at_mm, "an artery")
        score, curve = _best_cluster(near, frames, tissue)
        arteries = [Candidate("artery", _place(curve, midplane), curve, score, "")]
    artery = arteries[0].curve
    if vein_at_mm is None:
        veins = _veins(found, artery, tissue, frames, midplane)
    else:
        near = _near(frames, baseline, tissue, agent, vein_at_mm, "a vein")
        late = np.flatnonzero(late_voxels(near, artery))
        if not len(late):
            raise NotAnalysable(
                f"no curve within {_REACH_MM:.0f} mm of the given vein peaks after the artery "
                f"({artery.peak_time_s:.1f} s): choose a large sinus"
            )
        curve = strongest(near, late, frames, tissue)
        score = venous_score(curve, tissue, frames)
        veins = [Candidate("vein", _place(curve, midplane), curve, score, "")]
    return Vessels(artery, veins[0].curve if veins else None, (*arteries, *veins))


def _floor(peaks: Float64Array, cavity_voxels: int) -> float:
    """A quarter of what the brightest voxels, 0.2 % of the cavity, enhance by at least."""
    bright = np.sort(peaks)[::-1][: max(1, round(_BRIGHT_SHARE * cavity_voxels))]
    return _CANDIDATE_SHARE * float(bright[-1]) if len(bright) else 0.0


def _arteries(
    found: Candidates, frames: Frames, tissue: TissueCurve, midplane: Midplane
) -> list[Candidate]:
    """Best cluster of every place, the one that is used first."""
    plausible = (found.width >= _WIDTH_S[0]) & (found.width <= _WIDTH_S[1])
    for ahead in (_AHEAD_S, 0.0):
        chosen = found.take(plausible & (found.peak_time <= tissue.peak_time_s - ahead))
        chosen = chosen.take(best_fitting(chosen.arterial, _LEAST_MISFIT))
        if len(chosen.peak) >= CORE_VOXELS:
            break
    else:
        raise _no_artery(found, chosen, float(frames.times_s[-1]))
    offset = midplane.distance_mm(_positions(chosen.index, frames.geometry))
    best: list[tuple[float, Place, VesselCurve]] = []
    places: dict[Place, BoolArray] = {
        "left": offset > _MIDLINE_MM,
        "right": offset < -_MIDLINE_MM,
        "midline": np.abs(offset) <= _MIDLINE_MM,
    }
    for place, inside in places.items():
        if inside.any():
            score, curve = _best_cluster(chosen.take(inside), frames, tissue)
            best.append((score, place, curve))
    best.sort(key=lambda entry: (len(entry[2].voxels) >= CORE_VOXELS, entry[0]), reverse=True)
    used = best[0][2]
    return [
        Candidate("artery", place, curve, score, "" if curve is used else _why_not(curve, used))
        for score, place, curve in best
    ]


def _no_artery(found: Candidates, chosen: Candidates, end_s: float) -> NotAnalysable:
    """Why there is no arterial input."""
    open_ended = int(np.isinf(found.width).sum())
    if open_ended > _CUT_SHARE * len(found.peak):
        return NotAnalysable(
            f"the scan ends at {end_s:.0f} s while {open_ended} of {len(found.peak)} vessel "
            "curves are above half of their peak: it was cut before the bolus had passed",
            code="truncated",
        )
    return NotAnalysable(
        f"no arterial input: {len(found.peak)} voxels enhance, {len(chosen.peak)} of them like an "
        f"artery and before the tissue, expected at least {CORE_VOXELS}"
    )


def _why_not(curve: VesselCurve, used: VesselCurve) -> str:
    """In what the curve is worse than the one that is used."""
    lacks = []
    if len(curve.voxels) < CORE_VOXELS:
        lacks.append(f"{len(curve.voxels)} voxels only")
    if curve.arrival_s > used.arrival_s + _NEAR_S:
        lacks.append(f"{curve.arrival_s - used.arrival_s:.1f} s later")
    if curve.peak < _NEAR_SHARE * used.peak:
        lacks.append(f"{100 * curve.peak / used.peak:.0f} % as high")
    if curve.width_s > used.width_s / _NEAR_SHARE:
        lacks.append(f"{100 * curve.width_s / used.width_s:.0f} % as wide")
    return ", ".join(lacks) or "nearly as good"


def arterial_score(
    peak: Float64Array,
    width_s: Float64Array,
    arrival_s: Float64Array,
    correlation: Float64Array,
    tissue: TissueCurve,
) -> Float64Array:
    """How good arterial curves are: high, narrow, not late, and such that the brain answers to it.

    In units of a factor e in height over width, which 2 s of delay cost, or 0.1 of correlation. No
    artery is ahead of the brain by more than 2 s: what seems to be gains nothing.
    """
    late = np.maximum(arrival_s - tissue.earliest_artery_s, 0) / _LATE_S
    return np.asarray(np.log(peak) - np.log(width_s) - late - (1 - correlation) / _MISFIT)


def _best_cluster(
    chosen: Candidates, frames: Frames, tissue: TissueCurve
) -> tuple[float, VesselCurve]:
    """The best of the clusters around the most promising voxels, and its score."""
    promise = arterial_score(chosen.peak, chosen.width, chosen.arrival, chosen.arterial, tissue)
    grid = np.full(frames.geometry.shape, -1, np.int64)
    grid[tuple(chosen.index.T)] = np.arange(len(promise))
    clusters: dict[tuple[int, ...], tuple[float, VesselCurve]] = {}
    for seed in np.argsort(-promise, kind="stable")[:_SEEDS]:
        tolerance = max(_TIMING_S, 0.5 * interval_at(frames, float(chosen.peak_time[seed])))
        alike = (
            (np.abs(chosen.arrival - chosen.arrival[seed]) <= tolerance)
            & (np.abs(chosen.peak_time - chosen.peak_time[seed]) <= tolerance)
            & (chosen.peak >= _CORE_PEAK_SHARE * chosen.peak[seed])
        )
        members = _grow(int(seed), alike, chosen, grid)
        key = tuple(sorted(members))
        if key not in clusters:
            curve = cluster_curve(chosen, members, frames, tissue)
            fit = feeds_tissue(curve.curve[None], frames.times_s, tissue.curve)[0]
            score = arterial_score(
                np.array(curve.peak), np.array(curve.width_s), np.array(curve.arrival_s),
                fit, tissue,
            )  # fmt: skip
            clusters[key] = float(score), curve
    large = [entry for entry in clusters.values() if len(entry[1].voxels) >= CORE_VOXELS]
    return max(large or clusters.values(), key=lambda entry: entry[0])


def _grow(seed: int, alike: BoolArray, chosen: Candidates, grid: IntArray) -> IntArray:
    """Add the brightest neighbour that is alike until there is none or there are enough."""
    members, frontier = [seed], set(_neighbours(seed, chosen.index, grid, alike)) - {seed}
    while frontier and len(members) < _MOST_VOXELS:
        best = max(sorted(frontier), key=lambda i: float(chosen.peak[i]))
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


def _veins(
    found: Candidates,
    artery: VesselCurve,
    tissue: TissueCurve,
    frames: Frames,
    midplane: Midplane,
) -> list[Candidate]:
    """The best venous groups, the one that is used first."""
    groups = venous_groups(found, artery, tissue, frames)[:_TOLD_VEINS]
    out = []
    for curve in groups:
        share = float(curve.curve.sum()) / float(groups[0].curve.sum())
        lack = f"{100 * share:.0f} % of the area" if share < 1 else "fits the brain's curve less"
        why = "" if curve is groups[0] else lack
        score = venous_score(curve, tissue, frames)
        out.append(Candidate("vein", _place(curve, midplane), curve, score, why))
    return out


def _near(
    frames: Frames,
    baseline: Baseline,
    tissue: TissueCurve,
    agent: Agent,
    at_mm: Point,
    what: str,
) -> Candidates:
    """Candidates around a given place whose curves come down again."""
    geometry = frames.geometry
    distance = sum(np.square(geometry.coordinates_mm(k) - at_mm[k]) for k in range(3))
    ball = np.asarray(distance <= _REACH_MM**2)
    found = find_candidates(frames, baseline, ball, tissue, agent)
    found = found.take((found.width >= _WIDTH_S[0]) & np.isfinite(found.width))
    if not len(found.peak):
        x, y, z = at_mm
        raise NotAnalysable(
            f"{int(ball.sum())} voxels lie within {_REACH_MM:.0f} mm of the place given for {what} "
            f"({x:.0f}, {y:.0f}, {z:.0f} mm) and none of them enhances like a vessel: choose "
            "another place, or none"
        )
    return found


def _place(curve: VesselCurve, midplane: Midplane) -> Place:
    offset = float(midplane.distance_mm(curve.position_mm))
    if abs(offset) <= _MIDLINE_MM:
        return "midline"
    return "left" if offset > 0 else "right"


def _positions(index: IntArray, geometry: Geometry) -> Float64Array:
    """LPS positions of voxels, shape ``(voxel, 3)``."""
    spacing = geometry.pixel_spacing_mm
    return np.asarray(
        geometry.positions_mm[index[:, 0]]
        + index[:, 1:2] * spacing[0] * geometry.column_cosines
        + index[:, 2:3] * spacing[1] * geometry.row_cosines
    )
