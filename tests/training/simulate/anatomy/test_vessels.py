"""Vessels keep their volume on the grid, stay in the cavity, and differ from person to person."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.simulate.plain_head import Scaling, plain_depth, plain_region
from training.simulate.anatomy.model import Region, Vessel
from training.simulate.anatomy.person import draw_person
from training.simulate.anatomy.vessels import (
    Line,
    Vessels,
    build_vessels,
    depth_at,
    move_to_depth,
    rasterise,
    resample,
    smooth_line,
)
from training.simulate.space import head_index


@lru_cache(maxsize=2)
def built(seed: int = 1) -> Vessels:
    return build_vessels(draw_person(seed), Scaling(), plain_depth(), plain_region())


def helix(radius: float, scale: float = 1.0) -> Line:
    turn = np.linspace(0, 4 * np.pi, 400)
    points = np.column_stack([12 * np.cos(turn), 12 * np.sin(turn) + 10, 2.5 * turn]) * scale
    line = Line(Vessel.M1, points, np.full(len(points), radius * scale))
    return resample(line, 0.5)


@settings(max_examples=12, deadline=None)
@given(radius=st.floats(0.25, 2.6), scale=st.floats(0.8, 1.25))
def test_volume_is_conserved_whatever_the_radius(radius: float, scale: float) -> None:
    line = helix(radius, scale)
    share, label = rasterise([line], plain_depth())
    assert share.sum() / 1000 == pytest.approx(line.volume_ml(), rel=0.04)
    assert (label[share > 0] == Vessel.M1).all()
    assert (label[share == 0] == Vessel.NONE).all()


@settings(max_examples=12, deadline=None)
@given(radius=st.floats(0.3, 3.0), slope=st.floats(0, 0.6), x=st.floats(-0.5, 0.5))
def test_radius_is_recovered_from_the_cross_section(radius: float, slope: float, x: float) -> None:
    height = np.linspace(-25, 25, 101)
    points = np.column_stack([x + slope * height, np.full(101, 10.0), height])
    line = resample(Line(Vessel.BASILAR, points, np.full(101, radius)), 0.5)
    share = rasterise([line], plain_depth())[0]
    area = share[85:106].sum(axis=(1, 2)).mean() / np.sqrt(1 + slope**2)
    assert np.sqrt(area / np.pi) == pytest.approx(radius, rel=0.03)


def test_centre_of_a_wide_vessel_is_full_and_a_thin_one_is_not() -> None:
    points = np.column_stack([np.zeros(81), np.full(81, 10.0), np.linspace(-20, 20, 81)])
    z, y, x = (round(v) for v in head_index(np.array([0.0, 10.0, 0.0])))
    wide = rasterise([Line(Vessel.ICA, points, np.full(81, 2.6))], plain_depth())[0]
    thin = rasterise([Line(Vessel.ICA, points, np.full(81, 0.4))], plain_depth())[0]
    assert wide[z, y, x] > 0.95
    assert thin.max() < 0.5


def test_vessels_stay_in_the_cavity_but_for_neck_and_base() -> None:
    tree = built()
    outside = plain_depth() <= 0
    may = [Vessel.ICA, Vessel.VERTEBRAL, Vessel.TRANSVERSE, Vessel.CORTICAL_VEIN]
    found = np.unique(tree.vessel[outside & (tree.artery + tree.vein > 0)])
    assert set(found.tolist()) <= {int(v) for v in may}
    assert tree.artery.min() >= 0
    assert tree.vein.min() >= 0
    assert (tree.artery + tree.vein).max() <= 1 + 1e-6
    assert ((tree.artery + tree.vein > 0) == (tree.vessel > 0)).all()


def test_every_segment_is_there_with_a_volume_of_life() -> None:
    tree = built()
    both = tree.artery + tree.vein
    for vessel in Vessel:
        if vessel is not Vessel.NONE:
            drawn = sum(line.volume_ml() for line in tree.lines if line.vessel == vessel)
            assert both[tree.vessel == vessel].sum() / 1000 > 0.4 * drawn > 0
    assert 5 < tree.artery.sum() / 1000 < 16
    assert 12 < tree.vein.sum() / 1000 < 40
    thickest = {v: max(q.radii.max() for q in tree.lines if q.vessel == v) for v in Vessel if v}
    assert thickest[Vessel.ICA] > thickest[Vessel.M1] > thickest[Vessel.M2_SUPERIOR]
    assert 1.0 < thickest[Vessel.M1] < 2.1


def test_sinuses_lie_against_the_skull() -> None:
    for line in built().lines:
        if line.vessel == Vessel.SUPERIOR_SAGITTAL:
            depth = depth_at(line.points[20:-20], plain_depth())
            assert np.abs(depth - 0.85 * line.radii[20:-20]).max() < 1.5


def radius_of(tree: Vessels, vessel: Vessel, side: int, near: tuple[float, float, float]) -> float:
    """Radius of the line of a segment on one side that comes nearest to a point."""
    lines = [q for q in tree.lines if q.vessel == vessel and side * q.points[:, 0].mean() > 0]
    gaps = [np.sqrt(((q.points - near) ** 2).sum(axis=1)).min() for q in lines]
    return float(lines[int(np.argmin(gaps))].radii.mean())


def test_variants_follow_the_person() -> None:
    person = replace(draw_person(4), fetal_pca="L", dominant_transverse_sinus="R")
    tree = build_vessels(person, Scaling(), plain_depth(), plain_region())
    first, link = (radius_of(tree, Vessel.PCA, 1, p) for p in ((3, 12, -18), (12, -4, -21)))
    assert link > 1.3 * first
    right, left = (radius_of(tree, Vessel.TRANSVERSE, s, (s * 44, 84, -22)) for s in (-1, 1))
    assert right > 1.05 * left


def test_tortuous_vessels_are_longer() -> None:
    lengths = []
    for winding in (0.0, 1.0):
        person = replace(draw_person(6), tortuosity=winding)
        tree = build_vessels(person, Scaling(), plain_depth(), plain_region())
        chosen = [q for q in tree.lines if q.vessel in (Vessel.BASILAR, Vessel.ICA)]
        lengths.append(
            sum(np.sqrt((np.diff(q.points, axis=0) ** 2).sum(axis=1)).sum() for q in chosen)
        )
    assert lengths[1] > 1.02 * lengths[0]


def test_branches_prefer_sulci() -> None:
    _, y, x = np.indices(plain_depth().shape, dtype=np.float32)
    furrows = (np.sin((y + 0.3 * x) / 2.2) > 0.5) & (plain_depth() > 0) & (plain_depth() < 14)
    region = np.where(furrows, Region.SULCI, Region.NONE).astype(np.uint8)
    person = draw_person(1)
    shares = []
    for given_region in (plain_region(), region):
        tree = build_vessels(person, Scaling(), plain_depth(), given_region)
        points = np.concatenate([q.points for q in tree.lines if q.vessel == Vessel.CORTICAL_VEIN])
        index = tuple(np.rint(head_index(points)).astype(int).T)
        shares.append(float(furrows[index].mean()))
    assert shares[1] > shares[0] + 0.1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(1, 6))
def test_points_are_moved_to_the_depth_wanted(seed: int, wanted: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 1, (20, 3))
    points *= 72 / np.sqrt((points**2).sum(axis=1, keepdims=True))
    moved = move_to_depth(points, plain_depth(), np.full(20, wanted))
    assert (depth_at(moved, plain_depth()) > wanted - 0.3).all()
    deep = depth_at(points, plain_depth()) > wanted
    np.testing.assert_array_equal(moved[deep], points[deep])


def test_a_smooth_line_passes_through_its_control_points() -> None:
    control = np.array([[0, 0, 0], [5, 8, 0], [12, 9, 4], [20, 2, 9.0]])
    line = smooth_line(control, 0.25)
    for point in control:
        assert np.sqrt(((line - point) ** 2).sum(axis=1)).min() < 0.3


def test_same_person_same_bytes_and_others_differ() -> None:
    first = built(1)
    again = build_vessels(draw_person(1), Scaling(), plain_depth(), plain_region())
    for name in ("artery", "vein", "vessel"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    other = build_vessels(draw_person(2), Scaling(), plain_depth(), plain_region())
    overlap = np.minimum(first.artery, other.artery).sum() / first.artery.sum()
    assert overlap < 0.7
