"""The skull, the scalp and the dura of a person.

The vault follows the cavity: outer table, diploë and inner table lie at distances from its
surface. The base, the face and the neck are shapes of the template that follow the person's
deformation. Textbook anatomy and HU throughout.
"""

from dataclasses import dataclass

import numpy as np

from training.simulate.anatomy.canvas import (
    AIR_HU,
    Canvas,
    CoarseField,
    Coordinates,
    Warp,
    blend,
    node_points,
)
from training.simulate.anatomy.face import face_distance, paint_face
from training.simulate.anatomy.fields import smooth_noise
from training.simulate.anatomy.person import Person
from training.simulate.anatomy.skull_base import paint_base
from training.simulate.arrays import Float32Array, stream
from training.simulate.space import HEAD_SHAPE

DURA_HU = 55.0
BASE_MM = 2.6
_SKIN_HU, _SKIN_MM = 45.0, 1.5
_FAT_HU, _MUSCLE_HU = -95.0, 56.0
_STEP = 4
_SLAB = 68
_SEAM_MM = 12.0
_SMOOTH_MM = 11.0
_DURA_MM = 0.9
# Height of the tentorium (mm) over the distance from the midline (rows) and y (columns).
_TENT_X = (0, 10, 20, 30, 40, 50, 60)
_TENT_Y = (15, 30, 40, 50, 60, 70, 80, 90, 100)
_TENT_Z = (
    (-14, -8, -2, 1, 0, -9, -15, -18, -19),
    (-20, -15, -6, -8, -8, -13, -18, -20, -20),
    (-27, -24, -17, -16, -15, -18, -21, -21, -21),
    (-33, -30, -24, -22, -20, -20, -22, -22, -22),
    (-36, -33, -30, -27, -23, -22, -23, -22, -22),
    (-37, -34, -33, -30, -26, -24, -24, -23, -22),
    (-37, -35, -34, -32, -28, -26, -24, -23, -22),
)
# Free edge of the falx: y, and the height above which it spans the fissure.
_FALX_Y = (-75, -62, -50, -35, -15, 5, 25, 42, 50)
_FALX_Z = (-26, -8, 10, 30, 42, 43, 36, 20, 4)


@dataclass(frozen=True, eq=False)
class Skull:
    """What surrounds the brain, float32 arrays of shape ``HEAD_SHAPE``.

    Parameters
    ----------
    bone, fat, soft : array
        Shares of each voxel; 0 inside the cavity. What is missing to 1 outside it is air.
    dura : array
        Share of falx and tentorium; 0 outside the cavity.
    static_hu : array
        Sum of HU at 120 kVp times share: bone, fat, soft tissue and air outside the cavity, dura
        inside it.
    """

    bone: Float32Array
    fat: Float32Array
    soft: Float32Array
    dura: Float32Array
    static_hu: Float32Array


def build_skull(person: Person, warp: Warp, depth_mm: Float32Array) -> Skull:
    """Build the skull, scalp, face and dura of a person.

    Parameters
    ----------
    person : Person
        Whose traits decide thickness, HU, air and fat.
    warp : Warp
        From the template to this head.
    depth_mm : float32 array of shape ``HEAD_SHAPE``
        Distance from the inner table, positive inside the cavity.
    """
    rng = stream(person.seed, "skull")
    canvas = Canvas(warp, depth_mm, rng)
    _paint_layers(canvas, person, _layers(canvas, person, rng))
    paint_face(canvas, person)
    paint_base(canvas, person)
    outside = depth_mm <= 0
    for values in (*canvas.shares.values(), canvas.static):
        values *= outside
    dura = _dura(canvas, person)
    canvas.static += np.float32(DURA_HU) * dura
    return Skull(**canvas.shares, dura=dura, static_hu=canvas.static)


def _bump(p: Coordinates, centre: tuple[float, float, float], widths: tuple[float, float, float]
          ) -> Float32Array:  # fmt: skip
    """Gaussian bump of height 1, the same on both sides."""
    x = np.abs(p[0]) - np.float32(centre[0])
    y, z = p[1] - np.float32(centre[1]), p[2] - np.float32(centre[2])
    scaled = (x / widths[0]) ** 2 + (y / widths[1]) ** 2 + (z / widths[2]) ** 2
    return np.asarray(np.exp(-scaled / 2), dtype=np.float32)


def _vault_weight(p: Coordinates) -> Float32Array:
    """1 over the vault, 0 over the base, along the plane from nasion to the nuchal line."""
    height = p[2] + 22 + np.float32(0.12) * (p[1] + 75)
    return np.clip(height / 14 + np.float32(0.5), 0, 1)


def skull_thickness(p: Coordinates, person: Person, noise: Float32Array) -> Float32Array:
    """Distance of the outer from the inner table in mm at points of the template."""
    relative = 0.98 + 0.10 * noise
    relative += 0.14 * _bump(p, (28, -62, 28), (25, 20, 22))
    relative += 0.18 * _bump(p, (45, 62, 42), (25, 28, 25))
    relative += 0.45 * _bump(p, (0, 102, -14), (14, 14, 14))
    relative += 0.50 * _bump(p, (0, -75, -16), (18, 14, 16))
    relative -= 0.52 * _bump(p, (72, 2, -22), (26, 30, 22))
    vault = person.skull_thickness_mm * relative
    if person.frontal_hyperostosis:
        plaque = _bump(p, (24, -60, 30), (16, 22, 24)) * (1 + 0.3 * noise)
        vault = vault + 6 * person.frontal_hyperostosis * plaque
    squama = np.clip((p[1] - 50) / 30, 0, 1)
    base = BASE_MM * (1 + 0.2 * noise) + squama * 0.25 * person.skull_thickness_mm
    weight = _vault_weight(p)
    return np.asarray(np.maximum(weight * vault + (1 - weight) * base, 1.6), dtype=np.float32)


def _layers(canvas: Canvas, person: Person, rng: np.random.Generator) -> CoarseField:
    """Coarse fields: depth below the skin, thickness of bone and of fat, fat planes, sutures."""
    shape = node_points(_STEP).shape[:3]
    z, y, x = (slice(0, (count - 1) * _STEP + 1, _STEP) for count in shape)
    template = canvas.template.at((z, y, x))
    p = (template[0], template[1], template[2])
    depth = canvas.depth_mm[z, y, x]
    missing = [(0, wanted - got) for wanted, got in zip(shape, depth.shape, strict=True)]
    depth = np.pad(depth, missing, mode="edge")
    noise = smooth_noise(rng, shape, 5)
    weight = _vault_weight(p)
    bone = skull_thickness(p, person, noise)
    bone = np.maximum(bone + weight * _evenness(depth, weight), 0.6 * bone)
    temporalis = 8.5 * _bump(p, (70, -18, -28), (30, 26, 27))
    vault = -depth - bone - person.scalp_mm - temporalis
    skin = blend(vault, face_distance(p, rng), _SEAM_MM)
    scalp_fat = person.fat_fraction * (person.scalp_mm - _SKIN_MM)
    cheek = (3.0 + 5.0 * person.fat_fraction) * (1 + 0.25 * smooth_noise(rng, shape, 4))
    fat = weight * scalp_fat + (1 - weight) * cheek
    planes = smooth_noise(rng, shape, 1.2) + 1.5 * _bump(p, (36, -28, -62), (13, 20, 18))
    coronal = p[1] + 20 - 0.35 * np.abs(p[0]) + 2.0 * smooth_noise(rng, shape, 1.0)
    lambdoid = 88 - p[1] - 0.7 * np.abs(p[0]) - 0.3 * p[2] + 2.5 * smooth_noise(rng, shape, 1.0)
    parts = [-skin, bone, fat, planes, np.minimum(coronal, lambdoid)]
    return CoarseField(np.stack(parts).astype(np.float32), _STEP)


def _evenness(depth: Float32Array, weight: Float32Array) -> Float32Array:
    """By how much bone must be thicker so that the outside of the vault is smoother than inside."""
    from scipy import ndimage

    change = ndimage.gaussian_filter(depth, _SMOOTH_MM / _STEP, mode="nearest") - depth
    vault = (np.abs(depth + 3) < 5) & (weight == 1)
    return np.asarray(change - change[vault].mean(), dtype=np.float32)


def _paint_layers(canvas: Canvas, person: Person, layers: CoarseField) -> None:
    """Skin, fat, muscle and the shell of bone around the cavity, over the whole head."""
    for first in range(0, HEAD_SHAPE[0], _SLAB):
        slab = slice(first, first + _SLAB)
        below = layers.slab(0, slab.start, slab.stop)
        depth = canvas.depth_mm[slab]
        inside = np.flatnonzero((below > -0.5) & (depth <= 0))
        below, out = below.ravel()[inside], -depth.ravel()[inside]
        bone_mm, fat_mm, planes, suture = (
            layers.slab(k, slab.start, slab.stop).ravel()[inside] for k in range(1, 5)
        )
        fat, soft, static = _soft_layers(person, below, out - bone_mm, fat_mm, planes)
        # Where the skull's surface crosses a voxel, dura or periosteum fills what bone leaves.
        bone = np.clip(out + np.float32(0.5), 0, 1)
        bone *= np.clip(bone_mm + np.float32(0.5) - out, 0, 1)
        hard = np.flatnonzero(bone)
        z, y, x = np.unravel_index(inside[hard], depth.shape)
        grain = canvas.grain_at((z + first, y, x))
        for values in (fat, soft, static):
            values *= 1 - bone
        static[hard] += bone[hard] * _bone_hu(person, out[hard], bone_mm[hard], suture[hard], grain)
        head = np.clip(below + np.float32(0.5), 0, 1)
        static *= head
        static += np.float32(AIR_HU) * (1 - head)
        for name, share in (("bone", bone), ("fat", fat), ("soft", soft)):
            canvas.shares[name][slab].ravel()[inside] = share * head
        canvas.static[slab].ravel()[inside] = static


def _soft_layers(
    person: Person,
    below: Float32Array,
    above_bone: Float32Array,
    fat_mm: Float32Array,
    planes: Float32Array,
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Shares of fat and of soft tissue, and HU, by depth below the skin where no bone is."""
    skin = np.clip(np.float32(_SKIN_MM + 0.5) - below, 0, 1)
    fat = np.clip(fat_mm + np.float32(_SKIN_MM + 0.5) - below, 0, 1) * (1 - skin)
    fatty = np.clip((planes - np.float32(1.6 - 1.2 * person.fat_fraction)) * 0.7, 0, 0.85)
    fatty *= np.clip((below - fat_mm - 4) / 4, 0, 1) * np.clip((above_bone - 3) / 3, 0, 1)
    fat += (1 - skin - fat) * fatty
    soft = 1 - fat
    static = fat * np.float32(_FAT_HU)
    muscle = np.float32(_MUSCLE_HU) - 3 * np.clip(planes, -2, 2)
    static += soft * (muscle + (np.float32(_SKIN_HU) - muscle) * skin)
    return fat, soft, static


def _bone_hu(
    person: Person,
    out: Float32Array,
    bone_mm: Float32Array,
    suture: Float32Array,
    grain: Float32Array,
) -> Float32Array:
    """HU of the shell of bone: two tables with diploë between them, thin sutures."""
    table = np.clip(bone_mm * np.float32((1 - person.diploe_fraction) / 2), 1.1, 2.2)
    inner = np.clip(table + np.float32(0.5) - out, 0, 1)
    outer = np.clip(np.float32(1.1) * table + np.float32(0.5) - (bone_mm - out), 0, 1)
    compact = np.maximum(inner, outer)
    marrow = np.float32(person.diploe_hu) * (1 + np.float32(0.28) * grain)
    hu = compact * np.float32(person.table_hu) + (1 - compact) * np.maximum(marrow, 30)
    open_suture = np.clip(np.float32(1.1) - np.abs(suture), 0, 1) * (1 - inner)
    return np.asarray(hu * (1 - np.float32(0.45) * open_suture), dtype=np.float32)


def _dura(canvas: Canvas, person: Person) -> Float32Array:
    """Falx and tentorium as thin sheets, share of each voxel inside the cavity."""
    rng = stream(person.seed, "skull", "dura")
    wave = rng.uniform(-1, 1, 3).astype(np.float32)
    dura = np.zeros(HEAD_SHAPE, dtype=np.float32)
    box = canvas.box([(-3, -80, -40), (3, 108, 84)], 6)
    x, y, z = canvas.coordinates(box)
    bow = wave[0] * np.sin(y / 40 + 3 * wave[1]) + np.float32(0.6) * wave[2] * np.sin(z / 25)
    edge = np.interp(y, _FALX_Y, _FALX_Z).astype(np.float32)
    edge = np.where(y > _FALX_Y[-1], _tent_height(np.zeros_like(y), y), edge)
    dura[box] = _sheet(x - bow, 1.0) * np.clip(z - edge, 0, 1)
    box = canvas.box([(-64, 14, -40), (64, 100, 4)], 4)
    x, y, z = canvas.coordinates(box)
    opening = np.hypot(x, np.maximum(y - 22, 0) * np.float32(0.7)) - 17
    flat = np.clip((y - 12) / 4, 0, 1) * np.clip(opening + np.float32(0.5), 0, 1)
    tent = _sheet(z - _tent_height(x, y), 0.75) * flat
    dura[box] = np.maximum(dura[box], tent)
    dura *= canvas.depth_mm > 0
    return dura


def _sheet(distance: Float32Array, slope: float) -> Float32Array:
    """Share of a thin sheet at a distance along one axis to which it may be oblique."""
    off = np.abs(distance) * np.float32(slope)
    return np.asarray(np.clip(0.5 + _DURA_MM / 2 - off, 0, _DURA_MM), dtype=np.float32)


def _tent_height(x: Float32Array, y: Float32Array) -> Float32Array:
    """Height (mm) of the tentorium over points of the template."""
    from scipy.ndimage import map_coordinates

    column = np.interp(y, _TENT_Y, np.arange(len(_TENT_Y)))
    row = np.abs(x) / (_TENT_X[1] - _TENT_X[0])
    table = np.array(_TENT_Z, dtype=np.float32)
    return np.asarray(map_coordinates(table, [row, column], order=1, mode="nearest"))
