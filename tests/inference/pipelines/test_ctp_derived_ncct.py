import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from inference.derived_ncct.frames import condense
from inference.dicom.volumes import TimeSeries
from inference.errors import NotAnalysable, WeightsError
from inference.kinds import SeriesKind
from inference.pipelines import RunContext, all_pipelines
from inference.pipelines.ctp_derived_ncct import CtpDerivedNcctSettings, run
from inference.results import PipelineResult
from tests.inference.perfusion.phantom import Phantom, Scan, cine, scan
from tests.support.models import damage, write_derived_ncct


@cache
def still() -> Scan:
    return scan(Phantom(side="L", times_s=cine(2.0, 22), seed=1))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_derived_ncct(folder)
    return folder


def analyse(series: TimeSeries, folder: Path, stages: list[str] | None = None) -> PipelineResult:
    def progress(stage: str, fraction: float) -> None:
        assert 0 <= fraction <= 1
        if stages is not None:
            stages.append(stage)

    settings = CtpDerivedNcctSettings(model=str(folder))
    return run(series, settings, RunContext("cpu", progress))


def test_it_is_registered_and_off_by_default() -> None:
    found = all_pipelines()["ctp_derived_ncct"]
    assert (found.version, found.accepts) == ("0.1.0", SeriesKind.CTP)
    assert found.settings is CtpDerivedNcctSettings
    assert not found.settings().enabled


def test_import_loads_no_torch() -> None:
    code = "import sys, inference.pipelines.ctp_derived_ncct; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_everything_that_was_promised_is_there(weights: Path) -> None:
    series = still().series
    stages: list[str] = []
    result = analyse(series, weights, stages)
    assert (result.pipeline, result.version, result.status) == ("ctp_derived_ncct", "0.1.0", "ok")
    (image,) = result.images
    assert (image.name, image.units, image.window) == ("ncct", "HU", (0, 80))
    assert image.geometry is series.geometry
    assert image.data.shape == series.geometry.shape
    assert np.isfinite(image.data).all()
    assert "Derived NCCT" in image.description
    assert "19 time points" in image.description
    assert "mean of the first 4 of these" in image.description
    first = condense(series.data)[:4].mean(axis=0)
    outside = first < -500
    np.testing.assert_allclose(image.data[outside], first[outside], atol=1e-3)
    assert (result.maps, result.segmentations, result.measurements, result.curves) == ((),) * 4
    parameters = result.parameters
    assert (parameters["acquired_frames"], parameters["network_frames"]) == (22, 19)
    assert parameters["halo"] == 10
    assert parameters["precision"] in ("bfloat16", "float32")
    assert parameters["tiles"] == 1
    assert len(str(parameters["weights_sha256"])) == 64
    assert str(parameters["weights_trained_on"]).startswith("simulated patients only")
    assert set(result.timings_s) == {"model", "motion", "derive"}
    assert stages == ["model", "motion", "derive", "derive", "done"]


def test_a_head_that_moved_is_told(weights: Path) -> None:
    series = still().series
    data = series.data.copy()
    data[12:] = np.roll(data[12:], round(6 / series.geometry.pixel_spacing_mm[1]), axis=2)
    data[5] = np.roll(data[5], round(30 / series.geometry.pixel_spacing_mm[1]), axis=2)
    result = analyse(replace(series, data=data), weights)
    assert {"motion", "frames_dropped"} <= {warning.code for warning in result.warnings}
    assert result.parameters["dropped_frames"] == 1
    assert float(result.parameters["motion_mm"]) == pytest.approx(6, abs=1)


def test_without_a_head_nothing_is_made(weights: Path) -> None:
    series = still().series
    with pytest.raises(NotAnalysable, match="head"):
        analyse(replace(series, data=np.full_like(series.data, -1000)), weights)


def test_too_little_of_a_head_is_refused(weights: Path) -> None:
    settings = CtpDerivedNcctSettings(model=str(weights), min_cavity_ml=500)
    small = scan(Phantom(side="L", times_s=cine(4.0, 8), seed=1)).series
    geometry = replace(small.geometry, pixel_spacing_mm=(0.8, 0.8))
    with pytest.raises(NotAnalysable, match="mL inside a skull in the field of view"):
        run(
            replace(small, geometry=geometry),
            settings,
            RunContext("cpu", lambda _stage, _fraction: None),
        )


def test_damaged_weights_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        analyse(still().series, tmp_path)
    write_derived_ncct(tmp_path)
    damage(tmp_path)
    with pytest.raises(WeightsError, match="checksum"):
        analyse(still().series, tmp_path)


def test_the_checksum_of_the_model_is_known_without_running(tmp_path: Path) -> None:
    found = all_pipelines()["ctp_derived_ncct"]
    parameters = CtpDerivedNcctSettings(model=str(tmp_path)).model_dump(mode="json")
    assert found.weights_sha256(parameters) == ("",)
    manifest = write_derived_ncct(tmp_path)
    assert found.weights_sha256(parameters) == (manifest.sha256,)
    assert all_pipelines()["ctp_perfusion"].weights_sha256({}) == ()
