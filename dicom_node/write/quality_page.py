"""The page that says whether to believe the result: curves, their places, motion, numbers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dicom_node.write.chart import Plot, draw_chart
from dicom_node.write.colour import RGB, RGBArray, greyscale
from dicom_node.write.context import WriteContext
from dicom_node.write.layers import Layer
from dicom_node.write.page import DIM, WHITE, Box, Page, line, paragraph, start_page
from dicom_node.write.text import number, plain
from dicom_node.write.tiles import SKULL_MM, Stack, draw_tile, nearest_slice, place_in_tile
from inference.results import Curve, PipelineResult

_UPPER = 0.40
_MIDDLE = 0.31
_GAP = 24
_RING = 7
_ROW = 27
_SMALL = 20
_PLACES = 2
_COLOURS: dict[str, RGB] = {
    "aif": (255, 110, 90),
    "vof": (90, 170, 255),
    "tissue": (235, 235, 235),
    "motion_mm": (250, 200, 60),
    "motion_deg": (110, 220, 200),
}
_VESSELS = {"aif": "artery", "vof": "vein"}
_VESSEL_NUMBERS = (
    ("peak_hu", "peak (HU)"),
    ("peak_per_s", "peak (1/s)"),
    ("arrival_s", "arrival (s)"),
    ("peak_time_s", "time of peak (s)"),
    ("width_s", "width at half maximum (s)"),
    ("tail_share", "end of scan / peak"),
    ("voxels", "voxels"),
)
_NUMBERS = (
    ("echo_time_ms", "echo time (ms)"),
    ("baseline_frames", "frames before contrast"),
    ("contrast_to_noise_found", "contrast to noise, tissue"),
    ("smoothing_used_mm", "smoothing (mm)"),
    ("partial_volume_factor", "partial-volume factor"),
    ("tissue_peak_time_s", "time of tissue peak (s)"),
    ("reference_cbf", "normal CBF (mL/100 g/min)"),
    ("reference_cbv", "normal CBV (mL/100 g)"),
    ("reference_side", "normal tissue from side"),
    ("cbf_scale", "CBF and CBV were scaled by"),
    ("unconfirmed_volume_ml", "delay taken for noise (mL)"),
)
_UNITS = {"[hnsf'U]": "HU"}


def quality_page(layer: Layer, shown: npt.NDArray[np.bool_], context: WriteContext) -> RGBArray:
    """Curves with their places on a derived image, motion, and the numbers of the analysis.

    Parameters
    ----------
    shown : array of bool, shape ``(slice, row, column)``
        What every slice must show, on the grid of ``layer``.
    """
    result = context.result
    page = start_page("Quality", context)
    curves = {curve.name: curve for curve in result.curves}
    body = page.body
    upper = Box(body.left, body.top, body.width, round(_UPPER * body.height))
    chart = Box(upper.left, upper.top, upper.width * 11 // 20, upper.height)
    _draw_curves(page, chart, "Arterial input and venous output", curves, ("aif", "vof"), 10.0)
    tiles = Box(chart.right + _GAP, upper.top, upper.right - chart.right - _GAP, upper.height)
    _draw_places(page, tiles, layer, shown, curves)
    middle = Box(body.left, upper.bottom + 12, body.width, round(_MIDDLE * body.height))
    motion, tissue = middle.columns(2, _GAP)
    _draw_curves(page, motion, "Motion of the head", curves, ("motion_mm", "motion_deg"), 1.0)
    _draw_curves(page, tissue, "Brain tissue, mean", curves, ("tissue",), 1.0)
    _draw_table(page, body.below(middle.bottom + 12), result)
    return page.array()


def _draw_curves(
    page: Page,
    box: Box,
    title: str,
    curves: dict[str, Curve],
    names: Sequence[str],
    least: float,
) -> None:
    """A chart of the curves that there are; a line of words where there are none."""
    found = [curves[name] for name in names if name in curves]
    if not found:
        line(page.draw, (box.left, box.top), f"{title}: not measured", 24, DIM, box.width)
        return
    plots = [
        Plot(plain(curve.label), curve.times_s, curve.values, _COLOURS[curve.name])
        for curve in found
    ]
    unit = ", ".join(dict.fromkeys(_UNITS.get(curve.unit, plain(curve.unit)) for curve in found))
    dropped = curves.get("dropped") if "motion_mm" in names else None
    marked = () if dropped is None else tuple(float(time) for time in dropped.times_s)
    draw_chart(page, box, title, unit, plots, least, marked)


def _draw_places(
    page: Page,
    box: Box,
    layer: Layer,
    shown: npt.NDArray[np.bool_],
    curves: dict[str, Curve],
) -> None:
    """The slices with most voxels of artery (upper row) and vein (lower row), voxels ringed."""
    low, high = layer.window

    def render(values: npt.NDArray[np.float32]) -> RGBArray:
        return greyscale(values, low, high)

    stack = Stack(layer.data, layer.geometry, render, shown, SKULL_MM)
    height = box.height // len(_VESSELS)
    for row, (name, vessel) in enumerate(_VESSELS.items()):
        part = Box(box.left, box.top + row * height, box.width, height - 6)
        curve = curves.get(name)
        if curve is None or curve.voxels_mm is None:
            line(
                page.draw,
                (part.left, part.top),
                f"place of the {vessel}: not known",
                20,
                DIM,
                part.width,
            )
            continue
        line(page.draw, (part.left, part.top), vessel, 20, _COLOURS[name], part.width)
        slices = np.array([nearest_slice(layer.geometry, place) for place in curve.voxels_mm])
        counts = np.bincount(slices, minlength=layer.geometry.slices)
        most = [int(i) for i in np.argsort(-counts, kind="stable")[:_PLACES] if counts[i]]
        for tile, index in zip(part.columns(_PLACES, 6), sorted(most), strict=False):
            tile = tile.below(part.top + 24)
            draw_tile(page, tile, stack, index)
            for place in curve.voxels_mm[slices == index]:
                x, y = place_in_tile(tile, stack, place)
                page.draw.ellipse(
                    (x - _RING, y - _RING, x + _RING, y + _RING), outline=_COLOURS[name], width=2
                )


def _draw_table(page: Page, box: Box, result: PipelineResult) -> None:
    """Numbers of the vessels, of the analysis, and the reasons of the choice in words."""
    vessels, numbers, reasons = box.columns(3, _GAP)
    rows = [["", *_VESSELS.values()]]
    for name, label in _VESSEL_NUMBERS:
        values = [_value(result, f"{vessel}_{name}") for vessel in _VESSELS]
        if any(values):
            rows.append([label, *values])
    _draw_rows(page, vessels, rows, value_width=75)
    known = [[label, _value(result, name)] for name, label in _NUMBERS]
    _draw_rows(page, numbers, [row for row in known if row[1]], value_width=95)
    texts = [
        plain(f"{vessel}: {value}")
        for prefix, vessel in _VESSELS.items()
        for name, value in sorted(result.parameters.items())
        if name.startswith(f"{prefix}_reason")
    ]
    paragraph(page.draw, reasons, texts, _SMALL, WHITE)


def _draw_rows(page: Page, box: Box, rows: Sequence[Sequence[str]], value_width: int) -> None:
    """Rows of a label and values, closer together where the box is low."""
    step = min(_ROW, box.height // max(1, len(rows)))
    for index, (label, *values) in enumerate(rows):
        top = box.top + index * step
        left = box.right - value_width * len(values)
        line(page.draw, (box.left, top), label, _SMALL, DIM, left - box.left - 6)
        for column, value in enumerate(values):
            place = (left + value_width * column, top)
            line(page.draw, place, value, _SMALL, WHITE, value_width - 5)


def _value(result: PipelineResult, name: str) -> str:
    """A parameter for people, empty where there is none."""
    value = result.parameters.get(name)
    if value is None:
        return ""
    return number(value) if isinstance(value, int | float) else plain(value)
