"""Quantum noise of CT: of a given standard deviation, with a kernel's texture, correlated in z.

In the plane the noise has the power spectrum of the kernel, blurred by the pixel; along the table
slices that overlap (or crosstalk) share noise. Where more was absorbed on the way there is more of
it: the caller multiplies by a map of relative strength.
"""

from collections.abc import Iterator

import numpy as np
from scipy import fft

from training.simulate.arrays import Float32Array, FloatArray
from training.simulate.ct.kernels import Kernel

_SLICES_AT_ONCE = 16


def radial_frequency(rows: int, columns: int, pixel_mm: float) -> FloatArray:
    """Cycles per mm of every element of a real 2-D Fourier transform of an image."""
    across = fft.fftfreq(rows, pixel_mm)[:, None]
    along = fft.rfftfreq(columns, pixel_mm)[None, :]
    return np.asarray(np.hypot(across, along))


def noise_filter(kernel: Kernel, rows: int, columns: int, pixel_mm: float) -> Float32Array:
    """Factors that turn the transform of white noise into that of unit noise of a kernel."""
    per_mm = radial_frequency(rows, columns, pixel_mm)
    amplitude = np.sqrt(kernel.noise_power(per_mm)) * np.abs(np.sinc(per_mm * pixel_mm))
    amplitude[0, 0] = 0
    weights = np.full(per_mm.shape[1], 2.0)
    weights[0] = 1.0
    if columns % 2 == 0:
        weights[-1] = 1.0
    power = np.sum(amplitude**2 * weights) / (rows * columns)
    return np.asarray(amplitude / np.sqrt(power), dtype=np.float32)


def slice_weights(thickness_mm: float, spacing_mm: float, cross_talk_mm: float) -> FloatArray:
    """Weights by which independent slices add up to one; their squares sum to 1.

    Slices that overlap share a part: the correlation of neighbours falls to zero at the distance
    of the thickness plus the crosstalk.
    """
    width = max(1.0, (thickness_mm + cross_talk_mm) / spacing_mm)
    reach = int(np.ceil((width - 1) / 2))
    offsets = np.abs(np.arange(-reach, reach + 1))
    weights = np.clip((width + 1) / 2 - offsets, 0, 1)
    return np.asarray(weights / np.sqrt(np.sum(weights**2)))


def unit_noise(
    rng: np.random.Generator,
    kernel: Kernel,
    slices: int,
    rows: int,
    columns: int,
    pixel_mm: float,
    weights: FloatArray,
) -> Iterator[Float32Array]:
    """Yield noise of standard deviation 1 slice by slice, each of shape ``(row, column)``.

    Parameters
    ----------
    rng : Generator
        Where it is drawn from.
    kernel : Kernel
        Whose texture.
    slices, rows, columns, pixel_mm
        Grid.
    weights : array of odd length
        From :func:`slice_weights`.
    """
    filters = noise_filter(kernel, rows, columns, pixel_mm)
    white = _white(rng, slices + len(weights) - 1, filters, rows, columns)
    if len(weights) == 1:
        yield from white
        return
    factors = weights.astype(np.float32)
    window = [next(white) for _ in range(len(weights) - 1)]
    for image in white:
        window.append(image)
        total = window[0] * factors[0]
        for part, factor in zip(window[1:], factors[1:], strict=True):
            total += part * factor
        yield total
        window.pop(0)


def _white(
    rng: np.random.Generator, count: int, filters: Float32Array, rows: int, columns: int
) -> Iterator[Float32Array]:
    """Yield independent noise images, made a few at a time."""
    for first in range(0, count, _SLICES_AT_ONCE):
        size = min(_SLICES_AT_ONCE, count - first)
        white = rng.standard_normal((size, rows, columns), dtype=np.float32)
        spectrum = fft.rfft2(white, workers=1)
        spectrum *= filters
        yield from fft.irfft2(spectrum, s=(rows, columns), workers=1)
