"""Simulated patients as DICOM: valid, and timed as each vendor does it."""

import datetime as dt
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from tests.support.dicom_factory import START, ctp_datasets, ncct_datasets, save, small_ctp
from tests.support.scu import require_program
from training.simulate.dicom import SCANNERS, Identity, Scanner, ctp_times


@pytest.mark.parametrize("vendor", SCANNERS)
def test_images_are_valid(vendor: Scanner, tmp_path: Path) -> None:
    images = [ctp_datasets(vendor=vendor, slices=2)[-1], ncct_datasets(vendor=vendor, slices=2)[-1]]
    for path in save(images, tmp_path):
        done = subprocess.run(
            [require_program("dciodvfy"), "-new", str(path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        lines = (done.stdout + done.stderr).splitlines()
        unknown = [line for line in lines if "TemporalPosition" not in line and line != "CTImage"]
        assert (done.returncode, unknown) == (0, [])


@pytest.mark.parametrize("vendor", SCANNERS)
def test_a_series_is_consistent(vendor: Scanner, tmp_path: Path) -> None:
    paths = save(ctp_datasets(vendor=vendor, slices=2), tmp_path)
    done = subprocess.run(
        [require_program("dcentvfy"), *map(str, paths)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("vendor", SCANNERS)
def test_stored_values_are_hu(vendor: Scanner) -> None:
    ctp = small_ctp(vendor=vendor, slices=2)
    images = ctp_datasets(vendor=vendor, slices=2)
    positions = [float(value) for value in ctp.geometry.positions_mm[:, 2]]
    seen = dict.fromkeys(positions, 0)
    middle = np.s_[20:44, 20:44]
    for ds in images:
        height = float(ds.ImagePositionPatient[2])
        frame = ctp.frames[seen[height], positions.index(height)]
        hu = ds.pixel_array.astype(int) * int(ds.RescaleSlope) + int(ds.RescaleIntercept)
        np.testing.assert_array_equal(hu[middle], frame[middle])
        seen[height] += 1


def seconds(ds: Dataset) -> float:
    moment = dt.datetime.strptime(ds.AcquisitionDate + ds.AcquisitionTime, "%Y%m%d%H%M%S.%f")
    return (moment - START).total_seconds()


def at_first_position(images: list[Dataset]) -> list[Dataset]:
    lowest = min(float(ds.ImagePositionPatient[2]) for ds in images)
    return [ds for ds in images if float(ds.ImagePositionPatient[2]) == lowest]


def test_siemens_times_every_slice() -> None:
    images = ctp_datasets(vendor="siemens")
    times = [seconds(ds) for ds in images]
    assert times == sorted(times)
    assert len(set(times[:4])) == 4
    gaps = np.diff([seconds(ds) for ds in at_first_position(images)])
    assert gaps.min() > 1.3
    assert gaps.max() < 1.7


def test_ge_hides_time_in_a_private_element() -> None:
    images = ctp_datasets(vendor="ge", time_points=12)
    assert len({ds.AcquisitionTime for ds in images}) == 1
    first = at_first_position(images)
    assert [float(ds[0x0019, 0x1024].value) for ds in first] == [n + 0.5 for n in range(12)]
    assert {ds[0x0019, 0x0010].value for ds in images} == {"GEMS_ACQU_01"}
    assert {ds.ImagesInAcquisition for ds in images} == {48}
    assert sorted(ds.InstanceNumber for ds in images) == list(range(1, 49))
    assert images[0].pixel_array[0, 0] == images[0].PixelPaddingValue == -2000


def test_philips_alternates_two_table_positions() -> None:
    images = ctp_datasets(vendor="philips", time_points=10)
    heights = [float(ds.ImagePositionPatient[2]) for ds in images]
    slabs = [height > np.median(heights) for height in heights]
    assert slabs == [False, False, True, True] * 10
    assert [seconds(ds) for ds in images[:6]] == [0, 0, 1.5, 1.5, 3, 3]
    assert {ds.NumberOfTemporalPositions for ds in images} == {10}
    assert [ds.TemporalPositionIdentifier for ds in images[::4]] == list(range(1, 11))


def test_canon_writes_a_series_per_volume() -> None:
    images = ctp_datasets(vendor="canon")
    series = {ds.SeriesInstanceUID for ds in images}
    assert len(series) == 19
    for uid in series:
        volume = [ds for ds in images if ds.SeriesInstanceUID == uid]
        assert len(volume) == 4
        assert len({ds.AcquisitionTime for ds in volume}) == 1
    gaps = np.diff([seconds(ds) for ds in at_first_position(images)])
    assert set(gaps) == {4.0, 2.0, 5.0}
    assert len({ds.FrameOfReferenceUID for ds in images}) == 1


@pytest.mark.parametrize("scanner", SCANNERS)
def test_times_grow_at_every_position(scanner: Scanner) -> None:
    times = ctp_times(scanner, 16)
    assert times.shape[1] == 16
    assert np.diff(times, axis=0).min() > 0.9
    assert times.min() >= 0
    assert len(ctp_times(scanner, 3, 7)) == 7


def test_uids_depend_on_key_and_variant() -> None:
    identity = Identity("key", "ID", "Name", START)
    assert identity.uid("a", 1) == Identity("key", "other", "Name", START).uid("a", 1)
    assert identity.uid("a", 1) != identity.uid("a", 2)
    assert identity.uid("a").startswith("2.25.")
    assert len(identity.uid("a")) <= 64
