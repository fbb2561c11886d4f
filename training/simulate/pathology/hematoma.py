"""Blood within the brain and within its ventricles."""

import numpy as np
from scipy import ndimage

from training.simulate.anatomy.model import Region
from training.simulate.anatomy.person import Side
from training.simulate.arrays import BoolArray, Float32Array, FloatArray
from training.simulate.pathology.bleeds import Part, Place
from training.simulate.pathology.growing import box_around, box_axes_mm, grow, rough_field
from training.simulate.pathology.surroundings import Surroundings, is_one_of
from training.simulate.space import Box

_LOBES = (Region.FRONTAL, Region.PARIETAL, Region.TEMPORAL, Region.OCCIPITAL)
_REGIONS: dict[Place, tuple[Region, ...]] = {
    Place.PUTAMEN: (Region.LENTIFORM,),
    Place.THALAMUS: (Region.THALAMUS,),
    Place.CAUDATE: (Region.CAUDATE,),
    Place.LOBAR: _LOBES,
    Place.CEREBELLUM: (Region.CEREBELLUM,),
    Place.BRAINSTEM: (Region.BRAINSTEM,),
}
# Relative extent along x, y and z before it is scaled to the volume.
_FORMS: dict[Place, tuple[float, float, float]] = {
    Place.PUTAMEN: (0.7, 1.35, 1.1),
    Place.THALAMUS: (0.9, 1.1, 1.0),
    Place.CAUDATE: (0.75, 1.3, 1.0),
    Place.LOBAR: (1.0, 1.2, 1.0),
    Place.CEREBELLUM: (1.15, 1.0, 0.85),
    Place.BRAINSTEM: (1.2, 0.85, 1.0),
}
_MIDLINE_FREE = (Place.CEREBELLUM, Place.BRAINSTEM)


def radius_mm(volume_ml: float) -> float:
    """Radius of the ball of a volume."""
    return float((3000 * volume_ml / (4 * np.pi)) ** (1 / 3))


def parenchymal(
    around: Surroundings, part: Part, taken: Float32Array, rng: np.random.Generator
) -> Float32Array:
    """Share of parenchymal blood on the box of the surroundings.

    A deep or lobar hematoma is an irregular ellipsoid that keeps to its side and its side of the
    tentorium; it pushes CSF spaces away rather than filling them. Contusions are several ragged
    ones in the cortex of the frontal base and the temporal poles.
    """
    if part.place == Place.CONTUSION:
        return _contusions(around, part, taken, rng)
    centre = _centre_mm(around, part, rng)
    radius = radius_mm(part.volume_ml)
    local, box = _local_box(around, centre, 2.4 * radius + 10)
    reach = _ellipsoid_mm(box, centre, _form(part, rng), _rotation(part, rng))
    score = -reach
    roughness = float(rng.uniform(0.12, 0.36))
    score += np.float32(roughness * radius) * rough_field(
        rng, reach.shape, max(1.3 * radius, 4.0), octaves=3
    )
    fluid = ndimage.gaussian_filter(around.csf[local], 1.5)
    score -= np.float32(0.4 * radius + 5) * fluid
    ventricles = around.ventricles[local]
    score -= np.float32(radius) * ndimage.gaussian_filter(ventricles.astype(np.float32), 5.0)
    allowed = around.cavity[local] & ~ventricles
    allowed &= around.depth_mm[local] > 1.5
    below = around.infratentorial[local]
    if part.place not in _MIDLINE_FREE:
        inwards = around.from_midline_mm(part.side)[local]
        allowed &= (inwards > (0 if part.place == Place.THALAMUS else 1.5)) & ~below
        score -= np.float32(0.5 * radius) * np.clip(1 - inwards / 9, 0, 1)
    else:
        allowed &= below
    room = (1 - np.clip(taken[local] + around.firm[local], 0, 1)) * allowed
    filled = np.zeros_like(taken)
    edge = float(rng.uniform(1.0, 2.5))
    share = grow(score, room, part.volume_ml, edge)
    islands = _islands(share)
    if islands.any():
        share = grow(score, np.where(islands, np.float32(0), room), part.volume_ml, edge)
    filled[local] = share
    return filled


def _islands(share: Float32Array) -> BoolArray:
    """Parts that are not connected to the largest, and less than a tenth of it."""
    labels, count = ndimage.label(share > 0)
    if count < 2:
        return np.zeros(share.shape, dtype=bool)
    sizes = np.bincount(labels.ravel(), weights=share.ravel())
    small = sizes < 0.1 * sizes[1:].max()
    small[0] = False
    return np.asarray(small[labels])


def _local_box(around: Surroundings, centre_mm: FloatArray, reach: float) -> tuple[Box, Box]:
    """Box around a point, relative to the surroundings' box and on the head grid."""
    wide = box_around(centre_mm, reach)
    starts, stops = [], []
    for part, outer in zip(wide, around.box, strict=True):
        starts.append(max(part.start, outer.start))
        stops.append(min(part.stop, outer.stop))
    first, second, third = (slice(a, b) for a, b in zip(starts, stops, strict=True))
    local = [
        slice(a - outer.start, b - outer.start)
        for a, b, outer in zip(starts, stops, around.box, strict=True)
    ]
    return (local[0], local[1], local[2]), (first, second, third)


def _ellipsoid_mm(
    box: Box, centre_mm: FloatArray, form: FloatArray, rotation: FloatArray
) -> Float32Array:
    """Distance from a centre in which an ellipsoid of volume 4/3 π r³ has the reach r."""
    z, y, x = box_axes_mm(box)
    x, y, z = (
        axis - np.float32(at) for axis, at in zip((x, y, z), centre_mm, strict=True)
    )  # fmt: skip
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), dtype=np.float32)
    for row, extent in zip(rotation.astype(np.float32), form, strict=True):
        total += ((row[0] * x + row[1] * y + row[2] * z) / np.float32(extent)) ** 2
    return np.sqrt(total)


def _form(part: Part, rng: np.random.Generator) -> FloatArray:
    form = np.array(_FORMS[part.place]) * np.exp(rng.normal(0, 0.18, 3))
    return np.asarray(form / np.prod(form) ** (1 / 3))


def _rotation(part: Part, rng: np.random.Generator) -> FloatArray:
    """Deep hematomas follow the capsule, which runs outwards to the back; lobar ones any way."""
    from scipy.spatial.transform import Rotation

    if part.place == Place.LOBAR:
        return np.asarray(Rotation.from_quat(rng.standard_normal(4)).as_matrix())
    outwards = 15.0 if part.side == "L" else -15.0
    degrees = (rng.normal(0, 12), rng.normal(0, 12), rng.normal(outwards, 12))
    return np.asarray(Rotation.from_euler("xyz", degrees, degrees=True).as_matrix())


def _centre_mm(around: Surroundings, part: Part, rng: np.random.Generator) -> FloatArray:
    """Voxel where a parenchymal hematoma starts."""
    regions = is_one_of(around.region, _REGIONS[part.place])
    inside = regions & (around.anatomy.grey[around.box] + around.anatomy.white[around.box] > 0.6)
    if part.place in _MIDLINE_FREE:
        inside &= around.infratentorial
    if part.place != Place.BRAINSTEM:
        inside &= around.on_side(part.side)
    if part.place == Place.LOBAR:
        shallow = min(8 + 0.7 * radius_mm(part.volume_ml), 24)
        inside &= (around.depth_mm > shallow) & (around.depth_mm < shallow + 14)
        inside &= around.from_midline_mm(part.side) > 10
    if part.place == Place.CEREBELLUM:
        inside &= around.depth_mm > min(8 + 0.5 * radius_mm(part.volume_ml), 16)
    return around.point_mm(_central(inside, rng))


def _central(inside: BoolArray, rng: np.random.Generator) -> int:
    """Flat index of a voxel, the one of three that lies deepest within the mask."""
    candidates = np.flatnonzero(inside)
    if not candidates.size:
        raise ValueError("the anatomy has no such region")
    chosen = candidates[rng.integers(0, len(candidates), 3)]
    smooth = ndimage.uniform_filter(inside.astype(np.float32), 7)
    return int(chosen[np.argmax(smooth.ravel()[chosen])])


def _contusions(
    around: Surroundings, part: Part, taken: Float32Array, rng: np.random.Generator
) -> Float32Array:
    count = int(rng.integers(2, 5 + min(int(part.volume_ml // 4), 5)))
    sizes = rng.dirichlet(np.full(count, 1.2)) * part.volume_ml
    score = np.full(taken.shape, -np.inf, dtype=np.float32)
    sides: tuple[Side, Side] = (part.side, "R" if part.side == "L" else "L")
    for size in sizes:
        side = sides[int(rng.random() < 0.25)]
        middle = around.point_mm(_impact(around, side, rng))
        radius = max(radius_mm(float(size)), 2.0)
        form = np.exp(rng.normal(0, 0.25, 3))
        form[2] *= 0.85
        local, box = _local_box(around, middle, 2.5 * radius + 6)
        blob = radius - _ellipsoid_mm(box, middle, form / np.prod(form) ** (1 / 3), np.eye(3))
        score[local] = np.maximum(score[local], blob)
    near = np.isfinite(score)
    bounds = tuple(slice(int(k.min()), int(k.max()) + 1) for k in np.nonzero(near))
    patch = score[bounds]
    patch += np.float32(2.5) * rough_field(rng, patch.shape, 5.0, octaves=2)
    spots = np.clip(0.85 + 0.35 * rough_field(rng, patch.shape, 4.0), 0.25, 1)
    tissue = around.anatomy.grey[around.box][bounds] + around.anatomy.white[around.box][bounds]
    room = np.clip(np.minimum(spots, tissue * 1.3) - taken[bounds], 0, 1)
    room *= around.cavity[bounds] & ~around.infratentorial[bounds]
    filled = np.zeros_like(taken)
    filled[bounds] = grow(patch, room.astype(np.float32), part.volume_ml, edge_mm=1.5)
    return filled


def _impact(around: Surroundings, side: Side, rng: np.random.Generator) -> int:
    """Flat index of a voxel of cortex at the frontal base or the temporal pole."""
    frontal = rng.random() < 0.55
    region = Region.FRONTAL if frontal else Region.TEMPORAL
    near = (around.depth_mm > 3) & (around.depth_mm < 12) & (around.region == region)
    candidates = np.flatnonzero(near & around.on_side(side))
    axis = around.axes_mm[0] if frontal else around.axes_mm[1]
    height = np.broadcast_to(axis, near.shape).ravel()[candidates]
    return int(rng.choice(candidates[height <= np.quantile(height, 0.22)]))


def intraventricular(
    around: Surroundings,
    part: Part,
    taken: Float32Array,
    rng: np.random.Generator,
    source_mm: FloatArray | None,
) -> Float32Array:
    """Share of blood in the ventricles on the box of the surroundings.

    Layered blood sinks to the back of the supine patient's lateral ventricles and ends in a
    horizontal level. A cast is clot that fills the ventricle nearest to where it broke in (a
    hematoma's centre, or any point of the ventricles), and goes on from there.
    """
    room = around.csf * around.ventricles
    room *= 1 - np.clip(taken, 0, 1)
    clotted = float(rng.uniform(0.5, 0.95)) if part.place == Place.CAST else 0.0
    if part.place == Place.LAYERED and rng.random() < 0.35:
        clotted = float(rng.uniform(0.1, 0.3))
    cast = np.zeros_like(taken)
    if clotted:
        where = np.flatnonzero(room > 0.5)
        start = around.point_mm(int(rng.choice(where))) if source_mm is None else source_mm
        z, y, x = around.offsets_mm(start)
        score = -np.sqrt(x**2 + y**2 + z**2)
        score += np.float32(4) * rough_field(rng, taken.shape, 18.0, octaves=2)
        cast = grow(score, room, clotted * part.volume_ml, edge_mm=2.0)
    rest = part.volume_ml - float(cast.sum(dtype=np.float64)) / 1000
    level = np.broadcast_to(around.axes_mm[1], taken.shape).copy()
    level[around.on_side("L")] += np.float32(rng.normal(0, 3))
    level[around.region != Region.LATERAL_VENTRICLE] -= np.float32(rng.uniform(-5, 25))
    return cast + grow(level, room - cast, rest, edge_mm=0.6)
