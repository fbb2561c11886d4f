"""One page in the making: a square picture with title, warnings and footer. No identity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dicom_node.write.colour import RGB, RGBArray
from dicom_node.write.context import WriteContext
from dicom_node.write.text import (
    RESEARCH_USE,
    distrusted_codes,
    plain,
    training_statement,
    warning_text,
)

SIDE = 1280
MARGIN = 16
SMALLEST = 13
WHITE: RGB = (235, 235, 235)
DIM: RGB = (165, 165, 165)
AMBER: RGB = (255, 176, 0)
RED: RGB = (200, 16, 30)

_TITLE = 34
_BANNER = 30
_WARNING = 22
_FOOTER = 20
_WARNINGS_HEIGHT = 300


class Box(NamedTuple):
    """A part of a page in pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """First column beside the box."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """First row below the box."""
        return self.top + self.height

    def columns(self, count: int, gap: int = 0) -> list["Box"]:
        """The box in ``count`` parts of the same width, side by side, ``gap`` between them."""
        width = (self.width - gap * (count - 1)) // count
        lefts = (self.left + index * (width + gap) for index in range(count))
        return [Box(left, self.top, width, self.height) for left in lefts]

    def below(self, top: int) -> "Box":
        """What is left of the box from row ``top`` on."""
        return Box(self.left, top, self.width, max(0, self.bottom - top))


@dataclass(frozen=True, eq=False)
class Page:
    """A picture and the part of it that is free for contents."""

    image: Image.Image
    draw: ImageDraw.ImageDraw
    body: Box

    def array(self) -> RGBArray:
        """The picture, shape ``(row, column, 3)``."""
        return np.asarray(self.image)


def start_page(title: str, context: WriteContext) -> Page:
    """A page with all warnings in full, a red banner where one forbids trust, and the footer."""
    image = Image.new("RGB", (SIDE, SIDE))
    draw = ImageDraw.Draw(image)
    width = SIDE - 2 * MARGIN
    result = context.result
    line(draw, (MARGIN, 10), plain(title), _TITLE, WHITE, width)
    top = 10 + _TITLE + 12
    distrusted = distrusted_codes(result.warnings)
    if distrusted:
        draw.rectangle((0, top, SIDE, top + _BANNER + 16), fill=RED)
        words = f"DO NOT TRUST THIS RESULT: {', '.join(distrusted)}".replace("_", " ")
        line(draw, (MARGIN, top + 6), words, _BANNER, (255, 255, 255), width, bold=True)
        top += _BANNER + 24
    if result.warnings:
        texts = [f"WARNING  {warning_text(warning)}" for warning in result.warnings]
        box = Box(MARGIN, top, width, _WARNINGS_HEIGHT)
        top = paragraph(draw, box, texts, _WARNING, AMBER) + 8
    made_by = f"StrokeNode {context.run.software_version}, {result.pipeline} {result.version}"
    footer = "   ".join(filter(None, [RESEARCH_USE, plain(made_by), training_statement(result)]))
    bottom = SIDE - _FOOTER - 16
    line(draw, (MARGIN, bottom + 6), footer, _FOOTER, AMBER, width)
    return Page(image, draw, Box(MARGIN, top, width, bottom - top))


def line(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    words: str,
    size: int,
    colour: RGB,
    width: int,
    *,
    bold: bool = False,
) -> None:
    """One line of text, smaller and then cut where it is wider than ``width``."""
    font = ImageFont.load_default(size)
    while size > SMALLEST and font.getlength(words) > width:
        size -= 1
        font = ImageFont.load_default(size)
    while words and font.getlength(words) > width:
        words = words[:-4].rstrip() + "..." if len(words) > 4 else ""
    draw.text(place, words, colour, font, stroke_width=0.6 if bold else 0)


def paragraph(
    draw: ImageDraw.ImageDraw, box: Box, texts: Sequence[str], size: int, colour: RGB
) -> int:
    """Texts broken into lines that fill a box from its top; the row below the last line.

    Letters become smaller until all fits; what does not fit at the smallest size is said to be in
    the report.
    """
    for smaller in range(size, SMALLEST - 1, -1):
        lines = [part for text in texts for part in _wrapped(text, smaller, box.width)]
        step = round(1.25 * smaller)
        if len(lines) * step <= box.height:
            break
    fitting = max(1, box.height // step)
    if len(lines) > fitting:
        lines = [*lines[: fitting - 1], "... more in the report"]
    for index, part in enumerate(lines):
        line(draw, (box.left, box.top + index * step), part, smaller, colour, box.width)
    return box.top + len(lines) * step


def _wrapped(text: str, size: int, width: int) -> list[str]:
    font = ImageFont.load_default(size)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
