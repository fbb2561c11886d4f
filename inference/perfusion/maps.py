"""Quantities per voxel from residue functions and curves.

CBF = 6000 (kH/rho) max k, CBV = 100 (kH/rho) ∫C/∫a, MTT = 60 CBV/CBF (central volume theorem),
Tmax = time of max k (the middle of its top), TTP = time of the tissue curve's maximum after
arterial arrival. kH corrects for the haematocrit of small against large vessels, rho is the density
of brain (Ostergaard 1996, Magn Reson Med 36:715; Fieselmann 2011, Int J Biomed Imaging 467563).

Both integrals of CBV take the whole scan, which beats the first pass alone: tissue passes slowly.
What enters the artery later than Tmax before the end cannot have passed the tissue, so the artery
is integrated up to there only. On the digital reference phantom with MTT up to 12 s, cut after
40 s, that lowers the mean error of CBV from -11 to -8 % for exponential residue functions, and from
-5 to 0 % for boxes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.perfusion.deconvolution import FloatArray, Residue

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

_LONGEST_MTT_S = 60.0


@dataclass(frozen=True, eq=False)
class PerfusionMaps:
    """Five quantities of the same voxels, each of shape ``(voxel,)``.

    ``cbf`` in mL/100 g/min, ``cbv`` in mL/100 g, ``mtt``, ``tmax`` and ``ttp`` in seconds.
    """

    cbf: Float32Array
    cbv: Float32Array
    mtt: Float32Array
    tmax: Float32Array
    ttp: Float32Array


def perfusion_maps(
    curves: Float32Array,
    times_s: Float64Array,
    aif: Float64Array,
    residue: Residue,
    *,
    arrival_s: float,
    kh: float,
    rho_g_per_ml: float,
) -> PerfusionMaps:
    """Scale what the deconvolution found to the units that readers know.

    Parameters
    ----------
    curves : array, shape ``(voxel, time)``
        Enhancement of the tissue in HU.
    times_s, aif : array, shape ``(time,)``
        Even times and the arterial input in HU, scaled for partial volume.
    residue : Residue
        Of these curves.
    arrival_s : float
        Arrival at the artery.
    kh, rho_g_per_ml : float
        Haematocrit factor and density of brain.
    """
    scale = kh / rho_g_per_ml
    cbf = np.maximum(6000 * scale * residue.flow, 0)
    passed = _arterial_area(aif, times_s, residue.tmax_s, arrival_s)
    cbv = np.maximum(100 * scale * curves.sum(axis=1) / passed, 0)
    mtt = np.minimum(60 * cbv / np.maximum(cbf, 1e-3), _LONGEST_MTT_S)
    ttp = _peak_times(curves, times_s, arrival_s) - arrival_s
    return PerfusionMaps(
        *(x.astype(np.float32, copy=False) for x in (cbf, cbv, mtt, residue.tmax_s, ttp))
    )


def _arterial_area(
    aif: Float64Array, times_s: Float64Array, tmax_s: FloatArray, arrival_s: float
) -> Float64Array:
    """Sum of the arterial input up to Tmax before the end, of shape ``(voxel,)``.

    Half of the time after the arrival is always summed, whatever noise makes of Tmax.
    """
    lag = np.clip(tmax_s, 0, max((float(times_s[-1]) - arrival_s) / 2, 0))
    return np.asarray(np.interp(times_s[-1] - lag, times_s, np.cumsum(aif)))


def _peak_times(curves: Float32Array, times_s: Float64Array, earliest_s: float) -> Float64Array:
    """Time of each curve's maximum from ``earliest_s`` on, refined by a parabola."""
    first = int(np.searchsorted(times_s, earliest_s))
    if len(curves) == 0 or first > len(times_s) - 3:
        return np.full(len(curves), times_s[-1])
    index = first + np.argmax(curves[:, first:], axis=1)
    inner = np.clip(index, 1, len(times_s) - 2)
    rows = np.arange(len(curves))
    left, centre, right = (curves[rows, inner + k].astype(np.float64) for k in (-1, 0, 1))
    bend = left - 2 * centre + right
    curved = (inner == index) & (bend < 0)
    shift = np.where(curved, 0.5 * (left - right) / np.where(curved, bend, 1.0), 0.0)
    step = float(times_s[1] - times_s[0])
    return np.asarray(times_s[index] + np.clip(shift, -0.5, 0.5) * step)
