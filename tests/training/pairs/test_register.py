from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from inference.dicom.volumes import Volume
from inference.errors import NotAnalysable
from inference.geometry import Geometry
from tests.inference.preprocess.moving_head import (
    STILL,
    Pose,
    brain_points_mm,
    displaced,
    even,
    head,
    stack,
)
from tests.training.pairs.test_resample import volume
from training.pairs import register as registration
from training.pairs.register import register

# 8 mm and 6 degrees about axes that are none of the scanner's.
MOVED: Pose = (4.3, -4.9, 4.7, 3.4, -2.9, 4.0)
UNEVEN_MM = np.r_[np.arange(-70, 0, 2.5), np.arange(0, 75, 5.0)]


def scan(geometry: Geometry, pose: Pose, noise_hu: float, seed: int) -> Volume:
    """The head by formula, with ventricles and folds in its brain, and noise."""
    data = head(geometry, pose)
    grid = np.stack([geometry.coordinates_mm(axis) for axis in range(3)], axis=-1)
    turn = Rotation.from_euler("xyz", pose[3:], degrees=True)
    x, y, z = turn.inv().apply((grid - np.array(pose[:3])).reshape(-1, 3)).T.reshape(3, *data.shape)
    brain = (data > 20) & (data < 40)
    fluid = (x / 20) ** 2 + (y / 30) ** 2 + ((z - 8) / 14) ** 2 < 1
    data += brain * (8 * np.sin(x / 7) * np.sin(y / 8) * np.sin(z / 9) - 22 * fluid)
    data += np.random.default_rng(seed).normal(0, noise_hu, data.shape)
    return volume(data.astype(np.float32), geometry)


def error_mm(moved: npt.NDArray[np.float64]) -> float:
    """Mean distance of points of the brain from where they went."""
    return float(np.linalg.norm(moved - displaced(brain_points_mm(), MOVED), axis=1).mean())


@pytest.mark.parametrize(
    ("ncct", "ctp"),
    [
        (even(56, 2.5, 96), even(8, 8.0, 80)),
        (stack(UNEVEN_MM, 96, tilt_deg=12), even(4, 8.0, 96)),
    ],
    ids=["thin slices to a whole brain", "tilted, uneven slices to a slab"],
)
def test_a_known_displacement_comes_back(ncct: Geometry, ctp: Geometry) -> None:
    assert np.linalg.norm(MOVED[:3]) == pytest.approx(8, abs=0.1)
    assert np.linalg.norm(MOVED[3:]) == pytest.approx(6, abs=0.1)
    reference = scan(ctp, STILL, 4.0, 1)
    found = register(scan(ncct, MOVED, 8.0, 2), reference)
    assert error_mm(found.pose.moved(brain_points_mm())) < 0.5
    assert found.likeness > 0.95
    assert 5 < found.moved_mm < 15
    assert np.isfinite(found.data).mean() > 0.9
    np.testing.assert_allclose(found.pose.rotation @ found.pose.rotation.T, np.eye(3), atol=1e-9)


@pytest.fixture
def one_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the most promising start is followed: half of the time."""
    monkeypatch.setattr(registration, "_STARTS", 1)


@pytest.mark.usefixtures("one_start")
def test_a_head_far_away_comes_back_and_twice_the_same() -> None:
    """The two scans say where they lie by tables of their own; pixels of 3.6 mm."""
    reference = scan(even(5, 8.0, 64), STILL, 4.0, 1)
    ncct = scan(even(14, 8.0, 64), MOVED, 8.0, 2)
    away = np.array([35.0, -60.0, 900.0])
    geometry = replace(ncct.geometry, positions_mm=ncct.geometry.positions_mm + away)
    found, again = (register(replace(ncct, geometry=geometry), reference) for _ in range(2))
    assert error_mm(found.pose.moved(brain_points_mm()) - away) < 1.0
    assert np.array_equal(found.data, again.data, equal_nan=True)


@pytest.mark.usefixtures("one_start")
def test_where_the_head_ct_ends_there_is_nothing() -> None:
    reference = scan(even(6, 8.0, 64), STILL, 4.0, 1)
    whole = scan(even(20, 8.0, 64), STILL, 8.0, 2)
    low = replace(whole.geometry, positions_mm=whole.geometry.positions_mm[:11])
    found = register(replace(whole, data=whole.data[:11], geometry=low), reference)
    empty = np.isnan(found.data).mean(axis=(1, 2))
    assert empty[:4] == pytest.approx(0, abs=0.05)
    assert empty[5] == 1


def test_what_cannot_be_registered_is_refused() -> None:
    grid = even(6, 8.0, 64)
    good = scan(grid, STILL, 4.0, 1)
    flat = volume(good.data[:1], replace(grid, positions_mm=grid.positions_mm[:1]))
    with pytest.raises(NotAnalysable, match="the head CT has one slice"):
        register(flat, good)
    with pytest.raises(NotAnalysable, match="the perfusion has one slice"):
        register(good, flat)
    empty = replace(good, data=np.full_like(good.data, -1000))
    with pytest.raises(NotAnalysable, match="no head"):
        register(empty, good)
    small = replace(good, geometry=replace(grid, pixel_spacing_mm=(0.2, 0.2)))
    with pytest.raises(NotAnalysable, match="no place was found"):
        register(small, good)
