import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.pairs.tiny import tiny_folder, tiny_pair
from training.pairs.pair import Case, Pair, as_half, case_folders, read_case


def test_a_pair_comes_back_from_disk(tmp_path: Path) -> None:
    pair = tiny_pair(pathology=True)
    pair.save(tmp_path)
    (folder,) = case_folders(tmp_path, "train")
    found = Pair.load(folder)
    assert found.case == pair.case == read_case(folder)
    assert found.truth is not None
    assert pair.truth is not None
    np.testing.assert_array_equal(found.ctp, pair.ctp)
    np.testing.assert_array_equal(found.ncct, pair.ncct)
    np.testing.assert_array_equal(found.truth, pair.truth)
    assert set(found.masks) == set(pair.masks)
    for name, mask in pair.masks.items():
        np.testing.assert_array_equal(found.masks[name], mask)


def test_a_real_pair_has_no_truth(tmp_path: Path) -> None:
    pair = replace(tiny_pair(), truth=None)
    pair.save(tmp_path)
    (folder,) = case_folders(tmp_path, "train")
    assert Pair.load(folder).truth is None


def test_saving_again_replaces_and_what_was_interrupted_does_not_count(tmp_path: Path) -> None:
    tiny_pair(seed=1).save(tmp_path)
    (tmp_path / "train" / ".one.part").mkdir()
    (tmp_path / "train" / ".one.part" / "case.json").write_text("{}")
    assert [path.name for path in case_folders(tmp_path, "train")] == ["one"]
    tiny_pair(seed=2).save(tmp_path)
    (folder,) = case_folders(tmp_path, "train")
    np.testing.assert_array_equal(Pair.load(folder).ncct, tiny_pair(seed=2).ncct)
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == ["one"]


def test_a_split_without_cases_is_an_error(tmp_path: Path) -> None:
    tiny_folder(tmp_path)
    assert len(list(case_folders(tmp_path, "train"))) == 4
    with pytest.raises(FileNotFoundError, match="no case of split 'test'"):
        list(case_folders(tmp_path / "empty", "test"))


def test_what_is_no_pair_is_refused() -> None:
    pair = tiny_pair()
    with pytest.raises(ValueError, match="split 'dev'"):
        Case("x", "dev", "ge", False, (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="different grids"):
        replace(pair, ncct=pair.ncct[:-1])
    with pytest.raises(ValueError, match="nothing inside the skull"):
        replace(pair, masks={**pair.masks, "cavity": np.zeros_like(pair.masks["cavity"])})


def test_half_precision_is_exact_enough_for_ct() -> None:
    hu = np.array([-5000.0, -1024.0, 0.0, 37.02, 80.0, 2000.0, 30000.0])
    half = as_half(hu).astype(float)
    assert half[0] == -1024
    assert half[-1] == pytest.approx(3071, abs=1.0)
    assert np.abs(half[2:5] - hu[2:5]).max() < 0.03


def test_the_record_is_readable_json(tmp_path: Path) -> None:
    tiny_pair().save(tmp_path)
    entry = json.loads((tmp_path / "train" / "one" / "case.json").read_text())
    assert entry["scanner"] == "ge"
    assert entry["spacing_mm"] == [5.0, 1.0, 1.0]
