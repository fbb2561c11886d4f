"""When each slice was measured: one source of time per acquisition, chosen by evidence.

Vendors encode time in a dozen attributes, and every one of them is constant, missing or about
something else on some scanner. A source counts only when every image has it and it differs between
the images of every slice position.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.dicom.headers import FrameHeader
from inference.errors import NotAnalysable

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

POSITION_TOLERANCE_MM = 0.1
_HALF_DAY_S, _DAY_S = 43200.0, 86400.0
_PLAUSIBLE_INTERVAL_S = (0.1, 60.0)
_PLAUSIBLE_GUESS_S = (0.3, 10.0)


@dataclass(frozen=True, eq=False)
class SliceTimes:
    """Times of images.

    Parameters
    ----------
    seconds : array, shape ``(image,)``
        Seconds after the earliest image.
    source : str
        The attribute that they come from; empty when no attribute tells and none is needed.
    guessed : bool
        The attribute only orders the images, or may tell the time of their reconstruction.
    """

    seconds: FloatArray
    source: str
    guessed: bool


def heights_mm(headers: Sequence[FrameHeader]) -> FloatArray:
    """Position of every image along the slice normal of the first, shape ``(image,)``."""
    orientation = headers[0].orientation
    if orientation is None or any(header.position is None for header in headers):
        raise NotAnalysable("images without ImagePositionPatient or ImageOrientationPatient")
    normal = np.cross(orientation[:3], orientation[3:])
    return np.array([header.position for header in headers]) @ (normal / np.linalg.norm(normal))


def position_index(heights: FloatArray) -> IntArray:
    """Number the distinct positions from below; images of one position share the number."""
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order]) > POSITION_TOLERANCE_MM
    index = np.empty(len(heights), dtype=np.int64)
    index[order] = np.r_[0, np.cumsum(steps)]
    return index


def slice_times(headers: Sequence[FrameHeader]) -> SliceTimes:
    """Choose the source of time of one acquisition and read it.

    Raises
    ------
    NotAnalysable
        No source tells the images of a position apart, no source tells seconds, or two sources
        contradict each other.
    """
    if not headers:
        raise NotAnalysable("no images")
    positions = position_index(heights_mm(headers))
    several = int(np.bincount(positions).max()) > 1
    usable: list[tuple[str, FloatArray]] = []
    for name, read in _MEASURED:
        values = read(headers)
        if values is None or (several and not _counts(values, positions)):
            continue
        usable.append((name, values))
    if not several:
        return _volume_times(usable, len(headers))
    if not usable:
        return _guess(headers, positions)
    name, values = _finest(usable)
    for other, others in usable:
        if other != name and not _agree(values, others, positions):
            raise NotAnalysable(
                f"{name} and {other} contradict each other about when the images were taken;"
                " times cannot be trusted"
            )
    _check_order(headers, name, values, positions)
    return SliceTimes(_from_first(values), name, False)


def _volume_times(usable: list[tuple[str, FloatArray]], count: int) -> SliceTimes:
    if not usable:
        return SliceTimes(np.zeros(count), "", False)
    name, values = usable[0]
    return SliceTimes(_from_first(values), name, False)


def _from_first(values: FloatArray) -> FloatArray:
    """Seconds after the earliest image; absolute times hold about a microsecond."""
    return np.asarray(np.round(values - values.min(), 6))


def _field(name: str) -> Callable[[Sequence[FrameHeader]], FloatArray | None]:
    def read(headers: Sequence[FrameHeader]) -> FloatArray | None:
        values = [getattr(header, name) for header in headers]
        return None if None in values else np.array(values, dtype=np.float64)

    return read


def _datetime(name: str) -> Callable[[Sequence[FrameHeader]], FloatArray | None]:
    plain = _field(name)

    def read(headers: Sequence[FrameHeader]) -> FloatArray | None:
        values = plain(headers)
        return None if values is None else _over_midnight(values)

    return read


def _clock(date: str, time: str) -> Callable[[Sequence[FrameHeader]], FloatArray | None]:
    days, clock = _field(date), _field(time)

    def read(headers: Sequence[FrameHeader]) -> FloatArray | None:
        times = clock(headers)
        if times is None:
            return None
        dates = days(headers)
        return _over_midnight(times if dates is None else dates + times)

    return read


def _over_midnight(values: FloatArray) -> FloatArray:
    """Times of one acquisition made continuous where the clock passed midnight.

    Dates may be missing, or stay at the day on which the scan began: then times alone decide. No
    acquisition lasts half a day.
    """
    if np.ptp(values) <= _HALF_DAY_S:
        return values
    clock = np.mod(values, _DAY_S)
    return np.where(clock < _HALF_DAY_S, clock + _DAY_S, clock)


_MEASURED: tuple[tuple[str, Callable[[Sequence[FrameHeader]], FloatArray | None]], ...] = (
    ("FrameAcquisitionDateTime", _datetime("frame_datetime_s")),
    ("AcquisitionDateTime", _datetime("acquisition_datetime_s")),
    ("AcquisitionTime", _clock("acquisition_date_s", "acquisition_time_s")),
    ("TemporalPositionTimeOffset", _field("temporal_offset_s")),
    ("TriggerTime", _field("trigger_time_s")),
    ("GEMS_ACQU_01 (0019,xx24)", _field("ge_mid_scan_time_s")),
    ("GEMS_PARM_01 (0043,xx1E)", _field("ge_delta_start_time_s")),
    ("GEMS_RELA_01 (0021,xx5E)", _field("ge_rtia_s")),
    ("Philips MR Imaging DD 001 (2005,xxA0)", _field("philips_dynamic_s")),
)
_ORDERING: tuple[tuple[str, Callable[[Sequence[FrameHeader]], FloatArray | None]], ...] = (
    ("ContentTime", _clock("content_date_s", "content_time_s")),
    ("TemporalPositionIdentifier", _field("temporal_position")),
    ("AcquisitionNumber", _field("acquisition_number")),
    ("InstanceNumber", _field("instance_number")),
)


def _distinct(values: FloatArray, positions: IntArray) -> bool:
    """Whether no two images of one position share a value."""
    order = np.lexsort((values, positions))
    same = (np.diff(values[order]) <= 1e-9) & (np.diff(positions[order]) == 0)
    return not bool(same.any())


def _intervals(values: FloatArray, positions: IntArray) -> FloatArray:
    """Time from image to image of the same position, all positions together."""
    order = np.lexsort((values, positions))
    return np.asarray(np.diff(values[order])[np.diff(positions[order]) == 0])


def _counts(values: FloatArray, positions: IntArray) -> bool:
    """Whether a source may tell time: distinct at every position, at the pace of a scanner."""
    if not _distinct(values, positions):
        return False
    low, high = _PLAUSIBLE_INTERVAL_S
    return low <= float(np.median(_intervals(values, positions))) <= high


def _finest(usable: list[tuple[str, FloatArray]]) -> tuple[str, FloatArray]:
    """The first source, unless it counts whole seconds and a finer one tells the same times."""
    name, values = usable[0]
    if _whole_seconds(values):
        for other, others in usable[1:]:
            same = np.ptp(values - others) <= 1.05 + 0.02 * np.ptp(values)
            if not _whole_seconds(others) and same:
                return other, others
    return name, values


def _whole_seconds(values: FloatArray) -> bool:
    return bool(np.all(np.abs(values - np.round(values)) < 1e-6))


def _agree(first: FloatArray, second: FloatArray, positions: IntArray) -> bool:
    """Whether two sources give the same course of time at every position.

    A second is left for attributes without fractions, a tenth of the duration for drift.
    """
    order = np.lexsort((first, positions))
    same_position = np.diff(positions[order]) == 0
    if np.any(np.diff(second[order])[same_position] < 0):
        return False
    for position in np.unique(positions):
        here = positions == position
        allowed = 1.05 + 0.1 * float(np.ptp(first[here]))
        if np.ptp(first[here] - second[here]) > allowed:
            return False
    return True


def _check_order(
    headers: Sequence[FrameHeader], name: str, values: FloatArray, positions: IntArray
) -> None:
    """Refuse times that run against TemporalPositionIdentifier, where that tells images apart."""
    numbers = _field("temporal_position")(headers)
    if numbers is None or not _distinct(numbers, positions):
        return
    order = np.lexsort((values, positions))
    if np.any(np.diff(numbers[order])[np.diff(positions[order]) == 0] < 0):
        raise NotAnalysable(
            f"{name} and TemporalPositionIdentifier put the images in different orders;"
            " times cannot be trusted"
        )


def _guess(headers: Sequence[FrameHeader], positions: IntArray) -> SliceTimes:
    """Times from an attribute that only orders the images and an assumed interval."""
    philips = "philips" in headers[0].manufacturer.casefold()
    for name, read in _ORDERING:
        values = read(headers)
        if values is None or not _distinct(values, positions):
            continue
        if name == "InstanceNumber" and philips:
            continue  # numbered at random by Philips MR
        interval = _assumed_interval_s(headers, positions)
        if interval is not None:
            return SliceTimes(_ranks(values, positions) * interval, name, True)
        low, high = _PLAUSIBLE_GUESS_S
        if name == "ContentTime" and (
            low <= float(np.median(_intervals(values, positions))) <= high
        ):
            return SliceTimes(_from_first(values), name, True)
    raise NotAnalysable(_why_no_time(headers, positions))


def _ranks(values: FloatArray, positions: IntArray) -> FloatArray:
    """Place of every image in the order of its position, from 0."""
    order = np.lexsort((values, positions))
    counts = np.bincount(positions)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    ranks = np.empty(len(values))
    ranks[order] = np.arange(len(values)) - starts
    return ranks


def _assumed_interval_s(headers: Sequence[FrameHeader], positions: IntArray) -> float | None:
    """Interval between time points from the protocol: RepetitionTime (MR) or the duration."""
    low, high = _PLAUSIBLE_GUESS_S
    candidates = []
    if headers[0].modality == "MR" and headers[0].repetition_time_ms is not None:
        candidates.append(headers[0].repetition_time_ms / 1000)
    if headers[0].acquisition_duration_s is not None:
        candidates.append(headers[0].acquisition_duration_s / int(np.bincount(positions).max()))
    return next((value for value in candidates if low <= value <= high), None)


def _why_no_time(headers: Sequence[FrameHeader], positions: IntArray) -> str:
    """Say for the attributes that are there why they do not tell time."""
    reasons = []
    for name, read in _MEASURED + _ORDERING:
        values = read(headers)
        if values is None:
            continue
        if not _distinct(values, positions):
            reasons.append(f"{name} is the same for several images of one position")
        elif name in dict(_ORDERING):
            reasons.append(f"{name} orders the images but tells no seconds")
        else:
            interval = float(np.median(_intervals(values, positions)))
            reasons.append(f"{name} has an interval of {interval:.3g} s")
    return "no attribute tells when the images were taken: " + (
        "; ".join(reasons) or "none is present in every image"
    )
