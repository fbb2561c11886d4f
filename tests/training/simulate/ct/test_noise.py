import numpy as np
import pytest

from training.simulate.arrays import Float32Array, FloatArray
from training.simulate.ct.kernels import Kernel
from training.simulate.ct.noise import noise_filter, slice_weights, unit_noise

SOFT = Kernel("soft", 0.28)
SHARP = Kernel("sharp", 0.50, 0.5, 2.3, 1.2)
BLOTCHY = Kernel("blotchy", 0.38, 0.0, 2.8, 0.15)
PIXEL_MM = 0.45


def noise(
    kernel: Kernel,
    slices: int = 24,
    size: int = 192,
    weights: FloatArray | None = None,
    seed: int = 1,
) -> Float32Array:
    weights = np.ones(1) if weights is None else weights
    rng = np.random.default_rng(seed)
    return np.stack(list(unit_noise(rng, kernel, slices, size, size, PIXEL_MM, weights)))


def radial_spectrum(images: Float32Array, pixel_mm: float) -> tuple[FloatArray, FloatArray]:
    """Mean power in rings of spatial frequency, and the frequencies in cycles per mm."""
    power = np.mean(np.abs(np.fft.fft2(images)) ** 2, axis=0)
    axis = np.fft.fftfreq(images.shape[-1], pixel_mm)
    ring = np.hypot(axis[:, None], axis[None, :])
    edges = np.arange(0.05, 1.0, 0.05)
    index = np.digitize(ring.ravel(), edges)
    sums = np.bincount(index, power.ravel(), len(edges) + 1)
    counts = np.bincount(index, minlength=len(edges) + 1)
    return edges[:-1] + 0.025, (sums / counts)[1:-1]


@pytest.mark.parametrize("kernel", [SOFT, SHARP, BLOTCHY])
def test_noise_has_standard_deviation_one_and_no_mean(kernel: Kernel) -> None:
    images = noise(kernel)

    assert images.dtype == np.float32
    assert images.std() == pytest.approx(1, rel=0.01)
    assert abs(images.mean()) < 1e-3


@pytest.mark.parametrize("kernel", [SOFT, SHARP, BLOTCHY])
def test_the_measured_power_spectrum_is_the_kernels(kernel: Kernel) -> None:
    frequencies, measured = radial_spectrum(noise(kernel), PIXEL_MM)

    asked = kernel.noise_power(frequencies) * np.sinc(frequencies * PIXEL_MM) ** 2
    strong = asked > 0.05 * asked.max()
    ratio = measured[strong] / measured[strong].sum() / (asked[strong] / asked[strong].sum())
    np.testing.assert_allclose(ratio, 1, atol=0.12)


def test_noise_of_back_projection_is_band_pass_and_sharp_kernels_reach_further() -> None:
    frequencies, soft = radial_spectrum(noise(SOFT), PIXEL_MM)
    _, sharp = radial_spectrum(noise(SHARP), PIXEL_MM)
    _, blotchy = radial_spectrum(noise(BLOTCHY), PIXEL_MM)

    assert 0.1 < frequencies[soft.argmax()] < 0.25
    assert frequencies[sharp.argmax()] > frequencies[soft.argmax()] + 0.1
    assert blotchy[0] / blotchy.max() > 1.5 * sharp[0] / sharp.max()


def test_slices_that_do_not_overlap_are_independent_and_overlapping_ones_are_not() -> None:
    apart = noise(SOFT, weights=slice_weights(5.0, 5.0, 0.0))
    overlapping = noise(SOFT, weights=slice_weights(1.0, 0.5, 0.0))

    def correlation(images: Float32Array, distance: int) -> float:
        return float(np.mean(images[:-distance] * images[distance:]))

    assert abs(correlation(apart, 1)) < 0.02
    assert correlation(overlapping, 1) == pytest.approx(2 / 3, abs=0.03)
    assert correlation(overlapping, 2) == pytest.approx(1 / 6, abs=0.03)
    assert abs(correlation(overlapping, 3)) < 0.03
    assert overlapping.std() == pytest.approx(1, rel=0.01)


def test_crosstalk_correlates_thin_slices_more_than_thick_ones() -> None:
    thin, thick = slice_weights(0.5, 0.5, 0.3), slice_weights(5.0, 5.0, 0.3)

    assert np.sum(thin**2) == pytest.approx(1)
    assert thin[:-1] @ thin[1:] > 0.3
    assert thick[:-1] @ thick[1:] < 0.1


def test_odd_and_even_sizes_have_the_same_strength() -> None:
    for columns in (63, 64):
        rng = np.random.default_rng(2)
        images = np.stack(list(unit_noise(rng, SOFT, 40, 60, columns, PIXEL_MM, np.ones(1))))
        assert images.std() == pytest.approx(1, rel=0.02)
        assert noise_filter(SOFT, 60, columns, PIXEL_MM).shape == (60, columns // 2 + 1)


def test_noise_is_the_same_bytes_again() -> None:
    weights = slice_weights(1.0, 0.5, 0.2)

    assert noise(SHARP, weights=weights).tobytes() == noise(SHARP, weights=weights).tobytes()
    assert noise(SHARP, seed=1).tobytes() != noise(SHARP, seed=2).tobytes()
