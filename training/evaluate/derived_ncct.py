"""Derived head CT of test patients, by the network, its rivals and means of time points.

Scores count inside the cranial cavity without its rim: mean squared error, r² and structural
similarity over a range of 250 HU, against the head CT with noise and, of simulated patients, the
one without. Of simulated patients it is also measured what a reader needs: how much contrast is
left in vessels, and how much of the contrast of blood, infarcts, calcifications and of grey against
white matter is kept.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.derived_ncct.frames import FIRST_FRAMES
from training.evaluate.image_metrics import mean_squared_error, r2, ssim
from training.pairs.pair import BoolArray, Pair
from training.pairs.subvolumes import eroded_cavity

Float32Array = npt.NDArray[np.float32]
Derive = Callable[[Float32Array, BoolArray], Float32Array]
"""From frames of shape ``(time, slice, row, column)`` and the cavity to an image, both in HU."""

BASELINES = ("t=0", "t=0-3", "t=all")
VESSEL_VARIANCE_HU2 = 110.0
"""Temporal variance above which the paper counts a voxel as vessel."""
DATA_RANGE_HU = 250.0

_RING_MM = (2.0, 8.0)
_LEAST_VOXELS = 30
_LEAST_CONTRAST_HU = {"ich": 5.0, "infarct": -1.5, "calcification": 30.0}
_CALCIFIED_HU = 90.0
_TISSUE_HU = (18.0, 45.0)
_GREY_WHITE_SHARE = 0.2


@dataclass(frozen=True)
class Score:
    """One method on one patient.

    Parameters
    ----------
    method, case, scanner, split : str
    pathology : bool
    noisy_mse, noisy_r2, noisy_ssim : float
        Against the head CT as measured; HU² and without unit.
    mse, r2, ssim : float or None
        Against the head CT without noise, where that is known.
    vessels_hu : float or None
        Mean of what large vessels read above the head CT without noise.
    contrast : dict of str to float
        Part of the true contrast that is kept (1: all of it), for each of ``ich``, ``infarct``,
        ``calcification`` and ``grey-white`` that the patient has.
    """

    method: str
    case: str
    scanner: str
    split: str
    pathology: bool
    noisy_mse: float
    noisy_r2: float
    noisy_ssim: float
    mse: float | None
    r2: float | None
    ssim: float | None
    vessels_hu: float | None
    contrast: Mapping[str, float]


def baseline_image(method: str, frames: Float32Array) -> Float32Array:
    """Mean of the first time point, of the first four, or of all.

    Raises
    ------
    ValueError
        There is no such method.
    """
    counts = {"t=0": 1, "t=0-3": FIRST_FRAMES, "t=all": len(frames)}
    if method not in counts:
        raise ValueError(f"method {method!r}, expected one of {BASELINES}")
    mean: Float32Array = frames[: counts[method]].mean(axis=0, dtype=np.float32)
    return mean


def measure_bias(pairs: Sequence[Pair]) -> dict[str, float]:
    """HU by which head CT reads above each mean of time points, over non-vessels of all patients.

    Parameters
    ----------
    pairs : sequence of Pair
        Of training.
    """
    sums = dict.fromkeys(BASELINES, 0.0)
    count = 0
    for pair in pairs:
        frames = np.asarray(pair.ctp, np.float32)
        tissue = eroded_cavity(pair) & (frames.var(axis=0) <= VESSEL_VARIANCE_HU2)
        ncct = np.asarray(pair.ncct, np.float32)[tissue]
        count += len(ncct)
        for method in BASELINES:
            image = baseline_image(method, frames)[tissue]
            sums[method] += float((ncct - image).sum(dtype=np.float64))
    return {method: total / count for method, total in sums.items()}


def baselines(bias: Mapping[str, float]) -> dict[str, Derive]:
    """The three means as methods, each corrected by its bias."""

    def corrected(method: str) -> Derive:
        return lambda frames, _cavity: baseline_image(method, frames) + np.float32(bias[method])

    return {method: corrected(method) for method in BASELINES}


def score_pairs(pairs: Sequence[Pair], methods: Mapping[str, Derive]) -> Iterator[Score]:
    """Scores of every method on every patient, patient by patient."""
    for pair in pairs:
        frames = np.asarray(pair.ctp, np.float32)
        for method, derive in methods.items():
            yield score(method, pair, derive(frames, pair.masks["cavity"]))


def score(method: str, pair: Pair, image: Float32Array) -> Score:
    """Score one image.

    Parameters
    ----------
    method : str
        Who made it.
    pair : Pair
    image : array, shape ``(slice, row, column)``
        HU.
    """
    inside = eroded_cavity(pair)
    noisy = np.asarray(pair.ncct, np.float32)
    truth = None if pair.truth is None else np.asarray(pair.truth, np.float32)
    return Score(
        method=method,
        case=pair.case.name,
        scanner=pair.case.scanner,
        split=pair.case.split,
        pathology=pair.case.pathology,
        noisy_mse=mean_squared_error(image, noisy, inside),
        noisy_r2=r2(image, noisy, inside),
        noisy_ssim=ssim(image, noisy, inside, DATA_RANGE_HU),
        mse=None if truth is None else mean_squared_error(image, truth, inside),
        r2=None if truth is None else r2(image, truth, inside),
        ssim=None if truth is None else ssim(image, truth, inside, DATA_RANGE_HU),
        vessels_hu=None if truth is None else vessel_excess(pair, image, truth, inside),
        contrast={} if truth is None else contrast_kept(pair, image, truth, inside),
    )


def vessel_excess(
    pair: Pair, image: Float32Array, truth: Float32Array, inside: BoolArray
) -> float | None:
    """Mean HU that large vessels read above the truth; None where there are next to none.

    What the image reads too high everywhere does not count: that of the brain is subtracted.
    """
    vessels = pair.masks["vessels"] & inside
    brain = pair.masks["brain"] & inside & ~vessels
    if min(int(vessels.sum()), int(brain.sum())) < _LEAST_VOXELS:
        return None
    error = image - truth
    return float(error[vessels].mean() - np.median(error[brain]))


def contrast_kept(
    pair: Pair, image: Float32Array, truth: Float32Array, inside: BoolArray
) -> dict[str, float]:
    """Part of the true contrast against the surroundings that an image shows, by what it is of."""
    regions = {
        "ich": pair.masks["ich"] & inside,
        "infarct": pair.masks["core"] & inside,
        "calcification": (truth > _CALCIFIED_HU) & inside & ~pair.masks["ich"],
    }
    kept = {}
    brain = pair.masks["brain"] & inside
    for name, region in regions.items():
        around = _ring(region, pair.case.spacing_mm) & brain & ~region
        found = _contrast(image, truth, region, around, _LEAST_CONTRAST_HU[name])
        if found is not None:
            kept[name] = found
    grey, white = _grey_and_white(pair, truth, brain)
    found = _contrast(image, truth, grey, white, 1.0)
    if found is not None:
        kept["grey-white"] = found
    return kept


def _ring(region: BoolArray, spacing_mm: tuple[float, float, float]) -> BoolArray:
    """Voxels some millimetres outside of a region, in its slices."""
    out = np.zeros_like(region)
    for index in np.flatnonzero(region.any(axis=(1, 2))):
        away = ndimage.distance_transform_edt(~region[index], sampling=spacing_mm[1:])
        out[index] = (away > _RING_MM[0]) & (away <= _RING_MM[1])
    return out


def _grey_and_white(
    pair: Pair, truth: Float32Array, brain: BoolArray
) -> tuple[BoolArray, BoolArray]:
    """The brightest and the darkest fifth of healthy brain, by the true image."""
    healthy = brain & ~pair.masks["ich"] & ~pair.masks["core"] & ~pair.masks["vessels"]
    healthy &= (truth > _TISSUE_HU[0]) & (truth < _TISSUE_HU[1])
    if not healthy.any():
        return healthy, healthy
    low, high = np.quantile(truth[healthy], [_GREY_WHITE_SHARE, 1 - _GREY_WHITE_SHARE])
    return healthy & (truth >= high), healthy & (truth <= low)


def _contrast(
    image: Float32Array,
    truth: Float32Array,
    region: BoolArray,
    around: BoolArray,
    least_hu: float,
) -> float | None:
    """Contrast of a region in an image over that in truth; None where there is next to none."""
    if min(int(region.sum()), int(around.sum())) < _LEAST_VOXELS:
        return None
    true = float(truth[region].mean() - truth[around].mean())
    if abs(true) < abs(least_hu) or true * least_hu < 0:
        return None
    return float(image[region].mean() - image[around].mean()) / true
