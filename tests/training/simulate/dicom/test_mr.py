"""Simulated MR as DICOM, classic and enhanced: valid, timed and weighted as each vendor does it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import Dataset, dcmread

from tests.dicom_node.write.validators import run_tool
from tests.training.simulate.dicom.studies import (
    START,
    complaints,
    elapsed_s,
    identity,
    interleaved,
    signal,
    stack,
    write,
)
from training.simulate.anatomy.person import Cohort
from training.simulate.arrays import FloatArray
from training.simulate.dicom import dwi_datasets, gre_datasets, pwi_datasets
from training.simulate.dicom.mr import FOLLOW_UP
from training.simulate.scanner import SCANNERS, Scanner

VARIETIES: list[tuple[int | None, Cohort]] = [(None, "usual"), (3, "usual"), (4, "shifted")]
TIMES = interleaved(4, 6, 1.5)


def pwi(
    scanner: Scanner,
    frames: npt.NDArray[np.uint16] | None = None,
    seed: int | None = None,
    *,
    enhanced: bool = False,
    split: bool = False,
) -> list[Dataset]:
    geometry = stack(4)
    volumes = signal((6, *geometry.shape)) if frames is None else frames
    return list(
        pwi_datasets(
            identity(seed), scanner, geometry, volumes, TIMES, START,
            enhanced=enhanced, object_per_time_point=split,
        )
    )  # fmt: skip


def dwi(scanner: Scanner, seed: int | None = None, *, enhanced: bool = False) -> list[Dataset]:
    geometry = stack(4)
    volumes = {1000.0: signal(geometry.shape, 2, 500), 0.0: signal(geometry.shape)}
    return list(dwi_datasets(identity(seed), scanner, geometry, volumes, START, enhanced=enhanced))


def gre(scanner: Scanner, seed: int | None = None) -> list[Dataset]:
    geometry = stack(4)
    return list(
        gre_datasets(identity(seed), scanner, geometry, signal(geometry.shape), START + FOLLOW_UP)
    )


def place(ds: Dataset) -> tuple[int, int]:
    """Time point and slice, by what the image shows."""
    shape = (6, *stack(4).shape)
    slope = float(ds.get("RescaleSlope", 1))
    apart = np.abs(signal(shape) - ds.pixel_array * slope).max(axis=(2, 3))
    time, index = np.unravel_index(int(apart.argmin()), apart.shape)
    assert apart.min() <= slope / 2 + 1e-3
    return int(time), int(index)


def written_times(images: list[Dataset], read: dict[tuple[int, int], float]) -> FloatArray:
    assert len(read) == len(images) == TIMES.size
    return np.array([[read[time, index] for index in range(4)] for time in range(6)])


@pytest.mark.parametrize(("seed", "cohort"), VARIETIES)
@pytest.mark.parametrize("scanner", SCANNERS)
def test_classic_images_are_valid(
    scanner: Scanner, seed: int | None, cohort: Cohort, tmp_path: Path
) -> None:
    patient, geometry = identity(seed, cohort), stack(2)
    frames, times = signal((2, *geometry.shape)), interleaved(2, 2, 1.5)
    volumes = {0.0: frames[0], 1000.0: frames[1]}
    series = {
        "pwi": pwi_datasets(patient, scanner, geometry, frames, times, START),
        "dwi": dwi_datasets(patient, scanner, geometry, volumes, START),
        "gre": gre_datasets(patient, scanner, geometry, frames[0], START + FOLLOW_UP),
    }
    for name, images in series.items():
        paths = write(images, tmp_path / name)
        assert complaints(paths[0]) == []
        assert complaints(paths[-1]) == []
        entities = run_tool("dcentvfy", *paths)
        assert entities.stdout + entities.stderr == ""


@pytest.mark.parametrize(("seed", "cohort"), VARIETIES)
def test_enhanced_objects_are_valid(seed: int | None, cohort: Cohort, tmp_path: Path) -> None:
    patient, geometry = identity(seed, cohort), stack(2)
    frames, times = signal((2, *geometry.shape)), interleaved(2, 2, 1.5)
    objects = [
        *pwi_datasets(patient, "siemens", geometry, frames, times, START, enhanced=True),
        *dwi_datasets(
            patient, "siemens", geometry, {0: frames[0], 1000: frames[1]}, START, enhanced=True
        ),
    ]
    for path in write(objects, tmp_path):
        assert complaints(path) == []


def test_siemens_times_every_image() -> None:
    images = pwi("siemens")
    found = written_times(images, {place(ds): elapsed_s(ds) for ds in images})
    np.testing.assert_allclose(found, TIMES, atol=1e-6)
    assert [ds.InstanceNumber for ds in images] != sorted(ds.InstanceNumber for ds in images)
    assert images[0].ScanningSequence == "EP"


def test_ge_tells_trigger_times_and_ticks() -> None:
    images = pwi("ge")
    assert len({ds.AcquisitionTime for ds in images}) == 1
    trigger = {place(ds): float(ds.TriggerTime) / 1000 for ds in images}
    ticks = {place(ds): float(ds[0x0021, 0x105E].value) / 10_000 for ds in images}
    np.testing.assert_allclose(written_times(images, trigger), TIMES, atol=1e-6)
    np.testing.assert_allclose(written_times(images, ticks), TIMES, atol=1e-4)
    assert {ds[0x0021, 0x0010].value for ds in images} == {"GEMS_RELA_01"}
    assert {ds.ImagesInAcquisition for ds in images} == {24}


def test_philips_numbers_images_at_random() -> None:
    images = pwi("philips")
    numbers = [ds.InstanceNumber for ds in images]
    assert sorted(numbers) == list(range(1, 25))
    by_time = sorted(images, key=lambda ds: (place(ds), ds.InstanceNumber))
    ordered = [ds.InstanceNumber for ds in by_time]
    assert np.mean(np.diff(ordered) == 1) < 0.3
    trigger = {place(ds): float(ds.TriggerTime) / 1000 for ds in images}
    np.testing.assert_allclose(written_times(images, trigger), TIMES, atol=1e-6)
    for ds in images:
        time, _ = place(ds)
        assert ds.TemporalPositionIdentifier == time + 1
        assert ds[0x2005, 0x10A0].value == pytest.approx(TIMES[time].min(), abs=1e-5)
    assert {ds.NumberOfTemporalPositions for ds in images} == {6}
    assert {ds[0x2005, 0x0010].value for ds in images} == {"Philips MR Imaging DD 001"}
    assert len({ds.AcquisitionTime for ds in images}) == 1


def test_canon_runs_through_time_at_every_position() -> None:
    images = pwi("canon")
    found = written_times(images, {place(ds): elapsed_s(ds) for ds in images})
    np.testing.assert_allclose(found, TIMES, atol=1e-6)
    assert all(ds.InstanceNumber == place(ds)[1] * 6 + place(ds)[0] + 1 for ds in images)


def test_every_vendor_has_its_own_b_values() -> None:
    for ds in dwi("siemens"):
        assert int(ds[0x0019, 0x100C].value) == ds.DiffusionBValue
        assert ("TRACEW" in ds.ImageType) == (ds.DiffusionBValue == 1000)
        assert "MOSAIC" not in ds.ImageType
    ge = [int(ds[0x0043, 0x1039].value[0]) for ds in dwi("ge")]
    assert ge == [1_000_000_000] * 4 + [1_000_001_000] * 4
    old = next(seed for seed in range(20) if dwi("ge", seed)[0].SoftwareVersions.startswith("HD"))
    assert {int(ds[0x0043, 0x1039].value[0]) for ds in dwi("ge", old)} == {0, 1000}
    for ds in dwi("philips"):
        assert ds[0x2001, 0x1003].value == ds.DiffusionBValue
        assert ds.DiffusionDirectionality == ("ISOTROPIC" if ds.DiffusionBValue else "NONE")
    assert [ds.DiffusionBValue for ds in dwi("canon")] == [0] * 4 + [1000] * 4
    assert all("DiffusionBValue" not in ds for ds in dwi("ge"))


@pytest.mark.parametrize("scanner", SCANNERS)
def test_diffusion_volumes_follow_each_other(scanner: Scanner) -> None:
    geometry = stack(4)
    expected = [*signal(geometry.shape), *signal(geometry.shape, 2, 500)]
    heights = [float(position[2]) for position in geometry.positions_mm]
    seen: dict[float, int] = {}
    for ds in dwi(scanner):
        height = float(ds.ImagePositionPatient[2])
        number = seen.get(height, 0)
        seen[height] = number + 1
        slope = float(ds.get("RescaleSlope", 1))
        np.testing.assert_allclose(
            ds.pixel_array * slope, expected[4 * number + heights.index(height)], atol=slope
        )
    assert set(seen.values()) == {2}


@pytest.mark.parametrize(("largest", "bits"), [(4000, 12), (9000, 16)])
def test_siemens_takes_more_bits_for_a_stronger_signal(largest: int, bits: int) -> None:
    volume = signal(stack(4).shape, largest=largest)
    frames = np.stack([volume] * 6)
    assert {ds.BitsStored for ds in pwi("siemens", frames)} == {bits}
    ds = pwi("siemens", frames)[0]
    assert any(np.array_equal(ds.pixel_array, image) for image in volume)


def test_philips_stretches_the_signal_over_its_bits() -> None:
    frames = signal((6, *stack(4).shape), largest=20_000)
    images = pwi("philips", frames)
    assert max(int(ds.pixel_array.max()) for ds in images) == 4095
    (slope,) = {float(ds.RescaleSlope) for ds in images}
    assert slope == pytest.approx(frames.max() / 4095)
    assert {ds.BitsStored for ds in images} == {12}


@pytest.mark.parametrize("scanner", SCANNERS)
def test_the_protocol_is_written(scanner: Scanner) -> None:
    geometry = stack(4, step_mm=6.5)
    ds = next(
        pwi_datasets(
            identity(), scanner, geometry, signal((6, *geometry.shape)), TIMES, START,
            echo_time_ms=32, repetition_time_ms=1510, thickness_mm=5, field_strength_t=1.5,
            flip_angle_deg=60,
        )
    )  # fmt: skip
    assert [float(ds.EchoTime), float(ds.RepetitionTime), float(ds.FlipAngle)] == [32, 1510, 60]
    assert [float(ds.SliceThickness), float(ds.SpacingBetweenSlices)] == [5, 6.5]
    assert float(ds.MagneticFieldStrength) == 1.5
    assert float(ds.ImagingFrequency) == pytest.approx(63.87, abs=0.01)
    assert "EP" in ds.ScanningSequence
    assert (ds.MRAcquisitionType, ds.Modality) == ("2D", "MR")
    assert ds.ContrastBolusAgent == "Gadolinium"


@pytest.mark.parametrize("scanner", SCANNERS)
def test_a_day_later_is_another_study_of_the_same_patient(scanner: Scanner) -> None:
    first, later = dwi(scanner, 2)[0], gre(scanner, 2)[0]
    assert int(later.StudyDate) == int(first.StudyDate) + 1
    assert (elapsed_s(later) - elapsed_s(first)) == pytest.approx(86400, abs=60)
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "AccessionNumber"):
        assert first[keyword].value != later[keyword].value
    for keyword in ("PatientID", "PatientBirthDate", "ManufacturerModelName"):
        assert first[keyword].value == later[keyword].value
    assert later.ScanningSequence == "GR"
    assert "ContrastBolusAgent" not in later


@pytest.mark.parametrize("split", [False, True])
def test_enhanced_frames_tell_place_and_time(split: bool) -> None:
    objects = pwi("siemens", enhanced=True, split=split)
    assert len(objects) == (6 if split else 1)
    geometry, frames = stack(4), signal((6, *stack(4).shape))
    seen = set()
    for ds in objects:
        pointers = [item.DimensionIndexPointer for item in ds.DimensionIndexSequence]
        assert pointers == [0x00209056, 0x00209057, 0x00209128]
        for groups, image in zip(ds.PerFrameFunctionalGroupsSequence, ds.pixel_array, strict=True):
            (content,) = groups.FrameContentSequence
            time, index = content.TemporalPositionIndex - 1, content.InStackPositionNumber - 1
            assert list(content.DimensionIndexValues) == [1, index + 1, time + 1]
            np.testing.assert_array_equal(image, frames[time, index])
            position = [float(v) for v in groups.PlanePositionSequence[0].ImagePositionPatient]
            np.testing.assert_allclose(position, geometry.positions_mm[index])
            assert elapsed_dt(content.FrameAcquisitionDateTime) == pytest.approx(
                TIMES[time, index], abs=1e-6
            )
            seen.add((time, index))
    assert len(seen) == 24


def elapsed_dt(value: str) -> float:
    ds = Dataset()
    ds.AcquisitionDate, ds.AcquisitionTime = value[:8], value[8:]
    return elapsed_s(ds)


def test_enhanced_diffusion_tells_b_values(tmp_path: Path) -> None:
    (path,) = write(dwi("siemens", enhanced=True), tmp_path)
    ds = dcmread(path)
    groups = [item.MRDiffusionSequence[0] for item in ds.PerFrameFunctionalGroupsSequence]
    assert [item.DiffusionBValue for item in groups] == [0] * 4 + [1000] * 4
    assert {item.DiffusionDirectionality for item in groups} == {"NONE", "ISOTROPIC"}
    assert ds.DimensionIndexSequence[2].DimensionIndexPointer == 0x00189087


def test_only_siemens_writes_enhanced_objects() -> None:
    for scanner in SCANNERS[1:]:
        with pytest.raises(ValueError, match=f"not as {scanner}"):
            pwi(scanner, enhanced=True)
        with pytest.raises(ValueError, match=f"not as {scanner}"):
            dwi(scanner, enhanced=True)


def test_what_does_not_fit_is_refused() -> None:
    geometry = stack(4)
    frames = signal((5, *geometry.shape))
    with pytest.raises(ValueError, match=r"shape \(6, 4\)"):
        next(pwi_datasets(identity(), "ge", geometry, frames, TIMES, START))
    with pytest.raises(ValueError, match="geometry of"):
        next(gre_datasets(identity(), "ge", geometry, frames[0, :, :8], START))
    with pytest.raises(ValueError, match="times_s"):
        next(dwi_datasets(identity(), "ge", geometry, {}, START))


def test_equal_arguments_give_equal_bytes(tmp_path: Path) -> None:
    first, second = (write(pwi("philips", seed=4), tmp_path / name) for name in ("a", "b"))
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
