"""Principal components over time: shapes stay, noise goes, the rest is left alone."""

import numpy as np
import numpy.typing as npt
import pytest

from inference.preprocess.principal_components import FEWEST, keep_components

Float32Array = npt.NDArray[np.float32]
TIMES = np.arange(50.0)


def passages(count: int, seed: int = 0) -> Float32Array:
    """First passes of contrast: heights, arrivals and widths as tissue has them."""
    rng = np.random.default_rng(seed)
    height, arrival = rng.uniform(2, 14, (count, 1)), rng.uniform(10, 22, (count, 1))
    width = rng.uniform(4, 8, (count, 1))
    return (height * np.exp(-0.5 * ((TIMES - arrival) / width) ** 2)).astype(np.float32)


def noise(shape: tuple[int, ...], sd: float) -> Float32Array:
    return np.random.default_rng(9).normal(0, sd, shape).astype(np.float32)


@pytest.mark.parametrize("sd", [0.5, 2.0])
def test_noise_falls_and_curves_stay(sd: float) -> None:
    """Of 50 directions of noise, those of the kept components are left."""
    truth = passages(20000)
    found, kept = keep_components(truth + noise(truth.shape, sd), np.ones(len(truth), bool), 50)
    error = float(np.sqrt(np.mean((found - truth) ** 2)))
    assert FEWEST <= kept <= 12
    assert error < 1.15 * sd * np.sqrt(kept / 50)


def test_a_small_lesion_keeps_its_delay() -> None:
    """One voxel in two hundred comes ten seconds late: what is rare is not taken for noise."""
    truth = passages(20000)
    late = np.roll(truth[:100], 10, axis=1)
    truth[:100] = late
    found, _ = keep_components(truth + noise(truth.shape, 1.0), np.ones(len(truth), bool), 50)
    peak = TIMES[np.argmax(found[:100].mean(axis=0))]
    assert peak == pytest.approx(TIMES[np.argmax(late.mean(axis=0))], abs=1.0)


def test_only_typical_voxels_are_projected() -> None:
    curves = passages(2000) + noise((2000, 50), 3.0)
    typical = np.arange(2000) % 2 == 0
    found, _ = keep_components(curves, typical, 50)
    np.testing.assert_array_equal(found[~typical], curves[~typical])
    assert not np.array_equal(found[typical], curves[typical])


@pytest.mark.parametrize("fewest", [0, 50, 60])
def test_all_components_are_the_curves_themselves(fewest: int) -> None:
    curves = passages(100)
    found, kept = keep_components(curves, np.ones(100, bool), 50, fewest)
    assert found is curves
    assert kept == 50


def test_interpolated_curves_have_the_noise_of_the_acquired_ones() -> None:
    """Between every third sample lines are drawn: two thirds of the directions are empty."""
    truth = passages(20000)
    curves = truth[:, ::3] + noise((20000, 17), 1.0)
    dense = np.stack([np.interp(TIMES[:49], TIMES[::3], curve) for curve in curves])
    _, kept = keep_components(dense.astype(np.float32), np.ones(20000, bool), 17)
    assert kept <= 9
