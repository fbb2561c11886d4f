"""The whole head: exact shares, lossless storage, and the same bytes for any number of threads."""

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.simulate.anatomy.build import build_anatomy, in_steps_together
from training.simulate.anatomy.model import Anatomy
from training.simulate.anatomy.person import draw_person
from training.simulate.arrays import SHARE_STEPS

SHARES = ("grey", "white", "csf", "artery", "vein", "bone", "fat", "soft", "calcification")


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return build_anatomy(draw_person(1))


def in_integers(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    steps = np.rint(values * SHARE_STEPS)
    assert np.array_equal((steps / np.float32(SHARE_STEPS)).astype(np.float32), values)
    return steps.astype(np.int16)


def test_shares_are_steps_that_fill_the_cavity_exactly(anatomy: Anatomy) -> None:
    total = np.zeros(anatomy.cavity.shape, dtype=np.int16)
    for name in SHARES:
        steps = in_integers(getattr(anatomy, name))
        assert steps.min() >= 0, name
        assert steps.any(), name
        total += steps
    assert total.max() <= SHARE_STEPS
    assert (total[anatomy.cavity] == SHARE_STEPS).all()
    for name in ("grey", "white", "csf"):
        assert not getattr(anatomy, name)[~anatomy.cavity].any()
    for name in ("bone", "fat"):
        assert not getattr(anatomy, name)[anatomy.cavity].any()


def test_an_anatomy_can_be_stored_without_loss(anatomy: Anatomy) -> None:
    static = anatomy.static_hu
    assert np.array_equal(static.astype(np.int16), static)
    assert np.array_equal(anatomy.depth_mm.astype(np.float16), anatomy.depth_mm)
    assert np.array_equal(anatomy.depth_mm > 0, anatomy.cavity)
    for name in (*SHARES, "static_hu", "depth_mm"):
        assert getattr(anatomy, name).dtype == np.float32
    for name in ("region", "territory", "vessel"):
        assert getattr(anatomy, name).dtype == np.uint8


def test_hounsfield_units_are_those_of_heads(anatomy: Anatomy) -> None:
    static = anatomy.static_hu
    assert (static[0, 0, :50] == -1000).all()
    assert 300 < np.median(static[anatomy.bone == 1]) < 1700
    assert -130 < np.median(static[anatomy.fat == 1]) < -60
    assert np.abs(static[(anatomy.grey + anatomy.white + anatomy.csf) == 1]).max() <= 1
    assert static[anatomy.calcification > 0.3].min() > 80


def test_territory_is_brain(anatomy: Anatomy) -> None:
    brain = anatomy.grey + anatomy.white
    assert ((anatomy.territory > 0) == (brain > 0)).all()
    assert 0.45 < anatomy.left[brain > 0.5].mean() < 0.55


def test_same_person_same_bytes_with_any_number_of_threads(anatomy: Anatomy) -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 2)
    try:
        again = build_anatomy.__wrapped__(draw_person(1))
    finally:
        torch.set_num_threads(before)
    for field in dataclasses.fields(Anatomy):
        if field.name != "person":
            assert np.array_equal(getattr(anatomy, field.name), getattr(again, field.name)), (
                field.name
            )


@given(
    st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), min_size=1, max_size=9)
)
def test_steps_keep_the_sum(rows: list[list[float]]) -> None:
    shares = np.array(rows, dtype=np.float32)
    shares /= np.maximum(shares.sum(axis=0), np.float32(1e-6))
    given_shares = {str(i): row for i, row in enumerate(shares)}
    stepped = in_steps_together(given_shares)
    steps = np.stack([in_integers(row) for row in stepped.values()])
    expected = np.rint(np.minimum(np.cumsum(shares, axis=0)[-1], 1) * SHARE_STEPS)
    assert np.abs(steps.sum(axis=0) - expected).max() <= 1
    assert steps.min() >= 0
    assert np.abs(steps - shares * SHARE_STEPS).max() <= 1.01
    full = shares.sum(axis=0) > 0.999
    assert (steps.sum(axis=0)[full] == SHARE_STEPS).all()
