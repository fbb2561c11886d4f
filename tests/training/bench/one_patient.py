"""The patient of all tests of the benchmarks."""

from functools import cache

from training.simulate.pathology.patient import Case, Patient, make_patient


@cache
def patient() -> Patient:
    """A patient with a stroke, made once."""
    return make_patient(Case(1, hemorrhage="none"))
