from dataclasses import replace
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inference.derived_ncct.frames import to_hu
from tests.training.pairs.tiny import tiny_pair
from training.pairs.subvolumes import (
    Drawable,
    Drawing,
    PairData,
    SubVolumes,
    ValidationSubVolumes,
    cut_out,
    dense_tissue,
    eroded_cavity,
    vessels,
    with_frames,
)

DRAWING = Drawing(size=(4, 12, 12), batch=2, batches=6)
WIDE = (3, 64, 64)
sizes = st.integers(1, 9)


@given(st.tuples(sizes, sizes, sizes), st.tuples(sizes, sizes, sizes), st.randoms())
def test_a_part_holds_its_centre_and_has_its_size(
    shape: tuple[int, int, int], size: tuple[int, int, int], random: Random
) -> None:
    volume = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    centre = [random.randint(0, n - 1) for n in shape]
    part = cut_out(volume, centre, size)
    assert part.shape == size
    assert volume[tuple(centre)] in part
    padded = cut_out(np.ones(shape, np.float32), centre, size, outside=0.0)
    assert padded.sum() == np.prod(np.minimum(shape, size))


def test_parts_of_frames_keep_their_time_points() -> None:
    pair = tiny_pair()
    part = cut_out(pair.ctp, (3, 12, 12), (4, 8, 8))
    assert part.shape == (8, 4, 8, 8)
    np.testing.assert_array_equal(part, pair.ctp[:, 1:5, 8:16, 8:16].astype(np.float32))


def test_batches_are_decided_by_seed_epoch_and_number() -> None:
    pairs = [Drawable.of(tiny_pair(name, seed=seed)) for seed, name in enumerate(("one", "two"))]
    first, again, later = (SubVolumes(pairs, DRAWING, epoch) for epoch in (3, 3, 4))
    assert len(first) == 6
    for one, other in zip(first[2], again[2], strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(first[2][1], later[2][1])
    assert not torch.equal(first[2][1], first[3][1])


def test_dense_tissue_is_blood_not_the_bone_beside_it() -> None:
    ill, healthy = tiny_pair(pathology=True, shape=WIDE), tiny_pair(shape=WIDE)
    found = dense_tissue(ill, eroded_cavity(ill))
    both = found & ill.masks["ich"]
    assert 2 * both.sum() / (found.sum() + ill.masks["ich"].sum()) > 0.7
    assert dense_tissue(healthy, eroded_cavity(healthy)).sum() < 0.02 * found.sum()


def test_vessels_are_where_contrast_passes() -> None:
    pair = tiny_pair(shape=WIDE)
    inside = eroded_cavity(pair)
    found = vessels(pair, inside)
    assert found.sum() == pytest.approx(0.01 * inside.sum(), abs=1)
    assert (found & pair.masks["vessels"]).sum() > 0.9 * found.sum()


def test_sub_volumes_are_drawn_around_what_is_rare_as_often_as_wanted() -> None:
    """Of voxels with blood in two of four patients; small ones, so that few get there by chance."""
    cases = [
        Drawable.of(tiny_pair(str(seed), pathology=seed > 1, seed=seed, shape=WIDE))
        for seed in range(4)
    ]

    def shares(rare_share: float, chosen: list[Drawable]) -> tuple[float, float]:
        """How many sub-volumes are blood, and how many vessel."""
        drawing = replace(DRAWING, size=(1, 1, 1), batches=150, frames=8, rare_share=rare_share)
        drawn = SubVolumes(chosen, drawing, 0)
        batches = [drawn[number] for number in range(len(drawn))]
        blood = [to_hu(target.numpy()) > 50 for _, target, _ in batches]
        vessel = [np.ptp(to_hu(frames.numpy()), axis=1) > 60 for frames, _, _ in batches]
        return float(np.mean(blood)), float(np.mean(vessel))

    anywhere, some, only = (shares(share, cases) for share in (0.0, 0.25, 0.5))
    assert max(anywhere) < 0.1
    assert all(0.2 < share < 0.4 for share in some)
    assert all(0.4 < share < 0.6 for share in only)
    assert sum(only) > 0.9
    nothing = [replace(case, dense=case.dense[:0], vessels=case.vessels[:0]) for case in cases]
    assert max(shares(0.5, nothing)) < 0.1


def test_targets_belong_to_their_frames_and_weights_to_the_inside() -> None:
    pair = tiny_pair()
    frames, target, weight = SubVolumes([Drawable.of(pair)], DRAWING, 0)[0]
    assert frames.shape[0] == target.shape[0] == weight.shape[0] == 2
    assert target.shape == weight.shape == (2, 4, 12, 12)
    assert set(weight.ravel().tolist()) <= {0.0, 1.0}
    assert weight.mean() > 0.3
    difference = to_hu(frames[:, 0].numpy()) - to_hu(target.numpy())
    inside = weight.numpy() > 0
    assert np.median(difference[inside]) == pytest.approx(-14, abs=3)


def test_training_draws_all_fewer_the_first_and_some_time_points() -> None:
    drawing = replace(DRAWING, batches=60, batch=1, size=(2, 4, 4))
    data = SubVolumes([Drawable.of(tiny_pair())], drawing, 0)
    counts = [len(data[k][0][0]) for k in range(60)]
    assert max(counts) == 8
    assert min(counts) <= 2
    assert 10 <= counts.count(8) <= 30
    assert len(set(counts)) >= 5


def test_networks_that_need_it_always_get_their_number() -> None:
    data = SubVolumes([Drawable.of(tiny_pair(frames=8))], replace(DRAWING, frames=19), 0)
    assert {len(data[k][0][0]) for k in range(6)} == {19}
    fixed = ValidationSubVolumes([Drawable.of(tiny_pair(frames=8))], replace(DRAWING, frames=19), 0)
    assert fixed[0][0].shape == (1, 19, 4, 12, 12)


@given(st.integers(1, 30), st.integers(1, 30))
def test_time_points_are_interpolated_or_averaged(there: int, wanted: int) -> None:
    frames = np.linspace(0, 1, there, dtype=np.float32).reshape(-1, 1, 1, 1)
    found = with_frames(frames, wanted).ravel()
    assert len(found) == wanted
    assert all(a <= b + 1e-6 for a, b in pairwise(found))
    if there >= wanted:
        assert found.min() >= 0
        assert found.max() <= 1
    elif there > 1:
        np.testing.assert_allclose(found, np.linspace(0, 1, wanted), atol=1e-5)


def test_the_rim_is_left_out_in_the_plane_only() -> None:
    pair = tiny_pair()
    inside = eroded_cavity(pair)
    cavity = pair.masks["cavity"]
    assert inside.any(axis=(1, 2)).all()
    assert (inside & ~cavity).sum() == 0
    assert 0.5 < inside.sum() / cavity.sum() < 0.95
    thin = replace(pair, masks={**pair.masks, "cavity": np.eye(24, dtype=bool)[None].repeat(6, 0)})
    np.testing.assert_array_equal(eroded_cavity(thin), thin.masks["cavity"])


def test_validation_is_the_same_every_time_and_has_all_time_points() -> None:
    data = PairData([tiny_pair()], [tiny_pair("v", split="validation", seed=5)], DRAWING)
    first, second = (list(data.val_dataloader()) for _ in range(2))
    assert len(first) == 3
    for one, other in zip(first, second, strict=True):
        assert one[0].shape[:2] == (1, 8)
        for a, b in zip(one, other, strict=True):
            assert torch.equal(a, b)
