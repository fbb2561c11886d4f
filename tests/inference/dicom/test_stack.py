from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.dicom.headers import read_folder
from inference.dicom.stack import arrange
from inference.errors import DicomReadError
from tests.inference.dicom.synthetic import (
    DSC,
    NOON,
    SHARED_DATA,
    dynamic,
    header_with,
    times,
    volume,
)


def shuttle(points: int = 20, slices: int = 12) -> Any:
    """Siemens: a table that moves to and fro, so that time depends on position and direction."""
    forth = np.arange(slices) * 0.1
    rows = [t * 1.8 + (forth if t % 2 == 0 else forth[::-1]) for t in range(points)]
    return np.array(rows)


def jog(points: int = 16, slices: int = 8) -> Any:
    """Philips: two table positions in turn."""
    seconds = np.repeat(np.arange(points)[:, None] * 4.0, 2 * slices, axis=1)
    seconds[:, slices:] += 2.0
    return seconds


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["plain", "shuttle", "jog"]), st.randoms(use_true_random=False))
def test_any_order_gives_the_same_whole_stack(pattern: str, random: Any) -> None:
    seconds = {"plain": times(15, 6), "shuttle": shuttle(), "jog": jog()}[pattern]
    images = dynamic(seconds)
    random.shuffle(images)
    stack = arrange([*images, images[0]])
    assert stack.gaps == ()
    assert stack.times_s == pytest.approx(seconds)
    assert (stack.time_points, stack.slices) == seconds.shape
    order = [[frame.instance_number or 0 for frame in row if frame] for row in stack.frames]
    assert np.all(np.diff(np.ravel(order)) == 1)


def test_canon_uneven_intervals_are_no_gap() -> None:
    starts = np.r_[0.0, 7 + np.arange(13) * 2.0, 36 + np.arange(5) * 5.0]
    stack = arrange(_unnumbered(dynamic(starts[:, None] + np.zeros((1, 8)))))
    assert stack.gaps == ()


def test_ge_shuttle_pairs_are_no_gap() -> None:
    """Short and long intervals alternate at the ends of the table's travel."""
    starts = np.cumsum(np.tile([0.6, 2.4], 12))
    stack = arrange(_unnumbered(dynamic(starts[:, None] + np.zeros((1, 8)))))
    assert stack.gaps == ()


def _unnumbered(images: list[Any]) -> list[Any]:
    return [header_with(image, instance_number=None) for image in images]


@settings(max_examples=40, deadline=None)
@given(
    st.sets(st.tuples(st.integers(0, 29), st.integers(0, 15)), min_size=1, max_size=3),
    st.sampled_from(["plain", "shuttle", "jog"]),
    st.booleans(),
)
def test_missing_images_are_counted_and_named(
    lost: set[tuple[int, int]], pattern: str, numbered: bool
) -> None:
    seconds = {"plain": times(30, 16), "shuttle": shuttle(30, 16), "jog": jog(30, 8)}[pattern]
    images = dynamic(seconds) if numbered else _unnumbered(dynamic(seconds))
    kept = [image for k, image in enumerate(images) if divmod(k, 16) not in lost]
    stack = arrange(kept)
    assert stack.missing == len(lost)
    assert stack.gaps[0].startswith(f"{len(lost)} of 480 images missing: position ")
    for t, s in lost:
        assert f"position {s + 1} of 16 (z={5.0 * s:.1f} mm), time point {t + 1}" in stack.gaps[0]
        assert stack.frames[t][s] is None
        assert np.isnan(stack.times_s[t, s])


@pytest.mark.parametrize("numbered", [True, False])
def test_a_missing_time_point_is_noticed(numbered: bool) -> None:
    images = dynamic(times(30, 16)) if numbered else _unnumbered(dynamic(times(30, 16)))
    stack = arrange([image for k, image in enumerate(images) if k // 16 != 12])
    assert stack.missing == 16
    assert "1 time point missing after time point 12 at all positions" in stack.gaps[0]


def test_a_missing_time_point_of_an_alternating_scan_shows_in_the_numbers() -> None:
    starts = np.cumsum(np.tile([0.6, 2.4], 12))
    images = dynamic(starts[:, None] + np.zeros((1, 8)))
    stack = arrange([image for k, image in enumerate(images) if k // 8 != 9])
    assert stack.gaps == ("8 InstanceNumbers are absent: 1 whole time point",)
    numbered = [
        header_with(image, instance_number=None, temporal_position=k // 8 + 1)
        for k, image in enumerate(images)
        if k // 8 != 9
    ]
    assert arrange(numbered).gaps == ("no image has TemporalPositionIdentifier 10",)


@pytest.mark.parametrize("images", [dynamic(times(30, 16)), volume(28)])
def test_a_missing_slice_position_is_noticed(images: list[Any]) -> None:
    kept = [image for image in images if image.position[2] != 35.0]
    stack = arrange(kept)
    assert stack.missing == stack.time_points
    assert "no slice between positions 7 and 8" in stack.gaps[0]


def test_spacing_that_changes_along_the_head_is_no_gap() -> None:
    heights = np.cumsum(np.r_[np.full(14, 4.22), 1.14, np.full(12, 7.38)])
    stack = arrange(_unnumbered(dynamic(np.zeros((1, 27)), heights=heights.tolist())))
    assert stack.gaps == ()
    doubled = np.cumsum(np.r_[np.full(10, 4.0), np.full(8, 8.0)])
    assert arrange(_unnumbered(dynamic(np.zeros((1, 18)), heights=doubled.tolist()))).gaps == ()


def test_the_last_visit_of_one_jog_slab_is_left_out() -> None:
    images = _unnumbered(dynamic(jog(16, 8)))
    stack = arrange([image for k, image in enumerate(images) if k < 15 * 16 + 8])
    assert stack.gaps == ()
    assert stack.time_points == 15
    assert "measured once more" in stack.notes[0]


def test_an_aborted_last_volume_is_reported() -> None:
    images = _unnumbered(dynamic(times(30, 16)))
    stack = arrange(images[:-10])
    assert stack.missing == 10
    assert "time point 30" in stack.gaps[0]


def test_images_on_another_grid_are_reported() -> None:
    images = dynamic(times(10, 6))
    odd = header_with(images[0], sop_instance_uid="1.9", rows=512, columns=512)
    turned = header_with(
        images[0], sop_instance_uid="1.8", orientation=(1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
    )
    homeless = header_with(images[0], sop_instance_uid="1.7", position=None)
    stack = arrange([*images, odd, turned, homeless])
    assert stack.gaps[0] == "1 images have no position in the patient"
    assert stack.gaps[1].startswith("2 images differ in size, direction or pixel spacing")
    assert stack.slices == 6


def test_images_shifted_within_their_plane_are_reported() -> None:
    images = dynamic(times(10, 6))
    images[7] = header_with(images[7], position=(-110.0, -115.0, 5.0))
    assert "shifted within their plane" in arrange(images).gaps[0]


def test_a_stack_without_times_keeps_its_structure() -> None:
    stack = arrange(dynamic(times(30, 4), acquisition_time_s=NOON))
    assert (stack.time_points, stack.slices) == (30, 4)
    assert "no attribute tells" in stack.timing_problem
    assert np.isnan(stack.times_s).all()
    assert stack.gaps == ()


def test_interleaved_series_do_not_disturb_each_other() -> None:
    first = dynamic(times(20, 4), "trigger_time_s", start=0.0, **DSC)
    second = dynamic(times(20, 4), "trigger_time_s", start=0.0, series="1.2.4", **DSC)
    mixed = [image for pair in zip(first, second, strict=True) for image in pair]
    stack = arrange([image for image in mixed if image.series_instance_uid == "1.2.4"])
    assert stack.gaps == ()
    assert {f.series_instance_uid for row in stack.frames for f in row if f} == {"1.2.4"}


def test_nothing_with_a_position_is_refused() -> None:
    with pytest.raises(DicomReadError, match="no image with position"):
        arrange([])
    with pytest.raises(DicomReadError):
        arrange([header_with(volume(1)[0], orientation=None)])


@pytest.mark.shared_data
def test_the_examples_are_whole() -> None:
    if not SHARED_DATA.is_dir():
        pytest.skip("the example studies (../shared/data) are absent")
    expected = {
        "ctp-sample": (16, 30, "AcquisitionDateTime"),
        "ct-head-ge": (28, 1, "GEMS_ACQU_01 (0019,xx24)"),
        "mr-temporal-position": (10, 10, "TriggerTime"),
        "mr-enhanced-time": (12, 7, "FrameAcquisitionDateTime"),
    }
    for folder, (slices, points, timing) in expected.items():
        stack = arrange(read_folder(SHARED_DATA / folder)[0])
        assert (stack.slices, stack.time_points, stack.timing) == (slices, points, timing)
        assert stack.gaps == ()
    assert arrange(read_folder(SHARED_DATA / "ct-head-ge")[0]).geometry.tilt_deg == pytest.approx(
        18.5, abs=0.01
    )
