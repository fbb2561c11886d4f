"""Pages of slices as RGB pictures: tiles with letters, colour bar, warnings. No identity."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from dicom_node.write.colour import RGB, RGBArray, colourise, direction_letters
from inference.geometry import Geometry

TILE = 256
SLICES_PER_PAGE = 20
_HEADER = 76
_FOOTER = 34
_PANEL = 210
_PANEL_LINE = 24
_MARGIN_MM = 8.0
_WHITE: RGB = (235, 235, 235)
_DIM: RGB = (165, 165, 165)
_AMBER: RGB = (255, 176, 0)

BoolArray = npt.NDArray[np.bool_]
Render = Callable[[npt.NDArray[np.float32]], RGBArray]


@dataclass(frozen=True)
class PageText:
    """What a page says: title, a line of warnings (may be empty), footer, panel lines."""

    title: str
    warnings: str
    footer: str
    panel: tuple[tuple[str, RGB], ...] = ()


@dataclass(frozen=True)
class ColourBar:
    """Values at both ends of the colour bar, with the unit."""

    low: float
    high: float
    unit: str


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices to show.

    ``overlays`` are masks of the data's shape with their colours, drawn over the rendered data.
    Slices are cropped to voxels above ``floor``, with a margin.
    """

    data: npt.NDArray[np.float32]
    geometry: Geometry
    render: Render
    overlays: tuple[tuple[BoolArray, RGB], ...] = field(default=())
    floor: float = -np.inf


def pages(stack: Stack, text: PageText, bar: ColourBar | None) -> Iterator[RGBArray]:
    """Pages of at most 20 slices, as arrays of shape ``(row, column, 3)``."""
    count = math.ceil(stack.geometry.slices / SLICES_PER_PAGE)
    for page, indices in enumerate(np.array_split(np.arange(stack.geometry.slices), count), 1):
        title = text.title if count == 1 else f"{text.title}   page {page} of {count}"
        yield _page(stack, [int(i) for i in indices], title, text, bar)


def _page(
    stack: Stack, indices: Sequence[int], title: str, text: PageText, bar: ColourBar | None
) -> RGBArray:
    columns = max(2, math.ceil(math.sqrt(len(indices))))
    rows = max(2, math.ceil(len(indices) / columns))
    width, height = columns * TILE + _PANEL, rows * TILE + _HEADER + _FOOTER
    picture = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(picture)
    _line(draw, (12, 8), title, 30, _WHITE, width - 24)
    _line(draw, (12, 46), text.warnings, 19, _AMBER, width - 24)
    _line(draw, (12, height - _FOOTER + 7), text.footer, 17, _AMBER, width - 24)
    box = _crop(stack)
    for place, index in enumerate(indices):
        row, column = divmod(place, columns)
        corner = (column * TILE, _HEADER + row * TILE)
        picture.paste(Image.fromarray(_tile(stack, index, box)), corner)
        _annotate(draw, corner, stack.geometry, index)
    left = columns * TILE + 14
    if bar is not None:
        _draw_bar(picture, draw, bar, (left, _HEADER + 44, 30, min(rows * TILE - 90, 460)))
    fitting = (rows * TILE - 10) // _PANEL_LINE
    lines = list(text.panel)
    if len(lines) > fitting:
        lines = [*lines[: fitting - 1], ("more in the report", _DIM)]
    for line, (words, colour) in enumerate(lines):
        top = _HEADER + 10 + _PANEL_LINE * line
        _line(draw, (left, top), words, 17, colour, _PANEL - 20)
    return np.asarray(picture)


def _crop(stack: Stack) -> tuple[int, int, int, int]:
    """Rows and columns to show (top, bottom, left, right): what is measured, with a margin."""
    geometry = stack.geometry
    shown = (np.isfinite(stack.data) & (stack.data > stack.floor)).any(axis=0)
    box = []
    for across, size, spacing in zip(
        (shown.T, shown), shown.shape, geometry.pixel_spacing_mm, strict=True
    ):
        used = np.flatnonzero(across.any(axis=0))
        margin = math.ceil(_MARGIN_MM / spacing)
        first, last = (int(used[0]), int(used[-1])) if len(used) else (0, size - 1)
        box += [max(0, first - margin), min(size, last + 1 + margin)]
    top, bottom, left, right = box
    return top, bottom, left, right


def _tile(stack: Stack, index: int, box: tuple[int, int, int, int]) -> RGBArray:
    """One slice, cropped and fitted into a tile with its true proportions."""
    top, bottom, left, right = box
    row_mm, column_mm = stack.geometry.pixel_spacing_mm
    height_mm, width_mm = (bottom - top) * row_mm, (right - left) * column_mm
    scale = (TILE - 4) / max(height_mm, width_mm)
    size = (max(1, round(width_mm * scale)), max(1, round(height_mm * scale)))
    part = np.s_[index, top:bottom, left:right]
    measured = np.isfinite(stack.data[part])
    weight = _resized(measured.astype(np.float32), size)
    value = _resized(np.where(measured, stack.data[part], 0).astype(np.float32), size)
    inside = weight > 0.5
    values = np.where(inside, value / np.where(inside, weight, 1), np.nan).astype(np.float32)
    rgb = stack.render(values)
    for mask, colour in stack.overlays:
        covered = _resized(mask[part].astype(np.float32), size) > 0.5
        rgb[covered] = np.rint(0.35 * rgb[covered] + 0.65 * np.array(colour)).astype(np.uint8)
    tile = np.zeros((TILE, TILE, 3), np.uint8)
    y, x = (TILE - size[1]) // 2, (TILE - size[0]) // 2
    tile[y : y + size[1], x : x + size[0]] = rgb
    return tile


def _resized(values: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    image = Image.fromarray(np.ascontiguousarray(values))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def _annotate(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], geometry: Geometry, index: int
) -> None:
    """Letters of the patient's sides at both edges of a tile, and the number of the slice."""
    x, y = corner
    font = ImageFont.load_default(17)
    left, right = direction_letters(-geometry.row_cosines), direction_letters(geometry.row_cosines)
    draw.text((x + 5, y + TILE // 2), left, _WHITE, font, anchor="lm")
    draw.text((x + TILE - 5, y + TILE // 2), right, _WHITE, font, anchor="rm")
    draw.text((x + 5, y + TILE - 4), f"{index + 1}", _DIM, font, anchor="ls")


def _draw_bar(
    picture: Image.Image,
    draw: ImageDraw.ImageDraw,
    bar: ColourBar,
    box: tuple[int, int, int, int],
) -> None:
    """A vertical colour bar with ticks at round values and the unit on top."""
    left, top, width, height = box
    values = np.linspace(bar.high, bar.low, height, dtype=np.float32)
    colours = np.repeat(colourise(values, bar.low, bar.high)[:, None], width, axis=1)
    picture.paste(Image.fromarray(np.ascontiguousarray(colours)), (left, top))
    draw.rectangle((left - 1, top - 1, left + width, top + height), outline=_DIM)
    _line(draw, (left, top - 32), bar.unit, 19, _WHITE, _PANEL - 20)
    font = ImageFont.load_default(18)
    for value in ticks(bar.low, bar.high):
        y = top + round((bar.high - value) / (bar.high - bar.low) * (height - 1))
        draw.line((left + width, y, left + width + 7, y), _WHITE)
        draw.text((left + width + 12, y), f"{value:g}", _WHITE, font, anchor="lm")


def ticks(low: float, high: float) -> list[float]:
    """Round values from ``low`` to ``high``: four to eight of them."""
    exponent = math.floor(math.log10((high - low) / 4))
    steps = [float(f"{digit}e{exponent}") for digit in (1, 2, 3, 5)]
    step = max(s for s in steps if (high - low) / s >= 4 - 1e-9)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


def _line(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    words: str,
    size: int,
    colour: RGB,
    width: int,
) -> None:
    """One line of text, smaller and then cut where it is too wide."""
    font = ImageFont.load_default(size)
    while size > 13 and font.getlength(words) > width:
        size -= 1
        font = ImageFont.load_default(size)
    while words and font.getlength(words) > width:
        words = words[:-4].rstrip() + "..." if len(words) > 4 else ""
    draw.text(place, words, colour, font)
