"""Susceptibility against solutions of magnetostatics, and what images lose by it."""

import numpy as np
import pytest

from tests.training.simulate.mr_patient import stroke_patient
from training.simulate.mr.field import (
    air_field_hz,
    dephasing,
    dipole_field,
    distort,
    distort_mask,
    epi_shift_px,
)
from training.simulate.space import HEAD_SHAPE


def ball(radius: float) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]], int]:
    size = 96
    axis = np.arange(size) - size // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return (z**2 + y**2 + x**2 <= radius**2).astype(np.float32), size // 2


def test_field_of_a_sphere() -> None:
    # outside: Δχ/3 (R/r)³ (3 cos²θ − 1); inside: 0 (sphere of Lorentz)
    sphere, middle = ball(8)
    radius = (sphere.sum() * 3 / (4 * np.pi)) ** (1 / 3)
    field = dipole_field(sphere)
    for distance in (12, 16):
        above = (radius / distance) ** 3 * 2 / 3
        assert field[middle + distance, middle, middle] == pytest.approx(above, rel=0.08)
        beside = field[middle, middle + distance, middle]
        assert beside == pytest.approx(-above / 2, rel=0.12)
    assert abs(field[middle, middle, middle]) < 0.02
    assert field.mean() == pytest.approx(0, abs=1e-6)


def test_field_of_air_is_strongest_near_the_base() -> None:
    head = stroke_patient().head
    field = air_field_hz(head, 3.0)
    assert field.shape == HEAD_SHAPE
    brain = (head.anatomy.grey + head.anatomy.white) > 0.9
    low, high = brain.copy(), brain.copy()
    low[90:] = False
    high[:120] = False
    assert field[low].std() > 2 * field[high].std()
    assert 3 < field[brain].std() < 80
    np.testing.assert_allclose(air_field_hz(head, 1.5)[high], field[high] / 2, atol=0.05)


def test_slope_through_the_slice_takes_signal() -> None:
    z = np.arange(HEAD_SHAPE[0], dtype=np.float32)[:, None, None]
    field = np.broadcast_to(4 * z, HEAD_SHAPE).astype(np.float32)
    kept = dephasing(field, np.array([0.0, 0, 1]), 5.0, 30.0)
    assert kept[100, 100, 100] == pytest.approx(np.sinc(4 * 5 * 0.03), rel=1e-3)
    along = dephasing(field, np.array([0.0, 1, 0]), 5.0, 30.0)
    assert along.min() == 1


def test_distortion_moves_and_keeps_the_sum() -> None:
    image = np.zeros((2, 64, 16), dtype=np.float32)
    image[:, 20:30] = 100
    hertz = np.full(image.shape, 50, dtype=np.float32)
    shift = epi_shift_px(hertz, 0.5, 80)
    assert shift[0, 0, 0] == pytest.approx(2)
    moved = distort(image, shift)
    np.testing.assert_allclose(moved[:, 22:32], 100)
    assert moved.sum() == pytest.approx(image.sum())
    mask = distort_mask(image > 50, shift)
    assert np.array_equal(mask, moved > 50)


def test_distortion_keeps_the_signal_where_it_compresses() -> None:
    image = np.zeros((1, 128, 4), dtype=np.float32)
    image[:, 30:90] = 100
    rows = np.arange(128, dtype=np.float32)[None, :, None]
    shift = np.broadcast_to(4 * np.sin(rows / 128 * 2 * np.pi), image.shape)
    moved = distort(image, shift.astype(np.float32))
    assert moved.sum() == pytest.approx(image.sum(), rel=0.01)
    assert moved.max() > 110
