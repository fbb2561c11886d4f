"""Magnetic susceptibility: the field it makes, and what a gradient echo or EPI loses by it."""

import numpy as np

from training.simulate.anatomy.fields import refine
from training.simulate.arrays import BoolArray, Float32Array, FloatArray
from training.simulate.pathology.head import Head
from training.simulate.space import HEAD_SHAPE

HERTZ_PER_PPM_TESLA = 42.577
AIR_PPM = 9.4
"""Susceptibility of air above that of tissue (Schenck 1996), SI units."""
_COARSE = 4
_LARGEST_HZ = 250.0
"""Off-resonance beyond which EPI shows nothing that could be told apart."""


def dipole_field(susceptibility_ppm: Float32Array) -> Float32Array:
    """Field shift in ppm along z that a distribution of susceptibility (SI) makes.

    ΔB/B0 = F⁻¹[(1/3 − kz²/k²) · F χ] (Salomir 2003, Marques and Bowtell 2005): the sphere of
    Lorentz is contained, the mean is 0. Axis 0 is z; voxels are cubes.
    """
    from scipy import fft

    shape = susceptibility_ppm.shape
    spectrum = fft.rfftn(susceptibility_ppm)
    kz, ky = (np.fft.fftfreq(count).astype(np.float32) for count in shape[:2])
    kx = np.fft.rfftfreq(shape[2]).astype(np.float32)
    along = (kz**2)[:, None, None]
    total = along + (ky**2)[None, :, None] + (kx**2)[None, None, :]
    total[0, 0, 0] = 1
    kernel = np.float32(1 / 3) - along / total
    kernel[0, 0, 0] = 0
    return np.asarray(fft.irfftn(spectrum * kernel, s=shape), dtype=np.float32)


def air_field_hz(head: Head, field_t: float) -> Float32Array:
    """Off-resonance in Hz on the head grid that air in and around the head causes, shimmed.

    Solved at 4 mm with the neck continued below the grid; a shim of second order over the brain
    is taken away, as scanners do.
    """
    anatomy = head.anatomy
    matter = anatomy.grey + anatomy.white + anatomy.csf + anatomy.artery + anatomy.vein
    matter += anatomy.bone + anatomy.fat + anatomy.soft + anatomy.calcification
    air = _coarse(1 - np.minimum(matter, 1))
    brain = _coarse(anatomy.grey + anatomy.white) > 0.5
    z, y, x = air.shape
    padded = np.ones((2 * z, 2 * y, 2 * x), dtype=np.float32)
    inside = slice(z // 2, z // 2 + z), slice(y // 2, y // 2 + y), slice(x // 2, x // 2 + x)
    padded[: z // 2, inside[1], inside[2]] = air[0]
    padded[inside] = air
    field = dipole_field(padded * np.float32(AIR_PPM))[inside]
    field *= np.float32(HERTZ_PER_PPM_TESLA * field_t)
    return refine(_continued(_shimmed(field, brain), 1 - air), _COARSE)


def _continued(field_hz: Float32Array, matter: Float32Array) -> Float32Array:
    """The field of the tissue next to it where there is air, which sends no signal of its own."""
    from scipy import ndimage

    spread = 2.0
    weight = ndimage.gaussian_filter(matter, spread)
    near = ndimage.gaussian_filter(field_hz * matter, spread) / (weight + np.float32(0.02))
    limited = np.clip(field_hz * matter + near * (1 - matter), -_LARGEST_HZ, _LARGEST_HZ)
    return np.asarray(limited, dtype=np.float32)


def _coarse(values: Float32Array) -> Float32Array:
    """Mean over cubes of 4 mm."""
    z, y, x = (count // _COARSE for count in HEAD_SHAPE)
    return np.asarray(values.reshape(z, _COARSE, y, _COARSE, x, _COARSE).mean((1, 3, 5)))


def _shimmed(field_hz: Float32Array, brain: BoolArray) -> Float32Array:
    """Without its best second-order polynomial over the brain."""
    axes = np.meshgrid(*(np.linspace(-1, 1, count) for count in field_hz.shape), indexing="ij")
    z, y, x = (axis.astype(np.float64) for axis in axes)
    terms = [np.ones_like(z), z, y, x, z * z, y * y, x * x, z * y, z * x, y * x]
    inside = [term[brain] for term in terms]
    target = field_hz[brain].astype(np.float64)
    # normal equations by np.sum: the same bytes for any number of threads
    moments = np.array([[np.sum(first * second) for second in inside] for first in inside])
    right = np.array([np.sum(first * target) for first in inside])
    shim = sum(
        weight * term for weight, term in zip(np.linalg.solve(moments, right), terms, strict=True)
    )
    return np.asarray(field_hz - shim, dtype=np.float32)


def dephasing(
    field_hz: Float32Array, normal: FloatArray, thickness_mm: float, te_ms: float
) -> Float32Array:
    """Share of a gradient echo's signal that the field's slope through the slice leaves.

    |sinc(G · thickness · TE)| for a constant slope G in Hz/mm over a rectangular slice (Reichenbach
    1997), on the head grid.

    Parameters
    ----------
    field_hz : float32 array of shape ``HEAD_SHAPE``
        Off-resonance.
    normal : array (3,)
        The slices' normal in head coordinates.
    thickness_mm, te_ms : float
        Slice thickness and echo time.
    """
    slope = np.zeros(HEAD_SHAPE, dtype=np.float32)
    for axis, share in zip((2, 1, 0), normal, strict=True):
        if abs(share) > 1e-3:
            slope += np.gradient(field_hz, axis=axis) * np.float32(share)
    turns = slope * np.float32(thickness_mm * te_ms / 1000)
    return np.asarray(np.abs(np.sinc(turns)), dtype=np.float32)


def bleeding_field_hz(sources_ppm: Float32Array, field_t: float) -> Float32Array:
    """Off-resonance in Hz of small sources (blood, veins, calcium) at the full 1 mm."""
    return dipole_field(sources_ppm) * np.float32(HERTZ_PER_PPM_TESLA * field_t)


def epi_shift_px(field_hz: Float32Array, echo_spacing_ms: float, rows: int) -> Float32Array:
    """By how many rows EPI displaces what lies at an off-resonance (Jezzard and Balaban 1995)."""
    return np.asarray(field_hz * np.float32(echo_spacing_ms / 1000 * rows))


def distort(image: Float32Array, shift_px: Float32Array) -> Float32Array:
    """Displace images along their rows' axis and keep their total signal (pile-up).

    Parameters
    ----------
    image : array ``(..., row, column)``
        Undistorted.
    shift_px : array ``(..., row, column)``
        Displacement in rows, for the distorted grid.
    """
    rows = image.shape[-2]
    source = np.arange(rows, dtype=np.float32)[:, None] - shift_px
    source = np.clip(source, 0, rows - 1)
    low = np.minimum(source.astype(np.int64), rows - 2)
    share = (source - low).astype(np.float32)
    first = np.take_along_axis(image, low, axis=-2)
    second = np.take_along_axis(image, low + 1, axis=-2)
    stretch = np.clip(1 - np.gradient(shift_px, axis=-2), 0.2, 3).astype(np.float32)
    return np.asarray((first * (1 - share) + second * share) * stretch)


def distort_mask(mask: BoolArray, shift_px: Float32Array) -> BoolArray:
    """:func:`distort` of a mask, by the nearest row."""
    rows = mask.shape[-2]
    source = np.rint(np.arange(rows, dtype=np.float32)[:, None] - shift_px)
    return np.take_along_axis(mask, np.clip(source, 0, rows - 1).astype(np.int64), axis=-2)


def susceptibility_sources(head: Head, hematocrit: float) -> Float32Array:
    """Susceptibility in ppm (SI) relative to tissue of veins, bleeding and calcium.

    Venous blood: 4π · 0.27 ppm · hematocrit · (1 − saturation), saturation 0.6 (Weisskoff 1992,
    Jain 2012); clotted, deoxygenated blood nearly all of it; calcification −1.2 ppm.
    """
    anatomy = head.anatomy
    full = 4 * np.pi * 0.27 * hematocrit
    source = anatomy.vein * np.float32(0.4 * full)
    source += head.blood_share() * np.float32(0.9 * full)
    calcified = head.inclusions.get("calcification")
    source -= anatomy.calcification * np.float32(1.2)
    if calcified is not None:
        source -= calcified.share * np.float32(1.2)
    return source
