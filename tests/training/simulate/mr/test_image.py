"""Noise, ghost, k-space and coil."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.training.simulate.axial_stack import axial_stack
from training.simulate.mr.image import coil_shading, receive, stored, with_ghost


@settings(deadline=None, max_examples=10)
@given(st.floats(0, 6))
def test_noise_is_rician(level: float) -> None:
    image = np.full((4, 128, 128), 10 * level, dtype=np.float32)
    noisy = receive(image, 10.0, 128, np.random.default_rng(1))
    expected = stats.rice(level, scale=10)
    assert noisy.mean() == pytest.approx(expected.mean(), rel=0.01)
    assert noisy.std() == pytest.approx(expected.std(), rel=0.02)


def test_noise_floor_is_that_of_rayleigh() -> None:
    noisy = receive(np.zeros((4, 128, 128), np.float32), 5.0, 128, np.random.default_rng(2))
    assert noisy.mean() == pytest.approx(5 * np.sqrt(np.pi / 2), rel=0.01)
    assert noisy.std() == pytest.approx(5 * np.sqrt(2 - np.pi / 2), rel=0.02)


def test_zero_filling_keeps_the_noise_level_and_correlates_it() -> None:
    image = np.full((4, 128, 128), 1000, dtype=np.float32)
    rng = np.random.default_rng(3)
    full, filled = receive(image, 10.0, 128, rng), receive(image, 10.0, 64, rng)
    assert filled.std() == pytest.approx(full.std(), rel=0.05)
    neighbours = [
        np.corrcoef(noisy[..., 1:].ravel(), noisy[..., :-1].ravel())[0, 1]
        for noisy in (full, filled)
    ]
    assert abs(neighbours[0]) < 0.02
    assert neighbours[1] > 0.5


def test_zero_filling_rings_at_an_edge() -> None:
    image = np.zeros((1, 128, 128), dtype=np.float32)
    image[:, 32:96, 32:96] = 100
    seen = receive(image, 0.0, 64, np.random.default_rng(0))
    assert seen.max() > 105
    assert seen[0, 60:68, 60:68].mean() == pytest.approx(100, rel=0.01)
    assert receive(image, 0.0, 128, np.random.default_rng(0)).max() == 100


def test_ghost_lies_half_a_field_of_view_away() -> None:
    image = np.zeros((1, 64, 64), dtype=np.float32)
    image[0, 10, 20] = 100
    ghosted = with_ghost(image, 0.02)
    assert ghosted[0, 10, 20] == 100
    assert ghosted[0, 42, 20] == pytest.approx(2)
    assert ghosted.sum() == pytest.approx(102)


def test_coil_is_brighter_outside_and_smooth() -> None:
    geometry = axial_stack(6, 64)
    flat = coil_shading(geometry, 0.0, np.random.default_rng(0))
    assert np.ptp(flat) == 0
    shading = coil_shading(geometry, 0.4, np.random.default_rng(0))
    assert shading.shape == geometry.shape
    assert shading[3, 8, 32] > shading[3, 32, 32]
    assert np.abs(np.diff(shading, axis=1)).max() < 0.05


def test_twelve_bits() -> None:
    assert stored(np.array([-1, 0.6, 5000], dtype=np.float32)).tolist() == [0, 1, 4095]
