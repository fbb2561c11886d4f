"""Small, complete studies in memory for everybody's tests.

The images are of a simulated head with arteries, a bolus and, unless told otherwise, a stroke, so
that a perfusion pipeline really can analyse them. Equal arguments give equal UIDs and bytes;
``salt`` makes another study of the same head.
"""

import datetime as dt
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import gdcm
import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
)

from inference.geometry import Geometry
from tests.support.analytic.kinetics import simulate_ctp, simulate_ncct
from tests.support.analytic.phantom import (
    Lesion,
    Phantom,
    axial_geometry,
    draw_patient,
    make_phantom,
)
from training.simulate.dicom import Identity, ctp_times
from training.simulate.dicom import ctp_datasets as write_ctp
from training.simulate.dicom import ncct_datasets as write_ncct
from training.simulate.scanner import Scanner

START = dt.datetime(2026, 1, 15, 10, 15)
THICKNESS_MM = 5.0
TIME_POINTS: dict[Scanner, int] = {"siemens": 28, "ge": 40, "philips": 16, "canon": 19}
VESSEL_SCALE = 2.0
_FOV_MM = 205.0
_GDCM_SYNTAXES: dict[str, int] = {
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    RLELossless: gdcm.TransferSyntax.RLELossless,
    JPEG2000Lossless: gdcm.TransferSyntax.JPEG2000Lossless,
}


@dataclass(frozen=True, eq=False)
class SmallCtp:
    """The arrays behind a small CTP: HU images, times in s (time, slice), and the truth."""

    frames: npt.NDArray[np.int16]
    times_s: npt.NDArray[np.float64]
    geometry: Geometry
    phantom: Phantom


@lru_cache(maxsize=8)
def _phantom(seed: int, lesion: Lesion, slices: int, matrix: int) -> Phantom:
    geometry = axial_geometry(
        slices, matrix, thickness_mm=THICKNESS_MM, fov_mm=_FOV_MM, centre_z_mm=3.0
    )
    return make_phantom(
        draw_patient(seed, lesion, vessel_scale=VESSEL_SCALE), geometry, THICKNESS_MM
    )


@lru_cache(maxsize=8)
def small_ctp(
    *,
    vendor: Scanner = "siemens",
    seed: int = 1,
    slices: int = 4,
    matrix: int = 64,
    time_points: int | None = None,
    lesion: Lesion = "left",
    noise_hu: float = 3.0,
    contrast: bool = True,
    drift_mm: float = 0.0,
) -> SmallCtp:
    """The images that :func:`ctp_datasets` writes, with their truth (cached, read-only)."""
    phantom = _phantom(seed, lesion, slices, matrix)
    times = ctp_times(vendor, slices, time_points or TIME_POINTS[vendor])
    frames = np.stack(
        list(simulate_ctp(phantom, times, noise_hu=noise_hu, drift_mm=drift_mm, contrast=contrast))
    )
    frames.flags.writeable = False
    return SmallCtp(frames, times, phantom.geometry, phantom)


def ctp_datasets(
    *,
    vendor: Scanner = "siemens",
    seed: int = 1,
    slices: int = 4,
    matrix: int = 64,
    time_points: int | None = None,
    lesion: Lesion = "left",
    noise_hu: float = 3.0,
    drift_mm: float = 0.0,
    patient_id: str = "TEST-1",
    patient_name: str = "Test^Patient",
    character_set: str | None = None,
    timezone: str | None = None,
    start: dt.datetime = START,
    salt: str = "",
    drop: Collection[int] = (),
    keep_time_points: int | None = None,
    no_contrast: bool = False,
    all_air: bool = False,
    remove: Collection[str] = (),
    zero_length_pixels: Collection[int] = (),
    transfer_syntax: str = ExplicitVRLittleEndian,
) -> list[Dataset]:
    """Make a small CTP, with file meta, in the order of acquisition.

    Parameters
    ----------
    vendor : str
        ``siemens``, ``ge``, ``philips`` or ``canon`` (one series per volume): how time is told.
    seed, slices, matrix, time_points, lesion, noise_hu, drift_mm
        Which head and protocol; slices are 5 mm thick. ``time_points`` None: 28, 40, 16 or 19.
    patient_id, patient_name, character_set, timezone
        Identity, SpecificCharacterSet and TimezoneOffsetFromUTC (the last two left out when None).
    start : datetime
        Start of study and acquisition; shortly before midnight puts midnight inside the scan.
    salt : str
        Changes all UIDs and nothing else.
    drop : indices
        Images to leave out, by position in the full list.
    keep_time_points : int or None
        Leave out all later time points, as when a scan is cut.
    no_contrast, all_air : bool
        The bolus never came; nobody in the scanner.
    remove : keywords
        Attributes to leave out of every image, for example ``["PatientBirthDate"]``.
    zero_length_pixels : indices
        Images of the result whose PixelData is empty.
    transfer_syntax : UID
        Explicit or Implicit VR Little Endian, JPEG Lossless SV1, RLE or JPEG 2000 Lossless.
    """
    ctp = small_ctp(
        vendor=vendor, seed=seed, slices=slices, matrix=matrix, time_points=time_points,
        lesion=lesion, noise_hu=noise_hu, contrast=not no_contrast, drift_mm=drift_mm,
    )  # fmt: skip
    frames = np.full_like(ctp.frames, -1000) if all_air else ctp.frames
    what = (vendor, seed, frames.shape, lesion, noise_hu, drift_mm, no_contrast, all_air, salt)
    identity = _identity(what, patient_id, patient_name, character_set, timezone, start)
    written = list(
        write_ctp(
            identity, vendor, ctp.geometry, frames[:keep_time_points],
            ctp.times_s[:keep_time_points], start, thickness_mm=THICKNESS_MM,
        )
    )  # fmt: skip
    kept = [ds for index, ds in enumerate(written) if index not in set(drop)]
    return _finish(kept, remove, zero_length_pixels, transfer_syntax)


def ncct_datasets(
    *,
    vendor: Scanner = "siemens",
    seed: int = 1,
    slices: int = 8,
    matrix: int = 64,
    lesion: Lesion = "none",
    noise_hu: float = 3.0,
    patient_id: str = "TEST-1",
    patient_name: str = "Test^Patient",
    character_set: str | None = None,
    timezone: str | None = None,
    start: dt.datetime = START,
    salt: str = "",
    drop: Collection[int] = (),
    remove: Collection[str] = (),
    transfer_syntax: str = ExplicitVRLittleEndian,
) -> list[Dataset]:
    """Make a small head CT without contrast; arguments as for :func:`ctp_datasets`."""
    phantom = _phantom(seed, lesion, slices, matrix)
    volume = simulate_ncct(phantom, noise_hu=noise_hu)
    what = ("ncct", vendor, seed, volume.shape, lesion, noise_hu, salt)
    identity = _identity(what, patient_id, patient_name, character_set, timezone, start)
    written = write_ncct(
        identity, vendor, phantom.geometry, volume, start, thickness_mm=THICKNESS_MM
    )
    kept = [ds for index, ds in enumerate(written) if index not in set(drop)]
    return _finish(kept, remove, (), transfer_syntax)


def save(datasets: Sequence[Dataset], folder: Path) -> list[Path]:
    """Write datasets as DICOM files with neutral names and return the paths, in the same order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:05d}.dcm" for index in range(len(datasets))]
    for path, ds in zip(paths, datasets, strict=True):
        dcmwrite(path, ds, enforce_file_format=True)
    return paths


def _identity(
    what: tuple[object, ...],
    patient_id: str,
    patient_name: str,
    character_set: str | None,
    timezone: str | None,
    start: dt.datetime,
) -> Identity:
    key = repr((what, patient_id, patient_name, character_set, timezone, start))
    return Identity(
        key, patient_id, patient_name, start, character_set=character_set, timezone=timezone
    )


def _finish(
    datasets: list[Dataset],
    remove: Collection[str],
    zero_length_pixels: Collection[int],
    transfer_syntax: str,
) -> list[Dataset]:
    for index, ds in enumerate(datasets):
        for keyword in remove:
            if keyword in ds:
                delattr(ds, keyword)
        if index in zero_length_pixels:
            ds["PixelData"].value = b""
    if transfer_syntax == ExplicitVRLittleEndian:
        return datasets
    return [transcode(ds, transfer_syntax) for ds in datasets]


def transcode(ds: Dataset, transfer_syntax: str) -> Dataset:
    """Return the image in another transfer syntax; its UIDs and pixel values stay.

    Raises ValueError for a syntax that cannot be written and RuntimeError when gdcm refuses.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.dcm", Path(folder) / "target.dcm"
        if transfer_syntax == ImplicitVRLittleEndian:
            meta = ds.file_meta.TransferSyntaxUID
            ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            dcmwrite(target, ds, enforce_file_format=True, implicit_vr=True, little_endian=True)
            ds.file_meta.TransferSyntaxUID = meta
        else:
            dcmwrite(source, ds, enforce_file_format=True)
            _encode(source, target, transfer_syntax)
        result = dcmread(target)
        result.walk(lambda inner, element: None)  # read everything before the file goes
    return result


def _encode(source: Path, target: Path, transfer_syntax: str) -> None:
    if transfer_syntax not in _GDCM_SYNTAXES:
        raise ValueError(f"transfer syntax {transfer_syntax}, expected one of {[*_GDCM_SYNTAXES]}")
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    if not reader.Read():
        raise RuntimeError("gdcm cannot read the image that it shall encode")
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(_GDCM_SYNTAXES[transfer_syntax]))
    change.SetInput(reader.GetImage())
    if not change.Change():
        raise RuntimeError(f"gdcm cannot encode to {transfer_syntax}")
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    if not writer.Write():
        raise RuntimeError(f"gdcm cannot write {transfer_syntax}")
