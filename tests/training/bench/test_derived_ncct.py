"""``strokenode bench derived-ncct`` on a small scan."""

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from training.bench.command import app
from training.bench.derived_ncct import Size, first_weights, flop_per_voxel, skull


@pytest.mark.parametrize("size", [Size(16, 4, 5, 2, 3), Size(16, 4, 1, 1, 2), Size(16, 4, 3, 3, 2)])
def test_operations_are_those_that_torch_counts(size: Size, tmp_path: Path) -> None:
    network = first_weights(tmp_path, size, "cpu").network
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, size.frames, 4, 10, 12))
    assert flop_per_voxel(network, size) * 4 * 10 * 12 == counter.get_total_flops()


def test_the_skull_is_as_large_as_it_says() -> None:
    inside = skull(Size(256, 2, 1))
    mm = 220 / 256
    assert inside[0].any(axis=1).sum() * mm == pytest.approx(175, abs=2)
    assert inside[1].any(axis=0).sum() * mm == pytest.approx(140, abs=2)


def test_the_command_times_a_small_scan() -> None:
    words = ["derived-ncct", "--matrix", "32", "--slices", "4", "--frames", "3", "--filters", "2"]
    words += ["--repeats", "1", "--no-compile"]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)
    assert row["how"] == "as it is"
    assert row["seconds"] > 0
    assert row["tflop_s"] > 0
    assert row["voxels"] > 4 * 26 * 20
    done = CliRunner().invoke(app, words)
    assert "Derived head CT, 32 x 32 x 4, 3 frames, K=2, f=2" in done.stdout
