"""What contrast does to every voxel over time: indicator-dilution curves, evaluated fast.

Tissue follows C(t) = rho / kH * CBF / 6000 * (AIF * R)(t) (Meier and Zierler 1954; Ostergaard
1996), with rho 1.04 g/mL and kH = (1 - 0.45) / (1 - 0.25) = 0.73 for the lower hematocrit of
capillaries; vessels follow the curves of the bolus. Delay is a shift of time, exact to a fraction
of a frame; for all that changes the shape of a curve there is a small temporal basis, so that a
voxel is one delay and a few coefficients.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.simulate.arrays import BoolArray, Float32Array, FloatArray
from training.simulate.pathology.arteries import VesselFlow
from training.simulate.pathology.head import Head
from training.simulate.pathology.perfusion import PerfusionMaps
from training.simulate.pathology.residue import Residue
from training.simulate.scan.bolus import Bolus
from training.simulate.space import HEAD_SHAPE, head_index

DENSITY_G_PER_ML = 1.04
HEMATOCRIT_FACTOR = 0.73
MAX_ERROR = 0.0025
"""Of the basis, relative to the peak of each curve."""

IntArray = npt.NDArray[np.integer[Any]]

_FINER = 4
_CHUNK = 1 << 16
_MTT_S = (2.8, 16.2)
_MTT_NODES = 21
_DISPERSION_S = (0.0, 6.0)
_DISPERSION_NODES = 17


@dataclass(frozen=True, eq=False)
class _Basis:
    """Curves as sums of few: ``values`` (time, component) in steps of ``step_s`` from 0."""

    step_s: float
    values: Float32Array


@dataclass(frozen=True, eq=False)
class _Part:
    """Voxels whose curves share a basis: their places in ``Enhancement.voxels`` and parameters."""

    rows: npt.NDArray[np.int32]
    delay_s: Float32Array
    coefficients: Float32Array
    basis: _Basis

    def add_to(self, out: Float32Array, clock_s: Float32Array) -> None:
        """Add the concentration of every voxel at its own time to ``out``."""
        values, last = self.basis.values, len(self.basis.values) - 1
        per_second = np.float32(1 / self.basis.step_s)
        for first in range(0, len(self.rows), _CHUNK):
            part = slice(first, first + _CHUNK)
            rows = self.rows[part]
            place = (clock_s[rows] - self.delay_s[part]) * per_second
            place += np.float32(0.5)
            index = np.clip(place, 0, last, out=place).astype(np.int32)
            out[rows] += np.einsum("vk,vk->v", values[index], self.coefficients[part])

    def repeated(self, place: int, count: int) -> "_Part":
        """One voxel as often as there are times."""
        return _Part(
            np.arange(count, dtype=np.int32),
            np.repeat(self.delay_s[place], count),
            np.repeat(self.coefficients[place : place + 1], count, axis=0),
            self.basis,
        )


class Enhancement:
    """Contrast in every voxel that blood reaches, in units of the arterial peak.

    Values are weighted with what the voxel holds of tissue and vessels (partial volume): times
    ``Bolus.peak_hu`` they are the HU that contrast adds.

    Parameters
    ----------
    head : Head
        Shares of tissue and vessels, and blood that keeps contrast out.
    maps : PerfusionMaps
        Flow of the same head.
    bolus : Bolus
        What is injected.
    where : bool array of ``HEAD_SHAPE`` or None
        Only voxels in here are kept; all when None.

    Attributes
    ----------
    voxels : int64 array, shape ``(voxel,)``
        Flat indices into the head grid, ascending.
    """

    def __init__(
        self, head: Head, maps: PerfusionMaps, bolus: Bolus, *, where: BoolArray | None = None
    ) -> None:
        share = living_share(head)
        if where is not None:
            share *= where
        arteries, veins = (_within(flow, where) for flow in (maps.arteries, maps.veins))
        reached = (share > 0) & (maps.cbf > 0)
        tissue = np.flatnonzero(reached)
        for flow in (arteries, veins):
            reached.ravel()[flow.voxels] = True
        self.voxels: npt.NDArray[np.int64] = np.flatnonzero(reached)
        self._end_s = float(bolus.times_s[-1])
        amount = share.ravel()[tissue]
        del share, reached  # the most memory of a scan is needed below
        self._parts = [
            _tissue_part(self._rows(tissue), tissue, amount, maps, bolus),
            _vessel_part(self._rows(arteries.voxels), arteries, bolus.arterial, bolus.step_s),
            _vessel_part(self._rows(veins.voxels), veins, bolus.venous, bolus.step_s),
        ]

    def _rows(self, voxels: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        return np.searchsorted(self.voxels, voxels).astype(np.int32)

    def at(self, times_s: FloatArray, which: IntArray) -> Float32Array:
        """Concentration in each voxel at a time of its own.

        Parameters
        ----------
        times_s : array, shape ``(time,)``
            Seconds since the start of the scan; nothing has enhanced before 0.
        which : int array, shape ``(voxel,)``
            Which of the times is that of the voxel (the slice that it lies in).

        Raises
        ------
        ValueError
            ``which`` does not fit :attr:`voxels`, or a time is after the end of the bolus curve.
        """
        if which.shape != self.voxels.shape:
            raise ValueError(f"which has shape {which.shape}, expected {self.voxels.shape}")
        if float(np.max(times_s)) > self._end_s:
            raise ValueError(
                f"a time of {np.max(times_s):.1f} s is after the end of the bolus curve "
                f"({self._end_s:.1f} s): draw the bolus for a longer scan"
            )
        clock = np.asarray(times_s, dtype=np.float32)[which]
        out = np.zeros(len(self.voxels), dtype=np.float32)
        for part in self._parts:
            part.add_to(out, clock)
        return out

    def curve(self, point_mm: FloatArray, times_s: FloatArray) -> FloatArray:
        """Concentration over time in the voxel at a point of the head (x, y, z); 0 outside."""
        index = np.rint(head_index(np.asarray(point_mm, dtype=np.float64))).astype(int)
        curve = np.zeros(len(times_s))
        if np.any(index < 0) or np.any(index >= np.array(HEAD_SHAPE)):
            return curve
        voxel = int(np.ravel_multi_index(tuple(index), HEAD_SHAPE))
        row = int(np.searchsorted(self.voxels, voxel))
        if row == len(self.voxels) or self.voxels[row] != voxel:
            return curve
        clock = np.asarray(times_s, dtype=np.float32)
        total = np.zeros(len(clock), dtype=np.float32)
        for part in self._parts:
            for place in np.flatnonzero(part.rows == row):
                part.repeated(int(place), len(clock)).add_to(total, clock)
        return total.astype(np.float64)


def living_share(head: Head) -> Float32Array:
    """Share of tissue that blood reaches: not extravasated blood, not what an inclusion fills."""
    share = head.anatomy.grey + head.anatomy.white
    if head.blood:
        share *= np.clip(1 - head.blood_share(), 0, 1)
    for inclusion in head.inclusions.values():
        share *= 1 - inclusion.share
    return share


def _within(flow: VesselFlow, where: BoolArray | None) -> VesselFlow:
    kept = (flow.share > 0) & (flow.fill > 0)
    if where is not None:
        kept &= where.ravel()[flow.voxels]
    return VesselFlow(
        flow.voxels[kept],
        flow.share[kept],
        flow.delay_s[kept],
        flow.dispersion_s[kept],
        flow.fill[kept],
    )


def _tissue_part(
    rows: npt.NDArray[np.int32],
    voxels: npt.NDArray[np.int64],
    share: Float32Array,
    maps: PerfusionMaps,
    bolus: Bolus,
) -> _Part:
    """Tissue: a table of curves over transit time and dispersion, for both residue mixtures."""
    mtt, dispersion = _mtt_nodes(), _dispersion_nodes()
    curves = tissue_curves(bolus.arterial, bolus.step_s, maps.residues, mtt, dispersion)
    basis, table = _compress(curves.reshape(-1, curves.shape[-1]), bolus.step_s)
    table = table.reshape(*curves.shape[:-1], -1)
    kind = maps.residue_kind.ravel()[voxels]
    coefficients = _interpolate(
        table, maps.mtt_s.ravel()[voxels], maps.dispersion_s.ravel()[voxels], kind
    )
    scale = np.float32(DENSITY_G_PER_ML / HEMATOCRIT_FACTOR / 6000)
    coefficients *= (share * maps.cbf.ravel()[voxels] * scale)[:, None]
    return _Part(rows, maps.delay_s.ravel()[voxels], coefficients, basis)


def _vessel_part(
    rows: npt.NDArray[np.int32], flow: VesselFlow, curve: FloatArray, step_s: float
) -> _Part:
    """Vessels: one curve, dispersed more or less."""
    nodes = _dispersion_nodes()
    curves = np.stack([_convolve(curve, dispersion_weights(tau, len(curve), step_s))
                       for tau in nodes])  # fmt: skip
    basis, table = _compress(curves, step_s)
    place = _dispersion_place(flow.dispersion_s)
    left = np.minimum(place.astype(np.intp), _DISPERSION_NODES - 2)
    part = (place - left)[:, None].astype(np.float32)
    coefficients = table[left] + part * (table[left + 1] - table[left])
    coefficients *= (flow.share * flow.fill)[:, None]
    return _Part(rows, flow.delay_s, coefficients.astype(np.float32), basis)


def _mtt_nodes() -> FloatArray:
    return np.geomspace(*_MTT_S, _MTT_NODES)


def _dispersion_nodes() -> FloatArray:
    low, high = _DISPERSION_S
    return low + (high - low) * np.linspace(0, 1, _DISPERSION_NODES) ** 2


def _dispersion_place(dispersion_s: Float32Array) -> Float32Array:
    """Fractional node of a dispersion."""
    part = np.sqrt(np.clip(dispersion_s / np.float32(_DISPERSION_S[1]), 0, 1))
    return np.asarray(part * np.float32(_DISPERSION_NODES - 1), dtype=np.float32)


def tissue_curves(
    arterial: FloatArray,
    step_s: float,
    residues: tuple[Residue, Residue],
    mtt_s: FloatArray,
    dispersion_s: FloatArray,
) -> FloatArray:
    """Arterial curve, dispersed, convolved with both residue functions (in s, for CBF of 1/s).

    Returns
    -------
    float64 array of shape ``(residue, dispersion, mtt, time)``
    """
    count = len(arterial)
    edges = np.arange(count + 1) * step_s
    out = np.empty((len(residues), len(dispersion_s), len(mtt_s), count))
    for d, tau in enumerate(dispersion_s):
        inflow = _convolve(arterial, dispersion_weights(float(tau), count, step_s))
        for m, mtt in enumerate(mtt_s):
            for r, residue in enumerate(residues):
                mass = np.diff(mtt * residue.integral(edges / mtt))
                weights = mass / 2
                weights[1:] += mass[:-1] / 2
                out[r, d, m] = _convolve(inflow, weights)
    return out


def dispersion_weights(tau_s: float, count: int, step_s: float) -> FloatArray:
    """Exponential of unit area as weights of samples; area and mean are kept.

    Each weight is the integral of the exponential times a triangle around its sample.
    """
    tau = max(tau_s, 1e-9)
    t = np.arange(-1, count + 1) * step_s
    double = np.where(t > 0, t + tau * np.expm1(-np.maximum(t, 0) / tau), 0)
    return np.asarray(np.diff(double, 2) / step_s)


def _convolve(curve: FloatArray, weights: FloatArray) -> FloatArray:
    from scipy import fft

    size = fft.next_fast_len(len(curve) + len(weights) - 1, real=True)
    product = fft.rfft(curve, size) * fft.rfft(weights, size)
    result = np.asarray(fft.irfft(product, size)[: len(curve)])
    result[: int(np.argmax(curve != 0))] = 0
    return result


def _compress(curves: FloatArray, step_s: float) -> tuple[_Basis, Float32Array]:
    """Basis of few curves that represents all of them, and the coefficients of each.

    The curve that is represented worst becomes the next member until all errors are below
    ``MAX_ERROR`` of the curve's own peak (Gram-Schmidt with pivoting): as small as a singular
    value decomposition to within a few members, and free of threaded linear algebra, so that bits
    do not depend on the machine.
    """
    peaks = np.abs(curves).max(axis=1)
    rest = curves / np.maximum(peaks, 1e-12)[:, None]
    members: list[FloatArray] = []
    weights: list[FloatArray] = []
    while len(members) < len(curves):
        worst = int(np.argmax(np.abs(rest).max(axis=1)))
        if np.abs(rest[worst]).max() < MAX_ERROR:
            break
        member = rest[worst] / np.sqrt(np.sum(rest[worst] ** 2))
        along = np.einsum("ct,t->c", rest, member)
        rest -= along[:, None] * member
        members.append(member)
        weights.append(along * peaks)
    if not members:  # the scan ends before any contrast comes
        members, weights = [np.zeros_like(curves[0])], [np.zeros(len(curves))]
    count = curves.shape[1]
    fine = np.arange((count - 1) * _FINER + 1) / _FINER
    values = np.stack([np.interp(fine, np.arange(count), member) for member in members], axis=1)
    basis = _Basis(step_s / _FINER, np.ascontiguousarray(values, dtype=np.float32))
    return basis, np.stack(weights, axis=1).astype(np.float32)


def _interpolate(
    table: Float32Array, mtt_s: Float32Array, dispersion_s: Float32Array, kind: Float32Array
) -> Float32Array:
    """Coefficients of every voxel, shape ``(voxel, component)``, linear in log MTT and so on.

    ``table`` has the shape ``(residue, dispersion, mtt, component)``.
    """
    import torch
    from torch.nn import functional

    size = table.shape[-1]
    source = torch.from_numpy(
        np.ascontiguousarray(table.transpose(0, 3, 1, 2).reshape(1, 2 * size, *table.shape[1:3]))
    )
    low, high = np.log(_MTT_S)
    out = np.empty((len(mtt_s), size), dtype=np.float32)
    for first in range(0, len(mtt_s), 4 * _CHUNK):
        part = slice(first, first + 4 * _CHUNK)
        along = (np.log(mtt_s[part]) - np.float32(low)) * np.float32(2 / (high - low)) - 1
        down = _dispersion_place(dispersion_s[part]) * np.float32(2 / (_DISPERSION_NODES - 1)) - 1
        grid = torch.from_numpy(np.stack([along, down], axis=-1)[None, None])
        values = functional.grid_sample(
            source, grid, mode="bilinear", padding_mode="border", align_corners=True
        )[0, :, 0].numpy()
        plug, mixed = values[:size], values[size:]
        out[part] = (plug + kind[part] * (mixed - plug)).T
    return out
