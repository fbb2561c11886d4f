import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from training.simulate.arrays import Float32Array
from training.simulate.pathology.residue import PeakTable, Residue, draw_residues

SEEDS = st.integers(0, 10**6)


def one(value: float) -> Float32Array:
    return np.array([value], dtype=np.float32)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_residues_start_at_one_never_rise_and_have_the_mean_transit_time(seed: int) -> None:
    u = np.linspace(0, 40, 40001)
    for residue in draw_residues(np.random.default_rng(seed)):
        values = residue.at(u)
        assert values[0] == pytest.approx(1, abs=1e-12)
        assert np.all(np.diff(values) <= 1e-12)
        assert residue.integral(np.array([200.0]))[0] == pytest.approx(1, abs=1e-9)
        assert np.trapezoid(values, u) == pytest.approx(1, abs=2e-3)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.floats(0.02, 1.6), st.floats(0, 1), st.floats(3, 15))
def test_peaks_agree_with_direct_convolution(
    seed: int, ratio: float, kind: float, mtt_s: float
) -> None:
    first, second = draw_residues(np.random.default_rng(seed))
    step = 0.001 * mtt_s
    time = np.asarray(np.arange(6000) * step, dtype=np.float64)
    residue = (1 - kind) * first.at(time / mtt_s) + kind * second.at(time / mtt_s)
    keep = np.exp(-step / (ratio * mtt_s))
    response = signal.lfilter([1 - keep], [1, -keep], residue)
    when, height = PeakTable(first, second).look_up(one(ratio), one(kind))
    assert when[0] * mtt_s == pytest.approx(time[response.argmax()], abs=0.05)
    assert height[0] == pytest.approx(response.max(), abs=0.03)


@pytest.mark.parametrize("ratio", [0.1, 0.4, 0.8, 1.5])
def test_the_peak_of_an_exponential_is_known(ratio: float) -> None:
    exponential = Residue(1, 0, 0, 1)
    when, height = PeakTable(exponential, exponential).look_up(one(ratio), one(0.3))
    expected = np.log(1 / ratio) * ratio / (1 - ratio)
    assert when[0] == pytest.approx(expected, abs=0.003)
    assert height[0] == pytest.approx(np.exp(-expected), abs=0.003)


def test_without_dispersion_the_peak_is_at_arrival() -> None:
    table = PeakTable(*draw_residues(np.random.default_rng(1)))
    when, height = table.look_up(one(0), one(0.5))
    assert (when[0], height[0]) == (0, 1)


@pytest.mark.parametrize("values", [(0.5, 0.6, 0.1, 2), (-0.1, 0.1, 1, 2), (1, 0, 0, 0.5)])
def test_impossible_mixtures_are_refused(values: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        Residue(*values)
