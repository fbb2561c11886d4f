"""Protocols lie in the published ranges, and slices come in the vendors' order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.simulate.anatomy.person import Cohort
from training.simulate.mr.protocols import (
    MrProtocol,
    SliceOrder,
    draw_dwi_protocol,
    draw_gre_protocol,
    draw_pwi_protocol,
    grid_overrides,
    slice_sequence,
)
from training.simulate.scanner import SCANNERS, Scanner

COHORTS: tuple[Cohort, ...] = ("usual", "shifted")
ORDERS: tuple[SliceOrder, ...] = (
    "ascending", "descending", "interleaved_odd", "interleaved_even", "sqrt",
)  # fmt: skip


def drawn(seed: int, scanner: Scanner, cohort: Cohort) -> tuple[MrProtocol, MrProtocol, MrProtocol]:
    return (
        draw_pwi_protocol(seed, scanner, cohort),
        draw_dwi_protocol(seed, scanner, cohort),
        draw_gre_protocol(seed, scanner, cohort),
    )


@given(st.integers(0, 10_000), st.sampled_from(SCANNERS), st.sampled_from(COHORTS))
def test_ranges(seed: int, scanner: Scanner, cohort: Cohort) -> None:
    pwi, dwi, gre = drawn(seed, scanner, cohort)
    assert 25 <= pwi.te_ms <= 45
    assert 1200 <= pwi.tr_ms <= 1800
    assert 40 <= pwi.frames <= 60
    assert (pwi.rows, pwi.columns) == (128, 128)
    assert 16 <= pwi.slices <= 24
    assert 4 <= pwi.thickness_mm <= 6.5
    assert 60 <= dwi.te_ms <= 90
    assert 3 <= dwi.thickness_mm <= 6
    assert 160 <= dwi.rows <= 256
    assert dwi.b_values == (0, 1000)
    assert 2 <= gre.thickness_mm <= 5
    assert gre.rows == 256
    for protocol in (pwi, dwi, gre):
        assert protocol.field_t in (1.5, 3.0)
        assert protocol.scanner == scanner
        assert 220 <= protocol.fov_mm <= 240
        assert 20 <= protocol.snr <= 100
        assert protocol.acquired <= protocol.rows
        assert protocol.spacing_mm >= protocol.thickness_mm


@given(st.integers(0, 10_000), st.sampled_from(SCANNERS))
def test_shifted_protocols_are_none_of_the_usual(seed: int, scanner: Scanner) -> None:
    usual, shifted = (drawn(seed, scanner, cohort) for cohort in COHORTS)
    for one, other in zip(usual, shifted, strict=True):
        assert one.shading <= 0.35 < 0.45 <= other.shading
        assert one.snr > other.snr or one.snr >= 30
    assert 28 <= usual[0].te_ms <= 40
    assert not 28 <= shifted[0].te_ms <= 40
    assert shifted[1].te_ms >= 82 >= usual[1].te_ms


@given(st.integers(1, 60), st.sampled_from(ORDERS))
def test_every_slice_is_excited_once(slices: int, order: SliceOrder) -> None:
    assert sorted(slice_sequence(slices, order)) == list(range(slices))


def test_known_orders() -> None:
    assert slice_sequence(6, "ascending").tolist() == [0, 1, 2, 3, 4, 5]
    assert slice_sequence(5, "interleaved_even").tolist() == [0, 2, 4, 1, 3]
    assert slice_sequence(6, "interleaved_even").tolist() == [1, 3, 5, 0, 2, 4]
    assert slice_sequence(6, "interleaved_odd").tolist() == [0, 2, 4, 1, 3, 5]
    assert slice_sequence(9, "sqrt").tolist() == [0, 3, 6, 1, 4, 7, 2, 5, 8]


@given(st.integers(0, 1000), st.sampled_from(SCANNERS))
def test_slices_share_the_repetition_time(seed: int, scanner: Scanner) -> None:
    protocol = draw_pwi_protocol(seed, scanner)
    times = protocol.times_s
    step = protocol.tr_ms / 1000
    assert times.shape == (protocol.frames, protocol.slices)
    np.testing.assert_allclose(np.diff(times, axis=0), step)
    np.testing.assert_allclose(
        np.sort(times[0]), np.arange(protocol.slices) * step / protocol.slices
    )
    order = np.argsort(times[0])
    assert np.array_equal(order, slice_sequence(protocol.slices, protocol.order))


def test_interleaved_is_the_vendors_usual_order() -> None:
    orders = [draw_pwi_protocol(seed, "siemens").order for seed in range(60)]
    assert 0.5 < np.mean([order == "interleaved_even" for order in orders]) < 0.9


def test_geometry_is_tilted_around_the_middle() -> None:
    protocol = draw_pwi_protocol(3, tilt_deg=(-12.0, 0.0, 0.0), off_centre_mm=(1.0, 2.0, 3.0))
    geometry = protocol.geometry(np.array([10.0, 20.0, 30.0]))
    assert geometry.shape == (protocol.slices, 128, 128)
    assert geometry.normal @ np.array([0, 0, 1]) == pytest.approx(np.cos(np.radians(12)))
    assert geometry.tilt_deg == pytest.approx(0, abs=1e-4)
    middle = [geometry.coordinates_mm(axis).mean() for axis in range(3)]
    np.testing.assert_allclose(middle, [11, 22, 33])
    assert geometry.slice_spacing_mm == pytest.approx(protocol.spacing_mm)
    assert geometry.pixel_spacing_mm[0] * 128 == pytest.approx(protocol.fov_mm)


def test_overrides_and_repeatability() -> None:
    assert draw_pwi_protocol(5) == draw_pwi_protocol(5)
    assert draw_pwi_protocol(5) != draw_pwi_protocol(6)
    assert draw_gre_protocol(5, te_ms=4.5).te_ms == 4.5
    assert draw_dwi_protocol(5, slices=3).slices == 3


def test_sizes_that_are_asked_for_replace_the_drawn_ones_and_nothing_else() -> None:
    drawn_freely = draw_pwi_protocol(3, "ge")
    asked = draw_pwi_protocol(3, "ge", **grid_overrides(64, None, 6.0, frames=12))
    assert (asked.rows, asked.columns, asked.acquired, asked.frames) == (64, 64, 64, 12)
    assert asked.thickness_mm == asked.spacing_mm == 6.0
    for name in ("slices", "fov_mm", "te_ms", "tr_ms", "snr", "tilt_deg", "gain"):
        assert getattr(asked, name) == getattr(drawn_freely, name)
