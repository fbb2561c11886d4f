import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from inference.geometry import Geometry
from inference.preprocess.warp import warp
from tests.inference.preprocess.moving_head import even, stack

UNEVEN = np.array([-30.0, -24.0, -20.0, -10.0, 0.0, 4.0, 12.0, 30.0])
GRIDS = {
    "even": even(8, 6.0, 64),
    "uneven": stack(UNEVEN, 64),
    "tilted": even(8, 6.0, 64, tilt_deg=15),
    "uneven and tilted": stack(UNEVEN, 64, tilt_deg=-20),
}


def ramp(geometry: Geometry) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    x, y, z = (geometry.coordinates_mm(axis) for axis in range(3))
    return (3 * x - 2 * y + 5 * z).astype(np.float32)


@example("even", (-3.5, -6.0, 0.0), (4.5, 0.0, 1.5703125))
@given(
    name=st.sampled_from(sorted(GRIDS)),
    angles=st.tuples(*[st.floats(-8, 8)] * 3),
    shift=st.tuples(*[st.floats(-8, 8)] * 3),
)
@settings(max_examples=25, deadline=None)
def test_values_come_from_where_a_point_moved_to(
    name: str, angles: tuple[float, ...], shift: tuple[float, ...]
) -> None:
    geometry = GRIDS[name]
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    out = warp(ramp(geometry), geometry, range(geometry.slices), turn, np.array(shift))

    grid = np.stack([geometry.coordinates_mm(axis) for axis in range(3)], axis=-1)
    moved = grid @ turn.T + shift
    heights = geometry.positions_mm @ geometry.normal
    above = moved @ geometry.normal
    inside = (above >= heights[0]) & (above <= heights[-1])
    # Positions are measured in the plane that a point lies in; a tilted stack shifts its planes.
    line = np.stack(
        [np.interp(above, heights, geometry.positions_mm[:, axis]) for axis in range(3)], axis=-1
    )
    for cosines, step, size in (
        (geometry.row_cosines, geometry.pixel_spacing_mm[1], geometry.columns),
        (geometry.column_cosines, geometry.pixel_spacing_mm[0], geometry.rows),
    ):
        index = (moved - line) @ cosines / step
        inside &= (index > 4) & (index < size - 5)
    assert inside.sum() > 500
    # The bicubic kernel misplaces straight lines by up to 0.048 pixels, also those that the slope
    # from slice to slice makes in a tilted plane. Turns about two axes were seen to reach 0.051.
    upright = float(geometry.normal @ turn @ geometry.normal)
    tilted = abs(float(geometry.normal @ (3, -2, 5))) * np.sqrt(1 - upright**2) / upright
    slopes = [
        abs(float(cosines @ (3, -2, 5))) + tilted
        for cosines in (geometry.row_cosines, geometry.column_cosines)
    ]
    misplaced = 0.055 * sum(slopes) * geometry.pixel_spacing_mm[0]
    np.testing.assert_allclose(out[inside], (moved @ (3, -2, 5))[inside], atol=misplaced + 0.02)


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_nothing_changes_without_motion(name: str) -> None:
    geometry = GRIDS[name]
    volume = np.random.default_rng(0).normal(0, 100, geometry.shape).astype(np.float32)
    out = warp(volume, geometry, range(2, 5), np.eye(3), np.zeros(3))
    np.testing.assert_allclose(out, volume[2:5], atol=0.05)


def test_beyond_the_grid_its_border_goes_on() -> None:
    geometry = GRIDS["even"]
    volume = ramp(geometry)
    up = warp(volume, geometry, range(8), np.eye(3), np.array([0, 0, 100.0]))
    assert np.isfinite(up).all()
    np.testing.assert_allclose(up, np.repeat(volume[-1:], 8, axis=0), atol=0.05)


def test_noise_keeps_more_of_its_size_than_linear_interpolation_leaves() -> None:
    geometry = even(3, 5.0, 96)
    noise = np.random.default_rng(0).normal(0, 1, geometry.shape).astype(np.float32)
    half = np.array([geometry.pixel_spacing_mm[1] / 2, geometry.pixel_spacing_mm[0] / 2, 0])
    out = warp(noise, geometry, range(3), np.eye(3), half)
    assert 0.65 < out[:, 5:-5, 5:-5].std() < 1


@given(
    rows=st.tuples(st.integers(0, 59), st.integers(1, 60)),
    columns=st.tuples(st.integers(0, 59), st.integers(1, 60)),
)
@settings(max_examples=15, deadline=None)
def test_some_pixels_are_those_of_all(rows: tuple[int, int], columns: tuple[int, int]) -> None:
    geometry = even(6, 5.0, 60)
    noise = np.random.default_rng(1).normal(size=geometry.shape).astype(np.float32)
    turn = Rotation.from_euler("xyz", (3, -2, 4), degrees=True).as_matrix()
    shift = np.array([1.0, -2.0, 3.0])
    down = range(min(rows), max(max(rows), min(rows) + 1))
    across = range(min(columns), max(max(columns), min(columns) + 1))
    whole = warp(noise, geometry, range(6), turn, shift)
    part = warp(noise, geometry, range(6), turn, shift, rows=down, columns=across)
    wanted = whole[:, down.start : down.stop, across.start : across.stop]
    np.testing.assert_allclose(part, wanted, atol=1e-4)
