"""Masked image metrics, against their formulas written out pixel by pixel."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluate.image_metrics import SSIM_REACH, mean_squared_error, r2, ssim

Metric = Callable[[Any, Any, Any], float]
SHAPE = (3, 20, 17)
seeds = st.integers(0, 2**32 - 1)


def by_range(image: Any, reference: Any, mask: Any) -> float:
    return ssim(image, reference, mask, 100.0)


METRICS: list[Metric] = [mean_squared_error, r2, by_range]


def drawn(seed: int) -> tuple[Any, Any, Any]:
    """Two similar volumes of HU and a mask of a few voxels."""
    rng = np.random.default_rng(seed)
    reference = rng.normal(35, 15, SHAPE)
    image = reference + rng.normal(2, 8, SHAPE)
    mask = rng.random(SHAPE) < 0.2
    mask[1, 9, 9:11] = True
    return image, reference, mask


def naive_ssim(one: Any, other: Any, row: int, column: int, data_range: float) -> float:
    """SSIM of a pixel that is farther from the edge than the Gaussian reaches."""
    offsets = range(-SSIM_REACH, SSIM_REACH + 1)
    weights = {
        (dy, dx): math.exp(-(dy * dy + dx * dx) / (2 * 1.5**2)) for dy in offsets for dx in offsets
    }
    whole = sum(weights.values())

    def mean(of: Callable[[float, float], float]) -> float:
        return sum(
            weight / whole * of(one[row + dy, column + dx], other[row + dy, column + dx])
            for (dy, dx), weight in weights.items()
        )

    m1, m2 = mean(lambda a, b: a), mean(lambda a, b: b)
    v1, v2 = mean(lambda a, b: (a - m1) ** 2), mean(lambda a, b: (b - m2) ** 2)
    covariance = mean(lambda a, b: (a - m1) * (b - m2))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    return ((2 * m1 * m2 + c1) * (2 * covariance + c2)) / ((m1**2 + m2**2 + c1) * (v1 + v2 + c2))


@given(seeds, st.floats(1, 4000))
@settings(max_examples=15, deadline=None)
def test_ssim_is_its_formula(seed: int, data_range: float) -> None:
    image, reference, _ = drawn(seed)
    pixels = [(0, 5, 5), (1, 9, 9), (1, 14, 11)]
    mask = np.zeros(SHAPE, bool)
    for pixel in pixels:
        mask[pixel] = True
    expected = [naive_ssim(image[z], reference[z], y, x, data_range) for z, y, x in pixels]
    assert ssim(image, reference, mask, data_range) == pytest.approx(np.mean(expected), rel=1e-9)


def test_ssim_of_flat_images_is_their_luminance() -> None:
    one, other, mask = np.full(SHAPE, 30.0), np.full(SHAPE, 40.0), np.ones(SHAPE, bool)
    c1 = (0.01 * 80) ** 2
    expected = (2 * 30 * 40 + c1) / (30**2 + 40**2 + c1)
    assert ssim(one, other, mask, 80.0) == pytest.approx(expected, rel=1e-9)


def test_squared_error_and_r2_of_a_few_voxels() -> None:
    reference = np.array([[[1.0, 2.0, 3.0, 100.0]]])
    image = np.array([[[1.0, 3.0, 5.0, -100.0]]])
    mask = np.array([[[True, True, True, False]]])
    assert mean_squared_error(image, reference, mask) == pytest.approx(5 / 3)
    assert r2(image, reference, mask) == pytest.approx(1 - 5 / 2)
    assert r2(np.full_like(image, 2.0), reference, mask) == pytest.approx(0)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_equal_images_are_perfect(seed: int) -> None:
    _, reference, mask = drawn(seed)
    assert mean_squared_error(reference, reference, mask) == 0
    assert r2(reference, reference, mask) == 1
    assert by_range(reference, reference, mask) == pytest.approx(1, abs=1e-12)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_error_and_ssim_are_symmetric_and_ssim_at_most_one(seed: int) -> None:
    image, reference, mask = drawn(seed)
    for metric in (mean_squared_error, by_range):
        there, back = metric(image, reference, mask), metric(reference, image, mask)
        assert there == pytest.approx(back, rel=1e-12)
    assert by_range(image, reference, mask) < 1


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_what_lies_outside_the_mask_does_not_count(seed: int) -> None:
    image, reference, _ = drawn(seed)
    mask = np.zeros(SHAPE, bool)
    mask[1, 8:11, 8:10] = True
    near = np.zeros(SHAPE, bool)
    near[1, 8 - SSIM_REACH : 11 + SSIM_REACH, 8 - SSIM_REACH : 10 + SSIM_REACH] = True
    for metric, kept in ((mean_squared_error, mask), (r2, mask), (by_range, near)):
        other = np.where(kept, image, -1000.0)
        assert metric(other, reference, mask) == pytest.approx(metric(image, reference, mask))
    beside = np.where(mask, image, -1000.0)
    assert by_range(beside, reference, mask) != pytest.approx(by_range(image, reference, mask))


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_stored_types_do_not_matter(seed: int) -> None:
    image, reference, mask = drawn(seed)
    whole, other = image.astype(np.int16), reference.astype(np.int16)
    for metric in METRICS:
        found = metric(whole, other, mask)
        assert found == metric(whole.astype(np.float64), other.astype(np.float32), mask)


@pytest.mark.parametrize("metric", METRICS)
def test_what_cannot_be_compared_is_refused(metric: Metric) -> None:
    image, reference, mask = drawn(1)
    with pytest.raises(ValueError, match=r"shapes \(3, 20, 17\), \(2, 20, 17\) and"):
        metric(image, reference[1:], mask)
    with pytest.raises(ValueError, match=r"expected one shape \(slice, row, column\)"):
        metric(image[0], reference[0], mask[0])
    with pytest.raises(ValueError, match="is empty"):
        metric(image, reference, np.zeros(SHAPE, bool))
    with pytest.raises(ValueError, match="of type uint8; expected bool"):
        metric(image, reference, mask.astype(np.uint8))
    image[1, 9, 9] = np.nan
    with pytest.raises(ValueError, match=r"of .* values of .* are not finite"):
        metric(image, reference, mask)


def test_r2_needs_a_reference_that_differs_within_the_mask() -> None:
    image, reference, mask = drawn(1)
    reference[mask] = 0.1
    with pytest.raises(ValueError, match=r"the reference is 0\.1 in all"):
        r2(image, reference, mask)


@pytest.mark.parametrize("data_range", [0.0, -1.0, math.nan, math.inf])
def test_ssim_needs_a_range(data_range: float) -> None:
    with pytest.raises(ValueError, match="data_range is"):
        ssim(*drawn(1), data_range)
