"""A volume on another grid, where a rigid motion puts it, without values where it shows nothing."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from inference.dicom.reader import AIR_HU
from inference.dicom.volumes import Volume
from inference.geometry import Geometry
from inference.preprocess.warp import warp

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_STRAIGHT_DEG = 0.05
_MOST_LAYERS = 16
_LEAST_STEP_MM = 0.5


@dataclass(frozen=True, eq=False)
class Rigid:
    """Takes a point ``x`` (LPS, mm) to ``rotation @ x + shift_mm``."""

    rotation: FloatArray
    shift_mm: FloatArray

    @classmethod
    def still(cls) -> "Rigid":
        """Nothing moves."""
        return cls(np.eye(3), np.zeros(3))

    def moved(self, points_mm: FloatArray) -> FloatArray:
        """Where points of shape ``(..., 3)`` go."""
        return np.asarray(points_mm @ self.rotation.T + self.shift_mm)


def resample(volume: Volume, onto: Geometry, pose: Rigid) -> Float32Array:
    """Bring a volume to another grid.

    Bicubic in the plane and linear between slices; from slices that are thinner than those of the
    other grid the mean over the height of each of those is taken, as a thicker slice is measured.

    Parameters
    ----------
    volume : Volume
        Tilted and unevenly spaced slices are read as they lie.
    onto : Geometry
        The other grid.
    pose : Rigid
        From points of the other grid to where they lie in the volume.

    Returns
    -------
    array, shape ``onto.shape``
        NaN where the volume does not reach.
    """
    layers = _layers_mm(volume.geometry, onto)
    out = np.zeros(onto.shape, np.float32)
    for height in layers:
        shift = pose.rotation @ (height * onto.normal) + pose.shift_mm
        every = range(onto.slices)
        out += warp(volume.data, volume.geometry, every, pose.rotation, shift, onto=onto)
    out /= np.float32(len(layers))
    for index in range(onto.slices):
        for height in {layers[0], layers[-1]}:
            out[index][~_reached(volume.geometry, onto, pose, index, height)] = np.nan
    return out


def straightened(volume: Volume) -> Volume:
    """The volume on an even grid whose slices lie on top of each other, air where it had none.

    One that is even and without tilt stays as it is.
    """
    grid = _straight_grid(volume.geometry)
    if grid is volume.geometry:
        return volume
    data = resample(volume, grid, Rigid.still())
    return replace(volume, data=np.nan_to_num(data, nan=AIR_HU), geometry=grid)


def _straight_grid(geometry: Geometry) -> Geometry:
    """A grid of equal direction and pixels, slices as near as the nearest ones, over all slices."""
    if geometry.evenly_spaced and geometry.tilt_deg < _STRAIGHT_DEG:
        return geometry
    heights = geometry.positions_mm @ geometry.normal
    reach = float(heights[-1] - heights[0])
    step = max(float(np.diff(heights).min()), _LEAST_STEP_MM)
    steps = max(1, round(reach / step))
    origin = np.zeros(3)
    sizes = []
    for cosines, pixel, size in (
        (geometry.row_cosines, geometry.pixel_spacing_mm[1], geometry.columns),
        (geometry.column_cosines, geometry.pixel_spacing_mm[0], geometry.rows),
    ):
        places = geometry.positions_mm @ cosines
        origin = origin + places.min() * cosines
        sizes.append(size + int(np.ceil(float(np.ptp(places)) / pixel - 1e-3)))
    up = heights[0] + np.linspace(0, reach, steps + 1)
    return replace(
        geometry,
        positions_mm=origin + up[:, None] * geometry.normal,
        columns=sizes[0],
        rows=sizes[1],
    )


def _layers_mm(source: Geometry, onto: Geometry) -> list[float]:
    """Heights above the middle of a slice of ``onto`` at which a volume is looked at."""
    thick, thin = onto.slice_spacing_mm, max(source.slice_spacing_mm, 1e-3)
    count = min(max(1, round(thick / thin)), _MOST_LAYERS)
    return [((layer + 0.5) / count - 0.5) * thick for layer in range(count)]


def _reached(
    source: Geometry, onto: Geometry, pose: Rigid, index: int, height_mm: float
) -> BoolArray:
    """Which voxels of a slice lie within the slices of a volume, shape ``(row, column)``.

    ``height_mm`` above the middle of the slice.
    """
    down = np.arange(onto.rows)[:, None, None] * onto.pixel_spacing_mm[0] * onto.column_cosines
    across = np.arange(onto.columns)[:, None] * onto.pixel_spacing_mm[1] * onto.row_cosines
    start = onto.positions_mm[index] + height_mm * onto.normal
    points = pose.moved(start + down + across)
    heights = source.positions_mm @ source.normal
    above = points @ source.normal
    half = source.slice_extents_mm / 2
    inside = (above >= heights[0] - half[0]) & (above <= heights[-1] + half[-1])
    for cosines, pixel, size in (
        (source.row_cosines, source.pixel_spacing_mm[1], source.columns),
        (source.column_cosines, source.pixel_spacing_mm[0], source.rows),
    ):
        first = np.interp(above, heights, source.positions_mm @ cosines)
        place = (points @ cosines - first) / pixel
        inside &= (place >= -0.5) & (place <= size - 0.5)
    return np.asarray(inside)
