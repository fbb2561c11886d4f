"""The brain of a person: shares of grey and white matter and CSF, and what lies where.

The warped maps of the template are an average of many brains and blurred. Thresholds turn them
into crisp tissue with partial volume of one voxel; the person's own sulci, the width of all sulci,
old infarcts, white matter disease and physiological calcifications are added here.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from training.simulate.anatomy.deform import (
    COARSE_SHAPE,
    STEP_MM,
    Warp,
    random_field,
    sample,
    upsample,
)
from training.simulate.anatomy.model import Region
from training.simulate.anatomy.person import Person
from training.simulate.anatomy.template import decode, load_template
from training.simulate.arrays import BoolArray, Float32Array, FloatArray, Uint8Array, stream
from training.simulate.space import HEAD_ORIGIN_MM, HEAD_SHAPE, Box, bounding_box, head_axes_mm

T = TypeVar("T", np.float32, np.uint8)
CALCIFICATION_HU = 400.0
_CORTEX_MM = 2.6
_EXACT_MM = 10.0
_LOBES = (Region.FRONTAL, Region.PARIETAL, Region.TEMPORAL, Region.OCCIPITAL, Region.INSULA)


@dataclass(frozen=True, eq=False)
class Brain:
    """Contents of the cranial cavity, arrays of shape ``HEAD_SHAPE``.

    Parameters
    ----------
    grey, white, csf, calcification : float32 arrays
        Shares; they sum to 1 inside the cavity and are 0 outside it.
    region, territory : uint8 arrays
        :class:`Region` and :class:`Territory`.
    depth_mm : float32 array
        Distance from the inner surface of the skull, positive inside the cavity; float16 values.
    left : bool array
        Left of the person's midline.
    """

    grey: Float32Array
    white: Float32Array
    csf: Float32Array
    calcification: Float32Array
    region: Uint8Array
    territory: Uint8Array
    depth_mm: Float32Array
    left: BoolArray


@dataclass(frozen=True, eq=False)
class _Place:
    """A person's cavity in its box: template coordinates, depth, labels and maps."""

    person: Person
    box: Box
    template_mm: Float32Array
    depth: Float32Array
    region: Uint8Array
    ventricle: Uint8Array
    grey: Float32Array
    white: Float32Array
    ventricle_mm: Float32Array


def build_brain(person: Person, warp: Warp) -> Brain:
    """Build a person's brain from the warp that :func:`deform.draw_warp` drew."""
    depth, left = _depth_and_side(person, warp)
    box = bounding_box(depth > 0)
    place, territory = _place(person, warp, box, depth[box])
    grey, white = _tissue(place)
    grey, white = _with_own_sulci(place, warp, grey, white)
    grey, white = _with_old_lesions(place, grey, white)
    cavity = place.depth > 0
    calcification = _calcification(place, warp) * cavity
    keep = cavity * (1 - calcification)
    grey, white = grey * keep, white * keep
    csf = np.maximum(keep - grey - white, 0)
    region, territory = _labels(place, territory, grey + white, csf)
    shares = [_embed(part, box) for part in (grey, white, csf, calcification)]
    labels = [_embed(part, box) for part in (region, territory)]
    return Brain(
        grey=shares[0],
        white=shares[1],
        csf=shares[2],
        calcification=shares[3],
        region=labels[0],
        territory=labels[1],
        depth_mm=depth,
        left=left,
    )


def _embed(part: npt.NDArray[T], box: Box) -> npt.NDArray[T]:
    """Put a box's values on the head grid, among zeros."""
    whole = np.zeros(HEAD_SHAPE, dtype=part.dtype)
    whole[box] = part
    return whole


def _depth_and_side(person: Person, warp: Warp) -> tuple[Float32Array, BoolArray]:
    """Distance from the inner skull (float16 values), and which voxels are left of the midline."""
    template = load_template()
    points = warp.coarse_coordinates()
    coarse = sample(template.hull_mm[None], points)[0]
    slope = np.sqrt(sum(part**2 for part in np.gradient(coarse, STEP_MM)))
    rng = stream(person.seed, "subarachnoid")
    gap = person.subarachnoid_gap_mm * (1 + 0.2 * random_field(rng, 60)[0])
    above = 1 / (1 + np.exp((5 - points[..., 2]) / 8))
    gap = 0.7 + np.maximum(gap - 0.7, 0) * above
    gap = gap.astype(np.float32)
    factor = 1 / np.clip(slope, 0.7, 1.6)
    depth = upsample((coarse * factor + gap)[None])[0]
    nodes = bounding_box(coarse > -_EXACT_MM)
    step = int(STEP_MM)
    box = tuple(
        slice(part.start * step, min((part.stop - 1) * step + 1, size))
        for part, size in zip(nodes, HEAD_SHAPE, strict=True)
    )
    exact = (box[0], box[1], box[2])
    factors, extra = upsample(np.stack([factor, gap]), exact)
    depth[exact] = sample(template.hull_mm[None], warp.coordinates(exact))[0] * factors + extra
    z, y, x = head_axes_mm()
    row = warp.matrix[0].astype(np.float32)
    left = upsample(warp.displacement_mm[:1])[0] > -(row[2] * z + row[1] * y + row[0] * x)
    return depth.astype(np.float16).astype(np.float32), left


def _place(person: Person, warp: Warp, box: Box, depth: Float32Array) -> tuple[_Place, Uint8Array]:
    """Sample the labels; the borders of cortical territories shift from person to person."""
    template = load_template()
    points = warp.coordinates(box)
    codes = sample(template.codes[None].astype(np.float32), points, nearest=True)[0]
    region, ventricle, fixed = decode(codes.astype(np.uint16))
    shift = random_field(stream(person.seed, "watershed"), 60, 3) * np.float32(4)
    moved = points + np.moveaxis(upsample(shift, box), 0, -1)
    cortical = sample(template.cortical_territory[None].astype(np.float32), moved, nearest=True)[0]
    territory = np.where(fixed > 0, fixed, cortical.astype(np.uint8))
    grey, white, ventricle_mm = sample(template.maps, points)
    place = _Place(person, box, points, depth, region, ventricle, grey, white, ventricle_mm)
    return place, territory


def _is_in(labels: Uint8Array, wanted: tuple[Region, ...]) -> BoolArray:
    table = np.zeros(256, dtype=bool)
    table[list(wanted)] = True
    return np.asarray(table[labels])


def _tissue(place: _Place) -> tuple[Float32Array, Float32Array]:
    """Crisp shares of grey and white matter from the atlas's blurred probabilities."""
    person = place.person
    rng = stream(person.seed, "cortex")
    fields = random_field(rng, 30, 2)
    unlike, ribbon = upsample(fields, place.box)
    cortex = _is_in(place.region, _LOBES) & (place.ventricle == 0)
    wide = np.float32(0.40 + 0.42 * person.sulcal_width)
    threshold = np.where(cortex, wide + np.float32(0.06) * unlike, np.float32(0.5))
    threshold[place.region == Region.INSULA] += np.float32(0.08 * person.sulcal_width)
    cerebellum = place.region == Region.CEREBELLUM
    threshold[cerebellum] = 0.45 + 0.25 * person.sulcal_width
    total = place.grey + place.white
    steep = np.where(place.ventricle > 0, np.float32(8), np.float32(3.5))
    brain = np.clip((total - threshold) * steep + np.float32(0.5), 0, 1)
    brain *= np.clip(place.depth, 0, 1)
    relative = place.grey / np.maximum(total, np.float32(1e-3))
    crisp = np.clip((relative - np.float32(0.55)) * 3 + 0.5 + np.float32(0.15) * ribbon, 0, 1)
    share = np.where(cortex | cerebellum, crisp, relative).astype(np.float32)
    return brain * share, brain * (1 - share)


def _with_own_sulci(
    place: _Place, warp: Warp, grey: Float32Array, white: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """Add the person's own sulci: sheets that run inwards from the convexity, with their cortex."""
    person = place.person
    rng = stream(person.seed, "sulci")
    depth = sample(load_template().hull_mm[None], warp.coarse_coordinates())[0]
    normal = np.stack(np.gradient(depth, STEP_MM), axis=-1)
    normal /= np.sqrt((normal**2).sum(-1, keepdims=True)) + np.float32(1e-3)
    index = np.stack(np.meshgrid(*map(np.arange, COARSE_SHAPE), indexing="ij"), axis=-1)
    surface = index - np.clip(depth, -5, 30)[..., None] * normal / STEP_MM
    fields = _resample(random_field(rng, 42, 2), surface.astype(np.float32))
    slope = np.sqrt(sum(part**2 for part in np.gradient(fields[0], STEP_MM)))
    offset = np.clip(fields[0] / np.maximum(slope, 0.02), -15, 15)
    reach = 4.0 + 8.0 * fields[1]
    distance, reach = upsample(np.stack([offset, reach]).astype(np.float32), place.box)
    beyond = np.maximum(place.depth - np.minimum(reach, 18), 0)
    distance = np.sqrt(distance**2 + beyond**2)
    half = np.float32(0.1 + 1.1 * person.sulcal_width)
    x, y, z = (place.template_mm[..., axis] for axis in range(3))
    central = (np.abs(x) < 34) & (z < 8) & (y > -22)
    where = _is_in(place.region, _LOBES[:4]) & (place.ventricle == 0) & ~central
    fluid = np.clip(half + np.float32(0.5) - distance, 0, 1) * where
    ribbon = np.clip(half + np.float32(_CORTEX_MM + 0.5) - distance, 0, 1) * where
    brain = (grey + white) * (1 - fluid)
    share = np.maximum(grey / np.maximum(grey + white, np.float32(1e-3)), ribbon)
    return brain * share, brain * (1 - share)


def _resample(fields: Float32Array, index: Float32Array) -> Float32Array:
    """Values of coarse fields at fractional indices ``(slice, row, column, 3)``, linear."""
    from scipy.ndimage import map_coordinates

    where = np.moveaxis(index, -1, 0)
    return np.stack([map_coordinates(field, where, order=1, mode="nearest") for field in fields])


def _with_old_lesions(
    place: _Place, grey: Float32Array, white: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """Replace tissue by fluid: white matter disease, lacunes and old cortical infarcts."""
    person = place.person
    rng = stream(person.seed, "old lesions")
    patches = upsample(random_field(rng, 25), place.box)[0]
    worst = np.clip(1.1 + np.float32(0.5) * patches, 0.2, 1.6) / np.float32(1.6)
    reach = np.float32(5 + 25 * person.leukoaraiosis)
    around = np.exp(-((np.maximum(place.ventricle_mm - 1, 0) / reach) ** 2))
    supratentorial = _is_in(place.region, (*_LOBES, Region.INTERNAL_CAPSULE))
    lost = np.float32(person.leukoaraiosis) * worst * around * supratentorial
    white = white * (1 - lost)
    deep = np.array(
        [(21, 0, 4), (24, 6, 2), (14, 16, 8), (19, 8, 12), (22, -8, 22), (5, 26, -30)], float
    )
    spare = np.ones_like(grey)
    for _ in range(person.old_lacunes):
        centre = deep[rng.integers(len(deep))] + rng.normal(0, 2.5, 3)
        centre[0] *= rng.choice([-1, 1])
        _carve(spare, place, centre, rng.uniform(1.5, 4.5, 3), 0.95, 2.0)
    for _ in range(person.old_infarcts):
        _carve_cortical(spare, place, rng)
    return grey * spare, white * spare


def _carve(
    spare: Float32Array, place: _Place, centre: FloatArray, radii: FloatArray, loss: float,
    sharpness: float,
) -> None:  # fmt: skip
    """Lower what is spared inside an ellipsoid around a point of the template."""
    difference = place.template_mm - centre.astype(np.float32)
    relative = np.sqrt(((difference / radii.astype(np.float32)) ** 2).sum(-1))
    inside = np.clip((1 - relative) * np.float32(sharpness * radii.min()) + 0.5, 0, 1)
    spare *= 1 - np.float32(loss) * inside


def _carve_cortical(spare: Float32Array, place: _Place, rng: np.random.Generator) -> None:
    """An old infarct at the convexity: a wedge that narrows inwards, with a ragged border."""
    cortex = _is_in(place.region, _LOBES[:4]) & (np.abs(place.depth - 6) < 2)
    candidates = np.flatnonzero(cortex)
    chosen = np.unravel_index(candidates[rng.integers(len(candidates))], spare.shape)
    centre = place.template_mm[chosen]
    radius = rng.uniform(10, 24)
    ragged = upsample(random_field(rng, 16), place.box)[0]
    away = np.sqrt(((place.template_mm - centre) ** 2).sum(-1))
    wedge = radius * np.clip(1.1 - place.depth / np.float32(2.2 * radius), 0, 1)
    inside = np.clip((wedge - away + 2.5 * ragged) / 3 + 0.5, 0, 1)
    inside *= place.ventricle_mm > 3
    spare *= 1 - np.float32(rng.uniform(0.6, 0.95)) * inside


def _calcification(place: _Place, warp: Warp) -> Float32Array:
    """Share of physiological calcium: pineal gland, choroid plexus, falx, pallidum."""
    person = place.person
    rng = stream(person.seed, "calcification")
    share = np.zeros(place.depth.shape, dtype=np.float32)
    spots: list[tuple[tuple[float, float, float], tuple[float, float, float], float]] = []
    if person.calcified_pineal:
        size = 1 + 2.2 * person.calcified_pineal
        spots.append(((0.0, 31.0, 2.0), (size, 1.3 * size, size), rng.uniform(0.3, 1)))
    for side in (-1.0, 1.0):
        if person.calcified_choroid:
            size = (1 + 2.5 * person.calcified_choroid) * rng.uniform(0.6, 1.2)
            place_of = (side * 26.0, 42 + rng.normal(0, 1.5), 4 + rng.normal(0, 2))
            spots.append((place_of, (size, 1.4 * size, size), rng.uniform(0.25, 0.9)))
        if person.calcified_pallidum:
            size = (1.2 + 2.5 * person.calcified_pallidum) * rng.uniform(0.7, 1.2)
            spots.append(((side * 18.5, 3.0, 0.0), (size, 1.3 * size, size), rng.uniform(0.1, 0.4)))
    if person.calcified_falx:
        for _ in range(int(rng.integers(1, 4))):
            y = rng.uniform(-50, 30)
            size = 2 + 8 * person.calcified_falx * rng.random()
            z = 62 - 0.01 * (y - 12) ** 2 + rng.normal(0, 5)
            spots.append(((0.0, y, z), (0.9, size, 0.7 * size), rng.uniform(0.4, 1)))
    for centre, radii, amount in spots:
        _add_spot(share, place, np.array(centre), np.array(radii), amount, warp)
    return share


def _add_spot(
    share: Float32Array, place: _Place, centre: FloatArray, radii: FloatArray, amount: float,
    warp: Warp,
) -> None:  # fmt: skip
    """Add an ellipsoid of calcium around a template point, in a small box of its own."""
    point = warp.template_to_head(centre[None])[0] - np.array(HEAD_ORIGIN_MM)
    middle = [round(value) - part.start for value, part in zip(point[::-1], place.box, strict=True)]
    half = int(np.ceil(radii.max())) + 3
    near = tuple(slice(max(m - half, 0), m + half + 1) for m in middle)
    difference = place.template_mm[near] - centre.astype(np.float32)
    relative = np.sqrt(((difference / radii.astype(np.float32)) ** 2).sum(-1))
    inside = np.clip((1 - relative) * np.float32(radii.min()) + 0.5, 0, 1) * np.float32(amount)
    share[near] = np.maximum(share[near], inside)


def _labels(
    place: _Place, territory: Uint8Array, brain: Float32Array, csf: Float32Array
) -> tuple[Uint8Array, Uint8Array]:
    """Region of brain and fluid, territory of brain."""
    cavity = place.depth > 0
    tissue = cavity & (brain >= csf) & (brain > 0.25)
    fluid = cavity & ~tissue & (csf > 0.25)
    fluid_label = np.where(place.ventricle > 0, place.ventricle, np.uint8(Region.SULCI))
    region = np.where(tissue, place.region, np.where(fluid, fluid_label, np.uint8(0)))
    territory = np.where(cavity & (brain > 0), territory, np.uint8(0))
    return region.astype(np.uint8), territory.astype(np.uint8)
