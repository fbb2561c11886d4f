import numpy as np
import pytest
from scipy import ndimage

from tests.training.simulate.axial_stack import axial_stack
from training.simulate.arrays import BoolArray, Float32Array, FloatArray
from training.simulate.ct.artefacts import Errors, Projector, beam_errors, motion_streaks

PIXEL_MM = 1.8
SIZE = 128


def distance_mm(x_mm: float = 0.0, y_mm: float = 0.0) -> FloatArray:
    axis = (np.arange(SIZE) - (SIZE - 1) / 2) * PIXEL_MM
    return np.asarray(np.hypot(axis[None, :] - x_mm, axis[:, None] - y_mm))


def head(petrous: bool = False, bone_gain: float = 1.0) -> Float32Array:
    """A head of water with a skull of 7 mm, as HU of shape ``(slice, row, column)``."""
    radius = distance_mm()
    image = np.where(radius < 90, 1100.0 * bone_gain, -1000.0)
    image[radius < 83] = 35
    if petrous:
        for side in (-1, 1):
            image[distance_mm(side * 45, 0) < 14] = 1500 * bone_gain
    return np.repeat(image[None], 3, axis=0).astype(np.float32)


def errors(
    volume: Float32Array,
    *,
    kvp: int = 120,
    hardening: float = 0.5,
    cupping_hu: float = 0.0,
    metal: Float32Array | None = None,
    rng: np.random.Generator | None = None,
) -> Errors:
    return beam_errors(
        volume, PIXEL_MM, 5.0, kvp, hardening=hardening, cupping_hu=cupping_hu, metal=metal, rng=rng
    )


def brain() -> BoolArray:
    return np.repeat((distance_mm() < 80)[None], 3, axis=0)


def test_a_projection_measures_the_chord_and_reconstruction_gives_the_disc_back() -> None:
    scan = Projector.of(SIZE, SIZE, PIXEL_MM, 120)
    disc = (distance_mm() < 60).astype(np.float32)[None]

    lines = scan.project(disc)
    again = scan.reconstruct(lines)[0]

    assert lines[:, scan.bins // 2, 0] == pytest.approx(12.0, abs=0.3)
    assert again[distance_mm() < 50].mean() == pytest.approx(1, abs=0.02)
    assert again[distance_mm() < 50].std() < 0.02
    assert abs(again[(distance_mm() > 70) & (distance_mm() < 100)].mean()) < 0.02


def test_hardening_brightens_the_brain_under_the_skull() -> None:
    image = errors(head()).scaled(brain()).hu[1]

    rim = image[(distance_mm() > 74) & (distance_mm() < 80)].mean()
    middle = image[distance_mm() < 40].mean()

    assert 1 < rim - middle < 15


def test_a_dark_bar_lies_between_the_petrous_bones() -> None:
    image = errors(head(petrous=True)).scaled(brain()).hu[1]

    bar = image[distance_mm() < 10].mean()
    beside = image[distance_mm(0, 50) < 10].mean()

    assert -20 < bar - beside < -4


def test_hardening_grows_with_what_is_left_uncorrected_and_with_lower_voltage() -> None:
    def bar(bone_gain: float = 1.0, kvp: int = 120, hardening: float = 0.5) -> float:
        volume = head(petrous=True, bone_gain=bone_gain)
        image = errors(volume, kvp=kvp, hardening=hardening).scaled(brain()).hu[1]
        return float(image[distance_mm() < 10].mean() - image[distance_mm(0, 50) < 10].mean())

    assert bar(hardening=0.0) == pytest.approx(0, abs=0.01)
    assert bar(hardening=0.6) == pytest.approx(3 * bar(hardening=0.2), rel=0.05)
    assert bar(kvp=80, bone_gain=1.36) < 1.2 * bar(kvp=140, bone_gain=0.91) < 0


@pytest.mark.parametrize("cupping_hu", [-6.0, 4.0])
def test_cupping_has_the_depth_and_sign_that_are_asked(cupping_hu: float) -> None:
    image = errors(head(), hardening=0.0, cupping_hu=cupping_hu).scaled(brain()).hu[1]

    depth = image[distance_mm() < 10].mean() - image[(distance_mm() > 70) & brain()[1]].mean()

    assert 0.4 < depth / cupping_hu < 1.1
    assert abs(image[brain()[1]].mean()) < 0.05


def test_metal_throws_a_dark_bar_and_streaks_far_beyond_itself() -> None:
    image, share = head(), np.zeros((3, SIZE, SIZE), dtype=np.float32)
    for side in (-1, 1):
        share[1][distance_mm(side * 30, 0) < 4] = 1
    image[share > 0] = 3000
    calm, noisy = (
        errors(image, metal=share, rng=rng).hu for rng in (None, np.random.default_rng(1))
    )

    between, below = (np.mean(calm[1][distance_mm(0, y) < 2]) for y in (0, 40))
    far = distance_mm() < 20

    assert between < below - 60
    assert abs(np.mean(calm[0][distance_mm() < 2])) < 20
    assert (noisy - calm)[1][far].std() > 0.4
    assert np.abs(noisy).max() <= 400


def test_noise_is_stronger_in_the_middle_than_at_the_rim() -> None:
    strength = errors(head()).scaled(brain()).strength[1]

    middle, rim = strength[distance_mm() < 20].mean(), strength[(distance_mm() > 74) & brain()[1]]

    assert 1.05 < middle / rim.mean() < 1.5
    assert strength[0, 0] < rim.mean()
    assert np.sqrt(np.mean(strength[brain()[1]] ** 2)) == pytest.approx(1, abs=0.02)


def test_starved_rays_streak_through_the_petrous_bones_only() -> None:
    dense = head(petrous=True)
    dense[dense > 1400] = 2400
    rng = np.random.default_rng(1)

    streaks = errors(dense, rng=rng).hu[1] - errors(dense).hu[1]
    plain = errors(head(), rng=np.random.default_rng(1)).hu[1] - errors(head()).hu[1]

    between, above = streaks[distance_mm() < 15].std(), streaks[distance_mm(0, -60) < 15].std()
    assert between > 2 * above
    assert plain.std() < 0.5


def test_motion_during_the_rotation_streaks_and_rest_does_not() -> None:
    still = ndimage.gaussian_filter(head(), (0, 1.5, 1.5))
    moved = np.roll(still, 2, axis=2)

    none = motion_streaks(still, still, PIXEL_MM, (0.2, 0.5))
    some = motion_streaks(still, moved, PIXEL_MM, (0.2, 0.5))
    whole = motion_streaks(still, moved, PIXEL_MM, (0.0, 1.0))

    assert np.all(none == 0)
    assert some[1][distance_mm() < 60].std() > 0.8
    change = (moved - still)[1]
    likeness = [np.corrcoef(found[1].ravel(), change.ravel())[0, 1] for found in (some, whole)]
    assert likeness[0] < 0.8 < 0.93 < likeness[1]


def test_coarse_errors_are_interpolated_to_the_image() -> None:
    fine = np.repeat(np.repeat(head(petrous=True), 2, axis=1), 2, axis=2)
    thin = np.repeat(fine, 5, axis=0)

    found = beam_errors(thin, PIXEL_MM / 2, 0.6, 120, hardening=0.5, cupping_hu=0.0)
    hu, strength = found.fine(7)
    grid = found.grid(axial_stack(15, 256, thickness_mm=0.6, fov_mm=256 * PIXEL_MM / 2))

    assert (found.factor, found.every) == (2, 5)
    assert hu.shape == strength.shape == (256, 256)
    assert hu[::2, ::2][40:90, 40:90].mean() == pytest.approx(
        found.hu[1, 40:90, 40:90].mean(), abs=1
    )
    assert grid.shape == found.hu.shape
    assert grid.positions_mm[0, 0] == pytest.approx(-PIXEL_MM * (SIZE - 1) / 2)


def test_without_brain_errors_stay_as_they_are() -> None:
    found = errors(head())

    assert found.scaled(np.zeros_like(brain())) is found
