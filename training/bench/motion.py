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
    frames, scan_frames : int
        Frames that were registered, and those of the scan.
    register_s : float
        Seconds of the registration.
    correct_s : float or None
        Seconds that it took to correct the images; None where none was.
    scan_s : float
        Seconds of a whole scan: both, the first scaled up where not all frames were registered.
    moved_mm : float
        How far the frames really moved, in the worst one.
    median_mm, worst_mm : float
        Distance from the true place; on a still head, what was invented.
    dropped : int
        Frames that were given up; they do not count for the distances.
    """

    engine: str
    head: Head
    frames: int
    scan_frames: int
    register_s: float
    correct_s: float | None
    scan_s: float
    moved_mm: float
    median_mm: float
    worst_mm: float
    dropped: int


def compare_motion(scan: CtpScan, series: TimeSeries, frames: int, threads: int) -> list[MotionRow]:
    """Register a scan with StrokeNode, and some of its frames with SimpleITK.

    Parameters
    ----------
    scan : CtpScan
        One volume per time point, on even slices.
    series : TimeSeries
        Its images.
    frames : int
        How many frames SimpleITK gets, evenly over the scan.
    threads : int
        Frames that SimpleITK gets at a time.
    """
    start = time.perf_counter()
    motion = estimate_motion(series)
    found = time.perf_counter()
    correct_motion(series, motion)
    corrected = time.perf_counter()
    kept = np.setdiff1d(np.arange(len(series.data)), motion.dropped)
    own = MotionRow(
        engine=OWN, frames=len(kept), dropped=len(motion.dropped),
        register_s=found - start, correct_s=corrected - found, scan_s=corrected - start,
        **_errors(scan, motion.reference, kept, found_steps(motion)[kept]),
    )  # fmt: skip
    others = np.delete(np.arange(len(series.data)), motion.reference)
    chosen = others[np.linspace(0, len(others) - 1, frames).round().astype(int)]
    start = time.perf_counter()
    steps = register_frames(series, motion.reference, chosen.tolist(), threads)
    seconds = time.perf_counter() - start
    theirs = MotionRow(
        engine=SIMPLEITK, frames=len(chosen), dropped=0,
        register_s=seconds, correct_s=None, scan_s=seconds * len(others) / len(chosen),
        **_errors(scan, motion.reference, chosen, steps),
    )  # fmt: skip
    return [own, theirs]


class _Errors(TypedDict):
    """The part of a row that poses decide."""

    head: Head
    scan_frames: int
    moved_mm: float
    median_mm: float
    worst_mm: float


def _errors(
    scan: CtpScan, reference: int, frames: npt.NDArray[np.intp], steps: Float64Array
) -> _Errors:
    """How far the steps from the reference to frames are from the true ones."""
    back = np.linalg.inv(scan.poses[reference].matrix)
    true = np.stack([scan.poses[frame].matrix @ back for frame in frames])
    points = brain_points_mm(scan)
    there = moved_mm(true, points)
    off = np.linalg.norm(moved_mm(steps, points) - there, axis=2).mean(axis=1)
    return _Errors(
        head="still" if scan.motion.still else "moving",
        scan_frames=len(scan.poses),
        moved_mm=float(np.linalg.norm(there - points, axis=2).mean(axis=1).max()),
        median_mm=float(np.median(off)),
        worst_mm=float(off.max()),
    )


def found_steps(motion: Motion) -> Float64Array:
    """Matrices from points of the reference to where they lie in the frames, ``(time, 4, 4)``."""
    steps = np.tile(np.eye(4), (len(motion.parameters), 1, 1))
    turns = Rotation.from_euler("xyz", motion.parameters[:, 3:], degrees=True).as_matrix()
    steps[:, :3, :3] = turns
    steps[:, :3, 3] = motion.parameters[:, :3] + motion.centre_mm - turns @ motion.centre_mm
    return steps
