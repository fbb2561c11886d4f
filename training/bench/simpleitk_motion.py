"""Rigid registration of frames with SimpleITK, set up as is usual for heads on CT.

Frames are shrunk by 4 in the plane, then registered on a pyramid of two levels (2, 1) by Mattes'
mutual information (32 bins, every fourth voxel) with a regular-step gradient descent from
stillness. Several frames are registered side by side, each in one thread.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.dicom.volumes import TimeSeries

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

_WINDOW_HU = (-200.0, 1000.0)
_SHRINK = (4, 4, 1)
_LEVELS = (2, 1)
_BINS = 32
_SAMPLED, _SEED = 0.25, 1
_STEP_MM, _LEAST_STEP_MM, _STEPS = 1.0, 1e-3, 100


def register_frames(
    series: TimeSeries, reference: int, frames: Sequence[int], threads: int
) -> Float64Array:
    """Find where frames moved from the reference.

    Parameters
    ----------
    series : TimeSeries
        HU; even, untilted slices.
    reference : int
        The frame that the others are registered to.
    frames : sequence of int
        Which frames.
    threads : int
        Frames at a time.

    Returns
    -------
    array, shape ``(len(frames), 4, 4)``
        Matrices from points of the reference (LPS, mm) to where they lie in the frames.
    """
    itk: Any = import_module("SimpleITK")
    fixed = _image(itk, series, reference)

    def register(frame: int) -> Float64Array:
        start = itk.CenteredTransformInitializer(
            fixed, fixed, itk.Euler3DTransform(), itk.CenteredTransformInitializerFilter.GEOMETRY
        )
        method = itk.ImageRegistrationMethod()
        method.SetNumberOfThreads(1)
        method.SetMetricAsMattesMutualInformation(_BINS)
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(_SAMPLED, _SEED)
        method.SetInterpolator(itk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(_STEP_MM, _LEAST_STEP_MM, _STEPS)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel(_LEVELS)
        method.SetSmoothingSigmasPerLevel([level - 1 for level in _LEVELS])
        method.SetInitialTransform(start)
        return _matrix(method.Execute(fixed, _image(itk, series, frame)))

    with ThreadPoolExecutor(threads) as pool:
        return np.stack(list(pool.map(register, frames)))


def _image(itk: Any, series: TimeSeries, frame: int) -> Any:
    """A frame on its place in the patient, cut to a window and shrunk."""
    geometry = series.geometry
    image = itk.GetImageFromArray(np.clip(series.data[frame], *_WINDOW_HU))
    image.SetSpacing((*geometry.pixel_spacing_mm[::-1], geometry.slice_spacing_mm))
    image.SetOrigin(geometry.positions_mm[0].tolist())
    axes = np.stack([geometry.row_cosines, geometry.column_cosines, geometry.normal], axis=1)
    image.SetDirection(axes.ravel().tolist())
    return itk.BinShrink(image, _SHRINK)


def _matrix(transform: Any) -> Float64Array:
    """A rigid transform as a matrix, from where it takes four points."""
    corners = np.concatenate([np.zeros((1, 3)), np.eye(3)])
    moved = np.array([transform.TransformPoint(corner.tolist()) for corner in corners])
    matrix = np.eye(4)
    matrix[:3, :3] = (moved[1:] - moved[0]).T
    matrix[:3, 3] = moved[0]
    return matrix
