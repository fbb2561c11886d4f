import numpy as np
import pytest

from inference.preprocess.masks import (
    brain_tissue,
    cranial_cavity,
    head_mask,
    quiet_image,
    vessel_mask,
)
from inference.preprocess.midplane import fit_midplane
from tests.inference.perfusion.phantom import (
    AIR,
    ARTERY,
    FLUID,
    HOLDER,
    VEIN,
    Phantom,
    Scan,
    cine,
    dice,
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


def test_midplane_needs_a_cavity() -> None:
    case = scan(GRIDS["coarse"])
    with pytest.raises(ValueError, match="empty"):
        fit_midplane(np.zeros_like(case.inside), case.series.geometry)
