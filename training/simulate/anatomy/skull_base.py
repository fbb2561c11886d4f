"""The base of the skull and the upper neck: petrous bones, sphenoid, clivus, canals, vertebrae.

Shapes of the template (LPS, mm, origin at the anterior commissure) with textbook positions and HU.
"""

import numpy as np

from training.simulate.anatomy.canvas import (
    Canvas,
    Point,
    blend,
    brick,
    capsule,
    coverage,
    ellipsoid,
)
from training.simulate.anatomy.person import Person
from training.simulate.arrays import stream

OTIC_HU = 1750.0
_FLUID_HU = 12.0
_CORD_HU = 38.0


def paint_base(canvas: Canvas, person: Person) -> None:
    """Paint the base of the skull with its air cells and canals, and the spine below it."""
    rng = stream(person.seed, "skull", "base")
    _paint_sphenoid(canvas, person, rng)
    for side in (1, -1):
        _paint_petrous(canvas, person, side, rng)
    _paint_spine(canvas, person)
    for side in (1, -1):
        _paint_canals(canvas, side)


def _paint_sphenoid(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    """Body of the sphenoid, clivus, sella with the pituitary, and the sinus beneath."""
    cortex, spongy = person.table_hu, 0.4 * person.table_hu
    box = canvas.box([(-24, -30, -68), (24, 34, -12)], 4)
    p = canvas.coordinates(box)
    body = brick(p, (0, -10, -41), (15, 16, 10.5), 4)
    clivus = capsule((p[0] * np.float32(0.5), *p[1:]), (0, 5, -36), (0, 23, -63), 6.0, 5.5)
    canvas.bone(box, blend(body, clivus, 4), cortex, spongy, cortex_mm=1.5)
    for side in (1, -1):
        canvas.rod((side * 11, -9, -24), (side * 34, -26, -22), (2.2, 1.4), "bone", cortex)
        canvas.rod((side * 7, 6, -27), (side * 3, 6, -31), (1.6, 2.0), "bone", cortex)
        canvas.ball((side * 12.5, -2, -33), (4.0, 10, 6.5), "soft", 42)
    canvas.ball((0, 1, -31), (7.0, 5.5, 4.6), "soft", 45)
    size = 0.45 + 0.6 * person.sinus_air + float(rng.normal(0, 0.1))
    if size > 0.5:
        septum = float(rng.normal(0, 3.0))
        sinus = ellipsoid(p, (0, -14, -43), (14 * size, 12 * size, 9 * size))
        sinus = np.maximum(sinus, 0.6 - np.abs(p[0] - septum - np.float32(0.15) * (p[1] + 14)))
        canvas.fill(box, coverage(sinus - 1.0), "bone", 0.8 * cortex, 0.0)
        canvas.fill(box, coverage(sinus), "air", wall_mm=1.5)


def _paint_petrous(canvas: Canvas, person: Person, side: int, rng: np.random.Generator) -> None:
    """Pyramid and mastoid with labyrinth, middle ear, air cells and both auditory canals."""
    box = canvas.box([(side * 8, 8, -38), (side * 74, 58, -80)], 8)
    p = canvas.coordinates(box)
    pyramid = capsule((p[0], p[1], p[2] * np.float32(0.85)),
                      (side * 12, 12, -37), (side * 52, 30, -40), 6.0, 11.0)  # fmt: skip
    mastoid = blend(
        ellipsoid(p, (side * 57, 33, -52), (12, 17, 16)),
        capsule(p, (side * 57, 36, -56), (side * 55, 33, -80), 11, 4.5), 6,
    )  # fmt: skip
    joint = capsule(p, (side * 46, 16, -50), (side * 62, 8, -50), 5, 5)
    whole = blend(blend(pyramid, mastoid, 6), joint, 5)
    canvas.bone(box, whole, 0.95 * person.table_hu, 800, cortex_mm=1.5)
    otic = capsule(p, (side * 24, 21, -45), (side * 39, 27, -44), 6.5, 7.5)
    canvas.fill(box, coverage(np.maximum(otic, whole + 1)), "bone", OTIC_HU)
    reach = 0.35 + 0.65 * float(np.clip(person.mastoid_air + rng.normal(0, 0.08), 0, 1))
    field = ellipsoid(p, (side * 57, 33, -54), (12.5 * reach, 17 * reach, 25 * reach))
    field = np.minimum(field, capsule(p, (side * 44, 26, -41), (side * 52, 28, -42), 3.5, 6.5))
    air = canvas.cells(box, coverage(np.maximum(field, whole + 1.6)), rng, 4.2, 0.9)
    canvas.fill(box, air, "air", wall_mm=1.5)
    if rng.random() < 0.1:
        canvas.fill(box, air * float(rng.uniform(0.4, 1)), "soft", 30.0)
    ear: Point = (side * 46, 20, -51)
    canvas.ball(ear, (3.0, 5.0, 7.5), "air", wall_mm=1.5)
    canvas.ball((side * 48, 28, -44), (3.5, 5.0, 4.0), "air", wall_mm=1.5)
    canvas.rod((side * 46, 20, -47), (side * 46.5, 22, -49), (0.9, 0.9), "bone", 900)
    canvas.rod((side * 50, 20, -54), (side * 80, 22, -60), (3.2, 4.0), "air", wall_mm=1.5)
    canvas.rod((side * 12, 22, -44), (side * 25, 23, -45), (3.0, 2.3), "soft", _FLUID_HU)
    canvas.ball((side * 30, 18, -47), (2.4, 2.2, 2.2), "soft", 60)
    canvas.rod((side * 36, 25, -45), (side * 38, 27, -42), (1.4, 1.2), "soft", 60)
    canvas.rod((side * 35, 30, -40), (side * 42, 27, -42), (0.8, 0.8), "soft", 60)


def _paint_canals(canvas: Canvas, side: int) -> None:
    """Carotid canal, jugular and oval foramina and hypoglossal canal."""
    for a, b in (
        ((26, 16, -68), (25, 13, -52)),
        ((25, 13, -52), (13, 4, -42)),
        ((13, 4, -42), (12, 0, -36)),
    ):
        canvas.rod((side * a[0], *a[1:]), (side * b[0], *b[1:]), (2.9, 2.9), "soft", 42)
    canvas.rod((side * 26, 33, -58), (side * 30, 24, -74), (4.5, 4.5), "soft", 42)
    canvas.rod((side * 24, -2, -46), (side * 26, -2, -58), (2.6, 2.6), "soft", 35)
    canvas.rod((side * 9, 33, -63), (side * 20, 24, -68), (2.0, 2.0), "soft", 35)


def _paint_spine(canvas: Canvas, person: Person) -> None:
    """Occipital condyles, atlas, dens and axis around the canal with the cord."""
    cortex, spongy = 0.85 * person.table_hu, 0.3 * person.table_hu
    box = canvas.box([(-40, 8, -100), (40, 75, -60)], 2)
    p = canvas.coordinates(box)
    column = np.maximum(ellipsoid(p, (0, 44, -85), (24, 24, 80)), p[2] + 68)
    canvas.fill(box, coverage(column), "soft", 52)
    for side in (1, -1):
        condyle = ellipsoid(p, (side * 17, 37, -69), (6, 10, 5))
        canvas.bone(box, condyle, cortex, spongy)
        mass = brick(p, (side * 19, 37, -80), (8, 9, 6), 4)
        wing = capsule(p, (side * 24, 38, -80), (side * 37, 40, -81), 4.0, 3.5)
        canvas.bone(box, blend(mass, wing, 3), cortex, spongy)
        canvas.fill(box, coverage(ellipsoid(p, (side * 29, 38, -80), (3, 3, 8))), "soft", 42)
        canvas.bone(box, brick(p, (side * 17, 37, -95), (9, 9, 7), 4), cortex, spongy)
    ring = np.abs(np.hypot(p[0] / np.float32(1.05), p[1] - 44) - 20.5) - 3.0
    canvas.bone(box, np.maximum(ring, np.abs(p[2] + 80) - 4.5), cortex, spongy)
    canvas.bone(box, capsule(p, (0, 30, -74), (0, 32, -98), 4.8, 6.5), cortex, spongy)
    canal = np.maximum(ellipsoid(p, (0, 46, -80), (13.5, 14.5, 60)), p[2] + 65)
    canvas.fill(box, coverage(canal), "soft", _FLUID_HU)
    canvas.fill(box, coverage(np.maximum(capsule(p, (0, 44, -66), (0, 47, -102), 5.4, 5.2),
                                         p[2] + 65)), "soft", _CORD_HU)  # fmt: skip
