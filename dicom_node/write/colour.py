"""Values to colours, and the directions of image edges as letters."""

from functools import cache

import numpy as np
import numpy.typing as npt

from inference.geometry import FloatArray

RGBArray = npt.NDArray[np.uint8]
RGB = tuple[int, int, int]

REGION_COLOURS: dict[str, RGB] = {
    "core": (245, 50, 160),
    "hypoperfused": (130, 225, 60),
    "ich": (235, 60, 60),
    "ht": (235, 60, 60),
}
OTHER_REGION: RGB = (80, 190, 250)

_WORSE_WHEN_HIGH = frozenset({"mtt", "tmax", "ttp", "ht_risk"})
_OPPOSITE = {"L": "R", "P": "A", "H": "F"}
_OBLIQUE = 0.3


@cache
def _colours(name: str) -> RGBArray:
    from matplotlib import colormaps

    return np.asarray(colormaps[name](np.arange(256), bytes=True)[:, :3], np.uint8)


def colourise(values: npt.NDArray[np.float32], low: float, high: float, quantity: str) -> RGBArray:
    """Colours of ``values`` between ``low`` and ``high``; black where not finite.

    Lightness grows evenly with the value, which colour-blind readers see too (colour maps of Smith
    and van der Walt 2015): plasma where high values are the bad ones, such as delays, viridis for
    all else. Adds an axis of length 3 (red, green, blue).
    """
    measured = np.isfinite(values)
    index = np.clip((np.where(measured, values, low) - low) / (high - low) * 255, 0, 255)
    colours = _colours("plasma" if quantity in _WORSE_WHEN_HIGH else "viridis")
    return np.asarray(
        np.where(measured[..., None], colours[np.rint(index).astype(np.intp)], 0), np.uint8
    )


def greyscale(values: npt.NDArray[np.float32], low: float, high: float) -> RGBArray:
    """Grey levels of ``values`` between ``low`` and ``high``; black where not finite."""
    grey = np.clip((np.where(np.isfinite(values), values, low) - low) / (high - low), 0, 1)
    return np.repeat(np.rint(grey * 255).astype(np.uint8)[..., None], 3, axis=-1)


def region_colour(name: str) -> RGB:
    """The colour of a segmented region on pictures and in viewers."""
    return REGION_COLOURS.get(name, OTHER_REGION)


def direction_letters(direction: FloatArray) -> str:
    """Where a direction in the patient points: ``L``, ``R``, ``A``, ``P``, ``H``, ``F``.

    Several letters, the strongest first, where the direction is oblique.
    """
    letters = ""
    for axis in np.argsort(-np.abs(direction), kind="stable"):
        if abs(direction[axis]) > _OBLIQUE or not letters:
            positive = "LPH"[axis]
            letters += positive if direction[axis] > 0 else _OPPOSITE[positive]
    return letters
