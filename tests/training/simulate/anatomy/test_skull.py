"""The vault between its two tables, the scalp over it, the dura within."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from tests.training.simulate.plain_head import CENTRE, Scaling, plain_depth
from training.simulate.anatomy.person import Person, draw_person
from training.simulate.anatomy.skull import DURA_HU, Skull, build_skull
from training.simulate.arrays import Float32Array, FloatArray
from training.simulate.space import head_index

STEP_MM = 0.25


def plain_person(**traits: object) -> Person:
    return replace(draw_person(1), frontal_hyperostosis=0.0, **traits)  # type: ignore[arg-type]


@lru_cache(maxsize=2)
def built(seed: int = 1) -> Skull:
    return build_skull(draw_person(seed), Scaling(), plain_depth())


def along_rays(volume: Float32Array, count: int = 60) -> FloatArray:
    """Values along rays from the centre through the convexity, ``(ray, step)``."""
    from scipy.ndimage import map_coordinates

    rng = np.random.default_rng(0)
    up = rng.uniform(0.45, 0.95, count)
    turn = rng.uniform(0, 2 * np.pi, count)
    flat = np.sqrt(1 - up**2)
    directions = np.column_stack([flat * np.cos(turn), flat * np.sin(turn), up])
    steps = np.arange(55, 110, STEP_MM)
    points = np.array(CENTRE) + directions[:, None] * steps[:, None]
    values = map_coordinates(
        volume, np.moveaxis(head_index(points), -1, 0), order=1, output=np.float64
    )
    return np.asarray(values)


def crossing_factor() -> FloatArray:
    """Cosine between each ray and the surface it crosses."""
    depth = along_rays(plain_depth())
    slope = -np.diff(depth, axis=1) / STEP_MM
    at = np.abs(depth[:, :-1]).argmin(axis=1)
    return np.asarray(slope[np.arange(len(at)), at])


def test_nothing_but_dura_lies_inside_the_cavity() -> None:
    skull, inside = built(), plain_depth() > 0
    for share in (skull.bone, skull.fat, skull.soft):
        assert not share[inside].any()
    assert not skull.dura[~inside].any()
    np.testing.assert_allclose(skull.static_hu[inside], DURA_HU * skull.dura[inside], atol=1e-4)


def test_shares_fill_the_head_and_hu_belong_to_them() -> None:
    skull, outside = built(), plain_depth() <= 0
    total = skull.bone + skull.fat + skull.soft
    assert total.min() >= 0
    assert total.max() <= 1 + 1e-5
    air = outside & (total == 0)
    np.testing.assert_allclose(skull.static_hu[air], -1000, atol=0.05)
    full = skull.bone > 0.99
    assert skull.static_hu[full].min() > 10
    assert skull.static_hu[full].max() < 2600
    fat = skull.fat > 0.99
    assert -100 <= skull.static_hu[fat].mean() <= -75
    soft = skull.soft > 0.99
    assert 35 <= np.median(skull.static_hu[soft]) <= 60


@pytest.mark.parametrize("thickness", [5.0, 7.5, 10.5])
def test_thickness_of_the_vault_is_the_person_s(thickness: float) -> None:
    skull = build_skull(plain_person(skull_thickness_mm=thickness), Scaling(), plain_depth())
    measured = along_rays(skull.bone).sum(axis=1) * STEP_MM * crossing_factor()
    # Half a voxel of the inner table is cut off by the cavity, whose border is sharp.
    assert measured.mean() == pytest.approx(thickness, rel=0.1)
    assert 0.05 < measured.std() / measured.mean() < 0.3


def test_two_tables_with_diploe_between_them() -> None:
    person = plain_person(skull_thickness_mm=8.0, diploe_fraction=0.5)
    skull = build_skull(person, Scaling(), plain_depth())
    hu, bone = along_rays(skull.static_hu), along_rays(skull.bone)
    distance = along_rays(-plain_depth())
    solid = bone > 0.9
    inner = hu[solid & (distance > 0.5) & (distance < 1.3)]
    middle = hu[solid & (distance > 3.4) & (distance < 4.6)]
    assert inner.mean() > 0.85 * person.table_hu
    assert middle.mean() == pytest.approx(person.diploe_hu, rel=0.25)
    assert inner.mean() > middle.mean() + 250
    assert middle.std() > 0.08 * middle.mean()
    last = solid.shape[1] - 1 - solid[:, ::-1].argmax(axis=1)
    outer = hu[np.arange(len(last)), last - 2]
    assert outer.mean() > middle.mean() + 150


def test_scalp_has_the_person_s_thickness_and_fat() -> None:
    thin, thick = (
        build_skull(plain_person(scalp_mm=mm, fat_fraction=0.5), Scaling(), plain_depth())
        for mm in (4.0, 8.0)
    )
    cosine = crossing_factor()
    for skull, wanted in ((thin, 4.0), (thick, 8.0)):
        over = along_rays(skull.fat + skull.soft) * (along_rays(plain_depth()) < -2)
        measured = over.sum(axis=1) * STEP_MM * cosine
        assert np.median(measured) == pytest.approx(wanted, abs=0.8)
    assert along_rays(thick.fat).sum() > 1.8 * along_rays(thin.fat).sum()


def test_falx_and_tentorium_are_thin_sheets_of_their_place() -> None:
    skull = built()
    z, y, x = (round(v) for v in head_index(np.array([0.0, -40.0, 48.0])))
    assert skull.dura[z, y, x - 6 : x + 7].sum() == pytest.approx(0.9, abs=0.3)
    z, y, x = (round(v) for v in head_index(np.array([25.0, 75.0, -21.0])))
    column = skull.dura[z - 8 : z + 9, y, x]
    assert 0.5 < column.sum() < 2.0
    z, y, x = (round(v) for v in head_index(np.array([0.0, 0.0, 5.0])))
    assert not skull.dura[z - 5 : z + 5, y - 10 : y + 10, x - 20 : x + 20].any()


def test_hyperostosis_thickens_the_frontal_bone_only() -> None:
    person = plain_person()
    usual = build_skull(person, Scaling(), plain_depth()).bone
    thick = build_skull(replace(person, frontal_hyperostosis=1.0), Scaling(), plain_depth()).bone
    more = thick.astype(np.float64) - usual
    front = more[120:, :80].sum() / 1000
    back = np.abs(more[120:, 150:]).sum() / 1000
    assert front > 8
    assert back < 0.1 * front


def test_same_person_same_bytes_and_others_differ() -> None:
    first = built(1)
    again = build_skull(draw_person(1), Scaling(), plain_depth())
    for name in ("bone", "fat", "soft", "dura", "static_hu"):
        array = getattr(first, name)
        assert array.dtype == np.float32
        assert array.tobytes() == getattr(again, name).tobytes()
    other = build_skull(draw_person(5), Scaling(), plain_depth())
    assert np.abs(first.bone - other.bone).mean() > 0.01
