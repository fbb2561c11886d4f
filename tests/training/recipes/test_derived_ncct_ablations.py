"""Ablations of derived head CT on patients of a few thousand voxels."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.training.pairs.tiny import tiny_folder, tiny_pair
from tests.training.recipes.tiny import TINY
from training.recipes import derived_ncct_ablations
from training.recipes.command import app
from training.recipes.derived_ncct import PRESETS, load_run, train
from training.recipes.derived_ncct_ablations import Setting, ablate, further_epochs


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_folder(tmp_path_factory.mktemp("pairs"))
    for number in (1, 2):
        tiny_pair(f"test-{number}", split="test", seed=20 + number).save(folder)
    return folder


def rows(path: Path) -> list[list[str]]:
    return [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]


def test_sizes_take_the_same_steps_and_go_on_when_time_was_up(pairs: Path, tmp_path: Path) -> None:
    setting = Setting(pairs, tmp_path / "runs", TINY, device="cpu")
    names = ["K=2", "K=3", "5/1"]
    (table,), done = ablate(setting, names, tmp_path, epochs=2, budget_s=0.001)
    assert not done
    assert not table.rows
    (table,), done = ablate(setting, names, tmp_path, epochs=2)
    assert done
    assert [row[0] for row in table.rows] == names
    assert [row[1] for row in table.rows] == ["2", "3", "2"]
    assert {row[5] for row in table.rows} == {"8"}  # steps
    assert {row[6] for row in table.rows} == {"2"}  # patients without pathology
    parameters = [int(row[4]) for row in table.rows]
    assert parameters[0] < parameters[1]
    assert len(rows(tmp_path / "sizes.csv")) == 4


def test_fewer_time_points_start_from_the_best_network(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derived_ncct_ablations, "FIRST", (1, 4))
    runs = tmp_path / "runs"
    preset = replace(TINY, epochs=15)
    assert further_epochs(preset) == [1, 2, 3]
    setting = Setting(pairs, runs, preset, device="cpu")
    with pytest.raises(FileNotFoundError, match="holds no run"):
        ablate(setting, ["time-points"], tmp_path)
    train(pairs, runs, preset=preset, device="cpu")
    before = load_run(runs, "conv-lstm", "a").state_dict()
    (table,), done = ablate(setting, ["time-points"], tmp_path)
    assert done
    assert [tuple(row[:3]) for row in table.rows] == [
        (points, further, "2") for points in ("0-0", "0-3") for further in ("0", "1", "2", "3")
    ]
    assert len({row[3] for row in table.rows}) == len(table.rows)
    (again,), done = ablate(setting, ["time-points"], tmp_path)
    assert done
    assert again.rows == table.rows
    after = load_run(runs, "conv-lstm", "a").state_dict()
    assert all(bool((before[name] == after[name]).all()) for name in before)
    assert (tmp_path / "time-points-mse.png").stat().st_size > 1000
    assert (tmp_path / "time-points-ssim.png").exists()


def test_the_command_names_what_there_is(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "lite", TINY)
    words = [
        "derived-ncct-ablations", "--pairs", str(pairs), "--runs", str(tmp_path / "runs"),
        "--output", str(tmp_path), "--device", "cpu", "--precision", "32-true", "--epochs", "1",
    ]  # fmt: skip
    result = CliRunner().invoke(app, [*words, "--only", "K=7"])
    assert result.exit_code == 2
    assert "K=7; expected some of K=1" in " ".join(result.output.replace("│", " ").split())
    result = CliRunner().invoke(app, [*words, "--only", "K=1", "--patients", "1"])
    assert result.exit_code == 0, result.output
    assert "sizes of the network" in result.output
    assert rows(tmp_path / "sizes.csv")[1][:4] == ["K=1", "1", "3", "3/3"]
