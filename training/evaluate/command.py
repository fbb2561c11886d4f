"""``strokenode evaluate``: engines and networks against what is known."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from training.evaluate.tables import Table, number

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from training.evaluate.osipi import OsipiAgreement, Pair
    from training.evaluate.perfusion_patients import Outcome, Summary
    from training.evaluate.perfusion_phantom import Agreement

app = typer.Typer(no_args_is_help=True, help="Engines and networks against known truth.")
console = Console(stderr=True)
Row = TypeVar("Row", bound="DataclassInstance")


@app.callback()
def evaluate() -> None:
    """Engines and networks against known truth."""


@app.command()
def perfusion(
    patients: Annotated[
        int, typer.Option(min=0, max=1000, help="Simulated patients; 0 for the phantom alone.")
    ] = 40,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Decides the patients.")] = 1,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Patients at a time.")] = 1,
    kind: Annotated[
        Literal["ctp", "pwi"], typer.Option(help="CT or MR of the simulated patients.")
    ] = "ctp",
    osipi: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False,
            help="OSIPI's DSC reference object (dsc_data.csv) to measure the methods on.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False,
            help="Write every row as a line of JSON as soon as it is known.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:  # fmt: skip
    """Measure perfusion: the methods on a phantom, the pipeline on simulated patients."""
    from training.evaluate.osipi import measure_osipi
    from training.evaluate.perfusion_patients import evaluate_patients, summarise
    from training.evaluate.perfusion_phantom import measure_engines

    pairs = _reference_object(osipi) if osipi else []
    record = Record(output)
    with console.status("digital reference phantom"):
        phantom = [record.add("phantom", row) for row in measure_engines()]
    reference = [record.add("osipi", row) for row in measure_osipi(pairs)] if pairs else []
    wide = Console(width=max(console.width, 140))
    if not as_json:
        wide.print(phantom_table(phantom))
        if reference:
            wide.print(osipi_table(reference))
    outcomes = []
    with Progress(console=console) as bar:
        task = bar.add_task("patients", total=patients)
        for outcome in evaluate_patients(seed, patients, kind=kind, processes=processes):
            outcomes.append(record.add("patient", outcome))
            bar.advance(task)
    summary = record.add("summary", summarise(outcomes)) if outcomes else None
    if as_json:
        document = {
            "phantom": [asdict(row) for row in phantom],
            "osipi": [asdict(row) for row in reference],
            "patients": [asdict(outcome) for outcome in outcomes],
            "summary": asdict(summary) if summary else None,
        }
        print(json.dumps(document, indent=2))
    elif summary:
        wide.print(patient_table(outcomes))
        wide.print(summary_table(summary))


@app.command("derived-ncct")
def derived_ncct(
    pairs: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Prepared cases.")],
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")],
    output: Annotated[Path, typer.Option(help="Folder for tables (text, CSV) and figures.")],
    experiment: Annotated[Literal["a", "b"], typer.Option(help="Which run.")] = "a",
    split: Annotated[
        list[str] | None, typer.Option(help="Patients: test and shifted by default.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the network and what was measured as a model."),
    ] = None,
    version: Annotated[str, typer.Option(help="Of that model.")] = "0.1.0",
    device: Annotated[str, typer.Option(help="cpu or cuda, for the networks.")] = "cpu",
) -> None:
    """Compare derived head CT with its rivals on test patients (van de Leemput et al. 2020)."""
    from training.evaluate.derived_ncct import baselines, measure_bias, score_pairs
    from training.evaluate.derived_ncct_pictures import draw_patients
    from training.evaluate.derived_ncct_report import write_report
    from training.pairs.subvolumes import load_split
    from training.recipes.derived_ncct import trained_methods

    try:
        bias = measure_bias(load_split(pairs, "train"))
        chosen = [pair for name in split or ("test", "shifted") for pair in load_split(pairs, name)]
    except FileNotFoundError as error:
        raise typer.BadParameter(str(error), param_hint="--pairs") from None
    methods = {**baselines(bias), **trained_methods(runs, experiment, device)}
    scores = []
    with Progress(console=console) as bar:
        total = len(chosen) * len(methods)
        for one in bar.track(score_pairs(chosen, methods), total=total, description="patients"):
            scores.append(one)
    wide = Console(width=max(console.width, 200))
    for table in write_report(scores, "conv-lstm", output):
        wide.print(table)
    draw_patients(chosen, scores, methods, "conv-lstm", output)
    if export:
        from training.recipes.derived_ncct import training_pairs
        from training.recipes.derived_ncct_export import export as write

        seen = training_pairs(pairs, experiment)
        manifest = write(runs, export, experiment, seen, scores, version)
        console.print(f"{export}: {manifest.name} {manifest.version}, {manifest.trained_on}")


@app.command("derived-ncct-scan")
def derived_ncct_scan(
    scan: Annotated[
        Path, typer.Argument(exists=True, help="A CT perfusion: folder of DICOM, or NIfTI file.")
    ],
    output: Annotated[Path, typer.Option(help="PNG file.")],
    model: Annotated[
        str, typer.Option(help="A model that is shipped, or the absolute path of another.")
    ] = "derived_ncct",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Draw slices of a CT perfusion beside the head CT that is derived from it."""
    from inference.derived_ncct.model import load_model
    from inference.errors import InferenceError
    from inference.weights import shipped
    from training.evaluate.derived_ncct_pictures import draw_scan
    from training.pairs.sources import read_ctp

    try:
        with console.status("derived head CT"):
            draw_scan(read_ctp(scan).image, load_model(shipped(model), device), output)
    except InferenceError as error:
        console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(1) from None


class Record:
    """What has been measured so far, as lines ``{"kind": …, fields}`` of a file.

    An earlier file of the name is replaced. Without a path nothing is written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path:
            path.write_text("", encoding="utf-8")

    def add(self, kind: str, row: Row) -> Row:
        """Write a row and return it."""
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"kind": kind} | asdict(row)) + "\n")
        return row


def _reference_object(path: Path) -> "list[Pair]":
    from training.evaluate.osipi import read_pairs

    try:
        return read_pairs(path)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--osipi") from None


def patient_table(outcomes: "list[Outcome]") -> Table:
    """Table of the analysis of simulated patients."""
    rows = []
    for o in outcomes:
        volumes = [_volumes(o, name) for name in ("hypoperfused", "core")]
        rows.append((
            str(o.seed), o.scanner, number(o.noise, 1), number(o.displacement_mm, 1), o.flaw,
            volumes[0], number(o.hypoperfused_dice), volumes[1], number(o.core_dice),
            f"{o.side or '-'}/{o.true_side or '-'}",
            shortened(o.reason) if o.reason else " ".join(o.warnings), number(o.seconds, 1),
        ))  # fmt: skip
    return Table(
        "perfusion of simulated patients",
        ("seed", "scanner", "noise", "moved mm", "flaw", "Tmax > 6 s", "Dice", "core", "Dice",
         "side", "warnings", "s"),
        rows,
        "noise of a voxel: HU, on MR percent of the brain's signal; volumes in mL: found / found "
        "without noise and motion / simulated truth",
    )  # fmt: skip


def summary_table(summary: "Summary") -> Table:
    """Table of the summary, with what is aimed at."""
    right, sided = summary.sides_right
    rows = [
        ("analysed", f"{summary.analysed} of {summary.patients}", ""),
        ("volume error, median and 90th percentile", _pair(summary.volume_error), "0.15 0.40"),
        ("core error, median and 90th percentile", _pair(summary.core_error), "0.15 0.40"),
        ("Dice of Tmax > 6 s, median", number(summary.hypoperfused_dice), "0.80"),
        ("Dice of core, median", number(summary.core_dice), "0.70"),
        ("side right", f"{right} of {sided}", "all"),
        ("mL without a lesion, median", number(summary.false_ml), "3"),
    ]
    for code in summary.precision:
        both = f"{number(summary.precision[code])} {number(summary.recall[code])}"
        rows.append((f"warning {code}, precision and recall", both, "0.90 0.90"))
    rows.append(("seconds of an analysis, median", number(summary.seconds, 1), ""))
    return Table("over all patients", ("", "measured", "aim"), rows)


def _volumes(outcome: "Outcome", name: str) -> str:
    three = (outcome.found, outcome.reference, outcome.truth)
    return "/".join(number(None if one is None else getattr(one, name), 0) for one in three)


def shortened(words: str, most: int = 40) -> str:
    """Words cut to a length."""
    return words if len(words) <= most else words[: most - 3] + "..."


def _pair(values: tuple[float, float] | None) -> str:
    return "-" if values is None else f"{number(values[0])} {number(values[1])}"


def phantom_table(rows: "list[Agreement]") -> Table:
    """Table of agreement with the digital reference phantom."""
    from training.evaluate.perfusion_phantom import SMOOTHING_VOXELS

    return Table(
        "Digital reference phantom: CBF 2.5-87.5, CBV 1-5, MTT 3.4-24 s, delay 0-3 s",
        ("engine", "residue", "noise HU", "r CBF", "r CBV", "r MTT", "r Tmax", "MTT ≤ 8 s",
         "CBF %/s", "Tmax s/s"),
        [
            (
                row.engine, row.shape, f"{row.noise_hu:g}",
                *(
                    number(r, 3)
                    for r in (row.r_cbf, row.r_cbv, row.r_mtt, row.r_tmax, row.r_tmax_resolved)
                ),
                f"{row.cbf_percent_per_s:+.2f}", number(row.tmax_per_s),
            )
            for row in rows
        ],
        f"noise of a voxel, before a Gaussian of {SMOOTHING_VOXELS:g} voxels in the plane and "
        "principal components over time; slopes against delay",
    )  # fmt: skip


def osipi_table(rows: "list[OsipiAgreement]") -> Table:
    """Table of agreement with OSIPI's reference object."""
    from training.evaluate.osipi import CBF_TOLERANCE, CBV_TOLERANCE, RELATIVE_TOLERANCE

    return Table(
        "OSIPI's DSC reference object",
        ("engine", "within tolerance", "within half of it", "CBF error", "CBV error"),
        [
            (
                row.engine, *(f"{count} of {row.pairs}" for count in (row.within, row.within_half)),
                number(row.cbf_error, 1), number(row.cbv_error),
            )
            for row in rows
        ],
        f"tolerance: CBF ±{CBF_TOLERANCE:g} mL/100 mL/min and CBV ±{CBV_TOLERANCE:g} mL/100 mL, "
        f"each + {RELATIVE_TOLERANCE:.0%}; errors: means of the absolute values",
    )  # fmt: skip
