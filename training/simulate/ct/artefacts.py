"""Errors of CT that come from physics: beam hardening, metal, photon starvation, motion.

Slices are projected at low resolution, the error of each ray is computed, and the errors are
reconstructed by filtered back-projection: what bone, metal and an inconsistent sinogram do to the
image then has the right shape by itself (cupping under the skull, the dark bar between the petrous
bones, streaks). Attenuation coefficients of water, cortical bone, aluminium and titanium are those
of the NIST tables (Hubbell and Seltzer).
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import fft, sparse

from inference.geometry import Geometry
from training.simulate.arrays import BoolArray, Float32Array, FloatArray

_KEV = np.array([30.0, 40, 50, 60, 80, 100, 150])
_WATER_PER_CM = np.array([0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505])
_BONE_PER_CM = 1.92 * np.array([1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480])
_ALUMINIUM_PER_CM = 2.7 * np.array([1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704, 0.1378])
_TITANIUM_PER_CM = 4.51 * np.array([4.972, 2.214, 1.213, 0.7661, 0.4052, 0.2721, 0.1649])
# Clips, coils, crowns and implants are denser than titanium.
_METAL_PER_CM = 3.0 * _TITANIUM_PER_CM
_FILTER_CM = 1.0
_COARSE_MM = 1.7
_FINE_MM = 0.9
_COARSE_SLICE_MM = 3.0
METAL_HU = np.float32(3000.0)
_METAL_CM = 0.02
_MAX_LINE_INTEGRAL = 9.0
_NOISE_POWER = 0.4


@dataclass(frozen=True, eq=False)
class Errors:
    """What physics does to a stack of slices, on a coarser grid.

    Parameters
    ----------
    hu : float32 array, shape ``(coarse slice, coarse row, coarse column)``
        To be added to the image.
    strength : float32 array of the same shape
        Relative standard deviation of quantum noise.
    factor, every : int
        How many pixels and slices of the image there are to one of these.
    shape : (slices, rows, columns)
        Of the image.
    """

    hu: Float32Array
    strength: Float32Array
    factor: int
    every: int
    shape: tuple[int, int, int]

    def grid(self, geometry: Geometry) -> Geometry:
        """Where the coarse pixels lie, for the geometry of the image."""
        row_mm, column_mm = geometry.pixel_spacing_mm
        middle = (self.factor - 1) / 2
        corner = geometry.row_cosines * column_mm * middle
        corner = corner + geometry.column_cosines * row_mm * middle
        _, rows, columns = self.hu.shape
        return Geometry(
            geometry.positions_mm[self.slices] + corner, geometry.row_cosines,
            geometry.column_cosines, (row_mm * self.factor, column_mm * self.factor), rows, columns,
        )  # fmt: skip

    @property
    def slices(self) -> slice:
        """Which slices of the image the coarse ones are."""
        return _coarse_slices(self.shape[0], self.every)

    def scaled(self, brain: BoolArray) -> "Errors":
        """Errors of mean 0 and strength of mean square 1 within the brain, a coarse mask.

        Tube current modulation takes away half of the difference between slices.
        """
        if not brain.any():
            return self
        hu = self.hu - np.float32(np.mean(self.hu[brain], dtype=np.float64))
        strength = self.strength.copy()
        levels = strength.mean(axis=(1, 2), dtype=np.float64)
        strength /= np.sqrt(levels / levels.mean()).astype(np.float32)[:, None, None]
        strength /= np.float32(np.sqrt(np.mean(strength[brain] ** 2, dtype=np.float64)))
        return replace(self, hu=hu, strength=strength)

    def plus(self, hu: Float32Array) -> "Errors":
        """With more HU, on the coarse grid."""
        return replace(self, hu=self.hu + hu)

    def fine(self, index: int) -> tuple[Float32Array, Float32Array]:
        """HU and strength on the image's grid, of one slice: shape ``(row, column)`` each."""
        count = len(self.hu)
        place = float(np.clip((index - self.slices.start) / self.every, 0, count - 1))
        below = min(int(place), max(count - 2, 0))
        above, part = min(below + 1, count - 1), np.float32(place - below)
        both = [
            planes[below] + (planes[above] - planes[below]) * part
            for planes in (self.hu, self.strength)
        ]
        _, rows, columns = self.shape
        large = _enlarged(np.stack(both), self.factor)[:, :rows, :columns]
        return large[0], large[1]


def beam_errors(
    volume: Float32Array,
    pixel_mm: float,
    spacing_mm: float,
    kvp: int,
    *,
    hardening: float,
    cupping_hu: float,
    metal: Float32Array | None = None,
    rng: np.random.Generator | None = None,
) -> Errors:
    """Compute beam hardening, metal streaks and the distribution of noise.

    Parameters
    ----------
    volume : float32 array, shape ``(slice, row, column)``
        HU without noise.
    pixel_mm, spacing_mm : float
        Grid.
    kvp : int
        Tube voltage.
    hardening : float
        Share of the hardening by bone that stays uncorrected.
    cupping_hu : float
        Residual of the correction for water in the middle of the head.
    metal : float32 array or None
        Share of metal in each voxel; None for none.
    rng : Generator or None
        Where photon starvation takes its streaks from; None gives none.

    Returns
    -------
    Errors
        Not yet :meth:`Errors.scaled`.
    """
    factor = max(1, round((_FINE_MM if metal is not None else _COARSE_MM) / pixel_mm))
    every = max(1, round(_COARSE_SLICE_MM / spacing_mm))
    low = _shrunk(volume, factor, every)
    size = low.shape[1]
    angles = 120 if metal is None else 180
    scan = Projector.of(size, low.shape[2], pixel_mm * factor, angles)
    physics = _Spectrum.of(kvp)
    dense = np.zeros_like(low) if metal is None else _shrunk(metal, factor, every)
    water, bone = (scan.project(part) for part in physics.decompose(low, dense))
    heavy = np.zeros_like(water) if metal is None else scan.project(dense)
    reading = physics.reading(water, bone, heavy)
    ideal = water + physics.bone_ratio * bone + physics.metal_ratio * heavy
    kept = np.where(heavy > _METAL_CM, np.float32(0.5), np.float32(hardening))
    error = kept * (physics.water_equivalent(reading) - ideal)
    if rng is not None:
        error += starvation(rng, reading)
    image = 1000 * scan.reconstruct(error)
    image += _cupping(water, scan, cupping_hu, low)
    return Errors(
        np.clip(image, -400, 400),
        np.sqrt(scan.smear(np.exp(np.minimum(reading, _MAX_LINE_INTEGRAL) * _NOISE_POWER))),
        factor,
        every,
        (volume.shape[0], volume.shape[1], volume.shape[2]),
    )


def motion_streaks(
    still: Float32Array, moved: Float32Array, pixel_mm: float, arc: tuple[float, float]
) -> Float32Array:
    """HU to add to ``still`` when the head lay as in ``moved`` for a part of the rotation.

    Parameters
    ----------
    still, moved : float32 arrays, shape ``(slice, row, column)``
        HU without noise, on a coarse grid.
    pixel_mm : float
        Pixel side.
    arc : (float, float)
        Which part of the half rotation, 0 to 1.
    """
    scan = Projector.of(still.shape[1], still.shape[2], pixel_mm, 120)
    error = scan.project((moved - still) / np.float32(1000))
    share = (np.arange(scan.angles) + 0.5) / scan.angles
    error *= ((share >= arc[0]) & (share < arc[1])).astype(np.float32)[:, None, None]
    return np.asarray(1000 * scan.reconstruct(error))


def starvation(rng: np.random.Generator, reading: Float32Array) -> Float32Array:
    """Noise of rays that hardly any photon survived, in cm of water.

    Its standard deviation grows with the square root of the attenuation's exponential; only what
    exceeds that of an ordinary ray through the head counts, the rest is ordinary noise.
    """
    excess = np.sqrt(np.exp(np.minimum(reading, _MAX_LINE_INTEGRAL)) * 1e-6)
    excess = np.clip(excess - 0.012, 0, 0.3)
    white = rng.standard_normal(reading.shape, dtype=np.float32)
    return np.asarray(excess * white, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Projector:
    """Parallel projections of square pixels over half a turn, and their reconstruction.

    ``matrix`` holds, for each pixel and angle, the two detector bins that share it.
    """

    matrix: "sparse.csr_array"
    rows: int
    columns: int
    pixel_mm: float
    angles: int
    bins: int

    @classmethod
    def of(cls, rows: int, columns: int, pixel_mm: float, angles: int) -> "Projector":
        """Projector of a grid; the matrices of the last few grids are kept."""
        bins = int(np.ceil(np.hypot(rows, columns))) + 2
        return cls(_system(rows, columns, angles, bins), rows, columns, pixel_mm, angles, bins)

    def project(self, images: Float32Array) -> Float32Array:
        """Line integrals in cm of values per pixel, ``(angle, bin, slice)``."""
        flat = np.ascontiguousarray(images.reshape(len(images), -1).T)
        lines = (self.matrix.T @ flat) * np.float32(self.pixel_mm / 10)
        return np.asarray(lines.reshape(self.angles, self.bins, -1))

    def smear(self, lines: Float32Array) -> Float32Array:
        """Mean over all angles of the ray through each pixel, ``(slice, row, column)``."""
        flat = np.ascontiguousarray(lines.reshape(self.angles * self.bins, -1), dtype=np.float32)
        images = (self.matrix @ flat) / np.float32(self.angles)
        return np.ascontiguousarray(images.T).reshape(-1, self.rows, self.columns)

    def reconstruct(self, lines: Float32Array) -> Float32Array:
        """Filtered back-projection: values per pixel, ``(slice, row, column)``."""
        size = fft.next_fast_len(2 * self.bins, real=True)
        cycles = fft.rfftfreq(size, self.pixel_mm / 10)
        window = np.cos(np.pi / 2 * cycles / cycles[-1]) ** 2
        ramp = (cycles * window).astype(np.float32)[None, :, None]
        filtered = fft.irfft(fft.rfft(lines, size, axis=1) * ramp, size, axis=1)
        return self.smear(filtered[:, : self.bins]) * np.float32(np.pi)


@lru_cache(maxsize=3)
def _system(rows: int, columns: int, angles: int, bins: int) -> "sparse.csr_array":
    y, x = (np.arange(count) - (count - 1) / 2 for count in (rows, columns))
    theta = np.pi * np.arange(angles) / angles
    place = (
        x[None, :, None] * np.cos(theta) + y[:, None, None] * np.sin(theta) + (bins - 1) / 2
    ).reshape(rows * columns, angles)
    first = np.floor(place).astype(np.int32)
    part = (place - first).astype(np.float32)
    index = first + (np.arange(angles, dtype=np.int32) * bins)
    indices = np.stack([index, index + 1], axis=-1).reshape(-1)
    data = np.stack([1 - part, part], axis=-1).reshape(-1)
    starts = np.arange(rows * columns + 1, dtype=np.int32) * (2 * angles)
    shape = (rows * columns, angles * bins)
    return sparse.csr_array((data, indices, starts), shape=shape)


@dataclass(frozen=True, eq=False)
class _Spectrum:
    """An X-ray spectrum, and what water, bone and metal make of it; lengths in cm."""

    weights: FloatArray
    water: FloatArray
    bone: FloatArray
    metal: FloatArray
    equivalents: FloatArray
    readings: FloatArray

    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, kvp: int) -> "_Spectrum":
        """Bremsstrahlung of a tube voltage behind its filter, as the detector weighs it."""
        kev = np.linspace(30, kvp, 9)[:-1] + (kvp - 30) / 16
        water, bone, aluminium, metal = (
            np.exp(np.interp(np.log(kev), np.log(_KEV), np.log(values)))
            for values in (_WATER_PER_CM, _BONE_PER_CM, _ALUMINIUM_PER_CM, _METAL_PER_CM)
        )
        weights = (kvp / kev - 1) * kev * np.exp(-aluminium * _FILTER_CM)
        weights = weights / weights.sum()
        lengths = np.linspace(0, 60, 241)
        readings = -np.log(np.sum(weights * np.exp(-water * lengths[:, None]), axis=1))
        return cls(weights, water, bone, metal, lengths, readings)

    def _effective(self, material: FloatArray) -> float:
        """Attenuation against water behind 15 cm of water, as a head has it."""
        behind = self.weights * np.exp(-self.water * 15)
        return float(np.sum(behind * material) / np.sum(behind * self.water))

    @property
    def bone_ratio(self) -> float:
        """Attenuation of cortical bone against water."""
        return self._effective(self.bone)

    @property
    def metal_ratio(self) -> float:
        """Attenuation of metal against water."""
        return self._effective(self.metal)

    def decompose(
        self, volume: Float32Array, metal: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """Shares of water and cortical bone that, beside metal, give the HU of each pixel."""
        bone_hu = np.float32(1000 * (self.bone_ratio - 1))
        rest = (volume - metal * METAL_HU) / np.maximum(1 - metal, np.float32(0.05))
        rest = np.clip(rest, -1000, 2500)
        bone = np.clip((rest - 100) / (bone_hu - 100), 0, 1.4)
        water = (1 + np.minimum(rest, 100) / 1000) * np.maximum(1 - bone, 0)
        return (
            np.asarray(water * (1 - metal), dtype=np.float32),
            np.asarray(bone * (1 - metal), dtype=np.float32),
        )

    def reading(self, water: Float32Array, bone: Float32Array, metal: Float32Array) -> Float32Array:
        """Attenuation that the detector reads for given lengths in cm."""
        total = np.zeros_like(water)
        has_metal = bool(metal.any())
        for weight, of_water, of_bone, of_metal in zip(
            self.weights, self.water, self.bone, self.metal, strict=True
        ):
            power = water * np.float32(-of_water)
            power -= bone * np.float32(of_bone)
            if has_metal:
                power -= metal * np.float32(of_metal)
            total += np.float32(weight) * np.exp(power)
        return np.asarray(-np.log(np.maximum(total, np.float32(1e-9))))

    def water_equivalent(self, reading: Float32Array) -> Float32Array:
        """Length of water in cm that a scanner corrected for water takes a reading for."""
        return np.interp(reading, self.readings, self.equivalents).astype(np.float32)


def _cupping(
    water: Float32Array, scan: Projector, cupping_hu: float, low: Float32Array
) -> Float32Array:
    """A bowl over the head, ``cupping_hu`` deep in the middle against the rim."""
    bowl = scan.smear(water)
    inside: BoolArray = low > -300
    if not inside.any():
        return np.zeros_like(bowl)
    deepest, rim = np.percentile(bowl[inside], (99, 10))
    return np.asarray((bowl - rim) * np.float32(cupping_hu / max(deepest - rim, 0.1)))


def _coarse_slices(slices: int, every: int) -> slice:
    return slice(min(every // 2, slices - 1), slices, every)


def _shrunk(volume: Float32Array, factor: int, every: int) -> Float32Array:
    """Means over blocks of pixels, of every so-many-th slice."""
    chosen = volume[_coarse_slices(len(volume), every)]
    rows, columns = (-(-size // factor) for size in volume.shape[1:])
    pad = ((0, 0), (0, rows * factor - volume.shape[1]), (0, columns * factor - volume.shape[2]))
    if pad[1][1] or pad[2][1]:
        chosen = np.pad(chosen, pad, mode="edge")
    blocks = chosen.reshape(len(chosen), rows, factor, columns, factor)
    return np.asarray(blocks.mean((2, 4), dtype=np.float32))


def _enlarged(planes: Float32Array, factor: int) -> Float32Array:
    """Interpolate planes ``(plane, row, column)`` to so many times as many pixels."""
    import torch
    from torch.nn import functional

    if factor == 1:
        return planes
    small = torch.from_numpy(np.ascontiguousarray(planes))[:, None]
    large = functional.interpolate(small, scale_factor=factor, mode="bilinear", align_corners=False)
    return large[:, 0].numpy()
