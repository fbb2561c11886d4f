"""Statistics of scores per patient: comparisons, intervals, areas under ROC curves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Values = Sequence[float] | FloatArray
Labels = Sequence[bool] | Sequence[int] | BoolArray | npt.NDArray[np.integer[Any]]

_LEAST_CASES = 3
_ROUNDING = 1e-12


class Interval(NamedTuple):
    """Limits of a confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class PairedTest:
    """Comparison of two methods on the same cases.

    Parameters
    ----------
    test : "paired t", "Wilcoxon" or None
        None where there are too few cases.
    p_value, statistic : float or None
        Two-sided; of the t test t, of Wilcoxon's the smaller sum of ranks.
    n : int
        Cases.
    mean_difference : float or None
        First minus second; None without a case.
    reason : str
        Why there is no p-value; empty where there is one.
    """

    test: Literal["paired t", "Wilcoxon"] | None
    p_value: float | None
    statistic: float | None
    n: int
    mean_difference: float | None
    reason: str = ""


def compare_paired(first: Values, second: Values, alpha: float = 0.05) -> PairedTest:
    """Test whether two methods differ in a score, case by case.

    Paired t test where Shapiro-Wilk lets the scores of both methods pass as normal, else
    Wilcoxon's signed-rank test, which is also taken where all differences are the same. Without
    any difference, but for rounding, p is 1.

    Parameters
    ----------
    first, second : array-like of float, shape (case,)
        Scores of the two methods on the same cases.
    alpha : float
        Scores whose Shapiro-Wilk p lies above it count as normal.

    Raises
    ------
    ValueError
        The lists differ in length or have scores that are not finite.
    """
    one, other = finite_scores(first, "first"), finite_scores(second, "second")
    if len(one) != len(other):
        raise ValueError(f"{len(one)} first and {len(other)} second scores; expected pairs")
    count, differences = len(one), one - other
    mean = float(differences.mean()) if count else None
    if count < _LEAST_CASES:
        reason = f"{count} cases, a test needs {_LEAST_CASES} or more"
        return PairedTest(None, None, None, count, mean, reason)
    rounding = _ROUNDING * max(np.abs(one).max(), np.abs(other).max())
    differences[np.abs(differences) <= rounding] = 0
    if not differences.any():
        return PairedTest("Wilcoxon", 1.0, 0.0, count, 0.0)
    if np.ptp(differences) > rounding and _normal(one, alpha) and _normal(other, alpha):
        found = stats.ttest_rel(one, other)
        return PairedTest("paired t", float(found.pvalue), float(found.statistic), count, mean)
    found = stats.wilcoxon(differences)
    return PairedTest("Wilcoxon", float(found.pvalue), float(found.statistic), count, mean)


def _normal(scores: FloatArray, alpha: float) -> bool:
    """Whether Shapiro-Wilk lets scores pass as normal; equal ones are not."""
    varies = bool(np.ptp(scores) > _ROUNDING * np.abs(scores).max())
    return varies and float(stats.shapiro(scores).pvalue) > alpha


def bootstrap_interval(
    values: Values,
    statistic: Callable[[FloatArray], float] = np.median,
    groups: Sequence[object] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap over patients (Efron 1979, doi:10.1214/aos/1176344552).

    Parameters
    ----------
    values : array-like of float, shape (value,) or (value, column)
        What the statistic is made of.
    statistic : callable
        From resampled values, shape as ``values``, to a number.
    groups : sequence, length value, optional
        Patient of each value; whole patients are drawn. Every value is a patient's when not given.
    level : float
        Of confidence, between 0 and 1.
    resamples : int
        How many.
    seed : int
        The same seed gives the same interval.

    Raises
    ------
    ValueError
        Fewer than two patients, values that are not finite, a group too many or too few, or a
        level or count of resamples out of range.
    """
    numbers = np.asarray(values, np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(numbers))} values are not finite")
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(
            f"level {level} and {resamples} resamples; expected between 0 and 1, and 1 or more"
        )
    members = _members(len(numbers), groups)
    rng = np.random.default_rng(seed)
    found = np.empty(resamples)
    for index in range(resamples):
        drawn = rng.integers(len(members), size=len(members))
        found[index] = statistic(numbers[np.concatenate([members[number] for number in drawn])])
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _members(count: int, groups: Sequence[object] | None) -> list[npt.NDArray[np.intp]]:
    """Indices of the values of every patient, in the order in which patients come."""
    of_each = range(count) if groups is None else groups
    if len(of_each) != count:
        raise ValueError(f"{len(of_each)} groups for {count} values; expected one for each")
    members: dict[object, list[int]] = {}
    for index, group in enumerate(of_each):
        members.setdefault(group, []).append(index)
    if len(members) < 2:
        raise ValueError(f"values of {len(members)} patients; expected 2 or more to draw from")
    return [np.array(indices) for indices in members.values()]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values adjusted for many comparisons by Holm's step-down method (1979).

    They keep their order. None, a comparison without a test, stays None and is not counted.

    Raises
    ------
    ValueError
        A p-value does not lie between 0 and 1.
    """
    known = [(p, index) for index, p in enumerate(p_values) if p is not None]
    for p, _ in known:
        if not 0 <= p <= 1:
            raise ValueError(f"p-value {p}; expected between 0 and 1")
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(sorted(known)):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[index] = largest
    return adjusted


def finite_scores(scores: Values, name: str) -> FloatArray:
    """Scores as an array of shape ``(case,)``; ValueError where they are not finite numbers."""
    numbers = np.asarray(scores, np.float64)
    if numbers.ndim != 1:
        raise ValueError(f"{name} scores have shape {numbers.shape}; expected (case,)")
    if not np.isfinite(numbers).all():
        bad = int(np.count_nonzero(~np.isfinite(numbers)))
        raise ValueError(f"{bad} of {len(numbers)} {name} scores are not finite")
    return numbers


class RocCurve(NamedTuple):
    """Rates at falling thresholds, each of shape ``(threshold,)``.

    A case counts as positive where its score is at or above the threshold; the first one is
    infinite, where none is.
    """

    false_positive_rate: FloatArray
    true_positive_rate: FloatArray
    thresholds: FloatArray


@dataclass(frozen=True)
class RocArea:
    """Area under a ROC curve.

    Parameters
    ----------
    auc : float
        The area.
    variance : float
        DeLong's.
    interval : Interval or None
        From the normal distribution, within 0 to 1; None where the variance is 0.
    reason : str
        Why there is no interval; empty where there is one.
    """

    auc: float
    variance: float
    interval: Interval | None
    reason: str = ""


@dataclass(frozen=True)
class PairedAreas:
    """Comparison of two areas under ROC curves of the same cases.

    Parameters
    ----------
    difference : float
        First area minus second.
    z, p_value : float or None
        Two-sided; None where the variance of a difference is 0.
    reason : str
        Why there is no p-value; empty where there is one.
    """

    difference: float
    z: float | None
    p_value: float | None
    reason: str = ""


def roc_curve(labels: Labels, scores: Values) -> RocCurve:
    """Rates at every score that occurs.

    Parameters
    ----------
    labels : array-like of bool or of 0 and 1, shape (case,)
        True where the case is positive.
    scores : array-like of float, shape (case,)
        Higher for what looks more positive.

    Raises
    ------
    ValueError
        The lists differ in length, a class is absent, or values are no labels or not finite.
    """
    positive, numbers = _labelled(labels, scores)
    order = np.argsort(-numbers, kind="stable")
    falling = numbers[order]
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    found = np.cumsum(positive[order])[last]
    alarms = last + 1 - found
    return RocCurve(
        np.append(0.0, alarms / alarms[-1]),
        np.append(0.0, found / found[-1]),
        np.append(np.inf, falling[last]),
    )


def auc(labels: Labels, scores: Values) -> float:
    """Area under the ROC curve: how often a positive case scores higher, ties counting half.

    Parameters and errors are those of :func:`roc_curve`.
    """
    positive, numbers = _labelled(labels, scores)
    above, _ = _placements(positive, numbers)
    return float(above.mean()) / int(np.count_nonzero(~positive))


def delong(labels: Labels, scores: Values, level: float = 0.95) -> RocArea:
    """Area under the ROC curve with DeLong's variance and interval.

    DeLong et al. 1988 (doi:10.2307/2531595), from midranks as Sun and Xu 2014
    (doi:10.1109/LSP.2014.2337313). Where the classes do not overlap the variance is 0 and tells
    nothing of how sure the area is: there is no interval then.

    Parameters
    ----------
    labels, scores
        See :func:`roc_curve`.
    level : float
        Of confidence, between 0 and 1.

    Raises
    ------
    ValueError
        As :func:`roc_curve`; a class has a single case; the level is out of range.
    """
    if not 0 < level < 1:
        raise ValueError(f"level {level}; expected between 0 and 1")
    positive, numbers = _labelled(labels, scores, least=2)
    mean, variance = _mean_and_variance(*_placements(positive, numbers))
    if variance == 0:
        return RocArea(
            mean, 0.0, None, f"all pairs of cases agree, variance 0 at an area of {mean:g}"
        )
    half = float(stats.norm.ppf((1 + level) / 2)) * variance**0.5
    return RocArea(mean, variance, Interval(max(0.0, mean - half), min(1.0, mean + half)))


def delong_paired(labels: Labels, first: Values, second: Values) -> PairedAreas:
    """Test whether two scores of the same cases differ in their area, by DeLong's method.

    Scores that order the cases alike have z 0 and p 1. Another difference that is the same for all
    cases has no variance, and then there is no p-value.

    Parameters
    ----------
    labels : array-like of bool or of 0 and 1, shape (case,)
        True where the case is positive.
    first, second : array-like of float, shape (case,)
        The two scores, higher for what looks more positive.

    Raises
    ------
    ValueError
        As :func:`delong`.
    """
    parts = [_placements(*_labelled(labels, scores, least=2)) for scores in (first, second)]
    above, below = (one - other for one, other in zip(*parts, strict=True))
    difference, variance = _mean_and_variance(above, below)
    if variance == 0 and difference == 0:
        return PairedAreas(0.0, 0.0, 1.0)
    if variance == 0:
        reason = f"all cases differ alike, variance 0 at a difference of {difference:g}"
        return PairedAreas(difference, None, None, reason)
    z = difference / variance**0.5
    return PairedAreas(difference, z, 2 * float(stats.norm.sf(abs(z))))


def _placements(positive: BoolArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Cases of the other class that each case is rightly ordered with, ties counting half.

    Shapes ``(positive,)`` and ``(negative,)``; whole or half numbers.
    """
    ranks = stats.rankdata(scores)
    above = ranks[positive] - stats.rankdata(scores[positive])
    behind = ranks[~positive] - stats.rankdata(scores[~positive])
    return above, len(above) - behind


def _mean_and_variance(above: FloatArray, below: FloatArray) -> tuple[float, float]:
    """Area and DeLong's variance from placements, or those of the difference of two areas."""
    positives, negatives = len(above), len(below)
    variance = (
        _variance(above) / negatives**2 / positives + _variance(below) / positives**2 / negatives
    )
    return float(above.mean()) / negatives, variance


def _variance(placements: FloatArray) -> float:
    """Sample variance; exactly 0 for equal placements, whatever rounding makes of their mean."""
    return float(placements.var(ddof=1)) if np.ptp(placements) else 0.0


def _labelled(labels: Labels, scores: Values, least: int = 1) -> tuple[BoolArray, FloatArray]:
    """Which cases are positive, and their scores; ``least`` cases of each class are needed."""
    marks, numbers = np.asarray(labels), finite_scores(scores, "ROC")
    if marks.shape != numbers.shape:
        raise ValueError(f"labels of shape {marks.shape} for {len(numbers)} scores; expected pairs")
    if not np.isin(marks, (0, 1)).all():
        raise ValueError(f"labels are {sorted(set(marks.tolist()))[:5]}; expected 0 and 1")
    positive = marks.astype(np.bool_)
    found = int(np.count_nonzero(positive))
    if min(found, len(positive) - found) < least:
        raise ValueError(
            f"{found} positive and {len(positive) - found} negative cases; expected {least} or "
            "more of each"
        )
    return positive, numbers
