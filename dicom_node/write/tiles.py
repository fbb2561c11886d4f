"""Slices of a volume as tiles: true proportions, letters of the patient's sides, numbers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from dicom_node.write.colour import RGB, RGBArray, direction_letters
from dicom_node.write.page import DIM, WHITE, Box, Page
from inference.geometry import FloatArray, Geometry

SLICES_PER_PAGE = 20
SKULL_MM = 10.0

_GAP = 4
_FILL = 0.4

BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
Render = Callable[[Float32Array], RGBArray]


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices to show.

    Parameters
    ----------
    data : array, shape ``(slice, row, column)``
    render : callable
        Makes colours of values; black where a value is not finite.
    shown : array of bool, same shape
        What must be seen; every tile shows this and ``margin_mm`` around it.
    overlays : masks of the same shape with their colours
        Drawn as outline and translucent fill, the later over the earlier.
    """

    data: Float32Array
    geometry: Geometry
    render: Render
    shown: BoolArray
    margin_mm: float
    overlays: tuple[tuple[BoolArray, RGB], ...] = field(default=())


@dataclass(frozen=True)
class _Crop:
    """The rows and columns that all tiles of a stack show."""

    top: int
    bottom: int
    left: int
    right: int
    height_mm: float
    width_mm: float


def split_slices(slices: int) -> list[list[int]]:
    """Indices of slices, page by page: as few pages as possible, filled alike."""
    count = math.ceil(slices / SLICES_PER_PAGE)
    return [[int(i) for i in part] for part in np.array_split(np.arange(slices), count)]


def evenly_chosen(shown: BoolArray, count: int) -> list[int]:
    """At most ``count`` slices, evenly over those where something is to be seen; or over all."""
    used = np.flatnonzero(shown.any(axis=(1, 2)))
    used = used if len(used) else np.arange(len(shown))
    places = np.linspace(0, len(used) - 1, min(count, len(used)))
    return [int(i) for i in used[np.rint(places).astype(int)]]


def draw_tiles(page: Page, box: Box, stack: Stack, indices: Sequence[int]) -> list[Box]:
    """Draw slices into a box, as large as they fit, and return where each one lies."""
    crop = _crop(stack)
    columns = _columns(len(indices), box, crop)
    rows = math.ceil(len(indices) / columns)
    width, height = box.width // columns, box.height // rows
    boxes = []
    for place, index in enumerate(indices):
        row, column = divmod(place, columns)
        tile = Box(box.left + column * width, box.top + row * height, width - _GAP, height - _GAP)
        draw_tile(page, tile, stack, index)
        boxes.append(tile)
    return boxes


def draw_tile(page: Page, box: Box, stack: Stack, index: int) -> None:
    """Draw one slice in the middle of a box, with letters and number in the corners."""
    picture = _picture(stack, index, _crop(stack), box)
    left = box.left + (box.width - picture.width) // 2
    page.image.paste(picture, (left, box.top + (box.height - picture.height) // 2))
    _annotate(page.draw, box, stack.geometry, index)


def place_in_tile(box: Box, stack: Stack, position_mm: FloatArray) -> tuple[float, float]:
    """Where a position in the patient (LPS, mm) lies on a tile: x and y on the page."""
    crop, geometry = _crop(stack), stack.geometry
    width, height = _size(crop, box)
    offset = position_mm - geometry.positions_mm[nearest_slice(geometry, position_mm)]
    row_mm, column_mm = geometry.pixel_spacing_mm
    across = float(offset @ geometry.row_cosines) + (0.5 - crop.left) * column_mm
    down = float(offset @ geometry.column_cosines) + (0.5 - crop.top) * row_mm
    return (
        box.left + (box.width - width) // 2 + across / crop.width_mm * width,
        box.top + (box.height - height) // 2 + down / crop.height_mm * height,
    )


def nearest_slice(geometry: Geometry, position_mm: FloatArray) -> int:
    """The slice whose plane is nearest to a position in the patient."""
    return int(np.argmin(np.abs((geometry.positions_mm - position_mm) @ geometry.normal)))


def _crop(stack: Stack) -> _Crop:
    seen = stack.shown.any(axis=0)
    ends = []
    for across, size, spacing in zip(
        (seen.T, seen), seen.shape, stack.geometry.pixel_spacing_mm, strict=True
    ):
        used = np.flatnonzero(across.any(axis=0))
        margin = math.ceil(stack.margin_mm / spacing)
        first, last = (int(used[0]), int(used[-1])) if len(used) else (0, size - 1)
        ends += [max(0, first - margin), min(size, last + 1 + margin)]
    top, bottom, left, right = ends
    row_mm, column_mm = stack.geometry.pixel_spacing_mm
    return _Crop(top, bottom, left, right, (bottom - top) * row_mm, (right - left) * column_mm)


def _size(crop: _Crop, box: Box) -> tuple[int, int]:
    """Width and height in pixels of the crop, as large as it fits into a box."""
    scale = min(box.width / crop.width_mm, box.height / crop.height_mm)
    return max(1, round(crop.width_mm * scale)), max(1, round(crop.height_mm * scale))


def _columns(count: int, box: Box, crop: _Crop) -> int:
    """The number of columns that makes tiles largest."""

    def scale(columns: int) -> float:
        rows = math.ceil(count / columns)
        return min(box.width / columns / crop.width_mm, box.height / rows / crop.height_mm)

    return max(range(1, count + 1), key=scale)


def _picture(stack: Stack, index: int, crop: _Crop, box: Box) -> Image.Image:
    size = _size(crop, box)
    part = np.s_[index, crop.top : crop.bottom, crop.left : crop.right]
    measured = np.isfinite(stack.data[part])
    weight = _resized(measured.astype(np.float32), size)
    value = _resized(np.where(measured, stack.data[part], 0).astype(np.float32), size)
    inside = weight > 0.5
    values = np.where(inside, value / np.where(inside, weight, 1), np.nan).astype(np.float32)
    rgb = stack.render(values)
    covers = [
        (_resized(mask[part].astype(np.float32), size) > 0.5, c) for mask, c in stack.overlays
    ]
    colours, strength = np.zeros(rgb.shape), np.zeros(rgb.shape[:2])
    for cover, colour in covers:
        colours[cover], strength[cover] = colour, _FILL
    for cover, colour in covers:
        edge = cover & ~_eroded(cover)
        colours[edge], strength[edge] = colour, 1.0
    mixed = rgb * (1 - strength[..., None]) + colours * strength[..., None]
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def _resized(values: Float32Array, size: tuple[int, int]) -> Float32Array:
    image = Image.fromarray(np.ascontiguousarray(values))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def _eroded(mask: BoolArray) -> BoolArray:
    """The mask without the pixels at its edge (two pixels wide)."""
    for _ in range(2):
        padded = np.pad(mask, 1)
        mask = mask & padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
    return mask


def _annotate(draw: ImageDraw.ImageDraw, box: Box, geometry: Geometry, index: int) -> None:
    """Letters of the patient's sides in the upper corners, the number of the slice below."""
    font = ImageFont.load_default(15 if box.width < 170 else 19)
    left, right = direction_letters(-geometry.row_cosines), direction_letters(geometry.row_cosines)
    draw.text((box.left + 4, box.top + 3), left, WHITE, font)
    draw.text((box.right - 4, box.top + 3), right, WHITE, font, anchor="ra")
    draw.text((box.left + 4, box.bottom - 4), f"{index + 1}", DIM, font, anchor="ls")
