"""One patient with an M1 stroke for the tests of MR, made once per process."""

from functools import lru_cache

from training.simulate.anatomy.build import build_anatomy
from training.simulate.anatomy.person import draw_person
from training.simulate.pathology.head import Head
from training.simulate.pathology.patient import Case, Patient
from training.simulate.pathology.stroke import Occlusion, draw_stroke


@lru_cache(maxsize=1)
def stroke_patient() -> Patient:
    anatomy = build_anatomy(draw_person(1))
    stroke = draw_stroke(anatomy, 4, Occlusion.M1, "L")
    return Patient(Case(4, anatomy_seed=1, side="L"), Head(anatomy), stroke, None)


@lru_cache(maxsize=1)
def healthy_patient() -> Patient:
    anatomy = build_anatomy(draw_person(1))
    return Patient(Case(4, anatomy_seed=1, stroke="none"), Head(anatomy), None, None)
