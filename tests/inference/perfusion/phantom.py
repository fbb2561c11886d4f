"""A synthetic CTP acquisition with known truth: shapes by formula, curves by convolution."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from inference.dicom.volumes import Source, TimeSeries
from inference.geometry import Geometry

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

FINE_S = 0.1
AIR, SCALP, BONE, FLUID, GREY, WHITE, PENUMBRA, CORE, ARTERY, VEIN, HOLDER = range(11)
BASELINE_HU = np.array([-1000, 20, 900, 6, 38, 29, 36, 33, 45, 50, 60], float)
# CBF in mL/100 g/min, MTT in s, delay in s of the classes that the bolus passes.
KINETICS = {
    SCALP: (3.0, 8.0, 2.0),
    GREY: (52.0, 4.2, 0.6),
    WHITE: (23.0, 5.0, 1.0),
    PENUMBRA: (16.0, 11.0, 6.5),
    CORE: (4.5, 14.0, 8.5),
}


@dataclass(frozen=True)
class Phantom:
    """What to scan; lengths in mm, angles in degrees, times in seconds."""

    side: Literal["L", "R"] | None = "L"
    lesion_mm: float = 26.0
    core_mm: float = 15.0
    rows: int = 128
    pixel_mm: float = 1.8
    slices: int = 10
    slice_mm: float = 8.0
    first_slice_mm: float = -20.0
    turn_deg: float = 6.0
    roll_deg: float = 4.0
    centre_mm: tuple[float, float, float] = (7.0, -5.0, 0.0)
    flip: tuple[int, int] = (1, 1)
    noise_hu: float = 6.0
    seed: int = 0
    peak_hu: float = 300.0
    arrival_s: float = 9.0
    holder: bool = True
    times_s: Array = field(default_factory=lambda: siemens())


@dataclass(frozen=True, eq=False)
class Scan:
    """The acquisition and its truth, masks of shape ``(slice, row, column)``."""

    series: TimeSeries
    labels: npt.NDArray[np.int64]
    artery: Array
    fine_s: Array

    @property
    def lesion(self) -> BoolArray:
        return np.isin(self.labels, (PENUMBRA, CORE))

    @property
    def core(self) -> BoolArray:
        return np.isin(self.labels, (CORE,))

    @property
    def brain(self) -> BoolArray:
        return np.isin(self.labels, (GREY, WHITE, PENUMBRA, CORE))

    @property
    def inside(self) -> BoolArray:
        return np.isin(self.labels, (GREY, WHITE, PENUMBRA, CORE, FLUID, ARTERY, VEIN))

    def volume_ml(self, mask: BoolArray) -> float:
        return float(mask.sum(axis=(1, 2)) @ self.series.geometry.voxel_volumes_ml)


def bolus(times_s: Array, arrival_s: float, peak_hu: float) -> Array:
    """Gamma variate with recirculation and a slow tail."""

    def gamma(start: float, power: float, scale: float) -> Array:
        t = np.maximum(times_s - start, 0)
        curve = t**power * np.exp(-t / scale)
        return np.asarray(curve / (power * scale / np.e) ** power)

    first = gamma(arrival_s, 3.0, 1.5)
    second = 0.12 * gamma(arrival_s + 9, 3.0, 3.0)
    tail = 0.05 * (1 - np.exp(-np.maximum(times_s - arrival_s - 4, 0) / 6))
    return peak_hu * (first + second + tail)


def tissue_curve(artery: Array, step_s: float, cbf: float, mtt_s: float, delay_s: float) -> Array:
    """Enhancement of tissue with an exponential residue function; kH and density as in use."""
    t = step_s * np.arange(len(artery))
    flow = cbf / 6000 * 1.04 / 0.73
    residue = flow * np.exp(-np.maximum(t - delay_s, 0) / mtt_s) * (t >= delay_s)
    return np.asarray(np.convolve(artery, residue)[: len(artery)] * step_s)


def siemens() -> Array:
    return 1.5 * np.arange(30.0)


def cine(step_s: float = 1.0, frames: int = 50) -> Array:
    return step_s * np.arange(float(frames))


def shuttle(slices: int, frames: int = 18) -> Array:
    """Two table positions in turn, 2.8 s per round."""
    offset = np.where(np.arange(slices) < slices // 2, 0.0, 1.4)
    return np.asarray(2.8 * np.arange(float(frames))[:, None] + offset)


def canon() -> Array:
    """One early volume, 2 s steps through the bolus, 5 s steps after it."""
    return np.array([0.0, *(7 + 2 * np.arange(13.0)), 36, 41, 46, 51, 56])


def geometry(spec: Phantom) -> Geometry:
    rows_cosine = np.array([spec.flip[0], 0.0, 0.0])
    columns_cosine = np.array([0.0, spec.flip[1], 0.0])
    normal = float(np.cross(rows_cosine, columns_cosine)[2])
    heights = spec.first_slice_mm + spec.slice_mm * np.arange(spec.slices)
    if normal < 0:
        heights = heights[::-1]
    half = spec.pixel_mm * (spec.rows - 1) / 2
    positions = np.stack(
        [
            np.full(spec.slices, -half * spec.flip[0]),
            np.full(spec.slices, -half * spec.flip[1]),
            heights,
        ],
        axis=1,
    )
    spacing = (spec.pixel_mm, spec.pixel_mm)
    return Geometry(positions, rows_cosine, columns_cosine, spacing, spec.rows, spec.rows)


def label_head(spec: Phantom, where: Geometry) -> npt.NDArray[np.int64]:
    """Tissue class of every voxel, drawn in the head's own turned and rolled coordinates."""
    x, y, z = (where.coordinates_mm(axis) - spec.centre_mm[axis] for axis in range(3))
    turn, roll = np.radians(spec.turn_deg), np.radians(spec.roll_deg)
    x, y = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    x, z = np.cos(roll) * x + np.sin(roll) * z, np.cos(roll) * z - np.sin(roll) * x

    def ball(a: float, b: float, c: float, at: tuple[float, float, float] = (0, 0, 0)) -> BoolArray:
        radius = ((x - at[0]) / a) ** 2 + ((y - at[1]) / b) ** 2 + ((z - at[2]) / c) ** 2
        return np.asarray(radius < 1)

    labels = np.zeros(where.shape, np.int64)
    labels[ball(80, 98, 92)] = SCALP
    labels[ball(74, 92, 86)] = BONE
    labels[ball(67, 85, 79)] = FLUID
    labels[ball(65, 83, 77)] = GREY
    folded = np.sin(x / 5) * np.sin(y / 6) * np.sin(z / 7)
    labels[ball(58, 76, 70) & (folded > -0.35)] = WHITE
    for sign in (-1, 1):
        labels[ball(8, 16, 10, (sign * 22.0, -8.0, 2.0))] = GREY
        labels[ball(7, 24, 12, (sign * 9.0, 4.0, 12.0))] = FLUID
    if spec.side is not None:
        sign = 1 if spec.side == "L" else -1
        at = (sign * 40.0, 2.0, 16.0)
        tissue = np.isin(labels, (GREY, WHITE))
        labels[tissue & ball(0.8 * spec.lesion_mm, 1.2 * spec.lesion_mm, spec.lesion_mm, at)] = (
            PENUMBRA
        )
        if spec.core_mm > 0:
            tissue = np.isin(labels, (GREY, WHITE, PENUMBRA))
            labels[tissue & ball(0.8 * spec.core_mm, 1.2 * spec.core_mm, spec.core_mm, at)] = CORE
    tubes = [(sign * 36.0, -14.0, 3.0, ARTERY) for sign in (-1, 1)]
    tubes += [(0.0, -45.0, 3.0, ARTERY), (0.0, 79.0, 6.0, VEIN)]
    for tube_x, tube_y, radius, kind in tubes:
        tube = np.hypot(x - tube_x, y - tube_y) < radius
        labels[tube & ball(67, 85, 79) & ((z < 8) | (kind == VEIN) | (tube_x == 0))] = kind
    if spec.holder:
        below = np.hypot(x, y - 5) > 112
        labels[below & (np.hypot(x, y - 5) < 116) & (y > 30) & (labels == AIR)] = HOLDER
    return labels


def scan(spec: Phantom) -> Scan:
    """Simulate the acquisition."""
    where = geometry(spec)
    labels = label_head(spec, where)
    times = spec.times_s
    if times.ndim == 1:
        times = np.repeat(times[:, None], spec.slices, axis=1)
    fine = np.arange(0, float(times.max()) + 2, FINE_S)
    artery = bolus(fine, spec.arrival_s, spec.peak_hu)
    curves = np.zeros((len(BASELINE_HU), len(fine)))
    for kind, (cbf, mtt, delay) in KINETICS.items():
        curves[kind] = tissue_curve(artery, FINE_S, cbf, mtt, delay)
    curves[ARTERY] = artery
    spread = np.exp(-fine / 1.5)
    curves[VEIN] = np.interp(
        fine - 5, fine, np.convolve(artery, spread / spread.sum())[: len(fine)]
    )
    generator = np.random.default_rng(spec.seed)
    data = np.empty((len(times), *where.shape), np.float32)
    for frame in range(len(times)):
        for index in range(where.slices):
            moment = round(times[frame, index] / FINE_S)
            values = (BASELINE_HU + curves[:, moment])[labels[index]]
            data[frame, index] = values + generator.normal(0, spec.noise_hu, values.shape)
    uids = np.full(times.shape, "1.2.3")
    source = Source("1.2", ("1.2.1",), uids, "AcquisitionTime")
    return Scan(TimeSeries(data, times, where, "HU", source), labels, artery, fine)


def dice(a: BoolArray, b: BoolArray) -> float:
    return float(2 * (a & b).sum() / max(int(a.sum() + b.sum()), 1))
