"""A case's images as a hospital keeps them: a folder of DICOM files, or a NIfTI file.

A folder must hold one series of the wanted kind. A CT perfusion may be several series of one
acquisition: one per volume, or one per slab.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from inference.dicom.headers import FrameHeader, read_folder
from inference.dicom.reader import load_time_series, load_volume
from inference.dicom.stack import Stack, arrange
from inference.dicom.volumes import TimeSeries, Volume
from inference.errors import DicomReadError, NotAnalysable
from training.pairs.nifti import read_nifti_series, read_nifti_volume

Image = TypeVar("Image", TimeSeries, Volume)
Headers = list[FrameHeader]

NIFTI = (".nii", ".nii.gz")
_LEAST_TIME_POINTS = 4
_LOCALIZERS = {"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVEY"}


@dataclass(frozen=True, eq=False)
class Read(Generic[Image]):
    """Images and, from DICOM, whose: a hash of PatientID, empty where it is unknown."""

    image: Image
    patient: str


def is_nifti(path: Path) -> bool:
    """Whether a file is NIfTI by its name."""
    return path.name.lower().endswith(NIFTI)


def read_ctp(path: Path) -> Read[TimeSeries]:
    """Read a CT perfusion.

    Raises
    ------
    DicomReadError
        Files cannot be read.
    NotAnalysable
        There is no CT perfusion, more than one, or it is not whole.
    """
    if is_nifti(path):
        return Read(read_nifti_series(path), "")
    return _read(path, "CT perfusion", _is_perfusion, load_time_series)


def read_ncct(path: Path) -> Read[Volume]:
    """Read a head CT without contrast.

    Raises
    ------
    DicomReadError
        Files cannot be read.
    NotAnalysable
        There is no such head CT, more than one, or it is not whole.
    """
    if is_nifti(path):
        return Read(read_nifti_volume(path), "")
    return _read(path, "head CT without contrast", _is_head_ct, load_volume)


def _read(
    folder: Path,
    kind: str,
    wanted: Callable[[Stack], bool],
    load: Callable[[Headers], Image],
) -> Read[Image]:
    """Read the one acquisition of a kind in a folder."""
    headers, unreadable = read_folder(folder)
    broken = f"; {len(unreadable)} files cannot be read" if unreadable else ""
    found = [images for images in _acquisitions(headers) if _is(wanted, images)]
    if len(found) != 1:
        series = len({header.series_instance_uid for header in headers})
        count = f"{len(found)} series of {kind}" if found else f"no {kind}"
        raise NotAnalysable(
            f"{count} among {series} series of {len(headers)} images, expected one: name a folder"
            f" that holds only the wanted series{broken}"
        )
    try:
        return Read(load(found[0]), found[0][0].patient_key)
    except (DicomReadError, NotAnalysable) as error:
        raise type(error)(f"{kind}: {error}{broken}") from error


def _is(wanted: Callable[[Stack], bool], images: Headers) -> bool:
    try:
        return wanted(arrange(images))
    except (DicomReadError, NotAnalysable):
        return False


def _is_perfusion(stack: Stack) -> bool:
    return stack.time_points >= _LEAST_TIME_POINTS and stack.slices > 1


def _is_head_ct(stack: Stack) -> bool:
    return stack.time_points == 1 and stack.slices > 1 and not stack.first.contrast


def _acquisitions(headers: Headers) -> Iterator[Headers]:
    """Images of each acquisition; series that are parts of one are joined."""
    alike: dict[tuple[object, ...], dict[str, Headers]] = defaultdict(lambda: defaultdict(list))
    for header in headers:
        if _is_slice(header):
            alike[_protocol(header)][header.series_instance_uid].append(header)
    for series in alike.values():
        parts = list(series.values())
        yield from [[h for part in parts for h in part]] if _one_acquisition(parts) else parts


def _is_slice(header: FrameHeader) -> bool:
    return (
        header.modality == "CT"
        and header.rows > 0
        and header.position is not None
        and header.orientation is not None
        and header.pixel_spacing is not None
        and not _LOCALIZERS & set(header.image_type)
    )


def _protocol(header: FrameHeader) -> tuple[object, ...]:
    """What the series of one acquisition share."""
    return (
        header.patient_key,
        header.study_instance_uid,
        header.frame_of_reference_uid,
        (header.rows, header.columns),
        tuple(round(value, 2) for value in header.pixel_spacing or ()),
        tuple(round(value, 1) for value in header.orientation or ()),
        header.slice_thickness,
        header.kvp,
        header.kernel,
        bool(header.contrast),
    )


def _one_acquisition(parts: list[Headers]) -> bool:
    """Whether series are volumes of one perfusion, or slabs of it that lie side by side."""
    places = [Counter(_height(header) for header in part) for part in parts]
    volumes = len(parts) >= _LEAST_TIME_POINTS and all(max(c.values()) == 1 for c in places)
    apart = len(set().union(*places)) == sum(map(len, places))
    return volumes or (apart and all(max(c.values()) >= _LEAST_TIME_POINTS for c in places))


def _height(header: FrameHeader) -> float:
    """Position along the slice normal in mm, rounded to find the same position again."""
    cosines = np.array(header.orientation)
    normal = np.cross(cosines[:3], cosines[3:])
    return round(float(normal @ np.array(header.position)), 1)
