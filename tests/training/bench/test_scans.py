"""True motion, and curves prepared by it; SimpleITK on the same scan."""

from dataclasses import replace

import numpy as np
import pytest

from inference.dicom.volumes import TimeSeries
from tests.training.bench.one_patient import patient
from training.bench.motion import compare_motion, found_steps
from training.bench.scans import Size, brain_points_mm, give, moved_mm, scan_volumes, true_motion
from training.bench.simpleitk_motion import register_frames
from training.bench.speed import time_engines
from training.evaluate.patient_scans import largest_displacement_mm, series_of
from training.simulate.ct.ctp_scan import CtpScan

SIZE = Size(96, 12, 14)


@pytest.fixture(scope="module")
def moving() -> tuple[CtpScan, TimeSeries]:
    scan = scan_volumes(patient(), 5, SIZE, 7.0, moving=True)
    return scan, series_of(scan)


def test_sizes_are_told_in_short() -> None:
    assert str(Size(256, 32, 50)) == "256²x32x50"
    assert str(Size(256, 16)) == "256²x16"


def test_volumes_are_even(moving: tuple[CtpScan, TimeSeries]) -> None:
    _, series = moving
    assert series.data.shape == (14, 12, 96, 96)
    starts = np.arange(14.0)[:, None] * 50 / 14
    np.testing.assert_allclose(series.times_s, starts + np.zeros(12))


def test_true_motion_takes_the_brain_where_the_poses_do(
    moving: tuple[CtpScan, TimeSeries],
) -> None:
    scan, _ = moving
    points = brain_points_mm(scan)
    for reference in (0, 7):
        motion = true_motion(scan, reference)
        in_head = scan.poses[reference].to_head(points)
        wanted = np.stack([pose.to_scanner(in_head) for pose in scan.poses])
        np.testing.assert_allclose(moved_mm(found_steps(motion), points), wanted, atol=1e-6)
        distance = np.linalg.norm(wanted - points, axis=2).mean(axis=1)
        np.testing.assert_allclose(motion.displacement_mm, distance, atol=1e-6)
    assert true_motion(scan).displacement_mm.max() == pytest.approx(
        largest_displacement_mm(scan), rel=0.35
    )


def test_both_registrations_follow_the_head(moving: tuple[CtpScan, TimeSeries]) -> None:
    ours, theirs = compare_motion(*moving, threads=2)
    assert ours.head == "moving"
    assert ours.moved_mm > 1
    assert ours.median_mm < 0.3
    assert ours.dropped == 0
    assert ours.correct_s is not None
    assert theirs.correct_s is None
    assert (theirs.frames, theirs.dropped) == (14, 0)
    assert theirs.median_mm < 0.5 * theirs.moved_mm


def test_simpleitk_registers_the_frames_it_is_given(moving: tuple[CtpScan, TimeSeries]) -> None:
    _, series = moving
    both = register_frames(series, 0, [3, 0], threads=2)
    (alone,) = register_frames(series, 0, [0], threads=1)
    assert both.shape == (2, 4, 4)
    np.testing.assert_allclose(both[1], alone, atol=1e-9)
    turns = both[:, :3, :3]
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), [np.eye(3)] * 2, atol=1e-9)


def test_curves_are_those_of_the_first_pose(moving: tuple[CtpScan, TimeSeries]) -> None:
    """As of the same head at rest, more than of the head where it moved."""
    scan, series = moving
    still = give(scan_volumes(patient(), 5, SIZE, 7.0, moving=False))
    given = give(scan, series)
    assert given.curves.shape == (given.brain.sum(), len(given.times_s))
    np.testing.assert_array_equal(given.brain, still.brain)
    assert not (given.hypoperfused & ~given.brain).any()
    assert 0 < (given.brain & given.vessels).sum() < 0.2 * given.brain.sum()
    np.testing.assert_array_equal(given.aif, still.aif)
    assert given.aif.max() == pytest.approx(scan.bolus.peak_hu, rel=0.1)
    assert np.abs(given.aif[given.times_s < scan.bolus.arrival_s]).max() == 0
    uncorrected = give(replace(scan, poses=[scan.poses[0]] * len(scan.poses)), series)
    errors = [np.abs(one.curves - still.curves).mean() for one in (given, uncorrected)]
    assert errors[0] < 0.8 * errors[1]


def test_engines_are_timed_on_the_same_curves(moving: tuple[CtpScan, TimeSeries]) -> None:
    given = give(*moving)
    few = replace(given, curves=given.curves[:50])
    rows = time_engines(few, repeats=1)
    assert [row.engine for row in rows][:2] == ["osvd", "bsvd"]
    assert rows[-1].engine == "dcmri TSVD 0.2"
    assert {(row.voxels, row.samples) for row in rows} == {(50, len(given.times_s))}
    assert rows[0].relative == 1
    assert all(row.relative == pytest.approx(row.seconds / rows[0].seconds) for row in rows)
