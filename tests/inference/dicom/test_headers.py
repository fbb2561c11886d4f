import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from inference.dicom import files
from inference.dicom.headers import FrameHeader, read_folder, read_headers
from inference.errors import DicomReadError
from tests.inference.dicom.synthetic import SHARED_DATA, dataset, enhanced, private, write


def _one(path: Path) -> FrameHeader:
    (found,) = read_headers(path)
    return found


def _written(tmp_path: Path, **elements: Any) -> FrameHeader:
    return _one(write(dataset(**elements), tmp_path / "a.dcm"))


def test_reads_identity_geometry_and_times(tmp_path: Path) -> None:
    found = _written(
        tmp_path,
        AcquisitionDateTime="20260304113100.08",
        AcquisitionDate="20260304",
        AcquisitionTime="113100.080",
        TriggerTime="2500",
        KVP="80",
        ConvolutionKernel=["J40s", "3"],
    )
    assert (found.sop_instance_uid, found.series_instance_uid) == ("1.2.3.4", "1.2.3")
    assert found.position == (0.0, 0.0, 0.0)
    assert found.pixel_spacing == (1.0, 1.0)
    assert found.acquisition_date_s is not None
    assert found.acquisition_time_s == pytest.approx(41460.08)
    assert found.acquisition_datetime_s == pytest.approx(found.acquisition_date_s + 41460.08)
    assert found.trigger_time_s == 2.5
    assert (found.kvp, found.kernel) == (80.0, "J40s/3")
    assert found.has_pixel_data
    assert found.contrast == ""


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_every_plain_encoding_gives_the_same_header(tmp_path: Path, syntax: str) -> None:
    ds = dataset(AcquisitionTime="101112", PixelPaddingValue=-2000)
    private(ds, 0x0019, "GEMS_ACQU_01", 0x24, "DS", "12.5")
    private(ds, 0x2005, "Philips MR Imaging DD 001", 0xA0, "FL", 1.5)
    found = _one(write(ds, tmp_path / "a.dcm", str(syntax)))
    assert (found.rows, found.columns, found.has_pixel_data) == (4, 4, True)
    assert found.acquisition_time_s == 36672
    assert found.ge_mid_scan_time_s == 12.5
    assert found.philips_dynamic_s == 1.5
    assert found.pixel_padding == (-2000, -2000)
    assert found.transfer_syntax_uid == syntax


def test_private_times_follow_the_private_creator(tmp_path: Path) -> None:
    ds = dataset()
    private(ds, 0x0019, "SOMEBODY ELSE", 0x24, "DS", "99")
    private(ds, 0x0019, "GEMS_ACQU_01", 0x24, "DS", "3.004")
    private(ds, 0x0043, "GEMS_PARM_01", 0x1E, "DS", "1500")
    private(ds, 0x0021, "GEMS_RELA_01", 0x5E, "DS", "20000")
    found = _one(write(ds, tmp_path / "a.dcm"))
    assert found.ge_mid_scan_time_s == 3.004
    assert found.ge_delta_start_time_s == 1.5
    assert found.ge_rtia_s == 2.0


def test_the_zone_makes_times_of_two_zones_comparable(tmp_path: Path) -> None:
    east = _written(
        tmp_path,
        AcquisitionDateTime="20260304120000",
        AcquisitionTime="120000",
        TimezoneOffsetFromUTC="+0530",
    )
    own = _written(
        tmp_path, AcquisitionDateTime="20260304063000+0000", TimezoneOffsetFromUTC="+0530"
    )
    west = _written(tmp_path, AcquisitionDateTime="20260304013000", TimezoneOffsetFromUTC="-0500")
    assert east.acquisition_datetime_s == own.acquisition_datetime_s == west.acquisition_datetime_s
    assert east.acquisition_time_s == 6.5 * 3600


@pytest.mark.parametrize(
    ("charset", "patient"),
    [("ISO 2022 IR 87", "患者1"), ("ISO_IR 127", "مريض1"), ("ISO_IR 192", "患者1"), (None, "P1")],
)
def test_patients_are_told_apart_in_any_character_set(
    tmp_path: Path, charset: str | None, patient: str
) -> None:
    codes = ["", charset] if charset == "ISO 2022 IR 87" else charset
    first = _written(tmp_path, SpecificCharacterSet=codes, PatientID=patient)
    again = _written(tmp_path, SpecificCharacterSet=codes, PatientID=patient)
    other = _written(tmp_path, SpecificCharacterSet=codes, PatientID=patient + "2")
    issued = _written(
        tmp_path, SpecificCharacterSet=codes, PatientID=patient, IssuerOfPatientID="B"
    )
    assert first.patient_key == again.patient_key
    assert other.patient_key != first.patient_key
    # a PACS adds the issuer to some images of one patient
    assert issued.patient_key == first.patient_key
    assert patient not in repr(first)


def test_an_unknown_character_set_does_not_stop_reading(tmp_path: Path) -> None:
    ds = dataset()
    path = write(ds, tmp_path / "a.dcm")
    raw = path.read_bytes()
    extra = b"\x08\x00\x05\x00CS\x0c\x00ISO_IR 999  "
    start = raw.index(b"\x08\x00\x08\x00CS")
    path.write_bytes(raw[:start] + extra + raw[start:])
    assert _one(path).patient_key


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("SOPInstanceUID", None),
        ("SeriesInstanceUID", None),
        ("StudyInstanceUID", None),
    ],
)
def test_missing_uids_are_refused(tmp_path: Path, keyword: str, value: None) -> None:
    with pytest.raises(DicomReadError, match=f"{keyword} is missing"):
        _written(tmp_path, **{keyword: value})


@pytest.mark.parametrize(
    "uid", [b"1.2/../../ab", b"..\\..\\xyzw  ", b"1.2.3 4.5.6 ", b"1..2.3.4.5.6"]
)
def test_invalid_uids_are_refused(tmp_path: Path, uid: bytes) -> None:
    path = write(dataset(SeriesInstanceUID="1.2.3.4.55.6"), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes().replace(b"1.2.3.4.55.6", uid))
    with pytest.raises(DicomReadError, match="SeriesInstanceUID is not a valid UID"):
        read_headers(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\0" * 128 + b"DICM", b"\x08\x00", bytes(300), b"II*\0" * 100]
)
def test_what_is_not_dicom_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    with pytest.raises(DicomReadError):
        read_headers(path)


def test_a_data_set_without_file_header_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bare"
    dataset().save_as(path, implicit_vr=True, little_endian=True)
    found = _one(path)
    assert found.transfer_syntax_uid == ImplicitVRLittleEndian
    assert found.has_pixel_data


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_file_cut_anywhere_never_counts_as_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.dcm"
    whole = write(dataset(SeriesDescription="x" * 60), path).read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    try:
        found = read_headers(path)
    except DicomReadError:
        return
    assert not any(header.has_pixel_data for header in found)


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=0, max_size=400), st.integers(0, 600))
def test_damaged_bytes_give_a_header_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int
) -> None:
    path = tmp_path_factory.mktemp("noise") / "a.dcm"
    whole = write(dataset(), path).read_bytes()
    path.write_bytes(whole[:place] + noise + whole[place + len(noise) :])
    try:
        read_headers(path)
    except DicomReadError:
        return


def test_truncated_pixels_are_refused(tmp_path: Path) -> None:
    path = write(dataset(), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DicomReadError, match="truncated"):
        read_headers(path)


def test_too_few_or_no_pixels_are_noticed(tmp_path: Path) -> None:
    assert not _written(tmp_path, PixelData=b"\0\0").has_pixel_data
    assert not _written(tmp_path, PixelData=None).has_pixel_data
    assert not _written(tmp_path, PixelData=b"").has_pixel_data


def test_encapsulated_pixels_are_followed_to_their_end(tmp_path: Path) -> None:
    ds = dataset()
    path = write(ds, tmp_path / "a.dcm")
    ds.compress(RLELossless)
    ds.save_as(path, enforce_file_format=True)
    assert _one(path).has_pixel_data
    whole = path.read_bytes()
    for cut in (8, 12, 40):
        path.write_bytes(whole[:-cut])
        with pytest.raises(DicomReadError, match="truncated"):
            read_headers(path)


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"Rows": 60000}, "60000"),
        ({"NumberOfFrames": 100_000_000}, "NumberOfFrames"),
        ({"NumberOfFrames": -1}, "NumberOfFrames"),
        ({"SamplesPerPixel": 200}, "samples"),
    ],
)
def test_absurd_sizes_are_refused(tmp_path: Path, elements: dict[str, Any], message: str) -> None:
    with pytest.raises(DicomReadError, match=message):
        _written(tmp_path, **elements)


def test_a_deflate_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(dataset(), tmp_path / "a.dcm", str(DeflatedExplicitVRLittleEndian))
    monkeypatch.setattr(files, "MAX_INFLATED_BYTES", 200)
    with pytest.raises(DicomReadError, match="larger than 200 bytes"):
        read_headers(path)
    meta_end = 144 + struct.unpack("<I", path.read_bytes()[140:144])[0]
    path.write_bytes(path.read_bytes()[:meta_end] + b"\xff" + zlib.compress(b"x"))
    with pytest.raises(DicomReadError, match="damaged"):
        read_headers(path)


@pytest.mark.parametrize("bad", [b"1,5 ", b"abcd", b"nan ", b"    "])
def test_malformed_numbers_are_missing_not_errors(tmp_path: Path, bad: bytes) -> None:
    path = write(dataset(KVP="7777", SliceThickness="7777"), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes().replace(b"7777", bad))
    found = _one(path)
    assert found.kvp is None
    assert found.slice_thickness is None


def test_malformed_dates_and_times_are_missing(tmp_path: Path) -> None:
    path = write(
        dataset(AcquisitionTime="111111", AcquisitionDate="20200101", ContentTime="1200"),
        tmp_path / "a.dcm",
    )
    raw = path.read_bytes().replace(b"111111", b"ANONYM").replace(b"20200101", b"20209999")
    path.write_bytes(raw)
    found = _one(path)
    assert (found.acquisition_time_s, found.acquisition_date_s) == (None, None)
    assert found.content_time_s == 43200


@pytest.mark.parametrize(
    ("elements", "attribute"),
    [
        ({"ContrastBolusAgent": "Iopromide"}, "ContrastBolusAgent"),
        ({"ContrastBolusAgent": "NONE"}, ""),
        ({"ContrastBolusAgent": ""}, ""),
        ({"ContrastBolusVolume": "40"}, "ContrastBolusVolume"),
        ({"ContrastBolusVolume": "0"}, ""),
        ({"ContrastBolusAgentSequence": Sequence([Dataset()])}, "ContrastBolusAgentSequence"),
    ],
)
def test_contrast_is_told_by_attribute(
    tmp_path: Path, elements: dict[str, Any], attribute: str
) -> None:
    assert _written(tmp_path, **elements).contrast == attribute


def test_b_values_of_the_vendors(tmp_path: Path) -> None:
    def read(group: int, creator: str, element: int, vr: str, value: Any) -> float | None:
        ds = dataset(Modality="MR")
        private(ds, group, creator, element, vr, value)
        return _one(write(ds, tmp_path / "a.dcm")).b_value

    assert read(0x0019, "SIEMENS MR HEADER", 0x0C, "IS", "1000") == 1000
    assert read(0x2001, "Philips Imaging DD 001", 0x03, "FL", 800.0) == 800
    assert read(0x0043, "GEMS_PARM_01", 0x39, "IS", ["1000001000", "8", "0", "0"]) == 1000
    assert read(0x0043, "GEMS_PARM_01", 0x39, "IS", ["1000", "8", "0", "0"]) == 1000
    assert _written(tmp_path, DiffusionBValue=1200.0).b_value == 1200
    assert _written(tmp_path, SequenceName="*ep_b1000t").b_value == 1000
    assert _written(tmp_path).b_value is None


@pytest.mark.parametrize(("representation", "expected"), [(1, (-2000, -2000)), (0, (63536, 63536))])
def test_padding_is_read_as_the_pixels_are_stored(
    tmp_path: Path, representation: int, expected: tuple[int, int]
) -> None:
    ds = dataset(PixelRepresentation=representation)
    ds.add_new("PixelPaddingValue", "US", 63536)
    assert _one(write(ds, tmp_path / "a.dcm")).pixel_padding == expected


def test_a_report_has_a_header_without_size(tmp_path: Path) -> None:
    found = _written(
        tmp_path, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", Rows=None, Columns=None,
        PixelData=None, Modality="SR",
    )  # fmt: skip
    assert (found.rows, found.has_pixel_data) == (0, False)


def test_frames_follow_the_dimension_indices(tmp_path: Path) -> None:
    found = read_headers(write(enhanced(3, 2), tmp_path / "a.dcm"))
    assert [h.frame for h in found] == [1, 2, 3, 4, 5, 6]
    assert [h.temporal_position for h in found] == [1, 2, 3, 1, 2, 3]
    assert [h.position for h in found] == [(0, 0, 0)] * 3 + [(0, 0, 5)] * 3
    assert [h.temporal_offset_s for h in found[:3]] == pytest.approx([0, 1.4, 2.8])
    first = found[0]
    assert (first.echo_time_ms, first.repetition_time_ms) == (40.0, 1400.0)
    assert first.acquisition_contrast == "PERFUSION"
    assert first.contrast == "ContrastBolusUsageSequence"
    assert first.pixel_spacing == (2.0, 2.0)


def test_frames_that_do_not_fit_their_number_are_refused(tmp_path: Path) -> None:
    ds = enhanced(3, 2)
    ds.NumberOfFrames = 5
    with pytest.raises(DicomReadError, match="NumberOfFrames is 5, but 6"):
        read_headers(write(ds, tmp_path / "a.dcm"))


def test_a_folder_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(dataset(), tmp_path / "sub" / "a.dcm")
    write(dataset(SOPInstanceUID="1.2.3.5"), tmp_path / "b")
    write(dataset(SOPClassUID="1.2.840.10008.1.3.10"), tmp_path / "DICOMDIR")
    (tmp_path / "README.txt").write_text("not an image")
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    steps: list[float] = []
    headers, unreadable = read_folder(tmp_path, steps.append)
    assert len(headers) == 2
    assert [path.name for path, _ in unreadable] == ["README.txt"]
    assert unreadable[0][1] == "not a DICOM file"
    assert steps[-1] == 1.0
    assert len(read_folder(tmp_path / "b")[0]) == 1


@pytest.mark.shared_data
def test_reads_the_examples() -> None:
    if not SHARED_DATA.is_dir():
        pytest.skip("the example studies (../shared/data) are absent")
    headers, unreadable = read_folder(SHARED_DATA)
    assert len(headers) == 480 + 28 + 4 + 100 + 7 * 12
    assert not [path for path, _ in unreadable if path.suffix == ".dcm"]
    assert all(header.has_pixel_data for header in headers)
