"""Orbits, sinuses and petrous bones lie where the template has them, and follow the traits."""

from dataclasses import replace

import numpy as np
import pytest

from tests.training.simulate.anatomy.test_skull import built
from tests.training.simulate.plain_head import Scaling, plain_depth
from training.simulate.anatomy.face import face_distance
from training.simulate.anatomy.person import draw_person
from training.simulate.anatomy.skull import Skull, build_skull
from training.simulate.arrays import Float32Array, FloatArray
from training.simulate.space import head_index


def around(volume: Float32Array, point: tuple[float, float, float], mm: int) -> FloatArray:
    z, y, x = (round(float(v)) for v in head_index(np.array(point)))
    part = volume[z - mm : z + mm + 1, y - mm : y + mm + 1, x - mm : x + mm + 1]
    return np.asarray(part, dtype=np.float64)


def air(skull: Skull) -> Float32Array:
    return (1 - skull.bone - skull.fat - skull.soft) * (plain_depth() <= 0)


@pytest.mark.parametrize("side", [1, -1])
def test_globe_holds_vitreous_in_orbital_fat(side: int) -> None:
    skull = built()
    assert 4 <= around(skull.static_hu, (32 * side, -62, -38), 3).mean() <= 16
    fat = around(skull.fat, (30 * side, -44, -32), 5)
    assert fat.mean() > 0.3
    assert around(skull.static_hu, (30 * side, -44, -38), 9).min() < -60


def test_lens_turns_with_the_gaze() -> None:
    place = np.arange(-9, 10)
    inside = place[:, None, None] ** 2 + place[:, None] ** 2 + place**2 < 10**2
    found = []
    for gaze in (-30.0, 30.0):
        person = replace(draw_person(1), gaze_deg=gaze, age_years=50.0)
        hu = around(build_skull(person, Scaling(), plain_depth()).static_hu, (32, -62, -38), 9)
        lens = np.clip(hu - 56, 0, 60) * inside
        found.append(float((lens * place).sum() / lens.sum()))
    assert found[1] - found[0] > 4


def test_air_of_sinuses_and_mastoids_follows_the_traits() -> None:
    volumes = []
    for share in (0.1, 1.0):
        person = replace(draw_person(3), sinus_air=share, mastoid_air=share)
        empty = air(build_skull(person, Scaling(), plain_depth()))
        mastoid = sum(around(empty, (side * 57, 36, -55), 10).sum() for side in (1, -1))
        antrum = around(empty, (30, -53, -66), 20).sum()
        volumes.append((mastoid / 1000, antrum / 1000))
    (few, small), (many, large) = volumes
    assert many > 3 * few
    assert 2 < many < 12
    assert 8 < large < 40
    assert large > 1.2 * small


def test_petrous_bone_is_the_densest_of_the_base() -> None:
    skull = built()
    for side in (1, -1):
        block = around(skull.static_hu, (side * 32, 26, -47), 9)
        outside = around(plain_depth(), (side * 32, 26, -47), 9) < -3
        assert np.percentile(block[outside], 90) > 1200


def test_spinal_canal_is_open() -> None:
    skull = built()
    below = around(skull.bone, (0, 45, -84), 5)
    assert below.max() < 0.05
    ring = skull.bone[5:25, 130:200, 60:140].sum() / 1000
    assert ring > 3


def test_shapes_follow_the_warp() -> None:
    person = draw_person(2)
    large = build_skull(person, Scaling(1.06), plain_depth(1.06))
    for side in (1, -1):
        eye = (32 * 1.06 * side, -62 * 1.06, -38 * 1.06)
        assert 4 <= around(large.static_hu, eye, 3).mean() <= 16


def test_skin_of_the_face_is_closed_and_the_nose_stands_out() -> None:
    z, y, x = np.meshgrid(
        np.arange(-95, -40.0), np.arange(-120, 110.0), np.arange(-90, 91.0), indexing="ij"
    )
    p = (x.astype(np.float32), y.astype(np.float32), z.astype(np.float32))
    distance = face_distance(p, np.random.default_rng(1))
    inside = distance < 0
    assert inside[:, 120, 90].all()
    assert not inside[:, 0].any()
    assert not inside[:, :, 0].any()
    level = 25
    front = [int(inside[level, :, column].argmax()) for column in (90, 115)]
    assert front[1] - front[0] > 10
