"""Inside of the skull and parenchyma on MR of any brightness, shading and place."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.preprocess.mr_masks import brain_tissue, intracranial_space, tissue_level
from tests.inference.perfusion.mr_phantom import SMALL, mr_scan
from tests.inference.perfusion.phantom import FLUID, Scan, dice

GAINS = st.floats(1e-3, 1e3)


@pytest.fixture(scope="module")
def head() -> Scan:
    return mr_scan(replace(SMALL, slices=3))


def signal(head: Scan) -> np.ndarray:
    return np.asarray(head.series.data[:5].mean(axis=0))


def contrast(head: Scan) -> np.ndarray:
    """An area under the curve: 1 in tissue, a tenth in fluid."""
    return np.where(head.labels == FLUID, 0.1, 1.0).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(gain=GAINS, slope=st.floats(-0.004, 0.004))
def test_inside_of_the_skull_for_every_gain_and_shading(gain: float, slope: float) -> None:
    head = mr_scan(replace(SMALL, slices=2))
    geometry = head.series.geometry
    shading = 1 + slope * (geometry.coordinates_mm(1) - 20)
    image = (signal(head) * gain * shading).astype(np.float32)
    assert dice(intracranial_space(image, geometry), head.inside) > 0.95


def test_nothing_inside_of_nothing(head: Scan) -> None:
    geometry = head.series.geometry
    for level in (0.0, -3.0):
        assert not intracranial_space(np.full(geometry.shape, level, np.float32), geometry).any()
    empty = np.zeros(geometry.shape, bool)
    area = contrast(head)
    assert not brain_tissue(signal(head), area, empty, geometry, rim_mm=2).any()


def test_the_level_is_that_of_tissue(head: Scan) -> None:
    geometry = head.series.geometry
    space = intracranial_space(signal(head), geometry)
    level = tissue_level(signal(head), space, geometry)
    assert not level[~space].any()
    assert 520 < float(np.median(level[space])) < 600


def test_parenchyma_is_without_fluid_and_rim(head: Scan) -> None:
    geometry = head.series.geometry
    space = intracranial_space(signal(head), geometry)
    brain = brain_tissue(signal(head), contrast(head), space, geometry, rim_mm=2)
    assert dice(brain, head.brain) > 0.93
    fluid = head.labels == FLUID
    assert (brain & fluid).sum() < 0.2 * fluid.sum()
    wider = brain_tissue(signal(head), contrast(head), space, geometry, rim_mm=8)
    assert not (wider & ~brain).any()
    assert wider.sum() < 0.95 * brain.sum()


def test_bright_tissue_that_takes_contrast_stays(head: Scan) -> None:
    """Oedema is as bright as fluid; a dark void is nothing."""
    geometry = head.series.geometry
    image = signal(head).copy()
    spot = head.lesion
    image[spot] = 850.0
    space = intracranial_space(image, geometry)
    everywhere = np.ones(geometry.shape, np.float32)
    assert brain_tissue(image, everywhere, space, geometry, rim_mm=2)[spot].mean() > 0.9
    image[spot] = 60.0
    assert brain_tissue(image, everywhere, space, geometry, rim_mm=2)[spot].mean() < 0.1
