from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.dicom.times import heights_mm, position_index, slice_times
from inference.errors import NotAnalysable
from tests.inference.dicom.synthetic import CT, DSC, NOON, dynamic, header, header_with, times


def test_siemens_acquisition_time_gives_every_slice_its_own_time() -> None:
    seconds = times(20, 4)
    found = slice_times(dynamic(seconds))
    assert (found.source, found.guessed) == ("AcquisitionTime", False)
    assert found.seconds == pytest.approx(seconds.ravel())


def test_ge_cine_with_one_acquisition_time_falls_to_the_private_time() -> None:
    images = dynamic(
        times(45, 8, 1.0), "ge_mid_scan_time_s", start=3.0, acquisition_time_s=NOON,
        acquisition_date_s=0.0,
    )  # fmt: skip
    found = slice_times(images)
    assert found.source.startswith("GEMS_ACQU_01")
    assert found.seconds.max() == pytest.approx(44 + 7 * 0.04)


@pytest.mark.parametrize(
    ("field", "source"),
    [
        ("frame_datetime_s", "FrameAcquisitionDateTime"),
        ("acquisition_datetime_s", "AcquisitionDateTime"),
        ("temporal_offset_s", "TemporalPositionTimeOffset"),
        ("trigger_time_s", "TriggerTime"),
        ("ge_delta_start_time_s", "GEMS_PARM_01 (0043,xx1E)"),
        ("ge_rtia_s", "GEMS_RELA_01 (0021,xx5E)"),
        ("philips_dynamic_s", "Philips MR Imaging DD 001 (2005,xxA0)"),
    ],
)
def test_each_measured_source_is_used(field: str, source: str) -> None:
    seconds = np.repeat(times(20, 1), 4, axis=1)
    found = slice_times(dynamic(seconds, field))
    assert (found.source, found.guessed) == (source, False)
    assert found.seconds == pytest.approx(seconds.ravel())


@pytest.mark.parametrize("dated", [None, "first day", "right"])
def test_midnight_is_passed(dated: str | None) -> None:
    seconds = times(30, 3)
    images = dynamic(seconds, start=86400 - 20)
    wrapped = []
    for image in images:
        clock = image.acquisition_time_s or 0.0
        day = {None: None, "first day": 0.0, "right": 86400.0 * (clock >= 86400)}[dated]
        wrapped.append(header_with(image, acquisition_time_s=clock % 86400, acquisition_date_s=day))
    assert slice_times(wrapped).seconds == pytest.approx(seconds.ravel(), abs=1e-5)


def test_whole_seconds_give_way_to_a_finer_source() -> None:
    seconds = np.repeat(times(40, 1, 1.4), 3, axis=1)
    images = [
        header_with(image, acquisition_time_s=float(np.floor(image.trigger_time_s or 0)))
        for image in dynamic(seconds, "trigger_time_s", start=100.0)
    ]
    found = slice_times(images)
    assert found.source == "TriggerTime"
    assert found.seconds == pytest.approx(seconds.ravel())


def test_two_sources_that_contradict_each_other_are_refused() -> None:
    images = [
        header_with(image, trigger_time_s=10 * ((image.acquisition_time_s or 0) - NOON))
        for image in dynamic(times(20, 3))
    ]
    with pytest.raises(NotAnalysable, match="AcquisitionTime and TriggerTime contradict"):
        slice_times(images)
    reversed_order = [
        header_with(image, trigger_time_s=NOON - (image.acquisition_time_s or 0) + 100)
        for image in dynamic(times(20, 3))
    ]
    with pytest.raises(NotAnalysable, match="contradict"):
        slice_times(reversed_order)


def test_temporal_positions_in_another_order_are_refused() -> None:
    images = [
        header_with(image, temporal_position=99 - (image.instance_number or 0))
        for image in dynamic(times(20, 3))
    ]
    with pytest.raises(NotAnalysable, match="different orders"):
        slice_times(images)


def test_a_source_at_reconstruction_pace_does_not_count() -> None:
    images = [
        header_with(image, acquisition_time_s=NOON + (image.instance_number or 0) * 0.01)
        for image in dynamic(times(20, 3), "trigger_time_s", start=0.0)
    ]
    assert slice_times(images).source == "TriggerTime"


def test_ge_mr_with_instance_numbers_only_uses_the_repetition_time() -> None:
    images = [header_with(i, acquisition_time_s=NOON) for i in dynamic(times(50, 5), **DSC)]
    found = slice_times(images)
    assert (found.source, found.guessed) == ("InstanceNumber", True)
    assert found.seconds.max() == pytest.approx(49 * 1.5)


def test_philips_random_instance_numbers_are_not_believed() -> None:
    rng = np.random.default_rng(0)
    images = dynamic(times(50, 5), manufacturer="Philips Healthcare", **DSC)
    numbers = rng.permutation(len(images))
    shuffled = [
        header_with(i, acquisition_time_s=NOON, instance_number=int(n))
        for i, n in zip(images, numbers, strict=True)
    ]
    with pytest.raises(NotAnalysable, match="InstanceNumber orders the images but tells no"):
        slice_times(shuffled)
    known = [header_with(image, temporal_position=k // 5 + 1) for k, image in enumerate(shuffled)]
    found = slice_times(known)
    assert (found.source, found.guessed) == ("TemporalPositionIdentifier", True)
    assert found.seconds == pytest.approx(np.repeat(np.arange(50) * 1.5, 5))


def test_content_time_is_a_guess() -> None:
    seconds = times(30, 4)
    found = slice_times(dynamic(seconds, "content_time_s"))
    assert (found.source, found.guessed) == ("ContentTime", True)
    assert found.seconds == pytest.approx(seconds.ravel())
    with pytest.raises(NotAnalysable, match="ContentTime orders"):
        slice_times(dynamic(times(30, 4, 0.2), "content_time_s"))


def test_the_duration_of_the_acquisition_gives_an_interval() -> None:
    images = dynamic(times(30, 4), "content_time_s", acquisition_duration_s=60.0)
    assert slice_times(images).seconds.max() == pytest.approx(29 * 2.0)


def test_ct_without_any_time_is_refused_with_what_was_found() -> None:
    images = dynamic(times(30, 4), acquisition_time_s=NOON)
    with pytest.raises(NotAnalysable) as error:
        slice_times(images)
    assert "AcquisitionTime is the same for several images" in str(error.value)
    assert "InstanceNumber orders the images but tells no seconds" in str(error.value)


def test_one_volume_needs_no_time() -> None:
    images = [header(position=(0.0, 0.0, 5.0 * k), sop_class_uid=CT) for k in range(5)]
    found = slice_times(images)
    assert found.source == ""
    assert not found.seconds.any()
    assert slice_times(dynamic(times(1, 5))).seconds.max() == pytest.approx(0.16)


def test_no_images_and_images_without_position_are_refused() -> None:
    with pytest.raises(NotAnalysable):
        slice_times([])
    with pytest.raises(NotAnalysable, match="ImagePositionPatient"):
        slice_times([header(position=None)])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 12), st.integers(1, 6), st.floats(0.5, 8), st.floats(0, 86399),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_times_do_not_depend_on_order_or_time_of_day(
    points: int, slices: int, interval: float, start: float, random: Any
) -> None:
    seconds = times(points, slices, interval)
    images = [
        header_with(i, acquisition_time_s=(i.acquisition_time_s or 0) % 86400)
        for i in dynamic(seconds, start=start)
    ]
    places = list(range(len(images)))
    random.shuffle(places)
    found = slice_times([images[k] for k in places])
    assert found.seconds == pytest.approx(seconds.ravel()[places], abs=2e-5)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=40))
def test_positions_are_numbered_from_below(heights: list[int]) -> None:
    index = position_index(np.array(heights, dtype=np.float64) * 0.5)
    distinct = sorted(set(heights))
    assert [distinct[k] for k in index] == heights


def test_heights_follow_the_slice_normal() -> None:
    tilted = (1.0, 0.0, 0.0, 0.0, 0.9483237, -0.3173047)
    images = [header(orientation=tilted, position=(0.0, 0.0, 4.45 * k)) for k in range(3)]
    assert np.diff(heights_mm(images)) == pytest.approx(4.45 * 0.9483, abs=1e-3)
