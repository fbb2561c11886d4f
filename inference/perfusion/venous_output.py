"""Venous output function: the strongest of the late curves, and what it says about the artery.

A large sinus fills its voxels, so the area under its curve is that of undiluted blood; the ratio
to the artery's area undoes the artery's partial volume.
"""

import numpy as np

from inference.perfusion.tissue_curve import TissueCurve
from inference.perfusion.vessel_curves import (
    CORE_VOXELS,
    BoolArray,
    Candidates,
    IntArray,
    VesselCurve,
    best_fitting,
    cluster_curve,
    drains_tissue,
)
from inference.preprocess.frames import Frames
from inference.preprocess.morphology import components

PARTIAL_VOLUME = (1.0, 2.5)
"""Trusted ratios of the vein's to the artery's area."""
TRUNCATED_TAIL = 0.3
"""Part of the vein's peak that is left at the end of a scan that was cut."""

_VEIN_VOXELS = 20
_AFTER_ARTERY_S = 1.0
_PEAK_SHARE = 0.5
_LATEST_S = 12.0
_MISFIT = 0.05
_MOST_TAIL_OVER_TISSUE = 0.2
_LEAST_MISFIT = 0.01


def partial_volume_factor(artery: VesselCurve, vein: VesselCurve | None) -> float:
    """Factor by which the artery's curve is too low for its partial volume with tissue.

    The ratio of the vein's to the artery's area, where it lies between 1 and 2.5 and the scan saw
    the vein's bolus to its end; otherwise 1.
    """
    if vein is None or vein.tail_share > TRUNCATED_TAIL:
        return 1.0
    ratio = float(vein.curve.sum() / artery.curve.sum())
    return ratio if PARTIAL_VOLUME[0] < ratio < PARTIAL_VOLUME[1] else 1.0


def venous_groups(
    found: Candidates, artery: VesselCurve, tissue: TissueCurve, frames: Frames
) -> list[VesselCurve]:
    """The cores of all connected groups of late, strong curves, best first.

    Blood reaches the veins while the tissue is still filling, and can brighten them no more than
    the artery, once its partial volume is undone: what brightens later or more is the edge of the
    skull in a moving head. So is what stays bright while the brain, which the veins drain, empties.
    """
    late = found.take(
        (found.peak_time > artery.peak_time_s + _AFTER_ARTERY_S)
        & (found.peak_time <= tissue.peak_time_s + _LATEST_S)
        & (found.arrival >= artery.arrival_s)
        & (found.arrival <= tissue.peak_time_s)
        & (found.peak <= PARTIAL_VOLUME[1] * artery.peak)
    )
    late = late.take(best_fitting(late.venous, _LEAST_MISFIT))
    late = late.take(late.peak >= _PEAK_SHARE * np.max(late.peak, initial=0.0))
    mask = np.zeros(frames.geometry.shape, bool)
    mask[tuple(late.index.T)] = True
    labels, counts = components(mask)
    label = labels[tuple(late.index.T)]
    groups = [
        strongest(late, np.flatnonzero(label == group), frames, tissue)
        for group in np.flatnonzero(counts >= CORE_VOXELS)
    ]
    most = tissue.tail_share + _MOST_TAIL_OVER_TISSUE
    veins = [group for group in groups if group.tail_share <= most]
    return sorted(veins, key=lambda vein: venous_score(vein, tissue, frames), reverse=True)


def venous_score(vein: VesselCurve, tissue: TissueCurve, frames: Frames) -> float:
    """How good a venous curve is: large in area, and of the shape that the brain's has.

    In units of a factor e in area, which 0.05 of correlation cost.
    """
    fit = float(drains_tissue(vein.curve[None], frames.times_s, tissue.curve)[0])
    return float(np.log(vein.curve.clip(0).sum()) - (1 - fit) / _MISFIT)


def strongest(
    found: Candidates, members: IntArray, frames: Frames, tissue: TissueCurve
) -> VesselCurve:
    """Mean curve of the 20 strongest voxels among ``members``.

    Strength is what the mean curve of all explains of a voxel's own: single areas would choose
    the voxels whose baseline noise happens to be low.
    """
    curves = found.smooth[members].astype(np.float64)
    shape = curves.mean(axis=0)
    strength = curves @ (shape - shape.mean())
    core = members[np.argsort(-strength, kind="stable")[:_VEIN_VOXELS]]
    return cluster_curve(found, core, frames, tissue)


def late_voxels(found: Candidates, artery: VesselCurve) -> BoolArray:
    """Which candidates enhance after the artery."""
    return np.asarray(found.peak_time > artery.peak_time_s)
