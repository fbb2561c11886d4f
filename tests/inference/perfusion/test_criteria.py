"""DEFUSE 3 and EXTEND: their limits, and what holds without a core."""

import pytest

from inference.perfusion.criteria import selection_criteria
from inference.results import Measurement


def judged(core: float, hypoperfused: float) -> tuple[bool | None, bool | None]:
    ratio = hypoperfused / core if core else None
    defuse_3, extend = selection_criteria(measured(core, hypoperfused - core, ratio))
    assert (defuse_3.name, extend.name) == ("defuse_3", "extend")
    assert defuse_3.inputs["core_volume"] == core
    return defuse_3.met, extend.met


def measured(
    core: float | None, mismatch: float | None, ratio: float | None
) -> tuple[Measurement, ...]:
    return (
        Measurement("core_volume", "Core", core, "mL"),
        Measurement("mismatch_volume", "Mismatch", mismatch, "mL"),
        Measurement("mismatch_ratio", "Mismatch ratio", ratio, "1"),
    )


@pytest.mark.parametrize(
    ("core", "hypoperfused", "defuse_3", "extend"),
    [
        (10, 18, False, False),  # 8 mL of mismatch are too little for both
        (10, 21, False, True),
        (20, 36, True, True),
        (20, 35, False, True),  # 15 mL, but a ratio of 1.75 only
        (69.9, 200, True, True),
        (70, 200, False, False),
        (0, 0, False, False),  # a healthy brain meets nothing
        (0, 15, True, True),
        (0, 10, False, False),
        (60, 72, False, False),  # EXTEND asks for more than 1.2
        (60, 72.6, False, True),
    ],
)
def test_limits(core: float, hypoperfused: float, defuse_3: bool, extend: bool) -> None:
    assert judged(core, hypoperfused) == (defuse_3, extend)


def test_unknown_volumes_cannot_be_judged() -> None:
    assert [found.met for found in selection_criteria(measured(None, None, None))] == [None, None]
