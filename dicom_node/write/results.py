"""The entry point: one result in, DICOM files out."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.config import Wants
from dicom_node.write import report as report_module
from dicom_node.write.context import Predecessor, RunIdentity, SeriesTable, WriteContext
from dicom_node.write.derived_image import derived_images
from dicom_node.write.layers import Layer, image_layer, map_layer
from dicom_node.write.modules import save
from dicom_node.write.parametric_map import parametric_map
from dicom_node.write.report import WrittenRegion, report
from dicom_node.write.secondary_capture import captures
from dicom_node.write.segmentation import segmentation_object
from dicom_node.write.series import DEFAULT_SERIES
from dicom_node.write.source import ImageReference, SourceImages
from inference.geometry import Geometry
from inference.results import PipelineResult, Segmentation

__all__ = [
    "DEFAULT_SERIES",
    "Predecessor",
    "RunIdentity",
    "SeriesTable",
    "SourceImages",
    "Wants",
    "WrittenObject",
    "write_results",
]

_ROLE = re.compile(r"[a-z][a-z0-9_]{0,47}")
_SAME_GRID_MM = 0.01


@dataclass(frozen=True)
class WrittenObject:
    """One file of results."""

    path: Path
    role: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    series_description: str
    transfer_syntax_uid: str

    def row(self, path: str) -> dict[str, str]:
        """One entry of ``outputs`` in results.json, with the path as the reader finds it."""
        return {
            "path": path,
            "role": self.role,
            "sop_class": self.sop_class_uid,
            "sop_instance_uid": self.sop_instance_uid,
            "series_description": self.series_description,
        }


def write_results(
    result: PipelineResult,
    source: SourceImages,
    run: RunIdentity,
    wants: Wants,
    table: SeriesTable,
    folder: Path,
) -> list[WrittenObject]:
    """Write everything that a run has to say as DICOM files.

    The same arguments give the same bytes. A result that is not ``ok`` gives a report alone, also
    where ``wants`` asks for none: a series never ends without something that the reader sees.
    Files are not synchronised to disk; that is up to the caller, who knows when all are there.

    Parameters
    ----------
    table : mapping from role to SeriesEntry
        :data:`DEFAULT_SERIES`, or the one of config.toml.
    folder : Path
        Made where it does not exist; files are named by role and number.

    Returns
    -------
    list of WrittenObject
        What must be read first comes first: report, summary, pictures, segmentations, images.

    Raises
    ------
    DicomReadError
        The source is neither CT nor MR.
    ValueError
        Two results with the same name, or a name that cannot be a file name.
    """
    context = WriteContext(result, source, run, table)
    folder.mkdir(parents=True, exist_ok=True)
    writer = _Writer(context, wants, folder)
    return writer.write()


class _Writer:
    """One call of :func:`write_results`."""

    def __init__(self, context: WriteContext, wants: Wants, folder: Path) -> None:
        self._context = context
        self._wants = wants
        self._folder = folder
        self._roles: set[str] = set()

    def write(self) -> list[WrittenObject]:
        result, wants = self._context.result, self._wants
        if result.status != "ok":
            return self._save(report_module.ROLE, [report(self._context, (), ())])
        images = [image_layer(image) for image in result.images]
        maps = [map_layer(parameter_map) for parameter_map in result.maps]
        pictures, derived, parametric = [], [], []
        if wants.secondary_captures:
            pictures += self._pictures(images, maps)
        if wants.derived_images:
            for layer in [*images, *maps]:
                derived += self._save(layer.role, derived_images(layer, self._context))
        if wants.parametric_maps:
            for layer in maps:
                references = self._source_references(layer.geometry)
                ds = parametric_map(layer, references, self._context)
                parametric += self._save(f"{layer.role}_parametric", [ds])
        segmentations, regions = self._segmentations(images, derived)
        reports = []
        if wants.reports:
            others = [_reference(w) for w in [*pictures, *derived, *parametric]]
            ds = report(self._context, regions, others)
            reports = self._save(report_module.ROLE, [ds])
        return [*reports, *pictures, *segmentations, *derived, *parametric]

    def _pictures(self, images: Sequence[Layer], maps: Sequence[Layer]) -> list[WrittenObject]:
        written = []
        for role, pages in captures(images, maps, self._context):
            written += self._save(role, pages)
        return written

    def _segmentations(
        self, images: Sequence[Layer], derived: Sequence[WrittenObject]
    ) -> tuple[list[WrittenObject], list[WrittenRegion]]:
        written: list[WrittenObject] = []
        regions: list[WrittenRegion] = []
        for segmentation in self._context.result.segmentations:
            if not self._wants.segmentations or not segmentation.mask.any():
                continue
            references = self._lies_on(segmentation, images, derived)
            ds = segmentation_object(segmentation, references, self._context)
            saved = self._save(segmentation.name, [ds])
            written += saved
            sources = [
                reference
                for reference, mask in zip(references, segmentation.mask, strict=True)
                if mask.any()
            ]
            regions.append(WrittenRegion(segmentation, _reference(saved[0]), tuple(sources)))
        return written, regions

    def _lies_on(
        self,
        segmentation: Segmentation,
        images: Sequence[Layer],
        derived: Sequence[WrittenObject],
    ) -> list[ImageReference]:
        """The first derived series on the same grid, or the source images where there is none."""
        for layer in images:
            if derived and _same_grid(layer.geometry, segmentation.geometry):
                return [_reference(w) for w in derived if w.role == layer.role]
        return self._source_references(segmentation.geometry)

    def _source_references(self, geometry: Geometry) -> list[ImageReference]:
        """The source image nearest to each slice; any image where none has a position."""
        references = []
        for index, planes in enumerate(self._context.source.slices_of(geometry)):
            if planes:
                height = geometry.positions_mm[index] @ geometry.normal
                offsets = [abs(plane.position_mm @ geometry.normal - height) for plane in planes]
                references.append(planes[int(np.argmin(offsets))].images[0])
            else:
                references.append(self._context.source.references[0])
        return references

    def _save(self, role: str, datasets: Iterable[Dataset]) -> list[WrittenObject]:
        if not _ROLE.fullmatch(role):
            raise ValueError(
                f"{role!r} cannot be the name of a result; expected lower-case letters, digits "
                "and underscores, at most 48"
            )
        if role in self._roles:
            raise ValueError(f"two results are called {role!r}; names must differ")
        self._roles.add(role)
        written = []
        for ds in datasets:
            path = self._folder / f"{role}_{int(ds.InstanceNumber):04d}.dcm"
            save(ds, path)
            written.append(
                WrittenObject(
                    path=path,
                    role=role,
                    sop_class_uid=str(ds.SOPClassUID),
                    sop_instance_uid=str(ds.SOPInstanceUID),
                    series_instance_uid=str(ds.SeriesInstanceUID),
                    series_description=str(ds.SeriesDescription),
                    transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
                )
            )
        return written


def _same_grid(one: Geometry, other: Geometry) -> bool:
    return one.shape == other.shape and bool(
        np.allclose(one.affine_lps, other.affine_lps, atol=_SAME_GRID_MM)
        and np.allclose(one.positions_mm, other.positions_mm, atol=_SAME_GRID_MM)
    )


def _reference(written: WrittenObject) -> ImageReference:
    return ImageReference(
        written.sop_class_uid, written.sop_instance_uid, written.series_instance_uid
    )
