"""The training loop that all recipes share: Lightning with checkpoints, a time budget and logs.

A run is a folder: ``last.ckpt`` to go on from, ``best-*.ckpt`` chosen on validation patients, and
for each call ``logs/N`` with ``metrics.csv`` and TensorBoard's events. The same call goes on with a
run that was interrupted or whose time was up. Under torchrun every process calls it, and the
batches are shared out (DDP).
"""

import logging
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
from lightning import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from inference.networks.precision import computes_bfloat16

MONITORED = "validation_loss"
"""What a module logs for its best checkpoint to be chosen by."""

Precision = Literal["32-true", "16-mixed", "bf16-mixed"]

Module = TypeVar("Module", bound=LightningModule)

LAST = "last.ckpt"
# Going on in the same folder is meant, sub-volumes are drawn faster than they are learned from, and
# the last is between Lightning and torch.
_EXPECTED = (
    "Checkpoint directory .* exists and is not empty",
    ".* does not have many workers",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


@dataclass(frozen=True)
class Plan:
    """How long and on what to train.

    Parameters
    ----------
    folder : Path
        Of the run.
    epochs : int
        Rounds, counted from the start of the run; a validation follows every ``validate_every``.
    validate_every : int
    time_budget_s : float or None
        Stop before that many seconds are over, but after an epoch at least, with a checkpoint to go
        on from.
    precision : str
        Lightning's.
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    seed : int
        Of the first weights and of the draws.
    """

    folder: Path
    epochs: int
    validate_every: int = 1
    time_budget_s: float | None = None
    precision: Precision = "32-true"
    device: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    ``best`` is the checkpoint with the lowest loss on validation patients, ``loss`` that loss.
    """

    epochs_done: int
    epochs: int
    best: Path | None
    loss: float | None

    @property
    def fraction(self) -> float:
        """Part of the planned rounds that is done."""
        return self.epochs_done / self.epochs


def fastest_precision(device: str) -> Precision:
    """bfloat16 where the device computes with it; in software it would take for ever."""
    kind = "cuda" if device == "auto" and torch.cuda.is_available() else device
    return "bf16-mixed" if computes_bfloat16(kind.replace("auto", "cpu")) else "32-true"


class TimeBudget(Callback):
    """Stop after the last epoch that ends in time, if each takes as long as the longest one did.

    Parameters
    ----------
    seconds : float or None
        None: never.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._began = self._epoch_began = time.monotonic()
        self._longest = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the time."""
        self._epoch_began = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop if another epoch would be too long."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._epoch_began)
        if self.seconds is not None and now + self._longest > self._began + self.seconds:
            trainer.should_stop = True


def fit(module: LightningModule, data: LightningDataModule, plan: Plan) -> Progress:
    """Train, or go on training, until the plan is done or its time is up.

    Raises
    ------
    ValueError
        The run is longer than the plan.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    path = plan.folder / LAST
    last = path if path.exists() else None
    if last and (done := _epochs_of(last)) > plan.epochs:
        raise ValueError(
            f"{plan.folder} was trained for {done} epochs, {plan.epochs} are wanted: give another "
            "folder of runs, or more epochs"
        )
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    seed_everything(plan.seed, workers=True, verbose=False)
    best = ModelCheckpoint(
        dirpath=plan.folder, filename="best-{epoch}", monitor=MONITORED,
        enable_version_counter=False,
    )  # fmt: skip
    # After the best, which it records.
    every = ModelCheckpoint(
        dirpath=plan.folder, filename=path.stem, save_on_train_epoch_end=True,
        enable_version_counter=False,
    )  # fmt: skip
    devices = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    trainer = Trainer(
        accelerator=plan.device,
        devices=devices,
        num_nodes=int(os.environ.get("WORLD_SIZE", "1")) // devices,
        strategy="ddp_find_unused_parameters_true" if "WORLD_SIZE" in os.environ else "auto",
        precision=plan.precision,
        max_epochs=plan.epochs,
        check_val_every_n_epoch=plan.validate_every,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        reload_dataloaders_every_n_epochs=1,
        logger=_loggers(plan.folder),
        callbacks=[best, every, RichProgressBar(), TimeBudget(plan.time_budget_s)],
        default_root_dir=plan.folder,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        for expected in _EXPECTED:
            warnings.filterwarnings("ignore", expected)
        trainer.fit(module, data, ckpt_path=last, weights_only=True)
    chosen = Path(best.best_model_path) if best.best_model_path else None
    loss = None if best.best_model_score is None else float(best.best_model_score)
    return Progress(trainer.current_epoch, plan.epochs, chosen, loss)


def _epochs_of(checkpoint: Path) -> int:
    """How many epochs had been done when it was written."""
    epoch: int = torch.load(checkpoint, map_location="cpu", weights_only=True)["epoch"]
    return epoch + 1


def _loggers(folder: Path) -> list[Logger]:
    """New logs beside those of earlier calls."""
    number = len(list((folder / "logs").glob("*")))
    return [
        CSVLogger(folder, name="logs", version=str(number)),
        TensorBoardLogger(folder, name="logs", version=str(number)),
    ]


def load_best(module: Module, folder: Path) -> Module:
    """Give a module the weights of a run's best checkpoint.

    Raises
    ------
    FileNotFoundError
        The run has none.
    """
    found = sorted(folder.glob("best-*.ckpt"))
    if not found:
        raise FileNotFoundError(f"{folder}: no best-*.ckpt; train first")
    return load_checkpoint(module, found[-1])


def load_checkpoint(module: Module, path: Path) -> Module:
    """Give a module the weights of a checkpoint."""
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    module.load_state_dict(state)
    return module
