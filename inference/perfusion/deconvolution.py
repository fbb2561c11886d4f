"""Deconvolution of tissue curves by the arterial input.

The tissue curve is the convolution of the arterial input with the flow-scaled residue function,
C(t) = ∫ a(τ) k(t - τ) dτ with k = CBF · R. Three solvers by truncated singular values:

``ssvd``
    Standard: lower-triangular Toeplitz matrix (Ostergaard 1996, Magn Reson Med 36:715). Wrong
    where the tissue curve comes before the arterial one.
``bsvd``
    Block-circulant: curves padded with zeros to twice their length, so that a delay of the tissue
    only turns the residue function around (Wu 2003, Magn Reson Med 50:164).
``osvd``
    Block-circulant with the smallest truncation per voxel whose residue function does not
    oscillate more than a target (same source).

A circulant matrix is diagonal in Fourier space and its singular values are the magnitudes of the
transformed arterial input. So the two circulant solvers need no matrix: divide spectra, drop the
frequencies whose magnitude is below the truncation, transform back.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

FloatArray = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Float64Array = npt.NDArray[np.float64]
Method = Literal["osvd", "bsvd", "ssvd"]
Quadrature = Literal["rectangle", "simpson"]

TRUNCATIONS: tuple[float, ...] = tuple(np.round(np.geomspace(0.01, 0.9, 40), 5).tolist())
"""Truncations that ``osvd`` tries, in ascending order, as shares of the largest singular value."""

_TILE_VOXELS = {"cpu": 16384, "cuda": 262144}


@dataclass(frozen=True, eq=False)
class Residue:
    """What the deconvolution finds per voxel.

    Parameters
    ----------
    flow : array, shape ``(voxel,)``
        Maximum of the flow-scaled residue function in 1/s: CBF before unit conversion.
    tmax_s : array, shape ``(voxel,)``
        Time of that maximum in seconds; negative where the tissue is ahead of the input.
    truncation : array, shape ``(voxel,)``
        Share of the largest singular value that was used.
    residue : array, shape ``(voxel, sample)`` or None
        The flow-scaled residue function in 1/s, where asked for; 2 × time samples for the
        circulant solvers, of which the second half stands for negative times.
    """

    flow: FloatArray
    tmax_s: FloatArray
    truncation: FloatArray
    residue: FloatArray | None = None


def deconvolve(
    concentration: FloatArray,
    times_s: Float64Array,
    aif: FloatArray,
    method: Method = "osvd",
    device: str = "cpu",
    *,
    truncation: float | None = None,
    oscillation_target: float = 0.035,
    truncations: tuple[float, ...] = TRUNCATIONS,
    quadrature: Quadrature = "rectangle",
    tmax_range_s: tuple[float, float] = (-6.0, 30.0),
    keep_residue: bool = False,
) -> Residue:
    """Deconvolve tissue curves by an arterial input.

    Parameters
    ----------
    concentration : array, shape ``(voxel, time)``
        Enhancement of the tissue; its floating point type is used throughout.
    times_s : array, shape ``(time,)``
        Even time axis in seconds.
    aif : array, shape ``(time,)``
        Enhancement of the artery, in the same units.
    method : {"osvd", "bsvd", "ssvd"}
        Solver, see the module.
    device : str
        torch device.
    truncation : float, optional
        For ``bsvd`` (default 0.1) and ``ssvd`` (default 0.2), share of the largest singular value.
    oscillation_target : float
        For ``osvd``: largest oscillation index that is accepted.
    truncations : tuple of float
        For ``osvd``: what is tried, ascending; the last one is taken when none reaches the target.
    quadrature : {"rectangle", "simpson"}
        How the convolution integral is summed; ``simpson`` weights neighbours (1, 4, 1) / 6.
    tmax_range_s : (float, float)
        Maxima outside these times are noise and not looked at.
    keep_residue : bool
        Return the residue functions too.

    Raises
    ------
    ValueError
        Shapes that do not fit, uneven times, an input without area, or an unknown method.
    """
    step = _check(concentration, times_s, aif)
    target = torch.device(device)
    values = torch.from_numpy(np.ascontiguousarray(concentration))
    artery = torch.as_tensor(np.asarray(aif), dtype=values.dtype, device=target)
    if method == "ssvd":
        solver: _Solver = _Toeplitz(artery, step, 0.2 if truncation is None else truncation)
    elif method == "bsvd":
        fixed = (0.1 if truncation is None else truncation,)
        solver = _Circulant(artery, step, fixed, float("inf"), quadrature)
    elif method == "osvd":
        solver = _Circulant(artery, step, truncations, oscillation_target, quadrature)
    else:
        raise ValueError(f"unknown method {method!r}, expected 'osvd', 'bsvd' or 'ssvd'")
    tile = _TILE_VOXELS[target.type]
    parts = []
    for start in range(0, len(values), tile):
        curves = values[start : start + tile].to(target)
        residue, used = solver.solve(curves)
        flow, peak = _maximum(residue, curves.shape[1], step, tmax_range_s)
        kept = residue if keep_residue else residue[:, :0]
        parts.append([x.cpu() for x in (flow, peak, used, kept)])
    if not parts:
        empty = np.zeros(0, values.numpy().dtype)
        return Residue(empty, empty, empty, np.zeros((0, 0), empty.dtype) if keep_residue else None)
    columns: list[FloatArray] = [torch.cat(c).numpy() for c in zip(*parts, strict=True)]
    return Residue(columns[0], columns[1], columns[2], columns[3] if keep_residue else None)


def oscillation_index(residue: torch.Tensor) -> torch.Tensor:
    """Oscillation index of residue functions, shape ``(voxel,)`` (Wu 2003, equation 9).

    Mean absolute second difference over the samples, as a share of the largest magnitude.
    """
    second = residue[:, 2:] - 2 * residue[:, 1:-1] + residue[:, :-2]
    largest = residue.abs().amax(dim=1).clamp_min(torch.finfo(residue.dtype).tiny)
    return second.abs().sum(dim=1) / (residue.shape[1] * largest)


class _Circulant:
    """Block-circulant solver in Fourier space, with one truncation or the smallest that serves."""

    def __init__(
        self,
        artery: torch.Tensor,
        step: float,
        truncations: tuple[float, ...],
        oscillation_target: float,
        quadrature: Quadrature,
    ) -> None:
        self._length = 2 * len(artery)
        padded = torch.zeros(self._length, dtype=artery.dtype, device=artery.device)
        padded[: len(artery)] = artery
        if quadrature == "simpson":
            padded = (padded.roll(1) + 4 * padded + padded.roll(-1)) / 6
        spectrum = torch.fft.rfft(padded) * step
        magnitude = spectrum.abs()
        largest = magnitude.max()
        kept = {
            tuple((magnitude >= share * largest).tolist()): share for share in reversed(truncations)
        }
        # Truncations between the same two singular values are one and the same filter.
        self._truncations = tuple(sorted(kept.values()))
        self._filters = [
            torch.where(magnitude >= share * largest, 1 / spectrum, torch.zeros_like(spectrum))
            for share in self._truncations
        ]
        self._target = oscillation_target

    def solve(self, curves: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Residue functions, shape ``(voxel, 2 × time)``, and the truncations that were used."""
        spectra = torch.fft.rfft(curves, n=self._length, dim=1)
        residue = torch.empty((len(curves), self._length), dtype=curves.dtype, device=curves.device)
        used = torch.empty(len(curves), dtype=curves.dtype, device=curves.device)
        open_ = torch.arange(len(curves), device=curves.device)
        last = len(self._truncations) - 1
        for index, (share, inverse) in enumerate(
            zip(self._truncations, self._filters, strict=True)
        ):
            found = torch.fft.irfft(spectra * inverse, n=self._length, dim=1)
            done = oscillation_index(found) <= self._target
            if index == last:
                done = torch.ones_like(done)
            residue[open_[done]] = found[done]
            used[open_[done]] = share
            open_, spectra = open_[~done], spectra[~done]
            if len(open_) == 0:
                break
        return residue, used


class _Toeplitz:
    """Standard solver: pseudo-inverse of the lower-triangular convolution matrix."""

    def __init__(self, artery: torch.Tensor, step: float, truncation: float) -> None:
        samples = len(artery)
        lag = torch.arange(samples, device=artery.device)
        lag = lag[:, None] - lag[None, :]
        matrix = torch.where(lag >= 0, artery[lag.clamp_min(0)], 0.0) * step
        left, values, right = torch.linalg.svd(matrix)
        inverse = torch.where(values >= truncation * values[0], 1 / values, 0.0)
        self._inverse = right.T @ (inverse[:, None] * left.T)
        self._truncation = truncation

    def solve(self, curves: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Residue functions, shape ``(voxel, time)``, and the truncation that was used."""
        return curves @ self._inverse.T, torch.full_like(curves[:, 0], self._truncation)


_Solver = _Circulant | _Toeplitz


def _maximum(
    residue: torch.Tensor, samples: int, step: float, range_s: tuple[float, float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Height and time of the largest value, refined by a parabola through three samples.

    ``samples`` is the number of time points; positions at or beyond it stand for negative times.
    """
    length = residue.shape[1]
    places = torch.arange(length, device=residue.device)
    lags = torch.where(places < samples, places, places - length)
    allowed = (lags * step >= range_s[0]) & (lags * step <= range_s[1])
    index = torch.where(allowed, residue, -torch.inf).argmax(dim=1, keepdim=True)
    centre = residue.gather(1, index)
    if length > samples:
        before, after = (index - 1) % length, (index + 1) % length
    else:
        before, after = (index - 1).clamp_min(0), (index + 1).clamp_max(length - 1)
    left, right = residue.gather(1, before), residue.gather(1, after)
    bend = left - 2 * centre + right
    curved = (bend < 0) & (centre >= left) & (centre >= right)
    shift = torch.where(curved, 0.5 * (left - right) / torch.where(curved, bend, 1.0), 0.0)
    height = centre - 0.25 * (left - right) * shift
    return height[:, 0], (lags[index] + shift)[:, 0] * step


def _check(concentration: FloatArray, times_s: Float64Array, aif: FloatArray) -> float:
    """Step of the time axis; raises ValueError where the arguments do not fit together."""
    if concentration.ndim != 2 or concentration.shape[1] != len(times_s):
        raise ValueError(
            f"concentration has shape {concentration.shape}, expected (voxel, {len(times_s)})"
        )
    if len(aif) != len(times_s) or len(times_s) < 3:
        raise ValueError(f"aif has {len(aif)} and times_s {len(times_s)} samples, expected >= 3")
    steps = np.diff(times_s)
    if np.ptp(steps) > 1e-3 * float(np.median(steps)):
        raise ValueError("times_s must be even: resample the curves first")
    if not np.isfinite(aif).all() or float(np.sum(aif)) <= 0:
        raise ValueError("the arterial input must be finite and have a positive area")
    return float(np.median(steps))
