"""Small studies: complete, deterministic, and broken exactly where asked."""

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import (
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from tests.support.analytic.head import Tissue
from tests.support.dicom_factory import (
    TIME_POINTS,
    ctp_datasets,
    ncct_datasets,
    save,
    small_ctp,
    transcode,
)
from training.simulate.scanner import SCANNERS, Scanner


@pytest.mark.parametrize("vendor", SCANNERS)
def test_complete_and_unique(vendor: Scanner) -> None:
    images = ctp_datasets(vendor=vendor)
    count = 4 * TIME_POINTS[vendor]
    assert len(images) == count
    assert len({ds.SOPInstanceUID for ds in images}) == count
    assert len({ds.StudyInstanceUID for ds in images}) == 1
    assert len({ds.SeriesInstanceUID for ds in images}) == (19 if vendor == "canon" else 1)
    assert len({tuple(ds.ImagePositionPatient) for ds in images}) == 4


def test_the_small_head_can_be_analysed() -> None:
    ctp = small_ctp()
    enhancement = ctp.frames - ctp.frames[:4].mean(axis=0)
    phantom = ctp.phantom
    assert enhancement[:, phantom.fractions[Tissue.ARTERY] > 0.9].max() > 200
    assert enhancement[:, phantom.fractions[Tissue.VEIN] > 0.9].max() > 150
    volumes = phantom.geometry.voxel_volumes_ml
    assert phantom.hypoperfused.sum(axis=(1, 2)) @ volumes > 20
    assert phantom.core.sum(axis=(1, 2)) @ volumes > 3
    tissue = enhancement[:, phantom.brain & (phantom.tmax_s < 2)].mean(axis=1)
    assert 3 < tissue.max() < 16


def test_equal_arguments_give_equal_images_and_salt_another_study() -> None:
    first, second = ctp_datasets(slices=2, time_points=2), ctp_datasets(slices=2, time_points=2)
    assert first == second
    other = ctp_datasets(slices=2, time_points=2, salt="again")
    uids = {ds.SOPInstanceUID for ds in first}
    assert uids.isdisjoint({ds.SOPInstanceUID for ds in other})
    assert first[0].PixelData == other[0].PixelData


def test_identity_and_midnight() -> None:
    images = ctp_datasets(
        slices=2,
        patient_id="P 7",
        patient_name="Müller^Jörg",
        character_set="ISO_IR 192",
        timezone="+0200",
        start=dt.datetime(2024, 2, 28, 23, 59, 50),
    )
    assert images[0].PatientID == "P 7"
    assert str(images[0].PatientName) == "Müller^Jörg"
    assert images[0].SpecificCharacterSet == "ISO_IR 192"
    assert images[0].TimezoneOffsetFromUTC == "+0200"
    assert {ds.StudyDate for ds in images} == {"20240228"}
    assert [images[0].AcquisitionDate, images[-1].AcquisitionDate] == ["20240228", "20240229"]


def test_gaps_and_truncation() -> None:
    full = ctp_datasets(slices=2, time_points=6)
    dropped = ctp_datasets(slices=2, time_points=6, drop=[0, 5])
    assert [ds.SOPInstanceUID for ds in dropped] == [
        ds.SOPInstanceUID for index, ds in enumerate(full) if index not in (0, 5)
    ]
    cut = ctp_datasets(slices=2, time_points=6, keep_time_points=4)
    assert cut == full[:8]


def test_without_contrast_and_without_patient() -> None:
    still = small_ctp(slices=2, time_points=12, noise_hu=1.0, contrast=False)
    assert abs(float(still.frames[9:].mean() - still.frames[:3].mean())) < 0.1
    images = ctp_datasets(slices=2, time_points=2, all_air=True)
    stored = images[0].pixel_array + images[0].RescaleIntercept
    assert set(np.unique(stored)) == {-1000}


def test_broken_images() -> None:
    images = ctp_datasets(
        slices=2, time_points=2, remove=["PatientBirthDate", "Laterality"], zero_length_pixels=[1]
    )
    assert not any("PatientBirthDate" in ds for ds in images)
    assert [len(ds.PixelData) for ds in images] == [8192, 0, 8192, 8192]


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, JPEGLosslessSV1, RLELossless, JPEG2000Lossless]
)
@pytest.mark.parametrize("vendor", ["siemens", "ge"])
def test_transfer_syntaxes_keep_pixels(syntax: str, vendor: Scanner, tmp_path: Path) -> None:
    plain = ctp_datasets(vendor=vendor, slices=1, time_points=2)
    coded = ctp_datasets(vendor=vendor, slices=1, time_points=2, transfer_syntax=syntax)
    for before, path in zip(plain, save(coded, tmp_path), strict=True):
        after = dcmread(path)
        assert after.file_meta.TransferSyntaxUID == syntax
        assert after.SOPInstanceUID == before.SOPInstanceUID
        np.testing.assert_array_equal(after.pixel_array, before.pixel_array)


def test_unknown_transfer_syntax_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of"):
        transcode(ctp_datasets(slices=1, time_points=1)[0], JPEGBaseline8Bit)


def test_ncct_is_one_volume(tmp_path: Path) -> None:
    images = ncct_datasets(drop=[2], remove=["StudyID"])
    assert len(images) == 7
    assert len({ds.SeriesInstanceUID for ds in images}) == 1
    assert [path.exists() for path in save(images, tmp_path / "new")] == [True] * 7
