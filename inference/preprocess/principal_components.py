"""Noise reduction over time: curves as sums of the few shapes that all of the brain is made of.

Contrast passes through brain tissue in few ways (early or late, narrow or wide), noise in as many
as there are time points. So curves are projected onto their leading principal components. Unlike
smoothing this mixes no neighbours: lesions keep their borders. Hotelling 1933; for perfusion CT
e.g. Lin 2013, Med Phys 40:061904.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

FEWEST = 6
_NOISE_FACTOR = 2.0
_PART = 65536


def keep_components(
    curves: Float32Array, typical: BoolArray, acquired: int, fewest: int = FEWEST
) -> tuple[Float32Array, int]:
    """Project curves onto the principal components that stand out of the noise.

    Parameters
    ----------
    curves : array, shape ``(voxel, time)``
        Enhancement, noise about the same everywhere.
    typical : bool array, shape ``(voxel,)``
        The voxels whose components are taken, and that are projected: tissue without vessels.
        The others stay as they are.
    acquired : int
        Frames that the curves were interpolated from: noise has as many directions.
    fewest : int
        So many components are always kept; 0 keeps all, and the curves as they are.

    Returns
    -------
    curves : array, shape ``(voxel, time)``
    kept : int
        How many components: those whose variance is above twice that of the noise, which is the
        median over the first ``acquired`` ones, and at least ``fewest``.
    """
    times = curves.shape[1]
    if fewest == 0 or fewest >= times or int(typical.sum()) < times:
        return curves, times
    values, vectors = np.linalg.eigh(_second_moments(curves, typical))
    values, vectors = values[::-1], vectors[:, ::-1]
    above = int(np.count_nonzero(values > _NOISE_FACTOR * np.median(values[:acquired])))
    kept = min(max(fewest, above), times)
    basis = vectors[:, :kept]
    projection = (basis @ basis.T).astype(np.float32)
    out = curves.copy()
    for part in _parts(len(curves)):
        chosen = typical[part]
        out[part][chosen] = curves[part][chosen] @ projection
    return out, kept


def _second_moments(curves: Float32Array, typical: BoolArray) -> npt.NDArray[np.float64]:
    """Mean products of all pairs of time points, shape ``(time, time)``."""
    total = np.zeros((curves.shape[1],) * 2)
    for part in _parts(len(curves)):
        chosen = curves[part][typical[part]].astype(np.float64)
        total += chosen.T @ chosen
    return total / int(typical.sum())


def _parts(count: int) -> Iterator[slice]:
    for start in range(0, count, _PART):
        yield slice(start, start + _PART)
