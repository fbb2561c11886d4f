from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.assemble.completeness import Completeness, completeness
from dicom_node.assemble.groups import acquisition_groups
from inference.dicom.headers import FrameHeader, read_folder
from inference.kinds import SeriesKind
from tests.dicom_node.assemble.test_groups import canon
from tests.inference.dicom.synthetic import DSC, SHARED_DATA, dynamic, header_with, times, volume


def judge(headers: list[FrameHeader], kind: SeriesKind = SeriesKind.CTP) -> Completeness:
    (group,) = acquisition_groups(headers)
    return completeness(group, kind)


def test_a_whole_structure_without_a_count_is_regular() -> None:
    found = judge(dynamic(times(30, 16)))
    assert (found.state, found.expected, found.received) == ("regular", None, 480)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 479), min_size=1, max_size=3))
def test_missing_images_are_irregular(lost: set[int]) -> None:
    images = [image for k, image in enumerate(dynamic(times(30, 16))) if k not in lost]
    found = judge(images)
    assert found.state == "irregular"
    assert (found.expected, found.received) == (480, 480 - len(lost))
    assert found.reason.startswith(f"{len(lost)} of 480 images missing: position")


def test_a_count_that_equals_the_images_is_declared() -> None:
    images = dynamic(times(30, 16), images_in_acquisition=480)
    assert judge(images).state == "declared"
    assert judge(images[:-16]).state == "irregular"
    assert judge(images[:-16]).reason.startswith("16 of 480 images missing: 0020,1002")
    assert judge(images[:-1]).state == "irregular"


def test_a_localizer_in_the_series_belongs_to_the_count() -> None:
    images = dynamic(times(30, 16), images_in_acquisition=481)
    localizer = header_with(images[0], sop_instance_uid="1.9", image_type=("ORIGINAL", "LOCALIZER"))
    groups = acquisition_groups([*images, localizer])
    states = [completeness(group, SeriesKind.CTP).state for group in groups]
    assert sorted(states) == ["declared", "irregular"]


def test_temporal_positions_are_declared() -> None:
    images = dynamic(
        times(50, 10), "trigger_time_s", number_of_temporal_positions=50, images_in_acquisition=500,
        **DSC,
    )  # fmt: skip
    assert judge(images, SeriesKind.PWI).state == "declared"
    found = judge(images[:300], SeriesKind.PWI)
    assert (found.state, found.expected, found.received) == ("irregular", 500, 300)
    per_volume = [header_with(image, images_in_acquisition=10) for image in images]
    assert judge(per_volume, SeriesKind.PWI).state == "declared"
    assert judge(per_volume[:10], SeriesKind.PWI).state == "irregular"


def test_a_count_per_volume_does_not_declare_the_acquisition() -> None:
    """After every volume the images are a multiple of such a count."""
    for points in (1, 5, 12, 19):
        assert (
            judge(canon(points), SeriesKind.CTA if points == 1 else SeriesKind.CTP).state
            == "regular"
        )


def test_counts_that_differ_between_acquisition_numbers_are_summed() -> None:
    def numbered(*counts: tuple[int, int]) -> list[FrameHeader]:
        images = dynamic(times(1, 30), kvp=120.0)
        fields = [pair for pair in counts for _ in range(15)]
        return [
            header_with(image, acquisition_number=number, images_in_acquisition=count)
            for image, (number, count) in zip(images, fields, strict=True)
        ]

    assert judge(numbered((1, 15), (2, 15)), SeriesKind.NCCT).state == "regular"
    assert judge(numbered((1, 12), (2, 18)), SeriesKind.NCCT).state == "declared"
    assert judge(numbered((1, 16), (2, 18)), SeriesKind.NCCT).state == "irregular"


def test_a_derived_series_may_keep_the_count_of_its_source() -> None:
    images = volume(30, images_in_acquisition=300, image_type=("DERIVED", "SECONDARY", "AXIAL"))
    assert judge(images, SeriesKind.NCCT).state == "regular"


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"has_pixel_data": False}, "1 of 480 images have no"), ({"position": None}, "no position")],
)
def test_broken_images_are_irregular(change: dict[str, Any], reason: str) -> None:
    images = dynamic(times(30, 16))
    images[5] = header_with(images[5], **change)
    found = judge(images)
    assert found.state == "irregular"
    assert reason in found.reason


def test_a_series_over_time_needs_more_than_one_time_point() -> None:
    assert judge(dynamic(times(1, 16))).state == "irregular"


def test_nothing_waits_for_what_no_pipeline_takes() -> None:
    images = dynamic(times(30, 16))[:-1]
    assert judge(images, SeriesKind.OTHER).state == "regular"
    homeless = header_with(images[0], position=None, orientation=None)
    assert judge([homeless], SeriesKind.OTHER).state == "regular"
    assert judge([homeless], SeriesKind.NCCT).state == "irregular"


def test_diffusion_needs_every_b_value_at_every_position() -> None:
    images = []
    for number, (b_value, z) in enumerate((b, z) for b in (0, 1000, 1000, 1000) for z in range(20)):
        images.append(
            header_with(
                volume(20)[z], sop_instance_uid=f"1.7.{number}", b_value=float(b_value), **DSC
            )
        )
    assert judge(images, SeriesKind.DWI).state == "regular"
    found = judge([*images[:30], *images[31:]], SeriesKind.DWI)
    assert found.state == "irregular"
    assert found.reason == "b=1000: 1 of 60 images missing"


def test_intervals_of_real_protocols_are_regular() -> None:
    for starts in (
        np.r_[np.arange(20) * 1.5, 30 + np.arange(10) * 3.0],
        np.cumsum(np.tile([0.6, 2.4], 12)),
        np.r_[0.0, 6.0 + np.arange(25) * 2.0],
        np.r_[np.arange(25) * 2.0, 80.0],
    ):
        images = dynamic(starts[:, None] + np.zeros((1, 8)), instance_number=None)
        images = [header_with(h, sop_instance_uid=f"1.6.{k}") for k, h in enumerate(images)]
        assert judge(images).state == "regular"


@pytest.mark.shared_data
def test_the_examples() -> None:
    if not SHARED_DATA.is_dir():
        pytest.skip("the example studies (../shared/data) are absent")
    expected = {
        "ctp-sample": ("regular", SeriesKind.CTP),
        "ct-head-ge": ("regular", SeriesKind.NCCT),
        "mr-temporal-position": ("declared", SeriesKind.OTHER),
        "mr-enhanced-time": ("declared", SeriesKind.OTHER),
    }
    for folder, (state, kind) in expected.items():
        assert judge(read_folder(SHARED_DATA / folder)[0], kind).state == state
