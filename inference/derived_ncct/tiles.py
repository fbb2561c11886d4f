"""Parts of a volume that fit into memory, each with a halo of what lies around it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import numpy.typing as npt

Ranges = tuple[range, range, range]
"""Slices, rows and columns; may reach beyond the scan."""

MARGIN = 3
"""Voxels around what is needed, or repeated beyond the scan: in them lie the zeros that the
network sees around its input."""


@dataclass(frozen=True)
class Tile:
    """A part: ``core`` is what it is for, ``wide`` what the network is given."""

    core: Ranges
    wide: Ranges

    def cut(self, frames: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The wide part of frames, beyond the scan their border.

        Parameters
        ----------
        frames : array, shape ``(time, slice, row, column)``
        """
        places = [
            np.clip(np.arange(axis.start, axis.stop), 0, size - 1)
            for axis, size in zip(self.wide, frames.shape[1:], strict=True)
        ]
        return frames[np.ix_(np.arange(len(frames)), *places)]

    @property
    def place(self) -> tuple[slice, slice, slice]:
        """Where the core lies in the scan."""
        slices, rows, columns = (slice(axis.start, axis.stop) for axis in self.core)
        return slices, rows, columns

    @property
    def inner(self) -> tuple[slice, slice, slice]:
        """Where the core lies in the wide part."""
        slices, rows, columns = (
            slice(core.start - wide.start, core.stop - wide.start)
            for core, wide in zip(self.core, self.wide, strict=True)
        )
        return slices, rows, columns

    @property
    def voxels(self) -> int:
        """How many voxels the network is given."""
        return int(np.prod([len(axis) for axis in self.wide]))


def box_around(mask: npt.NDArray[np.bool_]) -> Ranges:
    """The smallest box that holds all of a mask, which must not be empty."""
    slices, rows, columns = (
        range(int(used[0]), int(used[-1]) + 1)
        for used in (np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    )
    return slices, rows, columns


def plan_tiles(box: Ranges, halo: int, most_voxels: int) -> list[Tile]:
    """Divide a box into as few tiles of equal size as its memory asks for: one, where that fits.

    Parameters
    ----------
    box : ranges
        What is needed.
    halo : int
        Voxels that neighbouring tiles see of each other.
    most_voxels : int
        How many voxels the network can be given at once. Tiles smaller than their halo are not
        made, whatever it says.
    """
    parts = [1, 1, 1]
    while True:
        tiles = list(_tiles(box, parts, halo))
        edges = [len(axis) / count for axis, count in zip(box, parts, strict=True)]
        longest = int(np.argmax(edges))
        if max(tile.voxels for tile in tiles) <= most_voxels or edges[longest] <= max(halo, 1):
            return tiles
        parts[longest] += 1


def _tiles(box: Ranges, parts: list[int], halo: int) -> Iterator[Tile]:
    reach = max(halo, MARGIN)
    cores = [_divide(axis, count) for axis, count in zip(box, parts, strict=True)]
    for slices, rows, columns in product(*cores):
        core = slices, rows, columns
        z, y, x = (
            range(
                max(part.start - reach, axis.start - MARGIN),
                min(part.stop + reach, axis.stop + MARGIN),
            )
            for part, axis in zip(core, box, strict=True)
        )
        yield Tile(core, (z, y, x))


def _divide(axis: range, count: int) -> list[range]:
    edges = np.linspace(axis.start, axis.stop, count + 1).round().astype(int)
    return [range(int(a), int(b)) for a, b in pairwise(edges)]
