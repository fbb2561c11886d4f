"""The contrast bolus: how its concentration in artery and vein changes with time."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.simulate.anatomy.person import Cohort
from training.simulate.arrays import FloatArray, stream

STEP_S = 0.05
BEYOND_S = 10.0
"""How long the curves go on after the end of the scan: early tissue is ahead of the artery."""


@dataclass(frozen=True, eq=False)
class Bolus:
    """Blood concentration of contrast after one injection.

    Parameters
    ----------
    step_s : float
        Time between samples; the first one is at the start of the scan.
    arterial, venous : float64 arrays, shape ``(time,)``
        In a large artery of the skull base and in a large sinus, in units of the arterial peak.
    peak_hu : float
        Enhancement of the artery at its peak at the tube voltage of a CT perfusion.
    arrival_s : float
        When the artery begins to enhance.
    """

    step_s: float
    arterial: FloatArray
    venous: FloatArray
    peak_hu: float
    arrival_s: float

    @property
    def times_s(self) -> FloatArray:
        """Times of the samples, shape ``(time,)``."""
        return np.asarray(np.arange(len(self.arterial)) * self.step_s, dtype=np.float64)


@dataclass(frozen=True)
class _Ranges:
    """Ranges that a cohort draws from, each uniform unless said."""

    width_s: tuple[float, float, float, float]
    """Full width at half maximum of the first pass: median and log-spread, then limits."""
    shape: tuple[float, float]
    arrival_s: tuple[float, float]
    recirculation: tuple[float, float]
    peak_hu: tuple[float, float]


_USUAL = _Ranges((6.0, 0.2, 4.0, 8.4), (2.0, 4.0), (4.0, 14.0), (0.08, 0.16), (200.0, 450.0))
_SHIFTED = _Ranges((7.0, 0.14, 4.4, 8.0), (2.0, 2.8), (4.0, 18.0), (0.14, 0.22), (150.0, 300.0))
_WEAK_PEAK_HU = (25.0, 95.0)
_MR_WIDTH = 0.85


def draw_bolus(
    seed: int,
    duration_s: float,
    *,
    modality: Literal["ct", "mr"] = "ct",
    weak: bool = False,
    late: bool = False,
    cohort: Cohort = "usual",
) -> Bolus:
    """Draw the bolus of one scan.

    Gamma variate (t-t0)^b e^(-(t-t0)/c) with b 2-4 and c 1-3 s, recirculation of 8-16 % after
    8-12 s, then a slow tail (Thompson 1964; ranges textbook). The vein is the artery after the
    transit of the brain: later by 4-6 s at the peak, lower, with the same area.

    Parameters
    ----------
    seed : int
        Decides everything.
    duration_s : float
        Length of the scan.
    modality : "ct" or "mr"
        An MR injection is smaller, so its bolus is shorter.
    weak : bool
        A poor injection: under 100 HU.
    late : bool
        Poor cardiac output: late and broad.
    cohort : "usual" or "shifted"
        From which ranges.
    """
    rng = stream(seed, "bolus", modality)
    ranges = _SHIFTED if cohort == "shifted" else _USUAL
    median, spread, least, most = ranges.width_s
    if modality == "mr":
        median, least = median * _MR_WIDTH, least * _MR_WIDTH
    width = float(np.clip(median * np.exp(rng.normal(0, spread)), least, most))
    arrival = float(rng.uniform(*ranges.arrival_s))
    peak = float(rng.uniform(*ranges.peak_hu))
    slow, poor = float(rng.uniform(1.35, 1.9)), float(rng.uniform(*_WEAK_PEAK_HU))
    delay = float(rng.uniform(5, 11))
    if late:
        width = min(max(width, 6.0) * slow, 13.0)
        arrival, peak = max(arrival, 7.0) + delay, peak / slow
    # Drawn to beyond its passage, however short the scan: it does not depend on the scan's length.
    count = len(np.arange(0, duration_s + BEYOND_S, STEP_S))
    times = np.arange(0, max(duration_s + BEYOND_S, arrival + 12 * width), STEP_S)
    arterial = _artery(rng, times, arrival, width, ranges)
    venous = _vein(rng, arterial)
    return Bolus(STEP_S, arterial[:count], venous[:count], poor if weak else peak, arrival)


def _artery(
    rng: np.random.Generator, times: FloatArray, arrival: float, width: float, ranges: _Ranges
) -> FloatArray:
    """First pass, recirculation and tail; the highest sample is 1."""
    low, high = ranges.shape
    # The width is about 2.4 c sqrt(b): b as large as keeps c at 1 s or more.
    shape = float(rng.uniform(low, min(high, max((width / 2.45) ** 2, low + 0.1))))
    scale = width / _unit_width(shape)
    first = _gamma_variate(times - arrival, shape, scale)
    lag = float(rng.uniform(8, 12)) * max(1.0, width / 6.5)
    broader = float(rng.uniform(1.5, 2.2))
    # Both maxima lie at shape times scale after their start; the lag is between the maxima.
    second = _gamma_variate(
        times - arrival - lag + shape * scale * (broader - 1), shape, scale * broader
    )
    amount = float(rng.uniform(*ranges.recirculation))
    plateau, decay = float(rng.uniform(0.03, 0.08)), float(rng.uniform(60, 200))
    since = np.clip(times - arrival - shape * scale, 0, None)
    tail = -np.expm1(-since / (0.6 * lag)) * np.exp(-since / decay)
    curve = first + amount * second + plateau * tail
    return np.asarray(curve / curve.max())


def _gamma_variate(since: FloatArray, shape: float, scale: float) -> FloatArray:
    """Gamma variate with a maximum of 1 at ``shape * scale``."""
    u = np.clip(since, 0, None) / (shape * scale)
    return np.asarray((u * np.exp(1 - u)) ** shape)


def _unit_width(shape: float) -> float:
    """Full width at half maximum of a gamma variate of scale 1 s."""
    u = np.arange(0, 6, 0.001)
    above = u[(u * np.exp(1 - u)) ** shape >= 0.5]
    return float(above[-1] - above[0]) * shape


def _vein(rng: np.random.Generator, arterial: FloatArray) -> FloatArray:
    """Disperse the artery by gamma-distributed transit times, then delay it; area conserved.

    The spread of the transit times is such that the vein peaks at 60-80 % of the artery.
    """
    ratio, later = float(rng.uniform(0.6, 0.8)), float(rng.uniform(4, 6))
    low, high = 0.1, 12.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if _dispersed(arterial, middle).max() > ratio else (low, middle)
    curve = _dispersed(arterial, low)
    shift = later - (int(curve.argmax()) - int(arterial.argmax())) * STEP_S
    times = np.arange(len(arterial)) * STEP_S
    return np.asarray(np.interp(times - shift, times, curve, left=0.0))


def _dispersed(curve: FloatArray, mean_s: float) -> FloatArray:
    """Pass a curve through two well-mixed compartments of ``mean_s / 2`` each, area conserved."""
    from scipy import signal

    keep = np.exp(-2 * STEP_S / mean_s)
    once = signal.lfilter([1 - keep], [1, -keep], curve)
    return np.asarray(signal.lfilter([1 - keep], [1, -keep], once))
