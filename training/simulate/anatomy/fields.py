"""Smooth random fields, and fields on a coarse grid brought to the head grid.

A coarse grid of ``step`` has one node per ``step`` voxels of the head grid along each axis, in the
centre of that block; ``HEAD_SHAPE`` is divisible by 2 and 4.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from training.simulate.anatomy.model import Anatomy
from training.simulate.arrays import BoolArray, Float32Array, Uint8Array
from training.simulate.space import HEAD_SHAPE

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


def smooth_noise(
    rng: np.random.Generator,
    step: int,
    scale_mm: float,
    shape: tuple[int, int, int] | None = None,
) -> Float32Array:
    """Gaussian random field, mean 0 and standard deviation 1; of ``shape`` or the whole head.

    Its correlation is a Gaussian of standard deviation ``scale_mm`` times the square root of 2;
    it repeats at the borders of the grid.
    """
    from scipy import fft

    shape = shape or coarse_shape(step)
    spectrum = fft.rfftn(rng.standard_normal(shape, dtype=np.float32))
    axes = [fft.fftfreq(shape[0]), fft.fftfreq(shape[1]), fft.rfftfreq(shape[2])]
    for axis, frequency in enumerate(axes):
        gain = np.exp(-2 * (np.pi * frequency * scale_mm / step) ** 2).astype(np.float32)
        spectrum *= np.expand_dims(gain, [other for other in range(3) if other != axis])
    field = fft.irfftn(spectrum, shape)
    field -= field.mean()
    return np.asarray(field / field.std(), dtype=np.float32)


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


def refine(coarse: Float32Array, step: int) -> Float32Array:
    """Trilinear interpolation of a coarse field, or a part of one, to 1 mm."""
    import torch
    from torch.nn import functional

    source = torch.from_numpy(np.ascontiguousarray(coarse, dtype=np.float32))[None, None]
    size = [count * step for count in coarse.shape]
    fine = functional.interpolate(source, size=size, mode="trilinear", align_corners=False)
    return np.asarray(fine[0, 0].numpy())


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


def bounding_box(mask: npt.NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Smallest box that holds a mask; an empty one for an empty mask."""
    if not mask.any():
        return slice(0, 0), slice(0, 0), slice(0, 0)
    spans = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        spans.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return spans[0], spans[1], spans[2]


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
        return smooth_noise(rng, BRAIN_STEP, scale_mm, self.shape)

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
