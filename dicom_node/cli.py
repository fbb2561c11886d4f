"""``strokenode``: the command line.

Subcommands of other packages come from the entry-point group ``strokenode.commands``.
"""

import json
import logging
import math
import os
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dicom_node import config as configuration
from dicom_node.errors import NodeError
from inference import __version__

if TYPE_CHECKING:
    from dicom_node.jobs.database import Database

app = typer.Typer(
    help="StrokeNode: a DICOM node for stroke CT and MR. RESEARCH USE ONLY.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console()
errors = Console(stderr=True)

ConfigOption = Annotated[Path, typer.Option("--config", help="The configuration file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
_DEFAULT_CONFIG = Path("config.toml")
_METHODS = (
    "auto", "deconvolution", "stm-dlp", "kernel-ridge", "random-forest", "ridge", "linear",
)  # fmt: skip
_AVAILABLE_METHODS = ("auto", "deconvolution")


@app.command()
def serve(config: ConfigOption = _DEFAULT_CONFIG) -> None:
    """Run the node until it is told to stop (SIGTERM or Ctrl-C)."""
    from dicom_node import log as logs
    from dicom_node.serve import Supervisor

    settings = configuration.load(config)
    logs.configure(settings.log)
    Supervisor(settings).run()


@app.command()
def worker(config: ConfigOption = _DEFAULT_CONFIG) -> None:
    """Run one more worker for a node, on this machine."""
    from dicom_node import log as logs
    from dicom_node.serve import work

    settings = configuration.load(config)
    logs.configure(settings.log)
    work(settings)


@app.command()
def check(
    config: ConfigOption = _DEFAULT_CONFIG,
    echo: Annotated[bool, typer.Option(help="Send a C-ECHO to every destination.")] = True,
) -> None:
    """Validate the configuration, echo the peers, show device and disk."""
    from dicom_node.check import run_checks

    settings = configuration.load(config)
    table = Table("what", "state", "details", box=None)
    healthy = True
    for name, good, details in run_checks(settings, echo=echo):
        healthy &= good
        table.add_row(name, "[green]ok[/]" if good else "[red]problem[/]", escape(details))
    console.print(table)
    if not healthy:
        raise typer.Exit(1)


@app.command()
def classify(
    folder: Annotated[Path, typer.Argument(help="Folder with DICOM files.")],
    as_json: JsonOption = False,
) -> None:
    """Say what each acquisition in a folder is, and why."""
    from dicom_node.process import find_acquisitions

    with _progress_bar() as bar:
        task = bar.add_task("read", total=1.0)
        found, unreadable = find_acquisitions(
            folder, lambda fraction: bar.update(task, completed=fraction)
        )
    _name_unreadable(unreadable)
    if as_json:
        sys.stdout.write(json.dumps([item.row() for item in found], indent=2) + "\n")
        return
    table = Table("kind", "slices", "times", "complete", "series", "evidence and reason")
    for item in found:
        row = item.row()
        notes = [*row["evidence"], *([row["reason"]] if row["reason"] else [])]
        table.add_row(
            row["kind"], str(row["slices"]), str(row["time_points"]),
            "yes" if row["complete"] else "no", str(len(row["series_uids"])),
            escape("\n".join(notes)),
        )  # fmt: skip
    console.print(table)


@app.command()
def process(
    folder: Annotated[Path, typer.Argument(metavar="INPUT_DIR", help="Folder with DICOM files.")],
    output: Annotated[Path, typer.Option(file_okay=False, help="Folder for the results.")],
    pipeline: Annotated[list[str] | None, typer.Option(help="Run only these pipelines.")] = None,
    method: Annotated[str, typer.Option(help=" | ".join(_METHODS))] = "auto",
    nifti: Annotated[bool, typer.Option("--nifti", help="Write NIfTI files as well.")] = False,
    png: Annotated[bool, typer.Option("--png", help="Write the pages as PNG as well.")] = False,
    aif_at: Annotated[
        str | None, typer.Option(metavar="X,Y,Z", help="Arterial input here (mm, LPS).")
    ] = None,
    vof_at: Annotated[
        str | None, typer.Option(metavar="X,Y,Z", help="Venous output here (mm, LPS).")
    ] = None,
    as_json: JsonOption = False,
    config: Annotated[Path | None, typer.Option(help="The configuration file.")] = None,
) -> None:
    """Run the pipelines on a folder and write DICOM and results.json, without network."""
    from dicom_node.jobs.analysis import resolve_device
    from dicom_node.process import Processor, find_acquisitions, refusal, write_json
    from dicom_node.tables import results_table
    from inference.pipelines import all_pipelines

    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    wanted = pipeline or []
    unknown = sorted(set(wanted) - set(all_pipelines()))
    if unknown:
        raise NodeError(f"--pipeline: unknown {unknown}; known are {sorted(all_pipelines())}")
    if method not in _METHODS:
        raise NodeError(f"--method: found {method!r}; allowed: {', '.join(_METHODS)}")
    if method not in _AVAILABLE_METHODS:
        raise NodeError(
            f"--method {method}: this version has no such model; "
            f"available: {', '.join(_AVAILABLE_METHODS)}"
        )
    settings = _settings_with_places(config, aif_at, vof_at)
    try:
        device = resolve_device(settings.device.use)
    except ValueError as error:
        raise NodeError(str(error)) from None
    records: list[dict[str, Any]] = []
    with _progress_bar() as bar:
        reading = bar.add_task("read", total=1.0)
        found, unreadable = find_acquisitions(
            folder, lambda fraction: bar.update(reading, completed=fraction)
        )
        output.mkdir(parents=True, exist_ok=True)
        processor = Processor(settings, output, device, nifti, png)
        for item in found:
            for chosen in processor.pipelines_for(item, wanted):
                task = bar.add_task(chosen.name, total=1.0)

                def report(
                    stage: str, fraction: float, task: Any = task, name: str = chosen.name
                ) -> None:
                    bar.update(task, completed=fraction, description=f"{name}: {stage}")

                reason = refusal(item, found, len(unreadable))
                records.append(processor.run(item, chosen, reason, report))
    _name_unreadable(unreadable)
    write_json(records, output / "results.json")
    if as_json:
        sys.stdout.write(json.dumps(records, indent=2) + "\n")
    else:
        console.print(results_table(records))
        console.print(f"results: {escape(str(output / 'results.json'))}", soft_wrap=True)
    for item in found:
        if not processor.pipelines_for(item, wanted):
            text = f"{item.kind.kind.value}: for no pipeline ({item.kind.reason})"
            (errors if as_json else console).print(escape(text), soft_wrap=True)
    if any(record["status"] == "failed" for record in records):
        raise typer.Exit(1)


@app.command()
def status(config: ConfigOption = _DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show acquisitions, jobs, outbox, problems and peers."""
    from dicom_node.status import collect

    report = collect(_database(configuration.load(config)))
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return
    hidden = {"evidence", "series_uids", "sop_instance_uid", "version", "record"}
    for title, rows in report.items():
        if rows:
            columns = [name for name in rows[0] if name not in hidden]
            table = Table(*columns, title=title, title_justify="left")
            for row in rows:
                table.add_row(*(_cell(row[name]) for name in columns))
            console.print(table)
        else:
            console.print(f"{title}: none")


@app.command()
def retry(
    job: Annotated[int, typer.Argument(help="Number of the job, from 'status'.")],
    config: ConfigOption = _DEFAULT_CONFIG,
) -> None:
    """Run a job that has ended again, as a new run that supersedes it."""
    from dicom_node.jobs import queue

    with _database(configuration.load(config)).write() as session:
        again = queue.rerun(session, job)
        number, revision = again.id, again.revision
    console.print(f"job {job} runs again as job {number} (revision {revision})")


@app.command()
def resend(
    study: Annotated[str, typer.Argument(help="StudyInstanceUID.")],
    to: Annotated[str, typer.Option(help="Name of the destination.")],
    config: ConfigOption = _DEFAULT_CONFIG,
) -> None:
    """Send a study's results to a destination once more."""
    from dicom_node.send import outbox

    settings = configuration.load(config)
    names = [peer.name for peer in settings.destinations()]
    if to not in names:
        raise NodeError(f"--to: found {to!r}; destinations are {names}")
    with _database(settings).write() as session:
        count = outbox.resend(session, study, to)
    if count == 0:
        raise NodeError(f"nothing of study {study} has gone to {to} yet; see 'status'")
    console.print(f"{count} objects go to {to} again")


@app.command()
def demo(
    output: Annotated[Path, typer.Option(file_okay=False, help="Folder for the pictures.")] = Path(
        "demo-results"
    ),
) -> None:
    """Show the whole line: embedded PACS, node, simulated patient, results back in the PACS."""
    from dicom_node.demo import run_demo

    if not run_demo(output, console):
        raise typer.Exit(1)


@app.command()
def version() -> None:
    """Print the version."""
    console.print(__version__)


def main() -> None:
    """Entry point of ``strokenode``; expected errors end in one clear message."""
    # Idle threads of OpenMP that spin take the cores from other workers: ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for entry in sorted(entry_points(group="strokenode.commands"), key=lambda item: item.name):
        app.add_typer(entry.load(), name=entry.name)
    try:
        app()
    except NodeError as error:
        errors.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1 if error.retryable else 2)


def _database(settings: configuration.Config) -> "Database":
    """The database of a node that has run."""
    from dicom_node.jobs.database import Database

    database = Database(settings.database_url)
    if not database.exists():
        raise NodeError(f"no node has run with spool {settings.spool} yet; start one with 'serve'")
    return database


def _settings_with_places(
    config: Path | None, aif_at: str | None, vof_at: str | None
) -> configuration.Config:
    """The configuration with the places of the vessels that the command line gives."""
    places = {
        f"{name}_at_mm": _place(f"--{name}-at", text)
        for name, text in (("aif", aif_at), ("vof", vof_at))
        if text is not None
    }
    settings = configuration.load(config) if config else configuration.Config()
    return settings.with_pipeline_values(places)


def _place(option: str, text: str) -> tuple[float, float, float]:
    """Three numbers in mm, separated by commas."""
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        x = y = z = math.nan
    if not all(map(math.isfinite, (x, y, z))):
        raise NodeError(f"{option}: found {text!r}; expected X,Y,Z in mm (LPS) such as 12.5,-3,60")
    return x, y, z


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(), console=errors,
    )  # fmt: skip


def _name_unreadable(unreadable: list[tuple[Path, str]]) -> None:
    for path, reason in unreadable:
        errors.print(f"[yellow]not read:[/] {escape(f'{path}: {reason}')}", soft_wrap=True)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, list):
        return escape(", ".join(str(item) for item in value))
    return "" if value is None else escape(str(value))


if __name__ == "__main__":
    main()
