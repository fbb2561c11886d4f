"""Traits of persons: same seed same person, cohorts that do not overlap, textbook dependences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.simulate.anatomy.person import (
    DEFORMATION_MM,
    SKULL_THICKNESS_MM,
    Cohort,
    draw_person,
)

seeds = st.integers(min_value=0, max_value=2**31)


@given(seeds, st.sampled_from(["usual", "shifted"]))
def test_a_seed_is_one_person_inside_the_ranges(seed: int, cohort: Cohort) -> None:
    person = draw_person(seed, cohort)
    assert person == draw_person(seed, cohort)
    assert 20 <= person.age_years <= 98
    assert 30 <= person.grey_hu <= 40
    assert 20 <= person.white_hu <= 35
    assert 0 <= person.csf_hu <= 10
    assert 30 <= person.blood_hu <= 56
    assert person.grey_hu - person.white_hu >= 5
    assert 0 <= person.atrophy <= 1
    assert 0 <= person.leukoaraiosis <= 0.25
    assert 1 <= person.subarachnoid_gap_mm <= 6
    assert all(0.75 < factor < 1.08 for factor in person.scale)
    low, high = SKULL_THICKNESS_MM[cohort]
    assert low <= person.skull_thickness_mm <= high
    low, high = DEFORMATION_MM[cohort]
    assert low <= person.deformation_mm <= high


@pytest.mark.parametrize("ranges", [SKULL_THICKNESS_MM, DEFORMATION_MM])
def test_cohorts_do_not_overlap(ranges: dict[Cohort, tuple[float, float]]) -> None:
    assert ranges["usual"][1] < ranges["shifted"][0]


def test_the_old_have_lost_brain_and_gained_calcium() -> None:
    persons = [draw_person(seed) for seed in range(600)]
    age = np.array([person.age_years for person in persons])
    old, young = age > 75, age < 60
    for trait in (
        "atrophy",
        "ventricle_growth_mm",
        "sulcal_width",
        "leukoaraiosis",
        "calcified_choroid",
        "old_lacunes",
    ):
        values = np.array([getattr(person, trait) for person in persons])
        assert values[old].mean() > values[young].mean() + 0.2 * values.std(), trait


def test_people_differ_in_size_sex_and_side() -> None:
    persons = [draw_person(seed) for seed in range(600)]
    size = {
        sex: np.mean([np.prod(person.scale) for person in persons if person.sex == sex])
        for sex in ("F", "M")
    }
    assert 1.04 < size["M"] / size["F"] < 1.2
    assert 0.4 < np.mean([person.sex == "F" for person in persons]) < 0.5
    assert 0.2 < np.mean([person.dominant_transverse_sinus == "L" for person in persons]) < 0.4
    assert 0.06 < np.mean([person.fetal_pca is not None for person in persons]) < 0.2
    assert 0.03 < np.mean([person.old_infarcts > 0 for person in persons]) < 0.2
    assert 0.5 < np.mean([person.calcified_pineal > 0 for person in persons]) < 0.8
