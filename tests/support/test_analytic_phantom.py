"""The simulated head: anatomy, flow and truth."""

from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tests.support.analytic.head import Plane, Tissue, Waves, hull_distance
from tests.support.analytic.phantom import (
    Lesion,
    Phantom,
    axial_geometry,
    draw_patient,
    make_phantom,
)


@cache
def phantom(seed: int = 1, lesion: Lesion = "left", slices: int = 4, matrix: int = 64) -> Phantom:
    geometry = axial_geometry(slices, matrix, fov_mm=205, centre_z_mm=3)
    return make_phantom(draw_patient(seed, lesion, vessel_scale=2), geometry)


def volume_ml(head: Phantom, mask: np.ndarray) -> float:
    return float(mask.sum(axis=(1, 2)) @ head.geometry.voxel_volumes_ml)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000), lesion=st.sampled_from(["left", "right", "none"]))
def test_every_patient_is_plausible(seed: int, lesion: Lesion) -> None:
    head = phantom(seed, lesion)
    np.testing.assert_allclose(head.cbv, head.cbf * head.mtt_s / 60, rtol=1e-5, atol=1e-6)
    assert (head.core & ~head.hypoperfused).sum() == 0
    assert (head.penumbra & head.core).sum() == 0
    np.testing.assert_array_equal(head.hypoperfused, head.brain & (head.tmax_s > 6))
    total = sum(head.fractions.values())
    assert isinstance(total, np.ndarray)
    assert total.max() <= 1 + 1e-5
    if lesion == "none":
        assert not head.hypoperfused.any()
        return
    assert volume_ml(head, head.hypoperfused) > 15
    assert head.cbf[head.core].mean() < head.cbf[head.penumbra].mean()
    x = head.geometry.coordinates_mm(0)[head.hypoperfused]
    assert (x > 0).mean() == (1 if lesion == "left" else 0)


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [(Tissue.CSF, 4, 8), (Tissue.WHITE, 27, 29), (Tissue.GREY, 36, 38)],
)
def test_baseline_values(kind: Tissue, low: float, high: float) -> None:
    head = phantom(3, "none", slices=8, matrix=256)
    pure = ndimage.binary_erosion(head.fractions[kind] > 0.99, np.ones((1, 5, 5)))
    assert low <= np.median(head.baseline_hu[pure]) <= high
    assert head.baseline_hu.min() == pytest.approx(-1000, abs=1)
    assert 800 < head.baseline_hu.max() < 1200


def test_flow_of_normal_tissue_is_textbook() -> None:
    head = phantom(2, "none", slices=4, matrix=128)
    grey = head.fractions[Tissue.GREY] > 0.99
    white = head.fractions[Tissue.WHITE] > 0.99
    assert 45 < head.cbf[grey].mean() < 65
    assert 16 < head.cbf[white].mean() < 30
    assert 3.5 < head.cbv[grey].mean() < 5.2
    assert 1.4 < head.cbv[white].mean() < 2.5


def test_the_side_changes_the_stroke_and_not_the_head() -> None:
    left, none = phantom(5, "left"), phantom(5, "none")
    healthy = left.tmax_s < 2
    assert np.abs(left.baseline_hu - none.baseline_hu).max() < 4
    np.testing.assert_allclose(left.cbf[healthy], none.cbf[healthy], rtol=0.1, atol=0.5)
    assert (left.fractions[Tissue.LATE_ARTERY] > 0).any()
    assert not (none.fractions[Tissue.LATE_ARTERY] > 0).any()


def test_seeds_differ_and_repeat() -> None:
    again = phantom.__wrapped__(7)
    np.testing.assert_array_equal(phantom(7).baseline_hu, again.baseline_hu)
    assert not np.array_equal(phantom(7).baseline_hu, phantom(8).baseline_hu)


def test_lesion_borders_are_graded() -> None:
    head = phantom(1, "left", slices=2, matrix=128)
    between = head.brain & (head.tmax_s > 2.5) & (head.tmax_s < 6)
    assert volume_ml(head, between) > 1


def test_unknown_side_is_refused() -> None:
    with pytest.raises(ValueError, match="expected left, right or none"):
        draw_patient(1, "both")  # type: ignore[arg-type]


def test_waves_agree_with_their_definition() -> None:
    rng = np.random.default_rng(0)
    waves = Waves.draw(rng, (20, 40))
    plane = Plane(
        origin=rng.normal(size=3), column_step=rng.normal(size=3), row_step=rng.normal(size=3),
        columns=np.arange(5.0), rows=np.arange(4.0),
    )  # fmt: skip
    points = plane.xyz.astype(float).reshape(3, -1)
    direct = np.cos(waves.vectors_per_mm @ points + waves.phases[:, None]).sum(axis=0)
    expected = direct.reshape(4, 5) / np.sqrt(12)
    np.testing.assert_allclose(waves.on_plane(plane), expected, atol=1e-4)


def test_hull_distance_is_radial() -> None:
    axes = np.array([60.0, 80.0, 70.0])
    points = np.array([[[0.0, 0.0]], [[0.0, 0.0]], [[90.0, 50.0]]], dtype=np.float32)
    np.testing.assert_allclose(hull_distance(axes, points), [[20, -20]], atol=1e-3)
