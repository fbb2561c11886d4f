"""Simulated patients as pairs, on small grids."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.pairs.pair import Pair, case_folders
from training.pairs.simulated import Grid, Request, simulate_pairs

GRID = Grid(matrix=96, slices=6, thicknesses_mm=(8.0,), covered_mm=48.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    assert len(list(simulate_pairs(folder, {"train": 1}, 3, GRID))) == 1
    return folder


@pytest.fixture(scope="module")
def pair(folder: Path) -> Pair:
    (path,) = case_folders(folder, "train")
    return Pair.load(path)


def test_the_images_belong_together(pair: Pair) -> None:
    assert pair.truth is not None
    inside = pair.masks["brain"] & pair.masks["cavity"] & ~pair.masks["vessels"]
    assert inside.sum() > 5000
    truth = np.asarray(pair.truth, np.float32)[inside]
    noisy = np.asarray(pair.ncct, np.float32)[inside]
    first = np.asarray(pair.ctp[0], np.float32)[inside]
    assert np.corrcoef(truth, noisy)[0, 1] > 0.5
    assert np.median(noisy - truth) == pytest.approx(0, abs=3)
    assert np.median(first - truth) == pytest.approx(-14, abs=8)
    assert 20 < np.median(truth) < 42


def test_what_is_known_of_it(pair: Pair) -> None:
    assert len(pair.ctp) <= 19
    assert pair.ctp.shape[1:] == (6, 96, 96)
    assert pair.case.spacing_mm[0] == pytest.approx(8.0)
    assert not pair.masks["ich"].any()
    assert pair.masks["vessels"].any()
    assert not pair.case.pathology


def test_what_is_there_is_not_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_request: Request) -> Pair:
        raise AssertionError("made again")

    monkeypatch.setattr("training.pairs.simulated.simulate_pair", never)
    made = list(simulate_pairs(folder, {"train": 1}, 3, GRID))
    assert [path.name for path in case_folders(folder, "train")] == made


def test_patients_of_other_sizes_are_not_mixed(folder: Path) -> None:
    for seed, grid in ((4, GRID), (3, replace(GRID, slices=7))):
        with pytest.raises(ValueError, match=r"holds patients simulated with .* another folder"):
            next(simulate_pairs(folder, {"train": 1}, seed, grid))
