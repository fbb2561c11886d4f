"""One simulated study on disk: the images as a scanner writes them, and the truth beside them."""

import datetime as dt
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmwrite

from training.simulate.anatomy.cache import cached_anatomy
from training.simulate.cohort import CohortCase, Kind
from training.simulate.ct.protocols import CtProtocol, draw_ctp_protocol, draw_ncct_protocol
from training.simulate.ct.scan import Irregularity, scan_ctp, scan_ncct
from training.simulate.dicom.ct import ctp_datasets, ncct_datasets
from training.simulate.dicom.identity import Identity, decimal
from training.simulate.dicom.mr import dwi_datasets, gre_datasets, pwi_datasets
from training.simulate.mr.protocols import (
    draw_dwi_protocol,
    draw_gre_protocol,
    draw_pwi_protocol,
    grid_overrides,
)
from training.simulate.mr.scan import pwi_flaws, scan_dwi, scan_gre, scan_pwi
from training.simulate.pathology.patient import Case, Patient, make_patient
from training.simulate.pathology.transformation import draw_transformation
from training.simulate.scanner import Scanner
from training.simulate.truth import Truth

_STUDY_TIME = dt.time(10, 0)
_NCCT_DELAY = dt.timedelta(minutes=5)
_CTP_DELAY = dt.timedelta(minutes=10)
_MR_DELAY = dt.timedelta(minutes=30)
_DWI_DELAY = dt.timedelta(minutes=4)
_PWI_DELAY = dt.timedelta(minutes=10)
_GRE_DELAY = dt.timedelta(hours=24, minutes=4)
_USUAL_MAS = 150.0
_MASKS = ("core", "penumbra", "hypoperfused", "ich", "ht")


@dataclass(frozen=True)
class Grid:
    """Sizes that the caller decides instead of the protocol; None leaves them to it.

    ``noise_hu`` is the standard deviation of CT noise in the brain; MR has none of this unit.
    """

    matrix: int | None = None
    slices: int | None = None
    thickness_mm: float | None = None
    time_points: int | None = None
    noise_hu: float | None = None


@dataclass(frozen=True)
class Request:
    """What to write.

    Parameters
    ----------
    kind : str
        ``ncct``, ``ctp``, or ``pwi`` (with diffusion).
    case : Case
        Whom, with what.
    scanner : str
        Vendor of the scanner.
    day : date
        Date of the study.
    patient_id : str or None
        PatientID; made from the seed when None.
    irregular : tuple of str
        Flaws of a perfusion, by CT or MR.
    grid : Grid
        Sizes; with ``with_ncct`` and ``follow_up`` those of the perfusion only, but ``matrix`` of
        all CT.
    with_ncct : bool
        Also the head CT that comes before a CT perfusion.
    follow_up : bool
        Also the gradient echo of the next day after a perfusion MR.
    enhanced : bool
        MR as Enhanced MR (Siemens XA).

    Raises
    ------
    ValueError
        ``with_ncct`` of anything but ``ctp``, ``follow_up`` of anything but ``pwi``.
    """

    kind: Kind
    case: Case
    scanner: Scanner
    day: dt.date
    patient_id: str | None = None
    irregular: tuple[str, ...] = ()
    grid: Grid = Grid()
    with_ncct: bool = False
    follow_up: bool = False
    enhanced: bool = False

    def __post_init__(self) -> None:
        """Refuse what a study of this kind cannot have."""
        for option, wanted, kind in (
            ("a head CT before the perfusion", self.with_ncct, "ctp"),
            ("a follow-up", self.follow_up, "pwi"),
        ):
            if wanted and self.kind != kind:
                raise ValueError(f"{option} was asked for with {self.kind}, only {kind} has one")

    @property
    def identity(self) -> Identity:
        """One study per seed and date, so that a patient's NCCT and CTP belong together."""
        case, person = self.case, self.case.person
        patient_id = self.patient_id or f"SIM{'' if case.cohort == 'usual' else 'S'}{case.seed}"
        birth = self.day - dt.timedelta(days=round(person.age_years * 365.25))
        return Identity(
            key=f"simulate {patient_id} {case.seed} {person.seed} {case.cohort} {self.day}",
            patient_id=patient_id,
            patient_name=f"Simulated^Seed {case.seed}",
            study_start=dt.datetime.combine(self.day, _STUDY_TIME),
            variant=repr(self),
            birth_date=birth.strftime("%Y%m%d"),
            sex=person.sex,
            seed=case.seed,
            cohort=case.cohort,
        )


@dataclass(frozen=True)
class Written:
    """How many images there are, and what a manifest says of the case."""

    images: int
    row: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Series:
    """One kind of images of a study; ``images`` come one at a time and can be read once."""

    images: Iterator[Dataset]
    count: int
    truth: Truth


Tell = Callable[[str, int, int], None]


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""


def write_study(
    request: Request, folder: Path, *, anatomies: Path | None = None, tell: Tell = silent
) -> Written:
    """Simulate a patient and write ``dicom/<series>/`` and ``truth/`` into a folder.

    The truth of several series lies in ``truth/<series>/``, that of a single one in ``truth/``.
    Images are written as they come: of a perfusion no more than one time point is in memory.

    Parameters
    ----------
    request : Request
        What to write.
    folder : Path
        Where; must hold neither ``dicom`` nor ``truth``.
    anatomies : Path or None
        Cache of anatomies.
    tell : callable
        Called with what is done, how much of it, and of how much; of 0 when not known yet.
    """
    tell("patient", 0, 0)
    patient = make_patient(request.case, cached_anatomy(request.case.person, anatomies))
    tell("patient", 1, 1)
    names = _series_names(request)
    scans = _series(request, patient)
    truths: dict[str, Truth] = {}
    images = 0
    for name in names:
        tell(name, 0, 0)
        series = next(scans)
        place = folder / "dicom" / name
        place.mkdir(parents=True)
        truths[name] = Truth(series.truth.arrays, {**_about(request, name), **series.truth.numbers})
        with ThreadPoolExecutor(1) as pool:
            saved = pool.submit(
                truths[name].save, folder / "truth" / (name if len(names) > 1 else "")
            )
            for number, ds in enumerate(series.images, start=1):
                dcmwrite(place / f"{number:05d}.dcm", ds, enforce_file_format=True)
                tell(name, number, series.count)
                images += 1
            saved.result()
    return Written(images, _row(request, patient, truths))


def _series_names(request: Request) -> tuple[str, ...]:
    if request.kind == "pwi":
        return ("dwi", "pwi", "gre") if request.follow_up else ("dwi", "pwi")
    return ("ncct", "ctp") if request.with_ncct else (request.kind,)


def _series(request: Request, patient: Patient) -> Iterator[Series]:
    """Scan one series after the other."""
    if request.kind == "pwi":
        yield from _mr(request, patient)
        return
    for name in _series_names(request):
        yield _ncct(request, patient) if name == "ncct" else _ctp(request, patient)


def _ncct(request: Request, patient: Patient) -> Series:
    case, grid = request.case, request.grid
    sizes = vars(grid) if request.kind == "ncct" else {"matrix": grid.matrix}
    protocol = draw_ncct_protocol(case.seed, request.scanner, case.cohort, **sizes)
    scan = scan_ncct(patient, protocol, case.seed)
    identity = request.identity
    images = ncct_datasets(
        identity, request.scanner, scan.geometry, scan.volume, identity.study_start + _NCCT_DELAY,
        thickness_mm=protocol.thickness_mm, times_s=scan.times_s, kvp=protocol.kvp,
        kernel=protocol.kernel.name, rotation_s=protocol.rotation_s,
    )  # fmt: skip
    return Series(_thick(images, protocol), scan.geometry.slices, scan.truth)


def _thick(images: Iterator[Dataset], protocol: CtProtocol) -> Iterator[Dataset]:
    """Say of every slice of an uneven stack how thick it is."""
    for ds, thickness in zip(images, protocol.thicknesses_mm, strict=True):
        ds.SliceThickness = decimal(thickness)
        yield ds


def _ctp(request: Request, patient: Patient) -> Series:
    case = request.case
    protocol = draw_ctp_protocol(case.seed, request.scanner, case.cohort, **vars(request.grid))
    flaws = [Irregularity(name) for name in request.irregular]
    scan = scan_ctp(patient, protocol, case.seed, irregular=flaws)
    identity = request.identity
    images = ctp_datasets(
        identity, request.scanner, scan.geometry, scan.frames(), scan.times_s,
        identity.study_start + _CTP_DELAY, thickness_mm=protocol.thickness_mm, kvp=protocol.kvp,
        kernel=protocol.kernel.name, exposure_mas=_USUAL_MAS * scan.protocol.exposure,
        rotation_s=protocol.rotation_s,
    )  # fmt: skip
    return Series(images, scan.times_s.size, scan.truth)


def _mr(request: Request, patient: Patient) -> Iterator[Series]:
    """Diffusion and perfusion, and the gradient echo of the next day where it is asked for."""
    case, scanner = request.case, request.scanner
    identity = request.identity.follow_up(_MR_DELAY)
    grid = request.grid
    sizes = grid_overrides(grid.matrix, grid.slices, grid.thickness_mm, frames=grid.time_points)
    perfusion = draw_pwi_protocol(case.seed, scanner, case.cohort, **sizes)
    one_scanner = {"field_t": perfusion.field_t}
    outcome = draw_transformation(patient, case.seed)
    protocol = draw_dwi_protocol(case.seed, scanner, case.cohort, **one_scanner)
    dwi = scan_dwi(patient, protocol, case.seed)
    volumes = dict(zip(protocol.b_values, (dwi.b0, dwi.b1000), strict=True))
    shots = np.arange(len(volumes))[:, None] * (protocol.tr_ms / 1000) + dwi.times_s
    images = dwi_datasets(
        identity, scanner, dwi.geometry, volumes, identity.study_start + _DWI_DELAY,
        times_s=shots, echo_time_ms=protocol.te_ms, repetition_time_ms=protocol.tr_ms,
        thickness_mm=protocol.thickness_mm, field_strength_t=protocol.field_t,
        enhanced=request.enhanced,
    )  # fmt: skip
    yield Series(images, 1 if request.enhanced else shots.size, dwi.truth)
    flaws = pwi_flaws(perfusion, case.seed, request.irregular)
    pwi = scan_pwi(
        patient, perfusion, case.seed, transformation=outcome, **flaws
    )  # fmt: skip
    images = pwi_datasets(
        identity, scanner, pwi.geometry, pwi.frames(), pwi.times_s,
        identity.study_start + _PWI_DELAY, echo_time_ms=perfusion.te_ms,
        repetition_time_ms=perfusion.tr_ms, thickness_mm=perfusion.thickness_mm,
        field_strength_t=perfusion.field_t, flip_angle_deg=perfusion.flip_deg,
        enhanced=request.enhanced,
    )  # fmt: skip
    yield Series(images, 1 if request.enhanced else pwi.times_s.size, pwi.truth)
    if request.follow_up:
        protocol = draw_gre_protocol(case.seed, scanner, case.cohort, **one_scanner)
        gre = scan_gre(patient, protocol, case.seed, transformation=outcome)
        images = gre_datasets(
            identity, scanner, gre.geometry, gre.volume, identity.study_start + _GRE_DELAY,
            echo_time_ms=protocol.te_ms, repetition_time_ms=protocol.tr_ms,
            thickness_mm=protocol.thickness_mm, field_strength_t=protocol.field_t,
            flip_angle_deg=protocol.flip_deg,
        )  # fmt: skip
        yield Series(images, gre.geometry.slices, gre.truth)


def _about(request: Request, series: str) -> dict[str, Any]:
    case = request.case
    return {
        "seed": case.seed,
        "anatomy_seed": case.person.seed,
        "cohort": case.cohort,
        "scanner": request.scanner,
        "irregular": list(request.irregular) if series in ("ctp", "pwi") else [],
    }


def _row(request: Request, patient: Patient, truths: dict[str, Truth]) -> dict[str, Any]:
    """What a manifest says of a case; volumes are those inside the scan."""
    stroke, hemorrhage = patient.stroke, patient.hemorrhage
    volumes: dict[str, float] = {}
    for name in (request.kind, *truths):
        volumes = {**truths[name].numbers["volumes_ml"], **volumes}
    row: dict[str, Any] = {
        "occlusion": str(stroke.occlusion) if stroke else "none",
        "side": stroke.side if stroke else None,
        "ich_kinds": "+".join(sorted(map(str, hemorrhage.kinds))) if hemorrhage else "",
        "mimics": "+".join(sorted(patient.head.inclusions)),
    }
    return {**row, **{f"{name}_ml": volumes.get(name) for name in _MASKS}}


@dataclass(frozen=True)
class CaseWriter:
    """Write one case of a cohort; equal for all cases, and sent to the processes.

    Parameters
    ----------
    grid, day, with_ncct, follow_up
        As in :class:`Request`.
    anatomies : Path or None
        Cache of anatomies.
    """

    grid: Grid
    day: dt.date
    with_ncct: bool = False
    follow_up: bool = False
    anatomies: Path | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the cases besides their seeds, as JSON values."""
        return {
            **asdict(self.grid),
            "day": self.day.isoformat(),
            "with_ncct": self.with_ncct,
            "follow_up": self.follow_up,
        }

    def __call__(self, case: CohortCase, folder: Path) -> dict[str, Any]:
        """Write the case into a folder and return its line of the manifest."""
        request = Request(
            kind=case.kind,
            case=Case(
                seed=case.seed,
                anatomy_seed=case.anatomy_seed,
                cohort=case.cohort,
                stroke=None if case.stroke else "none",
                hemorrhage=None if case.hemorrhage else "none",
            ),
            scanner=case.scanner,
            day=self.day,
            irregular=case.irregular,
            grid=self.grid,
            with_ncct=self.with_ncct,
            follow_up=self.follow_up,
        )
        return write_study(request, folder, anatomies=self.anatomies).row
