"""Scores and reports of derived head CT on patients of a few thousand voxels."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from inference.networks.conv_lstm import StackedConvLstm
from inference.weights import read_manifest, read_tensors
from tests.support.dicom_factory import ctp_datasets, save
from tests.support.models import write_derived_ncct
from tests.training.pairs.tiny import BIAS_HU, NOISE_HU, tiny_folder, tiny_pair
from training.evaluate.command import app
from training.evaluate.derived_ncct import (
    BASELINES,
    Score,
    baseline_image,
    baselines,
    measure_bias,
    score,
    score_pairs,
)
from training.evaluate.derived_ncct_report import accuracy_table, contrast_table, grouped
from training.pairs.pair import Pair
from training.recipes.derived_ncct import PRESETS, train


def truth(pair: Pair) -> "np.typing.NDArray[np.float32]":
    assert pair.truth is not None
    return np.asarray(pair.truth, np.float32)


def test_the_true_image_is_perfect_but_for_the_noise_of_the_measured_one() -> None:
    pair = tiny_pair(pathology=True)
    found = score("truth", pair, truth(pair))
    assert (found.mse, found.r2) == (0, 1)
    assert found.ssim == pytest.approx(1)
    assert found.noisy_mse == pytest.approx(NOISE_HU**2, rel=0.1)
    assert found.vessels_hu == pytest.approx(0, abs=1e-3)
    assert found.contrast["ich"] == pytest.approx(1)
    assert found.contrast["grey-white"] == pytest.approx(1)
    assert "infarct" not in found.contrast


def test_what_is_lost_is_told() -> None:
    pair = tiny_pair(pathology=True)
    image = truth(pair).copy()
    ich, vessels = pair.masks["ich"], pair.masks["vessels"]
    image[ich] -= 15
    image[vessels] += 20
    found = score("worse", pair, image + np.float32(3))
    assert found.contrast["ich"] == pytest.approx(0.5, abs=0.08)
    assert found.vessels_hu == pytest.approx(20, abs=0.5)
    assert found.mse is not None
    assert found.mse > 9


def test_the_bias_of_the_means_is_found_beside_the_vessels() -> None:
    pairs = [tiny_pair(f"p{seed}", seed=seed, frames=12) for seed in range(2)]
    bias = measure_bias(pairs)
    assert bias["t=0"] == pytest.approx(-BIAS_HU, abs=0.3)
    assert bias["t=0-3"] == pytest.approx(-BIAS_HU, abs=0.5)
    assert set(bias) == set(BASELINES)
    methods = baselines(bias)
    scores = list(score_pairs(pairs, methods))
    assert [one.method for one in scores] == list(BASELINES) * 2
    by_method = {one.method: one for one in scores if one.case == "p0"}
    assert by_method["t=0"].mse == pytest.approx(NOISE_HU**2, rel=0.15)
    assert by_method["t=all"].vessels_hu is not None
    assert by_method["t=all"].vessels_hu > 20


def test_means_of_time_points() -> None:
    frames = np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1)
    assert [float(baseline_image(name, frames).item()) for name in BASELINES] == [0, 1.5, 4.5]
    with pytest.raises(ValueError, match="method 't=1'"):
        baseline_image("t=1", frames)


def test_without_a_truth_only_the_measured_image_counts() -> None:
    pair = replace(tiny_pair(), truth=None)
    pair = replace(pair, masks={"cavity": pair.masks["cavity"]})
    found = score("t=0", pair, np.asarray(pair.ctp[0], np.float32))
    assert found.mse is found.vessels_hu is None
    assert found.noisy_mse == pytest.approx(BIAS_HU**2 + 2 * NOISE_HU**2, rel=0.1)
    table = accuracy_table(("test", "normal"), {"t=0": [found]}, "t=0")
    assert "MSE HU²" not in table.columns
    assert "MSE HU², noisy" in table.columns


def some_scores(method: str, error: float) -> list[Score]:
    return [
        Score(
            method, f"case {k}", "ge", "test", k > 3, 20 + error + k, 0.5, 0.8, error + k, 0.6,
            0.9, error / 4, {"ich": 0.9 - error / 100} if k > 3 else {},
        )
        for k in range(8)
    ]  # fmt: skip


def test_tables_test_every_method_against_the_network() -> None:
    groups = grouped([*some_scores("t=0", 16.0), *some_scores("conv-lstm", 4.0)])
    assert set(groups) == {("test", "normal"), ("test", "pathology")}
    table = accuracy_table(("test", "normal"), groups["test", "normal"], "conv-lstm")
    cells = {row[0]: dict(zip(table.columns[2:8:2], row[2:8:2], strict=True)) for row in table.rows}
    assert cells["conv-lstm"]["MSE HU²"].startswith("5.5")
    assert cells["t=0"]["MSE HU²"].startswith("17.5")
    p_values = {row[0]: row[3] for row in table.rows}
    assert p_values["conv-lstm"] == ""
    assert float(p_values["t=0"].lstrip("<")) <= 0.125
    contrast = contrast_table(("test", "pathology"), groups["test", "pathology"])
    ich = contrast.columns.index("ich")
    by_method = {row[0]: row for row in contrast.rows}
    assert by_method["conv-lstm"][1] == "1.0"
    assert by_method["conv-lstm"][ich - 1] == "4"
    assert by_method["conv-lstm"][ich] == "0.86 0.86"


def test_the_command_compares_what_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = replace(
        PRESETS["lite"], filters=2, unet_filters=2, size=(4, 12, 12), rival_size=(4, 12, 12),
        epochs=1, batches=2,
    )  # fmt: skip
    monkeypatch.setitem(PRESETS, "lite", tiny)
    pairs = tiny_folder(tmp_path / "pairs")
    train(pairs, tmp_path / "runs", preset=tiny, device="cpu")
    train(pairs, tmp_path / "runs", preset=tiny, device="cpu", model="nie")
    words: list[object] = [
        "derived-ncct",
        "--pairs",
        pairs,
        "--runs",
        tmp_path / "runs",
        "--output",
        tmp_path,
    ]
    words += ["--export", tmp_path / "model"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    (path,) = tmp_path.glob("derived-head-ct-test-*.csv")
    with path.open(newline="", encoding="utf-8") as file:
        methods = [row["method"] for row in csv.DictReader(file)]
    assert methods == [*BASELINES, "conv-lstm", "nie"]
    assert (tmp_path / "shifted-pathology-mse.png").exists()
    shown = tmp_path / "test-pathology-patients.png"
    assert imread(shown).shape[1] > 7 * 100  # five methods, what was measured, truth, error
    manifest = read_manifest(tmp_path / "model")
    assert manifest.simulated
    assert manifest.trained_on == "2 simulated patients (2 ge), 0 of them with pathology"
    assert set(manifest.measured) == {"test, pathology", "shifted, pathology"}
    network = StackedConvLstm(**manifest.settings)  # type: ignore[arg-type]
    network.load_state_dict(read_tensors(tmp_path / "model", manifest))
    result = CliRunner().invoke(app, [str(word) for word in (*words, "--split", "none")])
    assert result.exit_code == 2
    assert "no case of split 'none'" in " ".join(result.output.split())


def test_a_scan_is_drawn_beside_what_is_derived(tmp_path: Path) -> None:
    write_derived_ncct(tmp_path / "model")
    save(ctp_datasets(slices=9, time_points=6), tmp_path / "scan")
    words = ["derived-ncct-scan", tmp_path / "scan", "--output", tmp_path / "scan.png"]
    words += ["--model", tmp_path / "model"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    height, width, _ = imread(tmp_path / "scan.png").shape
    assert height > width  # four slices of three images
    (tmp_path / "empty").mkdir()
    words[1] = tmp_path / "empty"
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 1
    assert "no CT perfusion" in result.output
