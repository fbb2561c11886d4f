from dataclasses import replace
from functools import cache, lru_cache
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from training.simulate.anatomy.build import build_anatomy
from training.simulate.anatomy.person import draw_person
from training.simulate.arrays import BoolArray
from training.simulate.ct.ctp_scan import draw_irregularities
from training.simulate.ct.protocols import CtProtocol, draw_ctp_protocol, draw_ncct_protocol
from training.simulate.ct.scan import (
    CtpScan,
    Irregularity,
    NcctScan,
    paired_ncct,
    scan_ctp,
    scan_ncct,
)
from training.simulate.pathology.head import BloodKind, Inclusion
from training.simulate.pathology.patient import Case, Patient, make_patient
from training.simulate.pathology.stroke import Occlusion
from training.simulate.scan.bolus import draw_bolus
from training.simulate.scan.enhancement import Enhancement
from training.simulate.scan.motion import Grade
from training.simulate.scanner import SCANNERS, Scanner
from training.simulate.space import HEAD_SHAPE, Pose, render

FLOW = ("cbf", "cbv", "mtt", "brain", "hypoperfused", "core", "penumbra")


@cache
def patient() -> Patient:
    case = Case(11, 1, stroke=Occlusion.M1, side="L", hemorrhage="mixed", mimics=())
    return make_patient(case, build_anatomy(draw_person(1)))


def quiet(protocol: CtProtocol, **changes: Any) -> CtProtocol:
    """The protocol without noise and errors."""
    return replace(protocol, noise_hu=0.0, hardening=0.0, cupping_hu=0.0, **changes)


@lru_cache(maxsize=8)
def ncct(
    seed: int = 1,
    noise_hu: float | None = None,
    grade: Grade = Grade.NEGLIGIBLE,
    tilt_deg: float = 0.0,
) -> NcctScan:
    protocol = draw_ncct_protocol(
        seed, "siemens", slices=12, matrix=96, thickness_mm=10.0, noise_hu=noise_hu,
        tilt_deg=tilt_deg,
    )  # fmt: skip
    return scan_ncct(patient(), protocol, seed, grade=grade)


@lru_cache(maxsize=4)
def ctp(
    scanner: Scanner,
    irregular: tuple[str, ...] = (),
    time_points: int = 19,
    truth: tuple[str, ...] = (),
) -> CtpScan:
    protocol = draw_ctp_protocol(
        2, scanner, slices=4, matrix=48, thickness_mm=10.0, time_points=time_points
    )
    return scan_ctp(patient(), quiet(protocol), 2, irregular, truth=truth)


def deep(mask: BoolArray, times: int = 2) -> BoolArray:
    return np.asarray(ndimage.binary_erosion(mask, np.ones((1, 3, 3)), iterations=times))


def test_tissue_keeps_its_hu_on_average() -> None:
    scan = ncct(noise_hu=0.0)
    brain = scan.truth.arrays["brain"].values
    truth = scan.truth.arrays["baseline_hu"].values
    quiet_ones = deep(brain) & (truth > 15) & (truth < 60)

    error = scan.volume[quiet_ones] - truth[quiet_ones]

    assert scan.volume.dtype == np.int16
    assert abs(error.mean()) < 1.5
    assert error.std() < 5


@pytest.mark.parametrize("noise_hu", [4.0, 20.0])
def test_noise_in_the_brain_has_the_asked_standard_deviation(noise_hu: float) -> None:
    noisy, calm = ncct(noise_hu=noise_hu), ncct(noise_hu=0.0)
    brain = deep(noisy.truth.arrays["brain"].values)

    difference = (noisy.volume - calm.volume)[brain]

    assert difference.std() == pytest.approx(noise_hu, rel=0.1)
    assert abs(difference.mean()) < 0.1 * noise_hu


def test_the_same_seed_gives_the_same_bytes_and_another_another_noise() -> None:
    protocol = draw_ncct_protocol(4, "ge", slices=3, matrix=64, thickness_mm=5.0)
    first, again, other = (scan_ncct(patient(), protocol, seed, truth=()) for seed in (1, 1, 2))

    assert first.volume.tobytes() == again.volume.tobytes()
    assert first.volume.tobytes() != other.volume.tobytes()


def test_a_tilted_gantry_shears_the_stack_and_shows_the_same_head() -> None:
    tilted = ncct(noise_hu=0.0, tilt_deg=15.0)

    assert tilted.geometry.tilt_deg == pytest.approx(15.0)
    cosines = tilted.geometry.column_cosines
    np.testing.assert_allclose(cosines, [0, np.cos(np.radians(15)), -np.sin(np.radians(15))])
    volumes = [
        np.sum(scan.truth.arrays["brain"].values) * scan.geometry.voxel_volumes_ml[0]
        for scan in (tilted, ncct(noise_hu=0.0))
    ]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.06)


def test_the_head_holder_is_in_sight_outside_the_head() -> None:
    protocol = draw_ncct_protocol(1, "ge", slices=3, matrix=96, thickness_mm=5.0, fov_mm=250.0)
    with_holder, without = (
        scan_ncct(
            patient(), quiet(replace(protocol, holder=holder)), 1,
            grade=Grade.NEGLIGIBLE, truth=("baseline_hu",),
        )
        for holder in (1, 0)
    )  # fmt: skip
    air = ndimage.binary_erosion(without.truth.arrays["baseline_hu"].values < -990, iterations=1)

    difference = (with_holder.volume - without.volume)[air]

    assert (difference > 400).sum() > 100
    assert without.volume[air].max() < -500


def test_slices_of_a_thick_vault_have_less_noise() -> None:
    protocol = draw_ncct_protocol(1, "siemens", slices=12, matrix=64, thickness_mm=5.0, noise_hu=8)
    uneven = replace(protocol, vault_from=6, vault_factor=2.0)

    scan = scan_ncct(patient(), uneven, 1, grade=Grade.NEGLIGIBLE)
    calm = scan_ncct(patient(), replace(uneven, noise_hu=0.0), 1, grade=Grade.NEGLIGIBLE)

    gaps = np.diff(scan.geometry.positions_mm[:, 2])
    np.testing.assert_allclose(gaps[[0, 1, -1]], [5, 5, 10])
    brain = deep(scan.truth.arrays["brain"].values, 1)
    difference = (scan.volume - calm.volume).astype(float)
    base, vault = difference[2:6][brain[2:6]].std(), difference[6:10][brain[6:10]].std()
    assert base / vault == pytest.approx(np.sqrt(2), rel=0.2)


def test_motion_during_a_head_ct_displaces_slices_along_with_their_truth() -> None:
    moved = ncct(seed=3, noise_hu=0.0, grade=Grade.LARGE)
    still = ncct(seed=3, noise_hu=0.0)
    first = moved.truth.arrays["motion_mm_deg"].values

    assert len({id(pose) for pose in moved.poses}) > 2
    assert np.all(first[0] == 0)
    assert np.abs(first).max() > 0.5
    bone = [scan.volume > 300 for scan in (moved, still)]
    own = [scan.truth.arrays["baseline_hu"].values > 300 for scan in (moved, still)]
    assert np.mean(bone[0] ^ own[0]) < 0.5 * np.mean(bone[0] ^ own[1])


def test_metal_streaks_show_in_the_image() -> None:
    share = np.zeros(HEAD_SHAPE, dtype=np.float32)
    share[100:112, 100:106, 80:86] = 1
    metal = replace(patient().head, inclusions={"metal": Inclusion(share, 3000.0)})
    protocol = quiet(draw_ncct_protocol(1, "ge", slices=12, matrix=96, thickness_mm=10.0))
    shares = ("brain",)

    images = [
        scan_ncct(one, protocol, 1, grade=Grade.NEGLIGIBLE, truth=shares)
        for one in (replace(patient(), head=metal), patient())
    ]

    change = np.abs((images[0].volume - images[1].volume).astype(float))
    hit = change.reshape(12, -1).max(axis=1).argmax()
    brain = images[1].truth.arrays["brain"].values
    assert change.max() > 500
    assert np.percentile(change[hit][brain[hit]], 90) > 4
    assert np.percentile(change[hit - 4][brain[hit - 4]], 90) <= 2


@settings(deadline=None, max_examples=8)
@given(
    st.integers(0, 2**31 - 1),
    st.sampled_from(SCANNERS),
    st.integers(2, 6),
    st.sampled_from([20, 33, 48]),
    st.sampled_from([4.0, 8.0]),
)
def test_masks_volumes_and_flow_are_consistent_exactly(
    seed: int, scanner: Scanner, slices: int, matrix: int, thickness: float
) -> None:
    protocol = draw_ctp_protocol(
        seed, scanner, slices=slices, matrix=matrix, thickness_mm=thickness, time_points=9
    )
    scan = scan_ctp(patient(), protocol, seed, truth=(*FLOW, "ich"))
    arrays = {name: quantity.values for name, quantity in scan.truth.arrays.items()}

    kinds = np.sum([arrays[f"ich_{kind}"].astype(int) for kind in BloodKind], axis=0)
    np.testing.assert_array_equal(kinds, arrays["ich"].astype(int))
    np.testing.assert_array_equal(arrays["hypoperfused"], arrays["core"] ^ arrays["penumbra"])
    assert not np.any(arrays["core"] & arrays["penumbra"])
    assert not np.any(arrays["hypoperfused"] & ~arrays["brain"])
    cbf, mtt = arrays["cbf"], arrays["mtt"]
    assert arrays["cbv"].dtype == cbf.dtype == mtt.dtype == np.float32
    assert arrays["cbv"].tobytes() == (cbf * mtt / np.float32(60)).tobytes()
    for name, volume in scan.truth.numbers["volumes_ml"].items():
        counted = arrays[name].sum(axis=(1, 2)) @ scan.geometry.voxel_volumes_ml
        assert volume == pytest.approx(counted, rel=1e-12)


def test_maps_are_those_of_the_tissue_whatever_its_share() -> None:
    scan = ctp("siemens", truth=("cbf", "tmax", "brain", "territory", "artery"), time_points=9)
    maps = patient().perfusion
    arrays = {name: quantity.values for name, quantity in scan.truth.arrays.items()}

    found = arrays["cbf"][arrays["brain"]]
    known = maps.cbf[maps.cbf > 0]

    assert known.min() - 1e-3 <= found[found > 0].min()
    assert found.max() <= known.max() + 1e-3
    assert np.all(arrays["cbf"][~arrays["brain"]] == 0)
    assert set(np.unique(arrays["territory"])) <= set(range(11))
    assert 0 <= arrays["artery"].min() < arrays["artery"].max() <= 1


def test_an_unknown_truth_raises() -> None:
    with pytest.raises(ValueError, match="t1"):
        ctp("ge", truth=("t1",))


@pytest.mark.parametrize("scanner", SCANNERS)
def test_curves_of_every_slice_are_sampled_at_its_own_times(scanner: Scanner) -> None:
    scan = ctp(scanner, time_points=19)
    start = int(np.argmin(np.abs(scan.times_s[:, 0] - scan.bolus.arrival_s))) + 1
    frames = np.stack(list(islice(scan.frames(), start + 4))).astype(float)
    enhancement = Enhancement(patient().head, patient().perfusion, scan.bolus)
    measured = (frames - frames[0]).sum(axis=(2, 3))
    volume = np.zeros(HEAD_SHAPE, dtype=np.float32)

    def expected(index: int, time: float) -> float:
        which = np.zeros(len(enhancement.voxels), dtype=int)
        values = enhancement.at(np.array([time]), which) * np.float32(scan.bolus.peak_hu)
        volume.ravel()[enhancement.voxels] = values
        image = render([volume], scan.geometry, scan.poses[0], scan.protocol.thickness_mm)[0]
        return float(image[index].sum())

    for frame in (start, start + 1, start + 3):
        for index in (0, 3):
            own = expected(index, scan.times_s[frame, index])
            assert measured[frame, index] == pytest.approx(own, rel=0.05, abs=400)
    if scanner in ("siemens", "philips"):
        frame, index = start + 1, 3
        shifted = expected(index, scan.times_s[frame, 0])
        own = expected(index, scan.times_s[frame, index])
        if abs(shifted - own) > 4000:
            assert abs(measured[frame, index] - own) < 0.2 * abs(shifted - own)


def test_frames_come_again_with_the_same_bytes() -> None:
    protocol = draw_ctp_protocol(5, "ge", slices=2, matrix=40, thickness_mm=8.0, time_points=9)
    scan = scan_ctp(patient(), protocol, 5, ("motion", "streaks"), truth=())

    first = [frame.tobytes() for frame in scan.frames()]

    assert first == [frame.tobytes() for frame in scan.frames()]
    assert len(first) == scan.times_s.shape[0] == len(scan.poses) == 9


def test_the_true_poses_bring_a_moved_head_back() -> None:
    protocol = draw_ctp_protocol(7, "canon", slices=24, matrix=80, thickness_mm=5.0, time_points=10)
    scan = scan_ctp(patient(), quiet(protocol, holder=0), 7, ["motion"], truth=())
    images = list(scan.frames())
    moved = int(
        np.argmax([np.linalg.norm(pose.shift_mm - scan.poses[0].shift_mm) for pose in scan.poses])
    )
    geometry = scan.geometry
    points = np.stack([geometry.coordinates_mm(axis) for axis in range(3)], axis=-1)
    there = scan.poses[moved].to_scanner(scan.poses[0].to_head(points))
    place = (there - geometry.positions_mm[0]) / (
        *geometry.pixel_spacing_mm, geometry.slice_spacing_mm,
    )  # fmt: skip

    bone = [
        ndimage.gaussian_filter(np.clip(images[index], 0, 800).astype(np.float32), 1)
        for index in (0, moved)
    ]
    back = ndimage.map_coordinates(bone[1], np.moveaxis(place[..., ::-1], -1, 0), order=1)
    inner = slice(5, -5)

    left = np.abs(back - bone[0])[inner].mean()
    before = np.abs(bone[1] - bone[0])[inner].mean()
    assert before > 10
    assert left < 0.3 * before
    assert scan.truth.arrays["motion_mm_deg"].values.shape == (10, 6)
    told = scan.truth.arrays["head_to_scanner"].values
    homogeneous = np.append(points, np.ones((*points.shape[:-1], 1)), axis=-1)
    moved_there = homogeneous @ (told[moved] @ np.linalg.inv(told[0])).T
    np.testing.assert_allclose(moved_there[..., :3], there, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_irregular_scans_are_irregular_in_the_way_asked(seed: int) -> None:
    protocol = draw_ctp_protocol(
        seed, "siemens", slices=2, matrix=24, thickness_mm=8.0, time_points=32
    )

    def scan(*names: str) -> CtpScan:
        return scan_ctp(patient(), protocol, seed, names, truth=())

    plain = scan()
    np.testing.assert_array_equal(plain.times_s, protocol.times_s)
    assert plain.motion.still
    assert plain.bolus.peak_hu >= 150

    cut = scan("truncated")
    assert 8 <= len(cut.times_s) < 32
    assert len(cut.poses) == len(cut.protocol.exposure) == len(cut.times_s)

    lost = scan("missing_frames")
    steps = np.diff(lost.times_s.mean(axis=1))
    assert 28 <= len(lost.times_s) <= 31
    assert steps.max() > 2.9 or len(lost.times_s) < 32

    uneven = scan("uneven")
    assert uneven.times_s.shape == (32, 2)
    assert np.all(np.diff(uneven.times_s.mean(axis=1)) > 0)
    assert np.diff(uneven.times_s.mean(axis=1)).max() > 2

    assert scan("noise").protocol.exposure[-1] <= 1 / 2.5
    moved = scan("motion")
    assert moved.motion.grade is not Grade.NEGLIGIBLE
    assert moved.truth.numbers["irregular"] == ["motion"]


def test_a_weak_bolus_is_weak_or_late() -> None:
    scans = [
        scan_ctp(patient(), ctp("ge", time_points=40).protocol, seed, ["weak_bolus"], truth=())
        for seed in range(8)
    ]
    usual = [draw_bolus(seed, 40) for seed in range(8)]

    weak = [scan.bolus.peak_hu < 100 for scan in scans]

    assert any(weak)
    assert not all(weak)
    for scan, bolus, poor in zip(scans, usual, weak, strict=True):
        assert poor or scan.bolus.arrival_s > bolus.arrival_s
        found = scan.truth.arrays["arterial_hu"].values.max()
        assert found == pytest.approx(scan.bolus.peak_hu, rel=0.02)


def test_streaked_frames_differ_from_clean_ones_and_others_do_not() -> None:
    clean, streaked = (
        list(ctp("canon", irregular, time_points=12).frames()) for irregular in ((), ("streaks",))
    )

    worst = [np.abs(a - b).max() for a, b in zip(clean, streaked, strict=True)]

    assert 2 <= np.count_nonzero(worst) <= 5
    assert max(worst) > 10


def test_low_dose_is_noisier_by_the_root_of_the_exposure() -> None:
    protocol = draw_ctp_protocol(1, "canon", slices=6, matrix=64, thickness_mm=5.0, time_points=9)
    scan, low, calm = (
        scan_ctp(patient(), one, 1, faults, truth=("brain",))
        for one, faults in ((protocol, ()), (protocol, ["noise"]), (quiet(protocol), ()))
    )
    brain = deep(scan.truth.arrays["brain"].values)
    first, second, third = (
        np.stack(list(one.frames())[:3]).astype(float) for one in (scan, low, calm)
    )
    shading = (first - third).mean(axis=0)

    spread = [np.std((images - third - shading)[1:][:, brain]) for images in (first, second)]
    early = np.std((first - third - shading)[0][brain])

    asked = np.sqrt(protocol.exposure[1] / low.protocol.exposure[1])
    assert spread[1] / spread[0] == pytest.approx(asked, rel=0.2)
    assert early < spread[0]


def test_the_paired_head_ct_is_registered_brighter_and_independent() -> None:
    protocol = replace(
        draw_ctp_protocol(2, "canon", slices=6, matrix=96, thickness_mm=5.0, time_points=9),
        tissue_bias_hu=-14.0, hardening=0.0, cupping_hu=0.0,
    )  # fmt: skip
    scan = scan_ctp(patient(), protocol, 2, truth=("brain", "ncct"))
    head_ct = paired_ncct(patient(), scan, 2)
    frame = next(scan.frames())
    brain = deep(scan.truth.arrays["brain"].values)
    truth = scan.truth.arrays["ncct"].values

    assert head_ct.shape == frame.shape
    assert head_ct.dtype == np.int16
    assert np.mean((head_ct - frame)[brain]) == pytest.approx(14, abs=4)
    assert np.mean((head_ct - truth)[brain]) == pytest.approx(0, abs=4)
    noise = [(image - truth)[brain] for image in (head_ct, frame)]
    assert abs(np.corrcoef(*noise)[0, 1]) < 0.25
    again = paired_ncct(patient(), scan, 2)
    assert again.tobytes() == head_ct.tobytes()


def test_irregularities_are_drawn_as_often_as_in_practice() -> None:
    drawn = [draw_irregularities(seed) for seed in range(1500)]

    share = {fault: np.mean([fault in one for one in drawn]) for fault in Irregularity}

    assert share[Irregularity.MOTION] == pytest.approx(0.43, abs=0.04)
    assert share[Irregularity.TRUNCATED] == pytest.approx(0.12, abs=0.03)


def test_poses_of_a_still_scan_are_the_holder_pose() -> None:
    scan = ctp("ge", time_points=40)

    expected = Pose.from_angles(scan.protocol.pose_deg)
    np.testing.assert_array_equal(scan.poses[-1].rotation, expected.rotation)
