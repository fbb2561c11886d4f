"""Headers and files of made-up series, as the scanners of several vendors write them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRLittleEndian

from inference.dicom.headers import FrameHeader

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
NOON = 43200.0
SHARED_DATA = Path(__file__).parents[4] / "shared" / "data"

_DEFAULTS: dict[str, Any] = {
    "path": Path("none.dcm"), "frame": None, "sop_instance_uid": "1.2.3.4",
    "series_instance_uid": "1.2.3", "study_instance_uid": "1.2", "frame_of_reference_uid": "1.2.9",
    "sop_class_uid": CT, "transfer_syntax_uid": str(ExplicitVRLittleEndian), "patient_key": "a",
    "modality": "CT", "image_type": ("ORIGINAL", "PRIMARY", "AXIAL"), "manufacturer": "SIEMENS",
    "manufacturer_model_name": "", "content_qualification": "", "body_part": "HEAD",
    "series_description": "", "protocol_name": "", "series_number": 1, "acquisition_number": None,
    "instance_number": None, "rows": 256, "columns": 256, "samples": 1,
    "photometric": "MONOCHROME2", "bits_allocated": 16, "bits_stored": 16, "high_bit": 15,
    "pixel_representation": 1, "pixel_padding": None, "rescale_slope": 1.0,
    "rescale_intercept": 0.0, "number_of_frames": 1, "has_pixel_data": True, "pixel_offset": 1000,
    "pixel_length": 131072, "burned_in": False, "pixel_spacing": (0.9, 0.9),
    "orientation": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), "position": (0.0, 0.0, 0.0),
    "slice_thickness": 5.0, "gantry_tilt": None, "frame_datetime_s": None,
    "acquisition_datetime_s": None, "acquisition_date_s": None, "acquisition_time_s": None,
    "content_date_s": None, "content_time_s": None, "trigger_time_s": None,
    "temporal_offset_s": None, "ge_mid_scan_time_s": None, "ge_delta_start_time_s": None,
    "ge_rtia_s": None, "philips_dynamic_s": None, "acquisition_duration_s": None,
    "temporal_position": None, "images_in_acquisition": None, "number_of_temporal_positions": None,
    "contrast": "", "kvp": 80.0, "kernel": "Hr36", "scanning_sequence": (), "sequence_name": "",
    "echo_planar": False, "echo_time_ms": None, "repetition_time_ms": None,
    "acquisition_contrast": "", "arterial_spin_labelling": False, "b_value": None,
    "diffusion_directionality": "",
}  # fmt: skip

DSC: dict[str, Any] = {
    "sop_class_uid": MR, "modality": "MR", "rows": 128, "columns": 128, "pixel_spacing": (1.8, 1.8),
    "image_type": ("ORIGINAL", "PRIMARY", "M", "ND"), "echo_time_ms": 32.0, "kvp": None,
    "repetition_time_ms": 1500.0, "scanning_sequence": ("EP",), "sequence_name": "*epfid2d1_128",
    "kernel": "", "rescale_slope": None, "rescale_intercept": None, "body_part": "BRAIN",
}  # fmt: skip


def header(**changes: Any) -> FrameHeader:
    """One header, by default of a head CT image."""
    return FrameHeader(**(_DEFAULTS | changes))


def times(points: int, slices: int, interval: float = 1.5) -> npt.NDArray[np.float64]:
    """Volume after volume, every slice at its own time, shape (time, slice)."""
    return np.arange(points)[:, None] * interval + np.arange(slices)[None] * 0.04


def dynamic(
    seconds: npt.NDArray[np.float64],
    field: str = "acquisition_time_s",
    heights: Sequence[float] | None = None,
    start: float = NOON,
    series: str = "1.2.3",
    **changes: Any,
) -> list[FrameHeader]:
    """Headers of a series over time, ``seconds`` of shape (time, slice), in time-major order."""
    points, slices = seconds.shape
    z = np.arange(slices) * 5.0 if heights is None else np.asarray(heights)
    found = []
    for t in range(points):
        for s in range(slices):
            number = t * slices + s + 1
            fields: dict[str, Any] = {
                "sop_instance_uid": f"{series}.{number}",
                "series_instance_uid": series,
                "instance_number": number,
                "position": (-115.0, -115.0, float(z[s])),
                field: start + float(seconds[t, s]),
            }
            found.append(header(**(fields | changes)))
    return found


def volume(slices: int = 30, spacing: float = 5.0, **changes: Any) -> list[FrameHeader]:
    """Headers of one volume, by default an unenhanced head CT without any time."""
    fields = {"kvp": 120.0} | changes
    heights = [spacing * k for k in range(slices)]
    images = dynamic(np.zeros((1, slices)), heights=heights, **fields)
    if "acquisition_time_s" in changes:
        return images
    return [header_with(image, acquisition_time_s=None) for image in images]


def header_with(image: FrameHeader, **changes: Any) -> FrameHeader:
    """A header with some fields changed."""
    fields = {name: getattr(image, name) for name in _DEFAULTS}
    return FrameHeader(**(fields | changes))


def dataset(**elements: Any) -> Dataset:
    """A small CT image of 4x4 pixels."""
    ds = Dataset()
    values: dict[str, Any] = {
        "SOPClassUID": CT, "SOPInstanceUID": "1.2.3.4", "StudyInstanceUID": "1.2",
        "SeriesInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.9", "Modality": "CT",
        "PatientID": "P1", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "Rows": 4, "Columns": 4,
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16,
        "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1, "PixelSpacing": [1.0, 1.0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 0],
        "RescaleSlope": 1, "RescaleIntercept": 0, "InstanceNumber": 1,
        "PixelData": np.arange(16, dtype="<i2").tobytes(),
    }  # fmt: skip
    for keyword, value in (values | elements).items():
        if value is not None:
            setattr(ds, keyword, value)
    return ds


def write(ds: Dataset, path: Path, syntax: str = str(ExplicitVRLittleEndian)) -> Path:
    """Write a data set as a DICOM file."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", CT)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3.4")
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.save_as(path, enforce_file_format=True)
    return path


def private(ds: Dataset, group: int, creator: str, element: int, vr: str, value: Any) -> None:
    """Add a private element."""
    ds.private_block(group, creator, create=True).add_new(element, vr, value)


def item(**elements: Any) -> Dataset:
    """An item of a sequence."""
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def enhanced(points: int, slices: int) -> Dataset:
    """A Philips-like Enhanced MR object with all frames, stored slice by slice."""
    frames = []
    for s in range(slices):
        for t in range(points):
            content = item(DimensionIndexValues=[s + 1, t + 1])
            offset = item(TemporalPositionTimeOffset=t * 1.4)
            plane = item(ImagePositionPatient=[0, 0, 5.0 * s])
            frames.append(
                item(
                    FrameContentSequence=Items([content]),
                    TemporalPositionSequence=Items([offset]),
                    PlanePositionSequence=Items([plane]),
                )
            )
    shared = item(
        PlaneOrientationSequence=Items([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
        PixelMeasuresSequence=Items([item(PixelSpacing=[2, 2], SliceThickness=5)]),
        MREchoSequence=Items([item(EffectiveEchoTime=40.0)]),
        MRTimingAndRelatedParametersSequence=Items([item(RepetitionTime=1400)]),
        MRImageFrameTypeSequence=Items(
            [item(FrameType=["ORIGINAL", "PRIMARY", "PERFUSION"], AcquisitionContrast="PERFUSION")]
        ),
        ContrastBolusUsageSequence=Items([item(ContrastBolusAgentAdministered="YES")]),
    )
    pixels = np.repeat(np.arange(points * slices, dtype="<i2"), 16)
    return dataset(
        SOPClassUID=ENHANCED_MR, Modality="MR", NumberOfFrames=points * slices,
        PixelData=pixels.tobytes(), PixelSpacing=None, ImagePositionPatient=None,
        ImageOrientationPatient=None,
        DimensionIndexSequence=Items(
            [item(DimensionIndexPointer=0x00209057), item(DimensionIndexPointer=0x00209128)]
        ),
        SharedFunctionalGroupsSequence=Items([shared]),
        PerFrameFunctionalGroupsSequence=Items(frames),
    )  # fmt: skip
