import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from inference.dicom.reader import AIR_HU
from inference.dicom.volumes import Source, Volume
from inference.geometry import Geometry
from tests.inference.preprocess.moving_head import even, stack
from training.pairs.resample import Rigid, resample, straightened

UNEVEN = np.array([-30.0, -24.0, -20.0, -10.0, 0.0, 4.0, 12.0, 30.0])
POSE = Rigid(
    Rotation.from_euler("xyz", (3, -2, 4), degrees=True).as_matrix(), np.array([3.0, -4.0, 1.0])
)


def volume(data: np.ndarray[tuple[int, ...], np.dtype[np.float32]], geometry: Geometry) -> Volume:
    return Volume(data, geometry, "HU", Source("", (), np.full((1, len(data)), "")))


def ramp(geometry: Geometry) -> Volume:
    x, y, z = (geometry.coordinates_mm(axis) for axis in range(3))
    return volume((3 * x - 2 * y + 5 * z).astype(np.float32), geometry)


def places(geometry: Geometry) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.stack([geometry.coordinates_mm(axis) for axis in range(3)], axis=-1)


@pytest.mark.parametrize(
    "source",
    [even(40, 2.0, 64), stack(UNEVEN, 64), stack(UNEVEN, 64, tilt_deg=-15)],
    ids=["thin", "uneven", "uneven and tilted"],
)
def test_values_come_from_where_a_point_lies_in_the_volume(source: Geometry) -> None:
    onto = even(5, 8.0, 48, fov_mm=150.0)
    out = resample(ramp(source), onto, POSE)
    assert out.shape == onto.shape
    expected = POSE.moved(places(onto)) @ (3, -2, 5)
    heights = source.positions_mm @ source.normal
    above = POSE.moved(places(onto)) @ source.normal
    inner = (above > heights[0] + 4) & (above < heights[-1] - 4)
    assert inner.sum() > 2000
    np.testing.assert_allclose(out[inner], expected[inner], atol=1.5)


def test_there_is_nothing_where_the_volume_does_not_reach() -> None:
    source = even(4, 5.0, 64, fov_mm=100.0)
    onto = even(9, 5.0, 64, fov_mm=150.0)
    out = resample(ramp(source), onto, Rigid(np.eye(3), np.array([0.0, 0.0, 2.5])))
    heights = onto.positions_mm[:, 2] + 2.5
    x, y = (np.abs(onto.coordinates_mm(axis)[0]) for axis in (0, 1))
    for slice_, height in zip(out, heights, strict=True):
        shown = (abs(height) <= 10) & (x <= 50) & (y <= 50)
        assert np.array_equal(np.isfinite(slice_), shown)


def test_a_thick_slice_is_the_mean_of_the_thin_ones_in_it() -> None:
    thin, thick = even(40, 1.0, 16), even(4, 10.0, 16)
    layers = np.random.default_rng(1).normal(size=40).astype(np.float32)
    data = np.broadcast_to(layers[:, None, None], thin.shape).copy()
    out = resample(volume(data, thin), thick, Rigid.still())
    np.testing.assert_allclose(out[:, 8, 8], layers.reshape(4, 10).mean(axis=1), atol=1e-5)


def test_uneven_and_tilted_slices_are_straightened() -> None:
    bent = ramp(stack(UNEVEN, 64, tilt_deg=12))
    straight = straightened(bent)
    grid = straight.geometry
    assert grid.evenly_spaced
    assert grid.tilt_deg < 0.01
    assert grid.slice_spacing_mm == pytest.approx(4 * np.cos(np.radians(12)), rel=0.1)
    known = straight.data > AIR_HU
    corner = np.array([[bent.geometry.voxel_to_lps(s, r, c) for r in (0, 63) for c in (0, 63)]
                       for s in (0, 7)]).reshape(-1, 3)  # fmt: skip
    index = np.linalg.inv(grid.affine_lps) @ np.c_[corner, np.ones(8)].T
    assert (index[:3].min(axis=1) > -0.6).all()
    assert (index[:3].max(axis=1) < np.array(grid.shape[::-1]) - 0.4).all()
    inner = known.copy()
    inner[:, :5] = inner[:, -20:] = inner[:, :, :5] = inner[:, :, -5:] = False
    expected = places(grid) @ (3, -2, 5)
    assert np.median(np.abs(straight.data - expected)[inner]) < 0.5


def test_an_even_stack_stays_as_it_is() -> None:
    plain = ramp(even(5, 4.0, 16))
    assert straightened(plain) is plain
