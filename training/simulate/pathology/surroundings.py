"""What decides how blood spreads: fluid spaces, dura and midline around it."""

from functools import cached_property

import numpy as np

from training.simulate.anatomy.fields import coarsen, refine
from training.simulate.anatomy.model import Anatomy, Region
from training.simulate.anatomy.person import Side
from training.simulate.arrays import BoolArray, Float32Array, FloatArray, Uint8Array
from training.simulate.pathology.growing import box_axes_mm, distance_mm
from training.simulate.space import Box, bounding_box

VENTRICLES = (Region.LATERAL_VENTRICLE, Region.THIRD_VENTRICLE, Region.FOURTH_VENTRICLE)
_INFRATENTORIAL = (Region.CEREBELLUM, Region.BRAINSTEM)
_COARSE = 2


def is_one_of(region: Uint8Array, regions: tuple[Region, ...]) -> BoolArray:
    """Voxels that lie in one of the regions."""
    table = np.zeros(256, dtype=bool)
    table[[int(one) for one in regions]] = True
    return np.asarray(table[region])


class Surroundings:
    """Maps of an anatomy on the box of its cranial cavity, each computed when first needed."""

    def __init__(self, anatomy: Anatomy) -> None:
        self.anatomy = anatomy
        self.box: Box = bounding_box(anatomy.cavity, 1)
        self.cavity: BoolArray = anatomy.cavity[self.box]
        self.region: Uint8Array = anatomy.region[self.box]
        self.depth_mm: Float32Array = anatomy.depth_mm[self.box]
        self.axes_mm = box_axes_mm(self.box)

    @cached_property
    def firm(self) -> Float32Array:
        """Share of dura, bone and other things within the cavity that blood cannot replace."""
        body, box = self.anatomy, self.box
        return np.asarray(np.clip(body.soft[box] + body.bone[box] + body.fat[box], 0, 1))

    @cached_property
    def csf(self) -> Float32Array:
        """Share of CSF."""
        return self.anatomy.csf[self.box]

    @cached_property
    def ventricles(self) -> BoolArray:
        """Voxels of the ventricles."""
        return is_one_of(self.region, VENTRICLES)

    @cached_property
    def infratentorial(self) -> BoolArray:
        """Below the tentorium: nearer to cerebellum and brainstem than to the cerebrum."""
        labels = self.region[::_COARSE, ::_COARSE, ::_COARSE]
        below = is_one_of(labels, _INFRATENTORIAL)
        above = (labels > 0) & (labels < Region.BRAINSTEM) & ~below
        difference = distance_mm(below) - distance_mm(above)
        return np.asarray(refine(difference, _COARSE, self.cavity.shape) < 0)

    @cached_property
    def tentorium_mm(self) -> Float32Array:
        """Distance above the tentorium, negative below it."""
        coarse = coarsen(self.infratentorial.astype(np.float32), _COARSE) > 0.5
        return refine(distance_mm(coarse) * np.float32(_COARSE), _COARSE, self.cavity.shape)

    @cached_property
    def _right_mm(self) -> Float32Array:
        return distance_mm(self.anatomy.left[self.box])

    def from_midline_mm(self, side: Side) -> Float32Array:
        """Distance from the midline into one side, negative on the other."""
        return self._right_mm if side == "R" else -self._right_mm

    def on_side(self, side: Side) -> BoolArray:
        """Voxels of one side."""
        left = self.anatomy.left[self.box]
        return left if side == "L" else ~left

    @cached_property
    def middle_mm(self) -> FloatArray:
        """Centroid of the cavity as x, y, z."""
        share = coarsen(self.cavity.astype(np.float32), 4)
        centre = []
        for axis in range(3):
            others = tuple(other for other in range(3) if other != axis)
            weights = share.sum(axis=others, dtype=np.float64)
            index = float(np.sum(np.arange(len(weights)) * weights) / weights.sum())
            centre.append(index * 4 + 1.5 + float(self.axes_mm[axis].ravel()[0]))
        return np.array(centre[::-1])

    def offsets_mm(self, centre_mm: FloatArray) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Coordinates z, y, x relative to a point given as x, y, z."""
        x, y, z = (np.float32(value) for value in centre_mm)
        axes = self.axes_mm
        return axes[0] - z, axes[1] - y, axes[2] - x

    def point_mm(self, index: int) -> FloatArray:
        """Coordinates x, y, z of a voxel of the box given by its flat index."""
        where = np.unravel_index(index, self.cavity.shape)
        zyx = [float(axis.ravel()[at]) for axis, at in zip(self.axes_mm, where, strict=True)]
        return np.array(zyx[::-1])
