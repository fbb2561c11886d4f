"""Samples for training straight in memory, on the grid that a network sees, without DICOM.

A stream draws people from a pool whose anatomies are cached, lets each of them fall ill, scans
every diseased head several times (pose, protocol, kernel, noise and flaws differ) and may cut
several pieces from each scan. What is slow is thus shared: the head by ``renders_per_head`` scans,
a scan by ``crops_per_render`` samples.

A sample is decided by the stream's seed and its own index alone, so that any number of worker
processes gives the same ones.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from inference.geometry import Geometry
from training.simulate.anatomy.cache import cached_anatomy
from training.simulate.arrays import stream
from training.simulate.cohort import (
    ICH_SHARE,
    Kind,
    anatomy_seeds,
    draw_flaws,
    draw_pathology,
    split_cohort,
)
from training.simulate.ct.protocols import at_most, draw_ctp_protocol, draw_ncct_protocol
from training.simulate.ct.scan import Irregularity, paired_ncct, scan_ctp, scan_ncct
from training.simulate.mr.protocols import draw_dwi_protocol, draw_pwi_protocol, grid_overrides
from training.simulate.mr.scan import pwi_flaws, scan_dwi, scan_pwi
from training.simulate.pathology.head import BloodKind
from training.simulate.pathology.patient import Case, Patient, make_patient
from training.simulate.pathology.transformation import Transformation, draw_transformation
from training.simulate.scanner import SCANNERS, Scanner
from training.simulate.space import Box
from training.simulate.truth import Truth

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

Array = npt.NDArray[Any]
Sample = dict[str, Any]
_SEEDS = 2**31


@dataclass(frozen=True)
class SampleGrid:
    """Size of the samples.

    Parameters
    ----------
    slices, rows : int
        Of a scan; ``rows`` are also the columns.
    thickness_mm : float
        Slice thickness.
    fov_mm : float or None
        Width of a scan; None leaves it to the protocol.
    time_points : int
        Of a dynamic scan; where protocol or flaws leave fewer, the rest is zero and not ``valid``.
    crop : (int, int) or None
        Slices and rows of a piece; None takes whole scans.
    """

    slices: int
    rows: int
    thickness_mm: float = 5.0
    fov_mm: float | None = None
    time_points: int = 30
    crop: tuple[int, int] | None = None


@dataclass(frozen=True)
class Population:
    """Who and what a stream draws.

    Parameters
    ----------
    seed : int
        Decides everything.
    split : str
        One of :data:`~training.simulate.cohort.SPLITS`; ``shifted`` has ranges of its own.
    people : int
        Size of the pool of anatomies.
    renders_per_head, crops_per_render : int
        How often a diseased head, and a scan of it, is used.
    ich_share : float or None
        Share of patients with hemorrhage; None takes what is usual for the kind of scan.
    scanners : tuple of str
        Whose scanners.
    anatomies : Path or None
        Cache of anatomies; without it every head costs the seconds of its building.
    """

    seed: int
    split: str = "train"
    people: int = 100
    renders_per_head: int = 4
    crops_per_render: int = 1
    ich_share: float | None = None
    scanners: tuple[Scanner, ...] = SCANNERS
    anatomies: Path | None = None


@dataclass(frozen=True, eq=False)
class _Scan:
    """Arrays of one scan: with time ``(time, slice, row, column)``, else ``(slice, ...)``."""

    volumes: dict[str, Array]
    curves: dict[str, Array]
    numbers: dict[str, Any]


@dataclass(eq=False)
class Stream(ABC):
    """Samples of one kind; see the classes below for what is in them.

    Every sample also holds ``index``, ``seed`` (of the scan), ``anatomy_seed``, ``scanner``,
    ``cohort`` and ``spacing_mm`` (slice, row, column).

    Parameters
    ----------
    population : Population
        Who and what.
    grid : SampleGrid
        How large.
    count : int or None
        How many samples iterating gives; None never ends.
    shuffle : int
        Samples that are held back to give them in random order, for neighbours come from one head.
    """

    population: Population
    grid: SampleGrid
    count: int | None = None
    shuffle: int = 0
    _patient: tuple[int, Patient] | None = field(default=None, init=False, repr=False)
    _scan: tuple[int, _Scan] | None = field(default=None, init=False, repr=False)
    kind: ClassVar[Kind]

    def __getstate__(self) -> dict[str, Any]:
        """Leave heads behind: another process makes its own."""
        return {**self.__dict__, "_patient": None, "_scan": None, "_outcome": None}

    def __len__(self) -> int:
        """How many samples there are; TypeError for a stream without end."""
        if self.count is None:
            raise TypeError("this stream has no end, and so no length")
        return self.count

    def __iter__(self) -> Iterator[Sample]:
        """Yield the samples of this worker process, all of them outside of one."""
        held: list[Sample] = []
        worker, _ = _worker()
        rng = stream(self.population.seed, "shuffle", worker)
        for index in self._indices():
            held.append(self.sample(index))
            if len(held) > self.shuffle:
                yield held.pop(int(rng.integers(len(held))))
        while held:
            yield held.pop(int(rng.integers(len(held))))

    def sample(self, index: int) -> Sample:
        """Return one sample; quick when the one before came from the same head or scan."""
        if index < 0 or (self.count is not None and index >= self.count):
            raise IndexError(f"sample {index} of {self.count}")
        number, piece = divmod(index, self.population.crops_per_render)
        scan = self._scan_of(number)
        place = self._place(index, scan) if self.grid.crop else None
        arrays = {
            name: np.ascontiguousarray(values if place is None else values[(..., *place)])
            for name, values in scan.volumes.items()
        }
        curves = {
            name: values[..., place[0]] if place and name == "times_s" else values
            for name, values in scan.curves.items()
        }
        return {"index": index, "piece": piece, **scan.numbers, **curves, **arrays}

    @abstractmethod
    def _make_scan(self, patient: Patient, seed: int, scanner: Scanner) -> _Scan:
        """Scan a patient."""

    def _indices(self) -> Iterator[int]:
        """Indices of this worker: heads are dealt to the workers in turn."""
        worker, workers = _worker()
        per_head = self.population.renders_per_head * self.population.crops_per_render
        head = worker
        while self.count is None or head * per_head < self.count:
            first, last = head * per_head, (head + 1) * per_head
            yield from range(first, last if self.count is None else min(last, self.count))
            head += workers

    def _scan_of(self, number: int) -> _Scan:
        if self._scan is None or self._scan[0] != number:
            population = self.population
            self._scan = None
            patient = self._patient_of(number // population.renders_per_head)
            rng = stream(population.seed, "scan", population.split, number)
            seed = int(rng.integers(_SEEDS))
            scanner = population.scanners[int(rng.integers(len(population.scanners)))]
            self._scan = number, self._make_scan(patient, seed, scanner)
        return self._scan[1]

    def _patient_of(self, head: int) -> Patient:
        if self._patient is None or self._patient[0] != head:
            self._patient = None
            case = self.case(head)
            anatomy = cached_anatomy(case.person, self.population.anatomies)
            self._patient = head, make_patient(case, anatomy)
        return self._patient[1]

    def case(self, head: int) -> Case:
        """Whom the ``head``-th diseased head belongs to: all people before anyone comes again."""
        population = self.population
        seeds = anatomy_seeds(population.seed, population.split, population.people)
        turn, place = divmod(head, population.people)
        order = stream(population.seed, "order", population.split, turn).permutation(len(seeds))
        rng = stream(population.seed, "case", population.split, head)
        seed = int(rng.integers(_SEEDS))
        share = population.ich_share
        hemorrhage, stroke = draw_pathology(rng, ICH_SHARE[self.kind] if share is None else share)
        return Case(
            seed=seed,
            anatomy_seed=seeds[order[place]],
            cohort=split_cohort(population.split),
            stroke=None if stroke else "none",
            hemorrhage=None if hemorrhage else "none",
        )

    def _place(self, index: int, scan: _Scan) -> Box:
        """Where to cut a piece: around a voxel of the brain, or anywhere when there is none."""
        assert self.grid.crop is not None
        slices, rows = self.grid.crop
        brain = scan.volumes["brain"]
        rng = stream(self.population.seed, "crop", self.population.split, index)
        inside = np.flatnonzero(brain)
        chosen = int(rng.integers(inside.size)) if inside.size else 0
        middle = np.unravel_index(inside[chosen] if inside.size else 0, brain.shape)
        spans = []
        for centre, size, whole in zip(middle, (slices, rows, rows), brain.shape, strict=True):
            first = int(np.clip(int(centre) - size // 2, 0, whole - size))
            spans.append(slice(first, first + size))
        return spans[0], spans[1], spans[2]

    def _about(
        self, patient: Patient, geometry: Geometry, seed: int, scanner: Scanner
    ) -> dict[str, Any]:
        spacing = (geometry.slice_spacing_mm, *geometry.pixel_spacing_mm)
        return {
            "seed": seed,
            "anatomy_seed": patient.person.seed,
            "cohort": patient.person.cohort,
            "scanner": scanner,
            "spacing_mm": np.array(spacing, dtype=np.float32),
        }

    def _sizes(self) -> dict[str, Any]:
        grid = self.grid
        return {"slices": grid.slices, "matrix": grid.rows, "thickness_mm": grid.thickness_mm}


class NcctStream(Stream):
    """Head CT: ``image`` (int16 HU), ``brain`` (bool), ``ich`` (uint8).

    ``ich`` is 0 without blood, else 1 plus the place of the kind in
    :class:`~training.simulate.pathology.head.BloodKind`.
    """

    kind = "ncct"

    def _make_scan(self, patient: Patient, seed: int, scanner: Scanner) -> _Scan:
        protocol = draw_ncct_protocol(
            seed, scanner, patient.person.cohort, fov_mm=self.grid.fov_mm, **self._sizes()
        )
        scan = scan_ncct(patient, protocol, seed, truth=("brain", "ich"))
        volumes = {"image": scan.volume, "brain": scan.truth.arrays["brain"].values}
        volumes["ich"] = _blood_labels(scan.truth)
        return _Scan(volumes, {}, self._about(patient, scan.geometry, seed, scanner))


class CtpStream(Stream):
    """CT perfusion: ``frames`` (int16 HU), ``times_s``, ``valid``, and its truth.

    ``frames`` has the shape ``(time, slice, row, column)``, ``times_s`` ``(time, slice)``;
    ``valid`` ``(time,)`` tells which time points there are. The truth is ``brain``, ``cbf``,
    ``cbv``, ``mtt``, ``tmax``, ``delay``, ``residue_peak``, ``hypoperfused``, ``core``, ``artery``,
    ``vein``, ``ich`` as in :class:`NcctStream`, ``ncct`` (the head CT before, registered and with
    noise of its own) and ``ncct_clean`` (the same without noise).
    """

    kind = "ctp"
    _TRUTH = (
        "brain", "cbf", "cbv", "mtt", "tmax", "delay", "residue_peak", "hypoperfused", "core",
        "artery", "vein", "ich", "ncct",
    )  # fmt: skip

    def _make_scan(self, patient: Patient, seed: int, scanner: Scanner) -> _Scan:
        grid = self.grid
        protocol = draw_ctp_protocol(
            seed, scanner, patient.person.cohort, fov_mm=grid.fov_mm, **self._sizes()
        )
        protocol = at_most(protocol, grid.time_points)
        flaws = [Irregularity(name) for name in draw_flaws(seed, "ctp")]
        scan = scan_ctp(patient, protocol, seed, irregular=flaws, truth=self._TRUTH)
        arrays = {name: quantity.values for name, quantity in scan.truth.arrays.items()}
        volumes = {name: arrays[name] for name in self._TRUTH if name not in ("ich", "ncct")}
        volumes["ncct_clean"] = arrays["ncct"]
        volumes["ncct"] = paired_ncct(patient, scan, seed)
        volumes["ich"] = _blood_labels(scan.truth)
        frames, curves = _padded(scan.frames(), scan.times_s, grid.time_points)
        about = self._about(patient, scan.geometry, seed, scanner)
        return _Scan({"frames": frames, **volumes}, curves, about)


class PwiStream(Stream):
    """Perfusion and diffusion MR: ``frames`` (float32), ``times_s``, ``valid``, and the truth.

    Frames as in :class:`CtpStream`, in arbitrary units; ``b0`` and ``b1000`` lie on a grid of
    their own as large as that of the perfusion. The truth is ``brain``, ``cbf``, ``cbv``, ``mtt``,
    ``tmax``, ``delay``, ``hypoperfused``, ``core``, ``leakage`` and ``ht`` (bleeds within a day).
    """

    kind = "pwi"
    _outcome: tuple[Patient, Transformation] | None = None
    _TRUTH = (
        "brain", "cbf", "cbv", "mtt", "tmax", "delay", "hypoperfused", "core", "leakage", "ht",
    )  # fmt: skip

    def _make_scan(self, patient: Patient, seed: int, scanner: Scanner) -> _Scan:
        grid, cohort = self.grid, patient.person.cohort
        sizes = grid_overrides(grid.rows, grid.slices, grid.thickness_mm, fov_mm=grid.fov_mm)
        protocol = draw_pwi_protocol(seed, scanner, cohort, frames=grid.time_points, **sizes)
        outcome = self._outcome_of(patient)
        flaws = pwi_flaws(protocol, seed, draw_flaws(seed, "pwi"))
        scan = scan_pwi(patient, protocol, seed, transformation=outcome, **flaws)
        placed = {"tilt_deg": protocol.tilt_deg, "off_centre_mm": protocol.off_centre_mm}
        diffusion = scan_dwi(
            patient,
            draw_dwi_protocol(
                seed, scanner, cohort,
                **{**sizes, **placed, "field_t": protocol.field_t, "fov_mm": protocol.fov_mm},
            ),
            seed,
        )  # fmt: skip
        volumes = {name: scan.truth.arrays[name].values for name in self._TRUTH}
        volumes["b0"] = diffusion.b0.astype(np.float32)
        volumes["b1000"] = diffusion.b1000.astype(np.float32)
        signals = (frame.astype(np.float32) for frame in scan.frames())
        frames, curves = _padded(signals, scan.times_s, grid.time_points)
        about = self._about(patient, scan.geometry, seed, scanner)
        about["ht_present"] = outcome.present
        return _Scan({"frames": frames, **volumes}, curves, about)

    def _outcome_of(self, patient: Patient) -> Transformation:
        """What becomes of the infarct within a day: decided with the head, not with the scan."""
        if self._outcome is None or self._outcome[0] is not patient:
            self._outcome = patient, draw_transformation(patient, patient.case.seed)
        return self._outcome[1]


def loader(samples: Stream, batch_size: int, workers: int = 0) -> "DataLoader[Sample]":
    """Return a torch ``DataLoader`` whose worker processes are spawned.

    Batches are stacked by torch; strings become lists.
    """
    from torch.utils.data import DataLoader, IterableDataset

    IterableDataset.register(type(samples))
    context = "spawn" if workers else None
    return DataLoader(
        samples,  # type: ignore[arg-type]
        batch_size,
        num_workers=workers,
        multiprocessing_context=context,
    )


def _worker() -> tuple[int, int]:
    """Number of this worker process of a torch ``DataLoader``, and how many there are."""
    torch_data = sys.modules.get("torch.utils.data")
    info = torch_data.get_worker_info() if torch_data else None
    return (info.id, info.num_workers) if info else (0, 1)


def _blood_labels(truth: Truth) -> npt.NDArray[np.uint8]:
    masks = [truth.arrays[f"ich_{kind}"].values for kind in BloodKind]
    labels = np.zeros(masks[0].shape, dtype=np.uint8)
    for number, mask in enumerate(masks, start=1):
        labels[mask] = number
    return labels


def _padded(
    frames: Iterator[Array], times_s: Array, time_points: int
) -> tuple[Array, dict[str, Array]]:
    """Frames, times and which are valid, all with ``time_points`` time points."""
    found = list(frames)[:time_points]
    first = found[0]
    stack = np.zeros((time_points, *first.shape), dtype=first.dtype)
    for index, frame in enumerate(found):
        stack[index] = frame
    times = np.zeros((time_points, times_s.shape[1]), dtype=np.float32)
    times[: len(found)] = times_s[: len(found)]
    return stack, {"times_s": times, "valid": np.arange(time_points) < len(found)}
