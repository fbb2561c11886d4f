"""Masks of blood hold as much as there is blood, whatever the voxels, and never overlap."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.training.simulate.axial_stack import axial_stack
from training.simulate.arrays import Float32Array, FloatArray
from training.simulate.ct.blood_masks import LEAST_SHARE, kind_masks
from training.simulate.scan.sampling import sample
from training.simulate.space import HEAD_SHAPE, Pose


@cache
def kinds() -> tuple[Float32Array, Float32Array]:
    """A ball of 4 mL, and beside it 1.1 mL of blood that lies up to 6 mm high on a floor."""
    z, y, x = np.ogrid[: HEAD_SHAPE[0], : HEAD_SHAPE[1], : HEAD_SHAPE[2]]
    ball = (z - 100) ** 2 + (y - 120) ** 2 + (x - 85) ** 2 < 10**2
    height = 6 - 6 * ((y - 120) ** 2 + (x - 115) ** 2) / 11**2
    floor = np.clip(height - (z - 98), 0, 1) * (z >= 98)
    return ball.astype(np.float32), floor.astype(np.float32)


@settings(max_examples=10, deadline=None)
@given(thickness=st.floats(1, 10), shift=st.floats(-5, 5), tilt=st.floats(-9, 9))
def test_thin_blood_keeps_its_volume_in_slices_of_any_thickness(
    thickness: float, shift: float, tilt: float
) -> None:
    grid = axial_stack(round(50 / thickness), 64, thickness_mm=thickness, fov_mm=60.0)
    poses = [Pose.from_angles((tilt, 2, 5), (0, 0, shift - 5))] * grid.slices
    shares = sample(kinds(), grid, poses, np.full(grid.slices, thickness))

    masks = kind_masks(shares.reshape(2, -1), np.ones(shares[0].size))

    for kind, mask in zip(kinds(), masks, strict=True):
        found_ml = grid.voxel_volumes_ml[0] * np.count_nonzero(mask)
        assert found_ml == pytest.approx(kind.sum() / 1000, rel=0.06)


shares = arrays(np.float32, (3, 120), elements=st.floats(0, 0.328125, width=32))
weights = arrays(np.float64, 120, elements=st.sampled_from([2.5, 5.0, 10.0]))


@given(values=shares, sizes=weights)
@settings(max_examples=60, deadline=None)
def test_no_voxel_has_two_kinds_and_the_fullest_ones_have_one(
    values: Float32Array, sizes: FloatArray
) -> None:
    masks = kind_masks(values, sizes)

    union = np.asarray(masks.any(axis=0))
    total = values.sum(axis=0)
    assert masks.sum(axis=0).max() <= 1
    for kind in range(3):
        own = (np.argmax(values, axis=0) == kind) & (total >= LEAST_SHARE)
        fullest = own & (total == np.max(total, where=own, initial=0))
        assert np.all(masks[kind][fullest])
    assert not union[total < LEAST_SHARE].any()
    assert np.array_equal(np.argmax(values, axis=0)[union], np.argmax(masks, axis=0)[union])


def test_a_bleed_thinner_than_a_voxel_has_the_mask_of_its_volume_where_it_is_thickest() -> None:
    share = np.linspace(0.2, 0.4, 10, dtype=np.float32)[None]

    mask = kind_masks(share, np.ones(10))[0]
    weighted = kind_masks(share, np.r_[np.ones(9), 2.0])[0]

    np.testing.assert_array_equal(np.flatnonzero(mask), [7, 8, 9])
    np.testing.assert_array_equal(np.flatnonzero(weighted), [8, 9])


def test_a_compact_bleed_has_the_mask_of_half_shares() -> None:
    share = np.r_[np.ones(36), 0.1, 0.2, 0.6, 0.7, 0.2, 0.1].astype(np.float32)[None]

    assert np.array_equal(kind_masks(share, np.ones(42))[0], share[0] >= 0.5)


def test_no_blood_gives_empty_masks() -> None:
    assert not kind_masks(np.zeros((2, 9), dtype=np.float32), np.ones(9)).any()
    assert kind_masks(np.zeros((2, 0), dtype=np.float32), np.ones(0)).shape == (2, 0)
