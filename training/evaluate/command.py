"""``strokenode evaluate``: engines and networks against what is known."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from training.evaluate.perfusion_phantom import Agreement

app = typer.Typer(no_args_is_help=True, help="Engines and networks against known truth.")
console = Console(stderr=True)


@app.callback()
def evaluate() -> None:
    """Engines and networks against known truth."""


@app.command()
def perfusion(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the deconvolution methods on the digital reference phantom."""
    from training.evaluate.perfusion_phantom import measure_methods

    with console.status("digital reference phantom"):
        phantom = list(measure_methods())
    if as_json:
        print(json.dumps({"phantom": [asdict(row) for row in phantom]}, indent=2))
    else:
        Console(width=max(console.width, 110)).print(phantom_table(phantom))


def phantom_table(rows: "list[Agreement]") -> Table:
    """Table of agreement with the digital reference phantom."""
    from training.evaluate.perfusion_phantom import SMOOTHING_VOXELS

    table = Table(
        "method", "residue", "noise HU", "r CBF", "r CBV", "r MTT", "r Tmax", "MTT ≤ 8 s",
        "CBF %/s", "Tmax s/s",
        title="Digital reference phantom: CBF 2.5-87.5, CBV 1-5, MTT 3.4-24 s, delay 0-3 s",
        caption=f"noise of a voxel, before a Gaussian of {SMOOTHING_VOXELS:g} voxels in the plane; "
        "slopes against delay",
    )  # fmt: skip
    for row in rows:
        correlations = (row.r_cbf, row.r_cbv, row.r_mtt, row.r_tmax, row.r_tmax_resolved)
        table.add_row(
            row.method, row.shape, f"{row.noise_hu:g}", *(f"{value:.3f}" for value in correlations),
            f"{row.cbf_percent_per_s:+.2f}", f"{row.tmax_per_s:.2f}",
        )  # fmt: skip
    return table
