"""When and how much the large vessels of a brain fill with contrast."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.simulate.anatomy.model import Anatomy, Vessel
from training.simulate.arrays import BoolArray, Float32Array, FloatArray, stream
from training.simulate.pathology.head import Head
from training.simulate.pathology.stroke import Stroke
from training.simulate.space import HEAD_SHAPE

_ARTERIAL_ARRIVAL_S = {
    Vessel.ICA: -0.3,
    Vessel.VERTEBRAL: -0.2,
    Vessel.BASILAR: 0.0,
    Vessel.M1: 0.0,
    Vessel.M2_SUPERIOR: 0.35,
    Vessel.M2_INFERIOR: 0.35,
    Vessel.ACA: 0.35,
    Vessel.PCA: 0.35,
    Vessel.CEREBELLAR: 0.3,
}
_VENOUS_ARRIVAL_S = {
    Vessel.SUPERIOR_SAGITTAL: 0.0,
    Vessel.STRAIGHT: -0.4,
    Vessel.TRANSVERSE: 0.6,
    Vessel.DEEP_VEIN: -0.8,
    Vessel.CORTICAL_VEIN: -0.9,
}
# The artery at which the clot in a segment lies: the one that it springs from, but the terminus for
# the internal carotid.
_CLOT_AT = {
    Vessel.ICA: Vessel.M1,
    Vessel.M1: Vessel.ICA,
    Vessel.M2_SUPERIOR: Vessel.M1,
    Vessel.M2_INFERIOR: Vessel.M1,
    Vessel.ACA: Vessel.ICA,
    Vessel.PCA: Vessel.BASILAR,
    Vessel.CEREBELLAR: Vessel.BASILAR,
    Vessel.BASILAR: Vessel.VERTEBRAL,
}
_DOWNSTREAM: dict[Vessel, tuple[Vessel, ...]] = {
    Vessel.ICA: (Vessel.M1, Vessel.M2_SUPERIOR, Vessel.M2_INFERIOR),
    Vessel.M1: (Vessel.M2_SUPERIOR, Vessel.M2_INFERIOR),
    Vessel.BASILAR: (Vessel.PCA, Vessel.CEREBELLAR),
}
_CAROTID = (Vessel.ICA, Vessel.M1, Vessel.M2_SUPERIOR, Vessel.M2_INFERIOR, Vessel.ACA)


@dataclass(frozen=True, eq=False)
class VesselFlow:
    """Filling of the voxels that hold a vessel, arrays of length ``voxel``.

    Parameters
    ----------
    voxels : int64 array
        Flat indices into the head grid, ascending.
    share : float32 array
        Share of the voxel that is the vessel's blood.
    delay_s, dispersion_s : float32 arrays
        Against the curve of the bolus (arterial or venous); dispersion is the time constant of an
        exponential.
    fill : float32 array
        Part of the contrast that gets there: 1, less behind a clot, 0 in it.
    """

    voxels: npt.NDArray[np.int64]
    share: Float32Array
    delay_s: Float32Array
    dispersion_s: Float32Array
    fill: Float32Array


def clot(anatomy: Anatomy, stroke: Stroke) -> BoolArray:
    """Where the clot lies: the same on a head CT, where it is dense, and in a perfusion scan.

    The part of the occluded segment within ``clot_mm`` of the artery that it springs from; of the
    internal carotid, the part within that of its end. A clot in the basilar artery blocks all of
    it, whichever side starves.

    Returns
    -------
    bool array of ``HEAD_SHAPE``; empty where the stroke has no visible clot.
    """
    from scipy import spatial

    if stroke.occluded is None:
        return np.zeros(HEAD_SHAPE, dtype=bool)
    segment = _segment(anatomy, stroke)
    inside = np.flatnonzero(segment)
    at = np.flatnonzero(anatomy.vessel == _CLOT_AT[stroke.occluded])
    if not inside.size or not at.size:
        return segment
    distance, _ = spatial.cKDTree(_points(at)).query(_points(inside))
    segment.ravel()[inside[distance > stroke.clot_mm]] = False
    return segment


def _segment(anatomy: Anatomy, stroke: Stroke) -> BoolArray:
    """The occluded segment; of the paired ones, that of the stroke's side."""
    found = (anatomy.vessel == stroke.occluded) & (anatomy.artery > 0)
    if stroke.occluded is not Vessel.BASILAR:
        found &= stroke.on_side(anatomy.left)
    return np.asarray(found)


def arterial_flow(head: Head, stroke: Stroke | None, seed: int) -> VesselFlow:
    """Filling of the arteries: later in branches, late, blunt and weak behind a clot.

    An occluded internal carotid does not fill at all, below the :func:`clot` either.
    """
    rng = stream(seed, "arteries")
    body = head.anatomy
    voxels, share = _voxels(head, body.artery)
    vessel = body.vessel.ravel()[voxels]
    left = body.left.ravel()[voxels]
    delay = _by_vessel(vessel, _ARTERIAL_ARRIVAL_S)
    delay += np.float32(rng.normal(0, 0.1)) * np.isin(vessel, _CAROTID)
    dispersion = np.full(len(voxels), 0.0, dtype=np.float32)
    dispersion[delay > 0.3] = np.float32(rng.uniform(0.1, 0.4))
    fill = np.ones(len(voxels), dtype=np.float32)
    if stroke is not None and stroke.occluded is not None:
        late, blunt = rng.uniform(1.5, 4.5), rng.uniform(0.8, 2.2)
        weak = np.clip(rng.uniform(0.25, 0.6) + 0.35 * stroke.collaterals, 0, 0.9)
        segment = _segment(body, stroke).ravel()[voxels]
        behind = stroke.on_side(left) & np.isin(vessel, _DOWNSTREAM.get(stroke.occluded, ()))
        behind |= segment
        delay[behind] += np.float32(late)
        dispersion[behind] += np.float32(blunt)
        fill[behind] = np.float32(weak)
        blocked = segment if stroke.occluded is Vessel.ICA else clot(body, stroke).ravel()[voxels]
        fill[blocked] = 0
    return VesselFlow(voxels, share, delay, dispersion, fill)


def venous_flow(head: Head, stroke: Stroke | None, seed: int) -> VesselFlow:
    """Filling of the veins: cortical and deep ones before the sinuses, later beside a stroke."""
    rng = stream(seed, "veins")
    body = head.anatomy
    voxels, share = _voxels(head, body.vein)
    vessel = body.vessel.ravel()[voxels]
    delay = _by_vessel(vessel, _VENOUS_ARRIVAL_S)
    delay += np.float32(rng.normal(0, 0.15))
    if stroke is not None:
        low = stroke.on_side(body.left.ravel()[voxels]) & (vessel == Vessel.CORTICAL_VEIN)
        delay[low] += np.float32(rng.uniform(0.5, 2.5))
    zero = np.zeros(len(voxels), dtype=np.float32)
    return VesselFlow(voxels, share, delay, zero, np.ones_like(zero))


def _voxels(head: Head, amount: Float32Array) -> tuple[npt.NDArray[np.int64], Float32Array]:
    voxels = np.flatnonzero(amount)
    share = amount.ravel()[voxels]
    if head.blood:
        share = share * np.clip(1 - head.blood_share().ravel()[voxels], 0, 1)
    return voxels, np.asarray(share, dtype=np.float32)


def _by_vessel(vessel: npt.NDArray[np.uint8], values: dict[Vessel, float]) -> Float32Array:
    table = np.zeros(256, dtype=np.float32)
    for label, value in values.items():
        table[label] = value
    return np.asarray(table[vessel], dtype=np.float32)


def _points(voxels: npt.NDArray[np.int64]) -> FloatArray:
    return np.stack(np.unravel_index(voxels, HEAD_SHAPE), axis=-1).astype(np.float64)
