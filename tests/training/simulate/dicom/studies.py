"""Small studies of brain-like noise for the tests of the DICOM writers."""

import datetime as dt
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmwrite

from inference.geometry import Geometry
from tests.dicom_node.write.validators import run_tool
from training.simulate.anatomy.person import Cohort
from training.simulate.dicom import Identity

START = dt.datetime(2026, 1, 15, 10, 15)
MATRIX = 24
MIDDLE = np.s_[..., 9:15, 9:15]
HARMLESS = (
    "Unrecognized defined term",
    "not present in standard DICOM IOD",
    "Non-identity Modality",
)


def identity(seed: int | None = None, cohort: Cohort = "usual", **changes: object) -> Identity:
    """A patient whose study began five minutes before START."""
    fields = {"key": "key", "patient_id": "SIM1", "patient_name": "Simulated^One"} | changes
    return Identity(study_start=START - dt.timedelta(minutes=5), seed=seed, cohort=cohort, **fields)  # type: ignore[arg-type]


def stack(slices: int, tilt_deg: float = 0.0, step_mm: float = 5.0) -> Geometry:
    """Slices of 216 mm, moved along the table; with a gantry tilt the stack is sheared."""
    tilt = np.deg2rad(tilt_deg)
    positions = np.full((slices, 3), -108.0)
    positions[:, 2] = -40 + step_mm * np.arange(slices)
    return Geometry(
        positions_mm=positions,
        row_cosines=np.array([1.0, 0.0, 0.0]),
        column_cosines=np.array([0.0, np.cos(tilt), -np.sin(tilt)]),
        pixel_spacing_mm=(216 / MATRIX, 216 / MATRIX),
        rows=MATRIX,
        columns=MATRIX,
    )


def hu(shape: tuple[int, ...], seed: int = 1) -> npt.NDArray[np.int16]:
    """Air, tissue and bone, in HU."""
    rng = np.random.default_rng(seed)
    return rng.choice([-1000, -80, 5, 28, 36, 900], shape).astype(np.int16) + rng.integers(
        -20, 20, shape, dtype=np.int16
    )


def signal(shape: tuple[int, ...], seed: int = 1, largest: int = 1800) -> npt.NDArray[np.uint16]:
    """MR signal."""
    return np.random.default_rng(seed).integers(20, largest, shape, dtype=np.uint16)


def interleaved(slices: int, time_points: int, repetition_s: float) -> npt.NDArray[np.float64]:
    """Times of interleaved slices, shape ``(time, slice)``."""
    rank = np.argsort([*range(0, slices, 2), *range(1, slices, 2)])
    return np.asarray(np.arange(time_points)[:, None] * repetition_s + rank * repetition_s / slices)


def write(datasets: Iterable[Dataset], folder: Path) -> list[Path]:
    """Write images as files; names say nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, ds in enumerate(datasets):
        paths.append(folder / f"{number:04d}.dcm")
        dcmwrite(paths[-1], ds, enforce_file_format=True)
    return paths


def complaints(path: Path) -> list[str]:
    """What dciodvfy says of a file, without what every scanner of the vendor provokes."""
    done = run_tool("dciodvfy", "-new", path)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if " - " in line]
    wrong = [line for line in lines if not any(text in line for text in HARMLESS)]
    return wrong if done.returncode == 0 else [f"exit {done.returncode}", *lines]


def elapsed_s(ds: Dataset) -> float:
    """Seconds from START to AcquisitionDate and AcquisitionTime."""
    moment = dt.datetime.strptime(ds.AcquisitionDate + ds.AcquisitionTime, "%Y%m%d%H%M%S.%f")
    return (moment - START).total_seconds()
