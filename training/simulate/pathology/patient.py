"""One patient: a person, what befell them, and their head on the day of the scan."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from training.simulate.anatomy.build import build_anatomy
from training.simulate.anatomy.model import Anatomy
from training.simulate.anatomy.person import Cohort, Person, Side, draw_person
from training.simulate.arrays import Float32Array, stream
from training.simulate.pathology.head import BloodKind, Head
from training.simulate.pathology.hemorrhage import Hemorrhage, add_hemorrhage
from training.simulate.pathology.mimics import add_mimics
from training.simulate.pathology.perfusion import PerfusionMaps, perfusion_maps
from training.simulate.pathology.stroke import Occlusion, Stroke, draw_stroke, early_change_hu

STROKE_FRACTION = 0.85


@dataclass(frozen=True)
class Case:
    """What to simulate; everything that is not said is drawn from the seed.

    Parameters
    ----------
    seed : int
        Decides what befell the patient, and the scans.
    anatomy_seed : int or None
        Decides the person; the seed when None. Cases that share it are the same head.
    cohort : str
        ``usual`` or ``shifted``.
    stroke : Occlusion, "none" or None
        Which artery is occluded; None draws, with no stroke in about one of seven.
    side : "L", "R" or None
        The patient's side of the stroke; None draws.
    hemorrhage : BloodKind, "mixed", "none" or None
        Kind of hemorrhage; None draws one.
    mimics : sequence of str or None
        Names that :func:`~training.simulate.pathology.mimics.add_mimics` knows; None draws, empty
        for none.
    """

    seed: int
    anatomy_seed: int | None = None
    cohort: Cohort = "usual"
    stroke: Occlusion | Literal["none"] | None = None
    side: Side | None = None
    hemorrhage: BloodKind | Literal["mixed", "none"] | None = "none"
    mimics: Sequence[str] | None = None

    @property
    def person(self) -> Person:
        """The person whose head this is."""
        seed = self.seed if self.anatomy_seed is None else self.anatomy_seed
        return draw_person(seed, self.cohort)


@dataclass(frozen=True, eq=False)
class Patient:
    """A patient ready to be scanned; ``head`` holds all that any scanner can see."""

    case: Case
    head: Head
    stroke: Stroke | None
    hemorrhage: Hemorrhage | None

    @property
    def person(self) -> Person:
        """Whose head it is."""
        return self.head.anatomy.person

    @cached_property
    def perfusion(self) -> PerfusionMaps:
        """Blood flow of the brain, computed when first asked for."""
        return perfusion_maps(self.head, self.stroke, self.case.seed)


def make_patient(case: Case, anatomy: Anatomy | None = None) -> Patient:
    """Let a case happen to a head.

    Blood comes first, because its mass effect moves the tissue; then the stroke, on the tissue as
    it then lies; then what imitates blood.

    Parameters
    ----------
    case : Case
        What to simulate.
    anatomy : Anatomy or None
        The person's anatomy when it is at hand (a cache); built when None.

    Raises
    ------
    ValueError
        The anatomy is another person's.
    """
    if anatomy is None:
        anatomy = build_anatomy(case.person)
    elif anatomy.person != case.person:
        raise ValueError(
            f"the anatomy is that of seed {anatomy.person.seed} ({anatomy.person.cohort}), "
            f"the case needs seed {case.person.seed} ({case.cohort})"
        )
    head, hemorrhage = Head(anatomy), None
    if case.hemorrhage != "none":
        head, hemorrhage = add_hemorrhage(head, case.seed, case.hemorrhage)
    stroke = _stroke(case, head.anatomy)
    if stroke is not None:
        change = early_change_hu(stroke, head.anatomy, case.seed)
        head = replace(head, water_hu=_sum(head.water_hu, change))
    head = add_mimics(head, case.seed, stroke, case.mimics)
    return Patient(case, head, stroke, hemorrhage)


def _stroke(case: Case, anatomy: Anatomy) -> Stroke | None:
    if case.stroke == "none":
        return None
    if case.stroke is None and stream(case.seed, "stroke or not").random() > STROKE_FRACTION:
        return None
    return draw_stroke(anatomy, case.seed, case.stroke, case.side)


def _sum(first: Float32Array | None, second: Float32Array) -> Float32Array:
    return second if first is None else first + second
