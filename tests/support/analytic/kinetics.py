"""From flow to images over time: contrast curves, noise and motion.

The bolus is a gamma variate with recirculation; tissue answers with an exponential residue
function (central volume theorem, CBV = CBF·MTT/60), sampled at the time of every slice.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage, signal

from tests.support.analytic.head import Float32Array, FloatArray, Tissue
from tests.support.analytic.phantom import Phantom

HEMATOCRIT_FACTOR = 0.73
DENSITY_G_PER_ML = 1.04
STEP_S = 0.1
_TRANSIT_TIMES_S = np.geomspace(2.0, 20.0, 48)
_NOISE_PEAK_PER_MM = 0.25


@dataclass(frozen=True, eq=False)
class Bolus:
    """Contrast in large vessels in HU, each of shape ``(time,)`` in steps of 0.1 s from 0."""

    arrival_s: float
    arterial_hu: FloatArray
    late_arterial_hu: FloatArray
    venous_hu: FloatArray


def draw_bolus(seed: int, duration_s: float) -> Bolus:
    """Draw the arterial input of one patient and the curves of its other large vessels.

    Gamma variate (t-t0)^b e^(-(t-t0)/c) of 6-7.5 s width and 260-400 HU, recirculation of
    8-16 % after 8-12 s, slow tail. The vein conserves the area.
    """
    rng = np.random.default_rng([seed, 3])
    time = np.arange(0, duration_s + 1, STEP_S)
    arrival, width, shape = rng.uniform((7.5, 6.0, 2.4), (9.5, 7.5, 3.4))
    since = np.clip(time - arrival, 0, None)
    scale = width / (2.35 * np.sqrt(shape + 0.1))
    first = since**shape * np.exp(-since / scale)
    first /= (shape * scale) ** shape * np.exp(-shape)
    second = _disperse(_delay(first, rng.uniform(8, 12)), 4.0)
    peak = max(float(second.max()), 1e-6)
    tail = np.cumsum(second) / max(float(second.sum()), 1e-6)
    arterial = rng.uniform(260, 400) * (
        first + rng.uniform(0.08, 0.16) * second / peak + 0.04 * tail
    )
    return Bolus(
        arrival_s=float(arrival),
        arterial_hu=arterial,
        late_arterial_hu=_disperse(_delay(arterial, 3.5), 1.5),
        venous_hu=_disperse(_delay(arterial, 2.5), 2.5),
    )


def _delay(curve: FloatArray, delay_s: float) -> FloatArray:
    time = np.arange(len(curve)) * STEP_S
    return np.asarray(np.interp(time - delay_s, time, curve, left=0.0))


def _disperse(curve: FloatArray, transit_s: float) -> FloatArray:
    """Convolve with an exponential of unit area and mean ``transit_s`` (piecewise constant)."""
    keep = np.exp(-STEP_S / transit_s)
    return np.asarray(signal.lfilter([1 - keep], [1, -keep], curve))


def simulate_ctp(
    phantom: Phantom,
    times_s: FloatArray,
    *,
    noise_hu: float = 6.0,
    drift_mm: float = 0.0,
    contrast: bool = True,
) -> Iterator[npt.NDArray[np.int16]]:
    """Yield one volume in HU per time point, shape ``(slice, row, column)``.

    Parameters
    ----------
    phantom : Phantom
        Whose head.
    times_s : array, shape ``(time, slice)``
        When each slice is measured, in seconds from 0.
    noise_hu : float
        Standard deviation of the noise per voxel.
    drift_mm : float
        In-plane distance that the head has moved at the end, with 0.5 degrees per mm.
    contrast : bool
        False: no contrast agent arrives.
    """
    bolus = draw_bolus(phantom.patient.seed, float(times_s.max()))
    lookup = _Lookup(phantom, bolus)
    span = max(float(np.ptp(times_s)), STEP_S)
    for number, times in enumerate(times_s):
        frame = phantom.baseline_hu.copy()
        if contrast:
            for index, time in enumerate(times):
                frame[index] += lookup.enhancement(index, float(time))
        if drift_mm:
            _move(frame, phantom, drift_mm * float(times.mean() - times_s.min()) / span)
        frame += _noise(phantom, number, noise_hu)
        yield _as_hu(frame)


def simulate_ncct(phantom: Phantom, *, noise_hu: float = 4.0) -> npt.NDArray[np.int16]:
    """The head without contrast in HU, shape ``(slice, row, column)``."""
    return _as_hu(phantom.baseline_hu + _noise(phantom, -1, noise_hu))


class _Lookup:
    """Tissue curves by table: arterial input convolved with residues of many transit times."""

    def __init__(self, phantom: Phantom, bolus: Bolus) -> None:
        self.phantom = phantom
        self.bolus = bolus
        self.table = np.stack(
            [_disperse(bolus.arterial_hu, transit) * transit for transit in _TRANSIT_TIMES_S]
        ).astype(np.float32)
        self.tissue = phantom.cbf > 0
        ratio = _TRANSIT_TIMES_S[1] / _TRANSIT_TIMES_S[0]
        safe = np.where(self.tissue, phantom.mtt_s, 5)
        self.row = (np.log(safe / _TRANSIT_TIMES_S[0]) / np.log(ratio)).astype(np.float32)
        # C = (rho/kH) CBF/6000 (AIF * residue), CBF in mL/100 g/min, time in s
        self.gain = phantom.cbf * (DENSITY_G_PER_ML / HEMATOCRIT_FACTOR / 6000)

    def enhancement(self, index: int, time_s: float) -> Float32Array:
        """Added HU of one slice at one time, shape ``(row, column)``."""
        tissue = self.tissue[index]
        since = (time_s - self.phantom.tmax_s[index][tissue]) / STEP_S
        rows = self.row[index][tissue]
        values = ndimage.map_coordinates(self.table, [rows, since], order=1, mode="nearest")
        added = np.zeros(tissue.shape, dtype=np.float32)
        added[tissue] = values * (since > 0) * self.gain[index][tissue]
        for kind, curve in (
            (Tissue.ARTERY, self.bolus.arterial_hu),
            (Tissue.LATE_ARTERY, self.bolus.late_arterial_hu),
            (Tissue.VEIN, self.bolus.venous_hu),
        ):
            height = float(np.interp(time_s, np.arange(len(curve)) * STEP_S, curve))
            added += self.phantom.fractions[kind][index] * np.float32(height)
        return added


def _move(frame: Float32Array, phantom: Phantom, distance_mm: float) -> None:
    """Turn and shift every slice around its centre, in place."""
    angle = np.radians(0.5 * distance_mm)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = distance_mm * np.array([0.6, 0.8]) / np.array(phantom.geometry.pixel_spacing_mm)
    centre = (np.array(frame.shape[1:]) - 1) / 2
    offset = centre - turn @ (centre + shift)
    for image in frame:
        image[:] = ndimage.affine_transform(image, turn, offset, order=1, mode="nearest")


def _noise(phantom: Phantom, number: int, deviation: float) -> Float32Array:
    """Noise of the spectrum of filtered back projection, |f| e^(-(f/f0)²), for one volume."""
    rng = np.random.default_rng([phantom.patient.seed, 4, number + 1])
    _, rows, columns = phantom.geometry.shape
    spacing = phantom.geometry.pixel_spacing_mm
    frequency = np.hypot(
        fft.fftfreq(rows, spacing[0])[:, None], fft.fftfreq(columns, spacing[1])[None, :]
    )
    gain = (frequency + 0.02) * np.exp(-((frequency / _NOISE_PEAK_PER_MM) ** 2) / 2)
    gain *= deviation / np.sqrt((gain**2).mean())
    white = rng.standard_normal(phantom.geometry.shape, dtype=np.float32)
    half = gain[:, : columns // 2 + 1].astype(np.float32)
    return np.asarray(fft.irfft2(fft.rfft2(white) * half, s=(rows, columns)), dtype=np.float32)


def _as_hu(image: Float32Array) -> npt.NDArray[np.int16]:
    return np.asarray(np.clip(np.rint(image), -1024, 3071), dtype=np.int16)
