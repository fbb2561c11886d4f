"""Simulated patients as DICOM CT images, in the way that each vendor writes them.

How times are told (all four are classic CT Image Storage):

siemens   one series; AcquisitionTime of its own for every slice (shuttle: the sweep alternates)
ge        cine, one series; one AcquisitionTime for all images, mid-scan time in the private
          element (0019,xx24) of GEMS_ACQU_01; InstanceNumber runs through time at each position
philips   jog between two table positions, which have different times; TemporalPositionIdentifier
canon     one series per volume, 19 volumes at uneven intervals
"""

import datetime as dt
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from inference.geometry import Geometry
from training.simulate.head import FloatArray

Scanner = Literal["siemens", "ge", "philips", "canon"]
SCANNERS: tuple[Scanner, ...] = ("siemens", "ge", "philips", "canon")
_NAMESPACE = uuid.UUID("5d0a3a52-2f5c-5a57-8d3f-8f1d6f1f6f27")
_CANON_TIMES_S = [0.0, *np.arange(4.0, 29.0, 2.0), *np.arange(33.0, 54.0, 5.0)]


@dataclass(frozen=True)
class Vendor:
    """What differs between scanners besides time.

    ``signed`` and ``intercept`` say how HU are stored; ``padding`` is the stored value outside the
    reconstruction circle, None where there is none.
    """

    manufacturer: str
    model: str
    kernel: str
    signed: bool
    intercept: int
    padding: int | None = None


VENDORS: dict[Scanner, Vendor] = {
    "siemens": Vendor("SIEMENS", "SOMATOM Simulated", "H20f", False, -1024),
    "ge": Vendor("GE MEDICAL SYSTEMS", "Revolution Simulated", "STANDARD", True, -1024, -2000),
    "philips": Vendor("Philips", "iCT Simulated", "UB", False, -1024),
    "canon": Vendor("TOSHIBA", "Aquilion Simulated", "FC41", True, 0),
}


@dataclass(frozen=True)
class Identity:
    """Whose study: ``key`` decides all UIDs, together with ``variant`` below the study.

    ``character_set`` and ``timezone`` are SpecificCharacterSet and TimezoneOffsetFromUTC, left out
    when None.
    """

    key: str
    patient_id: str
    patient_name: str
    study_start: dt.datetime
    variant: str = ""
    character_set: str | None = None
    timezone: str | None = None
    birth_date: str = "19500101"
    sex: str = "O"

    def uid(self, *parts: object) -> str:
        """UID under the root 2.25 that depends on the key and the parts only."""
        name = "|".join((self.key, *map(str, parts)))
        return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"


def ctp_times(scanner: Scanner, slices: int, time_points: int | None = None) -> FloatArray:
    """Acquisition times of the scanner's protocol in s, shape ``(time, slice)``.

    ``time_points`` None takes the protocol's own number; Canon has at most 19.
    """
    if scanner == "canon":
        return np.repeat(np.array(_CANON_TIMES_S[:time_points])[:, None], slices, axis=1)
    if scanner == "ge":
        return np.repeat(np.arange(time_points or 45)[:, None] + 0.5, slices, axis=1)
    if scanner == "philips":
        upper_table_position = np.arange(slices) >= slices / 2
        return np.arange(time_points or 20)[:, None] * 3.0 + 1.5 * upper_table_position
    frames = np.arange(time_points or 30)[:, None]
    sweep = 0.02 * np.arange(slices)[None, :]
    return np.asarray(1.5 * frames + np.where(frames % 2 == 0, sweep, sweep[:, ::-1]))


def ctp_datasets(
    identity: Identity,
    scanner: Scanner,
    geometry: Geometry,
    frames: Iterable[npt.NDArray[np.int16]],
    times_s: FloatArray,
    start: dt.datetime,
    *,
    thickness_mm: float = 5.0,
) -> Iterator[Dataset]:
    """Yield the images of a CT perfusion in the order of acquisition.

    Parameters
    ----------
    identity : Identity
        Whose study.
    scanner : str
        Whose way of writing.
    geometry : Geometry
        Where the slices lie.
    frames : iterable of int16 arrays, shape ``(slice, row, column)``
        One volume in HU per time point.
    times_s : array, shape ``(time, slice)``
        Acquisition time of every slice in s after ``start``.
    start : datetime
        Start of the acquisition.
    thickness_mm : float
        SliceThickness.
    """
    time_points, slices = times_s.shape
    for time_index, frame in enumerate(frames):
        for slice_index in np.argsort(times_s[time_index], kind="stable"):
            ds = _ct_image(
                identity, VENDORS[scanner], geometry, int(slice_index), thickness_mm,
                frame[slice_index],
            )  # fmt: skip
            ds.SeriesDescription = f"Brain Perfusion {thickness_mm:g} mm"
            ds.ProtocolName = "Stroke perfusion"
            ds.ContrastBolusAgent = "Iodine"
            ds.KVP = 80
            ds.AcquisitionNumber = time_index + 1
            series, ds.SeriesNumber = "ctp", 5
            ds.InstanceNumber = time_index * slices + int(slice_index) + 1
            seconds = float(times_s[time_index, slice_index])
            _set_times(ds, start, seconds, seconds)
            if scanner == "ge":
                ds.AcquisitionNumber = 1
                ds.InstanceNumber = int(slice_index) * time_points + time_index + 1
                ds.ImagesInAcquisition = time_points * slices
                _set_times(ds, start, 0.0, 60 + 0.2 * int(ds.InstanceNumber))
                ds.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(
                    0x24, "DS", f"{seconds:.3f}"
                )
            elif scanner == "philips":
                ds.TemporalPositionIdentifier = time_index + 1
                ds.NumberOfTemporalPositions = time_points
            elif scanner == "canon":
                series, ds.SeriesNumber = f"ctp-{time_index}", 5 + time_index
                ds.InstanceNumber = slices - int(slice_index)
            _set_uids(ds, identity, series, f"{series}-{time_index}-{slice_index}")
            yield ds


def ncct_datasets(
    identity: Identity,
    scanner: Scanner,
    geometry: Geometry,
    volume: npt.NDArray[np.int16],
    start: dt.datetime,
    *,
    thickness_mm: float = 5.0,
) -> Iterator[Dataset]:
    """Yield the images of a head CT without contrast; ``volume`` is in HU, one slice per second."""
    for index in range(geometry.slices):
        vendor = VENDORS[scanner]
        ds = _ct_image(identity, vendor, geometry, index, thickness_mm, volume[index])
        ds.SeriesDescription = f"Head {thickness_mm:g} mm"
        ds.ProtocolName = "Head without contrast"
        ds.KVP = 120
        ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = 2, 1, index + 1
        _set_times(ds, start, float(index), float(index))
        _set_uids(ds, identity, "ncct", f"ncct-{index}")
        yield ds


def _ct_image(
    identity: Identity,
    vendor: Vendor,
    geometry: Geometry,
    index: int,
    thickness_mm: float,
    image: npt.NDArray[np.int16],
) -> Dataset:
    """One CT image without times, numbers and instance UIDs."""
    ds = Dataset()
    _set_patient_and_study(ds, identity)
    ds.SOPClassUID = CTImageStorage
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Modality = "CT"
    ds.Manufacturer = vendor.manufacturer
    ds.ManufacturerModelName = vendor.model
    ds.InstitutionName = "Simulated"
    ds.SoftwareVersions = "1"
    ds.DeviceSerialNumber = "0"
    ds.BodyPartExamined = "HEAD"
    ds.PatientPosition = "HFS"
    ds.ConvolutionKernel = vendor.kernel
    ds.FrameOfReferenceUID = identity.uid("frame of reference")
    ds.PositionReferenceIndicator = ""
    position = geometry.positions_mm[index]
    ds.SliceThickness = _decimal(thickness_mm)
    ds.SliceLocation = _decimal(position[2])
    ds.ImagePositionPatient = [_decimal(value) for value in position]
    directions = (*geometry.row_cosines, *geometry.column_cosines)
    ds.ImageOrientationPatient = [_decimal(value) for value in directions]
    ds.PixelSpacing = [_decimal(value) for value in geometry.pixel_spacing_mm]
    _set_pixels(ds, vendor, image)
    return ds


def _set_patient_and_study(ds: Dataset, identity: Identity) -> None:
    if identity.character_set is not None:
        ds.SpecificCharacterSet = identity.character_set
    if identity.timezone is not None:
        ds.TimezoneOffsetFromUTC = identity.timezone
    ds.PatientName = identity.patient_name
    ds.PatientID = identity.patient_id
    ds.PatientBirthDate = identity.birth_date
    ds.PatientSex = identity.sex
    ds.StudyInstanceUID = identity.uid("study")
    ds.StudyDate = identity.study_start.strftime("%Y%m%d")
    ds.StudyTime = identity.study_start.strftime("%H%M%S")
    ds.StudyDescription = "CT stroke"
    ds.StudyID = "1"
    ds.AccessionNumber = f"A{identity.patient_id}"[:16]
    ds.ReferringPhysicianName = ""


def _set_pixels(ds: Dataset, vendor: Vendor, image: npt.NDArray[np.int16]) -> None:
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = image.shape
    ds.BitsAllocated = 16
    ds.BitsStored = 16 if vendor.signed else 12
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(vendor.signed)
    ds.WindowCenter = 40
    ds.WindowWidth = 80
    ds.RescaleIntercept = vendor.intercept
    ds.RescaleSlope = 1
    ds.RescaleType = "HU"
    stored = image - np.int16(vendor.intercept)
    if vendor.padding is not None:
        ds.add_new(0x00280120, "SS", vendor.padding)
        rows, columns = (np.arange(size) - (size - 1) / 2 for size in image.shape)
        outside = np.hypot(rows[:, None] / image.shape[0], columns / image.shape[1]) > 0.5
        stored[outside] = vendor.padding
    ds.add_new(0x7FE00010, "OW", stored.astype("<i2").tobytes())


def _set_times(ds: Dataset, start: dt.datetime, acquired_s: float, content_s: float) -> None:
    """Set acquisition and content date and time, in seconds after the start of the series."""
    acquired, content = (start + dt.timedelta(seconds=value) for value in (acquired_s, content_s))
    ds.SeriesDate, ds.SeriesTime = _date_and_time(start)
    ds.AcquisitionDate, ds.AcquisitionTime = _date_and_time(acquired)
    ds.ContentDate, ds.ContentTime = _date_and_time(content)


def _date_and_time(moment: dt.datetime) -> tuple[str, str]:
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")


def _set_uids(ds: Dataset, identity: Identity, series: str, instance: str) -> None:
    """Set series and instance UID and the file meta information."""
    ds.SeriesInstanceUID = identity.uid("series", identity.variant, series)
    ds.SOPInstanceUID = identity.uid("instance", identity.variant, instance)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta = meta


def _decimal(value: float) -> str:
    """Format a number as a DICOM decimal string (at most 16 characters)."""
    return f"{float(value):.10g}"
