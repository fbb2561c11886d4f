"""Measuring simulated patients: the summary, and one patient for real."""

import math

import numpy as np
import pytest

from training.simulate.measure import EXPECTED, Measured, measure_patient, summarise

PER_PATIENT = {"CTP noise at 5 mm", "NCCT noise at 5 mm", "artery, true peak", "ICH volume"}


@pytest.fixture(scope="module")
def found() -> Measured:
    return measure_patient(3)


def test_expectations_are_ranges_with_names_of_their_own() -> None:
    assert len({expectation.name for expectation in EXPECTED}) == len(EXPECTED)
    assert all(expectation.low < expectation.high for expectation in EXPECTED)


def test_a_patient_is_measured_on_images_masks_and_curves(found: Measured) -> None:
    names = {expectation.name for expectation in EXPECTED}
    assert set(found) <= names
    assert set(found) >= PER_PATIENT
    assert all(math.isfinite(value) for values in found.values() for value in values)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("NCCT grey matter", 28, 42),
        ("NCCT white matter", 20, 34),
        ("NCCT skull", 400, 1600),
        ("NCCT air", -1024, -980),
        ("NCCT noise spectrum, r to kernel", 0.85, 1),
        ("NCCT noise, 0.5 mm over 5 mm", 2, 3.5),
        ("CTP noise at 5 mm", 4, 9),
        ("vein after artery", 3, 7),
    ],
)
def test_a_single_patient_lies_near_the_ranges(
    found: Measured, name: str, low: float, high: float
) -> None:
    assert low <= float(np.mean(found[name])) <= high


def test_the_summary_judges_each_statistic() -> None:
    results = {
        result.expectation.name: result
        for result in summarise(
            {
                "NCCT grey matter": [31.0, 35.0, 90.0],
                "NCCT fat": [0.0],
                "ICH volume, spread of logarithm": [1.0, math.e, math.e**2],
                "patients without stroke": [0.0, 0.0, 0.0, 1.0],
            }
        )
    }
    grey = results["NCCT grey matter"]
    assert (grey.value, grey.count, grey.inside) == (35.0, 3, True)
    assert not results["NCCT fat"].inside
    assert results["ICH volume, spread of logarithm"].value == pytest.approx(1.0)
    assert results["patients without stroke"].value == 0.25


def test_what_nothing_was_found_of_is_outside() -> None:
    results = summarise({})
    assert len(results) == len(EXPECTED)
    assert not any(result.inside for result in results)
