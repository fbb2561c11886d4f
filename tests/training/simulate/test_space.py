"""How a scanner's grid samples the head."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.geometry import Geometry
from tests.training.simulate.axial_stack import axial_stack
from training.simulate.space import (
    HEAD_SHAPE,
    Box,
    Pose,
    bounding_box,
    head_axes_mm,
    head_index,
    render,
)

ANGLES = st.tuples(*[st.floats(-30, 30)] * 3)
SHIFTS = st.tuples(*[st.floats(-30, 30)] * 3)


def ramps() -> list[np.ndarray]:
    """Three volumes whose values are x, y and z in mm."""
    z, y, x = head_axes_mm()
    return [np.ascontiguousarray(np.broadcast_to(axis, HEAD_SHAPE)) for axis in (x, y, z)]


RAMPS = ramps()


def centres(geometry: Geometry) -> np.ndarray:
    """Scanner coordinates of all voxel centres, shape ``(slice, row, column, 3)``."""
    return np.stack([geometry.coordinates_mm(axis) for axis in range(3)], axis=-1)


@settings(max_examples=15, deadline=None)
@given(angles=ANGLES, shift=SHIFTS, thickness=st.floats(0.5, 8), fov=st.floats(60, 120))
def test_a_linear_volume_is_sampled_at_the_voxel_centres(
    angles: tuple[float, ...], shift: tuple[float, ...], thickness: float, fov: float
) -> None:
    pose = Pose.from_angles(angles, shift)
    geometry = axial_stack(3, 16, thickness_mm=thickness, fov_mm=fov, centre_mm=shift)
    found = np.moveaxis(render(RAMPS, geometry, pose, thickness), 0, -1)
    np.testing.assert_allclose(found, pose.to_head(centres(geometry)), atol=2e-3)


def test_tilted_and_uneven_stacks_are_sampled_where_their_slices_lie() -> None:
    heights = np.array([-20.0, -17.5, -10.0, 0.0])
    tilt = np.radians(18.5)
    positions = np.column_stack([np.full(4, -40.0), np.full(4, -30.0), heights])
    down = np.array([0, np.cos(tilt), -np.sin(tilt)])
    geometry = Geometry(positions, np.array([1.0, 0, 0]), down, (2.0, 2.5), 24, 32)
    found = np.moveaxis(render(RAMPS, geometry, Pose.from_angles(), 2.5), 0, -1)
    np.testing.assert_allclose(found, centres(geometry), atol=2e-3)


@settings(max_examples=10, deadline=None)
@given(angles=ANGLES, shift=SHIFTS, seed=st.integers(0, 99))
def test_poses_are_inverted_and_combined(
    angles: tuple[float, ...], shift: tuple[float, ...], seed: int
) -> None:
    points = np.random.default_rng(seed).normal(size=(5, 3)) * 50
    pose, other = Pose.from_angles(angles, shift), Pose.from_angles((3, -4, 5), (1, 2, 3))
    np.testing.assert_allclose(pose.to_head(pose.to_scanner(points)), points, atol=1e-9)
    np.testing.assert_allclose(
        pose.after(other).to_scanner(points), pose.to_scanner(other.to_scanner(points)), atol=1e-9
    )


@given(
    corners=st.lists(
        st.tuples(st.integers(0, 8), st.integers(0, 6), st.integers(0, 9)), max_size=6
    ),
    margin=st.integers(0, 3),
)
def test_a_box_holds_the_mask_and_its_margin(
    corners: list[tuple[int, int, int]], margin: int
) -> None:
    mask = np.zeros((9, 7, 10), dtype=bool)
    for corner in corners:
        mask[corner] = True
    expected: Box = slice(0, 0), slice(0, 0), slice(0, 0)
    if corners:
        low, high = np.min(corners, axis=0) - margin, np.max(corners, axis=0) + 1 + margin
        z, y, x = (
            slice(max(int(a), 0), min(int(b), size))
            for a, b, size in zip(low, high, mask.shape, strict=True)
        )
        expected = z, y, x
    assert bounding_box(mask, margin) == expected


def test_a_voxel_holds_the_mean_over_its_box() -> None:
    z, _, _ = head_axes_mm()
    layer = np.ascontiguousarray(np.broadcast_to((z == 0).astype(np.float32), HEAD_SHAPE))
    geometry = axial_stack(5, 8, thickness_mm=5, fov_mm=40)
    thick = render([layer], geometry, Pose.from_angles(), 5.0)[0]
    np.testing.assert_allclose(thick[:, 4, 4], [0, 0, 0.2, 0, 0], atol=1e-6)


@pytest.mark.parametrize("matrix", [48, 128, 320])
def test_the_content_of_a_structure_does_not_depend_on_the_grid(matrix: int) -> None:
    z, y, x = head_axes_mm()
    ball = np.clip(12.5 - np.sqrt(x**2 + y**2 + z**2), 0, 1).astype(np.float32)
    geometry = axial_stack(12, matrix, thickness_mm=4, fov_mm=90)
    pose = Pose.from_angles((10, 20, 30), (3, 2, 1))
    seen = render([ball], geometry, pose, 4.0)[0]
    volume_ml = float((seen.sum(axis=(1, 2), dtype=np.float64) * geometry.voxel_volumes_ml).sum())
    assert volume_ml == pytest.approx(float(ball.sum(dtype=np.float64)) / 1000, rel=0.01)


def test_beyond_the_grid_the_border_goes_on() -> None:
    geometry = axial_stack(2, 8, fov_mm=20, centre_mm=(0, 0, -300))
    found = render(RAMPS, geometry, Pose.from_angles(), 5.0)
    np.testing.assert_allclose(found[2], -95.0)


def test_indices_and_axes_agree() -> None:
    z, y, x = head_axes_mm()
    points = np.array([[x[0, 0, 7], y[0, 9, 0], z[11, 0, 0]]], dtype=np.float64)
    np.testing.assert_allclose(head_index(points), [[11, 9, 7]])
