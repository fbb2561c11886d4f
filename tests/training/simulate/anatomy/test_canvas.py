"""Shapes on the head grid: volumes, borders, mixtures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.simulate.plain_head import Scaling, plain_depth
from training.simulate.anatomy.canvas import (
    Canvas,
    CoarseField,
    blend,
    brick,
    capsule,
    coverage,
    ellipsoid,
    node_points,
)
from training.simulate.anatomy.fields import smooth_noise
from training.simulate.space import HEAD_SHAPE, head_axes_mm


def grid(half: int = 14) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    axis = np.arange(-half, half + 1, dtype=np.float32)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return x, y, z


@settings(max_examples=25, deadline=None)
@given(radius=st.floats(3, 10), shift=st.floats(-0.5, 0.5))
def test_volume_of_a_ball_is_that_of_geometry(radius: float, shift: float) -> None:
    share = coverage(ellipsoid(grid(), (shift, -shift, shift / 2), (radius, radius, radius)))
    # A border of one voxel's width adds pi * radius / 3 to the volume.
    expected = 4 / 3 * np.pi * radius**3 + np.pi * radius / 3
    assert float(share.sum()) == pytest.approx(expected, rel=0.02)


def test_volume_of_a_rod_and_a_brick() -> None:
    rod = coverage(capsule(grid(), (-5, 0, 0), (5, 0, 0), 3, 3)).sum()
    assert rod == pytest.approx(np.pi * 9 * 10 + 4 / 3 * np.pi * 27, rel=0.03)
    block = coverage(brick(grid(), (0, 0, 0), (6, 4, 5), 0.0)).sum()
    assert block == pytest.approx(12 * 8 * 10, rel=0.05)


@settings(max_examples=50, deadline=None)
@given(a=st.floats(-20, 20), b=st.floats(-20, 20), width=st.floats(0.5, 15))
def test_a_blend_holds_both_shapes_and_is_no_larger_than_its_seam(
    a: float, b: float, width: float
) -> None:
    first, second = np.full(1, a, np.float32), np.full(1, b, np.float32)
    union = float(blend(first, second, width)[0])
    assert min(a, b) - width / 4 - 1e-4 <= union <= min(a, b) + 1e-4
    if abs(a - b) > width:
        assert union == pytest.approx(min(a, b), abs=1e-4)


def test_coarse_field_is_linear_and_the_same_in_boxes_and_slabs() -> None:
    nodes = node_points(4)
    field = CoarseField(np.moveaxis(nodes, -1, 0).astype(np.float32), 4)
    x = field.at((slice(10, 20), slice(3, 5), slice(0, 200)))[0]
    np.testing.assert_allclose(x[2, 1], head_axes_mm()[2][0, 0], atol=1e-3)
    noise = CoarseField(smooth_noise(np.random.default_rng(1), nodes.shape[:3], 1.0)[None], 4)
    whole = (slice(68, 136), slice(0, HEAD_SHAPE[1]), slice(0, HEAD_SHAPE[2]))
    np.testing.assert_allclose(noise.slab(0, 68, 136), noise.at(whole)[0], atol=1e-5)


def test_paint_replaces_what_lies_there_and_keeps_the_sum_of_hu() -> None:
    canvas = Canvas(Scaling(), plain_depth(), np.random.default_rng(1))
    canvas.ball((0, -100, -60), (8, 8, 8), "soft", 50)
    canvas.ball((0, -100, -60), (5, 5, 5), "bone", 1000)
    canvas.ball((0, -100, -60), (3, 3, 3), "air")
    bone, fat, soft = (canvas.shares[name] for name in ("bone", "fat", "soft"))
    air = 1 - bone - fat - soft
    expected = 1000 * bone + 50 * soft - 1000 * air
    np.testing.assert_allclose(canvas.static, expected, atol=0.05)
    assert bone.sum() == pytest.approx(4 / 3 * np.pi * (125 - 27), rel=0.2)
    assert (air >= -1e-5).all()


def test_walls_of_the_cavity_stay_closed() -> None:
    canvas = Canvas(Scaling(), plain_depth(), np.random.default_rng(1))
    canvas.ball((0, 14, -68), (15, 15, 15), "fat", -90, 2.0)
    painted = canvas.shares["fat"] > 0
    assert painted.any()
    assert (plain_depth()[painted] <= -1.5).all()
