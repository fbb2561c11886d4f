"""When a perfusion result must not be trusted: each check gives a warning with its number, or None.

Checks raise :class:`inference.errors.NotAnalysable` where no use of the result is left.
"""

import numpy as np
import numpy.typing as npt

from inference.errors import NotAnalysable
from inference.geometry import Geometry
from inference.perfusion.agent import IODINE, Agent
from inference.perfusion.tissue_curve import TissueCurve
from inference.perfusion.venous_output import TRUNCATED_TAIL
from inference.perfusion.vessel_curves import VesselCurve
from inference.results import Warning

Float64Array = npt.NDArray[np.float64]

_FEWEST_BASELINE_FRAMES = 2
_LEAST_COVERAGE_MM = 40.0
_TRUNCATED_TISSUE = 0.4
_LEAST_TISSUE_TAIL = 0.3
_LEAST_AFTER_ARRIVAL_S = 15.0
_LEAST_AFTER_PEAK_S = 1.5
_LEAST_CONTRAST_TO_NOISE = 3.0
_TRUSTED_CONTRAST_TO_NOISE = 5.0
_USUAL_SMOOTHING_MM = 2.5
_MOST_SHIFT_MM = 3.0
_MOST_TURN_DEG = 3.0
_TRUSTED_GAP_S = 5.0
_HALF = 0.5
_LEAST_LEAD_S = 1.0
_MOST_UNDERSHOOT = 0.3
_WIDEST_BOLUS_S = 10.0
_LEAST_SPREAD_ML, _MOST_SPREAD = 40.0, 0.6

TMAX_DOUBT_S = 0.5
"""Error of Tmax that the hypoperfused volume should withstand."""


def check_truncation(
    artery: VesselCurve, vein: VesselCurve | None, tissue: TissueCurve, end_s: float
) -> Warning | None:
    """Whether the scan saw the bolus to its end.

    Judged on the vein; without one on the brain as a whole, which holds 40 % of its maximum when
    the veins are at 30 %, however slow the bolus is. A vein beside bone in a moving head can seem
    to stay filled: the brain has to agree.

    Raises
    ------
    NotAnalysable
        The artery has not come down to half, the tissue has not peaked, or less than 15 s were
        scanned after the arrival: delays of the tissue cannot be told apart.
    """
    after = end_s - artery.arrival_s
    if artery.tail_share > _HALF or not np.isfinite(artery.width_s):
        raise NotAnalysable(
            f"the scan ends with the artery at {100 * artery.tail_share:.0f} % of its peak, "
            "expected below 50 %: it was cut before the bolus had passed",
            code="truncated",
            value=round(artery.tail_share, 3),
        )
    if after < _LEAST_AFTER_ARRIVAL_S or tissue.peak_time_s >= end_s - _LEAST_AFTER_PEAK_S:
        raise NotAnalysable(
            f"the scan ends {after:.1f} s after the contrast arrives and "
            f"{end_s - tissue.peak_time_s:.1f} s after the brain is brightest, expected at least "
            f"{_LEAST_AFTER_ARRIVAL_S:.0f} s and {_LEAST_AFTER_PEAK_S:g} s: it was cut before the "
            "bolus had passed",
            code="truncated",
        )
    what, tail, limit = "brain", tissue.tail_share, _TRUNCATED_TISSUE
    if vein is not None:
        what, tail, limit = "vein", vein.tail_share, TRUNCATED_TAIL
    if tail > limit and tissue.tail_share > _LEAST_TISSUE_TAIL:
        return Warning(
            "truncated",
            f"The scan ends with the {what} at {100 * tail:.0f} % of its peak (trusted up to "
            f"{100 * limit:.0f} %); volumes may be wrong.",
            round(tail, 3),
        )
    return None


def check_bolus(peak: float, agent: Agent = IODINE) -> Warning | None:
    """Whether the contrast changes the artery enough.

    Parameters
    ----------
    peak : float
        Of the arterial input, its partial volume undone, in the agent's unit.
    """
    if peak >= agent.weak_peak:
        return None
    return Warning(
        "weak_bolus",
        f"The artery {agent.effect} by {peak:.0f} {agent.unit} only (trusted from "
        f"{agent.weak_peak:.0f} {agent.unit}).",
        round(peak, 1),
    )


def check_contrast_to_noise(
    ratio: float, smoothing_mm: float, agent: Agent = IODINE
) -> Warning | None:
    """Whether the contrast changes the brain enough against the noise.

    Parameters
    ----------
    ratio : float
        Peak of the brain's mean curve over the noise of single curves after smoothing.
    smoothing_mm : float
        Standard deviation of the kernel that gave it. Noise falls with the inverse of that, so
        the warning's number is the ratio that 2.5 mm would have given: wide kernels hide a weak
        bolus, and small lesions with it.

    Raises
    ------
    NotAnalysable
        The ratio is so low that delays of single voxels are those of the noise.
    """
    if ratio < _LEAST_CONTRAST_TO_NOISE:
        raise NotAnalysable(
            f"the brain {agent.effect} by {ratio:.1f} times the noise after smoothing, expected at "
            f"least {_LEAST_CONTRAST_TO_NOISE:g}: the bolus is too weak or the images too noisy",
            code="weak_bolus",
            value=round(ratio, 2),
        )
    usual = ratio * min(1.0, _USUAL_SMOOTHING_MM / max(smoothing_mm, _USUAL_SMOOTHING_MM))
    if usual >= _TRUSTED_CONTRAST_TO_NOISE:
        return None
    return Warning(
        "weak_bolus",
        f"The brain {agent.effect} by {usual:.1f} times the noise at {_USUAL_SMOOTHING_MM:g} mm "
        f"(trusted from {_TRUSTED_CONTRAST_TO_NOISE:g}).",
        round(usual, 2),
    )


def check_motion(
    extent_mm: float, extent_deg: float, dropped: int, total: int
) -> tuple[Warning, ...]:
    """Whether the head lay still enough.

    Parameters
    ----------
    extent_mm, extent_deg : float
        How far the head lies apart in two of the frames that are used, at most.
    dropped, total : int
        Frames that were not used, and all that were acquired.

    Raises
    ------
    NotAnalysable
        More than half of the frames were dropped.
    """
    if dropped > _HALF * total:
        raise NotAnalysable(
            f"{dropped} of {total} frames had to be dropped for motion, expected at most "
            "half: the head moved too much",
            code="frames_dropped",
            value=float(dropped),
        )
    found = []
    if extent_mm > _MOST_SHIFT_MM or extent_deg > _MOST_TURN_DEG:
        found.append(
            Warning(
                "motion",
                f"The head moved by up to {extent_mm:.1f} mm and turned by up to {extent_deg:.1f} "
                f"degrees among the frames that were used (trusted up to {_MOST_SHIFT_MM:g} mm and "
                f"{_MOST_TURN_DEG:g} degrees); this was corrected.",
                round(extent_mm, 1),
            )
        )
    if dropped:
        found.append(
            Warning(
                "frames_dropped",
                f"{dropped} of {total} frames were dropped for motion.",
                float(dropped),
            )
        )
    return tuple(found)


def check_sampling(times_s: Float64Array, artery: VesselCurve) -> Warning | None:
    """Whether frames are close enough together while the bolus passes.

    Parameters
    ----------
    times_s : array, shape ``(time, slice)``
        Of the frames that are used.
    artery : VesselCurve
        Its first pass lasts from the arrival to one width after the peak.

    Raises
    ------
    NotAnalysable
        A gap in the first pass is as long as the bolus is wide: its peak may lie in the gap.
    """
    middle = times_s.mean(axis=1)
    before, after = middle[:-1], middle[1:]
    passing = (after > artery.arrival_s) & (before < artery.peak_time_s + artery.width_s)
    # A gap before the first contrast hides no peak when the curve still rises after it.
    passing &= (before >= artery.arrival_s) | (after >= artery.peak_time_s)
    gap = float(np.max(np.diff(middle), where=passing, initial=0.0))
    if gap >= max(artery.width_s, _TRUSTED_GAP_S):
        raise NotAnalysable(
            f"no frame for {gap:.1f} s while the bolus passes, which is {artery.width_s:.1f} s "
            f"wide, expected at most {_TRUSTED_GAP_S:g} s: the bolus was not sampled",
            code="uncertain",
            value=round(gap, 1),
        )
    if gap <= _TRUSTED_GAP_S:
        return None
    return Warning(
        "uncertain",
        f"No frame for {gap:.1f} s while the bolus passes (trusted up to {_TRUSTED_GAP_S:g} s).",
        round(gap, 1),
    )


def check_start(artery: VesselCurve, tissue: TissueCurve) -> None:
    """Whether the scan began before the contrast came.

    Raises
    ------
    NotAnalysable
        Artery or brain end well below what was taken for their level without contrast, or the
        artery lies below it for so long that nothing is left of its area.
    """
    for what, tail in (("artery", artery.tail_share), ("brain", tissue.tail_share)):
        if tail < -_MOST_UNDERSHOOT:
            raise NotAnalysable(
                f"the {what} ends {100 * -tail:.0f} % of its peak below its first frames, expected "
                f"at most {100 * _MOST_UNDERSHOOT:.0f} %: the contrast was there when the scan "
                "began, so the enhancement cannot be measured",
                code="short_baseline",
                value=0.0,
            )
    area = float(artery.curve.sum())
    if area <= 0:
        raise NotAnalysable(
            f"the area under the artery's curve is {area:.0f}, expected a positive one: what was "
            "taken for its level without contrast is too high, so the enhancement cannot be "
            "measured",
            code="short_baseline",
            value=0.0,
        )


def check_width(artery: VesselCurve) -> Warning | None:
    """Whether the bolus is narrow enough to tell delays of the tissue."""
    if artery.width_s <= _WIDEST_BOLUS_S:
        return None
    return Warning(
        "uncertain",
        f"The bolus is {artery.width_s:.1f} s wide in the artery (trusted up to "
        f"{_WIDEST_BOLUS_S:g} s), as in heart failure: Tmax is prolonged everywhere.",
        round(artery.width_s, 1),
    )


def check_baseline(acquired_frames: int) -> Warning | None:
    """Whether enough frames were acquired before the contrast arrived."""
    if acquired_frames >= _FEWEST_BASELINE_FRAMES:
        return None
    return Warning(
        "short_baseline",
        f"{acquired_frames} frame(s) before the contrast arrives (trusted from "
        f"{_FEWEST_BASELINE_FRAMES}).",
        float(acquired_frames),
    )


def check_threshold(
    volume_ml: float, lower_ml: float, higher_ml: float, threshold_s: float
) -> Warning | None:
    """Whether the hypoperfused volume hangs on the exact threshold.

    Where a whole territory is delayed to just about it, by a narrowed carotid or a slow heart, half
    a second of error decides over a hemisphere.

    Parameters
    ----------
    volume_ml, lower_ml, higher_ml : float
        Volumes of Tmax above the threshold, above 0.5 s less and above 0.5 s more.
    threshold_s : float
    """
    spread = lower_ml - higher_ml
    if spread <= max(_LEAST_SPREAD_ML, _MOST_SPREAD * volume_ml):
        return None
    return Warning(
        "uncertain",
        f"Much tissue has a Tmax of just about {threshold_s:g} s: {lower_ml:.0f} mL lie above "
        f"{threshold_s - TMAX_DOUBT_S:g} s and {higher_ml:.0f} mL above "
        f"{threshold_s + TMAX_DOUBT_S:g} s. The hypoperfused volume hangs on the threshold.",
        round(spread, 1),
    )


def check_arterial_lead(artery: VesselCurve, tissue: TissueCurve) -> Warning | None:
    """Whether the arterial input is ahead of the tissue."""
    lead = tissue.peak_time_s - artery.peak_time_s
    if lead >= _LEAST_LEAD_S:
        return None
    return Warning(
        "aif_late",
        f"The arterial input peaks {lead:.1f} s before the tissue (trusted from "
        f"{_LEAST_LEAD_S:.0f} s).",
        round(lead, 1),
    )


def check_coverage(geometry: Geometry) -> Warning | None:
    """Whether enough of the brain was scanned."""
    height = float(geometry.slice_extents_mm.sum())
    if height >= _LEAST_COVERAGE_MM:
        return None
    return Warning(
        "low_coverage",
        f"The scan covers {height:.0f} mm (trusted from {_LEAST_COVERAGE_MM:.0f} mm); a lesion "
        "outside is not seen.",
        round(height, 1),
    )


def check_timing(timing: str, guessed: bool) -> Warning | None:
    """Whether the times were read from the images."""
    if not guessed:
        return None
    return Warning(
        "timing_guessed",
        f"The images carry no usable times; they were ordered by {timing or 'their numbers'} and "
        "even steps assumed. All times and flows depend on that.",
    )


def check_saturation(share: float) -> Warning | None:
    """Whether the artery's signal stays above the noise while the bolus passes (MR).

    Parameters
    ----------
    share : float
        Of the artery's voxels, those whose signal falls to where noise hides it.
    """
    if share < _HALF:
        return None
    return Warning(
        "uncertain",
        f"The artery's signal falls to the noise in {100 * share:.0f} % of its voxels (trusted "
        f"below {100 * _HALF:.0f} %): its peak is cut off, CBF and Tmax may be wrong.",
        round(share, 2),
    )
