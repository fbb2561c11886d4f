import numpy as np
import pytest

from inference.preprocess.masks import (
    brain_tissue,
    cranial_cavity,
    erode_ball,
    head_mask,
    quiet_image,
    vessel_mask,
)
from inference.preprocess.midplane import fit_midplane
from tests.inference.perfusion.phantom import (
    AIR,
    ARTERY,
    BONE,
    FLUID,
    HOLDER,
    SCALP,
    VEIN,
    Phantom,
    Scan,
    cine,
    dice,
    geometry,
    scan,
)

SHORT = cine(3.0, 6)
GRIDS = {
    "plain": Phantom(times_s=SHORT),
    "thin": Phantom(slices=60, slice_mm=1.0, times_s=SHORT, noise_hu=8),
    "thick": Phantom(slices=6, slice_mm=10, times_s=SHORT),
    "fine": Phantom(rows=256, pixel_mm=0.9, slices=4, times_s=SHORT),
    "coarse": Phantom(rows=64, pixel_mm=3.6, times_s=SHORT),
    "turned": Phantom(turn_deg=25, roll_deg=-15, times_s=SHORT),
    "vertex": Phantom(first_slice_mm=20, slices=9, times_s=SHORT),
    "clipped": Phantom(rows=84, pixel_mm=1.8, centre_mm=(0, 0, 0), times_s=SHORT),
    "off centre": Phantom(centre_mm=(25, -15, 0), times_s=SHORT),
    "mirrored": Phantom(flip=(-1, 1), times_s=SHORT),
    "two slices": Phantom(slices=2, slice_mm=10, first_slice_mm=10, times_s=SHORT),
}


def found_in(case: Scan) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.bool_]], ...]:
    where = case.series.geometry
    image = quiet_image(case.series.data)
    head = head_mask(image, where)
    cavity = cranial_cavity(image, head, where)
    brain = brain_tissue(
        case.series.data.mean(axis=0), cavity, where, rim_mm=2.0, range_hu=(15, 90)
    )
    return head, cavity, brain


@pytest.mark.parametrize("name", GRIDS)
def test_masks_hold_on_many_grids(name: str) -> None:
    case = scan(GRIDS[name])
    head, cavity, brain = found_in(case)
    assert dice(head, ~np.isin(case.labels, (AIR, HOLDER))) > 0.98
    assert not (head & (case.labels == HOLDER)).any()
    assert dice(cavity, case.inside) > 0.96
    assert dice(brain, case.brain) > 0.93
    outside = brain & ~case.inside
    assert outside.sum() < 0.002 * brain.sum()
    assert (brain & (case.labels == FLUID)).sum() < 0.3 * (case.labels == FLUID).sum()


def test_skull_with_a_gap_still_encloses() -> None:
    case = scan(GRIDS["plain"])
    where = case.series.geometry
    data = case.series.data.copy()
    x, y = where.coordinates_mm(0), where.coordinates_mm(1)
    gap = (np.abs(y) < 15) & (x > 0) & (quiet_image(data) > 300)
    data[:, gap] = 20
    image = quiet_image(data)
    cavity = cranial_cavity(image, head_mask(image, where), where)
    assert dice(cavity, case.inside) > 0.93


@pytest.mark.parametrize("side", [-1, 1])
def test_craniectomy_neither_leaks_nor_loses_brain(side: int) -> None:
    case = scan(GRIDS["plain"])
    where = case.series.geometry
    data = case.series.data.copy()
    x, y, z = (where.coordinates_mm(axis) for axis in range(3))
    gap = (side * x > 25) & (np.abs(y) < 40) & (np.abs(z) < 50) & (case.labels == BONE)
    assert float(gap.sum(axis=(1, 2)) @ where.voxel_volumes_ml) > 15
    data[:, gap] += 40 - 900
    image = quiet_image(data)
    cavity = cranial_cavity(image, head_mask(image, where), where)
    assert dice(cavity, case.inside) > 0.95
    below = case.inside & (side * x > 25) & (np.abs(y) < 40)
    assert (cavity & below).sum() > 0.97 * below.sum()
    assert (cavity & (case.labels == SCALP)).sum() < 0.002 * cavity.sum()


@pytest.mark.parametrize("offset_hu", [-14.0, -8.0, 0.0, 6.0])
def test_brain_is_found_on_scanners_that_read_low(offset_hu: float) -> None:
    case = scan(GRIDS["plain"])
    where = case.series.geometry
    image = case.series.data.mean(axis=0) + np.float32(offset_hu)
    brain = brain_tissue(image, case.inside, where, rim_mm=2.0, range_hu=(15, 90))
    assert dice(brain, case.brain) > 0.93
    assert (brain & (case.labels == FLUID)).sum() < 0.3 * (case.labels == FLUID).sum()


def test_cavity_can_be_eroded_by_a_ball() -> None:
    case = scan(GRIDS["fine"])
    where = case.series.geometry
    image = quiet_image(case.series.data)
    head = head_mask(image, where)
    whole = cranial_cavity(image, head, where)
    for radius_mm in (2.0, 4.0):
        found = cranial_cavity(image, head, where, erode_mm=radius_mm)
        assert not (found & ~whole).any()
        lost = (whole & ~found).sum(axis=(1, 2)) * where.pixel_spacing_mm[0] ** 2
        # The perimeter of the cavity, an oval of 67 x 85 mm half axes, times the rim.
        assert np.median(lost) == pytest.approx(480 * radius_mm, rel=0.25)


def test_the_ball_reaches_over_slices_but_not_over_the_ends_of_the_scan() -> None:
    where = geometry(Phantom(rows=8, slices=11, slice_mm=1.0))
    mask = np.ones(where.shape, bool)
    assert erode_ball(mask, 5.0, where).all()
    mask[5] = False
    kept = np.flatnonzero(erode_ball(mask, 2.5, where).any(axis=(1, 2)))
    np.testing.assert_array_equal(kept, [0, 1, 2, 8, 9, 10])


@pytest.mark.parametrize("value", [-1000.0, -2000.0, 40.0])
def test_without_a_head_masks_are_empty(value: float) -> None:
    case = scan(GRIDS["coarse"])
    where = case.series.geometry
    image = np.full(where.shape, value, np.float32)
    cavity = cranial_cavity(image, head_mask(image, where), where)
    if value < 0:
        assert not cavity.any()
    tissue = brain_tissue(image, np.zeros(where.shape, bool), where, rim_mm=2.0, range_hu=(15, 90))
    assert not tissue.any()
    assert not vessel_mask(image, tissue, where, factor=2.5, margin_mm=1.0).any()


def test_vessels_are_found_by_their_area() -> None:
    case = scan(Phantom(noise_hu=4))
    data = case.series.data
    area = (data - data[:4].mean(axis=0)).sum(axis=0)
    tissue = case.inside & (case.labels != FLUID)
    found = vessel_mask(area, tissue, case.series.geometry, factor=2.5, margin_mm=0.0)
    real = np.isin(case.labels, (ARTERY, VEIN))
    assert (found & real).sum() > 0.9 * (real & tissue).sum()
    assert (found & ~real).sum() < 0.02 * tissue.sum()


@pytest.mark.parametrize("flip", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
@pytest.mark.parametrize(("turn", "roll"), [(0, 0), (18, 5), (-25, -8)])
def test_midplane_follows_the_patient(flip: tuple[int, int], turn: float, roll: float) -> None:
    spec = Phantom(
        flip=flip,
        turn_deg=turn,
        roll_deg=roll,
        centre_mm=(15, 8, 0),
        times_s=SHORT,
        rows=96,
        pixel_mm=2.4,
    )
    case = scan(spec)
    where = case.series.geometry
    plane = fit_midplane(case.inside, where)
    angle = np.degrees(np.arctan2(plane.normal[1], plane.normal[0]))
    assert angle == pytest.approx(turn, abs=4)
    x, y, _ = (where.coordinates_mm(axis) - spec.centre_mm[axis] for axis in range(3))
    truth = np.cos(np.radians(turn)) * x + np.sin(np.radians(turn)) * y > 0
    inside = case.inside & (np.abs(where.coordinates_mm(2)) < 25)
    assert (plane.left(where) == truth)[inside].mean() > 0.93
    corners = np.array([where.voxel_to_lps(2, 10, 80), where.voxel_to_lps(3, 90, 5)])
    left = plane.left(where)[[2, 3], [10, 90], [80, 5]]
    np.testing.assert_array_equal(plane.distance_mm(corners) > 0, left)
    assert np.ptp(plane.distance_mm(corners + 7 * plane.normal) - plane.distance_mm(corners)) < 1e-9


def test_midplane_needs_a_cavity() -> None:
    case = scan(GRIDS["coarse"])
    with pytest.raises(ValueError, match="empty"):
        fit_midplane(np.zeros_like(case.inside), case.series.geometry)
