"""Cohorts: splits that share nothing, bytes that do not depend on processes, resuming."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.simulate.cohort import (
    MANIFEST,
    SPLITS,
    CohortCase,
    Kind,
    Outcome,
    Row,
    anatomy_seeds,
    draw_cohort,
    make_cohort,
    read_manifest,
)
from training.simulate.ct.ctp_scan import Irregularity

SPLIT = {"train": 0.6, "validation": 0.2, "test": 0.1, "shifted": 0.1}


def write_case(case: CohortCase, folder: Path) -> Row:
    """A case of one small file; fails where the file ``fail`` names its seed."""
    fail = folder.parents[1].with_name("fail")
    if fail.exists() and str(case.seed) in fail.read_text().split():
        raise RuntimeError("no such scanner")
    (folder / "dicom").mkdir()
    (folder / "dicom" / "1.dcm").write_bytes(case.seed.to_bytes(8, "big"))
    return {"side": "L" if case.seed % 2 else None, "core_ml": round(case.seed % 1000 / 7, 3)}


def die(case: CohortCase, folder: Path) -> Row:
    os._exit(9)


def content(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def plan(count: int = 10, seed: int = 3, kind: Kind = "ncct") -> list[CohortCase]:
    return draw_cohort(kind, count, seed, SPLIT)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(0, 2**31 - 1),
    st.integers(1, 7),
    st.sampled_from(["ctp", "pwi"]),
)
def test_no_anatomy_is_in_two_splits(count: int, seed: int, shared: int, kind: Kind) -> None:
    cases = draw_cohort(kind, count, seed, SPLIT, cases_per_anatomy=shared)
    others = draw_cohort("ncct", 50, seed + 1, SPLIT)
    homes: dict[int, set[str]] = {}
    for case in [*cases, *others]:
        homes.setdefault(case.anatomy_seed, set()).add(case.split)
    assert all(len(splits) == 1 for splits in homes.values())
    assert len({case.seed for case in cases}) == len({case.case_id for case in cases}) == count
    assert max(Counter(case.anatomy_seed for case in cases).values()) <= shared
    assert all((case.cohort == "shifted") == (case.split == "shifted") for case in cases)


@given(st.integers(1, 200), st.lists(st.integers(0, 9), min_size=4, max_size=4).filter(any))
def test_splits_have_their_shares(count: int, weights: list[int]) -> None:
    shares = {name: weight / sum(weights) for name, weight in zip(SPLITS, weights, strict=True)}
    found = Counter(case.split for case in draw_cohort("ncct", count, 1, shares))
    for name in SPLITS:
        assert abs(found[name] - count * shares[name]) < 1
        assert not (shares[name] == 0 and found[name])


def test_a_longer_split_starts_with_the_same_people() -> None:
    assert anatomy_seeds(1, "train", 9)[:4] == anatomy_seeds(1, "train", 4)
    assert anatomy_seeds(1, "train", 4) != anatomy_seeds(2, "train", 4)


def test_kinds_draw_what_is_theirs() -> None:
    ncct, ctp, pwi = (draw_cohort(kind, 600, 5, SPLIT) for kind in ("ncct", "ctp", "pwi"))
    assert 0.44 < sum(case.hemorrhage for case in ncct) / 600 < 0.56
    assert 0.04 < sum(case.hemorrhage for case in ctp) / 600 < 0.13
    assert not any(case.hemorrhage for case in pwi)
    assert {flaw for case in pwi for flaw in case.irregular} == {"motion", "weak_bolus"}
    assert {flaw for case in ctp for flaw in case.irregular} == set(Irregularity)
    assert not any(case.irregular for case in ncct)
    assert 0.35 < sum("motion" in case.irregular for case in ctp) / 600 < 0.49
    assert min(Counter(case.scanner for case in ctp).values()) > 100
    assert not any(case.hemorrhage for case in draw_cohort("ncct", 9, 5, SPLIT, ich_share=0))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"train": 0.5}, "add to 0.5"),
        ({"training": 1.0}, "expected shares of train"),
        ({"train": 1.5, "test": -0.5}, "expected shares"),
        ({}, "expected shares"),
    ],
)
def test_bad_splits_are_refused(split: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_cohort("ctp", 5, 1, split)
    with pytest.raises(ValueError, match="expected one of train"):
        anatomy_seeds(1, "exam", 3)


def test_two_processes_write_the_bytes_of_one(tmp_path: Path) -> None:
    told: list[str] = []
    one = make_cohort(plan(), {}, tmp_path / "a", write_case)
    two = make_cohort(
        plan(), {}, tmp_path / "b", write_case, processes=2,
        tell=lambda case: told.append(case.case_id),
    )  # fmt: skip
    assert one == two == Outcome(10, 0, ())
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert sorted(told) == [case.case_id for case in plan()]
    rows = list(read_manifest(tmp_path / "a" / MANIFEST))
    assert [row["case"] for row in rows] == [case.case_id for case in plan()]
    for row, case in zip(rows, plan(), strict=True):
        assert (row["seed"], row["split"]) == (str(case.seed), case.split)
        assert row["side"] == ("L" if case.seed % 2 else "")
        assert (tmp_path / "a" / row["dicom"] / "1.dcm").exists()


def test_an_interrupted_cohort_goes_on(tmp_path: Path) -> None:
    output = tmp_path / "cohort"
    make_cohort(plan(), {"matrix": 64}, output, write_case)
    whole = content(output)
    first, second = plan()[0].case_id, plan()[1].case_id
    kept = (output / "cases" / plan()[2].case_id).stat().st_mtime_ns
    (output / MANIFEST).unlink()
    # as after a kill: one case half written, one not begun
    (output / "cases" / first).rename(output / "cases" / f".{first}.part")
    (output / "cases" / f".{first}.part" / "stray").touch()
    for path in sorted((output / "cases" / second).rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (output / "cases" / second).rmdir()
    assert make_cohort(plan(), {"matrix": 64}, output, write_case) == Outcome(2, 8, ())
    assert content(output) == whole
    assert (output / "cases" / plan()[2].case_id).stat().st_mtime_ns == kept


@pytest.mark.parametrize("processes", [1, 2])
def test_a_failure_is_told_after_the_others(processes: int, tmp_path: Path) -> None:
    bad = plan()[3]
    (tmp_path / "fail").write_text(str(bad.seed))
    output = tmp_path / "cohort"
    outcome = make_cohort(plan(), {}, output, write_case, processes=processes)
    assert (outcome.made, outcome.ready) == (9, 0)
    ((case, error),) = outcome.failures
    assert case == bad
    assert str(error) == "no such scanner"
    assert len(list(read_manifest(output / MANIFEST))) == 9
    (tmp_path / "fail").unlink()
    assert make_cohort(plan(), {}, output, write_case) == Outcome(1, 9, ())
    assert [row["case"] for row in read_manifest(output / MANIFEST)] == [
        case.case_id for case in plan()
    ]


def test_a_process_that_dies_is_told(tmp_path: Path) -> None:
    outcome = make_cohort(plan(2), {}, tmp_path, die, processes=2)
    assert outcome.made == 0
    assert "terminated abruptly" in str(outcome.failures[0][1])


def test_a_cohort_of_another_version_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "cohort"
    make_cohort(plan(2), {}, output, write_case)
    before = content(output)
    ours = json.loads(before["cohort.json"])["simulator"]
    monkeypatch.setattr("training.simulate.cohort.simulator_version", lambda: "other")
    with pytest.raises(FileExistsError, match=f"version {ours} .* this is version other"):
        make_cohort(plan(2), {}, output, write_case)
    assert content(output) == before


def test_another_cohort_or_other_files_are_not_touched(tmp_path: Path) -> None:
    output = tmp_path / "cohort"
    make_cohort(plan(2), {"matrix": 64}, output, write_case)
    before = content(output)
    for other, settings_ in ((plan(3), {"matrix": 64}), (plan(2), {"matrix": 128})):
        with pytest.raises(FileExistsError, match="holds another cohort"):
            make_cohort(other, settings_, output, write_case)
    assert content(output) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match="not empty"):
        make_cohort(plan(2), {}, tmp_path / "mine", write_case)
    assert json.loads((output / "cohort.json").read_text())["settings"] == {"matrix": 64}
