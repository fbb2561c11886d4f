"""The cache of anatomies: nothing is lost, nothing broken is used."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.simulate.anatomy import cache
from training.simulate.anatomy.build import build_anatomy
from training.simulate.anatomy.cache import cached_anatomy, entry_path
from training.simulate.anatomy.model import Anatomy
from training.simulate.anatomy.person import draw_person
from training.simulate.space import HEAD_SHAPE

PERSON = draw_person(1)


def arrays(anatomy: Anatomy) -> dict[str, np.ndarray[Any, Any]]:
    names = [entry.name for entry in dataclasses.fields(anatomy) if entry.name != "person"]
    return {name: getattr(anatomy, name) for name in names}


def assert_same_bits(first: Anatomy, second: Anatomy) -> None:
    assert first.person == second.person
    for name, values in arrays(first).items():
        other = arrays(second)[name]
        assert (other.dtype, other.shape) == (values.dtype, HEAD_SHAPE), name
        assert values.tobytes() == other.tobytes(), name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds one person."""
    folder = tmp_path_factory.mktemp("cache") / "new"
    cached_anatomy(PERSON, folder)
    return folder


@pytest.fixture
def no_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(person: object) -> Anatomy:
        raise AssertionError("built although it is in the cache")

    monkeypatch.setattr(cache, "build_anatomy", refuse)


@pytest.mark.usefixtures("no_building")
def test_what_comes_back_is_what_is_built(folder: Path) -> None:
    assert_same_bits(cached_anatomy(PERSON, folder), build_anatomy(PERSON))
    assert [path.name for path in folder.iterdir()] == [entry_path(PERSON, folder).name]
    assert entry_path(PERSON, folder).stat().st_size < 80e6


def test_without_a_folder_nothing_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cached_anatomy(PERSON, None) is build_anatomy(PERSON)
    assert list(tmp_path.iterdir()) == []


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@pytest.mark.parametrize("spoil", [cut, flipped, lambda content: b""], ids=["cut", "flip", "empty"])
def test_a_broken_entry_is_told_and_built_again(
    spoil: Any, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = entry_path(PERSON, tmp_path)
    path.write_bytes(spoil(entry_path(PERSON, folder).read_bytes()))
    with caplog.at_level(logging.WARNING):
        anatomy = cached_anatomy(PERSON, tmp_path)
    assert anatomy is build_anatomy(PERSON)
    assert "cannot be read" in caplog.text
    assert path.name in caplog.text
    assert path.read_bytes() == entry_path(PERSON, folder).read_bytes()


def test_another_version_is_not_read_but_replaced(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = entry_path(PERSON, tmp_path)
    old.write_bytes(entry_path(PERSON, folder).read_bytes())
    other_person = tmp_path / entry_path(draw_person(11), tmp_path).name
    other_person.touch()
    monkeypatch.setattr(cache, "simulator_version", lambda: "another")
    assert cached_anatomy(PERSON, tmp_path) is build_anatomy(PERSON)
    assert not old.exists()
    assert other_person.exists()
    assert entry_path(PERSON, tmp_path).exists()


def test_each_person_has_an_entry_of_their_own(tmp_path: Path) -> None:
    thinner = dataclasses.replace(PERSON, age_years=PERSON.age_years + 1)
    people = [PERSON, thinner, draw_person(2), draw_person(1, "shifted")]
    assert len({entry_path(person, tmp_path) for person in people}) == 4


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(cache, "_add_array", fail)
    with pytest.raises(OSError, match="disk full"):
        cached_anatomy(PERSON, tmp_path)
    assert list(tmp_path.iterdir()) == []


values = st.one_of(
    st.integers(0, 255).map(lambda step: np.float32(step) / np.float32(255)),
    st.integers(-40000, 40000).map(np.float32),
    st.floats(width=16, allow_nan=False).map(np.float32),
    st.floats(width=32, allow_nan=False).map(np.float32),
)


@given(st.lists(values, min_size=1, max_size=30))
def test_every_coding_gives_back_the_same_bits(numbers: list[np.float32]) -> None:
    original = np.array(numbers, dtype=np.float32).reshape(-1, 1, 1)
    coding, coded = cache._encode(original)
    assert cache._decode(coded, coding).tobytes() == original.tobytes()


@pytest.mark.parametrize(
    ("numbers", "coding"),
    [([0, 1, 0.2], "shares"), ([-1000, 40], "int16"), ([-1.5, 2.25], "float16"), ([0.1], "as is")],
)
def test_the_narrowest_coding_is_taken(numbers: list[float], coding: str) -> None:
    chosen, _ = cache._encode(np.array(numbers, dtype=np.float32).reshape(-1, 1, 1))
    assert chosen == coding
