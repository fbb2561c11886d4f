"""Gaussian smoothing in millimetres, inside a mask.

The kernel is separable and written as one small matrix per axis, so that uneven slice positions
are honoured and the work is three matrix products on CPU or GPU. Dividing by the smoothed mask
keeps skull, fluid and air from bleeding into tissue.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from inference.geometry import Geometry
from inference.preprocess.frames import Frames

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_NARROWEST_MM = 0.1


def smooth_volume(
    image: Float32Array, mask: BoolArray, geometry: Geometry, sigma_mm: float
) -> Float32Array:
    """Smooth one volume inside ``mask``; outside the mask the result is 0.

    Parameters
    ----------
    image, mask : array, shape ``(slice, row, column)``
    sigma_mm : float
        Standard deviation in mm; below 0.1 the values stay as they are.
    """
    out = np.zeros_like(image)
    if not mask.any():
        return out
    for _, values in _smoothed(image[None], mask, geometry, sigma_mm, "cpu"):
        out[mask] = values
    return out


def smooth_curves(
    frames: Frames,
    mask: BoolArray,
    sigma_mm: float,
    device: str = "cpu",
    wanted: BoolArray | None = None,
) -> Float32Array:
    """Curves of the voxels in ``mask``, each frame smoothed inside the mask.

    Parameters
    ----------
    frames : Frames
        ``data`` of shape ``(time, slice, row, column)``.
    mask : array, shape ``(slice, row, column)``
        Voxels that take part.
    sigma_mm : float
        Standard deviation in mm, in the plane and between slices; below 0.1 the curves are
        only gathered.
    device : str
        torch device.
    wanted : array, shape ``(slice, row, column)``, optional
        Part of ``mask`` whose curves are returned; all of it by default.

    Returns
    -------
    array, shape ``(voxel, time)``
        In C order of the voxels.
    """
    chosen = None if wanted is None else wanted[mask]
    out = np.empty(
        (int(mask.sum() if chosen is None else chosen.sum()), len(frames.times_s)), np.float32
    )
    if len(out):
        for index, values in _smoothed(frames.data, mask, frames.geometry, sigma_mm, device):
            out[:, index] = values if chosen is None else values[chosen]
    return out


def _smoothed(
    volumes: Float32Array, mask: BoolArray, geometry: Geometry, sigma_mm: float, device: str
) -> Iterator[tuple[int, Float32Array]]:
    """Yield the smoothed values inside ``mask`` of one volume after another."""
    if sigma_mm < _NARROWEST_MM:
        yield from ((index, volume[mask]) for index, volume in enumerate(volumes))
        return
    box = tuple(
        slice(int(used[0]), int(used[-1]) + 1)
        for used in (np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    )
    inner = mask[box]
    heights = (geometry.positions_mm @ geometry.normal)[box[0]]
    kernels = [
        torch.from_numpy(_kernel(places, sigma_mm)).to(device)
        for places in (
            heights,
            np.arange(inner.shape[1]) * geometry.pixel_spacing_mm[0],
            np.arange(inner.shape[2]) * geometry.pixel_spacing_mm[1],
        )
    ]
    weight = torch.from_numpy(inner.astype(np.float32)).to(device)
    share = _apply(kernels, weight)
    where = torch.from_numpy(inner).to(device)
    for index, volume in enumerate(volumes):
        values = torch.from_numpy(np.ascontiguousarray(volume[box])).to(device)
        smooth = _apply(kernels, values * weight)
        yield index, (smooth[where] / share[where]).cpu().numpy()


def _kernel(places_mm: npt.NDArray[np.floating[Any]], sigma_mm: float) -> Float32Array:
    """Gaussian weights between all pairs of places along one axis, zero beyond three sigma."""
    distance = np.abs(places_mm[:, None] - places_mm[None, :])
    weights = np.exp(-0.5 * (distance / sigma_mm) ** 2)
    weights[distance > 3 * sigma_mm] = 0
    return weights.astype(np.float32)


def _apply(kernels: list[torch.Tensor], values: torch.Tensor) -> torch.Tensor:
    """Multiply ``values`` of shape ``(slice, row, column)`` by one symmetric kernel per axis."""
    slices, rows, columns = kernels
    values = rows @ (values @ columns)
    return (slices @ values.reshape(len(slices), -1)).reshape(values.shape)
