"""Binary morphology with radii in millimetres, slice by slice.

Slices are often ten times farther apart than pixels, so a ball would act in the plane only; discs
say so. Radii are honoured by exact distances, not by counts of pixels.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

BoolArray = npt.NDArray[np.bool_]
Spacing = tuple[float, float]


def _distance(mask: BoolArray, spacing_mm: Spacing) -> npt.NDArray[np.float64]:
    out: npt.NDArray[np.float64] = ndimage.distance_transform_edt(mask, sampling=spacing_mm)
    return out


def erode(mask: BoolArray, radius_mm: float, spacing_mm: Spacing) -> BoolArray:
    """Take a rim of ``radius_mm`` off; the edge of the image does not count as outside."""
    out = np.zeros_like(mask)
    for index in np.flatnonzero(mask.any(axis=(1, 2))):
        plane = mask[index]
        out[index] = plane if plane.all() else _distance(plane, spacing_mm) > radius_mm
    return out


def dilate(mask: BoolArray, radius_mm: float, spacing_mm: Spacing) -> BoolArray:
    """Add a rim of ``radius_mm``."""
    out = np.zeros_like(mask)
    for index in np.flatnonzero(mask.any(axis=(1, 2))):
        out[index] = _distance(~mask[index], spacing_mm) <= radius_mm
    return out


def opening(mask: BoolArray, radius_mm: float, spacing_mm: Spacing) -> BoolArray:
    """Remove what is thinner than twice ``radius_mm``."""
    return dilate(erode(mask, radius_mm, spacing_mm), radius_mm, spacing_mm) & mask


def closing(mask: BoolArray, radius_mm: float, spacing_mm: Spacing) -> BoolArray:
    """Fill gaps narrower than twice ``radius_mm``, and holes of any size."""
    closed = erode(dilate(mask, radius_mm, spacing_mm), radius_mm, spacing_mm) | mask
    for index in np.flatnonzero(closed.any(axis=(1, 2))):
        closed[index] = ndimage.binary_fill_holes(closed[index])
    return closed


def components(mask: BoolArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Label regions that touch by a voxel face; returns labels and voxel counts (index 0 = none).

    The labels have the shape of ``mask``, the counts shape ``(label + 1,)``.
    """
    labels, _ = ndimage.label(mask)
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    return labels.astype(np.int32, copy=False), counts


def largest_component(mask: BoolArray) -> BoolArray:
    """The largest region; an empty mask stays empty."""
    labels, counts = components(mask)
    if counts.max() == 0:
        return np.zeros_like(mask)
    return np.asarray(labels == int(np.argmax(counts)))
