"""Whether every image of an acquisition has arrived, and by what evidence."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dicom_node.assemble.groups import AcquisitionGroup
from inference.dicom.headers import FrameHeader
from inference.dicom.stack import Stack
from inference.errors import InferenceError
from inference.kinds import SeriesKind

State = Literal["declared", "regular", "irregular"]


@dataclass(frozen=True)
class Completeness:
    """Whether an acquisition is whole.

    ``state`` is ``declared`` (a count in the images equals what is there), ``regular`` (the
    structure is whole but nothing says that it is all) or ``irregular`` (something is missing).
    ``expected`` is None where no number is known.
    """

    state: State
    expected: int | None
    received: int
    reason: str


def completeness(group: AcquisitionGroup, kind: SeriesKind) -> Completeness:
    """Judge whether the images of a group are all there.

    What no pipeline takes is never called irregular: nothing waits for it.
    """
    found = _judge(group, kind)
    if kind is SeriesKind.OTHER and found.state == "irregular":
        return Completeness("regular", None, found.received, "not judged: no pipeline takes it")
    return found


def _judge(group: AcquisitionGroup, kind: SeriesKind) -> Completeness:
    received = len(group.headers)
    try:
        stack = group.stack
    except InferenceError as error:
        return Completeness("irregular", None, received, str(error))
    without = sum(not header.has_pixel_data for header in group.headers)
    if without:
        reason = f"{without} of {received} images have no or too few pixel data"
        return Completeness("irregular", received, received, reason)
    if kind is SeriesKind.DWI:
        structure = _diffusion_gaps(group.headers)
        missing = 0
    else:
        structure, missing = list(stack.gaps), stack.missing
        if kind in (SeriesKind.CTP, SeriesKind.PWI) and stack.time_points < 2:
            structure.append("one time point")
    if structure:
        expected = received + missing if missing else None
        return Completeness("irregular", expected, received, "; ".join(structure))
    return _declared(group, stack)


def _diffusion_gaps(headers: Sequence[FrameHeader]) -> list[str]:
    """b-values that are not there for every position."""
    places = {_place(header) for header in headers}
    gaps = []
    for b_value in sorted({round(header.b_value or 0) for header in headers}):
        here = [header for header in headers if round(header.b_value or 0) == b_value]
        counts = Counter(_place(header) for header in here)
        expected = max(counts.values()) * len(places)
        if len(here) < expected:
            gaps.append(f"b={b_value}: {expected - len(here)} of {expected} images missing")
    return gaps


def _place(header: FrameHeader) -> tuple[float, ...]:
    return tuple(round(value, 1) for value in header.position or ())


def _declared(group: AcquisitionGroup, stack: Stack) -> Completeness:
    """Compare a whole structure with the counts that the images declare.

    A count is evidence only where it fits: vendors count the acquisition, the series or one volume.
    """
    headers, received = group.headers, len(group.headers)
    series_images = max(received, group.series_images)
    temporal = _one_value({h.number_of_temporal_positions for h in headers})
    images = _declared_images(headers)
    if temporal > stack.time_points > 0:
        expected = temporal * stack.slices
        reason = f"{stack.time_points} of {temporal} temporal positions (0020,0105)"
        return Completeness("irregular", expected, received, reason)
    if images > series_images and headers[0].image_type[:1] != ("DERIVED",):
        lost = images - series_images
        reason = f"{lost} of {images} images missing: 0020,1002 declares {images}"
        return Completeness("irregular", images, received, reason)
    if temporal > 1 and temporal == stack.time_points:
        reason = f"all {temporal} temporal positions (0020,0105) at {stack.slices} positions"
        return Completeness("declared", received, received, reason)
    if images in (received, series_images):
        if stack.time_points == 1 and _series_per_volume(headers[0]):
            reason = f"all {images} images of a volume (0020,1002); more volumes may follow"
            return Completeness("regular", None, received, reason)
        return Completeness("declared", received, received, f"all {images} images (0020,1002)")
    reason = f"{stack.slices} positions with {stack.time_points} time points each, none declared"
    return Completeness("regular", None, received, reason)


def _series_per_volume(header: FrameHeader) -> bool:
    """Whether the vendor writes dynamic acquisitions as one series, and count, per volume."""
    maker = header.manufacturer.casefold()
    return header.modality == "CT" and ("canon" in maker or "toshiba" in maker)


def _one_value(values: set[int | None]) -> int:
    """The value on which all images agree, or 0."""
    only = next(iter(values)) if len(values) == 1 else None
    return only or 0


def _declared_images(headers: Sequence[FrameHeader]) -> int:
    """ImagesInAcquisition, summed over AcquisitionNumbers where these declare different counts."""
    counts = {(h.acquisition_number, h.images_in_acquisition) for h in headers}
    values = {count for _, count in counts}
    if None in values or len(counts) != len({number for number, _ in counts}):
        return 0
    if len(values) == 1:
        return _one_value(values)
    return sum(count for _, count in counts if count is not None)
