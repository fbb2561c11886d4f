"""``strokenode bench perfusion`` on small sizes, whole."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.training.bench.one_patient import patient
from training.bench import engines, patients, perfusion
from training.bench.command import app


@pytest.fixture(autouse=True)
def one_patient() -> Iterator[None]:
    """Make one patient for all scans."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (patients, perfusion):
            patch.setattr(module, "make_patient", lambda case: patient())
        yield


def measured(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["perfusion", "--quick", "--json", *arguments])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_everything_is_measured() -> None:
    found = measured("--seed", "2")
    assert list(found) == ["phantom", "patients", "summary", "stages", "speed", "motion"]
    own = {"osvd", "bsvd", "ssvd", "tikhonov", "fourier"}
    for name in ("phantom", "patients", "summary", "speed"):
        assert own | {"dcmri TSVD 0.2"} <= {row["engine"] for row in found[name]}, name
    assert all(0.2 < row["r"]["cbf"] <= 1 for row in found["phantom"])
    assert {row["tuned"] for row in found["phantom"]} == {"", "CBF", "Tmax"}
    last = found["summary"][-1]
    assert last["engine"] == "automatic analysis"
    assert last["analysed"] == 1
    assert last["r_cbf_shown"] > 0.4
    assert {"motion", "deconvolve", "all"} <= {row["stage"] for row in found["stages"]}
    heads = [(row["engine"], row["head"]) for row in found["motion"]]
    assert heads == [
        ("StrokeNode", "moving"), ("SimpleITK", "moving"),
        ("StrokeNode", "still"), ("SimpleITK", "still"),
    ]  # fmt: skip
    invented = found["motion"][2]
    assert invented["moved_mm"] < 1e-9
    assert invented["worst_mm"] < 0.3


def test_one_subject_as_tables() -> None:
    done = CliRunner().invoke(app, ["perfusion", "--quick", "--only", "phantom"])
    assert done.exit_code == 0
    assert "Digital reference phantom" in done.stdout
    assert done.stdout.count("dcmri Tikhonov") == 4
    assert "SimpleITK" not in done.stdout


def test_without_dcmri_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    done = CliRunner().invoke(app, ["perfusion", "--quick"])
    assert done.exit_code == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: dcmri is not installed; ")
    assert line.endswith("pip install -c constraints.txt '.[bench]'")


def test_the_command_loads_nothing_heavy() -> None:
    code = "import sys, training.bench.command; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "scipy", "numpy", "SimpleITK", "dcmri"}.isdisjoint(done.stdout.split())
