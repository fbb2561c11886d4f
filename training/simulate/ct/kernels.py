"""Reconstruction kernels: what each does to edges and to the texture of noise.

A kernel's modulation transfer function falls to one half at ``half_per_mm``; ``edge_gain`` lifts
the middle frequencies above 1 (overshoot at edges, as sharpening kernels have). Noise after
filtered back-projection has the power spectrum ``f · MTF²``; iterative reconstruction moves it to
lower frequencies, which a smaller ``noise_exponent`` says (textbook).
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from training.simulate.anatomy.person import Cohort
from training.simulate.arrays import FloatArray

_FREQUENCIES = np.linspace(0.0, 2.0, 401)


@dataclass(frozen=True)
class Kernel:
    """One reconstruction kernel.

    Parameters
    ----------
    name : str
        ConvolutionKernel.
    half_per_mm : float
        Frequency in cycles per mm at which the modulation is one half.
    edge_gain : float
        Enhancement of the middle frequencies (0: none).
    slope : float
        How steeply the modulation falls.
    noise_exponent : float
        Power spectrum of noise is ``f`` to this power, times the modulation squared.
    cross_talk_mm : float
        By how much noise reaches into the neighbouring slices beyond the slice thickness.
    """

    name: str
    half_per_mm: float
    edge_gain: float = 0.0
    slope: float = 2.0
    noise_exponent: float = 0.9
    cross_talk_mm: float = 0.25

    def mtf(self, per_mm: FloatArray) -> FloatArray:
        """Modulation at spatial frequencies in cycles per mm; 1 at zero."""
        u = per_mm / self.half_per_mm
        fall = np.log(2 * (1 + self.edge_gain))
        return np.asarray((1 + self.edge_gain * u**2) * np.exp(-fall * u**self.slope))

    def noise_power(self, per_mm: FloatArray) -> FloatArray:
        """Power spectrum of the noise in the image plane, in arbitrary units."""
        ramp = np.hypot(per_mm, 0.03) ** self.noise_exponent
        return np.asarray(ramp * self.mtf(per_mm) ** 2)

    def averaging(self, pixel_mm: float) -> float:
        """Standard deviation of noise averaged over a pixel, against that in a point."""
        power = self.noise_power(_FREQUENCIES) * _FREQUENCIES
        return float(np.sqrt(np.sum(power * np.sinc(_FREQUENCIES * pixel_mm) ** 2) / power.sum()))


Purpose = Literal["ncct", "ctp"]
_Set = dict[Cohort, tuple[Kernel, ...]]
KERNELS: dict[str, dict[Purpose, _Set]] = {
    "siemens": {
        "ncct": {
            "usual": (
                Kernel("H31s", 0.36, 0.10),
                Kernel("J40s", 0.42, 0.25, noise_exponent=0.55),
                Kernel("H41s", 0.44, 0.30),
                Kernel("J30s", 0.34, 0.05, noise_exponent=0.5),
            ),
            "shifted": (
                Kernel("Hr38f", 0.39, 0.0, 2.6, 0.2),
                Kernel("H45s", 0.52, 0.55, 2.2, 1.15),
            ),
        },
        "ctp": {
            "usual": (Kernel("H20f", 0.29), Kernel("B20f", 0.31, 0.0, 1.8)),
            "shifted": (Kernel("Hr36d", 0.37, 0.1, 2.5, 0.25), Kernel("H10f", 0.22, 0.0, 1.6, 1.2)),
        },
    },
    "ge": {
        "ncct": {
            "usual": (
                Kernel("STANDARD", 0.40, 0.15),
                Kernel("SOFT", 0.34, 0.0),
                Kernel("STND+", 0.44, 0.35, 2.2),
            ),
            "shifted": (
                Kernel("DETAIL", 0.52, 0.5, 2.4, 1.15),
                Kernel("NeuroDLIR", 0.38, 0.1, 2.8, 0.15),
            ),
        },
        "ctp": {
            "usual": (Kernel("STANDARD", 0.38, 0.1), Kernel("SOFT", 0.33)),
            "shifted": (Kernel("STND+", 0.45, 0.3, 2.2, 0.25),),
        },
    },
    "philips": {
        "ncct": {
            "usual": (
                Kernel("UB", 0.40, 0.3),
                Kernel("UA", 0.35, 0.1),
                Kernel("UC", 0.45, 0.35),
            ),
            "shifted": (
                Kernel("Brain Standard", 0.37, 0.05, 2.7, 0.2),
                Kernel("C", 0.51, 0.45, 2.3, 1.2),
            ),
        },
        "ctp": {
            "usual": (Kernel("UB", 0.36, 0.15), Kernel("B", 0.32, 0.0)),
            "shifted": (Kernel("UA", 0.26, 0.0, 1.6, 1.15),),
        },
    },
    "canon": {
        "ncct": {
            "usual": (
                Kernel("FC26", 0.40, 0.2, noise_exponent=0.7),
                Kernel("FC25", 0.36, 0.1, noise_exponent=0.7),
                Kernel("FC21", 0.34, 0.0),
            ),
            "shifted": (
                Kernel("FC64", 0.50, 0.5, 2.3, 1.2),
                Kernel("AiCE Brain", 0.37, 0.05, 2.8, 0.15),
            ),
        },
        "ctp": {
            "usual": (Kernel("FC41", 0.30), Kernel("FC42", 0.33, 0.0, 1.9, 0.7)),
            "shifted": (Kernel("FC44", 0.40, 0.2, 2.4, 0.2),),
        },
    },
}


def choose_kernel(
    rng: np.random.Generator, scanner: str, purpose: Purpose, cohort: Cohort
) -> Kernel:
    """Draw a kernel of a scanner, with the spread that there is between its models."""
    kernels = KERNELS[scanner][purpose][cohort]
    kernel = kernels[int(rng.integers(len(kernels)))]
    return replace(
        kernel,
        half_per_mm=kernel.half_per_mm * float(rng.uniform(0.94, 1.06)),
        noise_exponent=kernel.noise_exponent + float(rng.uniform(-0.08, 0.08)),
        cross_talk_mm=float(rng.uniform(0.1, 0.4)),
    )
