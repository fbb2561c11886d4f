"""Warps: they never fold, can be inverted, and enlarge the ventricles as asked."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.simulate.anatomy.deform import (
    COARSE_SHAPE,
    STEP_MM,
    Warp,
    _without_folds,
    draw_warp,
    jacobian,
    random_field,
    sample,
    upsample,
)
from training.simulate.anatomy.person import Cohort, draw_person
from training.simulate.anatomy.template import load_template
from training.simulate.arrays import stream
from training.simulate.space import HEAD_ORIGIN_MM, HEAD_SHAPE, Box

BOX: Box = (slice(50, 70), slice(61, 90), slice(40, 75))


@pytest.mark.parametrize(("seed", "cohort"), [(1, "usual"), (7, "usual"), (3, "shifted")])
def test_a_warp_does_not_fold_and_has_an_inverse(seed: int, cohort: Cohort) -> None:
    warp = draw_warp(draw_person(seed, cohort))
    assert jacobian(warp).min() > 0
    rng = np.random.default_rng(0)
    points = rng.uniform((-55, -60, -60), (55, 90, 65), (200, 3))
    back = warp.head_to_template(warp.template_to_head(points))
    assert np.abs(back - points).max() < 0.05


def test_one_person_has_one_warp_and_others_another() -> None:
    person = draw_person(4)
    first, second = draw_warp(person), draw_warp(person)
    assert np.array_equal(first.displacement_mm, second.displacement_mm)
    other = draw_warp(draw_person(5))
    apart = np.sqrt(((first.displacement_mm - other.displacement_mm) ** 2).sum(0))
    assert apart.mean() > 1


def test_shifted_heads_are_bent_more() -> None:
    size = {
        cohort: np.sqrt((draw_warp(draw_person(8, cohort)).displacement_mm ** 2).sum(0))
        for cohort in ("usual", "shifted")
    }
    assert size["shifted"].mean() > 1.2 * size["usual"].mean()


def test_growth_moves_the_walls_of_the_ventricles_out() -> None:
    template = load_template()
    base = replace(draw_person(2), ventricle_asymmetry=0.0)
    inside = {}
    for growth in (-1.0, 0.0, 4.0):
        warp = draw_warp(replace(base, ventricle_growth_mm=growth))
        distance = sample(template.maps[2:], warp.coarse_coordinates())[0]
        inside[growth] = (distance < 0).sum()
    assert inside[-1.0] < 0.9 * inside[0.0]
    assert inside[4.0] > 2.2 * inside[0.0]


def test_a_lopsided_ventricle_is_larger_on_its_side() -> None:
    person = replace(draw_person(2), ventricle_growth_mm=4.0, ventricle_asymmetry=0.35)
    coordinates = draw_warp(person).coarse_coordinates()
    inside = sample(load_template().maps[2:], coordinates)[0] < 0
    left = coordinates[..., 0] > 0
    assert (inside & left).sum() > 1.2 * (inside & ~left).sum()


def test_a_folding_displacement_is_damped_only_where_it_folds() -> None:
    displacement = np.zeros((3, *COARSE_SHAPE), dtype=np.float32)
    displacement[0, 30:34, 40:44, 30] = 8
    displacement[0, 5, 5, 5] = 0.5
    folding = Warp(np.eye(3), displacement)
    assert jacobian(folding).min() < 0
    damped = _without_folds(np.eye(3), displacement)
    assert jacobian(damped).min() > 0
    assert damped.displacement_mm[0, 5, 5, 5] == np.float32(0.5)


def test_a_displacement_that_stays_folded_is_refused() -> None:
    mirror = np.diag([-1.0, 1.0, 1.0])
    with pytest.raises(RuntimeError, match="cannot be damped"):
        _without_folds(mirror @ np.diag([-1, -1, 1.0]), np.zeros((3, *COARSE_SHAPE), np.float32))


def test_coordinates_agree_with_points() -> None:
    warp = draw_warp(draw_person(1))
    dense = warp.coordinates(BOX)
    index = np.array([(0, 0, 0), (7, 11, 13), (19, 28, 34)])
    start = np.array([part.start for part in BOX])
    points = (index + start)[:, ::-1] + np.array(HEAD_ORIGIN_MM)
    expected = warp.head_to_template(points)
    np.testing.assert_allclose(dense[tuple(index.T)], expected, atol=1e-3)


def test_upsampling_is_exact_for_linear_fields() -> None:
    z, y, x = np.meshgrid(*(np.arange(n) * STEP_MM for n in COARSE_SHAPE), indexing="ij")
    coarse = (2 * z - y + 0.5 * x)[None].astype(np.float32)
    z, y, x = np.meshgrid(*(np.arange(part.start, part.stop) for part in BOX), indexing="ij")
    np.testing.assert_allclose(upsample(coarse, BOX)[0], 2 * z - y + 0.5 * x, atol=1e-3)
    assert upsample(coarse).shape == (1, *HEAD_SHAPE)


def test_sampling_finds_the_voxel_and_goes_on_at_the_border() -> None:
    ramp = np.broadcast_to(np.arange(HEAD_SHAPE[2], dtype=np.float32), HEAD_SHAPE)
    points = np.array([[[[0.25, 0, 0], [-500, 0, 0], [12.6, 3, 4]]]], dtype=np.float32)
    volumes = np.ascontiguousarray(ramp)[None]
    np.testing.assert_allclose(sample(volumes, points)[0, 0, 0], [100.25, 0, 112.6], atol=1e-3)
    assert sample(volumes, points, nearest=True)[0, 0, 0].tolist() == [100, 0, 113]


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([20.0, 40.0]))
def test_random_fields_have_the_wavelength_asked_for(seed: int, wavelength: float) -> None:
    field = random_field(stream(seed, "test"), wavelength)[0]
    assert abs(float(field.mean())) < 1e-3
    assert float(field.std()) == pytest.approx(1, abs=1e-3)
    line = np.abs(np.fft.rfft(field[:66], axis=0)) ** 2
    power = line.mean(axis=(1, 2))
    mean = (np.fft.rfftfreq(66, STEP_MM) * power).sum() / power.sum()
    assert 0.35 / wavelength < mean < 1.2 / wavelength
