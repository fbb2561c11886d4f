"""Samples in memory: the same for any number of workers, true, and of the size asked for."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.simulate import batches
from training.simulate.batches import (
    CtpStream,
    NcctStream,
    Population,
    PwiStream,
    Sample,
    SampleGrid,
    Stream,
    loader,
)
from training.simulate.cohort import SPLITS, anatomy_seeds
from training.simulate.pathology.head import BloodKind
from training.simulate.pathology.patient import Patient
from training.simulate.scanner import Scanner


class Light(Stream):
    """A stream of numbers instead of patients."""

    kind = "ncct"

    def _patient_of(self, head: int) -> Any:
        return head

    def _make_scan(self, patient: Any, seed: int, scanner: Scanner) -> Any:
        volume = np.arange(4 * 8 * 8, dtype=np.int16).reshape(4, 8, 8)
        brain = (volume % 3 == 0) & (volume > 100)
        curves = {"times_s": np.arange(8.0).reshape(2, 4)}
        return batches._Scan(
            {"image": volume, "brain": brain}, curves, {"seed": seed, "head": patient}
        )


def light(count: int | None = 24, crop: tuple[int, int] | None = None, **more: Any) -> Light:
    population = Population(1, people=5, renders_per_head=2, crops_per_render=3)
    return Light(population, SampleGrid(4, 8, crop=crop), count, **more)


def numbers(samples: Any) -> list[int]:
    return [int(sample["index"]) for sample in samples]


def assert_same(first: Sample, second: Sample) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def test_neighbours_share_heads_and_scans() -> None:
    samples = list(light())
    assert numbers(samples) == list(range(24))
    assert [sample["head"] for sample in samples] == [index // 6 for index in range(24)]
    seeds = [sample["seed"] for sample in samples]
    assert seeds == [seeds[3 * (index // 3)] for index in range(24)]
    assert len(set(seeds)) == 8


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_workers_share_the_samples(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Sample] = []
    for worker in range(workers):
        monkeypatch.setattr(batches, "_worker", lambda place=(worker, workers): place)
        own = list(light(shuffle=4))
        assert len({sample["head"] for sample in own}) <= -(-4 // workers)
        found += own
    assert sorted(numbers(found)) == list(range(24))
    for sample in found:
        assert_same(sample, light().sample(int(sample["index"])))


def test_two_processes_of_torch_give_the_samples_of_one() -> None:
    alone = [sample for batch in loader(light(20), 1) for sample in batch["index"].tolist()]
    spawned: dict[int, int] = {}
    for batch in loader(light(20), 4, workers=2):
        assert batch["image"].shape[1:] == (4, 8, 8)
        spawned |= dict(zip(batch["index"].tolist(), batch["seed"].tolist(), strict=True))
    assert sorted(spawned) == sorted(alone) == list(range(20))
    assert all(seed == light().sample(index)["seed"] for index, seed in spawned.items())


def test_shuffling_changes_only_the_order() -> None:
    mixed = numbers(light(shuffle=10))
    assert sorted(mixed) == list(range(24))
    assert mixed == numbers(light(shuffle=10))
    assert sum(abs(place - index) for place, index in enumerate(mixed)) > 24


def test_a_stream_without_end() -> None:
    endless = light(None)
    assert numbers(itertools.islice(endless, 40)) == list(range(40))
    with pytest.raises(TypeError, match="no end"):
        len(endless)
    assert len(light(9)) == 9
    with pytest.raises(IndexError, match="sample 9 of 9"):
        light(9).sample(9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 23), st.integers(1, 4), st.integers(1, 8))
def test_a_piece_is_cut_around_a_voxel_of_the_brain(index: int, slices: int, rows: int) -> None:
    sample = light(crop=(slices, rows)).sample(index)
    assert sample["image"].shape == sample["brain"].shape == (slices, rows, rows)
    assert sample["brain"].any()
    first = int(sample["image"].flat[0])
    assert sample["times_s"][0, 0] == first // 64
    assert sample["times_s"].shape == (2, slices)
    whole = light().sample(index)["image"]
    z, y, x = np.unravel_index(first, whole.shape)
    np.testing.assert_array_equal(
        sample["image"], whole[z : z + slices, y : y + rows, x : x + rows]
    )


@pytest.mark.parametrize("split", SPLITS)
def test_people_are_those_of_the_split(split: str) -> None:
    samples = Light(Population(3, split, people=6), SampleGrid(4, 8))
    cases = [samples.case(head) for head in range(18)]
    pool = anatomy_seeds(3, split, 6)
    for turn in range(3):
        seeds = [case.anatomy_seed for case in cases[6 * turn : 6 * turn + 6]]
        assert sorted(filter(None, seeds)) == sorted(pool)
    assert len({case.seed for case in cases}) == 18
    assert {case.cohort for case in cases} == {"shifted" if split == "shifted" else "usual"}


@pytest.fixture
def one_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """The person whom all tests share is the whole pool."""
    monkeypatch.setattr(batches, "anatomy_seeds", lambda seed, split, count: [1])


@pytest.mark.usefixtures("one_person")
def test_head_ct() -> None:
    population = Population(4, people=1, renders_per_head=2, ich_share=1.0)
    samples = NcctStream(population, SampleGrid(12, 64, thickness_mm=10))
    first, second = samples.sample(0), samples.sample(1)
    heads = samples._patient
    assert heads is not None
    kinds = heads[1].head.blood
    for sample in (first, second):
        assert sample["image"].shape == sample["ich"].shape == (12, 64, 64)
        assert (sample["image"].dtype, sample["ich"].dtype) == (np.int16, np.uint8)
        labels = set(np.unique(sample["ich"])) - {0}
        assert labels <= {1 + list(BloodKind).index(kind) for kind in kinds}
        brain = sample["image"][sample["brain"] & (sample["ich"] == 0)]
        assert 20 < np.median(brain) < 45
        assert sample["anatomy_seed"] == 1
    assert first["ich"].any()
    assert not np.array_equal(first["image"], second["image"])
    assert first["seed"] != second["seed"]
    alone = NcctStream(population, SampleGrid(12, 64, thickness_mm=10))
    alone._patient = heads
    assert_same(alone.sample(1), second)


@pytest.fixture(scope="module")
def stroke() -> Patient:
    from training.simulate.pathology.patient import Case, make_patient
    from training.simulate.pathology.stroke import Occlusion

    return make_patient(Case(1, stroke=Occlusion.M1, side="L", mimics=()))


def of(patient: Patient, samples: Stream) -> Stream:
    samples._patient = 0, patient
    return samples


def test_ct_perfusion(stroke: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "draw_flaws", lambda seed, kind: ("truncated",))
    population = Population(5, people=1, scanners=("ge",))
    grid = SampleGrid(4, 48, thickness_mm=10, time_points=40)
    sample = of(stroke, CtpStream(population, grid)).sample(0)
    assert sample["frames"].shape == (40, 4, 48, 48)
    valid, times = sample["valid"], sample["times_s"]
    assert 8 <= valid.sum() < 40
    assert not sample["frames"][~valid].any()
    assert not times[~valid].any()
    assert np.all(np.diff(times[valid], axis=0) > 0)
    np.testing.assert_array_equal(sample["cbv"], sample["cbf"] * sample["mtt"] / np.float32(60))
    assert np.all(sample["hypoperfused"][sample["core"]])
    frames = sample["frames"][valid].astype(np.float32)
    rise = frames.max(axis=0) - frames[0]
    vessels = sample["artery"] > 0.5 * sample["artery"].max()
    assert np.median(rise[vessels]) > 2 * np.median(rise[sample["brain"]])
    brain = sample["brain"] & (sample["ich"] == 0)
    bias = np.median(frames[0][brain]) - np.median(sample["ncct_clean"][brain])
    assert -22 < bias < -6
    assert abs(np.median(sample["ncct"][brain] - sample["ncct_clean"][brain])) < 6


def test_perfusion_mr(stroke: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "draw_flaws", lambda seed, kind: ())
    population = Population(4, people=1, scanners=("siemens",))
    grid = SampleGrid(4, 32, thickness_mm=10, time_points=24, fov_mm=230.0)
    sample = of(stroke, PwiStream(population, grid)).sample(0)
    assert sample["frames"].shape == (24, 4, 32, 32)
    assert sample["frames"].dtype == sample["b1000"].dtype == np.float32
    assert sample["valid"].all()
    np.testing.assert_array_equal(sample["cbv"], sample["cbf"] * sample["mtt"] / np.float32(60))
    brain = sample["brain"]
    curve = np.array([np.median(frame[brain]) for frame in sample["frames"]])
    assert curve.min() < 0.9 * np.median(curve[3:8])
    assert np.median(sample["b1000"][brain]) < 0.7 * np.median(sample["b0"][brain])
    assert sample["ht_present"] or not sample["ht"].any()
    monkeypatch.setattr(batches, "draw_flaws", lambda seed, kind: ("weak_bolus",))
    weak = of(stroke, PwiStream(population, grid)).sample(0)
    flat = np.array([np.median(frame[weak["brain"]]) for frame in weak["frames"]])
    assert flat.min() / np.median(flat[3:8]) > curve.min() / np.median(curve[3:8])


def test_a_stream_travels_without_its_heads(stroke: Patient) -> None:
    samples = of(stroke, NcctStream(Population(4), SampleGrid(4, 48)))
    assert samples.__getstate__()["_patient"] is None
    assert samples._patient is not None
