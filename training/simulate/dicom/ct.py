"""Simulated patients as classic CT images, in the way that each vendor writes them.

How times are told:

siemens   one series; AcquisitionTime of its own for every slice (shuttle: the sweep alternates)
ge        cine, one series; one AcquisitionTime for all images, mid-scan time in the private
          element (0019,xx24) of GEMS_ACQU_01; InstanceNumber runs through time at each position.
          Shuttle and wide detectors add DeltaStartTime (0043,xx1E) of GEMS_PARM_01
philips   jog between two table positions, which have different times; TemporalPositionIdentifier
canon     one series per volume, its exposure own to every volume
"""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from inference.geometry import Geometry
from training.simulate.arrays import FloatArray
from training.simulate.dicom.identity import (
    Identity,
    decimal,
    set_patient_and_study,
    set_times,
    set_uids,
)
from training.simulate.dicom.image import set_pixels, set_plane
from training.simulate.dicom.vendors import (
    CT_VENDORS,
    CtVendor,
    Model,
    Stored,
    choose_model,
    set_equipment,
)
from training.simulate.scanner import Scanner

_CANON_TIMES_S = [0.0, *np.arange(4.0, 29.0, 2.0), *np.arange(33.0, 54.0, 5.0)]
_WIDE_SLICES = 64


def ctp_times(scanner: Scanner, slices: int, time_points: int | None = None) -> FloatArray:
    """Acquisition times of the scanner's simplest protocol in s, shape ``(time, slice)``.

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
    kvp: float = 80.0,
    kernel: str | None = None,
    exposure_mas: float | FloatArray = 150.0,
    rotation_s: float | None = None,
) -> Iterator[Dataset]:
    """Yield the images of a CT perfusion in the order of acquisition.

    Parameters
    ----------
    identity : Identity
        Whose study.
    scanner : str
        Whose way of writing.
    geometry : Geometry
        Where the slices lie; GantryDetectorTilt follows its shear.
    frames : iterable of int16 arrays, shape ``(slice, row, column)``
        One volume in HU per time point; read one at a time. HU that the scanner cannot store are
        clipped.
    times_s : array, shape ``(time, slice)``
        Acquisition time of every slice in s after ``start``.
    start : datetime
        Start of the acquisition.
    thickness_mm : float
        SliceThickness.
    kvp : float
        KVP in kV.
    kernel : str or None
        ConvolutionKernel; None takes the vendor's usual one.
    exposure_mas : float or array, shape ``(time,)``
        Exposure of a rotation in mAs, for all or for each time point.
    rotation_s : float or None
        Time of a rotation in s; None takes the vendor's usual one.

    Raises
    ------
    ValueError
        Exposures or times do not fit the frames.
    """
    time_points, slices = times_s.shape
    if slices != geometry.slices:
        raise ValueError(f"times of {slices} slices for a geometry of {geometry.slices}")
    exposures = np.broadcast_to(np.asarray(exposure_mas, dtype=np.float64), (time_points,))
    vendor = CT_VENDORS[scanner]
    series = _Series(
        identity, vendor, geometry, "ctp", thickness_mm, kvp, kernel or vendor.kernels[1],
        rotation_s or vendor.rotation_s[1],
    )  # fmt: skip
    for time, frame in enumerate(frames):
        if time >= time_points:
            raise ValueError(f"more frames than the {time_points} rows of times_s")
        for index in np.argsort(times_s[time], kind="stable"):
            place = int(index)
            ds = series.image(frame[place], place, float(exposures[time]))
            _number_ctp(ds, identity, scanner, times_s, time, place, start)
            yield ds


def ncct_datasets(
    identity: Identity,
    scanner: Scanner,
    geometry: Geometry,
    volume: npt.NDArray[np.int16],
    start: dt.datetime,
    *,
    thickness_mm: float = 5.0,
    times_s: FloatArray | None = None,
    kvp: float = 120.0,
    kernel: str | None = None,
    exposure_mas: float = 320.0,
    rotation_s: float | None = None,
) -> Iterator[Dataset]:
    """Yield the images of a head CT without contrast.

    ``volume`` is in HU; ``times_s`` of shape ``(slice,)`` are the acquisition times in s after
    ``start``, one slice per second when None. Other parameters as for :func:`ctp_datasets`.
    """
    vendor = CT_VENDORS[scanner]
    series = _Series(
        identity, vendor, geometry, "ncct", thickness_mm, kvp, kernel or vendor.kernels[0],
        rotation_s or vendor.rotation_s[0],
    )  # fmt: skip
    times = np.arange(geometry.slices, dtype=np.float64) if times_s is None else times_s
    for index in range(geometry.slices):
        ds = series.image(volume[index], index, exposure_mas)
        ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = 2, 1, index + 1
        seconds = float(times[index])
        set_times(ds, start, seconds, seconds)
        set_uids(ds, identity, "ncct", f"ncct-{index}")
        yield ds


def _number_ctp(
    ds: Dataset,
    identity: Identity,
    scanner: Scanner,
    times_s: FloatArray,
    time: int,
    index: int,
    start: dt.datetime,
) -> None:
    """Set the numbers, times and UIDs of one image of a CT perfusion."""
    time_points, slices = times_s.shape
    seconds = float(times_s[time, index])
    series, ds.SeriesNumber = "ctp", 5
    ds.AcquisitionNumber = time + 1
    ds.InstanceNumber = time * slices + index + 1
    set_times(ds, start, seconds, seconds)
    if scanner == "ge":
        ds.AcquisitionNumber = 1
        ds.InstanceNumber = index * time_points + time + 1
        ds.ImagesInAcquisition = time_points * slices
        set_times(ds, start, 0.0, 60 + 0.2 * int(ds.InstanceNumber))
        ds.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(0x24, "DS", f"{seconds:.3f}")
        if slices >= _WIDE_SLICES or float(np.ptp(times_s[time])) > 0.1:
            delta_ms = f"{1000 * seconds:.3f}"
            ds.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x1E, "DS", delta_ms)
    elif scanner == "philips":
        ds.TemporalPositionIdentifier = time + 1
        ds.NumberOfTemporalPositions = time_points
    elif scanner == "canon":
        series, ds.SeriesNumber = f"ctp-{time}", 5 + time
        ds.InstanceNumber = slices - index
    set_uids(ds, identity, series, f"{series}-{time}-{index}")


@dataclass(frozen=True, eq=False)
class _Series:
    """What the images of one acquisition share."""

    identity: Identity
    vendor: CtVendor
    geometry: Geometry
    kind: str
    thickness_mm: float
    kvp: float
    kernel: str
    rotation_s: float

    @cached_property
    def words(self) -> dict[str, str]:
        """``study`` and ``series`` description, ``protocol`` name and contrast ``agent``."""
        vendor, choose, dynamic = self.vendor, self.identity.choose, self.kind == "ctp"
        description = choose(f"{self.kind} series", vendor.ctp if dynamic else vendor.ncct)
        protocols = vendor.ctp_protocol if dynamic else vendor.ncct_protocol
        return {
            "study": choose("ct study", vendor.study),
            "series": description.format(thickness=f"{self.thickness_mm:g}", kernel=self.kernel),
            "protocol": choose(f"{self.kind} protocol", protocols),
            "agent": choose("ct agent", vendor.agents) if dynamic else "",
        }

    @cached_property
    def model(self) -> Model:
        return choose_model(self.identity, "ct", self.vendor.models[self.identity.cohort])

    @cached_property
    def stored(self) -> Stored:
        return self.vendor.stored[self.identity.cohort]

    @cached_property
    def table_height_mm(self) -> float:
        """TableHeight: of the person, not of the series."""
        return round(float(self.identity.draws("table").uniform(120, 190)), 1)

    @cached_property
    def tilt_deg(self) -> float:
        """GantryDetectorTilt, positive where the normal leans to the back of the patient."""
        tilt = self.geometry.tilt_deg
        if tilt < 0.05:
            return 0.0
        return round(float(np.copysign(tilt, self.geometry.normal[1])), 2)

    @cached_property
    def outside(self) -> npt.NDArray[np.bool_]:
        """Pixels outside the reconstruction circle, which touches the edges of the image."""
        rows, columns = (
            (np.arange(size) - (size - 1) / 2) / size
            for size in (self.geometry.rows, self.geometry.columns)
        )
        return np.asarray(np.hypot(rows[:, None], columns) > 0.5)

    def image(self, hu: npt.NDArray[np.int16], index: int, exposure_mas: float) -> Dataset:
        """One image without times, numbers and instance UIDs."""
        ds = Dataset()
        set_patient_and_study(ds, self.identity, self.words["study"])
        dynamic = self.kind == "ctp"
        ds.SOPClassUID = CTImageStorage
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", *self.vendor.image_types[dynamic]]
        ds.Modality = "CT"
        set_equipment(ds, self.identity, self.model, "CT")
        ds.SeriesDescription = self.words["series"]
        ds.ProtocolName = self.words["protocol"]
        ds.BodyPartExamined = self.vendor.body_part
        ds.PatientPosition = "HFS"
        if dynamic:
            ds.ContrastBolusAgent = self.words["agent"]
        self._set_acquisition(ds, exposure_mas)
        set_plane(ds, self.geometry, index, self.thickness_mm)
        if self.vendor.writes_spacing:
            spacing = round(self.geometry.slice_spacing_mm, 4)
            ds.SpacingBetweenSlices = decimal(spacing or self.thickness_mm)
        self._set_values(ds, hu)
        return ds

    def _set_acquisition(self, ds: Dataset, exposure_mas: float) -> None:
        """Set the acquisition attributes of the CT Image module."""
        vendor, geometry = self.vendor, self.geometry
        field_mm = geometry.columns * geometry.pixel_spacing_mm[1]
        option = vendor.scan_options[self.kind == "ctp"]
        if option:
            ds.ScanOptions = option
        ds.KVP = decimal(self.kvp)
        ds.DataCollectionDiameter = decimal(
            next((mm for mm in vendor.fields_mm if mm >= field_mm), vendor.fields_mm[-1])
        )
        ds.ReconstructionDiameter = decimal(round(field_mm, 4))
        ds.DistanceSourceToDetector, ds.DistanceSourceToPatient = map(decimal, vendor.distances_mm)
        ds.GantryDetectorTilt = decimal(self.tilt_deg)
        ds.TableHeight = decimal(self.table_height_mm)
        ds.RotationDirection = "CW"
        ds.ExposureTime = round(1000 * self.rotation_s)
        ds.XRayTubeCurrent = round(exposure_mas / self.rotation_s)
        ds.Exposure = round(exposure_mas)
        ds.FilterType = vendor.filter_type
        ds.ConvolutionKernel = self.kernel

    def _set_values(self, ds: Dataset, hu: npt.NDArray[np.int16]) -> None:
        """Store HU; those that the stored bits cannot hold are clipped."""
        stored = self.stored
        values = np.clip(hu.astype(np.int32) - stored.intercept, *stored.limits)
        if stored.padding is not None:
            values[self.outside] = stored.padding
            ds.add_new(0x00280120, "SS" if stored.signed else "US", stored.padding)
        windows = self.vendor.windows
        ds.WindowCenter = [str(centre) for centre, _ in windows]
        ds.WindowWidth = [str(width) for _, width in windows]
        ds.RescaleIntercept = decimal(stored.intercept)
        ds.RescaleSlope = "1"
        ds.RescaleType = "HU"
        set_pixels(ds, values, bits=stored.bits, signed=stored.signed)
