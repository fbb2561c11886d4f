"""Derive the template from the atlas that nilearn ships: ``python -m`` this module writes the file.

The maps are those of the ICBM 2009a Nonlinear Symmetric atlas (see ``ICBM152-NOTICE.txt``). They
are placed on the head grid by flips alone, without interpolation. Which lobe, nucleus and territory
a point belongs to follows from its MNI coordinates (written LPS here), from the maps, and from the
CSF along the tentorium: textbook geometry, not a published atlas.
"""

import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.simulate.anatomy.fields import signed_distance
from training.simulate.anatomy.model import Region, Territory
from training.simulate.anatomy.template import STEPS_PER_MM, TEMPLATE_FILE
from training.simulate.arrays import SHARE_STEPS, BoolArray, Float32Array, Uint8Array
from training.simulate.space import HEAD_ORIGIN_MM, HEAD_SHAPE, bounding_box, head_axes_mm

_MAP_FILE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_TEMPLATE_START = (23, 24, 2)
_BASE_CLOSING_MM, _FOSSA_CLOSING_MM, _VAULT_CLOSING_MM = 7.0, 13.0, 28.0
_HULL_SMOOTHING_MM = 1.5
_LEAST_VENTRICLE = 2000
_CORD_TOP_MM = -62.0
_BOX = (slice(0, 184), slice(40, 236), slice(22, 179))

# Tentorium: height (mm) at the midline and 50 mm beside it, for y (LPS, mm) from front to back.
_TENTORIUM_Y = (28.0, 40.0, 48.0, 56.0, 64.0, 72.0, 80.0, 88.0, 100.0)
_TENTORIUM_MIDLINE = (-12.0, -7.0, -3.0, -1.0, -4.0, -9.0, -15.0, -18.0, -19.0)
_TENTORIUM_SIDE = (-36.0, -31.0, -26.0, -24.0, -21.0, -19.0, -18.0, -18.0, -19.0)

Axes = tuple[Float32Array, Float32Array, Float32Array]


def derive_template() -> dict[str, npt.NDArray[Any]]:
    """Derive the arrays of the template's file from the atlas; a few seconds.

    Returns
    -------
    dict
        ``shares`` (grey, white) in steps of 1/255, ``distances_mm`` (from the hull, from the
        ventricles) in steps of 1/8 mm, ``codes`` and ``cortical_territory``; see
        :class:`~training.simulate.anatomy.template.Template`.

    Raises
    ------
    ImportError
        nilearn is not installed, or ships another atlas.
    """
    grey, white, t1 = _load_maps()
    z, y, x = _box_axes()
    axes = (z, y, np.abs(x))
    csf = np.clip(1 - grey[_BOX] - white[_BOX], 0, 1)
    region = np.zeros(csf.shape, dtype=np.uint8)
    _label_lobes(region, axes)
    _label_hindbrain(region, axes, _tentorium(csf, axes))
    brain = (t1[_BOX] > 0) | (csf < 0.5)
    hull_mm = _hull_distance(brain, region, axes)
    _label_deep_grey(region, axes)
    ventricles = _ventricles(csf, hull_mm[_BOX], axes)
    _complete_grey(grey[_BOX], white[_BOX], region, axes, ventricles)
    _continue_cord(grey, white)
    codes = np.zeros(HEAD_SHAPE, dtype=np.uint16)
    codes[_BOX] = _deep_territories(region, axes)
    codes[_BOX] = (codes[_BOX] << 8) + (_widened(ventricles).astype(np.uint16) << 4) + region
    around = [(part.start, size - part.stop) for part, size in zip(_BOX, HEAD_SHAPE, strict=True)]
    distances = np.stack([hull_mm, _ventricle_distance(ventricles)])
    return {
        "shares": np.rint(np.stack([grey, white]) * SHARE_STEPS).astype(np.uint8),
        "distances_mm": np.rint(distances * STEPS_PER_MM).astype(np.int16),
        "codes": codes,
        "cortical_territory": np.pad(_cortical_territories(axes), around, mode="edge"),
    }


def write_template(path: Path) -> None:
    """Write the template; the same arrays give the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, values in derive_template().items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_LZMA
            with archive.open(entry, "w") as sink:
                np.lib.format.write_array(sink, values, allow_pickle=False)


def _load_maps() -> tuple[Float32Array, Float32Array, Float32Array]:
    """Grey, white and T1 map on the head grid, 0 to 1; nilearn itself need not be imported."""
    package = find_spec("nilearn")
    if package is None or package.origin is None:
        raise ImportError(
            "the template is made from the ICBM152 maps that nilearn ships: "
            "pip install strokenode[train]"
        )
    folder = Path(package.origin).parent / "datasets" / "data"
    grey, white, t1 = (_load_map(folder / _MAP_FILE.format(name)) for name in ("gm", "wm", "t1"))
    return grey, white, t1


def _load_map(path: Path) -> Float32Array:
    import nibabel

    if not path.is_file():
        raise ImportError(
            f"this version of nilearn has no {path.name}; install the one in constraints.txt"
        )
    data = np.asarray(nibabel.load(path).dataobj, dtype=np.float32)  # type: ignore[attr-defined]
    return _place(data / data.max())


def _place(data: Float32Array) -> Float32Array:
    """Put a map with axes x, y, z (RAS, 1 mm, from -98, -134, -72) on the head grid."""
    turned = data.transpose(2, 1, 0)[:, ::-1, ::-1]
    placed = np.zeros(HEAD_SHAPE, dtype=np.float32)
    part = tuple(
        slice(start, min(size, start + count))
        for start, size, count in zip(_TEMPLATE_START, HEAD_SHAPE, turned.shape, strict=True)
    )
    placed[part] = turned[tuple(slice(0, p.stop - p.start) for p in part)]
    return placed


def _box_axes() -> Axes:
    """Coordinates z, y, x of the box that holds the brain, broadcastable."""
    z, y, x = head_axes_mm()
    return z[_BOX[0]], y[:, _BOX[1]], x[:, :, _BOX[2]]


def _closed(mask: BoolArray, radius_mm: float) -> BoolArray:
    """A mask with all gaps and notches filled that a ball of this radius does not enter."""
    margin = int(radius_mm) + 2
    box = bounding_box(mask)
    wide = signed_distance(np.pad(mask[box], margin)) > -radius_mm
    inner = (slice(margin, -margin),) * 3
    closed = np.zeros_like(mask)
    closed[box] = signed_distance(wide)[inner] > radius_mm
    return closed


def _hull_distance(brain: BoolArray, region: Uint8Array, axes: Axes) -> Float32Array:
    """Distance from the hull, positive inside, on the whole grid.

    The vault spans the fissures; the posterior fossa and the rest of the base follow the brain
    more closely and are closed apart, since the petrous bones lie between them. The suprasellar
    cistern, open to below in the atlas, ends at the diaphragm of the sella.
    """
    from scipy.ndimage import gaussian_filter

    z, y, x = axes
    hindbrain = (region == Region.CEREBELLUM) | (region == Region.BRAINSTEM)
    hull = _closed(brain, _BASE_CLOSING_MM)
    hull |= _closed(brain & hindbrain, _FOSSA_CLOSING_MM)
    hull |= _closed(brain & (z > -10), _VAULT_CLOSING_MM) & (z > 2)
    canal_radius = np.clip(13.5 + 0.3 * (z - _CORD_TOP_MM), 8.5, 13.5)
    hull |= (x**2 + (y - _cord_y(z)) ** 2 < canal_radius**2) & (z < -56)
    hull |= (np.maximum(x - 12, 0) ** 2 + np.maximum(np.abs(y) - 10, 0) ** 2 < 4**2) & (
        np.abs(z + 17) < 9
    )
    whole = np.zeros(HEAD_SHAPE, dtype=bool)
    whole[_BOX] = hull
    distance = np.clip(signed_distance(whole) + np.float32(0.5), -45, 45)
    return np.asarray(gaussian_filter(distance, _HULL_SMOOTHING_MM), dtype=np.float32)


def _cord_y(z: Float32Array) -> Float32Array:
    """Height z to the y coordinate of the middle of the spinal cord."""
    return np.asarray(41 - np.clip(z + 68, -40, 20) * np.float32(0.18), dtype=np.float32)


def _ellipsoid(
    axes: Axes, centre: tuple[float, float, float], radii: tuple[float, float, float],
    turn_deg: float = 0.0,
) -> Float32Array:  # fmt: skip
    """Squared relative distance (1 at the surface) from an ellipsoid given as |x|, y, z.

    ``turn_deg`` turns it about z, outwards as y grows.
    """
    z, y, x = axes
    cosine, sine = (
        np.float32(np.cos(np.radians(turn_deg))),
        np.float32(np.sin(np.radians(turn_deg))),
    )
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    across, along = cosine * dx - sine * dy, sine * dx + cosine * dy
    return np.asarray(
        (across / np.float32(radii[0])) ** 2
        + (along / np.float32(radii[1])) ** 2
        + ((z - np.float32(centre[2])) / np.float32(radii[2])) ** 2,
        dtype=np.float32,
    )


def _fill(labels: Uint8Array, label: int, mask: BoolArray) -> None:
    """Set the labels where a mask of any broadcastable shape is true."""
    np.copyto(labels, np.uint8(label), where=mask)


def _label_lobes(region: Uint8Array, axes: Axes) -> None:
    """Lobes and insula from the central, Sylvian and parieto-occipital sulci."""
    z, y, x = axes
    sylvian = np.minimum(-16 + 0.68 * (y + 10), 20)
    region[...] = np.where(y < 28 - 0.38 * (75 - z), Region.FRONTAL, Region.PARIETAL)
    base = (z < 6) & (y < 45)
    _fill(region, Region.FRONTAL, base & (x <= 14))
    _fill(region, Region.TEMPORAL, base & (x > 14) & (y > -5))
    temporal = (z < sylvian) & (y > -24) & (x > 14) & ((y > -8) | (z < -14))
    _fill(region, Region.TEMPORAL, temporal & (z < 20))
    _fill(
        region,
        Region.OCCIPITAL,
        (y > 62 + 0.42 * np.maximum(z, 0)) | ((y > 50) & (x < 26) & (z < 12)),
    )
    insula = (x > 28) & (x < 43) & (z > -14) & (z < 19) & (y > -24 + 0.3 * (z + 5)) & (y < 22)
    _fill(region, Region.INSULA, insula & (x < 45 - 0.12 * (y + 2) ** 2 / 10))


def _tentorium(csf: Float32Array, axes: Axes) -> Float32Array:
    """Height of the tentorium, ``(1, row, column)``: most CSF within 5 mm of the usual height."""
    from scipy.ndimage import gaussian_filter, gaussian_filter1d

    z, y, x = axes
    middle = np.interp(y, _TENTORIUM_Y, _TENTORIUM_MIDLINE)
    side = np.interp(y, _TENTORIUM_Y, _TENTORIUM_SIDE)
    usual = middle + (side - middle) * np.minimum(x / 50, 1.2)
    steps = np.arange(-5, 6)
    smooth = gaussian_filter1d(csf, 1.0, axis=0)
    index = np.clip(np.round(usual[0] - z[0, 0, 0]).astype(int) + steps[:, None, None], 0, None)
    found = np.take_along_axis(smooth, index, axis=0) - 0.004 * (steps**2)[:, None, None]
    best = steps[np.argmax(found, axis=0)]
    height = usual[0] + gaussian_filter(best.astype(np.float64), 2.0)
    return np.asarray(height[None], dtype=np.float32)


def _label_hindbrain(region: Uint8Array, axes: Axes, tentorium: Float32Array) -> None:
    """Cerebellum below the tentorium, and the brainstem in front of it."""
    z, y, x = axes
    _fill(region, Region.CEREBELLUM, (z < tentorium) & (y > 27) & (y + z < 75))
    _fill(region, Region.CEREBELLUM, (z < -42) & (y > 18) & (x < 60))
    centre = np.interp(z, (-75, -58, -45, -30, -18, -6), (41, 38, 31, 25, 24, 22))
    front = np.interp(z, (-75, -58, -45, -30, -18, -6), (8, 9, 13, 14, 15, 15))
    width = np.interp(z, (-75, -58, -45, -30, -18, -6), (9, 10, 13, 19, 18, 18))
    stem = (x / width) ** 2 + ((y - centre) / front) ** 2 < 1
    _fill(region, Region.BRAINSTEM, stem & (z < -5))
    _fill(region, Region.BRAINSTEM, (z < _CORD_TOP_MM) & (x < 12) & (y < 54))


def _label_deep_grey(region: Uint8Array, axes: Axes) -> None:
    """Basal ganglia, thalamus and the internal capsule between them."""
    z, y, x = axes
    capsule = (x > 9) & (x < 30) & (y > -18) & (y < 30) & (z > -5) & (z < 20)
    capsule &= x < 24 + 0.25 * y
    _fill(region, Region.INTERNAL_CAPSULE, capsule & (x > 9 + 0.25 * np.abs(y)))
    lentiform = np.minimum(
        _ellipsoid(axes, (25, 1, 2.5), (6.5, 17, 11.5), 20),
        _ellipsoid(axes, (18.5, 4, -0.5), (6, 9, 7), 30),
    )
    _fill(region, Region.LENTIFORM, lentiform < 1)
    _fill(region, Region.THALAMUS, _ellipsoid(axes, (11.5, 18.5, 7.5), (10.5, 15, 10), 25) < 1)
    head = _ellipsoid(axes, (12.5, -12, 7), (6, 12, 12), 5)
    body = (np.abs(y - 6) < 24) & ((x - (16 + 0.12 * y)) ** 2 + (z - (20 - 0.01 * y**2)) ** 2 < 20)
    _fill(region, Region.CAUDATE, (head < 1) | body)


def _ventricles(csf: Float32Array, hull_mm: Float32Array, axes: Axes) -> dict[Region, BoolArray]:
    """Masks of the lateral, third and fourth ventricles: CSF in the depth, where each lies."""
    from scipy.ndimage import label

    z, y, x = axes
    fluid = (csf > 0.45) & (hull_mm > 8)
    front = (x > 0.5) & (x < 24) & (y > -36) & (y < 8) & (z > -4 + 0.1 * (y + 10)) & (z < 32)
    body = (x < 32) & (y >= 8) & (y < 34) & (z > 11 + 0.1 * (y - 8)) & (z < 34)
    atrium = (x > 11) & (x < 42) & (y > 26) & (y < 82) & (z > -6) & (z < 26)
    atrium &= x > 11 + np.maximum(0, 36 - y) * 0.8
    lateral = fluid & (front | body | atrium)
    parts, count = label(lateral)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    lateral = sizes[parts] > _LEAST_VENTRICLE
    temporal = (x > 24) & (x < 42) & (y > 4) & (y < 42) & (z > -26) & (z < -4 + 0.3 * (y - 20))
    lateral |= temporal & (csf > 0.25) & (hull_mm > 14)
    third = fluid & (x < 5) & (y > -8) & (y < 30) & (z > -14) & (z < 12) & ~lateral
    fourth = (csf > 0.4) & (x < 14) & (y > 30) & (y < 54) & (z > -54) & (z < -18) & (hull_mm > 6)
    aqueduct = (csf > 0.3) & (x < 3) & (y > 28) & (y < 40) & (z > -20) & (z < -6)
    return {
        Region.LATERAL_VENTRICLE: lateral,
        Region.THIRD_VENTRICLE: third,
        Region.FOURTH_VENTRICLE: fourth | aqueduct,
    }


def _widened(ventricles: dict[Region, BoolArray]) -> Uint8Array:
    """Labels of the ventricles, 2 mm beyond their walls."""
    from scipy.ndimage import binary_dilation

    result = np.zeros(next(iter(ventricles.values())).shape, dtype=np.uint8)
    for label, mask in ventricles.items():
        result[binary_dilation(mask, iterations=2) & (result == 0)] = label
    return result


def _ventricle_distance(ventricles: dict[Region, BoolArray]) -> Float32Array:
    """Smoothed distance from the lateral and third ventricles, positive outside, at most 40 mm."""
    from scipy.ndimage import gaussian_filter

    mask = ventricles[Region.LATERAL_VENTRICLE] | ventricles[Region.THIRD_VENTRICLE]
    result = np.full(HEAD_SHAPE, 40, dtype=np.float32)
    distance = np.clip(-signed_distance(mask), -40, 40)
    result[_BOX] = gaussian_filter(distance, 1.0)
    return result


def _cortical_territories(axes: Axes) -> Uint8Array:
    """Territories of the cerebral hemispheres, everywhere."""
    z, y, x = axes
    shape = np.broadcast_shapes(z.shape, y.shape, x.shape)
    result = np.full(shape, Territory.MCA_SUPERIOR, dtype=np.uint8)
    sylvian = -16 + 0.68 * (y + 10)
    _fill(
        result,
        Territory.MCA_INFERIOR,
        (z < np.minimum(sylvian + 4, 22)) | (y > 38 + 0.25 * (z - 20)),
    )
    pole = np.clip((-y - 25) / 35, 0, 1)
    strip = 13 + 11 * np.clip((z - 20) / 40, 0, 1) + 9 * pole - 4 * np.clip((y - 40) / 30, 0, 1)
    _fill(result, Territory.ACA, (x < strip) & (z > -30 - 0.1 * y) & (y < 78))
    width = np.interp(y, (30, 50, 66, 82, 100), (18, 24, 30, 38, 46))
    top = np.interp(y, (20, 40, 50, 60, 70, 85), (-12, 14, 22, 25, 28, 30))
    _fill(result, Territory.PCA, (y > 36) & (x < width) & (z < top))
    below = (x < 26 - 1.2 * (z + 8) - 0.5 * np.maximum(30 - y, 0)) & (z < -8) & (x < 50) & (y > 4)
    _fill(result, Territory.PCA, below | ((y > 14) & (x < 32) & (z < -4) & (z > -40)))
    return result


def _deep_territories(region: Uint8Array, axes: Axes) -> Uint8Array:
    """Territories of the deep structures, brainstem and cerebellum; 0 elsewhere."""
    z, y, x = axes
    result = np.zeros(region.shape, dtype=np.uint8)
    corona = (x > 13) & (x < 29) & (y > -16) & (y < 24) & (z >= 16) & (z < 27)
    _fill(result, Territory.MCA_DEEP, corona)
    for kind in (Region.LENTIFORM, Region.CAUDATE, Region.INTERNAL_CAPSULE):
        _fill(result, Territory.MCA_DEEP, region == kind)
    _fill(result, Territory.ACA, (region == Region.CAUDATE) & (z < 1) & (y < -4))
    posterior = (region == Region.INTERNAL_CAPSULE) & (y > 4) & (z < 11)
    uncus = (x > 13) & (x < 27) & (y > -2) & (y < 17) & (z > -30) & (z < -10)
    _fill(result, Territory.ANTERIOR_CHOROIDAL, posterior | (uncus & (region == Region.TEMPORAL)))
    _fill(result, Territory.THALAMIC, region == Region.THALAMUS)
    cerebellum = region == Region.CEREBELLUM
    upper = z > -38 + 0.15 * (y - 60)
    _fill(result, Territory.SCA, cerebellum & upper)
    _fill(result, Territory.PICA, cerebellum & ~upper)
    _fill(result, Territory.BASILAR, region == Region.BRAINSTEM)
    return result


def _complete_grey(
    grey: Float32Array, white: Float32Array, region: Uint8Array, axes: Axes,
    ventricles: dict[Region, BoolArray],
) -> None:  # fmt: skip
    """Give thalamus and pallidum their grey matter, and the ventricles' walls their white matter.

    The atlas's maps take the walls of the ventricles for grey matter (partial volume with CSF) and
    the myelin-rich nuclei for white matter.
    """
    from scipy.ndimage import gaussian_filter

    tissue = grey + white
    wall = signed_distance(ventricles[Region.LATERAL_VENTRICLE]) > -4.0
    nuclei = np.isin(region, (Region.CAUDATE, Region.THALAMUS, Region.LENTIFORM))
    wall &= ~nuclei
    grey[wall] = 0
    white[wall] = tissue[wall]
    thalamus = gaussian_filter((region == Region.THALAMUS).astype(np.float32), 1.2)
    lentiform = gaussian_filter((region == Region.LENTIFORM).astype(np.float32), 1.2)
    caudate = gaussian_filter((region == Region.CAUDATE).astype(np.float32), 1.0)
    least = np.maximum(np.maximum(0.62 * thalamus, 0.72 * lentiform), 0.8 * caudate) * tissue
    np.maximum(grey, least, out=grey)
    np.minimum(white, tissue - grey, out=white)


def _continue_cord(grey: Float32Array, white: Float32Array) -> None:
    """Let the medulla go on as the spinal cord down to the grid's end and beyond."""
    z, y, x = head_axes_mm()
    low = slice(0, int(-64 - HEAD_ORIGIN_MM[2]) + 1)
    centre = _cord_y(z[low])
    radius = np.sqrt((x / 6.8) ** 2 + ((y - centre) / 5.0) ** 2)
    cord = np.clip((1 - radius) * 4 + 0.5, 0, 1)
    core = np.clip((0.55 - radius) * 4 + 0.5, 0, 1) * 0.8
    fade = np.clip((-64 - z[low]) / 4, 0, 1)
    tissue = grey[low] + white[low]
    total = np.maximum(tissue * (1 - fade), cord * np.maximum(fade, tissue > 0))
    share = np.where(tissue > 0, grey[low] / np.maximum(tissue, 1e-3), core) * (1 - fade)
    share += core * fade
    grey[low] = total * share
    white[low] = total * (1 - share)


if __name__ == "__main__":
    write_template(TEMPLATE_FILE)
