import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.simulate.anatomy.person import Cohort
from training.simulate.ct.kernels import KERNELS
from training.simulate.ct.protocols import (
    at_most,
    canon_schedule,
    ctp_times,
    draw_ctp_protocol,
    draw_ncct_protocol,
)
from training.simulate.scan.bolus import draw_bolus
from training.simulate.scanner import SCANNERS, Scanner

SEEDS = st.integers(0, 2**31 - 1)


def test_the_siemens_shuttle_sees_end_slices_at_alternating_intervals() -> None:
    times = ctp_times("siemens", "shuttle", 9, 30, 1.5, 1.2)

    middle, end = np.diff(times[:, 4]), np.diff(times[:, 0])

    np.testing.assert_allclose(middle, 1.5)
    assert end[0] > 2.2
    assert end[1] < 0.8
    np.testing.assert_allclose(end[::2], end[0])
    np.testing.assert_allclose(end[:-1] + end[1:], 3.0)
    np.testing.assert_allclose(times[0], times[2] - 3.0)


def test_two_table_positions_take_turns() -> None:
    times = ctp_times("philips", "pair", 8, 5, 3.0)

    np.testing.assert_allclose(times[:, :4], np.arange(5)[:, None] * 3.0 * np.ones(4))
    np.testing.assert_allclose(times[:, 4:] - times[:, :4], 1.5)


def test_ge_pairs_take_2_8_seconds_and_cine_at_most_one() -> None:
    pairs: set[float] = set()
    cine: set[float] = set()
    for seed in range(30):
        protocol = draw_ctp_protocol(seed, "ge")
        step = round(float(protocol.times_s[1, 0] - protocol.times_s[0, 0]), 3)
        (pairs if protocol.mode == "pair" else cine).add(step)

    assert pairs == {2.8}
    assert cine == {0.5, 1.0}


@settings(deadline=None)
@given(SEEDS)
def test_canon_takes_one_early_volume_then_2_s_then_5_s(seed: int) -> None:
    times, exposure = canon_schedule(np.random.default_rng(seed))

    assert len(times) == 19
    assert 4 <= times[1] <= 7
    np.testing.assert_allclose(np.diff(times)[1:13], 2.0)
    np.testing.assert_allclose(np.diff(times)[13:], 5.0)
    assert exposure[0] > exposure[14:].max()
    assert exposure[0] >= 1.5
    assert exposure[1] == 1
    assert exposure[-1] < 1


def test_canon_thin_slices_are_320_of_half_a_millimetre() -> None:
    protocol = draw_ctp_protocol(1, "canon", thickness_mm=0.5)

    assert (protocol.slices, protocol.rows, protocol.time_points) == (320, 512, 19)
    assert 20 <= protocol.noise_hu <= 25


@settings(deadline=None)
@given(SEEDS, st.sampled_from(SCANNERS), st.sampled_from(["usual", "shifted"]))
def test_a_head_ct_is_within_the_stated_ranges(seed: int, scanner: Scanner, cohort: Cohort) -> None:
    protocol = draw_ncct_protocol(seed, scanner, cohort)

    assert 2.5 <= protocol.thickness_mm <= 8 or 0.5 <= protocol.thickness_mm <= 1
    scaled = protocol.noise_hu / np.sqrt(5 / protocol.thickness_mm)
    assert 3 <= scaled <= 5
    assert 100 <= protocol.kvp <= 140
    assert 180 <= protocol.fov_mm <= 250
    assert abs(protocol.tilt_deg) <= 20
    assert np.abs(protocol.pose_deg).max() <= 10
    assert protocol.times_s.shape == (1, protocol.slices)
    assert np.all(np.diff(protocol.heights_mm) > 0)
    assert len(protocol.thicknesses_mm) == protocol.slices


@settings(deadline=None)
@given(SEEDS, st.sampled_from(SCANNERS), st.sampled_from(["usual", "shifted"]))
def test_a_perfusion_scan_is_within_the_stated_ranges(
    seed: int, scanner: Scanner, cohort: Cohort
) -> None:
    protocol = draw_ctp_protocol(seed, scanner, cohort)

    scaled = protocol.noise_hu / np.sqrt(5 / protocol.thickness_mm)
    assert 5 <= scaled <= 8
    assert 70 <= protocol.kvp <= 100
    assert -21 <= protocol.tissue_bias_hu <= -7
    assert protocol.exposure.shape == (protocol.time_points,)
    assert protocol.times_s.shape == (protocol.time_points, protocol.slices)
    assert 40 <= protocol.times_s.max() <= 65
    assert np.all(np.diff(protocol.times_s, axis=0) > 0)


def test_the_bias_of_perfusion_tissue_is_14_hu_on_average() -> None:
    biases = [draw_ctp_protocol(seed, "canon").tissue_bias_hu for seed in range(200)]

    assert abs(np.mean(biases) + 14) < 0.6
    assert 1.5 < np.std(biases) < 3.5


def test_overrides_hold_and_change_nothing_else_that_is_drawn() -> None:
    drawn = draw_ncct_protocol(3, "ge")
    chosen = draw_ncct_protocol(
        3, "ge", slices=7, matrix=64, thickness_mm=8.0, noise_hu=0.0, fov_mm=200.0, kvp=120,
        tilt_deg=-12.0,
    )  # fmt: skip

    assert (chosen.slices, chosen.rows, chosen.columns, chosen.thickness_mm) == (7, 64, 64, 8.0)
    assert (chosen.noise_hu, chosen.fov_mm, chosen.kvp, chosen.tilt_deg) == (0, 200, 120, -12)
    assert chosen.kernel == drawn.kernel
    assert chosen.pose_deg == drawn.pose_deg
    assert chosen.hardening == drawn.hardening


def test_the_time_points_override_counts_volumes() -> None:
    for scanner in SCANNERS:
        assert draw_ctp_protocol(1, scanner, time_points=12).time_points == 12
    assert draw_ctp_protocol(1, "canon", time_points=24).time_points == 24


def test_some_head_cts_have_a_thin_base_and_a_thick_vault() -> None:
    drawn = [draw_ncct_protocol(seed, "siemens") for seed in range(120)]
    uneven = [protocol for protocol in drawn if protocol.vault_factor > 1]

    assert 2 <= len(uneven) <= 25
    gaps = np.diff(uneven[0].heights_mm)
    assert gaps[-1] == pytest.approx(gaps[0] * uneven[0].vault_factor)
    assert uneven[0].thicknesses_mm[-1] == gaps[-1]


@settings(deadline=None)
@given(SEEDS, st.sampled_from(SCANNERS), st.sampled_from(["usual", "shifted"]), st.integers(14, 60))
def test_fewer_time_points_still_see_the_bolus_pass(
    seed: int, scanner: Scanner, cohort: Cohort, time_points: int
) -> None:
    whole = draw_ctp_protocol(seed, scanner, cohort, slices=4)

    fewer = at_most(whole, time_points)

    bolus = draw_bolus(seed, 60.0, cohort=cohort)
    passed_s = bolus.times_s[bolus.arterial >= 0.5][-1]
    assert fewer.time_points == len(fewer.exposure) <= time_points
    assert fewer.times_s[-1].min() > passed_s
    assert fewer.exposure[0] == whole.exposure[0]
    places = np.searchsorted(whole.times_s[:, 0], fewer.times_s[:, 0])
    np.testing.assert_array_equal(whole.times_s[places], fewer.times_s)
    assert np.ptp(np.diff(places)) == 0
    if whole.time_points <= time_points:
        assert fewer.time_points == whole.time_points


def test_the_shifted_cohort_shares_nothing_with_the_usual_one() -> None:
    for scanner in SCANNERS:
        for draw in (draw_ncct_protocol, draw_ctp_protocol):
            usual, shifted = (
                [draw(seed, scanner, cohort) for seed in range(60)]
                for cohort in ("usual", "shifted")
            )
            for trait in ("kernel_name", "thickness_mm", "kvp"):
                seen = [
                    {p.kernel.name if trait == "kernel_name" else getattr(p, trait) for p in some}
                    for some in (usual, shifted)
                ]
                assert not seen[0] & seen[1], (scanner, draw, trait)


def test_shifted_textures_lie_outside_the_usual_range() -> None:
    for scanner, purposes in KERNELS.items():
        for purpose, sets in purposes.items():
            usual = [kernel.noise_exponent for kernel in sets["usual"]]
            for kernel in sets["shifted"]:
                exponent = kernel.noise_exponent
                assert exponent < min(usual) - 0.16 or exponent > max(usual) + 0.16, (
                    scanner, purpose, kernel.name,
                )  # fmt: skip


def test_kernels_fall_to_one_half_at_their_frequency() -> None:
    for purposes in KERNELS.values():
        for sets in purposes.values():
            for kernel in (*sets["usual"], *sets["shifted"]):
                mtf = kernel.mtf(np.array([0.0, kernel.half_per_mm, 1.5]))
                assert mtf[0] == 1
                assert mtf[1] == pytest.approx(0.5)
                assert mtf[2] < 0.05
                assert kernel.averaging(2.0) < kernel.averaging(0.5) < 1.0


def test_a_coarse_matrix_averages_noise() -> None:
    fine, coarse = (
        draw_ncct_protocol(1, "ge", matrix=matrix, thickness_mm=5.0, fov_mm=230.0).noise_hu
        for matrix in (256, 128)
    )

    assert 0.3 < coarse / fine < 0.85


@pytest.mark.parametrize(
    ("override", "error"),
    [({"slices": 0}, ValueError), ({"thickness_mm": -1.0}, ValueError), ({"size": 3}, TypeError)],
)
def test_impossible_overrides_raise(override: dict[str, float], error: type[Exception]) -> None:
    with pytest.raises(error):
        draw_ncct_protocol(1, "ge", "usual", **override)


def test_a_mode_that_no_perfusion_scan_has_raises() -> None:
    with pytest.raises(ValueError, match="spiral"):
        ctp_times("ge", "spiral", 4, 3, 1.0)
