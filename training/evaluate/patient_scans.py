"""Simulated patients in the scanner, for :mod:`training.evaluate.perfusion_patients`.

Every patient is scanned twice: as it happens, and without noise, motion and flaw.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from inference.dicom.volumes import Source, TimeSeries
from training.simulate.ct.ctp_scan import CtpScan, Irregularity, scan_ctp
from training.simulate.ct.protocols import draw_ctp_protocol
from training.simulate.mr.protocols import draw_pwi_protocol
from training.simulate.mr.scan import PwiScan, pwi_flaws, scan_pwi
from training.simulate.pathology.patient import Patient
from training.simulate.scanner import Scanner

Scan = CtpScan | PwiScan
WARNINGS = ("truncated", "motion", "weak_bolus")

_GRID = {"matrix": 256, "slices": 16}
_PWI_GRID: dict[str, Any] = {}
_NOISELESS_SNR = 1e6
_LARGE_MOTION_MM = 3.0
_TRUNCATED_SHARE = 0.3
_WEAK_PEAK_HU = 100.0
_NEARLY, _SURELY = 1.1, 2.0
_TRUTH = ("hypoperfused", "core")
_BRAIN_POINTS_MM = np.array(list(product((-45.0, 0.0, 45.0), (-45.0, 15.0, 75.0), (-20.0, 45.0))))


@dataclass(frozen=True, eq=False)
class Examined:
    """A scan, the same without noise, motion and flaw, its noise and the warnings it deserves.

    Within 10 % of a limit either answer is right: ``borderline`` names those warnings.
    """

    scan: Scan
    clean: Scan
    noise: float
    expected: tuple[str, ...]
    borderline: tuple[str, ...]


def examine_ctp(
    patient: Patient,
    scanner: Scanner,
    seed: int,
    faults: Sequence[Irregularity],
    *,
    noise_hu: float,
) -> Examined:
    """CT perfusion with a noise of ``noise_hu`` in a voxel."""

    def scanned(noise: float, flaws: Sequence[Irregularity]) -> CtpScan:
        protocol = draw_ctp_protocol(
            seed, scanner, patient.person.cohort, thickness_mm=5.0, noise_hu=noise, **_GRID
        )  # fmt: skip
        return scan_ctp(patient, protocol, seed, flaws, truth=_TRUTH)

    scan = scanned(noise_hu, faults)
    bolus, end = scan.bolus, float(scan.times_s.max())
    left = float(np.interp(end, bolus.times_s, bolus.venous)) / float(bolus.venous.max())
    deserved = _deserved(
        scan, truncated=left / _TRUNCATED_SHARE, weak_bolus=_WEAK_PEAK_HU / bolus.peak_hu
    )
    return Examined(scan, scanned(0.0, ()), noise_hu, *deserved)


def examine_pwi(
    patient: Patient, scanner: Scanner, seed: int, faults: Sequence[Irregularity]
) -> Examined:
    """Perfusion MR with the noise that the scanner has, in percent of the brain's signal."""
    protocol = draw_pwi_protocol(seed, scanner, patient.person.cohort, **_PWI_GRID)
    flaws = pwi_flaws(protocol, seed, [str(fault) for fault in faults])
    scan: PwiScan = scan_pwi(patient, protocol, seed, **flaws)
    clean = scan_pwi(patient, replace(protocol, snr=_NOISELESS_SNR, ghost=0.0), seed)
    weak = _SURELY if Irregularity.WEAK_BOLUS in faults else 0.0
    deserved = _deserved(scan, truncated=0.0, weak_bolus=weak)
    return Examined(scan, clean, 100 / protocol.snr, *deserved)


def series_of(scan: Scan) -> TimeSeries:
    """A simulated scan as the series that the analysis reads from DICOM."""
    data = np.stack([frame.astype(np.float32) for frame in scan.frames()])
    times = scan.times_s - scan.times_s.min()
    uids = np.full(times.shape, "2.25.1")
    source = Source("2.25.1", ("2.25.1",), uids, timing="AcquisitionTime")
    if isinstance(scan, PwiScan):
        return TimeSeries(data, times, scan.geometry, "1", source, scan.protocol.te_ms / 1000)
    return TimeSeries(data, times, scan.geometry, "HU", source)


def _deserved(
    scan: Scan, *, truncated: float, weak_bolus: float
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Warnings that a scan deserves, by what is known of it, and those that it nearly does or not.

    ``truncated`` and ``weak_bolus`` are multiples of the limits beyond which they are deserved.
    """
    motion = largest_displacement_mm(scan) / _LARGE_MOTION_MM
    beyond = {"truncated": truncated, "motion": motion, "weak_bolus": weak_bolus}
    return (
        tuple(code for code in WARNINGS if beyond[code] > 1),
        tuple(code for code in WARNINGS if 1 / _NEARLY <= beyond[code] <= _NEARLY),
    )


def largest_displacement_mm(scan: Scan) -> float:
    """Mean distance in mm of the brain's points in the two frames that lie farthest apart."""
    places = np.stack([pose.to_scanner(_BRAIN_POINTS_MM) for pose in scan.poses])
    return max(float(np.linalg.norm(places - one, axis=2).mean(axis=1).max()) for one in places)
