"""Scan a patient by CT: head CT without contrast, and CT perfusion."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from inference.geometry import Geometry
from training.simulate.arrays import Float32Array, FloatArray, Int16Array, stream
from training.simulate.ct.artefacts import Errors, motion_streaks
from training.simulate.ct.ctp_scan import CtpScan, Irregularity, scan_ctp
from training.simulate.ct.image import AIR_HU, Camera, head_hu
from training.simulate.ct.placement import holder_pose, place_stack
from training.simulate.ct.protocols import CtProtocol, draw_ncct_protocol
from training.simulate.ct.truth import NCCT_TRUTH, scan_truth
from training.simulate.pathology.head import Head
from training.simulate.pathology.patient import Patient
from training.simulate.scan.motion import Grade, Motion, draw_motion, no_motion
from training.simulate.scan.sampling import sample
from training.simulate.scanner import SCANNERS
from training.simulate.space import Pose
from training.simulate.truth import Truth

__all__ = [
    "CtpScan", "Irregularity", "NcctScan", "paired_ncct", "scan_ctp", "scan_ncct",
]  # fmt: skip

_POSE_STEP = 0.1
_STREAK_MM = 0.4
_REGISTRATION_MM_DEG = 0.2


@dataclass(frozen=True, eq=False)
class NcctScan:
    """A head CT without contrast.

    Parameters
    ----------
    volume : int16 array, shape ``(slice, row, column)``
        HU.
    geometry : Geometry
        Where the slices lie.
    times_s : float array, shape ``(slice,)``
        When each slice was seen.
    thicknesses_mm : float array, shape ``(slice,)``
        Slice thickness.
    protocol : CtProtocol
        How it was made.
    pose : Pose
        How the head lay at the start.
    poses : list of Pose
        How it lay for every slice.
    motion : Motion
        How it moved.
    truth : Truth
        On the scan's grid, at every slice's own pose, so that masks lie on what the image shows.
    """

    volume: Int16Array
    geometry: Geometry
    times_s: FloatArray
    thicknesses_mm: FloatArray
    protocol: CtProtocol
    pose: Pose
    poses: list[Pose]
    motion: Motion
    truth: Truth


def scan_ncct(
    patient: Patient,
    protocol: CtProtocol,
    seed: int,
    *,
    grade: Grade | None = None,
    truth: Sequence[str] = NCCT_TRUTH,
) -> NcctScan:
    """Make a head CT without contrast.

    Parameters
    ----------
    patient : Patient
        Whom.
    protocol : CtProtocol
        How, by :func:`~training.simulate.ct.protocols.draw_ncct_protocol`.
    seed : int
        Decides noise and motion.
    grade : Grade or None
        How much the patient moves; None draws it.
    truth : sequence of str
        Which arrays of truth to make; each takes time.
    """
    start = holder_pose(protocol)
    geometry = place_stack(protocol, patient.head.anatomy, start)
    times = protocol.times_s[0] - protocol.times_s.min()
    motion = draw_motion(seed, float(times.max()) + protocol.rotation_s, grade)
    poses = _slice_poses(motion, times, start)
    head = patient.head
    hu, baseline = _baseline(head, protocol, geometry, poses)
    with ThreadPoolExecutor(1) as beside:
        image = beside.submit(
            _image, head, hu, baseline, protocol, geometry, poses, seed, motion, times
        )
        truths = scan_truth(
            patient, protocol, geometry, poses, truth, times, motion, baseline_hu=baseline
        )
        volume = image.result()
    return NcctScan(
        volume, geometry, times, protocol.thicknesses_mm, protocol, start, poses, motion, truths
    )


def paired_ncct(
    patient: Patient, ctp_scan: CtpScan, seed: int, protocol: CtProtocol | None = None
) -> Int16Array:
    """Make the head CT that was taken before a perfusion scan, registered to its grid.

    Another kernel, tube voltage, noise and beam hardening, and what registration leaves of
    misplacement (0.2 mm and 0.2 degrees).

    Parameters
    ----------
    patient, ctp_scan
        Whom, and the perfusion scan whose grid and first pose are taken.
    seed : int
        Decides everything.
    protocol : CtProtocol or None
        Of the head CT; drawn when None, of the same vendor's scanners in seven of ten.

    Returns
    -------
    int16 array, shape ``(slice, row, column)``
        HU.
    """
    ctp = ctp_scan.protocol
    rng = stream(seed, "paired ncct")
    scanner = ctp.scanner if rng.random() < 0.7 else SCANNERS[int(rng.integers(len(SCANNERS)))]
    residual = rng.normal(0, _REGISTRATION_MM_DEG, 6).tolist()
    if protocol is None:
        protocol = draw_ncct_protocol(
            seed, scanner, ctp.cohort, slices=ctp.slices, matrix=ctp.rows, fov_mm=ctp.fov_mm,
            thickness_mm=ctp.thickness_mm, spacing_mm=ctp.spacing_mm, tilt_deg=0.0,
        )  # fmt: skip
    protocol = replace(protocol, holder=ctp.holder, pose_deg=ctp.pose_deg)
    pose = Pose.from_angles(residual[:3], residual[3:]).after(ctp_scan.poses[0])
    poses = [pose] * ctp.slices
    still = np.zeros(ctp.slices)
    hu, baseline = _baseline(patient.head, protocol, ctp_scan.geometry, poses)
    return _image(
        patient.head, hu, baseline, protocol, ctp_scan.geometry, poses, seed, no_motion(), still
    )


def _slice_poses(motion: Motion, times_s: FloatArray, start: Pose) -> list[Pose]:
    """Pose of every slice; neighbours that moved by less than 0.1 mm and degrees share one."""
    if motion.still:
        return [start] * len(times_s)
    steps = np.rint(motion.parameters(times_s) / _POSE_STEP).astype(int)
    known: dict[tuple[int, ...], Pose] = {}
    poses = []
    for step, time in zip(steps, times_s, strict=True):
        key = tuple(int(value) for value in step)
        poses.append(known.setdefault(key, motion.at(float(time), start)))
    return poses


def _baseline(
    head: Head, protocol: CtProtocol, geometry: Geometry, poses: list[Pose]
) -> tuple[Float32Array, Float32Array]:
    """HU of the head, and of the scan before noise and errors."""
    hu, box = head_hu(head, protocol)
    baseline = sample([hu], geometry, poses, protocol.thicknesses_mm, box=box, outside=AIR_HU)[0]
    return hu, baseline


def _image(
    head: Head,
    hu: Float32Array,
    baseline: Float32Array,
    protocol: CtProtocol,
    geometry: Geometry,
    poses: list[Pose],
    seed: int,
    motion: Motion,
    times_s: FloatArray,
) -> Int16Array:
    """HU with noise and errors."""
    volume = baseline.copy()
    rng = stream(seed, "ncct errors")
    camera = Camera.set_up(protocol, geometry, head, volume, poses, rng)
    errors = camera.errors
    if not motion.still:
        errors = _with_streaks(errors, hu, protocol, geometry, poses, motion, times_s, rng)
    return camera.develop(volume.__getitem__, stream(seed, "ncct noise"), errors=errors)


def _with_streaks(
    errors: Errors,
    hu: Float32Array,
    protocol: CtProtocol,
    geometry: Geometry,
    poses: list[Pose],
    motion: Motion,
    times_s: FloatArray,
    rng: np.random.Generator,
) -> Errors:
    """Add the streaks of slices during whose rotation the head moved."""
    chosen = errors.slices
    before = times_s[chosen]
    after = before + protocol.rotation_s / 2
    change = np.abs(motion.parameters(after) - motion.parameters(before)).sum(axis=1)
    moving = np.flatnonzero(change > _STREAK_MM)
    if not moving.size:
        return errors
    later = _slice_poses(motion, after[moving], holder_pose(protocol))
    now = [poses[chosen][index] for index in moving]
    grid = errors.grid(geometry)
    grid = replace(grid, positions_mm=grid.positions_mm[moving])
    thin = protocol.thicknesses_mm[chosen][moving]
    still, moved = (sample([hu], grid, several, thin)[0] for several in (now, later))
    start, end = sorted(rng.uniform(0, 1, 2).tolist())
    extra = np.zeros_like(errors.hu)
    extra[moving] = motion_streaks(still, moved, grid.pixel_spacing_mm[0], (start, end))
    return errors.plus(extra)
