import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.simulate.pathology.growing import (
    box_around,
    distance_mm,
    grow,
    rough_field,
    volume_ml,
)
from training.simulate.space import HEAD_ORIGIN_MM, HEAD_SHAPE


@given(
    target=st.floats(0.05, 20),
    seed=st.integers(0, 2**32),
    edge=st.floats(0.3, 6),
    reach=st.floats(0.1, 1),
)
@settings(max_examples=40, deadline=None)
def test_growing_reaches_the_volume(target: float, seed: int, edge: float, reach: float) -> None:
    rng = np.random.default_rng(seed)
    score = rng.normal(0, 10, (40, 40, 40)).astype(np.float32)
    score[:5] = -np.inf
    room = (rng.random((40, 40, 40)) * reach).astype(np.float32)
    share = grow(score, room, target, edge)
    reachable = volume_ml(room[5:])
    assert volume_ml(share) == pytest.approx(min(target, reachable), rel=0.03, abs=0.003)
    assert np.all(share <= room + 0.5 / 255 + 1e-6)
    assert not share[:5].any()
    assert np.array_equal(np.round(share * 255), (share * np.float32(255)).round())


def test_growing_takes_the_best_places_first() -> None:
    score = -np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    share = grow(score, np.ones_like(score), 0.3, edge_mm=1.0)
    assert share.ravel()[:298].min() == 1
    assert share.ravel()[303:].max() == 0


def test_growing_with_no_room_fills_nothing() -> None:
    nothing = np.zeros((4, 4, 4), dtype=np.float32)
    assert not grow(nothing, nothing, 1.0).any()


def test_box_around_the_origin_is_centred_and_stays_on_the_grid() -> None:
    box = box_around(np.zeros(3), 5)
    assert [part.start + 5 for part in box] == [-round(at) for at in HEAD_ORIGIN_MM[::-1]]
    outside = box_around(np.array([500.0, -500.0, 0.0]), 5)
    assert all(0 <= p.start < p.stop <= n for p, n in zip(outside, HEAD_SHAPE, strict=True))


@pytest.mark.parametrize("scale", [4.0, 15.0])
def test_rough_field_has_unit_variance_and_its_scale(scale: float) -> None:
    fields = [rough_field(np.random.default_rng(seed), (60, 60, 60), scale) for seed in range(4)]
    assert np.mean([field.std() for field in fields]) == pytest.approx(1, abs=0.25)
    neighbours = [np.mean(field[1:] * field[:-1]) / np.mean(field**2) for field in fields]
    far = [np.mean(field[20:] * field[:-20]) / np.mean(field**2) for field in fields]
    assert np.mean(neighbours) > 0.75
    assert abs(np.mean(far)) < 0.35


def test_distance_is_negative_inside() -> None:
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[5:15, 5:15, 5:15] = True
    distance = distance_mm(mask)
    assert np.array_equal(distance <= 0, mask)
    assert distance[10, 10, 18] == pytest.approx(4)
