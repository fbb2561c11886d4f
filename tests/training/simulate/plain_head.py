"""A head of simple shape for tests of skull and vessels; its warp is a scaling.

The cavity is an ellipsoid above a stepped base, about where the template has its three fossae.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from training.simulate.anatomy.canvas import ellipsoid
from training.simulate.arrays import Float32Array, FloatArray, Uint8Array
from training.simulate.space import HEAD_SHAPE, head_axes_mm

CENTRE = (0.0, 14.0, 5.0)
RADII = (68.0, 85.0, 70.0)
BASE_Y = (-80, -24, -16, 10, 16, 32, 38, 62, 105)
BASE_Z = (-20, -23, -46, -46, -36, -36, -60, -60, -40)


@dataclass(frozen=True)
class Scaling:
    factor: float = 1.0

    def template_to_head(self, points_mm: FloatArray) -> FloatArray:
        return np.asarray(points_mm, dtype=np.float64) * self.factor

    def head_to_template(self, points_mm: FloatArray) -> FloatArray:
        return np.asarray(points_mm, dtype=np.float64) / self.factor


@lru_cache(maxsize=2)
def plain_depth(factor: float = 1.0) -> Float32Array:
    z, y, x = (np.broadcast_to(axis / factor, HEAD_SHAPE) for axis in head_axes_mm())
    depth = -ellipsoid((x, y, z), CENTRE, RADII)
    floor = np.interp(y[0, :, 0], BASE_Y, BASE_Z).astype(np.float32)[None, :, None]
    depth = np.asarray(np.minimum(depth, 0.7 * (z - floor)) * factor, dtype=np.float32)
    depth.setflags(write=False)
    return depth


@lru_cache(maxsize=1)
def plain_region() -> Uint8Array:
    return np.zeros(HEAD_SHAPE, dtype=np.uint8)
