"""A model on disk: what is written comes back, what was damaged is refused."""

import json
from pathlib import Path

import pytest
import torch

from inference.errors import WeightsError
from inference.weights import MANIFEST_FILE, MODEL_FILE, read_manifest, read_tensors, write_model

ABOUT: dict[str, object] = {
    "name": "example",
    "version": "1.0.0",
    "network": "Linear",
    "settings": {"in_features": 2, "out_features": 1},
    "input": "two numbers",
    "trained_on": "nothing",
    "simulated": True,
    "measured": {"test": {"mse": 1.5}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(tmp_path / "example", torch.nn.Linear(2, 1).state_dict(), ABOUT)
    return tmp_path / "example"


def test_a_model_comes_back(tmp_path: Path) -> None:
    layer = torch.nn.Linear(2, 1)
    written = write_model(tmp_path, layer.state_dict(), ABOUT)
    manifest = read_manifest(tmp_path)
    assert manifest == written
    assert manifest.measured == {"test": {"mse": 1.5}}
    tensors = read_tensors(tmp_path, manifest)
    assert set(tensors) == {"weight", "bias"}
    assert torch.equal(tensors["weight"], layer.weight)


def test_a_changed_file_is_refused(folder: Path) -> None:
    manifest = read_manifest(folder)
    path = folder / MODEL_FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"checksum .* expected .* install again"):
        read_tensors(folder, manifest)
    path.unlink()
    with pytest.raises(WeightsError, match=r"cannot be read"):
        read_tensors(folder, manifest)


def test_a_damaged_manifest_is_refused(folder: Path) -> None:
    path = folder / MANIFEST_FILE
    entry = json.loads(path.read_text())
    path.write_text(json.dumps({**entry, "sha256": "no", "more": 1}))
    with pytest.raises(WeightsError, match=r"manifest\.json: is damaged, 2 errors"):
        read_manifest(folder)
    path.unlink()
    with pytest.raises(WeightsError, match=r"cannot be read"):
        read_manifest(folder)
