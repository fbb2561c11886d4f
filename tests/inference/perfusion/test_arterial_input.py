import dataclasses

import numpy as np
import pytest

from inference.errors import NotAnalysable
from inference.perfusion.arterial_input import (
    VesselCurve,
    describe_curve,
    find_vessels,
    partial_volume_factor,
    tissue_peak_time,
)
from inference.perfusion.concentration import arterial_arrival, measure_baseline
from inference.preprocess.frames import Frames, common_times, resample
from tests.inference.perfusion.phantom import (
    ARTERY,
    VEIN,
    Phantom,
    Scan,
    canon,
    cine,
    scan,
    shuttle,
    siemens,
)


def vessels(spec: Phantom) -> tuple[Scan, Frames, VesselCurve, VesselCurve | None]:
    case = scan(spec)
    frames = resample(case.series, common_times(case.series.times_s, 1.0, 120.0), 5.0)
    arrival = arterial_arrival(frames, case.inside, 4.0)
    baseline = measure_baseline(frames, case.inside, arrival.time_s)
    peak_s = tissue_peak_time(frames, case.brain)
    return case, frames, *find_vessels(frames, baseline, case.inside, peak_s)


TIMES = {"siemens": siemens(), "cine": cine(), "shuttle": shuttle(6), "canon": canon()}


@pytest.mark.parametrize("scanner", TIMES)
@pytest.mark.parametrize(("seed", "noise"), [(0, 4.0), (1, 8.0), (2, 12.0)])
def test_artery_and_vein_are_where_they_are(scanner: str, seed: int, noise: float) -> None:
    case, frames, artery, vein = vessels(
        Phantom(rows=96, pixel_mm=2.2, slices=6, seed=seed, noise_hu=noise, times_s=TIMES[scanner])
    )
    assert (case.labels[tuple(artery.voxels.T)] == ARTERY).mean() >= 0.9
    assert vein is not None
    assert (case.labels[tuple(vein.voxels.T)] == VEIN).mean() >= 0.9
    truth = np.interp(frames.times_s, case.fine_s, case.artery)
    assert np.corrcoef(truth, artery.curve)[0, 1] > 0.98
    assert artery.peak_hu == pytest.approx(truth.max(), rel=0.15)
    assert artery.peak_time_s < vein.peak_time_s
    assert partial_volume_factor(artery, vein) < 1.3


def test_no_artery_before_the_tissue_is_refused() -> None:
    case = scan(Phantom(rows=64, pixel_mm=3.6, slices=4, slice_mm=10))
    frames = resample(case.series, common_times(case.series.times_s, 1.0, 120.0), 5.0)
    baseline = measure_baseline(frames, case.inside, 8.0)
    with pytest.raises(NotAnalysable, match="no arterial input"):
        find_vessels(frames, baseline, case.inside & ~np.isin(case.labels, (ARTERY, VEIN)), 5.0)


def curve(peak: float, tail: float) -> VesselCurve:
    values = np.r_[np.zeros(5), np.linspace(0, peak, 5), np.full(5, tail)]
    geometry = scan(Phantom(rows=16, slices=2, noise_hu=0)).series.geometry
    return describe_curve(values, np.arange(15.0), np.array([[0, 1, 1], [0, 1, 2]]), geometry)


def test_partial_volume_only_where_the_vein_is_complete_and_plausible() -> None:
    artery, vein = curve(100, 0), curve(180, 0)
    assert partial_volume_factor(artery, vein) == pytest.approx(1.8)
    assert partial_volume_factor(vein, artery) == 1
    assert partial_volume_factor(artery, None) == 1
    assert partial_volume_factor(artery, curve(300, 0)) == 1
    assert partial_volume_factor(artery, curve(180, 90)) == 1


def test_description_of_a_curve() -> None:
    found = curve(100, 10)
    assert found.peak_hu == 100
    assert found.peak_time_s == 9
    assert found.tail_share == pytest.approx(0.1)
    assert found.width_s == pytest.approx(9 + 50 / 90 - 7, abs=0.01)
    np.testing.assert_allclose(found.position_mm[0] + 13.5, 1.5 * 1.8)
    assert np.isinf(curve(100, 80).width_s)
    assert dataclasses.replace(found, tail_hu=50).tail_share == 0.5
