"""From a head to CT images: sampling, kernel, errors, noise, rounding.

Used by head CT and perfusion alike; what differs between them is what lies in the head and when.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import fft

from inference.geometry import Geometry
from training.simulate.arrays import Float32Array, FloatArray, Int16Array
from training.simulate.ct import noise
from training.simulate.ct.artefacts import Errors, beam_errors
from training.simulate.ct.placement import holder_hu
from training.simulate.ct.protocols import CtProtocol
from training.simulate.pathology.head import Head
from training.simulate.scan.sampling import labels, sample
from training.simulate.scanner import Scanner
from training.simulate.space import Box, Pose, bounding_box

RANGE_HU: dict[Scanner, tuple[int, int]] = {
    "siemens": (-1024, 3071),
    "ge": (-1024, 3071),
    "philips": (-1024, 3071),
    "canon": (-1500, 4095),
}
_SLICES_AT_ONCE = 16
_SAMPLED_MM = 1.0
_MAX_SHARPENING = 1.4
AIR_HU = -1000.0
_NO_TISSUE_HU = -400.0


def head_hu(head: Head, protocol: CtProtocol) -> tuple[Float32Array, Box]:
    """HU of the head at the protocol's tube voltage, and the box beyond which there is air."""
    hu = head.baseline_hu(iodine_free_bias_hu=protocol.tissue_bias_hu, bone_gain=protocol.bone_gain)
    return hu, bounding_box(hu > AIR_HU)


@dataclass(frozen=True, eq=False)
class Camera:
    """What makes images of one scan: grid, kernel, errors.

    Parameters
    ----------
    protocol : CtProtocol
        How the scanner is set.
    geometry : Geometry
        Where the slices lie.
    errors : Errors
        Beam hardening and where noise is strong.
    holder : float32 array, shape ``(row, column)``
        HU of what the head lies on, -1000 elsewhere.
    """

    protocol: CtProtocol
    geometry: Geometry
    errors: Errors
    holder: Float32Array

    @classmethod
    def set_up(
        cls,
        protocol: CtProtocol,
        geometry: Geometry,
        head: Head,
        volume: Float32Array,
        poses: Sequence[Pose],
        rng: np.random.Generator,
    ) -> "Camera":
        """Compute the errors for the noise-free HU of a scan, ``(slice, row, column)``.

        ``volume`` gets the head holder in place.
        """
        holder = holder_hu(protocol, geometry, head.anatomy, poses[0])
        add_holder(volume, holder)
        metal = None
        if "metal" in head.inclusions:
            share = head.inclusions["metal"].share
            metal = sample(
                [share], geometry, poses, protocol.thicknesses_mm, box=bounding_box(share > 0)
            )[0]
        errors = beam_errors(
            volume, protocol.pixel_mm, protocol.spacing_mm, protocol.kvp,
            hardening=protocol.hardening, cupping_hu=protocol.cupping_hu,
            metal=metal if metal is not None and metal.any() else None, rng=rng,
        )  # fmt: skip
        grid, chosen = errors.grid(geometry), errors.slices
        cavity = labels(head.anatomy.cavity.view(np.uint8), grid, poses[chosen])
        return cls(protocol, geometry, errors.scaled(cavity > 0), holder)

    @cached_property
    def blur(self) -> Float32Array:
        """Factors of an image's transform by which the kernel blurs it.

        What sampling the head has blurred already counts in.
        """
        geometry = self.geometry
        per_mm = noise.radial_frequency(
            geometry.rows, geometry.columns, geometry.pixel_spacing_mm[0]
        )
        sampled = np.maximum(np.sinc(np.minimum(per_mm * _SAMPLED_MM, 1)) ** 2, 0.3)
        factors = np.minimum(self.protocol.kernel.mtf(per_mm) / sampled, _MAX_SHARPENING)
        return np.asarray(factors, dtype=np.float32)

    @cached_property
    def slice_noise_hu(self) -> FloatArray:
        """Standard deviation of the noise of each slice at exposure 1, shape ``(slice,)``."""
        thin = self.protocol.thickness_mm / self.protocol.thicknesses_mm
        return np.asarray(self.protocol.noise_hu * np.sqrt(thin))

    def develop(
        self,
        slab: Callable[[slice], Float32Array],
        rng: np.random.Generator,
        *,
        exposure: float = 1.0,
        errors: Errors | None = None,
    ) -> Int16Array:
        """Make the image of noise-free HU: kernel, errors, noise, rounding.

        Parameters
        ----------
        slab : function
            Gives the HU, with the holder in place, of a few slices at a time: float32 arrays
            ``(slice, row, column)``.
        rng : Generator
            Where the noise is drawn from.
        exposure : float
            Dose in multiples of the usual.
        errors : Errors or None
            In place of the camera's own.
        """
        errors = errors or self.errors
        protocol, (slices, rows, columns) = self.protocol, self.geometry.shape
        low, high = RANGE_HU[protocol.scanner]
        weights = noise.slice_weights(
            protocol.thickness_mm, protocol.spacing_mm, protocol.kernel.cross_talk_mm
        )
        grain = noise.unit_noise(
            rng, protocol.kernel, slices, rows, columns, protocol.pixel_mm, weights
        )
        image = np.empty(self.geometry.shape, dtype=np.int16)
        for first in range(0, slices, _SLICES_AT_ONCE):
            chosen = slice(first, min(first + _SLICES_AT_ONCE, slices))
            spectrum = fft.rfft2(slab(chosen), workers=1)
            spectrum *= self.blur
            sharp = fft.irfft2(spectrum, s=(rows, columns), workers=1)
            for index, plane in enumerate(sharp, start=first):
                hu, strength = errors.fine(index)
                sd = np.float32(self.slice_noise_hu[index] / np.sqrt(exposure))
                plane += hu
                if sd > 0:
                    plane += next(grain) * strength * sd
                np.rint(plane, out=plane)
                image[index] = np.clip(plane, low, high)
        return image


def add_holder(volume: Float32Array, holder: Float32Array) -> None:
    """Put the holder where a volume ``(slice, row, column)`` shows air, in place."""
    change = holder + 1000
    rows = np.flatnonzero(change.any(axis=1))
    columns = np.flatnonzero(change.any(axis=0))
    if not rows.size:
        return
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    for plane in volume:
        air = np.clip(-plane[box] / 1000, 0, 1)
        plane[box] += np.where(plane[box] < _NO_TISSUE_HU, change[box] * air, 0)
