"""The training loop that all recipes share: Lightning with checkpoints, a time budget and logs.

A run is a folder: ``last.ckpt`` to go on from, ``best-*.ckpt`` chosen on validation patients,
``metrics.csv`` and TensorBoard's events. The same call goes on with a run that was interrupted or
whose time was up. Under torchrun every process calls it, and the batches are shared out (DDP).
"""

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from lightning import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

MONITORED = "validation_loss"
"""What a module logs for its best checkpoint to be chosen by."""

Precision = Literal["32-true", "16-mixed", "bf16-mixed"]

_LAST = "last.ckpt"


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
        Stop after that long, with a checkpoint to go on from.
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


def fit(module: LightningModule, data: LightningDataModule, plan: Plan) -> Progress:
    """Train, or go on training, until the plan is done or its time is up."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    seed_everything(plan.seed, workers=True, verbose=False)
    best = ModelCheckpoint(
        dirpath=plan.folder, filename="best-{epoch}", monitor=MONITORED, save_last=True,
        enable_version_counter=False,
    )  # fmt: skip
    devices = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    trainer = Trainer(
        accelerator=plan.device,
        devices=devices,
        num_nodes=int(os.environ.get("WORLD_SIZE", "1")) // devices,
        strategy="ddp" if "WORLD_SIZE" in os.environ else "auto",
        precision=plan.precision,
        max_epochs=plan.epochs,
        max_time=None if plan.time_budget_s is None else dt.timedelta(seconds=plan.time_budget_s),
        check_val_every_n_epoch=plan.validate_every,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        logger=[
            CSVLogger(plan.folder, name="", version=""),
            TensorBoardLogger(plan.folder, name="", version=""),
        ],
        callbacks=[best, RichProgressBar()],
        default_root_dir=plan.folder,
        enable_model_summary=False,
    )
    last = plan.folder / _LAST
    trainer.fit(module, data, ckpt_path=last if last.exists() else None, weights_only=True)
    chosen = Path(best.best_model_path) if best.best_model_path else None
    loss = None if best.best_model_score is None else float(best.best_model_score)
    return Progress(trainer.current_epoch, plan.epochs, chosen, loss)


def load_best(module: LightningModule, folder: Path) -> LightningModule:
    """Give a module the weights of a run's best checkpoint.

    Raises
    ------
    FileNotFoundError
        The run has none.
    """
    found = sorted(folder.glob("best-*.ckpt"))
    if not found:
        raise FileNotFoundError(f"{folder}: no best-*.ckpt; train first")
    state = torch.load(found[-1], map_location="cpu", weights_only=True)["state_dict"]
    module.load_state_dict(state)
    return module
