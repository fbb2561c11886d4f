"""NIfTI files as volumes and series: from RAS to LPS, slices ascending along their normal."""

import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.dicom.reader import AIR_HU, MAX_BYTES
from inference.dicom.volumes import Source, TimeSeries, Volume
from inference.errors import DicomReadError, NotAnalysable
from inference.geometry import Geometry

Float32Array = npt.NDArray[np.float32]

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MM = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
_SECONDS = {"sec": 1.0, "unknown": 1.0, "msec": 1e-3, "usec": 1e-6}
_OUTSIDE_HEAD_HU = -500.0
_UNREADABLE = (EOFError, KeyError, OSError, OverflowError, TypeError, ValueError, zlib.error)


def read_nifti_volume(path: Path) -> Volume:
    """Read a head CT; HU as stored.

    Raises
    ------
    DicomReadError
        The file cannot be read.
    NotAnalysable
        It is no volume in HU with a known place in the patient.
    """
    image = _load(path)
    shape = image.shape
    if len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    if len(shape) != 3:
        raise NotAnalysable(f"a NIfTI file of shape {shape}, expected one volume (three axes)")
    data, geometry = _turned(image)
    return Volume(data[0], geometry, "HU", _source(data))


def read_nifti_series(path: Path) -> TimeSeries:
    """Read a CT perfusion; HU as stored, all slices of a volume at the same time.

    The time step is ``pixdim[4]`` in the unit that ``xyzt_units`` says; seconds where it says none.

    Raises
    ------
    DicomReadError
        The file cannot be read.
    NotAnalysable
        It is no series of volumes in HU with a known place in the patient and a time step.
    """
    image = _load(path)
    if len(image.shape) != 4 or image.shape[3] < 2:
        raise NotAnalysable(
            f"a NIfTI file of shape {image.shape}, expected volumes over time (four axes)"
        )
    unit = image.header.get_xyzt_units()[1]
    step = float(image.header.get_zooms()[3]) * _SECONDS.get(unit, 0.0)
    if not (np.isfinite(step) and step > 0):
        raise NotAnalysable(
            f"a time step of {image.header.get_zooms()[3]:g} {unit} in pixdim[4], expected seconds"
            " or parts of them above 0"
        )
    data, geometry = _turned(image)
    times = np.repeat(step * np.arange(len(data))[:, None], data.shape[1], axis=1)
    return TimeSeries(data, times, geometry, "HU", _source(data))


def _load(path: Path) -> Any:
    """An image whose values are still on disk, and that says how it lies in the patient."""
    nibabel: Any = import_module("nibabel")
    try:
        image = nibabel.load(path)
        placed = int(image.header["sform_code"]) > 0 or int(image.header["qform_code"]) > 0
    except (nibabel.filebasedimages.ImageFileError, *_UNREADABLE) as error:
        raise DicomReadError(f"not readable as NIfTI ({type(error).__name__})") from error
    if not placed:
        raise NotAnalysable(
            "a NIfTI file that does not say how it lies in the patient (sform_code and qform_code"
            " are 0), so that left and right are unknown; convert it again from DICOM"
        )
    return image


def _turned(image: Any) -> tuple[Float32Array, Geometry]:
    """Values of shape ``(time, slice, row, column)``, at least those of air, and where they lie.

    The axes of the file may lead anywhere; those of the result lead, as nearly as can be, to the
    left, the back and the top.
    """
    orientations: Any = import_module("nibabel.orientations")
    needed = 4 * int(np.prod(image.shape))
    if needed > MAX_BYTES:
        raise DicomReadError(
            f"{needed / 2**30:.1f} GiB of memory are needed; at most {MAX_BYTES / 2**30:.0f} are"
            " used"
        )
    try:
        stored = np.asarray(image.dataobj, np.float32)
        now = orientations.io_orientation(image.affine)
        turn = orientations.ornt_transform(now, orientations.axcodes2ornt("LPS"))
        turned = orientations.apply_orientation(stored.reshape(*stored.shape[:3], -1), turn)
        affine = image.affine @ orientations.inv_ornt_aff(turn, image.shape[:3])
        unit = image.header.get_xyzt_units()[0]
        geometry = _geometry(_RAS_TO_LPS @ affine, _MM[unit], turned.shape)
    except (orientations.OrientationError, *_UNREADABLE) as error:
        raise DicomReadError(f"not readable as slices of a scan: {error}") from error
    data = np.ascontiguousarray(turned.transpose(3, 2, 1, 0))
    np.nan_to_num(data, copy=False, nan=AIR_HU)
    np.maximum(data, AIR_HU, out=data)
    lowest = float(data[0].min())
    if lowest > _OUTSIDE_HEAD_HU:
        raise NotAnalysable(
            f"the lowest value is {lowest:g}, expected air around the head (about -1000 HU): HU as"
            " stored, neither shifted nor cut to the brain"
        )
    return data, geometry


def _geometry(affine: npt.NDArray[np.float64], unit_mm: float, shape: tuple[int, ...]) -> Geometry:
    """Slices from a matrix that leads from (column, row, slice) indices to LPS."""
    axes = affine[:3, :3] * unit_mm
    columns, rows, slices = shape[:3]
    spacing = np.linalg.norm(axes, axis=0)
    return Geometry(
        affine[:3, 3] * unit_mm + np.arange(slices)[:, None] * axes[:, 2],
        axes[:, 0] / spacing[0],
        axes[:, 1] / spacing[1],
        (float(spacing[1]), float(spacing[0])),
        rows,
        columns,
    )


def _source(data: Float32Array) -> Source:
    return Source("", (), np.full(data.shape[:2], ""), timing="pixdim[4]")
