"""``strokenode bench``: speed and exactness, side by side with others. Apart from the tests."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

app = typer.Typer(no_args_is_help=True, help="Speed and exactness, side by side with others.")
console = Console(stderr=True)


class Subject(StrEnum):
    """Choices of ``--only``."""

    PHANTOM = "phantom"
    PATIENTS = "patients"
    SPEED = "speed"
    MOTION = "motion"
    STAGES = "stages"


@app.callback()
def bench() -> None:
    """Speed and exactness, side by side with others."""


@app.command()
def perfusion(
    patients: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="Simulated patients to compare on; 8, or 1 with --quick."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Decides all patients.")] = 1,
    only: Annotated[
        list[Subject] | None, typer.Option(help="Only this subject; may be repeated.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes: shows that it runs, measures nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare CT perfusion with dcmri's deconvolution and SimpleITK's registration; take times."""
    from training.bench.engines import MissingPackageError, require_dcmri
    from training.bench.perfusion import QUICK, USUAL, measure
    from training.bench.tables import make_table

    try:
        require_dcmri()
    except MissingPackageError as error:
        console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(2) from None
    found: dict[str, Sequence[DataclassInstance]] = {}
    wide = Console(width=max(console.width, 140))
    subjects = [subject.value for subject in only or Subject]
    with console.status("") as status:
        count, sizes = patients or (1 if quick else 8), QUICK if quick else USUAL
        for name, rows in measure(subjects, seed, count, sizes, status.update):
            found[name] = rows
            if not as_json:
                wide.print(make_table(name, rows))
    if as_json:
        print(json.dumps({name: [asdict(row) for row in rows] for name, rows in found.items()}))


@app.command("derived-ncct")
def derived_ncct(
    matrix: Annotated[int, typer.Option(min=16, max=1024, help="Rows and columns.")] = 256,
    slices: Annotated[int, typer.Option(min=1, max=1024)] = 32,
    frames: Annotated[int, typer.Option(min=1, max=200, help="Time points.")] = 19,
    filters: Annotated[int, typer.Option(min=1, max=256, help="f; the paper's is 64.")] = 16,
    layers: Annotated[int, typer.Option(min=1, max=8, help="K.")] = 2,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    memory_gb: Annotated[float, typer.Option(min=0.1, help="On a CPU, for the network.")] = 4.0,
    repeats: Annotated[int, typer.Option(min=1, max=100, help="Runs of each.")] = 3,
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Also with compiled steps.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time the network of derived head CT, beside its convolutions alone."""
    from training.bench.derived_ncct import Size, derived_table, time_derived_ncct

    size = Size(matrix, slices, frames, layers, filters)
    with console.status("derived head CT"):
        rows = list(
            time_derived_ncct(size, device, repeats=repeats, memory_gb=memory_gb, compiled=compiled)
        )
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        Console(width=max(console.width, 140)).print(derived_table(size, rows))
