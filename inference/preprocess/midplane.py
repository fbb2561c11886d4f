"""The patient's mid-sagittal plane, and with it the two hemispheres.

The plane is fitted to the head, not taken from the image centre: heads lie turned, tilted and off
centre, and the field of view cuts them. Left and right come from patient coordinates (LPS), never
from the position in the picture.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize

from inference.geometry import Geometry

BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]

_GRID_MM = 3.0
_BAND_MM = 12.0
_FAR_MM = 40.0
_LEAST_OVERLAP = 0.3
_NO_OVERLAP_COST = 1e6
_ROLL_PENALTY = 20.0
_MOST_SHIFT_MM = 40.0
_MOST_TURN_RAD = float(np.radians(40.0))
_START_ANGLES_DEG = (-24.0, -12.0, 0.0, 12.0, 24.0)


@dataclass(frozen=True, eq=False)
class Midplane:
    """Plane ``normal · x = offset_mm``; ``normal`` is a unit vector towards the patient's left."""

    normal: Float64Array
    offset_mm: float

    def left(self, geometry: Geometry) -> BoolArray:
        """Voxels in the patient's left half, shape ``(slice, row, column)``."""
        height = sum(float(self.normal[axis]) * geometry.coordinates_mm(axis) for axis in range(3))
        return np.asarray(height > self.offset_mm)

    def distance_mm(self, points_mm: Float64Array) -> Float64Array:
        """Signed distance of LPS points of shape ``(..., 3)``, positive on the patient's left."""
        return np.asarray(points_mm @ self.normal - self.offset_mm)


def fit_midplane(cavity: BoolArray, geometry: Geometry) -> Midplane:
    """Fit the plane that mirrors the cranial cavity onto itself best.

    Parameters
    ----------
    cavity : array, shape ``(slice, row, column)``
        The inside of the skull, with at least one voxel.

    Notes
    -----
    Minimises the mean squared difference between the signed distance to the outline of the cavity
    and its mirror image, over the two angles and the offset of the plane. Mirrored points that
    leave the scanned volume do not count. A small penalty on roll settles what thin stacks leave
    open.
    """
    field = _distance_to_outline(cavity, geometry)
    to_index = np.linalg.inv(geometry.affine_lps)
    points, own, centre = _sample(field, geometry)

    def cost(x: Float64Array) -> float:
        normal = _normal(x[0], x[1])
        height = points @ normal - (centre @ normal + x[2])
        mirrored = points - 2 * height[:, None] * normal
        index = mirrored @ to_index[:3, :3].T + to_index[:3, 3]
        values = ndimage.map_coordinates(
            field, index.T[::-1], order=1, cval=np.nan, prefilter=False
        )
        inside = np.isfinite(values)
        if inside.mean() < _LEAST_OVERLAP:
            return _NO_OVERLAP_COST
        return float(np.mean((values[inside] - own[inside]) ** 2) + _ROLL_PENALTY * x[1] ** 2)

    starts = [np.array([np.radians(angle), 0.0, 0.0]) for angle in _START_ANGLES_DEG]
    best = min(starts, key=cost)
    found = optimize.minimize(
        cost,
        best,
        method="Nelder-Mead",
        bounds=[(-_MOST_TURN_RAD, _MOST_TURN_RAD)] * 2 + [(-_MOST_SHIFT_MM, _MOST_SHIFT_MM)],
        options={
            "initial_simplex": best + np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 5.0]]),
            "xatol": 1e-3,
            "fatol": 1e-3,
            "maxiter": 200,
        },
    )
    normal = _normal(found.x[0], found.x[1])
    return Midplane(normal, float(centre @ normal + found.x[2]))


def _distance_to_outline(cavity: BoolArray, geometry: Geometry) -> npt.NDArray[np.float32]:
    """Signed in-plane distance in mm, negative inside; far away in slices without cavity."""
    out = np.full(cavity.shape, _FAR_MM, np.float32)
    for index in np.flatnonzero(cavity.any(axis=(1, 2))):
        outside = ndimage.distance_transform_edt(~cavity[index], sampling=geometry.pixel_spacing_mm)
        inside = ndimage.distance_transform_edt(cavity[index], sampling=geometry.pixel_spacing_mm)
        out[index] = np.clip(outside - inside, -_FAR_MM, _FAR_MM)
    return out


def _sample(
    field: npt.NDArray[np.float32], geometry: Geometry
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Points near the outline (LPS, mm), the field there, and the centre of the cavity."""
    strides = [max(1, round(_GRID_MM / spacing)) for spacing in geometry.pixel_spacing_mm]
    level = max(1, round(_GRID_MM / max(geometry.slice_spacing_mm, 0.1)))
    index = np.argwhere(field[::level, :: strides[0], :: strides[1]] < _BAND_MM) * [level, *strides]
    values = field[tuple(index.T)].astype(np.float64)
    affine = geometry.affine_lps
    points = index[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
    inside = values < 0
    if not inside.any():
        raise ValueError("the cavity is empty or thinner than 3 mm: no mid-plane can be fitted")
    near = values > -_BAND_MM
    return points[near], values[near], points[inside].mean(axis=0)


def _normal(turn: float, roll: float) -> Float64Array:
    """Unit vector near the patient's left, turned about the body axis and rolled to the side."""
    return np.array([np.cos(turn) * np.cos(roll), np.sin(turn) * np.cos(roll), np.sin(roll)])
