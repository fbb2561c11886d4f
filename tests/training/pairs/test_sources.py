"""Which series of a folder is read, on tiny images in the vendors' ways of writing."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import generate_uid

from inference.errors import NotAnalysable
from tests.inference.preprocess.moving_head import even
from training.pairs.sources import read_ctp, read_ncct
from training.simulate.dicom.ct import ctp_datasets, ctp_times, ncct_datasets
from training.simulate.dicom.identity import Identity
from training.simulate.scanner import Scanner

GRID = even(6, 5.0, 16)
START = dt.datetime(2026, 1, 1, 10)
WHO = Identity("a", "P1", "A^B", START)
TIMES = 8


def ctp(
    folder: Path, scanner: Scanner = "siemens", who: Identity = WHO
) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """Write a CT perfusion; returns its frames."""
    data = np.arange(TIMES * 6 * 256).reshape(TIMES, *GRID.shape).astype(np.int16) % 2000 - 1000
    times = ctp_times(scanner, 6, TIMES)
    save(ctp_datasets(who, scanner, GRID, data, times, START, exposure_mas=150.0), folder)
    return data


def ncct(folder: Path, who: Identity = WHO, shift: int = 0) -> None:
    data = np.full(GRID.shape, 40 + shift, np.int16)
    save(
        ncct_datasets(who, "siemens", GRID, data, START, thickness_mm=5.0, kvp=120.0,
                      times_s=np.arange(6.0)),
        folder,
    )  # fmt: skip


def save(images: Iterable[Dataset], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for ds in images:
        dcmwrite(folder / f"{ds.SOPInstanceUID}.dcm", ds, enforce_file_format=True)


@pytest.mark.parametrize("scanner", ["siemens", "ge", "philips", "canon"])
def test_a_perfusion_is_read_as_every_vendor_writes_it(scanner: Scanner, tmp_path: Path) -> None:
    data = ctp(tmp_path, scanner)
    ncct(tmp_path)  # of the same study, in the same folder
    read = read_ctp(tmp_path)
    middle = np.s_[..., 6:10, 6:10]  # some vendors write nothing outside a circle
    assert np.array_equal(read.image.data[middle], data[middle])
    assert len(read.image.source.series_uids) == (TIMES if scanner == "canon" else 1)
    head = read_ncct(tmp_path)
    assert head.image.data.shape == GRID.shape
    assert (head.image.data == 40).all()
    assert read.patient == head.patient != ""


def test_more_than_one_series_of_a_kind_is_refused(tmp_path: Path) -> None:
    ncct(tmp_path)
    ncct(tmp_path, replace(WHO, variant="bone kernel"), 5)
    with pytest.raises(NotAnalysable, match=r"2 series of head CT .* among 2 series of 12 images"):
        read_ncct(tmp_path)
    ctp(tmp_path / "two")
    ctp(tmp_path / "two", who=replace(WHO, variant="again"))
    with pytest.raises(NotAnalysable, match=r"2 series of CT perfusion .* holds only the wanted"):
        read_ctp(tmp_path / "two")


def test_a_folder_without_the_kind_is_refused(tmp_path: Path) -> None:
    ncct(tmp_path / "head")
    with pytest.raises(NotAnalysable, match="no CT perfusion among 1 series of 6 images"):
        read_ctp(tmp_path / "head")
    ctp(tmp_path / "ctp")
    with pytest.raises(NotAnalysable, match="no head CT without contrast"):
        read_ncct(tmp_path / "ctp")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "letter.txt").write_text("no image")
    with pytest.raises(NotAnalysable, match=r"no CT perfusion among 0 series .*1 file"):
        read_ctp(tmp_path / "empty")


def test_images_of_two_patients_are_never_one_acquisition(tmp_path: Path) -> None:
    ctp(tmp_path, "canon")
    for path in sorted(tmp_path.iterdir())[: 6 * TIMES // 2]:
        ds = dcmread(path)
        ds.PatientID = "P2"
        ds.save_as(path)
    with pytest.raises(NotAnalysable, match="CT perfusion"):
        read_ctp(tmp_path)


def test_a_missing_image_is_told(tmp_path: Path) -> None:
    ctp(tmp_path)
    victim = sorted(tmp_path.iterdir())[20]
    victim.write_bytes(victim.read_bytes()[:300])
    with pytest.raises(NotAnalysable, match=r"CT perfusion: 1 of 48 .*; 1 files cannot be read"):
        read_ctp(tmp_path)


def test_a_localizer_is_no_head_ct(tmp_path: Path) -> None:
    ncct(tmp_path)
    images = ncct_datasets(
        replace(WHO, variant="scout"), "siemens", GRID, np.zeros(GRID.shape, np.int16), START,
        thickness_mm=5.0, kvp=120.0, times_s=np.arange(6.0),
    )  # fmt: skip
    for ds in images:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        save([ds], tmp_path)
    assert (read_ncct(tmp_path).image.data == 40).all()
