"""Sources and results to write, made here so that no file is needed."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
)

from dicom_node.config import Wants
from dicom_node.write.results import RunIdentity
from inference.geometry import Geometry
from inference.quantities import CBF, CBV, MTT, TMAX, TTP, Quantity
from inference.results import (
    Criterion,
    Curve,
    DerivedImage,
    Finding,
    Measurement,
    ParameterMap,
    PipelineResult,
    Segmentation,
    Warning,
)

EVERYTHING = Wants(
    derived_images=True,
    secondary_captures=True,
    segmentations=True,
    reports=True,
    parametric_maps=True,
)
ROOT = "1.2.826.0.1.3680043.8.498.77"
RUN = RunIdentity(
    run_uid="2.25.314159",
    software_version="0.1.0",
    created=datetime(2026, 3, 4, 11, 45, 30, 250000, tzinfo=UTC),
)


def geometry(
    slices: int = 4,
    size: int = 24,
    *,
    tilt_deg: float = 0.0,
    heights_mm: list[float] | None = None,
    spacing_mm: tuple[float, float] = (8.0, 7.0),
) -> Geometry:
    """Axial slices, with the gantry tilted about x by ``tilt_deg``."""
    z = np.array(heights_mm if heights_mm is not None else [5.0 * i for i in range(slices)])
    angle = np.radians(tilt_deg)
    positions = np.stack([np.full(len(z), -90.0), np.full(len(z), -85.0), z - 10], axis=1)
    column = np.array([0.0, np.cos(angle), -np.sin(angle)])
    return Geometry(positions, np.array([1.0, 0.0, 0.0]), column, spacing_mm, size, size + 2)


def head_values(grid: Geometry, low: float, high: float) -> np.ndarray:
    """Values that differ between the patient's sides, NaN outside an ellipse."""
    rows = np.linspace(-1, 1, grid.rows)[:, None]
    columns = np.linspace(-1, 1, grid.columns)[None, :]
    inside = rows**2 + columns**2 < 0.8
    slices = np.linspace(0, 0.2, grid.slices)[:, None, None]
    values = low + (high - low) * (0.4 + 0.3 * columns + 0.1 * rows + slices)
    return np.where(inside, values, np.nan).astype(np.float32)


def region(grid: Geometry, radius: float, slices: slice) -> np.ndarray:
    """A disc on the image's left, in some slices."""
    rows = np.linspace(-1, 1, grid.rows)[:, None]
    columns = np.linspace(-1, 1, grid.columns)[None, :]
    disc = (rows - 0.1) ** 2 + (columns + 0.4) ** 2 < radius**2
    mask = np.zeros(grid.shape, np.bool_)
    mask[slices] = disc
    return mask


def curves(grid: Geometry) -> tuple[Curve, ...]:
    """Artery and vein with their places, tissue, motion, and one dropped frame."""
    times = np.arange(0.0, 40.0, 2.0)

    def bolus(peak: float, arrival_s: float) -> np.ndarray:
        after = np.clip(times - arrival_s, 0, None) / 6
        return np.asarray(peak * after**3 * np.exp(3 - 3 * after))

    artery = np.array([grid.voxel_to_lps(0, 5, 5), grid.voxel_to_lps(0, 6, 5)])
    vein = np.array([grid.voxel_to_lps(grid.slices - 1, 18, 12)])
    return (
        Curve("aif", "artery", times, bolus(300, 6), "[hnsf'U]", artery),
        Curve("vof", "vein", times, bolus(400, 12), "[hnsf'U]", vein),
        Curve("tissue", "tissue", times, bolus(8, 8), "[hnsf'U]"),
        Curve("motion_mm", "translation", times, 0.05 * times, "mm"),
        Curve("motion_deg", "rotation", times, 0.02 * times, "deg"),
        Curve("dropped", "dropped", np.array([18.0]), np.ones(1), "1"),
    )


def perfusion_result(
    grid: Geometry,
    *,
    warnings: tuple[Warning, ...] = (),
    core_empty: bool = False,
    quantities: tuple[Quantity, ...] = (CBF, CBV, MTT, TMAX, TTP),
    pipeline: str = "ctp_perfusion",
) -> PipelineResult:
    """A perfusion result on a grid."""
    baseline = np.nan_to_num(head_values(grid, 0, 80), nan=-1000.0)
    core = region(grid, 0.25, slice(1, 3))
    if core_empty:
        core[:] = False
    core_region = Segmentation("core", "Infarct core", core, grid, "rCBF < 30 %")
    hypoperfused = Segmentation(
        "hypoperfused", "Hypoperfused tissue", region(grid, 0.5, slice(0, 3)), grid, "Tmax > 6 s"
    )
    volumes = {s.name: s.volume_ml for s in (core_region, hypoperfused)}
    ratio = volumes["hypoperfused"] / volumes["core"] if volumes["core"] else None
    return PipelineResult(
        pipeline=pipeline,
        version="1.0",
        status="ok",
        images=(
            DerivedImage("baseline", "mean of 5 baseline frames", baseline, grid, "HU", (0, 80)),
        ),
        maps=tuple(ParameterMap(q, head_values(grid, *q.display_range), grid) for q in quantities),
        segmentations=(core_region, hypoperfused),
        measurements=(
            Measurement("core_volume", "Core volume", volumes["core"], "mL"),
            Measurement(
                "hypoperfused_volume", "Hypoperfused volume", volumes["hypoperfused"], "mL"
            ),
            Measurement(
                "mismatch_volume",
                "Mismatch volume",
                volumes["hypoperfused"] - volumes["core"],
                "mL",
            ),
            Measurement("mismatch_ratio", "Mismatch ratio", ratio, "1"),
        ),
        findings=(Finding("ich", False, 0.03), Finding("ht", None)),
        warnings=warnings,
        criteria=(
            Criterion("dawn", None, {"core_volume": volumes["core"], "nihss": None}),
            Criterion("defuse_3", True, {"mismatch_ratio": ratio}),
        ),
        curves=curves(grid),
        side="R",
        parameters={
            "aif_peak_hu": 301.5,
            "aif_reason": "highest and earliest of 12 candidates",
            "baseline_frames": 3,
            "method": "osvd",
            "svd_threshold": 0.1,
            "weights_sha256": "ab" * 32,
            "weights_trained_on": "simulated patients",
        },
        timings_s={"load": 1.5},
        device="cpu",
    )


def not_analysed(reason: str = "3 of 480 images are missing") -> PipelineResult:
    """A result that is none."""
    return PipelineResult("ctp_perfusion", "1.0", "not_analysed", reason)


def source_dataset(
    grid: Geometry, time: int, index: int, *, modality: str = "CT", **attributes: object
) -> Dataset:
    """One classic CT or MR image without pixels, without what the writers never look at."""
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    ds.SOPInstanceUID = f"{ROOT}.{time + 1}.{index + 1}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{ROOT}.8", f"{ROOT}.9"
    ds.Modality, ds.Manufacturer = modality, "SCANNERWORKS"
    ds.ManufacturerModelName, ds.DeviceSerialNumber = "Scanner 64", "4711"
    ds.PatientName, ds.PatientID = "EXAMPLE^PATIENT", "ID-0815"
    ds.PatientBirthDate, ds.PatientSex = "19500101", "O"
    ds.StudyDate, ds.StudyTime = "20260304", "101500"
    ds.AcquisitionDate, ds.AcquisitionTime = "20260304", f"1131{time:02d}.{index:06d}"
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "A1", "S1", "DOCTOR^A"
    ds.IssuerOfPatientID, ds.TimezoneOffsetFromUTC = "HOSPITAL", "+0100"
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = f"{ROOT}.10", None
    ds.BodyPartExamined, ds.PatientPosition = "HEAD", "HFS"
    ds.InstanceNumber = time * grid.slices + index + 1
    ds.ImagePositionPatient = [float(v) for v in grid.positions_mm[index]]
    ds.ImageOrientationPatient = [float(v) for v in (*grid.row_cosines, *grid.column_cosines)]
    ds.PixelSpacing = list(grid.pixel_spacing_mm)
    if modality == "CT":
        ds.KVP = "80"
    else:
        ds.ScanningSequence, ds.SequenceVariant, ds.EchoTime = ["EP", "GR"], "SK", "35"
        ds.RepetitionTime = "1500"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def save(ds: Dataset, path: Path) -> Path:
    """Write a source file."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(path, ds, enforce_file_format=True)
    return path


def source_files(
    folder: Path, grid: Geometry, *, times: int = 3, modality: str = "CT", **attributes: object
) -> list[Path]:
    """Files of a classic series over time."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        save(
            source_dataset(grid, time, index, modality=modality, **attributes),
            folder / f"{time:03d}{index:03d}.dcm",
        )
        for time in range(times)
        for index in range(grid.slices)
    ]


def enhanced_mr_files(folder: Path, grid: Geometry, *, times: int = 2) -> list[Path]:
    """Files of an Enhanced MR series, one per time point."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for time in range(times):
        ds = source_dataset(grid, time, 0, modality="MR")
        ds.SOPClassUID = EnhancedMRImageStorage
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "ScanningSequence"):
            delattr(ds, keyword)
        del ds.SequenceVariant, ds.EchoTime, ds.RepetitionTime
        ds.EchoPulseSequence, ds.EchoPlanarPulseSequence = "GRADIENT", "YES"
        echo, timing, orientation, shared = Dataset(), Dataset(), Dataset(), Dataset()
        echo.EffectiveEchoTime, timing.RepetitionTime = 28.5, "1400"
        orientation.ImageOrientationPatient = [*grid.row_cosines, *grid.column_cosines]
        shared.MREchoSequence, shared.PlaneOrientationSequence = [echo], [orientation]
        shared.MRTimingAndRelatedParametersSequence = [timing]
        ds.SharedFunctionalGroupsSequence = [shared]
        ds.NumberOfFrames = grid.slices
        ds.PerFrameFunctionalGroupsSequence = []
        for position in grid.positions_mm[::-1]:
            plane, frame = Dataset(), Dataset()
            plane.ImagePositionPatient = [float(v) for v in position]
            frame.PlanePositionSequence = [plane]
            ds.PerFrameFunctionalGroupsSequence.append(frame)
        paths.append(save(ds, folder / f"{time:03d}.dcm"))
    return paths
