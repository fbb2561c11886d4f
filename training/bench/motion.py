"""Motion correction against the true poses of a simulated head, beside SimpleITK."""

import time
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from inference.dicom.volumes import TimeSeries
from inference.preprocess.motion import Motion, correct_motion, estimate_motion
from training.bench.scans import brain_points_mm, moved_mm
from training.bench.simpleitk_motion import register_frames
from training.simulate.ct.ctp_scan import CtpScan

Float64Array = npt.NDArray[np.float64]
Head = Literal["moving", "still"]

OWN, SIMPLEITK = "StrokeNode", "SimpleITK"


@dataclass(frozen=True)
class MotionRow:
    """How well poses were found; distances are means over the brain, in mm.

    Parameters
    ----------
    engine, head
        Who registered whom.
    frames, dropped : int
        Frames of the scan, and those that were given up, which do not count for the distances.
    moved_mm : float
        How far the head really moved, in the worst of all frames.
    median_mm, worst_mm : float
        Distance from the true place; on a still head, what was invented.
    register_s : float
        Seconds of the registration.
    correct_s : float or None
        Seconds that it took to correct the images; None where none was.
    """

    engine: str
    head: Head
    frames: int
    dropped: int
    moved_mm: float
    median_mm: float
    worst_mm: float
    register_s: float
    correct_s: float | None


def compare_motion(scan: CtpScan, series: TimeSeries, threads: int) -> list[MotionRow]:
    """Register a scan with StrokeNode and with SimpleITK, both to StrokeNode's reference.

    Parameters
    ----------
    scan : CtpScan
        One volume per time point, on even slices.
    series : TimeSeries
        Its images.
    threads : int
        Frames that SimpleITK gets at a time.
    """
    start = time.perf_counter()
    motion = estimate_motion(series)
    found = time.perf_counter()
    correct_motion(series, motion)
    corrected = time.perf_counter()
    frames = range(len(series.data))
    steps = register_frames(series, motion.reference, frames, threads)
    registered = time.perf_counter()
    own = _errors(scan, motion.reference, found_steps(motion), motion.dropped)
    theirs = _errors(scan, motion.reference, steps, ())
    return [
        MotionRow(engine=OWN, register_s=found - start, correct_s=corrected - found, **own),
        MotionRow(engine=SIMPLEITK, register_s=registered - corrected, correct_s=None, **theirs),
    ]


class _Errors(TypedDict):
    """The part of a row that poses decide."""

    head: Head
    frames: int
    dropped: int
    moved_mm: float
    median_mm: float
    worst_mm: float


def _errors(
    scan: CtpScan, reference: int, steps: Float64Array, dropped: tuple[int, ...]
) -> _Errors:
    """How far the steps from the reference to all frames are from the true ones."""
    back = np.linalg.inv(scan.poses[reference].matrix)
    points = brain_points_mm(scan)
    there = moved_mm(np.stack([pose.matrix @ back for pose in scan.poses]), points)
    off = np.linalg.norm(moved_mm(steps, points) - there, axis=2).mean(axis=1)
    kept = np.delete(off, [*dropped, reference])
    return _Errors(
        head="still" if scan.motion.still else "moving",
        frames=len(scan.poses),
        dropped=len(dropped),
        moved_mm=float(np.linalg.norm(there - points, axis=2).mean(axis=1).max()),
        median_mm=float(np.median(kept)),
        worst_mm=float(kept.max()),
    )


def found_steps(motion: Motion) -> Float64Array:
    """Matrices from points of the reference to where they lie in the frames, ``(time, 4, 4)``."""
    steps = np.tile(np.eye(4), (len(motion.parameters), 1, 1))
    turns = Rotation.from_euler("xyz", motion.parameters[:, 3:], degrees=True).as_matrix()
    steps[:, :3, :3] = turns
    steps[:, :3, 3] = motion.parameters[:, :3] + motion.centre_mm - turns @ motion.centre_mm
    return steps
