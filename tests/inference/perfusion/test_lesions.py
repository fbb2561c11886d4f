import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.perfusion.lesions import (
    LesionRules,
    confirm_clusters,
    edges_that_moved,
    find_lesions,
    lesion_side,
    low_flow,
    median_in_plane,
    prolonged_tmax,
    remove_small,
    remove_thin,
    volume_ml,
)
from inference.perfusion.measurements import measure_lesions
from tests.inference.perfusion.phantom import Phantom, geometry

RULES = LesionRules(6, 4, 0.3, 4, 1, 2.5, 0.7, 2, 3.5)
WHERE = geometry(Phantom(rows=64, pixel_mm=2, slices=6, slice_mm=5))
X = WHERE.coordinates_mm(0)
LEFT = X > 0
TISSUE = np.hypot(X, WHERE.coordinates_mm(1)) < 60


def disc(x: float, radius: float) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.asarray(np.hypot(X - x, WHERE.coordinates_mm(1)) < radius)


def maps(
    delayed: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    core: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]], ...]:
    cbf = np.where(core, 5, np.where(delayed, 20, 40)).astype(np.float32)
    cbv = np.where(core, 1, 4).astype(np.float32)
    tmax = np.where(core, 12, np.where(delayed, 9, 2)).astype(np.float32)
    for volume in (cbf, cbv, tmax):
        volume[~TISSUE] = np.nan
    return cbf, cbv, tmax


@pytest.mark.parametrize(("x", "side", "other"), [(30, "L", "R"), (-30, "R", "L")])
def test_core_hypoperfused_and_numbers(x: float, side: str, other: str) -> None:
    delayed, core = disc(x, 22), disc(x, 10)
    speck = disc(-x, 6)
    cbf, cbv, tmax = maps(delayed, core | speck)
    tmax[speck] = 2
    hypoperfused = prolonged_tmax(TISSUE, tmax, 6, WHERE, RULES)
    found = find_lesions(hypoperfused, TISSUE, LEFT, cbf, cbv, tmax, WHERE, RULES)
    assert found.side == side
    assert found.reference.side == other
    np.testing.assert_array_equal(found.hypoperfused, delayed)
    np.testing.assert_array_equal(found.core, core)
    numbers = {
        m.name: m.value for m in measure_lesions(found, TISSUE, cbf, cbv, tmax, WHERE, RULES)
    }
    total, inner = volume_ml(delayed, WHERE), volume_ml(core, WHERE)
    assert numbers["hypoperfused_volume"] == pytest.approx(total)
    assert numbers["core_volume"] == pytest.approx(inner)
    assert numbers["mismatch_volume"] == pytest.approx(total - inner)
    assert numbers["mismatch_ratio"] == pytest.approx(total / inner)
    assert numbers["tmax_gt_4s_volume"] == pytest.approx(total)
    assert numbers["tmax_gt_8s_volume"] == pytest.approx(total)
    assert numbers["tmax_gt_10s_volume"] == pytest.approx(inner)
    assert numbers["hypoperfusion_intensity_ratio"] == pytest.approx(inner / total)
    assert numbers["rcbf_lt_20pct_volume"] == pytest.approx(inner)
    assert numbers["cbv_index"] is not None
    assert numbers["cbv_index"] < 1


def test_healthy_brain_has_no_lesion_and_no_ratio() -> None:
    nothing = np.zeros(WHERE.shape, bool)
    cbf, cbv, tmax = maps(nothing, nothing)
    found = find_lesions(nothing, TISSUE, LEFT, cbf, cbv, tmax, WHERE, RULES)
    assert found.side is None
    assert not found.core.any()
    numbers = {
        m.name: m.value for m in measure_lesions(found, TISSUE, cbf, cbv, tmax, WHERE, RULES)
    }
    assert numbers["core_volume"] == numbers["hypoperfused_volume"] == 0
    for name in ("mismatch_ratio", "hypoperfusion_intensity_ratio", "cbv_index"):
        assert numbers[name] is None


def test_both_sides_and_all_of_the_brain() -> None:
    delayed = disc(30, 15) | disc(-30, 15)
    assert lesion_side(delayed, delayed.astype(np.float32), LEFT, WHERE, 0.7) == "both"
    cbf, cbv, tmax = maps(TISSUE, np.zeros(WHERE.shape, bool))
    found = find_lesions(TISSUE, TISSUE, LEFT, cbf, cbv, tmax, WHERE, RULES)
    assert found.side == "both"
    assert found.reference.cbf == pytest.approx(20)


def test_the_side_is_that_of_the_long_delay_not_of_the_large_one() -> None:
    """A narrowed carotid delays its whole hemisphere to just above the threshold."""
    stroke, narrowed = disc(-30, 14), disc(30, 24)
    cbf, cbv, tmax = maps(stroke, np.zeros(WHERE.shape, bool))
    tmax[narrowed] = 6.1
    found = find_lesions(stroke | narrowed, TISSUE, LEFT, cbf, cbv, tmax, WHERE, RULES)
    assert volume_ml(narrowed, WHERE) > volume_ml(stroke, WHERE)
    assert found.side == "R"
    just = np.full(WHERE.shape, 6.0, np.float32)
    assert find_lesions(stroke, TISSUE, LEFT, cbf, cbv, just, WHERE, RULES).side == "both"


def test_gaps_that_noise_tears_into_a_core_are_closed_and_nothing_outside_added() -> None:
    core = disc(30, 14)
    torn = core & ~(np.abs(X - 30) < 2)
    cbf, cbv, tmax = maps(core, torn)
    found = find_lesions(core, TISSUE, LEFT, cbf, cbv, tmax, WHERE, RULES)
    assert volume_ml(found.core, WHERE) > 0.95 * volume_ml(core, WHERE)
    assert not found.core[~core].any()


def test_delayed_tissue_with_much_flow_is_an_edge_that_moved() -> None:
    stroke, edge, benign = disc(-30, 14), disc(30, 8), disc(0, 8)
    cbf, _, tmax = maps(stroke | benign, np.zeros(WHERE.shape, bool))
    tmax[edge] = 9
    cbf[edge], cbf[benign] = 90, 45
    found = edges_that_moved(TISSUE, cbf, tmax, WHERE, RULES)
    assert found[edge].all()
    assert not found[stroke | benign].any()
    near = np.asarray(np.hypot(X - 30, WHERE.coordinates_mm(1)) < 8 + 2 + 2.9)  # and a diagonal
    assert not found[~near].any()
    assert not edges_that_moved(TISSUE, cbf, np.full_like(tmax, 2.0), WHERE, RULES).any()


def test_low_flow_far_from_delay_is_no_core() -> None:
    cbf, cbv, tmax = maps(disc(30, 12), disc(-30, 12))
    tmax[disc(-30, 12)] = 2
    hypoperfused = prolonged_tmax(TISSUE, tmax, 6, WHERE, RULES)
    found = find_lesions(hypoperfused, TISSUE, LEFT, cbf, cbv, tmax, WHERE, RULES)
    assert not found.core.any()
    near = dataclasses.replace(RULES, core_reach_mm=30)
    wide = low_flow(
        TISSUE, cbf, found.reference, 0.3, found.hypoperfused | disc(-30, 5), WHERE, near
    )
    np.testing.assert_array_equal(wide, disc(-30, 12))


@given(radius=st.floats(2, 20), smallest=st.floats(0, 10))
@settings(max_examples=30, deadline=None)
def test_remove_small_is_by_volume(radius: float, smallest: float) -> None:
    mask = disc(0, radius)
    kept = remove_small(mask, WHERE, smallest)
    assert kept.any() == (volume_ml(mask, WHERE) >= smallest and bool(mask.any()))


def test_remove_thin_drops_strips_and_keeps_lesions_whole() -> None:
    strip = TISSUE & (np.abs(WHERE.coordinates_mm(1) - 40) < 2)
    lesion = disc(10, 12)
    np.testing.assert_array_equal(remove_thin(strip | lesion, WHERE, 2.5), lesion)
    assert not remove_thin(np.zeros_like(strip), WHERE, 2.5).any()


def test_small_clusters_are_confirmed_by_their_centre_and_large_ones_kept() -> None:
    seen, unseen, large = disc(30, 6), disc(-30, 6), disc(0, 14)
    centre = disc(30, 3)
    values = np.where(centre, 7.0, 3.0).astype(np.float32)
    kept = confirm_clusters(seen | unseen | large, values, 6.0, WHERE, 8.0)
    np.testing.assert_array_equal(kept, seen | large)
    nothing = np.zeros_like(seen)
    assert not confirm_clusters(nothing, values, 6.0, WHERE, 8.0).any()


def test_median_takes_specks_away_and_does_not_look_outside() -> None:
    fine = geometry(Phantom(rows=64, pixel_mm=1, slices=2, slice_mm=5))
    mask = np.zeros(fine.shape, bool)
    mask[:, 10:50, 10:50] = True
    values = np.where(mask, 10, np.nan).astype(np.float32)
    values[0, 30, 30] = 99
    out = median_in_plane(values, mask, fine, 3.0)
    assert np.all(out[mask] == 10)
    assert np.isnan(out[~mask]).all()
    np.testing.assert_array_equal(median_in_plane(values, mask, fine, 0.0), values)
