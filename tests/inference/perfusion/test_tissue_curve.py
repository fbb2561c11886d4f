import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.errors import NotAnalysable
from inference.perfusion.tissue_curve import ARTERIAL_LEAD_S, measure_tissue
from inference.preprocess.frames import Frames
from tests.inference.perfusion.phantom import Phantom, bolus, geometry, tissue_curve

TIMES = np.arange(50.0)
WHERE = geometry(Phantom(rows=24, slices=4))
EVERYWHERE = np.ones(WHERE.shape, bool)


def frames(arrival_s: float, peak_hu: float, noise_hu: float = 1.5, seed: int = 0) -> Frames:
    fine = np.arange(0, 50, 0.1)
    curve = tissue_curve(bolus(fine, arrival_s, peak_hu), 0.1, 40.0, 5.0, 1.0)[::10]
    generator = np.random.default_rng(seed)
    data = 30 + curve[:, None, None, None] + generator.normal(0, noise_hu, (50, *WHERE.shape))
    return Frames(data.astype(np.float32), TIMES, WHERE, np.arange(50))


@given(arrival_s=st.floats(5, 25), peak_hu=st.floats(150, 450), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_timing_and_height_follow_the_bolus(arrival_s: float, peak_hu: float, seed: int) -> None:
    found = measure_tissue(frames(arrival_s, peak_hu, seed=seed), EVERYWHERE)
    truth = measure_tissue(frames(arrival_s, peak_hu, 0.0), EVERYWHERE)
    assert found.arrival_s == pytest.approx(truth.arrival_s, abs=1.0)
    assert found.peak_time_s == pytest.approx(truth.peak_time_s, abs=3)
    assert found.peak == pytest.approx(truth.peak, rel=0.15)
    end = np.array([found.baseline_end_s])
    assert bolus(end, arrival_s, peak_hu)[0] < 0.02 * peak_hu
    assert found.baseline_end_s < found.earliest_artery_s == found.arrival_s - ARTERIAL_LEAD_S
    assert 0 <= truth.tail_share < 1


def test_a_fifth_of_the_voxels_may_be_edges_that_move() -> None:
    still = frames(10, 300)
    moving = frames(10, 300)
    moving.data[20:, :, :5] += 400
    moving.data[35:, :, :5] -= 900
    there, here = (measure_tissue(f, EVERYWHERE) for f in (moving, still))
    assert there.arrival_s == pytest.approx(here.arrival_s, abs=0.3)
    assert there.peak_time_s == pytest.approx(here.peak_time_s, abs=2)
    plain = moving.data.mean(axis=(1, 2, 3))
    assert abs(float(plain[-1] - plain[0])) > 80
    assert abs(float(there.curve[-1])) < 3


def test_no_contrast_or_no_baseline_is_refused() -> None:
    with pytest.raises(NotAnalysable, match="no contrast bolus"):
        measure_tissue(frames(10, 5), EVERYWHERE)
    late = frames(10, 300, 0.5)
    with pytest.raises(NotAnalysable, match="already there in the first frame"):
        measure_tissue(Frames(late.data[16:], TIMES[16:], WHERE, np.arange(34)), EVERYWHERE)
