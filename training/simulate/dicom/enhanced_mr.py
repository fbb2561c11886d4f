"""Enhanced MR Image Storage as Siemens XA software writes it: multi-frame objects.

Every frame tells its FrameAcquisitionDateTime, its place in the stack and its TemporalPositionIndex
or b-value in functional groups; its place in the file says nothing.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.uid import EnhancedMRImageStorage

from training.simulate.arrays import FloatArray
from training.simulate.dicom.identity import (
    date_and_time,
    decimal,
    set_patient_and_study,
    set_uids,
)
from training.simulate.dicom.image import set_pixels
from training.simulate.dicom.mr_series import SERIES_NUMBERS, MrSeries, Scale, Signal, scale_of
from training.simulate.dicom.vendors import set_equipment

_CONTRAST = {"pwi": "PERFUSION", "dwi": "DIFFUSION"}
_BRAIN = ("12738006", "SCT", "Brain")
_UNPAIRED = "U"
_AGENT = ("768763008", "SCT", "Gadolinium")
_GADOLINIUM = ("58281002", "SCT", "Gadolinium")
_INTRAVENOUS = ("47625008", "SCT", "Intravenous route")


@dataclass(frozen=True)
class _Frame:
    """One frame: where in ``volumes``, when, and its b-value where it has one."""

    time: int
    slice: int
    moment: dt.datetime
    b_value: float | None


def pwi_objects(
    series: MrSeries,
    volumes: Sequence[Signal],
    times_s: FloatArray,
    start: dt.datetime,
    *,
    split: bool,
) -> Iterator[Dataset]:
    """Yield a perfusion: one object, or with ``split`` one per time point.

    Raises ValueError for another scanner than Siemens.
    """
    frames = _frames(times_s, start, None)
    scale = scale_of(series, volumes)
    if not split:
        yield _object(series, volumes, frames, scale, 1, "pwi")
        return
    for time in range(len(volumes)):
        of_time = [frame for frame in frames if frame.time == time]
        yield _object(series, volumes, of_time, scale, time + 1, f"pwi-{time}")


def dwi_objects(
    series: MrSeries,
    b_values: Sequence[float],
    volumes: Sequence[Signal],
    times_s: FloatArray,
    start: dt.datetime,
) -> Iterator[Dataset]:
    """Yield diffusion-weighted trace images as one object.

    Raises ValueError for another scanner than Siemens.
    """
    frames = _frames(times_s, start, b_values)
    yield _object(series, volumes, frames, scale_of(series, volumes), 1, "dwi")


def _frames(
    times_s: FloatArray, start: dt.datetime, b_values: Sequence[float] | None
) -> list[_Frame]:
    """All frames, slice by slice at every time point."""
    return [
        _Frame(
            time, index, start + dt.timedelta(seconds=float(times_s[time, index])),
            None if b_values is None else float(b_values[time]),
        )
        for time in range(len(times_s))
        for index in range(times_s.shape[1])
    ]  # fmt: skip


def _object(
    series: MrSeries,
    volumes: Sequence[Signal],
    frames: Sequence[_Frame],
    scale: Scale,
    number: int,
    instance: str,
) -> Dataset:
    """One multi-frame object of some frames."""
    if series.scanner != "siemens":
        raise ValueError(f"enhanced MR is written as Siemens does, not as {series.scanner}")
    ds = Dataset()
    set_patient_and_study(ds, series.identity, series.words["study"], series.study)
    ds.SOPClassUID = EnhancedMRImageStorage
    ds.Modality = "MR"
    set_equipment(ds, series.identity, series.model, "MR")
    ds.SeriesNumber = SERIES_NUMBERS[series.kind]
    ds.AcquisitionNumber = ds.InstanceNumber = number
    ds.SeriesDescription = series.words["series"]
    ds.ProtocolName = series.words["protocol"]
    ds.BodyPartExamined = "BRAIN"
    ds.PatientPosition = "HFS"
    _set_object_times(ds, frames)
    _set_description(ds, series, frame_type=False)
    _set_pulse_sequence(ds, series)
    if series.kind == "pwi":
        _set_contrast(ds)
    ds.AcquisitionContextSequence = []
    _set_dimensions(ds, series, instance)
    groups = [_frame_groups(series, frame, scale) for frame in frames]
    ds.SharedFunctionalGroupsSequence = [_shared_groups(series)]
    ds.PerFrameFunctionalGroupsSequence = groups
    ds.NumberOfFrames = len(frames)
    ds.PresentationLUTShape = "IDENTITY"
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    stored = np.stack([scale.store(volumes[frame.time][frame.slice]) for frame in frames])
    set_pixels(ds, stored, bits=scale.bits, signed=scale.signed)
    set_uids(ds, series.identity, series.kind, instance, study=series.study)
    return ds


def _set_object_times(ds: Dataset, frames: Sequence[_Frame]) -> None:
    first, last = (pick(frame.moment for frame in frames) for pick in (min, max))
    ds.SeriesDate, ds.SeriesTime = date_and_time(first)
    ds.ContentDate, ds.ContentTime = date_and_time(last + dt.timedelta(seconds=1))
    ds.AcquisitionDateTime = _date_time(first)
    ds.AcquisitionDuration = (last - first).total_seconds() + 0.1


def _date_time(moment: dt.datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%S.%f")


def _set_description(ds: Dataset, series: MrSeries, *, frame_type: bool) -> None:
    """Set the MR Image Description macro of the object, or of its frames."""
    value = ["ORIGINAL", "PRIMARY", _CONTRAST[series.kind], "NONE"]
    if frame_type:
        ds.FrameType = value
    else:
        ds.ImageType = value
        ds.ContentQualification = "PRODUCT"
    ds.PixelPresentation = "MONOCHROME"
    ds.VolumetricProperties = "VOLUME"
    ds.VolumeBasedCalculationTechnique = "NONE"
    ds.ComplexImageComponent = "MAGNITUDE"
    ds.AcquisitionContrast = _CONTRAST[series.kind]


def _set_pulse_sequence(ds: Dataset, series: MrSeries) -> None:
    """Set the MR Image and MR Pulse Sequence modules of a 2-D echo-planar sequence."""
    ds.ResonantNucleus = "1H"
    ds.KSpaceFiltering = "NONE"
    ds.MagneticFieldStrength = decimal(series.model.field_strength_t)
    ds.ApplicableSafetyStandardAgency = "IEC"
    ds.PulseSequenceName = "*epfid2d1_128" if series.kind == "pwi" else "*ep2d_diff"
    ds.MRAcquisitionType = "2D"
    ds.EchoPulseSequence = "GRADIENT" if series.kind == "pwi" else "SPIN"
    if series.kind != "pwi":
        ds.MultipleSpinEcho = "NO"
    ds.MultiPlanarExcitation = "NO"
    ds.PhaseContrast = "NO"
    ds.TimeOfFlightContrast = "NO"
    ds.SteadyStatePulseSequence = "NONE"
    ds.EchoPlanarPulseSequence = "YES"
    ds.SaturationRecovery = "NO"
    ds.SpectrallySelectedSuppression = "FAT"
    ds.OversamplingPhase = "NONE"
    ds.GeometryOfKSpaceTraversal = "RECTILINEAR"
    ds.RectilinearPhaseEncodeReordering = "LINEAR"
    ds.SegmentedKSpaceTraversal = "SINGLE"
    ds.NumberOfKSpaceTrajectories = 1


def _set_contrast(ds: Dataset) -> None:
    """Set the Enhanced Contrast/Bolus module."""
    agent = _code(*_AGENT)
    agent.ContrastBolusAgentNumber = 1
    agent.ContrastBolusAdministrationRouteSequence = [_code(*_INTRAVENOUS)]
    agent.ContrastBolusIngredientCodeSequence = [_code(*_GADOLINIUM)]
    agent.ContrastBolusVolume = "15"
    agent.ContrastBolusIngredientConcentration = "1"
    agent.ContrastBolusIngredientOpaque = "NO"
    ds.ContrastBolusAgentSequence = [agent]


def _set_dimensions(ds: Dataset, series: MrSeries, instance: str) -> None:
    """Set the Multi-frame Dimension module: stack, place in it, and time or b-value."""
    organization = series.identity.uid("dimensions", series.identity.variant, instance)
    ds.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organization)]
    last = (
        ("TemporalPositionIndex", "FrameContentSequence")
        if series.kind == "pwi"
        else ("DiffusionBValue", "MRDiffusionSequence")
    )
    places = (
        ("StackID", "FrameContentSequence"), ("InStackPositionNumber", "FrameContentSequence"), last
    )  # fmt: skip
    ds.DimensionIndexSequence = [
        _item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=tag_for_keyword(attribute),
            FunctionalGroupPointer=tag_for_keyword(group),
        )
        for attribute, group in places
    ]


def _item(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _frame_groups(series: MrSeries, frame: _Frame, scale: Scale) -> Dataset:
    """Functional groups of one frame."""
    moment = _date_time(frame.moment)
    content = _item(
        FrameAcquisitionNumber=frame.time + 1,
        FrameReferenceDateTime=moment,
        FrameAcquisitionDateTime=moment,
        FrameAcquisitionDuration=series.repetition_time_ms / series.geometry.slices,
        StackID="1",
        InStackPositionNumber=frame.slice + 1,
        DimensionIndexValues=[1, frame.slice + 1, frame.time + 1],
    )
    if frame.b_value is None:
        content.TemporalPositionIndex = frame.time + 1
    position = [decimal(value) for value in series.geometry.positions_mm[frame.slice]]
    groups = _item(
        FrameContentSequence=[content],
        PlanePositionSequence=[_item(ImagePositionPatient=position)],
        FrameVOILUTSequence=[
            _item(WindowCenter=str(2 ** (scale.bits - 2)), WindowWidth=str(2 ** (scale.bits - 1)))
        ],
    )
    if frame.b_value is not None:
        directionality = "ISOTROPIC" if frame.b_value > 0 else "NONE"
        groups.MRDiffusionSequence = [
            _item(DiffusionBValue=frame.b_value, DiffusionDirectionality=directionality)
        ]
    return groups


def _shared_groups(series: MrSeries) -> Dataset:
    """Functional groups that all frames share."""
    geometry = series.geometry
    directions = (*geometry.row_cosines, *geometry.column_cosines)
    frame_type = Dataset()
    _set_description(frame_type, series, frame_type=True)
    groups = _item(
        PixelMeasuresSequence=[
            _item(
                PixelSpacing=[decimal(value) for value in geometry.pixel_spacing_mm],
                SliceThickness=decimal(series.thickness_mm),
                SpacingBetweenSlices=decimal(series.spacing_mm),
            )
        ],
        PlaneOrientationSequence=[
            _item(ImageOrientationPatient=[decimal(value) for value in directions])
        ],
        FrameAnatomySequence=[
            _item(AnatomicRegionSequence=[_code(*_BRAIN)], FrameLaterality=_UNPAIRED)
        ],
        PixelValueTransformationSequence=[
            _item(RescaleIntercept="0", RescaleSlope="1", RescaleType="US")
        ],
        MRImageFrameTypeSequence=[frame_type],
        MREchoSequence=[_item(EffectiveEchoTime=series.echo_time_ms)],
        MRAveragesSequence=[_item(NumberOfAverages="1")],
    )
    _add_timing(groups, series)
    _add_modifiers(groups, series)
    if series.kind == "pwi":
        groups.ContrastBolusUsageSequence = [
            _item(
                ContrastBolusAgentNumber=1,
                ContrastBolusAgentAdministered="YES",
                ContrastBolusAgentDetected="YES",
                ContrastBolusAgentPhase="DYNAMIC",
            )
        ]
    return groups


def _add_timing(groups: Dataset, series: MrSeries) -> None:
    geometry = series.geometry
    groups.MRTimingAndRelatedParametersSequence = [
        _item(
            RepetitionTime=decimal(series.repetition_time_ms),
            FlipAngle=decimal(series.flip_angle_deg),
            EchoTrainLength=geometry.rows,
            RFEchoTrainLength=0 if series.kind == "pwi" else 1,
            GradientEchoTrainLength=geometry.rows,
            GradientOutputType="PER_NERVE_STIM",
            GradientOutput=0.7,
            OperatingModeSequence=[
                _item(OperatingModeType="GRADIENT", OperatingMode="IEC_FIRST_LEVEL"),
                _item(OperatingModeType="RF", OperatingMode="IEC_NORMAL"),
            ],
            SpecificAbsorptionRateSequence=[
                _item(
                    SpecificAbsorptionRateDefinition="IEC_HEAD", SpecificAbsorptionRateValue=0.4
                )
            ],
        )
    ]  # fmt: skip
    groups.MRFOVGeometrySequence = [
        _item(
            InPlanePhaseEncodingDirection="COLUMN",
            MRAcquisitionFrequencyEncodingSteps=geometry.columns,
            MRAcquisitionPhaseEncodingStepsInPlane=geometry.rows,
            PercentSampling="100",
            PercentPhaseFieldOfView="100",
        )
    ]


def _add_modifiers(groups: Dataset, series: MrSeries) -> None:
    groups.MRModifierSequence = [
        _item(
            InversionRecovery="NO",
            FlowCompensation="NONE",
            Spoiling="NONE",
            T2Preparation="NO",
            SpectrallySelectedExcitation="NONE",
            SpatialPresaturation="NONE",
            PartialFourier="NO",
            ParallelAcquisition="NO",
        )
    ]
    groups.MRImagingModifierSequence = [
        _item(
            MagnetizationTransfer="NONE",
            BloodSignalNulling="NO",
            Tagging="NONE",
            TransmitterFrequency=series.imaging_frequency_mhz,
            PixelBandwidth="1500",
        )
    ]
    groups.MRReceiveCoilSequence = [
        _item(
            ReceiveCoilName=series.vendor.coil,
            ReceiveCoilManufacturerName="Simulated",
            ReceiveCoilType="BODY",
            QuadratureReceiveCoil="NO",
        )
    ]
    groups.MRTransmitCoilSequence = [
        _item(
            TransmitCoilName="Body",
            TransmitCoilManufacturerName="Simulated",
            TransmitCoilType="BODY",
        )
    ]
