"""Reading source images: slices, references, Enhanced objects, bad files."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import MRImageStorage, PositronEmissionTomographyImageStorage

from dicom_node.write.source import SourceImages
from inference.errors import DicomReadError
from tests.dicom_node.write.examples import (
    enhanced_mr_files,
    geometry,
    save,
    source_dataset,
    source_files,
)


def test_slices_ascend_and_hold_all_times(tmp_path: Path) -> None:
    grid = geometry(5, tilt_deg=18.5, heights_mm=[0, 1.08, 5, 12, 19])
    paths = source_files(tmp_path, grid, times=3)
    source = SourceImages.from_files(paths[::-1])
    heights = [float(s.position_mm @ grid.normal) for s in source.slices]
    assert heights == sorted(heights)
    np.testing.assert_allclose([s.position_mm for s in source.slices], grid.positions_mm)
    assert [len(s.images) for s in source.slices] == [3] * 5
    assert len(source.references) == 15
    assert "PixelData" not in source.header
    assert source.modality == "CT"


def test_the_order_of_paths_does_not_matter(tmp_path: Path) -> None:
    paths = source_files(tmp_path, geometry(), times=3)
    one, other = SourceImages.from_files(paths), SourceImages.from_files(paths[::-1])
    assert one.references == other.references
    assert [s.images for s in one.slices] == [s.images for s in other.slices]
    assert one.header.SOPInstanceUID == other.header.SOPInstanceUID


def test_enhanced_images_have_frame_numbers(tmp_path: Path) -> None:
    grid = geometry(3)
    source = SourceImages.from_files(enhanced_mr_files(tmp_path, grid, times=2))
    assert source.classic_sop_class == MRImageStorage
    assert [[i.frame_numbers for i in s.images] for s in source.slices] == [
        [(3,), (3,)], [(2,), (2,)], [(1,), (1,)],
    ]  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(per_slab=st.integers(1, 10), slabs=st.integers(1, 6))
def test_slabs_are_made_from_the_slices_inside(per_slab: int, slabs: int) -> None:
    from dicom_node.write.source import ImageReference, SourceSlice

    fine = geometry(heights_mm=[0.5 * i for i in range(per_slab * slabs)])
    centres = [float(np.mean(0.5 * np.arange(per_slab)) + 0.5 * per_slab * i) for i in range(slabs)]
    source = SourceImages(
        source_dataset(fine, 0, 0),
        (),
        tuple(
            SourceSlice(p, (ImageReference("1", str(i), "2"),))
            for i, p in enumerate(fine.positions_mm)
        ),
    )
    found = source.slices_of(geometry(heights_mm=centres))
    if slabs > 1:
        assert [len(planes) for planes in found] == [per_slab] * slabs
    else:
        assert len(found[0]) == 1 or per_slab % 2 == 0


def test_where_no_slice_is_inside_the_nearest_one_is_taken(tmp_path: Path) -> None:
    source = SourceImages.from_files(source_files(tmp_path, geometry(2), times=1))
    found = source.slices_of(geometry(heights_mm=[-20.0, -19.0, 1.0]))
    assert [len(planes) for planes in found] == [1, 1, 2]
    assert found[0][0] is source.slices[0]


def test_joined_files_are_referenced_only(tmp_path: Path) -> None:
    paths = source_files(tmp_path / "a", geometry(3), times=1)
    other = source_dataset(geometry(heights_mm=[2.5]), 7, 0, SeriesInstanceUID="1.2.3")
    source = SourceImages.from_files(paths, joined=[save(other, tmp_path / "b.dcm")])
    assert len(source.references) == 4
    assert len(source.slices) == 3


def test_images_without_position_are_referenced(tmp_path: Path) -> None:
    ds = source_dataset(geometry(), 0, 0)
    del ds.ImagePositionPatient
    source = SourceImages.from_files([save(ds, tmp_path / "a.dcm")])
    assert source.slices == ()
    assert len(source.references) == 1
    assert source.slices_of(geometry(2)) == [(), ()]


def test_other_planes_do_not_become_slices(tmp_path: Path) -> None:
    paths = source_files(tmp_path, geometry(3), times=1)
    scout = source_dataset(
        geometry(), 8, 0, ImageOrientationPatient=[1, 0, 0, 0, 0, -1], AcquisitionTime="000000"
    )
    source = SourceImages.from_files([*paths, save(scout, tmp_path / "zz.dcm")])
    assert len(source.slices) == 3
    assert len(source.references) == 4


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize("position", [b"a\\b\\c ", b"1\\2 ", b"1\\2\\inf "])
def test_a_position_that_is_none_is_no_error(tmp_path: Path, position: bytes) -> None:
    path = save(source_dataset(geometry(), 0, 0), tmp_path / "a.dcm")
    text = path.read_bytes()
    start = text.index(b"\x20\x00\x32\x00DS")
    length = int.from_bytes(text[start + 6 : start + 8], "little")
    value = position.ljust(length)
    path.write_bytes(text[: start + 8] + value + text[start + 8 + length :])
    assert SourceImages.from_files([path]).slices == ()


@pytest.mark.parametrize(
    ("text", "hours"),
    [("+0900", 9), ("-0330", -3.5), ("", None), ("later", None), ("+9900", None)],
)
def test_time_zone(tmp_path: Path, text: str, hours: float | None) -> None:
    source = SourceImages(source_dataset(geometry(), 0, 0, TimezoneOffsetFromUTC=text), ())
    zone = source.timezone
    offset = None if zone is None else zone.utcoffset(None)
    assert offset == (None if hours is None else timedelta(hours=hours))


def test_bad_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DicomReadError, match="no source files"):
        SourceImages.from_files([])
    text = tmp_path / "PATIENT_NAME.dcm"
    text.write_text("this is not DICOM")
    with pytest.raises(DicomReadError, match="source file 1 is not a DICOM file") as caught:
        SourceImages.from_files([text])
    assert "PATIENT_NAME" not in str(caught.value)
    nameless = source_dataset(geometry(), 0, 0)
    del nameless.SeriesInstanceUID
    with pytest.raises(DicomReadError, match="has no UID in SeriesInstanceUID"):
        SourceImages.from_files([save(nameless, tmp_path / "nameless.dcm")])
    other = save(source_dataset(geometry(), 1, 0, StudyInstanceUID="1.2.3"), tmp_path / "o.dcm")
    with pytest.raises(DicomReadError, match="files of 2 studies"):
        SourceImages.from_files([*source_files(tmp_path / "s", geometry(), times=1), other])


def test_only_ct_and_mr_have_a_classic_counterpart() -> None:
    ds = source_dataset(geometry(), 0, 0, SOPClassUID=PositronEmissionTomographyImageStorage)
    ds.Modality = "PT"
    source = SourceImages(ds, ())
    assert source.modality == "PT"
    with pytest.raises(DicomReadError, match="expected CT or MR"):
        _ = source.classic_sop_class


def test_frames_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.write.source._MAX_FRAMES", 2)
    with pytest.raises(DicomReadError, match="has 3 frames, expected at most 2"):
        SourceImages.from_files(enhanced_mr_files(tmp_path, geometry(3), times=1))


def test_sources_are_not_changed(tmp_path: Path) -> None:
    paths = source_files(tmp_path, geometry(), times=1)
    before = [path.read_bytes() for path in paths]
    source = SourceImages.from_files(paths)
    assert [path.read_bytes() for path in paths] == before
    assert set(source.header.keys()) == set(dcmread(paths[0], stop_before_pixels=True).keys())
