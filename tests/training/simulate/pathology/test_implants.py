from dataclasses import replace

import numpy as np
import pytest

from training.simulate.anatomy.build import build_anatomy
from training.simulate.anatomy.model import Anatomy, Region, Vessel
from training.simulate.anatomy.person import draw_person
from training.simulate.pathology.growing import volume_ml
from training.simulate.pathology.head import Head
from training.simulate.pathology.implants import add_ball, add_rod, empty_share
from training.simulate.pathology.mimics import METAL_HU, add_mimics


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return build_anatomy(draw_person(1))


def test_a_ball_has_its_volume() -> None:
    share = empty_share()
    add_ball(share, np.array([10.0, -5.0, 20.0]), (6, 8, 10))
    assert volume_ml(share) == pytest.approx(4 / 3 * np.pi * 0.48, rel=0.05)


def test_a_rod_has_its_volume() -> None:
    share = empty_share()
    add_rod(share, np.zeros(3), np.array([0.0, 0.0, 2.0]), 40, 3)
    assert volume_ml(share) == pytest.approx(np.pi * 0.009 * 43, rel=0.1)


def test_implants_outside_the_brain_stay_outside(anatomy: Anatomy) -> None:
    for name in ("dental", "cochlear_implant"):
        metal = add_mimics(Head(anatomy), 4, None, [name]).inclusions["metal"]
        assert metal.hu == METAL_HU
        assert not metal.share[anatomy.cavity].any()


def test_a_shunt_ends_in_a_ventricle_and_goes_through_the_skull(anatomy: Anatomy) -> None:
    shunt = add_mimics(Head(anatomy), 4, None, ["shunt"]).inclusions["metal"]
    there = shunt.share > 0
    assert (anatomy.region[there] == Region.LATERAL_VENTRICLE).any()
    assert anatomy.bone[there].max() > 0.5
    assert (~anatomy.cavity[there]).any()


def test_clips_and_coils_lie_at_the_circle_of_willis(anatomy: Anatomy) -> None:
    m1 = np.nonzero((anatomy.vessel == Vessel.M1) & anatomy.cavity)
    sizes = []
    for seed in range(5):
        metal = add_mimics(Head(anatomy), seed, None, ["clip"]).inclusions["metal"]
        where = np.nonzero(metal.share > 0.3)
        assert abs(np.mean(where[0]) - np.mean(m1[0])) < 20
        sizes.append(volume_ml(metal.share))
    assert 0.01 < min(sizes) < max(sizes) < 1.5


def test_heads_without_the_place_for_an_implant_go_without(anatomy: Anatomy) -> None:
    bare = replace(
        anatomy, vessel=np.zeros_like(anatomy.vessel), region=np.zeros_like(anatomy.region)
    )
    assert not add_mimics(Head(bare), 1, None, ["clip", "shunt"]).inclusions
