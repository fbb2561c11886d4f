"""Random fields, and what lies between the nodes of a coarse grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.simulate.anatomy.fields import (
    between_nodes,
    coarse_shape,
    coarsen,
    head_noise,
    refine,
    smooth_noise,
)
from training.simulate.space import HEAD_SHAPE, head_axes_mm


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), sigma=st.floats(0.8, 4))
def test_noise_has_mean_0_sd_1_and_the_correlation_of_a_gaussian(seed: int, sigma: float) -> None:
    field = smooth_noise(np.random.default_rng(seed), (60, 64, 50), sigma)
    assert abs(float(field.mean())) < 1e-5
    assert float(field.std()) == pytest.approx(1, abs=1e-4)
    for lag in (1, 3):
        found = float(np.mean([np.mean(field * np.roll(field, lag, axis)) for axis in range(3)]))
        assert found == pytest.approx(np.exp(-(lag**2) / (4 * sigma**2)), abs=0.12)


def test_noise_of_a_head_is_as_wide_on_any_grid() -> None:
    for step in (2, 4):
        field = head_noise(np.random.default_rng(1), step, 8.0)
        assert field.shape == coarse_shape(step)
        apart = 8 // step
        assert np.mean(field[apart:] * field[:-apart]) == pytest.approx(np.exp(-0.25), abs=0.06)


def test_coarsening_keeps_the_mean_and_refining_brings_it_back() -> None:
    ramp = np.broadcast_to(np.arange(24, dtype=np.float32), (8, 16, 24))
    coarse = coarsen(ramp, 4)
    assert coarse.mean() == pytest.approx(ramp.mean())
    back = refine(coarse, 4, ramp.shape)
    assert np.abs(back - ramp)[:, :, 2:-2].max() < 1e-4


def test_coarsening_fills_up_and_refining_cuts_off() -> None:
    coarse = coarsen(np.ones((5, 8, 6), dtype=np.float32), 4)
    assert coarse.shape == (2, 2, 2)
    assert coarse.sum() * 4**3 == 5 * 8 * 6
    assert refine(coarse, 4, (5, 8, 6)).shape == (5, 8, 6)


@pytest.mark.parametrize("step", [3, 4])
def test_a_linear_field_is_exact_between_its_nodes(step: int) -> None:
    z, y, x = head_axes_mm()
    plane = np.broadcast_to(2 * z - y + 0.5 * x, HEAD_SHAPE)
    box = slice(50, 70), slice(61, 90), slice(40, 75)
    found = between_nodes(plane[None, ::step, ::step, ::step], step, box)
    np.testing.assert_allclose(found[0], plane[box], atol=1e-3)
