"""Heads, strokes and maps that the tests of flow share, made once per process."""

from functools import cache, lru_cache

from training.simulate.anatomy.build import build_anatomy
from training.simulate.anatomy.model import Anatomy
from training.simulate.anatomy.person import draw_person
from training.simulate.pathology.head import Head
from training.simulate.pathology.perfusion import PerfusionMaps, perfusion_maps
from training.simulate.pathology.stroke import Occlusion, Stroke, draw_stroke


def anatomy() -> Anatomy:
    return build_anatomy(draw_person(1))


@cache
def head() -> Head:
    return Head(anatomy())


@lru_cache(maxsize=2)
def m1_stroke(seed: int = 11) -> Stroke:
    return draw_stroke(anatomy(), seed, Occlusion.M1, "L")


@cache
def m1_maps() -> PerfusionMaps:
    return perfusion_maps(head(), m1_stroke(), 11)


@cache
def normal_maps() -> PerfusionMaps:
    return perfusion_maps(head(), None, 11)
