"""How one person's head differs in shape from the template.

A warp takes points of the head to points of the template (both LPS, mm). It is an affine map, then
a smooth random displacement of several scales with the petalia, then the growth of the ventricles,
which pushes the tissue around them outwards and dies away towards the skull. Everything but the
affine map is stored on a grid of 3 mm; a warp that would fold is damped until it does not.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from training.simulate.anatomy.fields import between_nodes
from training.simulate.anatomy.person import Person
from training.simulate.anatomy.template import PULL_STEP_MM, Template, load_template
from training.simulate.arrays import Float32Array, FloatArray, stream
from training.simulate.space import HEAD_ORIGIN_MM, HEAD_SHAPE, Box

STEP_MM = 3.0
COARSE_SHAPE = (69, 87, 68)
_LEAST_JACOBIAN = 0.05
_GROWTH_STEPS = 8
_DAMPING_STEPS = 30
_INVERSE_STEPS = 80
_INVERSE_TOLERANCE_MM = 0.02

WHOLE_HEAD: Box = (slice(0, HEAD_SHAPE[0]), slice(0, HEAD_SHAPE[1]), slice(0, HEAD_SHAPE[2]))


@dataclass(frozen=True, eq=False)
class Warp:
    """Map between a head and the template: ``template = matrix @ head + displacement(head)``.

    Parameters
    ----------
    matrix : array, shape ``(3, 3)``
        From x, y, z of the head to those of the template.
    displacement_mm : float32 array, shape ``(3, slice, row, column)``
        x, y, z components on a grid of ``STEP_MM`` from ``HEAD_ORIGIN_MM``; linear in between.
    """

    matrix: FloatArray
    displacement_mm: Float32Array

    def head_to_template(self, points_mm: FloatArray) -> FloatArray:
        """Template coordinates of points of the head, both ``(n, 3)`` as x, y, z."""
        points = np.asarray(points_mm, dtype=np.float64)
        return np.asarray(_affine(self.matrix, points) + self._displace(points))

    def template_to_head(self, points_mm: FloatArray) -> FloatArray:
        """Head coordinates of points of the template (landmarks, centre lines), ``(n, 3)``."""
        target = np.asarray(points_mm, dtype=np.float64)
        inverse = self._inverse
        points = _affine(inverse, target)
        for _ in range(_INVERSE_STEPS):
            step = _affine(inverse, target - self.head_to_template(points))
            points = points + 0.7 * step
            if np.abs(step).max(initial=0) < _INVERSE_TOLERANCE_MM:
                break
        return np.asarray(points)

    def coordinates(self, box: Box = WHOLE_HEAD) -> Float32Array:
        """Template coordinates of the head grid's voxels in a box, ``(slice, row, column, 3)``."""
        z, y, x = (
            np.arange(part.start, part.stop, dtype=np.float32) + np.float32(origin)
            for part, origin in zip(box, reversed(HEAD_ORIGIN_MM), strict=True)
        )
        moved = upsample(self.displacement_mm, box)
        result = np.empty((*moved.shape[1:], 3), dtype=np.float32)
        for axis, row in enumerate(self.matrix.astype(np.float32)):
            plane = row[2] * z[:, None, None] + row[1] * y[:, None]
            np.add(moved[axis], plane + row[0] * x, out=result[..., axis])
        return result

    def coarse_coordinates(self) -> Float32Array:
        """Template coordinates of the nodes of the 3 mm grid, ``(slice, row, column, 3)``."""
        straight = _affine(self.matrix, _coarse_points())
        return np.asarray(straight + np.moveaxis(self.displacement_mm, 0, -1), dtype=np.float32)

    @cached_property
    def _inverse(self) -> FloatArray:
        return np.asarray(np.linalg.inv(self.matrix))

    def _displace(self, points: FloatArray) -> FloatArray:
        from scipy.ndimage import map_coordinates

        index = ((points - np.array(HEAD_ORIGIN_MM)) / STEP_MM)[:, ::-1].T
        return np.column_stack(
            [
                map_coordinates(part, index, order=1, mode="nearest", output=np.float64)
                for part in self.displacement_mm
            ]
        )


def draw_warp(person: Person) -> Warp:
    """Draw the shape of a person's head."""
    template = load_template()
    matrix = _head_to_template_matrix(person)
    points = _coarse_points()
    straight = _affine(matrix, points)
    depth = _sample_coarse(template.hull_mm, straight)
    smooth = _smooth_displacement(person) + _petalia(person, straight)
    smooth += _folding(person, depth, straight)
    total = _with_grown_ventricles(person, template, straight + smooth) - straight
    return _without_folds(matrix, np.moveaxis(total, -1, 0).astype(np.float32))


def _without_folds(matrix: FloatArray, displacement: Float32Array) -> Warp:
    """Damp a displacement where it folds, or nearly, until it nowhere does."""
    from scipy.ndimage import gaussian_filter

    least = _LEAST_JACOBIAN * float(np.linalg.det(matrix))
    for _ in range(_DAMPING_STEPS):
        warp = Warp(matrix, np.ascontiguousarray(displacement, dtype=np.float32))
        tight = (jacobian(warp) < least).astype(np.float32)
        if not tight.any():
            return warp
        near = np.pad(np.clip(40 * gaussian_filter(tight, 2.0), 0, 1), [(0, 1)] * 3, mode="edge")
        displacement = displacement * (1 - np.float32(0.3) * near)
    raise RuntimeError("a displacement of the template folds and cannot be damped")


def jacobian(warp: Warp) -> Float32Array:
    """Smallest Jacobian determinant over the corners of each cell of a warp's grid."""
    edges = [np.diff(warp.displacement_mm, axis=axis + 1) / STEP_MM for axis in range(3)]
    count = [size - 1 for size in COARSE_SHAPE]
    least = np.full(count, np.inf, dtype=np.float32)
    for corner in np.ndindex(2, 2, 2):
        columns = []
        for axis in range(3):
            start = [0 if other == axis else corner[other] for other in range(3)]
            part = tuple(slice(s, s + n) for s, n in zip(start, count, strict=True))
            constant = warp.matrix[:, 2 - axis].astype(np.float32)
            columns.append(edges[axis][(slice(None), *part)] + constant[:, None, None, None])
        c, b, a = columns
        determinant = (
            a[0] * (b[1] * c[2] - b[2] * c[1])
            - a[1] * (b[0] * c[2] - b[2] * c[0])
            + a[2] * (b[0] * c[1] - b[1] * c[0])
        )
        np.minimum(least, determinant, out=least)
    return least


def upsample(coarse: Float32Array, box: Box = WHOLE_HEAD) -> Float32Array:
    """Trilinear values of coarse fields ``(channel, ...)`` on the head grid's voxels in a box."""
    return between_nodes(coarse, int(STEP_MM), box)


def sample(
    volumes: Float32Array,
    coordinates_mm: Float32Array,
    *,
    step_mm: float = 1.0,
    nearest: bool = False,
) -> Float32Array:
    """Values of volumes ``(volume, ...)`` at template coordinates ``(slice, row, column, 3)``.

    Linear, or of the nearest voxel; beyond the volume its border goes on. The volumes start at
    ``HEAD_ORIGIN_MM``, with voxels of ``step_mm``. Returns ``(volume, slice, row, column)``.
    """
    import torch
    from torch.nn import functional

    scale = 2 / ((np.array(volumes.shape[:0:-1]) - 1) * step_mm)
    offset = np.array(HEAD_ORIGIN_MM) * scale + 1
    grid = coordinates_mm * scale.astype(np.float32)
    grid -= offset.astype(np.float32)
    values = functional.grid_sample(
        torch.from_numpy(volumes)[None],
        torch.from_numpy(grid)[None],
        mode="nearest" if nearest else "bilinear",
        padding_mode="border",
        align_corners=True,
    )[0]
    return np.asarray(values.numpy())


def random_field(rng: np.random.Generator, wavelength_mm: float, channels: int = 1) -> Float32Array:
    """Smooth noise on the coarse grid, ``(channel, ...)``, mean 0 and SD 1."""
    from scipy.fft import irfftn, rfftn

    noise = rng.standard_normal((channels, *COARSE_SHAPE), dtype=np.float32)
    spectrum = rfftn(noise, axes=(1, 2, 3))
    squared = np.zeros(spectrum.shape[1:], dtype=np.float32)
    for axis, size in enumerate(COARSE_SHAPE):
        frequency = np.fft.rfftfreq(size) if axis == 2 else np.fft.fftfreq(size)
        shape = [1, 1, 1]
        shape[axis] = -1
        squared = squared + ((frequency / STEP_MM) ** 2).reshape(shape).astype(np.float32)
    relative = np.sqrt(squared) * np.float32(wavelength_mm)
    spectrum *= relative**2 * np.exp(1 - relative**2)
    field = irfftn(spectrum, s=COARSE_SHAPE, axes=(1, 2, 3))
    field -= field.mean(axis=(1, 2, 3), keepdims=True)
    field /= field.std(axis=(1, 2, 3), keepdims=True)
    return np.asarray(field, dtype=np.float32)


def _head_to_template_matrix(person: Person) -> FloatArray:
    xy, xz, yz = person.shear
    head = np.diag(person.scale) @ np.array([[1, xy, xz], [0, 1, yz], [0, 0, 1]])
    return np.asarray(np.linalg.inv(head))


def _affine(matrix: FloatArray, points: FloatArray) -> FloatArray:
    """Rows of points times a matrix, elementwise so that threads never change the result."""
    result = np.empty(points.shape, dtype=np.float64)
    for axis, row in enumerate(matrix):
        parts = points[..., 0] * row[0] + points[..., 1] * row[1] + points[..., 2] * row[2]
        result[..., axis] = parts
    return result


def _coarse_points() -> FloatArray:
    z, y, x = (
        np.arange(count) * STEP_MM + origin
        for count, origin in zip(COARSE_SHAPE, reversed(HEAD_ORIGIN_MM), strict=True)
    )
    points = np.empty((*COARSE_SHAPE, 3))
    points[..., 0], points[..., 1], points[..., 2] = x, y[:, None], z[:, None, None]
    return points


def _sample_coarse(volume: Float32Array, points_mm: FloatArray) -> FloatArray:
    values = sample(volume[None], points_mm.astype(np.float32))[0]
    return np.asarray(values, dtype=np.float64)


def _smooth_displacement(person: Person) -> FloatArray:
    """Random displacement of about 60 and 25 mm wavelength."""
    rng = stream(person.seed, "deformation")
    coarse = random_field(rng, 70, 3)
    fine = random_field(rng, 28, 3)
    field = coarse + np.float32(0.3) * fine
    largest = np.sqrt((field**2).sum(axis=0)).max()
    scaled = np.moveaxis(field / largest * person.deformation_mm, 0, -1)
    return np.asarray(scaled, dtype=np.float64)


def _petalia(person: Person, template_points: FloatArray) -> FloatArray:
    """Left occipital and right frontal poles that protrude: along y, opposite at the other side."""
    x, y = template_points[..., 0], template_points[..., 1]
    side = np.tanh(x / 20)
    back = 1 / (1 + np.exp(-(y - 60) / 12))
    front = 1 / (1 + np.exp((y + 30) / 12))
    result = np.zeros(template_points.shape)
    result[..., 1] = -0.5 * person.petalia_mm * side * (back + front)
    return result


def _folding(person: Person, depth_mm: FloatArray, points: FloatArray) -> FloatArray:
    """Fine displacement along the cortex, parallel to the brain's surface."""
    rng = stream(person.seed, "folding")
    field = np.moveaxis(random_field(rng, 22, 3), 0, -1).astype(np.float64)
    slopes = [np.gradient(depth_mm, STEP_MM, axis=axis) for axis in (2, 1, 0)]
    normal = np.stack(slopes, axis=-1)
    normal /= np.sqrt((normal**2).sum(-1, keepdims=True)) + 1e-3
    field -= (field * normal).sum(-1, keepdims=True) * normal
    weight = np.exp(-(((depth_mm - 6) / 14) ** 2))
    weight = weight / (1 + np.exp((-12 - points[..., 2]) / 5))
    field *= weight[..., None]
    return np.asarray(field / np.sqrt((field**2).sum(-1)).max() * person.folding_mm)


def _with_grown_ventricles(person: Person, template: Template, points: FloatArray) -> FloatArray:
    """Move points towards the ventricles in small steps, which cannot fold: their walls go out."""
    moved = points.astype(np.float32)
    side = np.float32(person.ventricle_asymmetry) * np.tanh(moved[..., 0] / 8)
    above = 1 / (1 + np.exp((8 - moved[..., 2]) / 3))
    # The third ventricle grows by half as much on either side.
    aside = 1 / (1 + np.exp((6 - np.abs(moved[..., 0])) / np.float32(1.5)))
    growth = person.ventricle_growth_mm * (1 + side) * (0.5 + 0.5 * np.maximum(above, aside))
    step = (growth / _GROWTH_STEPS).astype(np.float32)[..., None]
    for _ in range(_GROWTH_STEPS):
        pull = sample(template.ventricle_pull, moved, step_mm=PULL_STEP_MM)
        moved = moved - step * np.moveaxis(pull, 0, -1)
    return np.asarray(moved, dtype=np.float64)
