"""What bleeds grow from: boxes of the head grid, rough fields, and filling up to a volume."""

import numpy as np

from training.simulate.anatomy.fields import signed_distance
from training.simulate.arrays import BoolArray, Float32Array, FloatArray, in_steps
from training.simulate.space import HEAD_ORIGIN_MM, HEAD_SHAPE, HEAD_VOXEL_ML, Box

_BINS = 8192


def box_around(centre_mm: FloatArray, radius_mm: float) -> Box:
    """Box of the head grid around a point given as x, y, z in mm."""
    middle = np.round((centre_mm - np.array(HEAD_ORIGIN_MM))[::-1]).astype(int)
    reach = int(np.ceil(radius_mm))
    first, second, third = (
        slice(int(np.clip(at - reach, 0, size - 1)), int(np.clip(at + reach + 1, 1, size)))
        for at, size in zip(middle, HEAD_SHAPE, strict=True)
    )
    return first, second, third


def box_axes_mm(box: Box) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Coordinates z, y, x of a box, shapes that broadcast to it."""
    z, y, x = (
        np.arange(part.start, part.stop, dtype=np.float32) + np.float32(origin)
        for part, origin in zip(box, reversed(HEAD_ORIGIN_MM), strict=True)
    )
    return z[:, None, None], y[None, :, None], x[None, None, :]


def rough_field(
    rng: np.random.Generator, shape: tuple[int, ...], scale_mm: float, octaves: int = 1
) -> Float32Array:
    """Random field of mean 0 and SD about 1 on a box, with features ``scale_mm`` wide.

    Every further octave is half as wide and half as strong.
    """
    import torch
    from scipy import ndimage
    from torch.nn import functional

    total = np.zeros(shape, dtype=np.float32)
    power = 0.0
    for octave in range(octaves):
        step = max(scale_mm / 2**octave / 2, 1.0)
        coarse_shape = tuple(int(np.ceil(size / step)) + 3 for size in shape)
        white = rng.standard_normal(coarse_shape).astype(np.float32)
        coarse = ndimage.gaussian_filter(white, 0.8, mode="wrap")
        coarse *= np.float32(1 / 0.17)
        fine = functional.interpolate(
            torch.from_numpy(coarse)[None, None],
            size=tuple(int(np.ceil(size * step)) for size in coarse_shape),
            mode="trilinear",
            align_corners=False,
        )[0, 0].numpy()
        start = [int(rng.integers(0, fine.shape[at] - size + 1)) for at, size in enumerate(shape)]
        part = fine[tuple(slice(at, at + size) for at, size in zip(start, shape, strict=True))]
        weight = 0.5**octave
        total += np.float32(weight) * part
        power += weight**2
    return np.asarray(total / np.float32(np.sqrt(power)))


def distance_mm(mask: BoolArray) -> Float32Array:
    """Distance from the surface of a mask in voxels, negative inside it."""
    return -signed_distance(mask)


def volume_ml(share: Float32Array) -> float:
    """Volume of a share in mL."""
    return float(np.sum(share, dtype=np.float64) * HEAD_VOXEL_ML)


def grow(
    score: Float32Array, room: Float32Array, target_ml: float, edge_mm: float = 1.0
) -> Float32Array:
    """Fill the places of highest score until a volume is reached.

    Parameters
    ----------
    score : array
        Preference of each voxel in mm; -inf where nothing may lie.
    room : array
        Share of each voxel that can be filled.
    target_ml : float
        Volume to reach; everything is filled where there is less room.
    edge_mm : float
        Over which range of scores the share falls from full to nothing.

    Returns
    -------
    array of the shape of ``score``
        Shares in steps of 1/255, never above ``room`` (within half a step).
    """
    usable = (room > 0) & np.isfinite(score)
    values, limits = score[usable], room[usable]
    filled = np.zeros(score.shape, dtype=np.float32)
    if not values.size or volume_ml(limits) <= target_ml:
        filled[usable] = limits
        return in_steps(filled)
    target = target_ml / HEAD_VOXEL_ML
    threshold = _hard_threshold(values, limits, target)
    near = values > threshold - 3 * edge_mm
    few, their = values[near], limits[near]
    low, high = threshold - 2 * edge_mm, threshold + 2 * edge_mm
    for _ in range(20):
        middle = (low + high) / 2
        reached = float(np.sum(their * np.clip((few - middle) / edge_mm + 0.5, 0, 1)))
        low, high = (middle, high) if reached > target else (low, middle)
    filled[usable] = limits * np.clip((values - (low + high) / 2) / edge_mm + 0.5, 0, 1)
    return in_steps(filled)


def _hard_threshold(values: Float32Array, limits: Float32Array, target: float) -> float:
    """Score above which the room is about ``target`` voxels."""
    low, high = float(values.min()), float(values.max())
    for _ in range(2):
        bins = np.clip((values - low) / max(high - low, 1e-6) * _BINS, -1, _BINS).astype(np.int64)
        room = np.bincount(bins + 1, weights=limits, minlength=_BINS + 2)
        above = np.cumsum(room[::-1])[::-1]
        last = int(np.flatnonzero(above >= target)[-1]) - 1
        step = (high - low) / _BINS
        low, high = low + last * step, low + (last + 1) * step
    return (low + high) / 2
