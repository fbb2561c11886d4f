"""Small models with first weights, stored as shipped ones are."""

from collections.abc import Mapping
from pathlib import Path

import torch

from inference.networks.conv_lstm import StackedConvLstm
from inference.weights import MODEL_FILE, Manifest, write_model

TRAINED_ON = "nothing at all"


def write_derived_ncct(
    folder: Path,
    about: Mapping[str, object] | None = None,
    *,
    seed: int = 0,
    filters: int = 2,
    simulated: bool = True,
) -> Manifest:
    """A network of derived head CT; equal arguments give equal weights.

    ``about`` replaces what its manifest says.
    """
    torch.manual_seed(seed)
    settings = {"layers": 2, "filters": filters, "input_kernel": 3, "recurrent_kernel": 3}
    stated: dict[str, object] = {
        "name": "derived_ncct", "version": "0.0.1", "network": "StackedConvLstm",
        "settings": settings, "input": "HU", "trained_on": TRAINED_ON, "simulated": simulated,
        "measured": {},
    }  # fmt: skip
    tensors = StackedConvLstm(2, filters, 3, 3).state_dict()
    return write_model(folder, tensors, stated | dict(about or {}))


def damage(folder: Path) -> None:
    """Change one byte of a model's weights."""
    path = folder / MODEL_FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
