from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from inference.dicom import reader
from inference.dicom.headers import FrameHeader, read_folder, read_headers
from inference.dicom.reader import load_time_series, load_volume
from inference.errors import DicomReadError, NotAnalysable
from tests.inference.dicom.synthetic import MR, SHARED_DATA, dataset, enhanced, write

PIXELS = np.arange(16, dtype="<i2").reshape(4, 4)


def _slice(folder: Path, number: int, z: float, clock: float = 0.0, **elements: Any) -> FrameHeader:
    fields: dict[str, Any] = {
        "SOPInstanceUID": f"1.2.3.{number}",
        "InstanceNumber": number,
        "ImagePositionPatient": [0, 0, z],
        "AcquisitionTime": f"1200{clock:05.2f}",
    }
    (found,) = read_headers(write(dataset(**(fields | elements)), folder / f"{number}.dcm"))
    return found


def _one(folder: Path, syntax: str | None = None, **elements: Any) -> Any:
    ds = dataset(**elements)
    path = write(ds, folder / "a.dcm", syntax or "1.2.840.10008.1.2.1")
    return load_volume(read_headers(path)).data[0]


def test_a_volume_is_sorted_and_in_hounsfield_units(tmp_path: Path) -> None:
    images = [
        _slice(tmp_path, k, z, RescaleSlope=k, RescaleIntercept=-1000)
        for k, z in ((1, 10.0), (2, 0.0), (3, 5.0))
    ]
    steps: list[float] = []
    found = load_volume(images, steps.append)
    assert found.units == "HU"
    assert found.data.dtype == np.float32
    assert found.geometry.positions_mm[:, 2].tolist() == [0, 5, 10]
    for place, slope in enumerate((2, 3, 1)):
        assert found.data[place] == pytest.approx(PIXELS * slope - 1000.0)
    assert found.source.sop_instance_uids.tolist() == [["1.2.3.2", "1.2.3.3", "1.2.3.1"]]
    assert steps[-1] == 1.0


def test_a_time_series_keeps_the_time_of_every_slice(tmp_path: Path) -> None:
    images = [
        _slice(tmp_path, 2 * t + s, 5.0 * s, 1.5 * t + 0.1 * s, RescaleIntercept=100 * t)
        for t in range(3)
        for s in range(2)
    ]
    found = load_time_series(images[::-1])
    assert found.data.shape == (3, 2, 4, 4)
    assert found.times_s == pytest.approx(np.array([[0, 0.1], [1.5, 1.6], [3.0, 3.1]]))
    assert found.data[2, 1] == pytest.approx(PIXELS + 200.0)
    assert found.source.timing == "AcquisitionTime"
    assert not found.source.timing_guessed


def _echoes(folder: Path, *echo_times_ms: float | None) -> list[FrameHeader]:
    return [
        _slice(folder, t, 0.0, 1.5 * t, SOPClassUID=MR, Modality="MR", EchoTime=echo)
        for t, echo in enumerate(echo_times_ms)
    ]


def test_a_time_series_has_one_echo_time_or_none(tmp_path: Path) -> None:
    assert load_time_series(_echoes(tmp_path, 30.0, 30.02, 30.0)).echo_time_s == pytest.approx(0.03)
    assert load_time_series(_echoes(tmp_path, None, None)).echo_time_s is None
    assert load_time_series(_echoes(tmp_path, 0.0, -5.0)).echo_time_s is None
    assert load_time_series(_echoes(tmp_path, None, 45.0)).echo_time_s == pytest.approx(0.045)


def test_several_echo_times_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAnalysable, match=r"2 echo times \(15, 45 ms\)"):
        load_time_series(_echoes(tmp_path, 15.0, 45.0, 15.0, 45.0))


def test_the_echo_time_of_enhanced_mr(tmp_path: Path) -> None:
    path = write(enhanced(3, 2), tmp_path / "a.dcm")
    assert load_time_series(read_headers(path)).echo_time_s == pytest.approx(0.04)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_plain_encodings(tmp_path: Path, syntax: str) -> None:
    pixels = PIXELS.astype(">i2") if syntax == ExplicitVRBigEndian else PIXELS
    ds = dataset()
    ds.add_new("PixelData", "OW", pixels.tobytes())
    path = write(ds, tmp_path / "a.dcm", str(syntax))
    assert load_volume(read_headers(path)).data[0] == pytest.approx(PIXELS)


def _gdcm_encoded(path: Path, kind: str) -> None:
    """Recode a file with GDCM, as scanners and archives do."""
    import gdcm

    source = gdcm.ImageReader()
    source.SetFileName(str(path))
    assert source.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, kind)))
    change.SetInput(source.GetImage())
    assert change.Change()
    sink = gdcm.ImageWriter()
    sink.SetFileName(str(path))
    sink.SetFile(source.GetFile())
    sink.SetImage(change.GetOutput())
    assert sink.Write()


@pytest.mark.parametrize(
    "kind", ["JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"]
)
@pytest.mark.parametrize("signed", [True, False])
def test_lossless_encodings_give_the_same_pixels(tmp_path: Path, kind: str, signed: bool) -> None:
    shape = (64, 64)
    rng = np.random.default_rng(1)
    pixels = rng.integers(-900 if signed else 0, 2000, shape, dtype=np.int16)
    ds = dataset(
        Rows=64, Columns=64, PixelRepresentation=int(signed), PixelData=pixels.tobytes(),
        RescaleIntercept=0 if signed else -1024,
    )  # fmt: skip
    path = write(ds, tmp_path / "a.dcm")
    _gdcm_encoded(path, kind)
    (header,) = read_headers(path)
    assert header.has_pixel_data
    assert header.pixel_offset == 0
    expected = pixels + (0.0 if signed else -1024.0)
    assert load_volume([header]).data[0] == pytest.approx(expected)


def test_a_damaged_code_stream_is_a_clear_error(tmp_path: Path) -> None:
    path = write(dataset(Rows=64, Columns=64, PixelData=bytes(8192)), tmp_path / "a.dcm")
    _gdcm_encoded(path, "JPEGLSLossless")
    raw = bytearray(path.read_bytes())
    start = raw.rindex(b"\xff\xd8\xff")
    raw[start : start + 12] = bytes(12)
    path.write_bytes(raw)
    with pytest.raises(DicomReadError, match=r"1.2.840.10008.1.2.4.80 cannot be decoded"):
        load_volume(read_headers(path))


def test_padding_and_what_is_below_air_become_air(tmp_path: Path) -> None:
    pixels = PIXELS.copy()
    pixels[0] = [-2000, -1500, -1100, 40]
    found = _one(tmp_path, PixelData=pixels.tobytes(), PixelPaddingValue=-2000)
    assert found[0].tolist() == [-1024, -1024, -1024, 40]
    pixels[0] = [3000, 3050, 3101, 40]
    found = _one(
        tmp_path, PixelData=pixels.tobytes(), PixelPaddingValue=3000, PixelPaddingRangeLimit=3100
    )
    assert found[0].tolist() == [-1024, -1024, 3101, 40]


def test_bits_above_the_stored_ones_are_cut_off(tmp_path: Path) -> None:
    pixels = (PIXELS | 0x1000).astype("<u2")
    found = _one(
        tmp_path, PixelData=pixels.tobytes(), PixelRepresentation=0, BitsStored=12, HighBit=11
    )
    assert found == pytest.approx(PIXELS)
    signed = np.full((4, 4), -5, dtype="<i2")
    signed[0, 0] = -2000
    found = _one(
        tmp_path, PixelData=(signed & 0x0FFF | (signed == -2000) * -2000).astype("<i2").tobytes(),
        BitsStored=12, HighBit=11, PixelPaddingValue=-2000,
    )  # fmt: skip
    assert found[0].tolist() == [-1024, -5, -5, -5]


def test_mr_without_rescale_is_read_as_it_is(tmp_path: Path) -> None:
    path = write(
        dataset(SOPClassUID=MR, Modality="MR", RescaleSlope=None, RescaleIntercept=None),
        tmp_path / "a.dcm",
    )
    found = load_volume(read_headers(path))
    assert found.units == "1"
    assert found.data[0] == pytest.approx(PIXELS)


@pytest.mark.parametrize(
    ("elements", "error", "message"),
    [
        ({"RescaleSlope": None}, NotAnalysable, "have no HU"),
        ({"RescaleSlope": 0}, NotAnalysable, "RescaleSlope is 0"),
        ({"PixelData": None}, DicomReadError, "1 of 1 images have no or too few pixel data"),
        ({"PixelData": b"\0\0"}, DicomReadError, "no or too few"),
        (
            {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PixelData": bytes(96)},
            NotAnalysable,
            "colour",
        ),
    ],
)
def test_pixels_that_mean_nothing_are_refused(
    tmp_path: Path, elements: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _one(tmp_path, **elements)


def test_files_that_vanish_or_shrink_are_clear_errors(tmp_path: Path) -> None:
    image = _slice(tmp_path, 1, 0.0)
    image.path.write_bytes(image.path.read_bytes()[:-8])
    with pytest.raises(DicomReadError, match="truncated"):
        load_volume([image])
    image.path.unlink()
    with pytest.raises(DicomReadError, match="FileNotFoundError"):
        load_volume([image])


def test_the_memory_needed_is_checked_before_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [_slice(tmp_path, t, 0.0, 2.0 * t) for t in range(3)]
    monkeypatch.setattr(reader, "MAX_BYTES", 100)
    with pytest.raises(DicomReadError, match="GiB"):
        load_time_series(images)


def test_incomplete_or_timeless_series_are_refused(tmp_path: Path) -> None:
    images = [_slice(tmp_path, 5 * t + s, 5.0 * s, 1.5 * t) for t in range(5) for s in range(5)]
    with pytest.raises(NotAnalysable, match="1 of 25 images missing: position 3 of 5"):
        load_time_series([*images[:7], *images[8:]])
    with pytest.raises(NotAnalysable, match="5 images at each position"):
        load_volume(images)
    with pytest.raises(NotAnalysable, match="one image at each position"):
        load_time_series(images[:5])
    (tmp_path / "b").mkdir()
    timeless = [_slice(tmp_path / "b", t, 0.0) for t in range(5)]
    with pytest.raises(NotAnalysable, match="no attribute tells when"):
        load_time_series(timeless)


@pytest.mark.parametrize("compress", [False, True])
def test_frames_of_an_enhanced_object(tmp_path: Path, compress: bool) -> None:
    ds = enhanced(3, 2)
    path = write(ds, tmp_path / "a.dcm")
    if compress:
        ds.compress(RLELossless)
        ds.save_as(path, enforce_file_format=True)
    found = load_time_series(read_headers(path))
    assert found.data[:, :, 0, 0].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert found.times_s[:, 0] == pytest.approx([0, 1.4, 2.8])
    assert found.source.timing == "TemporalPositionTimeOffset"


def test_diffusion_takes_the_images_near_b_1000(tmp_path: Path) -> None:
    images = []
    number = 0
    for b_value, level, direction in ((0, 900, 0), (1000, 100, 1), (1000, 400, 2), (2000, 10, 3)):
        for z in (0.0, 5.0):
            number += 1
            pixels = np.full((4, 4), level, dtype="<i2").tobytes()
            images.append(
                _slice(
                    tmp_path,
                    number,
                    z,
                    SOPClassUID=MR,
                    Modality="MR",
                    PixelData=pixels,
                    DiffusionBValue=float(b_value),
                    AcquisitionNumber=direction,
                )
            )
    found = load_volume(images)
    assert found.data.shape == (2, 4, 4)
    assert found.data == pytest.approx(200.0, rel=1e-4)
    with pytest.raises(NotAnalysable, match="missing at some positions"):
        load_volume([image for image in images if image.instance_number != 3])
    trace = _slice(
        tmp_path, 99, 0.0, SOPClassUID=MR, Modality="MR", DiffusionBValue=1000.0,
        ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"],
    )  # fmt: skip
    assert load_volume([*images, trace]).data[0] == pytest.approx(PIXELS)


@pytest.mark.shared_data
def test_reads_the_examples() -> None:
    if not SHARED_DATA.is_dir():
        pytest.skip("the example studies (../shared/data) are absent")
    ctp = load_time_series(read_folder(SHARED_DATA / "ctp-sample")[0])
    assert ctp.data.shape == (30, 16, 256, 256)
    ncct = load_volume(read_folder(SHARED_DATA / "ct-head-ge")[0])
    assert ncct.data.min() == -1024
    assert not ncct.geometry.evenly_spaced
