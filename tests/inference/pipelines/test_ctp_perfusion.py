import dataclasses
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import ValidationError

from inference.dicom.headers import read_headers
from inference.dicom.reader import load_time_series
from inference.dicom.volumes import TimeSeries
from inference.errors import NotAnalysable
from inference.kinds import SeriesKind
from inference.pipelines import RunContext, all_pipelines
from inference.pipelines.ctp_perfusion import CtpPerfusionSettings, run
from inference.results import PipelineResult
from tests.inference.perfusion.phantom import (
    Phantom,
    Scan,
    canon,
    cine,
    dice,
    scan,
    shuttle,
    siemens,
)
from tests.support.shared import SHARED_DATA, shared_data


def analyse(series: TimeSeries, **settings: Any) -> PipelineResult:
    context = RunContext("cpu", lambda stage, fraction: None)
    return run(series, CtpPerfusionSettings(**settings), context)


@cache
def left_lesion() -> tuple[Scan, PipelineResult]:
    case = scan(Phantom(side="L", seed=1))
    return case, analyse(case.series)


def number(result: PipelineResult, name: str) -> float | None:
    return {m.name: m.value for m in result.measurements}[name]


def region(result: PipelineResult, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return {s.name: s.mask for s in result.segmentations}[name]


def test_it_is_registered() -> None:
    found = all_pipelines()["ctp_perfusion"]
    assert found.version == "0.3.0"
    assert found.accepts is SeriesKind.CTP
    assert found.settings is CtpPerfusionSettings


def test_import_loads_no_torch() -> None:
    code = "import sys, inference.pipelines.ctp_perfusion; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_everything_that_was_promised_is_there() -> None:
    case, result = left_lesion()
    assert (result.pipeline, result.version, result.status) == ("ctp_perfusion", "0.3.0", "ok")
    (baseline,) = result.images
    assert (baseline.name, baseline.units, baseline.window) == ("baseline", "HU", (0, 80))
    assert [m.quantity.name for m in result.maps] == ["cbf", "cbv", "mtt", "tmax", "ttp"]
    inside = np.isfinite(result.maps[0].data)
    for found in result.maps:
        np.testing.assert_array_equal(np.isfinite(found.data), inside)
        assert found.data.dtype == np.float32
    assert dice(inside, case.brain) > 0.95
    assert {s.name: s.algorithm for s in result.segmentations} == {
        "core": "rCBF < 30 %",
        "hypoperfused": "Tmax > 6 s, or core",
    }
    assert {m.name for m in result.measurements} == {
        "core_volume", "hypoperfused_volume", "mismatch_volume", "mismatch_ratio",
        "tmax_gt_4s_volume", "tmax_gt_8s_volume", "tmax_gt_10s_volume",
        "rcbf_lt_20pct_volume", "rcbf_lt_34pct_volume", "rcbf_lt_38pct_volume",
        "hypoperfusion_intensity_ratio", "cbv_index",
    }  # fmt: skip
    wanted = {"kh", "rho_g_per_ml", "partial_volume_factor", "aif_x_mm", "aif_peak_hu"}
    assert wanted | {"baseline_frames", "reference_cbf", "solver"} <= set(result.parameters)
    assert {"vessels", "masks", "smooth", "deconvolve", "lesions"} <= set(result.timings_s)
    assert result.warnings == ()


def test_left_lesion_with_core() -> None:
    case, result = left_lesion()
    assert result.side == "L"
    assert dice(region(result, "hypoperfused"), case.lesion) > 0.88
    volume = number(result, "hypoperfused_volume")
    assert volume == pytest.approx(case.volume_ml(case.lesion), rel=0.12)
    core = number(result, "core_volume")
    assert core is not None
    assert 2 < core < 1.3 * case.volume_ml(case.core)
    assert (region(result, "core") & ~case.lesion).sum() < 0.2 * region(result, "core").sum()


VARIATIONS = {
    "right, larger noise": Phantom(side="R", noise_hu=8, seed=2),
    "columns mirrored": Phantom(side="L", flip=(-1, 1), seed=3),
    "turned by half": Phantom(side="R", flip=(-1, -1), seed=4),
    "feet first": Phantom(side="L", flip=(1, -1), seed=5),
    "turned and rolled": Phantom(side="R", turn_deg=20, roll_deg=-10, seed=6),
    "small": Phantom(side="L", lesion_mm=16, core_mm=0, seed=7),
    "cine 1 s": Phantom(side="R", times_s=cine(), seed=8),
    "cine 0.5 s": Phantom(side="L", times_s=cine(0.5, 90), seed=9),
    "shuttle": Phantom(side="R", times_s=shuttle(10), seed=10),
    "uneven": Phantom(side="L", times_s=canon(), seed=11),
    "off centre": Phantom(side="R", centre_mm=(24, 10, 0), seed=12),
    "late bolus": Phantom(side="L", arrival_s=16, times_s=1.5 * np.arange(36.0), seed=13),
}


@pytest.mark.parametrize("name", VARIATIONS)
def test_lesion_is_found_on_the_right_side(name: str) -> None:
    case = scan(VARIATIONS[name])
    result = analyse(case.series)
    assert result.side == VARIATIONS[name].side
    assert dice(region(result, "hypoperfused"), case.lesion) > 0.8
    volume = number(result, "hypoperfused_volume")
    assert volume == pytest.approx(case.volume_ml(case.lesion), rel=0.25)


@pytest.mark.parametrize("side", ["L", "R"])
@pytest.mark.parametrize("seed", [900, 902])
def test_lesions_survive_the_filter_against_noise(side: Literal["L", "R"], seed: int) -> None:
    """Lesions of 30 to 40 mL in noise that makes the pipeline smooth widely."""
    spec = Phantom(
        side=side, seed=seed, noise_hu=8.7, peak_hu=284, times_s=cine(), lesion_mm=22, core_mm=10
    )
    case = scan(spec)
    result = analyse(case.series)
    assert float(result.parameters["smoothing_used_mm"]) > 3
    assert result.side == side
    assert dice(region(result, "hypoperfused"), case.lesion) > 0.75


@pytest.mark.parametrize("times", [siemens(), cine(), shuttle(10), canon()], ids=str)
@pytest.mark.parametrize(("seed", "noise"), [(20, 5.0), (21, 9.0)])
def test_healthy_brain_shows_no_lesion(
    times: np.ndarray[tuple[int, ...], np.dtype[np.float64]], seed: int, noise: float
) -> None:
    result = analyse(scan(Phantom(side=None, seed=seed, noise_hu=noise, times_s=times)).series)
    assert result.side is None
    assert number(result, "core_volume") == number(result, "hypoperfused_volume") == 0
    assert number(result, "mismatch_ratio") is None


def test_thin_slices_become_slabs() -> None:
    case = scan(Phantom(slices=48, slice_mm=1.25, first_slice_mm=-5, noise_hu=12, side="R"))
    result = analyse(case.series)
    assert result.side == "R"
    where = result.images[0].geometry
    assert where.slices == 12
    assert where.slice_spacing_mm == pytest.approx(5)
    volume = number(result, "hypoperfused_volume")
    assert volume == pytest.approx(case.volume_ml(case.lesion), rel=0.15)


def test_input_is_left_as_it_was_and_runs_repeat() -> None:
    case = scan(Phantom(rows=64, pixel_mm=3.6))
    before = case.series.data.copy()
    first, second = analyse(case.series), analyse(case.series)
    np.testing.assert_array_equal(case.series.data, before)
    assert first.measurements == second.measurements


def test_a_level_shift_and_a_gain_leave_tmax_alone() -> None:
    case = scan(Phantom(rows=96, pixel_mm=2.4, noise_hu=3))
    one = analyse(case.series)
    stronger = scan(Phantom(rows=96, pixel_mm=2.4, noise_hu=3, peak_hu=360))
    two = analyse(stronger.series)
    assert number(one, "hypoperfused_volume") == pytest.approx(
        number(two, "hypoperfused_volume"), rel=0.06
    )


def cut(series: TimeSeries, frames: int) -> TimeSeries:
    return dataclasses.replace(series, data=series.data[:frames], times_s=series.times_s[:frames])


@pytest.mark.parametrize("frames", [6, 8, 10, 13, 15])
def test_scans_cut_before_the_bolus_has_passed_are_refused(frames: int) -> None:
    case, _ = left_lesion()
    with pytest.raises(NotAnalysable, match=r"time points|cut before the bolus|no contrast"):
        analyse(cut(case.series, frames))


def test_a_scan_cut_while_the_vein_is_bright_is_flagged() -> None:
    case, _ = left_lesion()
    assert "truncated" in {w.code for w in analyse(cut(case.series, 18)).warnings}


@pytest.mark.parametrize("value", [-1000.0, 0.0, 40.0, 1000.0])
def test_no_head_is_refused(value: float) -> None:
    case, _ = left_lesion()
    empty = dataclasses.replace(case.series, data=np.full_like(case.series.data, value))
    with pytest.raises(NotAnalysable, match=r"field of view|no contrast|no head"):
        analyse(empty)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (Phantom(peak_hu=0), "no contrast"),
        (Phantom(arrival_s=-6), "first frame|no contrast|no arterial input"),
        (Phantom(peak_hu=40), "too weak or the images too noisy"),
        (Phantom(arrival_s=38), "cut before the bolus|no contrast|no arterial input"),
    ],
)
def test_scans_that_cannot_be_trusted_are_refused(spec: Phantom, words: str) -> None:
    with pytest.raises(NotAnalysable, match=words):
        analyse(scan(spec).series)


def test_warnings_of_weak_short_low_and_guessed_scans() -> None:
    case = scan(Phantom(slices=2, slice_mm=10, first_slice_mm=10, noise_hu=3, arrival_s=0.4))
    guessed = dataclasses.replace(case.series.source, timing="InstanceNumber", timing_guessed=True)
    result = analyse(dataclasses.replace(case.series, source=guessed))
    codes = {w.code for w in result.warnings}
    assert codes >= {"low_coverage", "timing_guessed", "short_baseline"}


@pytest.mark.parametrize("solver", ["bsvd", "ssvd"])
def test_other_solvers_find_the_side_too(solver: str) -> None:
    case = scan(Phantom(side="R", noise_hu=3, seed=30))
    result = analyse(case.series, solver=solver, truncation=0.2)
    assert result.side == "R"
    assert result.parameters["solver"] == solver


@pytest.mark.parametrize("name", ["kh", "smoothing_mm", "core_rcbf", "hypoperfused_tmax_s"])
def test_settings_have_ranges(name: str) -> None:
    with pytest.raises(ValidationError):
        CtpPerfusionSettings.model_validate({name: -50.0})


def test_progress_grows_to_one() -> None:
    seen: list[float] = []
    context = RunContext("cpu", lambda stage, fraction: seen.append(fraction))
    case = scan(Phantom(rows=64, pixel_mm=3.6))
    run(case.series, CtpPerfusionSettings(), context)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


@shared_data
def test_simulated_study_with_moving_head() -> None:
    """Lesion in the patient's right hemisphere, about 44 mL with little flow."""
    paths = sorted((SHARED_DATA / "ctp-sample").glob("*.dcm"))
    found = [header for path in paths for header in read_headers(path)]
    result = analyse(load_time_series(found))
    assert result.side == "R"
    volume = number(result, "hypoperfused_volume")
    assert volume is not None
    assert 25 < volume < 70


def test_what_the_reader_needs_to_judge_it_comes_along() -> None:
    """Curves of vessels, brain and motion with their places, the reasons, and the criteria."""
    case, result = left_lesion()
    curves = {curve.name: curve for curve in result.curves}
    assert set(curves) >= {"aif", "tissue", "motion_mm", "motion_deg", "dropped"}
    assert curves["aif"].voxels_mm is not None
    assert curves["aif"].values.max() == pytest.approx(result.parameters["aif_peak_hu"], abs=0.1)
    assert len(curves["motion_mm"].values) == len(case.series.data)
    assert len(curves["dropped"].times_s) == 0
    assert "used" in str(result.parameters["aif_reason_1"])
    assert {criterion.name for criterion in result.criteria} == {"defuse_3", "extend"}


def test_an_input_placed_by_hand_is_taken_there() -> None:
    case, result = left_lesion()
    place = tuple(float(result.parameters[f"aif_{axis}_mm"]) for axis in "xyz")
    again = analyse(case.series, aif_at_mm=place)
    assert (
        np.linalg.norm(
            np.array(place) - [float(again.parameters[f"aif_{axis}_mm"]) for axis in "xyz"]
        )
        < 6.0
    )
    with pytest.raises(NotAnalysable, match="given for an artery"):
        analyse(case.series, aif_at_mm=(500.0, 500.0, 500.0))


def test_a_scan_that_began_with_contrast_is_refused() -> None:
    case, _ = left_lesion()
    late = dataclasses.replace(
        case.series, data=case.series.data[9:], times_s=case.series.times_s[9:]
    )
    with pytest.raises(NotAnalysable, match=r"no arterial input|contrast was there"):
        analyse(late)
