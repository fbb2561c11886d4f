import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.training.evaluate.test_osipi import exponential
from tests.training.evaluate.test_perfusion_patients import outcome
from training.evaluate import perfusion_patients, perfusion_phantom
from training.evaluate.command import app
from training.evaluate.engines import all_engines
from training.evaluate.perfusion_patients import Outcome
from training.evaluate.perfusion_phantom import Agreement

ROW = Agreement("osvd", "box", 6.0, 0.981, 0.972, 0.963, 0.504, 0.955, -0.36, 1.02)


@pytest.fixture(autouse=True)
def one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured() -> Iterator[Agreement]:
        yield ROW

    monkeypatch.setattr(perfusion_phantom, "measure_engines", measured)


def test_the_table_has_every_number() -> None:
    done = CliRunner().invoke(app, ["perfusion", "--patients", "0"])
    assert done.exit_code == 0
    line = next(line for line in done.stdout.splitlines() if "osvd" in line)
    numbers = [cell.strip() for cell in line.strip("│ ").split("│")]
    assert numbers == [
        "osvd", "box", "6", "0.981", "0.972", "0.963", "0.504", "0.955", "-0.36", "1.02",
    ]  # fmt: skip


def test_json_has_every_field() -> None:
    done = CliRunner().invoke(app, ["perfusion", "--patients", "0", "--json"])
    assert done.exit_code == 0
    assert [Agreement(**row) for row in json.loads(done.stdout)["phantom"]] == [ROW]


def test_patients_come_with_a_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def evaluated(seed: int, count: int, *, kind: str, processes: int) -> Iterator[Outcome]:
        asked.append((seed, count, kind, processes))
        yield outcome()

    monkeypatch.setattr(perfusion_patients, "evaluate_patients", evaluated)
    arguments = ["perfusion", "--patients", "1", "--seed", "3", "--processes", "2", "--kind", "pwi"]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0
    assert asked == [(3, 1, "pwi", 2)]
    found = json.loads(done.stdout)
    assert found["patients"][0]["scanner"] == "siemens"
    assert found["summary"]["hypoperfused_dice"] == 0.9
    done = CliRunner().invoke(app, arguments)
    assert "18/20/25" in done.stdout
    assert "0.10 0.10" in done.stdout


def test_what_is_finished_is_kept_when_it_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def evaluated(seed: int, count: int, *, kind: str, processes: int) -> Iterator[Outcome]:
        yield outcome()
        raise KeyboardInterrupt

    monkeypatch.setattr(perfusion_patients, "evaluate_patients", evaluated)
    path = tmp_path / "rows.jsonl"
    path.write_text("of an earlier run")
    done = CliRunner().invoke(app, ["perfusion", "--patients", "2", "--output", str(path)])
    assert done.exit_code != 0
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row.pop("kind") for row in rows] == ["phantom", "patient"]
    assert Agreement(**rows[0]) == ROW
    assert rows[1]["scanner"] == "siemens"
    assert rows[1]["found"] == {"core": 9.0, "hypoperfused": 18.0}


def test_the_reference_object_has_a_table_and_rows(tmp_path: Path) -> None:
    path, lines = tmp_path / "dsc.csv", tmp_path / "rows.jsonl"
    row = f"x,{','.join(exponential(40.0, 4.0))},4,40,1"
    path.write_text(f"label,C_tis,C_aif,cbv,cbf,tr\n{row}\n")
    arguments = ["perfusion", "--patients", "0", "--osipi", str(path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert "OSIPI" in done.stdout
    assert done.stdout.count("1 of 1") >= len(all_engines()) - 1
    done = CliRunner().invoke(app, [*arguments, "--json", "--output", str(lines)])
    found = json.loads(done.stdout)["osipi"]
    assert [row["engine"] for row in found] == [engine.name for engine in all_engines()]
    kept = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [{"kind": "osipi", **row} for row in found] == kept[1:]
    path.write_text("something else")
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "is not OSIPI's" in " ".join(done.stderr.replace("│", " ").split())


def test_the_command_loads_nothing_heavy() -> None:
    code = "import sys, training.evaluate.command; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "scipy", "numpy"}.isdisjoint(done.stdout.split())
