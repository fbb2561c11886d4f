"""Engines on the digital reference phantom, voxel by voxel.

The phantom is that of :mod:`training.evaluate.perfusion_phantom` with delays of 0 to 3 s. Unlike
there, where means over tiles are judged, every voxel counts here: noise is what engines differ in.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from inference.perfusion.maps import perfusion_maps
from training.bench.engines import (
    TOLERANCES,
    USUAL_TOLERANCE,
    Rule,
    dcmri_engine,
    timed,
)
from training.evaluate.engines import Engine, all_engines
from training.evaluate.perfusion_phantom import (
    ARRIVAL_S,
    DELAYS_S,
    KH,
    NOISE_HU,
    PATCH,
    RESOLVED_MTT_S,
    RHO_G_PER_ML,
    SHAPES,
    Shape,
    Tiles,
    build_tiles,
    noisy_curves,
)

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

RULES: tuple[Rule, ...] = ("TSVD", "Tikhonov")


@dataclass(frozen=True)
class Quantities:
    """One number for each of the maps."""

    cbf: float
    cbv: float
    mtt: float
    tmax: float


@dataclass(frozen=True)
class PhantomRow:
    """How an engine does on all voxels of one phantom.

    Parameters
    ----------
    engine, tuned, shape, noise_hu
        ``tuned`` tells for what the tolerance was chosen, empty where it was not; ``noise_hu`` is
        that of a voxel before smoothing.
    r : Quantities
        Pearson's coefficients; Tmax of tiles with MTT up to 8 s only.
    error : Quantities
        Mean absolute errors in mL/100 g/min, mL/100 g and s.
    voxels : int
    seconds : float
        Of the deconvolution.
    """

    engine: str
    tuned: str
    shape: Shape
    noise_hu: float
    r: Quantities
    error: Quantities
    voxels: int
    seconds: float


@dataclass(frozen=True, eq=False)
class _Case:
    """Curves of a phantom and the truth of their voxels, by name, each of shape ``(voxel,)``."""

    shape: Shape
    noise_hu: float
    curves: Float32Array
    times_s: Float64Array
    aif: Float64Array
    truth: dict[str, Float64Array]

    def row(self, engine: Engine, tuned: str = "") -> PhantomRow:
        """Run an engine."""
        residue, seconds = timed(engine, self.curves, self.times_s, self.aif)
        found = perfusion_maps(
            self.curves, self.times_s, self.aif, residue,
            arrival_s=ARRIVAL_S, kh=KH, rho_g_per_ml=RHO_G_PER_ML,
        )  # fmt: skip
        r, error = {}, {}
        for name, truth in self.truth.items():
            counted = self.truth["mtt"] <= RESOLVED_MTT_S if name == "tmax" else slice(None)
            values, known = getattr(found, name)[counted].astype(np.float64), truth[counted]
            r[name] = float(np.corrcoef(values, known)[0, 1])
            error[name] = float(np.abs(values - known).mean())
        return PhantomRow(
            engine.name, tuned, self.shape, self.noise_hu, Quantities(**r), Quantities(**error),
            len(self.curves), seconds,
        )  # fmt: skip


def compare_on_phantom(
    patch: int = PATCH, tolerances: Sequence[float] = TOLERANCES, noise_hu: float = NOISE_HU
) -> Iterator[PhantomRow]:
    """Run StrokeNode's methods and dcmri on the phantom of both residue functions.

    dcmri comes with its usual tolerance and, for each way to regularise, with the one of which the
    error of CBF is smallest and the one of which that of Tmax is.

    Parameters
    ----------
    patch : int
        Rows and columns of a tile.
    tolerances : sequence of float
        What dcmri's tolerance is chosen from.
    noise_hu : float
        Noise of a voxel before smoothing.
    """
    for shape in SHAPES:
        case = _make_case(shape, patch, noise_hu)
        yield from (case.row(engine) for engine in all_engines())
        yield case.row(dcmri_engine("TSVD", USUAL_TOLERANCE))
        for rule in RULES:
            rows = [case.row(dcmri_engine(rule, tolerance)) for tolerance in tolerances]
            yield replace(min(rows, key=lambda row: row.error.cbf), tuned="CBF")
            yield replace(min(rows, key=lambda row: row.error.tmax), tuned="Tmax")


def _make_case(shape: Shape, patch: int, noise_hu: float) -> _Case:
    tiles = _kudo(build_tiles(shape))
    curves, aif = noisy_curves(tiles, noise_hu, patch)
    names = {"cbf": tiles.cbf, "cbv": tiles.cbv, "mtt": tiles.mtt_s, "tmax": tiles.tmax_s}
    truth = {name: np.repeat(values, patch**2) for name, values in names.items()}
    return _Case(shape, noise_hu, curves, tiles.times_s, aif, truth)


def _kudo(tiles: Tiles) -> Tiles:
    """The tiles with delays of 0 to 3 s."""
    kept = (tiles.delay_s >= DELAYS_S[0]) & (tiles.delay_s <= DELAYS_S[-1])
    names = ("cbf", "cbv", "mtt_s", "delay_s", "tmax_s", "curves")
    return replace(tiles, **{name: getattr(tiles, name)[kept] for name in names})
