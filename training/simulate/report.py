"""``strokenode simulate measure`` and ``pictures``: the simulator in numbers and images."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from training.simulate.measure import Result

console = Console(stderr=True)

Patients = Annotated[int, typer.Option(min=1, max=100_000, help="How many patients.")]
FirstSeed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the first patient.")]
Processes = Annotated[int, typer.Option(min=1, max=64, help="How many at a time.")]


def measure(
    patients: Patients = 50,
    seed: FirstSeed = 1,
    processes: Processes = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure random patients against the ranges they are meant to have; exit 1 outside of any."""
    from training.simulate.measure import measure_patients

    columns = (TextColumn("patients"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("patients", total=patients)
        results = measure_patients(
            range(seed, seed + patients),
            processes,
            lambda done: progress.update(task, completed=done),
        )
    if as_json:
        print(json.dumps([_record(result) for result in results], indent=2))
    else:
        Console(width=max(console.width, 110)).print(_table(results))
    if not all(result.inside for result in results):
        raise typer.Exit(1)


def pictures(
    output: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("docs"),
    seed: FirstSeed = 1,
) -> None:
    """Draw montages of simulated patients, their curves and the spectra of noise."""
    from training.simulate.figures import write_figures

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("pictures", total=None)
        paths = write_figures(output, seed, lambda name: progress.update(task, description=name))
    for path in paths:
        print(path)


def _table(results: "list[Result]") -> Table:
    table = Table("quantity", "unit", "n", "statistic", "value", "5 to 95 %", "expected", "")
    for result in results:
        expected = result.expectation
        low, high = result.spread
        table.add_row(
            expected.name, expected.unit, str(result.count), expected.statistic,
            f"{result.value:.3g}", f"{low:.3g} to {high:.3g}",
            f"{expected.low:g} to {expected.high:g}", "" if result.inside else "OUTSIDE",
        )  # fmt: skip
    return table


def _record(result: "Result") -> dict[str, Any]:
    expected = result.expectation
    return {
        "name": expected.name,
        "unit": expected.unit,
        "statistic": expected.statistic,
        "count": result.count,
        "value": _number(result.value),
        "percentile_5": _number(result.spread[0]),
        "percentile_95": _number(result.spread[1]),
        "low": expected.low,
        "high": expected.high,
        "inside": result.inside,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
