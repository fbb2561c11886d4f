"""Core and hypoperfused tissue, their volumes and their side.

Absolute CBF depends on how it was computed, so the core is drawn on relative CBF, against tissue
that the same computation calls normal. What is isolated or smaller than a cluster can reasonably
be is noise and removed: a healthy study must show no lesion.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.geometry import Geometry
from inference.preprocess.morphology import closing, components, dilate, erode, opening
from inference.results import Side

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_CENTRE_PERCENTILE = 90
_FULL_EXCESS_S = 4.0
_EDGE_MM = 2.0


@dataclass(frozen=True, eq=False)
class Reference:
    """Normal tissue that lesions are measured against.

    ``cbf`` in mL/100 g/min and ``cbv`` in mL/100 g are means over the normal tissue; ``side`` says
    where it lies.
    """

    cbf: float
    cbv: float
    side: Side


@dataclass(frozen=True, eq=False)
class LesionRules:
    """Thresholds of the lesions; see the settings of the pipeline for their ranges."""

    hypoperfused_tmax_s: float
    normal_tmax_s: float
    core_rcbf: float
    core_reach_mm: float
    min_cluster_ml: float
    min_cluster_radius_mm: float
    one_sided_share: float
    delayed_rcbf_limit: float
    core_closing_mm: float


@dataclass(frozen=True, eq=False)
class Lesions:
    """Regions of shape ``(slice, row, column)`` and what they were measured against."""

    core: BoolArray
    hypoperfused: BoolArray
    reference: Reference
    side: Side | None


def find_lesions(
    hypoperfused: BoolArray,
    tissue: BoolArray,
    left: BoolArray,
    cbf: Float32Array,
    cbv: Float32Array,
    tmax: Float32Array,
    geometry: Geometry,
    rules: LesionRules,
) -> Lesions:
    """Draw the core in hypoperfused tissue and say on which side both lie.

    The core counts as hypoperfused, whatever Tmax the noise gave it.

    Parameters
    ----------
    hypoperfused : array, shape ``(slice, row, column)``
        From :func:`prolonged_tmax` and :func:`confirm_clusters`.
    tissue, left : array, shape ``(slice, row, column)``
        Parenchyma without vessels, and the patient's left half.
    cbf, cbv, tmax : array, same shape
        In mL/100 g/min, mL/100 g and s; NaN outside the brain.
    """
    excess_s = np.clip(tmax - rules.hypoperfused_tmax_s, 0, _FULL_EXCESS_S)
    side = lesion_side(hypoperfused, excess_s, left, geometry, rules.one_sided_share)
    reference = normal_tissue(tissue, left, cbf, cbv, tmax, geometry, rules, side)
    core = low_flow(tissue, cbf, reference, rules.core_rcbf, hypoperfused, geometry, rules)
    return Lesions(core, hypoperfused | core, reference, side)


def edges_that_moved(
    tissue: BoolArray,
    cbf: Float32Array,
    tmax: Float32Array,
    geometry: Geometry,
    rules: LesionRules,
) -> BoolArray:
    """Voxels that are delayed and have much flow, and the millimetres around them.

    Tissue behind a narrowed or closed artery has no more flow than normal. What is delayed and has
    twice the median is the edge of bone in a head that moved through thick slices, or a vein.

    Parameters
    ----------
    tissue : array, shape ``(slice, row, column)``
    cbf, tmax : array, same shape
        In mL/100 g/min and s.
    """
    limit = rules.delayed_rcbf_limit * float(np.median(cbf[tissue]))
    odd = tissue & (tmax > rules.hypoperfused_tmax_s) & (cbf > limit)
    return dilate(odd, _EDGE_MM, geometry.pixel_spacing_mm) & tissue


def prolonged_tmax(
    tissue: BoolArray,
    tmax: Float32Array,
    threshold_s: float,
    geometry: Geometry,
    rules: LesionRules,
) -> BoolArray:
    """Tissue with Tmax above ``threshold_s``, without small and without thin clusters."""
    delayed = remove_small(tissue & (tmax > threshold_s), geometry, rules.min_cluster_ml)
    return remove_thin(delayed, geometry, rules.min_cluster_radius_mm)


def confirm_clusters(
    mask: BoolArray,
    values: Float32Array,
    lowest: float,
    geometry: Geometry,
    surely_real_ml: float,
) -> BoolArray:
    """Drop small connected regions that a wider kernel does not show.

    Noise makes clusters of about the size of the smoothing kernel. Their own mean does not give
    them away, because they were chosen by it, but a wider kernel dissolves them.

    Parameters
    ----------
    mask : array, shape ``(slice, row, column)``
    values : array, same shape
        From curves that were smoothed more widely.
    lowest : float
        The 90th percentile of ``values`` in a region must reach it: the centre of a real lesion
        withstands the wider kernel where its rim does not.
    geometry : Geometry
    surely_real_ml : float
        Larger regions are never dropped. Noise hardly makes them, and losing a lesion is worse
        than showing a spot.
    """
    labels, counts = components(mask)
    large = remove_small(mask, geometry, surely_real_ml)
    kept = [
        group
        for group, count in enumerate(counts)
        if count
        and (
            bool(large[labels == group].any())
            or float(np.percentile(values[labels == group], _CENTRE_PERCENTILE)) >= lowest
        )
    ]
    return np.isin(labels, kept)


def low_flow(
    tissue: BoolArray,
    cbf: Float32Array,
    reference: Reference,
    share: float,
    hypoperfused: BoolArray,
    geometry: Geometry,
    rules: LesionRules,
) -> BoolArray:
    """CBF below ``share`` of normal, inside hypoperfused tissue or grown together with it.

    In tissue that hardly any contrast reaches the time of the residue's maximum is that of the
    noise, so much of a core can lie where Tmax does not tell. What is thick enough to hold a disc
    of ``rules.min_cluster_radius_mm`` and hangs together with low flow within
    ``rules.core_reach_mm`` of hypoperfused tissue therefore counts too. Noise tears gaps into it:
    they are closed where they are narrower than twice ``rules.core_closing_mm``.
    """
    low = tissue & (cbf < share * reference.cbf)
    near = low & dilate(hypoperfused, rules.core_reach_mm, geometry.pixel_spacing_mm)
    labels, _ = components(opening(low, rules.min_cluster_radius_mm, geometry.pixel_spacing_mm))
    touching = np.unique(labels[near])
    core = near | np.isin(labels, touching[touching > 0])
    whole = closing(core, rules.core_closing_mm, geometry.pixel_spacing_mm) & tissue
    return remove_small(whole, geometry, rules.min_cluster_ml)


def volume_ml(mask: BoolArray, geometry: Geometry) -> float:
    """Volume of a region of shape ``(slice, row, column)`` in mL."""
    return float(mask.sum(axis=(1, 2)) @ geometry.voxel_volumes_ml)


def median_in_plane(
    values: Float32Array, mask: BoolArray, geometry: Geometry, size_mm: float
) -> Float32Array:
    """Median over a square of about ``size_mm`` in the slice; outside the mask nothing changes.

    Voxels outside the mask take the value of the nearest voxel inside, so that they do not pull.
    """
    size = [
        2 * max(0, round(size_mm / spacing / 2 - 0.25)) + 1 for spacing in geometry.pixel_spacing_mm
    ]
    out = values.copy()
    if max(size) == 1:
        return out
    for index in np.flatnonzero(mask.any(axis=(1, 2))):
        plane = mask[index]
        nearest = ndimage.distance_transform_edt(
            ~plane, sampling=geometry.pixel_spacing_mm, return_distances=False, return_indices=True
        )
        filled = values[index][tuple(nearest)]
        out[index][plane] = ndimage.median_filter(filled, size=size)[plane]
    return out


def remove_small(mask: BoolArray, geometry: Geometry, smallest_ml: float) -> BoolArray:
    """Drop connected regions below ``smallest_ml``."""
    labels, counts = components(mask)
    if counts.max() == 0:
        return mask
    volumes = np.zeros(len(counts))
    for index, voxel_ml in enumerate(geometry.voxel_volumes_ml):
        volumes += voxel_ml * np.bincount(labels[index].ravel(), minlength=len(counts))
    volumes[0] = 0
    return np.asarray((volumes >= smallest_ml)[labels])


def remove_thin(mask: BoolArray, geometry: Geometry, radius_mm: float) -> BoolArray:
    """Drop connected regions into which no disc of ``radius_mm`` fits in any slice.

    Strips along skull and fluid come from partial volume and movement.
    """
    labels, _ = components(mask)
    thick = np.unique(labels[erode(mask, radius_mm, geometry.pixel_spacing_mm)])
    return np.isin(labels, thick[thick > 0])


def normal_tissue(
    tissue: BoolArray,
    left: BoolArray,
    cbf: Float32Array,
    cbv: Float32Array,
    tmax: Float32Array,
    geometry: Geometry,
    rules: LesionRules,
    side: Side | None,
) -> Reference:
    """Mean CBF and CBV of normal tissue.

    One-sided lesions are compared with the other hemisphere where Tmax is not prolonged, anything
    else with all tissue of clearly normal Tmax. Where too little of that is left, all tissue
    serves.
    """
    if side in ("L", "R"):
        healthy = tissue & (~left if side == "L" else left) & (tmax <= rules.hypoperfused_tmax_s)
        where: Side = "R" if side == "L" else "L"
    else:
        healthy, where = tissue & (tmax < rules.normal_tmax_s), "both"
    if volume_ml(healthy, geometry) < 0.05 * volume_ml(tissue, geometry):
        healthy, where = tissue, "both"
    return Reference(float(cbf[healthy].mean()), float(cbv[healthy].mean()), where)


def lesion_side(
    lesion: BoolArray,
    weight: Float32Array,
    left: BoolArray,
    geometry: Geometry,
    one_sided_share: float,
) -> Side | None:
    """The patient's side of a lesion; ``both`` where neither side holds ``one_sided_share``.

    Voxels count by ``weight``, how far beyond the threshold they are: a narrowed carotid delays the
    whole other hemisphere to just about the threshold, and is not the side of the stroke.
    """
    if not lesion.any():
        return None
    heavy = np.where(lesion, weight, 0).sum(axis=(1, 2), dtype=np.float64)
    heavy_left = np.where(lesion & left, weight, 0).sum(axis=(1, 2), dtype=np.float64)
    total = float(heavy @ geometry.voxel_volumes_ml)
    if total == 0:
        return "both"
    share = float(heavy_left @ geometry.voxel_volumes_ml) / total
    if share >= one_sided_share:
        return "L"
    return "R" if 1 - share >= one_sided_share else "both"
