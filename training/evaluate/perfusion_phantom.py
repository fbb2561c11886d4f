"""Digital reference phantom for perfusion engines, and what an engine makes of it.

Tiles of uniform tissue cover CBF 2.5 to 87.5 mL/100 g/min, CBV 1 to 5 mL/100 g, MTT 3.4 to 24 s
and delays of 0 to 3 s (Kudo 2013, Radiology 267:201), and delays of -3 to 5 s for the test of
shifts. C(t) = rho / kH * CBF / 6000 * (a * R)(t) with an exponential or a box residue function R
(Meier and Zierler 1954; Ostergaard 1996, Magn Reson Med 36:715); the convolution is integrated in
steps of 0.05 s and sampled every second for a minute.

What Tmax should be is a definition. No engine tells times apart that the arterial input does not:
the spectrum of its first pass falls to a tenth at 0.16 Hz, which is a kernel of 4 s full width at
half maximum. Tmax here is when the residue function, seen through a Gaussian of that width, has its
maximum: in the middle of a box, and 1.7 to 3.3 s after the delay for an exponential. Tissue of a
long MTT is judged too, and once without: at CBF 2.5 the noise is larger than the signal.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from inference.perfusion.maps import perfusion_maps
from inference.preprocess.principal_components import keep_components
from training.evaluate.engines import Engine, all_engines

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Shape = Literal["exponential", "box"]

SHAPES: tuple[Shape, ...] = get_args(Shape)
CBV = (1.0, 2.0, 3.0, 4.0, 5.0)
MTT_S = (24.0, 12.0, 8.0, 6.0, 4.8, 4.0, 24 / 7)
DELAYS_S = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
SHIFTS_S = (-3.0, -2.0, -1.0, *DELAYS_S, 4.0, 5.0)
KH = 0.73
RHO_G_PER_ML = 1.04
NOISE_HU = 6.0
"""Standard deviation of one voxel at 80 kVp and 5 mm before smoothing."""
SMOOTHING_VOXELS = 2.5
"""Standard deviation of the Gaussian that smooths in the plane, in voxels."""
PATCH = 32
"""Rows and columns of a tile."""

ARRIVAL_S = 8.0
KERNEL_S = 4.0
"""Full width at half maximum of the kernel through which Tmax is defined."""
RESOLVED_MTT_S = 8.0

_FINE_S = 0.05
_DURATION_S = 60.0
_ARTERIAL_VOXELS = 9


@dataclass(frozen=True, eq=False)
class Tiles:
    """Truth and curves of the tiles of one phantom.

    Parameters
    ----------
    shape : "exponential" or "box"
        Of the residue function.
    times_s, aif : array, shape ``(time,)``
        Even times, and the enhancement of the artery in HU.
    cbf, cbv, mtt_s, delay_s, tmax_s : array, shape ``(tile,)``
        In mL/100 g/min, mL/100 g and seconds.
    curves : array, shape ``(tile, time)``
        Enhancement of the tissue in HU, free of noise.
    """

    shape: Shape
    times_s: Float64Array
    aif: Float64Array
    cbf: Float64Array
    cbv: Float64Array
    mtt_s: Float64Array
    delay_s: Float64Array
    tmax_s: Float64Array
    curves: Float64Array


@dataclass(frozen=True)
class Agreement:
    """How the means over the voxels of each tile agree with the truth.

    Parameters
    ----------
    engine, shape, noise_hu
        Name of the engine, the residue function, and the noise of a voxel before smoothing.
    r_cbf, r_cbv, r_mtt, r_tmax : float
        Pearson's coefficients over the tiles with delays of 0 to 3 s.
    r_tmax_resolved : float
        The same without MTT above 8 s.
    cbf_percent_per_s : float
        Slope against these delays of CBF as a share of its mean for the same tissue.
    tmax_per_s : float
        Slope of Tmax against shifts of -3 to 5 s, of MTT up to 8 s.
    """

    engine: str
    shape: Shape
    noise_hu: float
    r_cbf: float
    r_cbv: float
    r_mtt: float
    r_tmax: float
    r_tmax_resolved: float
    cbf_percent_per_s: float
    tmax_per_s: float


def build_tiles(shape: Shape) -> Tiles:
    """Make the phantom of one shape of residue function."""
    cbv, mtt, delay = (grid.ravel() for grid in np.meshgrid(CBV, MTT_S, SHIFTS_S, indexing="ij"))
    cbf = 60 * cbv / mtt
    times = np.arange(_DURATION_S)
    # Weights of the convolution: the residue function's integral over each fine step.
    edges = np.arange(-4.0, _DURATION_S, _FINE_S)
    since = np.clip(edges - delay[:, None], 0, None)
    ratio = since / mtt[:, None]
    area = mtt[:, None] * (-np.expm1(-ratio) if shape == "exponential" else np.minimum(ratio, 1))
    weights = (RHO_G_PER_ML / KH / 6000) * cbf[:, None] * np.diff(area, axis=1)
    middles = (edges[:-1] + edges[1:]) / 2
    # Not a matrix product, of which the last bits depend on the number of threads.
    curves = np.einsum("kf,ft->kt", weights, arterial_input(times - middles[:, None]))
    seen = {mean: seen_peak(shape, mean) for mean in MTT_S}
    tmax = delay + np.array([seen[mean] for mean in mtt])
    return Tiles(shape, times, arterial_input(times), cbf, cbv, mtt, delay, tmax, curves)


def seen_peak(shape: Shape, mtt_s: float) -> float:
    """Time from the delay to the maximum of the residue function seen through the kernel, in s."""
    if shape == "box":
        return mtt_s / 2
    reach = np.arange(-2 * KERNEL_S, 2 * KERNEL_S, _FINE_S / 5)
    kernel = np.exp2(-((2 * reach / KERNEL_S) ** 2))
    # The kernel's history, forgotten exponentially: at the maximum it equals the kernel.
    return float(
        reach[np.argmax(np.exp(-reach / mtt_s) * np.cumsum(kernel * np.exp(reach / mtt_s)))]
    )


def arterial_input(times_s: Float64Array) -> Float64Array:
    """Enhancement of the artery in HU: gamma variate u^3 e^(-u / 1.5) from 8 s on, peak 300 HU.

    12 % of it come again 9 s later and twice as broad, over a tail of 5 % (Thompson 1964, Circ
    Res 14:502; shares textbook).
    """
    since = times_s - ARRIVAL_S
    tail = -np.expm1(-np.clip(since - 4.5, 0, None) / 6)
    curve = _gamma_variate(since, 1.5) + 0.12 * _gamma_variate(since - 9, 3.0) + 0.05 * tail
    return np.asarray(300.0 * curve)


def noisy_curves(
    tiles: Tiles, noise_hu: float, patch: int = PATCH, seed: int = 0
) -> tuple[Float32Array, Float64Array]:
    """Voxels of ``patch`` by ``patch`` per tile with smoothed noise, and the noisy artery.

    Parameters
    ----------
    noise_hu : float
        Standard deviation of the noise of a voxel before smoothing; the artery is the mean of
        nine such voxels.

    Returns
    -------
    array, shape ``(voxel, time)``, and array, shape ``(time,)``
        The voxels of a tile follow each other.
    """
    from scipy.ndimage import gaussian_filter1d

    random = np.random.default_rng(seed)
    count = len(tiles.times_s)
    aif = tiles.aif + noise_hu / _ARTERIAL_VOXELS**0.5 * random.standard_normal(count)
    voxels = np.empty((len(tiles.curves), patch, patch, count), np.float32)
    for place, curve in zip(voxels, tiles.curves, strict=True):
        noise = noise_hu * random.standard_normal(place.shape, dtype=np.float32)
        for axis in (0, 1):
            noise = gaussian_filter1d(noise, SMOOTHING_VOXELS, axis=axis, mode="wrap")
        place[:] = noise + curve.astype(np.float32)
    return voxels.reshape(-1, count), aif


def measure_engines(
    engines: Iterable[Engine] | None = None,
    noises_hu: Iterable[float] = (0.0, NOISE_HU),
    patch: int = PATCH,
) -> Iterator[Agreement]:
    """Run engines, all by default, on phantoms of both shapes, per noise.

    A tile without noise is one voxel. Noise is reduced as in the pipelines: a Gaussian, then
    principal components over time.
    """
    chosen = all_engines() if engines is None else list(engines)
    for noise in noises_hu:
        for shape in SHAPES:
            tiles = build_tiles(shape)
            curves, aif = noisy_curves(tiles, noise, patch if noise > 0 else 1)
            if noise > 0:
                every, times = np.ones(len(curves), bool), len(tiles.times_s)
                curves, _ = keep_components(curves, every, acquired=times)
            for engine in chosen:
                yield measure_engine(engine, tiles, curves, aif, noise)


def measure_engine(
    engine: Engine, tiles: Tiles, curves: Float32Array, aif: Float64Array, noise_hu: float
) -> Agreement:
    """Run one engine on curves of :func:`noisy_curves`."""
    residue = engine.run(curves, tiles.times_s, aif)
    maps = perfusion_maps(
        curves, tiles.times_s, aif, residue, arrival_s=ARRIVAL_S, kh=KH, rho_g_per_ml=RHO_G_PER_ML
    )
    cbf, cbv, mtt, tmax = (
        values.reshape(len(tiles.curves), -1).mean(axis=1, dtype=np.float64)
        for values in (maps.cbf, maps.cbv, maps.mtt, maps.tmax)
    )
    delayed = (tiles.delay_s >= DELAYS_S[0]) & (tiles.delay_s <= DELAYS_S[-1])
    resolved = tiles.mtt_s <= RESOLVED_MTT_S
    both = delayed & resolved
    by_tissue = (-1, len(DELAYS_S))
    relative = cbf[delayed].reshape(by_tissue)
    relative = relative / relative.mean(axis=1, keepdims=True)
    return Agreement(
        engine.name,
        tiles.shape,
        noise_hu,
        _correlation(cbf[delayed], tiles.cbf[delayed]),
        _correlation(cbv[delayed], tiles.cbv[delayed]),
        _correlation(mtt[delayed], tiles.mtt_s[delayed]),
        _correlation(tmax[delayed], tiles.tmax_s[delayed]),
        _correlation(tmax[both], tiles.tmax_s[both]),
        100 * _slope(tiles.delay_s[delayed], relative.ravel()),
        _slope(tiles.delay_s[resolved], tmax[resolved]),
    )


def _correlation(found: Float64Array, truth: Float64Array) -> float:
    return float(np.corrcoef(found, truth)[0, 1])


def _slope(x: Float64Array, y: Float64Array) -> float:
    """Of the regression line; the same for each tissue, since all have the same delays."""
    return float(np.polyfit(x, y, 1)[0])


def _gamma_variate(since_s: Float64Array, scale_s: float) -> Float64Array:
    """Gamma variate of power 3 with a maximum of 1, ``3 * scale_s`` after its start."""
    u = np.clip(since_s, 0, None) / (3 * scale_s)
    return np.asarray((u * np.exp(1 - u)) ** 3)
