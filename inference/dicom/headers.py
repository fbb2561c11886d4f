"""What every 2-D image says of itself, without its pixels.

One :class:`FrameHeader` stands for a classic instance or for one frame of a multi-frame object, so
that everything after this module treats both alike.
"""

import hashlib
import re
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import BaseTag

from inference.dicom import elements
from inference.dicom.elements import Elements
from inference.dicom.enhanced import frame_fields, orientation_of, position_of, spacing_of
from inference.dicom.files import ParsedFile, parse_file
from inference.errors import DicomReadError

MAX_SIDE = 16384
MAX_FRAMES = 65536
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_DICOMDIR = "1.2.840.10008.1.3.10"
_SEQUENCE_B = re.compile(r"ep_b(\d{1,5})")
_NO_CONTRAST = {"", "0", "N", "NO", "NON", "NONE", "NEIN", "WITHOUT", "FALSE", "NATIVE", "NA"}
_UNREADABLE = (
    AttributeError, BytesLengthException, EOFError, InvalidDicomError, KeyError, LookupError,
    NotImplementedError, OSError, OverflowError, RecursionError, TypeError,
    UnicodeError, ValueError, struct.error,
)  # fmt: skip

_KEYWORDS = """
SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID AcquisitionDate ContentDate
AcquisitionDateTime AcquisitionTime ContentTime TimezoneOffsetFromUTC Modality Manufacturer
ManufacturerModelName SeriesDescription ProtocolName AcquisitionContrast PatientID
BodyPartExamined ContrastBolusAgent ContrastBolusAgentSequence
ContrastBolusVolume ContrastBolusIngredient ContrastBolusTotalDose ScanningSequence SequenceName
PulseSequenceName EchoPlanarPulseSequence ArterialSpinLabelingContrast SliceThickness KVP
RepetitionTime EchoTime TriggerTime GantryDetectorTilt ConvolutionKernel AcquisitionDuration
ContentQualification DiffusionBValue DiffusionDirectionality StudyInstanceUID SeriesInstanceUID
SeriesNumber AcquisitionNumber InstanceNumber ImagePositionPatient ImageOrientationPatient
FrameOfReferenceUID TemporalPositionIdentifier NumberOfTemporalPositions ImagesInAcquisition
DimensionIndexSequence SamplesPerPixel PhotometricInterpretation NumberOfFrames Rows Columns
PixelSpacing BitsAllocated BitsStored HighBit PixelRepresentation PixelPaddingValue
PixelPaddingRangeLimit RescaleIntercept RescaleSlope BurnedInAnnotation
SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence
"""
_PRIVATE = (
    (0x0019, 0x24), (0x0043, 0x1E), (0x0021, 0x5E), (0x2005, 0xA0), (0x0019, 0x0C), (0x0043, 0x39),
    (0x2001, 0x03),
)  # fmt: skip
_TAGS: list[BaseTag | int] = list(
    {elements.tag_of(keyword) for keyword in _KEYWORDS.split()}.union(
        *(elements.private_tags(*place) for place in _PRIVATE)
    )
)


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What one 2-D image says of itself.

    ``frame`` is None for a classic instance, else the 1-based frame number. Fields named ``_s`` are
    seconds; absolute ones count from 2000-01-01 (UTC where the file tells its offset, else local).
    What is missing or does not parse is None or empty. ``rows`` is 0 for an object without pixels
    (a report, for example).

    Parameters
    ----------
    contrast : str
        The attribute that tells of a contrast agent, or empty.
    patient_key : str
        Hash of PatientID: tells patients apart without keeping identity. Without the issuer,
        which a PACS adds to some images of one patient.
    pixel_padding : (int, int) or None
        Lowest and highest stored value that mean "no pixel".
    pixel_offset, pixel_length : int
        Where uncompressed pixel data lie in the file; ``pixel_offset`` is 0 where they must be
        decoded.
    """

    path: Path
    frame: int | None
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    frame_of_reference_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    patient_key: str
    modality: str
    image_type: tuple[str, ...]
    manufacturer: str
    manufacturer_model_name: str
    content_qualification: str
    body_part: str
    series_description: str
    protocol_name: str
    series_number: int | None
    acquisition_number: int | None
    instance_number: int | None
    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int
    pixel_padding: tuple[int, int] | None
    rescale_slope: float | None
    rescale_intercept: float | None
    number_of_frames: int
    has_pixel_data: bool
    pixel_offset: int
    pixel_length: int
    burned_in: bool
    pixel_spacing: tuple[float, float] | None
    orientation: tuple[float, ...] | None
    position: tuple[float, float, float] | None
    slice_thickness: float | None
    gantry_tilt: float | None
    frame_datetime_s: float | None
    acquisition_datetime_s: float | None
    acquisition_date_s: float | None
    acquisition_time_s: float | None
    content_date_s: float | None
    content_time_s: float | None
    trigger_time_s: float | None
    temporal_offset_s: float | None
    ge_mid_scan_time_s: float | None
    ge_delta_start_time_s: float | None
    ge_rtia_s: float | None
    philips_dynamic_s: float | None
    acquisition_duration_s: float | None
    temporal_position: int | None
    images_in_acquisition: int | None
    number_of_temporal_positions: int | None
    contrast: str
    kvp: float | None
    kernel: str
    scanning_sequence: tuple[str, ...]
    sequence_name: str
    echo_planar: bool
    echo_time_ms: float | None
    repetition_time_ms: float | None
    acquisition_contrast: str
    arterial_spin_labelling: bool
    b_value: float | None
    diffusion_directionality: str


def read_headers(path: Path) -> tuple[FrameHeader, ...]:
    """Headers of one DICOM file: one, or one per frame of an enhanced multi-frame object.

    A DICOMDIR, whatever its name, has none.

    Raises
    ------
    DicomReadError
        Not DICOM, truncated, without valid UIDs, or with sizes that no image has.
    """
    try:
        with path.open("rb") as file:
            return _read(path, file)
    except _UNREADABLE as error:
        raise DicomReadError(f"not readable as DICOM ({type(error).__name__})") from error


def read_folder(
    root: Path, progress: Callable[[float], None] | None = None
) -> tuple[list[FrameHeader], list[tuple[Path, str]]]:
    """Headers of every DICOM file under a folder (or of one file).

    Returns the headers, and the unreadable files with the reason. A DICOMDIR is skipped.
    """
    paths = [root] if root.is_file() else sorted(p for p in root.rglob("*") if _is_regular(p))
    headers: list[FrameHeader] = []
    unreadable: list[tuple[Path, str]] = []
    for index, path in enumerate(paths):
        try:
            headers.extend(read_headers(path))
        except DicomReadError as error:
            unreadable.append((path, str(error)))
        if progress is not None:
            progress((index + 1) / len(paths))
    return headers, unreadable


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _read(path: Path, file: BinaryIO) -> tuple[FrameHeader, ...]:
    parsed = parse_file(file, _TAGS)
    top = Elements(parsed.ds)
    if parsed.sop_class_uid == _DICOMDIR:
        return ()
    fields: dict[str, Any] = {
        "path": path,
        "frame": None,
        "transfer_syntax_uid": parsed.transfer_syntax_uid,
    }
    fields |= _identity(top, parsed.sop_class_uid) | _size(top, parsed)
    fields |= _values(top) | _geometry(top) | _times(top) | _equipment(top) | _protocol(top)
    base = FrameHeader(**fields)
    if not top.has("PerFrameFunctionalGroupsSequence"):
        return (base,)
    return tuple(replace(base, **changes) for changes in frame_fields(top, base.number_of_frames))


def _uid(name: str, value: str) -> str:
    if not value:
        raise DicomReadError(f"{name} is missing")
    if len(value) > 64 or not _UID.fullmatch(value):
        raise DicomReadError(f"{name} is not a valid UID")
    return value


def _identity(top: Elements, meta_class: str) -> dict[str, Any]:
    reference = top.text("FrameOfReferenceUID")
    patient = top.text("PatientID")
    return {
        "sop_instance_uid": _uid("SOPInstanceUID", top.text("SOPInstanceUID")),
        "series_instance_uid": _uid("SeriesInstanceUID", top.text("SeriesInstanceUID")),
        "study_instance_uid": _uid("StudyInstanceUID", top.text("StudyInstanceUID")),
        "sop_class_uid": _uid("SOPClassUID", top.text("SOPClassUID") or meta_class),
        "frame_of_reference_uid": reference and _uid("FrameOfReferenceUID", reference),
        "patient_key": hashlib.sha256(patient.encode()).hexdigest()[:32],
    }


def _size(top: Elements, parsed: ParsedFile) -> dict[str, Any]:
    pixels = parsed.pixels
    rows, columns = top.integer("Rows", "US") or 0, top.integer("Columns", "US") or 0
    samples, bits = top.integer("SamplesPerPixel", "US") or 1, top.integer("BitsAllocated", "US")
    frames = top.integer("NumberOfFrames") or 1
    bits = bits or 16
    if not (0 <= rows <= MAX_SIDE and 0 <= columns <= MAX_SIDE):
        raise DicomReadError(f"an image of {rows}x{columns} pixels; at most {MAX_SIDE} a side")
    if not 1 <= frames <= MAX_FRAMES:
        raise DicomReadError(f"NumberOfFrames is {frames}; 1 to {MAX_FRAMES} are read")
    if not (1 <= samples <= 4 and 1 <= bits <= 64):
        raise DicomReadError(f"{samples} samples per pixel of {bits} bits; at most 4 of 64")
    expected = (rows * columns * samples * frames * bits + 7) // 8
    photometric = top.text("PhotometricInterpretation")
    if photometric.startswith("YBR_FULL_422"):
        expected = expected * 2 // 3
    enough = pixels.length > 0 if parsed.compressed else pixels.length >= max(expected, 1)
    return {
        "rows": rows if columns else 0,
        "columns": columns if rows else 0,
        "samples": samples,
        "photometric": photometric,
        "bits_allocated": bits,
        "bits_stored": top.integer("BitsStored", "US") or bits,
        "high_bit": _or(top.integer("HighBit", "US"), bits - 1),
        "number_of_frames": frames,
        "has_pixel_data": pixels.found and enough,
        "pixel_offset": pixels.offset,
        "pixel_length": pixels.length,
        "burned_in": top.text("BurnedInAnnotation").upper() == "YES",
    }


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _values(top: Elements) -> dict[str, Any]:
    signed = top.integer("PixelRepresentation", "US") == 1
    vr = "SS" if signed else "US"
    padding = top.integer("PixelPaddingValue", vr)
    limit = top.integer("PixelPaddingRangeLimit", vr)
    found = None
    if padding is not None:
        ends = [_as_stored(v, signed) for v in (padding, padding if limit is None else limit)]
        found = (min(ends), max(ends))
    return {
        "pixel_representation": int(signed),
        "pixel_padding": found,
        "rescale_slope": top.number("RescaleSlope"),
        "rescale_intercept": top.number("RescaleIntercept"),
    }


def _as_stored(value: int, signed: bool) -> int:
    """A padding value as the pixels hold it: writers often mix up its VRs US and SS."""
    if signed and value > 0x7FFF:
        return value - 0x10000
    return value + 0x10000 if not signed and value < 0 else value


def _geometry(top: Elements) -> dict[str, Any]:
    return {
        "pixel_spacing": spacing_of(top),
        "orientation": orientation_of(top),
        "position": position_of(top),
        "slice_thickness": top.number("SliceThickness"),
        "gantry_tilt": top.number("GantryDetectorTilt"),
    }


def _times(top: Elements) -> dict[str, Any]:
    zone = elements.offset_s(top.text("TimezoneOffsetFromUTC"))
    shift = zone or 0.0

    def day(keyword: str) -> float | None:
        return elements.date_s(top.text(keyword))

    def clock(keyword: str) -> float | None:
        found = elements.time_s(top.text(keyword))
        return None if found is None else found - shift

    def private(creator: str, group: int, element: int, unit_s: float, vr: str) -> float | None:
        found = top.number(top.private(creator, group, element), vr)
        return None if found is None else found * unit_s

    trigger = top.number("TriggerTime")
    return {
        "frame_datetime_s": None,
        "temporal_offset_s": None,
        "acquisition_datetime_s": elements.datetime_s(top.text("AcquisitionDateTime"), zone),
        "acquisition_date_s": day("AcquisitionDate"),
        "acquisition_time_s": clock("AcquisitionTime"),
        "content_date_s": day("ContentDate"),
        "content_time_s": clock("ContentTime"),
        "trigger_time_s": None if trigger is None else trigger / 1000,
        "ge_mid_scan_time_s": private("GEMS_ACQU_01", 0x0019, 0x24, 1.0, "DS"),
        "ge_delta_start_time_s": private("GEMS_PARM_01", 0x0043, 0x1E, 1e-3, "DS"),
        "ge_rtia_s": private("GEMS_RELA_01", 0x0021, 0x5E, 1e-4, "DS"),
        "philips_dynamic_s": private("Philips MR Imaging DD 001", 0x2005, 0xA0, 1.0, "FL"),
        "acquisition_duration_s": top.number("AcquisitionDuration", "FD"),
        "temporal_position": top.integer("TemporalPositionIdentifier"),
        "acquisition_number": top.integer("AcquisitionNumber"),
        "instance_number": top.integer("InstanceNumber"),
        "images_in_acquisition": top.integer("ImagesInAcquisition"),
        "number_of_temporal_positions": top.integer("NumberOfTemporalPositions"),
    }


def _equipment(top: Elements) -> dict[str, Any]:
    return {
        "modality": top.text("Modality").upper(),
        "manufacturer": top.text("Manufacturer"),
        "manufacturer_model_name": top.text("ManufacturerModelName"),
        "content_qualification": top.text("ContentQualification").upper(),
        "body_part": top.text("BodyPartExamined").upper(),
        "series_description": top.text("SeriesDescription"),
        "protocol_name": top.text("ProtocolName"),
        "series_number": top.integer("SeriesNumber"),
        "image_type": tuple(value.upper() for value in top.texts("ImageType")),
    }


def _protocol(top: Elements) -> dict[str, Any]:
    return {
        "contrast": _contrast(top),
        "kvp": top.number("KVP"),
        "kernel": "/".join(top.texts("ConvolutionKernel")),
        "scanning_sequence": tuple(v.upper() for v in top.texts("ScanningSequence")),
        "sequence_name": top.text("SequenceName") or top.text("PulseSequenceName"),
        "echo_planar": top.text("EchoPlanarPulseSequence").upper() == "YES",
        "echo_time_ms": top.number("EchoTime"),
        "repetition_time_ms": top.number("RepetitionTime"),
        "acquisition_contrast": top.text("AcquisitionContrast").upper(),
        "arterial_spin_labelling": top.has("ArterialSpinLabelingContrast"),
        "b_value": _b_value(top),
        "diffusion_directionality": top.text("DiffusionDirectionality").upper(),
    }


def _contrast(top: Elements) -> str:
    """The attribute that tells of a contrast agent, or empty."""
    for keyword in ("ContrastBolusAgent", "ContrastBolusIngredient"):
        if top.text(keyword).upper().strip(" .-") not in _NO_CONTRAST:
            return keyword
    if top.items("ContrastBolusAgentSequence"):
        return "ContrastBolusAgentSequence"
    for keyword in ("ContrastBolusVolume", "ContrastBolusTotalDose"):
        if (top.number(keyword) or 0) > 0:
            return keyword
    return ""


def _b_value(top: Elements) -> float | None:
    """Diffusion weighting in s/mm², from the standard or the vendor's attribute."""
    standard = top.number("DiffusionBValue", "FD")
    if standard is not None:
        return standard
    siemens = top.number(top.private("SIEMENS MR HEADER", 0x0019, 0x0C), "IS")
    philips = top.number(top.private("Philips Imaging DD 001", 0x2001, 0x03), "FL")
    ge = top.number(top.private("GEMS_PARM_01", 0x0043, 0x39), "IS")
    if siemens is not None:
        return siemens
    if philips is not None:
        return philips
    if ge is not None:
        # newer software adds 1e9 to tell it from the older meaning of the element
        return ge % 100000
    match = _SEQUENCE_B.search(top.text("SequenceName").lower())
    return float(match[1]) if match else None
