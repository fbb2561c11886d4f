"""What kind of series an acquisition is, with the evidence for it.

Attributes and geometry decide, never SeriesDescription alone. A pure function of the headers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dicom_node.assemble.groups import AcquisitionGroup, flavour, plane_of
from inference.dicom.headers import FrameHeader
from inference.dicom.stack import Stack
from inference.errors import DicomReadError
from inference.kinds import SeriesKind

MODEL_NAME = "strokenode"
MIN_CTP_TIME_POINTS = 8
MIN_CTP_DURATION_S = 12.0
MIN_PWI_TIME_POINTS = 20
MAX_PWI_REPETITION_MS = 3500.0
PWI_ECHO_MS = (12.0, 120.0)
PWI_POINTS_NEEDED = 4
MIN_NCCT_SLICES = 8
MIN_NCCT_COVERAGE_MM = 40.0
MAX_HEAD_COVERAGE_MM = 400.0
MAX_HEAD_FIELD_MM = 420.0
MIN_B_VALUE = 500.0
_SHARP_KERNEL = 60

_CT = {"1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"}
_MR = {"1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4"}
_HEAD_PARTS = ("HEAD", "BRAIN", "SKULL", "CRANI", "CEREB", "NEURO", "ORBIT", "FACE", "CIRCLE")
_NECK_PARTS = ("NECK", "CAROTID")
_OTHER_PARTS = (
    "CHEST", "THORAX", "LUNG", "HEART", "CARDIAC", "CORONARY", "ABDOMEN", "LIVER", "KIDNEY",
    "PANCREAS", "PELVIS", "PROSTATE", "BREAST", "SPINE", "SHOULDER", "ARM", "ELBOW", "WRIST",
    "HAND", "HIP", "LEG", "KNEE", "ANKLE", "FOOT", "EXTREMITY", "FEMUR", "TIBIA", "AORTA",
    "WHOLEBODY", "WHOLE BODY", "PHANTOM", "BLADDER", "UTERUS", "SPLEEN", "TRUNK",
)  # fmt: skip
_ANGIO_WORDS = re.compile(r"\b(cta|angio\w*|carotid\w*|willis|venous|arterial)\b", re.IGNORECASE)
_PERFUSION_WORDS = re.compile(r"perf|dsc|pwi|pbp|dyn\w*sus", re.IGNORECASE)
_BOLD_WORDS = re.compile(r"bold|fmri|rest(ing)?[_ -]?state|\btask", re.IGNORECASE)
_SIEMENS_KERNEL = re.compile(r"^[A-Z][a-z]?(\d{2})")
_CANON_KERNEL = re.compile(r"^FC(\d{2})")


@dataclass(frozen=True)
class Classification:
    """What an acquisition is: its kind, the evidence, and the decisive reason in words."""

    kind: SeriesKind
    evidence: tuple[str, ...]
    slices: int
    time_points: int
    reason: str


class _Other(Exception):
    """Raised with the reason why an acquisition is of no kind that a pipeline takes."""


def classify(group: AcquisitionGroup) -> Classification:
    """Tell the kind of an acquisition from its headers."""
    evidence: list[str] = []
    stack: Stack | None = None
    try:
        _refuse_no_image(group.headers)
        stack = _stack(group)
        kind, reason = _decide(group.headers, stack, evidence)
    except _Other as other:
        kind, reason = SeriesKind.OTHER, str(other)
    slices, time_points = (stack.slices, stack.time_points) if stack else (0, 0)
    return Classification(kind, tuple(evidence), slices, time_points, reason)


def _refuse_no_image(headers: Sequence[FrameHeader]) -> None:
    first = headers[0]
    names = f"{first.manufacturer} {first.manufacturer_model_name}".casefold()
    if first.content_qualification == "RESEARCH" and MODEL_NAME in names:
        raise _Other("result of this node")
    if first.sop_class_uid not in _CT | _MR:
        raise _Other(f"SOP class {first.sop_class_uid} is no CT or MR image")
    if first.samples != 1 or not first.photometric.startswith("MONOCHROME"):
        raise _Other(f"colour or palette image ({first.photometric or 'no photometric'})")
    if first.burned_in:
        raise _Other("BurnedInAnnotation is YES: a picture, not a measurement")
    nature = flavour(first)
    if nature != "image":
        raise _Other(f"{nature} (ImageType {'/'.join(first.image_type)})")
    if "MOSAIC" in first.image_type:
        raise _Other("mosaic: all slices in one image, which is not read")


def _stack(group: AcquisitionGroup) -> Stack:
    try:
        return group.stack
    except DicomReadError as error:
        raise _Other(str(error)) from error


def _decide(
    headers: Sequence[FrameHeader], stack: Stack, evidence: list[str]
) -> tuple[SeriesKind, str]:
    first = stack.first
    height = float(stack.geometry.slice_extents_mm.sum())
    evidence.append(f"{len(headers)} images, modality {first.modality}")
    evidence.append(f"{stack.slices} positions over {height:.0f} mm, {plane_of(first)}")
    evidence.append(f"{stack.time_points} time points at each position")
    if abs(stack.geometry.tilt_deg) > 0.5:
        evidence.append(f"tilt {stack.geometry.tilt_deg:.1f} degrees by positions")
    if not stack.geometry.evenly_spaced:
        evidence.append("uneven slice spacing")
    evidence.extend(stack.notes)
    _check_body_part(first, evidence)
    if first.sop_class_uid in _CT:
        return _decide_ct(headers, stack, evidence)
    return _decide_mr(headers, stack, evidence)


def _check_body_part(first: FrameHeader, evidence: list[str]) -> None:
    part = first.body_part
    if not part:
        evidence.append("BodyPartExamined missing: accepted")
        return
    evidence.append(f"BodyPartExamined {part}")
    is_head = any(word in part for word in _HEAD_PARTS + _NECK_PARTS)
    if not is_head and any(word in part for word in _OTHER_PARTS):
        raise _Other(f"BodyPartExamined is {part}, not the head")


def _duration_s(stack: Stack) -> float | None:
    """Time from the first to the last image of a position, or None where no time is known."""
    if stack.timing_problem or stack.time_points < 2:
        return None
    return float(np.nanmax(np.nanmax(stack.times_s, axis=0) - np.nanmin(stack.times_s, axis=0)))


def _time_text(stack: Stack, duration: float | None) -> str:
    if duration is None:
        return "times unknown: " + stack.timing_problem
    interval = float(np.nanmedian(np.diff(stack.times_s, axis=0)))
    guessed = " (guessed)" if stack.timing_guessed else ""
    return f"interval {interval:.2f} s, duration {duration:.1f} s by {stack.timing}{guessed}"


def _per_position(stack: Stack) -> list[int]:
    """Images at every position."""
    return [sum(row[s] is not None for row in stack.frames) for s in range(stack.slices)]


def _decide_ct(
    headers: Sequence[FrameHeader], stack: Stack, evidence: list[str]
) -> tuple[SeriesKind, str]:
    first = stack.first
    counts = _per_position(stack)
    if stack.slices == 1:
        what = f"one position {counts[0]} times: bolus tracking" if counts[0] > 1 else "one image"
        raise _Other(f"{what}, not a volume")
    if plane_of(first) != "axial":
        raise _Other(f"{plane_of(first)} reformat, not axial")
    _check_field(first, evidence)
    contrast = next((h.contrast for h in headers if h.contrast), "")
    evidence.append(f"contrast agent by {contrast}" if contrast else "no contrast agent in headers")
    dynamic = sum(count >= MIN_CTP_TIME_POINTS for count in counts)
    if dynamic >= 2:
        return _decide_ctp(stack, dynamic, evidence)
    once = sum(count == 1 for count in counts) / len(counts)
    if contrast:
        _check_extent(stack)
        return SeriesKind.CTA, f"contrast agent, {stack.time_points} time point(s): CTA"
    if once < 0.6:
        raise _Other(
            f"{stack.time_points} time points: too few for CTP ({MIN_CTP_TIME_POINTS}),"
            " too many for NCCT"
        )
    return _decide_ncct(stack, evidence)


def _decide_ctp(stack: Stack, dynamic: int, evidence: list[str]) -> tuple[SeriesKind, str]:
    duration = _duration_s(stack)
    evidence.append(_time_text(stack, duration))
    if duration is not None and duration < MIN_CTP_DURATION_S:
        raise _Other(
            f"{stack.time_points} time points within {duration:.1f} s: a bolus takes longer"
            f" (at least {MIN_CTP_DURATION_S:.0f} s)"
        )
    return SeriesKind.CTP, (
        f"{dynamic} positions with {stack.time_points} time points"
        + (f" over {duration:.1f} s" if duration is not None else "")
    )


def _check_field(first: FrameHeader, evidence: list[str]) -> None:
    spacing = first.pixel_spacing or (0.0, 0.0)
    field = max(spacing[0] * first.rows, spacing[1] * first.columns)
    evidence.append(f"field of view {field:.0f} mm")
    if field > MAX_HEAD_FIELD_MM and not first.body_part:
        raise _Other(f"field of view {field:.0f} mm without BodyPartExamined: not a head scan")


def _check_extent(stack: Stack) -> None:
    if stack.slices < MIN_NCCT_SLICES:
        raise _Other(f"{stack.slices} slices: fewer than {MIN_NCCT_SLICES}")


def _decide_ncct(stack: Stack, evidence: list[str]) -> tuple[SeriesKind, str]:
    first = stack.first
    height = float(stack.geometry.slice_extents_mm.sum())
    _check_extent(stack)
    if not MIN_NCCT_COVERAGE_MM <= height <= MAX_HEAD_COVERAGE_MM:
        raise _Other(
            f"{height:.0f} mm covered, a head scan covers {MIN_NCCT_COVERAGE_MM:.0f} to"
            f" {MAX_HEAD_COVERAGE_MM:.0f} mm"
        )
    if any(word in first.body_part for word in _NECK_PARTS) and not any(
        word in first.body_part for word in _HEAD_PARTS
    ):
        raise _Other(f"BodyPartExamined is {first.body_part}, not the head")
    if _is_sharp(first.kernel):
        raise _Other(f"kernel {first.kernel} is made for bone, not for brain tissue")
    thin = float(np.median(np.diff(stack.positions_mm @ stack.geometry.normal))) <= 1.5
    words = _ANGIO_WORDS.search(f"{first.series_description} {first.protocol_name}")
    if words and (thin or (first.kvp or 120) <= 100):
        evidence.append("called an angiography, and thin slices or low tube voltage")
        return SeriesKind.CTA, "angiography by its name and by thin slices or low tube voltage"
    if first.kvp is not None:
        evidence.append(f"{first.kvp:.0f} kVp")
    return SeriesKind.NCCT, f"one volume of {stack.slices} slices without contrast agent"


def _is_sharp(kernel: str) -> bool:
    """Whether a reconstruction kernel is a vendor's bone or lung kernel."""
    name = kernel.split("/")[0].strip()
    if any(word in name.upper() for word in ("BONE", "EDGE", "LUNG")):
        return True
    canon = _CANON_KERNEL.match(name)
    if canon:
        number = int(canon[1])
        return 30 <= number < 40 or number >= 80
    siemens = _SIEMENS_KERNEL.match(name)
    return siemens is not None and int(siemens[1]) >= _SHARP_KERNEL


def _decide_mr(
    headers: Sequence[FrameHeader], stack: Stack, evidence: list[str]
) -> tuple[SeriesKind, str]:
    if any(h.arterial_spin_labelling or "ASL" in h.image_type for h in headers):
        raise _Other("arterial spin labelling, not a contrast bolus")
    if any("ASL" in h.acquisition_contrast.split("_") for h in headers):
        raise _Other("arterial spin labelling, not a contrast bolus")
    b_values = sorted({round(h.b_value) for h in headers if h.b_value is not None})
    if b_values and b_values[-1] >= MIN_B_VALUE:
        return _decide_dwi(headers, stack, b_values, evidence)
    echoes = {round(h.echo_time_ms, 1) for h in headers if h.echo_time_ms is not None}
    if len(echoes) > 1:
        raise _Other(f"{len(echoes)} echo times: multi-echo")
    if stack.time_points < MIN_PWI_TIME_POINTS:
        raise _Other(
            f"MR with {stack.time_points} time points: fewer than the {MIN_PWI_TIME_POINTS} of a"
            " bolus passage, and no diffusion weighting"
        )
    return _decide_pwi(headers, stack, evidence)


def _decide_dwi(
    headers: Sequence[FrameHeader], stack: Stack, b_values: list[int], evidence: list[str]
) -> tuple[SeriesKind, str]:
    low = [b for b in b_values if b <= 50]
    evidence.append("b-values " + ", ".join(f"{b}" for b in b_values[:8]) + " s/mm2")
    if stack.slices < 2:
        raise _Other("diffusion-weighted, one slice position only")
    if any(h.acquisition_contrast in ("BOLD", "PERFUSION") for h in headers):
        raise _Other("b-values, but AcquisitionContrast tells of another weighting")
    base = "with b=0" if low else "without b=0"
    return SeriesKind.DWI, f"diffusion-weighted up to b={b_values[-1]} s/mm2, {base}"


def _decide_pwi(
    headers: Sequence[FrameHeader], stack: Stack, evidence: list[str]
) -> tuple[SeriesKind, str]:
    first = stack.first
    duration = _duration_s(stack)
    evidence.append(_time_text(stack, duration))
    if stack.slices < 2:
        raise _Other(f"one slice position {stack.time_points} times")
    repetition, echo = first.repetition_time_ms, first.echo_time_ms
    if repetition is not None and repetition > MAX_PWI_REPETITION_MS:
        raise _Other(
            f"repetition time {repetition:.0f} ms: too slow for a bolus passage"
            f" (at most {MAX_PWI_REPETITION_MS:.0f} ms)"
        )
    low, high = PWI_ECHO_MS
    if echo is None or not low <= echo <= high:
        found = "missing" if echo is None else f"{echo:.1f} ms"
        raise _Other(f"echo time {found}: not T2*-weighted ({low:.0f} to {high:.0f} ms)")
    evidence.append(f"echo time {echo:.0f} ms, repetition time {repetition or 0:.0f} ms")
    if any(h.acquisition_contrast in ("BOLD", "FMRI") or "FMRI" in h.image_type for h in headers):
        raise _Other("functional MR (BOLD), not a contrast bolus")
    points = _bolus_points(headers, stack, duration, evidence)
    if points < PWI_POINTS_NEEDED:
        raise _Other(
            f"MR over time with {points} of {PWI_POINTS_NEEDED} points for a contrast bolus:"
            " functional or another dynamic series"
        )
    return SeriesKind.PWI, (
        f"{stack.slices} positions with {stack.time_points} time points, T2*-weighted,"
        f" {points} points for a contrast bolus"
    )


def _bolus_points(
    headers: Sequence[FrameHeader], stack: Stack, duration: float | None, evidence: list[str]
) -> int:
    """Weigh independent hints that a T2*-weighted dynamic series follows a contrast bolus.

    Functional MR shares sequence and pace; it has no contrast agent, and runs longer.
    """
    first = stack.first
    words = f"{first.series_description} {first.protocol_name}"
    perfusion = "PERFUSION" in first.image_type or first.acquisition_contrast == "PERFUSION"
    planar = first.echo_planar or "EP" in first.scanning_sequence
    planar = planar or "ep" in first.sequence_name.casefold()
    low, high = 40.0, 180.0
    hints = (
        (2, any(h.contrast for h in headers), "contrast agent"),
        (2, perfusion, "PERFUSION in ImageType or AcquisitionContrast"),
        (1, planar, "echo-planar"),
        (1, duration is not None and low <= duration <= high, "lasts as long as a bolus study"),
        (1, (first.repetition_time_ms or 9999) <= 2200, "repetition time below 2.2 s"),
        (1, bool(_PERFUSION_WORDS.search(words)), "named a perfusion study"),
        (-2, bool(_BOLD_WORDS.search(words)), "named a functional study"),
        (-2, duration is not None and duration > 240, "lasts longer than a bolus study"),
    )
    evidence.extend(f"{weight:+d} {text}" for weight, holds, text in hints if holds)
    return sum(weight for weight, holds, _ in hints if holds)
