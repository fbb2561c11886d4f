import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.errors import NotAnalysable
from inference.perfusion import quality
from inference.perfusion.tissue_curve import TissueCurve
from inference.perfusion.vessel_curves import VesselCurve, describe_curve
from tests.inference.perfusion.phantom import Phantom, bolus, geometry, tissue_curve

BOLUS = np.r_[np.zeros(8), np.full(6, 300.0), np.full(26, 30.0)]
ARTERY = VesselCurve(BOLUS, np.zeros((4, 3), int), np.zeros(3), 8.0, 13.0, 6.0, 300.0, 30.0)
TISSUE = TissueCurve(np.r_[np.zeros(10), np.full(28, 8.0), np.zeros(3)], 9.0, 18.0, 8.0)
VEIN = dataclasses.replace(ARTERY, arrival_s=13.0, peak_time_s=19.0, width_s=9.0)


def test_complete_scan_passes() -> None:
    assert quality.check_truncation(ARTERY, VEIN, TISSUE, 45.0) is None
    assert quality.check_truncation(ARTERY, None, TISSUE, 45.0) is None


def test_truncated_by_the_vein_or_without_one_by_the_brain() -> None:
    cut = dataclasses.replace(VEIN, tail=150.0)
    half = dataclasses.replace(TISSUE, curve=np.full(41, 2.8))
    found = quality.check_truncation(ARTERY, cut, half, 45.0)
    assert found is not None
    assert (found.code, found.value) == ("truncated", 0.5)
    assert quality.check_truncation(ARTERY, cut, TISSUE, 45.0) is None  # the brain does not agree
    full = dataclasses.replace(TISSUE, curve=np.full(41, 4.0))
    assert quality.check_truncation(ARTERY, VEIN, full, 45.0) is None
    found = quality.check_truncation(ARTERY, None, full, 45.0)
    assert found is not None
    assert (found.code, found.value) == ("truncated", 0.5)


@given(
    width_s=st.floats(1.0, 3.2),
    arrival_s=st.floats(4, 15),
    after_s=st.floats(5, 70),
    with_vein=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_truncated_is_what_the_vein_says_however_slow_the_bolus(
    width_s: float, arrival_s: float, after_s: float, with_vein: bool
) -> None:
    fine = np.arange(0, 140, 0.1)
    artery = np.interp((fine - arrival_s) / width_s, fine - 10, bolus(fine, 10, 300.0))
    brain = tissue_curve(artery, 0.1, 45.0, 4.6, 1.0)
    spread = np.exp(-fine / 3.0)
    vein = np.interp(fine - 3, fine, np.convolve(artery, spread / spread.sum())[: len(fine)])
    end = arrival_s + after_s
    times = np.arange(0, end, 1.0)
    seen = [np.interp(times, fine, c) for c in (artery, vein, brain)]
    peaks = [float(times[int(np.argmax(c))]) for c in seen]
    tail = float(np.interp(times[-1], fine, vein)) / float(vein.max())
    passed = times[-1] > fine[int(np.argmax(vein))] and tail < 0.25
    where, voxel = geometry(Phantom(rows=16, slices=2)), np.array([[0, 1, 1]])
    described = [describe_curve(c, times, voxel, where) for c in seen[:2]]
    tissue = TissueCurve(seen[2], arrival_s + 1, peaks[2], float(seen[2].max()))
    try:
        found = quality.check_truncation(
            described[0], described[1] if with_vein else None, tissue, float(times[-1])
        )
    except NotAnalysable:
        assert not passed or after_s < 16
        return
    if passed and with_vein:
        assert found is None
    if times[-1] < fine[int(np.argmax(vein))] or tail > 0.35 + 0.1 * (not with_vein):
        assert found is not None


@pytest.mark.parametrize(
    ("artery", "tissue_peak", "end"),
    [
        (dataclasses.replace(ARTERY, tail=200.0), 18.0, 45.0),
        (dataclasses.replace(ARTERY, width_s=float("inf")), 18.0, 45.0),
        (ARTERY, 18.0, 20.0),
        (ARTERY, 30.0, 31.0),
    ],
)
def test_cut_before_the_bolus_has_passed(
    artery: VesselCurve, tissue_peak: float, end: float
) -> None:
    tissue = dataclasses.replace(TISSUE, peak_time_s=tissue_peak)
    with pytest.raises(NotAnalysable, match="before the bolus had passed"):
        quality.check_truncation(artery, VEIN, tissue, end)


def test_weak_bolus() -> None:
    assert quality.check_bolus(300.0) is None
    found = quality.check_bolus(12.0)
    assert found is not None
    assert (found.code, found.value) == ("weak_bolus", 12.0)
    assert quality.check_contrast_to_noise(8.0, 2.5) is None
    assert quality.check_contrast_to_noise(5.0, 1.0) is None
    found = quality.check_contrast_to_noise(6.0, 5.0)
    assert found is not None
    assert (found.code, found.value) == ("weak_bolus", 3.0)
    with pytest.raises(NotAnalysable, match="too weak or the images too noisy"):
        quality.check_contrast_to_noise(1.0, 2.5)


@given(shift=st.floats(0, 8), turn=st.floats(0, 8), dropped=st.integers(0, 10))
def test_motion_is_told_above_three_millimetres_or_degrees(
    shift: float, turn: float, dropped: int
) -> None:
    found = {w.code: w.value for w in quality.check_motion(shift, turn, dropped, 20)}
    assert ("motion" in found) == (shift > 3 or turn > 3)
    assert found.get("motion", round(shift, 1)) == round(shift, 1)
    assert found.get("frames_dropped") == (dropped or None)


def test_a_head_that_moved_all_the_time_is_refused() -> None:
    with pytest.raises(NotAnalysable, match="11 of 20 frames had to be dropped") as refused:
        quality.check_motion(1.0, 1.0, 11, 20)
    assert (refused.value.code, refused.value.value) == ("frames_dropped", 11.0)


@given(lower=st.floats(0, 400), inner=st.floats(0, 1), outer=st.floats(0, 1))
def test_a_volume_that_hangs_on_the_threshold_is_told(
    lower: float, inner: float, outer: float
) -> None:
    volume = lower * inner
    found = quality.check_threshold(volume, lower, volume * outer, 6.0)
    spread = lower - volume * outer
    assert (found is not None) == (spread > max(40.0, 0.6 * volume))
    if found is not None:
        assert (found.code, found.value) == ("uncertain", round(spread, 1))


def test_gaps_count_while_the_bolus_passes() -> None:
    times = np.repeat(np.arange(0, 60, 2.0)[:, None], 3, axis=1)
    assert quality.check_sampling(times, ARTERY) is None
    assert quality.check_sampling(np.delete(times, range(15, 25), axis=0), ARTERY) is None
    assert quality.check_sampling(np.delete(times, range(1, 4), axis=0), ARTERY) is None
    slow = dataclasses.replace(ARTERY, width_s=9.0)
    found = quality.check_sampling(np.delete(times, [6, 7], axis=0), slow)
    assert found is not None
    assert (found.code, found.value) == ("uncertain", 6.0)
    with pytest.raises(NotAnalysable, match=r"no frame for 6\.0 s while the bolus passes"):
        quality.check_sampling(np.delete(times, [6, 7], axis=0), ARTERY)


def test_short_baseline_late_input_coverage_and_timing() -> None:
    assert quality.check_baseline(2) is None
    found = quality.check_baseline(1)
    assert found is not None
    assert (found.code, found.value) == ("short_baseline", 1.0)
    assert quality.check_arterial_lead(ARTERY, TISSUE) is None
    found = quality.check_arterial_lead(ARTERY, dataclasses.replace(TISSUE, peak_time_s=13.0))
    assert found is not None
    assert (found.code, found.value) == ("aif_late", 0.0)
    assert quality.check_coverage(geometry(Phantom(slices=8, slice_mm=5))) is None
    found = quality.check_coverage(geometry(Phantom(slices=2, slice_mm=10)))
    assert found is not None
    assert (found.code, found.value) == ("low_coverage", 20.0)
    assert quality.check_timing("AcquisitionTime", False) is None
    found = quality.check_timing("InstanceNumber", True)
    assert found is not None
    assert found.code == "timing_guessed"
    assert "InstanceNumber" in found.text


def test_contrast_that_was_there_from_the_start_is_refused() -> None:
    """The first frames then hold contrast, and later ones lie below them."""
    quality.check_start(ARTERY, TISSUE)
    with pytest.raises(NotAnalysable, match="contrast was there when the scan began"):
        quality.check_start(dataclasses.replace(ARTERY, tail=-150.0), TISSUE)
    fallen = dataclasses.replace(TISSUE, curve=np.r_[np.full(38, 8.0), np.full(3, -7.2)])
    with pytest.raises(NotAnalysable, match="the brain ends"):
        quality.check_start(ARTERY, fallen)


@pytest.mark.parametrize(("width", "warned"), [(6.0, False), (10.0, False), (12.5, True)])
def test_a_wide_bolus_is_told(width: float, warned: bool) -> None:
    found = quality.check_width(dataclasses.replace(ARTERY, width_s=width))
    assert (found is not None) is warned
    if found is not None:
        assert (found.code, found.value) == ("uncertain", 12.5)
