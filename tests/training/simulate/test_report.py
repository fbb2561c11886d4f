"""The commands that print the simulator's figures and draw its pictures."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from training.simulate import figures, measure
from training.simulate.command import app

RUNNER = CliRunner()


def inside() -> dict[str, list[float]]:
    """Values in the middle of every range; the spread of a logarithm needs two."""
    found = {}
    for expectation in measure.EXPECTED:
        middle = (expectation.low + expectation.high) / 2
        found[expectation.name] = [middle]
        if expectation.statistic == "log sd":
            found[expectation.name] = [1.0, 2.718281828 ** (middle * 2**0.5)]
    return found


def test_a_table_and_success_when_everything_lies_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "measure_patient", lambda seed: inside())
    outcome = RUNNER.invoke(app, ["measure", "--patients", "1", "--processes", "1"])
    assert outcome.exit_code == 0
    for expectation in measure.EXPECTED:
        assert expectation.name.split()[0] in outcome.stdout
    assert "OUTSIDE" not in outcome.stdout


def test_outside_of_one_range_is_said_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {**inside(), "NCCT fat": [50.0]}
    monkeypatch.setattr(measure, "measure_patient", lambda seed: found)
    outcome = RUNNER.invoke(app, ["measure", "--patients", "2", "--processes", "1"])
    assert outcome.exit_code == 1
    assert outcome.stdout.count("OUTSIDE") == 1


def test_json_gives_numbers_and_null_for_what_was_not_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {**inside(), "NCCT oedema": []}
    monkeypatch.setattr(measure, "measure_patient", lambda seed: found)
    arguments = ["measure", "--patients", "1", "--processes", "1", "--json"]
    outcome = RUNNER.invoke(app, arguments)
    assert outcome.exit_code == 1
    records = {record["name"]: record for record in json.loads(outcome.stdout)}
    assert records["NCCT oedema"]["value"] is None
    assert not records["NCCT oedema"]["inside"]
    assert records["NCCT fat"] == {
        "name": "NCCT fat", "unit": "HU", "statistic": "median", "count": 1, "value": -85.0,
        "percentile_5": -85.0, "percentile_95": -85.0, "low": -105, "high": -65, "inside": True,
    }  # fmt: skip


def test_pictures_are_written_and_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def draw(folder: Path, seed: int, progress: Callable[[str], None]) -> list[Path]:
        progress("one.png")
        return [folder / f"{seed}.png"]

    monkeypatch.setattr(figures, "write_figures", draw)
    outcome = RUNNER.invoke(app, ["pictures", "--output", str(tmp_path), "--seed", "4"])
    assert outcome.exit_code == 0
    assert outcome.stdout.replace("\n", "") == str(tmp_path / "4.png")
