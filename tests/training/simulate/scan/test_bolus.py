import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.simulate.arrays import FloatArray
from training.simulate.scan.bolus import BEYOND_S, Bolus, draw_bolus

SEEDS = st.integers(0, 10**6)


def width_s(bolus: Bolus) -> float:
    (above,) = np.nonzero(bolus.arterial >= 0.5)
    return float(above[-1] - above[0]) * bolus.step_s


def later_s(bolus: Bolus) -> float:
    return float(bolus.venous.argmax() - bolus.arterial.argmax()) * bolus.step_s


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_a_usual_bolus_lies_in_the_published_ranges(seed: int) -> None:
    bolus = draw_bolus(seed, 60)
    assert bolus.arterial.max() == 1
    assert 3.9 <= width_s(bolus) <= 10.6
    assert 200 <= bolus.peak_hu <= 450
    assert 4 <= bolus.arrival_s <= 14
    assert np.all(bolus.arterial[bolus.times_s <= bolus.arrival_s] == 0)
    assert 0.58 <= bolus.venous.max() <= 0.82
    assert 3.9 <= later_s(bolus) <= 6.1
    assert np.all(bolus.venous >= 0)


def test_the_median_width_and_peak_are_those_of_patients() -> None:
    boluses = [draw_bolus(seed, 60) for seed in range(120)]
    assert 5.5 <= np.median([width_s(bolus) for bolus in boluses]) <= 7
    assert 290 <= np.median([bolus.peak_hu for bolus in boluses]) <= 360


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_the_vein_conserves_the_area_of_the_artery(seed: int) -> None:
    bolus = draw_bolus(seed, 1500)
    assert bolus.venous.sum() == pytest.approx(bolus.arterial.sum(), rel=0.01)


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_the_first_pass_comes_back_and_leaves_a_slow_tail(seed: int) -> None:
    bolus = draw_bolus(seed, 90)
    peak_s = bolus.times_s[bolus.arterial.argmax()]

    def level(after_s: float) -> float:
        return float(np.interp(peak_s + after_s, bolus.times_s, bolus.arterial))

    assert 0.05 < level(11) < 0.5
    assert 0.005 < level(55) < 0.1
    assert level(65) < level(50)


def test_faults_and_modality_change_the_bolus_as_they_do_in_life() -> None:
    def median(values: list[float]) -> float:
        return float(np.median(values))

    usual = [draw_bolus(seed, 60) for seed in range(60)]
    late = [draw_bolus(seed, 60, late=True) for seed in range(60)]
    weak = [draw_bolus(seed, 60, weak=True) for seed in range(60)]
    mr = [draw_bolus(seed, 60, modality="mr") for seed in range(60)]
    assert all(bolus.peak_hu < 100 for bolus in weak)
    assert all(bolus.arrival_s >= 12 for bolus in late)
    assert median([width_s(b) for b in late]) > 1.5 * median([width_s(b) for b in usual])
    assert median([b.peak_hu for b in late]) < 0.8 * median([b.peak_hu for b in usual])
    assert median([width_s(b) for b in mr]) < 0.95 * median([width_s(b) for b in usual])


def test_the_shifted_cohort_has_boluses_of_its_own() -> None:
    usual = [draw_bolus(seed, 60) for seed in range(60)]
    shifted = [draw_bolus(seed, 60, cohort="shifted") for seed in range(60)]
    assert min(bolus.peak_hu for bolus in shifted) < 200
    assert np.median([width_s(b) for b in shifted]) > np.median([width_s(b) for b in usual]) + 0.7


def test_one_seed_gives_one_bolus_that_outlasts_the_scan() -> None:
    first, again, other = draw_bolus(5, 45), draw_bolus(5, 45), draw_bolus(6, 45)
    assert first.arterial.tobytes() == again.arterial.tobytes()
    assert first.venous.tobytes() == again.venous.tobytes()
    assert first.peak_hu == again.peak_hu != other.peak_hu
    longer = draw_bolus(5, 80)
    curve: FloatArray = longer.arterial[: len(first.arterial)]
    np.testing.assert_allclose(curve, first.arterial, atol=1e-12)
    assert first.times_s[-1] == pytest.approx(45 + BEYOND_S, abs=0.1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), late=st.booleans(), cut=st.floats(0.0, 30.0))
def test_the_bolus_does_not_depend_on_how_long_the_scan_is(
    seed: int, late: bool, cut: float
) -> None:
    whole, short = (draw_bolus(seed, seconds, late=late) for seconds in (90.0, cut))
    count = len(short.arterial)
    assert np.isfinite(short.arterial).all()
    assert np.isfinite(short.venous).all()
    np.testing.assert_allclose(short.arterial, whole.arterial[:count], atol=1e-6)
    np.testing.assert_allclose(short.venous, whole.venous[:count], atol=0.02)
    assert whole.arterial.max() == pytest.approx(1)
