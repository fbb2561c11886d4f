"""The page that is read first: volumes in large type, warnings, regions on every slice."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from dicom_node.write.colour import RGB, RGBArray, greyscale, region_colour
from dicom_node.write.context import WriteContext
from dicom_node.write.layers import Layer
from dicom_node.write.page import AMBER, DIM, WHITE, Box, Page, line, paragraph, start_page
from dicom_node.write.report import finding_code
from dicom_node.write.text import MET, criterion_inputs, number, plain, value_text
from dicom_node.write.tiles import SKULL_MM, Stack, draw_tiles, split_slices
from inference.results import Criterion, Measurement, PipelineResult, Segmentation

_HEADLINE = ("core_volume", "hypoperfused_volume", "mismatch_volume", "mismatch_ratio")
_SIDES = {"L": "left hemisphere", "R": "right hemisphere", "both": "both hemispheres"}
_PRESENT = {True: "present", False: "absent", None: "cannot be told"}
_MET_COLOURS: dict[bool | None, RGB] = {True: (120, 225, 120), False: (255, 130, 110), None: DIM}
_COLUMN_OF_PREFIX = {"rcbf": 0, "tmax": 1}
_OTHER_COLUMN = 2
_FINDINGS_COLUMN = 3
_CARD = 156
_GAP = 16
_ROW = 27
_SMALL = 21


def summary_pages(
    layer: Layer, shown: npt.NDArray[np.bool_], context: WriteContext
) -> Iterator[RGBArray]:
    """Pages with the numbers on top and the regions on the slices of a derived image.

    Parameters
    ----------
    shown : array of bool, shape ``(slice, row, column)``
        What every slice must show, on the grid of ``layer``.
    """
    low, high = layer.window
    result = context.result

    def render(values: npt.NDArray[np.float32]) -> RGBArray:
        return greyscale(values, low, high)

    regions = sorted(
        (s for s in result.segmentations if s.mask.shape == layer.data.shape),
        key=lambda s: -int(s.mask.sum()),
    )
    overlays = tuple((s.mask, region_colour(s.name)) for s in regions)
    stack = Stack(layer.data, layer.geometry, render, shown, SKULL_MM, overlays)
    parts = split_slices(layer.geometry.slices)
    for number_, indices in enumerate(parts, start=1):
        count = "" if len(parts) == 1 else f", page {number_} of {len(parts)}"
        page = start_page(_title(result) + count, context)
        top = _draw_numbers(page, result)
        draw_tiles(page, page.body.below(top), stack, indices)
        yield page.array()


def _title(result: PipelineResult) -> str:
    mismatch = next((m for m in result.measurements if m.name == "mismatch_volume"), None)
    name = "Summary" if mismatch is None else "Hypoperfusion" if mismatch.reason else "Mismatch"
    return name if result.side is None else f"{name}, {_SIDES[result.side]}"


def _draw_numbers(page: Page, result: PipelineResult) -> int:
    """Cards, the other numbers below, criteria across the page; the row where slices begin."""
    named = {m.name: m for m in result.measurements}
    headline = [named[name] for name in _HEADLINE if name in named]
    top = page.body.top
    if headline:
        cards = Box(page.body.left, top, page.body.width, _CARD).columns(len(_HEADLINE), _GAP)
        for box, measurement in zip(cards, headline, strict=False):
            _draw_card(page, box, measurement, result)
        top += _CARD + 8
    columns: list[list[str]] = [[], [], [], []]
    for measurement in result.measurements:
        if measurement.name not in _HEADLINE:
            column = _COLUMN_OF_PREFIX.get(measurement.name.split("_")[0], _OTHER_COLUMN)
            columns[column].append(plain(f"{measurement.label}   {value_text(measurement)}"))
    for finding in result.findings:
        said = f"{finding_code(finding).meaning}: {_PRESENT[finding.present]}"
        sure = "" if finding.probability is None else f" (p = {number(finding.probability)})"
        columns[_FINDINGS_COLUMN].append(said + sure)
    for box, lines in zip(page.body.columns(len(columns), _GAP), columns, strict=True):
        for index, words in enumerate(lines):
            place = (box.left + 10, top + index * _ROW)
            line(page.draw, place, words, _SMALL, WHITE, box.width - 10)
    top += max(len(lines) for lines in columns) * _ROW + 6
    for criterion in result.criteria:
        top = _draw_criterion(page, top, criterion, result)
    return top + 6


def _draw_card(page: Page, box: Box, measurement: Measurement, result: PipelineResult) -> None:
    """One number in large type, in the colour of its region, with how that was drawn."""
    region = _region(measurement, result)
    colour = WHITE if region is None else region_colour(region.name)
    page.draw.rectangle((box.left, box.top, box.right, box.bottom), fill=(28, 28, 28))
    page.draw.rectangle((box.left, box.top, box.left + 8, box.bottom), fill=colour)
    left, width = box.left + 20, box.width - 28
    label = measurement.label if region is None else f"{measurement.label}  {region.algorithm}"
    line(page.draw, (left, box.top + 8), plain(label), 26, WHITE, width)
    value = value_text(measurement)
    if measurement.name == "mismatch_ratio" and _core_is_zero(result):
        line(page.draw, (left, box.bottom - 34), "(no core)", 24, WHITE, width)
    if measurement.reason:
        line(page.draw, (left, box.bottom - 30), plain(measurement.reason), 20, AMBER, width)
    line(page.draw, (left, box.top + 42), value, 74, colour, width, bold=True)


def _region(measurement: Measurement, result: PipelineResult) -> Segmentation | None:
    regions = (s for s in result.segmentations if measurement.name == f"{s.name}_volume")
    return next(regions, None)


def _core_is_zero(result: PipelineResult) -> bool:
    return any(m.name == "core_volume" and m.value == 0 for m in result.measurements)


def _draw_criterion(page: Page, top: int, criterion: Criterion, result: PipelineResult) -> int:
    """Name, whether met, inputs; the row below."""
    name = plain(criterion.name.upper().replace("_", "-"))
    colour = _MET_COLOURS[criterion.met]
    left, width = page.body.left + 10, page.body.width
    line(page.draw, (left, top), name, _SMALL, WHITE, 130, bold=True)
    line(page.draw, (left + 140, top), MET[criterion.met], _SMALL, colour, 150, bold=True)
    box = Box(left + 300, top, width - 310, 4 * _ROW)
    inputs = criterion_inputs(criterion, result.measurements)
    return max(top + _ROW, paragraph(page.draw, box, [inputs], _SMALL, WHITE))
