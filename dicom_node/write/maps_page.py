"""Pages of colour maps: four maps side by side on fixed scales, and every map by itself."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from dicom_node.write.colour import RGBArray, colourise
from dicom_node.write.context import WriteContext
from dicom_node.write.layers import Layer
from dicom_node.write.page import WHITE, Box, Page, line, start_page
from dicom_node.write.scale import BAR_WIDTH, draw_colour_bar
from dicom_node.write.tiles import Stack, draw_tiles, evenly_chosen, split_slices

TOGETHER = ("cbf", "cbv", "mtt", "tmax")

_SLICES = 16
_HEADING = 40
_GAP = 14
_MARGIN_MM = 3.0


def maps_page(layers: Sequence[Layer], context: WriteContext) -> RGBArray:
    """Up to four maps on one page, each with 16 slices evenly chosen over the brain."""
    page = start_page("Perfusion maps, the same scales for all patients", context)
    height = page.body.height // 2
    boxes = [
        quarter
        for top in (page.body.top, page.body.top + height)
        for quarter in Box(page.body.left, top, page.body.width, height - _GAP).columns(2, _GAP)
    ]
    for layer, box in zip(layers, boxes, strict=False):
        line(page.draw, (box.left, box.top), _name(layer), 28, WHITE, box.width)
        indices = evenly_chosen(np.isfinite(layer.data), _SLICES)
        _draw_map(page, box.below(box.top + _HEADING), layer, indices)
    return page.array()


def map_pages(layer: Layer, context: WriteContext) -> Iterator[RGBArray]:
    """All slices of one map."""
    parts = split_slices(layer.geometry.slices)
    for number, indices in enumerate(parts, start=1):
        count = "" if len(parts) == 1 else f", page {number} of {len(parts)}"
        page = start_page(_name(layer) + count, context)
        _draw_map(page, page.body, layer, indices)
        yield page.array()


def _name(layer: Layer) -> str:
    return f"{layer.label} ({layer.unit_label})"


def _draw_map(page: Page, box: Box, layer: Layer, indices: Sequence[int]) -> None:
    """Slices with the colour bar beside them."""
    low, high = layer.window

    def render(values: npt.NDArray[np.float32]) -> RGBArray:
        return colourise(values, low, high, layer.role)

    tiles = Box(box.left, box.top, box.width - BAR_WIDTH, box.height)
    stack = Stack(layer.data, layer.geometry, render, np.isfinite(layer.data), _MARGIN_MM)
    draw_tiles(page, tiles, stack, indices)
    bar = Box(tiles.right + 6, box.top + 10, BAR_WIDTH, box.height - 20)
    draw_colour_bar(page, bar, layer)
