"""The node's work on a folder, without network and database: classify and process."""

import itertools
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from dicom_node.assemble.classify import Classification, classify
from dicom_node.assemble.completeness import Completeness, completeness
from dicom_node.assemble.groups import AcquisitionGroup, acquisition_groups
from dicom_node.config import Config, Wants
from dicom_node.errors import NodeError
from dicom_node.jobs import analysis
from dicom_node.log import log_failure
from dicom_node.write.context import RunIdentity
from dicom_node.write.results import WrittenObject, write_results
from dicom_node.write.source import SourceImages
from inference import __version__
from inference.dicom.headers import read_folder
from inference.geometry import Geometry
from inference.pipelines import Pipeline, Progress, all_pipelines
from inference.results import PipelineResult

log = logging.getLogger(__name__)

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Found:
    """One acquisition in a folder."""

    group: AcquisitionGroup
    kind: Classification
    whole: Completeness

    def row(self) -> dict[str, Any]:
        """One entry of ``strokenode classify --json``."""
        return {
            "series_uids": list(self.group.series_uids),
            "kind": self.kind.kind.value,
            "evidence": list(self.kind.evidence),
            "slices": self.kind.slices,
            "time_points": self.kind.time_points,
            "complete": self.whole.state != "irregular",
            "reason": "; ".join(filter(None, [self.kind.reason, self.whole.reason])),
        }


def find_acquisitions(
    folder: Path, progress: Callable[[float], None] | None = None
) -> tuple[list[Found], list[tuple[Path, str]]]:
    """The acquisitions below a folder, and the files that cannot be read, each with its reason.

    Raises
    ------
    NodeError
        There is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise NodeError(f"{folder} is not a folder; give the folder that holds the DICOM files")
    headers, unreadable = read_folder(folder, progress)
    if not headers and not unreadable:
        raise NodeError(f"{folder} holds no files; give the folder that holds the DICOM files")
    found = []
    for group in acquisition_groups(headers):
        kind = classify(group)
        found.append(Found(group, kind, completeness(group, kind.kind)))
    return found, unreadable


def refusal(found: Found, everything: list[Found], unreadable: int) -> str | None:
    """Why an acquisition must not be analysed although a pipeline accepts it; None: it may be."""
    study_uid = found.group.headers[0].study_instance_uid
    patients = {
        header.patient_key
        for other in everything
        for header in other.group.headers
        if header.study_instance_uid == study_uid
    }
    if len(patients) > 1:
        return "the study holds images of two patients (two PatientIDs); correct it"
    if found.whole.state == "irregular":
        broken = f"; {unreadable} files cannot be read" if unreadable else ""
        return f"incomplete: {found.whole.reason}{broken}"
    return None


@dataclass(frozen=True)
class Processor:
    """Runs the pipelines on acquisitions; writes DICOM and, where wanted, NIfTI and PNG files."""

    config: Config
    output: Path
    device: str
    nifti: bool = False
    png: bool = False
    _used: set[Path] = field(default_factory=set)

    def pipelines_for(self, found: Found, wanted: list[str]) -> list[Pipeline]:
        """Pipelines that accept the acquisition: the wanted ones, else all that are enabled."""
        names = wanted or self.config.enabled_pipelines()
        pipelines = [all_pipelines()[name] for name in names]
        return [pipeline for pipeline in pipelines if pipeline.accepts is found.kind.kind]

    def run(
        self, found: Found, pipeline: Pipeline, refusal: str | None, progress: Progress
    ) -> dict[str, Any]:
        """Run one pipeline on one acquisition and return its entry of results.json.

        With a ``refusal`` nothing is computed: the report says "not analysed" and this reason.
        """
        group = found.group
        study_uid = group.headers[0].study_instance_uid
        folder = self._folder(study_uid, pipeline)
        folder.mkdir(parents=True)
        try:
            result = self._analyse(found, pipeline, refusal, progress)
            progress("write", 0.95)
            written = self._write(result, group, folder)
        except Exception as error:  # noqa: BLE001 becomes this series' result, the rest go on
            log_failure(log, f"{pipeline.name} failed", error)
            cause = f"the analysis failed: {type(error).__name__}"
            result = analysis.without_result(
                pipeline.name, pipeline.version, "failed", cause, self.device
            )
            shutil.rmtree(folder)
            written = self._write(result, group, folder)
        record = analysis.record(result, study_uid, list(group.series_uids))
        record["outputs"] = [item.row(str(item.path.relative_to(self.output))) for item in written]
        progress("done", 1.0)
        return record

    def _write(
        self, result: PipelineResult, group: AcquisitionGroup, folder: Path
    ) -> list[WrittenObject]:
        source = SourceImages.from_files(list(dict.fromkeys(h.path for h in group.headers)))
        run = RunIdentity(
            run_uid=generate_uid(prefix=None),
            software_version=__version__,
            created=datetime.now().astimezone().replace(microsecond=0),
        )
        table = self.config.series_table
        written = write_results(result, source, run, Wants(), table, folder / "dicom")
        if self.nifti:
            write_nifti(result, folder)
        if self.png:
            write_png(written, folder / "pages")
        return written

    def _folder(self, study_uid: str, pipeline: Pipeline) -> Path:
        """``OUTPUT/study/pipeline``; a study's second acquisition of a kind gets ``-2`` behind."""
        for number in itertools.count(1):
            suffix = f"-{number}" if number > 1 else ""
            folder = self.output / study_uid / f"{pipeline.name}{suffix}"
            if folder not in self._used:
                break
        self._used.add(folder)
        if folder.exists():  # of an earlier call
            shutil.rmtree(folder)
        return folder

    def _analyse(
        self, found: Found, pipeline: Pipeline, refusal: str | None, progress: Progress
    ) -> PipelineResult:
        if refusal is not None:
            return analysis.without_result(
                pipeline.name, pipeline.version, "not_analysed", refusal, self.device
            )
        settings = self.config.pipeline_settings(pipeline.name)
        headers = list(found.group.headers)
        return analysis.analyse(pipeline, headers, settings, self.device, progress)


def write_nifti(result: PipelineResult, folder: Path) -> None:
    """Every map, image and mask as ``NAME.nii.gz``, in RAS as NIfTI has it.

    Maps are 0 where nothing was measured; ``brain.nii.gz`` is 1 where something was. The affine
    keeps a gantry tilt; of unevenly spaced slices it has the mean step, all that NIfTI can hold.
    """
    volumes = {image.name: (image.data, image.geometry) for image in result.images}
    for map_ in result.maps:
        measured = np.isfinite(map_.data)
        volumes["brain"] = (measured.astype(np.uint8), map_.geometry)
        volumes[map_.quantity.name] = (np.where(measured, map_.data, 0), map_.geometry)
    for region in result.segmentations:
        volumes[region.name] = (region.mask.astype(np.uint8), region.geometry)
    for name, (data, geometry) in volumes.items():
        _save(data, geometry, folder / f"{name}.nii.gz")


def _save(data: npt.NDArray[Any], geometry: Geometry, path: Path) -> None:
    affine = _LPS_TO_RAS @ geometry.affine_lps
    volume = np.ascontiguousarray(data.transpose(2, 1, 0))
    image = nibabel.Nifti1Image(volume, affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm", "sec")  # type: ignore[no-untyped-call]
    nibabel.save(image, path)


def write_png(written: list[WrittenObject], folder: Path) -> None:
    """Every page among the written objects as ``ROLE_NUMBER.png``, the DICOM file's pixels."""
    for item in written:
        if item.sop_class_uid == SecondaryCaptureImageStorage:
            folder.mkdir(exist_ok=True)
            Image.fromarray(dcmread(item.path).pixel_array).save(folder / f"{item.path.stem}.png")


def write_json(document: Any, path: Path) -> None:
    """Write JSON so that a reader never sees half of it."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(path)
