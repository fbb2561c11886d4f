"""Which hemorrhage a patient has: kinds, places, volumes and age, before any voxel is filled."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np

from training.simulate.anatomy.person import Cohort, Side
from training.simulate.arrays import stream
from training.simulate.pathology.head import BloodKind

SMALLEST_ML, LARGEST_ML = 0.2, 150.0
_TINY_FRACTION = 0.045
_TINY_ML = (SMALLEST_ML, 2.0)
_WITH_VENTRICLES = 0.5


class Place(StrEnum):
    """Where blood of one kind lies."""

    PUTAMEN = "putamen"
    THALAMUS = "thalamus"
    CAUDATE = "caudate"
    LOBAR = "lobar"
    CEREBELLUM = "cerebellum"
    BRAINSTEM = "brainstem"
    CONTUSION = "contusion"
    LAYERED = "layered"
    CAST = "cast"
    BASAL = "basal"
    CONVEXITY = "convexity"
    HEMISPHERE = "hemisphere"
    FALX = "falx"
    TENTORIUM = "tentorium"
    TEMPORAL = "temporal"
    FRONTAL = "frontal"
    PARIETAL = "parietal"
    OCCIPITAL = "occipital"
    POSTERIOR_FOSSA = "posterior_fossa"


_KIND_OF: dict[Place, BloodKind] = {
    **dict.fromkeys(list(Place)[:7], BloodKind.INTRAPARENCHYMAL),
    **dict.fromkeys(list(Place)[7:9], BloodKind.INTRAVENTRICULAR),
    **dict.fromkeys(list(Place)[9:11], BloodKind.SUBARACHNOID),
    **dict.fromkeys(list(Place)[11:14], BloodKind.SUBDURAL),
    **dict.fromkeys(list(Place)[14:], BloodKind.EPIDURAL),
}
_DEEP = (Place.PUTAMEN, Place.THALAMUS, Place.CAUDATE)

# How often blood lies in a place (of all first bleeds), the median of its volume in mL, the SD of
# the volume's logarithm, and the most it holds. Two thirds of the spontaneous parenchymal ones are
# deep; thalamic ones have 13 ± 9.5 mL.
_PLACES: dict[Place, tuple[float, float, float, float]] = {
    Place.PUTAMEN: (0.195, 18, 0.95, 130),
    Place.THALAMUS: (0.125, 10.5, 0.65, 45),
    Place.CAUDATE: (0.02, 8, 0.7, 30),
    Place.LOBAR: (0.11, 28, 0.9, 150),
    Place.CEREBELLUM: (0.045, 13, 0.8, 55),
    Place.BRAINSTEM: (0.025, 5, 0.6, 14),
    Place.CONTUSION: (0.07, 11, 0.9, 90),
    Place.LAYERED: (0.02, 6, 0.8, 50),
    Place.CAST: (0.02, 20, 0.7, 80),
    Place.BASAL: (0.11, 24, 0.7, 80),
    Place.CONVEXITY: (0.06, 5, 0.8, 25),
    Place.HEMISPHERE: (0.12, 38, 0.8, 150),
    Place.FALX: (0.02, 8, 0.6, 25),
    Place.TENTORIUM: (0.015, 7, 0.6, 20),
    Place.TEMPORAL: (0.022, 30, 0.8, 130),
    Place.FRONTAL: (0.008, 28, 0.8, 110),
    Place.PARIETAL: (0.007, 30, 0.8, 120),
    Place.OCCIPITAL: (0.003, 22, 0.7, 80),
    Place.POSTERIOR_FOSSA: (0.004, 14, 0.6, 40),
}

# What else bleeds beside the first place: probability, place, share of the total volume.
_Companion = tuple[float, Place, tuple[float, float]]
_VENTRICLES: tuple[_Companion, ...] = ((_WITH_VENTRICLES, Place.CAST, (0.12, 0.6)),)
_COMPANIONS: dict[Place, tuple[_Companion, ...]] = {
    **dict.fromkeys(_DEEP, _VENTRICLES),
    Place.LOBAR: ((0.15, Place.CAST, (0.05, 0.3)), (0.2, Place.CONVEXITY, (0.05, 0.2))),
    Place.CEREBELLUM: ((0.35, Place.CAST, (0.1, 0.4)),),
    Place.BRAINSTEM: ((0.3, Place.CAST, (0.1, 0.4)),),
    Place.CONTUSION: (
        (0.5, Place.CONVEXITY, (0.1, 0.35)),
        (0.35, Place.HEMISPHERE, (0.2, 0.5)),
        (0.08, Place.LAYERED, (0.03, 0.1)),
    ),
    Place.BASAL: ((0.4, Place.LAYERED, (0.05, 0.35)), (0.12, Place.LOBAR, (0.2, 0.5))),
    Place.CONVEXITY: ((0.2, Place.CONTUSION, (0.2, 0.6)),),
    Place.HEMISPHERE: ((0.25, Place.CONVEXITY, (0.04, 0.2)), (0.12, Place.FALX, (0.05, 0.15))),
    Place.FALX: ((0.25, Place.CONVEXITY, (0.2, 0.4)),),
    Place.TENTORIUM: ((0.25, Place.CONVEXITY, (0.2, 0.4)),),
    Place.TEMPORAL: ((0.25, Place.CONTUSION, (0.1, 0.3)), (0.15, Place.CONVEXITY, (0.05, 0.15))),
    Place.FRONTAL: ((0.25, Place.CONTUSION, (0.1, 0.3)),),
}


@dataclass(frozen=True)
class Part:
    """Blood of one kind in one place."""

    place: Place
    side: Side
    volume_ml: float

    @property
    def kind(self) -> BloodKind:
        """Kind of the blood."""
        return _KIND_OF[self.place]


@dataclass(frozen=True)
class Bleed:
    """A hemorrhage as drawn.

    Parameters
    ----------
    parts : tuple of Part
        The first is the one that decides region and side.
    age_h : float
        Hours since the bleeding.
    anaemic : bool
        Whether the blood's haematocrit is below 23 %, which makes it as dense as brain.
    """

    parts: tuple[Part, ...]
    age_h: float
    anaemic: bool

    @property
    def kinds(self) -> tuple[BloodKind, ...]:
        """The kinds, each once, that of the first part first."""
        return tuple(dict.fromkeys(part.kind for part in self.parts))

    @property
    def volumes_ml(self) -> dict[BloodKind, float]:
        """Volume of each kind."""
        return {
            kind: sum(part.volume_ml for part in self.parts if part.kind == kind)
            for kind in self.kinds
        }


def draw_bleed(
    seed: int,
    kind: BloodKind | Literal["mixed"] | None = None,
    cohort: Cohort = "usual",
) -> Bleed:
    """Draw what bleeds, where, how much and since when.

    Frequencies are those of patients who come with suspected stroke or head injury (textbook):
    parenchymal ones are most common, and about half of the deep ones reach the ventricles.

    Parameters
    ----------
    seed : int
        Decides the bleed.
    kind : BloodKind, "mixed" or None
        One kind only, at least two kinds, or whatever comes.
    cohort : str
        ``shifted`` bleeds are older and more often of low haematocrit.
    """
    rng = stream(seed, "bleed", kind or "any")
    while True:
        parts = _draw_parts(rng, kind)
        if kind != "mixed" or len({part.kind for part in parts}) > 1:
            break
    age = _draw_age_h(rng, parts[0], cohort)
    anaemic = bool(rng.random() < (0.08 if cohort == "shifted" else 0.03))
    return Bleed(parts, age, anaemic)


def _draw_parts(
    rng: np.random.Generator, kind: BloodKind | Literal["mixed"] | None
) -> tuple[Part, ...]:
    alone = kind is not None and kind != "mixed"
    weights = {
        place: row[0] for place, row in _PLACES.items() if not alone or _KIND_OF[place] == kind
    }
    first = _pick(rng, weights)
    total = _draw_volume_ml(rng, first)
    side: Side = "L" if rng.random() < 0.5 else "R"
    if alone:
        return (Part(first, side, total),)
    parts, left = [], 1.0
    for probability, place, (low, high) in _COMPANIONS.get(first, ()):
        share = float(rng.uniform(low, high))
        if rng.random() < probability and share * total >= SMALLEST_ML:
            volume = min(share * total, _PLACES[place][3])
            left -= volume / total
            opposite = first in (Place.TEMPORAL, Place.FRONTAL) and place == Place.CONTUSION
            where: Side = side if not opposite else ("R" if side == "L" else "L")
            parts.append(Part(place, where, volume))
    if left < 0.3:
        parts = [Part(part.place, part.side, part.volume_ml * 0.6) for part in parts]
        left = 1 - sum(part.volume_ml for part in parts) / total
    return (Part(first, side, left * total), *parts)


def _pick(rng: np.random.Generator, weights: Mapping[Place, float]) -> Place:
    places = list(weights)
    shares = np.array([weights[place] for place in places])
    return places[int(rng.choice(len(places), p=shares / shares.sum()))]


def _draw_volume_ml(rng: np.random.Generator, place: Place) -> float:
    _, median, spread, largest = _PLACES[place]
    if rng.random() < _TINY_FRACTION:
        return float(np.exp(rng.uniform(*np.log(_TINY_ML))))
    while True:
        volume = float(median * np.exp(rng.normal(0, spread)))
        if SMALLEST_ML <= volume <= largest:
            return volume


def _draw_age_h(rng: np.random.Generator, first: Part, cohort: Cohort) -> float:
    """Hyperacute, acute, subacute or chronic; only subdural blood is found months later."""
    old = 1.6 if cohort == "shifted" else 1.0
    shares = {
        BloodKind.SUBDURAL: (0.08, 0.42, 0.2 * old, 0.3 * old),
        BloodKind.EPIDURAL: (0.3, 0.68, 0.02 * old, 0.0),
        BloodKind.SUBARACHNOID: (0.3, 0.65, 0.05 * old, 0.0),
    }.get(first.kind, (0.28, 0.57, 0.15 * old, 0.0))
    phase = int(rng.choice(4, p=np.array(shares) / sum(shares)))
    low, high = ((0.5, 3), (3, 72), (72, 400), (480, 2000))[phase]
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
