"""Derived head CT by ``strokenode process`` and by the node: what is written, and failures."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.uid import CTImageStorage
from sqlalchemy import select

from dicom_node import cli
from dicom_node.check import run_checks
from dicom_node.config import Config, parse
from dicom_node.jobs import queue
from dicom_node.jobs.models import Job
from dicom_node.jobs.transitions import JobState
from dicom_node.process import Processor, find_acquisitions
from inference.dicom.headers import read_folder
from inference.dicom.reader import load_volume
from inference.dicom.volumes import Volume
from inference.kinds import SeriesKind
from inference.pipelines import all_pipelines
from inference.results import PipelineResult
from tests.dicom_node.write.validators import assert_valid, dump_report
from tests.support.dicom_factory import ctp_datasets, save, small_ctp
from tests.support.models import damage, write_derived_ncct
from tests.support.node import small_node

NAME = "ctp_derived_ncct"
SLICES = 9
Run = tuple[Path, dict[str, Any]]


def configuration(model: Path) -> dict[str, Any]:
    return {NAME: {"enabled": True, "model": str(model)}, "ctp_perfusion": {"enabled": False}}


def run(folder: Path, output: Path, model: Path) -> dict[str, Any]:
    """The only pipeline on the only acquisition of a folder."""
    config = parse({"pipelines": configuration(model)})
    processor = Processor(config, output, "cpu", nifti=True, png=True)
    (found,), _ = find_acquisitions(folder)
    (pipeline,) = processor.pipelines_for(found, [])
    return processor.run(found, pipeline, None, lambda _stage, _fraction: None)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small study, with the image derived from it."""
    folder = tmp_path_factory.mktemp("study")
    write_derived_ncct(folder / "model")
    save(ctp_datasets(slices=SLICES, time_points=12), folder / "in")
    return folder / "out", run(folder / "in", folder / "out", folder / "model")


def written(study: Run, role: str) -> list[Path]:
    output, record = study
    return [output / item["path"] for item in record["outputs"] if item["role"] == role]


def test_an_image_and_a_report_are_written_and_no_pages(study: Run) -> None:
    output, record = study
    assert (record["pipeline"], record["status"], record["reason"]) == (NAME, "ok", "")
    assert (record["measurements"], record["findings"], record["side"]) == ({}, {}, None)
    assert [item["role"] for item in record["outputs"]] == ["report", *["ncct"] * SLICES]
    assert {"load", "model", "motion", "derive", "total"} == set(record["timings_s"])
    folder = output / record["study_uid"] / NAME
    assert {path.name for path in folder.iterdir()} == {"dicom", "ncct.nii.gz"}
    json.dumps(record, allow_nan=False)
    assert_valid(output / item["path"] for item in record["outputs"])


def test_images_say_what_they_are(study: Run) -> None:
    for path in written(study, "ncct"):
        ds = dcmread(path)
        assert ds.SOPClassUID == CTImageStorage
        assert list(ds.ImageType) == ["DERIVED", "SECONDARY", "AXIAL", "NCCT"]
        assert ds.ContentQualification == "RESEARCH"
        assert ds.SeriesDescription.startswith("StrokeNode derived NCCT")
        assert (ds.RescaleType, ds.WindowCenterWidthExplanation) == ("HU", "NCCT 0-80")
        for words in ("RESEARCH USE", "Derived NCCT", "simulated patients only", "0.1.0"):
            assert words in ds.DerivationDescription
        assert "DerivationCodeSequence" not in ds
        assert len(ds.SourceImageSequence) == 12


def test_the_report_says_how_it_was_made(study: Run) -> None:
    (path,) = written(study, "report")
    ds = dcmread(path)
    assert ds.SeriesDescription.startswith("StrokeNode derived NCCT report")
    assert ds.SeriesNumber != dcmread(written(study, "ncct")[0]).SeriesNumber
    text = dump_report(path)
    for words in (
        "Analysed", "RESEARCH USE", "weights trained on simulated patients only", "weights_sha256=",
        "halo=10", "network_frames=12", "precision=", f'"{NAME}"',
    ):  # fmt: skip
        assert words in text, words


def test_the_series_reads_as_the_image_that_was_derived(study: Run) -> None:
    """What a pipeline for head CT would be given: values within half a HU, the same places."""
    output, record = study
    folder = written(study, "ncct")[0].parent
    headers, unreadable = read_folder(folder)
    volume = load_volume([h for h in headers if h.sop_class_uid == CTImageStorage], print)
    assert not unreadable
    assert isinstance(volume, Volume)
    geometry = small_ctp(slices=SLICES, time_points=12).geometry
    np.testing.assert_allclose(volume.geometry.affine_lps, geometry.affine_lps, atol=1e-3)
    np.testing.assert_allclose(volume.geometry.positions_mm, geometry.positions_mm, atol=1e-3)
    assert volume.units == "HU"
    image = nibabel.Nifti1Image.from_filename(output / record["study_uid"] / NAME / "ncct.nii.gz")
    np.testing.assert_allclose(
        volume.data, np.asarray(image.dataobj).transpose(2, 1, 0), rtol=0, atol=0.5
    )


def test_it_is_a_head_ct_but_for_being_the_nodes_own(study: Run, tmp_path: Path) -> None:
    """An autoroute that brings it back starts nothing; from other equipment it is analysed."""
    own = written(study, "ncct")
    for path in own:
        ds = dcmread(path)
        ds.Manufacturer = ds.ManufacturerModelName = "Other"
        dcmwrite(tmp_path / path.name, ds)

    def kinds(folder: Path) -> set[SeriesKind]:
        return {found.kind.kind for found in find_acquisitions(folder)[0]}

    assert kinds(own[0].parent) == {SeriesKind.OTHER}
    assert kinds(tmp_path) == {SeriesKind.NCCT}


def command(*arguments: str | Path) -> int:
    """Exit status of the command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["strokenode", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
    return int(end.value.code or 0)


@pytest.mark.parametrize("wrong", [damage, lambda folder: None], ids=["damaged", "missing"])
def test_a_model_that_is_damaged_or_missing_fails_in_words(
    tmp_path: Path, wrong: Callable[[Path], None]
) -> None:
    model = tmp_path / "model"
    if wrong is damage:
        write_derived_ncct(model)
    wrong(model)
    save(ctp_datasets(slices=2, time_points=10), tmp_path / "in")
    config = tmp_path / "config.toml"
    config.write_text(f"[pipelines.{NAME}]\nmodel = '{model}'\n", encoding="utf-8")
    status = command(
        "process", tmp_path / "in", "--output", tmp_path / "out", "--pipeline", NAME,
        "--config", config,
    )  # fmt: skip
    assert status == 1
    (record,) = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert record["status"] == "failed"
    assert "install again" in record["reason"]
    assert [item["role"] for item in record["outputs"]] == ["report"]
    text = dump_report(tmp_path / "out" / record["outputs"][0]["path"])
    assert "Failed" in text
    assert "install again" in " ".join(text.split())


def test_the_node_says_that_its_model_is_damaged(tmp_path: Path) -> None:
    model = tmp_path / "model"
    write_derived_ncct(model)
    damage(model)
    with small_node(tmp_path / "node", pipelines=configuration(model)) as node:
        checked = {name: (good, text) for name, good, text in run_checks(node.config, echo=False)}
        good, text = checked[f"weights of {NAME}"]
        assert not good
        assert "checksum" in text
        node.send(ctp_datasets(slices=2, time_points=10))
        (job,) = node.settle()
    assert job.state is JobState.FAILED
    assert "checksum" in (job.error or "")
    assert job.record is not None
    assert job.record["status"] == "failed"


def test_check_names_the_model(tmp_path: Path) -> None:
    manifest = write_derived_ncct(tmp_path / "model")
    config = parse({"pipelines": configuration(tmp_path / "model")})
    checked = {name: (good, text) for name, good, text in run_checks(config, echo=False)}
    good, text = checked[f"weights of {NAME}"]
    assert good
    for words in ("derived_ncct 0.0.1", manifest.sha256[:12], "simulated patients only"):
        assert words in text


def test_new_weights_are_new_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of a job holds the checksum of the model, so that results can be told apart."""

    def quick(*_arguments: object) -> PipelineResult:
        return PipelineResult(NAME, "0.1.0", "not_analysed", "not looked at")

    monkeypatch.setattr("dicom_node.jobs.analysis.analyse", quick)
    model = tmp_path / "model"
    manifest = write_derived_ncct(model)
    with small_node(tmp_path / "node", pipelines=configuration(model)) as node:

        def once_more(job: Job) -> Job:
            with node.database.write() as session:
                queue.rerun(session, job.id)
            return node.settle()[-1]

        node.send(ctp_datasets(slices=2, time_points=10))
        (job,) = node.settle()
        request = queue.JobRequest(
            job.study_uid, job.acquisition_key, NAME, job.version, job.inputs, job.parameters,
            job.peer, job.refusal, weights=(manifest.sha256,),
        )  # fmt: skip
        assert job.key == request.key
        second = once_more(job)
        write_derived_ncct(model, seed=1)
        third = once_more(second)
    assert (second.key == job.key, third.key == job.key) == (True, False)


def test_maps_come_before_it(tmp_path: Path) -> None:
    """A treatment may wait for them; here and of every other patient in the queue."""
    config = parse({"pipelines": {NAME: {"enabled": True}}})
    names = config.enabled_pipelines()
    assert names.index("ctp_perfusion") < names.index(NAME)
    with small_node(tmp_path, pipelines={NAME: {"enabled": True}}) as node:
        node.send(ctp_datasets(slices=2, time_points=10))
        node.assembler.run_due()
        with node.database.read() as session:
            waiting = {job.pipeline: job.priority for job in session.scalars(select(Job))}
    assert waiting["ctp_perfusion"] > waiting[NAME]


def test_it_is_off_until_a_model_is_shipped() -> None:
    assert NAME in all_pipelines()
    assert NAME not in Config().enabled_pipelines()
