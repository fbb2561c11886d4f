"""Simulated CT perfusion scans for the benchmarks, with what a perfect preparation would know."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from inference.dicom.volumes import TimeSeries
from inference.geometry import Geometry
from inference.perfusion.concentration import enhancement, measure_baseline
from inference.perfusion.deconvolution import FloatArray
from inference.preprocess.frames import common_times, resample
from inference.preprocess.motion import Motion, Slab, correct_motion
from inference.preprocess.registration import Poses
from inference.preprocess.smoothing import smooth_curves
from training.evaluate.patient_scans import series_of
from training.simulate.ct.ctp_scan import CtpScan, Irregularity, scan_ctp
from training.simulate.ct.protocols import CtProtocol, draw_ctp_protocol
from training.simulate.pathology.patient import Patient
from training.simulate.scanner import Scanner

BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

SMOOTHING_MM = 2.3
"""Standard deviation of the Gaussian that all engines get their curves from."""
THICKNESS_MM = 5.0
_TRUTH = ("brain", "cbf", "hypoperfused", "artery", "vein")
_VESSEL_SHARE = 0.01
_DURATION_S = 50.0
_STEP_S = 1.0
_LONGEST_S = 120.0


@dataclass(frozen=True)
class Size:
    """Rows and columns, slices and, where not the protocol's own, time points of a scan."""

    matrix: int
    slices: int
    time_points: int | None = None

    def __str__(self) -> str:
        parts = (f"{self.matrix}²", self.slices, self.time_points)
        return "x".join(str(part) for part in parts if part)


@dataclass(frozen=True, eq=False)
class Given:
    """Curves of the brain, prepared with what only a simulator knows.

    Parameters
    ----------
    curves : array, shape ``(voxel, time)``
        Enhancement in HU, motion undone by the true poses, smoothed.
    times_s, aif : arrays, shape ``(time,)``
        Even times, and the true arterial input in HU.
    brain, vessels, hypoperfused : arrays, shape ``(slice, row, column)``
        The true brain, of which the voxels are; where more than 1 % of a voxel is a large vessel;
        and the tissue with a true Tmax above 6 s.
    cbf : array, shape ``(slice, row, column)``
        True CBF in mL/100 g/min.
    geometry : Geometry
    """

    curves: Float32Array
    times_s: Float64Array
    aif: Float64Array
    brain: BoolArray
    vessels: BoolArray
    hypoperfused: BoolArray
    cbf: Float32Array
    geometry: Geometry

    def volume(self, values: FloatArray) -> Float32Array:
        """Values per curve on the grid, shape ``(slice, row, column)``; NaN outside the brain."""
        volume = np.full(self.brain.shape, np.nan, np.float32)
        volume[self.brain] = values
        return volume


def scan_patient(
    patient: Patient,
    scanner: Scanner,
    seed: int,
    size: Size,
    noise_hu: float,
    faults: Collection[Irregularity] = (),
) -> CtpScan:
    """Scan a patient as a scanner of some make does."""
    protocol = _protocol(patient, scanner, seed, size, noise_hu)
    return scan_ctp(patient, protocol, seed, faults, truth=_TRUTH)


def scan_volumes(
    patient: Patient, seed: int, size: Size, noise_hu: float, *, moving: bool
) -> CtpScan:
    """Scan a patient for 50 s in even volumes; ``size.time_points`` must be given."""
    assert size.time_points is not None
    protocol = _protocol(patient, "canon", seed, size, noise_hu)
    starts = np.arange(size.time_points) * (_DURATION_S / size.time_points)
    times = np.repeat(starts[:, None], size.slices, axis=1)
    even = replace(protocol, times_s=times, exposure=np.ones(size.time_points))
    faults = (Irregularity.MOTION,) if moving else ()
    return scan_ctp(patient, even, seed, faults, truth=_TRUTH)


def _protocol(
    patient: Patient, scanner: Scanner, seed: int, size: Size, noise_hu: float
) -> CtProtocol:
    return draw_ctp_protocol(
        seed, scanner, patient.person.cohort, thickness_mm=THICKNESS_MM, noise_hu=noise_hu,
        matrix=size.matrix, slices=size.slices, time_points=size.time_points,
    )  # fmt: skip


def true_motion(scan: CtpScan, reference: int = 0) -> Motion:
    """The motion that a perfect registration to a frame would find."""
    back = np.linalg.inv(scan.poses[reference].matrix)
    steps = np.stack([pose.matrix @ back for pose in scan.poses])
    centre = brain_points_mm(scan).mean(axis=0)
    shifts = steps[:, :3, :3] @ centre + steps[:, :3, 3] - centre
    poses = Poses(steps[:, :3, :3], shifts, centre)
    points = brain_points_mm(scan)
    every, still = np.arange(len(steps)), np.zeros(len(steps))
    return Motion(
        displacement_mm=poses.displacements_mm(points),
        rotation_deg=poses.angles_deg,
        extent_mm=poses.extent_mm(points, every),
        extent_deg=poses.extent_deg(every),
        parameters=poses.parameters,
        centre_mm=centre,
        rows=range(scan.geometry.rows),
        columns=range(scan.geometry.columns),
        slabs=(Slab(range(scan.geometry.slices), poses.parameters),),
        residual_before=still,
        residual_after=still,
        dropped=(),
        reference=reference,
    )


def brain_points_mm(scan: CtpScan, count: int = 500) -> Float64Array:
    """Voxels from all over the brain at the first pose, LPS, shape ``(voxel, 3)``."""
    brain = np.argwhere(scan.truth.arrays["brain"].values)
    chosen = brain[:: max(1, len(brain) // count)]
    return np.array([scan.geometry.voxel_to_lps(*index) for index in chosen.tolist()])


def moved_mm(steps: Float64Array, points_mm: Float64Array) -> Float64Array:
    """Where matrices ``(time, 4, 4)`` take points ``(voxel, 3)``: shape ``(time, voxel, 3)``."""
    turned = np.einsum("tij,nj->tni", steps[:, :3, :3], points_mm)
    return np.asarray(turned + steps[:, None, :3, 3])


def give(scan: CtpScan, series: TimeSeries | None = None) -> Given:
    """Prepare the curves of a scan with its true poses, brain and arterial input.

    ``series`` is what :func:`~training.evaluate.patient_scans.series_of` makes of the scan,
    where it is at hand.
    """
    start_s, bolus = float(scan.times_s.min()), scan.bolus
    series = correct_motion(series or series_of(scan), true_motion(scan))
    times = common_times(series.times_s, _STEP_S, _LONGEST_S)
    frames = resample(series, times, THICKNESS_MM)
    truth = {name: quantity.values for name, quantity in scan.truth.arrays.items()}
    brain = truth["brain"] & (truth["cbf"] > 0)
    vessels = truth["artery"] + truth["vein"] > _VESSEL_SHARE
    baseline = measure_baseline(frames, brain, bolus.arrival_s - start_s)
    contrast = enhancement(frames, baseline)
    aif = bolus.peak_hu * np.interp(times + start_s, bolus.times_s, bolus.arterial)
    curves = smooth_curves(contrast, brain, SMOOTHING_MM)
    return Given(
        curves, times, aif, brain, vessels, truth["hypoperfused"], truth["cbf"], scan.geometry
    )
