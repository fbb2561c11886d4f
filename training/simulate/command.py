"""``strokenode simulate``: simulated patients as DICOM, with the truth beside them."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from traceback import format_exception
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from training.simulate import report

if TYPE_CHECKING:
    from training.simulate.study import Request

app = typer.Typer(no_args_is_help=True, help="Simulated patients as DICOM, with known truth.")
app.command()(report.measure)
app.command()(report.pictures)
console = Console(stderr=True)
Choice = TypeVar("Choice", bound=StrEnum)


class ScannerName(StrEnum):
    """Choices of ``--scanner``."""

    SIEMENS = "siemens"
    GE = "ge"
    PHILIPS = "philips"
    CANON = "canon"


class LesionName(StrEnum):
    """Choices of ``--lesion``: which artery is occluded."""

    NONE = "none"
    RANDOM = "random"
    ICA = "ica"
    M1 = "m1"
    M2_SUPERIOR = "m2_superior"
    M2_INFERIOR = "m2_inferior"
    ACA = "aca"
    PCA = "pca"
    BASILAR = "basilar"
    CEREBELLAR = "cerebellar"
    PERFORATOR = "perforator"


class SideName(StrEnum):
    """Choices of ``--side``: the patient's."""

    LEFT = "left"
    RIGHT = "right"


class IchName(StrEnum):
    """Choices of ``--ich``."""

    NONE = "none"
    RANDOM = "random"
    MIXED = "mixed"
    INTRAPARENCHYMAL = "intraparenchymal"
    INTRAVENTRICULAR = "intraventricular"
    SUBARACHNOID = "subarachnoid"
    SUBDURAL = "subdural"
    EPIDURAL = "epidural"


class FlawName(StrEnum):
    """Choices of ``--irregular``."""

    MOTION = "motion"
    TRUNCATED = "truncated"
    MISSING_FRAMES = "missing_frames"
    UNEVEN = "uneven"
    WEAK_BOLUS = "weak_bolus"
    STREAKS = "streaks"
    NOISE = "noise"


class CohortName(StrEnum):
    """Choices of ``--cohort``: from which ranges people and scanners are drawn."""

    USUAL = "usual"
    SHIFTED = "shifted"


class KindName(StrEnum):
    """What a cohort consists of."""

    CTP = "ctp"
    NCCT = "ncct"
    PWI = "pwi"


MAX_SEED = 2**31 - 1
COHORT_DAY = dt.date(2026, 1, 1)
Output = Annotated[Path, typer.Option(help="Folder for dicom/ and truth/; must not hold either.")]
Seed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Decides patient and scan.")]
Scanner = Annotated[ScannerName, typer.Option(help="Whose scanner.")]
Lesion = Annotated[LesionName, typer.Option(help="Occluded artery.")]
Side = Annotated[SideName | None, typer.Option(help="The patient's side of the stroke.")]
Ich = Annotated[IchName, typer.Option(help="Kind of hemorrhage.")]
Mimics = Annotated[
    list[str] | None,
    typer.Option(help="Imitator of blood, 'none' or 'random'; may be repeated."),
]
Irregular = Annotated[list[FlawName] | None, typer.Option(help="Flaw; may be repeated.")]
Matrix = Annotated[int | None, typer.Option(min=32, max=512, help="Rows and columns.")]
Slices = Annotated[int | None, typer.Option(min=1, max=320, help="Number of slices.")]
Thickness = Annotated[float | None, typer.Option(min=0.5, max=12, help="Slice thickness in mm.")]
TimePoints = Annotated[int | None, typer.Option(min=2, max=120, help="Number of time points.")]
Noise = Annotated[float | None, typer.Option(min=0, max=200, help="Standard deviation in HU.")]
Ranges = Annotated[CohortName, typer.Option("--cohort", help="Ranges to draw from.")]
Date = Annotated[
    dt.datetime | None,
    typer.Option(formats=["%Y-%m-%d"], help="Study date; today when not given."),
]
PatientId = Annotated[
    str | None, typer.Option("--patient", help="PatientID; SIM and the seed when not given.")
]
Anatomies = Annotated[
    Path | None, typer.Option("--cache", file_okay=False, help="Keep anatomies in this folder.")
]


@app.command()
def ncct(
    output: Output,
    seed: Seed,
    scanner: Scanner = ScannerName.SIEMENS,
    lesion: Lesion = LesionName.RANDOM,
    side: Side = None,
    ich: Ich = IchName.NONE,
    mimics: Mimics = None,
    matrix: Matrix = None,
    slices: Slices = None,
    thickness: Thickness = None,
    noise: Noise = None,
    cohort: Ranges = CohortName.USUAL,
    date: Date = None,
    patient: PatientId = None,
    cache: Anatomies = None,
) -> None:
    """Write a head CT without contrast."""
    from training.simulate.study import Grid

    request = _request(
        "ncct", seed, scanner, lesion, side, ich, mimics, cohort, date, patient,
        grid=Grid(matrix, slices, thickness, None, noise),
    )  # fmt: skip
    _write(request, output, cache)


@app.command()
def ctp(
    output: Output,
    seed: Seed,
    scanner: Scanner = ScannerName.SIEMENS,
    lesion: Lesion = LesionName.RANDOM,
    side: Side = None,
    ich: Ich = IchName.NONE,
    mimics: Mimics = None,
    irregular: Irregular = None,
    with_ncct: Annotated[
        bool, typer.Option("--with-ncct", help="Also the head CT before it, in the same study.")
    ] = False,
    matrix: Matrix = None,
    slices: Slices = None,
    thickness: Thickness = None,
    time_points: TimePoints = None,
    noise: Noise = None,
    cohort: Ranges = CohortName.USUAL,
    date: Date = None,
    patient: PatientId = None,
    cache: Anatomies = None,
) -> None:
    """Write a CT perfusion."""
    from training.simulate.study import Grid

    flaws = tuple(dict.fromkeys(str(name) for name in irregular or ()))
    request = _request(
        "ctp", seed, scanner, lesion, side, ich, mimics, cohort, date, patient,
        grid=Grid(matrix, slices, thickness, time_points, noise), irregular=flaws,
        with_ncct=with_ncct,
    )  # fmt: skip
    _write(request, output, cache)


@app.command()
def pwi(
    output: Output,
    seed: Seed,
    scanner: Scanner = ScannerName.SIEMENS,
    lesion: Lesion = LesionName.RANDOM,
    side: Side = None,
    mimics: Mimics = None,
    irregular: Irregular = None,
    enhanced: Annotated[
        bool, typer.Option("--enhanced", help="Enhanced MR; Siemens only.")
    ] = False,
    follow_up: Annotated[
        bool, typer.Option("--follow-up", help="Also the gradient echo of the next day.")
    ] = False,
    matrix: Matrix = None,
    slices: Slices = None,
    thickness: Thickness = None,
    time_points: TimePoints = None,
    cohort: Ranges = CohortName.USUAL,
    date: Date = None,
    patient: PatientId = None,
    cache: Anatomies = None,
) -> None:
    """Write perfusion and diffusion MR; sizes are those of the perfusion."""
    from training.simulate.cohort import MR_FLAWS
    from training.simulate.study import Grid

    if enhanced and scanner is not ScannerName.SIEMENS:
        raise typer.BadParameter(
            "only --scanner siemens writes Enhanced MR", param_hint="--enhanced"
        )
    flaws = tuple(dict.fromkeys(str(name) for name in irregular or ()))
    if not set(flaws) <= set(MR_FLAWS):
        text = f"of perfusion MR only {' and '.join(MR_FLAWS)} can be had"
        raise typer.BadParameter(text, param_hint="--irregular")
    request = _request(
        "pwi", seed, scanner, lesion, side, IchName.NONE, mimics, cohort, date, patient,
        grid=Grid(matrix, slices, thickness, time_points, None), irregular=flaws,
        enhanced=enhanced, follow_up=follow_up,
    )  # fmt: skip
    _write(request, output, cache)


@app.command()
def cohort(
    kind: Annotated[KindName, typer.Argument(help="What to simulate.")],
    output: Annotated[Path, typer.Option(help="Folder of the cohort; goes on where it stopped.")],
    count: Annotated[int, typer.Option(min=1, help="Number of cases.")],
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Decides all cases.")],
    split: Annotated[
        str, typer.Option(help="Shares of train, validation, test and shifted.")
    ] = "train=0.7,validation=0.1,test=0.1,shifted=0.1",
    processes: Annotated[int, typer.Option(min=1, help="Cases at the same time.")] = 1,
    cases_per_anatomy: Annotated[int, typer.Option(min=1, help="Cases that share a head.")] = 1,
    ich_share: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of cases with hemorrhage.")
    ] = None,
    with_ncct: Annotated[bool, typer.Option("--with-ncct", help="CTP: also the head CT.")] = False,
    follow_up: Annotated[
        bool, typer.Option("--follow-up", help="PWI: also the gradient echo of the next day.")
    ] = False,
    matrix: Matrix = None,
    slices: Slices = None,
    thickness: Thickness = None,
    time_points: TimePoints = None,
    date: Annotated[
        dt.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Study date; 2026-01-01 when not given."),
    ] = None,
    cache: Anatomies = None,
) -> None:
    """Write many cases and a manifest (manifest.csv) for training.

    The same command goes on with an interrupted cohort. Exit status 1: a case failed.
    """
    from training.simulate.cohort import MANIFEST, draw_cohort, make_cohort
    from training.simulate.study import CaseWriter, Grid

    for option, wanted, only in (
        ("--with-ncct", with_ncct, KindName.CTP),
        ("--follow-up", follow_up, KindName.PWI),
    ):
        if wanted and kind is not only:
            text = f"cases of {kind.value} cannot have it, only those of {only.value}"
            raise typer.BadParameter(text, param_hint=option)
    with _usage_errors("--split"):
        plan = draw_cohort(
            kind.value, count, seed, _shares(split),
            cases_per_anatomy=cases_per_anatomy, ich_share=ich_share,
        )  # fmt: skip
    grid = Grid(matrix, slices, thickness, time_points, None)
    write_case = CaseWriter(grid, date.date() if date else COHORT_DAY, with_ncct, follow_up, cache)
    with _bar() as bar, _usage_errors("--output"):
        task = bar.add_task("cases", total=count)
        outcome = make_cohort(
            plan, write_case.settings, output, write_case,
            processes=processes, tell=lambda case: bar.advance(task),
        )  # fmt: skip
    console.print(f"{outcome.made} cases made, {outcome.ready} were ready: {output / MANIFEST}")
    for case, error in outcome.failures:
        text = f"failed: {case.case_id}, seed {case.seed}: {type(error).__name__}: {error}"
        console.print("".join(format_exception(error)), markup=False, soft_wrap=True)
        console.print(text, style="red", markup=False, soft_wrap=True)
    if outcome.failures:
        raise typer.Exit(1)


def _request(
    kind: Literal["ctp", "ncct", "pwi"],
    seed: int,
    scanner: ScannerName,
    lesion: LesionName,
    side: SideName | None,
    ich: IchName,
    mimics: list[str] | None,
    cohort: CohortName,
    date: dt.datetime | None,
    patient: str | None,
    **more: Any,
) -> "Request":
    """Turn options into a request; more are fields of it."""
    from training.simulate.pathology.head import BloodKind
    from training.simulate.pathology.patient import Case
    from training.simulate.pathology.stroke import Occlusion
    from training.simulate.study import Request

    if lesion is LesionName.NONE and side is not None:
        raise typer.BadParameter("there is no lesion to have a side", param_hint="--side")
    case = Case(
        seed=seed,
        cohort=cohort.value,
        stroke=_unless_random(lesion, Occlusion),
        side=None if side is None else "L" if side is SideName.LEFT else "R",
        hemorrhage="mixed" if ich is IchName.MIXED else _unless_random(ich, BloodKind),
        mimics=_mimics(mimics),
    )
    day = date.date() if date is not None else dt.date.today()
    return Request(kind, case, scanner.value, day, patient, **more)


def _unless_random(
    name: LesionName | IchName, known: type[Choice]
) -> Choice | Literal["none"] | None:
    """What :class:`~training.simulate.pathology.patient.Case` takes for a name."""
    if name.value == "random":
        return None
    return "none" if name.value == "none" else known(name.value)


def _mimics(names: list[str] | None) -> tuple[str, ...] | None:
    """None for what the seed draws; no names for none."""
    from training.simulate.pathology.mimics import GROUPS, MIMICS

    if not names or names == ["random"]:
        return None
    if names == ["none"]:
        return ()
    known = (*MIMICS, *GROUPS)
    for name in names:
        if name not in known:
            text = f"{name!r} is not 'none', 'random', or any of {', '.join(known)}"
            raise typer.BadParameter(text, param_hint="--mimics")
    return tuple(dict.fromkeys(names))


def _shares(text: str) -> dict[str, float]:
    """Read ``train=0.7,test=0.3``; ValueError when it is none."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, sign, value = part.partition("=")
        if not sign or name.strip() in shares:
            raise ValueError(f"{text!r}, expected something like train=0.7,validation=0.1,test=0.2")
        shares[name.strip()] = float(value)
    return shares


def _write(request: "Request", output: Path, cache: Path | None) -> None:
    """Write one study, with a progress bar for each of its steps."""
    from training.simulate.anatomy.template import load_template
    from training.simulate.study import write_study

    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(
            f"{output} cannot be a folder ({error.strerror}); name another", param_hint="--output"
        ) from error
    for folder in (output / "dicom", output / "truth"):
        if folder.exists() and any(folder.iterdir()):
            raise typer.BadParameter(
                f"{folder} is not empty; name another folder or remove it", param_hint="--output"
            )
    with _bar() as bar:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what)
            if what == "patient" and done:
                load_template.cache_clear()  # 0.2 GB that one patient needs no more
            bar.update(tasks[what], completed=done, total=total or None)

        written = write_study(request, output, anatomies=cache, tell=tell).images
    console.print(f"{written} images in {output / 'dicom'}", markup=False, soft_wrap=True)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), console=console,
    )  # fmt: skip


@contextmanager
def _usage_errors(option: str) -> Iterator[None]:
    """Tell of impossible wishes as of wrong usage."""
    try:
        yield
    except (ValueError, FileExistsError) as error:
        raise typer.BadParameter(str(error), param_hint=option) from error
