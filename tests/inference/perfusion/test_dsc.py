import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.errors import NotAnalysable
from inference.perfusion.dsc import (
    Baseline,
    Relaxation,
    correct_leakage,
    find_baseline,
    relaxation_change,
)
from tests.inference.perfusion.phantom import bolus, tissue_curve

Array = npt.NDArray[np.float64]
TE_S = 0.03
STEP_S = 1.5
FRAMES = 50
TIMES = STEP_S * np.arange(float(FRAMES))


def relaxation_curves(
    random: np.random.Generator, arrival_s: float = 15.0, voxels: int = 400
) -> Array:
    """ΔR2* in 1/s of tissue and, last, of arteries; shape ``(time, voxel)``."""
    fine = np.arange(0, FRAMES * STEP_S, 0.1)
    artery = bolus(fine, arrival_s, 300.0)
    tissue = tissue_curve(artery, 0.1, 50.0, 4.0, 1.0)[:: round(STEP_S / 0.1)]
    curves = tissue[:, None] * random.uniform(0.4, 1.3, voxels)
    return np.hstack([curves, np.repeat(0.2 * artery[:: round(STEP_S / 0.1), None], 30, axis=1)])


def signal_of(
    curves: Array,
    random: np.random.Generator,
    noise: float = 0.01,
    unsettled: tuple[float, ...] = (),
) -> npt.NDArray[np.float32]:
    """Signal with Rician noise; ``unsettled`` are the gains of the first frames."""
    gain = np.ones(len(curves))
    gain[: len(unsettled)] = unsettled
    s0 = random.uniform(600, 1000, curves.shape[1])
    clean = s0 * np.exp(-TE_S * curves) * gain[:, None]
    real, imaginary = (noise * s0 * random.standard_normal(curves.shape) for _ in range(2))
    return np.hypot(clean + real, imaginary).astype(np.float32)


@given(
    unsettled=st.sampled_from([(), (1.4,), (1.4, 1.06), (1.3, 1.1, 1.03), (0.8,)]),
    arrival_s=st.floats(8.0, 30.0),
    noise=st.sampled_from([0.002, 0.01, 0.03]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_unsettled_frames_and_arrival_are_found(
    unsettled: tuple[float, ...], arrival_s: float, noise: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    curves = relaxation_curves(random, arrival_s)
    found = find_baseline(signal_of(curves, random, noise, unsettled))
    assert found.first == len(unsettled)
    first_of_bolus = arrival_s / STEP_S
    assert first_of_bolus - 1 <= found.end <= first_of_bolus + 3
    assert np.all(curves[found.end - 1, -30:] < 0.11 * curves[:, -30:].max())


def test_relaxation_is_what_the_signal_was_made_of() -> None:
    random = np.random.default_rng(1)
    curves = relaxation_curves(random)
    signal = signal_of(curves, random, noise=0.0, unsettled=(1.4, 1.05))
    found = relaxation_change(signal, TE_S, find_baseline(signal))
    np.testing.assert_allclose(found.curves, curves[2:], atol=0.02)
    assert found.clipped == found.without_signal == 0


def test_noise_of_the_baseline_has_the_size_that_theory_gives() -> None:
    """SD of ΔR2* = noise / (TE S0), for noise small against S0."""
    random = np.random.default_rng(2)
    signal = signal_of(relaxation_curves(random, 30.0), random, noise=0.01)
    found = relaxation_change(signal, TE_S, Baseline(0, 18))
    assert found.curves[:18].std(ddof=1) == pytest.approx(0.01 / TE_S, rel=0.05)


def test_signals_that_have_no_logarithm_are_clipped_and_counted() -> None:
    signal = np.full((10, 4), 100, np.float32)
    signal[6:, 0] = 20
    signal[7, 1], signal[8, 1], signal[9, 1] = 0, -5, 0.5
    signal[:, 2] = 0
    signal[:, 3] = -3
    found = relaxation_change(signal, TE_S, Baseline(0, 5))
    assert (found.clipped, found.without_signal) == (3, 2)
    np.testing.assert_allclose(found.curves[7:, 1], np.log(100) / TE_S, rtol=1e-6)
    np.testing.assert_allclose(found.curves[6:, 0], np.log(5) / TE_S, rtol=1e-6)
    assert not found.curves[:, 2:].any()
    assert np.isfinite(found.curves).all()


def leaking(
    share: float, per_s: float, noise: float, seed: int = 0
) -> tuple[Relaxation, Array, Array]:
    """Curves of which a share leaks by ``per_s`` of their own area; with truth and leak."""
    random = np.random.default_rng(seed)
    clean = relaxation_curves(random)[:, :-30]
    mean = clean.mean(axis=1, keepdims=True)
    k2 = np.where(np.arange(clean.shape[1]) < share * clean.shape[1], per_s, 0.0)
    leak = k2 * np.cumsum(mean, axis=0) * STEP_S
    curves = clean - leak + noise * random.standard_normal(clean.shape)
    s0 = np.full(clean.shape[1], 800, np.float32)
    return Relaxation(curves.astype(np.float32), s0, Baseline(0, 9), 0, 0), clean, k2


@pytest.mark.parametrize("per_s", [0.02, 0.005, -0.005, -0.02])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_leakage_of_both_signs_is_found_and_taken_out(per_s: float, noise: float) -> None:
    relaxation, clean, k2 = leaking(0.15, per_s, noise)
    found = correct_leakage(relaxation, STEP_S)
    leaks = k2 != 0
    assert float(np.mean(found.k2[leaks])) == pytest.approx(per_s, rel=0.1, abs=2e-4)
    assert abs(float(np.mean(found.k2[~leaks]))) < 0.1 * abs(per_s)
    before = relaxation.curves.sum(axis=0)[leaks].mean() / clean.sum(axis=0)[leaks].mean()
    after = found.curves.sum(axis=0)[leaks].mean() / clean.sum(axis=0)[leaks].mean()
    assert np.sign(1 - before) == np.sign(per_s)
    assert abs(1 - after) < 0.03
    assert abs(1 - before) > 5 * abs(1 - after)


@given(share=st.floats(0, 0.25), per_s=st.floats(-0.03, 0.03), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_blood_volume_follows_from_k1(share: float, per_s: float, seed: int) -> None:
    relaxation, clean, _ = leaking(share, per_s, 0.0, seed)
    found = correct_leakage(relaxation, STEP_S)
    truth = clean.sum(axis=0) / found.reference.sum()
    np.testing.assert_allclose(found.k1, truth, rtol=0.05, atol=0.02)
    np.testing.assert_allclose(found.curves.sum(axis=0), clean.sum(axis=0), rtol=0.1)


def test_a_series_without_bolus_is_not_analysable() -> None:
    random = np.random.default_rng(3)
    signal = signal_of(np.zeros((FRAMES, 300)), random)
    with pytest.raises(NotAnalysable, match="no contrast bolus"):
        find_baseline(signal)


@pytest.mark.parametrize("missing", range(6, 11))
def test_a_bolus_from_the_start_leaves_no_baseline(missing: int) -> None:
    random = np.random.default_rng(4)
    curves = relaxation_curves(random, arrival_s=10.5)[missing:]
    with pytest.raises(NotAnalysable, match="without a baseline"):
        find_baseline(signal_of(curves, random))


def test_too_few_frames() -> None:
    with pytest.raises(NotAnalysable, match="expected at least 8"):
        find_baseline(np.ones((7, 5), np.float32))


def test_echo_times_in_milliseconds_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1 s"):
        relaxation_change(np.ones((10, 1), np.float32), 30.0, Baseline(0, 3))


@pytest.mark.parametrize(("level", "words"), [(-1.0, "without leakage"), (0.0, "no contrast")])
def test_nothing_to_compare_leakage_with(level: float, words: str) -> None:
    curves = np.zeros((30, 20), np.float32)
    curves[10:] = level
    relaxation = Relaxation(curves, np.ones(20, np.float32), Baseline(0, 8), 0, 0)
    with pytest.raises(ValueError, match=words):
        correct_leakage(relaxation, STEP_S)
