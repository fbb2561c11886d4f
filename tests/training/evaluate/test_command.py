import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from training.evaluate import perfusion_phantom
from training.evaluate.command import app
from training.evaluate.perfusion_phantom import Agreement

ROW = Agreement("osvd", "box", 6.0, 0.981, 0.972, 0.963, 0.504, 0.955, -0.36, 1.02)


@pytest.fixture(autouse=True)
def one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured() -> Iterator[Agreement]:
        yield ROW

    monkeypatch.setattr(perfusion_phantom, "measure_methods", measured)


def test_the_table_has_every_number() -> None:
    done = CliRunner().invoke(app, ["perfusion"])
    assert done.exit_code == 0
    line = next(line for line in done.stdout.splitlines() if "osvd" in line)
    numbers = [cell.strip() for cell in line.strip("│ ").split("│")]
    assert numbers == [
        "osvd", "box", "6", "0.981", "0.972", "0.963", "0.504", "0.955", "-0.36", "1.02",
    ]  # fmt: skip


def test_json_has_every_field() -> None:
    done = CliRunner().invoke(app, ["perfusion", "--json"])
    assert done.exit_code == 0
    assert [Agreement(**row) for row in json.loads(done.stdout)["phantom"]] == [ROW]


def test_the_command_loads_nothing_heavy() -> None:
    code = "import sys, training.evaluate.command; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "scipy", "numpy"}.isdisjoint(done.stdout.split())
