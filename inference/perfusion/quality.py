"""When a perfusion result must not be trusted: each check gives a warning with its number, or None.

Checks raise :class:`inference.errors.NotAnalysable` where no use of the result is left.
"""

import numpy as np

from inference.errors import NotAnalysable
from inference.geometry import Geometry
from inference.perfusion.arterial_input import TRUNCATED_TAIL, VesselCurve
from inference.results import Warning

_WEAK_BOLUS_HU = 15.0
_FEWEST_BASELINE_FRAMES = 2
_LEAST_COVERAGE_MM = 40.0
_VEIN_WIDTHS = 1.6
_LEAST_AFTER_ARRIVAL_S = 15.0
_LEAST_CONTRAST_TO_NOISE = 3.0
_TRUSTED_CONTRAST_TO_NOISE = 5.0
_HALF = 0.5
_LEAST_LEAD_S = 1.0


def check_truncation(
    artery: VesselCurve, vein: VesselCurve | None, tissue_peak_s: float, end_s: float
) -> Warning | None:
    """Whether the scan saw the bolus to its end.

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
            "expected below 50 %: it was cut before the bolus had passed"
        )
    if after < _LEAST_AFTER_ARRIVAL_S or tissue_peak_s >= end_s - 1.5:
        raise NotAnalysable(
            f"the scan ends {after:.1f} s after the contrast arrives and "
            f"{end_s - tissue_peak_s:.1f} s after the brain is brightest, expected at least "
            f"{_LEAST_AFTER_ARRIVAL_S:.0f} s and 1.5 s: it was cut before the bolus had passed"
        )
    if vein is None:
        return None
    if vein.tail_share > TRUNCATED_TAIL:
        return Warning(
            "truncated",
            f"The scan ends with the vein at {100 * vein.tail_share:.0f} % of its peak "
            f"(trusted below {100 * TRUNCATED_TAIL:.0f} %); volumes may be wrong.",
            round(vein.tail_share, 3),
        )
    needed = _VEIN_WIDTHS * vein.width_s
    if after < needed:
        return Warning(
            "truncated",
            f"The scan ends {after:.1f} s after the contrast arrives, {needed:.1f} s are needed "
            "for this bolus; volumes may be wrong.",
            round(after, 1),
        )
    return None


def check_bolus(artery: VesselCurve) -> Warning | None:
    """Whether the artery brightens enough."""
    if artery.peak_hu >= _WEAK_BOLUS_HU:
        return None
    return Warning(
        "weak_bolus",
        f"The artery brightens by {artery.peak_hu:.1f} HU only (trusted from "
        f"{_WEAK_BOLUS_HU:.0f} HU).",
        round(artery.peak_hu, 1),
    )


def check_contrast_to_noise(ratio: float) -> Warning | None:
    """Whether the brain brightens enough against the noise that smoothing left.

    Raises
    ------
    NotAnalysable
        The ratio is so low that delays of single voxels are those of the noise.
    """
    if ratio < _LEAST_CONTRAST_TO_NOISE:
        raise NotAnalysable(
            f"the brain brightens by {ratio:.1f} times the noise after smoothing, expected at "
            f"least {_LEAST_CONTRAST_TO_NOISE:g}: the bolus is too weak or the images too noisy"
        )
    if ratio >= _TRUSTED_CONTRAST_TO_NOISE:
        return None
    return Warning(
        "weak_bolus",
        f"The brain brightens by {ratio:.1f} times the noise after smoothing (trusted from "
        f"{_TRUSTED_CONTRAST_TO_NOISE:g}).",
        round(ratio, 2),
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


def check_arterial_lead(artery: VesselCurve, tissue_peak_s: float) -> Warning | None:
    """Whether the arterial input is ahead of the tissue."""
    lead = tissue_peak_s - artery.peak_time_s
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
