"""The face: outline of the head below the vault, orbits, nose, paranasal sinuses and jaws.

Shapes of the template (LPS, mm, origin at the anterior commissure) with textbook positions and
HU; sizes of the sinuses vary freely from person to person and between the sides.
"""

from functools import lru_cache

import numpy as np

from training.simulate.anatomy.canvas import (
    Canvas,
    Coordinates,
    Point,
    blend,
    brick,
    capsule,
    coverage,
    ellipsoid,
)
from training.simulate.anatomy.person import Person
from training.simulate.arrays import Float32Array, stream

ORBIT_FAT_HU = -85.0
_MUSCLE_HU = 52.0
_MUCOSA_HU = 35.0
_GLOBE: Point = (32.0, -62.0, -38.0)
_APEX: Point = (14.0, -20.0, -30.0)
_CENTRE_Y = 8.0
_ANGLES = 73
# Outline of the right half of the skin, from the front to the back, at each height (x, y in mm).
_OUTLINE: dict[float, tuple[tuple[float, float], ...]] = {
    -12: ((0, -80), (20, -78), (40, -70), (58, -52), (70, -25), (74, 10), (74, 40), (64, 75),
          (40, 98), (0, 110)),
    -28: ((0, -85), (16, -84), (38, -77), (54, -60), (68, -33), (74, 0), (76, 30), (70, 62),
          (48, 92), (0, 110)),
    -38: ((0, -85), (12, -82), (24, -77), (36, -75), (48, -68), (57, -55), (68, -33), (74, -5),
          (76, 25), (72, 55), (56, 82), (32, 102), (0, 107)),
    -55: ((0, -92), (14, -84), (30, -80), (46, -74), (60, -57), (68, -38), (72, -10), (74, 20),
          (70, 48), (56, 75), (32, 94), (0, 100)),
    -72: ((0, -95), (15, -90), (30, -82), (45, -71), (57, -53), (65, -30), (69, -5), (69, 20),
          (62, 48), (50, 72), (28, 89), (0, 93)),
    -100: ((0, -98), (15, -94), (28, -86), (41, -70), (53, -48), (61, -25), (64, 0), (62, 22),
           (56, 45), (45, 68), (25, 83), (0, 86)),
}  # fmt: skip


@lru_cache(maxsize=1)
def _outline_table() -> tuple[Float32Array, Float32Array]:
    """Radius of the skin about a vertical axis, ``(height, angle)``, and the heights."""
    from scipy.interpolate import PchipInterpolator

    angles = np.linspace(0, np.pi, _ANGLES)
    rows = []
    for points in _OUTLINE.values():
        x, y = np.array(points, dtype=np.float64).T
        angle, radius = np.arctan2(x, _CENTRE_Y - y), np.hypot(x, y - _CENTRE_Y)
        mirrored = np.concatenate([-angle[1:3][::-1], angle, 2 * np.pi - angle[-3:-1][::-1]])
        values = np.concatenate([radius[1:3][::-1], radius, radius[-3:-1][::-1]])
        rows.append(PchipInterpolator(mirrored, values)(angles))
    levels = np.array(list(_OUTLINE))[::-1]
    heights = np.arange(levels[0], levels[-1] + 1, 4.0)
    table = PchipInterpolator(levels, np.array(rows)[::-1])(heights)
    return table.astype(np.float32), heights.astype(np.float32)


def face_distance(p: Coordinates, rng: np.random.Generator) -> Float32Array:
    """Signed distance to the skin of face and neck; far outside above the vault's lower border."""
    from scipy.ndimage import map_coordinates

    x, y, z = p
    table, heights = _outline_table()
    angle = np.arctan2(np.abs(x), _CENTRE_Y - y) * ((_ANGLES - 1) / np.pi)
    height = (z - heights[0]) / (heights[1] - heights[0])
    radius = map_coordinates(table, [height, angle], order=1, mode="nearest")
    cheek = 1 + np.float32(rng.normal(0, 0.012))
    distance = 0.95 * (np.hypot(x, y - _CENTRE_Y) - cheek * radius)
    above = z - heights[-1]
    distance = np.where(above > 0, np.hypot(np.maximum(distance, 0), above), distance)
    size = float(rng.uniform(0.85, 1.15))
    tip = -100 - 9 * size
    bridge = capsule(p, (0, -84, -42), (0, tip, -70), 4.0, 7.5 * size)
    for side in (1, -1):
        wing = ellipsoid(p, (side * 11 * size, tip + 11, -72), (7 * size, 9, 8))
        bridge = blend(bridge, wing, 6)
    return blend(distance.astype(np.float32), bridge, 8)


def paint_face(canvas: Canvas, person: Person) -> None:
    """Paint orbits, nose, paranasal sinuses, jaws and ears."""
    rng = stream(person.seed, "skull", "face")
    _paint_jaws(canvas, person)
    _paint_nose(canvas, person, rng)
    for side in (1, -1):
        _paint_maxillary_sinus(canvas, person, side, rng)
        _paint_orbit(canvas, person, side, rng)
    _paint_frontal_sinus(canvas, person, rng)
    for side in (1, -1):
        _paint_ear(canvas, side, rng)


def _paint_jaws(canvas: Canvas, person: Person) -> None:
    """Zygoma and its arch, maxilla with palate and teeth, mandible."""
    cortex = person.table_hu
    rods: list[tuple[Point, Point, tuple[float, float]]] = [
        ((66, 12, -50), (67, -12, -54), (3.2, 2.2)),
        ((67, -12, -54), (58, -47, -55), (2.2, 3.2)),
        ((58, -47, -55), (46, -64, -54), (5.0, 5.5)),
        ((50, -58, -50), (49, -60, -26), (3.8, 3.5)),
        ((46, -65, -54), (22, -74, -52), (4.0, 2.5)),
        ((20, -75, -50), (11, -80, -32), (2.5, 3.0)),
        ((42, -60, -56), (32, -58, -78), (3.0, 3.0)),
        ((52, 7, -57), (52, 3, -66), (5.0, 3.0)),
        ((50, -25, -60), (51, -18, -76), (1.4, 2.5)),
        ((46, -62, -26), (30, -76, -22), (3.0, 3.5)),
    ]
    for a, b, radii in rods:
        for side in (1, -1):
            left, right = (side * a[0], *a[1:]), (side * b[0], *b[1:])
            box = canvas.box([left, right], max(radii) + 2)
            distance = capsule(canvas.coordinates(box), left, right, *radii)
            canvas.bone(box, distance, cortex, 0.45 * cortex, cortex_mm=1.5)
    for side in (1, -1):
        _paint_plates(canvas, person, side)
    box = canvas.box([(-36, -92, -96), (36, -30, -80)], 2)
    p = canvas.coordinates(box)
    arch = ((p[0] / 30) ** 2 + ((p[1] + 44) / 42) ** 2) ** np.float32(0.5)
    front = np.maximum(np.abs(arch - 1) * 30 - 5, -(p[1] - -93) - 200)
    ridge = np.maximum(np.maximum(front, p[1] + 40), p[2] + 82)
    canvas.bone(box, ridge, cortex, 0.5 * cortex)
    palate = brick(p, (0, -60, -83), (27, 27, 2.0), 1.5)
    canvas.bone(box, np.maximum(palate, (arch - 1) * 30), cortex, 0.6 * cortex)
    rim = canvas.box([(-14, -86, -36), (14, -76, -28)], 3)
    nasion = capsule(canvas.coordinates(rim), (0, -80, -30), (0, -86, -46), 4.0, 2.0)
    canvas.bone(rim, nasion, cortex, 0.6 * cortex)


def _paint_plates(canvas: Canvas, person: Person, side: int) -> None:
    """Ramus of the mandible, pterygoid plates and the back of the maxilla."""
    cortex = person.table_hu
    box = canvas.box([(side * 54, -26, -100), (side * 8, 8, -52)], 2)
    x, y, z = canvas.coordinates(box)
    x = side * x
    ramus = brick((x - 0.06 * (z + 80), y, z), (52, -8, -88), (2.8, 13, 20), 2.6)
    canvas.bone(box, ramus, cortex, 0.45 * cortex)
    lateral = brick((x - 0.5 * (y + 16), y, z), (17, -14, -67), (0.9, 8, 14), 0.8)
    medial = brick((x, y, z), (13, -15, -69), (0.8, 6, 13), 0.7)
    root = brick((x, y, z), (17, -22, -64), (4.5, 2.5, 15), 2)
    plates = np.minimum(np.minimum(lateral, medial), root)
    canvas.fill(box, coverage(plates), "bone", 0.75 * cortex, 0.0)


def _paint_nose(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    """Nasal cavity with septum and turbinates, nasopharynx, ethmoid cells."""
    box = canvas.box([(-14, -100, -84), (14, 6, -28)], 2)
    p = canvas.coordinates(box)
    x, y, z = p
    width = np.clip(13.0 - 0.19 * (z + 78), 5.0, 13.0)
    width *= 1 - 0.22 * np.clip((np.abs(y + 46) - 14) / 20, 0, 1) ** 2
    cavity = np.maximum(brick((x * 0, y, z), (0, -50, -61), (9, 34, 20), 8), np.abs(x) - width)
    nostril = capsule(p, (0, -84, -74), (0, -97, -82), 9, 7)
    pharynx = blend(
        ellipsoid(p, (0, -6, -68), (13, 9, 13)), capsule(p, (0, -6, -74), (0, 2, -100), 9, 7), 6
    )
    air = coverage(np.minimum(blend(cavity, nostril, 4), pharynx))
    canvas.fill(box, coverage(cavity - 1.2), "bone", 0.55 * person.table_hu, 1.0)
    canvas.fill(box, air, "air", wall_mm=1.5)
    bend = np.float32(rng.normal(0, 2.0)) * np.exp(-(((y + 55) / 18) ** 2))
    septum = np.clip(1.4 - np.abs(x - bend), 0, 1) * (y < -16)
    canvas.fill(box, septum * air, "soft", 120.0, 1.0)
    swelling = float(rng.uniform(0.7, 1.35))
    for side in (1, -1):
        for height, reach, size in ((-74, 6.8, 3.4), (-62, 6.2, 2.8), (-52, 5.2, 1.8)):
            radii = (size * swelling * rng.uniform(0.8, 1.25), 19.0, 4.0)
            distance = ellipsoid(p, (side * reach, -50, height), radii)
            canvas.fill(box, coverage(distance) * air, "soft", 45.0)
            canvas.fill(box, coverage(distance + radii[0] - 0.8) * air, "bone", 350.0)
    _paint_ethmoid(canvas, person, rng)


def _paint_ethmoid(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    box = canvas.box([(-13, -74, -52), (13, -24, -28)], 2)
    p = canvas.coordinates(box)
    half = 11.5 + 2.5 * np.clip((p[1] + 72) / 45, 0, 1)
    block = np.maximum(brick(p, (0, -48, -40), (14, 24, 10), 3), np.abs(p[0]) - half)
    share = coverage(block)
    canvas.fill(box, coverage(block - 1.0), "bone", 0.6 * person.table_hu, 0.5)
    air = canvas.cells(box, share, rng, 6.5, 0.7)
    canvas.fill(box, air, "air", wall_mm=1.2)
    if rng.random() < 0.35:
        centre = (float(rng.choice([-1, 1])) * 7.0, float(rng.uniform(-65, -35)), -40.0)
        swollen = coverage(ellipsoid(p, centre, (6, float(rng.uniform(5, 15)), 9)))
        canvas.fill(box, swollen * air, "soft", _MUCOSA_HU)


def _paint_maxillary_sinus(
    canvas: Canvas, person: Person, side: int, rng: np.random.Generator
) -> None:
    """An antrum with a thin wall, at times with swollen mucosa or a fluid level behind it."""
    size = 0.8 + 0.22 * person.sinus_air + float(rng.normal(0, 0.05))
    centre = (side * 29.5, -53.0, -66.0)
    box = canvas.box([centre], 24)
    p = canvas.coordinates(box)
    slope = np.float32(0.35) * (p[2] - centre[2])
    antrum = ellipsoid(p, centre, (14.5 * size, 18.5 * size, 17 * size))
    antrum = np.maximum(antrum, (np.abs(p[1] - centre[1]) + 0.3 * slope) - 17 * size)
    canvas.fill(box, coverage(antrum - 1.4), "bone", 0.75 * person.table_hu, 1.0)
    canvas.fill(box, coverage(antrum), "air", wall_mm=1.5)
    if rng.random() < 0.3:
        mucosa = coverage(antrum) * (1 - coverage(antrum + float(rng.uniform(1, 6))))
        canvas.fill(box, mucosa, "soft", _MUCOSA_HU)
    if rng.random() < 0.12:
        level = centre[1] + float(rng.uniform(-6, 12))
        fluid = coverage(antrum) * np.clip(p[1] - level + 0.5, 0, 1)
        canvas.fill(box, fluid, "soft", float(rng.uniform(10, 30)))


def _paint_orbit(canvas: Canvas, person: Person, side: int, rng: np.random.Generator) -> None:
    """Bony walls, fat, the globe with its lens, optic nerve, muscles and lacrimal gland."""
    x, y, z = _GLOBE
    globe, apex = (side * x, y, z), (side * _APEX[0], _APEX[1], _APEX[2])
    box = canvas.box([globe, apex, (side * x, -80, z)], 20)
    p = canvas.coordinates(box)
    cone = capsule(p, (side * 30.5, -56, z), apex, 17.0, 3.0)
    cone = blend(cone, ellipsoid(p, (side * 32, -66, z), (18.5, 14, 17)), 6)
    front = (-70 - p[1]) + np.float32(0.25) * np.abs(p[0] - globe[0])
    walls = np.maximum(cone - 1.3, front)
    canvas.fill(box, coverage(walls), "bone", 0.8 * person.table_hu, 0.0)
    inside = coverage(np.maximum(cone, front - 3))
    canvas.fill(box, inside, "fat", ORBIT_FAT_HU, 1.2)
    canvas.fill(box, coverage(np.maximum(cone + 2, front - 1)) * coverage(p[1] + 73), "soft", 45)
    for a, b, radii in _eye_muscles(side, globe, apex):
        canvas.rod(a, b, radii, "soft", _MUSCLE_HU, 1.2)
    canvas.ball((side * 43, -62, -29), (3.0, 7.0, 5.0), "soft", 45, 1.2)
    angle = np.deg2rad(person.gaze_deg + float(rng.normal(0, 1.5)))
    ahead = np.array([np.sin(angle), -np.cos(angle), 0.0])
    radius = float(rng.normal(11.9, 0.35))
    back = np.array(globe) - ahead * radius
    canvas.rod(tuple(back), (side * 24, -40, -35), (1.9, 1.9), "soft", 38, 1.2)
    canvas.rod((side * 24, -40, -35), apex, (1.9, 1.7), "soft", 38)
    ball = ellipsoid(p, globe, (radius, radius, radius))
    canvas.fill(box, coverage(ball), "soft", 52)
    canvas.fill(box, coverage(ball + 1.3), "soft", float(rng.uniform(6, 14)))
    if rng.random() < 0.75 - 0.5 * np.clip((person.age_years - 65) / 30, 0, 1):
        centre = np.array(globe) + ahead * (radius - 4.0)
        offset = [q - np.float32(c) for q, c in zip(p, centre, strict=True)]
        depth = offset[0] * np.float32(ahead[0]) + offset[1] * np.float32(ahead[1])
        across = np.sqrt(np.maximum(sum(q * q for q in offset) - depth * depth, 0))
        lens = np.hypot(across / 4.6, depth / 2.1) - 1
        canvas.fill(box, coverage(lens * 2.6), "soft", float(rng.uniform(75, 110)))


def _eye_muscles(
    side: int, globe: Point, apex: Point
) -> list[tuple[Point, Point, tuple[float, float]]]:
    """The four straight muscles, each from the apex along a wall to the globe, as two rods."""
    x, y, z = globe
    middle: dict[str, Point] = {
        "medial": (x - side * 12.5, -47, z),
        "lateral": (x + side * 8.5, -45, z),
        "upper": (x - side * 3, -47, z + 11.5),
        "lower": (x - side * 3, -47, z - 11.5),
    }
    ends: dict[str, Point] = {
        "medial": (x - side * 12.5, y - 1, z),
        "lateral": (x + side * 12.8, y - 1, z),
        "upper": (x, y - 1, z + 12.5),
        "lower": (x, y - 1, z - 12.5),
    }
    rods = []
    for name, belly in middle.items():
        rods.append((apex, belly, (1.0, 2.1)))
        rods.append((belly, ends[name], (2.1, 0.8)))
    return rods


def _paint_frontal_sinus(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    """Two chambers of their own size between the tables above the nose; one may be absent."""
    room = (1.4 * person.skull_thickness_mm + 0.4 * person.scalp_mm - 3.0) / 2
    for side in (1, -1):
        size = person.sinus_air * float(rng.uniform(0.3, 1.25))
        if size < 0.15:
            continue
        width, height = 5 + 11 * size, 6 + 10 * size
        half = min(1.5 + 2.5 * size, room)
        centre = (side * (0.8 + width), -78.0, -31 + 0.75 * height)
        box = canvas.box([centre], max(width, height) + 5)
        p = canvas.coordinates(box)
        plate = np.hypot((p[0] - centre[0]) / width, (p[2] - centre[2]) / height)
        lens = half * np.sqrt(np.clip(1.15 - plate**2, 0, 1))
        out = np.abs(-canvas.depth_mm[box] - (1.7 + half)) - lens
        chamber = np.maximum(out, (plate - 1) * min(width, height))
        chamber = np.maximum(np.maximum(chamber, 0.7 - side * p[0]), p[1] + 60)
        canvas.fill(box, coverage(chamber - 1.3), "bone", person.table_hu, 0.0)
        canvas.fill(box, coverage(chamber), "air", wall_mm=1.5)


def _paint_ear(canvas: Canvas, side: int, rng: np.random.Generator) -> None:
    """The auricle: a thin curved plate of cartilage, at times pressed against the head."""
    away = float(rng.uniform(5, 13))
    box = canvas.box([(side * 82, 26, -52)], 36)
    p = canvas.coordinates(box)
    bow = side * p[0] - 74 - away * np.clip((p[1] - 16) / 24, 0, 1) ** np.float32(1.3)
    plate = np.maximum(np.abs(bow) - 1.8, ellipsoid(p, (side * 80, 28, -54), (30, 15, 28)))
    rim = np.abs(ellipsoid(p, (side * 80, 28, -54), (30, 13, 26))) - 2.2
    rim = np.maximum(rim, np.abs(bow - 1.5) - 3.2)
    share = coverage(np.minimum(plate, rim))
    canvas.fill(box, share, "soft", 40.0)
