"""The brain in its cavity: shares, volumes, and what age and disease leave behind."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from training.simulate.anatomy.brain import Brain, build_brain
from training.simulate.anatomy.deform import draw_warp
from training.simulate.anatomy.model import Region, Territory
from training.simulate.anatomy.person import Person, draw_person

YOUNG = replace(
    draw_person(2),
    ventricle_growth_mm=-0.5,
    sulcal_width=0.05,
    leukoaraiosis=0.0,
    old_lacunes=0,
    old_infarcts=0,
    calcified_pineal=0.0,
    calcified_choroid=0.0,
    calcified_falx=0.0,
    calcified_pallidum=0.0,
)
OLD = replace(YOUNG, ventricle_growth_mm=5.0, sulcal_width=0.8, subarachnoid_gap_mm=4.0)
ILL = replace(
    OLD,
    leukoaraiosis=0.25,
    old_lacunes=2,
    old_infarcts=1,
    calcified_pineal=0.8,
    calcified_choroid=0.8,
    calcified_falx=0.8,
    calcified_pallidum=0.8,
)


@lru_cache(maxsize=3)
def brain_of(person: Person) -> Brain:
    return build_brain(person, draw_warp(person))


@pytest.mark.parametrize("person", [YOUNG, OLD, ILL], ids=["young", "old", "ill"])
def test_volumes_are_those_of_people(person: Person) -> None:
    brain = brain_of(person)
    cavity = brain.depth_mm > 0
    total = brain.grey + brain.white + brain.csf + brain.calcification
    np.testing.assert_allclose(total[cavity], 1, atol=1e-5)
    assert not total[~cavity].any()
    assert 1.1 < cavity.sum() / 1e6 < 1.85
    assert 1.0 < (brain.grey + brain.white).sum() / 1e6 < 1.6
    assert 1.1 < brain.grey.sum() / brain.white.sum() < 1.8
    ventricles = np.isin(brain.region, (12, 13, 14)).sum() / 1000
    assert 8 < ventricles < 120


@pytest.mark.parametrize("person", [YOUNG, ILL], ids=["young", "ill"])
def test_labels_lie_where_they_should(person: Person) -> None:
    brain = brain_of(person)
    tissue = brain.grey + brain.white
    cavity = brain.depth_mm > 0
    assert not brain.region[~cavity].any()
    assert not brain.territory[tissue == 0].any()
    assert (brain.territory[tissue > 0.5] > 0).all()
    assert (brain.region[cavity & (tissue > 0.6)] > 0).all()
    fluid = np.isin(brain.region, (12, 13, 14, Region.SULCI))
    assert brain.csf[fluid].min() > 0.25
    for territory in list(Territory)[1:]:
        sides = [(brain.territory[side] == territory).sum() for side in (brain.left, ~brain.left)]
        assert 0.6 < sides[0] / sides[1] < 1.7, territory
    for region in list(Region)[1:]:
        assert (brain.region == region).sum() > 500, region


def test_depth_is_a_distance_and_survives_float16() -> None:
    depth = brain_of(YOUNG).depth_mm
    assert np.array_equal(depth, depth.astype(np.float16).astype(np.float32))
    middle = depth[60:170, 40:210, 30:170]
    slope = np.sqrt(sum(part**2 for part in np.gradient(middle)))
    near = np.abs(middle) < 8
    assert 0.9 < np.median(slope[near]) < 1.1
    assert np.percentile(slope[near], 99) < 1.6


def test_age_takes_brain_and_leaves_fluid() -> None:
    young, old = brain_of(YOUNG), brain_of(OLD)

    def lateral(brain: Brain) -> int:
        return int((brain.region == Region.LATERAL_VENTRICLE).sum())

    assert 2 * lateral(young) < lateral(old) < 8 * lateral(young)
    share = [(b.grey + b.white).sum() / (b.depth_mm > 0).sum() for b in (young, old)]
    assert share[0] > 0.88
    assert 0.65 < share[1] < share[0] - 0.06


def test_disease_replaces_tissue_by_fluid_and_calcium() -> None:
    healthy, ill = brain_of(OLD), brain_of(ILL)
    lost = (healthy.grey + healthy.white - ill.grey - ill.white).clip(0)
    around = np.isin(healthy.region, (1, 2, 3, 4)) & (lost > 0.02)
    assert 3 < lost.sum() / 1000 < 80
    assert (lost > 0.5).sum() > 500
    white = healthy.white > 0.9
    assert (white & (lost > 0.05) & (lost < 0.26)).sum() > 2000
    assert around.any()
    assert not healthy.calcification.any()
    assert 100 < (ill.calcification > 0.05).sum() < 8000
    sides = [(ill.calcification[side] > 0.1).sum() for side in (ill.left, ~ill.left)]
    assert min(sides) > 30


def test_two_people_do_not_share_their_gyri() -> None:
    first = brain_of(YOUNG)
    same_shape = replace(YOUNG, seed=77)
    warp = draw_warp(YOUNG)
    second = build_brain(same_shape, warp)
    convexity = (first.depth_mm > 1) & (first.depth_mm < 15)
    upper = np.zeros_like(convexity)
    upper[120:] = convexity[120:]
    unlike = np.abs(first.grey - second.grey)[upper].mean()
    assert unlike > 0.05
