import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from inference.preprocess.frames import Frames
from inference.preprocess.smoothing import smooth_curves, smooth_volume
from tests.inference.perfusion.phantom import Phantom, geometry

WHERE = geometry(Phantom(rows=40, pixel_mm=1.5, slices=5, slice_mm=3))
INNER = np.zeros(WHERE.shape, bool)
INNER[:, 8:32, 6:30] = True


@given(value=st.floats(-100, 100), sigma=st.floats(0, 8))
@settings(max_examples=20, deadline=None)
def test_constants_stay_and_outside_does_not_bleed_in(value: float, sigma: float) -> None:
    image = np.where(INNER, value, 5000).astype(np.float32)
    out = smooth_volume(image, INNER, WHERE, sigma)
    np.testing.assert_allclose(out[INNER], value, rtol=1e-4, atol=1e-4)
    assert np.all(out[~INNER] == 0)


def test_width_is_in_millimetres() -> None:
    image = np.random.default_rng(0).normal(0, 1, WHERE.shape).astype(np.float32)
    everywhere = np.ones(WHERE.shape, bool)
    out = smooth_volume(image, everywhere, WHERE, 3.0)
    wanted = ndimage.gaussian_filter(image, (1, 2, 2), truncate=3.0, mode="constant")
    weight = ndimage.gaussian_filter(np.ones_like(image), (1, 2, 2), truncate=3.0, mode="constant")
    np.testing.assert_allclose(out, wanted / weight, atol=1e-4)


@pytest.mark.parametrize("sigma", [0.0, 2.0])
def test_curves_are_the_voxels_in_order(sigma: float) -> None:
    data = np.random.default_rng(1).normal(0, 1, (4, *WHERE.shape)).astype(np.float32)
    frames = Frames(data, np.arange(4.0), WHERE, np.arange(4))
    curves = smooth_curves(frames, INNER, sigma)
    for index, volume in enumerate(data):
        smooth = smooth_volume(volume, INNER, WHERE, sigma)
        np.testing.assert_allclose(curves[:, index], smooth[INNER], atol=1e-6)
    wanted = INNER & (np.arange(40) < 12)
    part = smooth_curves(frames, INNER, sigma, wanted=wanted)
    np.testing.assert_allclose(part, curves[wanted[INNER]])
    assert smooth_curves(frames, np.zeros_like(INNER), sigma).shape == (0, 4)
    assert not smooth_volume(data[0], np.zeros_like(INNER), WHERE, sigma).any()
