"""Head, cranial cavity and brain tissue on CT frames.

All sizes are millimetres or millilitres, so that 0.5 mm and 10 mm slices, 256² and 512² give the
same regions. The cavity is found by enclosure: a point is inside the skull when bone lies in most
in-plane directions around it. That survives tilt, a vertex or base that is cut off, gaps in the
skull and a head that is wider than the field of view, where filling closed rings does not. Where a
craniectomy took too much bone for that, the skull is drawn on from the edges of the gap.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.geometry import Geometry
from inference.preprocess.morphology import components, dilate, erode, largest_component, opening
from inference.preprocess.smoothing import smooth_volume

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_TEMPORAL_BLOCKS = 6
_HEAD_HU = -200.0
_OUTSIDE_FIELD_HU = -1300.0
_BONE_HU = 150.0
_DENSE_BONE_HU = 300.0
_SOFT_TISSUE_HU = (-30.0, _BONE_HU)
_HOLDER_RADIUS_MM = 6.0
_FORAMEN_RADIUS_MM = 3.0
_ENCLOSURE_PIXEL_MM = 2.0
_ENCLOSURE_ANGLES = 12
_ENCLOSED_SHARE = 0.66
_ENCLOSURE_BLUR_MM = 4.0
_SATELLITE_SHARE = 0.1
_GAP_ANGLES = 180
_LEAST_GAP_MM = 30.0
# Half of the 25 HU between brain and fluid, whatever the calibration of the scanner.
_ABOVE_FLUID_HU = 13.0
_TISSUE_SMOOTHING_MM = 1.5
_SMALLEST_TISSUE_SHARE = 0.01
_VESSEL_SMOOTHING_MM = 1.5
_VESSEL_SPREADS = 4.0
_MAD_PER_SIGMA = 0.6745
_RIM_ZONE_MM = 5.0
_RIM_MAX_HU = 60.0


def quiet_image(frames: Float32Array) -> Float32Array:
    """Low-noise image close to the baseline, shape ``(slice, row, column)``, before the bolus is
    known: the smallest of the means of six consecutive parts of the scan.

    Parameters
    ----------
    frames : array, shape ``(time, slice, row, column)``
        HU.
    """
    blocks = np.array_split(np.arange(len(frames)), min(_TEMPORAL_BLOCKS, len(frames)))
    out: Float32Array = frames[blocks[0]].mean(axis=0)
    for block in blocks[1:]:
        np.minimum(out, frames[block].mean(axis=0), out=out)
    return out


def head_mask(image: Float32Array, geometry: Geometry) -> BoolArray:
    """The head without table, holder and tubes, air inside filled; may be empty.

    Parameters
    ----------
    image : array, shape ``(slice, row, column)``
        HU.
    """
    spacing = geometry.pixel_spacing_mm
    body = opening(image > _HEAD_HU, _HOLDER_RADIUS_MM, spacing)
    head = largest_component(body)
    for index in np.flatnonzero(head.any(axis=(1, 2))):
        head[index] = ndimage.binary_fill_holes(head[index])
    return head


def cranial_cavity(
    image: Float32Array, head: BoolArray, geometry: Geometry, *, erode_mm: float = 0.0
) -> BoolArray:
    """Everything inside the skull: brain, fluid and vessels; may be empty.

    Parameters
    ----------
    image : array, shape ``(slice, row, column)``
        HU, without contrast or nearly so (:func:`quiet_image`).
    head : array, same shape
        From :func:`head_mask`.
    erode_mm : float
        Radius of a ball by which the cavity is eroded at last; the ends of the scan do not count
        as outside.
    """
    spacing = geometry.pixel_spacing_mm
    bone = _bone(image, head)
    bone |= _missing_skull(bone, head, spacing)
    soft = head & ~bone & (image > _SOFT_TISSUE_HU[0]) & (image < _SOFT_TISSUE_HU[1])
    edge = head & dilate(image < _OUTSIDE_FIELD_HU, 2 * max(spacing), spacing)
    for border in (np.s_[:, :1], np.s_[:, -1:], np.s_[:, :, :1], np.s_[:, :, -1:]):
        edge[border] |= head[border]
    soft &= _enclosed(bone | edge, geometry)
    core = erode(soft, _FORAMEN_RADIUS_MM, spacing)
    labels, counts = components(core)
    if counts.max() == 0:
        return np.zeros_like(head)
    kept = np.isin(labels, np.flatnonzero(counts >= _SATELLITE_SHARE * counts.max()))
    cavity = dilate(kept, _FORAMEN_RADIUS_MM + max(spacing), spacing) & soft
    return erode_ball(cavity, erode_mm, geometry) if erode_mm > 0 else cavity


def erode_ball(mask: BoolArray, radius_mm: float, geometry: Geometry) -> BoolArray:
    """Take a rim off in all three directions; the ends of the scan do not count as outside."""
    sampling = (max(geometry.slice_spacing_mm, 0.1), *geometry.pixel_spacing_mm)
    if mask.all():
        return mask
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=sampling) > radius_mm)


def brain_tissue(
    baseline: Float32Array,
    cavity: BoolArray,
    geometry: Geometry,
    *,
    rim_mm: float,
    range_hu: tuple[float, float],
) -> BoolArray:
    """Parenchyma: the cavity without its rim, without fluid and without bone or calcification.

    Parameters
    ----------
    baseline : array, shape ``(slice, row, column)``
        Mean of the frames before the contrast arrives, HU.
    cavity : array, same shape
        From :func:`cranial_cavity`.
    rim_mm : float
        Width along the skull that partial volume with bone makes unusable.
    range_hu : (float, float)
        Lower limit (fluid lies below) and upper limit of tissue, applied to the image after light
        smoothing against noise. Where cupping or calibration put the whole brain lower than usual,
        the lower limit is 13 HU below its median: half way to fluid.
    """
    spacing = geometry.pixel_spacing_mm
    smooth = smooth_volume(baseline, cavity, geometry, _TISSUE_SMOOTHING_MM)
    inside = erode(cavity, rim_mm, spacing)
    deep = erode(cavity, rim_mm + _RIM_ZONE_MM, spacing)
    # Near the skull, partial volume with bone looks like blood.
    limit = np.where(deep, range_hu[1], min(range_hu[1], _RIM_MAX_HU))
    lowest = range_hu[0]
    if deep.any():
        lowest = min(lowest, float(np.median(smooth[deep])) - _ABOVE_FLUID_HU)
    tissue = inside & (smooth >= lowest) & (smooth <= limit)
    labels, counts = components(tissue)
    if counts.max() == 0:
        return tissue
    return np.isin(labels, np.flatnonzero(counts >= _SMALLEST_TISSUE_SHARE * counts.max())) & tissue


def _bone(image: Float32Array, head: BoolArray) -> BoolArray:
    """Bone inside the head: voxels above 150 HU in one piece with voxels above 300 HU."""
    faint = head & (image > _BONE_HU)
    labels, count = ndimage.label(faint, ndimage.generate_binary_structure(3, 2))
    dense = np.zeros(count + 1, bool)
    dense[np.unique(labels[faint & (image > _DENSE_BONE_HU)])] = True
    dense[0] = False
    return np.asarray(dense[labels])


def _missing_skull(bone: BoolArray, head: BoolArray, spacing_mm: tuple[float, float]) -> BoolArray:
    """Lines where a craniectomy took bone, slice by slice; empty where the skull is whole.

    Seen from the centre of the skull, its inner table is a distance for every direction. Where
    rays leave the head over more than 30 mm of its outline without meeting bone, the distance is
    interpolated between the edges of the gap.
    """
    out = np.zeros_like(bone)
    angles = np.arange(_GAP_ANGLES) * 2 * np.pi / _GAP_ANGLES
    for index in np.flatnonzero(bone.any(axis=(1, 2))):
        centre = np.argwhere(head[index]).mean(axis=0)
        radius = _inner_table(bone[index], head[index], centre, angles, spacing_mm)
        for gap in _runs(np.isnan(radius)):
            edges = [int(gap[0]) - 1, int(gap[-1] + 1) % _GAP_ANGLES]
            first, last = radius[edges]
            if (first + last) / 2 * len(gap) * 2 * np.pi / _GAP_ANGLES < _LEAST_GAP_MM:
                continue
            along = np.linspace(0, 1, 16 * len(gap))
            turn = angles[edges[0]] + along * (len(gap) + 1) * 2 * np.pi / _GAP_ANGLES
            reach = first + along * (last - first)
            row = np.rint(centre[0] + reach * np.sin(turn) / spacing_mm[0]).astype(int)
            column = np.rint(centre[1] + reach * np.cos(turn) / spacing_mm[1]).astype(int)
            there = (row >= 0) & (row < bone.shape[1]) & (column >= 0) & (column < bone.shape[2])
            out[index, row[there], column[there]] = True
    return ndimage.binary_dilation(out, np.ones((1, 3, 3), bool)) & head if out.any() else out


def _inner_table(
    bone: BoolArray,
    head: BoolArray,
    centre: npt.NDArray[np.float64],
    angles: npt.NDArray[np.float64],
    spacing_mm: tuple[float, float],
) -> npt.NDArray[np.float64]:
    """Distance in mm to the first bone in every direction; NaN where there is none.

    Rays that leave the image inside the head, which the field of view cuts, count as ending on
    bone.
    """
    steps = np.arange(0, np.hypot(*(n * s for n, s in zip(bone.shape, spacing_mm, strict=True))))
    row = np.rint(centre[0] + np.sin(angles)[:, None] * steps / spacing_mm[0]).astype(int)
    column = np.rint(centre[1] + np.cos(angles)[:, None] * steps / spacing_mm[1]).astype(int)
    there = (row >= 0) & (row < bone.shape[0]) & (column >= 0) & (column < bone.shape[1])
    row, column = np.clip(row, 0, bone.shape[0] - 1), np.clip(column, 0, bone.shape[1] - 1)
    hit = bone[row, column] | (~there & head[row, column])
    first = np.argmax(hit, axis=1)
    return np.where(hit.any(axis=1), steps[first], np.nan)


def _runs(where: BoolArray) -> list[npt.NDArray[np.int64]]:
    """Runs of true entries on a circle, each as its indices; none when all are true."""
    if where.all() or not where.any():
        return []
    start = int(np.flatnonzero(~where)[0])
    order = np.roll(np.arange(len(where)), -start)
    change = np.flatnonzero(np.diff(where[order].astype(np.int8))) + 1
    return [run for run in np.split(order, change) if where[run[0]]]


def _enclosed(walls: BoolArray, geometry: Geometry) -> BoolArray:
    """Voxels that see ``walls`` in most in-plane directions.

    Works on pixels of about 2 mm; rays run along the rows of the image turned step by step.
    """
    factors = [max(1, round(_ENCLOSURE_PIXEL_MM / s)) for s in geometry.pixel_spacing_mm]
    slices, rows, columns = walls.shape
    padded = np.pad(
        walls, ((0, 0), (0, -rows % factors[0]), (0, -columns % factors[1])), mode="edge"
    )
    small = padded.reshape(
        slices, padded.shape[1] // factors[0], factors[0], padded.shape[2] // factors[1], factors[1]
    ).any(axis=(2, 4))
    side = int(np.ceil(np.hypot(*small.shape[1:]))) + 2
    margins = [(side - n) // 2 for n in small.shape[1:]]
    square = np.zeros((slices, side, side), np.float32)
    inner = np.s_[
        :, margins[0] : margins[0] + small.shape[1], margins[1] : margins[1] + small.shape[2]
    ]
    square[inner] = small
    hits = np.zeros(square.shape, np.float32)
    for angle in np.arange(_ENCLOSURE_ANGLES) * 180.0 / _ENCLOSURE_ANGLES:
        turned = ndimage.rotate(square, angle, axes=(1, 2), reshape=False, order=1) > 0.3
        before = np.logical_or.accumulate(turned, axis=2)
        after = np.logical_or.accumulate(turned[:, :, ::-1], axis=2)[:, :, ::-1]
        seen = before.astype(np.float32) + after
        hits += ndimage.rotate(seen, -angle, axes=(1, 2), reshape=False, order=1)
    pixel = [s * f for s, f in zip(geometry.pixel_spacing_mm, factors, strict=True)]
    hits = ndimage.gaussian_filter(
        hits,
        [
            _ENCLOSURE_BLUR_MM / max(geometry.slice_spacing_mm, 0.1),
            *(_ENCLOSURE_BLUR_MM / p for p in pixel),
        ],
        mode="nearest",
    )
    enclosed = hits[inner] >= _ENCLOSED_SHARE * 2 * _ENCLOSURE_ANGLES
    full = enclosed.repeat(factors[0], axis=1).repeat(factors[1], axis=2)
    return np.asarray(full[:, :rows, :columns])


def vessel_mask(
    area: Float32Array, tissue: BoolArray, geometry: Geometry, *, factor: float, margin_mm: float
) -> BoolArray:
    """Vessels in the brain: the area under the curve is ``factor`` times the median of tissue.

    Parameters
    ----------
    area : array, shape ``(slice, row, column)``
        Sum of the enhancement over time: blood volume up to a constant.
    tissue : array, same shape
        From :func:`brain_tissue`.
    factor : float
        Raised where noise or disease spread the areas of tissue so far that it would cut into them.
    margin_mm : float
        Width that partial volume adds around a vessel.
    """
    if not tissue.any():
        return tissue
    smooth = smooth_volume(area, tissue, geometry, _VESSEL_SMOOTHING_MM)
    median = float(np.median(smooth[tissue]))
    spread = float(np.median(np.abs(smooth[tissue] - median))) / _MAD_PER_SIGMA
    limit = max(factor * median, median + _VESSEL_SPREADS * spread)
    return dilate(tissue & (smooth > limit), margin_mm, geometry.pixel_spacing_mm) & tissue
