from typing import Any

import numpy as np
import pytest

from dicom_node.assemble.classify import Classification, classify
from dicom_node.assemble.groups import acquisition_groups
from inference.dicom.headers import FrameHeader, read_folder
from inference.kinds import SeriesKind
from tests.dicom_node.assemble.test_groups import canon
from tests.inference.dicom.synthetic import (
    DSC,
    ENHANCED_MR,
    MR,
    NOON,
    SHARED_DATA,
    dynamic,
    header_with,
    times,
    volume,
)
from tests.inference.dicom.test_stack import jog, shuttle


def kind_of(headers: list[FrameHeader]) -> Classification:
    groups = acquisition_groups(headers)
    return classify(max(groups, key=lambda group: len(group.headers)))


def _ge_cine() -> list[FrameHeader]:
    return dynamic(
        times(45, 8, 1.0), "ge_mid_scan_time_s", start=0.0, acquisition_time_s=NOON,
        manufacturer="GE MEDICAL SYSTEMS", kernel="STANDARD",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("images", "slices", "points"),
    [
        (dynamic(times(30, 16)), 16, 30),
        (dynamic(times(10, 16)), 16, 10),
        (dynamic(shuttle(20, 12)), 12, 20),
        (_ge_cine(), 8, 45),
        (dynamic(jog(16, 8), manufacturer="Philips"), 16, 16),
        (canon(), 16, 19),
        (dynamic(times(30, 2), heights=[0.0, 10.0], body_part=""), 2, 30),
        (dynamic(times(30, 16), image_type=("DERIVED", "PRIMARY", "AXIAL", "CT_SOM5 4D")), 16, 30),
    ],
    ids=["siemens", "cut", "shuttle", "ge cine", "jog", "canon", "two slices", "derived"],
)
def test_ct_perfusion_of_the_vendors(images: list[FrameHeader], slices: int, points: int) -> None:
    found = kind_of(images)
    assert found.kind is SeriesKind.CTP
    assert (found.slices, found.time_points) == (slices, points)
    assert any("interval" in line for line in found.evidence)


def test_ct_perfusion_with_missing_images_or_times_is_still_one() -> None:
    assert kind_of(dynamic(times(30, 16))[3:]).kind is SeriesKind.CTP
    timeless = kind_of(dynamic(times(30, 16), acquisition_time_s=NOON))
    assert timeless.kind is SeriesKind.CTP
    assert any("times unknown" in line for line in timeless.evidence)


def _reformat(orientation: tuple[float, ...]) -> list[FrameHeader]:
    return [
        header_with(image, orientation=orientation, position=(5.0 * k, 5.0 * k, 0.0))
        for k, image in enumerate(volume(30))
    ]


def _ncct(**changes: Any) -> list[FrameHeader]:
    return volume(30, **changes)


@pytest.mark.parametrize(
    "images",
    [
        _ncct(),
        _ncct(body_part=""),
        _ncct(acquisition_time_s=NOON),
        volume(300, spacing=0.5, slice_thickness=0.5),
        _ncct(orientation=(1.0, 0.0, 0.0, 0.0, 0.9483237, -0.3173047)),
        _ncct(image_type=("DERIVED", "SECONDARY", "AXIAL", "CSA MPR")),
        _ncct(contrast="", body_part="BRAIN", kernel="J30s/3"),
    ],
)
def test_unenhanced_head_ct(images: list[FrameHeader]) -> None:
    found = kind_of(images)
    assert found.kind is SeriesKind.NCCT
    assert found.time_points == 1


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (_ncct(body_part="CHEST"), "BodyPartExamined is CHEST"),
        (_ncct(body_part="NECK"), "BodyPartExamined is NECK"),
        (_ncct(body_part="", pixel_spacing=(1.9, 1.9)), "field of view 486 mm"),
        (volume(5), "5 slices: fewer than 8"),
        (volume(10, spacing=1.0), "10 mm covered"),
        (volume(100, spacing=5.0), "500 mm covered"),
        (_reformat((1.0, 0.0, 0.0, 0.0, 0.0, -1.0)), "coronal reformat"),
        (_reformat((0.0, 1.0, 0.0, 0.0, 0.0, -1.0)), "sagittal reformat"),
        (_ncct(kernel="Hr64"), "kernel Hr64"),
        (_ncct(kernel="BONEPLUS"), "kernel BONEPLUS"),
        (_ncct(kernel="FC30"), "kernel FC30"),
        (_ncct(image_type=("DERIVED", "SECONDARY", "AXIAL", "MIP")), "projection"),
        (_ncct(image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")), "localizer"),
        (_ncct(image_type=("DERIVED", "PRIMARY", "AXIAL", "VNC")), "map"),
        (_ncct(image_type=("DERIVED", "PRIMARY", "PERFUSION", "NONE")), "map"),
        (_ncct(samples=3, photometric="RGB"), "colour"),
        (_ncct(burned_in=True), "BurnedInAnnotation"),
        (_ncct(sop_class_uid="1.2.840.10008.5.1.4.1.1.7"), "no CT or MR image"),
        (_ncct(sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33", rows=0), "no CT or MR image"),
        (_ncct(position=None), "no image with position"),
        (
            _ncct(manufacturer_model_name="StrokeNode", content_qualification="RESEARCH"),
            "result of this node",
        ),
        (dynamic(times(20, 1)), "one position 20 times: bolus tracking"),
        (volume(1), "one image, not a volume"),
        (dynamic(times(5, 16)), "5 time points: too few for CTP"),
        (dynamic(times(20, 16, 0.3)), "within 5.7 s: a bolus takes longer"),
        (dynamic(times(30, 16), body_part="LIVER"), "BodyPartExamined is LIVER"),
        (dynamic(times(30, 16), image_type=("DERIVED", "SECONDARY", "CBF")), "map"),
    ],
)
def test_other_ct_with_the_reason(images: list[FrameHeader], reason: str) -> None:
    found = kind_of(images)
    assert found.kind is SeriesKind.OTHER
    assert reason in found.reason


def test_ct_angiography() -> None:
    contrast: dict[str, Any] = {"contrast": "ContrastBolusAgent"}
    assert kind_of(volume(400, spacing=0.6, **contrast)).kind is SeriesKind.CTA
    assert kind_of(dynamic(times(3, 40, 8.0), **contrast)).kind is SeriesKind.CTA
    unmarked = volume(400, spacing=0.5, series_description="CTA Head Neck 0.6", kvp=100.0)
    assert kind_of(unmarked).kind is SeriesKind.CTA
    assert kind_of(_ncct(series_description="CTA planning head")).kind is SeriesKind.NCCT


def dsc(points: int = 50, **changes: Any) -> list[FrameHeader]:
    fields = {"contrast": "ContrastBolusAgent"} | DSC | changes
    return dynamic(times(points, 15, 1.5), **fields)


@pytest.mark.parametrize(
    "images",
    [
        dsc(),
        dsc(image_type=("ORIGINAL", "PRIMARY", "PERFUSION", "NONE"), contrast=""),
        dsc(contrast="", series_description="ep2d_perf"),
        dsc(manufacturer="GE MEDICAL SYSTEMS", sequence_name="", scanning_sequence=("EP", "GR")),
        dsc(
            manufacturer="Philips", scanning_sequence=("GR",), sequence_name="",
            repetition_time_ms=16.0, echo_time_ms=24.0,
        ),
        dsc(sop_class_uid=ENHANCED_MR, acquisition_contrast="PERFUSION", echo_planar=True),
        dsc(body_part=""),
    ],
    ids=["contrast", "perfusion", "named", "ge", "philips presto", "xa", "no body part"],
)  # fmt: skip
def test_dsc_perfusion_of_the_vendors(images: list[FrameHeader]) -> None:
    found = kind_of(images)
    assert found.kind is SeriesKind.PWI
    assert found.time_points == 50


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (dsc(contrast=""), "points for a contrast bolus"),
        (dsc(contrast="", points=300), "points for a contrast"),
        (dsc(points=12), "12 time points: fewer than the 20"),
        (dsc(image_type=("ORIGINAL", "PRIMARY", "ASL", "NONE")), "arterial spin labelling"),
        (dsc(acquisition_contrast="ASL_LABEL"), "arterial spin labelling"),
        (dsc(arterial_spin_labelling=True), "arterial spin labelling"),
        (dsc(acquisition_contrast="BOLD"), "functional MR"),
        (dsc(echo_time_ms=1.8), "echo time 1.8 ms"),
        (dsc(echo_time_ms=None), "echo time missing"),
        (dsc(repetition_time_ms=5000.0), "too slow"),
        (dsc(image_type=("ORIGINAL", "PRIMARY", "M", "MOSAIC")), "mosaic"),
        (dsc(image_type=("ORIGINAL", "PRIMARY", "P", "ND")), "phase"),
        (dsc(image_type=("DERIVED", "PRIMARY", "PERFUSION", "TTP")), "map"),
        (dynamic(times(50, 1), contrast="ContrastBolusAgent", **DSC), "one slice position"),
        (dsc(contrast="ContrastBolusAgent", points=250, series_description="bold"), "points"),
    ],
)
def test_other_mr_with_the_reason(images: list[FrameHeader], reason: str) -> None:
    found = kind_of(images)
    assert found.kind is SeriesKind.OTHER
    assert reason in found.reason


def test_several_echoes_are_not_dsc() -> None:
    images = dsc()
    odd = [header_with(i, echo_time_ms=60.0) if k % 2 else i for k, i in enumerate(images)]
    assert "multi-echo" in kind_of(odd).reason


def _dwi(b_values: tuple[float, ...], **changes: Any) -> list[FrameHeader]:
    images = []
    for number, b_value in enumerate(b_values):
        for z, image in enumerate(volume(20)):
            fields = DSC | {"sop_class_uid": MR, "b_value": b_value, "repetition_time_ms": 5000.0}
            fields |= {"sop_instance_uid": f"1.7.{number}.{z}", "instance_number": 20 * number + z}
            images.append(header_with(image, **(fields | changes)))
    return images


def test_diffusion_weighted() -> None:
    found = kind_of(_dwi((0, 1000, 1000, 1000)))
    assert found.kind is SeriesKind.DWI
    assert "b-values 0, 1000 s/mm2" in found.evidence
    assert kind_of(_dwi((1000,))).kind is SeriesKind.DWI
    trace = ("DERIVED", "PRIMARY", "DIFFUSION", "TRACEW", "ND")
    assert kind_of(_dwi((0, 1000), image_type=trace)).kind is SeriesKind.DWI
    adc = _dwi((1000,), image_type=("DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND"))
    assert kind_of(adc).kind is SeriesKind.OTHER
    processed = _dwi((1000,), image_type=("DERIVED", "SECONDARY", "PROCESSED"))
    assert kind_of(processed).kind is SeriesKind.OTHER
    assert kind_of(_dwi((0,))).kind is SeriesKind.OTHER
    assert kind_of(_dwi((0, 1000), acquisition_contrast="BOLD")).kind is SeriesKind.OTHER
    assert kind_of(_dwi((0, 1000))[:1] + _dwi((1000,))[:1]).kind is SeriesKind.OTHER


def test_tilt_and_uneven_spacing_are_noted() -> None:
    images = [
        header_with(image, position=(0.0, 2.0 * k + (k > 20), 5.0 * k + (k > 20)))
        for k, image in enumerate(_ncct())
    ]
    evidence = kind_of(images).evidence
    assert any(line.startswith("tilt ") for line in evidence)
    assert "uneven slice spacing" in evidence


def test_the_kind_does_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(2)
    for images in (dynamic(times(30, 16)), canon(), dsc(), _dwi((0, 1000))):
        mixed = [images[k] for k in rng.permutation(len(images))]
        assert kind_of(mixed) == kind_of(images)


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("folder", "kind", "reason"),
    [
        ("ctp-sample", SeriesKind.CTP, "16 positions with 30 time points"),
        ("ct-head-ge", SeriesKind.NCCT, "28 slices"),
        ("ct-bolus-tracking", SeriesKind.OTHER, "bolus tracking"),
        ("mr-temporal-position", SeriesKind.OTHER, "10 time points"),
        ("mr-enhanced-time", SeriesKind.OTHER, "arterial spin labelling"),
    ],
)
def test_the_examples(folder: str, kind: SeriesKind, reason: str) -> None:
    if not SHARED_DATA.is_dir():
        pytest.skip("the example studies (../shared/data) are absent")
    found = kind_of(read_folder(SHARED_DATA / folder)[0])
    assert found.kind is kind
    assert reason in found.reason
    if folder == "ct-head-ge":
        assert "tilt 18.5 degrees by positions" in found.evidence
