from typing import Literal

import numpy as np
import pytest
from scipy import ndimage

from training.simulate.anatomy.build import build_anatomy
from training.simulate.anatomy.model import Anatomy, Region
from training.simulate.anatomy.person import draw_person
from training.simulate.pathology.bleeds import Place, draw_bleed
from training.simulate.pathology.growing import distance_mm, volume_ml
from training.simulate.pathology.head import BloodKind, Head
from training.simulate.pathology.hemorrhage import Hemorrhage, add_hemorrhage

Wanted = BloodKind | Literal["mixed"]
MOVING = ("grey", "white", "csf", "artery", "vein", "calcification")
VENTRICLES = (Region.LATERAL_VENTRICLE, Region.THIRD_VENTRICLE, Region.FOURTH_VENTRICLE)
_bled: dict[tuple[Wanted, int], tuple[Head, Hemorrhage]] = {}


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return build_anatomy(draw_person(1))


def bleed(anatomy: Anatomy, kind: Wanted, seed: int) -> tuple[Head, Hemorrhage]:
    if (kind, seed) not in _bled:
        _bled[kind, seed] = add_hemorrhage(Head(anatomy), seed, kind)
    return _bled[kind, seed]


PUSHING = (BloodKind.INTRAPARENCHYMAL, BloodKind.SUBDURAL, BloodKind.EPIDURAL)
CASES: list[tuple[Wanted, int]] = [
    (BloodKind.INTRAPARENCHYMAL, 5),
    (BloodKind.INTRAVENTRICULAR, 1),
    (BloodKind.SUBARACHNOID, 8),
    (BloodKind.SUBDURAL, 1),
    (BloodKind.EPIDURAL, 4),
    ("mixed", 11),
]


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_blood_fills_what_was_drawn_and_nothing_outside_the_cavity(
    anatomy: Anatomy, kind: Wanted, seed: int
) -> None:
    head, truth = bleed(anatomy, kind, seed)
    drawn = draw_bleed(seed, kind).volumes_ml
    assert set(head.blood) == set(truth.kinds) == set(truth.volumes_ml)
    for one, share in head.blood.items():
        assert truth.volumes_ml[one] == volume_ml(share)
        wanted = drawn[one] if one in PUSHING else min(drawn[one], truth.volumes_ml[one])
        assert truth.volumes_ml[one] == pytest.approx(wanted, rel=0.05)
        assert np.array_equal(share, (np.round(share * 255) / np.float32(255)))
    total = head.blood_share()
    assert total.max() <= 1 + 1e-6
    assert total.min() >= 0
    assert not total[~anatomy.cavity].any()
    assert head.blood_hu is not None
    assert np.array_equal(head.blood_hu > 0, total > 0)


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_the_anatomy_stays_whole(anatomy: Anatomy, kind: Wanted, seed: int) -> None:
    head, _ = bleed(anatomy, kind, seed)
    after = head.anatomy
    before_sum, after_sum = (
        sum(np.round(255 * getattr(body, name)) for name in MOVING) for body in (anatomy, after)
    )
    assert np.array_equal(before_sum, after_sum)
    for name in MOVING:
        values = getattr(after, name)
        assert values.min() >= 0
        outside = ~anatomy.cavity
        assert np.array_equal(values[outside], getattr(anatomy, name)[outside])
    assert np.array_equal(after.cavity, anatomy.cavity)
    assert np.array_equal(after.bone, anatomy.bone)


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_brain_is_all_but_conserved(anatomy: Anatomy, kind: Wanted, seed: int) -> None:
    head, truth = bleed(anatomy, kind, seed)
    after = head.anatomy
    left = volume_ml((after.grey + after.white) * (1 - head.blood_share()))
    before = volume_ml(anatomy.grey + anatomy.white)
    lost = before - left
    assert -0.01 * before < lost < 0.05 * before
    assert lost < 0.65 * sum(truth.volumes_ml.values()) + 2


def test_the_same_seed_gives_the_same_bytes(anatomy: Anatomy) -> None:
    first, truth = bleed(anatomy, "mixed", 11)
    again, truth_again = add_hemorrhage(Head(anatomy), 11, "mixed")
    assert truth == truth_again
    for kind, share in first.blood.items():
        assert np.array_equal(share, again.blood[kind])
    assert np.array_equal(first.anatomy.grey, again.anatomy.grey)
    assert first.blood_hu is not None
    assert again.blood_hu is not None
    assert np.array_equal(first.blood_hu, again.blood_hu)


def test_inputs_stay_as_they_are(anatomy: Anatomy) -> None:
    names = (*MOVING, "static_hu", "region", "territory", "vessel", "left")
    before = {name: float(np.sum(getattr(anatomy, name), dtype=np.float64)) for name in names}
    copies = {name: getattr(anatomy, name).copy() for name in ("grey", "csf", "region", "left")}
    water = np.zeros_like(anatomy.grey)
    water[100, 100, 100] = 5
    head = Head(anatomy, water_hu=water)
    add_hemorrhage(head, 1, BloodKind.SUBDURAL)
    assert not head.blood
    assert water.sum() == 5
    for name, values in copies.items():
        assert np.array_equal(values, getattr(anatomy, name))
    for name, total in before.items():
        assert float(np.sum(getattr(anatomy, name), dtype=np.float64)) == total


def test_a_bleeding_head_does_not_bleed_twice(anatomy: Anatomy) -> None:
    head, _ = bleed(anatomy, BloodKind.SUBARACHNOID, 8)
    with pytest.raises(ValueError, match="already"):
        add_hemorrhage(head, 1)


def test_parenchymal_blood_lies_in_brain_on_its_side_with_oedema_around(anatomy: Anatomy) -> None:
    head, truth = bleed(anatomy, BloodKind.INTRAPARENCHYMAL, 5)
    share = head.blood[BloodKind.INTRAPARENCHYMAL]
    assert volume_ml(share * anatomy.csf) < 0.15 * volume_ml(share)
    on_left = volume_ml(share * anatomy.left) / volume_ml(share)
    assert on_left > 0.99 if truth.side == "L" else on_left < 0.01
    assert head.water_hu is not None
    rim = ndimage.binary_dilation(share > 0.5, iterations=2) & (share == 0)
    assert 2 < head.water_hu[rim].mean() <= 15
    assert head.water_hu.min() >= 0
    assert not head.water_hu[distance_mm(share > 0.5) > 19].any()


@pytest.mark.parametrize(
    ("kind", "seed"),
    [(BloodKind.SUBDURAL, 1), (BloodKind.EPIDURAL, 4), (BloodKind.INTRAPARENCHYMAL, 5)],
)
def test_the_midline_moves_away_from_the_bleed(
    anatomy: Anatomy, kind: BloodKind, seed: int
) -> None:
    _, truth = bleed(anatomy, kind, seed)
    away = 1 if truth.side == "R" else -1
    assert 0.4 < away * truth.midline_shift_mm < 15


@pytest.mark.parametrize(("kind", "seed"), [(BloodKind.SUBDURAL, 1), (BloodKind.EPIDURAL, 4)])
def test_blood_outside_the_brain_hugs_the_inner_table_of_one_side(
    anatomy: Anatomy, kind: BloodKind, seed: int
) -> None:
    head, truth = bleed(anatomy, kind, seed)
    share = head.blood[kind]
    depths = anatomy.depth_mm[share > 0.5]
    assert np.mean(depths < 2) > 0.03
    assert depths.max() < 32
    near = share[(anatomy.depth_mm > 0.5) & (anatomy.depth_mm < 1.5)].sum(dtype=np.float64)
    deep = share[(anatomy.depth_mm > 20) & (anatomy.depth_mm < 21)].sum(dtype=np.float64)
    assert near > 3 * deep
    on_left = volume_ml(share * anatomy.left) / volume_ml(share)
    assert on_left == (1 if truth.side == "L" else 0)


def test_a_lens_is_thick_for_its_width_and_a_crescent_is_not(anatomy: Anatomy) -> None:
    compactness = {}
    for kind, seed in ((BloodKind.SUBDURAL, 1), (BloodKind.EPIDURAL, 4)):
        share = bleed(anatomy, kind, seed)[0].blood[kind]
        area = float(share[(anatomy.depth_mm > 0.5) & (anatomy.depth_mm < 1.5)].sum())
        compactness[kind] = share.sum() / area**1.5
    assert compactness[BloodKind.EPIDURAL] > 1.25 * compactness[BloodKind.SUBDURAL]


def test_blood_in_the_ventricles_ends_in_a_horizontal_level(anatomy: Anatomy) -> None:
    head, truth = bleed(anatomy, BloodKind.INTRAVENTRICULAR, 1)
    assert truth.place == Place.LAYERED
    share, after = head.blood[BloodKind.INTRAVENTRICULAR], head.anatomy
    assert np.all(np.isin(after.region[share > 0], VENTRICLES))
    full = anatomy.csf > 0.9
    for side in (anatomy.left, ~anatomy.left):
        lateral = (after.region == Region.LATERAL_VENTRICLE) & side & full
        rows = np.broadcast_to(np.arange(share.shape[1])[None, :, None], share.shape)[lateral]
        filled = share[lateral] > 0.5
        assert filled.any()
        assert not filled.all()
        level = rows[filled].min()
        assert np.mean(filled[rows > level + 1]) > 0.99
        assert not filled[rows < level].any()


def test_subarachnoid_blood_takes_the_place_of_csf_outside_the_ventricles(
    anatomy: Anatomy,
) -> None:
    head, _ = bleed(anatomy, BloodKind.SUBARACHNOID, 8)
    share = head.blood[BloodKind.SUBARACHNOID]
    assert np.all(share <= 1.5 * anatomy.csf + 1 / 255)
    assert not share[np.isin(anatomy.region, VENTRICLES)].any()
    after = head.anatomy
    csf_left = volume_ml(after.csf * (1 - share))
    assert csf_left < volume_ml(anatomy.csf) - 0.6 * volume_ml(share)


def test_densities_lie_where_textbooks_put_them(anatomy: Anatomy) -> None:
    limits = {
        BloodKind.INTRAPARENCHYMAL: (28, 80),
        BloodKind.INTRAVENTRICULAR: (10, 75),
        BloodKind.SUBARACHNOID: (10, 75),
        BloodKind.SUBDURAL: (10, 80),
        BloodKind.EPIDURAL: (10, 80),
    }
    for kind, seed in CASES:
        if kind == "mixed":
            continue
        head, truth = bleed(anatomy, kind, seed)
        assert head.blood_hu is not None
        values = head.blood_hu[head.blood[kind] > 0.5]
        low, high = limits[kind]
        assert low <= values.min()
        assert values.max() <= high
        if 3 < truth.age_h < 72:
            assert 45 < values.mean() < 80
        baseline = head.baseline_hu()
        full = head.blood[kind] > 0.99
        assert np.allclose(baseline[full], head.blood_hu[full], atol=1)
