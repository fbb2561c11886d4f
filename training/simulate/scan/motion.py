"""How a head moves while it is scanned, rigidly, and the truth of it.

Patients with stroke lie still in about 57 of 100 scans, move a little in 24 and much in 19. Heads
nod more than they roll or shake, about a point where the occiput rests; they drift, and they jerk.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np

from training.simulate.arrays import FloatArray, stream
from training.simulate.space import Pose

# Where the head turns, in head coordinates: the rest of the occiput.
PIVOT_MM = (0.0, 60.0, -50.0)
MAX_SHIFT_MM = 6.0
MAX_ANGLE_DEG = 6.0
_GRADES = (0.57, 0.24, 0.19)
_PLAY_DEG = (1.0, 0.4, 0.5)
_PLAY_MM = (0.5, 0.4, 0.8)
_BRAIN_RADII_MM = (68.0, 85.0, 65.0)
_BRAIN_CENTRE_MM = (0.0, 17.0, 10.0)
_STEP_S = 0.1


class Grade(StrEnum):
    """How much a patient moves: largest displacement of the brain below 0.5, of 1-3, of 3-9 mm."""

    NEGLIGIBLE = "negligible"
    MODERATE = "moderate"
    LARGE = "large"


_DISPLACEMENT_MM: dict[Grade, tuple[float, float]] = {
    Grade.NEGLIGIBLE: (0.0, 0.5),
    Grade.MODERATE: (1.0, 3.0),
    Grade.LARGE: (3.0, 9.0),
}


@dataclass(frozen=True, eq=False)
class Motion:
    """Rigid motion against the pose at time 0.

    Parameters
    ----------
    grade : Grade
        How much.
    times_s : array, shape ``(sample,)``
        Ascending.
    angles_deg, shift_mm : arrays, shape ``(sample, 3)``
        Turns about x, y, z through the pivot, and shift of the pivot.
    """

    grade: Grade
    times_s: FloatArray
    angles_deg: FloatArray
    shift_mm: FloatArray

    def parameters(self, times_s: FloatArray) -> FloatArray:
        """Shift (mm) and turns (degrees) at times of shape ``(n,)``: shape ``(n, 6)``."""
        both = np.concatenate([self.shift_mm, self.angles_deg], axis=1).T
        return np.stack([np.interp(times_s, self.times_s, one) for one in both], axis=1)

    def at(self, time_s: float, initial: Pose) -> Pose:
        """The head's pose at a time, when it lay at ``initial`` at time 0."""
        x, y, z, *angles = self.parameters(np.array([time_s]))[0]
        turn = Pose.from_angles(angles)
        pivot = initial.to_scanner(np.array(PIVOT_MM))
        shift = pivot - turn.rotation @ pivot + np.array([x, y, z])
        return Pose(turn.rotation, shift).after(initial)

    @cached_property
    def still(self) -> bool:
        """Whether nothing moves at all."""
        return not (self.angles_deg.any() or self.shift_mm.any())


def no_motion() -> Motion:
    """A head that lies still."""
    return Motion(Grade.NEGLIGIBLE, np.zeros(1), np.zeros((1, 3)), np.zeros((1, 3)))


def draw_grade(seed: int) -> Grade:
    """Draw how much a patient moves, with the frequencies of stroke patients."""
    return tuple(Grade)[int(stream(seed, "motion grade").choice(3, p=_GRADES))]


def draw_motion(seed: int, duration_s: float, grade: Grade | None = None) -> Motion:
    """Draw the motion of a head over a scan.

    Parameters
    ----------
    seed : int
        Decides the motion.
    duration_s : float
        Of the scan.
    grade : Grade or None
        How much; None draws it. Half of the negligible ones do not move at all.
    """
    rng = stream(seed, "motion")
    grade = grade or draw_grade(seed)
    if grade is Grade.NEGLIGIBLE and rng.random() < 0.5:
        return no_motion()
    duration = max(duration_s, _STEP_S)
    times = np.linspace(0, duration, int(np.ceil(duration / _STEP_S)) + 1)
    spread = np.array([*_PLAY_MM, *_PLAY_DEG])
    path = rng.uniform(0.2, 1) * _drift(rng, times) * spread
    jerks = int(rng.integers(0, 3) if grade is not Grade.LARGE else rng.integers(1, 5))
    for _ in range(jerks):
        path += _jerk(rng, times, duration)[:, None] * rng.normal(0, spread)
    if rng.random() < 0.15:
        path += _tremor(rng, times)[:, None] * rng.normal(0, 0.3 * spread)
    path -= path[0]
    target = rng.uniform(*_DISPLACEMENT_MM[grade])
    motion = Motion(grade, times, path[:, 3:], path[:, :3])
    return _scaled(motion, target)


def displacement_mm(motion: Motion) -> FloatArray:
    """Largest distance that a point at the brain's surface moved from time 0, shape ``(sample,)``.

    Over the ends of the three axes of an ellipsoid about the brain.
    """
    from scipy.spatial.transform import Rotation

    centre, pivot = np.array(_BRAIN_CENTRE_MM), np.array(PIVOT_MM)
    ends = np.concatenate([np.diag(_BRAIN_RADII_MM), -np.diag(_BRAIN_RADII_MM)]) + centre - pivot
    turns = Rotation.from_euler("xyz", motion.angles_deg, degrees=True).as_matrix()
    moved = np.einsum("tij,pj->tpi", turns, ends) + motion.shift_mm[:, None, :]
    return np.asarray(np.linalg.norm(moved - ends, axis=2).max(axis=1))


def _scaled(motion: Motion, target_mm: float) -> Motion:
    """Scale motion to a largest displacement, within the limits of shift and angle."""
    largest = float(displacement_mm(motion).max())
    factor = target_mm / max(largest, 1e-6)
    shift = float(np.abs(motion.shift_mm).max())
    angle = float(np.abs(motion.angles_deg).max())
    factor = min(factor, MAX_SHIFT_MM / max(shift, 1e-6), MAX_ANGLE_DEG / max(angle, 1e-6))
    return Motion(
        motion.grade, motion.times_s, motion.angles_deg * factor, motion.shift_mm * factor
    )


def _drift(rng: np.random.Generator, times: FloatArray) -> FloatArray:
    """Slow wandering, shape ``(sample, 6)``: a line and a few slow waves, of order 1."""
    share = times / times[-1]
    path = share[:, None] * rng.normal(0, 1, 6)
    for wave in (1, 2, 3):
        phase = rng.uniform(0, 2 * np.pi, 6)
        path += np.sin(2 * np.pi * wave * share[:, None] / 2 + phase) * rng.normal(0, 0.5 / wave, 6)
    return np.asarray(path)


def _jerk(rng: np.random.Generator, times: FloatArray, duration: float) -> FloatArray:
    """A quick step of height 1, in half of the cases with a return after some seconds."""
    start, rise = rng.uniform(0.05, 0.95) * duration, rng.uniform(0.1, 0.5)
    step = 1 / (1 + np.exp(-np.clip((times - start) / (rise / 4), -50, 50)))
    if rng.random() < 0.5:
        back, fall = start + rng.uniform(1, 12), rng.uniform(0.3, 2)
        step -= rng.uniform(0.5, 1) / (1 + np.exp(-np.clip((times - back) / (fall / 4), -50, 50)))
    return np.asarray(step)


def _tremor(rng: np.random.Generator, times: FloatArray) -> FloatArray:
    """Breathing or trembling: an oscillation of slowly varying height."""
    period = rng.uniform(0.8, 5)
    height = 0.5 + 0.5 * np.sin(2 * np.pi * times / rng.uniform(10, 40) + rng.uniform(0, 6))
    return np.asarray(height * np.sin(2 * np.pi * times / period + rng.uniform(0, 6)))
