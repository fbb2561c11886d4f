"""DSC-MR perfusion on a synthetic head: lesions, sides, refusals, and what is not claimed."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from inference.dicom.volumes import TimeSeries
from inference.errors import NotAnalysable
from inference.kinds import SeriesKind
from inference.pipelines import RunContext, all_pipelines
from inference.pipelines.pwi_perfusion import NAME, VERSION, PwiPerfusionSettings, run
from inference.results import PipelineResult
from tests.inference.perfusion.mr_phantom import SMALL, mr_scan
from tests.inference.perfusion.phantom import Scan, dice

Case = tuple[Scan, PipelineResult]


def analyse(series: TimeSeries, **settings: Any) -> PipelineResult:
    context = RunContext("cpu", lambda stage, fraction: None)
    return run(series, PwiPerfusionSettings(**settings), context)


@pytest.fixture(scope="module")
def left() -> Case:
    case = mr_scan(SMALL)
    return case, analyse(case.series)


def value(result: PipelineResult, name: str) -> float | None:
    return {m.name: m.value for m in result.measurements}[name]


def test_it_is_registered_and_loads_no_torch() -> None:
    found = all_pipelines()[NAME]
    assert (found.version, found.accepts) == (VERSION, SeriesKind.PWI)
    assert found.settings is PwiPerfusionSettings
    code = "import sys, inference.pipelines.pwi_perfusion; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_the_lesion_is_found(left: Case) -> None:
    case, result = left
    assert (result.pipeline, result.version, result.status) == (NAME, VERSION, "ok")
    (region,) = result.segmentations
    assert (region.name, region.algorithm) == ("hypoperfused", "Tmax > 6 s, or rCBF < 20 %")
    assert dice(region.mask, case.lesion) > 0.95
    assert value(result, "hypoperfused_volume") == pytest.approx(region.volume_ml)
    assert result.side == "L"
    assert result.warnings == ()
    inside = np.isfinite(result.maps[0].data)
    assert [m.quantity.name for m in result.maps] == ["cbf", "cbv", "mtt", "tmax", "ttp"]
    assert dice(inside, case.brain) > 0.95
    (baseline,) = result.images
    assert (baseline.name, baseline.units) == ("baseline", "a.u.")


def test_no_core_is_claimed(left: Case) -> None:
    _, result = left
    for name in ("core_volume", "mismatch_volume", "mismatch_ratio"):
        (measurement,) = (m for m in result.measurements if m.name == name)
        assert measurement.value is None
        assert "not measured on PWI" in measurement.reason
    assert {c.name: c.met for c in result.criteria} == {"defuse_3": None, "extend": None}
    low = value(result, "rcbf_lt_34pct_volume")
    assert low is not None
    assert low > 1


def test_how_it_was_made_is_recorded(left: Case) -> None:
    _, result = left
    wanted = {
        "echo_time_ms": 30.0, "unsettled_frames": 0, "clipped_samples": 0,
        "partial_volume_factor": 1.0, "aif_saturated_share": 0.0, "normal_cbf": 40.0,
    }  # fmt: skip
    assert wanted.items() <= result.parameters.items()
    assert float(result.parameters["aif_peak_per_s"]) == pytest.approx(25.0, rel=0.1)
    assert {c.unit for c in result.curves if c.name in ("aif", "vof", "tissue")} == {"1/s"}


def test_normal_flow_is_what_the_settings_say(left: Case) -> None:
    case, result = left
    again = analyse(case.series, normal_cbf=0, motion_correction=False)
    scale = float(result.parameters["cbf_scale"])
    assert "cbf_scale" not in again.parameters
    both = [{m.quantity.name: m.data for m in r.maps} for r in (result, again)]
    normal = np.isfinite(both[0]["cbf"]) & (both[0]["tmax"] < 4)
    assert float(both[0]["cbf"][normal].mean()) == pytest.approx(40.0, rel=0.05)
    for name in ("cbf", "cbv"):
        ratio = np.nanmean(both[0][name][normal]) / np.nanmean(both[1][name][normal])
        assert ratio == pytest.approx(scale, rel=0.05)


def test_the_right_side_after_unsettled_frames_with_leakage_corrected() -> None:
    """Frames before the steady state are brighter; the unit of the signal does not matter."""
    case = mr_scan(replace(SMALL, side="R", seed=4), gain=0.01)
    data = case.series.data.copy()
    data[:2] *= np.array([1.4, 1.06], np.float32)[:, None, None, None]
    series = replace(case.series, data=data)
    result = analyse(series, motion_correction=False, leakage_correction=True)
    assert result.side == "R"
    assert result.parameters["unsettled_frames"] == 2
    assert dice(result.segmentations[0].mask, case.lesion) > 0.9


def test_a_healthy_head_has_no_lesion() -> None:
    case = mr_scan(replace(SMALL, side=None, seed=3))
    result = analyse(case.series, motion_correction=False)
    assert result.side is None
    assert value(result, "hypoperfused_volume") == 0
    assert value(result, "hypoperfusion_intensity_ratio") is None


def refused(series: TimeSeries, words: str) -> None:
    with pytest.raises(NotAnalysable, match=words):
        analyse(series, motion_correction=False)


def test_what_cannot_be_analysed_is_refused(left: Case) -> None:
    series = left[0].series
    refused(replace(series, echo_time_s=None), "do not say their echo time")
    refused(replace(series, data=np.zeros_like(series.data)), "no head")
    still = np.repeat(series.data[:1], len(series.data), axis=0)
    refused(replace(series, data=still), "no contrast bolus")
    refused(replace(series, data=series.data[:7], times_s=series.times_s[:7]), "7 time points")
    late = replace(series, data=series.data[10:], times_s=series.times_s[10:])
    refused(late, "baseline|contrast was there|no arterial input")


@pytest.mark.parametrize("name", ["low_flow_rcbf", "normal_cbf", "smoothing_mm"])
def test_settings_have_ranges(name: str) -> None:
    with pytest.raises(ValidationError):
        PwiPerfusionSettings.model_validate({name: -50.0})


def test_progress_grows_to_one(left: Case) -> None:
    seen: list[float] = []
    context = RunContext("cpu", lambda stage, fraction: seen.append(fraction))
    run(left[0].series, PwiPerfusionSettings(motion_correction=False), context)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
