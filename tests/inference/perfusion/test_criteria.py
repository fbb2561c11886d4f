"""DEFUSE 3 and EXTEND: their limits, and what holds without a core."""

import pytest

from inference.perfusion.criteria import selection_criteria
from inference.results import Measurement


def judged(core: float | None, hypoperfused: float | None) -> tuple[bool | None, bool | None]:
    both = core is not None and hypoperfused is not None
    mismatch = hypoperfused - core if both else None  # type: ignore[operator]
    ratio = hypoperfused / core if both and core else None  # type: ignore[operator]
    found = selection_criteria(
        (
            Measurement("core_volume", "Core", core, "mL"),
            Measurement("mismatch_volume", "Mismatch", mismatch, "mL"),
            Measurement("mismatch_ratio", "Mismatch ratio", ratio, "1"),
        )
    )
    assert [criterion.name for criterion in found] == ["defuse_3", "extend"]
    assert all(criterion.inputs["core_volume"] == core for criterion in found)
    return found[0].met, found[1].met


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
    assert judged(None, None) == (None, None)
