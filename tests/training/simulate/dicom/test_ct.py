"""Simulated CT as DICOM: valid, timed and valued as each vendor does it."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from tests.dicom_node.write.validators import run_tool
from tests.training.simulate.dicom.studies import (
    MIDDLE,
    START,
    complaints,
    elapsed_s,
    hu,
    identity,
    stack,
    write,
)
from training.simulate.anatomy.person import Cohort
from training.simulate.arrays import FloatArray, Int16Array
from training.simulate.dicom import ctp_datasets, ctp_times, ncct_datasets
from training.simulate.scanner import SCANNERS, Scanner

VARIETIES: list[tuple[int | None, Cohort]] = [(None, "usual"), (3, "usual"), (4, "shifted")]


def ctp(
    scanner: Scanner, slices: int = 4, times_s: FloatArray | None = None, **changes: object
) -> list[Dataset]:
    times = ctp_times(scanner, slices) if times_s is None else times_s
    frames = hu((len(times), *stack(slices).shape))
    return list(
        ctp_datasets(identity(), scanner, stack(slices), frames, times, START, **changes)  # type: ignore[arg-type]
    )


def at_first_position(images: list[Dataset]) -> list[Dataset]:
    lowest = min(float(ds.ImagePositionPatient[2]) for ds in images)
    return [ds for ds in images if float(ds.ImagePositionPatient[2]) == lowest]


@pytest.mark.parametrize(("seed", "cohort"), VARIETIES)
@pytest.mark.parametrize("scanner", SCANNERS)
def test_images_are_valid(
    scanner: Scanner, seed: int | None, cohort: Cohort, tmp_path: Path
) -> None:
    patient, geometry = identity(seed, cohort), stack(2, tilt_deg=-14)
    times = ctp_times(scanner, 2, 2)
    series = {
        "ncct": ncct_datasets(patient, scanner, geometry, hu(geometry.shape), START),
        "ctp": ctp_datasets(patient, scanner, geometry, hu((2, *geometry.shape)), times, START),
    }
    paths = [path for name, images in series.items() for path in write(images, tmp_path / name)]
    assert complaints(paths[0]) == []
    assert complaints(paths[-1]) == []
    entities = run_tool("dcentvfy", *paths)
    assert entities.stdout + entities.stderr == ""


@pytest.mark.parametrize("cohort", ["usual", "shifted"])
@pytest.mark.parametrize("scanner", SCANNERS)
def test_stored_values_are_hu(scanner: Scanner, cohort: Cohort) -> None:
    geometry = stack(2)
    volume = hu(geometry.shape)
    volume[0, 10, 10], volume[0, 10, 11] = 3000, -1024
    images = ncct_datasets(identity(cohort=cohort), scanner, geometry, volume, START)
    for ds, expected in zip(images, volume, strict=True):
        values = ds.pixel_array.astype(int) * int(ds.RescaleSlope) + int(ds.RescaleIntercept)
        np.testing.assert_array_equal(values[MIDDLE], expected[MIDDLE])


@given(st.integers(-32768, 32767))
@settings(max_examples=25, deadline=None)
def test_what_the_bits_cannot_hold_is_clipped(value: int) -> None:
    geometry = stack(1)
    volume = np.full(geometry.shape, value, dtype=np.int16)
    for scanner in SCANNERS:
        (ds,) = ncct_datasets(identity(), scanner, geometry, volume, START)
        bits, intercept = int(ds.BitsStored), int(ds.RescaleIntercept)
        lowest = -(2 ** (bits - 1)) if ds.PixelRepresentation else 0
        expected = np.clip(value - intercept, lowest, lowest + 2**bits - 1)
        assert ds.pixel_array[12, 12] == expected


def test_ge_pads_outside_the_reconstruction_circle() -> None:
    ds = ctp("ge")[0]
    assert ds.PixelPaddingValue == ds.pixel_array[0, 0] == -2000
    assert ds.pixel_array[0, 12] != -2000
    assert np.mean(ds.pixel_array == -2000) == pytest.approx(1 - np.pi / 4, abs=0.05)
    assert "PixelPaddingValue" not in ctp("siemens")[0]


def test_siemens_times_every_slice() -> None:
    images = ctp("siemens")
    times = [elapsed_s(ds) for ds in images]
    assert times == sorted(times)
    assert len(set(times[:4])) == 4
    gaps = np.diff([elapsed_s(ds) for ds in at_first_position(images)])
    assert gaps.min() > 1.3
    assert gaps.max() < 1.7
    assert [ds.AcquisitionNumber for ds in images[::4]] == list(range(1, 31))


def test_ge_hides_time_in_a_private_element() -> None:
    images = ctp("ge", times_s=ctp_times("ge", 4, 12))
    assert len({ds.AcquisitionTime for ds in images}) == 1
    first = at_first_position(images)
    assert [float(ds[0x0019, 0x1024].value) for ds in first] == [n + 0.5 for n in range(12)]
    assert {ds[0x0019, 0x0010].value for ds in images} == {"GEMS_ACQU_01"}
    assert {ds.ImagesInAcquisition for ds in images} == {48}
    assert [ds.InstanceNumber for ds in first] == list(range(1, 13))
    assert not any((0x0043, 0x0010) in ds for ds in images)


def test_ge_shuttle_adds_the_delta_start_time() -> None:
    times = np.arange(10)[:, None] * 2.8 + np.array([0, 0, 1.4, 1.4])
    images = ctp("ge", times_s=times)
    assert len({ds.AcquisitionTime for ds in images}) == 1
    found = {(ds[0x0043, 0x0010].value, float(ds[0x0043, 0x101E].value)) for ds in images}
    assert found == {("GEMS_PARM_01", round(1000 * time, 3)) for time in times.flat}


def test_philips_alternates_two_table_positions() -> None:
    images = ctp("philips", times_s=ctp_times("philips", 4, 10))
    heights = [float(ds.ImagePositionPatient[2]) for ds in images]
    assert [height > np.median(heights) for height in heights] == [False, False, True, True] * 10
    assert [elapsed_s(ds) for ds in images[:6]] == [0, 0, 1.5, 1.5, 3, 3]
    assert {ds.NumberOfTemporalPositions for ds in images} == {10}
    assert [ds.TemporalPositionIdentifier for ds in images[::4]] == list(range(1, 11))


def test_canon_writes_a_series_per_volume_with_its_own_exposure() -> None:
    exposures = np.linspace(80, 200, 19)
    images = ctp("canon", exposure_mas=exposures, rotation_s=0.5)
    series = list(dict.fromkeys(ds.SeriesInstanceUID for ds in images))
    assert len(series) == 19
    for uid, exposure in zip(series, exposures, strict=True):
        volume = [ds for ds in images if ds.SeriesInstanceUID == uid]
        assert [ds.InstanceNumber for ds in volume] == [4, 3, 2, 1]
        assert len({ds.AcquisitionTime for ds in volume}) == 1
        assert {ds.Exposure for ds in volume} == {round(exposure)}
        assert {ds.XRayTubeCurrent for ds in volume} == {round(exposure / 0.5)}
    gaps = np.diff([elapsed_s(ds) for ds in at_first_position(images)])
    assert set(gaps) == {4.0, 2.0, 5.0}
    assert len({ds.FrameOfReferenceUID for ds in images}) == 1


@pytest.mark.parametrize("scanner", SCANNERS)
def test_ncct_and_ctp_share_study_frame_of_reference_and_scanner(scanner: Scanner) -> None:
    geometry = stack(2)
    images = [
        next(ncct_datasets(identity(5), scanner, geometry, hu(geometry.shape), START)),
        next(
            ctp_datasets(
                identity(5), scanner, geometry, hu((1, *geometry.shape)), np.zeros((1, 2)), START
            )
        ),
    ]
    for keyword in (
        "StudyInstanceUID", "FrameOfReferenceUID", "ManufacturerModelName", "StationName",
        "DeviceSerialNumber", "StudyDescription", "TableHeight", "AccessionNumber",
    ):  # fmt: skip
        assert len({str(ds[keyword].value) for ds in images}) == 1, keyword
    ncct, dynamic = images
    assert ncct.SeriesInstanceUID != dynamic.SeriesInstanceUID
    assert "ContrastBolusAgent" not in ncct
    assert dynamic.ContrastBolusAgent


@pytest.mark.parametrize(("tilt_deg", "written"), [(0, 0), (18.5, 18.5), (-7, -7)])
def test_gantry_tilt_follows_the_geometry(tilt_deg: float, written: float) -> None:
    """A positive tilt leans the slice normal to the back, as in images of real tilted scans."""
    geometry = stack(3, tilt_deg=tilt_deg)
    ds = next(ncct_datasets(identity(), "ge", geometry, hu(geometry.shape), START))
    assert float(ds.GantryDetectorTilt) == pytest.approx(written, abs=0.01)
    np.testing.assert_allclose(
        [float(v) for v in ds.ImageOrientationPatient[3:]], geometry.column_cosines, atol=1e-6
    )


def test_the_protocol_is_written() -> None:
    geometry = stack(2)
    ds = next(
        ncct_datasets(
            identity(),
            "siemens",
            geometry,
            hu(geometry.shape),
            START,
            kvp=140,
            kernel="H31s",
            exposure_mas=300,
            rotation_s=1.5,
            thickness_mm=3.75,
            times_s=np.array([2.25, 0.0]),
        )
    )
    assert (float(ds.KVP), ds.ConvolutionKernel, float(ds.SliceThickness)) == (140, "H31s", 3.75)
    assert (ds.Exposure, ds.ExposureTime, ds.XRayTubeCurrent) == (300, 1500, 200)
    assert float(ds.ReconstructionDiameter) == 216
    assert float(ds.DataCollectionDiameter) >= 216
    assert elapsed_s(ds) == 2.25
    assert ds.SeriesDescription == "Head 3.75 mm"


def test_philips_writes_the_distance_of_slices() -> None:
    geometry = stack(3, step_mm=2.5)
    images = {
        scanner: next(ncct_datasets(identity(), scanner, geometry, hu(geometry.shape), START))
        for scanner in SCANNERS
    }
    assert {name for name, ds in images.items() if "SpacingBetweenSlices" in ds} == {"philips"}
    assert float(images["philips"].SpacingBetweenSlices) == 2.5
    assert float(images["philips"].SliceThickness) == 5


def test_departments_name_things_in_their_own_ways() -> None:
    geometry = stack(1)
    found = [
        next(ncct_datasets(identity(seed), scanner, geometry, hu(geometry.shape), START))
        for seed in range(12)
        for scanner in SCANNERS
    ]
    assert len({ds.SeriesDescription for ds in found}) > 10
    assert len({ds.ManufacturerModelName for ds in found}) > 8
    assert any(not ds.StudyDescription.isascii() for ds in found)


def test_midnight_lies_inside_a_scan() -> None:
    times = ctp_times("siemens", 2, 8)
    start = dt.datetime(2026, 1, 15, 23, 59, 55)
    images = ctp_datasets(
        identity(), "siemens", stack(2), hu((8, *stack(2).shape)), times, start
    )  # fmt: skip
    days = [(ds.AcquisitionDate, ds.AcquisitionTime[:2]) for ds in images]
    assert set(days) == {("20260115", "23"), ("20260116", "00")}


def test_frames_are_read_one_at_a_time() -> None:
    made = 0

    def frames() -> Iterator[Int16Array]:
        nonlocal made
        while True:
            made += 1
            yield hu(stack(2).shape)

    images = ctp_datasets(identity(), "ge", stack(2), frames(), ctp_times("ge", 2, 5), START)
    next(images)
    assert made == 1


def test_what_does_not_fit_is_refused() -> None:
    frames = hu((3, *stack(2).shape))
    with pytest.raises(ValueError, match="3 slices"):
        next(ctp_datasets(identity(), "ge", stack(2), frames, np.zeros((3, 3)), START))
    with pytest.raises(ValueError, match="more frames than"):
        list(ctp_datasets(identity(), "ge", stack(2), frames, ctp_times("ge", 2, 2), START))
    with pytest.raises(ValueError, match="broadcast"):
        ctp("ge", exposure_mas=np.ones(3))


@pytest.mark.parametrize("scanner", SCANNERS)
def test_times_grow_at_every_position(scanner: Scanner) -> None:
    times = ctp_times(scanner, 16)
    assert times.shape[1] == 16
    assert np.diff(times, axis=0).min() > 0.9
    assert times.min() >= 0
    assert len(ctp_times(scanner, 3, 7)) == 7


def test_equal_arguments_give_equal_bytes(tmp_path: Path) -> None:
    first, second = (write(ctp("philips", 2), tmp_path / name) for name in ("a", "b"))
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
