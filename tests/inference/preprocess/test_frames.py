import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.dicom.volumes import Source, TimeSeries
from inference.errors import NotAnalysable
from inference.geometry import Geometry
from inference.preprocess.frames import (
    common_times,
    interpolation_matrix,
    resample,
    slab_geometry,
    slab_groups,
)


def stack(heights: list[float], pixel_mm: float = 1.0, size: int = 8) -> Geometry:
    positions = np.stack([np.zeros(len(heights)), np.zeros(len(heights)), heights], axis=1)
    x, y = np.eye(3)[:2]
    return Geometry(positions, x, y, (pixel_mm, pixel_mm), size, size)


def series(times: np.ndarray[tuple[int, ...], np.dtype[np.float64]], where: Geometry) -> TimeSeries:
    data = np.empty((len(times), *where.shape), np.float32)
    data[:] = (10 + 2 * times)[:, :, None, None]
    source = Source("1", ("1",), np.full(times.shape, "1"))
    return TimeSeries(data, times, where, "HU", source)


@given(
    step=st.floats(0.4, 4),
    offset=st.floats(0, 2),
    frames=st.integers(12, 40),
    cells=st.integers(2, 6),
)
@settings(max_examples=30, deadline=None)
def test_a_ramp_stays_a_ramp_in_every_slice(
    step: float, offset: float, frames: int, cells: int
) -> None:
    times = np.asarray(step * np.arange(float(frames))[:, None], np.float64)
    times = times + np.where(np.arange(cells) % 2, offset, 0.0)
    grid = common_times(times, 1.0, 120.0)
    found = resample(series(times, stack([5.0 * k for k in range(cells)])), grid, 5.0)
    inner = slice(1, -1)  # averaging over a step is one-sided at both ends
    np.testing.assert_allclose(
        found.data[inner],
        np.broadcast_to((10 + 2 * grid)[:, None, None, None], found.data.shape)[inner],
        rtol=1e-4,
    )
    assert grid[0] >= times[0].max() - 1e-9
    assert grid[-1] <= times[-1].min() + 1e-6


def test_fast_frames_are_averaged_and_slow_ones_interpolated() -> None:
    fast = interpolation_matrix(0.25 * np.arange(80.0), np.arange(2.0, 10.0))
    assert (fast > 0).sum(axis=1).min() >= 4
    slow = interpolation_matrix(2.0 * np.arange(10.0), np.arange(2.0, 10.0))
    assert (slow > 0).sum(axis=1).max() == 2
    for weights in (fast, slow):
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)


def test_times_in_common_are_bounded() -> None:
    with pytest.raises(NotAnalysable, match="cover"):
        common_times(np.array([[0.0, 40.0], [1.0, 41.0], [42.0, 42.5]]), 1.0, 120.0)
    assert common_times(np.arange(0.0, 4000, 10)[:, None], 1.0, 120.0)[-1] == 120


@pytest.mark.parametrize(
    ("spacing", "per_slab"),
    [(0.5, 10), (1.0, 5), (1.25, 4), (2.5, 2), (3.0, 2), (4.0, 1), (5.0, 1), (10.0, 1)],
)
def test_slabs_have_at_least_the_wanted_height(spacing: float, per_slab: int) -> None:
    where = stack([spacing * k for k in range(41)])
    groups = slab_groups(where, 5.0)
    assert {len(group) for group in groups} == {per_slab}
    assert slab_geometry(where, groups).evenly_spaced


def test_slabs_of_uneven_slices_and_of_very_few() -> None:
    where = stack([0, 1, 2, 3, 10, 17, 24])
    assert [list(g) for g in slab_groups(where, 5.0)][-2:] == [[5], [6]]
    assert slab_groups(stack([0.0]), 5.0) == [range(1)]
    assert slab_groups(stack([0.0, 0.5]), 5.0) == [range(2)]


def test_positions_of_slabs_and_bins() -> None:
    where = stack([0.5 * k for k in range(20)], pixel_mm=0.4, size=9)
    times = np.repeat(1.5 * np.arange(20)[:, None], 20, axis=1)
    found = resample(series(times, where), common_times(times, 1.0, 60.0), 5.0, bin_size=2)
    assert found.data.shape == (29, 2, 4, 4)
    assert found.geometry.pixel_spacing_mm == (0.8, 0.8)
    np.testing.assert_allclose(found.geometry.positions_mm[0], [0.2, 0.2, 2.25])
    assert found.step_s == 1.0
    assert list(found.acquired[:4]) == [0, 2, 3, 4]
