"""MR signal of a whole head on the head grid: what each voxel's materials send."""

from dataclasses import dataclass, replace

import numpy as np

from training.simulate.anatomy.fields import head_noise, refine
from training.simulate.anatomy.model import Region
from training.simulate.anatomy.person import Person
from training.simulate.arrays import Float32Array, stream
from training.simulate.mr.field import air_field_hz, bleeding_field_hz, susceptibility_sources
from training.simulate.mr.protocols import MrProtocol
from training.simulate.mr.signal import (
    TISSUES,
    Tissue,
    attenuation,
    diffusion_weighted,
    gradient_echo,
    ischemic_adc,
    ischemic_t2,
    spin_echo,
)
from training.simulate.pathology.head import Head
from training.simulate.pathology.patient import Patient
from training.simulate.pathology.transformation import Transformation
from training.simulate.space import HEAD_SHAPE

_WITHOUT_SIGNAL = ("calcification", "metal", "hyperdense_artery")
_OEDEMA_ADC = 2200.0
MARROW = 0.2
FAT_LEFT_BY_SATURATION = 0.08
_FLOW_VOID = 0.25
_WATER_HU = 28.0
"""HU between brain and CSF: what CT sees as the loss of that many HU is all water."""


@dataclass(frozen=True, eq=False)
class Materials:
    """Shares of each voxel that send signal, float32 arrays of ``HEAD_SHAPE``.

    ``bone`` is marrow fat; ``oedema`` the share of excess water in the tissue (0 to 1).
    """

    grey: Float32Array
    white: Float32Array
    csf: Float32Array
    artery: Float32Array
    vein: Float32Array
    soft: Float32Array
    fat: Float32Array
    bone: Float32Array
    clot: Float32Array
    oedema: Float32Array


def materials(head: Head, *, core: Float32Array | None = None) -> Materials:
    """Shares of the materials of a head, without what blood, calcium and metal displace.

    ``core`` is where water on CT is cytotoxic, not vasogenic, and is left to the diffusion model.
    """
    anatomy = head.anatomy
    clot = head.blood_share()
    left = 1 - clot
    for name in _WITHOUT_SIGNAL:
        if name in head.inclusions:
            left *= 1 - head.inclusions[name].share
    oedema = np.zeros(HEAD_SHAPE, dtype=np.float32)
    if head.water_hu is not None:
        oedema = np.clip(head.water_hu / np.float32(_WATER_HU), 0, 1)
        if core is not None:
            oedema = np.where(core > 0, np.float32(0), oedema)
    return Materials(
        grey=anatomy.grey * left,
        white=anatomy.white * left,
        csf=anatomy.csf * left,
        artery=anatomy.artery * left,
        vein=anatomy.vein * left,
        soft=anatomy.soft * left,
        fat=anatomy.fat * left,
        bone=anatomy.bone * left,
        clot=clot,
        oedema=oedema,
    )


def own_tissues(person: Person, field_t: float) -> dict[str, Tissue]:
    """One person's relaxation times and diffusion: a few percent around those of the field.

    Water content and ADC of white matter rise with age (textbook).
    """
    rng = stream(person.seed, "mr tissue")
    tissues = {}
    for name, tissue in TISSUES[field_t].items():
        vary = np.exp(rng.normal(0, (0.015, 0.03, 0.03, 0.05, 0.025)))
        values = np.array([getattr(tissue, key) for key in tissue.__dataclass_fields__]) * vary
        tissues[name] = Tissue(*(float(value) for value in values))
    older = 1 + 0.06 * float(np.clip((person.age_years - 50) / 40, 0, 1))
    grey, white = tissues["grey"], tissues["white"]
    # published T2 at 3 T reach 90 ms in grey and 72 ms in white matter; at 1.5 T they agree better
    spread = ((1.0, 1.25), (0.9, 1.0)) if field_t > 2 else ((0.93, 1.05), (0.95, 1.07))
    tissues["grey"] = replace(grey, t2_ms=grey.t2_ms * float(rng.uniform(*spread[0])))
    tissues["white"] = replace(
        white,
        t2_ms=white.t2_ms * float(rng.uniform(*spread[1])),
        adc=white.adc * older,
        density=white.density * older**0.3,
    )
    return tissues


def texture(seed: int, *names: object, scale_mm: float = 3.0) -> Float32Array:
    """Smooth unevenness of tissue, mean 0, standard deviation 1, on the head grid."""
    return refine(head_noise(stream(seed, *names), 2, scale_mm), 2)


def diffusion_signals(
    patient: Patient, protocol: MrProtocol, seed: int
) -> tuple[Float32Array, Float32Array]:
    """Signals at the lower and the higher b value, head grid.

    In the core the ADC falls as :func:`~training.simulate.mr.signal.ischemic_adc` tells and T2
    rises later; oedema raises both; old infarcts are CSF. Blood in vessels loses its signal by
    flow.
    """
    person, stroke = patient.person, patient.stroke
    tissues = own_tissues(person, protocol.field_t)
    core = stroke.core_weight if stroke else np.zeros(HEAD_SHAPE, dtype=np.float32)
    parts = materials(patient.head, core=core)
    onset, depth = (stroke.onset_h if stroke else 0.0), stream(seed, "adc depth").uniform(0.2, 1.2)
    fall = 1 - ischemic_adc(onset, depth)
    longer = ischemic_t2(onset) - 1
    low, high = protocol.b_values
    first = np.zeros(HEAD_SHAPE, dtype=np.float32)
    second = np.zeros(HEAD_SHAPE, dtype=np.float32)
    where = np.flatnonzero((parts.grey + parts.white).ravel() > 0)
    uneven = texture(person.seed, "adc texture").ravel()[where]
    dead, water = core.ravel()[where], parts.oedema.ravel()[where]
    for name in ("grey", "white"):
        tissue, share = tissues[name], getattr(parts, name).ravel()[where]
        adc = np.float32(tissue.adc) * (1 + np.float32(0.03) * uneven)
        adc *= 1 - np.float32(fall) * dead * (1 + np.float32(0.08) * uneven)
        adc += water * (np.float32(_OEDEMA_ADC) - adc)
        growth = np.float32(longer) * dead + np.float32(1.2) * water
        decay = protocol.te_ms / tissue.t2_ms
        signal = share * np.float32(spin_echo(tissue, protocol.te_ms, protocol.tr_ms))
        signal *= np.exp(np.float32(decay) * growth / (1 + growth))
        first.ravel()[where] += diffusion_weighted(signal, low, adc)
        second.ravel()[where] += diffusion_weighted(signal, high, adc)
    gains = {"soft": 1.0, "csf": 1.0, "clot": 1.0, "artery": _FLOW_VOID, "vein": _FLOW_VOID}
    gains |= {"fat": FAT_LEFT_BY_SATURATION, "bone": MARROW * FAT_LEFT_BY_SATURATION}
    for name, gain in gains.items():
        tissue, share = tissues["fat" if name == "bone" else name], getattr(parts, name)
        signal = gain * spin_echo(tissue, protocol.te_ms, protocol.tr_ms)
        first += share * np.float32(signal * attenuation(low, tissue.adc))
        second += share * np.float32(signal * attenuation(high, tissue.adc))
    return first, second


def gradient_echo_parts(
    patient: Patient, transformation: Transformation, protocol: MrProtocol, seed: int
) -> tuple[Float32Array, Float32Array]:
    """Real and imaginary signal of a gradient echo a day after the stroke, head grid."""
    person = patient.person
    tissues = own_tissues(person, protocol.field_t)
    head = patient.head
    core = patient.stroke.core_weight if patient.stroke else None
    parts = materials(head, core=core)
    bled = transformation.mask
    signal = np.zeros(HEAD_SHAPE, dtype=np.float32)
    growth = np.float32(1.2) * parts.oedema
    if core is not None:
        growth = growth + np.float32(ischemic_t2(30.0) - 1) * _a_day_later(patient, seed)
    for name in ("grey", "white"):
        tissue, share = tissues[name], getattr(parts, name)
        amount = _echo(tissue, protocol)
        # water content rises along with T2*
        gain = np.exp(np.float32(protocol.te_ms / tissue.t2star_ms) * growth / (1 + growth))
        signal += share * np.float32(amount) * gain * (1 + np.float32(0.15) * growth)
    iron = _iron(patient) * np.float32(protocol.te_ms / 1000)
    signal *= np.exp(-iron)
    for name in ("csf", "artery", "vein", "soft", "fat", "clot"):
        signal += getattr(parts, name) * np.float32(_echo(tissues[name], protocol))
    signal += parts.bone * np.float32(MARROW * _echo(tissues["fat"], protocol))
    signal += bled * (np.float32(_echo(tissues["clot"], protocol)) - signal)
    sources = susceptibility_sources(head, person.hematocrit)
    sources += bled * np.float32(4 * np.pi * 0.27 * person.hematocrit * 0.9)
    sources += microbleeds(patient)
    field = bleeding_field_hz(sources, protocol.field_t)
    field += air_field_hz(head, protocol.field_t)
    phase = field * np.float32(2 * np.pi * protocol.te_ms / 1000)
    return signal * np.cos(phase), signal * np.sin(phase)


def _echo(tissue: Tissue, protocol: MrProtocol) -> float:
    return gradient_echo(tissue, protocol.te_ms, protocol.tr_ms, protocol.flip_deg)


def _a_day_later(patient: Patient, seed: int) -> Float32Array:
    """Weight of the final infarct: the core, and what of the penumbra was not saved."""
    stroke = patient.stroke
    if stroke is None:
        return np.zeros(HEAD_SHAPE, dtype=np.float32)
    lost = np.float32(stream(seed, "infarct growth").beta(0.8, 2))
    grown = np.clip((stroke.hypoperfusion - (1 - lost)) * 4, 0, 1) * lost
    return np.asarray(np.maximum(stroke.core_weight, grown), dtype=np.float32)


def _iron(patient: Patient) -> Float32Array:
    """Extra R2* of the deep grey nuclei in 1/s: iron, increasing with age (Hallgren 1958)."""
    anatomy, person = patient.head.anatomy, patient.person
    amount = 9.0 * (1 - np.exp(-person.age_years / 25))
    iron = np.zeros(HEAD_SHAPE, dtype=np.float32)
    for region, share in ((Region.LENTIFORM, 1.0), (Region.CAUDATE, 0.6), (Region.THALAMUS, 0.25)):
        iron[anatomy.region == region] = amount * share
    return iron


def microbleeds(patient: Patient) -> Float32Array:
    """Susceptibility in ppm of old microbleeds: hemosiderin in 2 to 5 mm, more often with age."""
    person, anatomy = patient.person, patient.head.anatomy
    rng = stream(person.seed, "microbleeds")
    old = float(np.clip((person.age_years - 45) / 40, 0, 1))
    count = int(rng.poisson(rng.gamma(0.4, 3.0 * old))) if rng.random() < 0.5 * old else 0
    sources = np.zeros(HEAD_SHAPE, dtype=np.float32)
    places = np.flatnonzero(((anatomy.grey + anatomy.white) > 0.9).ravel())
    if not len(places):
        return sources
    for place in rng.choice(places, min(count, 40)):
        centre = np.array(np.unravel_index(place, HEAD_SHAPE))
        low = np.maximum(centre - 4, 0)
        box = tuple(slice(int(first), int(first) + 9) for first in low)
        index = np.indices(sources[box].shape, dtype=np.float32)
        squared = sum((index[axis] + low[axis] - centre[axis]) ** 2 for axis in range(3))
        spot = np.clip(rng.uniform(0.8, 1.8) + 0.5 - np.sqrt(squared), 0, 1)
        sources[box] = np.maximum(sources[box], spot * np.float32(rng.uniform(1.0, 2.5)))
    return sources
