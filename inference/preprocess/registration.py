"""Rigid registration of a head's volumes to one of them, by its edges.

Volumes are first brought to an even, blurred grid of about 4 mm. Blur is what makes thick slices
registrable: a slice is a mean over its thickness, so that between slices only what is wider than
a slice can be interpolated. The edges of skull and skin stay; vessels, cortex and noise go.

The pose of a volume is found by Gauss-Newton iterations on the voxels with the steepest edges, the
derivatives taken once from the reference (inverse compositional: Baker and Matthews, Int J Comput
Vis 2004;56:221), with Tukey's weights against what is not rigid: contrast, holder, jaw. All volumes
take their steps together.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from inference.dicom.volumes import TimeSeries
from inference.preprocess.frames import slab_geometry, slab_groups

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_SPACING_MM = 4.0
_BLUR_MM = 4.0
_COARSE_BLUR_MM = 8.0
_LOCAL_MM = 10.0
_LEAST_SPREAD, _BRIGHT = 0.03, 0.99
_EDGE_SHARE = 0.3
_BORDER_VOXELS = 2
_TUKEY = 4.685
_MAD_PER_SIGMA = 0.6745
_COARSE_STEPS, _FINE_STEPS = 12, 20
_COARSE_STEP_MM, _FINE_STEP_MM = 0.1, 0.005
_LEVER_MM = 80.0
_STIFFNESS = 1e-6
_LEAST_INSIDE = 0.5
_LEAST_SHARE = 0.01
_EXTENT_POINTS = 200


@dataclass(frozen=True, eq=False)
class Grid:
    """Volumes on an even grid: ``data`` of shape ``(time, slice, row, column)``.

    ``affine`` (4×4) leads from (column, row, slice) indices to LPS mm; a tilted gantry shears it.
    """

    data: Float32Array
    affine: FloatArray

    @property
    def spacing_mm(self) -> FloatArray:
        """Distance of neighbours along columns, rows and slices."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    def positions_mm(self, mask: BoolArray) -> FloatArray:
        """LPS positions of the voxels in a mask, shape ``(voxel, 3)``."""
        index = np.argwhere(mask)[:, ::-1]
        return np.asarray(index @ self.affine[:3, :3].T + self.affine[:3, 3])

    def gradient(self, time: int) -> FloatArray:
        """Gradient of one volume per mm of x, y and z, shape ``(slice, row, column, 3)``."""
        volume = self.data[time].astype(np.float64)
        per_voxel = [
            np.gradient(volume, axis=axis) if volume.shape[axis] > 1 else np.zeros_like(volume)
            for axis in (2, 1, 0)
        ]
        return np.asarray(np.stack(per_voxel, axis=-1) @ np.linalg.inv(self.affine[:3, :3]))


@dataclass(frozen=True, eq=False)
class Poses:
    """Where a point ``x`` of the reference lies in each volume.

    At ``rotation (x - centre) + centre + shift``:
    ``rotations`` of shape ``(time, 3, 3)``, ``shifts_mm`` of shape ``(time, 3)``, ``centre_mm`` of
    shape ``(3,)``, LPS.
    """

    rotations: FloatArray
    shifts_mm: FloatArray
    centre_mm: FloatArray

    @classmethod
    def still(cls, times: int, centre_mm: FloatArray) -> "Poses":
        """Nothing moves."""
        return cls(np.tile(np.eye(3), (times, 1, 1)), np.zeros((times, 3)), centre_mm)

    @property
    def angles_deg(self) -> FloatArray:
        """Angles that the head turned by, shape ``(time,)``."""
        return np.asarray(np.degrees(Rotation.from_matrix(self.rotations).magnitude()))

    @property
    def parameters(self) -> FloatArray:
        """Shift along x, y, z (mm), turns about x, then y, then z (degrees): ``(time, 6)``."""
        turns = Rotation.from_matrix(self.rotations).as_euler("xyz", degrees=True)
        return np.concatenate([self.shifts_mm, turns], axis=1)

    def where(self, chosen: BoolArray, other: "Poses") -> "Poses":
        """These poses for the chosen volumes, the other ones (same centre) for the rest."""
        return replace(
            self,
            rotations=np.where(chosen[:, None, None], self.rotations, other.rotations),
            shifts_mm=np.where(chosen[:, None], self.shifts_mm, other.shifts_mm),
        )

    def moved_mm(self, points_mm: FloatArray) -> FloatArray:
        """Where points of shape ``(n, 3)`` lie in the volumes, shape ``(time, n, 3)``."""
        turned = np.einsum("tij,nj->tni", self.rotations, points_mm - self.centre_mm)
        return np.asarray(turned + (self.centre_mm + self.shifts_mm)[:, None])

    def displacements_mm(self, points_mm: FloatArray) -> FloatArray:
        """Mean distance that points of shape ``(n, 3)`` move, shape ``(time,)``."""
        return np.asarray(np.linalg.norm(self.moved_mm(points_mm) - points_mm, axis=2).mean(axis=1))

    def extent_mm(self, points_mm: FloatArray, volumes: npt.NDArray[np.intp]) -> float:
        """Mean distance between points in those two of some volumes that lie farthest apart.

        Every so many of the points are looked at, about 200.
        """
        moved = self.moved_mm(points_mm[:: max(1, len(points_mm) // _EXTENT_POINTS)])[volumes]
        return max(
            (float(np.linalg.norm(moved - one, axis=2).mean(axis=1).max()) for one in moved),
            default=0.0,
        )

    def extent_deg(self, volumes: npt.NDArray[np.intp]) -> float:
        """Angle between those two of some volumes that are turned farthest apart."""
        turns = Rotation.from_matrix(self.rotations[volumes])
        return max(
            (float(np.degrees((turns * one.inv()).magnitude().max())) for one in turns),
            default=0.0,
        )


@dataclass(frozen=True, eq=False)
class Edges:
    """Voxels of the reference that volumes are compared at.

    ``positions_mm`` of shape ``(n, 3)`` about the centre of rotation, ``values`` of shape ``(n,)``,
    ``jacobian`` of shape ``(n, 6)``: change of the values with shift (per mm) and turn (per radian)
    along and about x, y and z. ``planes`` of shape ``(n,)``, ascending: which slice they lie in.
    """

    positions_mm: Float32Array
    values: Float32Array
    jacobian: Float32Array
    planes: npt.NDArray[np.intp]

    @property
    def steepness(self) -> Float32Array:
        """Change of the values per mm across the edge, shape ``(n,)``."""
        return np.asarray(np.linalg.norm(self.jacobian[:, :3], axis=1))


@dataclass(frozen=True, eq=False)
class Misfit:
    """How far edges lie apart, in mm: differences over steepness.

    ``mean_mm`` of shape ``(time,)`` is that of all edges, ``worst_mm`` that of the slice where it
    is largest.
    """

    mean_mm: FloatArray
    worst_mm: FloatArray

    def where(self, chosen: BoolArray, other: "Misfit") -> "Misfit":
        """This misfit for the chosen volumes, the other one for the rest."""
        return Misfit(
            np.where(chosen, self.mean_mm, other.mean_mm),
            np.where(chosen, self.worst_mm, other.worst_mm),
        )


def blurred_grid(series: TimeSeries, limits: tuple[float, float]) -> Grid:
    """Bring a series to an even grid of about 4 mm, blurred by 4 mm.

    Parameters
    ----------
    series : TimeSeries
        Frames; times do not matter here.
    limits : (float, float)
        Values beyond are cut off before anything is averaged.
    """
    geometry = series.geometry
    bin_size = max(1, round(_SPACING_MM / min(geometry.pixel_spacing_mm)))
    groups = slab_groups(geometry, _SPACING_MM)
    slabs = slab_geometry(geometry, groups, bin_size)
    heights = (slabs.positions_mm - slabs.positions_mm[0]) @ slabs.normal
    steps = int(np.ceil(heights[-1] / _SPACING_MM - 1e-6))
    between = np.ones((1, 1))
    if steps > 0:
        even = np.linspace(0, heights[-1], steps + 1)
        between = CubicSpline(heights, np.eye(len(heights)), bc_type="natural")(even)
    affine = slabs.affine_lps
    if steps > 0:
        affine[:3, 2] = (slabs.positions_mm[-1] - slabs.positions_mm[0]) / steps
    grid = Grid(
        np.empty((len(series.data), steps + 1, slabs.rows, slabs.columns), np.float32), affine
    )
    sigma = _BLUR_MM / grid.spacing_mm[::-1]
    for time, frame in enumerate(series.data):
        cut = torch.from_numpy(frame).clamp(*limits)
        binned = torch.nn.functional.avg_pool2d(cut[:, None], bin_size)[:, 0].numpy()
        thick = np.stack([binned[group.start : group.stop].mean(axis=0) for group in groups])
        filled = np.einsum("ij,jrc->irc", between.astype(np.float32), thick)
        grid.data[time] = ndimage.gaussian_filter(filled, sigma, mode="nearest")
    return grid


def locally_normalised(grid: Grid) -> Grid:
    """Take the local mean off and divide by the local spread, both over 10 mm.

    What MR needs: contrast lowers the signal of brain by a half, but hardly moves its edges.
    """
    sigma = _LOCAL_MM / grid.spacing_mm[::-1]
    least = _LEAST_SPREAD * float(np.quantile(grid.data, _BRIGHT))
    out = np.empty_like(grid.data)
    for time, volume in enumerate(grid.data):
        mean = ndimage.gaussian_filter(volume, sigma, mode="nearest")
        square = ndimage.gaussian_filter(volume * volume, sigma, mode="nearest")
        spread = np.sqrt(np.maximum(square - mean * mean, 0) + least**2)
        out[time] = (volume - mean) / spread
    return replace(grid, data=out)


def edges(grid: Grid, reference: int, mask: BoolArray, centre_mm: FloatArray) -> Edges:
    """Find the steepest 30 % of the voxels in a mask, away from the sides of the image.

    Parameters
    ----------
    grid : Grid
        Volumes.
    reference : int
        The one that the others are compared with.
    mask : array, shape ``(slice, row, column)``
        The head with its surface.
    centre_mm : array, shape ``(3,)``
        Centre of rotation.
    """
    allowed = mask.copy()
    for side in (slice(None, _BORDER_VOXELS), slice(-_BORDER_VOXELS, None)):
        allowed[:, side] = False
        allowed[:, :, side] = False
    gradient = grid.gradient(reference)
    steepness = np.linalg.norm(gradient, axis=-1)
    allowed &= steepness >= np.quantile(steepness[allowed], 1 - _EDGE_SHARE)
    places = grid.positions_mm(allowed) - centre_mm
    slopes = gradient[allowed]
    jacobian = np.concatenate([slopes, np.cross(places, slopes)], axis=1)
    return Edges(
        places.astype(np.float32),
        grid.data[reference][allowed],
        jacobian.astype(np.float32),
        np.nonzero(allowed)[0],
    )


def register(
    grid: Grid, reference: int, mask: BoolArray, centre_mm: FloatArray, device: str
) -> Poses:
    """Find the pose of every volume against the reference.

    A volume that most of the reference's edges leave on the way has lost its track, and counts as
    not moved.

    Parameters
    ----------
    grid : Grid
        From :func:`blurred_grid`.
    reference : int
        Index of the volume that the others are registered to.
    mask : array, shape ``(slice, row, column)``
        The head in that volume.
    centre_mm : array, shape ``(3,)``
        Centre of rotation.
    device : str
        torch device.
    """
    poses = Poses.still(len(grid.data), centre_mm)
    around = ndimage.binary_dilation(mask, np.ones((1, 3, 3)))
    coarse = _coarser(grid)
    found = edges(coarse, reference, around[:, ::2, ::2], centre_mm)
    poses = _descend(coarse, found, poses, _COARSE_STEPS, _COARSE_STEP_MM, device)
    found = edges(grid, reference, around, centre_mm)
    poses = _descend(grid, found, poses, _FINE_STEPS, _FINE_STEP_MM, device)
    _, inside = _sample(grid, found, poses, np.arange(len(grid.data)), device)
    lost = inside.sum(axis=1) < _LEAST_INSIDE * inside.shape[1]
    return poses.where(~lost, Poses.still(len(grid.data), centre_mm))


def misfit(grid: Grid, found: Edges, poses: Poses, device: str) -> Misfit:
    """Measure how far the edges of every volume lie from those of the reference.

    Edges outside a volume do not count, nor do slices with few of them.
    """
    values, inside = _sample(grid, found, poses, np.arange(len(grid.data)), device)
    steepness = found.steepness.astype(np.float64)
    apart = np.abs(values - found.values).astype(np.float64) * inside
    first = np.flatnonzero(np.diff(found.planes, prepend=-1))
    parts = np.add.reduceat(apart, first, axis=1)
    weights = np.add.reduceat(steepness * inside, first, axis=1)
    whole = np.add.reduceat(steepness, first)
    counted = (weights > _LEAST_INSIDE * whole) & (whole > _LEAST_SHARE * whole.sum())
    each = np.where(counted, parts / np.maximum(weights, 1e-9), 0)
    return Misfit(parts.sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9), each.max(axis=1))


def _coarser(grid: Grid) -> Grid:
    """Blur by 8 mm more and keep every second row and column."""
    sigma = _COARSE_BLUR_MM / grid.spacing_mm[::-1]
    data = np.stack([ndimage.gaussian_filter(v, sigma, mode="nearest") for v in grid.data])
    affine = grid.affine.copy()
    affine[:, :2] *= 2
    return replace(grid, data=np.ascontiguousarray(data[:, :, ::2, ::2]), affine=affine)


def _descend(
    grid: Grid, found: Edges, poses: Poses, steps: int, smallest_mm: float, device: str
) -> Poses:
    """Take Gauss-Newton steps until they are small; each volume stops on its own."""
    rotations, shifts = poses.rotations.copy(), poses.shifts_mm.copy()
    rows, columns = np.triu_indices(6)
    slopes = np.ascontiguousarray(found.jacobian.T)
    products = slopes[rows] * slopes[columns]
    active = np.arange(len(rotations))
    for _ in range(steps):
        now = Poses(rotations, shifts, poses.centre_mm)
        values, inside = _sample(grid, found, now, active, device)
        apart = values - found.values
        weights = _tukey_weights(apart, inside)
        # einsum adds up in one order, whatever the number of threads.
        slope = np.einsum("te,ie->ti", weights * apart, slopes).astype(np.float64)
        hessian = np.empty((len(active), 6, 6))
        hessian[:, rows, columns] = np.einsum("te,ie->ti", weights, products)
        hessian[:, columns, rows] = hessian[:, rows, columns]
        size = np.trace(hessian, axis1=1, axis2=2)[:, None, None]
        hessian += np.eye(6) * (_STIFFNESS * size + 1e-9)
        step = -np.linalg.solve(hessian, slope[:, :, None])[:, :, 0]
        turns = Rotation.from_rotvec(step[:, 3:]).as_matrix()
        shifts[active] += np.einsum("tij,tj->ti", rotations[active], step[:, :3])
        rotations[active] = rotations[active] @ turns
        length = np.linalg.norm(step[:, :3], axis=1)
        length += _LEVER_MM * np.linalg.norm(step[:, 3:], axis=1)
        active = active[length > smallest_mm]
        if not len(active):
            break
    return Poses(rotations, shifts, poses.centre_mm)


def _sample(
    grid: Grid, found: Edges, poses: Poses, which: npt.NDArray[np.intp], device: str
) -> tuple[Float32Array, BoolArray]:
    """Values of some volumes where the edges lie in them, and whether that is inside the grid.

    Both of shape ``(volume, edge)``; values outside are those of the border.
    """
    count = np.array(grid.data.shape[:0:-1], np.float64)
    scale = 2 / np.maximum(count - 1, 1)
    to_index = np.linalg.inv(grid.affine[:3, :3])
    turn = (to_index @ poses.rotations[which]) * scale[:, None]
    start = (poses.centre_mm + poses.shifts_mm[which] - grid.affine[:3, 3]) @ to_index.T
    places = torch.from_numpy(found.positions_mm).to(device)
    turned = torch.from_numpy(turn.astype(np.float32)).to(device)
    offset = torch.from_numpy((start * scale - 1).astype(np.float32)).to(device)
    points = (places[None, :, None] * turned[:, None]).sum(dim=3) + offset[:, None]
    values = torch.nn.functional.grid_sample(
        torch.from_numpy(grid.data[which])[:, None].to(device),
        points[:, None, None],
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )[:, 0, 0, 0]
    reach = torch.from_numpy((1 + scale / 2).astype(np.float32)).to(device)
    inside = (points.abs() <= reach).all(dim=2)
    return values.cpu().numpy(), inside.cpu().numpy()


def _tukey_weights(apart: Float32Array, inside: BoolArray) -> Float32Array:
    """Tukey's biweight of differences, scaled by their median in each volume."""
    weights = np.zeros_like(apart)
    for row, (differences, valid) in enumerate(zip(apart, inside, strict=True)):
        if valid.any():
            spread = float(np.median(np.abs(differences[valid]))) / _MAD_PER_SIGMA
            share = differences / np.float32(_TUKEY * max(spread, 1e-3))
            weights[row] = valid * np.clip(1 - share**2, 0, None) ** 2
    return weights
