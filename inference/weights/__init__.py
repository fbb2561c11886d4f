"""Shipped models: each a folder with ``model.safetensors`` and ``manifest.json``.

A folder describes itself: prediction needs nothing else. Tensors are read by safetensors, which
runs no code, and only when their checksum is the manifest's.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference.errors import WeightsError

if TYPE_CHECKING:
    import torch

MODEL_FILE = "model.safetensors"
MANIFEST_FILE = "manifest.json"


class Manifest(BaseModel):
    """What a model is, what it was trained on and how good it was measured to be.

    ``network`` with its ``settings`` is how to build it; ``simulated`` says that it has seen no
    real patient, which every report repeats; ``measured`` holds numbers with their unit in the
    name, by cohort.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    version: str = Field(min_length=1)
    network: str
    settings: dict[str, int | float | str | bool]
    input: str
    trained_on: str
    simulated: bool
    measured: dict[str, dict[str, float]]
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @property
    def parameters(self) -> dict[str, str | float | int | bool]:
        """What a result records of the model that made it, among its parameters.

        Reports and images repeat ``weights_trained_on``; ``weights`` in the names tells them that
        something learned is behind the result.
        """
        simulated = "simulated patients only: " if self.simulated else ""
        return {
            "weights_name": self.name,
            "weights_version": self.version,
            "weights_sha256": self.sha256,
            "weights_trained_on": f"{simulated}{self.trained_on}",
        }


def shipped(name: str) -> Path:
    """Folder of the model of that name which comes with the software.

    An absolute path is the folder of a model from elsewhere.
    """
    return Path(__file__).parent / name


def stated_sha256(folder: Path) -> str:
    """The checksum in a model's manifest, empty where that is missing or damaged."""
    try:
        return read_manifest(folder).sha256
    except WeightsError:
        return ""


def read_manifest(folder: Path) -> Manifest:
    """What a model says of itself.

    Raises
    ------
    WeightsError
        There is no manifest, or it is damaged.
    """
    path = folder / MANIFEST_FILE
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); install again") from None
    except ValidationError as error:
        raise WeightsError(
            f"{path}: is damaged, {error.error_count()} errors; install again"
        ) from None


def read_tensors(folder: Path, manifest: Manifest) -> "dict[str, torch.Tensor]":
    """The parameters of a model.

    Raises
    ------
    WeightsError
        The file is not there or not the one that the manifest was written for.
    """
    from safetensors.torch import load

    return load(_content(folder, manifest))


def verify(folder: Path) -> Manifest:
    """The manifest of a model whose weights are those that it was written for; needs no torch.

    Raises
    ------
    WeightsError
        Manifest or weights are missing or damaged.
    """
    manifest = read_manifest(folder)
    _content(folder, manifest)
    return manifest


def _content(folder: Path, manifest: Manifest) -> bytes:
    """The bytes of the weights, checked."""
    path = folder / MODEL_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); install again") from None
    found = hashlib.sha256(content).hexdigest()
    if found != manifest.sha256:
        raise WeightsError(
            f"{path}: checksum {found[:12]}…, expected {manifest.sha256[:12]}…: the file was "
            "changed or damaged; install again"
        )
    return content


def write_model(
    folder: Path, tensors: "dict[str, torch.Tensor]", about: dict[str, object]
) -> Manifest:
    """Store a model and its manifest, which is returned.

    Parameters
    ----------
    folder : Path
        Made when absent; a model that is there is replaced.
    tensors : dict of tensors
    about : dict
        Fields of :class:`Manifest` but its checksum.
    """
    from safetensors.torch import save

    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    manifest = Manifest.model_validate({**about, "sha256": hashlib.sha256(content).hexdigest()})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(content)
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest
