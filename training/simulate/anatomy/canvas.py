"""Paint smooth shapes onto the head grid with exact shares at their borders.

Shapes are signed distances (negative inside) in template coordinates; a person's deformation is
in the coordinates that :class:`Canvas` hands out, so that every shape follows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from training.simulate.anatomy.fields import between_nodes, smooth_noise
from training.simulate.arrays import Float32Array, FloatArray
from training.simulate.space import HEAD_ORIGIN_MM, HEAD_SHAPE, Box, head_index

Tissue = Literal["bone", "fat", "soft", "air"]
Point = Sequence[float]
IndexArray = npt.NDArray[np.intp]
Coordinates = tuple[Float32Array, Float32Array, Float32Array]

AIR_HU = -1000.0
_STEP = 8
_UNEVEN_MM = 0.9
_TILE = 64


class Warp(Protocol):
    """What is needed here of a person's deformation; points are LPS in mm, shape ``(n, 3)``."""

    def template_to_head(self, points_mm: FloatArray) -> FloatArray:
        """Head coordinates of points of the template."""
        ...

    def head_to_template(self, points_mm: FloatArray) -> FloatArray:
        """Template coordinates of points of the head."""
        ...


@dataclass(frozen=True)
class CoarseField:
    """Smooth quantities of the head on every ``step``-th point of the head grid.

    ``values`` has shape ``(quantity, z, y, x)``; :func:`node_points` tells where its nodes lie.
    """

    values: Float32Array
    step: int

    def at(self, box: Box) -> Float32Array:
        """Trilinear values in a box of the head grid, shape ``(quantity, *box)``.

        The slices of the box may have steps.
        """
        result = self.values
        for axis, part in enumerate(box, start=1):
            places = np.arange(part.start, part.stop, part.step) / np.float32(self.step)
            low = places.astype(np.intp)
            high = np.minimum(low + 1, result.shape[axis] - 1)
            weight = (places - low).astype(np.float32)
            shape = [1] * result.ndim
            shape[axis] = len(weight)
            first = result.take(low, axis)
            result = first + (result.take(high, axis) - first) * weight.reshape(shape)
        return result

    def slab(self, quantity: int, first: int, last: int) -> Float32Array:
        """Trilinear values of one quantity in whole slices ``first`` (of a node) to ``last``."""
        _, rows, columns = HEAD_SHAPE
        box = slice(first, last), slice(0, rows), slice(0, columns)
        return np.asarray(between_nodes(self.values[quantity, None], self.step, box)[0])


def node_points(step: int) -> FloatArray:
    """Points (x, y, z) of the nodes of a coarse field, shape ``(z, y, x, 3)``."""
    axes = [
        np.arange((count - 2) // step + 2) * step + origin
        for count, origin in zip(HEAD_SHAPE, reversed(HEAD_ORIGIN_MM), strict=True)
    ]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return np.stack([x, y, z], axis=-1).astype(np.float64)


def template_coordinates(warp: Warp, rng: np.random.Generator) -> CoarseField:
    """Template coordinates x, y, z of the head grid, for shapes outside the brain.

    The fine wrinkles that a deformation may have along the cortex are smoothed away; a random
    displacement of about 1 mm makes every bone and sinus a person's own.
    """
    from scipy import ndimage

    nodes = node_points(_STEP)
    shift = (warp.head_to_template(nodes.reshape(-1, 3)) - nodes.reshape(-1, 3)).reshape(
        nodes.shape
    )
    shift = ndimage.gaussian_filter(shift, (1, 1, 1, 0), mode="nearest")
    for axis in range(3):
        shift[..., axis] += _UNEVEN_MM * smooth_noise(rng, nodes.shape[:3], 0.8)
    values = np.moveaxis(nodes + shift, -1, 0)
    return CoarseField(np.ascontiguousarray(values, dtype=np.float32), _STEP)


def capsule(p: Coordinates, a: Point, b: Point, start: float, end: float) -> Float32Array:
    """Signed distance of a rod from ``a`` to ``b`` whose radius goes from ``start`` to ``end``."""
    axis = np.subtract(b, a, dtype=np.float64)
    length = float(axis @ axis)
    x, y, z = (np.float32(-value) + q for value, q in zip(a, p, strict=True))
    ax, ay, az = (np.float32(value) for value in axis)
    along = np.clip((x * ax + y * ay + z * az) / np.float32(length), 0, 1)
    gap = np.sqrt((x - along * ax) ** 2 + (y - along * ay) ** 2 + (z - along * az) ** 2)
    return np.asarray(gap - (np.float32(start) + along * np.float32(end - start)))


def ellipsoid(p: Coordinates, centre: Point, radii: Point) -> Float32Array:
    """Signed distance (first order) of an ellipsoid with axes along x, y, z."""
    x, y, z = (
        (q - np.float32(c)) / np.float32(r) for q, c, r in zip(p, centre, radii, strict=True)
    )
    near = np.sqrt(x * x + y * y + z * z)
    slope = np.sqrt(sum((q / np.float32(r)) ** 2 for q, r in zip((x, y, z), radii, strict=True)))
    return np.asarray(near * (near - 1) / np.maximum(slope, np.float32(1e-6)))


def brick(p: Coordinates, centre: Point, half: Point, rounding: float) -> Float32Array:
    """Signed distance of a box with rounded edges."""
    over = [
        np.abs(q - np.float32(c)) - np.float32(h - rounding)
        for q, c, h in zip(p, centre, half, strict=True)
    ]
    outside = np.sqrt(sum(np.maximum(q, 0) ** 2 for q in over))
    inside = np.minimum(np.maximum(np.maximum(over[0], over[1]), over[2]), 0)
    return np.asarray(outside + inside - np.float32(rounding), dtype=np.float32)


def blend(first: Float32Array, second: Float32Array, width_mm: float) -> Float32Array:
    """Union of two shapes whose seam is rounded over ``width_mm`` (polynomial smooth minimum)."""
    gap = np.maximum(width_mm - np.abs(first - second), 0) / np.float32(width_mm)
    return np.asarray(np.minimum(first, second) - gap * gap * np.float32(width_mm / 4))


def coverage(distance: Float32Array | FloatArray) -> Float32Array:
    """Share of a voxel that lies inside a surface at a signed distance in mm."""
    return np.asarray(np.clip(0.5 - distance, 0, 1), dtype=np.float32)


class Canvas:
    """Shares of bone, fat and soft tissue and their HU while a head is painted.

    What is painted later takes the place of what lies there. ``static`` is the sum of HU times
    share, air included, so that it stays right under any mixture.
    """

    def __init__(self, warp: Warp, depth_mm: Float32Array, rng: np.random.Generator) -> None:
        self._warp = warp
        self.depth_mm = depth_mm
        self.template = template_coordinates(warp, rng)
        self.shares = {
            name: np.zeros(HEAD_SHAPE, dtype=np.float32) for name in ("bone", "fat", "soft")
        }
        self.static = np.full(HEAD_SHAPE, AIR_HU, dtype=np.float32)
        self._tile = smooth_noise(rng, (_TILE,) * 3, 0.9)

    def box(self, points: Sequence[Point], margin_mm: float) -> Box:
        """The part of the head grid around points of the template; at least one voxel."""
        inside = head_index(self._warp.template_to_head(np.asarray(points, dtype=np.float64)))
        low = np.floor(inside.min(axis=0) - margin_mm).astype(int)
        high = np.ceil(inside.max(axis=0) + margin_mm).astype(int) + 1
        z, y, x = (
            slice(int(np.clip(a, 0, n - 1)), int(np.clip(b, a + 1 if 0 <= a < n else 1, n)))
            for a, b, n in zip(low, high, HEAD_SHAPE, strict=True)
        )
        return z, y, x

    def coordinates(self, box: Box) -> Coordinates:
        """Template coordinates of the voxels of a box."""
        x, y, z = self.template.at(box)
        return x, y, z

    def grain(self, box: Box) -> Float32Array:
        """Fine noise of unit variance, the texture of spongy bone."""
        places = (np.arange(part.start, part.stop) % _TILE for part in box)
        return np.asarray(self._tile[np.ix_(*places)])

    def grain_at(self, voxels: tuple[IndexArray, IndexArray, IndexArray]) -> Float32Array:
        """The noise of :meth:`grain` in voxels given by slice, row and column."""
        z, y, x = (places % _TILE for places in voxels)
        return np.asarray(self._tile[z, y, x])

    def fill(
        self,
        box: Box,
        share: Float32Array,
        tissue: Tissue,
        hu: float | Float32Array = AIR_HU,
        wall_mm: float | None = None,
    ) -> None:
        """Let ``share`` of every voxel of a box be a tissue.

        ``wall_mm`` keeps that distance from the cavity, so that its bony wall stays closed.
        """
        if wall_mm is not None:
            share = share * np.clip(np.float32(0.5 - wall_mm) - self.depth_mm[box], 0, 1)
        rest = 1 - share
        for name, values in self.shares.items():
            values[box] *= rest
            if name == tissue:
                values[box] += share
        static = self.static[box]
        static *= rest
        static += share * np.asarray(hu, dtype=np.float32)

    def bone(
        self,
        box: Box,
        distance: Float32Array,
        cortex_hu: float,
        inside_hu: float,
        *,
        cortex_mm: float = 1.3,
    ) -> None:
        """Paint a bone: a dense cortex around a spongy inside."""
        cortex = np.clip(np.float32(cortex_mm + 0.5) + distance, 0, 1)
        spongy = np.maximum(np.float32(inside_hu) * (1 + np.float32(0.25) * self.grain(box)), 30)
        self.fill(box, coverage(distance), "bone", cortex * cortex_hu + (1 - cortex) * spongy)

    def rod(
        self,
        a: Point,
        b: Point,
        radii: tuple[float, float],
        tissue: Tissue,
        hu: float = AIR_HU,
        wall_mm: float | None = None,
    ) -> None:
        """Paint a rod of the template."""
        box = self.box([a, b], max(radii) + 2)
        distance = capsule(self.coordinates(box), a, b, *radii)
        self.fill(box, coverage(distance), tissue, hu, wall_mm)

    def ball(
        self,
        centre: Point,
        radii: Point,
        tissue: Tissue,
        hu: float = AIR_HU,
        wall_mm: float | None = None,
    ) -> None:
        """Paint an ellipsoid of the template."""
        box = self.box([centre], max(radii) + 2)
        distance = ellipsoid(self.coordinates(box), centre, radii)
        self.fill(box, coverage(distance), tissue, hu, wall_mm)

    def cells(
        self,
        box: Box,
        share: Float32Array,
        rng: np.random.Generator,
        spacing_mm: float,
        wall_mm: float,
    ) -> Float32Array:
        """Share of every voxel of a box that is air of cells with bony walls, within ``share``."""
        from scipy.spatial import cKDTree

        z, y, x = np.nonzero(share > 0)
        inside = np.column_stack([z, y, x]).astype(np.float64)
        size = np.array(share.shape, dtype=np.float64)
        count = max(2, int(np.prod(size) / spacing_mm**3))
        centres = rng.uniform(-spacing_mm / 2, size + spacing_mm / 2, (count, 3))
        near = cKDTree(centres).query(inside, k=2)[0]
        wall = (near[:, 1] - near[:, 0]) / 2
        air = np.zeros_like(share)
        air[z, y, x] = share[z, y, x] * np.clip(wall - wall_mm / 2 + 0.5, 0, 1)
        return air
