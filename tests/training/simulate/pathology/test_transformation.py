"""Risk of hemorrhagic transformation over a population, and where it bleeds."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.training.simulate.mr_patient import healthy_patient, stroke_patient
from training.simulate.arrays import BoolArray, FloatArray, stream
from training.simulate.pathology import transformation
from training.simulate.pathology.patient import Patient
from training.simulate.pathology.transformation import (
    Predictors,
    Transformation,
    TransformationKind,
    draw_circumstances,
    draw_outcome,
    draw_transformation,
    leakage_percent,
    measure,
    risk,
    very_low_cbv,
)
from training.simulate.space import HEAD_SHAPE

VOLUMES = ("long_tmax_ml", "core_ml", "low_cbv_ml")
TYPICAL = Predictors(2.0, 15.0, 10.0, 18.0, True, 7.0, 68.0)


def draw_predictors(rng: np.random.Generator) -> Predictors:
    """A patient of the simulator in numbers: distributions fitted to 100 of its strokes."""
    low_flow = min(float(np.exp(rng.normal(4.0, 1.14))), 260.0)
    core = 0.0 if rng.random() < 0.21 else low_flow * rng.beta(0.89, 0.65)
    low_cbv = core * rng.beta(5.5, 1.6)
    long_tmax, leakage = 0.0, 6.6
    if rng.random() < (0.43 if core else 0.14):
        long_tmax = low_flow * min(float(np.exp(rng.normal(-3.9, 1.9))), 0.6)
    if core:
        leakage = np.clip(15.1 + 2.7 * np.log1p(core / 3) + rng.normal(0, 5.0), 7, 35)
    age = float(np.clip(rng.normal(68, 13), 20, 98))
    return Predictors(long_tmax, core, low_cbv, float(leakage), *draw_circumstances(rng), age)


@lru_cache(maxsize=1)
def population() -> tuple[tuple[Predictors, ...], tuple[TransformationKind | None, ...]]:
    rng = stream(1, "population")
    patients = tuple(draw_predictors(rng) for _ in range(4000))
    return patients, tuple(draw_outcome(patient, rng)[1] for patient in patients)


def column(name: str) -> FloatArray:
    return np.array([float(getattr(patient, name)) for patient in population()[0]])


def bled() -> BoolArray:
    return np.array([kind is not None for kind in population()[1]])


def auc(values: FloatArray, positive: BoolArray) -> float:
    ranks = stats.rankdata(values)
    count = int(positive.sum())
    pairs = count * (len(values) - count)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / pairs)


def test_the_population_is_that_of_the_simulator() -> None:
    # measured on 100 simulated strokes; within two standard errors of that measurement
    measured = {
        "core_ml": (42.0, 52.5), "low_cbv_ml": (35.7, 47.7), "long_tmax_ml": (3.5, 12.2),
        "leakage_percent": (18.4, 8.1),
    }  # fmt: skip
    for name, (mean, spread) in measured.items():
        assert column(name).mean() == pytest.approx(mean, abs=2 * spread / np.sqrt(100)), name
    assert column("leakage_percent").std() == pytest.approx(8.1, abs=1.2)
    assert np.mean(column("long_tmax_ml") == 0) == pytest.approx(0.63, abs=0.1)
    size = np.log1p(column("core_ml") / 3)
    assert np.corrcoef(size, column("leakage_percent"))[0, 1] == pytest.approx(0.77, abs=0.08)


def test_prevalence_is_the_published_one() -> None:
    assert 0.16 < bled().mean() < 0.31
    in_small_groups = bled().reshape(20, 200).mean(1)
    assert np.all((in_small_groups > 0.12) & (in_small_groups < 0.36))


@pytest.mark.parametrize("name", [*VOLUMES, "leakage_percent"])
def test_each_predictor_tells_something_and_none_all(name: str) -> None:
    assert 0.63 < auc(column(name), bled()) < 0.8


@pytest.mark.parametrize("name", ["reperfused", "glucose_mmol", "age_years"])
def test_nuisance_tells_little(name: str) -> None:
    assert 0.5 < auc(column(name), bled()) < 0.63


def test_even_the_true_risk_does_not_tell_for_sure() -> None:
    risks = np.array([risk(patient) for patient in population()[0]])
    assert 0.73 < auc(risks, bled()) < 0.87


def test_leakage_of_those_that_bleed() -> None:
    # published: none 17 ± 9 %, parenchymal hematoma 25 ± 4.5 %
    leakage = column("leakage_percent")
    hematoma = np.array(
        [kind in (TransformationKind.PH1, TransformationKind.PH2) for kind in population()[1]]
    )
    assert leakage[~bled()].mean() == pytest.approx(17, abs=2)
    assert leakage[~bled()].std() == pytest.approx(9, abs=2.5)
    assert leakage[hematoma].mean() == pytest.approx(25, abs=2.5)
    assert leakage[hematoma].std() == pytest.approx(4.5, abs=2)


def test_classes_overlap() -> None:
    core, leakage = column("core_ml"), column("leakage_percent")
    threatening = (core > 50) & (leakage > 25)
    harmless = (core < 10) & (leakage < 17)
    assert np.sum(threatening & ~bled()) > 20
    assert np.sum(harmless & bled()) > 20


def test_kinds() -> None:
    kinds = [kind for kind in population()[1] if kind is not None]
    share = {kind: kinds.count(kind) / len(kinds) for kind in TransformationKind}
    assert min(share.values()) > 0.08
    assert 0.2 < share[TransformationKind.PH1] + share[TransformationKind.PH2] < 0.5


@given(
    st.sampled_from([*VOLUMES, "leakage_percent", "glucose_mmol", "age_years"]),
    st.floats(0.1, 80),
)
def test_risk_grows_with_each_predictor(name: str, more: float) -> None:
    worse = replace(TYPICAL, **{name: getattr(TYPICAL, name) + more})
    assert 0 < risk(TYPICAL) < risk(worse) < 1


def test_reperfusion_adds_to_the_risk() -> None:
    assert risk(replace(TYPICAL, reperfused=False)) < risk(TYPICAL)


def test_predictors_are_those_of_the_maps() -> None:
    patient = stroke_patient()
    maps = patient.perfusion
    numbers = measure(patient, True, 7.0)
    assert numbers.core_ml == pytest.approx(maps.core.sum() / 1000)
    assert numbers.long_tmax_ml == pytest.approx(
        np.sum(maps.hypoperfused & (maps.tmax_s > 14)) / 1000
    )
    low = very_low_cbv(patient)
    assert not np.any(low & ~maps.hypoperfused)
    assert maps.cbv[low].mean() < 0.5 * np.median(maps.cbv[~maps.hypoperfused & (maps.cbv > 0)])
    percent = leakage_percent(maps)
    assert numbers.leakage_percent == pytest.approx(percent[maps.core].mean(), rel=1e-4)
    assert not percent[(maps.tmax_s < 4) & (maps.leakage == 0)].any()
    assert percent[maps.core & (maps.tmax_s > 8)].min() >= 7
    assert percent.max() <= 35.5


@lru_cache(maxsize=8)
def with_kind(kind: TransformationKind) -> Transformation:
    for seed in range(400):
        numbers = measure_once()
        _, fate = draw_outcome(replace_circumstances(numbers, seed), outcome_stream(seed))
        if fate is kind:
            return draw_transformation(stroke_patient(), seed)
    raise AssertionError(f"no seed gives {kind}")


@lru_cache(maxsize=1)
def measure_once() -> Predictors:
    return measure(stroke_patient(), False, 7.0)


def replace_circumstances(numbers: Predictors, seed: int) -> Predictors:
    reperfused, glucose = draw_circumstances(stream(seed, "transformation"))
    return replace(numbers, reperfused=reperfused, glucose_mmol=glucose)


def outcome_stream(seed: int) -> np.random.Generator:
    rng = stream(seed, "transformation")
    draw_circumstances(rng)
    return rng


@pytest.mark.parametrize("kind", list(TransformationKind))
def test_blood_lies_in_and_around_the_infarct(kind: TransformationKind) -> None:
    patient, outcome = stroke_patient(), with_kind(kind)
    assert outcome.present
    assert outcome.kind is kind
    mask = outcome.mask
    assert mask.shape == HEAD_SHAPE
    assert mask.dtype == np.float32
    assert outcome.volume_ml == pytest.approx(mask.sum(dtype=np.float64) / 1000)
    assert mask.max() <= 1
    assert np.array_equal(mask, np.rint(mask * np.float32(255)) / np.float32(255))
    anatomy, maps = patient.head.anatomy, patient.perfusion
    assert np.all(mask <= anatomy.grey + anatomy.white + 1 / 255)
    prone = maps.core | very_low_cbv(patient)
    inside = float(mask[prone].sum() / mask.sum())
    infarct_ml = prone.sum() / 1000
    assert inside > (0.7 if kind is TransformationKind.PH2 else 0.88)
    assert np.sum(prone & (mask == 0)) > 0.2 * prone.sum()
    bounds = {
        TransformationKind.HI1: (0.0, 0.12),
        TransformationKind.HI2: (0.04, 0.35),
        TransformationKind.PH1: (0.03, 0.4),
        TransformationKind.PH2: (0.25, 0.8),
    }
    least, most = bounds[kind]
    assert least < outcome.volume_ml / infarct_ml < most


def test_petechiae_are_scattered_and_hematomas_confluent() -> None:
    from scipy import ndimage

    largest = {}
    for kind in (TransformationKind.HI1, TransformationKind.PH2):
        labels, count = ndimage.label(with_kind(kind).mask > 0.5)
        sizes = np.bincount(labels.ravel())[1:]
        largest[kind] = sizes.max() / sizes.sum()
        assert count >= (4 if kind is TransformationKind.HI1 else 1)
    assert largest[TransformationKind.HI1] < 0.5 < largest[TransformationKind.PH2]


def test_blood_prefers_leaking_tissue() -> None:
    patient = stroke_patient()
    percent = leakage_percent(patient.perfusion)
    prone = patient.perfusion.core | very_low_cbv(patient)
    mask = with_kind(TransformationKind.HI1).mask
    where = np.average(percent[prone], weights=mask[prone])
    assert where > percent[prone].mean()


def test_the_same_seed_gives_the_same() -> None:
    patient = stroke_patient()
    seed = next(
        seed for seed in range(400)
        if draw_outcome(replace_circumstances(measure_once(), seed), outcome_stream(seed))[1]
    )  # fmt: skip
    first, second = (draw_transformation(patient, seed) for _ in range(2))
    assert first.mask.tobytes() == second.mask.tobytes()
    assert first.predictors == second.predictors
    assert first.probability == second.probability


def test_without_a_stroke_nothing_bleeds() -> None:
    outcome = draw_transformation(healthy_patient(), 1)
    assert (outcome.probability, outcome.present, outcome.kind) == (0.0, False, None)
    assert not outcome.mask.any()
    assert outcome.predictors == {}


def test_a_stroke_that_starves_nothing_does_not_bleed(monkeypatch: pytest.MonkeyPatch) -> None:
    patient = stroke_patient()
    assert patient.stroke is not None
    nothing = np.zeros(HEAD_SHAPE, dtype=np.float32)
    mild = replace(patient.stroke, hypoperfusion=nothing, core_weight=nothing)
    chance = (0.9, TransformationKind.PH1)
    monkeypatch.setattr(transformation, "draw_outcome", lambda *_: chance)
    outcome = draw_transformation(Patient(patient.case, patient.head, mild, None), 1)
    assert (outcome.probability, outcome.present, outcome.kind) == (0.9, False, None)
    assert not outcome.mask.any()


def test_without_transformation_the_mask_is_empty() -> None:
    seed = next(
        seed for seed in range(100)
        if not draw_outcome(replace_circumstances(measure_once(), seed), outcome_stream(seed))[1]
    )  # fmt: skip
    outcome = draw_transformation(stroke_patient(), seed)
    assert not outcome.present
    assert outcome.volume_ml == 0
    assert not outcome.mask.any()
    assert set(outcome.predictors) == set(Predictors.__dataclass_fields__)
