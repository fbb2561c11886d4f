import numpy as np
import pytest

from inference.perfusion.concentration import (
    contrast_to_noise,
    curve_noise,
    enhancement,
    measure_baseline,
    onset,
)
from inference.preprocess.frames import Frames
from tests.inference.perfusion.phantom import Phantom, scan


def test_baseline_and_noise() -> None:
    generator = np.random.default_rng(0)
    data = generator.normal(40, 5, (40, 2, 30, 30)).astype(np.float32)
    data[10:] += 20
    geometry = scan(Phantom(rows=30, slices=2, noise_hu=0)).series.geometry
    frames = Frames(data, np.arange(40.0), geometry, np.arange(40))
    region = np.ones((2, 30, 30), bool)
    found = measure_baseline(frames, region, 9.5)
    assert found.frames.sum() == 10
    assert found.image.mean() == pytest.approx(40, abs=0.3)
    assert np.median(found.noise) == pytest.approx(5, rel=0.1)
    single = measure_baseline(frames, region, -1.0)
    assert single.frames.sum() == 1
    assert np.median(single.noise) == pytest.approx(5, rel=0.1)
    above = enhancement(frames, found)
    assert above.data[10:].mean() == pytest.approx(20, abs=0.3)
    curves = above.data[:, region].T
    assert contrast_to_noise(curves, above) == pytest.approx(20 / 5, rel=0.1)


def test_noise_ignores_slopes_and_uneven_times() -> None:
    generator = np.random.default_rng(1)
    times = np.array([0.0, 7, 9, 11, 13, 15, 20, 25])
    curves = 3 * times[:, None] + generator.normal(0, 2, (8, 5000))
    assert curve_noise(curves.astype(np.float32), times) == pytest.approx(2, rel=0.05)
    assert curve_noise(curves[:2].astype(np.float32), times[:2]) == 0


def test_onset_is_interpolated_and_searched_backwards() -> None:
    curve = np.array([0, 9, 0, 0, 4, 8, 20, 3.0])
    times = np.arange(8.0)
    assert onset(curve, times, 6, 2.0) == pytest.approx(3.5)
    assert onset(curve + 5, times, 6, 2.0) is None
