"""Scales: round values for axes, and colour bars."""

import math

import numpy as np
from PIL import Image, ImageFont

from dicom_node.write.colour import colourise
from dicom_node.write.layers import Layer
from dicom_node.write.page import DIM, WHITE, Box, Page

BAR_WIDTH = 66

_STRIPE = 22
_FONT = 18


def ticks(low: float, high: float) -> list[float]:
    """Round values from ``low`` to ``high``: four to eight of them."""
    exponent = math.floor(math.log10((high - low) / 4))
    steps = [float(f"{digit}e{exponent}") for digit in (1, 2, 3, 5)]
    step = max(s for s in steps if (high - low) / s >= 4 - 1e-9)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


def draw_colour_bar(page: Page, box: Box, layer: Layer) -> None:
    """The colours of a map over its fixed range, high on top, with ticks."""
    low, high = layer.window
    values = np.linspace(high, low, box.height, dtype=np.float32)
    colours = np.repeat(colourise(values, low, high, layer.role)[:, None], _STRIPE, axis=1)
    page.image.paste(Image.fromarray(np.ascontiguousarray(colours)), (box.left, box.top))
    edge = box.left + _STRIPE
    page.draw.rectangle((box.left - 1, box.top - 1, edge, box.bottom), outline=DIM)
    font = ImageFont.load_default(_FONT)
    for value in ticks(low, high):
        y = box.top + round((high - value) / (high - low) * (box.height - 1))
        page.draw.line((edge, y, edge + 5, y), WHITE)
        page.draw.text((edge + 9, y), f"{value:g}", WHITE, font, anchor="lm")
