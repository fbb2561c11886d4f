"""Derived volumes and parameter maps as classic CT or MR images, which every viewer shows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage

from dicom_node.write.context import WriteContext
from dicom_node.write.layers import Layer, derivation_description, image_comments
from dicom_node.write.modules import (
    add_body_part,
    add_common_modules,
    add_frame_of_reference,
    add_lossy_compression,
    code_item,
    decimal_string,
    source_image_items,
)
from dicom_node.write.source import items_of, value_of
from dicom_node.write.text import shortened

PADDING = -32768
_LARGEST = 32767
_COARSEST_STEP = 1 / 1000
_GATED = {"CG", "PPG"}
_MR_CLASSIC = (
    "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "RepetitionTime",
    "EchoTime", "EchoTrainLength", "InversionTime", "MagneticFieldStrength", "FlipAngle",
)  # fmt: skip


@dataclass(frozen=True)
class Quantisation:
    """How values become 16 bit integers: ``value = slope * stored``.

    The slope is 1, 2 or 5 times a power of ten, so that its decimal text is exact.
    """

    slope: float

    @classmethod
    def of(cls, layer: Layer) -> "Quantisation":
        """The finest slope that holds all finite values and the window.

        Absurd values of a map (more than 32 window widths from zero) do not make it coarser than
        a thousandth of the window's width; they are stored as the largest value there is.
        """
        low, high = layer.window
        finite = layer.data[np.isfinite(layer.data)]
        reach = max(abs(low), abs(high)) / _LARGEST
        slope = max(float(np.abs(finite).max(initial=0.0)) / _LARGEST, reach)
        if layer.quantity is not None:
            slope = min(slope, max((high - low) * _COARSEST_STEP, reach))
        return cls(_round_up(slope))

    def stored(self, data: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
        """Stored values; :data:`PADDING` where the data are not finite."""
        measured = np.isfinite(data)
        scaled = np.rint(np.where(measured, data, 0).astype(np.float64) / self.slope)
        clipped = np.clip(scaled, -_LARGEST, _LARGEST)
        return np.where(measured, clipped, PADDING).astype("<i2")


def _round_up(value: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below ``value``."""
    exponent = math.floor(math.log10(value))
    for digit, power in ((1, 0), (2, 0), (5, 0), (1, 1)):
        rounded = float(f"{digit}e{exponent + power}")
        if rounded >= value:
            return rounded
    return float(f"2e{exponent + 1}")


def linear_window(low: float, high: float) -> tuple[str, str]:
    """WindowCenter and WindowWidth whose LINEAR function spans exactly ``low`` to ``high``.

    References
    ----------
    DICOM PS3.3 C.11.2.1.2.1.
    """
    return decimal_string((low + high + 1) / 2), decimal_string(high - low + 1)


def derived_images(layer: Layer, context: WriteContext) -> Iterator[Dataset]:
    """Single-frame images of one layer, slices ascending, InstanceNumber from 1.

    Raises
    ------
    DicomReadError
        The source is neither CT nor MR.
    """
    quantisation = Quantisation.of(layer)
    stored = quantisation.stored(layer.data)
    for number, (pixels, planes) in enumerate(
        zip(stored, context.source.slices_of(layer.geometry), strict=True), start=1
    ):
        ds = Dataset()
        add_common_modules(
            ds,
            context,
            role=layer.role,
            index=number,
            sop_class_uid=context.source.classic_sop_class,
            modality=context.source.modality,
        )
        add_body_part(ds, context)
        add_frame_of_reference(ds, context)
        _add_general_image(ds, layer, context)
        if planes:
            ds.SourceImageSequence = source_image_items(planes)
        _add_plane(ds, layer, number - 1)
        _add_pixels(ds, pixels)
        _add_values(ds, layer, quantisation, context)
        yield ds


def _add_general_image(ds: Dataset, layer: Layer, context: WriteContext) -> None:
    kind = "AXIAL" if ds.SOPClassUID == CTImageStorage else "OTHER"
    ds.ImageType = ["DERIVED", "SECONDARY", kind, layer.image_type_value]
    ds.ContentQualification = "RESEARCH"
    ds.AcquisitionNumber = None
    ds.ImageComments = image_comments(context)
    ds.DerivationDescription = derivation_description(layer, context)
    if layer.derivation is not None:
        ds.DerivationCodeSequence = [code_item(layer.derivation)]
    ds.BurnedInAnnotation = "NO"
    add_lossy_compression(ds, context)


def _add_plane(ds: Dataset, layer: Layer, slice_index: int) -> None:
    geometry = layer.geometry
    position = geometry.positions_mm[slice_index]
    orientation = [*geometry.row_cosines, *geometry.column_cosines]
    ds.PixelSpacing = [decimal_string(v) for v in geometry.pixel_spacing_mm]
    ds.ImageOrientationPatient = [decimal_string(v) for v in orientation]
    ds.ImagePositionPatient = [decimal_string(v) for v in position]
    ds.SliceLocation = decimal_string(float(position @ geometry.normal))
    extent = float(geometry.slice_extents_mm[slice_index])
    ds.SliceThickness = decimal_string(extent) if extent > 0 else None


def _add_pixels(ds: Dataset, pixels: npt.NDArray[np.int16]) -> None:
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    ds.PixelRepresentation = 1
    ds.add_new("PixelPaddingValue", "SS", PADDING)
    ds.add_new("PixelData", "OW", pixels.tobytes())


def _add_values(
    ds: Dataset, layer: Layer, quantisation: Quantisation, context: WriteContext
) -> None:
    """Modality LUT of CT, real world values, window, and what the modality's module demands."""
    low, high = layer.window
    slope = quantisation.slope
    ds.RealWorldValueMappingSequence = [_real_world_values(layer, slope)]
    if ds.SOPClassUID == CTImageStorage:
        ds.RescaleIntercept = "0"
        ds.RescaleSlope = decimal_string(slope)
        ds.RescaleType = "HU" if layer.unit.value == "[hnsf'U]" else "US"
        ds.KVP = value_of(context.source.header, "KVP")
        ds.WindowCenter, ds.WindowWidth = linear_window(low, high)
    else:
        _add_mr_image(ds, context.source.header)
        ds.WindowCenter, ds.WindowWidth = linear_window(low / slope, high / slope)
    ds.WindowCenterWidthExplanation = shortened(f"{layer.label} {low:g}-{high:g}", 64)


def _real_world_values(layer: Layer, slope: float) -> Dataset:
    item = Dataset()
    item.add_new("RealWorldValueFirstValueMapped", "SS", PADDING + 1)
    item.add_new("RealWorldValueLastValueMapped", "SS", _LARGEST)
    item.RealWorldValueIntercept = 0.0
    item.RealWorldValueSlope = slope
    item.LUTLabel = layer.image_type_value
    item.LUTExplanation = shortened(f"{layer.label} in {layer.unit_label}", 64)
    item.MeasurementUnitsCodeSequence = [code_item(layer.unit)]
    if layer.quantity is not None:
        quantity = Dataset()
        quantity.ValueType = "CODE"
        quantity.ConceptNameCodeSequence = [code_item(codes.SCT.Quantity)]
        quantity.ConceptCodeSequence = [code_item(layer.quantity)]
        item.QuantityDefinitionSequence = [quantity]
    return item


def _add_mr_image(ds: Dataset, header: Dataset) -> None:
    """What the MR Image module demands, from a classic or an Enhanced source."""
    for keyword in _MR_CLASSIC:
        value = value_of(header, keyword)
        if value is not None:
            setattr(ds, keyword, value)
    if not ds.get("ScanningSequence"):
        ds.ScanningSequence = _scanning_sequence(header)
    if not ds.get("SequenceVariant"):
        ds.SequenceVariant = "NONE"
    for keyword in ("ScanOptions", "MRAcquisitionType", "EchoTrainLength"):
        if keyword not in ds:
            setattr(ds, keyword, None)
    options = ds.ScanOptions or []
    if _GATED & set([options] if isinstance(options, str) else options):
        ds.TriggerTime = None  # demanded then; an image of all times has none
    if "EchoTime" not in ds:
        ds.EchoTime = _shared(header, "MREchoSequence", "EffectiveEchoTime")
    if "RepetitionTime" not in ds:
        timing = "MRTimingAndRelatedParametersSequence"
        ds.RepetitionTime = _shared(header, timing, "RepetitionTime")


def _scanning_sequence(header: Dataset) -> list[str]:
    """ScanningSequence from the attributes of Enhanced MR; research mode where they say nothing."""
    pulse = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["SE", "GR"]}
    found = pulse.get(str(value_of(header, "EchoPulseSequence") or ""), [])
    if value_of(header, "EchoPlanarPulseSequence") == "YES":
        found = ["EP", *found]
    return found or ["RM"]


def _shared(header: Dataset, group: str, keyword: str) -> str | None:
    """A number from the functional groups of an Enhanced image, shared or of the first frame."""
    for sequence in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for functional_groups in items_of(header, sequence)[:1]:
            for item in items_of(functional_groups, group)[:1]:
                value = value_of(item, keyword)
                if isinstance(value, float | Decimal):
                    return decimal_string(float(value))
    return None
