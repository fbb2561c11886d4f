"""Simulated patients as MR images, in the way that each vendor writes them.

How times are told by a perfusion in classic MR Image Storage:

siemens   AcquisitionTime of its own for every image
ge        one AcquisitionTime; TriggerTime, and RTIA (0021,xx5E) of GEMS_RELA_01 in 0.1 ms
philips   one AcquisitionTime; TriggerTime, TemporalPositionIdentifier, and the begin of the
          dynamic scan in (2005,xxA0) of Philips MR Imaging DD 001; InstanceNumber at random
canon     AcquisitionTime of its own for every image; InstanceNumber runs through time at each
          position

and diffusion weighting:

siemens   DiffusionBValue and (0019,xx0C) of SIEMENS MR HEADER
ge        (0043,xx39) of GEMS_PARM_01, in newer software plus 1e9
philips   DiffusionBValue and (2001,xx03) of Philips Imaging DD 001
canon     DiffusionBValue
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.uid import MRImageStorage

from inference.geometry import Geometry
from training.simulate.arrays import FloatArray
from training.simulate.dicom import enhanced_mr
from training.simulate.dicom.identity import (
    Identity,
    decimal,
    set_patient_and_study,
    set_times,
    set_uids,
)
from training.simulate.dicom.image import set_pixels, set_plane
from training.simulate.dicom.mr_series import (
    SERIES_NUMBERS,
    MrSeries,
    Scale,
    Signal,
    checked,
    scale_of,
)
from training.simulate.dicom.vendors import set_equipment
from training.simulate.scanner import Scanner

IntArray = npt.NDArray[np.int64]
FOLLOW_UP = dt.timedelta(hours=24)
_TIMED_BY_IMAGE = ("siemens", "canon")
_GATED = "PPG"
_GE_B_VALUE_OFFSET = 1_000_000_000
_AVERAGES_PER_B = 3


def pwi_datasets(
    identity: Identity,
    scanner: Scanner,
    geometry: Geometry,
    frames: Iterable[Signal],
    times_s: FloatArray,
    start: dt.datetime,
    *,
    echo_time_ms: float = 30.0,
    repetition_time_ms: float = 1500.0,
    thickness_mm: float = 5.0,
    field_strength_t: float | None = None,
    flip_angle_deg: float = 90.0,
    enhanced: bool = False,
    object_per_time_point: bool = False,
) -> Iterator[Dataset]:
    """Yield the images of a perfusion by T2*-weighted bolus tracking, in order of acquisition.

    Parameters
    ----------
    identity : Identity
        Whose study; MR is a study of its own beside the patient's CT.
    scanner : str
        Whose way of writing.
    geometry : Geometry
        Where the slices lie.
    frames : iterable of integer arrays, shape ``(slice, row, column)``
        The signal, one volume per time point, not negative; all are held in memory.
    times_s : array, shape ``(time, slice)``
        Acquisition time of every slice in s after ``start``.
    start : datetime
        Start of the acquisition.
    echo_time_ms, repetition_time_ms, thickness_mm, flip_angle_deg : float
        EchoTime, RepetitionTime, SliceThickness, FlipAngle.
    field_strength_t : float or None
        Chooses a scanner of about this field strength; None takes any.
    enhanced, object_per_time_point : bool
        Enhanced MR Image Storage (Siemens only), all frames in one object or one object per time
        point.

    Raises
    ------
    ValueError
        Frames, times and geometry do not fit; enhanced images of another vendor than Siemens.
    """
    series = MrSeries(
        identity, scanner, geometry, "pwi", thickness_mm, echo_time_ms, repetition_time_ms,
        flip_angle_deg, field_strength_t,
    )  # fmt: skip
    volumes = list(frames)
    checked(series, volumes, times_s)
    if enhanced:
        yield from enhanced_mr.pwi_objects(
            series, volumes, times_s, start, split=object_per_time_point
        )
        return
    scale, order = scale_of(series, volumes), _instance_numbers(series, *times_s.shape)
    for time, volume in enumerate(volumes):
        for index in np.argsort(times_s[time], kind="stable"):
            place = _Place(time, int(index), float(times_s[time, index]), *times_s.shape)
            ds = _image(series, "pwi", scale, volume[place.slice], place)
            ds.InstanceNumber = int(order[time, place.slice])
            ds.AcquisitionNumber = time + 1 if scanner in _TIMED_BY_IMAGE else 1
            _set_pwi_times(ds, series, times_s, place, start)
            set_uids(ds, identity, "pwi", f"pwi-{time}-{place.slice}", study=series.study)
            yield ds


def dwi_datasets(
    identity: Identity,
    scanner: Scanner,
    geometry: Geometry,
    volumes: Mapping[float, Signal],
    start: dt.datetime,
    *,
    times_s: FloatArray | None = None,
    echo_time_ms: float = 80.0,
    repetition_time_ms: float = 5000.0,
    thickness_mm: float = 5.0,
    field_strength_t: float | None = None,
    enhanced: bool = False,
) -> Iterator[Dataset]:
    """Yield diffusion-weighted trace images, b-value by b-value.

    ``volumes`` holds the signal by b-value in s/mm²; ``times_s`` of shape ``(b, slice)`` are the
    acquisition times in s after ``start``, interleaved from the protocol when None. Other
    parameters and errors as for :func:`pwi_datasets`.
    """
    series = MrSeries(
        identity, scanner, geometry, "dwi", thickness_mm, echo_time_ms, repetition_time_ms, 90.0,
        field_strength_t,
    )  # fmt: skip
    b_values = sorted(volumes)
    signals = [volumes[b] for b in b_values]
    times = _interleaved_s(series, b_values) if times_s is None else times_s
    checked(series, signals, times)
    if enhanced:
        yield from enhanced_mr.dwi_objects(series, b_values, signals, times, start)
        return
    scale, order = scale_of(series, signals), _instance_numbers(series, *times.shape)
    for number, (b_value, volume) in enumerate(zip(b_values, signals, strict=True)):
        for index in np.argsort(times[number], kind="stable"):
            place = _Place(number, int(index), float(times[number, index]), *times.shape)
            weighting = "trace" if b_value > 0 else "b0"
            ds = _image(series, weighting, scale, volume[place.slice], place, b_value)
            ds.InstanceNumber = int(order[number, place.slice])
            ds.AcquisitionNumber = 1
            _set_b_value(ds, series, b_value)
            own = place.seconds if scanner in _TIMED_BY_IMAGE else 0.0
            set_times(ds, start, own, place.seconds + 1)
            set_uids(ds, identity, "dwi", f"dwi-{b_value:g}-{place.slice}", study=series.study)
            yield ds


def gre_datasets(
    identity: Identity,
    scanner: Scanner,
    geometry: Geometry,
    volume: Signal,
    start: dt.datetime,
    *,
    echo_time_ms: float = 20.0,
    repetition_time_ms: float = 620.0,
    thickness_mm: float = 5.0,
    field_strength_t: float | None = None,
    flip_angle_deg: float = 20.0,
) -> Iterator[Dataset]:
    """Yield a T2*-weighted gradient echo as a follow-up study, which begins 24 h after the first.

    ``start`` is that of this acquisition. Other parameters and errors as for
    :func:`pwi_datasets`.
    """
    series = MrSeries(
        identity.follow_up(FOLLOW_UP), scanner, geometry, "gre", thickness_mm, echo_time_ms,
        repetition_time_ms, flip_angle_deg, field_strength_t,
    )  # fmt: skip
    times = _interleaved_s(series, [0.0])
    checked(series, [volume], times)
    scale, order = scale_of(series, [volume]), _instance_numbers(series, 1, geometry.slices)
    for index in range(geometry.slices):
        place = _Place(0, index, float(times[0, index]), *times.shape)
        ds = _image(series, "gre", scale, volume[index], place)
        ds.InstanceNumber, ds.AcquisitionNumber = int(order[0, index]), 1
        set_times(ds, start, place.seconds, place.seconds + 1)
        set_uids(ds, identity, "gre", f"gre-{index}", study=series.study)
        yield ds


@dataclass(frozen=True)
class _Place:
    """Which image of an acquisition: time point, slice, seconds after its start; how many."""

    time: int
    slice: int
    seconds: float
    time_points: int
    slices: int


def _interleaved_s(series: MrSeries, b_values: list[float]) -> FloatArray:
    """Times of interleaved slices, even ones first: shape ``(b, slice)``."""
    slices = series.geometry.slices
    rank = np.empty(slices)
    rank[np.r_[0:slices:2, 1:slices:2]] = np.arange(slices)
    within = rank * series.repetition_time_ms / 1000 / slices
    repetitions = np.cumsum([0, *(_AVERAGES_PER_B if b > 0 else 1 for b in b_values[:-1])])
    return np.asarray(repetitions[:, None] * series.repetition_time_ms / 1000 + within)


def _instance_numbers(series: MrSeries, time_points: int, slices: int) -> IntArray:
    """InstanceNumber of every image, shape ``(time, slice)``."""
    count = time_points * slices
    numbers = np.arange(1, count + 1)
    if series.scanner == "canon":
        return numbers.reshape(slices, time_points).T
    if series.scanner == "philips":
        numbers = series.identity.draws("instance numbers", series.kind).permutation(numbers)
    return numbers.reshape(time_points, slices)


def _set_pwi_times(
    ds: Dataset, series: MrSeries, times_s: FloatArray, place: _Place, start: dt.datetime
) -> None:
    seconds = place.seconds
    if series.scanner in _TIMED_BY_IMAGE:
        set_times(ds, start, seconds, seconds + 1)
        return
    set_times(ds, start, 0.0, float(times_s.max()) + 5)
    # allowed with heart gating only (PS3.3 C.8.3.1); these vendors write it for any dynamic scan
    ds.ScanOptions = [_GATED, *series.vendor.scan_options]
    ds.TriggerTime = f"{1000 * seconds:.3f}"
    if series.scanner == "ge":
        ds.ImagesInAcquisition = place.time_points * place.slices
        ticks = f"{10_000 * seconds:.1f}"
        ds.private_block(0x0021, "GEMS_RELA_01", create=True).add_new(0x5E, "DS", ticks)
        return
    ds.TemporalPositionIdentifier = place.time + 1
    ds.NumberOfTemporalPositions = place.time_points
    begin = float(times_s[place.time].min())
    ds.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0xA0, "FL", begin)


def _set_b_value(ds: Dataset, series: MrSeries, b_value: float) -> None:
    if series.scanner == "ge":
        offset = 0 if series.model.software.startswith("HD") else _GE_B_VALUE_OFFSET
        block = ds.private_block(0x0043, "GEMS_PARM_01", create=True)
        block.add_new(0x39, "IS", [str(round(b_value) + offset), "8", "0", "0"])
        return
    ds.DiffusionBValue = b_value
    if series.scanner == "siemens":
        block = ds.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0C, "IS", str(round(b_value)))
    elif series.scanner == "philips":
        block = ds.private_block(0x2001, "Philips Imaging DD 001", create=True)
        block.add_new(0x03, "FL", b_value)
        block.add_new(0x04, "CS", "I" if b_value > 0 else "N")
        ds.DiffusionDirectionality = "ISOTROPIC" if b_value > 0 else "NONE"


def _image(
    series: MrSeries, what: str, scale: Scale, signal: Signal, place: _Place, b_value: float = 0
) -> Dataset:
    """One image without times, numbers and instance UIDs."""
    vendor, words = series.vendor, series.words
    ds = Dataset()
    set_patient_and_study(ds, series.identity, words["study"], series.study)
    ds.SOPClassUID = MRImageStorage
    ds.ImageType = list(vendor.image_types[what])
    ds.Modality = "MR"
    set_equipment(ds, series.identity, series.model, "MR")
    ds.SeriesNumber = SERIES_NUMBERS[series.kind]
    ds.SeriesDescription = words["series"]
    ds.ProtocolName = words["protocol"]
    ds.BodyPartExamined = vendor.body_part
    ds.PatientPosition = "HFS"
    if words["agent"]:
        ds.ContrastBolusAgent = words["agent"]
    _set_sequence(ds, series, what, b_value)
    set_plane(ds, series.geometry, place.slice, series.thickness_mm)
    ds.SpacingBetweenSlices = decimal(series.spacing_mm)
    stored = scale.store(signal)
    if scale.slope != 1.0:
        ds.RescaleIntercept, ds.RescaleSlope = "0", decimal(scale.slope)
        ds.RescaleType = "normalized"
    brightest = max(int(stored.max()), 1)
    ds.WindowCenter, ds.WindowWidth = str(brightest // 2), str(brightest)
    set_pixels(ds, stored, bits=scale.bits, signed=scale.signed)
    return ds


def _set_sequence(ds: Dataset, series: MrSeries, what: str, b_value: float) -> None:
    """Set the MR Image module."""
    vendor, geometry = series.vendor, series.geometry
    planar = series.kind != "gre"
    echo = {"pwi": ["EP", "GR"], "dwi": ["EP", "SE"], "gre": ["GR"]}[series.kind]
    ds.ScanningSequence = ["EP"] if planar and series.scanner == "siemens" else echo
    ds.SequenceVariant = list(vendor.sequence_variant) if planar else ["SP"]
    ds.ScanOptions = list(vendor.scan_options) if planar else ""
    ds.MRAcquisitionType = "2D"
    if what in vendor.sequences:
        ds.SequenceName = vendor.sequences[what].format(b=round(b_value))
    ds.AngioFlag = "N"
    ds.RepetitionTime = decimal(series.repetition_time_ms)
    ds.EchoTime = decimal(series.echo_time_ms)
    ds.NumberOfAverages = "1"
    ds.ImagingFrequency = decimal(series.imaging_frequency_mhz)
    ds.ImagedNucleus = "1H"
    ds.EchoNumbers = "1"
    ds.MagneticFieldStrength = decimal(series.model.field_strength_t)
    ds.NumberOfPhaseEncodingSteps = geometry.rows
    ds.EchoTrainLength = geometry.rows if planar else 1
    ds.PercentSampling = "100"
    ds.PercentPhaseFieldOfView = "100"
    ds.PixelBandwidth = "1500" if planar else "200"
    ds.ReceiveCoilName = vendor.coil
    ds.TransmitCoilName = "Body"
    ds.AcquisitionMatrix = [0, geometry.columns, geometry.rows, 0]
    ds.InPlanePhaseEncodingDirection = "COL"
    ds.FlipAngle = decimal(series.flip_angle_deg)
    ds.VariableFlipAngleFlag = "N"
    ds.ReconstructionDiameter = decimal(geometry.columns * geometry.pixel_spacing_mm[1])
