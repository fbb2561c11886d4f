"""How an MR scanner looks at a stroke patient: parameters of perfusion, diffusion and T2* series.

The ranges are those of published stroke protocols (textbook; the medians of the 3 T perfusion are
TE 30 ms, TR 1.8 s, 60 frames, 128² over 240 mm). The ``shifted`` cohort takes the ends of the
ranges that ``usual`` protocols leave out, and a coil whose sensitivity is uncorrected.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from inference.geometry import Geometry
from training.simulate.anatomy.person import Cohort
from training.simulate.arrays import FloatArray, stream
from training.simulate.scanner import MrKind, Scanner

SliceOrder = Literal["ascending", "descending", "interleaved_odd", "interleaved_even", "sqrt"]
Range = tuple[float, float]

# Siemens interleaves and starts with the second slice when their number is even; Philips' default
# interleave steps by the root of the number of slices; GE and Canon start with the first slice.
_ORDERS: dict[Scanner, tuple[SliceOrder, ...]] = {
    "siemens": ("interleaved_even", "ascending", "descending"),
    "ge": ("interleaved_odd", "ascending"),
    "philips": ("sqrt", "ascending", "interleaved_odd"),
    "canon": ("interleaved_odd", "ascending"),
}


@dataclass(frozen=True)
class MrProtocol:
    """One series' parameters.

    Parameters
    ----------
    kind : "pwi", "dwi" or "gre"
        Gradient-echo EPI over time, spin-echo EPI at two b values, spoiled gradient echo.
    scanner, field_t
        Vendor and field strength in tesla.
    te_ms, tr_ms, flip_deg
        Echo time, repetition time, flip angle.
    rows, columns, slices, thickness_mm, spacing_mm, fov_mm
        Grid; ``spacing_mm`` is the distance of slice centres, thickness plus gap.
    acquired : int
        Matrix of the acquisition; smaller than ``rows`` where the scanner fills k-space with zeros.
    order : str
        In which order the slices of a volume are excited.
    snr : float
        Mean brain signal (of the first b value, of the steady state) over the noise of either
        channel.
    shading : float
        Strength of the coil's uncorrected sensitivity (0: none).
    frames, dummies : int
        Volumes that are stored, and those before them that are not.
    b_values : tuple of float
        Diffusion weightings in s/mm², empty unless ``kind`` is ``dwi``.
    echo_spacing_ms : float
        Effective echo spacing of the EPI train, by which the field distorts; 0 without EPI.
    ghost : float
        Height of the ghost half a field of view away, as share of the signal.
    tilt_deg : (float, float, float)
        How the slices lie against the scanner's axial plane: turns about x, y, z. Following the
        line of the commissures means a turn about x.
    off_centre_mm : (float, float, float)
        By how much the technician misses the middle of the brain.
    gain : float
        Stored units per unit of signal (the proton density of water is 1).
    """

    kind: MrKind
    scanner: Scanner
    field_t: float
    te_ms: float
    tr_ms: float
    flip_deg: float
    rows: int
    columns: int
    slices: int
    thickness_mm: float
    spacing_mm: float
    fov_mm: float
    acquired: int
    order: SliceOrder
    snr: float
    shading: float
    frames: int = 1
    dummies: int = 0
    b_values: tuple[float, ...] = ()
    echo_spacing_ms: float = 0.0
    ghost: float = 0.0
    tilt_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    off_centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gain: float = 1.0

    @property
    def slice_times_s(self) -> FloatArray:
        """When each slice is excited after its volume's begin, shape ``(slice,)``."""
        rank = np.empty(self.slices)
        rank[slice_sequence(self.slices, self.order)] = np.arange(self.slices)
        return rank * (self.tr_ms / 1000 / self.slices)

    @property
    def times_s(self) -> FloatArray:
        """Acquisition time of every slice of every stored volume, shape ``(time, slice)``."""
        starts = np.arange(self.frames) * (self.tr_ms / 1000)
        return np.asarray(starts[:, None] + self.slice_times_s)

    def geometry(self, middle_mm: FloatArray) -> Geometry:
        """The tilted grid around what the technician takes for the middle of the brain.

        ``middle_mm`` is the true one in the scanner, shape ``(3,)``.
        """
        from scipy.spatial.transform import Rotation

        turn = Rotation.from_euler("xyz", self.tilt_deg, degrees=True).as_matrix()
        pixel = self.fov_mm / self.columns
        along = (np.arange(self.slices) - (self.slices - 1) / 2) * self.spacing_mm
        row_cosines, column_cosines, normal = turn.T
        corner = middle_mm + np.array(self.off_centre_mm)
        corner = corner - row_cosines * (pixel * (self.columns - 1) / 2)
        corner = corner - column_cosines * (pixel * (self.rows - 1) / 2)
        positions = corner + along[:, None] * normal
        return Geometry(
            positions, row_cosines, column_cosines, (pixel, pixel), self.rows, self.columns
        )


def slice_sequence(slices: int, order: SliceOrder) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Indices of the slices in the order of excitation, shape ``(slice,)``."""
    ascending = np.arange(slices)
    if order == "ascending":
        return ascending
    if order == "descending":
        return ascending[::-1]
    if order == "sqrt":
        step = round(np.sqrt(slices))
        return np.concatenate([ascending[first::step] for first in range(step)])
    second_first = order == "interleaved_even" and slices % 2 == 0
    halves = ascending[::2], ascending[1::2]
    return np.concatenate(halves[::-1] if second_first else halves)


def grid_overrides(
    matrix: int | None,
    slices: int | None,
    thickness_mm: float | None,
    *,
    frames: int | None = None,
    fov_mm: float | None = None,
) -> dict[str, Any]:
    """Overrides for a grid without gaps or filled k-space; None leaves a size to the protocol."""
    sizes = {
        "rows": matrix,
        "columns": matrix,
        "acquired": matrix,
        "slices": slices,
        "thickness_mm": thickness_mm,
        "spacing_mm": thickness_mm,
        "frames": frames,
        "fov_mm": fov_mm,
    }
    return {name: value for name, value in sizes.items() if value is not None}


def draw_pwi_protocol(
    seed: int, scanner: Scanner = "siemens", cohort: Cohort = "usual", **overrides: Any
) -> MrProtocol:
    """Draw a dynamic susceptibility contrast perfusion; ``overrides`` set fields afterwards."""
    rng = stream(seed, "pwi protocol", scanner)
    shifted = cohort == "shifted"
    field_t = _field(rng)
    slices = int(rng.integers(16, 25))
    thickness = float(np.clip(110 / slices, 4, 6.5))
    tr_ms = _within(rng, (1200, 1340) if shifted else (1350, 1800))
    late_te, early_te = (41.0, 45.0), (25.0, 27.5)
    te_range = (late_te if rng.random() < 0.5 else early_te) if shifted else (28.0, 40.0)
    # 1.5 T needs the longer echo for the same effect
    te_ms = _within(rng, te_range) if shifted or field_t > 2 else _within(rng, (34.0, 40.0))
    matrix = int(rng.choice([96, 112, 128]))
    return _finish(
        MrProtocol(
            kind="pwi",
            scanner=scanner,
            field_t=field_t,
            te_ms=te_ms,
            tr_ms=tr_ms,
            flip_deg=float(rng.choice([60, 70, 75, 90])),
            rows=128,
            columns=128,
            slices=slices,
            thickness_mm=round(thickness, 1),
            spacing_mm=round(thickness, 1) + float(rng.choice([0.0, 0.0, 0.5])),
            fov_mm=float(rng.choice([220, 230, 240])),
            acquired=matrix,
            frames=int(rng.integers(max(40, int(65_000 / tr_ms)), 61)),
            dummies=int(rng.choice([0, 0, 1, 2])),
            order=_order(rng, scanner),
            snr=_within(rng, (30, 42) if shifted else (42, 100)),
            shading=_shading(rng, shifted),
            echo_spacing_ms=_within(rng, (0.25, 0.45)),
            ghost=_within(rng, (0.002, 0.015)),
        ),
        rng,
        overrides,
    )


def draw_dwi_protocol(
    seed: int, scanner: Scanner = "siemens", cohort: Cohort = "usual", **overrides: Any
) -> MrProtocol:
    """Draw a diffusion series at b 0 and 1000 s/mm²; ``overrides`` set fields afterwards."""
    rng = stream(seed, "dwi protocol", scanner)
    shifted = cohort == "shifted"
    thickness = _within(rng, (3.0, 3.9) if shifted else (4.0, 6.0))
    gap = float(rng.choice([0.0, 0.1, 0.2])) * thickness
    spacing = round(thickness + gap, 1)
    rows = int(rng.choice([160, 192, 256]))
    return _finish(
        MrProtocol(
            kind="dwi",
            scanner=scanner,
            field_t=_field(rng),
            te_ms=_within(rng, (82, 90) if shifted else (60, 82)),
            tr_ms=_within(rng, (3800, 7500)),
            flip_deg=90.0,
            rows=rows,
            columns=rows,
            slices=int(np.clip(round(135 / spacing), 20, 40)),
            thickness_mm=round(thickness, 1),
            spacing_mm=spacing,
            fov_mm=float(rng.choice([220, 230, 240])),
            acquired=min(rows, int(rng.choice([128, 160, 192]))),
            order=_order(rng, scanner),
            b_values=(0.0, 1000.0),
            snr=_within(rng, (25, 35) if shifted else (35, 80)),
            shading=_shading(rng, shifted),
            echo_spacing_ms=_within(rng, (0.2, 0.4)),
            ghost=_within(rng, (0.002, 0.015)),
        ),
        rng,
        overrides,
    )


def draw_gre_protocol(
    seed: int, scanner: Scanner = "siemens", cohort: Cohort = "usual", **overrides: Any
) -> MrProtocol:
    """Draw a T2*-weighted gradient echo; ``overrides`` set fields afterwards.

    Thin slices stand for a three-dimensional acquisition with short TR, thick ones for a
    two-dimensional one.
    """
    rng = stream(seed, "gre protocol", scanner)
    shifted = cohort == "shifted"
    field_t = _field(rng)
    volume = rng.random() < 0.5
    thickness = round(_within(rng, (2.0, 2.8) if volume else (3.5, 5.0)), 1)
    tr_ms = _within(rng, (28, 45) if volume else (450, 800))
    te_high = 20.0 if field_t > 2 else 26.0
    return _finish(
        MrProtocol(
            kind="gre",
            scanner=scanner,
            field_t=field_t,
            te_ms=_within(rng, (10, 13) if shifted else (14, te_high)),
            tr_ms=tr_ms,
            flip_deg=_within(rng, (12, 20)),
            rows=256,
            columns=256,
            slices=round(140 / thickness),
            thickness_mm=thickness,
            spacing_mm=thickness,
            fov_mm=float(rng.choice([220, 230, 240])),
            acquired=256,
            order="ascending" if volume else _order(rng, scanner),
            snr=_within(rng, (20, 30) if shifted else (30, 80)),
            shading=_shading(rng, shifted),
        ),
        rng,
        overrides,
    )


def _finish(
    protocol: MrProtocol, rng: np.random.Generator, overrides: dict[str, Any]
) -> MrProtocol:
    """Add where the slices lie and how large the numbers are, then what the caller sets."""
    tilt = (float(rng.normal(-8, 5)), float(rng.normal(0, 1.5)), float(rng.normal(0, 1.5)))
    x, y, z = rng.normal(0, (2, 2.5, 3))
    # PD 1 at the height that each vendor's scaling tends to give, well inside 12 bits
    height = {"siemens": 1100, "ge": 2600, "philips": 1500, "canon": 3000}[protocol.scanner]
    drawn = replace(
        protocol,
        tilt_deg=tilt,
        off_centre_mm=(float(x), float(y), float(z)),
        gain=float(height * rng.uniform(0.8, 1.25)),
    )
    return replace(drawn, **overrides)


def _within(rng: np.random.Generator, limits: Range) -> float:
    return float(rng.uniform(*limits))


def _field(rng: np.random.Generator) -> float:
    return 3.0 if rng.random() < 0.6 else 1.5


def _order(rng: np.random.Generator, scanner: Scanner) -> SliceOrder:
    orders = _ORDERS[scanner]
    usual = 0.7
    return orders[0] if rng.random() < usual else orders[int(rng.integers(1, len(orders)))]


def _shading(rng: np.random.Generator, shifted: bool) -> float:
    return _within(rng, (0.45, 0.7) if shifted else (0.0, 0.35))
