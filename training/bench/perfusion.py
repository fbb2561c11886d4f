"""What ``strokenode bench perfusion`` measures, subject by subject."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from inference.dicom.volumes import TimeSeries
from training.bench.engines import TOLERANCES, Tolerances
from training.bench.motion import compare_motion
from training.bench.patients import compare_on_patients, summarise_patients
from training.bench.phantom import compare_on_phantom
from training.bench.scans import Size, give, scan_volumes
from training.bench.speed import time_engines, time_stages
from training.evaluate.patient_scans import series_of
from training.evaluate.perfusion_phantom import PATCH
from training.simulate.cohort import anatomy_seeds
from training.simulate.ct.ctp_scan import CtpScan
from training.simulate.pathology.patient import Case, Patient, make_patient

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Measured = Iterator[tuple[str, "Sequence[DataclassInstance]"]]
_NOISE_HU = 7.0


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Parameters
    ----------
    patch : int
        Rows and columns of a tile of the phantom.
    tolerances : mapping of rule to floats
        What dcmri's tolerance is chosen from.
    patient, study : Size
        Scans of the patients, and the one that times are taken on.
    repeats, stage_repeats : int
        Runs of which the median counts.
    """

    patch: int
    tolerances: Tolerances
    patient: Size
    study: Size
    repeats: int
    stage_repeats: int


_FEW: Tolerances = {"TSVD": (0.1, 0.2), "Tikhonov": (0.1, 0.2)}
USUAL = Sizes(PATCH, TOLERANCES, Size(256, 16), Size(256, 32, 50), 5, 3)
QUICK = Sizes(3, _FEW, Size(64, 6), Size(64, 8, 16), 1, 1)


class _Study:
    """One patient, scanned at rest and moving; each scan is made when it is asked for."""

    def __init__(self, seed: int, size: Size) -> None:
        (self._seed,) = anatomy_seeds(seed, "validation", 1)
        self._size = size

    @cached_property
    def _patient(self) -> Patient:
        return make_patient(Case(self._seed, hemorrhage="none"))

    def scan(self, *, moving: bool) -> tuple[CtpScan, TimeSeries]:
        """A scan of even volumes, and its images."""
        scan = scan_volumes(self._patient, self._seed, self._size, _NOISE_HU, moving=moving)
        return scan, series_of(scan)


def measure(
    subjects: Collection[str],
    seed: int,
    patients: int,
    sizes: Sizes = USUAL,
    progress: Callable[[str], None] = lambda text: None,
) -> Measured:
    """Yield the name and the rows of one table after another.

    Parameters
    ----------
    subjects : collection of str
        Of ``phantom``, ``patients`` (tables ``patients`` and ``summary``), ``speed``, ``motion``
        and ``stages``.
    seed, patients : int
        Which patients, and how many engines are compared on.
    sizes : Sizes
        How much is measured.
    progress : callable
        Is told what is done next.
    """
    if "phantom" in subjects:
        progress("engines on the phantom")
        yield "phantom", list(compare_on_phantom(sizes.patch, sizes.tolerances))
    if "patients" in subjects:
        rows = []
        progress(f"engines on {patients} patients")
        compared = compare_on_patients(seed, patients, sizes.patient, sizes.tolerances)
        for number, found in enumerate(compared, start=1):
            progress(f"engines on patients: {number} of {patients} done")
            rows += found
        yield "patients", rows
        yield "summary", summarise_patients(rows)
    yield from _measure_study(subjects, _Study(seed, sizes.study), sizes, progress)


def _measure_study(
    subjects: Collection[str], study: _Study, sizes: Sizes, progress: Callable[[str], None]
) -> Measured:
    """What is measured on one study: the moving scan for times and motion, one at rest as well."""
    if not {"speed", "motion", "stages"} & set(subjects):
        return
    progress(f"a study of {sizes.study}")
    scan, series = study.scan(moving=True)
    if "stages" in subjects:
        progress(f"the whole analysis of {sizes.study}")
        yield "stages", list(time_stages(series, sizes.stage_repeats))
    if "speed" in subjects:
        progress(f"deconvolution of {sizes.study}")
        yield "speed", time_engines(give(scan, series), sizes.repeats)
    if "motion" in subjects:
        threads = os.cpu_count() or 1
        progress(f"registration of {sizes.study}")
        moving = compare_motion(scan, series, threads)
        del scan, series
        progress(f"registration of {sizes.study}, still")
        yield "motion", [*moving, *compare_motion(*study.scan(moving=False), threads)]
