"""Which images belong to one acquisition.

Scanners write one acquisition as one series, as one series per volume, or as one per slab; and one
series may hold a localizer or maps beside the images. SeriesDescription never decides.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from inference.dicom.headers import FrameHeader
from inference.dicom.stack import Stack, arrange

MIN_MERGED_TIME_POINTS = 4
MAX_PAUSE_S = 30.0
_DIRECTION_TOLERANCE = 0.02
_LOCALIZERS = {"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVEY"}
_MAPS = {
    "CBF", "RCBF", "RELCBF", "CBV", "RCBV", "RELCBV", "MTT", "RELMTT", "TTP", "TMAX", "TTD", "TTS",
    "TTM", "TMIP", "PBV", "PERMEABILITY", "ADC", "EADC", "EXP_ADC", "FA", "COLFA", "TENSOR",
    "ADC_MAP", "FA_MAP", "VNC", "IODINE", "RHO_Z", "SUBTRACTION", "PERFUSION_MAP",
}  # fmt: skip
_PROJECTIONS = {
    "MIP", "MINIP", "MAXIP", "MIN_IP", "MAX_IP", "PROJECTION IMAGE", "PJN", "VRT", "SSD",
    "VOLUME_RENDERING", "SCREENSHOT", "SCREEN SAVE", "SCREENSAVE", "CSA MIP", "CSA MINIP",
}  # fmt: skip
_COMPLEX = {"P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY"}


@dataclass(frozen=True, eq=False)
class AcquisitionGroup:
    """The images of one acquisition.

    Parameters
    ----------
    key : str
        Stays the same while more images of the acquisition arrive: made from the earliest series,
        not from what has arrived of it.
    study_uid : str
        StudyInstanceUID.
    series_uids : tuple of str
        SeriesInstanceUIDs, sorted.
    headers : tuple of FrameHeader
        One per image, in a fixed order, without duplicates.
    patients : int
        Number of different patients (PatientID and issuer) in the whole study: 2 or more means
        that images were mixed up.
    series_images : int
        Images of these series, including those that belong to other groups (a localizer, maps).
    """

    key: str
    study_uid: str
    series_uids: tuple[str, ...]
    headers: tuple[FrameHeader, ...]
    patients: int
    series_images: int = 0

    @cached_property
    def stack(self) -> Stack:
        """The images in order; raises DicomReadError when none has a position."""
        return arrange(self.headers)


@dataclass(eq=False)
class _Part:
    """Images of one series on one grid and of one nature."""

    key: str
    headers: list[FrameHeader]

    @cached_property
    def start(self) -> float | None:
        times = [absolute_time_s(header) for header in self.headers]
        known = [time for time in times if time is not None]
        return min(known) if len(known) == len(times) else None

    @cached_property
    def end(self) -> float:
        return max(absolute_time_s(header) or 0.0 for header in self.headers)

    @cached_property
    def places(self) -> dict[float, set[float]]:
        """Times at every position along the normal (mm, rounded)."""
        found: dict[float, set[float]] = defaultdict(set)
        for header in self.headers:
            found[_height(header)].add(absolute_time_s(header) or 0.0)
        return found


def flavour(header: FrameHeader) -> str:
    """Nature by ImageType: ``image``, ``localizer``, ``map``, ``projection`` or ``phase``."""
    tokens = set(header.image_type)
    if tokens & _LOCALIZERS:
        return "localizer"
    computed = {"DERIVED", "PERFUSION"} <= tokens and "MOCO" not in tokens
    computed = computed or any(token.startswith("ADC") for token in tokens)
    if header.modality == "MR":
        # GE marks every map that was computed on the console in this way
        computed = computed or {"DERIVED", "PROCESSED"} <= tokens
    if computed or tokens & _MAPS:
        return "map"
    if tokens & _PROJECTIONS:
        return "projection"
    if header.modality == "MR" and set(header.image_type[2:4]) & _COMPLEX:
        return "phase"
    return "image"


def plane_of(header: FrameHeader) -> str:
    """``axial``, ``coronal``, ``sagittal`` by the largest part of the normal, or ``none``."""
    if header.orientation is None:
        return "none"
    normal = np.cross(header.orientation[:3], header.orientation[3:])
    return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(normal)))]


def absolute_time_s(header: FrameHeader) -> float | None:
    """When an image was acquired, comparable between series of a study, or None."""
    if header.frame_datetime_s is not None:
        return header.frame_datetime_s
    if header.acquisition_datetime_s is not None:
        return header.acquisition_datetime_s
    if header.acquisition_time_s is None:
        return None
    return (header.acquisition_date_s or 0.0) + header.acquisition_time_s


def acquisition_groups(headers: Iterable[FrameHeader]) -> list[AcquisitionGroup]:
    """Divide the images of any number of studies into acquisitions, whatever order they come in."""
    unique = {(h.sop_instance_uid, h.frame): h for h in headers}
    ordered = sorted(unique.values(), key=_order)
    studies: dict[str, list[FrameHeader]] = defaultdict(list)
    for header in ordered:
        studies[header.study_instance_uid].append(header)
    return [group for study in studies.values() for group in _groups_of_study(study)]


def _order(header: FrameHeader) -> tuple[str, str, int, str, int]:
    return (
        header.study_instance_uid,
        header.series_instance_uid,
        header.instance_number or 0,
        header.sop_instance_uid,
        header.frame or 0,
    )


def _groups_of_study(headers: list[FrameHeader]) -> list[AcquisitionGroup]:
    patients = len({header.patient_key for header in headers})
    series: dict[str, list[FrameHeader]] = defaultdict(list)
    for header in headers:
        series[header.series_instance_uid].append(header)
    parts = [part for images in series.values() for part in _parts(images)]
    groups = []
    for joined in _merge(parts):
        images = sorted((h for part in joined for h in part.headers), key=_order)
        uids = sorted({h.series_instance_uid for h in images})
        groups.append(
            AcquisitionGroup(
                key=joined[0].key,
                study_uid=headers[0].study_instance_uid,
                series_uids=tuple(uids),
                headers=tuple(images),
                series_images=sum(len(series[uid]) for uid in uids),
                patients=patients,
            )
        )
    return groups


def _parts(images: list[FrameHeader]) -> list[_Part]:
    """Divide one series by grid and nature."""
    found: dict[tuple[str, ...], list[list[FrameHeader]]] = defaultdict(list)
    for header in images:
        label = f"{plane_of(header)}-{header.rows}x{header.columns}-{flavour(header)}"
        nature = (label, header.modality, header.sop_class_uid, header.frame_of_reference_uid)
        home = next((p for p in found[nature] if _same_direction(p[0], header)), None)
        if home is None:
            found[nature].append([header])
        else:
            home.append(header)
    parts: list[_Part] = []
    taken: dict[str, int] = defaultdict(int)
    for identity, sets in found.items():
        for same in (same for one_set in sets for same in _split_overlapping(one_set)):
            key = f"{same[0].series_instance_uid}/{identity[0]}"
            taken[key] += 1
            parts.append(_Part(key if taken[key] == 1 else f"{key}-{taken[key]}", same))
    return parts


def _same_direction(first: FrameHeader, second: FrameHeader) -> bool:
    if first.orientation is None or second.orientation is None:
        return first.orientation is second.orientation
    pairs = zip(first.orientation, second.orientation, strict=True)
    return all(abs(a - b) <= _DIRECTION_TOLERANCE for a, b in pairs)


def _split_overlapping(images: list[FrameHeader]) -> list[list[FrameHeader]]:
    """Divide images that were reconstructed twice over the same positions within one series.

    Kernel, tube voltage or pixel spacing may also change along the body; that is no division.
    """
    sets: dict[tuple[object, ...], list[FrameHeader]] = defaultdict(list)
    for header in images:
        spacing = header.pixel_spacing
        size = None if spacing is None else round(spacing[0], 3)
        sets[header.kernel, header.kvp, size].append(header)
    if len(sets) == 1:
        return [images]
    heights = [{_height(header) for header in one_set} for one_set in sets.values()]
    shared = set.intersection(*heights)
    if 2 * len(shared) >= min(len(found) for found in heights):
        return list(sets.values())
    return [images]


def _height(header: FrameHeader) -> float:
    """Position along the slice normal in mm, rounded to find the same position again."""
    if header.position is None or header.orientation is None:
        return 0.0
    normal = np.cross(header.orientation[:3], header.orientation[3:])
    return round(float(np.dot(header.position, normal)), 1)


def _merge(parts: list[_Part]) -> list[list[_Part]]:
    """Join parts of different series that are one acquisition; the earliest part comes first."""
    single: list[list[_Part]] = []
    alike: dict[tuple[object, ...], list[_Part]] = defaultdict(list)
    for part in parts:
        protocol = _protocol(part)
        if protocol is None or part.start is None:
            single.append([part])
        else:
            alike[protocol].append(part)
    for candidates in alike.values():
        candidates.sort(key=lambda p: (p.start or 0.0, p.headers[0].series_number or 0, p.key))
        for run in _runs(candidates):
            for lane in _lanes(run):
                single.extend([lane] if _one_acquisition(lane) else [[part] for part in lane])
    return single


def _protocol(part: _Part) -> tuple[object, ...] | None:
    """What series of one acquisition share; None for images that are never joined."""
    first = part.headers[0]
    if first.modality != "CT" or flavour(first) != "image" or not first.frame_of_reference_uid:
        return None
    if first.orientation is None or first.position is None or first.pixel_spacing is None:
        return None
    return (
        first.frame_of_reference_uid,
        (first.rows, first.columns),
        tuple(round(value, 2) for value in first.pixel_spacing),
        tuple(round(value, 1) for value in first.orientation),
        first.slice_thickness,
        first.image_type[:3],
        first.manufacturer,
        first.kvp,
        first.kernel,
        bool(first.contrast),
    )


def _runs(candidates: list[_Part]) -> list[list[_Part]]:
    """Divide parts, in order of time, where the scanner paused for longer than a protocol does."""
    runs: list[list[_Part]] = []
    end = -np.inf
    for part in candidates:
        if (part.start or 0.0) - end > MAX_PAUSE_S:
            runs.append([])
        runs[-1].append(part)
        end = max(end, part.end)
    return runs


def _lanes(run: list[_Part]) -> list[list[_Part]]:
    """Divide parts that show the same positions at the same times: two reconstructions."""
    lanes: list[_Lane] = []
    for part in run:
        lane = next((lane for lane in lanes if lane.has_room_for(part)), None)
        if lane is None:
            lane = _Lane([], defaultdict(set))
            lanes.append(lane)
        lane.parts.append(part)
        for place, times in part.places.items():
            lane.taken[place] |= times
    return [lane.parts for lane in lanes]


@dataclass
class _Lane:
    """Parts of which no two show one position at one time."""

    parts: list[_Part]
    taken: dict[float, set[float]]

    def has_room_for(self, part: _Part) -> bool:
        return not any(times & self.taken[place] for place, times in part.places.items())


def _one_acquisition(lane: Sequence[_Part]) -> bool:
    """Whether parts are volumes, or slabs, of one dynamic acquisition.

    Two or three similar volumes are phases of an angiography or a repeated scan. Slabs of one
    acquisition are measured in turn, not one after the other.
    """
    if len(lane) < 2:
        return False
    base = max(lane, key=lambda part: len(part.places))
    times: dict[float, int] = defaultdict(int)
    for part in lane:
        shared = len(part.places.keys() & base.places.keys())
        beside = shared == 0 and (part.start or 0.0) < base.end and part.end > (base.start or 0.0)
        if not beside and shared < 0.9 * len(part.places):
            return False
        for place, here in part.places.items():
            times[place] += len(here)
    return max(times.values()) >= MIN_MERGED_TIME_POINTS
