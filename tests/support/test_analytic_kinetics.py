"""Contrast, noise and motion over time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.analytic.head import Tissue
from tests.support.analytic.kinetics import (
    DENSITY_G_PER_ML,
    HEMATOCRIT_FACTOR,
    STEP_S,
    draw_bolus,
    simulate_ctp,
    simulate_ncct,
)
from tests.support.analytic.phantom import Phantom, axial_geometry, draw_patient, make_phantom

TIMES_S = np.repeat(np.arange(34)[:, None] * 1.5, 2, axis=1)


@pytest.fixture(scope="module")
def head() -> Phantom:
    geometry = axial_geometry(2, 128, fov_mm=205, centre_z_mm=3)
    return make_phantom(draw_patient(1, "left", vessel_scale=2), geometry)


def scan(
    head: Phantom, *, noise_hu: float, drift_mm: float = 0.0, contrast: bool = True
) -> np.ndarray:
    frames = simulate_ctp(
        head, TIMES_S, noise_hu=noise_hu, drift_mm=drift_mm, contrast=contrast
    )  # fmt: skip
    return np.stack(list(frames)).astype(np.float64)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_bolus_is_physiological(seed: int) -> None:
    bolus = draw_bolus(seed, 120)
    peak = bolus.arterial_hu.max()
    assert 250 < peak < 450
    above = np.flatnonzero(bolus.arterial_hu > peak / 2)
    assert 4 < len(above) * STEP_S < 10
    assert 7 < bolus.arrival_s < 10
    assert bolus.arterial_hu[: int(bolus.arrival_s / STEP_S)].max() == 0
    assert 2 < (bolus.venous_hu.argmax() - bolus.arterial_hu.argmax()) * STEP_S < 7
    at_45_s = int(45 / STEP_S)
    assert bolus.venous_hu[at_45_s] / bolus.venous_hu.max() < 0.3
    assert bolus.venous_hu.sum() == pytest.approx(bolus.arterial_hu.sum(), rel=0.02)


def test_tissue_obeys_the_central_volume_theorem(head: Phantom) -> None:
    """The measured areas give CBV back, the vein's area being the input's."""
    images = scan(head, noise_hu=0.0)
    enhancement = images - images[0]
    bolus = draw_bolus(1, 60)
    area = np.interp(TIMES_S[:, 0], np.arange(len(bolus.arterial_hu)) * STEP_S, bolus.arterial_hu)
    vessels = head.fractions[Tissue.ARTERY] + head.fractions[Tissue.VEIN]
    tissue = head.brain & (head.tmax_s < 2) & (vessels == 0)
    tissue &= head.fractions[Tissue.LATE_ARTERY] == 0
    ratio = enhancement[:, tissue].mean(axis=1).sum() / area.sum()
    cbv = 100 * HEMATOCRIT_FACTOR / DENSITY_G_PER_ML * ratio
    assert cbv == pytest.approx(head.cbv[tissue].mean(), rel=0.05)


def test_peaks_are_in_the_range_of_real_scans(head: Phantom) -> None:
    images = scan(head, noise_hu=0.0)
    enhancement = images - images[0]
    scale = 300 / draw_bolus(1, 60).arterial_hu.max()

    def peak(mask: np.ndarray) -> float:
        return float(scale * enhancement[:, mask].mean(axis=1).max())

    normal = head.tmax_s < 2
    assert 11 < peak((head.fractions[Tissue.GREY] > 0.98) & normal) < 16
    assert 4.5 < peak((head.fractions[Tissue.WHITE] > 0.98) & normal) < 7.5
    assert 1.5 < peak(head.core) < 3
    assert peak(head.core) < peak(head.penumbra)
    artery = enhancement[:, head.fractions[Tissue.ARTERY] > 0.95].mean(axis=1)
    assert 200 < artery.max() < 450
    late = enhancement[:, head.fractions[Tissue.LATE_ARTERY] > 0.8].mean(axis=1)
    assert late.argmax() > artery.argmax()


def test_noise_has_the_deviation_asked_and_a_ct_spectrum(head: Phantom) -> None:
    noise = simulate_ncct(head, noise_hu=6.0) - head.baseline_hu
    assert noise[head.brain].std() == pytest.approx(6.0, rel=0.1)
    patch = noise[:, 48:80, 48:80]
    power = (np.abs(np.fft.fft2(patch - patch.mean(axis=(1, 2), keepdims=True))) ** 2).mean(axis=0)
    axis = np.fft.fftfreq(32, head.geometry.pixel_spacing_mm[0])
    frequency = np.hypot(axis[:, None], axis)
    low = power[(frequency > 0) & (frequency < 0.06)].mean()
    middle = power[(frequency > 0.2) & (frequency < 0.3)].mean()
    assert low < 0.5 * middle


def test_noise_differs_between_frames_and_repeats_by_seed(head: Phantom) -> None:
    first, again = (scan(head, noise_hu=5.0, contrast=False) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])


def test_without_contrast_nothing_rises(head: Phantom) -> None:
    images = scan(head, noise_hu=0.0, contrast=False)
    np.testing.assert_array_equal(images[0], images[-1])


def test_drift_moves_the_head_at_the_end(head: Phantom) -> None:
    moved = scan(head, noise_hu=0.0, contrast=False, drift_mm=4.0)
    still = scan(head, noise_hu=0.0, contrast=False)
    np.testing.assert_array_equal(moved[0], still[0])
    shift_mm = [
        (centre(moved[-1, 0], axis) - centre(still[-1, 0], axis)) * spacing
        for axis, spacing in enumerate(head.geometry.pixel_spacing_mm)
    ]
    assert 3 < float(np.linalg.norm(shift_mm)) < 5


def centre(image: np.ndarray, axis: int) -> float:
    weight = (image > -500).sum(axis=1 - axis)
    return float((weight * np.arange(len(weight))).sum() / weight.sum())
