"""Smooth random fields, and fields on a coarse grid brought to the head grid.

A coarse grid of ``step`` has one node per ``step`` voxels of the head grid along each axis, in the
centre of that block; ``HEAD_SHAPE`` is divisible by 2 and 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from training.simulate.anatomy.model import Anatomy
from training.simulate.arrays import BoolArray, Float32Array, Uint8Array
from training.simulate.space import HEAD_SHAPE, Box, bounding_box

_Scalar = TypeVar("_Scalar", bound=np.generic)

BRAIN_STEP = 2
_SAMPLES_AT_ONCE = 400_000


def coarse_shape(step: int) -> tuple[int, int, int]:
    """Shape of the coarse grid with one node per ``step`` mm."""
    z, y, x = (count // step for count in HEAD_SHAPE)
    return z, y, x


def pick(volume: npt.NDArray[_Scalar], step: int) -> npt.NDArray[_Scalar]:
    """Take from every block of a volume of ``HEAD_SHAPE`` the voxel next to its centre."""
    first = step // 2
    return np.ascontiguousarray(volume[first::step, first::step, first::step])


def smooth_noise(rng: np.random.Generator, shape: Sequence[int], sigma: float) -> Float32Array:
    """Gaussian random field of mean 0 and standard deviation 1: white noise, smoothed.

    Its correlation is a Gaussian of standard deviation ``sigma`` voxels times the square root
    of 2; it repeats at the borders of the grid.
    """
    from scipy import fft

    spectrum = fft.rfftn(rng.standard_normal(shape, dtype=np.float32))
    axes = [fft.fftfreq(shape[0]), fft.fftfreq(shape[1]), fft.rfftfreq(shape[2])]
    for axis, frequency in enumerate(axes):
        gain = np.exp(-2 * (np.pi * frequency * sigma) ** 2).astype(np.float32)
        spectrum *= np.expand_dims(gain, [other for other in range(3) if other != axis])
    field = fft.irfftn(spectrum, shape)
    field -= field.mean()
    return np.asarray(field / field.std(), dtype=np.float32)


def head_noise(rng: np.random.Generator, step: int, scale_mm: float) -> Float32Array:
    """:func:`smooth_noise` on the coarse grid of a whole head, ``scale_mm`` wide."""
    return smooth_noise(rng, coarse_shape(step), scale_mm / step)


def signed_distance(mask: BoolArray) -> Float32Array:
    """Distance of every voxel from the outermost voxels of a mask in voxels, positive inside."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    distance = SimpleITK.SignedMaurerDistanceMap(  # type: ignore[no-untyped-call]
        image, insideIsPositive=True, squaredDistance=False, useImageSpacing=False
    )
    return np.asarray(SimpleITK.GetArrayFromImage(distance), dtype=np.float32)


def signed_distance_mm(mask: BoolArray, step: int) -> Float32Array:
    """Distance of each node to the border between a mask and the rest, positive inside it."""
    if not mask.any():
        return np.full(mask.shape, -1e3, dtype=np.float32)
    # 0 in the outermost nodes of the mask: the border is half a step further out.
    return (signed_distance(mask) + np.float32(0.5)) * np.float32(step)


def coarsen(volume: Float32Array, step: int) -> Float32Array:
    """Mean over cubes of ``step`` voxels; sides that are no multiple are filled up with zeros."""
    import torch
    from torch.nn import functional

    padding = [part for size in reversed(volume.shape) for part in (0, -size % step)]
    padded = functional.pad(torch.from_numpy(np.ascontiguousarray(volume))[None, None], padding)
    return np.asarray(functional.avg_pool3d(padded, step)[0, 0].numpy())


def refine(coarse: Float32Array, step: int, shape: tuple[int, ...] | None = None) -> Float32Array:
    """Trilinear interpolation of a coarse field, or a part of one, to 1 mm.

    ``shape`` cuts off what :func:`coarsen` filled up.
    """
    import torch
    from torch.nn import functional

    source = torch.from_numpy(np.ascontiguousarray(coarse, dtype=np.float32))[None, None]
    size = [count * step for count in coarse.shape]
    fine = functional.interpolate(source, size=size, mode="trilinear", align_corners=False)
    whole = fine[0, 0].numpy()
    if shape is None:
        return np.asarray(whole)
    return np.ascontiguousarray(whole[tuple(slice(0, count) for count in shape)])


def between_nodes(coarse: Float32Array, step: int, box: Box) -> Float32Array:
    """Trilinear values in a box of the head grid of fields ``(channel, z, y, x)`` on its nodes.

    The nodes are every ``step``-th voxel of the head grid from the first one on.
    """
    import torch
    from torch.nn import functional

    nodes = [slice(part.start // step, -(-(part.stop - 1) // step) + 1) for part in box]
    block = torch.from_numpy(np.ascontiguousarray(coarse[(slice(None), *nodes)])[None])
    size = [(part.stop - part.start - 1) * step + 1 for part in nodes]
    fine = functional.interpolate(block, size, mode="trilinear", align_corners=True)[0].numpy()
    inner = [
        slice(part.start - step * node.start, part.stop - step * node.start)
        for part, node in zip(box, nodes, strict=True)
    ]
    return np.asarray(fine[(slice(None), *inner)])


def sample(
    fields: list[Float32Array], step: int, voxels: npt.NDArray[np.int64]
) -> list[Float32Array]:
    """Trilinear values of coarse fields in voxels of the head grid given by flat index."""
    import torch
    from torch.nn import functional

    source = torch.from_numpy(np.stack(fields))[None]
    out = np.empty((len(fields), len(voxels)), dtype=np.float32)
    for first in range(0, len(voxels), _SAMPLES_AT_ONCE):
        part = voxels[first : first + _SAMPLES_AT_ONCE]
        grid = np.empty((len(part), 3), dtype=np.float32)
        for axis, index in enumerate(np.unravel_index(part, HEAD_SHAPE)):
            grid[:, 2 - axis] = (2 * index + 1) / np.float32(HEAD_SHAPE[axis]) - 1
        values = functional.grid_sample(
            source, torch.from_numpy(grid)[None, None, None], mode="bilinear",
            padding_mode="border", align_corners=False,
        )  # fmt: skip
        out[:, first : first + len(part)] = values[0, :, 0, 0].numpy()
    return list(out)


@dataclass(frozen=True, eq=False)
class BrainBox:
    """The box that holds the brain, at 2 mm: ``tissue`` is the share of grey and white matter.

    ``start`` is its first node on the coarse grid of the whole head.
    """

    tissue: Float32Array
    territory: Uint8Array
    left: BoolArray
    start: tuple[int, int, int]

    @classmethod
    def of(cls, anatomy: Anatomy) -> "BrainBox":
        """Cut the box out of a head."""
        tissue = pick(anatomy.grey, BRAIN_STEP) + pick(anatomy.white, BRAIN_STEP)
        territory, left = pick(anatomy.territory, BRAIN_STEP), pick(anatomy.left, BRAIN_STEP)
        box = bounding_box(tissue > 0)
        start = box[0].start, box[1].start, box[2].start
        return cls(tissue[box], territory[box], left[box], start)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Nodes along z, y, x."""
        z, y, x = self.tissue.shape
        return z, y, x

    def noise(self, rng: np.random.Generator, scale_mm: float) -> Float32Array:
        """Gaussian random field in the box."""
        return smooth_noise(rng, self.shape, scale_mm / BRAIN_STEP)

    def distance_mm(
        self, node: tuple[int, int, int], stretch: tuple[float, ...] = (1.0, 1.0, 1.0)
    ) -> Float32Array:
        """Distance of all nodes to one, each axis times its factor."""
        z, y, x = (
            ((np.arange(count) - centre) * factor * BRAIN_STEP) ** 2
            for count, centre, factor in zip(self.shape, node, stretch, strict=True)
        )
        squared = z[:, None, None] + y[None, :, None] + x[None, None, :]
        return np.asarray(np.sqrt(squared.astype(np.float32)), dtype=np.float32)
