import numpy as np
import pytest

from training.simulate.anatomy.build import build_anatomy
from training.simulate.anatomy.model import Region
from training.simulate.anatomy.person import draw_person
from training.simulate.arrays import Float32Array, stream
from training.simulate.pathology.bleeds import Part, Place
from training.simulate.pathology.growing import volume_ml
from training.simulate.pathology.hematoma import intraventricular, parenchymal, radius_mm
from training.simulate.pathology.surroundings import Surroundings


@pytest.fixture(scope="module")
def around() -> Surroundings:
    return Surroundings(build_anatomy(draw_person(1)))


def bleed(around: Surroundings, part: Part, seed: int = 1) -> Float32Array:
    nothing = np.zeros(around.cavity.shape, dtype=np.float32)
    return parenchymal(around, part, nothing, stream(seed, "test"))


def share_in(share: Float32Array, around: Surroundings, *regions: Region) -> float:
    return volume_ml(share * np.isin(around.region, regions)) / volume_ml(share)


def test_radius_of_a_ball() -> None:
    assert radius_mm(4.18879) == pytest.approx(10, rel=1e-4)


@pytest.mark.parametrize(
    ("place", "regions"),
    [
        (Place.THALAMUS, (Region.THALAMUS,)),
        (Place.CAUDATE, (Region.CAUDATE, Region.INTERNAL_CAPSULE)),
        (Place.PUTAMEN, (Region.LENTIFORM, Region.INTERNAL_CAPSULE, Region.INSULA)),
        (Place.CEREBELLUM, (Region.CEREBELLUM,)),
        (Place.BRAINSTEM, (Region.BRAINSTEM,)),
        (Place.LOBAR, (Region.FRONTAL, Region.PARIETAL, Region.TEMPORAL, Region.OCCIPITAL)),
    ],
)
def test_small_bleeds_lie_where_they_are_named_after(
    around: Surroundings, place: Place, regions: tuple[Region, ...]
) -> None:
    share = bleed(around, Part(place, "R", 0.8))
    assert volume_ml(share) == pytest.approx(0.8, rel=0.05)
    assert share_in(share, around, *regions) > 0.5
    if place != Place.BRAINSTEM:
        assert volume_ml(share * around.on_side("R")) > 0.95 * volume_ml(share)


def test_a_large_lobar_bleed_is_one_piece_on_its_side_and_spares_the_ventricles(
    around: Surroundings,
) -> None:
    share = bleed(around, Part(Place.LOBAR, "L", 80), seed=4)
    assert volume_ml(share) == pytest.approx(80, rel=0.02)
    assert not share[around.ventricles].any()
    assert not share[around.on_side("R")].any()
    assert not share[around.infratentorial].any()


def test_contusions_are_several_in_the_cortex_near_the_bone(around: Surroundings) -> None:
    from scipy import ndimage

    share = bleed(around, Part(Place.CONTUSION, "L", 14), seed=3)
    assert volume_ml(share) == pytest.approx(14, rel=0.05)
    labels, _ = ndimage.label(share > 0.3)
    assert np.sum(np.bincount(labels.ravel())[1:] > 100) >= 2
    assert share_in(share, around, Region.FRONTAL, Region.TEMPORAL) > 0.8
    assert np.median(around.depth_mm[share > 0.5]) < 20


def test_a_cast_starts_at_the_hematoma(around: Surroundings) -> None:
    where = np.flatnonzero((around.region == Region.LATERAL_VENTRICLE) & around.on_side("R"))
    source = around.point_mm(int(where[len(where) // 2]))
    nothing = np.zeros(around.cavity.shape, dtype=np.float32)
    part = Part(Place.CAST, "R", 4.0)
    share = intraventricular(around, part, nothing, stream(2, "test"), source)
    assert volume_ml(share) == pytest.approx(4.0, rel=0.05)
    assert np.all(share <= around.csf + 1 / 255)
    assert not share[~around.ventricles].any()
    assert volume_ml(share * around.on_side("R")) > 0.55 * volume_ml(share)
