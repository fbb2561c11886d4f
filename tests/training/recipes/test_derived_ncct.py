"""Training of derived head CT on patients of a few thousand voxels."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from inference.derived_ncct.tiles import Tile, plan_tiles
from inference.networks.conv_lstm import StackedConvLstm
from tests.training.pairs.tiny import tiny_folder, tiny_pair
from tests.training.recipes import two_processes
from tests.training.recipes.tiny import TINY
from training.fit import Plan, fit, load_best
from training.pairs.subvolumes import Drawing, PairData, load_split
from training.recipes import derived_ncct
from training.recipes.command import app
from training.recipes.derived_ncct import (
    PRESETS,
    DerivedNcct,
    as_method,
    build,
    load_run,
    run_folder,
    train,
)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("pairs"))


def column(run: Path, name: str) -> list[float]:
    with (run / "logs" / "0" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def test_it_learns_and_keeps_what_validates_best(pairs: Path, tmp_path: Path) -> None:
    preset = replace(TINY, epochs=8, batches=15, filters=6)
    progress = train(pairs, tmp_path, preset=preset, device="cpu")
    assert progress.fraction == 1
    run = run_folder(tmp_path, "conv-lstm", "a")
    losses = column(run, "validation_loss")
    assert len(losses) == 8
    assert min(losses) < 0.5 * losses[0]
    assert progress.loss == pytest.approx(min(losses), rel=1e-4)
    assert list(run.glob("logs/0/events.out.tfevents.*"))
    module = load_best(DerivedNcct(build("conv-lstm", preset), preset), run)
    data = PairData(
        load_split(pairs, "train"), load_split(pairs, "validation"),
        Drawing(preset.size, preset.batch, preset.batches),
    )  # fmt: skip
    with torch.no_grad():
        errors = [float(module.loss(batch)) * 250**2 for batch in data.val_dataloader()]
    assert sum(errors) / len(errors) == pytest.approx(min(losses), rel=1e-3)


@pytest.mark.parametrize("model", ["unet-3d", "nie"])
def test_rivals_train_by_the_same_words(model: str, pairs: Path, tmp_path: Path) -> None:
    progress = train(pairs, tmp_path, model=model, preset=TINY, device="cpu")  # type: ignore[arg-type]
    assert progress.epochs_done == 3
    assert progress.best is not None


def test_b_goes_on_from_the_best_of_a_with_all_patients(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match="train first"):
        train(pairs, tmp_path, preset=TINY, experiment="b", device="cpu")
    train(pairs, tmp_path, preset=TINY, device="cpu")
    seen: list[tuple[int, torch.Tensor]] = []

    def record(module: DerivedNcct, data: PairData, plan: Plan) -> object:
        seen.append((len(data.train), next(module.network.parameters()).detach().clone()))
        return fit(module, data, plan)

    monkeypatch.setattr(derived_ncct, "fit", record)
    train(pairs, tmp_path, preset=TINY, experiment="b", device="cpu")
    best = load_best(
        DerivedNcct(build("conv-lstm", TINY), TINY), run_folder(tmp_path, "conv-lstm", "a")
    )
    ((count, weights),) = seen
    assert count == 4
    assert torch.equal(weights, next(best.parameters()))


def test_a_run_goes_on_where_its_time_was_up(pairs: Path, tmp_path: Path) -> None:
    long = replace(TINY, epochs=4)
    short = train(pairs, tmp_path, preset=long, device="cpu", time_budget_s=0.001)
    assert short.epochs_done == 1
    whole = train(pairs, tmp_path, preset=long, device="cpu")
    assert whole.fraction == 1
    again = train(pairs, tmp_path, preset=long, device="cpu")
    assert again.epochs_done == 4
    run = run_folder(tmp_path, "conv-lstm", "a")
    assert sorted(path.name for path in (run / "logs").iterdir()) == ["0", "1", "2"]


def test_other_sizes_need_another_folder(pairs: Path, tmp_path: Path) -> None:
    train(pairs, tmp_path, preset=replace(TINY, epochs=1, layers=3, filters=2), device="cpu")
    network = load_run(tmp_path, "conv-lstm", "a").network
    assert isinstance(network, StackedConvLstm)
    assert len(network.sequence_layers) == 2
    with pytest.raises(ValueError, match=r"was begun with .*'layers': 3.* give another folder"):
        train(pairs, tmp_path, preset=TINY, device="cpu")
    with pytest.raises(FileNotFoundError, match="holds no run"):
        load_run(tmp_path, "nie", "a")


def test_the_command_says_how_far_it_is(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "lite", TINY)
    words = ["derived-ncct", "--pairs", str(pairs), "--runs", str(tmp_path), "--device", "cpu"]
    result = CliRunner().invoke(app, [*words, "--layers", "1", "--last-state", "full"])
    assert result.exit_code == 0, result.output
    found = load_run(tmp_path, "conv-lstm", "a").network
    assert isinstance(found, StackedConvLstm)
    assert (len(found.sequence_layers), found.last_layer.last_state) == (0, "full")
    assert "3 of 3 epochs, 100.0 % of the preset; best validation loss" in result.output
    result = CliRunner().invoke(app, [*words[:2], str(tmp_path / "none"), *words[3:]])
    assert result.exit_code == 2
    assert "no case of split 'train'" in " ".join(result.output.split())


def test_the_command_prepares_patients_first(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "lite", replace(TINY, epochs=1))
    words = ["derived-ncct", "--pairs", str(pairs), "--runs", str(tmp_path), "--device", "cpu"]
    table = tmp_path / "cases.csv"
    table.write_text("case,split,scanner,pathology,ctp,ncct\none,dev,ge,no,a,b\n")
    result = CliRunner().invoke(app, [*words, "--manifest", str(table)])
    assert result.exit_code == 2
    assert "cases.csv cannot be used" in " ".join(result.output.split())
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    table.write_text("case,split,scanner,pathology,ctp,ncct\none,train,ge,no,a,b\n")
    result = CliRunner().invoke(app, [*words, "--manifest", str(table)])
    assert result.exit_code == 0, result.output
    assert "one: not used" in result.output
    asked: list[dict[str, int]] = []

    def simulated(
        _folder: Path, counts: dict[str, int], *_more: object, **_rest: object
    ) -> list[str]:
        asked.append(dict(counts))
        return []

    monkeypatch.setattr("training.pairs.simulated.simulate_pairs", simulated)
    assert CliRunner().invoke(app, [*words, "--simulate"]).exit_code == 0
    assert asked == [dict(TINY.patients)]


def test_a_needs_patients_without_pathology(pairs: Path, tmp_path: Path) -> None:
    for pair in load_split(pairs, "train"):
        replace(pair, case=replace(pair.case, pathology=True)).save(tmp_path / "ill")
    with pytest.raises(ValueError, match="experiment A needs others"):
        train(tmp_path / "ill", tmp_path / "runs", preset=TINY, device="cpu")


def test_presets_are_the_papers_sizes() -> None:
    paper = PRESETS["paper"]
    assert sum(p.numel() for p in build("conv-lstm", paper).parameters()) == 2_669_121
    assert (paper.epochs, paper.batches, paper.batch, paper.size) == (1500, 50, 2, (32, 32, 32))


def test_processes_of_torchrun_share_the_batches(pairs: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        two_processes.__file__, str(pairs), str(tmp_path),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    run = run_folder(tmp_path, "conv-lstm", "a")
    with (run / "logs" / "0" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert max(steps) == TINY.epochs * TINY.batches // 2 - 1
    assert list(run.glob("best-*.ckpt"))


def test_a_network_in_tiles_gives_the_same_as_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = tiny_pair(shape=(6, 70, 70), frames=3)
    frames = np.asarray(pair.ctp, np.float32)
    module = DerivedNcct(build("conv-lstm", TINY), TINY)
    whole = as_method(module, None)(frames, pair.masks["cavity"])
    counted: list[int] = []

    def plan(*arguments: Any) -> list[Tile]:
        tiles = plan_tiles(*arguments)
        counted.append(len(tiles))
        return tiles

    monkeypatch.setattr(derived_ncct, "plan_tiles", plan)
    monkeypatch.setattr(derived_ncct, "_MEMORY_GB", 0.008)
    parts = as_method(module, None)(frames, pair.masks["cavity"])
    assert counted[0] > 1
    inside = pair.masks["cavity"]
    np.testing.assert_allclose(parts[inside], whole[inside], atol=0.5)
