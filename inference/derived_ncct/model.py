"""The network of derived head CT with its trained weights."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from inference.errors import WeightsError
from inference.networks.conv_lstm import StackedConvLstm
from inference.weights import Manifest, read_manifest, read_tensors

NETWORK = "StackedConvLstm"
"""What a manifest must call its network."""

_KEPT = 2
_COMPILED_FRAMES = 3  # a first step and others, in every layer
# Sizes that are equal when a step is compiled are taken to be so always: these are like no other.
_COMPILED_SIZES = 11, 29, 37


@dataclass(frozen=True, eq=False)
class Model:
    """A network that is ready to be used, where it lies, and what it is.

    ``device`` is a torch device such as ``cpu`` or ``cuda:0``.
    """

    network: StackedConvLstm
    manifest: Manifest
    device: str

    @property
    def layers(self) -> int:
        """Number of convolutional LSTM layers."""
        return len(self.network.sequence_layers) + 1

    @property
    def filters(self) -> int:
        """Number of filters of each layer."""
        return self.network.head.in_channels


def load_model(folder: Path, device: str) -> Model:
    """Read a model and put it on a device; the last ones are kept in memory.

    Parameters
    ----------
    folder : Path
        As :func:`inference.weights.shipped` gives it.
    device : str

    Raises
    ------
    WeightsError
        Manifest or weights are missing, damaged, or of another network.
    """
    manifest = read_manifest(folder)
    return Model(_network(folder, manifest.sha256, device), manifest, device)


def compile_model(model: Model, *, half: bool) -> None:
    """Compile the steps of a model's network, on a device that the caller does not need meanwhile.

    Parameters
    ----------
    model : Model
    half : bool
        For bfloat16, else float32.

    Raises
    ------
    Exception
        Whatever torch raises where it cannot compile, for one without a C++ compiler. The model is
        then forgotten, so that it is read anew and computed as it is.
    """
    model.network.compile_steps(any_size=True)
    images = torch.zeros(1, _COMPILED_FRAMES, *_COMPILED_SIZES, device=model.device)
    try:
        with (
            torch.inference_mode(),
            torch.autocast(torch.device(model.device).type, dtype=torch.bfloat16, enabled=half),
        ):
            model.network(images)
    except Exception:
        _network.cache_clear()
        raise


@lru_cache(maxsize=_KEPT)
def _network(folder: Path, _sha256: str, device: str) -> StackedConvLstm:
    """The network in evaluation mode; the checksum tells models of one folder apart."""
    manifest = read_manifest(folder)
    tensors = read_tensors(folder, manifest)
    if manifest.network != NETWORK:
        raise WeightsError(
            f"{folder}: holds the network {manifest.network!r}, expected {NETWORK!r}; "
            "choose another model"
        )
    try:
        network = StackedConvLstm(**manifest.settings)  # type: ignore[arg-type]
        network.load_state_dict(tensors)
    except (TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"{folder}: the weights do not fit the settings {manifest.settings} of the manifest "
            f"({type(error).__name__}); install again"
        ) from None
    network.eval().requires_grad_(False).to(device)
    # CPUs convolve twice as fast with the channels last.
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network
