import numpy as np
import pytest

from training.simulate.anatomy.build import build_anatomy
from training.simulate.anatomy.model import Anatomy, Region, Vessel
from training.simulate.anatomy.person import draw_person
from training.simulate.pathology.arteries import arterial_flow
from training.simulate.pathology.growing import volume_ml
from training.simulate.pathology.head import BloodKind, Head
from training.simulate.pathology.mimics import GROUPS, MIMICS, add_mimics
from training.simulate.pathology.stroke import Occlusion, Stroke, draw_stroke


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return build_anatomy(draw_person(1))


@pytest.fixture(scope="module")
def stroke(anatomy: Anatomy) -> Stroke:
    return draw_stroke(anatomy, 1, Occlusion.M1, "L")


@pytest.mark.parametrize("name", list(MIMICS))
def test_every_mimic_can_be_asked_for(anatomy: Anatomy, stroke: Stroke, name: str) -> None:
    before = Head(anatomy)
    head = add_mimics(before, 3, stroke, [name])
    assert not before.inclusions
    assert list(head.inclusions) == [MIMICS[name].group]
    inclusion = head.inclusions[MIMICS[name].group]
    assert 0 <= inclusion.share.min() < inclusion.share.max() <= 1
    assert np.array_equal(inclusion.share, np.round(inclusion.share * 255) / np.float32(255))
    low, high = MIMICS[name].hu
    assert low <= inclusion.hu <= high
    assert 0.002 < volume_ml(inclusion.share) < 60
    there = inclusion.share > 0.5
    if name != "meningioma":
        assert there.any()
    assert np.all(head.baseline_hu()[there & anatomy.cavity] > 40)


def test_a_group_stands_for_one_of_its_mimics(anatomy: Anatomy) -> None:
    assert set(GROUPS) == {"calcification", "hyperdense_artery", "contrast_staining", "metal"}
    assert list(add_mimics(Head(anatomy), 2, None, ["metal"]).inclusions) == ["metal"]


def test_an_unknown_name_is_refused(anatomy: Anatomy) -> None:
    with pytest.raises(ValueError, match="unknown mimic 'bone'"):
        add_mimics(Head(anatomy), 1, None, ["bone"])


def test_a_thrombus_lies_in_the_occluded_segment_at_60_to_90_hu(
    anatomy: Anatomy, stroke: Stroke
) -> None:
    clot = add_mimics(Head(anatomy), 5, stroke, ["thrombus"]).inclusions["hyperdense_artery"]
    there = clot.share > 0
    assert np.all(anatomy.vessel[there] == stroke.occluded)
    assert np.all(anatomy.left[there])
    assert 60 <= clot.hu <= 90


@pytest.mark.parametrize("occlusion", [Occlusion.M1, Occlusion.ICA, Occlusion.BASILAR])
@pytest.mark.parametrize("seed", [1, 4])
def test_the_dense_clot_is_the_one_that_does_not_fill(
    anatomy: Anatomy, occlusion: Occlusion, seed: int
) -> None:
    stroke = draw_stroke(anatomy, seed, occlusion, "R")
    head = add_mimics(Head(anatomy), seed, stroke, ["thrombus"])
    flow = arterial_flow(head, stroke, seed)
    dense = head.inclusions["hyperdense_artery"].share.ravel()[flow.voxels] > 0
    empty = flow.fill == 0
    assert dense.any()
    assert np.all(empty[dense])
    z, y, x = np.unravel_index(flow.voxels[dense], anatomy.vessel.shape)
    assert max(np.ptp(z), np.ptp(y), np.ptp(x)) <= 2 * stroke.clot_mm
    if occlusion is Occlusion.ICA:
        siphon = np.ptp(np.unravel_index(flow.voxels[empty], anatomy.vessel.shape)[0])
        assert siphon > 2 * stroke.clot_mm
    else:
        assert dense.sum() > 0.9 * empty.sum()


def test_calcium_of_the_siphons_lies_in_the_walls_of_the_carotids(anatomy: Anatomy) -> None:
    found = 0
    for seed in range(6):
        head = add_mimics(Head(anatomy), seed, None, ["siphon_calcification"])
        share = head.inclusions["calcification"].share
        there = share > 0
        assert np.all(anatomy.vessel[there] == Vessel.ICA)
        assert anatomy.artery[there].max() < 0.8
        assert 0.01 < volume_ml(share) < 1
        found += len(np.unique(anatomy.left[there])) == 2
        assert head.baseline_hu()[share > 0.5].max() > 150
    assert found >= 4


def test_contrast_stains_dead_tissue_above_90_hu(anatomy: Anatomy, stroke: Stroke) -> None:
    head = add_mimics(Head(anatomy), 5, stroke, ["contrast_staining"])
    stain = head.inclusions["contrast_staining"]
    assert stain.hu > 90
    assert float(np.sum(stain.share * stroke.hypoperfusion)) > 0.6 * float(np.sum(stain.share))
    assert not stain.share[~anatomy.cavity].any()
    assert not add_mimics(Head(anatomy), 5, None, ["contrast_staining"]).inclusions


def test_mimics_never_overlap_blood(anatomy: Anatomy) -> None:
    blood = np.zeros_like(anatomy.grey)
    blood[anatomy.region == Region.LENTIFORM] = 1
    bled = Head(anatomy, {BloodKind.INTRAPARENCHYMAL: blood}, blood * 60)
    head = add_mimics(bled, 2, None, ["dense_vessels", "granuloma"])
    assert head.inclusions
    for inclusion in head.inclusions.values():
        assert not inclusion.share[blood > 0].any()
    hidden = add_mimics(bled, 2, None, ["basal_ganglia_calcification"])
    assert "calcification" not in hidden.inclusions or not (
        hidden.inclusions["calcification"].share[blood > 0].any()
    )


def test_two_mimics_of_a_group_keep_their_densities(anatomy: Anatomy) -> None:
    names = ["granuloma", "falx_calcification"]
    apart = [add_mimics(Head(anatomy), 7, None, [name]).inclusions for name in names]
    both = add_mimics(Head(anatomy), 7, None, names).inclusions["calcification"]
    mass = [one["calcification"].hu * one["calcification"].share for one in apart]
    assert np.allclose(both.hu * both.share, np.maximum(*mass), atol=both.hu / 255)


def test_what_is_drawn_depends_on_seed_cohort_and_stroke(anatomy: Anatomy, stroke: Stroke) -> None:
    from training.simulate.pathology import mimics

    head = Head(anatomy)
    drawn = [mimics._draw_names(head, seed, None) for seed in range(400)]
    assert drawn == [mimics._draw_names(head, seed, None) for seed in range(400)]
    counts = {name: sum(name in names for names in drawn) for name in MIMICS}
    assert counts["thrombus"] == counts["contrast_staining"] == 0
    assert 60 < counts["dental"] < 140
    assert any(not names for names in drawn)
    with_stroke = [mimics._draw_names(head, seed, stroke) for seed in range(400)]
    assert 90 < sum("thrombus" in names for names in with_stroke) < 200


def test_no_mimics_asked_for_leaves_the_head(anatomy: Anatomy) -> None:
    head = Head(anatomy)
    assert add_mimics(head, 1, None, []) is head


def test_dense_vessels_are_all_vessels(anatomy: Anatomy) -> None:
    inclusion = add_mimics(Head(anatomy), 1, None, ["dense_vessels"]).inclusions
    share = inclusion["hyperdense_artery"].share
    veins = anatomy.vessel == Vessel.SUPERIOR_SAGITTAL
    assert np.allclose(share[veins], (anatomy.artery + anatomy.vein)[veins], atol=1 / 255)
