"""``strokenode train``: the recipes, each with its presets."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from training.fit import Progress
    from training.recipes.derived_ncct import Preset

app = typer.Typer(no_args_is_help=True, help="Train the networks.")
console = Console(stderr=True)

Pairs = Annotated[Path, typer.Option(help="Folder of the prepared cases.")]
PresetName = Annotated[Literal["paper", "lite"], typer.Option(help="Sizes.")]
TimeBudget = Annotated[
    float | None, typer.Option(min=1, help="Seconds to train; go on later with the same words.")
]
PrecisionName = Annotated[
    Literal["32-true", "16-mixed", "bf16-mixed"] | None,
    typer.Option(help="bf16-mixed where the device computes with it, unless given."),
]
Device = Annotated[str, typer.Option(help="cpu, cuda or auto.")]
Compiled = Annotated[
    bool, typer.Option("--compile", help="Compile conv-lstm; on a CPU needs a C++ compiler.")
]


@app.callback()
def train() -> None:
    """Train the networks."""


@app.command("derived-ncct")
def derived_ncct(
    pairs: Pairs,
    runs: Annotated[Path, typer.Option(help="Folder of the runs: checkpoints and logs.")],
    model: Annotated[
        Literal["conv-lstm", "unet-3d", "nie"],
        typer.Option(help="The stacked network or one of its rivals."),
    ] = "conv-lstm",
    preset: PresetName = "lite",
    layers: Annotated[int | None, typer.Option(min=1, help="K, instead of the preset's.")] = None,
    filters: Annotated[int | None, typer.Option(min=1, help="f, likewise.")] = None,
    input_kernel: Annotated[int | None, typer.Option(min=1, help="*x, odd.")] = None,
    recurrent_kernel: Annotated[int | None, typer.Option(min=1, help="*h, odd.")] = None,
    last_state: Annotated[
        Literal["formula", "full"] | None,
        typer.Option(help="Backward state of the last layer after one step, or after all."),
    ] = None,
    experiment: Annotated[
        Literal["a", "b"],
        typer.Option(help="a: patients without pathology; b: go on from a with all."),
    ] = "a",
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Simulate the preset's patients first.")
    ] = False,
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False,
            help="Prepare one's own patients first: CSV with case, split, scanner, pathology, ctp "
            "and ncct (folders of DICOM, or NIfTI files).",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of simulated patients.")] = 1,
    time_budget: TimeBudget = None,
    precision: PrecisionName = None,
    device: Device = "auto",
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Patients prepared at a time.")
    ] = 1,
    workers: Annotated[int, typer.Option(min=0, max=64, help="Processes that draw.")] = 0,
    compiled: Compiled = False,
) -> None:  # fmt: skip
    """Train derived head CT (van de Leemput et al. 2020), or go on with it."""
    from training.fit import fastest_precision
    from training.recipes.derived_ncct import PRESETS, train

    other: dict[str, Any] = {
        "layers": layers, "filters": filters, "input_kernel": input_kernel,
        "recurrent_kernel": recurrent_kernel, "last_state": last_state,
    }  # fmt: skip
    given = {name: value for name, value in other.items() if value is not None}
    sizes = replace(PRESETS[preset], **given)
    try:
        if simulate:
            _simulate(pairs, sizes, seed, processes)
        if manifest:
            _prepare(manifest, pairs)
        progress = train(
            pairs, runs, model=model, preset=sizes, experiment=experiment,
            time_budget_s=time_budget, precision=precision or fastest_precision(device),
            device=device, workers=workers, compiled=compiled,
        )  # fmt: skip
    except (FileNotFoundError, ValueError) as error:
        console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(2) from None
    print(told(progress))


@app.command("derived-ncct-ablations")
def derived_ncct_ablations(
    pairs: Pairs,
    runs: Annotated[
        Path, typer.Option(help="Folder of the runs; for time points with conv-lstm's of a.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for tables (text, CSV) and figures.")],
    preset: PresetName = "lite",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="For each size, instead of the preset's.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A size such as K=3 or 5/1, or time-points; repeatable."),
    ] = None,
    patients: Annotated[
        int, typer.Option(min=1, help="Test patients without pathology to measure on, at most.")
    ] = 12,
    time_budget: TimeBudget = None,
    precision: PrecisionName = None,
    device: Device = "auto",
    compiled: Compiled = False,
) -> None:
    """Train derived head CT with other sizes and fewer time points, and compare them."""
    from training.fit import fastest_precision
    from training.recipes.derived_ncct import PRESETS
    from training.recipes.derived_ncct_ablations import NAMES, Setting, ablate

    chosen = list(dict.fromkeys(only or NAMES))
    if unknown := sorted(set(chosen) - set(NAMES)):
        raise typer.BadParameter(
            f"{', '.join(unknown)}; expected some of {', '.join(NAMES)}", param_hint="--only"
        )
    setting = Setting(
        pairs, runs, PRESETS[preset], precision or fastest_precision(device), device, compiled
    )
    try:
        tables, done = ablate(setting, chosen, output, epochs, patients, time_budget)
    except (FileNotFoundError, ValueError) as error:
        console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(2) from None
    wide = Console(width=max(console.width, 160))
    for table in tables:
        wide.print(table)
    if not done:
        console.print("the time was up: go on with the same words")


def _simulate(pairs: Path, sizes: "Preset", seed: int, processes: int) -> None:
    """Simulate the patients of a preset that are not there yet."""
    from training.pairs.simulated import simulate_pairs

    total = sum(sizes.patients.values())
    with Bar(console=console) as bar:
        made = simulate_pairs(pairs, sizes.patients, seed, sizes.grid, processes=processes)
        for _name in bar.track(made, total=total, description="patients"):
            pass


def _prepare(manifest: Path, pairs: Path) -> None:
    """Prepare the patients of a manifest that are not there yet; says which cannot be."""
    from training.pairs.manifest import prepare_pairs

    with Bar(console=console) as bar:
        task = bar.add_task("patients", total=None)
        for outcome in prepare_pairs(
            manifest, pairs, lambda case, done, total: bar.update(task, completed=done, total=total)
        ):
            if outcome.state == "refused":
                console.print(f"{escape(outcome.case)}: not used, {escape(outcome.reason)}")


def told(progress: "Progress") -> str:
    """How far a run has come, in one line."""
    best = "no validation yet" if progress.loss is None else (
        f"best validation loss {progress.loss:.4g} ({progress.best.name if progress.best else '-'})"
    )  # fmt: skip
    return (
        f"{progress.epochs_done} of {progress.epochs} epochs, "
        f"{100 * progress.fraction:.1f} % of the preset; {best}"
    )
