"""Masks of blood from its shares: they hold as much as there is blood, whatever the voxels."""

import numpy as np

from training.simulate.arrays import BoolArray, Float32Array, FloatArray

LEAST_SHARE = 0.15


def kind_masks(shares: Float32Array, weights: FloatArray) -> BoolArray:
    """Masks of several kinds of blood; no voxel has two.

    A voxel belongs to the kind with the largest share in it (the first of equal ones), and to its
    mask where the share of all blood in it reaches that threshold, of at least
    :data:`LEAST_SHARE`, at which the mask's volume is nearest to the blood's: about one half for a
    compact bleed, less for one that is thinner than the slices.

    Parameters
    ----------
    shares : float32 array, shape ``(kind, voxel)``
        Share of blood of each kind in all voxels that hold any.
    weights : float array, shape ``(voxel,)``
        Relative volumes of the voxels.

    Returns
    -------
    bool array, shape ``(kind, voxel)``
        Their union is the mask of all blood.
    """
    owner, total = np.argmax(shares, axis=0), shares.sum(axis=0)
    masks = np.zeros(shares.shape, dtype=bool)
    for kind, share in enumerate(shares):
        candidates = np.flatnonzero((owner == kind) & (total >= LEAST_SHARE))
        if not candidates.size:
            continue
        order = candidates[np.argsort(-total[candidates], kind="stable")]
        wanted = float(np.sum(share * weights, dtype=np.float64))
        nearest = int(np.argmin(np.abs(np.cumsum(weights[order]) - wanted)))
        masks[kind, candidates] = total[candidates] >= total[order[nearest]]
    return masks
