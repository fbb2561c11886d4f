"""What writing results needs from the source images: identity, references, positions."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta, timezone
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)

from inference.errors import DicomReadError
from inference.geometry import FloatArray, Geometry

CLASSIC_COUNTERPARTS = {
    CTImageStorage: CTImageStorage,
    EnhancedCTImageStorage: CTImageStorage,
    LegacyConvertedEnhancedCTImageStorage: CTImageStorage,
    MRImageStorage: MRImageStorage,
    EnhancedMRImageStorage: MRImageStorage,
    LegacyConvertedEnhancedMRImageStorage: MRImageStorage,
}

MALFORMED = (ValueError, TypeError, OverflowError, NotImplementedError, BytesLengthException)
_UID = re.compile(r"[0-9.]{1,64}")
_MAX_FRAMES = 100_000
_SAME_PLANE_MM = 0.05
_PARALLEL = 0.999
_NEEDED = [
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID",
    "SeriesInstanceUID", "AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime",
    "ContentTime", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient",
    "NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


def value_of(ds: Dataset, keyword: str) -> Any:
    """The value of an attribute; None where it is absent, empty or not what its VR demands."""
    try:
        value = ds.get(keyword)
    except (*MALFORMED, OSError):  # OSError: a sequence in memory that ends too early
        return None
    return None if value is None or value == "" else value


def items_of(ds: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where it is absent or no sequence."""
    value = value_of(ds, keyword)
    return list(value) if isinstance(value, DicomSequence) else []


@dataclass(frozen=True)
class ImageReference:
    """One image; ``frame_numbers`` (from 1) where it is a multi-frame object."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    frame_numbers: tuple[int, ...] = ()

    def macro(self) -> Dataset:
        """The image as an item with the attributes of the Image SOP Instance Reference Macro."""
        item = Dataset()
        item.ReferencedSOPClassUID = self.sop_class_uid
        item.ReferencedSOPInstanceUID = self.sop_instance_uid
        if self.frame_numbers:
            item.ReferencedFrameNumber = list(self.frame_numbers)
        return item


@dataclass(frozen=True, eq=False)
class SourceSlice:
    """All images at one slice position.

    ``images`` is in the order of acquisition; the first one represents the slice.
    """

    position_mm: FloatArray
    images: tuple[ImageReference, ...]


@dataclass(frozen=True, eq=False)
class SourceImages:
    """The images that a result was made from.

    Parameters
    ----------
    header : Dataset
        Everything except pixel data of the image that represents the first slice. Never changed.
    references : tuple of ImageReference
        Every instance, joined ones included, ordered by series and instance UID.
    slices : tuple of SourceSlice
        The slice positions of the main series, ascending along the normal of the images.
    """

    header: Dataset
    references: tuple[ImageReference, ...]
    slices: tuple[SourceSlice, ...] = field(default=())

    @classmethod
    def from_files(cls, paths: Sequence[Path], joined: Sequence[Path] = ()) -> "SourceImages":
        """Read the headers of source files.

        Parameters
        ----------
        paths : sequence of Path
            Every file of the series that was analysed, in any order.
        joined : sequence of Path
            Files that went into the analysis besides, for example the diffusion series of a
            perfusion analysis. They are referenced; geometry and identity come from ``paths``.

        Raises
        ------
        DicomReadError
            No file, a file that is not DICOM, files of several studies, frames without end.
        """
        if not paths:
            raise DicomReadError("found no source files, expected at least one")
        main = [_Instance.read(path, number) for number, path in enumerate(paths, start=1)]
        others = [_Instance.read(path, number) for number, path in enumerate(joined, start=1)]
        studies = sorted({instance.study_uid for instance in main + others})
        if len(studies) > 1:
            raise DicomReadError(f"found files of {len(studies)} studies, expected one: {studies}")
        main.sort(key=lambda instance: instance.order)
        slices = _cluster(main)
        first = slices[0].images[0].sop_instance_uid if slices else main[0].whole.sop_instance_uid
        path = next(i.path for i in main if i.whole.sop_instance_uid == first)
        references = sorted(
            {instance.whole for instance in main + others},
            key=lambda image: (image.series_instance_uid, image.sop_instance_uid),
        )
        return cls(dcmread(path, stop_before_pixels=True), tuple(references), slices)

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID."""
        return str(self.header.StudyInstanceUID)

    @cached_property
    def classic_sop_class(self) -> str:
        """SOP class of single-frame images of the same modality.

        Raises
        ------
        DicomReadError
            The source is neither CT nor MR.
        """
        found = self.header.SOPClassUID
        if found not in CLASSIC_COUNTERPARTS:
            raise DicomReadError(f"source SOP class is {found}, expected CT or MR images")
        return str(CLASSIC_COUNTERPARTS[found])

    @property
    def modality(self) -> str:
        """``CT`` or ``MR``; the source's own Modality where it is neither."""
        classic = CLASSIC_COUNTERPARTS.get(self.header.SOPClassUID)
        if classic is None:
            return str(value_of(self.header, "Modality") or "OT")
        return "CT" if classic == CTImageStorage else "MR"

    @property
    def timezone(self) -> timezone | None:
        """Time zone from TimezoneOffsetFromUTC, None where absent or malformed."""
        text = str(value_of(self.header, "TimezoneOffsetFromUTC") or "").strip()
        if len(text) != 5 or text[0] not in "+-" or not text[1:].isdigit():
            return None
        offset = timedelta(hours=int(text[1:3]), minutes=int(text[3:]))
        return timezone(-offset if text[0] == "-" else offset) if offset.days == 0 else None

    def slices_of(self, geometry: Geometry) -> list[tuple[SourceSlice, ...]]:
        """The source slices that every slice of a result stands for.

        A result on slabs is made from several source slices each: those nearer to it than to its
        neighbours. Where none is, the nearest one.
        """
        if not self.slices:
            return [() for _ in range(geometry.slices)]
        source_mm = np.array([s.position_mm for s in self.slices]) @ geometry.normal
        result_mm = geometry.positions_mm @ geometry.normal
        reach = np.diff(result_mm) / 2
        below = np.r_[reach[:1], reach] if geometry.slices > 1 else np.zeros(1)
        above = np.r_[reach, reach[-1:]] if geometry.slices > 1 else np.zeros(1)
        found = []
        for height, down, up in zip(result_mm, below, above, strict=True):
            offset = source_mm - height
            inside = np.flatnonzero(
                (offset > -down - _SAME_PLANE_MM) & (offset <= up + _SAME_PLANE_MM)
            )
            chosen = inside if len(inside) else np.array([np.argmin(np.abs(offset))])
            found.append(tuple(self.slices[i] for i in chosen))
        return found


@dataclass(frozen=True, eq=False)
class _Instance:
    """One file: what it is, when it was acquired and where its planes lie.

    ``planes`` holds frame number (0 for a single-frame image), position and normal.
    """

    path: Path
    study_uid: str
    whole: ImageReference
    order: tuple[str, int, str]
    planes: tuple[tuple[int, FloatArray, FloatArray], ...]

    @classmethod
    def read(cls, path: Path, number: int) -> "_Instance":
        """Read one header; ``number`` names the file in messages."""
        try:
            ds = dcmread(path, stop_before_pixels=True, specific_tags=list(_NEEDED))
        except (InvalidDicomError, EOFError, *MALFORMED):
            raise DicomReadError(
                f"source file {number} is not a DICOM file; expected one with a preamble"
            ) from None
        identity = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
        bad = [k for k in identity if not _UID.fullmatch(str(value_of(ds, k) or ""))]
        if bad:
            raise DicomReadError(f"source file {number} has no UID in {', '.join(bad)}")
        whole = ImageReference(
            str(ds.SOPClassUID), str(ds.SOPInstanceUID), str(ds.SeriesInstanceUID)
        )
        return cls(path, str(ds.StudyInstanceUID), whole, _order(ds), tuple(_planes(ds)))


def _order(ds: Dataset) -> tuple[str, int, str]:
    """Sort key: time of acquisition, InstanceNumber, SOPInstanceUID."""
    day = str(value_of(ds, "AcquisitionDate") or "")
    time = str(value_of(ds, "AcquisitionTime") or value_of(ds, "ContentTime") or "")
    when = str(value_of(ds, "AcquisitionDateTime") or day + time)
    number = value_of(ds, "InstanceNumber")
    return when, number if isinstance(number, int) else 0, str(ds.SOPInstanceUID)


def _planes(ds: Dataset) -> Iterable[tuple[int, FloatArray, FloatArray]]:
    """Frame number, position and normal of every frame that has them."""
    frames = items_of(ds, "PerFrameFunctionalGroupsSequence")
    if not frames:
        yield from _plane(0, [ds], [ds])
        return
    if len(frames) > _MAX_FRAMES:
        raise DicomReadError(
            f"{ds.SOPInstanceUID} has {len(frames)} frames, expected at most {_MAX_FRAMES}"
        )
    shared = items_of(ds, "SharedFunctionalGroupsSequence")[:1]
    for frame_number, frame in enumerate(frames, start=1):
        groups = [frame, *shared]
        positions = [i for g in groups for i in items_of(g, "PlanePositionSequence")]
        orientations = [i for g in groups for i in items_of(g, "PlaneOrientationSequence")]
        yield from _plane(frame_number, positions, orientations)


def _plane(
    frame_number: int, positions: Sequence[Dataset], orientations: Sequence[Dataset]
) -> Iterable[tuple[int, FloatArray, FloatArray]]:
    position = _vector(positions, "ImagePositionPatient", 3)
    orientation = _vector(orientations, "ImageOrientationPatient", 6)
    if position is None or orientation is None:
        return
    normal = np.cross(orientation[:3], orientation[3:])
    length = float(np.linalg.norm(normal))
    if length > 0:
        yield frame_number, position, normal / length


def _vector(groups: Sequence[Dataset], keyword: str, length: int) -> FloatArray | None:
    try:
        vector = np.array(value_of(groups[0], keyword) if groups else None, dtype=float)
    except (ValueError, TypeError):
        return None
    return vector if vector.shape == (length,) and bool(np.isfinite(vector).all()) else None


def _cluster(instances: Sequence[_Instance]) -> tuple[SourceSlice, ...]:
    """Slice positions along the normal that most planes share, with the images at each one."""
    planes = [
        (instance.whole, frame_number, position, normal)
        for instance in instances
        for frame_number, position, normal in instance.planes
    ]
    if not planes:
        return ()
    normals = np.round([normal for _, _, _, normal in planes], 3) + 0.0
    _, first, counts = np.unique(normals, axis=0, return_index=True, return_counts=True)
    axis = planes[first[np.argmax(counts)]][3]
    parallel = [p for p in planes if float(p[3] @ axis) > _PARALLEL]
    heights = np.array([position @ axis for _, _, position, _ in parallel])
    order = np.argsort(heights, kind="stable")
    starts = np.flatnonzero(np.diff(heights[order], prepend=-np.inf) > _SAME_PLANE_MM)
    groups = [sorted(order[a:b]) for a, b in pairwise([*starts, len(order)])]
    return tuple(_slice([parallel[i] for i in group]) for group in groups)


def _slice(
    planes: Sequence[tuple[ImageReference, int, FloatArray, FloatArray]],
) -> SourceSlice:
    frames: dict[ImageReference, list[int]] = {}
    for whole, frame_number, _, _ in planes:
        frames.setdefault(whole, []).extend([frame_number] if frame_number else [])
    images = tuple(
        replace(whole, frame_numbers=tuple(numbers)) for whole, numbers in frames.items()
    )
    return SourceSlice(planes[0][2], images)
