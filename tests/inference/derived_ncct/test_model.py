from pathlib import Path

import pytest
import torch

from inference.derived_ncct.model import Model, compile_model, load_model
from inference.errors import WeightsError
from inference.weights import MANIFEST_FILE, MODEL_FILE, read_tensors, stated_sha256, verify
from tests.support.models import TRAINED_ON, damage, write_derived_ncct


def test_a_model_comes_back_as_it_was_written(tmp_path: Path) -> None:
    manifest = write_derived_ncct(tmp_path, filters=3)
    model = load_model(tmp_path, "cpu")
    assert model.manifest == manifest
    assert (model.layers, model.filters, model.device) == (2, 3, "cpu")
    assert not model.network.training
    stored = read_tensors(tmp_path, manifest)
    for name, tensor in model.network.state_dict().items():
        torch.testing.assert_close(tensor, stored[name], rtol=0, atol=0)
        assert not tensor.requires_grad


def test_a_loaded_model_is_kept_until_it_changes(tmp_path: Path) -> None:
    write_derived_ncct(tmp_path)
    first = load_model(tmp_path, "cpu").network
    assert load_model(tmp_path, "cpu").network is first
    write_derived_ncct(tmp_path, seed=1)
    assert load_model(tmp_path, "cpu").network is not first


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"network": "Other"}, "holds the network 'Other', expected 'StackedConvLstm'"),
        ({"settings": {"layers": 2}}, "the weights do not fit the settings"),
        (
            {"settings": {"layers": 0, "filters": 2, "input_kernel": 3, "recurrent_kernel": 3}},
            "fit",
        ),
        (
            {"settings": {"layers": 3, "filters": 2, "input_kernel": 3, "recurrent_kernel": 3}},
            "fit",
        ),
        ({"settings": {"layers": 2, "filters": 2, "typo": 3}}, "TypeError"),
    ],
)
def test_a_model_of_another_kind_is_refused(
    tmp_path: Path, about: dict[str, object], words: str
) -> None:
    write_derived_ncct(tmp_path, about)
    with pytest.raises(WeightsError, match=words):
        load_model(tmp_path, "cpu")


def test_damaged_and_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"{MANIFEST_FILE}: cannot be read"):
        load_model(tmp_path, "cpu")
    manifest = write_derived_ncct(tmp_path)
    assert verify(tmp_path) == manifest
    damage(tmp_path)
    for use in (lambda: load_model(tmp_path, "cpu"), lambda: verify(tmp_path)):
        with pytest.raises(WeightsError, match=f"{MODEL_FILE}: checksum .* install again"):
            use()


def test_the_checksum_is_that_of_the_manifest(tmp_path: Path) -> None:
    assert stated_sha256(tmp_path) == ""
    assert stated_sha256(tmp_path / "missing") == ""
    manifest = write_derived_ncct(tmp_path)
    assert stated_sha256(tmp_path) == manifest.sha256


@pytest.mark.parametrize("simulated", [True, False])
def test_what_a_result_records_of_a_model(tmp_path: Path, simulated: bool) -> None:
    manifest = write_derived_ncct(tmp_path, simulated=simulated)
    told = f"simulated patients only: {TRAINED_ON}" if simulated else TRAINED_ON
    assert manifest.parameters == {
        "weights_name": "derived_ncct",
        "weights_version": "0.0.1",
        "weights_sha256": manifest.sha256,
        "weights_trained_on": told,
    }


def image(model: Model, *shape: int) -> torch.Tensor:
    frames = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found: torch.Tensor = model.network(frames)
    return found


def test_a_compiled_network_gives_the_same_for_all_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.setattr("inference.networks.conv_lstm._SLAB_VOXELS", {"cpu": 3300})
    write_derived_ncct(tmp_path, filters=4)
    model = load_model(tmp_path, "cpu")
    shapes = [(5, 6, 20, 24), (2, 9, 31, 37), (1, 3, 12, 12)]
    plain = [image(model, *shape) for shape in shapes]
    compile_model(model, half=False)
    made = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert made > 0
    for shape, expected in zip(shapes, plain, strict=True):
        torch.testing.assert_close(image(model, *shape), expected, rtol=0, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == made
    assert load_model(tmp_path, "cpu").network is model.network


def test_a_network_that_cannot_be_compiled_is_computed_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_derived_ncct(tmp_path)
    model = load_model(tmp_path, "cpu")
    plain = image(model, 2, 4, 8, 8)
    monkeypatch.setattr("inference.derived_ncct.model.torch.inference_mode", _fails)
    with pytest.raises(OSError, match="no compiler"):
        compile_model(model, half=False)
    monkeypatch.undo()
    again = load_model(tmp_path, "cpu")
    assert again.network is not model.network
    torch.testing.assert_close(image(again, 2, 4, 8, 8), plain, rtol=0, atol=0)


def _fails() -> None:
    raise OSError("no compiler")
