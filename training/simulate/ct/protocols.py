"""How each vendor's CT looks at a stroke patient: tube, kernel, grid and times of a scan.

Ranges are textbook values spread wide, with the intervals that the vendors' stroke protocols are
published with. The ``shifted`` cohort takes kernels, noise textures, tube voltages and slice
thicknesses that no ``usual`` protocol has.

How times come about (perfusion):

siemens   continuous at one position, or a shuttle: the table sweeps to and fro, so that slices at
          the ends are seen at short and long intervals in turn
ge        cine at one position, or a pair of table positions that take turns (2.8 s)
philips   jog between two table positions that take turns (2 to 4 s)
canon     whole volumes at uneven intervals: one early, one every 2 s through the bolus, one every
          5 s after; each with its own exposure
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from training.simulate.anatomy.person import Cohort
from training.simulate.arrays import FloatArray, stream
from training.simulate.ct.kernels import Kernel, choose_kernel
from training.simulate.scanner import CtKind, Scanner

Mode = Literal["volume", "spiral", "sequence", "shuttle", "pair"]

_THICK_MM: dict[Cohort, tuple[float, ...]] = {
    "usual": (3.0, 4.0, 5.0, 5.0, 5.0, 6.0, 8.0),
    "shifted": (2.5, 3.75, 4.8, 7.2),
}
_THIN_MM: dict[Cohort, tuple[float, ...]] = {"usual": (0.5, 0.625, 1.0), "shifted": (0.75, 0.9)}
_CTP_MM: dict[Cohort, tuple[float, ...]] = {"usual": (5.0, 5.0, 5.0, 10.0), "shifted": (4.0, 7.5)}
_NCCT_KVP: dict[Cohort, tuple[int, ...]] = {"usual": (120, 120, 120, 140), "shifted": (100, 110)}
_CTP_KVP: dict[Cohort, tuple[int, ...]] = {"usual": (80, 80, 80, 90), "shifted": (70, 100)}
_COVERAGE_MM: dict[Scanner, tuple[float, ...]] = {
    "siemens": (40.0, 80.0, 100.0, 120.0),
    "ge": (40.0, 80.0, 160.0),
    "philips": (40.0, 80.0, 120.0),
    "canon": (160.0,),
}

_BOLUS_PASSED_S = 40.0


@dataclass(frozen=True, eq=False)
class CtProtocol:
    """Everything about a scan that does not depend on who lies in the scanner.

    Parameters
    ----------
    kind : "ncct" or "ctp"
        Head CT without contrast, or CT perfusion.
    scanner, cohort
        Vendor, and the ranges that the protocol was drawn from.
    mode : str
        ``volume`` all slices at once, ``spiral`` one after the other without pause, ``sequence``
        stepwise, ``shuttle`` sweeps to and fro, ``pair`` two table positions in turn.
    kvp : int
        Tube voltage.
    kernel : Kernel
        Reconstruction kernel: sharpness and noise texture.
    rows, columns, slices, thickness_mm, spacing_mm, fov_mm
        Grid; ``spacing_mm`` is the distance of slice centres along the table.
    vault_from : int
        Slices from this one on are ``vault_factor`` times as thick and as far apart; ``slices``
        for an even stack.
    vault_factor : float
        See ``vault_from``.
    tilt_deg : float
        Gantry tilt: the stack is sheared by it.
    noise_hu : float
        Standard deviation of the noise in the brain at exposure 1, on this grid.
    times_s : float array, shape ``(time, slice)``
        When each slice is seen, in s after the start.
    rotation_s : float
        Time of one gantry rotation.
    exposure : float array, shape ``(time,)``
        Dose of each time point, in multiples of the usual.
    tissue_bias_hu : float
        What tissue reads more than in a head CT at 120 kVp (about -14 HU in a perfusion scan).
    bone_gain : float
        Contrast of bone against that at 120 kVp.
    hardening : float
        Share of the beam hardening by bone that the scanner leaves uncorrected (0 to 1).
    cupping_hu : float
        Error in the middle of the head because the correction for water misses; either sign.
    off_centre_mm : (float, float, float)
        How far the middle of the stack lies from where it should: to the left, to the back, up.
    pose_deg : (float, float, float)
        How the head lies in its holder: turns about x (nodding), y, z.
    holder : int
        Which head holder; 0 for none in sight.
    """

    kind: CtKind
    scanner: Scanner
    cohort: Cohort
    mode: Mode
    kvp: int
    kernel: Kernel
    rows: int
    columns: int
    slices: int
    thickness_mm: float
    spacing_mm: float
    fov_mm: float
    vault_from: int
    vault_factor: float
    tilt_deg: float
    noise_hu: float
    times_s: FloatArray
    rotation_s: float
    exposure: FloatArray
    tissue_bias_hu: float
    bone_gain: float
    hardening: float
    cupping_hu: float
    off_centre_mm: tuple[float, float, float]
    pose_deg: tuple[float, float, float]
    holder: int

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel."""
        return self.fov_mm / self.columns

    @property
    def time_points(self) -> int:
        """Number of time points."""
        return len(self.times_s)

    @cached_property
    def thicknesses_mm(self) -> FloatArray:
        """Thickness of every slice, shape ``(slice,)``."""
        vault = np.arange(self.slices) >= self.vault_from
        return np.where(vault, self.vault_factor, 1.0) * self.thickness_mm

    @cached_property
    def heights_mm(self) -> FloatArray:
        """Table position of every slice about the middle of the stack, ascending."""
        steps = self.thicknesses_mm * (self.spacing_mm / self.thickness_mm)
        heights = np.cumsum(steps) - steps / 2
        return np.asarray(heights - (heights[0] + heights[-1]) / 2)


@dataclass(frozen=True)
class Overrides:
    """What the caller decides instead of the draw; None leaves it to the draw."""

    slices: int | None = None
    matrix: int | None = None
    thickness_mm: float | None = None
    spacing_mm: float | None = None
    time_points: int | None = None
    noise_hu: float | None = None
    fov_mm: float | None = None
    kvp: int | None = None
    tilt_deg: float | None = None


def draw_ncct_protocol(
    seed: int, scanner: Scanner, cohort: Cohort = "usual", **overrides: float | None
) -> CtProtocol:
    """Draw a head CT without contrast.

    Parameters
    ----------
    seed, scanner, cohort
        What decides the draw. Overrides do not change what else is drawn.
    overrides
        Fields of :class:`Overrides`.

    Raises
    ------
    TypeError
        An override that there is not.
    ValueError
        An override that no scan can have.
    """
    wanted = _checked(overrides)
    rng = stream(seed, "ncct protocol", scanner, cohort)
    thin = rng.random() < (0.3 if scanner == "canon" else 0.15)
    drawn_mm = float(rng.choice((_THIN_MM if thin else _THICK_MM)[cohort]))
    thickness = wanted.thickness_mm or drawn_mm
    overlap = float(rng.choice([1.0, 1.0, 1.0, 0.8, 0.5]))
    overlap = overlap if thickness < 2 or cohort == "shifted" else 1.0
    spacing = wanted.spacing_mm or thickness * overlap
    height = float(rng.uniform(145, 170))
    slices = wanted.slices or round(height / spacing)
    split, ratio = float(rng.uniform(0.25, 0.45)), float(rng.choice([1.5, 2.0]))
    uneven = rng.random() < 0.08 and thickness >= 2.5 and not (wanted.slices or wanted.thickness_mm)
    vault_from = slices
    if uneven:
        vault_from = round(split * slices)
        slices = vault_from + round((slices - vault_from) / ratio)
    tilted, tilt = rng.random() < 0.3, float(rng.uniform(4, 20))
    kernel = choose_kernel(rng, scanner, "ncct", cohort)
    sd = float(rng.uniform(3, 5)) * np.sqrt(5 / thickness)
    mode, times, rotation = _ncct_times(rng, scanner, slices, spacing)
    protocol = _assemble(
        rng, "ncct", scanner, cohort, wanted,
        kernel=kernel, mode=mode, slices=slices, thickness_mm=thickness, spacing_mm=spacing,
        times_s=times, rotation_s=rotation, exposure=np.ones(1), noise_hu=float(sd),
        kvp=int(rng.choice(_NCCT_KVP[cohort])),
    )  # fmt: skip
    tilt = (tilt if tilted and mode == "sequence" else 0.0) * float(rng.choice([1, 1, 1, -0.5]))
    return replace(
        protocol,
        vault_from=vault_from,
        vault_factor=ratio if uneven else 1.0,
        tilt_deg=tilt if wanted.tilt_deg is None else wanted.tilt_deg,
        tissue_bias_hu=float(np.clip(rng.normal(0, 1.2), -3, 3)),
    )


def draw_ctp_protocol(
    seed: int, scanner: Scanner, cohort: Cohort = "usual", **overrides: float | None
) -> CtProtocol:
    """Draw a CT perfusion; parameters and errors as in :func:`draw_ncct_protocol`.

    Canon's volumes are drawn as thick reconstructions; ``thickness_mm=0.5`` gives the thin one, of
    320 slices.
    """
    wanted = _checked(overrides)
    rng = stream(seed, "ctp protocol", scanner, cohort)
    drawn_mm = float(rng.choice(_CTP_MM[cohort]))
    thickest = min(_CTP_MM[cohort]) if scanner == "canon" else drawn_mm
    thickness = wanted.thickness_mm or thickest
    spacing = wanted.spacing_mm or thickness
    coverage = float(rng.choice(_COVERAGE_MM[scanner]))
    slices = wanted.slices or max(2, round(coverage / spacing))
    kernel = choose_kernel(rng, scanner, "ctp", cohort)
    mode, times, exposure = _ctp_times(rng, scanner, slices, slices * spacing, wanted.time_points)
    kvp = int(rng.choice(_CTP_KVP[cohort]))
    level = float(rng.random())
    sd = (5 + 3 * level) * np.sqrt(5 / thickness)
    if thickness <= 1:
        sd = (20 + 5 * level) * np.sqrt(0.5 / thickness)
    bias = float(np.clip(rng.normal(-14, 2.5), -21, -7))
    protocol = _assemble(
        rng, "ctp", scanner, cohort, wanted,
        kernel=kernel, mode=mode, slices=slices, thickness_mm=thickness, spacing_mm=spacing,
        times_s=times, rotation_s=float(rng.uniform(0.28, 0.5)), exposure=exposure,
        noise_hu=float(sd), kvp=kvp,
    )  # fmt: skip
    return replace(
        protocol,
        tissue_bias_hu=bias,
        tilt_deg=0.0 if wanted.tilt_deg is None else wanted.tilt_deg,
    )


def ctp_times(
    scanner: Scanner, mode: Mode, slices: int, time_points: int, cycle_s: float, sweep_s: float = 0
) -> FloatArray:
    """Times of a perfusion scan in s, shape ``(time, slice)``, all but Canon's.

    Parameters
    ----------
    scanner, mode
        ``volume``: all slices at once; ``shuttle``: a sweep over ``sweep_s`` that turns back every
        time; ``pair``: the upper half of the slices half a cycle after the lower.
    slices, time_points
        Size of the result.
    cycle_s : float
        Time from one time point to the next.
    sweep_s : float
        How long the table takes from end to end.

    Raises
    ------
    ValueError
        A mode that a perfusion scan does not have.
    """
    starts = np.arange(time_points)[:, None] * cycle_s
    place = (np.arange(slices) + 0.5) / slices
    if mode == "volume":
        return np.repeat(starts, slices, axis=1)
    if mode == "pair":
        return np.asarray(starts + cycle_s / 2 * (place >= 0.5))
    if mode == "shuttle":
        down = np.arange(time_points)[:, None] % 2 == 1
        return np.asarray(starts + sweep_s * np.where(down, 1 - place, place))
    raise ValueError(f"{scanner} has no perfusion mode {mode!r}")


def at_most(protocol: CtProtocol, time_points: int) -> CtProtocol:
    """The protocol with at most so many time points, which still see the bolus pass.

    Every so-many-th time point from the first on, with the smallest step at which the last one
    comes after 40 s (or the scan ends); a bolus has passed the artery by then.
    """
    starts = protocol.times_s.min(axis=1)
    for step in range(1, len(starts) + 1):
        taken = np.arange(0, len(starts), step)[:time_points]
        if starts[taken[-1]] >= _BOLUS_PASSED_S or taken[-1] + step >= len(starts):
            break
    return replace(protocol, times_s=protocol.times_s[taken], exposure=protocol.exposure[taken])


def canon_schedule(
    rng: np.random.Generator, time_points: int | None = None
) -> tuple[FloatArray, FloatArray]:
    """Times (s) and exposures of Canon's volumes: early, through the bolus, late.

    Nineteen volumes; fewer cuts the end off, more adds late ones.
    """
    count = time_points or 19
    first = float(rng.choice([4.0, 5.0, 6.0, 7.0]))
    bolus = first + 2.0 * np.arange(13)
    late = bolus[-1] + 5.0 * np.arange(1, max(6, count - 13))
    times = np.concatenate([[0.0], bolus, late])[:count]
    levels = np.repeat([rng.uniform(1.5, 2.4), 1.0, rng.uniform(0.6, 0.95)], [1, 13, len(late)])
    arterial = (times >= bolus[3]) & (times < bolus[8]) & (rng.random() < 0.6)
    return times, levels[:count] * np.where(arterial, rng.uniform(1.2, 1.8), 1.0)


def _checked(overrides: dict[str, float | None]) -> Overrides:
    wanted = Overrides(**overrides)  # type: ignore[arg-type]
    for name, value in vars(wanted).items():
        if value is None or name == "tilt_deg":
            continue
        if value < 0 or (value == 0 and name != "noise_hu"):
            raise ValueError(f"{name} is {value}, expected a positive number")
    return wanted


def _assemble(
    rng: np.random.Generator,
    kind: CtKind,
    scanner: Scanner,
    cohort: Cohort,
    wanted: Overrides,
    *,
    kernel: Kernel,
    mode: Mode,
    slices: int,
    thickness_mm: float,
    spacing_mm: float,
    times_s: FloatArray,
    rotation_s: float,
    exposure: FloatArray,
    noise_hu: float,
    kvp: int,
) -> CtProtocol:
    """Draw what head CT and perfusion have in common."""
    matrix = wanted.matrix or 512
    fov = float(rng.uniform(205, 250) if rng.random() < 0.85 else rng.uniform(180, 205))
    fov = wanted.fov_mm or fov
    kvp = wanted.kvp or kvp
    nod, roll, turn = rng.normal(0, (4, 2.5, 3.5))
    pose = np.clip((nod, roll, turn), -10, 10)
    cut = rng.random() < 0.12
    off = rng.normal(0, (3, 4, 3)) + np.array([0, 0, rng.uniform(-18, 18) if cut else 0])
    averaging = kernel.averaging(fov / matrix) / kernel.averaging(1.0)
    return CtProtocol(
        kind=kind,
        scanner=scanner,
        cohort=cohort,
        mode=mode,
        kvp=kvp,
        kernel=kernel,
        rows=matrix,
        columns=matrix,
        slices=slices,
        thickness_mm=thickness_mm,
        spacing_mm=spacing_mm,
        fov_mm=fov,
        vault_from=slices,
        vault_factor=1.0,
        tilt_deg=0.0,
        noise_hu=noise_hu * min(1.0, averaging) if wanted.noise_hu is None else wanted.noise_hu,
        times_s=times_s,
        rotation_s=rotation_s,
        exposure=exposure,
        tissue_bias_hu=0.0,
        bone_gain=float(np.interp(kvp, (70, 80, 100, 120, 140), (1.5, 1.36, 1.13, 1.0, 0.91))),
        hardening=float(rng.uniform(0.3, 1.0)),
        cupping_hu=float(np.clip(rng.normal(0, 2), -6, 6)),
        off_centre_mm=(float(off[0]), float(off[1]), float(off[2])),
        pose_deg=(float(pose[0]), float(pose[1]), float(pose[2])),
        holder=int(rng.integers(1, 4)) if rng.random() < 0.93 else 0,
    )


def _ncct_times(
    rng: np.random.Generator, scanner: Scanner, slices: int, spacing_mm: float
) -> tuple[Mode, FloatArray, float]:
    """Mode, times ``(1, slice)`` and rotation time of a head CT."""
    modes: tuple[Mode, ...] = ("sequence", "spiral", "volume" if scanner == "canon" else "spiral")
    mode = modes[int(rng.integers(3))]
    table_mm_per_s = float(rng.uniform(12, 45))
    rows_mm = float(rng.choice([10.0, 20.0, 28.8, 40.0]))
    cycle_s = float(rng.uniform(1.2, 2.5))
    if mode == "volume":
        return mode, np.zeros((1, slices)), float(rng.uniform(0.5, 1.0))
    if mode == "spiral":
        times = np.arange(slices) * spacing_mm / table_mm_per_s
        return mode, np.asarray(times[None]), float(rng.uniform(0.5, 1.0))
    together = max(1, int(rows_mm / spacing_mm))
    steps = np.arange(slices) // together * cycle_s
    return mode, np.asarray(steps[None]), float(rng.uniform(1.0, 2.0))


def _ctp_times(
    rng: np.random.Generator,
    scanner: Scanner,
    slices: int,
    coverage_mm: float,
    time_points: int | None,
) -> tuple[Mode, FloatArray, FloatArray]:
    """Mode, times ``(time, slice)`` and exposures ``(time,)`` of a perfusion scan."""
    duration = float(rng.uniform(45, 60))
    if scanner == "canon":
        instants, exposure = canon_schedule(rng, time_points)
        return "volume", np.repeat(instants[:, None], slices, axis=1), exposure
    mode: Mode
    sweep, first = 0.0, 1.0
    if scanner == "siemens":
        mode = "volume" if coverage_mm <= 40 else "shuttle"
        cycle, sweep = 1.5, float(rng.uniform(0.9, 1.3))
    elif scanner == "ge":
        pair = bool(rng.random() < 0.55) and coverage_mm > 40
        mode, cycle = ("pair", 2.8) if pair else ("volume", float(rng.choice([0.5, 1.0, 1.0])))
    else:
        mode, cycle = "pair", float(rng.choice([2.0, 3.0, 3.0, 4.0]))
    if rng.random() < 0.15:
        first = float(rng.uniform(1.3, 2.0))
    count = time_points or max(2, round(duration / cycle))
    times = ctp_times(scanner, mode, slices, count, cycle, sweep)
    return mode, times, np.concatenate([[first], np.ones(count - 1)])
