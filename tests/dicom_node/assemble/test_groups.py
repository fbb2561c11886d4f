from typing import Any

import numpy as np
import pytest

from dicom_node.assemble.groups import acquisition_groups
from inference.dicom.headers import FrameHeader
from tests.inference.dicom.synthetic import NOON, dynamic, header_with, times, volume


def canon(
    points: int = 19, slices: int = 16, start: float = NOON, first_series: int = 1, **changes: Any
) -> list[FrameHeader]:
    """One series per volume: 2 s apart, later 5 s."""
    starts = np.r_[0.0, 7 + np.arange(13) * 2.0, 36 + np.arange(30) * 5.0][:points]
    found = []
    for t, second in enumerate(starts):
        images = volume(
            slices, series=f"1.2.{first_series + t}", acquisition_time_s=start + second,
            series_number=first_series + t, kvp=80.0, manufacturer="CANON_MEC",
            contrast="ContrastBolusAgent", images_in_acquisition=slices,
        )  # fmt: skip
        found += [header_with(image, **changes) for image in images]
    return found


def test_canon_volumes_are_one_acquisition() -> None:
    images = canon()
    (group,) = acquisition_groups(np.random.default_rng(0).permutation(np.array(images)).tolist())
    assert len(group.series_uids) == 19
    assert (group.stack.slices, group.stack.time_points) == (16, 19)
    assert group.stack.gaps == ()


def test_the_key_stays_while_images_arrive() -> None:
    for images in (canon(), dynamic(times(20, 16)), volume(30)):
        final = acquisition_groups(images)[0].key
        for count in (1, 16, 17, 40, 100, len(images)):
            assert acquisition_groups(images[:count])[0].key == final


def test_slabs_measured_in_turn_are_one_acquisition() -> None:
    protocol: dict[str, Any] = {"manufacturer": "Philips", "contrast": "ContrastBolusAgent"}
    lower = dynamic(np.arange(15)[:, None] * 4.0 + np.zeros((1, 8)), series="1.2.1", **protocol)
    upper = dynamic(
        np.arange(15)[:, None] * 4.0 + np.zeros((1, 8)) + 2.0, series="1.2.2",
        heights=[40.0 + 5 * k for k in range(8)], **protocol,
    )  # fmt: skip
    (group,) = acquisition_groups(lower + upper)
    assert group.series_uids == ("1.2.1", "1.2.2")
    assert group.stack.slices == 16
    assert group.stack.gaps == ()


def test_slabs_measured_one_after_the_other_are_two() -> None:
    lower = dynamic(times(15, 8), series="1.2.1")
    upper = dynamic(
        times(15, 8), series="1.2.2", start=NOON + 25, heights=[40 + 5.0 * k for k in range(8)]
    )
    assert len(acquisition_groups(lower + upper)) == 2


@pytest.mark.parametrize(
    "difference",
    [
        {"contrast": "ContrastBolusAgent"},
        {"kvp": 100.0},
        {"frame_of_reference_uid": "1.2.77"},
        {"study_instance_uid": "1.77"},
        {},
    ],
)
@pytest.mark.parametrize("later", [15.0, 300.0])
def test_two_volumes_on_one_grid_are_never_joined(difference: dict[str, Any], later: float) -> None:
    """An unenhanced scan and an angiography after it; or a scan that was repeated."""
    first = volume(30, series="1.2.1", acquisition_time_s=NOON)
    second = volume(30, series="1.2.2", acquisition_time_s=NOON + later, **difference)
    assert len(acquisition_groups(first + second)) == 2


def test_phases_of_an_angiography_are_not_joined() -> None:
    images: list[FrameHeader] = []
    for phase in range(3):
        images += volume(
            40,
            series=f"1.2.{phase}",
            acquisition_time_s=NOON + 8 * phase,
            contrast="ContrastBolusAgent",
        )
    assert len(acquisition_groups(images)) == 3


def test_an_unenhanced_volume_before_the_perfusion_stays_apart() -> None:
    plain = volume(16, series="1.2.900", acquisition_time_s=NOON - 200, manufacturer="CANON_MEC")
    groups = acquisition_groups([*canon(), *plain])
    assert sorted(len(group.series_uids) for group in groups) == [1, 19]


def test_two_perfusion_runs_are_two_acquisitions() -> None:
    groups = acquisition_groups(canon() + canon(start=NOON + 600, first_series=100))
    assert [len(group.series_uids) for group in groups] == [19, 19]


def test_two_reconstructions_of_the_same_volumes_are_two_acquisitions() -> None:
    groups = acquisition_groups(canon() + canon(first_series=100))
    assert [group.stack.time_points for group in groups] == [19, 19]


def test_series_without_times_are_not_joined() -> None:
    images = canon(acquisition_time_s=None)
    assert len(acquisition_groups(images)) == 19


def test_a_localizer_and_maps_inside_a_series_stand_apart() -> None:
    images = dynamic(times(20, 8))
    localizer = header_with(
        images[0], sop_instance_uid="1.9.1", orientation=(1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
        image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"), rows=512,
    )  # fmt: skip
    maps = [
        header_with(
            images[k],
            sop_instance_uid=f"1.9.2.{k}",
            image_type=("DERIVED", "PRIMARY", "AXIAL", "CBF"),
        )
        for k in range(8)
    ]
    groups = acquisition_groups([*images, localizer, *maps])
    assert sorted(len(group.headers) for group in groups) == [1, 8, 160]
    assert len({group.key for group in groups}) == 3


def test_two_kernels_over_the_same_positions_stand_apart() -> None:
    soft = volume(30, series="1.2.1", kernel="Hr36")
    sharp = [header_with(h, kernel="Hr64", sop_instance_uid=f"1.8.{k}") for k, h in enumerate(soft)]
    assert [len(group.headers) for group in acquisition_groups(soft + sharp)] == [30, 30]
    changing = [header_with(h, kernel="A" if k < 15 else "B") for k, h in enumerate(soft)]
    assert len(acquisition_groups(changing)) == 1


def test_two_patients_in_a_study_are_flagged() -> None:
    first = volume(10, series="1.2.1")
    second = volume(10, series="1.2.2", patient_key="b")
    assert [group.patients for group in acquisition_groups(first + second)] == [2, 2]
    other_study = [header_with(h, study_instance_uid="1.3") for h in second]
    assert [group.patients for group in acquisition_groups(first + other_study)] == [1, 1]


def test_interleaved_series_and_duplicates_do_not_disturb() -> None:
    first, second = dynamic(times(10, 4), series="1.2.1"), dynamic(times(10, 4), series="1.2.2")
    mixed = [image for pair in zip(first, second, strict=True) for image in pair]
    groups = acquisition_groups([*mixed, *mixed])
    assert [len(group.headers) for group in groups] == [40, 40]


def test_images_without_position_are_a_group_of_their_own() -> None:
    report = header_with(
        volume(1)[0], sop_instance_uid="1.9", orientation=None, position=None, rows=0, modality="SR"
    )
    groups = acquisition_groups([report, *volume(10)])
    assert sorted(len(group.headers) for group in groups) == [1, 10]
