"""From MR signal to a scan that is ready for deconvolution: early boluses, lost signal, motion."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.errors import NotAnalysable
from inference.perfusion import quality
from inference.perfusion.dsc import MOST_UNSETTLED, unsettled_frames
from inference.perfusion.measurements import without_core
from inference.perfusion.mr_analysis import analyse
from inference.perfusion.vessel_curves import VesselCurve
from inference.pipelines import RunContext
from inference.pipelines.pwi_perfusion import PwiPerfusionSettings
from inference.preprocess.morphology import erode
from inference.results import Measurement, PipelineResult
from tests.inference.perfusion.mr_phantom import SMALL, mr_scan
from tests.inference.perfusion.phantom import Scan, dice
from tests.inference.perfusion.test_quality import ARTERY, TISSUE


def result_of(case: Scan) -> PipelineResult:
    quiet = PwiPerfusionSettings(motion_correction=False)
    return analyse(case.series, quiet, RunContext("cpu", lambda stage, fraction: None))


@given(
    unsettled=st.integers(0, MOST_UNSETTLED),
    arrival=st.integers(4, 9),
    gain=st.floats(1e-2, 1e4),
)
def test_settling_is_told_from_an_early_bolus(unsettled: int, arrival: int, gain: float) -> None:
    signal = np.full((12, 50), gain, np.float32)
    signal[:unsettled] *= (1 + 0.4 * 0.3 ** np.arange(unsettled))[:, None].astype(np.float32)
    signal[arrival:] *= np.float32(0.8)
    assert unsettled_frames(signal) == unsettled


def test_a_short_baseline_is_enough() -> None:
    case = mr_scan(replace(SMALL, arrival_s=5.0))
    result = result_of(case)
    assert result.parameters["unsettled_frames"] == 0
    assert result.side == "L"
    assert dice(result.segmentations[0].mask, case.lesion) > 0.9


def test_edges_that_move_do_not_hide_the_bolus() -> None:
    """The rim of the brain brightens by more than contrast darkens the vessels."""
    case = mr_scan(SMALL)
    data = case.series.data.copy()
    rim = case.inside & ~erode(case.inside, 4.0, case.series.geometry.pixel_spacing_mm)
    drift = np.linspace(0.3, 1.6, len(data), dtype=np.float32)
    data[:, rim] *= drift[:, None]
    result = result_of(replace(case, series=replace(case.series, data=data)))
    assert result.side == "L"


def test_arteries_that_lose_their_signal_are_told() -> None:
    case = mr_scan(replace(SMALL, peak_hu=1500.0), noise=25.0)
    result = result_of(case)
    assert "uncertain" in {w.code for w in result.warnings}
    assert float(result.parameters["aif_saturated_share"]) > 0.5
    assert int(result.parameters["clipped_samples"]) > 0


@settings(deadline=None)
@given(share=st.floats(0, 1))
def test_saturation_is_warned_of_from_half_of_the_voxels_on(share: float) -> None:
    found = quality.check_saturation(share)
    assert (found is None) == (share < 0.5)


def test_an_input_without_area_is_refused() -> None:
    below = np.r_[np.zeros(8), np.full(2, 9.0), np.full(60, -1.0)]
    curve: VesselCurve = replace(ARTERY, curve=below, peak=9.0, tail=-1.0)
    with pytest.raises(NotAnalysable, match="area under the artery's curve is -42"):
        quality.check_start(curve, TISSUE)


def test_without_core_the_reason_stands_in_its_place() -> None:
    given_ = (
        Measurement("core_volume", "Core", 12.0, "mL"),
        Measurement("mismatch_ratio", "Mismatch ratio", 2.0, "1"),
        Measurement("rcbf_lt_20pct_volume", "rCBF < 20 %", 3.0, "mL"),
    )
    found = {m.name: m for m in without_core(given_, 0.3, "see ADC")}
    assert (found["core_volume"].value, found["core_volume"].reason) == (None, "see ADC")
    assert found["mismatch_ratio"].value is None
    assert found["rcbf_lt_30pct_volume"].value == 12.0
    again = without_core(given_, 0.2, "see ADC")
    assert [m.name for m in again] == [m.name for m in given_]
