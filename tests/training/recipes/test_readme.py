"""The commands of the README's part on training, on tiny patients."""

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.training.pairs.tiny import tiny_folder
from tests.training.recipes.tiny import TINY
from training.evaluate.command import app as evaluate
from training.recipes.command import app as train
from training.recipes.derived_ncct import PRESETS

README = Path(__file__).parents[3] / "README.md"


def commands() -> list[list[str]]:
    part = README.read_text(encoding="utf-8").split("## Training\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith(".venv/bin/strokenode ")]
    return [shlex.split(line)[1:] for line in lines]


def test_the_commands_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def simulate(folder: Path, *_more: object, **_rest: object) -> Iterator[str]:
        tiny_folder(folder)
        yield "all"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PRESETS, "lite", replace(TINY, epochs=1))
    monkeypatch.setattr("training.pairs.simulated.simulate_pairs", simulate)
    programs = {"train": train, "evaluate": evaluate}
    found = commands()
    assert [words[0] for words in found] == ["train", "train", "evaluate"]
    for program, *words in found:
        result = CliRunner().invoke(programs[program], words)
        assert result.exit_code == 0, result.output
    assert list(Path("runs/conv-lstm/b").glob("best-*.ckpt"))
    assert list(Path("report").glob("*.csv"))
