"""``strokenode simulate``: write a simulated patient as DICOM, with the truth beside it."""

import datetime as dt
import json
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import typer
from pydicom import Dataset, dcmwrite
from rich.console import Console
from rich.progress import track

from inference.geometry import Geometry
from training.simulate.dicom import (
    Identity,
    Scanner,
    ctp_datasets,
    ctp_times,
    ncct_datasets,
)
from training.simulate.head import FloatArray, Tissue
from training.simulate.kinetics import (
    DENSITY_G_PER_ML,
    HEMATOCRIT_FACTOR,
    STEP_S,
    draw_bolus,
    simulate_ctp,
    simulate_ncct,
)
from training.simulate.phantom import (
    CORE_RELATIVE_CBF,
    HYPOPERFUSED_TMAX_S,
    Lesion,
    Phantom,
    axial_geometry,
    draw_patient,
    make_phantom,
)

app = typer.Typer(no_args_is_help=True, help="Simulated patients as DICOM, with known truth.")

THICKNESS_MM = 5.0
_STUDY_TIME = dt.time(10, 0)
_NCCT_DELAY = dt.timedelta(minutes=5)
_CTP_DELAY = dt.timedelta(minutes=10)


class ScannerName(StrEnum):
    """Choices of ``--scanner``."""

    SIEMENS = "siemens"
    GE = "ge"
    PHILIPS = "philips"
    CANON = "canon"


class LesionSide(StrEnum):
    """Choices of ``--lesion``."""

    LEFT = "left"
    RIGHT = "right"
    NONE = "none"


Output = Annotated[Path, typer.Option(help="Folder for dicom/ and truth/; must not hold either.")]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Decides the patient.")]
ScannerOption = Annotated[ScannerName, typer.Option(help="Whose way of writing.")]
LesionOption = Annotated[LesionSide, typer.Option(help="The patient's side of the stroke.")]
Slices = Annotated[int, typer.Option(min=1, max=64, help="Slices of 5 mm.")]
Matrix = Annotated[int, typer.Option(min=32, max=512, help="Rows and columns.")]
Noise = Annotated[float, typer.Option(min=0, max=200, help="Standard deviation in HU.")]
Drift = Annotated[float, typer.Option(min=0, max=20, help="Head drift over the scan in mm.")]
Date = Annotated[
    dt.datetime | None,
    typer.Option(formats=["%Y-%m-%d"], help="Study date; today when not given."),
]


@app.command()
def ctp(
    output: Output,
    seed: Seed,
    scanner: ScannerOption = ScannerName.SIEMENS,
    lesion: LesionOption = LesionSide.LEFT,
    slices: Slices = 16,
    matrix: Matrix = 256,
    noise: Noise = 6.0,
    drift: Drift = 0.0,
    date: Date = None,
) -> None:
    """Write a CT perfusion of a patient with or without a stroke."""
    geometry = axial_geometry(slices, matrix, thickness_mm=THICKNESS_MM)
    variant = f"ctp {scanner} {lesion} {slices} {matrix} {noise} {drift}"
    identity = _identity(seed, date, variant)
    _prepare(output)
    phantom = _phantom(seed, lesion, geometry)
    vendor = cast(Scanner, str(scanner))
    times = ctp_times(vendor, slices)
    _write_truth(output / "truth", phantom, str(scanner), times)
    frames = simulate_ctp(phantom, times, noise_hu=noise, drift_mm=drift)
    start = identity.study_start + _CTP_DELAY
    images = ctp_datasets(
        identity, vendor, geometry, frames, times, start, thickness_mm=THICKNESS_MM
    )
    _write_images(output / "dicom", images, times.size)


@app.command()
def ncct(
    output: Output,
    seed: Seed,
    scanner: ScannerOption = ScannerName.SIEMENS,
    lesion: LesionOption = LesionSide.LEFT,
    slices: Slices = 30,
    matrix: Matrix = 512,
    noise: Noise = 4.0,
    date: Date = None,
) -> None:
    """Write a head CT without contrast of the same patient, in the same study."""
    geometry = axial_geometry(slices, matrix, thickness_mm=THICKNESS_MM)
    identity = _identity(seed, date, f"ncct {scanner} {lesion} {slices} {matrix} {noise}")
    _prepare(output)
    phantom = _phantom(seed, lesion, geometry)
    _write_truth(output / "truth", phantom, str(scanner), None)
    volume = simulate_ncct(phantom, noise_hu=noise)
    start = identity.study_start + _NCCT_DELAY
    vendor = cast(Scanner, str(scanner))
    images = ncct_datasets(identity, vendor, geometry, volume, start, thickness_mm=THICKNESS_MM)
    _write_images(output / "dicom", images, slices)


def _identity(seed: int, date: dt.datetime | None, variant: str) -> Identity:
    """One study per seed and date, so that a patient's NCCT and CTP belong together."""
    day = date.date() if date is not None else dt.date.today()
    return Identity(
        key=f"simulate {seed} {day.isoformat()}",
        patient_id=f"SIM{seed}",
        patient_name=f"Simulated^Seed {seed}",
        study_start=dt.datetime.combine(day, _STUDY_TIME),
        variant=variant,
    )


def _prepare(output: Path) -> None:
    for folder in (output / "dicom", output / "truth"):
        if folder.exists() and any(folder.iterdir()):
            raise typer.BadParameter(
                f"{folder} is not empty; name another folder or remove it", param_hint="--output"
            )
        folder.mkdir(parents=True, exist_ok=True)


def _phantom(seed: int, lesion: LesionSide, geometry: Geometry) -> Phantom:
    return make_phantom(draw_patient(seed, cast(Lesion, str(lesion))), geometry, THICKNESS_MM)


def _write_images(folder: Path, images: Iterable[Dataset], count: int) -> None:
    console = Console(stderr=True)
    for number, ds in enumerate(track(images, "images", total=count, console=console), start=1):
        dcmwrite(folder / f"{number:05d}.dcm", ds, enforce_file_format=True)
    console.print(f"{count} images in {folder}")


def _write_truth(folder: Path, phantom: Phantom, scanner: str, times: FloatArray | None) -> None:
    """Write truth.npz (arrays ``(slice, row, column)``) and truth.json (numbers and units)."""
    arrays: dict[str, np.ndarray] = {
        "cbf": phantom.cbf,
        "cbv": phantom.cbv,
        "mtt": phantom.mtt_s,
        "tmax": phantom.tmax_s,
        "brain": phantom.brain,
        "core": phantom.core,
        "penumbra": phantom.penumbra,
        "hypoperfused": phantom.hypoperfused,
        "baseline_hu": phantom.baseline_hu,
        "artery_fraction": phantom.fractions[Tissue.ARTERY],
        "vein_fraction": phantom.fractions[Tissue.VEIN],
        "affine_lps": phantom.geometry.affine_lps,
    }
    if times is not None:
        bolus = draw_bolus(phantom.patient.seed, float(times.max()))
        arrays["times_s"] = times
        arrays["arterial_hu"] = bolus.arterial_hu
        arrays["venous_hu"] = bolus.venous_hu
    np.savez_compressed(folder / "truth.npz", allow_pickle=False, **arrays)
    (folder / "truth.json").write_text(json.dumps(_summary(phantom, scanner), indent=2) + "\n")


def _summary(phantom: Phantom, scanner: str) -> dict[str, object]:
    volumes = phantom.geometry.voxel_volumes_ml
    masks = {
        "brain": phantom.brain,
        "core": phantom.core,
        "penumbra": phantom.penumbra,
        "hypoperfused": phantom.hypoperfused,
    }
    return {
        "seed": phantom.patient.seed,
        "scanner": scanner,
        "side": {"left": "L", "right": "R", "none": None}[phantom.patient.lesion],
        "volumes_ml": {
            name: round(float(mask.sum(axis=(1, 2)) @ volumes), 3) for name, mask in masks.items()
        },
        "units": {
            "cbf": "mL/100 g/min",
            "cbv": "mL/100 g",
            "mtt": "s",
            "tmax": "s",
            "times_s": "s after the start of the acquisition, shape (time, slice)",
            "baseline_hu": "HU",
            "arterial_hu": f"HU above baseline, every {STEP_S} s",
            "venous_hu": f"HU above baseline, every {STEP_S} s",
            "affine_lps": "(column, row, slice) to LPS mm",
        },
        "definitions": {
            "cbv": "CBF * MTT / 60",
            "tmax": "time of the maximum of the residue function (exponential: its delay)",
            "hypoperfused": f"tmax > {HYPOPERFUSED_TMAX_S:g} s",
            "core": f"hypoperfused and CBF < {CORE_RELATIVE_CBF:g} of the mean of healthy tissue",
            "penumbra": "hypoperfused and not core",
        },
        "hematocrit_factor": HEMATOCRIT_FACTOR,
        "density_g_per_ml": DENSITY_G_PER_ML,
    }
