"""Parameter maps as Parametric Map objects: the numbers as they are, in 32 bit floating point."""

from collections.abc import Sequence

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from dicom_node.write.context import WriteContext
from dicom_node.write.layers import Layer, derivation_description
from dicom_node.write.multi_frame import finish, frame_arguments
from dicom_node.write.source import ImageReference
from dicom_node.write.text import shortened

PADDING = -32768.0
"""Stored where nothing was measured (FloatPixelPaddingValue)."""


def parametric_map(
    layer: Layer, references: Sequence[ImageReference], context: WriteContext
) -> Dataset:
    """One layer as a multi-frame floating point object; the order of frames is highdicom's.

    Parameters
    ----------
    references : sequence of ImageReference
        The source image that represents each slice.
    """
    role = f"{layer.role}_parametric"
    measured = np.isfinite(layer.data)
    data = np.where(measured, layer.data, PADDING).astype(np.float32)
    values = data[measured] if measured.any() else np.zeros(1, np.float32)
    low, high = layer.window
    mapping = hd.pm.RealWorldValueMapping(
        lut_label=layer.image_type_value,
        lut_explanation=shortened(f"{layer.label} in {layer.unit_label}", 64),
        unit=layer.unit,
        value_range=(float(values.min()), float(values.max())),
        slope=1.0,
        intercept=0.0,
        quantity_definition=layer.quantity,
    )
    ds = hd.pm.ParametricMap(
        pixel_array=data,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[
            hd.VOILUTTransformation(window_center=(low + high + 1) / 2, window_width=high - low + 1)
        ],
        content_label=layer.image_type_value,
        content_description=shortened(f"{layer.label}; RESEARCH USE ONLY", 64),
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        image_flavor=hd.pm.ImageFlavorValues.VOLUME,
        derived_pixel_contrast=hd.pm.DerivedPixelContrastValues.QUANTITY,
        **frame_arguments(layer.geometry, references, context, role),
    )
    ds.FloatPixelPaddingValue = ds.FloatPixelPaddingRangeLimit = PADDING
    ds.DerivationDescription = derivation_description(layer, context)
    finish(
        ds,
        context,
        role=role,
        modality=context.source.modality,
        geometry=layer.geometry,
        references=references,
    )
    return ds
