"""Deconvolution engines that are measured: every method, and the one that the pipelines use."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.perfusion.deconvolution import METHODS, FloatArray, Method, Residue, deconvolve
from inference.perfusion.settings import PerfusionSettings

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Engine:
    """A way to deconvolve.

    ``run(curves, times_s, aif)`` takes curves of shape ``(voxel, time)``, even times and an
    arterial input of shape ``(time,)``.
    """

    name: str
    run: Callable[[FloatArray, Float64Array, Float64Array], Residue]


def own_engines(methods: Sequence[Method] = METHODS) -> list[Engine]:
    """Methods with their default constants."""

    def engine(method: Method) -> Engine:
        return Engine(method, lambda curves, times_s, aif: deconvolve(curves, times_s, aif, method))

    return [engine(method) for method in methods]


def pipeline_engine() -> Engine:
    """The solver of the pipelines with their usual settings."""
    usual = PerfusionSettings()

    def run(curves: FloatArray, times_s: Float64Array, aif: Float64Array) -> Residue:
        return deconvolve(
            curves, times_s, aif, usual.solver,
            truncation=usual.truncation, oscillation_target=usual.oscillation_target,
            quadrature=usual.quadrature, tmax_range_s=(usual.tmax_min_s, usual.tmax_max_s),
            plateau=usual.tmax_plateau,
        )  # fmt: skip

    return Engine(f"{usual.solver} {usual.truncation:g} (usual)", run)


def all_engines() -> list[Engine]:
    """Every method, and last the pipelines' one."""
    return [*own_engines(), pipeline_engine()]
