"""Signal of tissue and blood in MR: relaxation, contrast medium, leakage, diffusion.

Times in ms where the name says so, rates in 1/s, concentrations of gadolinium in mM, diffusion
coefficients in 10⁻⁶ mm²/s. The proton density of water is 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.simulate.arrays import Float32Array

T1_RELAXIVITY = 4.0
"""Increase of 1/T1 per mM of gadolinium in extravascular water, 1/(s mM) (textbook)."""


@dataclass(frozen=True)
class Tissue:
    """What decides the signal of one material.

    Parameters
    ----------
    density : float
        Proton density relative to water.
    t1_ms, t2_ms, t2star_ms : float
        Relaxation times.
    adc : float
        Apparent diffusion coefficient of the trace, 10⁻⁶ mm²/s.
    """

    density: float
    t1_ms: float
    t2_ms: float
    t2star_ms: float
    adc: float


# 3 T: T1 and T2 of brain of Wansapura 1999 and Lu 2005 as used in perfusion phantoms; T2* of
# brain of Peters 2007; blood of Lu 2004 and Zhao 2007; the rest textbook. Fat is saturated in EPI
# and appears with its full density in gradient echoes only.
TISSUES: Mapping[float, Mapping[str, Tissue]] = {
    3.0: {
        "grey": Tissue(0.87, 1209, 71, 55, 820),
        "white": Tissue(0.69, 758, 81, 51, 720),
        "csf": Tissue(1.00, 4300, 900, 400, 3000),
        "artery": Tissue(0.80, 1660, 120, 48, 2000),
        "vein": Tissue(0.80, 1580, 32, 22, 2000),
        "soft": Tissue(0.75, 1400, 42, 28, 1300),
        "fat": Tissue(0.85, 380, 60, 30, 50),
        "clot": Tissue(0.75, 1500, 45, 8, 600),
    },
    1.5: {
        "grey": Tissue(0.87, 980, 95, 82, 820),
        "white": Tissue(0.69, 620, 80, 67, 720),
        "csf": Tissue(1.00, 4200, 1500, 700, 3000),
        "artery": Tissue(0.80, 1480, 220, 100, 2000),
        "vein": Tissue(0.80, 1430, 110, 55, 2000),
        "soft": Tissue(0.75, 1050, 46, 38, 1300),
        "fat": Tissue(0.85, 290, 70, 45, 50),
        "clot": Tissue(0.75, 1200, 70, 15, 600),
    },
}

# Whole blood: linear and quadratic coefficient, 1/(s mM) and 1/(s mM²) (van Osch 2003 and Akbudak
# 1998 as compared by Kjølby 2006).
_BLOOD_RELAXIVITY = {3.0: (0.493, 2.62), 1.5: (7.62, 0.574)}


def steady_state(tr_ms: float, t1_ms: float, flip_deg: float) -> float:
    """Longitudinal magnetisation before a pulse of an endless spoiled train, 1 at equilibrium.

    (1 − E1) / (1 − E1 cos α) with E1 = exp(−TR/T1) (Ernst and Anderson 1966).
    """
    recovery = np.exp(-tr_ms / t1_ms)
    return float((1 - recovery) / (1 - recovery * np.cos(np.radians(flip_deg))))


def longitudinal(pulse: int, tr_ms: float, t1_ms: float, flip_deg: float) -> float:
    """Longitudinal magnetisation before pulse number ``pulse``, counted from 0 at equilibrium.

    M(n+1) = M(n) cos α E1 + 1 − E1, solved: M(n) = M∞ + (1 − M∞)(E1 cos α)ⁿ.
    """
    final = steady_state(tr_ms, t1_ms, flip_deg)
    kept = np.exp(-tr_ms / t1_ms) * np.cos(np.radians(flip_deg))
    return float(final + (1 - final) * kept**pulse)


def gradient_echo(
    tissue: Tissue,
    te_ms: float,
    tr_ms: float,
    flip_deg: float,
    pulse: int | None = None,
    *,
    refreshed: float = 0.0,
) -> float:
    """Signal of a spoiled gradient echo, in the steady state or after ``pulse`` pulses.

    PD · M · sin α · exp(−TE/T2*); ``refreshed`` is the share of the material that has flowed in
    since the last pulse and is at equilibrium.
    """
    if pulse is None:
        ready = steady_state(tr_ms, tissue.t1_ms, flip_deg)
    else:
        ready = longitudinal(pulse, tr_ms, tissue.t1_ms, flip_deg)
    ready = ready + refreshed * (1 - ready)
    decay = np.exp(-te_ms / tissue.t2star_ms)
    return float(tissue.density * ready * np.sin(np.radians(flip_deg)) * decay)


def spin_echo(tissue: Tissue, te_ms: float, tr_ms: float) -> float:
    """Signal of a spin echo with 90° excitation: PD · (1 − exp(−TR/T1)) · exp(−TE/T2)."""
    recovered = 1 - np.exp(-tr_ms / tissue.t1_ms)
    return float(tissue.density * recovered * np.exp(-te_ms / tissue.t2_ms))


def attenuation(b_s_mm2: float, adc: float) -> float:
    """Share of the signal that diffusion leaves: exp(−b · ADC) (Stejskal and Tanner 1965)."""
    return float(np.exp(-b_s_mm2 * 1e-6 * adc))


def diffusion_weighted(signal: Float32Array, b_s_mm2: float, adc: Float32Array) -> Float32Array:
    """Signal at a b value where the ADC varies: S · exp(−b · ADC)."""
    return np.asarray(signal * np.exp(np.float32(-b_s_mm2 * 1e-6) * adc), dtype=np.float32)


def blood_relaxation(concentration: Float32Array, field_t: float) -> Float32Array:
    """Increase of 1/T2* of whole blood in 1/s: linear plus quadratic in the concentration."""
    linear, quadratic = (np.float32(value) for value in _BLOOD_RELAXIVITY[field_t])
    return concentration * (linear + quadratic * concentration)


def with_contrast(signal: Float32Array, te_ms: float, relaxation: Float32Array) -> Float32Array:
    """Signal at an increased relaxation rate: S0 · exp(−TE · ΔR2*)."""
    return np.asarray(signal * np.exp(np.float32(-te_ms / 1000) * relaxation), dtype=np.float32)


def leaky_relaxation(
    relaxation: Float32Array, integral: Float32Array, k1: float, k2: Float32Array
) -> Float32Array:
    """Apparent ΔR2* of tissue with a leaking barrier: K1 · ΔR2*(t) − K2 · ∫ΔR2* dt'.

    Boxerman and Weisskoff 2006. ``integral`` is that of the intravascular ΔR2*, dimensionless;
    ``k2`` in 1/s is positive where the shorter T1 of the leaked medium prevails (the signal rises
    above its baseline) and negative where its T2* effect does.
    """
    return np.float32(k1) * relaxation - k2 * integral


def leakage_rate(
    percent: Float32Array,
    tissue: Tissue,
    te_ms: float,
    tr_ms: float,
    flip_deg: float,
    *,
    intravascular: float,
    extravascular: float,
    blood_volume: float,
    per_percent_min: float = 0.001,
) -> Float32Array:
    """K2 in 1/s of tissue that leaks ``percent``, by the protocol's own T1 and T2* weighting.

    Medium leaks at Ktrans from plasma, d(Ce)/dt = Ktrans · Ca (Patlak: no reflux within the
    scan). It shortens T1, which changes ln S by (∂ ln M/∂R1) · r1 · Ce, and T2*, by
    −TE · r2 · Ce; both are proportional to ∫Ca dt and therefore to ∫ΔR2* dt. Their sum over TE,
    per unit of that integral, is K2.

    Parameters
    ----------
    percent : float32 array
        Leakage.
    tissue, te_ms, tr_ms, flip_deg :
        What leaks, and the protocol.
    intravascular, extravascular : float
        Increase of 1/T2* per mM of medium in the tissue, inside and outside vessels, 1/(s mM).
    blood_volume : float
        Volume share of blood, by which ∫C of the tissue is smaller than ∫Ca.
    per_percent_min : float
        Ktrans in 1/min that one percent of leakage stands for.
    """
    rate = 1000 / tissue.t1_ms
    step = 1e-3
    faster = steady_state(tr_ms, 1000 / (rate + step), flip_deg)
    brighter = (np.log(faster) - np.log(steady_state(tr_ms, tissue.t1_ms, flip_deg))) / step
    shine = brighter * T1_RELAXIVITY / (te_ms / 1000) - extravascular
    per_percent = per_percent_min / 60 / (blood_volume * intravascular) * float(shine)
    return percent * np.float32(per_percent)


def ischemic_adc(onset_h: float, depth: float) -> float:
    """ADC of fully infarcted tissue relative to normal, by the time since onset in hours.

    It falls within the first hours to 0.55–0.75 (``depth`` 1 to 0) and passes normal values again
    after about a week (Copen 2001, Lansberg 2001): 0.7 of the fall at half an hour, all at six.
    """
    fall = 0.25 + 0.2 * depth
    arrived = 1 - 0.6 * np.exp(-onset_h / 1.2)
    back = np.clip((onset_h - 72) / 120, 0, 1.5)
    return float(1 - fall * arrived * (1 - back))


def ischemic_t2(onset_h: float) -> float:
    """T2 of fully infarcted tissue relative to normal: unchanged for hours, 1.45-fold at a day.

    The mismatch of diffusion and FLAIR images within about 4.5 h (Thomalla 2011).
    """
    return float(1 + 0.45 * (1 - np.exp(-((max(onset_h, 0.0) / 11) ** 1.6))))
