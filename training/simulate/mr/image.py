"""What an MR scanner adds to the signal on its way to the stored image."""

import numpy as np

from inference.geometry import Geometry
from training.simulate.arrays import Float32Array

LARGEST_STORED = 4095


def coil_shading(geometry: Geometry, strength: float, rng: np.random.Generator) -> Float32Array:
    """Sensitivity of a coil array, mean about 1: bright near its elements, and a random slope.

    ``strength`` is the relative rise from the centre to the scalp. Shape ``geometry.shape``.
    """
    middle = geometry.positions_mm.mean(0)
    middle = middle + geometry.row_cosines * (geometry.pixel_spacing_mm[1] * geometry.columns / 2)
    middle = middle + geometry.column_cosines * (geometry.pixel_spacing_mm[0] * geometry.rows / 2)
    offset = rng.normal(0, 12, 3)
    slope = rng.normal(0, 0.1 * strength, 3)
    values = np.full(geometry.shape, 1 - 0.4 * strength)
    for axis in range(3):
        distance = (geometry.coordinates_mm(axis) - middle[axis] - offset[axis]) / 85
        values += strength * 0.5 * distance**2 + slope[axis] * distance
    return np.asarray(np.clip(values, 0.15, 3), dtype=np.float32)


def with_ghost(image: Float32Array, share: float) -> Float32Array:
    """Add the Nyquist ghost of EPI: the image half a field of view away along the rows' axis."""
    return np.asarray(image + np.float32(share) * np.roll(image, image.shape[-2] // 2, axis=-2))


def receive(
    image: Float32Array, noise: float, acquired: int, rng: np.random.Generator
) -> Float32Array:
    """Magnitude image from noise-free slices: complex noise, and k-space as far as acquired.

    Parameters
    ----------
    image : float32 array ``(slice, row, column)``
        Noise-free.
    noise : float
        Standard deviation of the noise in the real and in the imaginary channel of the result.
    acquired : int
        Matrix of the acquisition; frequencies beyond it are zero (ringing, correlated noise).
    rng : Generator
        Noise.

    Returns
    -------
    float32 array: magnitude, Rician distributed (Gudbjartsson and Patz 1995)
    """
    from scipy import fft

    window = _window(image.shape[-2], acquired)[:, None] * _window(image.shape[-1], acquired)
    kept = float(window.mean())
    # zeros in k-space take their share of the noise's variance away
    channels = rng.standard_normal((2, *image.shape), dtype=np.float32)
    channels *= np.float32(noise / np.sqrt(kept))
    channels[0] += image
    received = channels[0] + 1j * channels[1]
    if kept < 1:
        received = fft.ifft2(fft.fft2(received) * window)
    return np.asarray(np.abs(received), dtype=np.float32)


def _window(count: int, acquired: int) -> Float32Array:
    """1 for the frequencies that were acquired, in the order of the FFT."""
    order = np.abs(np.fft.fftfreq(count) * count)
    seen = order <= acquired / 2 if acquired >= count else order < acquired / 2
    return np.asarray(seen, dtype=np.float32)


def stored(image: Float32Array) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    """Rounded to what twelve bits hold."""
    return np.clip(np.rint(image), 0, LARGEST_STORED).astype(np.uint16)
