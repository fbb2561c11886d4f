"""Regions as binary Segmentation objects, one each: core and hypoperfused tissue overlap."""

from collections.abc import Sequence

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node.write.codes import SCHEME, algorithm_family, scheme_identification
from dicom_node.write.colour import region_colour
from dicom_node.write.context import WriteContext
from dicom_node.write.modules import MANUFACTURER
from dicom_node.write.multi_frame import finish, frame_arguments
from dicom_node.write.source import ImageReference
from dicom_node.write.text import RESEARCH_USE, parameter_lines, plain, shortened
from inference.results import Segmentation

_LT_LENGTH = 10240
CATEGORY = codes.SCT.MorphologicallyAbnormalStructure
_PROPERTIES: dict[str, Code] = {
    "core": Code("55641003", "SCT", "Infarct"),
    "hypoperfused": Code("52674009", "SCT", "Ischemia"),
    "ich": codes.SCT.Hemorrhage,
    "ht": codes.SCT.Hemorrhage,
}


def segmented_property(name: str) -> Code:
    """Segmented Property Type of a region; ``Lesion`` where no better code is known."""
    found = _PROPERTIES.get(name.split("_")[0])
    return found or Code("52988006", "SCT", "Lesion")


def tracking_uid(segmentation: Segmentation, context: WriteContext) -> str:
    """The UID under which the region is tracked in the Segmentation and in the report."""
    return str(context.uid(f"{segmentation.name}/tracking"))


def segmentation_object(
    segmentation: Segmentation, references: Sequence[ImageReference], context: WriteContext
) -> Dataset:
    """One region as a binary Segmentation; slices without it have no frame.

    Parameters
    ----------
    references : sequence of ImageReference
        The image that each slice of the mask lies on.

    Raises
    ------
    ValueError
        The mask is empty: there is no such object.
    """
    if not segmentation.mask.any():
        raise ValueError(f"the mask of {segmentation.name} is empty; there is nothing to write")
    geometry, role = segmentation.geometry, segmentation.name
    ds = hd.seg.Segmentation(
        pixel_array=segmentation.mask.astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(segmentation, context)],
        content_label="".join(c if c.isalnum() else "_" for c in role.upper())[:16],
        content_description=shortened(f"{segmentation.label}; RESEARCH USE ONLY", 64),
        omit_empty_frames=True,
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        **frame_arguments(geometry, references, context, role),
    )
    if algorithm_family(context.result).scheme_designator == SCHEME:
        ds.CodingSchemeIdentificationSequence = [scheme_identification()]
    finish(ds, context, role=role, modality="SEG", geometry=geometry, references=references)
    return ds


def _description(segmentation: Segmentation, context: WriteContext) -> hd.seg.SegmentDescription:
    result = context.result
    algorithm = hd.AlgorithmIdentificationSequence(
        name=shortened(f"{result.pipeline}: {segmentation.algorithm}", 64),
        family=algorithm_family(result),
        version=shortened(result.version, 64),
        source=MANUFACTURER,
        parameters={},
    )
    lines = "\n".join([RESEARCH_USE, *parameter_lines(result)])
    algorithm[0].AlgorithmParameters = lines[:_LT_LENGTH]
    description = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=shortened(segmentation.label, 64),
        segmented_property_category=CATEGORY,
        segmented_property_type=segmented_property(segmentation.name),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=tracking_uid(segmentation, context),
        tracking_id=plain(segmentation.name),
        anatomic_regions=[codes.SCT.Brain],
        display_color=hd.color.CIELabColor.from_rgb(*region_colour(segmentation.name)),
    )
    description.SegmentDescription = shortened(segmentation.algorithm, 1024)
    return description
