"""What Segmentation and Parametric Map objects share: geometry, references, fixed UIDs and times.

highdicom builds these objects from source datasets. It is given small stand-ins for the referenced
images, with the geometry of the result, so that sources on another grid, in multi-frame objects or
without required attributes make no difference; what it would make up (times, dimension
organization UID) is replaced afterwards.
"""

from collections.abc import Sequence
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicom_node.write.context import WriteContext
from dicom_node.write.modules import (
    MANUFACTURER,
    add_body_part,
    add_common_modules,
    add_frame_of_reference,
    code_item,
    decimal_string,
    referenced_series,
)
from dicom_node.write.source import ImageReference
from dicom_node.write.text import plain
from inference.geometry import Geometry


def frame_arguments(
    geometry: Geometry, references: Sequence[ImageReference], context: WriteContext, role: str
) -> dict[str, Any]:
    """The arguments that highdicom's multi-frame objects have in common.

    Parameters
    ----------
    references : sequence of ImageReference
        One image per slice of ``geometry``.
    """
    orientation = [*geometry.row_cosines, *geometry.column_cosines]
    patient = hd.CoordinateSystemNames.PATIENT
    spacing = geometry.slice_spacing_mm if geometry.slices > 1 and geometry.evenly_spaced else None
    series = context.series(role)
    created = context.created
    return {
        "source_images": [
            _stand_in(geometry, index, reference, context)
            for index, reference in enumerate(references)
        ],
        "series_instance_uid": series.uid,
        "series_number": series.number,
        "sop_instance_uid": context.uid(role, 1),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MANUFACTURER,
        "software_versions": plain(context.run.software_version),
        "device_serial_number": context.run.device_serial_number,
        "pixel_measures": hd.PixelMeasuresSequence(
            pixel_spacing=geometry.pixel_spacing_mm,
            slice_thickness=float(decimal_string(geometry.slice_spacing_mm or 1.0)),
            spacing_between_slices=None if spacing is None else float(decimal_string(spacing)),
        ),
        "plane_orientation": hd.PlaneOrientationSequence(
            patient, [float(decimal_string(v)) for v in orientation]
        ),
        "plane_positions": [
            hd.PlanePositionSequence(patient, [float(decimal_string(v)) for v in position])
            for position in geometry.positions_mm
        ],
        "content_date": created.date(),
        "content_time": created.time(),
        "series_description": series.description,
    }


def _stand_in(
    geometry: Geometry, index: int, reference: ImageReference, context: WriteContext
) -> Dataset:
    """A single-frame image on the result's grid, as far as highdicom looks at it."""
    ds = Dataset()
    ds.SOPClassUID = context.source.classic_sop_class
    ds.SOPInstanceUID = context.uid("stand-in", index)
    ds.StudyInstanceUID = context.source.study_uid
    ds.SeriesInstanceUID = reference.series_instance_uid
    ds.FrameOfReferenceUID = context.uid("frame-of-reference")
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(ds, keyword, "")
    for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        setattr(ds, keyword, "")
    ds.Modality = context.source.modality
    ds.Rows, ds.Columns = geometry.rows, geometry.columns
    ds.PixelSpacing = [decimal_string(v) for v in geometry.pixel_spacing_mm]
    ds.SliceThickness = decimal_string(geometry.slice_spacing_mm or 1.0)
    orientation = [*geometry.row_cosines, *geometry.column_cosines]
    ds.ImageOrientationPatient = [decimal_string(v) for v in orientation]
    ds.ImagePositionPatient = [decimal_string(v) for v in geometry.positions_mm[index]]
    return ds


def finish(
    ds: Dataset,
    context: WriteContext,
    *,
    role: str,
    modality: str,
    geometry: Geometry,
    references: Sequence[ImageReference],
) -> None:
    """Replace the stand-ins by the real references and everything made up by fixed values."""
    add_common_modules(
        ds, context, role=role, index=1, sop_class_uid=ds.SOPClassUID, modality=modality
    )
    add_body_part(ds, context)
    add_frame_of_reference(ds, context)
    _fix_dimensions(ds, context, role)
    used = []
    for frame in ds.PerFrameFunctionalGroupsSequence:
        reference = references[_slice_of(frame, geometry)]
        used.append(reference)
        source = reference.macro()
        source.PurposeOfReferenceCodeSequence = [
            code_item(codes.DCM.SourceImageForImageProcessingOperation)
        ]
        frame.DerivationImageSequence[0].SourceImageSequence = [source]
    ds.ReferencedSeriesSequence = referenced_series(used)


def _fix_dimensions(ds: Dataset, context: WriteContext, role: str) -> None:
    organization = context.uid(f"{role}/dimensions")
    for item in ds.DimensionOrganizationSequence:
        item.DimensionOrganizationUID = organization
    for item in ds.DimensionIndexSequence:
        item.DimensionOrganizationUID = organization


def _slice_of(frame: Dataset, geometry: Geometry) -> int:
    position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
    return int(np.argmin(np.linalg.norm(geometry.positions_mm - position, axis=1)))
