"""Let a head bleed: blood of every kind, its density, oedema and mass effect, with their truth."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from training.simulate.anatomy.model import Region
from training.simulate.anatomy.person import Sides
from training.simulate.arrays import Float32Array, FloatArray, stream
from training.simulate.pathology.bleeds import Bleed, Part, Place, draw_bleed
from training.simulate.pathology.blood_density import blood_hu, oedema_hu
from training.simulate.pathology.extraaxial import epidural, subarachnoid, subdural
from training.simulate.pathology.growing import volume_ml
from training.simulate.pathology.head import BloodKind, Head
from training.simulate.pathology.hematoma import intraventricular, parenchymal
from training.simulate.pathology.mass_effect import (
    carry,
    displace,
    give_place,
    make_room,
    midline_shift_mm,
)
from training.simulate.pathology.surroundings import Surroundings
from training.simulate.space import HEAD_SHAPE

_PUSHING = {
    BloodKind.INTRAPARENCHYMAL: parenchymal,
    BloodKind.SUBDURAL: subdural,
    BloodKind.EPIDURAL: epidural,
}
_VENTRICLES_FILLED = 0.65
_VENTRICLES_WIDENED = 1.2
_CISTERNS_FILLED = 0.4


@dataclass(frozen=True)
class Hemorrhage:
    """What is true of a patient's hemorrhage.

    Parameters
    ----------
    kinds : tuple of BloodKind
        All that there are, that of the first bleed first.
    volumes_ml : dict of BloodKind to float
        Sum of the shares of blood in ``Head.blood``, in mL.
    place : Place
        Where the first bleed lies.
    region : Region
        Where most of its blood lies; ``SULCI`` for blood around the brain.
    side : "L", "R" or "both"
        The patient's side; both where neither holds three quarters of the blood.
    age_h : float
        Hours since the bleeding.
    midline_shift_mm : float
        Displacement of the septum pellucidum, positive to the patient's left.
    """

    kinds: tuple[BloodKind, ...]
    volumes_ml: dict[BloodKind, float]
    place: Place
    region: Region
    side: Sides
    age_h: float
    midline_shift_mm: float


def add_hemorrhage(
    head: Head, seed: int, kind: BloodKind | Literal["mixed"] | None = None
) -> tuple[Head, Hemorrhage]:
    """Let a head bleed; the head given stays as it is.

    Parameters
    ----------
    head : Head
        A head without blood.
    seed : int
        Decides the hemorrhage.
    kind : BloodKind, "mixed" or None
        One kind only, at least two, or drawn with clinical frequencies.

    Returns
    -------
    head : Head
        With blood, its HU, oedema, and tissue displaced by the mass effect.
    hemorrhage : Hemorrhage
        The truth about it.

    Raises
    ------
    ValueError
        The head already holds blood.
    """
    if head.blood:
        raise ValueError("the head already holds blood")
    person = head.anatomy.person
    bleed = draw_bleed(seed, kind, person.cohort)
    before = Surroundings(head.anatomy)
    bleed, widening = _fit(before, bleed)
    shares = _firm_blood(before, bleed, seed)
    taken = _total(shares, before)
    anatomy, water, shift = head.anatomy, head.water_hu, 0.0
    if taken.any() or widening:
        held_open = BloodKind.INTRAVENTRICULAR in bleed.kinds
        moved = make_room(before, taken, widening, held_open=held_open)
        anatomy = displace(anatomy, moved)
        water = None if water is None else carry(water, moved)
        shift = midline_shift_mm(before, moved)
    after = Surroundings(anatomy)
    fluid = _fluid_blood(after, bleed, seed, shares)
    if fluid:
        anatomy = give_place(anatomy, after.box, _total(fluid, after))
    shares = {**shares, **fluid}
    rng = stream(seed, "blood density")
    values = blood_hu(after, bleed, shares, person.hematocrit, rng)
    if BloodKind.INTRAPARENCHYMAL in shares:
        rim = oedema_hu(after, bleed, shares[BloodKind.INTRAPARENCHYMAL], rng)
        water = _darker(water, rim, after)
    bled = replace(
        head,
        anatomy=anatomy,
        blood={one: _whole(share, after) for one, share in shares.items()},
        blood_hu=_whole(values, after),
        water_hu=water,
    )
    return bled, _describe(after, bleed, shares, shift)


def _fit(around: Surroundings, bleed: Bleed) -> tuple[Bleed, float]:
    """Let the spaces for CSF hold what is drawn: less blood, or wider ventricles, in mL."""
    ventricles = volume_ml(around.csf * around.ventricles)
    cisterns = volume_ml(around.csf * ~around.ventricles * around.cavity)
    widening, parts = 0.0, []
    for part in bleed.parts:
        volume = part.volume_ml
        if part.kind == BloodKind.INTRAVENTRICULAR:
            volume = _at_most(volume, ventricles * _VENTRICLES_WIDENED)
            widening = max(volume / _VENTRICLES_FILLED - ventricles, 0.0)
        elif part.kind == BloodKind.SUBARACHNOID:
            volume = _at_most(volume, cisterns * _CISTERNS_FILLED)
        parts.append(Part(part.place, part.side, volume))
    return replace(bleed, parts=tuple(parts)), widening


def _at_most(volume: float, limit: float) -> float:
    """The volume itself up to half the limit, then ever less of what goes beyond."""
    half = limit / 2
    return volume if volume <= half else half + half * float(np.tanh((volume - half) / half))


def _firm_blood(around: Surroundings, bleed: Bleed, seed: int) -> dict[BloodKind, Float32Array]:
    """Blood that pushes the brain away."""
    shares: dict[BloodKind, Float32Array] = {}
    for number, part in enumerate(bleed.parts):
        if part.kind in _PUSHING:
            rng = stream(seed, "blood", number)
            share = _PUSHING[part.kind](around, part, _total(shares, around), rng)
            shares[part.kind] = shares[part.kind] + share if part.kind in shares else share
    return shares


def _fluid_blood(
    around: Surroundings, bleed: Bleed, seed: int, firm: dict[BloodKind, Float32Array]
) -> dict[BloodKind, Float32Array]:
    """Blood that mixes with CSF, on the brain as the mass effect has left it."""
    shares: dict[BloodKind, Float32Array] = {}
    for number, part in enumerate(bleed.parts):
        rng = stream(seed, "blood", number)
        taken = _total({**firm, **shares}, around)
        if part.kind == BloodKind.INTRAVENTRICULAR:
            space = volume_ml(around.csf * around.ventricles * (1 - np.minimum(taken, 1)))
            part = replace(part, volume_ml=min(part.volume_ml, space))
            source = _middle_mm(around, firm.get(BloodKind.INTRAPARENCHYMAL))
            shares[part.kind] = intraventricular(around, part, taken, rng, source)
        elif part.kind == BloodKind.SUBARACHNOID:
            shares[part.kind] = subarachnoid(around, part, taken, rng)
    return shares


def _middle_mm(around: Surroundings, share: Float32Array | None) -> FloatArray | None:
    if share is None:
        return None
    middle = []
    for axis, line in enumerate(around.axes_mm):
        weights = share.sum(axis=tuple({0, 1, 2} - {axis}), dtype=np.float64)
        middle.append(float(np.sum(weights * line.ravel()) / weights.sum()))
    return np.array(middle[::-1])


def _total(shares: Mapping[BloodKind, Float32Array], around: Surroundings) -> Float32Array:
    total = np.zeros(around.cavity.shape, dtype=np.float32)
    for share in shares.values():
        total += share
    return total


def _whole(values: Float32Array, around: Surroundings) -> Float32Array:
    whole = np.zeros(HEAD_SHAPE, dtype=np.float32)
    whole[around.box] = values
    return whole


def _darker(water: Float32Array | None, rim: Float32Array, around: Surroundings) -> Float32Array:
    if water is None:
        return _whole(rim, around)
    darker = water.copy()
    darker[around.box] = np.maximum(darker[around.box], rim)
    return darker


def _describe(
    around: Surroundings,
    bleed: Bleed,
    shares: dict[BloodKind, Float32Array],
    shift: float,
) -> Hemorrhage:
    first = bleed.parts[0]
    share = shares[first.kind]
    counts = np.bincount(around.region.ravel(), weights=share.ravel(), minlength=len(Region))
    inside = first.kind in (BloodKind.INTRAPARENCHYMAL, BloodKind.INTRAVENTRICULAR)
    counts[Region.NONE] = 0
    region = Region(int(np.argmax(counts))) if inside else Region.SULCI
    total = _total(shares, around)
    left = float(np.sum(total * around.on_side("L"))) / float(np.sum(total))
    return Hemorrhage(
        kinds=bleed.kinds,
        volumes_ml={kind: volume_ml(shares[kind]) for kind in bleed.kinds},
        place=first.place,
        region=region,
        side="L" if left > 0.75 else "R" if left < 0.25 else "both",
        age_h=bleed.age_h,
        midline_shift_mm=shift,
    )
