"""Colour pages as Secondary Capture images."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_node.write.colour import RGB, RGBArray, colourise, greyscale, region_colour
from dicom_node.write.context import WriteContext
from dicom_node.write.layers import Layer, derivation_description, image_comments
from dicom_node.write.modules import (
    add_body_part,
    add_common_modules,
    add_lossy_compression,
    code_item,
)
from dicom_node.write.pages import ColourBar, PageText, Stack, pages
from dicom_node.write.text import (
    RESEARCH_USE,
    number,
    plain,
    training_statement,
    warning_text,
)

SUMMARY_ROLE = "summary"
_SIDES = {"L": "left", "R": "right", "both": "both"}
_LONGEST_WARNING = 120
_WHITE: RGB = (235, 235, 235)


def colour_captures(layer: Layer, context: WriteContext) -> Iterator[Dataset]:
    """Pages of one parameter map with its colour bar; InstanceNumber from 1."""
    low, high = layer.window

    def render(values: npt.NDArray[np.float32]) -> RGBArray:
        return colourise(values, low, high)

    stack = Stack(layer.data, layer.geometry, render)
    text = _page_text(f"{layer.label} ({layer.unit_label})", context)
    bar = ColourBar(low, high, layer.unit_label)
    for index, page in enumerate(pages(stack, text, bar), start=1):
        yield _capture(page, layer, context, role=f"{layer.role}_colour", index=index)


def summary_captures(layer: Layer, context: WriteContext) -> Iterator[Dataset]:
    """Pages of a derived image with every segmented region and the measured numbers beside it."""
    low, high = layer.window

    def render(values: npt.NDArray[np.float32]) -> RGBArray:
        return greyscale(values, low, high)

    regions = [
        s
        for s in sorted(context.result.segmentations, key=lambda s: -int(s.mask.sum()))
        if s.mask.shape == layer.data.shape
    ]
    overlays = tuple((s.mask, region_colour(s.name)) for s in regions)
    stack = Stack(layer.data, layer.geometry, render, overlays, floor=low)
    panel = [(plain(s.label), region_colour(s.name)) for s in regions if s.mask.any()]
    panel += [(line, _WHITE) for line in _measured(context)]
    text = _page_text(f"Summary, regions on {layer.label.lower()}", context, tuple(panel))
    for index, page in enumerate(pages(stack, text, None), start=1):
        yield _capture(page, layer, context, role=SUMMARY_ROLE, index=index)


def _measured(context: WriteContext) -> list[str]:
    """Side and measurements, a line for the name and one for the value."""
    side = context.result.side
    lines = [] if side is None else [f"Side: {_SIDES[side]}"]
    for measurement in context.result.measurements:
        if measurement.value is None:
            value = "not defined"
        elif measurement.unit.lower() == "ml":
            value = f"{measurement.value:.1f} mL"
        else:
            value = f"{number(measurement.value)} {measurement.unit}".removesuffix(" 1")
        lines += [plain(measurement.label), f"  {plain(value)}"]
    return lines


def _page_text(
    title: str, context: WriteContext, panel: tuple[tuple[str, RGB], ...] = ()
) -> PageText:
    result = context.result
    warnings = "; ".join(warning_text(w) for w in result.warnings)
    if len(warnings) > _LONGEST_WARNING:
        listed = ", ".join(dict.fromkeys(plain(w.code) for w in result.warnings))
        warnings = f"{listed} (see the report)"
    made_by = plain(
        f"StrokeNode {context.run.software_version}, {result.pipeline} {result.version}"
    )
    trained = training_statement(result)
    return PageText(
        title=plain(title),
        warnings=f"WARNING  {warnings}" if warnings else "",
        footer="   ".join(part for part in (RESEARCH_USE, plain(made_by), trained) if part),
        panel=panel,
    )


def _capture(
    page: RGBArray, layer: Layer, context: WriteContext, *, role: str, index: int
) -> Dataset:
    ds = Dataset()
    add_common_modules(
        ds,
        context,
        role=role,
        index=index,
        sop_class_uid=SecondaryCaptureImageStorage,
        modality=context.source.modality,
    )
    add_body_part(ds, context)
    ds.ConversionType = "WSD"
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.PatientOrientation = None
    ds.DateOfSecondaryCapture, ds.TimeOfSecondaryCapture = ds.ContentDate, ds.ContentTime
    ds.ImageComments = image_comments(context)
    ds.DerivationDescription = derivation_description(layer, context)
    if layer.derivation is not None:
        ds.DerivationCodeSequence = [code_item(layer.derivation)]
    ds.BurnedInAnnotation = "NO"
    add_lossy_compression(ds, context)
    sources = [plane.images[0] for plane in context.source.slices]
    if sources:
        ds.SourceImageSequence = [image.macro() for image in sources]
        for item in ds.SourceImageSequence:
            item.PurposeOfReferenceCodeSequence = [code_item(codes.DCM.SourceImageForMontage)]
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = page.shape[:2]
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelRepresentation = 0
    data = np.ascontiguousarray(page).tobytes()
    ds.add_new("PixelData", "OB", data + b"\0" * (len(data) % 2))
    return ds
