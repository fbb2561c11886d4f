"""What the parts of the stacked network are worth: other sizes, and fewer time points.

As Table I and Figure 8 of van de Leemput et al. 2020. Every size is trained from its first weights
with the same number of steps; all are measured on the same test patients. For fewer time points the
best network of experiment A goes on with the first 1, 2, … of them only.
"""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.evaluate.derived_ncct import Float32Array, Score, score_pairs
from training.evaluate.derived_ncct_report import values
from training.evaluate.figures import score_lines
from training.evaluate.statistics import bootstrap_interval
from training.evaluate.tables import Table, number, with_interval
from training.fit import LAST, Precision, load_checkpoint
from training.pairs.pair import BoolArray, Pair
from training.pairs.subvolumes import load_split
from training.recipes.derived_ncct import (
    SIZE_FIELDS,
    DerivedNcct,
    Preset,
    as_method,
    build,
    load_run,
    run_folder,
    sizes_of,
    train,
)

SIZES: Mapping[str, Mapping[str, Any]] = {
    "K=1": {"layers": 1},
    "K=2": {},
    "K=3": {"layers": 3},
    "K=4": {"layers": 4},
    "1/1": {"input_kernel": 1, "recurrent_kernel": 1},
    "3/1": {"input_kernel": 3, "recurrent_kernel": 1},
    "5/1": {"input_kernel": 5, "recurrent_kernel": 1},
    "5/3": {"input_kernel": 5, "recurrent_kernel": 3},
    "5/5": {"input_kernel": 5, "recurrent_kernel": 5},
    "full last state": {"last_state": "full"},
}
"""How each differs from the preset, which has 2 layers and kernels 3/3 (of input and state)."""

TIME_POINTS = "time-points"
NAMES = (*SIZES, TIME_POINTS)
FIRST = (1, 2, 4, 6, 8, 10, 13, 16, 18)
"""How many first time points are tried."""

_FURTHER_SHARES = (1 / 15, 2 / 15, 3 / 15)
"""The paper's 100, 200 and 300 of 1500 iterations."""
_FINE_RATE = 0.1
_METRICS = ("mse", "r2", "ssim", "noisy_mse")


class Deadline:
    """When to stop training.

    Parameters
    ----------
    budget_s : float or None
        From now; None: never.
    """

    def __init__(self, budget_s: float | None) -> None:
        self._ends = None if budget_s is None else time.monotonic() + budget_s

    @property
    def left_s(self) -> float | None:
        """Seconds that are left, 0 when none are; None: no end."""
        return None if self._ends is None else max(self._ends - time.monotonic(), 0.0)


@dataclass(frozen=True)
class Setting:
    """What all variants share.

    Parameters
    ----------
    pairs, runs : Path
        Folders of the cases and of the runs.
    preset : Preset
    precision : str
        Lightning's.
    device : str
    compiled : bool
        As of :func:`training.recipes.derived_ncct.train`.
    """

    pairs: Path
    runs: Path
    preset: Preset
    precision: Precision = "32-true"
    device: str = "auto"
    compiled: bool = False

    @property
    def method_device(self) -> str:
        """Where trained networks are measured."""
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device

    def trained(self, preset: Preset, runs: Path, deadline: Deadline, **more: Any) -> bool:
        """Train a variant, or go on with it; False when the time was up before its end."""
        left = deadline.left_s
        if left == 0:
            return False
        progress = train(
            self.pairs, runs, preset=preset, time_budget_s=left, precision=self.precision,
            device=self.device, compiled=self.compiled, **more,
        )  # fmt: skip
        return progress.fraction >= 1


@dataclass(frozen=True)
class SizeOutcome:
    """A size: its parameters, its steps and its scores on test patients."""

    name: str
    preset: Preset
    parameters: int
    steps: int
    scores: Sequence[Score]


@dataclass(frozen=True)
class TimePointOutcome:
    """The first ``time_points``, after so many further epochs: scores on test patients."""

    time_points: int
    further_epochs: int
    scores: Sequence[Score]


def ablate(
    setting: Setting,
    names: Sequence[str],
    output: Path,
    epochs: int | None = None,
    most_patients: int | None = None,
    budget_s: float | None = None,
) -> tuple[list[Table], bool]:
    """Train and measure what is named; tables and figures are written as they grow.

    Parameters
    ----------
    setting : Setting
    names : sequence of str
        Of :data:`NAMES`.
    output : Path
        Folder of the tables and figures.
    epochs : int, optional
        For each size, instead of the preset's.
    most_patients : int, optional
        Test patients without pathology to measure on.
    budget_s : float, optional
        Seconds; called again, training goes on.

    Returns
    -------
    tables : list of Table
    done : bool
        Whether all that is named was trained.
    """
    deadline = Deadline(budget_s)
    patients = [pair for pair in load_split(setting.pairs, "test") if not pair.case.pathology]
    if not patients:
        raise ValueError(f"{setting.pairs}: no test patient without pathology to measure on")
    patients = patients[:most_patients]
    tables: list[Table] = []
    done = True
    sizes = [name for name in names if name in SIZES]
    if sizes:
        preset = replace(setting.preset, epochs=epochs or setting.preset.epochs)
        outcomes: list[SizeOutcome] = []
        for size in train_sizes(replace(setting, preset=preset), sizes, patients, deadline):
            outcomes.append(size)
            _write(size_table(outcomes), output / "sizes")
        tables.append(size_table(outcomes))
        done = len(outcomes) == len(sizes)
    if TIME_POINTS in names:
        points: list[TimePointOutcome] = []
        for point in train_time_points(setting, patients, deadline):
            points.append(point)
            _write(time_point_table(points), output / TIME_POINTS)
            draw_time_points(points, output)
        tables.append(time_point_table(points))
        done &= len(points) == len(FIRST) * (1 + len(further_epochs(setting.preset)))
    return tables, done


def train_sizes(
    setting: Setting, names: Sequence[str], patients: Sequence[Pair], deadline: Deadline
) -> Iterator[SizeOutcome]:
    """Train and measure sizes, as far as the time allows; one that is not done is not told.

    Parameters
    ----------
    setting : Setting
    names : sequence of str
        Of :data:`SIZES`.
    patients : sequence of Pair
        Of the test.
    deadline : Deadline
    """
    for name in names:
        preset = replace(setting.preset, **SIZES[name])
        runs = setting.runs / "sizes" / name.replace("/", "-").replace(" ", "-")
        if not setting.trained(preset, runs, deadline):
            return
        module = load_run(runs, "conv-lstm", "a")
        yield SizeOutcome(
            name,
            preset,
            sum(parameter.numel() for parameter in module.network.parameters()),
            preset.epochs * preset.batches,
            list(score_pairs(patients, {name: as_method(module, None, setting.method_device)})),
        )


def train_time_points(
    setting: Setting, patients: Sequence[Pair], deadline: Deadline
) -> Iterator[TimePointOutcome]:
    """Measure the best network of experiment A with first time points only, then train it on.

    Parameters as of :func:`train_sizes`. The learning rate is a tenth of the preset's and stays.
    """
    best = sizes_of(run_folder(setting.runs, "conv-lstm", "a"))
    own = {name: getattr(best, name) for name in SIZE_FIELDS}
    further = replace(
        setting.preset, decay=False, learning_rate=_FINE_RATE * setting.preset.learning_rate, **own
    )
    for count in FIRST:
        module = load_run(setting.runs, "conv-lstm", "a")
        device = setting.method_device
        yield TimePointOutcome(count, 0, _with_first(module, count, patients, device))
        runs = setting.runs / TIME_POINTS / str(count)
        for epochs in further_epochs(setting.preset):
            preset = replace(further, epochs=epochs)
            folder = run_folder(runs, "conv-lstm", "a")
            after = folder / f"after-{epochs}.ckpt"  # stays when the run goes on
            if not after.exists():
                more = {"start": setting.runs, "first_frames": count}
                if not setting.trained(preset, runs, deadline, **more):
                    return
                part = after.with_suffix(".part")
                shutil.copyfile(folder / LAST, part)
                part.replace(after)
            module = load_checkpoint(DerivedNcct(build("conv-lstm", preset), preset), after)
            yield TimePointOutcome(count, epochs, _with_first(module, count, patients, device))


def further_epochs(preset: Preset) -> list[int]:
    """After how many epochs on fewer time points the paper would look."""
    return sorted({max(1, round(share * preset.epochs)) for share in _FURTHER_SHARES})


def _with_first(
    module: DerivedNcct, count: int, patients: Sequence[Pair], device: str
) -> list[Score]:
    derive = as_method(module, None, device)

    def of_first(frames: Float32Array, cavity: BoolArray) -> Float32Array:
        return derive(frames[:count], cavity)

    return list(score_pairs(patients, {str(count): of_first}))


def size_table(outcomes: Sequence[SizeOutcome]) -> Table:
    """Scores of the sizes, as Table I of the paper."""
    rows = [
        (
            one.name, str(one.preset.layers), str(one.preset.filters),
            f"{one.preset.input_kernel}/{one.preset.recurrent_kernel}", str(one.parameters),
            str(one.steps), str(len(one.scores)), *_means(one.scores),
        )
        for one in outcomes
    ]  # fmt: skip
    return Table(
        "Derived head CT, sizes of the network",
        ("", "K", "f", "*x/*h", "parameters", "steps", "n", "MSE HU²", "r²", "SSIM",
         "MSE HU², noisy"),
        rows,
        "mean over test patients (95 % bootstrap over patients), inside the cranial cavity; noisy: "
        "against the head CT as measured, else against the one without noise",
    )  # fmt: skip


def time_point_table(outcomes: Sequence[TimePointOutcome]) -> Table:
    """Scores with fewer time points."""
    return Table(
        "Derived head CT, fewer time points",
        ("time points", "further epochs", "n", "MSE HU²", "r²", "SSIM", "MSE HU², noisy"),
        [
            (f"0-{one.time_points - 1}", str(one.further_epochs), str(len(one.scores)),
             *_means(one.scores))
            for one in outcomes
        ],
        "the network that was trained with up to 19 time points, as it was and after further "
        "training with the first ones only; columns as of the table of sizes",
    )  # fmt: skip


def draw_time_points(outcomes: Sequence[TimePointOutcome], folder: Path) -> None:
    """Figure 8 of the paper: scores against the number of time points, a line for each training."""
    for metric, name in (("mse", "MSE HU²"), ("ssim", "SSIM")):
        lines: dict[str, tuple[list[float], list[float]]] = {}
        for one in sorted(outcomes, key=lambda one: (one.further_epochs, one.time_points)):
            known = values(one.scores, metric) or values(one.scores, f"noisy_{metric}")
            across, up = lines.setdefault(f"{one.further_epochs} further epochs", ([], []))
            across.append(one.time_points - 1)
            up.append(float(np.mean(known)))
        score_lines(lines, "time points 0-n", name, folder / f"{TIME_POINTS}-{metric}.png")


def _means(scores: Sequence[Score]) -> list[str]:
    """Mean and interval of each metric."""
    cells = []
    for name in _METRICS:
        known = values(scores, name)
        interval = bootstrap_interval(known, np.mean) if len(known) > 1 else None
        digits = 1 if name.endswith("mse") else 3
        mean = float(np.mean(known)) if known else None
        cells.append(number(None) if mean is None else with_interval(mean, interval, digits))
    return cells


def _write(table: Table, path: Path) -> None:
    """Write a table as text and CSV."""
    for suffix in (".txt", ".csv"):
        table.write(path.with_suffix(suffix))
