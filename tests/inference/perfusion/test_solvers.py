"""The filters against the matrices that they stand for."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.perfusion.solvers import (
    Circulant,
    CrossValidation,
    FixedFilter,
    OscillationSearch,
    oscillation_index,
)
from tests.inference.perfusion.phantom import bolus, tissue_curve

Array = npt.NDArray[np.float64]
STEP_S = 1.5
TIMES = STEP_S * np.arange(30.0)


def case(seed: int, noise: float = 1.0, voxels: int = 6) -> tuple[Array, Array]:
    """Arterial input of shape ``(time,)`` and tissue curves of shape ``(voxel, time)``."""
    random = np.random.default_rng(seed)
    aif = bolus(TIMES, 6.0, 300.0) + noise * random.standard_normal(len(TIMES))
    curves = np.stack(
        [
            tissue_curve(
                aif, STEP_S, random.uniform(5, 80), random.uniform(2, 14), random.uniform(0, 6)
            )
            for _ in range(voxels)
        ]
    )
    return aif, curves + noise * random.standard_normal(curves.shape)


def padded(curve: Array) -> Array:
    return np.concatenate([curve, np.zeros(len(curve))])


def turned(kernel: Array) -> Array:
    """Circulant matrix of which the first column is ``kernel``."""
    return np.stack([np.roll(kernel, k) for k in range(len(kernel))], axis=1)


def circulant(aif: Array) -> Circulant:
    return Circulant(torch.from_numpy(aif), STEP_S, "rectangle")


def second_difference(size: int) -> Array:
    kernel = np.zeros(size)
    kernel[[0, 1, -1]] = 2, -1, -1
    return turned(kernel)


@pytest.mark.parametrize("share", [0.05, 0.3, 2.0])
@pytest.mark.parametrize("name", ["wiener", "tikhonov"])
def test_regularised_filters_solve_the_normal_equations(name: str, share: float) -> None:
    aif, curves = case(1)
    matrix = STEP_S * turned(padded(aif))
    penalty = np.eye(60) if name == "wiener" else second_difference(60)
    weight = share * np.linalg.norm(matrix, 2)
    wanted = [
        np.linalg.solve(matrix.T @ matrix + weight**2 * penalty.T @ penalty, matrix.T @ padded(c))
        for c in curves
    ]
    system = circulant(aif)
    inverse = system.wiener(share) if name == "wiener" else system.tikhonov(share)
    found, used = FixedFilter(system, inverse, share).solve(torch.from_numpy(curves))
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-9)
    assert used.tolist() == [share] * len(curves)


def test_cross_validation_is_that_of_the_matrix() -> None:
    shares = tuple(np.geomspace(0.02, 5, 9).tolist())
    aif, curves = case(2, noise=2.0)
    matrix = STEP_S * turned(padded(aif))
    penalty = second_difference(60)
    scores = []
    for share in shares:
        weight = share * np.linalg.norm(matrix, 2)
        explained = matrix @ np.linalg.solve(
            matrix.T @ matrix + weight**2 * penalty.T @ penalty, matrix.T
        )
        rest = np.eye(60) - explained
        scores.append([np.sum((rest @ padded(c)) ** 2) / np.trace(rest) ** 2 for c in curves])
    found = CrossValidation(circulant(aif), shares).best(torch.from_numpy(curves))
    assert found.tolist() == np.argmin(scores, axis=0).tolist()


def test_noisier_curves_are_smoothed_more() -> None:
    shares = tuple(np.geomspace(0.02, 20, 30).tolist())
    typical = []
    for noise in (0.05, 0.5, 2.0):
        aif, curves = case(3, noise, voxels=200)
        score = CrossValidation(circulant(aif), shares)
        typical.append(int(score.best(torch.from_numpy(curves)).median()))
    assert typical[0] < typical[1] < typical[2]


@given(
    seed=st.integers(0, 10_000),
    noise=st.floats(0.01, 8.0),
    target=st.floats(0.005, 0.3),
    single=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_the_search_finds_the_smallest_truncation_that_serves(
    seed: int, noise: float, target: float, single: bool
) -> None:
    """Against all truncations on all voxels; each voxel has a search of its own."""
    truncations = tuple(np.geomspace(0.01, 0.9, 25).tolist())
    aif, curves = case(seed, noise)
    system = circulant(aif.astype(np.float32) if single else aif)
    values = torch.from_numpy(curves.astype(np.float32) if single else curves)
    every = torch.stack(
        [system.residue(system.spectra(values), system.truncated(s)) for s in truncations]
    )
    serves = torch.stack([oscillation_index(residue) <= target for residue in every])
    serves[-1] = True
    place = serves.int().argmax(dim=0)
    found, used = OscillationSearch(system, truncations, target).solve(values)
    torch.testing.assert_close(
        found, every[place, torch.arange(len(values))], rtol=1e-4, atol=1e-6 if single else 1e-12
    )
    for share, index in zip(used.tolist(), place.tolist(), strict=True):
        same = system.truncated(share) != 0
        assert torch.equal(same, system.truncated(truncations[index]) != 0)


def test_oscillation_of_known_functions() -> None:
    """(1, -1, 1, ...) has second differences of 4, a ramp none, a spike of 1 has 1 + 2 + 1."""
    size = 40
    alternating = 1 - 2 * (torch.arange(size, dtype=torch.float64) % 2)
    spike = torch.zeros(size, dtype=torch.float64)
    spike[20] = 7.0
    found = oscillation_index(
        torch.stack([alternating, torch.arange(size).double(), spike, 0 * spike])
    )
    assert found.tolist() == pytest.approx([4 * (size - 2) / size, 0, 4 / size, 0], abs=1e-12)
