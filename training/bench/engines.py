"""The deconvolution that StrokeNode's is compared with: dcmri's ``deconv``.

dcmri (https://dcmri.org) inverts the lower-triangular convolution matrix, whose integral is taken
by a quadratic rule, with truncated singular values or by Tikhonov's method. Its tolerance is a
share of the largest singular value; 0.2 is what standard truncation takes (Ostergaard 1996, Magn
Reson Med 36:715). From what either finds, CBF, CBV and MTT are made by the same formulae.
"""

import time
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from inference.perfusion.deconvolution import FloatArray, Residue
from training.evaluate.engines import Engine

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Rule = Literal["TSVD", "Tikhonov"]

USUAL_TOLERANCE = 0.2
TOLERANCES: tuple[float, ...] = (
    0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5,
)  # fmt: skip
"""Tolerances among which dcmri's best one is looked for."""


class MissingPackageError(Exception):
    """A package that only the benchmarks need is not installed."""


def require_dcmri() -> None:
    """Say how to install dcmri where it is missing.

    Raises
    ------
    MissingPackageError
    """
    if find_spec("dcmri") is None:
        raise MissingPackageError(
            "dcmri is not installed; in StrokeNode's folder: "
            "pip install -c constraints.txt '.[bench]'"
        )


def dcmri_engine(rule: Rule, tolerance: float) -> Engine:
    """The ``deconv`` of dcmri with the maximum of its residue function, at a sample."""
    deconv: Any = import_module("dcmri").deconv

    def run(curves: FloatArray, times_s: Float64Array, aif: Float64Array) -> Residue:
        step = float(times_s[1] - times_s[0])
        residues = deconv(curves.T, aif, dt=step, method=rule, tol=tolerance)
        peak = residues.argmax(axis=0)
        flow: FloatArray = residues[peak, np.arange(len(curves))]
        return Residue(flow, peak * step, np.full(len(curves), tolerance))

    return Engine(f"dcmri {rule} {tolerance:g}", run)


def timed(
    engine: Engine, curves: Float32Array, times_s: Float64Array, aif: Float64Array
) -> tuple[Residue, float]:
    """Run an engine; also returns the seconds that it took."""
    start = time.perf_counter()
    found = engine.run(curves, times_s, aif)
    return found, time.perf_counter() - start
