"""``strokenode process`` on perfusion MR: what is written, and that no core is claimed."""

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import MRImageStorage

from dicom_node.config import Config
from dicom_node.process import Processor, find_acquisitions, refusal
from tests.dicom_node.write.validators import assert_valid, dump_report
from tests.inference.perfusion.mr_phantom import ECHO_TIME_S, SMALL, mr_scan
from tests.support.dicom_factory import START, save
from training.simulate.dicom import Identity, pwi_datasets
from training.simulate.scanner import Scanner

Study = tuple[Path, dict[str, Any]]


def processed(folder: Path, scanner: Scanner, *, enhanced: bool = False) -> Study:
    """A stroke on the left, as a vendor writes it, through the pipeline."""
    case = mr_scan(replace(SMALL, slices=4))
    identity = Identity(f"mr {scanner}", "TEST-1", "Test^Patient", START)
    images = pwi_datasets(
        identity, scanner, case.series.geometry,
        [np.rint(frame).astype(np.uint16) for frame in case.series.data],
        case.series.times_s, START + dt.timedelta(minutes=5),
        echo_time_ms=1000 * ECHO_TIME_S, thickness_mm=SMALL.slice_mm, enhanced=enhanced,
    )  # fmt: skip
    save(list(images), folder / "in")
    (found,), unreadable = find_acquisitions(folder / "in")
    assert not unreadable
    processor = Processor(Config(), folder / "out", "cpu", nifti=True, png=True)
    (pipeline,) = processor.pipelines_for(found, [])
    progress = lambda stage, fraction: None  # noqa: E731
    return folder / "out", processor.run(found, pipeline, refusal(found, [found], 0), progress)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return processed(tmp_path_factory.mktemp("mr"), "philips")


def files(study: Study, role: str) -> list[Path]:
    output, record = study
    return [output / item["path"] for item in record["outputs"] if item["role"] == role]


def test_the_record(study: Study) -> None:
    _, record = study
    assert (record["pipeline"], record["status"], record["side"]) == ("pwi_perfusion", "ok", "L")
    measured = record["measurements"]
    for name in ("core_volume", "mismatch_volume", "mismatch_ratio"):
        assert measured[name]["value"] is None
    assert measured["hypoperfused_volume"]["value"] > 10
    assert {name: c["met"] for name, c in record["criteria"].items()} == {
        "defuse_3": None, "extend": None,
    }  # fmt: skip


def test_every_object_is_valid(study: Study) -> None:
    assert_valid(study[0].rglob("*.dcm"))


def test_maps_are_mr_images_and_every_series_says_mr(study: Study) -> None:
    _, record = study
    names = {item["series_description"].partition(" [!")[0] for item in record["outputs"]}
    assert all(name.endswith(" MR") for name in names)
    roles = {item["role"] for item in record["outputs"]}
    assert {"summary", "maps", "quality", "tmax_colour", "hypoperfused", "baseline"} <= roles
    assert "core" not in roles
    for role in ("baseline", "cbf", "cbv", "mtt", "tmax", "ttp"):
        ds = dcmread(files(study, role)[0])
        assert (ds.SOPClassUID, ds.Modality) == (MRImageStorage, "MR")
        assert ds.EchoTime == pytest.approx(1000 * ECHO_TIME_S)


def test_the_report_says_why_there_is_no_core(study: Study) -> None:
    text = dump_report(files(study, "report")[0])
    assert "MRI of brain" in text
    assert "not measured on PWI: see diffusion (ADC)" in text
    assert "Criterion defuse_3: cannot be told" in text
    assert "CT perfusion" not in text


def test_nifti(study: Study) -> None:
    names = {path.name.removesuffix(".nii.gz") for path in study[0].rglob("*.nii.gz")}
    assert names == {"baseline", "brain", "cbf", "cbv", "mtt", "tmax", "ttp", "hypoperfused"}
    (path,) = study[0].rglob("hypoperfused.nii.gz")
    image = nibabel.Nifti1Image.from_filename(path)
    places = np.argwhere(np.asarray(image.dataobj)) @ image.affine[:3, :3].T + image.affine[:3, 3]
    assert places[:, 0].max() < 0  # RAS: the patient's left


def test_enhanced_mr(tmp_path: Path) -> None:
    output, record = processed(tmp_path, "siemens", enhanced=True)
    assert (record["status"], record["side"]) == ("ok", "L")
    ds = dcmread(files((output, record), "tmax")[0], stop_before_pixels=True)
    assert (ds.SOPClassUID, float(ds.EchoTime)) == (MRImageStorage, 1000 * ECHO_TIME_S)
