"""The bolus as the whole brain sees it: the clock by which vessels are found.

A hundred thousand voxels have hardly any noise together, and their middle half none of the edges
that motion makes at the skull and around the ventricles: this curve is right in a moving head,
where the brightest voxels are those edges.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.errors import NotAnalysable
from inference.perfusion.agent import IODINE, Agent
from inference.perfusion.concentration import moving_mean, onset
from inference.preprocess.frames import Frames

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

ARTERIAL_LEAD_S = 2.0
"""Time by which contrast reaches the arteries before the brain as a whole has 10 % of its rise."""

_SAFETY_S = 1.0
_RISE_SHARE = 0.1
_NOISE_FLOOR = 4.0
_LINE_END = np.array([-1.0, 2.0, 5.0]) / 6


@dataclass(frozen=True, eq=False)
class TissueCurve:
    """Enhancement of the brain.

    ``curve`` has shape ``(time,)``; ``arrival_s`` is when it reaches 10 % of its maximum,
    ``peak_time_s`` when it is at that maximum, ``peak`` how high it is.
    """

    curve: Float64Array
    arrival_s: float
    peak_time_s: float
    peak: float

    @property
    def earliest_artery_s(self) -> float:
        """No artery enhances before this time."""
        return self.arrival_s - ARTERIAL_LEAD_S

    @property
    def baseline_end_s(self) -> float:
        """No contrast before this time, even where interpolation lets curves rise early."""
        return self.earliest_artery_s - _SAFETY_S

    @property
    def tail_share(self) -> float:
        """What is left of the maximum at the end of the scan."""
        return line_end(self.curve) / self.peak


def line_end(curve: Float64Array) -> float:
    """Where the line through the last three samples ends: less noisy than the last one alone, and
    not as late as their mean."""
    return float(curve[-3:] @ _LINE_END)


def measure_tissue(frames: Frames, tissue: BoolArray, agent: Agent = IODINE) -> TissueCurve:
    """Mean of the middle half of the brain's voxels at every time, above their quiet level.

    Parameters
    ----------
    frames : Frames
        HU or ΔR2* of shape ``(time, slice, row, column)``.
    tissue : array, shape ``(slice, row, column)``
        Brain, some millimetres from the skull.
    agent : Agent
        Says how much a bolus changes the brain at least.

    Raises
    ------
    NotAnalysable
        No contrast arrives, or it is there from the first frame on.
    """
    times = frames.times_s
    curve = np.array([_middle_mean(volume[tissue]) for volume in frames.data])
    peak = int(np.argmax(moving_mean(curve))) + 1
    low = float(np.sort(curve[:peak])[: max(3, peak // 3)].mean())
    rise = float(curve[peak]) - low
    before = curve[:peak][curve[:peak] <= low + _RISE_SHARE * rise]
    noise = float(np.std(before)) if len(before) > 2 else 0.0
    least = max(agent.least_rise, _NOISE_FLOOR * noise)
    if rise < least:
        raise NotAnalysable(
            f"the brain {agent.effect} by {rise:.2f} {agent.unit} only, expected at least "
            f"{least:.2f} {agent.unit}: no contrast bolus in this scan",
            code="weak_bolus",
            value=round(rise, 2),
        )
    arrival = onset(curve, times, peak, low + _RISE_SHARE * rise)
    if arrival is None or arrival < times[1]:
        raise NotAnalysable(
            "the contrast is already there in the first frame, expected at least one frame "
            "before it: without a baseline the enhancement cannot be measured",
            code="short_baseline",
            value=0.0,
        )
    quiet = times <= arrival - ARTERIAL_LEAD_S - _SAFETY_S
    quiet[0] = True
    curve = curve - curve[quiet].mean()
    return TissueCurve(curve, arrival, float(times[peak]), float(curve[peak]))


def _middle_mean(values: npt.NDArray[np.float32]) -> float:
    """Mean of the values between the quartiles."""
    quarter = len(values) // 4
    middle = np.partition(values, [quarter, len(values) - 1 - quarter])
    return float(middle[quarter : len(values) - quarter].mean(dtype=np.float64))
