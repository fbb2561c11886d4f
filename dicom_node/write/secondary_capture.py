"""Pages as Secondary Capture images, in the order in which they are read."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_node.write.colour import RGBArray
from dicom_node.write.context import WriteContext
from dicom_node.write.layers import Layer, derivation_description, image_comments
from dicom_node.write.maps_page import TOGETHER, map_pages, maps_page
from dicom_node.write.modules import (
    add_body_part,
    add_common_modules,
    add_lossy_compression,
    code_item,
)
from dicom_node.write.quality_page import quality_page
from dicom_node.write.summary_page import summary_pages
from inference.results import PipelineResult


def captures(
    images: Sequence[Layer], maps: Sequence[Layer], context: WriteContext
) -> Iterator[tuple[str, Iterator[Dataset]]]:
    """Every series of pages with its role, the one to be read first in front.

    ``summary`` lies on the first derived image; ``maps`` shows those of CBF, CBV, MTT and Tmax
    that there are; ``quality`` comes where there are curves; then follows every map by itself.
    Images alone, with nothing found on them, have no pages: they are read as they are.
    """
    if _is_images_alone(context.result):
        return
    if images:
        shown = _shown(images[0], maps)
        pages = summary_pages(images[0], shown, context)
        yield "summary", _series("summary", pages, images[0], context)
    together = [layer for name in TOGETHER for layer in maps if layer.role == name]
    if together:
        labels = ", ".join(layer.label for layer in together)
        made_from = replace(together[0], description=f"{labels} side by side")
        yield "maps", _series("maps", [maps_page(together, context)], made_from, context)
    if images and context.result.curves:
        page = quality_page(images[0], shown, context)
        yield "quality", _series("quality", [page], images[0], context)
    for layer in maps:
        role = f"{layer.role}_colour"
        yield role, _series(role, map_pages(layer, context), layer, context)


def _is_images_alone(result: PipelineResult) -> bool:
    """Whether there is nothing to draw or to write on pages."""
    found = result.measurements, result.findings, result.criteria
    return not any((result.maps, result.segmentations, result.curves, *found))


def _shown(image: Layer, maps: Sequence[Layer]) -> npt.NDArray[np.bool_]:
    """What pages on an image must show: what was mapped on its grid, or all that is bright."""
    measured = [np.isfinite(m.data) for m in maps if m.data.shape == image.data.shape]
    if measured:
        return np.asarray(np.logical_or.reduce(measured))
    return np.asarray(image.data > image.window[0])


def _series(
    role: str, pages: Iterable[RGBArray], layer: Layer, context: WriteContext
) -> Iterator[Dataset]:
    """The pages of one series, InstanceNumber from 1; ``layer`` says what they were made from."""
    for index, page in enumerate(pages, start=1):
        yield _capture(page, layer, context, role=role, index=index)


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
