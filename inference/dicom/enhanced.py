"""Frames of enhanced multi-frame objects: functional groups and dimension indices.

A frame is known by its functional groups and DimensionIndexSequence, never by its place in the file
(DICOM PS3.3 C.7.6.16, C.7.6.17).
"""

import math
from typing import Any

from inference.dicom import elements
from inference.dicom.elements import Elements
from inference.errors import DicomReadError


def spacing_of(source: Elements) -> tuple[float, float] | None:
    """PixelSpacing (row, column) in mm, or None where it is missing or not positive."""
    found = source.numbers("PixelSpacing")
    return (found[0], found[1]) if len(found) == 2 and min(found) > 0 else None


def orientation_of(source: Elements) -> tuple[float, ...] | None:
    """ImageOrientationPatient, or None where it is missing or not two perpendicular directions."""
    found = source.numbers("ImageOrientationPatient")
    if len(found) != 6:
        return None
    row, column = found[:3], found[3:]
    lengths = math.hypot(*row), math.hypot(*column)
    dot = sum(a * b for a, b in zip(row, column, strict=True))
    if any(abs(length - 1) > 0.05 for length in lengths) or abs(dot) > 0.01:
        return None
    return found


def position_of(source: Elements) -> tuple[float, float, float] | None:
    """ImagePositionPatient in mm, or None."""
    found = source.numbers("ImagePositionPatient")
    return (found[0], found[1], found[2]) if len(found) == 3 else None


class _Groups:
    """Functional groups of one frame, with the shared ones behind them."""

    def __init__(self, frame: Elements, shared: Elements) -> None:
        self._frame, self._shared = frame, shared

    def __call__(self, keyword: str) -> Elements:
        own = self._frame.items(keyword)
        return own[0] if own else self._shared.item(keyword)


def frame_fields(top: Elements, number_of_frames: int) -> list[dict[str, Any]]:
    """For every frame, the fields of its header that differ from those of the object.

    Raises
    ------
    DicomReadError
        The functional groups do not fit NumberOfFrames.
    """
    frames = top.items("PerFrameFunctionalGroupsSequence")
    if len(frames) != number_of_frames:
        raise DicomReadError(
            f"NumberOfFrames is {number_of_frames}, but {len(frames)} frames are described"
        )
    shared = top.item("SharedFunctionalGroupsSequence")
    zone = elements.offset_s(top.text("TimezoneOffsetFromUTC"))
    pointers = [
        item.tag_value("DimensionIndexPointer") for item in top.items("DimensionIndexSequence")
    ]
    return [
        {"frame": index} | _one_frame(_Groups(frame, shared), pointers, zone)
        for index, frame in enumerate(frames, start=1)
    ]


def _one_frame(groups: _Groups, pointers: list[int | None], zone: float | None) -> dict[str, Any]:
    content = groups("FrameContentSequence")
    fields: dict[str, Any] = {
        "frame_datetime_s": elements.datetime_s(content.text("FrameAcquisitionDateTime"), zone)
        or elements.datetime_s(content.text("FrameReferenceDateTime"), zone),
        "temporal_position": _temporal_index(content, pointers),
        "temporal_offset_s": groups("TemporalPositionSequence").number(
            "TemporalPositionTimeOffset", "FD"
        ),
        "position": position_of(groups("PlanePositionSequence")),
        "orientation": orientation_of(groups("PlaneOrientationSequence")),
        "pixel_spacing": spacing_of(groups("PixelMeasuresSequence")),
    }
    delay = groups("CardiacSynchronizationSequence").number("NominalCardiacTriggerDelayTime", "FD")
    present: dict[str, Any] = {
        "acquisition_number": content.integer("FrameAcquisitionNumber", "US"),
        "trigger_time_s": None if delay is None else delay / 1000,
        "slice_thickness": groups("PixelMeasuresSequence").number("SliceThickness"),
        "echo_time_ms": groups("MREchoSequence").number("EffectiveEchoTime", "FD"),
        "repetition_time_ms": groups("MRTimingAndRelatedParametersSequence").number(
            "RepetitionTime"
        ),
        "kvp": groups("CTXRayDetailsSequence").number("KVP"),
        "gantry_tilt": groups("CTGeometrySequence").number("GantryDetectorTilt"),
        "kernel": "/".join(groups("CTReconstructionSequence").texts("ConvolutionKernel")),
    }
    transform = groups("PixelValueTransformationSequence")
    present["rescale_slope"] = transform.number("RescaleSlope")
    present["rescale_intercept"] = transform.number("RescaleIntercept")
    present |= _contrast_fields(groups)
    return fields | {name: value for name, value in present.items() if value not in (None, "", ())}


def _temporal_index(content: Elements, pointers: list[int | None]) -> int | None:
    own = content.integer("TemporalPositionIndex", "UL")
    wanted = int(elements.tag_of("TemporalPositionIndex"))
    if own is not None or wanted not in pointers:
        return own
    values = content.numbers("DimensionIndexValues", "UL")
    index = pointers.index(wanted)
    return int(values[index]) if index < len(values) else None


def _contrast_fields(groups: _Groups) -> dict[str, Any]:
    """What the frame shows: type, weighting, labelling, contrast agent."""
    found: dict[str, Any] = {}
    for keyword in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence"):
        kind = groups(keyword)
        types = tuple(value.upper() for value in kind.texts("FrameType"))
        if types:
            found["image_type"] = types
        if kind.text("AcquisitionContrast"):
            found["acquisition_contrast"] = kind.text("AcquisitionContrast").upper()
    diffusion = groups("MRDiffusionSequence")
    found["b_value"] = diffusion.number("DiffusionBValue", "FD")
    found["diffusion_directionality"] = diffusion.text("DiffusionDirectionality").upper()
    if groups("MRArterialSpinLabelingSequence").has("ASLContext"):
        found["arterial_spin_labelling"] = True
    usage = groups("ContrastBolusUsageSequence")
    if usage.text("ContrastBolusAgentDetected").upper() == "YES" or (
        usage.text("ContrastBolusAgentAdministered").upper() == "YES"
    ):
        found["contrast"] = "ContrastBolusUsageSequence"
    return found
