import numpy as np
import pytest

from training.simulate.anatomy.build import build_anatomy
from training.simulate.anatomy.person import draw_person
from training.simulate.arrays import Float32Array, stream
from training.simulate.pathology.bleeds import Bleed, Part, Place
from training.simulate.pathology.blood_density import blood_hu, clot_hu, oedema_hu
from training.simulate.pathology.head import BloodKind
from training.simulate.pathology.surroundings import Surroundings

IPH, SDH = BloodKind.INTRAPARENCHYMAL, BloodKind.SUBDURAL


@pytest.fixture(scope="module")
def around() -> Surroundings:
    return Surroundings(build_anatomy(draw_person(1)))


def ball(around: Surroundings, radius: float) -> Float32Array:
    z, y, x = around.offsets_mm(around.middle_mm + np.array([25.0, 0, 10]))
    return np.asarray(np.clip(radius + 0.5 - np.sqrt(x**2 + y**2 + z**2), 0, 1))


def aged(age_h: float, place: Place = Place.LOBAR, anaemic: bool = False) -> Bleed:
    return Bleed((Part(place, "L", 10.0),), age_h, anaemic)


def clots(kind: BloodKind, bleed: Bleed, hematocrit: float = 0.42) -> tuple[float, float]:
    values = [clot_hu(kind, bleed, hematocrit, stream(seed, "test")) for seed in range(300)]
    return float(np.mean(values)), float(np.std(values))


def test_acute_clot_has_69_hu() -> None:
    mean, spread = clots(IPH, aged(24))
    assert mean == pytest.approx(69, abs=1.5)
    assert spread == pytest.approx(5.5, abs=1.2)


def test_blood_mixed_with_csf_is_less_dense() -> None:
    assert 55 < clots(BloodKind.SUBARACHNOID, aged(24))[0] < 63
    assert 55 < clots(BloodKind.INTRAVENTRICULAR, aged(24))[0] < 64


def test_density_rises_as_blood_clots_and_falls_as_it_is_broken_down() -> None:
    ages = (0.5, 24, 200, 470)
    means = [clots(IPH, aged(age))[0] for age in ages]
    assert means[0] < means[1] > means[2] > means[3]
    assert means[3] == pytest.approx(40, abs=2)
    assert 15 <= clots(SDH, aged(900, Place.HEMISPHERE))[0] <= 30


def test_density_follows_the_haematocrit() -> None:
    means = [clots(IPH, aged(1), hematocrit)[0] for hematocrit in (0.3, 0.4, 0.5)]
    assert means == sorted(means)
    assert clots(IPH, aged(24), 0.23)[0] <= 50
    assert clots(IPH, aged(24, anaemic=True))[0] == pytest.approx(36, abs=1)


@pytest.mark.parametrize("age_h", [1, 24, 200])
def test_values_are_heterogeneous_within_limits(around: Surroundings, age_h: float) -> None:
    share = ball(around, 14)
    spreads = []
    for seed in range(4):
        values = blood_hu(around, aged(age_h), {IPH: share}, 0.42, stream(seed, "test"))
        assert np.array_equal(values > 0, share > 0)
        inside = values[share > 0.5]
        assert 28 <= inside.min() <= inside.max() <= 80
        spreads.append(inside.std())
    assert max(spreads) > 2


def test_fresh_blood_swirls_more_often_than_clot(around: Surroundings) -> None:
    share = ball(around, 14)
    spreads = {}
    for age in (1, 40):
        spreads[age] = np.mean(
            [
                blood_hu(around, aged(age), {IPH: share}, 0.42, stream(seed, "x"))[
                    share > 0.9
                ].std()
                for seed in range(8)
            ]
        )
    assert spreads[1] > spreads[40]


def test_chronic_blood_is_dark_and_sometimes_layered(around: Surroundings) -> None:
    share = ball(around, 14)
    behind = np.broadcast_to(around.axes_mm[1], share.shape)
    middle = np.median(behind[share > 0.5])
    steps, means = [], []
    for seed in range(12):
        bleed = aged(900, Place.HEMISPHERE)
        values = blood_hu(around, bleed, {SDH: share}, 0.42, stream(seed, "test"))
        back, front = (share > 0.5) & (behind > middle + 5), (share > 0.5) & (behind < middle - 5)
        steps.append(float(values[back].mean() - values[front].mean()))
        means.append(float(values[front].mean()))
    assert max(steps) > 8
    assert min(means) < 30


def test_kinds_that_share_a_voxel_give_their_mean(around: Surroundings) -> None:
    share = ball(around, 8)
    half = share * np.float32(0.5)
    bleed = aged(24)
    both = blood_hu(around, bleed, {IPH: half, SDH: half}, 0.42, stream(1, "test"))
    assert np.array_equal(both > 0, share > 0)
    assert 50 <= both[share > 0.9].mean() <= 80
    empty = np.zeros_like(share)
    alone = blood_hu(around, bleed, {IPH: share, SDH: empty}, 0.42, stream(1, "test"))
    assert np.array_equal(alone > 0, share > 0)


def test_oedema_grows_with_age_and_stays_below_15_hu(around: Surroundings) -> None:
    share = ball(around, 12)
    volumes = []
    for age in (2, 24, 150):
        rims = [oedema_hu(around, aged(age), share, stream(seed, "test")) for seed in range(4)]
        assert all(rim.min() >= 0 and rim.max() <= 15 for rim in rims)
        volumes.append(np.mean([np.sum((rim > 2) & (share == 0)) for rim in rims]))
    assert volumes[0] < volumes[1] < volumes[2]
    nothing = np.zeros_like(share)
    assert not oedema_hu(around, aged(24), nothing, stream(1, "test")).any()
