from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from inference.dicom.volumes import Source, TimeSeries
from inference.errors import NotAnalysable
from inference.geometry import Geometry
from inference.preprocess.motion import Motion, correct_motion, estimate_motion, scanned_apart
from tests.inference.preprocess.moving_head import (
    STILL,
    FloatArray,
    Pose,
    brain_points_mm,
    displaced,
    even,
    series,
    stack,
    with_bolus,
)
from training.simulate.ct.ctp_scan import scan_ctp
from training.simulate.ct.protocols import draw_ctp_protocol
from training.simulate.pathology.patient import Case, make_patient

GRID = even(12, 6.0)
NODDED: Pose = (1.0, 2.0, -2.0, 3.0, -1.0, 2.0)


def error_mm(motion: Motion, frame: int, pose: Pose, slab: int = 0) -> float:
    """Mean distance of points of the brain from where a pose of the head really takes them."""
    points, parameters = brain_points_mm(), motion.slabs[slab].parameters[frame]
    turn = Rotation.from_euler("xyz", parameters[3:], degrees=True)
    found = turn.apply(points - motion.centre_mm) + motion.centre_mm + parameters[:3]
    return mean_distance_mm(found, displaced(points, pose))


def mean_distance_mm(some: FloatArray, others: FloatArray) -> float:
    return float(np.linalg.norm(some - others, axis=1).mean())


@given(
    shift=st.tuples(*[st.floats(-4, 4)] * 3),
    angles=st.tuples(*[st.floats(-4, 4)] * 3),
    seed=st.integers(0, 9),
)
@settings(max_examples=10, deadline=None)
def test_poses_are_recovered(
    shift: tuple[float, ...], angles: tuple[float, ...], seed: int
) -> None:
    pose = (*shift, *angles)
    scan = series(even(16, 5.0, 128), [STILL, STILL, pose], noise=6, seed=seed)

    motion = estimate_motion(scan, reference=0)

    assert error_mm(motion, 2, pose) < 0.5
    assert motion.displacement_mm[1] < 0.05
    real = mean_distance_mm(displaced(brain_points_mm(), pose), brain_points_mm())
    assert motion.displacement_mm[2] == pytest.approx(real, abs=0.1 * real + 0.3)
    angle = np.degrees(Rotation.from_euler("xyz", angles, degrees=True).magnitude())
    assert motion.rotation_deg[2] == pytest.approx(angle, abs=0.6)
    assert motion.residual_after[2] <= motion.residual_before[2]
    assert motion.dropped == ()


@pytest.mark.parametrize(
    "geometry",
    [
        even(8, 10.0),
        stack([-42, -37, -32, -27, -22, -12, -2, 8, 18, 28, 38]),
        even(14, 5.0, tilt_deg=15),
    ],
    ids=["thick", "uneven", "tilted"],
)
def test_any_stack_is_registered(geometry: Geometry) -> None:
    motion = estimate_motion(series(geometry, [STILL, NODDED], noise=4), reference=0)
    assert motion.displacement_mm[1] > 3
    assert error_mm(motion, 1, NODDED) < 0.6


def test_one_slice_moves_in_its_plane() -> None:
    pose = (2.0, -1.0, 0.0, 0.0, 0.0, 3.0)
    motion = estimate_motion(series(stack([0.0]), [STILL, pose]), reference=0)
    np.testing.assert_allclose(motion.parameters[1, [2, 3, 4]], 0, atol=1e-3)
    assert motion.parameters[1, 5] == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize("noise", [4.0, 9.0])
def test_still_heads_stay_still_through_noise_and_bolus(noise: float) -> None:
    scan = with_bolus(series(GRID, [STILL] * 14, noise=noise), [STILL] * 14, 5, peak=10.0)

    motion = estimate_motion(scan)

    assert np.median(motion.displacement_mm) < 0.02
    assert motion.displacement_mm.max() < 0.15
    assert motion.dropped == ()
    assert correct_motion(scan, motion) is scan


def test_magnetic_resonance_is_registered_while_the_bolus_darkens_the_brain() -> None:
    poses = [STILL] * 7 + [NODDED] * 7
    scan = with_bolus(series(GRID, poses, noise=8, mr=True), poses, 4, peak=0.4)

    motion = estimate_motion(scan, reference=0)

    assert np.median(motion.displacement_mm[:7]) < 0.1
    assert np.median([error_mm(motion, frame, NODDED) for frame in range(7, 14)]) < 0.7
    assert motion.dropped == ()


def test_frames_that_no_rigid_motion_explains_are_dropped() -> None:
    scan = series(GRID, [*[STILL] * 8, NODDED, (0.0, 0, 0, 14.0, 0, 0), *[STILL] * 4], noise=5)
    rng = np.random.default_rng(0)
    scan.data[3] = -1024
    scan.data[4] = rng.normal(0, 300, GRID.shape)
    scan.data[5, :6] = scan.data[8, :6]
    scan.data[6, 4] = -1024

    motion = estimate_motion(scan)
    out = correct_motion(scan, motion)

    assert motion.dropped == (3, 4, 5, 6, 9)
    assert motion.extent_mm == pytest.approx(motion.displacement_mm[8], abs=0.3)
    assert motion.extent_deg == pytest.approx(motion.rotation_deg[8], abs=0.2)
    kept = [0, 1, 2, 7, 8, 10, 11, 12, 13]
    np.testing.assert_array_equal(out.times_s, scan.times_s[kept])
    np.testing.assert_array_equal(out.source.sop_instance_uids, scan.source.sop_instance_uids[kept])
    np.testing.assert_array_equal(out.data[[0, 1, 2, 3, 5]], scan.data[[0, 1, 2, 7, 10]])


def test_motion_is_told_between_the_two_frames_that_lie_farthest_apart() -> None:
    """A head that drifts both ways from the reference has moved by the sum."""
    ahead, behind = (2.0, 0.0, 0.0, 0.0, 0.0, 2.0), (-2.0, 0.0, 0.0, 0.0, 0.0, -2.0)
    motion = estimate_motion(series(GRID, [STILL, ahead, behind], noise=4), reference=0)
    points = brain_points_mm()
    real = mean_distance_mm(displaced(points, ahead), displaced(points, behind))
    assert motion.extent_mm == pytest.approx(real, abs=0.4)
    assert motion.extent_mm > 1.8 * motion.displacement_mm.max() - 0.3
    assert motion.extent_deg == pytest.approx(4.0, abs=0.3)


def test_correction_brings_a_frame_to_the_reference() -> None:
    scan = series(even(16, 5.0, 128), [STILL, NODDED])

    out = correct_motion(scan, estimate_motion(scan, reference=0))

    assert out.data.shape == scan.data.shape
    assert np.isfinite(out.data).all()
    middle = np.s_[2:-2]
    before = np.abs(scan.data[1] - scan.data[0])[middle].mean()
    after = np.abs(out.data[1] - out.data[0])[middle].mean()
    assert after < 0.25 * before
    np.testing.assert_array_equal(out.data[0], scan.data[0])


def test_the_reference_is_the_least_noisy_frame_before_contrast() -> None:
    noise = np.full(14, 8.0)
    noise[2], noise[9] = 5.0, 3.0
    scan = series(GRID, [STILL] * 14, noise=noise.tolist())
    scan = with_bolus(scan, [STILL] * 14, 6, peak=10.0)
    scan.data[0] = -1024
    assert estimate_motion(scan).reference == 2
    assert estimate_motion(scan, reference=1).reference == 1


def test_slabs_scanned_apart_have_poses_of_their_own() -> None:
    geometry = even(16, 5.0)
    upper = np.arange(16) >= 8
    times = 2.8 * np.arange(4.0)[:, None] + 1.4 * upper
    scan = series(geometry, [STILL] * 4, noise=4, times_s=times)
    moved = series(geometry, [NODDED], noise=4).data[0]
    scan.data[2, upper] = moved[upper]

    assert scanned_apart(scan) == [range(8), range(8, 16)]
    motion = estimate_motion(scan, reference=0)

    assert [slab.slices for slab in motion.slabs] == [range(8), range(8, 16)]
    assert error_mm(motion, 2, STILL, slab=0) < 0.5
    assert error_mm(motion, 2, NODDED, slab=1) < 1.5
    assert motion.dropped == ()
    np.testing.assert_array_equal(correct_motion(scan, motion).times_s, times)


def test_thin_or_interleaved_slabs_are_registered_together() -> None:
    geometry = even(8, 5.0)
    halves = np.arange(4.0)[:, None] * 2.8 + 1.4 * (np.arange(8) >= 4)
    odd = np.arange(4.0)[:, None] * 2.8 + 1.4 * (np.arange(8) % 2)
    sweep = np.arange(4.0)[:, None] * 4 + 3 * np.arange(8) / 8
    for times in (halves, odd, sweep):
        assert scanned_apart(series(geometry, [STILL] * 4, times_s=times)) == [range(8)]


def test_air_cannot_be_registered() -> None:
    scan = series(GRID, [STILL] * 3)
    empty = replace(scan, data=np.full_like(scan.data, -1000.0))
    with pytest.raises(NotAnalysable, match="no head on frame 0"):
        estimate_motion(empty)


def test_the_number_of_threads_changes_no_bit() -> None:
    scan = series(GRID, [STILL, NODDED, NODDED], noise=5)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            motion = estimate_motion(scan)
            results.append((motion.parameters, correct_motion(scan, motion).data))
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_simulated_patients_are_followed_through_their_scan() -> None:
    protocol = draw_ctp_protocol(
        5, "canon", matrix=96, slices=12, thickness_mm=6.0, time_points=8, noise_hu=7.0
    )
    scan = scan_ctp(make_patient(Case(1)), protocol, 5, ("motion",), truth=("brain",))
    data = np.stack([frame.astype(np.float32) for frame in scan.frames()])
    source = Source("1", ("1",), np.full(scan.times_s.shape, "1.2"))
    measured = TimeSeries(data, scan.times_s, scan.geometry, "HU", source)

    motion = estimate_motion(measured)

    truth = scan.truth.arrays
    matrices = truth["head_to_scanner"].values
    brain = np.argwhere(truth["brain"].values)[::37]
    points = np.array([scan.geometry.voxel_to_lps(*index) for index in brain.tolist()])
    errors, moved = [], []
    for matrix, parameters in zip(matrices, motion.parameters, strict=True):
        step = matrix @ np.linalg.inv(matrices[motion.reference])
        there = points @ step[:3, :3].T + step[:3, 3]
        turn = Rotation.from_euler("xyz", parameters[3:], degrees=True)
        found = turn.apply(points - motion.centre_mm) + motion.centre_mm + parameters[:3]
        errors.append(mean_distance_mm(found, there))
        moved.append(mean_distance_mm(there, points))
    assert max(moved) > 2
    assert np.median(errors) < 0.25
    assert max(errors) < 0.5
    assert motion.dropped == ()


def test_another_registration_finds_no_better_pose() -> None:
    itk: Any = import_module("SimpleITK")

    scan = series(even(16, 5.0, 128), [STILL, NODDED], noise=5)
    images = []
    for frame in scan.data:
        image = itk.GetImageFromArray(np.clip(frame, -500, 500))
        image.SetSpacing((*scan.geometry.pixel_spacing_mm[::-1], 5.0))
        image.SetOrigin(scan.geometry.positions_mm[0].tolist())
        images.append(itk.BinShrink(image, [2, 2, 1]))
    method = itk.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInterpolator(itk.sitkLinear)
    method.SetInitialTransform(itk.Euler3DTransform())
    transform = method.Execute(*images)

    points = brain_points_mm()
    theirs = np.array([transform.TransformPoint(point.tolist()) for point in points])
    there = displaced(points, NODDED)
    assert mean_distance_mm(there, points) > 3
    assert mean_distance_mm(theirs, there) < 1
    ours = error_mm(estimate_motion(scan, reference=0), 1, NODDED)
    assert ours < mean_distance_mm(theirs, there) + 0.1
