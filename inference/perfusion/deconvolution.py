"""Deconvolution of tissue curves by the arterial input.

The tissue curve is the convolution of the arterial input with the flow-scaled residue function,
C(t) = ∫ a(τ) k(t - τ) dτ with k = CBF · R. The methods:

``ssvd``
    Standard: truncated singular values of the lower-triangular Toeplitz matrix (Ostergaard 1996,
    Magn Reson Med 36:715). Wrong where the tissue curve comes before the arterial one.
``bsvd``
    Block-circulant: curves padded with zeros to twice their length, so that a delay of the tissue
    only turns the residue function around (Wu 2003, Magn Reson Med 50:164).
``osvd``
    Block-circulant with the smallest truncation per voxel whose residue function does not
    oscillate more than a target (same source).
``tikhonov``
    Block-circulant; smooth residue functions, the smoothness by generalised cross validation. It
    is the median of what the voxels prefer: single noisy voxels choose badly, and vessels, which
    would rule a common score, are few (Calamante 2003, Magn Reson Med 50:1237; Golub 1979).
``fourier``
    Block-circulant with a Wiener filter of fixed noise (Gobbel and Fike 1994, Phys Med Biol
    39:1833).

All but ``ssvd`` do not depend on delay. They are filters, see :mod:`inference.perfusion.solvers`.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from inference.perfusion.solvers import (
    Circulant,
    CrossValidation,
    FixedFilter,
    OscillationSearch,
    Quadrature,
    Solver,
    Toeplitz,
)

FloatArray = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Float64Array = npt.NDArray[np.float64]
Method = Literal["osvd", "bsvd", "ssvd", "tikhonov", "fourier"]
Constants = dict[str, str | float | int]

METHODS: tuple[Method, ...] = get_args(Method)
TRUNCATIONS: tuple[float, ...] = tuple(np.round(np.geomspace(0.03, 0.9, 30), 5).tolist())
"""Truncations that ``osvd`` tries, in ascending order, as shares of the largest singular value."""
BSVD_TRUNCATION = 0.1
SSVD_TRUNCATION = 0.2
SMOOTHNESS: tuple[float, ...] = tuple(np.round(np.geomspace(0.05, 10, 30), 5).tolist())
"""Parameters that ``tikhonov`` chooses from, as shares of the largest singular value.

A smaller one makes a residue function with a plateau ring, whatever the noise.
"""
WIENER_NOISE = 0.075
"""Noise that ``fourier`` assumes, as a share of the largest singular value."""
PLATEAU = 0.8
"""Share of the maximum above which the residue function counts as its top."""

_TILE_VOXELS = {"cpu": 2048, "cuda": 262144}


@dataclass(frozen=True, eq=False)
class Residue:
    """What the deconvolution finds per voxel.

    Parameters
    ----------
    flow : array, shape ``(voxel,)``
        Maximum of the flow-scaled residue function in 1/s: CBF before unit conversion.
    tmax_s : array, shape ``(voxel,)``
        Time of that maximum in seconds, see ``plateau`` of :func:`deconvolve`; negative where the
        tissue is ahead of the input.
    truncation : array, shape ``(voxel,)``
        Truncation or regularisation that was used, as a share of the largest singular value.
    residue : array, shape ``(voxel, sample)`` or None
        The flow-scaled residue function in 1/s, where asked for; 2 × time samples for the
        circulant solvers, of which the second half stands for negative times.
    constants : dict
        The method, and every constant that shaped the result, by name.
    """

    flow: FloatArray
    tmax_s: FloatArray
    truncation: FloatArray
    residue: FloatArray | None = None
    constants: Constants = field(default_factory=dict)


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
    plateau: float = PLATEAU,
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
    method : {"osvd", "bsvd", "ssvd", "tikhonov", "fourier"}
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
        How the convolution integral is summed; ``simpson`` weights neighbours (1, 4, 1) / 6. Not
        for ``ssvd``, which sums rectangles.
    tmax_range_s : (float, float)
        Maxima outside these times are noise and not looked at.
    plateau : float
        Tmax is the middle of the time around the maximum in which the residue function is above
        this share of it; 1 for the maximum itself. A long transit makes the top of the residue
        function flat, and where on it the maximum lies is chance; its middle is not.
    keep_residue : bool
        Return the residue functions too.

    Raises
    ------
    ValueError
        Shapes that do not fit, uneven times, an input without area, or an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}, expected one of {', '.join(METHODS)}")
    step = _check(concentration, times_s, aif)
    if len(concentration) == 0:
        empty = np.zeros(0, concentration.dtype)
        return Residue(empty, empty, empty, np.zeros((0, 0), empty.dtype) if keep_residue else None)
    target = torch.device(device)
    values = torch.from_numpy(np.ascontiguousarray(concentration))
    artery = torch.as_tensor(np.asarray(aif), dtype=values.dtype, device=target)
    size = _TILE_VOXELS[target.type]
    tiles = [values[start : start + size] for start in range(0, len(values), size)]
    solver, constants = _solver(
        method, artery, step, quadrature, truncation, oscillation_target, truncations, tiles
    )
    constants |= dict(zip(("tmax_min_s", "tmax_max_s"), tmax_range_s, strict=True))
    constants["tmax_plateau"] = plateau
    parts = []
    for tile in tiles:
        residue, used = solver.solve(tile.to(target))
        height, place = _maximum(residue, len(times_s), step, tmax_range_s, plateau)
        kept = residue if keep_residue else residue[:, :0]
        parts.append([x.cpu() for x in (height, place, used, kept)])
    columns: list[FloatArray] = [torch.cat(c).numpy() for c in zip(*parts, strict=True)]
    flow, tmax_s, used_share, residues = columns
    return Residue(flow, tmax_s, used_share, residues if keep_residue else None, constants)


def _solver(
    method: Method,
    artery: torch.Tensor,
    step_s: float,
    quadrature: Quadrature,
    truncation: float | None,
    oscillation_target: float,
    truncations: tuple[float, ...],
    tiles: list[torch.Tensor],
) -> tuple[Solver, Constants]:
    """The solver of a method, and the constants that it uses."""
    if method == "ssvd":
        share = SSVD_TRUNCATION if truncation is None else truncation
        found: Constants = {"method": method, "quadrature": "rectangle", "truncation": share}
        return Toeplitz(artery, step_s, share), found
    circulant = Circulant(artery, step_s, quadrature)
    constants: Constants = {"method": method, "quadrature": quadrature}
    if method == "bsvd":
        share = BSVD_TRUNCATION if truncation is None else truncation
        solver = FixedFilter(circulant, circulant.truncated(share), share)
        return solver, constants | {"truncation": share}
    if method == "osvd":
        return OscillationSearch(circulant, truncations, oscillation_target), constants | {
            "oscillation_target": oscillation_target,
            "truncations": len(truncations),
            "truncation_min": truncations[0],
            "truncation_max": truncations[-1],
        }
    if method == "fourier":
        solver = FixedFilter(circulant, circulant.wiener(WIENER_NOISE), WIENER_NOISE)
        return solver, constants | {"noise": WIENER_NOISE}
    score = CrossValidation(circulant, SMOOTHNESS)
    best = torch.cat([score.best(tile.to(artery.device)) for tile in tiles])
    share = SMOOTHNESS[int(best.median())]
    solver = FixedFilter(circulant, circulant.tikhonov(share), share)
    return solver, constants | {
        "smoothness": share,
        "smoothnesses": len(SMOOTHNESS),
        "smoothness_min": SMOOTHNESS[0],
        "smoothness_max": SMOOTHNESS[-1],
    }


def _maximum(
    residue: torch.Tensor,
    samples: int,
    step: float,
    range_s: tuple[float, float],
    plateau: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Height of the largest value, refined by a parabola, and the middle of the time around it.

    ``samples`` is the number of time points; positions at or beyond it stand for negative times.
    """
    length = residue.shape[1]
    if length > samples:
        residue = residue.roll(length - samples, dims=1)
    lags = torch.arange(length, device=residue.device) - (length - samples)
    allowed = torch.nonzero((lags * step >= range_s[0]) & (lags * step <= range_s[1]))[:, 0]
    first, last = int(allowed[0]), int(allowed[-1])
    inside = residue[:, first : last + 1]
    centre, index = inside.max(dim=1, keepdim=True)
    left, right = (
        residue.gather(1, (index + first + side).clamp(0, length - 1)) for side in (-1, 1)
    )
    bend = left - 2 * centre + right
    curved = (bend < 0) & (centre >= left) & (centre >= right)
    curved &= (index + first > 0) & (index + first < length - 1)
    shift = torch.where(curved, 0.5 * (left - right) / torch.where(curved, bend, 1.0), 0.0)
    height = centre - 0.25 * (left - right) * shift
    level = torch.where(centre > 0, plateau * height, torch.inf)
    begin = _last_below(inside, index, level)
    end = inside.shape[1] - 1 - _last_below(inside.flip(1), inside.shape[1] - 1 - index, level)
    middle = torch.where(level <= centre, (begin + end) / 2, index + shift)
    return height[:, 0], (middle + first + lags[0])[:, 0] * step


def _last_below(curves: torch.Tensor, peak: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Where curves last rise through ``level`` before ``peak``, in samples, shape ``(voxel, 1)``.

    Interpolated; 0 where a curve is above the level from its start.
    """
    places = torch.arange(curves.shape[1], device=curves.device)
    below = (curves < level) & (places < peak)
    last = torch.where(below, places, -1).amax(dim=1, keepdim=True)
    low = curves.gather(1, last.clamp_min(0))
    high = curves.gather(1, (last + 1).clamp_max(curves.shape[1] - 1))
    share = ((level - low) / (high - low).clamp_min(torch.finfo(curves.dtype).tiny)).clamp(0, 1)
    return torch.where(last >= 0, last + share, 0.0)


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
