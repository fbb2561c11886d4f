"""How near an image comes to a reference within a mask: squared error, r² and SSIM."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Volume = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

SSIM_SIGMA, SSIM_TRUNCATE = 1.5, 3.5
SSIM_REACH = int(SSIM_TRUNCATE * SSIM_SIGMA + 0.5)
"""Pixels that lie farther than this along a row or a column do not change a pixel's SSIM."""
_K1, _K2 = 0.01, 0.03


def mean_squared_error(image: Volume, reference: Volume, mask: BoolArray) -> float:
    """Mean of the squared differences within a mask, in squared units of the images.

    Parameters
    ----------
    image, reference : ndarray, shape (slice, row, column)
        In the same unit.
    mask : ndarray of bool, shape (slice, row, column)
        The voxels that count.

    Raises
    ------
    ValueError
        Shapes differ, the mask is empty, or values within it are not finite.
    """
    found, expected = _within(image, reference, mask)
    return float(np.mean((found - expected) ** 2))


def r2(image: Volume, reference: Volume, mask: BoolArray) -> float:
    """Coefficient of determination within a mask, ``1 - SS_res / SS_tot``.

    1 for equal images, 0 for the reference's own mean everywhere, below 0 for worse. Parameters
    and errors are those of :func:`mean_squared_error`.

    Raises
    ------
    ValueError
        Also where the reference is the same everywhere in the mask.
    """
    found, expected = _within(image, reference, mask)
    total = float(np.sum((expected - expected.mean()) ** 2))
    if np.ptp(expected) == 0:
        raise ValueError(
            f"r² is not defined: the reference is {expected[0]:g} in all {expected.size} voxels "
            "of the mask"
        )
    return 1 - float(np.sum((found - expected) ** 2)) / total


def ssim(image: Volume, reference: Volume, mask: BoolArray, data_range: float) -> float:
    """Structural similarity, averaged over a mask (Wang et al. 2004, doi:10.1109/TIP.2003.819861).

    The map is made in the axial plane, slice by slice: slices of head CT are several times as
    thick as their pixels are wide, so that the neighbours of a voxel are those of its slice.
    Gaussian weights of 1.5 pixels cut at 3.5 sigma, K1 0.01, K2 0.03 and population covariances,
    as scikit-image's ``gaussian_weights=True, use_sample_covariance=False``. The luminance term
    depends on where zero lies: values are taken as they are.

    Parameters
    ----------
    image, reference, mask
        See :func:`mean_squared_error`.
    data_range : float
        Largest difference that values can have, in their unit.

    Raises
    ------
    ValueError
        As :func:`mean_squared_error`; ``data_range`` is not above 0; values of a slice that the
        mask touches are not finite.
    """
    if not (np.isfinite(data_range) and data_range > 0):
        raise ValueError(f"data_range is {data_range}; expected a number above 0")
    _check(image, reference, mask)
    total = 0.0
    for index in np.flatnonzero(mask.any(axis=(1, 2))):
        one = _finite(image[index], f"slice {index} of the image")
        other = _finite(reference[index], f"slice {index} of the reference")
        total += float(_ssim_map(one, other, data_range)[mask[index]].sum())
    return total / int(np.count_nonzero(mask))


def _ssim_map(one: FloatArray, other: FloatArray, data_range: float) -> FloatArray:
    """Structural similarity of every pixel, shape ``(row, column)``."""
    mean_one, mean_other = _smooth(one), _smooth(other)
    variances = _smooth(one**2) - mean_one**2 + _smooth(other**2) - mean_other**2
    covariance = _smooth(one * other) - mean_one * mean_other
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    luminance = (2 * mean_one * mean_other + c1) / (mean_one**2 + mean_other**2 + c1)
    return np.asarray(luminance * (2 * covariance + c2) / (variances + c2), np.float64)


def _smooth(pixels: FloatArray) -> FloatArray:
    return np.asarray(
        ndimage.gaussian_filter(pixels, SSIM_SIGMA, truncate=SSIM_TRUNCATE), np.float64
    )


def _within(image: Volume, reference: Volume, mask: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Values of both within the mask, shape ``(voxel,)``."""
    _check(image, reference, mask)
    return _finite(image[mask], "the image within the mask"), _finite(
        reference[mask], "the reference within the mask"
    )


def _check(image: Volume, reference: Volume, mask: BoolArray) -> None:
    shapes = image.shape, reference.shape, mask.shape
    if len(set(shapes)) > 1 or image.ndim != 3:
        raise ValueError(
            "image, reference and mask have shapes {}, {} and {}; expected one shape "
            "(slice, row, column)".format(*shapes)
        )
    if mask.dtype != np.bool_:
        raise ValueError(f"the mask is of type {mask.dtype}; expected bool")
    if not mask.any():
        raise ValueError(f"the mask of shape {mask.shape} is empty; expected a voxel or more")


def _finite(values: Volume, name: str) -> FloatArray:
    numbers = np.asarray(values, np.float64)
    bad = numbers.size - int(np.count_nonzero(np.isfinite(numbers)))
    if bad:
        raise ValueError(f"{bad} of {numbers.size} values of {name} are not finite")
    return numbers
