import numpy as np
import pytest

from training.simulate.anatomy.build import build_anatomy
from training.simulate.anatomy.model import Region
from training.simulate.anatomy.person import draw_person
from training.simulate.pathology.surroundings import Surroundings, is_one_of


@pytest.fixture(scope="module")
def around() -> Surroundings:
    return Surroundings(build_anatomy(draw_person(1)))


def test_regions_are_looked_up() -> None:
    region = np.array([0, 9, 11, 15], dtype=np.uint8)
    found = is_one_of(region, (Region.THALAMUS, Region.SULCI))
    assert found.tolist() == [False, True, False, True]


def test_the_tentorium_parts_cerebrum_from_cerebellum(around: Surroundings) -> None:
    below, region = around.infratentorial, around.region
    assert below[region == Region.CEREBELLUM].mean() > 0.97
    for lobe in (Region.FRONTAL, Region.PARIETAL, Region.TEMPORAL, Region.OCCIPITAL):
        assert below[region == lobe].mean() < 0.05
    far = np.abs(around.tentorium_mm) > 3
    assert np.array_equal(around.tentorium_mm[far] < 0, below[far])


def test_sides_are_the_patients(around: Surroundings) -> None:
    left = around.on_side("L")
    assert np.array_equal(around.on_side("R"), ~left)
    assert np.all(around.from_midline_mm("L")[left] >= 0)
    assert np.all(around.from_midline_mm("L")[~left] <= 0)
    x = np.broadcast_to(around.axes_mm[2], left.shape)
    assert x[left & around.cavity].mean() > 20


def test_points_and_middle_are_in_mm(around: Surroundings) -> None:
    mask = around.cavity & (around.depth_mm > 55)
    x, y, z = around.point_mm(int(np.flatnonzero(mask)[0]))
    offsets = around.offsets_mm(np.array([x, y, z]))
    assert sum(np.abs(axis).min() for axis in offsets) == 0
    assert np.all(np.abs(around.middle_mm - np.array([0, 20, 10])) < 30)
