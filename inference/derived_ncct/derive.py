"""The derived image: a network's within the skull, the scan's own elsewhere.

Bone and scalp are what the network was not trained on; there the image is the mean of the first
frames, so that they look as a CT shows them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from inference.derived_ncct.frames import FIRST_FRAMES, to_hu, to_network
from inference.derived_ncct.model import Model
from inference.derived_ncct.tiles import box_around, plan_tiles
from inference.networks.precision import computes_bfloat16

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Precision = Literal["auto", "float32"]

HALO = 10
"""Voxels that tiles see of each other. Measured with first weights (recurrent kernels random
orthogonal, 2 layers of 8 or 16 filters, kernels of 3, 19 time points, two seeds of each): of images
with a standard deviation of 20 HU the inside differed from the whole by at most 28 HU at 4 voxels,
5.8 at 6, 1.5 at 8, 0.21 at 10 and 0.03 at 12. To be measured again with trained weights by
:func:`tiling_error`."""

FULL_MM, LEAST_MM = 1.0, 3.0
"""Up to how far outside of the cavity the image is the network's alone, and from where on it is
not used: training does not count more than 3 mm."""

_LARGEST_TENSOR = 2**31 - 1  # elements that convolutions of all libraries can count
_GATES = 4
# Gates, their activations, both states before and after, and the input beside them, in hidden
# states.
_WORKING_STATES = 20
_GPU_SHARE = 0.6


@dataclass(frozen=True)
class Limits:
    """How the network is computed.

    Parameters
    ----------
    memory_gb : float
        What the network may take on a CPU; on a GPU it is 60 % of what is free there.
    precision : {"auto", "float32"}
        ``auto`` takes bfloat16 for the states where the device computes with it.
    halo : int
        Voxels that tiles see of each other, where not all fits at once.
    """

    memory_gb: float = 4.0
    precision: Precision = "auto"
    halo: int = HALO


@dataclass(frozen=True, eq=False)
class Derived:
    """An image in HU, shape ``(slice, row, column)``, and how the network was computed.

    ``voxels`` is how many it was given in all tiles together, halos among them.
    """

    image: Float32Array
    tiles: int
    voxels: int
    precision: str


def derive(
    frames: Float32Array,
    cavity: BoolArray,
    spacing_mm: tuple[float, float],
    model: Model,
    limits: Limits | None = None,
    progress: Callable[[float], None] = lambda _fraction: None,
) -> Derived:
    """Derive a head CT without contrast.

    Parameters
    ----------
    frames : array, shape ``(time, slice, row, column)``
        HU, as :func:`inference.derived_ncct.frames.still_frames` makes them.
    cavity : array, shape ``(slice, row, column)``
        The inside of the skull.
    spacing_mm : (float, float)
        Of rows and columns.
    model : Model
    limits : Limits, optional
    progress : callable
        Given the fraction that is done after each tile.
    """
    limits = limits or Limits()
    share = network_share(cavity, spacing_mm)
    image: Float32Array = frames[:FIRST_FRAMES].mean(axis=0, dtype=np.float32)
    half = takes_bfloat16(model, limits)
    precision = "bfloat16" if half else "float32"
    if not share.any():
        return Derived(image, 0, 0, precision)
    most = most_voxels(model, len(frames), limits, half=half)
    tiles = plan_tiles(box_around(share > 0), limits.halo, most)
    for done, tile in enumerate(tiles, start=1):
        weight = share[tile.place]
        if weight.any():
            found = _run(model, tile.cut(frames), half=half)[tile.inner]
            image[tile.place] += weight * (to_hu(found) - image[tile.place])
        progress(done / len(tiles))
    return Derived(image, len(tiles), sum(tile.voxels for tile in tiles), precision)


def takes_bfloat16(model: Model, limits: Limits) -> bool:
    """Whether the states are bfloat16."""
    return limits.precision == "auto" and computes_bfloat16(model.device)


def network_share(cavity: BoolArray, spacing_mm: tuple[float, float]) -> Float32Array:
    """Share of the network in each voxel, slice by slice.

    1 up to 1 mm outside of the cavity, 0 from 3 mm on, even in between.
    """
    share = np.zeros(cavity.shape, np.float32)
    for index in np.flatnonzero(cavity.any(axis=(1, 2))):
        away = ndimage.distance_transform_edt(~cavity[index], sampling=spacing_mm)
        share[index] = np.clip((LEAST_MM - away) / (LEAST_MM - FULL_MM), 0, 1)
    return share


def most_voxels(model: Model, frames: int, limits: Limits, *, half: bool) -> int:
    """How many voxels the network can be given at once."""
    voxel = state_bytes(model.layers, model.filters, frames, 2 if half else 4)
    countable = _LARGEST_TENSOR // (_GATES * model.filters)
    return min(int(free_bytes(model.device, limits.memory_gb) / voxel), countable)


def state_bytes(layers: int, filters: int, frames: int, number: int) -> int:
    """What the states of a voxel take, if a number of them takes ``number`` bytes.

    All layers but the last hold the hidden states of their input and of their output for all time
    points; the first has no states as its input.
    """
    return filters * (frames * min(layers - 1, 2) + _WORKING_STATES) * number + 8 * frames


def free_bytes(device: str, memory_gb: float) -> float:
    """What a network may take: ``memory_gb`` on a CPU, on a GPU most of what is free there."""
    if torch.device(device).type == "cuda":
        return _GPU_SHARE * torch.cuda.mem_get_info(device)[0]
    return memory_gb * 2**30


def tiling_error(frames: Float32Array, model: Model, halo: int) -> float:
    """By how many HU at most the middle differs, computed with a halo, from that of the whole.

    Parameters
    ----------
    frames : array, shape ``(time, slice, row, column)``
        HU; rows and columns several halos long. All slices are computed in both.
    model : Model
    halo : int
        Voxels of halo around the middle third.
    """
    rows, columns = frames.shape[2:]
    middle = slice(rows // 3, 2 * rows // 3), slice(columns // 3, 2 * columns // 3)
    wide = tuple(slice(max(axis.start - halo, 0), axis.stop + halo) for axis in middle)
    whole = _run(model, frames, half=False)[:, middle[0], middle[1]]
    part = _run(model, np.ascontiguousarray(frames[:, :, wide[0], wide[1]]), half=False)
    inner = tuple(
        slice(axis.start - large.start, axis.stop - large.start)
        for axis, large in zip(middle, wide, strict=True)
    )
    return float(np.abs(to_hu(part[:, inner[0], inner[1]]) - to_hu(whole)).max())


def _run(model: Model, frames: Float32Array, *, half: bool) -> Float32Array:
    """The network's image, scaled as :func:`inference.derived_ncct.frames.to_network` does."""
    images = torch.from_numpy(to_network(frames)[None]).to(model.device)
    kind = torch.device(model.device).type
    with torch.inference_mode(), torch.autocast(kind, dtype=torch.bfloat16, enabled=half):
        image: Float32Array = model.network(images)[0].float().cpu().numpy()
    return image
