"""Linear solvers of the convolution with an arterial input; curves of shape ``(voxel, time)``.

With curves padded by zeros to twice their length the convolution is circulant, diagonal in Fourier
space, and its singular values are the magnitudes a(f) of the transformed arterial input. A solver
takes the phase of the input from the spectrum of a curve, multiplies by a real inverse filter and
transforms back. With m the largest magnitude and s the share of it that a solver is given:

=========  =======================================================================================
truncated  1 / a(f) where a(f) >= s m, else 0 (Wu 2003, Magn Reson Med 50:164)
Wiener     a(f) / (a(f)^2 + (s m)^2): white noise
Tikhonov   a(f) / (a(f)^2 + (s m)^2 d(f)^2), d(f) = 2 - 2 cos(2 pi f) the transformed second
           difference: smooth residue functions
=========  =======================================================================================

Complex numbers are multiplied part by part, and sums taken in a fixed order: torch's complex
product and matrix product round by how work is split among threads.
"""

from typing import Literal, Protocol

import numpy as np
import torch

Quadrature = Literal["rectangle", "simpson"]


class Solver(Protocol):
    """Turns curves into residue functions."""

    def solve(self, curves: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Residue functions, shape ``(voxel, sample)``, and the share used, ``(voxel,)``."""


class Circulant:
    """The convolution with an arterial input in Fourier space.

    Parameters
    ----------
    artery : tensor, shape ``(time,)``
    step_s : float
        Time between samples.
    quadrature : {"rectangle", "simpson"}
        How the integral is summed; ``simpson`` weights neighbours (1, 4, 1) / 6.
    """

    def __init__(self, artery: torch.Tensor, step_s: float, quadrature: Quadrature) -> None:
        self.length = 2 * len(artery)
        padded = torch.zeros(self.length, dtype=artery.dtype, device=artery.device)
        padded[: len(artery)] = artery
        if quadrature == "simpson":
            padded = (padded.roll(1) + 4 * padded + padded.roll(-1)) / 6
        spectrum = torch.fft.rfft(padded) * step_s
        self.magnitude = spectrum.abs()
        self.largest = self.magnitude.max()
        self._phase = torch.view_as_real(torch.sgn(spectrum))

    def spectra(self, curves: torch.Tensor) -> torch.Tensor:
        """Transforms of curves without the phase of the artery's.

        Real and imaginary parts in turn, shape ``(voxel, 2 × frequency)``.
        """
        parts = torch.view_as_real(torch.fft.rfft(curves, n=self.length, dim=1))
        real, imaginary = parts.unbind(dim=-1)
        cosine, sine = self._phase.unbind(dim=-1)
        turned = [real * cosine + imaginary * sine, imaginary * cosine - real * sine]
        return torch.stack(turned, dim=-1).flatten(1)

    def residue(self, spectra: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
        """Residue functions, shape ``(voxel, 2 × time)``, by an inverse filter ``(frequency,)``."""
        parts = (spectra * inverse.repeat_interleave(2)).view(len(spectra), -1, 2)
        residue: torch.Tensor = torch.fft.irfft(torch.view_as_complex(parts), n=self.length, dim=1)
        return residue

    def truncated(self, share: float) -> torch.Tensor:
        """Inverse filter that drops singular values below a share of the largest."""
        return torch.where(self.magnitude >= share * self.largest, 1 / self.magnitude, 0.0)

    def wiener(self, share: float) -> torch.Tensor:
        """Inverse filter for noise of which the magnitude is a share of the largest."""
        return self._regularised(share * self.largest)

    def tikhonov(self, share: float) -> torch.Tensor:
        """Inverse filter that keeps the second difference of the residue function small."""
        places = torch.arange(len(self.magnitude), device=self.magnitude.device)
        difference = 2 - 2 * torch.cos(places.to(self.magnitude.dtype) * (2 * np.pi / self.length))
        return self._regularised(share * self.largest * difference)

    def _regularised(self, penalty: torch.Tensor) -> torch.Tensor:
        inverse: torch.Tensor = self.magnitude / (self.magnitude**2 + penalty**2)
        return inverse


class FixedFilter:
    """The same inverse filter for all voxels."""

    def __init__(self, circulant: Circulant, inverse: torch.Tensor, share: float) -> None:
        self._circulant, self._inverse, self._share = circulant, inverse, share

    def solve(self, curves: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Solver`; residue functions of 2 × time samples."""
        residue = self._circulant.residue(self._circulant.spectra(curves), self._inverse)
        return residue, torch.full_like(curves[:, 0], self._share)


class OscillationSearch:
    """Per voxel the smallest truncation whose residue function does not oscillate too much.

    Parameters
    ----------
    circulant : Circulant
    truncations : tuple of float
        What is tried, ascending; the last one is taken when none reaches the target.
    target : float
        Largest oscillation index that is accepted.
    """

    def __init__(self, circulant: Circulant, truncations: tuple[float, ...], target: float) -> None:
        self._circulant, self._target = circulant, target
        kept = {
            tuple((circulant.magnitude >= share * circulant.largest).tolist()): share
            for share in reversed(truncations)
        }
        # Truncations between the same two singular values are one and the same filter.
        self._filters = [(share, circulant.truncated(share)) for share in sorted(kept.values())]

    def solve(self, curves: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Solver`; residue functions of 2 × time samples.

        Oscillation does not fall evenly with the truncation, so all truncations are tried from the
        smallest on, on those voxels only that have not found theirs.
        """
        spectra = self._circulant.spectra(curves)
        residue = curves.new_empty((len(curves), self._circulant.length))
        used = torch.empty_like(curves[:, 0])
        open_ = torch.arange(len(curves), device=curves.device)
        for share, inverse in self._filters:
            found = self._circulant.residue(spectra, inverse)
            done = oscillation_index(found) <= self._target
            if share == self._filters[-1][0]:
                done = torch.ones_like(done)
            if done.any():
                place = open_[done]
                residue[place] = found[done]
                used[place] = share
                open_, spectra = open_[~done], spectra[~done]
            if len(open_) == 0:
                break
        return residue, used


class Toeplitz:
    """Pseudo-inverse of the lower-triangular convolution matrix (Ostergaard 1996)."""

    def __init__(self, artery: torch.Tensor, step_s: float, share: float) -> None:
        lag = torch.arange(len(artery), device=artery.device)
        lag = lag[:, None] - lag[None, :]
        matrix = torch.where(lag >= 0, artery.double()[lag.clamp_min(0)], 0.0) * step_s
        left, values, right = torch.linalg.svd(matrix)
        inverse = torch.where(values >= share * values[0], 1 / values, 0.0)
        self._inverse = (right.T @ (inverse[:, None] * left.T)).to(artery.dtype)
        self._share = share

    def solve(self, curves: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Solver`; residue functions of as many samples as the curves."""
        residue = torch.zeros_like(curves)
        for sample, column in enumerate(self._inverse.T):
            residue.addcmul_(curves[:, sample, None], column)
        return residue, torch.full_like(curves[:, 0], self._share)


def oscillation_index(residue: torch.Tensor) -> torch.Tensor:
    """Oscillation index of residue functions, shape ``(voxel,)`` (Wu 2003, equation 9).

    Mean absolute second difference over the samples, as a share of the largest magnitude.
    """
    second = residue[:, 2:] - 2 * residue[:, 1:-1] + residue[:, :-2]
    largest = residue.abs().amax(dim=1).clamp_min(torch.finfo(residue.dtype).tiny)
    return second.abs().sum(dim=1) / (residue.shape[1] * largest)


class CrossValidation:
    """Which Tikhonov parameter predicts left-out samples best (Golub 1979, Technometrics 21:215).

    Parameters
    ----------
    circulant : Circulant
    shares : tuple of float
        Candidates, as shares of the largest singular value.
    """

    def __init__(self, circulant: Circulant, shares: tuple[float, ...]) -> None:
        self._circulant = circulant
        lost = [1 - circulant.tikhonov(share) * circulant.magnitude for share in shares]
        unexplained = torch.stack(lost, dim=1)
        # All frequencies but the first and the last stand for two of the whole transform.
        twice = torch.full_like(unexplained[:, :1], 2.0)
        twice[0] = twice[-1] = 1.0
        self._weights = twice * unexplained**2 / (twice * unexplained).sum(dim=0) ** 2

    def best(self, curves: torch.Tensor) -> torch.Tensor:
        """Place among the candidates that each voxel prefers, shape ``(voxel,)``."""
        parts = self._circulant.spectra(curves) ** 2
        power = parts[:, ::2] + parts[:, 1::2]
        return (power @ self._weights).argmin(dim=1)
