"""``strokenode process`` and ``classify`` on folders: what is found, run and written."""

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import Comprehensive3DSRStorage

from dicom_node.config import Config, parse
from dicom_node.errors import NodeError
from dicom_node.jobs import analysis
from dicom_node.process import (
    Processor,
    find_acquisitions,
    refusal,
    write_json,
)
from inference.pipelines import all_pipelines
from inference.results import PipelineResult
from tests.support.dicom_factory import START, ctp_datasets, ncct_datasets, save, small_ctp
from tests.support.node import PERFUSION_ONLY

KEYS = {
    "study_uid", "pipeline", "version", "inputs", "status", "reason", "measurements", "findings",
    "warnings", "outputs", "criteria", "side", "timings_s", "peak_memory_mb", "device",
}  # fmt: skip
OUTPUT_KEYS = {"path", "role", "sop_class", "sop_instance_uid", "series_description"}
CTP = all_pipelines()["ctp_perfusion"]
Records = list[dict[str, Any]]


def run_all(
    folder: Path,
    output: Path,
    config: Config | None = None,
    *,
    nifti: bool = False,
    png: bool = False,
) -> Records:
    """Every acquisition of a folder through every pipeline that accepts it."""
    found, unreadable = find_acquisitions(folder)
    processor = Processor(config or parse({"pipelines": PERFUSION_ONLY}), output, "cpu", nifti, png)
    return [
        processor.run(
            item, pipeline, refusal(item, found, len(unreadable)), lambda stage, fraction: None
        )
        for item in found
        for pipeline in processor.pipelines_for(item, [])
    ]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Records]:
    """A stroke on the left, analysed, with NIfTI and PNG files."""
    folder = tmp_path_factory.mktemp("study")
    save(ctp_datasets(), folder / "in")
    return folder / "out", run_all(folder / "in", folder / "out", nifti=True, png=True)


def nifti(folder: Path, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Voxels of shape ``(x, y, z)`` and the affine to RAS mm."""
    (path,) = folder.rglob(f"{name}.nii.gz")
    image = nibabel.Nifti1Image.from_filename(path)
    return np.asarray(image.dataobj), image.affine


def broken(*_: object) -> PipelineResult:
    """Stand in for a pipeline with a mistake in it."""
    raise ZeroDivisionError("broken")


def same_study(datasets: list[Dataset], first: list[Dataset]) -> list[Dataset]:
    for ds in datasets:
        ds.StudyInstanceUID = first[0].StudyInstanceUID
    return datasets


def report_text(output: Path, record: dict[str, Any]) -> str:
    (entry,) = (item for item in record["outputs"] if item["role"] == "report")
    ds = dcmread(output / entry["path"])
    assert ds.SOPClassUID == Comprehensive3DSRStorage
    texts = [element.value for element in ds.iterall() if element.keyword == "TextValue"]
    return " ".join(" ".join(texts).split())


def test_record_has_the_designed_keys(study: tuple[Path, Records]) -> None:
    output, (record,) = study
    assert set(record) == KEYS
    assert record["status"] == "ok"
    assert record["pipeline"] == "ctp_perfusion"
    assert record["device"] == "cpu"
    assert record["side"] == "L"
    assert record["peak_memory_mb"] > 10
    assert {"load", "total"} <= set(record["timings_s"])
    assert record["inputs"] == [ctp_datasets()[0].SeriesInstanceUID]
    assert record["study_uid"] == ctp_datasets()[0].StudyInstanceUID
    assert all(set(item) == {"value", "unit"} for item in record["measurements"].values())
    assert all(set(item) == {"code", "text", "value"} for item in record["warnings"])
    json.dumps(record, allow_nan=False)
    assert output.joinpath(record["study_uid"], "ctp_perfusion").is_dir()


def test_outputs_are_the_files_that_exist(study: tuple[Path, Records]) -> None:
    output, (record,) = study
    for item in record["outputs"]:
        assert set(item) == OUTPUT_KEYS
        ds = dcmread(output / item["path"], stop_before_pixels=True)
        assert ds.SOPClassUID == item["sop_class"]
        assert ds.SOPInstanceUID == item["sop_instance_uid"]
        assert ds.SeriesDescription == item["series_description"]
        assert ds.StudyInstanceUID == record["study_uid"]
    listed = {output / item["path"] for item in record["outputs"]}
    assert listed == set(output.rglob("*.dcm"))
    roles = {item["role"] for item in record["outputs"]}
    assert {"report", "summary", "baseline", "cbf", "tmax_colour", "core", "hypoperfused"} <= roles
    assert not any(role.endswith("_parametric") for role in roles)


def test_pages_as_png_are_those_of_the_dicom_files(study: tuple[Path, Records]) -> None:
    output, (record,) = study
    folder = output / record["study_uid"] / "ctp_perfusion"
    pages = {path.stem: path for path in (folder / "pages").iterdir()}
    assert set(pages) == {
        path.stem
        for path in (folder / "dicom").iterdir()
        if path.stem.rpartition("_")[0] in ("summary", "maps", "quality") or "_colour_" in path.stem
    }
    assert {"summary_0001", "maps_0001", "tmax_colour_0001"} <= set(pages)
    for stem, path in pages.items():
        pixels = dcmread(folder / "dicom" / f"{stem}.dcm").pixel_array
        np.testing.assert_array_equal(np.asarray(Image.open(path)), pixels)


def test_nifti_lies_where_the_patient_lies(study: tuple[Path, Records]) -> None:
    """RAS: the stroke on the patient's left has negative x, voxels keep size and place."""
    output, (record,) = study
    truth = small_ctp()
    geometry = truth.geometry
    data, affine = nifti(output, "hypoperfused")
    rows, columns = geometry.shape[1:]
    assert data.shape == (columns, rows, geometry.slices)
    assert data.dtype == np.uint8
    assert affine[:2] == pytest.approx(-geometry.affine_lps[:2], abs=1e-3)
    assert affine[2] == pytest.approx(geometry.affine_lps[2], abs=1e-3)
    places = np.argwhere(data) @ affine[:3, :3].T + affine[:3, 3]
    assert places[:, 0].max() < 5
    expected = truth.phantom.hypoperfused.transpose(2, 1, 0)
    truth_places = np.argwhere(expected) @ affine[:3, :3].T + affine[:3, 3]
    assert places.mean(axis=0) == pytest.approx(truth_places.mean(axis=0), abs=10)
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    assert voxel_ml == pytest.approx(geometry.voxel_volumes_ml[0], rel=1e-3)
    volume = record["measurements"]["hypoperfused_volume"]["value"]
    assert data.sum() * voxel_ml == pytest.approx(volume, rel=1e-3)


def test_nifti_maps(study: tuple[Path, Records]) -> None:
    output, _ = study
    names = {path.name.removesuffix(".nii.gz") for path in output.rglob("*.nii.gz")}
    assert {"baseline", "brain", "cbf", "cbv", "mtt", "tmax", "ttp", "core"} <= names
    brain, _ = nifti(output, "brain")
    for name in ("cbf", "cbv", "mtt", "tmax"):
        data, _ = nifti(output, name)
        assert np.isfinite(data).all()
        assert not data[brain == 0].any()
    assert set(np.unique(brain)) == {0, 1}


def test_a_right_sided_stroke_is_on_the_right(tmp_path: Path) -> None:
    save(ctp_datasets(lesion="right"), tmp_path / "in")
    (record,) = run_all(tmp_path / "in", tmp_path / "out", nifti=True)
    assert record["side"] == "R"
    data, affine = nifti(tmp_path / "out", "hypoperfused")
    places = np.argwhere(data) @ affine[:3, :3].T + affine[:3, 3]
    assert places[:, 0].min() > -5


def test_without_a_core_the_ratio_is_null(tmp_path: Path) -> None:
    save(ctp_datasets(lesion="none"), tmp_path / "in")
    (record,) = run_all(tmp_path / "in", tmp_path / "out", nifti=True)
    assert record["status"] == "ok"
    measurements = record["measurements"]
    assert measurements["core_volume"]["value"] == 0
    assert measurements["mismatch_ratio"] == {"value": None, "unit": "1"}
    assert not nifti(tmp_path / "out", "core")[0].any()


def test_a_second_run_replaces_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(ctp_datasets(), tmp_path / "in")
    (first,) = run_all(tmp_path / "in", tmp_path / "out", nifti=True)
    assert len(first["outputs"]) > 10
    monkeypatch.setattr(analysis, "analyse", broken)
    (second,) = run_all(tmp_path / "in", tmp_path / "out")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert files == [tmp_path / "out" / item["path"] for item in second["outputs"]]
    assert second["outputs"][0]["sop_instance_uid"] != first["outputs"][0]["sop_instance_uid"]


def test_own_results_are_not_analysed(study: tuple[Path, Records]) -> None:
    """The folder holds a study and its results, as when the output lies inside the input."""
    output, (record,) = study
    found, unreadable = find_acquisitions(output.parent)
    processor = Processor(Config(), output, "cpu")
    accepted = [item for item in found if processor.pipelines_for(item, [])]
    assert [list(item.group.series_uids) for item in accepted] == [record["inputs"]]
    assert refusal(accepted[0], found, len(unreadable)) is None
    others = {path.name for path in output.rglob("*") if path.suffix in (".gz", ".png")}
    assert {path.name for path, _ in unreadable} == others


def test_two_acquisitions_of_one_study_stay_apart(tmp_path: Path) -> None:
    first = ctp_datasets()
    later = START + dt.timedelta(minutes=20)
    save(first, tmp_path / "in" / "a")
    save(same_study(ctp_datasets(salt="again", start=later), first), tmp_path / "in" / "b")
    records = run_all(tmp_path / "in", tmp_path / "out")
    assert [record["status"] for record in records] == ["ok", "ok"]
    assert records[0]["study_uid"] == records[1]["study_uid"]
    assert records[0]["inputs"] != records[1]["inputs"]
    paths = [item["path"] for record in records for item in record["outputs"]]
    assert len(set(paths)) == len(paths)
    assert all((tmp_path / "out" / path).is_file() for path in paths)
    folders = {Path(path).parts[1] for path in paths}
    assert folders == {"ctp_perfusion", "ctp_perfusion-2"}


def test_a_missing_image_ends_in_a_report(tmp_path: Path) -> None:
    save(ctp_datasets(drop=[17]), tmp_path / "in")
    (record,) = run_all(tmp_path / "in", tmp_path / "out", nifti=True)
    assert record["status"] == "not_analysed"
    assert record["reason"].startswith("incomplete: ")
    assert record["measurements"] == {}
    assert [item["role"] for item in record["outputs"]] == ["report"]
    assert "incomplete" in report_text(tmp_path / "out", record)


def test_unreadable_files_are_named_and_counted(tmp_path: Path) -> None:
    paths = save(ctp_datasets(), tmp_path / "in")
    paths[17].write_bytes(paths[17].read_bytes()[:2000])
    (tmp_path / "in" / "notes.txt").write_text("nothing")
    found, unreadable = find_acquisitions(tmp_path / "in")
    assert {path.name for path, _ in unreadable} == {paths[17].name, "notes.txt"}
    assert all(reason for _, reason in unreadable)
    (item,) = found
    text = refusal(item, found, len(unreadable))
    assert text is not None
    assert text.endswith("; 2 files cannot be read")


def test_two_patients_in_one_study_are_refused(tmp_path: Path) -> None:
    first = ctp_datasets()
    save(first, tmp_path / "in" / "a")
    save(same_study(ncct_datasets(patient_id="TEST-2"), first), tmp_path / "in" / "b")
    (record,) = run_all(tmp_path / "in", tmp_path / "out")
    assert record["status"] == "not_analysed"
    assert "two patients" in record["reason"]
    assert "TEST-" not in json.dumps(record)


def test_two_patients_in_two_studies_are_fine(tmp_path: Path) -> None:
    save(ctp_datasets(), tmp_path / "in" / "a")
    save(ctp_datasets(patient_id="TEST-2", salt="2"), tmp_path / "in" / "b")
    found, _ = find_acquisitions(tmp_path)
    assert [refusal(item, found, 0) for item in found] == [None, None]


def test_no_contrast_is_not_analysed(tmp_path: Path) -> None:
    save(ctp_datasets(no_contrast=True), tmp_path / "in")
    (record,) = run_all(tmp_path / "in", tmp_path / "out")
    assert record["status"] == "not_analysed"
    assert record["reason"]
    assert record["reason"] in report_text(tmp_path / "out", record)
    assert [warning["code"] for warning in record["warnings"]] == ["weak_bolus"]
    assert record["warnings"][0]["text"] == record["reason"]


def test_a_pipeline_that_fails_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    save(ctp_datasets(), tmp_path / "in")
    monkeypatch.setattr(analysis, "analyse", broken)
    (record,) = run_all(tmp_path / "in", tmp_path / "out")
    assert record["status"] == "failed"
    assert "ZeroDivisionError" in record["reason"]
    assert [item["role"] for item in record["outputs"]] == ["report"]
    assert "the analysis failed" in report_text(tmp_path / "out", record)
    assert "ZeroDivisionError" in caplog.text


def test_results_that_cannot_be_written_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two results of one name are refused by the writer after some files are there."""
    analyse = analysis.analyse

    def twice(*arguments: Any) -> PipelineResult:
        result = analyse(*arguments)
        return replace(result, maps=result.maps * 2)

    save(ctp_datasets(), tmp_path / "in")
    monkeypatch.setattr(analysis, "analyse", twice)
    (record,) = run_all(tmp_path / "in", tmp_path / "out", nifti=True)
    assert record["status"] == "failed"
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert files == [tmp_path / "out" / item["path"] for item in record["outputs"]]


def test_pipelines_are_chosen_by_kind_and_wish(tmp_path: Path) -> None:
    save(ctp_datasets(slices=2, time_points=10), tmp_path / "ctp")
    save(ncct_datasets(), tmp_path / "ncct")
    found, _ = find_acquisitions(tmp_path)
    by_kind = {item.kind.kind.value: item for item in found}
    assert set(by_kind) == {"CTP", "NCCT"}
    processor = Processor(Config(), tmp_path / "out", "cpu")
    assert CTP in processor.pipelines_for(by_kind["CTP"], [])
    assert processor.pipelines_for(by_kind["CTP"], ["ctp_perfusion"]) == [CTP]
    assert processor.pipelines_for(by_kind["NCCT"], ["ctp_perfusion"]) == []
    off = parse({"pipelines": {"ctp_perfusion": {"enabled": False}}})
    switched_off = Processor(off, tmp_path / "out", "cpu")
    assert CTP not in switched_off.pipelines_for(by_kind["CTP"], [])
    assert switched_off.pipelines_for(by_kind["CTP"], ["ctp_perfusion"]) == [CTP]


def test_folders_that_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="is not a folder; give the folder"):
        find_acquisitions(tmp_path / "missing")
    with pytest.raises(NodeError, match="holds no files"):
        find_acquisitions(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    found, unreadable = find_acquisitions(tmp_path)
    assert found == []
    assert [path.name for path, _ in unreadable] == ["a.txt"]


def test_progress_of_reading_reaches_the_end(tmp_path: Path) -> None:
    save(ncct_datasets(), tmp_path)
    seen: list[float] = []
    find_acquisitions(tmp_path, seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_json_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_json([1], path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json([float("nan")], path)
    assert json.loads(path.read_text()) == [1]
    assert list(tmp_path.iterdir()) == [path]
