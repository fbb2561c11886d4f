"""The loop that recipes share, with a module of one number."""

import csv
from pathlib import Path

import pytest
import torch
from lightning import LightningDataModule, LightningModule
from torch.utils.data import DataLoader

from training.fit import MONITORED, Plan, fit, load_best

STEPS = 3


class Counting(LightningModule):
    """Counts its steps in its weight; its loss on validation is what it is told, by epoch.

    It breaks down in the epoch after the last of these.
    """

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.losses = losses

    def training_step(self, batch: torch.Tensor) -> torch.Tensor:
        if self.current_epoch == len(self.losses):
            raise ConnectionError("cut off")
        return -(self.weight * torch.ones_like(batch)).mean()

    def validation_step(self, batch: torch.Tensor) -> None:
        self.log(MONITORED, self.losses[self.current_epoch], batch_size=len(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


class Numbers(LightningDataModule):
    def train_dataloader(self) -> "DataLoader[torch.Tensor]":
        return DataLoader(torch.zeros(STEPS))  # type: ignore[arg-type]

    val_dataloader = train_dataloader


def test_a_run_goes_on_from_its_last_epoch_not_from_its_best(tmp_path: Path) -> None:
    """Each call has time for one epoch, and only the first of them is the best so far."""
    losses = [1.0, 3.0, 2.0, 4.0]
    for done in (1, 2, 3, 4):
        module = Counting(losses)
        progress = fit(module, Numbers(), Plan(tmp_path, 4, time_budget_s=0.001, device="cpu"))
        assert (progress.epochs_done, progress.loss) == (done, 1.0)
        assert module.weight.item() == STEPS * done
    assert load_best(Counting(losses), tmp_path).weight.item() == STEPS
    names = {path.name for path in tmp_path.glob("*.ckpt")}
    assert names == {"best-epoch=0.ckpt", "last.ckpt"}


def test_an_interrupted_run_goes_on_from_its_last_whole_epoch(tmp_path: Path) -> None:
    losses = [1.0, 3.0, 2.0, 4.0]
    with pytest.raises(ConnectionError):
        fit(Counting(losses[:3]), Numbers(), Plan(tmp_path, 4, device="cpu"))
    module = Counting(losses)
    fit(module, Numbers(), Plan(tmp_path, 4, device="cpu"))
    assert module.weight.item() == 4 * STEPS
    with (tmp_path / "logs" / "1" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        assert {row["epoch"] for row in csv.DictReader(file)} == {"3"}
    again = fit(Counting(losses), Numbers(), Plan(tmp_path, 4, device="cpu"))
    assert (again.epochs_done, again.loss) == (4, 1.0)


def test_a_later_epoch_can_be_the_best(tmp_path: Path) -> None:
    losses = [2.0, 3.0, 1.0]
    fit(Counting(losses), Numbers(), Plan(tmp_path, 3, time_budget_s=0.001, device="cpu"))
    progress = fit(Counting(losses), Numbers(), Plan(tmp_path, 3, device="cpu"))
    assert (progress.loss, progress.best) == (1.0, tmp_path / "best-epoch=2.ckpt")
    assert load_best(Counting(losses), tmp_path).weight.item() == 3 * STEPS


def test_a_plan_shorter_than_what_was_trained_is_refused(tmp_path: Path) -> None:
    losses = [3.0, 2.0, 1.0]
    fit(Counting(losses), Numbers(), Plan(tmp_path, 3, device="cpu"))
    with pytest.raises(ValueError, match=r"trained for 3 epochs, 2 are wanted: give another"):
        fit(Counting(losses), Numbers(), Plan(tmp_path, 2, device="cpu"))
