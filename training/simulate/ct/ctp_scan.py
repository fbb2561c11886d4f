"""CT perfusion of a patient, one time point at a time, with what goes wrong in practice."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from inference.geometry import Geometry
from training.simulate.arrays import BoolArray, Float32Array, FloatArray, Int16Array, stream
from training.simulate.ct.artefacts import Errors, motion_streaks
from training.simulate.ct.image import AIR_HU, Camera, add_holder, head_hu
from training.simulate.ct.placement import holder_pose, place_stack
from training.simulate.ct.protocols import CtProtocol
from training.simulate.ct.truth import CTP_TRUTH, head_to_scanner, scan_truth
from training.simulate.pathology.patient import Patient
from training.simulate.scan.bolus import Bolus, draw_bolus
from training.simulate.scan.enhancement import Enhancement
from training.simulate.scan.motion import Grade, Motion, draw_motion, no_motion
from training.simulate.scan.sampling import part_of, sample
from training.simulate.space import HEAD_SHAPE, Box, Pose, bounding_box, head_axes_mm
from training.simulate.truth import Quantity, Truth

Heads = list[tuple[slice, Float32Array]]
_MARGIN_MM = 3.0
_FEWEST = 8
# Voxels above which the unenhanced image is made anew for every time point, to save its memory.
_LARGE = 30_000_000


class Irregularity(StrEnum):
    """What can go wrong with a CT perfusion."""

    MOTION = "motion"
    TRUNCATED = "truncated"
    MISSING_FRAMES = "missing_frames"
    UNEVEN = "uneven"
    WEAK_BOLUS = "weak_bolus"
    STREAKS = "streaks"
    NOISE = "noise"


@dataclass(frozen=True, eq=False)
class CtpScan:
    """A CT perfusion.

    Parameters
    ----------
    geometry : Geometry
        Where the slices lie.
    times_s : float array, shape ``(time, slice)``
        When each slice was seen.
    protocol : CtProtocol
        How it was made; times and exposures are those of this scan.
    poses : list of Pose
        How the head lay at every time point.
    motion : Motion
        How it moved.
    bolus : Bolus
        What was injected.
    irregular : frozenset of Irregularity
        What went wrong.
    truth : Truth
        On the scan's grid, at the first pose.
    """

    geometry: Geometry
    times_s: FloatArray
    protocol: CtProtocol
    poses: list[Pose]
    motion: Motion
    bolus: Bolus
    irregular: frozenset[Irregularity]
    truth: Truth
    patient: Patient
    seed: int

    def frames(self) -> Iterator[Int16Array]:
        """Yield the images of each time point, int16 HU of shape ``(slice, row, column)``.

        One time point is in memory at a time; every call gives the same images.
        """
        return _frames(self)


def scan_ctp(
    patient: Patient,
    protocol: CtProtocol,
    seed: int,
    irregular: Collection[Irregularity | str] = (),
    *,
    truth: Sequence[str] = CTP_TRUTH,
) -> CtpScan:
    """Make a CT perfusion.

    Parameters
    ----------
    patient : Patient
        Whom.
    protocol : CtProtocol
        How, by :func:`~training.simulate.ct.protocols.draw_ctp_protocol`.
    seed : int
        Decides bolus, noise, motion and what else goes wrong.
    irregular : collection of Irregularity
        What goes wrong. Without ``motion`` the head lies still.
    truth : sequence of str
        Which arrays of truth to make; each takes time and, on thin slices, memory.
    """
    faults = frozenset(Irregularity(name) for name in irregular)
    rng = stream(seed, "ctp irregularities")
    weak = Irregularity.WEAK_BOLUS in faults
    late = weak and rng.random() < 0.5
    stretched = _stretched(protocol, rng) if Irregularity.UNEVEN in faults else protocol
    bolus = draw_bolus(
        seed, float(stretched.times_s.max()), weak=weak and not late, late=late,
        cohort=patient.person.cohort,
    )  # fmt: skip
    taken, faults = _taken(stretched, bolus, faults, rng)
    exposure = stretched.exposure[taken]
    if Irregularity.NOISE in faults:
        exposure = exposure / rng.uniform(2.5, 6)
    done = replace(stretched, times_s=stretched.times_s[taken], exposure=exposure)
    start = holder_pose(done)
    geometry = place_stack(done, patient.head.anatomy, start)
    motion = no_motion()
    if Irregularity.MOTION in faults:
        grade = Grade.MODERATE if rng.random() < 24 / 43 else Grade.LARGE
        motion = draw_motion(seed, float(np.ptp(done.times_s)), grade)
    middles = done.times_s.mean(axis=1)
    poses = [start] * len(taken)
    if not motion.still:
        poses = [motion.at(float(time), start) for time in middles - middles[0]]
    first = [poses[0]] * done.slices
    truths = scan_truth(patient, done, geometry, first, truth, done.times_s, motion)
    truths.arrays["head_to_scanner"] = head_to_scanner(poses)
    _add_curves(truths, bolus, faults, motion)
    return CtpScan(
        geometry, done.times_s, done, poses, motion, bolus, faults, truths, patient, seed
    )


def draw_irregularities(seed: int, rate: float = 0.12) -> frozenset[Irregularity]:
    """Draw what goes wrong: motion in 43 of 100 scans, each of the others at ``rate``."""
    rng = stream(seed, "which irregularities")
    chances = {Irregularity.MOTION: 0.43}
    return frozenset(fault for fault in Irregularity if rng.random() < chances.get(fault, rate))


def _stretched(protocol: CtProtocol, rng: np.random.Generator) -> CtProtocol:
    """Make the intervals uneven: slower from some time on, or jittered."""
    times, starts = protocol.times_s, protocol.times_s.min(axis=1)
    gaps = np.diff(starts)
    if rng.random() < 0.5:
        slower = np.arange(len(gaps)) >= rng.uniform(0.4, 0.7) * len(gaps)
        gaps = gaps * np.where(slower, rng.uniform(1.5, 2.5), 1.0)
    else:
        gaps = gaps * rng.uniform(0.75, 1.6, len(gaps))
    later = starts[0] + np.concatenate([[0.0], np.cumsum(gaps)]) - starts
    return replace(protocol, times_s=times + np.maximum.accumulate(np.maximum(later, 0))[:, None])


def _taken(
    protocol: CtProtocol,
    bolus: Bolus,
    faults: frozenset[Irregularity],
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.intp], frozenset[Irregularity]]:
    """Indices of the time points that there are, and the faults that really came about."""
    starts = protocol.times_s.min(axis=1)
    taken = np.arange(len(starts))
    if Irregularity.TRUNCATED in faults:
        if rng.random() < 0.75:
            kept = starts <= bolus.arrival_s + rng.uniform(9, 18)
            taken = taken[kept | (taken < _FEWEST)]
        else:
            kept = starts >= bolus.arrival_s + rng.uniform(1, 4)
            taken = taken[kept | (taken >= len(starts) - _FEWEST)]
        if len(taken) == len(starts):
            faults -= {Irregularity.TRUNCATED}
    if len(taken) <= _FEWEST:
        faults -= {Irregularity.MISSING_FRAMES}
    if Irregularity.MISSING_FRAMES in faults:
        lost = min(int(rng.integers(1, 5)), len(taken) - _FEWEST)
        first = int(rng.integers(1, len(taken) - lost))
        together = rng.random() < 0.5
        gone = (
            np.arange(first, first + lost)
            if together
            else rng.choice(np.arange(1, len(taken)), lost, replace=False)
        )
        taken = np.delete(taken, gone)
    return taken, faults


def _add_curves(
    truth: Truth, bolus: Bolus, faults: frozenset[Irregularity], motion: Motion
) -> None:
    for name, curve in (("arterial_hu", bolus.arterial), ("venous_hu", bolus.venous)):
        meaning = f"enhancement of a large {name.partition('_')[0]} vessel every {bolus.step_s} s"
        truth.arrays[name] = Quantity(curve * bolus.peak_hu, "HU", meaning)
    truth.numbers["irregular"] = sorted(str(fault) for fault in faults)
    truth.numbers["motion_grade"] = str(motion.grade)
    truth.numbers["arterial_peak_hu"] = bolus.peak_hu


def _frames(scan: CtpScan) -> Iterator[Int16Array]:
    """Images, time point by time point."""
    protocol, geometry, head = scan.protocol, scan.geometry, scan.patient.head
    baseline, box = head_hu(head, protocol)
    first = [scan.poses[0]] * protocol.slices
    thin = protocol.thicknesses_mm
    still = sample([baseline], geometry, first, thin, box=box, outside=AIR_HU)[0]
    camera = Camera.set_up(protocol, geometry, head, still, first, stream(scan.seed, "ctp errors"))
    whole = not scan.motion.still or still.size > _LARGE
    if whole:
        still = np.empty(0, dtype=np.float32)
    contrast = _Contrast(scan, box if whole else None)
    streaked = _streaked_frames(scan)
    for index, pose in enumerate(scan.poses):
        heads = contrast.heads(index, pose, baseline if whole else None)

        def slab(chosen: slice, heads: Heads = heads, pose: Pose = pose) -> Float32Array:
            image = contrast.image(heads, chosen, pose)
            if whole:
                add_holder(image, camera.holder)
            else:
                image += still[chosen]
            return image

        errors = camera.errors
        if index in streaked:
            errors = _with_streaks(errors, scan, baseline, pose, index)
        rng = stream(scan.seed, "ctp noise", index)
        yield camera.develop(slab, rng, exposure=float(protocol.exposure[index]), errors=errors)


class _Contrast:
    """Contrast in the head at the time of every slice, and its image.

    ``head_box`` is where the head is, for images with the baseline; None for contrast alone.
    """

    def __init__(self, scan: CtpScan, head_box: Box | None) -> None:
        self.scan = scan
        self.enhancement = Enhancement(
            scan.patient.head, scan.patient.perfusion, scan.bolus, where=_covered(scan)
        )
        self._outside = AIR_HU
        if head_box is None:
            reached = np.zeros(HEAD_SHAPE, dtype=bool)
            reached.ravel()[self.enhancement.voxels] = True
            head_box, self._outside = bounding_box(reached), 0.0
        self._box = head_box
        self._pose: Pose | None = None
        self._which = np.zeros(0, dtype=np.int64)

    def heads(self, index: int, pose: Pose, baseline: Float32Array | None) -> Heads:
        """HU that contrast adds to the head at a time point, on top of the baseline if given.

        One head for all slices, each at its time; where a table takes two positions in turn, one
        head for each, so that neither sees the other's time at the border.
        """
        scan, voxels = self.scan, self.enhancement.voxels
        times = scan.times_s[index]
        groups = _same_time(times)
        if len(groups) > 2:
            groups = [slice(0, len(times))]
        heads = []
        for chosen in groups:
            which = self._slices(pose) if len(groups) == 1 else np.full(len(voxels), chosen.start)
            added = self.enhancement.at(times, which)
            added *= np.float32(scan.bolus.peak_hu)
            volume = np.zeros(HEAD_SHAPE, dtype=np.float32) if baseline is None else baseline.copy()
            volume.ravel()[voxels] += added
            heads.append((chosen, volume))
        return heads

    def image(self, heads: Heads, chosen: slice, pose: Pose) -> Float32Array:
        """Image of some slices of what :meth:`heads` gave, on the scan's grid."""
        scan = self.scan
        rows, columns = slice(0, scan.geometry.rows), slice(0, scan.geometry.columns)
        images = []
        for whole, volume in heads:
            slices = slice(max(chosen.start, whole.start), min(chosen.stop, whole.stop))
            if slices.start >= slices.stop:
                continue
            part = part_of(scan.geometry, slices, rows, columns)
            thin = scan.protocol.thicknesses_mm[slices]
            poses = [pose] * len(thin)
            found = sample([volume], part, poses, thin, box=self._box, outside=self._outside)
            images.append(found[0])
        return images[0] if len(images) == 1 else np.concatenate(images)

    def _slices(self, pose: Pose) -> npt.NDArray[np.int64]:
        """Which slice every voxel lies in, or nearest to."""
        if self._pose is not pose:
            heights = _heights_mm(self.scan.geometry, pose).ravel()[self.enhancement.voxels]
            positions = self.scan.geometry.positions_mm @ self.scan.geometry.normal
            borders = (positions[1:] + positions[:-1]) / 2
            self._which = np.searchsorted(borders, heights).astype(np.int64)
            self._pose = pose
        return self._which


def _same_time(times_s: FloatArray) -> list[slice]:
    """Runs of neighbouring slices that are seen at the same time."""
    borders = [0, *(np.flatnonzero(np.diff(times_s)) + 1), len(times_s)]
    return [slice(int(a), int(b)) for a, b in pairwise(borders)]


def _heights_mm(geometry: Geometry, pose: Pose) -> Float32Array:
    """Height along the slice normal of every voxel of the head grid, in the scanner."""
    z, y, x = head_axes_mm()
    across = pose.rotation.T @ geometry.normal
    shift = float(geometry.normal @ pose.shift_mm)
    a, b, c = (np.float32(value) for value in across)
    return np.asarray(c * z + b * y + a * x + np.float32(shift), dtype=np.float32)


def _covered(scan: CtpScan) -> BoolArray:
    """Voxels of the head that the scan sees at any of its poses."""
    positions = scan.geometry.positions_mm @ scan.geometry.normal
    margin = scan.protocol.thickness_mm / 2 + _MARGIN_MM
    heights = _heights_mm(scan.geometry, scan.poses[0])
    if not scan.motion.still:
        margin += 12.0
    return np.asarray((heights > positions[0] - margin) & (heights < positions[-1] + margin))


def _streaked_frames(scan: CtpScan) -> frozenset[int]:
    """Which time points have streaks."""
    if Irregularity.STREAKS not in scan.irregular:
        return frozenset()
    rng = stream(scan.seed, "streaked frames")
    count = int(rng.integers(2, 6))
    first = int(rng.integers(0, max(1, len(scan.poses) - count)))
    return frozenset(range(first, first + count))


def _with_streaks(
    errors: Errors, scan: CtpScan, baseline: Float32Array, pose: Pose, index: int
) -> Errors:
    """The head moves for a part of this rotation and comes back."""
    rng = stream(scan.seed, "streaks", index)
    jolt = Pose.from_angles(rng.normal(0, (2.0, 1.0, 2.0)).tolist(), rng.normal(0, 1.5, 3).tolist())
    grid = errors.grid(scan.geometry)
    thin = scan.protocol.thicknesses_mm[errors.slices]
    still, moved = (
        sample([baseline], grid, [one] * len(thin), thin)[0] for one in (pose, jolt.after(pose))
    )
    start = float(rng.uniform(0, 0.8))
    arc = (start, start + float(rng.uniform(0.05, 0.2)))
    return errors.plus(motion_streaks(still, moved, grid.pixel_spacing_mm[0], arc))
