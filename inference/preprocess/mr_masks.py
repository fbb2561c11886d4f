"""Intracranial space and parenchyma on T2*-weighted MR.

Without Hounsfield units everything is relative to the brain's own signal, which coils make uneven:
it is followed over the head first. The skull is dark and the scalp, whose fat is suppressed, dim;
fluid is bright and takes up no contrast. Protocols on which it is no brighter than grey matter
leave it in, as nothing then tells it from an infarct. All sizes are millimetres or millilitres.
Slices that cut vertex or base, tilt and a field of view smaller than the head do not matter:
nothing has to close.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.geometry import Geometry
from inference.preprocess.morphology import components, dilate, erode
from inference.preprocess.smoothing import smooth_volume

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_BRIGHT = 0.98
_HEAD_SHARE = 0.15
_FIRST_SHARE, _SHARE = 0.35, 0.6
_LEVEL_MM = 40.0
_LEVEL_RANGE = (0.6, 1.3)
_LEVEL_ROUNDS = 2
_BRIDGE_MM = 4.0
_SATELLITE_SHARE = 0.02
_AREA_MM = 1.5
_FLUID_SIGNAL, _FLUID_AREA = 1.25, 0.4
_VOID_SIGNAL = 0.4
_SMALLEST_TISSUE_SHARE = 0.01


def intracranial_space(image: Float32Array, geometry: Geometry) -> BoolArray:
    """Everything inside the skull that sends signal: brain, fluid and vessels; may be empty.

    Parameters
    ----------
    image : array, shape ``(slice, row, column)``
        Signal of any scale, without contrast or averaged over time.
    """
    spacing = geometry.pixel_spacing_mm
    top = float(np.quantile(image, _BRIGHT))
    if not top > 0:
        return np.zeros(image.shape, bool)
    bright = image > _HEAD_SHARE * top
    level = float(np.median(image[bright])) if bright.any() else top
    space = _largest_deep(image > max(_FIRST_SHARE * level, _HEAD_SHARE * top), spacing)
    if not space.any():
        return space
    local = _spread(tissue_level(image, space, geometry), space)
    space = _largest_deep(image > _SHARE * local, spacing)
    for index in np.flatnonzero(space.any(axis=(1, 2))):
        space[index] = ndimage.binary_fill_holes(space[index])
    return space


def tissue_level(image: Float32Array, space: BoolArray, geometry: Geometry) -> Float32Array:
    """The signal that brain tissue has at every place, 0 outside of ``space``.

    Parameters
    ----------
    image : array, shape ``(slice, row, column)``
    space : array, same shape
        From :func:`intracranial_space`. Fluid and voids in it do not count.
    """
    level = smooth_volume(image, space, geometry, _LEVEL_MM)
    for _ in range(_LEVEL_ROUNDS):
        low, high = (share * level for share in _LEVEL_RANGE)
        typical = space & (image > low) & (image < high)
        known = smooth_volume(image, typical, geometry, _LEVEL_MM)
        level = np.where(space, _spread(known, typical), np.float32(0))
    return level


def brain_tissue(
    image: Float32Array,
    area: Float32Array,
    space: BoolArray,
    geometry: Geometry,
    *,
    rim_mm: float,
) -> BoolArray:
    """Parenchyma: the space inside the skull without its rim, without fluid and without voids.

    Parameters
    ----------
    image : array, shape ``(slice, row, column)``
        Signal without contrast.
    area : array, same shape
        Sum of ΔR2* over time. Fluid is brighter than tissue and takes up little contrast; infarcts
        take up little as well, but they are not as bright, and oedema is, but takes up contrast.
    space : array, same shape
        From :func:`intracranial_space`.
    rim_mm : float
        Width along the skull that partial volume makes unusable.
    """
    inside = erode(space, rim_mm, geometry.pixel_spacing_mm)
    if not inside.any():
        return inside
    level = tissue_level(image, space, geometry)
    smooth = smooth_volume(area, space, geometry, _AREA_MM)
    little = smooth < _FLUID_AREA * float(np.median(smooth[inside]))
    fluid = (image > _FLUID_SIGNAL * level) & little
    tissue = inside & ~fluid & (image > _VOID_SIGNAL * level)
    labels, counts = components(tissue)
    kept = np.flatnonzero(counts >= _SMALLEST_TISSUE_SHARE * max(int(counts.max()), 1))
    return np.isin(labels, kept) & tissue


def _largest_deep(mask: BoolArray, spacing_mm: tuple[float, float]) -> BoolArray:
    """Cut bridges to scalp and eyes, and keep the largest region with what is nearly as large."""
    deep = erode(mask, _BRIDGE_MM, spacing_mm)
    labels, counts = components(deep)
    if counts.max() == 0:
        return np.zeros_like(mask)
    kept = np.isin(labels, np.flatnonzero(counts >= _SATELLITE_SHARE * counts.max())) & deep
    kept = np.isin(labels, [int(np.argmax(counts))]) if not kept.any() else kept
    return dilate(kept, _BRIDGE_MM, spacing_mm) & mask


def _spread(values: Float32Array, known: BoolArray) -> Float32Array:
    """Values where they are known, those of the nearest known voxel elsewhere."""
    if not known.any():
        return values
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(values[tuple(nearest)])
