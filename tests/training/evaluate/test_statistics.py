"""Statistics of scores, against scipy's and against definitions written out case by case."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from training.evaluate.statistics import (
    Interval,
    auc,
    bootstrap_interval,
    compare_paired,
    delong,
    delong_paired,
    holm,
    roc_curve,
)

seeds = st.integers(0, 2**32 - 1)
NORMAL = [0.61, 0.72, 0.68, 0.75, 0.66, 0.70, 0.64, 0.69]
OTHER = [0.63, 0.70, 0.73, 0.79, 0.71, 0.72, 0.66, 0.77]
SKEWED = [0.01, 0.01, 0.02, 0.01, 0.03, 0.02, 0.01, 0.95]


def test_normal_scores_have_a_paired_t_test() -> None:
    found = compare_paired(NORMAL, OTHER)
    expected = stats.ttest_rel(NORMAL, OTHER)
    assert (found.test, found.n, found.reason) == ("paired t", 8, "")
    assert found.p_value == pytest.approx(float(expected.pvalue))
    assert found.statistic == pytest.approx(float(expected.statistic))
    assert found.mean_difference == pytest.approx(np.mean(NORMAL) - np.mean(OTHER))


@pytest.mark.parametrize("pair", [(NORMAL, SKEWED), (SKEWED, NORMAL)])
def test_one_skewed_list_is_enough_for_ranks(pair: tuple[list[float], list[float]]) -> None:
    found = compare_paired(*pair)
    assert found.test == "Wilcoxon"
    assert found.p_value == pytest.approx(float(stats.wilcoxon(*pair).pvalue))


def test_a_higher_level_of_normality_asks_for_ranks() -> None:
    assert compare_paired(NORMAL, OTHER, alpha=0.999).test == "Wilcoxon"


def test_without_any_difference_p_is_one() -> None:
    for second in (NORMAL, [score + 1e-16 for score in NORMAL]):
        found = compare_paired(NORMAL, second)
        assert (found.p_value, found.statistic, found.mean_difference) == (1.0, 0.0, 0.0)


def test_the_same_difference_everywhere_has_a_p_value() -> None:
    found = compare_paired(NORMAL, [score + 0.1 for score in NORMAL])
    assert found.test == "Wilcoxon"
    assert found.p_value == pytest.approx(2 * 0.5**8)


@pytest.mark.parametrize(("count", "mean"), [(0, None), (2, -0.5)])
def test_too_few_cases_have_a_reason_and_no_p_value(count: int, mean: float | None) -> None:
    found = compare_paired([1.0, 2.0][:count], [1.5, 2.5][:count])
    assert (found.test, found.p_value, found.statistic, found.n) == (None, None, None, count)
    assert found.mean_difference == mean
    assert found.reason == f"{count} cases, a test needs 3 or more"


def test_scores_that_are_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="3 first and 2 second scores"):
        compare_paired([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="1 of 3 second scores are not finite"):
        compare_paired([1, 2, 3], [1, 2, math.nan])
    with pytest.raises(ValueError, match=r"shape \(1, 3\)"):
        compare_paired(np.ones((1, 3)), [1, 2, 3])


@given(seeds, st.integers(3, 40), st.sampled_from([0, 1, 6]))
@settings(max_examples=60, deadline=None)
def test_a_comparison_turned_round_has_the_same_p_value(seed: int, n: int, digits: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (rng.normal(size=n).round(digits) for _ in range(2))
    there, back = compare_paired(one, other), compare_paired(other, one)
    assert there.p_value is not None
    assert 0 <= there.p_value <= 1
    assert there.test == back.test
    assert there.p_value == pytest.approx(back.p_value)
    assert there.mean_difference == pytest.approx(-(back.mean_difference or 0))


def test_the_interval_of_a_mean_is_near_its_normal_one() -> None:
    values = np.random.default_rng(3).normal(10, 2, 400)
    low, high = bootstrap_interval(values, np.mean)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)


def test_the_seed_decides_and_more_confidence_is_wider() -> None:
    values = np.random.default_rng(3).normal(10, 2, 30)
    usual = bootstrap_interval(values)
    assert usual == bootstrap_interval(values)
    assert usual != bootstrap_interval(values, seed=1)
    wide = bootstrap_interval(values, level=0.99)
    assert wide.low < usual.low < float(np.median(values)) < usual.high < wide.high


def test_whole_patients_are_drawn() -> None:
    values, patients = [1.0, 1.0, 1.0, 5.0], ["a", "b", "a", "b"]
    seen: set[tuple[float, ...]] = set()

    def mean(drawn: Any) -> float:
        seen.add(tuple(drawn))
        return float(drawn.mean())

    bootstrap_interval(values, mean, patients, resamples=100)
    a, b = (1.0, 1.0), (1.0, 5.0)
    assert seen == {a + a, a + b, b + a, b + b}


@given(seeds, st.integers(2, 10), st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_a_patient_repeated_is_still_one(seed: int, patients: int, times: int) -> None:
    values = np.random.default_rng(seed).normal(size=patients)
    repeated = np.repeat(values, times)
    groups = np.repeat(np.arange(patients), times).tolist()
    found = bootstrap_interval(repeated, np.mean, groups, resamples=50)
    assert found == pytest.approx(bootstrap_interval(values, np.mean, resamples=50))


def test_rows_of_columns_are_drawn_together() -> None:
    rows = np.array([[0, 0.1], [0, 0.4], [1, 0.6], [1, 0.9]])

    def area(drawn: Any) -> float:
        return auc(drawn[:, 0], drawn[:, 1]) if 0 < drawn[:, 0].sum() < len(drawn) else 1.0

    assert bootstrap_interval(rows, area, resamples=20) == Interval(1.0, 1.0)


def test_what_cannot_be_drawn_from_is_refused() -> None:
    with pytest.raises(ValueError, match="values of 1 patients"):
        bootstrap_interval([1, 2], groups=["a", "a"])
    with pytest.raises(ValueError, match="3 groups for 2 values"):
        bootstrap_interval([1, 2], groups=["a", "b", "c"])
    with pytest.raises(ValueError, match="1 values are not finite"):
        bootstrap_interval([1, math.inf])
    for wrong in ({"level": 1.0}, {"resamples": 0}):
        with pytest.raises(ValueError, match="expected between 0 and 1, and 1 or more"):
            bootstrap_interval([1, 2], **wrong)


def test_holm_of_a_worked_example() -> None:
    found = holm([0.01, 0.04, None, 0.03, 0.005])
    assert found == [pytest.approx(p) if p else None for p in (0.03, 0.06, None, 0.06, 0.02)]
    assert holm([]) == []
    for wrong in (1.5, -0.1, math.nan):
        with pytest.raises(ValueError, match="expected between 0 and 1"):
            holm([0.5, wrong])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni(p_values: list[float]) -> None:
    adjusted = [p for p in holm(p_values) if p is not None]
    assert len(adjusted) == len(p_values)
    pairs = sorted(zip(p_values, adjusted, strict=True))
    assert all(one[1] <= other[1] for one, other in pairwise(pairs))
    assert all(p <= found <= min(1, len(pairs) * p) for p, found in pairs)


def cases(seed: int, ties: bool) -> tuple[list[int], Any, Any]:
    """Labels, and two related scores that separate them somewhat."""
    rng = np.random.default_rng(seed)
    positives, negatives = rng.integers(2, 15, 2)
    labels = rng.permutation([1] * positives + [0] * negatives)
    first = labels + rng.normal(size=len(labels))
    second = first + rng.normal(size=len(labels))
    return labels.tolist(), *(s.round() if ties else s for s in (first, second))


def naive_parts(labels: list[int], scores: Any) -> tuple[Any, Any]:
    """DeLong's components V10 of the positive and V01 of the negative cases."""
    ups = [score for label, score in zip(labels, scores, strict=True) if label]
    downs = [score for label, score in zip(labels, scores, strict=True) if not label]
    kernel = np.array([[1.0 if up > down else 0.5 * (up == down) for down in downs] for up in ups])
    return kernel.mean(axis=1), kernel.mean(axis=0)


def naive_covariance(one: tuple[Any, Any], other: tuple[Any, Any]) -> float:
    return sum(
        float(((a - a.mean()) * (b - b.mean())).sum()) / (len(a) - 1) / len(a)
        for a, b in zip(one, other, strict=True)
    )


@given(seeds, st.booleans())
@settings(max_examples=60, deadline=None)
def test_areas_and_their_variance_are_those_of_all_pairs(seed: int, ties: bool) -> None:
    labels, scores, _ = cases(seed, ties)
    parts = naive_parts(labels, scores)
    found = delong(labels, scores)
    assert found.auc == pytest.approx(parts[0].mean())
    assert found.auc == auc(labels, scores)
    assert found.variance == pytest.approx(naive_covariance(parts, parts), abs=1e-15)
    curve = roc_curve(labels, scores)
    area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    assert area == pytest.approx(found.auc)
    if found.interval:
        assert 0 <= found.interval.low <= found.auc <= found.interval.high <= 1


@given(seeds, st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_comparison_of_areas_is_that_of_all_pairs(seed: int, ties: bool) -> None:
    labels, first, second = cases(seed, ties)
    one, other = naive_parts(labels, first), naive_parts(labels, second)
    variance = naive_covariance(one, one) + naive_covariance(other, other)
    variance -= 2 * naive_covariance(one, other)
    found = delong_paired(labels, first, second)
    assert found.difference == pytest.approx(one[0].mean() - other[0].mean(), abs=1e-12)
    if variance > 1e-12:
        z = found.difference / math.sqrt(variance)
        assert found.z == pytest.approx(z)
        assert found.p_value == pytest.approx(math.erfc(abs(z) / math.sqrt(2)))
    back = delong_paired(labels, second, first)
    assert back.p_value == found.p_value


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_only_the_order_of_scores_counts(seed: int) -> None:
    labels, first, second = cases(seed, ties=True)
    assert delong(labels, np.exp(first)) == delong(labels, first)
    assert delong_paired(labels, np.exp(first), second**3) == delong_paired(labels, first, second)
    assert auc(labels, -first) == pytest.approx(1 - auc(labels, first))


def test_an_interval_of_known_size() -> None:
    found = delong([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    assert found.auc == 0.75
    assert found.variance == pytest.approx(0.125)
    assert found.interval == pytest.approx((0.75 - 1.959964 * 0.125**0.5, 1.0))
    narrow = delong([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], level=0.5).interval
    assert narrow == pytest.approx((0.75 - 0.67449 * 0.125**0.5, 0.75 + 0.67449 * 0.125**0.5))


def test_perfect_separation_has_no_interval_but_a_reason() -> None:
    found = delong([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    assert (found.auc, found.variance, found.interval) == (1.0, 0.0, None)
    assert found.reason == "all pairs of cases agree, variance 0 at an area of 1"


def test_comparisons_without_variance() -> None:
    labels, right = [0, 0, 0, 1, 1, 1], np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    equal = delong_paired(labels, right, right**2)
    assert (equal.z, equal.p_value, equal.reason) == (0.0, 1.0, "")
    for wrong, difference in ((-right, 1.0), (np.zeros(6), 0.5)):
        found = delong_paired(labels, right, wrong)
        assert (found.difference, found.z, found.p_value) == (difference, None, None)
        assert f"variance 0 at a difference of {difference:g}" in found.reason


def test_the_curve_of_a_few_cases() -> None:
    curve = roc_curve([True, False, True, False, True], [0.9, 0.6, 0.6, 0.2, 0.1])
    assert curve.false_positive_rate.tolist() == [0, 0, 0.5, 1, 1]
    assert curve.true_positive_rate == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3, 1])
    assert curve.thresholds.tolist() == [math.inf, 0.9, 0.6, 0.2, 0.1]


@pytest.mark.parametrize("function", [auc, delong, roc_curve])
def test_cases_without_a_curve_are_refused(function: Any) -> None:
    with pytest.raises(ValueError, match="3 positive and 0 negative cases"):
        function([1, 1, 1], [1, 2, 3])
    with pytest.raises(ValueError, match="0 positive and 0 negative"):
        function([], [])
    with pytest.raises(ValueError, match=r"labels are \[0, 2\]"):
        function([0, 2], [1, 2])
    with pytest.raises(ValueError, match=r"labels of shape \(2,\) for 3 scores"):
        function([0, 1], [1, 2, 3])
    with pytest.raises(ValueError, match="1 of 2 ROC scores are not finite"):
        function([0, 1], [1, math.nan])


def test_a_single_positive_case_has_an_area_but_no_variance() -> None:
    assert auc([0, 0, 1], [1, 2, 3]) == 1
    for function in (delong, lambda labels, scores: delong_paired(labels, scores, scores)):
        with pytest.raises(ValueError, match="1 positive and 2 negative cases; expected 2 or more"):
            function([0, 0, 1], [1, 2, 3])
    with pytest.raises(ValueError, match="level 1"):
        delong([0, 0, 1, 1], [1, 2, 3, 4], level=1)
