import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.simulate.scan.motion import (
    MAX_ANGLE_DEG,
    MAX_SHIFT_MM,
    PIVOT_MM,
    Grade,
    displacement_mm,
    draw_grade,
    draw_motion,
    no_motion,
)
from training.simulate.space import Pose

SEEDS = st.integers(0, 2**31 - 1)


def test_patients_move_as_often_as_stroke_patients_do() -> None:
    grades = [draw_grade(seed) for seed in range(1500)]

    shares = [np.mean([grade is wanted for grade in grades]) for wanted in Grade]

    np.testing.assert_allclose(shares, [0.57, 0.24, 0.19], atol=0.035)


@settings(deadline=None)
@given(SEEDS, st.sampled_from(list(Grade)), st.floats(1, 70))
def test_motion_keeps_to_its_grade_and_limits(seed: int, grade: Grade, duration: float) -> None:
    motion = draw_motion(seed, duration, grade)

    largest = displacement_mm(motion).max()
    assert np.abs(motion.shift_mm).max() <= MAX_SHIFT_MM + 1e-9
    assert np.abs(motion.angles_deg).max() <= MAX_ANGLE_DEG + 1e-9
    if grade is Grade.NEGLIGIBLE:
        assert largest <= 0.55
    elif grade is Grade.MODERATE:
        assert 0.9 <= largest <= 3.1
    else:
        assert 2 <= largest <= 9.5


@settings(deadline=None)
@given(SEEDS)
def test_motion_starts_from_the_initial_pose(seed: int) -> None:
    initial = Pose.from_angles((3, -2, 5), (1, 2, 3))
    motion = draw_motion(seed, 45, Grade.LARGE)

    pose = motion.at(0.0, initial)

    np.testing.assert_allclose(pose.rotation, initial.rotation, atol=1e-12)
    np.testing.assert_allclose(pose.shift_mm, initial.shift_mm, atol=1e-9)


def test_heads_nod_more_than_they_roll_or_shake() -> None:
    swings = np.array(
        [np.ptp(draw_motion(seed, 45, Grade.LARGE).angles_deg, axis=0) for seed in range(120)]
    )

    nod, roll, shake = np.median(swings, axis=0)

    assert nod > 1.5 * roll
    assert nod > 1.5 * shake


def test_the_head_turns_about_its_pivot_and_the_pivot_moves_by_the_shift() -> None:
    initial = Pose.from_angles((0, 0, 10), (4, 0, -2))
    motion = draw_motion(5, 30, Grade.LARGE)
    pivot = initial.to_scanner(np.array(PIVOT_MM))

    moved = motion.at(17.0, initial).to_scanner(np.array(PIVOT_MM))

    np.testing.assert_allclose(moved - pivot, motion.parameters(np.array([17.0]))[0, :3])


def test_half_of_the_negligible_ones_lie_still() -> None:
    still = [draw_motion(seed, 45, Grade.NEGLIGIBLE).still for seed in range(200)]

    assert 0.4 < np.mean(still) < 0.6
    assert no_motion().still


def test_one_seed_gives_one_motion() -> None:
    first, again, other = (draw_motion(seed, 45, Grade.LARGE) for seed in (4, 4, 6))

    assert first.angles_deg.tobytes() == again.angles_deg.tobytes()
    assert first.angles_deg.tobytes() != other.angles_deg.tobytes()
    assert first.at(9.0, Pose.from_angles()).shift_mm == pytest.approx(
        again.at(9.0, Pose.from_angles()).shift_mm
    )
