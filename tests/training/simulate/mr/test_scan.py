"""Scans against their own truth: contrast, concentration, diffusion, bleeding, masks."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from tests.training.simulate.axial_stack import axial_stack
from tests.training.simulate.mr_patient import healthy_patient, stroke_patient
from training.simulate.arrays import BoolArray, FloatArray
from training.simulate.mr.dynamic import Dynamic
from training.simulate.mr.field import distort
from training.simulate.mr.protocols import (
    MrProtocol,
    draw_dwi_protocol,
    draw_gre_protocol,
    draw_pwi_protocol,
)
from training.simulate.mr.sampler import Sampler
from training.simulate.mr.scan import (
    DwiScan,
    GreScan,
    PwiScan,
    draw_pose,
    scan_dwi,
    scan_gre,
    scan_pwi,
)
from training.simulate.mr.signal import TISSUES, blood_relaxation, with_contrast
from training.simulate.mr.truth import brain_on
from training.simulate.pathology.transformation import Transformation, TransformationKind
from training.simulate.scan.bolus import draw_bolus
from training.simulate.scan.enhancement import Enhancement
from training.simulate.scan.motion import Grade, draw_motion
from training.simulate.space import HEAD_SHAPE, Pose, render

SMALL: dict[str, Any] = {
    "rows": 64, "columns": 64, "acquired": 64, "slices": 6, "thickness_mm": 5.0, "spacing_mm": 9.0,
}  # fmt: skip
SEED = 11


def pwi_protocol(**overrides: Any) -> MrProtocol:
    return draw_pwi_protocol(
        SEED, "siemens", **{**SMALL, "frames": 30, "dummies": 0, "field_t": 3.0, **overrides}
    )


@lru_cache(maxsize=1)
def bleeding() -> Transformation:
    core = stroke_patient().perfusion.core
    centre = [float(axis.mean()) for axis in np.nonzero(core)]
    offsets = [np.arange(size) - middle for size, middle in zip(HEAD_SHAPE, centre, strict=True)]
    z, y, x = np.meshgrid(*offsets, indexing="ij", sparse=True)
    ball = np.clip(9.5 - np.sqrt(z**2 + y**2 + x**2), 0, 1)
    anatomy = stroke_patient().head.anatomy
    share = np.asarray(ball * (anatomy.grey + anatomy.white), dtype=np.float32)
    volume = float(share.sum() / 1000)
    return Transformation(0.5, True, TransformationKind.PH1, share, volume, {})


@lru_cache(maxsize=1)
def pwi() -> PwiScan:
    return scan_pwi(stroke_patient(), pwi_protocol(), SEED, transformation=bleeding())


@lru_cache(maxsize=1)
def pwi_frames() -> FloatArray:
    return np.stack(list(pwi().frames())).astype(np.float64)


@lru_cache(maxsize=1)
def dwi() -> DwiScan:
    protocol = draw_dwi_protocol(
        SEED, "ge", **{**SMALL, "rows": 96, "columns": 96, "acquired": 96, "snr": 100.0}
    )
    return scan_dwi(stroke_patient(), protocol, SEED)


@lru_cache(maxsize=1)
def gre() -> GreScan:
    protocol = draw_gre_protocol(SEED, "ge", slices=10, field_t=3.0, snr=80.0)
    protocol = replace(protocol, thickness_mm=4.0, spacing_mm=10.0, shading=0.0)
    return scan_gre(stroke_patient(), protocol, SEED, transformation=bleeding())


def arrays(scan: PwiScan | DwiScan | GreScan) -> dict[str, Any]:
    return {name: item.values for name, item in scan.truth.arrays.items()}


def healthy(truth: dict[str, Any]) -> BoolArray:
    return np.asarray(truth["brain"] & ~truth["hypoperfused"] & (truth["tmax"] < 5))


def drop(mask: BoolArray) -> float:
    curve = pwi_frames()[:, mask].mean(1)
    return float(1 - curve[4:].min() / arrays(pwi())["s0"][mask].mean())


def test_the_sampler_is_render() -> None:
    rng = np.random.default_rng(0)
    volume = np.zeros(HEAD_SHAPE, dtype=np.float32)
    volume[70:130, 60:180, 50:150] = rng.random((60, 120, 100), dtype=np.float32)
    voxels = np.flatnonzero(volume)
    geometry = axial_stack(3, 40, thickness_mm=5.0, fov_mm=220, centre_mm=(3, 10, 5))
    pose = Pose.from_angles((7, -3, 4), (2, -1, 3))
    expected = render([volume], geometry, pose, 5.0)[0]
    seen = Sampler(voxels, geometry, pose, 5.0)(volume.ravel()[voxels])
    np.testing.assert_allclose(seen, expected, atol=2e-4)


def test_signal_falls_by_the_published_amounts() -> None:
    truth = arrays(pwi())
    brain = healthy(truth) & (truth["artery"] < 0.01) & (truth["vein"] < 0.01)
    flow = truth["cbf"]
    grey = brain & (flow > np.percentile(flow[brain], 85))
    white = brain & (flow < np.percentile(flow[brain], 25))
    assert 0.18 < drop(grey) < 0.36
    assert 0.07 < drop(white) < 0.18
    assert drop(truth["core"]) < 0.5 * drop(grey)


def test_arteries_lose_most_of_their_signal() -> None:
    protocol, dynamic = pwi().protocol, pwi().dynamic
    peak = dynamic.curves()["arterial_mm"].values.max(keepdims=True).astype(np.float32)
    relaxation = blood_relaxation(peak, protocol.field_t)
    rest = float(with_contrast(np.ones(1, np.float32), protocol.te_ms, relaxation)[0])
    assert 0.02 < rest < 0.4


def test_a_weak_bolus_shows_less_in_the_image() -> None:
    protocol = pwi_protocol(slices=2, frames=24)
    drops = []
    for weak in (False, True):
        scan = scan_pwi(stroke_patient(), protocol, SEED, weak_bolus=weak)
        brain = healthy(arrays(scan))
        curve = np.array([np.median(frame[brain]) for frame in scan.frames()])
        drops.append(1 - curve.min() / np.median(curve[3:6]))
    assert drops[1] < 0.6 * drops[0]


def test_concentration_comes_back_within_two_percent() -> None:
    patient, protocol, seed = healthy_patient(), pwi_protocol(dummies=20, slices=3), SEED
    pose = draw_pose(seed, "pwi")
    geometry = protocol.geometry(np.array([0.0, 15.0, 12.0]))
    bolus = draw_bolus(seed, 90.0, modality="mr")
    whole = np.ones(HEAD_SHAPE, dtype=np.float32)
    poses = (pose,) * protocol.frames
    dynamic = Dynamic(patient, protocol, geometry, bolus, poses, whole, seed)
    signal = np.stack(list(dynamic.volumes()))
    plain = render([dynamic.baseline], geometry, pose, protocol.thickness_mm)[0]
    left = np.maximum(signal, 1e-6) / np.maximum(plain, 1e-6)
    rate = -np.log(left) / (protocol.te_ms / 1000)
    head = patient.head
    anatomy = head.anatomy
    enhancement = Enhancement(head, patient.perfusion, bolus)
    factor = dynamic.arterial_peak_mm * dynamic.tissue_relaxivity
    shares = render(
        [anatomy.grey, anatomy.white, anatomy.artery + anatomy.vein, anatomy.csf],
        geometry, pose, protocol.thickness_mm,
    )  # fmt: skip
    pure = (np.maximum(shares[0], shares[1]) > 0.995) & (shares[2] == 0)
    assert pure.sum() > 20
    frame = int(np.argmax(rate[:, pure].mean(1)))
    for index in range(geometry.slices):
        times = np.array([protocol.times_s[frame, index]])
        here = enhancement.at(times, np.zeros(len(enhancement.voxels), dtype=np.int64))
        volume = np.zeros(HEAD_SHAPE, dtype=np.float32)
        volume.ravel()[enhancement.voxels] = here * np.float32(factor)
        truth = render([volume], geometry, pose, protocol.thickness_mm)[0][index]
        inside = pure[index]
        np.testing.assert_allclose(rate[frame, index][inside], truth[inside], rtol=0.02)


def test_slices_see_the_bolus_at_their_own_times() -> None:
    # a volume excited upwards and one excited downwards differ by what the bolus does meanwhile
    patient, bolus = healthy_patient(), draw_bolus(SEED, 90.0, modality="mr")
    pose = draw_pose(SEED, "pwi")
    whole = np.ones(HEAD_SHAPE, dtype=np.float32)
    volumes = []
    for order in ("ascending", "descending"):
        protocol = pwi_protocol(order=order, frames=12, dummies=20)
        geometry = protocol.geometry(np.array([0.0, 15.0, 12.0]))
        poses = (pose,) * protocol.frames
        dynamic = Dynamic(patient, protocol, geometry, bolus, poses, whole, SEED)
        volumes.append(np.stack(list(dynamic.volumes())))
    up, down = volumes
    brain = brain_on(patient.head, geometry, pose, 5.0).values
    falling = int(np.argmin(np.diff(up[:, brain].mean(1)))) + 1
    change = [float((up - down)[falling, index][brain[index]].mean()) for index in range(6)]
    assert change[0] > 0 > change[-1]


def test_first_frames_are_not_in_the_steady_state() -> None:
    mean = pwi_frames()[:, arrays(pwi())["brain"]].mean(1)
    assert mean[0] > 1.05 * mean[3]
    assert mean[2] == pytest.approx(mean[3], rel=0.03)


def test_noise_has_the_snr_of_the_protocol() -> None:
    scan, truth = pwi(), arrays(pwi())
    mean = truth["s0"][truth["brain"]].mean()
    assert mean / scan.truth.numbers["noise_sd"] == pytest.approx(scan.protocol.snr, rel=0.1)
    outside = pwi_frames()[5:, :, :4, :4]
    floor = scan.truth.numbers["noise_sd"] * np.sqrt(np.pi / 2)
    assert outside.mean() == pytest.approx(floor, rel=0.25)


def test_masks_are_consistent_exactly() -> None:
    truth = arrays(pwi())
    assert np.array_equal(truth["hypoperfused"], truth["core"] | truth["penumbra"])
    assert not np.any(truth["core"] & truth["penumbra"])
    assert not np.any(truth["hypoperfused"] & ~truth["brain"])
    assert np.array_equal(truth["cbv"], truth["cbf"] * truth["mtt"] / np.float32(60))
    volumes = pwi().truth.numbers["volumes_ml"]
    per_voxel = pwi().geometry.voxel_volumes_ml
    for name in ("core", "penumbra", "hypoperfused", "ht"):
        expected = np.sum(truth[name].sum((1, 2)) * per_voxel)
        assert volumes[name] == pytest.approx(expected)
    assert truth["cbf"][~truth["brain"]].max() == 0


def test_values_of_the_truth_are_those_of_tissue() -> None:
    truth = arrays(pwi())
    brain = healthy(truth)
    assert np.percentile(truth["cbf"][brain], 5) > 15
    assert np.percentile(truth["cbf"][brain], 95) < 75
    assert truth["tmax"][truth["hypoperfused"]].mean() > 6
    assert truth["cbf"][truth["core"]].mean() < 0.35 * truth["cbf"][brain].mean()
    assert truth["leakage"][truth["core"]].mean() > truth["leakage"][brain].mean() + 5


def test_diffusion_gives_its_coefficients_back() -> None:
    scan, truth = dwi(), arrays(dwi())
    b0, b1000 = (np.maximum(volume, 1).astype(np.float64) for volume in (scan.b0, scan.b1000))
    adc = np.log(b0 / b1000) * 1000
    brain = truth["brain"] & ~truth["hypoperfused"]
    assert np.median(adc[brain] - truth["adc"][brain]) == pytest.approx(0, abs=15)
    assert 700 < np.percentile(truth["adc"][brain], 25) < 860
    assert np.median(truth["adc"][truth["restricted"]]) < 650
    assert np.percentile(truth["adc"][truth["restricted"]], 10) > 370
    assert truth["adc"].max() > 2500
    assert b1000[truth["restricted"]].mean() > 1.2 * b1000[brain].mean()


def test_water_diffuses_as_csf_does() -> None:
    assert {TISSUES[field]["csf"].adc for field in (1.5, 3.0)} == {3000}


def test_bleeding_is_dark_beyond_its_size() -> None:
    scan, truth = gre(), arrays(gre())
    blood = truth["ht"]
    assert blood.any()
    assert scan.truth.numbers["volumes_ml"]["ht"] == pytest.approx(
        np.sum(blood.sum((1, 2)) * scan.geometry.voxel_volumes_ml)
    )
    brain = truth["brain"] & ~blood
    normal = float(np.median(scan.volume[brain]))
    assert np.median(scan.volume[blood]) < 0.5 * normal
    from scipy import ndimage

    rim = ndimage.binary_dilation(blood, np.ones((1, 3, 3))) & brain
    far = brain & ~ndimage.binary_dilation(blood, np.ones((1, 21, 21)))
    assert np.mean(scan.volume[rim] < 0.7 * normal) > 3 * np.mean(scan.volume[far] < 0.7 * normal)


def test_poses_differ_a_little_within_an_examination() -> None:
    point = np.array([0.0, 80.0, 60.0])
    seen = np.array(
        [
            [draw_pose(seed, series).to_scanner(point) for series in ("pwi", "dwi")]
            for seed in range(40)
        ]
    )
    moved = np.linalg.norm(seen[:, 0] - seen[:, 1], axis=1)
    assert 0.5 < np.median(moved) < 4
    away = np.linalg.norm(seen[:, 0] - point, axis=1)
    assert np.median(away) > 1.5 * np.median(moved)


def test_motion_moves_the_head_and_is_told() -> None:
    protocol = pwi_protocol(frames=6, slices=3, snr=1e5)
    motion = draw_motion(3, 10.0, Grade.LARGE)
    moving = scan_pwi(healthy_patient(), protocol, SEED, motion=motion)
    still = scan_pwi(healthy_patient(), protocol, SEED)
    assert len(moving.poses) == 6
    frames = [np.stack(list(scan.frames())).astype(np.float64) for scan in (moving, still)]
    brain = arrays(still)["brain"]
    difference = np.abs(frames[0] - frames[1])[:, brain].mean(1) / frames[1][:, brain].mean(1)
    assert difference[-1] > 0.01
    matrices = arrays(moving)["motion"]
    np.testing.assert_allclose(matrices[0], np.eye(4), atol=1e-9)
    assert np.linalg.norm(matrices[-1] - np.eye(4)) > 0.1


def test_distortion_takes_the_truth_along() -> None:
    scan = pwi()
    assert scan.finish.shift_px is not None
    plain = scan.finish.shading * 0 + 1
    assert distort(plain, scan.finish.shift_px).shape == plain.shape
    straight = scan_pwi(stroke_patient(), pwi_protocol(frames=1), SEED, distortion=False)
    assert not np.array_equal(arrays(straight)["brain"], arrays(scan)["brain"])


def test_the_same_seed_gives_the_same_bytes() -> None:
    protocol = pwi_protocol(frames=3, slices=2)
    first, second = (scan_pwi(stroke_patient(), protocol, seed) for seed in (SEED, SEED))
    frames = [frame.tobytes() for frame in first.frames()]
    assert frames == [frame.tobytes() for frame in second.frames()]
    assert frames == [frame.tobytes() for frame in first.frames()]
    for name, item in first.truth.arrays.items():
        assert item.values.tobytes() == second.truth.arrays[name].values.tobytes()
    assert draw_pose(SEED, "pwi").rotation[0, 1] != draw_pose(SEED + 1, "pwi").rotation[0, 1]


def test_a_protocol_of_another_kind_is_refused() -> None:
    patient = healthy_patient()
    with pytest.raises(ValueError, match="expected pwi"):
        scan_pwi(patient, draw_dwi_protocol(1), 1)
    with pytest.raises(ValueError, match="expected dwi"):
        scan_dwi(patient, draw_gre_protocol(1), 1)
    with pytest.raises(ValueError, match="expected gre"):
        scan_gre(patient, draw_pwi_protocol(1), 1)
