import numpy as np
import pytest

from training.simulate.pathology.bleeds import LARGEST_ML, SMALLEST_ML, Bleed, Place, draw_bleed
from training.simulate.pathology.head import BloodKind

DEEP = (Place.PUTAMEN, Place.THALAMUS, Place.CAUDATE)


@pytest.fixture(scope="module")
def bleeds() -> list[Bleed]:
    return [draw_bleed(seed) for seed in range(2000)]


def test_volumes_are_lognormal_about_15_ml_with_many_small_ones(bleeds: list[Bleed]) -> None:
    volumes = np.array([sum(bleed.volumes_ml.values()) for bleed in bleeds])
    assert np.median(volumes) == pytest.approx(15, abs=2)
    assert np.log(volumes).std() == pytest.approx(1.1, abs=0.1)
    assert 0.03 < np.mean(volumes < 2) < 0.1
    assert SMALLEST_ML <= volumes.min() < 0.5
    assert volumes.max() <= LARGEST_ML


def test_parenchymal_bleeds_are_most_common_and_mostly_deep(bleeds: list[Bleed]) -> None:
    first = [bleed.parts[0] for bleed in bleeds]
    counts = {kind: sum(part.kind == kind for part in first) for kind in BloodKind}
    assert max(counts, key=lambda kind: counts[kind]) == BloodKind.INTRAPARENCHYMAL
    assert all(count > 5 for count in counts.values())
    spontaneous = [
        part.place
        for part in first
        if part.kind == BloodKind.INTRAPARENCHYMAL and part.place != Place.CONTUSION
    ]
    assert 0.58 < np.mean([place in DEEP for place in spontaneous]) < 0.75


def test_half_of_the_deep_bleeds_reach_the_ventricles(bleeds: list[Bleed]) -> None:
    deep = [bleed for bleed in bleeds if bleed.parts[0].place in DEEP]
    reached = [BloodKind.INTRAVENTRICULAR in bleed.kinds for bleed in deep]
    assert 0.4 < np.mean(reached) < 0.6


def test_thalamic_bleeds_have_13_ml() -> None:
    drawn = [draw_bleed(seed, BloodKind.INTRAPARENCHYMAL) for seed in range(1500)]
    volumes = [
        bleed.parts[0].volume_ml for bleed in drawn if bleed.parts[0].place == Place.THALAMUS
    ]
    assert np.mean(volumes) == pytest.approx(12.5, abs=2)
    assert np.std(volumes) == pytest.approx(9.0, abs=2.5)


@pytest.mark.parametrize("kind", list(BloodKind))
def test_one_kind_alone_when_asked_for(kind: BloodKind) -> None:
    for seed in range(20):
        assert draw_bleed(seed, kind).kinds == (kind,)


def test_mixed_has_two_kinds_at_least_with_blood_in_each() -> None:
    for seed in range(60):
        bleed = draw_bleed(seed, "mixed")
        assert len(bleed.kinds) >= 2
        assert all(part.volume_ml > 0.05 for part in bleed.parts)


def test_same_seed_same_bleed_and_other_seed_another() -> None:
    assert draw_bleed(5) == draw_bleed(5)
    assert len({draw_bleed(seed).parts[0].volume_ml for seed in range(30)}) == 30


def test_only_subdural_blood_gets_months_old_and_shifted_bleeds_are_older() -> None:
    old = [b for b in (draw_bleed(seed) for seed in range(2000)) if b.age_h > 480]
    assert old
    assert {bleed.parts[0].kind for bleed in old} == {BloodKind.SUBDURAL}
    usual, shifted = (
        np.mean([draw_bleed(seed, None, cohort).age_h > 72 for seed in range(600)])
        for cohort in ("usual", "shifted")
    )
    assert shifted > usual
