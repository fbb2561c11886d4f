import numpy as np
import pytest

from training.simulate.anatomy.build import build_anatomy
from training.simulate.anatomy.person import draw_person
from training.simulate.arrays import Float32Array
from training.simulate.pathology.bleeds import Part, Place
from training.simulate.pathology.extraaxial import subdural
from training.simulate.pathology.growing import volume_ml
from training.simulate.pathology.mass_effect import (
    Displacement,
    carry,
    displace,
    give_place,
    make_room,
    midline_shift_mm,
)
from training.simulate.pathology.surroundings import Surroundings


@pytest.fixture(scope="module")
def around() -> Surroundings:
    return Surroundings(build_anatomy(draw_person(1)))


def ball(around: Surroundings, sideways_mm: float, radius: float) -> Float32Array:
    z, y, x = around.offsets_mm(around.middle_mm + np.array([sideways_mm, 0, 10]))
    return np.asarray(np.clip(radius + 0.5 - np.sqrt(x**2 + y**2 + z**2), 0, 1))


@pytest.fixture(scope="module")
def pushed(around: Surroundings) -> Displacement:
    return make_room(around, ball(around, 38, 20))


def test_brain_moves_away_from_the_blood(around: Surroundings, pushed: Displacement) -> None:
    z, y, x = around.offsets_mm(around.middle_mm + np.array([38.0, 0, 10]))
    far = np.sqrt(x**2 + y**2 + z**2)
    back = pushed.back_mm
    outward = (back[0] * z + back[1] * y + back[2] * x) / np.maximum(far, 1)
    shell = around.cavity & (around.depth_mm > 12)
    near, distant = (
        float(outward[shell & (far > low) & (far < high)].mean())
        for low, high in ((20, 24), (44, 48))
    )
    assert near > 2
    assert 0 < distant < 0.6 * near
    assert midline_shift_mm(around, pushed) < -1


def test_larger_bleeds_shift_the_midline_more_and_the_sign_tells_the_side(
    around: Surroundings, pushed: Displacement
) -> None:
    small = midline_shift_mm(around, make_room(around, ball(around, -38, 12)))
    large = midline_shift_mm(around, make_room(around, ball(around, -38, 20)))
    assert 0 < small < large
    assert large == pytest.approx(-midline_shift_mm(around, pushed), rel=0.5)


def test_a_large_subdural_shifts_the_midline_by_more_than_5_mm(around: Surroundings) -> None:
    part = Part(Place.HEMISPHERE, "L", 120.0)
    empty = np.zeros(around.cavity.shape, dtype=np.float32)
    blood = subdural(around, part, empty, np.random.default_rng(1))
    assert -15 < midline_shift_mm(around, make_room(around, blood)) < -5


def test_nothing_folds(around: Surroundings, pushed: Displacement) -> None:
    back = pushed.back_mm
    rows = [np.stack(np.gradient(part)) for part in back]
    jacobian = np.eye(3)[:, :, None, None, None] - np.stack(rows)
    where = around.cavity & (around.depth_mm > 1)
    determinant = np.linalg.det(np.moveaxis(jacobian[:, :, where], -1, 0))
    assert np.mean(determinant <= 0) < 1e-3


def test_ventricles_and_sulci_give_way_and_brain_does_not(
    around: Surroundings, pushed: Displacement
) -> None:
    before = around.anatomy
    after = displace(before, pushed)
    blood = np.zeros_like(before.grey)
    blood[around.box] = ball(around, 38, 20)
    pushing = volume_ml(blood)
    brain = volume_ml(before.grey + before.white)
    left = volume_ml((after.grey + after.white) * (1 - blood))
    assert brain - left < 0.6 * pushing
    lost = volume_ml(before.csf) - volume_ml(after.csf * (1 - blood))
    assert 0.4 * pushing < lost < 1.1 * pushing
    sides = [
        volume_ml(after.csf[around.box] * Surroundings(after).ventricles * around.on_side(side))
        for side in ("L", "R")
    ]
    assert sides[0] < sides[1]


def test_wider_ventricles_hold_more(around: Surroundings) -> None:
    nothing = np.zeros(around.cavity.shape, dtype=np.float32)
    after = Surroundings(displace(around.anatomy, make_room(around, nothing, 12.0, held_open=True)))
    gained = volume_ml(after.csf * after.ventricles) - volume_ml(around.csf * around.ventricles)
    assert 7 < gained < 16


def test_water_moves_with_the_tissue(around: Surroundings, pushed: Displacement) -> None:
    water = np.zeros_like(around.anatomy.grey)
    water[around.box] = around.anatomy.white[around.box]
    moved = carry(water, pushed)
    after = displace(around.anatomy, pushed)
    near = np.abs(pushed.back_mm).max(axis=0) > 1
    expected = after.white[around.box][near]
    assert np.corrcoef(moved[around.box][near], expected)[0, 1] > 0.95
    assert moved is not water


def test_blood_that_replaces_csf_leaves_the_tissue_whole(around: Surroundings) -> None:
    body = around.anatomy
    blood = np.where(around.ventricles, 0, np.round(around.csf * 127) / np.float32(255))
    after = give_place(body, around.box, blood.astype(np.float32))
    whole = np.zeros_like(body.grey)
    whole[around.box] = blood
    for name in ("grey", "white"):
        kept = volume_ml(getattr(after, name) * (1 - whole))
        assert kept == pytest.approx(volume_ml(getattr(body, name)), rel=0.003)
    lost = volume_ml(body.csf) - volume_ml(after.csf * (1 - whole))
    assert lost == pytest.approx(volume_ml(whole), rel=0.02)
