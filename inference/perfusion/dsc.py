"""From MR signal to contrast: baseline, change of the relaxation rate, correction of leakage.

Dynamic susceptibility contrast: S(t) = S0 exp(-TE ΔR2*(t)), and ΔR2* is proportional to the
concentration (Rosen 1990, Magn Reson Med 14:249). The first frames of a series are brighter until
the magnetisation has settled, and the bolus ends the baseline; both are measured.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.errors import NotAnalysable
from inference.perfusion.concentration import moving_mean, onset

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

MOST_UNSETTLED = 3
"""Frames at the start of a series that may be dropped."""
UNSETTLED_SHARE = 0.01
"""Deviation from the baseline that tells such a frame, as a share of the signal."""
SIGNAL_FLOOR = 0.01
"""Least signal as a share of S0: weaker ones are noise and become this, ΔR2* TE = 4.6."""
TAIL_FRAMES = 10
"""Frames at the end of a series that tell whether a voxel enhances (Boxerman 2006)."""

_STRONGEST_SHARE = 0.005
_SMALLEST_SAMPLE = 30
_FALL_SHARE = 0.1
_NOISE_FLOOR = 4.0
_LEAST_FALL = 0.05
_MAD_TO_SIGMA = 1.4826
_LEAK_SIGMA = 3.0


@dataclass(frozen=True)
class Baseline:
    """Frames ``first`` to ``end - 1`` of a series: settled, and before the bolus."""

    first: int
    end: int


@dataclass(frozen=True, eq=False)
class Relaxation:
    """Change of the transverse relaxation rate.

    Parameters
    ----------
    curves : array, shape ``(time, voxel)``
        ΔR2* in 1/s of the frames from ``baseline.first`` on.
    s0 : array, shape ``(voxel,)``
        Mean signal of the baseline.
    baseline : Baseline
    clipped : int
        Samples below 1 % of S0, zero and negative ones included, that were raised to it.
    without_signal : int
        Voxels whose S0 is not positive; their curves are zero.
    """

    curves: Float32Array
    s0: Float32Array
    baseline: Baseline
    clipped: int
    without_signal: int


@dataclass(frozen=True, eq=False)
class Leakage:
    """Curves without the effect of contrast that left the vessels.

    Parameters
    ----------
    curves : array, shape ``(time, voxel)``
        Corrected ΔR2* in 1/s.
    k1 : array, shape ``(voxel,)``
        Blood volume relative to that of the reference.
    k2 : array, shape ``(voxel,)``
        Leakage in 1/s: positive where T1 shortening raises the signal, negative where the leaked
        contrast shortens T2*.
    reference : array, shape ``(time,)``
        Mean curve of the voxels that do not leak.
    """

    curves: Float32Array
    k1: Float32Array
    k2: Float32Array
    reference: Float64Array


def unsettled_frames(signal: Float32Array) -> int:
    """How many frames at the start are from before the magnetisation had settled.

    Told by the mean signal alone, so that it holds for a head that moves. A bolus that comes early
    lowers the frames after these; the first of them then tells the level.

    Parameters
    ----------
    signal : array, shape ``(time, voxel)``
        Of the head, at least six frames.
    """
    mean = signal[: 2 * MOST_UNSETTLED].mean(axis=1, dtype=np.float64)
    level = max(float(np.median(mean[MOST_UNSETTLED:])), float(mean[MOST_UNSETTLED]))
    away = np.abs(mean[:MOST_UNSETTLED] - level) > UNSETTLED_SHARE * level
    return int(np.max(np.flatnonzero(away), initial=-1)) + 1


def find_baseline(signal: Float32Array, most_unsettled: int = MOST_UNSETTLED) -> Baseline:
    """Find the frames between the settling of the magnetisation and the arrival of the bolus.

    Parameters
    ----------
    signal : array, shape ``(time, voxel)``
        Of the head, vessels included.
    most_unsettled : int
        Frames at the start that may not have settled.

    Raises
    ------
    NotAnalysable
        No bolus passes, or it is there before the magnetisation has settled.
    """
    mean = signal.mean(axis=1, dtype=np.float64)
    if len(mean) < most_unsettled + 5:
        raise NotAnalysable(
            f"the series has {len(mean)} frames, expected at least {most_unsettled + 5}: "
            "send the whole acquisition"
        )
    end = most_unsettled + _quiet_frames(_strongest_curve(signal[most_unsettled:]), most_unsettled)
    settled = mean[most_unsettled:end]
    level = float(np.median(settled))
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(settled - level)))
    tolerance = max(UNSETTLED_SHARE * level, _NOISE_FLOOR * spread)
    first = 0
    while first < most_unsettled and abs(float(mean[first]) - level) > tolerance:
        first += 1
    return Baseline(first, end)


def relaxation_change(signal: Float32Array, echo_time_s: float, baseline: Baseline) -> Relaxation:
    """ΔR2*(t) = -ln(S(t) / S0) / TE.

    Parameters
    ----------
    signal : array, shape ``(time, voxel)``
    echo_time_s : float
    baseline : Baseline
        Of :func:`find_baseline`; S0 is the mean over it, and the frames before it are dropped.

    Raises
    ------
    ValueError
        An echo time that is none: it is in seconds, not in milliseconds.
    """
    if not 0 < echo_time_s < 1:
        raise ValueError(f"the echo time is {echo_time_s} s, expected between 0 and 1 s")
    s0 = signal[baseline.first : baseline.end].mean(axis=0)
    visible = s0 > 0
    ratio = signal[baseline.first :] / np.where(visible, s0, 1)
    ratio[:, ~visible] = 1
    clipped = int(np.count_nonzero(ratio < SIGNAL_FLOOR))
    np.maximum(ratio, SIGNAL_FLOOR, out=ratio)
    curves = np.log(ratio, out=ratio)
    curves *= -1 / echo_time_s
    return Relaxation(curves, s0, baseline, clipped, int(np.count_nonzero(~visible)))


def correct_leakage(relaxation: Relaxation, step_s: float) -> Leakage:
    """Take leaked contrast out of the curves (Boxerman 2006, AJNR 27:859).

    With m(t) the mean curve of voxels that do not leak, ΔR2*(t) = K1 m(t) - K2 ∫m is fitted to
    every voxel by least squares, and K2 ∫m added to it. Voxels do not leak when their signal over
    the last ten frames is not above the baseline by more than its standard deviation, and their
    K2 not beyond three robust standard deviations.

    Parameters
    ----------
    relaxation : Relaxation
    step_s : float
        Time between frames.

    Raises
    ------
    ValueError
        No voxel is without leakage, or no contrast is in those.

    Notes
    -----
    Slow and late tissue is fitted with a negative K2 without leaking: MTT 11 s and a delay of 6 s
    lose 70 % of their area. So this is for leaking lesions, and not for tissue with a long Tmax.
    """
    curves = relaxation.curves
    quiet = relaxation.baseline.end - relaxation.baseline.first
    noise = curves[:quiet].std(axis=0)
    steady = (curves[-TAIL_FRAMES:].mean(axis=0) >= -noise) & (relaxation.s0 > 0)
    _, k2, _, _ = _fit_leakage(curves, steady, step_s)
    typical = float(np.median(k2[steady]))
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(k2[steady] - typical)))
    steady &= np.abs(k2 - typical) <= _LEAK_SIGMA * spread
    k1, k2, reference, area = _fit_leakage(curves, steady, step_s)
    corrected = curves + area[:, None].astype(np.float32) * k2
    return Leakage(corrected, k1, k2, reference)


def _fit_leakage(
    curves: Float32Array, steady: npt.NDArray[np.bool_], step_s: float
) -> tuple[Float32Array, Float32Array, Float64Array, Float64Array]:
    """K1 and K2 of all voxels, the mean curve of the steady ones, and its running integral."""
    if not steady.any():
        raise ValueError("no voxel is without leakage, expected at least one as the reference")
    reference = curves[:, steady].mean(axis=1, dtype=np.float64)
    if not reference.any():
        raise ValueError("the voxels without leakage have no contrast: nothing to compare with")
    steps = step_s * (reference[1:] + reference[:-1]) / 2
    area = np.concatenate([[0.0], np.cumsum(steps)])
    solve = np.linalg.pinv(np.stack([reference, -area], axis=1)).astype(np.float32)
    # Summed in a fixed order: that of a matrix product depends on the number of threads.
    k1, k2 = np.einsum("kt,tv->kv", solve, curves)
    return k1, k2, reference, area


def _strongest_curve(signal: Float32Array) -> Float64Array:
    """Mean curve of the 0.5 % of the voxels whose running mean over three frames falls most."""
    running = moving_mean(signal)
    span = running.max(axis=0) - running.min(axis=0)
    count = min(len(span), max(_SMALLEST_SAMPLE, round(_STRONGEST_SHARE * len(span))))
    threshold = np.partition(span, len(span) - count)[len(span) - count]
    return np.asarray(signal[:, span >= threshold].mean(axis=1, dtype=np.float64))


def _quiet_frames(curve: Float64Array, skipped: int) -> int:
    """How many frames of a curve are before the bolus; ``skipped`` ones came before the curve."""
    trough = int(np.argmin(moving_mean(curve))) + 1
    level = float(np.sort(curve[:trough])[-max(1, trough // 3) :].mean())
    recovered = float(curve[-TAIL_FRAMES:].mean())
    depth = max(level, recovered) - float(curve[trough])
    fall = level - curve
    before = fall[:trough][fall[:trough] <= _FALL_SHARE * depth]
    noise = float(np.std(before)) if len(before) > 2 else 0.0
    least = max(_LEAST_FALL * level, _NOISE_FLOOR * noise)
    if depth < least:
        raise NotAnalysable(
            f"the vessels darken by {100 * depth / level:.1f} % only, expected at least "
            f"{100 * least / level:.1f} %: no contrast bolus in this series"
        )
    # After the bolus the signal comes back to about its baseline, so a lower one was none.
    arrival = None
    if recovered - level < depth / 2:
        frames = np.arange(float(len(curve)))
        arrival = onset(fall, frames, trough, max(_FALL_SHARE * depth, _NOISE_FLOOR * noise))
    if arrival is None:
        raise NotAnalysable(
            f"the contrast is there in frame {skipped + 1}, expected at least one settled "
            "frame before it: without a baseline the signal cannot be converted"
        )
    return int(arrival) + 1
