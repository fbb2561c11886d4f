"""Images of one acquisition put in order: slice positions by time points.

Whatever is missing or does not fit is reported in words, never invented.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from inference.dicom.headers import FrameHeader
from inference.dicom.times import SliceTimes, heights_mm, position_index, slice_times
from inference.errors import DicomReadError, NotAnalysable
from inference.geometry import Geometry

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_DIRECTION_TOLERANCE = 0.02
_SPACING_TOLERANCE = 0.01
_PLANE_TOLERANCE_MM = 1.0
_NAMED_MISSING = 5
_REFERENCES = 16


@dataclass(frozen=True, eq=False)
class Stack:
    """One acquisition in order.

    Parameters
    ----------
    positions_mm : array, shape ``(slice, 3)``
        ImagePositionPatient, ascending along the slice normal.
    frames : tuple of tuples, ``[time][slice]``
        The image at every place; None where it is missing.
    times_s : array, shape ``(time, slice)``
        Seconds after the earliest image; NaN where an image is missing or no time is known.
    timing, timing_guessed
        Where the times come from, see :class:`inference.dicom.times.SliceTimes`.
    timing_problem : str
        Why no times could be had; empty when they could.
    missing : int
        Images that the structure lacks.
    gaps : tuple of str
        Everything that keeps the acquisition from being whole, in words.
    notes : tuple of str
        What is unusual without being a gap.
    """

    positions_mm: FloatArray
    frames: tuple[tuple[FrameHeader | None, ...], ...]
    times_s: FloatArray
    timing: str
    timing_guessed: bool
    timing_problem: str
    missing: int
    gaps: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def slices(self) -> int:
        """Number of slice positions."""
        return len(self.positions_mm)

    @property
    def time_points(self) -> int:
        """Number of time points."""
        return len(self.frames)

    @cached_property
    def first(self) -> FrameHeader:
        """One of the images; all agree in size, direction and pixel spacing."""
        return next(frame for row in self.frames for frame in row if frame is not None)

    @cached_property
    def geometry(self) -> Geometry:
        """Geometry of one volume."""
        orientation, spacing = self.first.orientation, self.first.pixel_spacing
        if orientation is None or spacing is None:
            raise NotAnalysable("images without orientation or pixel spacing")
        row, column = np.array(orientation[:3]), np.array(orientation[3:])
        return Geometry(
            positions_mm=self.positions_mm,
            row_cosines=row / np.linalg.norm(row),
            column_cosines=column / np.linalg.norm(column),
            pixel_spacing_mm=spacing,
            rows=self.first.rows,
            columns=self.first.columns,
        )


def arrange(headers: Sequence[FrameHeader]) -> Stack:
    """Put the images of one acquisition in order, whatever order they come in.

    Raises
    ------
    DicomReadError
        No image has a position in the patient.
    """
    unique = list({(h.sop_instance_uid, h.frame): h for h in headers}.values())
    kept, gaps = _alike(unique)
    index = position_index(heights_mm(kept))
    timing, problem = _times(kept)
    # without times, instance numbers at least keep the order reproducible
    keys = timing.seconds if not problem else np.array([h.instance_number or 0 for h in kept])
    columns = [
        [int(i) for i in np.flatnonzero(index == p)[np.argsort(keys[index == p], kind="stable")]]
        for p in range(int(index.max()) + 1)
    ]
    positions, plane_gaps = _positions(kept, columns)
    gaps += plane_gaps
    columns, notes = _without_odd_visits(columns, timing.seconds, bool(problem))
    table, missing, count_gaps = _table(columns, timing.seconds, positions)
    gaps += count_gaps
    dense = _numbered_without_holes(kept)
    if not dense:
        hole_gaps, hole_missing = _holes(kept, columns, timing, bool(problem), positions)
        gaps += hole_gaps
        missing += hole_missing
    times = np.where(table >= 0, timing.seconds[table], np.nan)
    if problem:
        times = np.full(table.shape, np.nan)
    return Stack(
        positions_mm=positions,
        frames=tuple(tuple(kept[i] if i >= 0 else None for i in row) for row in table),
        times_s=times,
        timing=timing.source,
        timing_guessed=timing.guessed,
        timing_problem=problem,
        missing=missing,
        gaps=tuple(gaps),
        notes=tuple(notes),
    )


def _times(kept: list[FrameHeader]) -> tuple[SliceTimes, str]:
    try:
        return slice_times(kept), ""
    except NotAnalysable as error:
        return SliceTimes(np.zeros(len(kept)), "", False), str(error)


def _alike(headers: list[FrameHeader]) -> tuple[list[FrameHeader], list[str]]:
    """The largest set of images on one grid, and what was left out."""
    placed = [h for h in headers if h.position and h.orientation and h.pixel_spacing and h.rows]
    if not placed:
        raise DicomReadError("no image with position, orientation, pixel spacing and size")
    gaps = []
    if len(placed) < len(headers):
        gaps.append(f"{len(headers) - len(placed)} images have no position in the patient")
    grids: list[list[FrameHeader]] = []
    for header in placed:
        home = next((grid for grid in grids if _same_grid(grid[0], header)), None)
        if home is None:
            grids.append([header])
        else:
            home.append(header)
    kept = max(grids, key=len)
    if len(grids) > 1:
        other = next(grid[0] for grid in grids if grid is not kept)
        gaps.append(
            f"{len(placed) - len(kept)} images differ in size, direction or pixel spacing from the"
            f" others ({other.rows}x{other.columns} against {kept[0].rows}x{kept[0].columns})"
        )
    return kept, gaps


def _same_grid(first: FrameHeader, second: FrameHeader) -> bool:
    if (first.rows, first.columns) != (second.rows, second.columns):
        return False
    turns = np.subtract(first.orientation or (), second.orientation or ())
    if np.max(np.abs(turns)) > _DIRECTION_TOLERANCE:
        return False
    a, b = np.array(first.pixel_spacing), np.array(second.pixel_spacing)
    return bool(np.all(np.abs(a - b) <= _SPACING_TOLERANCE * a))


def _positions(kept: list[FrameHeader], columns: list[list[int]]) -> tuple[FloatArray, list[str]]:
    """ImagePositionPatient per slice, and slices whose images are shifted in their plane."""
    positions, shifted = [], []
    for number, column in enumerate(columns):
        origins = np.array([kept[i].position for i in column])
        positions.append(np.median(origins, axis=0))
        if np.max(np.ptp(origins, axis=0)) > _PLANE_TOLERANCE_MM:
            shifted.append(number + 1)
    gaps = []
    if shifted:
        gaps.append(
            f"the images of {len(shifted)} positions (first: {shifted[0]}) are shifted within their"
            " plane against each other"
        )
    return np.array(positions), gaps


def _without_odd_visits(
    columns: list[list[int]], seconds: FloatArray, timeless: bool
) -> tuple[list[list[int]], list[str]]:
    """Leave out the last visit of slabs that a jog scan measured once more than the others.

    A table that alternates between slabs may stop after any of them; the visits of such slabs
    strictly take turns. Missing images look different: they share their time with neighbours.
    """
    counts = np.array([len(column) for column in columns])
    most = int(counts.max())
    fewer = np.flatnonzero(counts == most - 1)
    full = np.flatnonzero(counts == most)
    if timeless or most < 3 or len(fewer) < 2 or len(fewer) + len(full) < len(counts):
        return columns, []
    for position in fewer:
        close = full[np.argsort(np.abs(full - position), kind="stable")][:_REFERENCES]
        visits = seconds[columns[position]]
        if not all(_take_turns(seconds[columns[place]], visits) for place in close):
            return columns, []
    note = (
        f"{len(full)} of {len(columns)} positions were measured once more than the others in turn:"
        " the last time point is left out"
    )
    return [column[: most - 1] for column in columns], [note]


def _take_turns(more: FloatArray, fewer: FloatArray) -> bool:
    """Whether between any two times of ``more`` lies one of ``fewer``, well apart from both."""
    share = (fewer - more[:-1]) / np.diff(more)
    return bool(np.all((share > 0.15) & (share < 0.85)))


def _table(
    columns: list[list[int]], seconds: FloatArray, positions: FloatArray
) -> tuple[IntArray, int, list[str]]:
    """Index of the image at every (time, slice), -1 where missing; how many; which."""
    counts = np.array([len(column) for column in columns])
    most = int(counts.max())
    table = np.full((most, len(columns)), -1, dtype=np.int64)
    full = np.flatnonzero(counts == most)
    for slice_index, column in enumerate(columns):
        rows = list(range(most))
        if len(column) < most:
            close = full[np.argsort(np.abs(full - slice_index), kind="stable")][:_REFERENCES]
            rows = _match(seconds[column], [seconds[columns[place]] for place in close])
        table[rows, slice_index] = column
    missing = np.argwhere(table.T < 0)
    if len(missing) == 0:
        return table, 0, []
    return table, len(missing), [_name_missing(table, missing, positions)]


def _match(times: FloatArray, references: list[FloatArray]) -> list[int]:
    """Time point of each time, in order: that of the whole position measured most nearly with it.

    Neighbours in space need not be neighbours in time, see jog scans.
    """
    apart = [np.abs(np.subtract.outer(times, r)).min(axis=1).sum() for r in references]
    reference = references[int(np.argmin(apart))]
    n, m = len(times), len(reference)
    cost = np.full((n + 1, m + 1), np.inf)
    cost[0] = 0.0
    for i in range(1, n + 1):
        for j in range(i, m - n + i + 1):
            here = cost[i - 1, j - 1] + abs(times[i - 1] - reference[j - 1])
            cost[i, j] = min(here, cost[i, j - 1])
    rows, j = [], m
    for i in range(n, 0, -1):
        while cost[i, j - 1] <= cost[i, j]:
            j -= 1
        rows.append(j - 1)
        j -= 1
    return rows[::-1]


def _name_missing(table: IntArray, missing: IntArray, positions: FloatArray) -> str:
    places = [
        f"position {s + 1} of {table.shape[1]} (z={positions[s, 2]:.1f} mm), time point {t + 1}"
        for s, t in missing[:_NAMED_MISSING]
    ]
    more = f"; and {len(missing) - len(places)} more" if len(missing) > len(places) else ""
    return f"{len(missing)} of {table.size} images missing: " + "; ".join(places) + more


def _numbered_without_holes(kept: list[FrameHeader]) -> bool:
    """Whether one series numbers these images 1, 2, 3 … without a hole: then none is missing."""
    numbers = _instance_numbers(kept)
    return numbers is not None and max(numbers) - min(numbers) + 1 == len(numbers)


def _instance_numbers(kept: list[FrameHeader]) -> set[int] | None:
    """InstanceNumbers where they tell the images of one classic series apart."""
    numbers = {h.instance_number for h in kept if h.instance_number is not None and h.frame is None}
    one_series = len({h.series_instance_uid for h in kept}) == 1
    return numbers if one_series and len(numbers) == len(kept) else None


def _holes(
    kept: list[FrameHeader],
    columns: list[list[int]],
    timing: SliceTimes,
    timeless: bool,
    positions: FloatArray,
) -> tuple[list[str], int]:
    """Whole slices and whole time points that seem to be missing."""
    gaps, missing = [], 0
    most = max(len(column) for column in columns)
    normal = (
        np.cross(kept[0].orientation[:3], kept[0].orientation[3:]) if kept[0].orientation else 0
    )
    spaces = np.diff(positions @ np.asarray(normal))
    for place, lost in _lone_wide(spaces, two_sided=False):
        if not timeless and most > 2 and _different_slabs(columns, timing.seconds, place):
            continue
        gaps.append(
            f"no slice between positions {place + 1} and {place + 2} of {len(columns)}"
            f" ({spaces[place]:.1f} mm apart, {spaces[place] / (lost + 1):.1f} mm elsewhere)"
        )
        missing += lost * most
    lost_times = 0
    if most > 1 and not timeless and not timing.guessed:
        full = [column for column in columns if len(column) == most]
        text, lost_times = _time_holes(full, timing.seconds)
        gaps += text
    if not lost_times and not missing and all(len(column) == most for column in columns):
        text, lost_times = _number_holes(kept, len(columns))
        gaps += text
    return gaps, missing + lost_times


def _different_slabs(columns: list[list[int]], seconds: FloatArray, place: int) -> bool:
    """Whether the positions below and above were measured at clearly different times."""
    below, above = (seconds[columns[place + k]] for k in (0, 1))
    shared = min(len(below), len(above))
    shift = np.median(np.abs(below[:shared] - above[:shared]))
    return bool(shift > 0.15 * np.median(np.diff(below))) if len(below) > 1 else False


def _lone_wide(steps: FloatArray, *, two_sided: bool) -> list[tuple[int, int]]:
    """Steps that are a multiple of equal neighbours: (index, number of steps swallowed).

    A change of pace (2 s, later 5 s; 4 mm, later 8 mm) and alternating steps are protocols, not
    holes.
    """
    found = []
    for i, step in enumerate(steps):
        before, after = steps[max(0, i - 3) : i], steps[i + 1 : i + 4]
        if len(before) + len(after) < 3 or (two_sided and min(len(before), len(after)) < 1):
            continue
        sides = [float(np.median(side)) for side in (before, after) if len(side)]
        base = min(sides)
        if base <= 0 or max(sides) > 1.2 * base:
            continue
        ratio = step / base
        as_wide = int(np.sum(steps >= 0.8 * step))
        regular = abs(ratio - round(ratio)) <= 0.25 * (1 if two_sided else 0.6)
        if ratio >= 1.7 and regular and as_wide <= max(3, 0.15 * len(steps)):
            found.append((i, round(ratio) - 1))
    return found


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _time_holes(columns: list[list[int]], seconds: FloatArray) -> tuple[list[str], int]:
    """Intervals that swallowed time points, at all positions or at some."""
    holes: Counter[tuple[int, int]] = Counter()
    for column in columns:
        holes.update(_lone_wide(np.diff(seconds[column]), two_sided=True))
    gaps, missing = [], 0
    for (place, lost), positions in sorted(holes.items()):
        where = "all" if positions == len(columns) else f"{positions} of {len(columns)}"
        points = _count(lost, "time point")
        gaps.append(
            f"{points} missing after time point {place + 1} at {where} positions"
            f" (an interval of {lost + 1} times its neighbours)"
        )
        missing += lost * positions
    return gaps, missing


def _number_holes(kept: list[FrameHeader], slices: int) -> tuple[list[str], int]:
    """Whole time points that are absent from the numbering of the images."""
    temporal = {h.temporal_position for h in kept if h.temporal_position is not None}
    if len(temporal) > 2:
        absent = sorted(set(range(min(temporal), max(temporal))) - temporal)
        if 0 < len(absent) < len(temporal):
            return [f"no image has TemporalPositionIdentifier {absent[0]}"], len(absent) * slices
    numbers = _instance_numbers(kept)
    if numbers is None or len(numbers) <= 2 * slices:
        return [], 0
    lost = max(numbers) - min(numbers) + 1 - len(numbers)
    if 0 < lost <= 5 * slices and lost % slices == 0:
        whole = _count(lost // slices, "whole time point")
        return [f"{lost} InstanceNumbers are absent: {whole}"], lost
    return [], 0
