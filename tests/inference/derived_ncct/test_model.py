from pathlib import Path

import pytest
import torch

from inference.derived_ncct.model import load_model
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
