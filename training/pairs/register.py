"""Rigid registration of a head CT to the first frames of a CT perfusion, with SimpleITK.

By Mattes' mutual information of what lies in the head of the perfusion (Mattes et al. 2003, IEEE
Trans Med Imaging 22:120), values cut to a window, on images of about 4 and then 2 mm. It starts
from the best of many places: as the scanner says, middle on middle, head on head, and each of
these higher and lower, for a perfusion may show a thin slab of the head only. One thread and a
seed: the same images give the same result.

On noisy heads by formula, turned by 6 degrees and shifted by 8 mm, points of the whole brain come
back within 0.05 mm (16 slices of 5 mm), 0.3 mm (4 slices of 8 mm) and 0.2 to 0.8 mm (2 slices of
10 mm). A window without bone (-50 to 150 HU) is two to three times less accurate. Powell's method
reaches the optimum, from which gradient descent stops 1 mm or more away.

Tilted or unevenly spaced slices are brought to an even grid for the search; the result is sampled
from the slices as they are.
"""

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.dicom.volumes import Source, Volume
from inference.errors import NotAnalysable
from inference.geometry import Geometry
from inference.preprocess.masks import head_mask
from inference.preprocess.morphology import dilate
from training.pairs.resample import Float32Array, FloatArray, Rigid, resample, straightened

BoolArray = npt.NDArray[np.bool_]

WINDOW_HU = (-200.0, 1000.0)
_FINE_MM, _COARSE_MM = 2.0, 4.0
_BINS, _SEED = 32, 1
_MOST_SAMPLES = 40_000
_AROUND_MM = 6.0
_BOX_VARIANCE = 1 / 12
_START_STEP_MM, _START_REACH_MM = 12.0, 72.0
_LEAST_OVERLAP = 0.5
_STARTS, _APART_MM = 3, 6.0
_POINTS = 2000
_HALF = 0.5
_NOWHERE = "no place was found where the head CT and the perfusion both show the head"
_STEPS = {_COARSE_MM: 2.0, _FINE_MM: 0.5}
_ROUNDS, _LINE_STEPS, _LEAST_STEP, _LEAST_GAIN = 50, 30, 1e-3, 1e-4


@dataclass(frozen=True, eq=False)
class Registered:
    """A volume on the grid of a reference.

    Parameters
    ----------
    data : array, shape ``(slice, row, column)``
        HU; NaN where the volume does not reach.
    pose : Rigid
        From points of the reference to where they lie in the volume.
    moved_mm : float
        Mean distance that points of the head are moved by.
    likeness : float
        Correlation of the two images in the head, values cut to :data:`WINDOW_HU`.
    """

    data: Float32Array
    pose: Rigid
    moved_mm: float
    likeness: float


def register(volume: Volume, reference: Volume) -> Registered:
    """Register a head CT to a volume on another grid, and bring it there.

    Parameters
    ----------
    volume, reference : Volume
        HU. The reference may cover a part of the head only.

    Raises
    ------
    NotAnalysable
        One of them has a single slice or no head, or no place was found where they overlap.
    """
    for name, one in (("head CT", volume), ("perfusion", reference)):
        if one.geometry.slices < 2:
            raise NotAnalysable(f"the {name} has one slice, expected at least two to register")
    around = _around_head(reference)
    pose = _Search(volume, reference, around).pose()
    data = resample(volume, reference.geometry, pose)
    points = _points_mm(reference.geometry, around)
    moved = float(np.linalg.norm(pose.moved(points) - points, axis=1).mean())
    return Registered(data, pose, moved, _likeness(data, reference.data, around))


def _around_head(volume: Volume) -> BoolArray:
    """The head and a rim of air, without which nothing tells where its surface lies."""
    head = head_mask(volume.data, volume.geometry)
    if not head.any():
        raise NotAnalysable("no head was found in an image, expected a head CT in HU")
    return dilate(head, _AROUND_MM, volume.geometry.pixel_spacing_mm)


def _points_mm(geometry: Geometry, mask: BoolArray) -> FloatArray:
    """Some two thousand points of a mask, LPS, shape ``(point, 3)``."""
    place = np.flatnonzero(mask)
    slices, rows, columns = np.unravel_index(place[:: max(1, len(place) // _POINTS)], mask.shape)
    down = rows[:, None] * geometry.pixel_spacing_mm[0] * geometry.column_cosines
    across = columns[:, None] * geometry.pixel_spacing_mm[1] * geometry.row_cosines
    return np.asarray(geometry.positions_mm[slices] + down + across)


def _likeness(a: Float32Array, b: Float32Array, where: BoolArray) -> float:
    both = where & np.isfinite(a)
    if not both.any():
        return 0.0
    return float(np.corrcoef(np.clip(a[both], *WINDOW_HU), np.clip(b[both], *WINDOW_HU))[0, 1])


class _Search:
    """The search for one pose.

    Parameters
    ----------
    volume, reference : Volume
    around : array, shape ``(slice, row, column)``
        Where the reference counts.
    """

    def __init__(self, volume: Volume, reference: Volume, around: BoolArray) -> None:
        self.itk: Any = import_module("SimpleITK")
        moving, fixed = (straightened(_clipped(one)) for one in (volume, reference))
        mask = straightened(replace(reference, data=around.astype(np.float32)))
        self.box = moving.geometry
        self.points = _points_mm(reference.geometry, around)
        self.centre = self.points.mean(axis=0)
        moving, fixed = _as_thick(moving, fixed.geometry), _as_thick(fixed, moving.geometry)
        self.levels = {
            pixel: _Level(
                self._image(moving, pixel), self._image(fixed, pixel),
                self.itk.Cast(self._image(mask, pixel) > _HALF, self.itk.sitkUInt8), _STEPS[pixel]
            )
            for pixel in (_COARSE_MM, _FINE_MM)
        }  # fmt: skip

    def pose(self) -> Rigid:
        """From points of the reference to the volume, the best that was found."""
        coarse, fine = self.levels[_COARSE_MM], self.levels[_FINE_MM]
        ends = [self._descend(coarse, self._transform(shift)) for shift in self._starts(coarse)]
        values = [self._value(coarse, end) for end in ends]
        if not np.isfinite(values).any():
            raise NotAnalysable(_NOWHERE)
        return _rigid(self._descend(fine, ends[int(np.argmin(values))]))

    def _starts(self, level: "_Level") -> list[FloatArray]:
        """The most promising shifts to start from, some mm apart from each other."""
        shown = self._volume(level.moving)
        middle = _points_mm(shown.geometry, np.ones(shown.geometry.shape, bool)).mean(axis=0)
        head = _points_mm(shown.geometry, _around_head(shown)).mean(axis=0)
        steps = np.arange(-_START_REACH_MM, _START_REACH_MM + 1, _START_STEP_MM)
        shifts = [
            base + np.array([0.0, 0.0, step])
            for base in (np.zeros(3), middle - self.centre, head - self.centre)
            for step in steps
        ]
        values = [self._value(level, self._transform(shift)) for shift in shifts]
        chosen: list[FloatArray] = []
        for index in np.argsort(values, kind="stable"):
            near = any(np.linalg.norm(shifts[index] - other) < _APART_MM for other in chosen)
            if np.isfinite(values[index]) and not near:
                chosen.append(shifts[index])
        return chosen[:_STARTS]

    def _overlap(self, transform: Any) -> float:
        """Share of the head's points in the reference that lie in the volume."""
        from_mm = np.linalg.inv(self.box.affine_lps)
        index = _rigid(transform).moved(self.points) @ from_mm[:3, :3].T + from_mm[:3, 3]
        last = np.array(self.box.shape[::-1]) - 0.5
        return float(np.all((index >= -0.5) & (index <= last), axis=1).mean())

    def _transform(self, shift_mm: FloatArray) -> Any:
        transform = self.itk.Euler3DTransform()
        transform.SetCenter(self.centre.tolist())
        transform.SetTranslation(shift_mm.tolist())
        return transform

    def _method(self, level: "_Level", start: Any) -> Any:
        """Metric and optimizer."""
        counted = int((self.itk.GetArrayViewFromImage(level.mask) > 0).sum())
        method = self.itk.ImageRegistrationMethod()
        method.SetNumberOfThreads(1)
        method.SetMetricAsMattesMutualInformation(_BINS)
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(min(1.0, _MOST_SAMPLES / max(counted, 1)), _SEED)
        method.SetMetricFixedMask(level.mask)
        method.SetInterpolator(self.itk.sitkLinear)
        method.SetOptimizerAsPowell(_ROUNDS, _LINE_STEPS, level.step, _LEAST_STEP, _LEAST_GAIN)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(start)
        return method

    def _value(self, level: "_Level", transform: Any) -> float:
        """The metric, smaller where images agree better; infinite where they hardly overlap."""
        if self._overlap(transform) < _LEAST_OVERLAP:
            return np.inf
        try:
            return float(self._method(level, transform).MetricEvaluate(level.fixed, level.moving))
        except RuntimeError:  # too few of the samples lie in the volume
            return np.inf

    def _descend(self, level: "_Level", start: Any) -> Any:
        """Follow the metric; where the images part on the way, the start is the result."""
        found = self.itk.Euler3DTransform(start)
        try:
            self._method(level, found).Execute(level.fixed, level.moving)
        except RuntimeError:
            return start
        return found

    def _image(self, volume: Volume, pixel_mm: float) -> Any:
        """An even volume on its place in the patient, means over pixels of about a size."""
        geometry = volume.geometry
        spacing = (*geometry.pixel_spacing_mm[::-1], geometry.slice_spacing_mm)
        image = self.itk.GetImageFromArray(volume.data)
        image.SetSpacing(spacing)
        image.SetOrigin(geometry.positions_mm[0].tolist())
        axes = np.stack([geometry.row_cosines, geometry.column_cosines, geometry.normal], axis=1)
        image.SetDirection(axes.ravel().tolist())
        sizes = zip(spacing, geometry.shape[::-1], strict=True)
        return self.itk.BinShrink(image, [min(max(1, round(pixel_mm / mm)), n) for mm, n in sizes])

    def _volume(self, image: Any) -> Volume:
        """An image of SimpleITK as a volume."""
        data = self.itk.GetArrayFromImage(image)
        column, row, height = image.GetSpacing()
        axes = np.reshape(image.GetDirection(), (3, 3)).T
        up = np.arange(len(data))[:, None] * height * axes[2]
        geometry = Geometry(
            np.array(image.GetOrigin()) + up, axes[0], axes[1], (row, column), *data.shape[1:]
        )
        return Volume(data, geometry, "HU", Source("", (), np.full((1, len(data)), "")))


@dataclass(frozen=True, eq=False)
class _Level:
    """Images of SimpleITK of one resolution: head CT, reference, and where the reference counts."""

    moving: Any
    fixed: Any
    mask: Any
    step: float


def _clipped(volume: Volume) -> Volume:
    return replace(volume, data=np.clip(volume.data, *WINDOW_HU))


def _as_thick(volume: Volume, other: Geometry) -> Volume:
    """Blur an even volume between its slices as much as the thicker slices of another one do.

    A slice is a mean over its height: variance of a box, height² / 12.
    """
    own, theirs = volume.geometry.slice_spacing_mm, other.slice_spacing_mm
    variance = (theirs**2 - own**2) * _BOX_VARIANCE
    if variance <= 0:
        return volume
    blurred = ndimage.gaussian_filter1d(
        volume.data, np.sqrt(variance) / own, axis=0, mode="nearest"
    )
    return replace(volume, data=blurred)


def _rigid(transform: Any) -> Rigid:
    """A rigid transform of SimpleITK, from where it takes four points."""
    corners = np.concatenate([np.zeros((1, 3)), np.eye(3)])
    moved = np.array([transform.TransformPoint(corner.tolist()) for corner in corners])
    return Rigid((moved[1:] - moved[0]).T, moved[0])
