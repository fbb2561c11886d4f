"""The whole set: the same bytes every time, identity in any character set, speed, real sources."""

import logging
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.write.results import (
    DEFAULT_SERIES,
    SourceImages,
    Wants,
    WrittenObject,
    write_results,
)
from inference.errors import DicomReadError
from inference.geometry import Geometry
from inference.results import Finding, Warning
from tests.dicom_node.write.examples import (
    EVERYTHING,
    RUN,
    enhanced_mr_files,
    geometry,
    head_values,
    not_analysed,
    perfusion_result,
    save,
    source_dataset,
    source_files,
)
from tests.dicom_node.write.validators import assert_valid, dump_report, run_tool

SHARED = Path(__file__).parents[4] / "shared" / "data"

MAPS = ("cbf", "cbv", "mtt", "tmax", "ttp")


def contents(objects: list[WrittenObject]) -> dict[str, bytes]:
    return {w.path.name: w.path.read_bytes() for w in objects}


def test_writing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    grid = geometry()
    paths = source_files(tmp_path / "source", grid)
    result = perfusion_result(grid, warnings=(Warning("motion", "much", 3.5),))
    written = []
    for name, order in (("a", 1), ("b", -1)):
        source = SourceImages.from_files(paths[::order])
        objects = write_results(result, source, RUN, EVERYTHING, DEFAULT_SERIES, tmp_path / name)
        written.append((contents(objects), [replace(w, path=Path()) for w in objects]))
        time.sleep(0.01)
    assert written[0] == written[1]
    uids = [w.sop_instance_uid for w in written[0][1]]
    assert len(set(uids)) == len(uids)
    assert all(uid.startswith("2.25.") for uid in uids)
    other = write_results(
        result, source, replace(RUN, run_uid="2.25.7"), EVERYTHING, DEFAULT_SERIES, tmp_path / "c"
    )
    assert not {w.sop_instance_uid for w in other} & set(uids)


def test_what_is_not_wanted_is_not_written(tmp_path: Path) -> None:
    grid = geometry()
    source = SourceImages.from_files(source_files(tmp_path / "source", grid))
    kinds = {
        "derived_images": {"baseline", *MAPS},
        "secondary_captures": {"summary", "maps", "quality", *(f"{m}_colour" for m in MAPS)},
        "segmentations": {"core", "hypoperfused"},
        "reports": {"report"},
        "parametric_maps": {f"{m}_parametric" for m in MAPS},
    }  # fmt: skip
    for kind, roles in kinds.items():
        wants = Wants(**{k: k == kind for k in kinds})
        folder = tmp_path / kind
        objects = write_results(perfusion_result(grid), source, RUN, wants, DEFAULT_SERIES, folder)
        assert {w.role for w in objects} == roles
        assert {p.name for p in folder.iterdir()} == {w.path.name for w in objects}
        assert_valid(w.path for w in objects)
    assert not Wants().parametric_maps


def test_segmentations_without_derived_images_lie_on_the_source(tmp_path: Path) -> None:
    grid = geometry()
    source = SourceImages.from_files(source_files(tmp_path / "source", grid))
    wants = EVERYTHING.model_copy(update={"derived_images": False})
    objects = write_results(perfusion_result(grid), source, RUN, wants, DEFAULT_SERIES, tmp_path)
    ds = dcmread(next(w.path for w in objects if w.role == "core"))
    for frame in ds.PerFrameFunctionalGroupsSequence:
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        uid = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        plane = next(s for s in source.slices if s.images[0].sop_instance_uid == uid)
        np.testing.assert_allclose(plane.position_mm, position)


CHARACTER_SETS = {
    "japanese": (
        ["", "ISO 2022 IR 87"],
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "ID-漢字",
    ),
    "japanese_kana": (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎", "ID-1"),
    "arabic": (["ISO_IR 127"], "قباني^لنزار", "ID-2"),
    "utf8": (["ISO_IR 192"], "Wang^XiaoDong=王^小東", "ID-é"),
    "korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", "ID-3"),
    "chinese": (["GB18030"], "Wang^XiaoDong=王^小东", "ID-4"),
    "latin": (["ISO_IR 100"], "Müller^Jürgen", "ID-ü"),
}


@pytest.mark.parametrize("name", CHARACTER_SETS)
def test_names_survive_byte_for_byte(tmp_path: Path, name: str) -> None:
    character_sets, patient, identifier = CHARACTER_SETS[name]
    grid = geometry(2)
    paths = source_files(
        tmp_path / "source", grid, times=1, SpecificCharacterSet=character_sets,
        PatientName=patient, PatientID=identifier, ReferringPhysicianName=patient,
        Manufacturer="SCANNERWORKS", StudyDescription=identifier,
    )  # fmt: skip
    source = SourceImages.from_files(paths)
    objects = write_results(
        perfusion_result(grid), source, RUN, EVERYTHING, DEFAULT_SERIES, tmp_path / "out"
    )
    original = dcmread(paths[0])
    assert str(original.PatientName) == patient
    for w in objects:
        ds = dcmread(w.path)
        for keyword in ("SpecificCharacterSet", "PatientName", "PatientID", "StudyDescription",
                        "ReferringPhysicianName"):  # fmt: skip
            assert ds.get_item(keyword).value == dcmread(paths[0]).get_item(keyword).value
        assert str(ds.PatientName) == patient
        assert ds.PatientID == identifier
        assert ds.TimezoneOffsetFromUTC == "+0100"
        assert ds.IssuerOfPatientID == "HOSPITAL"
    assert_valid(w.path for w in objects)
    dump_report(objects[0].path)


def test_bytes_that_do_not_fit_their_character_set_are_kept(tmp_path: Path) -> None:
    path = source_files(tmp_path / "source", geometry(1), times=1, PatientName="MULLER^A")[0]
    path.write_bytes(path.read_bytes().replace(b"MULLER^A", b"M\xfcLLER^A"))
    source = SourceImages.from_files([path])
    objects = write_results(
        perfusion_result(geometry(1)), source, RUN, EVERYTHING, DEFAULT_SERIES, tmp_path / "out"
    )
    assert all(b"M\xfcLLER^A" in w.path.read_bytes() for w in objects)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    enhanced=st.booleans(),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4
    ),
)
def test_a_damaged_source_still_gets_a_report(
    tmp_path_factory: pytest.TempPathFactory, enhanced: bool, changes: list[tuple[float, int]]
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    make = enhanced_mr_files if enhanced else source_files
    path = make(folder / "source", geometry(1), times=1)[0]
    damaged = bytearray(path.read_bytes())
    start = damaged.index(b"DICM") + 150
    for place, value in changes:
        damaged[start + int(place * (len(damaged) - start))] = value
    path.write_bytes(damaged)
    try:
        source = SourceImages.from_files([path])
    except DicomReadError:
        return
    objects = write_results(not_analysed(), source, RUN, Wants(), DEFAULT_SERIES, folder / "out")
    assert [w.role for w in objects] == ["report"]


def test_a_source_of_an_unknown_class_still_gets_a_report(tmp_path: Path) -> None:
    paths = source_files(tmp_path / "source", geometry(1), times=1, SOPClassUID="1.2.3.4")
    source = SourceImages.from_files(paths)
    objects = write_results(not_analysed(), source, RUN, Wants(), DEFAULT_SERIES, tmp_path / "out")
    study = dcmread(objects[0].path).CurrentRequestedProcedureEvidenceSequence[0]
    instance = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert instance.ReferencedSOPClassUID == "1.2.3.4"
    assert_valid([objects[0].path])


def test_issuers_and_de_identification_are_carried_over(tmp_path: Path) -> None:
    qualifiers, issuer, method = Dataset(), Dataset(), Dataset()
    qualifiers.UniversalEntityID, qualifiers.UniversalEntityIDType = "1.2.3", "ISO"
    issuer.LocalNamespaceEntityID = "RIS"
    method.CodeValue, method.CodingSchemeDesignator, method.CodeMeaning = "113100", "DCM", "Basic"
    grid = geometry(1)
    paths = source_files(
        tmp_path / "source", grid, times=1, PatientIdentityRemoved="YES",
        IssuerOfPatientIDQualifiersSequence=[qualifiers],
        IssuerOfAccessionNumberSequence=[issuer], DeidentificationMethodCodeSequence=[method],
    )  # fmt: skip
    source = SourceImages.from_files(paths)
    objects = write_results(
        perfusion_result(grid), source, RUN, EVERYTHING, DEFAULT_SERIES, tmp_path / "out"
    )
    for w in objects:
        ds = dcmread(w.path)
        assert ds.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "1.2.3"
        assert ds.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "RIS"
        assert ds.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert "DeidentificationMethod" not in ds
    assert_valid(w.path for w in objects)


def test_a_source_that_lacks_almost_everything(tmp_path: Path) -> None:
    grid = geometry(2)
    paths = []
    for index in range(2):
        ds = source_dataset(grid, 0, index)
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate",
                        "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName",
                        "Manufacturer", "FrameOfReferenceUID", "PositionReferenceIndicator",
                        "BodyPartExamined", "KVP", "TimezoneOffsetFromUTC"):  # fmt: skip
            delattr(ds, keyword)
        ds.IssuerOfPatientID, ds.PatientIdentityRemoved, ds.DeidentificationMethod = "", "YES", ""
        paths.append(save(ds, tmp_path / f"{index}.dcm"))
    source = SourceImages.from_files(paths)
    objects = write_results(
        perfusion_result(grid), source, RUN, EVERYTHING, DEFAULT_SERIES, tmp_path / "out"
    )
    assert_valid(w.path for w in objects)
    for w in objects:
        ds = dcmread(w.path)
        assert ds["PatientBirthDate"].is_empty
        assert "IssuerOfPatientID" not in ds
        assert ds.DeidentificationMethod
        assert ds.InstanceCreationTime == "114530.250000"
        assert "ContributingEquipmentSequence" not in ds
    frames = {dcmread(w.path).get("FrameOfReferenceUID") for w in objects} - {None}
    assert len(frames) == 1


def test_no_identity_in_names_of_files_or_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    grid = geometry(2)
    source = SourceImages.from_files(
        source_files(tmp_path / "source", grid, PatientName="SECRETNAME", PatientID="SECRETID")
    )
    objects = write_results(
        perfusion_result(grid), source, RUN, EVERYTHING, DEFAULT_SERIES, tmp_path / "out"
    )
    said = caplog.text + "".join(str(w.path.name) for w in objects)
    assert "SECRET" not in said


def test_names_that_cannot_be_files_are_refused(tmp_path: Path) -> None:
    grid = geometry(2)
    source = SourceImages.from_files(source_files(tmp_path / "source", grid, times=1))
    result = perfusion_result(grid)
    twice = replace(result, images=(replace(result.images[0], name="cbf"),))
    with pytest.raises(ValueError, match="two results are called 'cbf'"):
        write_results(twice, source, RUN, Wants(), DEFAULT_SERIES, tmp_path / "a")
    outside = replace(result, images=(replace(result.images[0], name="../x"),))
    with pytest.raises(ValueError, match="cannot be the name of a result"):
        write_results(outside, source, RUN, Wants(), DEFAULT_SERIES, tmp_path / "b")


def test_a_result_without_pictures(tmp_path: Path) -> None:
    grid = geometry(2)
    source = SourceImages.from_files(source_files(tmp_path / "source", grid, times=1))
    result = replace(
        perfusion_result(grid), pipeline="ncct_ich", images=(), maps=(), segmentations=(),
        measurements=(), criteria=(), side=None, findings=(Finding("ich", True, 0.97),),
    )  # fmt: skip
    objects = write_results(result, source, RUN, Wants(), DEFAULT_SERIES, tmp_path / "out")
    assert [w.role for w in objects] == ["report"]
    assert "CT of head" in dump_report(objects[0].path)
    assert_valid(w.path for w in objects)


def shared_grid(
    source: SourceImages, spacing: tuple[float, float], size: tuple[int, int]
) -> Geometry:
    header = source.header
    if "ImageOrientationPatient" in header:
        orientation = header.ImageOrientationPatient
    else:
        groups = [
            header.PerFrameFunctionalGroupsSequence[0],
            header.SharedFunctionalGroupsSequence[0],
        ]
        plane = next(g.PlaneOrientationSequence for g in groups if "PlaneOrientationSequence" in g)
        orientation = plane[0].ImageOrientationPatient
    cosines = np.array(orientation, float)
    positions = np.array([s.position_mm for s in source.slices])
    return Geometry(positions, cosines[:3], cosines[3:], spacing, *size)


@pytest.mark.shared_data
@pytest.mark.parametrize(
    "name", ["ctp-sample", "ct-head-ge", "mr-temporal-position", "mr-enhanced-time"]
)
def test_sources_of_real_scanners(tmp_path: Path, name: str) -> None:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"the example studies are not at {SHARED}")
    source = SourceImages.from_files(sorted(folder.glob("*.dcm")))
    grid = shared_grid(source, (0.9, 0.9), (64, 64))
    result = perfusion_result(grid, warnings=(Warning("motion", "much", 2.0),))
    objects = write_results(result, source, RUN, EVERYTHING, DEFAULT_SERIES, tmp_path / "out")
    assert_valid(w.path for w in objects)
    dump_report(objects[0].path)
    derived = [dcmread(w.path) for w in objects if w.role == "cbf"]
    np.testing.assert_allclose([d.ImagePositionPatient for d in derived], grid.positions_mm)
    for d in derived:
        assert d.StudyInstanceUID == source.study_uid
        assert d.FrameOfReferenceUID == source.header.FrameOfReferenceUID
        assert d.PatientName == source.header.PatientName
    page = next(w for w in objects if w.role == "tmax_colour")
    assert run_tool("dcm2pnm", "+on", page.path, tmp_path / "page.png").returncode == 0


@pytest.mark.shared_data
def test_a_map_on_slabs_references_the_slices_inside(tmp_path: Path) -> None:
    folder = SHARED / "ctp-sample"
    if not folder.is_dir():
        pytest.skip(f"the example studies are not at {SHARED}")
    source = SourceImages.from_files(sorted(folder.glob("*.dcm")))
    fine = shared_grid(source, (0.9, 0.9), (64, 64))
    slabs = replace(fine, positions_mm=(fine.positions_mm[::2] + fine.positions_mm[1::2]) / 2)
    result = replace(perfusion_result(slabs), maps=perfusion_result(slabs).maps[:1])
    objects = write_results(result, source, RUN, Wants(), DEFAULT_SERIES, tmp_path)
    derived = [dcmread(w.path) for w in objects if w.role == "cbf"]
    assert len(derived) == 8
    assert [len(d.SourceImageSequence) for d in derived] == [60] * 8
    assert head_values(slabs, 0, 1).shape == slabs.shape
    assert_valid(w.path for w in objects)
