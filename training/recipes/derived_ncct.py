"""Derived head CT: the stacked bidirectional convolutional LSTM and the networks it is compared to.

After van de Leemput et al. 2020, IEEE Trans Med Imaging 39:985: sub-volumes from inside the skull,
mean squared error against the registered, noisy head CT, RMSProp. Experiment A trains on patients
without pathology; B goes on from A's best checkpoint with all patients. Half of the sub-volumes are
drawn around dense tissue and vessels; the paper draws all of them anywhere.
Voxels more than 3 mm outside the cranial cavity do not count: the result is not used there.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from inference.derived_ncct.derive import HALO, free_bytes, state_bytes
from inference.derived_ncct.frames import to_hu, to_network
from inference.derived_ncct.tiles import box_around, plan_tiles
from inference.networks.conv_lstm import LastState, StackedConvLstm
from inference.networks.nie import NieNetwork
from inference.networks.precision import computes_bfloat16
from inference.networks.unet_3d import UNet3d
from training.evaluate.derived_ncct import Derive, Float32Array
from training.fit import MONITORED, Plan, Precision, Progress, fit, load_best
from training.pairs.pair import BoolArray, Pair
from training.pairs.simulated import Grid
from training.pairs.subvolumes import Batch, Drawing, PairData, load_split, with_frames

Model = Literal["conv-lstm", "unet-3d", "nie"]
Experiment = Literal["a", "b"]
NAME = "derived-ncct"

SIZE_FIELDS = (
    "layers", "filters", "input_kernel", "recurrent_kernel", "last_state", "unet_filters",
)  # fmt: skip
_SIZES_FILE = "sizes.json"
_HU_SQUARED = 250.0**2
_PAPER_FRAMES = 19
_OUTSIDE_HU = -1024.0
_WARM_UP_STEPS = 50
_MEMORY_GB = 6.0  # of a CPU
_RIVAL_HALO = 32
_RIVAL_IMAGES = 4


@dataclass(frozen=True)
class Preset:
    """Sizes of the networks and of the training.

    Parameters
    ----------
    patients : dict of split to int
        How many are simulated.
    grid : Grid
        Sizes of their scans.
    layers, filters, input_kernel, recurrent_kernel : int
        K, f, *x and *h of the stacked network.
    last_state : {"formula", "full"}
        Of the stacked network, see :class:`inference.networks.conv_lstm.StackedConvLstm`.
    unet_filters : int
        Of the U-Net's first level.
    size : (int, int, int)
        Sub-volumes of the stacked network: slices, rows, columns.
    rival_size : (int, int, int)
        The same for the networks that take time points as channels.
    epochs, batches, batch : int
        The paper's iterations, batches in each, sub-volumes in each of these.
    learning_rate : float
    decay : bool
        Lower the learning rate to 0 by the end (half a cosine), as short training needs; the
        paper's stays as it is.
    """

    patients: Mapping[str, int]
    grid: Grid
    layers: int = 2
    filters: int = 64
    input_kernel: int = 3
    recurrent_kernel: int = 3
    last_state: LastState = "formula"
    unet_filters: int = 32
    size: tuple[int, int, int] = (32, 32, 32)
    rival_size: tuple[int, int, int] = (128, 128, 128)
    epochs: int = 1500
    batches: int = 50
    batch: int = 2
    learning_rate: float = 1e-3
    decay: bool = False


PRESETS = {
    "paper": Preset(
        patients={"train": 97, "validation": 16, "test": 100, "shifted": 24},
        grid=Grid(matrix=512, slices=320, thicknesses_mm=(0.5,), covered_mm=160.0),
    ),
    "lite": Preset(
        patients={"train": 40, "validation": 8, "test": 24, "shifted": 24}, grid=Grid(),
        filters=16, unet_filters=16, size=(16, 48, 48), rival_size=(16, 64, 64),
        epochs=60, batches=25, decay=True,
    ),
}  # fmt: skip


class DerivedNcct(LightningModule):
    """Mean squared error of a network's image, within the weights, by RMSProp.

    Parameters
    ----------
    network : Module
        From frames of shape ``(batch, time, z, y, x)`` to an image of shape ``(batch, z, y, x)``.
    preset : Preset
        Its learning rate and its steps.
    """

    def __init__(self, network: nn.Module, preset: Preset) -> None:
        super().__init__()
        self.network = network
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.preset = preset

    def training_step(self, batch: Batch) -> torch.Tensor:
        """Loss of a batch; logged in HU²."""
        loss = self.loss(batch)
        self.log(
            "train_mse_hu2",
            loss.detach() * _HU_SQUARED,
            prog_bar=True,
            on_epoch=True,
            sync_dist=True,
        )
        return loss

    def validation_step(self, batch: Batch) -> None:
        """Loss of a sub-volume of a validation patient, in HU²."""
        loss = self.loss(batch) * _HU_SQUARED
        self.log(MONITORED, loss, prog_bar=True, batch_size=1, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """RMSProp with the paper's constants; the learning rate as :func:`rate` has it."""
        optimizer = torch.optim.RMSprop(
            self.network.parameters(), lr=self.preset.learning_rate, alpha=0.9, eps=1e-6
        )
        scheduler = LambdaLR(optimizer, partial(rate, self.preset))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def loss(self, batch: Batch) -> torch.Tensor:
        """Mean squared error within the weights, in the network's scale."""
        frames, target, weight = batch
        error = (self.network(frames) - target).square()
        mean: torch.Tensor = (error * weight).sum() / weight.sum().clamp(min=1)
        return mean


def rate(preset: Preset, step: int) -> float:
    """Share of the learning rate at a step, counted from 0.

    RMSProp's first steps are three times as long as its later ones and may go anywhere, so the
    rate rises over the first of them.
    """
    rise = min((step + 1) / (_WARM_UP_STEPS + 1), 1.0)
    if not preset.decay:
        return rise
    return rise * (1 + math.cos(math.pi * step / (preset.epochs * preset.batches))) / 2


def build(model: Model, preset: Preset) -> nn.Module:
    """A network with its first weights."""
    if model == "conv-lstm":
        return StackedConvLstm(
            preset.layers, preset.filters, preset.input_kernel, preset.recurrent_kernel,
            last_state=preset.last_state,
        )  # fmt: skip
    if model == "unet-3d":
        return UNet3d(_PAPER_FRAMES, preset.unet_filters)
    return NieNetwork(_PAPER_FRAMES)


def run_folder(runs: Path, model: Model, experiment: Experiment) -> Path:
    """Where a model's run is kept."""
    return runs / model / experiment


def keep_sizes(folder: Path, preset: Preset) -> None:
    """Note the sizes of a run's network, or see that they are still the same.

    Raises
    ------
    ValueError
        The run was begun with others.
    """
    sizes = {name: getattr(preset, name) for name in SIZE_FIELDS}
    path = folder / _SIZES_FILE
    if path.exists():
        begun = json.loads(path.read_text(encoding="utf-8"))
        if begun != sizes:
            raise ValueError(
                f"{folder} was begun with {begun}, now {sizes} are wanted: give another folder of "
                "runs, or the same sizes"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Processes of torchrun do this at the same time: none may read half a file.
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(json.dumps(sizes, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def sizes_of(folder: Path) -> Preset:
    """A preset with the sizes of a run's network.

    Raises
    ------
    FileNotFoundError
        There is no such run.
    """
    if not (folder / _SIZES_FILE).exists():
        raise FileNotFoundError(f"{folder} holds no run; train first")
    sizes = json.loads((folder / _SIZES_FILE).read_text(encoding="utf-8"))
    return replace(PRESETS["lite"], **sizes)


def load_run(runs: Path, model: Model, experiment: Experiment) -> "DerivedNcct":
    """The best network of a run.

    Raises
    ------
    FileNotFoundError
        There is no such run, or it has no checkpoint yet.
    """
    folder = run_folder(runs, model, experiment)
    preset = sizes_of(folder)
    return load_best(DerivedNcct(build(model, preset), preset), folder)


def train(
    pairs: Path,
    runs: Path,
    *,
    model: Model = "conv-lstm",
    preset: Preset = PRESETS["lite"],
    experiment: Experiment = "a",
    time_budget_s: float | None = None,
    precision: Precision = "32-true",
    device: str = "auto",
    workers: int = 0,
    compiled: bool = False,
    start: Path | None = None,
    first_frames: int | None = None,
) -> Progress:
    """Train one model, or go on with it.

    Parameters
    ----------
    pairs, runs : Path
        Folders of the cases and of the runs.
    model, preset, experiment
        What to train; B needs A's best checkpoint.
    time_budget_s, precision, device
        As of :class:`training.fit.Plan`.
    workers : int
        Processes that draw sub-volumes.
    compiled : bool
        Compile the stacked network's steps, see
        :meth:`inference.networks.conv_lstm.StackedConvLstm.compile_steps`.
    start : Path, optional
        Runs whose best checkpoint of experiment A the weights start from; B starts from ``runs``.
    first_frames : int, optional
        Train the stacked network on this many first time points of each scan only.
    """
    stacked = model == "conv-lstm"
    drawing = Drawing(
        preset.size if stacked else preset.rival_size, preset.batch, preset.batches,
        None if stacked else _PAPER_FRAMES, first_frames, seed=int(experiment == "b"),
    )  # fmt: skip
    data = PairData(
        training_pairs(pairs, experiment), load_split(pairs, "validation"), drawing, workers
    )
    folder = run_folder(runs, model, experiment)
    module = DerivedNcct(build(model, preset), preset)
    if experiment == "b":
        start = runs
    if start:
        module.load_state_dict(load_run(start, model, "a").state_dict())
    if compiled and isinstance(module.network, StackedConvLstm):
        module.network.compile_steps(any_size=False)
    keep_sizes(folder, preset)
    plan = Plan(
        folder, preset.epochs,
        time_budget_s=time_budget_s, precision=precision, device=device,
    )  # fmt: skip
    return fit(module, data, plan)


def training_pairs(folder: Path, experiment: Experiment) -> list[Pair]:
    """The patients that an experiment trains on.

    Raises
    ------
    ValueError
        Experiment A has none.
    """
    pairs = load_split(folder, "train")
    if experiment == "b":
        return pairs
    healthy = [pair for pair in pairs if not pair.case.pathology]
    if not healthy:
        raise ValueError("all training patients have pathology; experiment A needs others")
    return healthy


def as_method(module: DerivedNcct, frames: int | None, device: str = "cpu") -> Derive:
    """A trained network as a method of :mod:`training.evaluate.derived_ncct`.

    Parameters
    ----------
    module : DerivedNcct
    frames : int or None
        How many time points the network takes; None: any number.
    device : str
        Where it is computed, in tiles where its memory asks for them.
    """
    network = module.network.eval().to(device)
    half = computes_bfloat16(device)
    kind = torch.device(device).type

    @torch.inference_mode()
    def derive(data: Float32Array, cavity: BoolArray) -> Float32Array:
        given = data if frames is None else with_frames(data, frames)
        image = np.full(cavity.shape, _OUTSIDE_HU, np.float32)
        most = int(free_bytes(device, _MEMORY_GB) / _bytes_of_voxel(network, len(given)))
        for tile in plan_tiles(box_around(cavity), _halo(network), most):
            part = torch.from_numpy(to_network(tile.cut(given))[None]).to(device)
            with torch.autocast(kind, torch.bfloat16, enabled=half):
                found = network(part)[0]
            image[tile.place] = to_hu(found.float().cpu().numpy())[tile.inner]
        return image

    return derive


def _halo(network: nn.Module) -> int:
    return HALO if isinstance(network, StackedConvLstm) else _RIVAL_HALO


def _bytes_of_voxel(network: nn.Module, frames: int) -> int:
    """What a voxel takes at least, with room to spare: full-size images of the widest part."""
    if isinstance(network, StackedConvLstm):
        return state_bytes(len(network.sequence_layers) + 1, network.head.in_channels, frames, 4)
    widest = max(m.out_channels for m in network.modules() if isinstance(m, nn.Conv3d))
    return 4 * (frames + _RIVAL_IMAGES * widest)


def trained_methods(runs: Path, experiment: Experiment, device: str = "cpu") -> dict[str, Derive]:
    """The networks that have been trained, by name."""
    found = {}
    for model in get_args(Model):
        if list(run_folder(runs, model, experiment).glob("best-*.ckpt")):
            module = load_run(runs, model, experiment)
            found[model] = as_method(
                module, None if model == "conv-lstm" else _PAPER_FRAMES, device
            )
    return found
