"""The report: what comes first, what a run without result says, who is superseded."""

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicom_node.write.results import (
    DEFAULT_SERIES,
    Predecessor,
    RunIdentity,
    SourceImages,
    WrittenObject,
    write_results,
)
from inference.results import PipelineResult, Status, Warning
from tests.dicom_node.write.examples import (
    EVERYTHING,
    RUN,
    enhanced_mr_files,
    geometry,
    not_analysed,
    perfusion_result,
    source_files,
)
from tests.dicom_node.write.validators import assert_valid, dump_report

GRID = geometry()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceImages:
    return SourceImages.from_files(source_files(tmp_path_factory.mktemp("source"), GRID))


def write(
    result: PipelineResult, source: SourceImages, folder: Path, run: RunIdentity = RUN
) -> list[WrittenObject]:
    return write_results(result, source, run, EVERYTHING, DEFAULT_SERIES, folder)


def report_of(objects: list[WrittenObject]) -> tuple[Dataset, str]:
    assert objects[0].role == "report"
    assert_valid([objects[0].path])
    return dcmread(objects[0].path), dump_report(objects[0].path)


def first_group(text: str) -> str:
    return text.split("Measurement Group")[1]


def test_the_first_group_has_what_must_be_read_first(source: SourceImages, tmp_path: Path) -> None:
    warnings = (Warning("weak_bolus", "the arterial peak is low", 12.3), Warning("motion", "much"))
    result = perfusion_result(GRID, warnings=warnings)
    objects = write(result, source, tmp_path)
    ds, text = report_of(objects)
    group = first_group(text)
    volumes = {m.name: m.value for m in result.measurements}
    assert '"Analysed. WARNINGS [!weak_bolus,motion]. RESEARCH USE ONLY' in group
    assert "Warning: weak_bolus: the arterial peak is low (12.3)" in group
    assert f'"Core volume")="{volumes["core_volume"]:.6g}" (ml,UCUM' in group
    assert '"Mismatch ratio")="5.7" (1,UCUM,"no units")' in group
    assert '"Probability of intracranial hemorrhage")="0.03"' in group
    assert '"Laterality")=(24028007,SCT,"Right")' in group
    assert '"Intracranial hemorrhage")=(121054,DCM,"Absent")' in group
    assert '"Hemorrhagic transformation")=(121059,DCM,"Presence Undetermined")' in group
    assert '"Criterion dawn met")=(261665006,SCT,"Unknown")' in group
    core = f"Core volume {volumes['core_volume']:.1f} mL"
    assert f"Criterion dawn: cannot be told ({core}, nihss unknown)" in group
    assert "Criterion defuse_3: met (Mismatch ratio 5.70)" in group
    assert '"Algorithm Name")="ctp_perfusion"' in group
    assert f"weights_sha256={'ab' * 32}" in group
    assert "weights trained on simulated patients" in group
    assert (ds.CompletionFlag, ds.PreliminaryFlag, ds.VerificationFlag) == (
        "COMPLETE", "FINAL", "UNVERIFIED",
    )  # fmt: skip
    assert ds.SeriesDescription == "StrokeNode report [!weak_bolus,motion]"


def test_regions_point_to_segmentations_and_everything_is_evidence(
    source: SourceImages, tmp_path: Path
) -> None:
    objects = write(perfusion_result(GRID), source, tmp_path)
    ds, _ = report_of(objects)
    sr = hd.sr.srread(objects[0].path)
    assert isinstance(sr, hd.sr.Comprehensive3DSR)
    by_role = {w.role: w for w in objects}
    assert isinstance(sr.content, hd.sr.MeasurementReport)
    groups = sr.content.get_volumetric_roi_measurement_groups()
    assert [g.tracking_identifier for g in groups] == ["core", "hypoperfused"]
    for group in groups:
        assert group.referenced_segment is not None
        segment = group.referenced_segment.referenced_sop_instance_uid
        name = str(group.tracking_identifier)
        assert segment == by_role[name].sop_instance_uid
        segmentation = dcmread(by_role[name].path)
        assert segmentation.SegmentSequence[0].TrackingUID == group.tracking_uid
        volume = group.get_measurements(name=codes.SCT.Volume)[0].value
        expected = next(s for s in perfusion_result(GRID).segmentations if s.name == name)
        assert volume == pytest.approx(expected.volume_ml, rel=1e-5)
    evidence = {str(item[2]) for item in sr.get_evidence()}
    assert evidence >= {w.sop_instance_uid for w in objects[1:]}
    assert evidence >= {r.sop_instance_uid for r in source.references}
    assert "PertinentOtherEvidenceSequence" not in ds


def test_an_undefined_ratio_is_said_to_be_undefined(source: SourceImages, tmp_path: Path) -> None:
    objects = write(perfusion_result(GRID, core_empty=True), source, tmp_path)
    _, text = report_of(objects)
    assert '"Mismatch ratio")=(CORE_IS_ZERO,99STROKENODE,"not defined: core is zero")' in text
    assert '"Core volume")="0"' in text or '"Core volume")="0.0"' in text
    assert "core" not in {w.role for w in objects}
    assert "hypoperfused" in {w.role for w in objects}
    assert_valid(w.path for w in objects)


@pytest.mark.parametrize(
    ("status", "said"), [("not_analysed", "Not analysed"), ("failed", "Failed")]
)
def test_a_run_without_result_says_why_and_nothing_else(
    source: SourceImages, tmp_path: Path, status: Status, said: str
) -> None:
    reason = "3 of 480 images are missing"
    result = replace(perfusion_result(GRID), status=status, reason=reason)
    objects = write(result, source, tmp_path)
    assert len(objects) == 1
    _, text = report_of(objects)
    assert f'"{said}. {reason}. RESEARCH USE ONLY' in text
    assert f'"Analysis status")=({status.upper()},99STROKENODE,"{said}")' in text
    assert "NUM" not in text
    assert "Criterion" not in text
    assert "Laterality" not in text
    assert text.count("Measurement Group") == 1


def test_a_report_is_written_even_where_none_is_wanted(
    source: SourceImages, tmp_path: Path
) -> None:
    wants = EVERYTHING.model_copy(update={"reports": False})
    objects = write_results(not_analysed(), source, RUN, wants, DEFAULT_SERIES, tmp_path)
    assert [w.role for w in objects] == ["report"]


def test_incomplete_inputs_make_a_partial_report(source: SourceImages, tmp_path: Path) -> None:
    warnings = (Warning("incomplete", "3 of 480 images are missing", 3),)
    ds, _ = report_of(write(perfusion_result(GRID, warnings=warnings), source, tmp_path))
    assert (ds.CompletionFlag, ds.PreliminaryFlag) == ("PARTIAL", "PRELIMINARY")
    assert ds.CompletionFlagDescription == "the acquisition was incomplete"


def test_a_later_revision_names_its_predecessor(source: SourceImages, tmp_path: Path) -> None:
    earlier = write(perfusion_result(GRID), source, tmp_path / "1")
    run = replace(
        RUN,
        run_uid="2.25.2",
        revision=2,
        predecessor=Predecessor(
            earlier[0].sop_class_uid,
            earlier[0].sop_instance_uid,
            earlier[0].series_instance_uid,
            source.study_uid,
        ),
    )
    later = write(perfusion_result(GRID), source, tmp_path / "2", run)
    ds, _ = report_of(later)
    document = ds.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert document.SeriesInstanceUID == earlier[0].series_instance_uid
    found = document.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert found == earlier[0].sop_instance_uid
    assert all("rev 2" in w.series_description for w in later)
    uids = [
        {w.sop_instance_uid for w in o} | {w.series_instance_uid for w in o}
        for o in (earlier, later)
    ]
    assert not uids[0] & uids[1]
    assert_valid(w.path for w in later)


def test_frames_of_an_enhanced_source_are_named(tmp_path: Path) -> None:
    source = SourceImages.from_files(enhanced_mr_files(tmp_path / "source", GRID))
    result = perfusion_result(GRID, pipeline="pwi_perfusion")
    wants = EVERYTHING.model_copy(update={"derived_images": False})
    objects = write_results(result, source, RUN, wants, DEFAULT_SERIES, tmp_path / "out")
    _, text = report_of(objects)
    assert "MRI of brain" in text
    assert_valid(w.path for w in objects)
    core = dcmread(next(w.path for w in objects if w.role == "core"))
    for frame in core.PerFrameFunctionalGroupsSequence:
        source_image = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert source_image.ReferencedSOPInstanceUID == source.references[0].sop_instance_uid
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        index = [float(p[2]) for p in GRID.positions_mm].index(float(position[2]))
        assert source_image.ReferencedFrameNumber == GRID.slices - index
