"""``strokenode simulate``: files, truth, repeatability, bad usage."""

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from pydicom import dcmread
from typer.testing import CliRunner

from training.simulate.command import app

program = typer.Typer()
program.add_typer(app, name="simulate")
SMALL = ["--slices", "2", "--matrix", "64"]


def run(*arguments: object) -> str:
    result = CliRunner().invoke(program, ["simulate", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def content(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    common = ("ctp", "--seed", 4, *SMALL, "--date", "2026-02-03", "--output")
    assert "60 images" in run(*common, tmp_path / "a")
    run(*common, tmp_path / "b")
    first, second = content(tmp_path / "a"), content(tmp_path / "b")
    assert first == second
    assert len(first) == 62
    ds = dcmread(tmp_path / "a" / "dicom" / "00001.dcm")
    assert (ds.StudyDate, ds.PatientID) == ("20260203", "SIM4")


def test_truth_has_arrays_and_units(tmp_path: Path) -> None:
    run("ctp", "--seed", 1, "--lesion", "right", "--scanner", "canon", *SMALL, "--output", tmp_path)
    with np.load(tmp_path / "truth" / "truth.npz") as truth:
        assert truth["cbf"].shape == (2, 64, 64)
        np.testing.assert_allclose(truth["cbv"], truth["cbf"] * truth["mtt"] / 60, atol=1e-5)
        assert truth["times_s"].shape == (19, 2)
        assert truth["core"].dtype == bool
        np.testing.assert_array_equal(truth["penumbra"], truth["hypoperfused"] & ~truth["core"])
        core_voxels = int(truth["core"].sum())
    summary = json.loads((tmp_path / "truth" / "truth.json").read_text())
    assert summary["side"] == "R"
    assert summary["scanner"] == "canon"
    voxel_ml = (230 / 64) ** 2 * 5 / 1000
    assert summary["volumes_ml"]["core"] == pytest.approx(core_voxels * voxel_ml, abs=0.01)
    assert len({dcmread(path).SeriesInstanceUID for path in tmp_path.glob("dicom/*")}) == 19


def test_ncct_and_ctp_of_a_seed_are_one_study_of_today(tmp_path: Path) -> None:
    run("ncct", "--seed", 9, *SMALL, "--output", tmp_path / "ncct")
    run("ctp", "--seed", 9, *SMALL, "--lesion", "none", "--output", tmp_path / "ctp")
    ncct, ctp = (dcmread(tmp_path / kind / "dicom" / "00001.dcm") for kind in ("ncct", "ctp"))
    assert ncct.StudyInstanceUID == ctp.StudyInstanceUID
    assert ncct.FrameOfReferenceUID == ctp.FrameOfReferenceUID
    assert ncct.SeriesInstanceUID != ctp.SeriesInstanceUID
    today = dt.date.today()
    assert abs((dt.date.fromisoformat(ctp.StudyDate) - today).days) <= 1
    assert json.loads((tmp_path / "ctp" / "truth" / "truth.json").read_text())["side"] is None


def test_other_options_give_other_instances(tmp_path: Path) -> None:
    for side in ("left", "none"):
        run("ctp", "--seed", 2, *SMALL, "--lesion", side, "--output", tmp_path / side)
    left, none = (dcmread(tmp_path / side / "dicom" / "00001.dcm") for side in ("left", "none"))
    assert left.StudyInstanceUID == none.StudyInstanceUID
    assert left.SOPInstanceUID != none.SOPInstanceUID


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "old.dcm").touch()
    command = ["simulate", "ctp", "--seed", "1", *SMALL, "--output", str(tmp_path)]
    result = CliRunner().invoke(program, command)
    assert result.exit_code == 2
    assert "not empty" in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize("option", [["--matrix", "4096"], ["--scanner", "acme"], ["--noise", "-1"]])
def test_bad_options_are_refused(option: list[str], tmp_path: Path) -> None:
    command = ["simulate", "ctp", "--seed", "1", "--output", str(tmp_path), *option]
    assert CliRunner().invoke(program, command).exit_code == 2
