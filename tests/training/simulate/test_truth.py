"""The truth beside a scan is stored and read back unchanged."""

import json
from pathlib import Path

import numpy as np
import pytest

from training.simulate.truth import Quantity, Truth


def test_a_round_trip_keeps_values_units_and_numbers(tmp_path: Path) -> None:
    maps = np.random.default_rng(1).random((2, 3, 4)).astype(np.float32)
    truth = Truth(
        {
            "cbf": Quantity(maps, "mL/100 g/min", "flow"),
            "core": Quantity(maps > 0.5, "1", "mask"),
        },
        {"volumes_ml": {"core": 1.25}, "side": "L"},
    )
    truth.save(tmp_path / "truth")
    read = Truth.load(tmp_path / "truth")
    assert read.numbers == truth.numbers
    for name, quantity in truth.arrays.items():
        np.testing.assert_array_equal(read.arrays[name].values, quantity.values)
        assert read.arrays[name].values.dtype == quantity.values.dtype
        assert (read.arrays[name].unit, read.arrays[name].meaning) == (
            quantity.unit,
            quantity.meaning,
        )


def test_the_document_tells_units_and_shapes_to_a_reader_of_the_file(tmp_path: Path) -> None:
    Truth({"mtt": Quantity(np.zeros((2, 3, 4)), "s", "transit time")}).save(tmp_path)
    about = json.loads((tmp_path / "truth.json").read_text())["arrays"]
    assert about == {"mtt": {"unit": "s", "shape": [2, 3, 4], "meaning": "transit time"}}


def test_equal_truths_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        Truth({"a": Quantity(np.arange(5), "1", "")}, {"n": 1}).save(tmp_path / name)
    for file in ("truth.npz", "truth.json"):
        first, second = ((tmp_path / name / file).read_bytes() for name in ("first", "second"))
        assert first == second


def test_numbers_that_json_cannot_tell_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Truth({}, {"volume_ml": float("nan")}).save(tmp_path)
