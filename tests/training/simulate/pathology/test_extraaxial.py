import numpy as np
import pytest

from training.simulate.anatomy.build import build_anatomy
from training.simulate.anatomy.model import Vessel
from training.simulate.anatomy.person import draw_person
from training.simulate.arrays import Float32Array, stream
from training.simulate.pathology.bleeds import Part, Place
from training.simulate.pathology.extraaxial import epidural, subarachnoid, subdural
from training.simulate.pathology.growing import volume_ml
from training.simulate.pathology.surroundings import Surroundings


@pytest.fixture(scope="module")
def around() -> Surroundings:
    return Surroundings(build_anatomy(draw_person(1)))


@pytest.fixture(scope="module")
def nothing(around: Surroundings) -> Float32Array:
    return np.zeros(around.cavity.shape, dtype=np.float32)


def test_blood_along_the_falx_is_thin_and_on_one_side(
    around: Surroundings, nothing: Float32Array
) -> None:
    share = subdural(around, Part(Place.FALX, "L", 6), nothing, stream(1, "test"))
    assert volume_ml(share) == pytest.approx(6, rel=0.05)
    assert not share[around.on_side("R")].any()
    assert np.quantile(around.from_midline_mm("L")[share > 0.5], 0.95) < 9


def test_blood_on_the_tentorium_is_a_sheet_above_it(
    around: Surroundings, nothing: Float32Array
) -> None:
    share = subdural(around, Part(Place.TENTORIUM, "R", 5), nothing, stream(1, "test"))
    assert volume_ml(share) == pytest.approx(5, rel=0.05)
    assert not share[around.infratentorial].any()
    assert np.quantile(around.tentorium_mm[share > 0.5], 0.95) < 12


@pytest.mark.parametrize("side", ["L", "R"])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_crescent_is_wide_and_keeps_to_its_side(
    around: Surroundings, nothing: Float32Array, side: str, seed: int
) -> None:
    part = Part(Place.HEMISPHERE, "L" if side == "L" else "R", 50)
    share = subdural(around, part, nothing, stream(seed, "test"))
    assert volume_ml(share) == pytest.approx(50, rel=0.02)
    assert not share[~around.on_side(part.side)].any()
    assert not share[around.infratentorial].any()
    table = share[(around.depth_mm > 0.5) & (around.depth_mm < 1.5)]
    assert 45 < float(table.sum()) / 100 < 200
    assert np.quantile(around.depth_mm[share > 0.5], 0.99) < 24


@pytest.mark.parametrize(
    "place",
    [Place.TEMPORAL, Place.FRONTAL, Place.PARIETAL, Place.OCCIPITAL, Place.POSTERIOR_FOSSA],
)
def test_a_lens_reaches_its_volume_within_30_mm(
    around: Surroundings, nothing: Float32Array, place: Place
) -> None:
    share = epidural(around, Part(place, "R", 12), nothing, stream(3, "test"))
    assert volume_ml(share) == pytest.approx(12, rel=0.05)
    assert np.all(around.infratentorial[share > 0.5] == (place == Place.POSTERIOR_FOSSA))
    assert around.depth_mm[share > 0.5].max() < 32
    assert not share[around.on_side("L")].any()


@pytest.mark.parametrize("seed", range(3))
def test_an_aneurysm_fills_the_cisterns_around_the_circle_of_willis(
    around: Surroundings, nothing: Float32Array, seed: int
) -> None:
    share = subarachnoid(around, Part(Place.BASAL, "L", 12), nothing, stream(seed, "test"))
    assert volume_ml(share) == pytest.approx(12, rel=0.05)
    vessel = around.anatomy.vessel[around.box]
    z, y, x = np.nonzero(np.isin(vessel, (Vessel.M1, Vessel.BASILAR)) & around.cavity)
    middle = np.array([z.mean(), y.mean(), x.mean()])
    where = np.nonzero(share > 0.3)
    far = np.sqrt(sum((at - c) ** 2 for at, c in zip(where, middle, strict=True)))
    assert np.median(far) < 50
    csf = np.nonzero(around.csf * ~around.ventricles > 0.3)
    everywhere = np.sqrt(sum((at - c) ** 2 for at, c in zip(csf, middle, strict=True)))
    assert np.median(far) < 0.75 * np.median(everywhere)


def test_a_torn_vein_bleeds_into_the_sulci_of_one_place(
    around: Surroundings, nothing: Float32Array
) -> None:
    share = subarachnoid(around, Part(Place.CONVEXITY, "R", 2), nothing, stream(5, "test"))
    assert volume_ml(share) == pytest.approx(2, rel=0.05)
    where = np.nonzero(share > 0.3)
    assert all(np.std(at) < 25 for at in where)
    assert not share[around.ventricles].any()
