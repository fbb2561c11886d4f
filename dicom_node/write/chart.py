"""Curves over time, drawn like the pages."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from dicom_node.write.colour import RGB
from dicom_node.write.page import DIM, RED, WHITE, Box, Page, line
from dicom_node.write.scale import ticks

_FINER = 3
_FONT = 18
_LEFT = 72
_BOTTOM = 52
_TOP = 66
_GRID: RGB = (60, 60, 60)

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plot:
    """One curve of a chart: ``times_s`` and ``values`` of shape ``(time,)``."""

    label: str
    times_s: Float64Array
    values: Float64Array
    colour: RGB


@dataclass(frozen=True)
class _Axes:
    """The part of the page where curves lie, and the values at its edges."""

    box: Box
    times_s: tuple[float, float]
    values: tuple[float, float]

    def x(self, time_s: float) -> float:
        first, last = self.times_s
        return (time_s - first) / (last - first) * self.box.width

    def y(self, value: float) -> float:
        low, high = self.values
        return (high - value) / (high - low) * self.box.height


def draw_chart(
    page: Page,
    box: Box,
    title: str,
    unit: str,
    plots: Sequence[Plot],
    least: float,
    marked_s: Sequence[float] = (),
) -> None:
    """Draw curves over a common time axis, with a legend.

    Parameters
    ----------
    title, unit : str
        Heading and unit of the vertical axis.
    plots : sequence of Plot
        At least one; values that are not finite interrupt a curve.
    least : float
        The vertical axis spans at least this much, so that noise alone does not fill the chart.
    marked_s : sequence of float
        Times with a red vertical line.
    """
    inner = Box(
        box.left + _LEFT, box.top + _TOP, box.width - _LEFT - 10, box.height - _TOP - _BOTTOM
    )
    axes = _Axes(inner, *_ranges(plots, least))
    line(page.draw, (box.left, box.top), title, 24, WHITE, box.width)
    _draw_legend(page, box, plots, marked_s)
    _draw_axes(page, axes, unit)
    _draw_curves(page, axes, plots, marked_s)


def _ranges(plots: Sequence[Plot], least: float) -> tuple[tuple[float, float], tuple[float, float]]:
    times = np.concatenate([plot.times_s for plot in plots])
    values = np.concatenate([plot.values for plot in plots])
    values = values[np.isfinite(values)]
    low = min(0.0, float(values.min(initial=0.0)))
    high = max(low + least, float(values.max(initial=0.0)) * 1.05)
    first = float(times.min())
    return (first, max(first + 1.0, float(times.max()))), (low, high)


def _draw_legend(page: Page, box: Box, plots: Sequence[Plot], marked_s: Sequence[float]) -> None:
    entries = [(plot.label, plot.colour) for plot in plots]
    if len(marked_s):
        entries.append((f"dropped frames ({len(marked_s)})", RED))
    left, font = box.left + _LEFT, ImageFont.load_default(_FONT)
    for label, colour in entries:
        page.draw.line((left, box.top + 48, left + 26, box.top + 48), colour, 4)
        page.draw.text((left + 32, box.top + 48), label, WHITE, font, anchor="lm")
        left += 32 + math.ceil(font.getlength(label)) + 24


def _draw_axes(page: Page, axes: _Axes, unit: str) -> None:
    box, draw = axes.box, page.draw
    font = ImageFont.load_default(_FONT)
    for time_s in ticks(*axes.times_s):
        x = box.left + round(axes.x(time_s))
        draw.line((x, box.top, x, box.bottom), _GRID)
        draw.text((x, box.bottom + 6), f"{time_s:g}", DIM, font, anchor="mt")
    for value in ticks(*axes.values):
        y = box.top + round(axes.y(value))
        draw.line((box.left, y, box.right, y), _GRID)
        draw.text((box.left - 8, y), f"{value:g}", DIM, font, anchor="rm")
    draw.text((box.right, box.bottom + 28), "time (s)", WHITE, font, anchor="rt")
    draw.text((box.left - _LEFT, box.top - 8), unit, WHITE, font, anchor="lb")
    draw.rectangle((box.left, box.top, box.right, box.bottom), outline=DIM)


def _draw_curves(page: Page, axes: _Axes, plots: Sequence[Plot], marked_s: Sequence[float]) -> None:
    """Drawn three times as large and reduced: smooth lines."""
    box = axes.box
    corner = (box.left, box.top, box.right, box.bottom)
    fine = page.image.crop(corner).resize(
        (box.width * _FINER, box.height * _FINER), Image.Resampling.NEAREST
    )
    draw = ImageDraw.Draw(fine)
    for time_s in marked_s:
        x = axes.x(time_s) * _FINER
        draw.line((x, 0, x, fine.height), RED, 2 * _FINER)
    for plot in plots:
        finite = np.isfinite(plot.values)
        for part in np.split(np.arange(len(finite)), np.flatnonzero(np.diff(finite)) + 1):
            if finite[part[0]]:
                points = [
                    (axes.x(plot.times_s[i]) * _FINER, axes.y(plot.values[i]) * _FINER)
                    for i in part
                ]
                draw.line(points, plot.colour, 3 * _FINER, joint="curve")
    page.image.paste(fine.reduce(_FINER), corner)
