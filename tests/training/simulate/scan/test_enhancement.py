from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from tests.training.simulate import flow_cases
from training.simulate.anatomy.model import Vessel
from training.simulate.arrays import BoolArray, Float32Array, FloatArray
from training.simulate.pathology.head import BloodKind, Inclusion
from training.simulate.pathology.perfusion import PerfusionMaps
from training.simulate.scan.bolus import Bolus, draw_bolus
from training.simulate.scan.enhancement import Enhancement, IntArray, dispersion_weights
from training.simulate.space import HEAD_ORIGIN_MM, HEAD_SHAPE

FLOW_SCALE = 1.04 / 0.73 / 6000
STEP_S = 0.01
TIMES_S = np.arange(0, 60, 0.5)


@cache
def lattice() -> BoolArray:
    where = np.zeros(HEAD_SHAPE, dtype=np.bool_)
    where[1::3, ::3, 1::3] = True
    return where


@cache
def usual() -> tuple[Enhancement, Bolus]:
    bolus = draw_bolus(2, 60)
    return Enhancement(flow_cases.head(), flow_cases.m1_maps(), bolus, where=lattice()), bolus


@cache
def whole() -> Enhancement:
    return Enhancement(flow_cases.head(), flow_cases.m1_maps(), usual()[1])


def curves(enhancement: Enhancement, times_s: FloatArray) -> FloatArray:
    none = np.zeros(len(enhancement.voxels), dtype=np.int64)
    return np.stack([enhancement.at(np.array([time]), none) for time in times_s])


@cache
def share() -> Float32Array:
    anatomy = flow_cases.anatomy()
    return np.asarray(anatomy.grey + anatomy.white, dtype=np.float32)


def pure_tissue(enhancement: Enhancement) -> BoolArray:
    anatomy = flow_cases.anatomy()
    return np.asarray((anatomy.artery + anatomy.vein).ravel()[enhancement.voxels] == 0)


def direct(maps: PerfusionMaps, bolus: Bolus, voxel: int, times_s: FloatArray) -> FloatArray:
    """Reference: plain convolutions in steps of 10 ms."""

    def at(values: Float32Array) -> float:
        return float(values.ravel()[voxel])

    time = np.asarray(np.arange(0, 69, STEP_S), dtype=np.float64)
    arterial = np.interp(time, bolus.times_s, bolus.arterial)
    kind, u = at(maps.residue_kind), time / at(maps.mtt_s)
    residue = (1 - kind) * maps.residues[0].at(u) + kind * maps.residues[1].at(u)
    keep = np.exp(-STEP_S / at(maps.dispersion_s))
    inflow = signal.lfilter([1 - keep], [1, -keep], arterial)
    tissue = signal.fftconvolve(inflow, residue)[: len(time)] * STEP_S
    tissue *= at(maps.cbf) * FLOW_SCALE * at(share())
    shifted = np.interp(times_s - at(maps.delay_s), time - STEP_S, tissue, left=0)
    return np.asarray(shifted, dtype=np.float64)


@cache
def some_tissue() -> IntArray:
    anatomy = flow_cases.anatomy()
    pure = (share() > 0.5) & ((anatomy.artery + anatomy.vein) == 0)
    return np.random.default_rng(1).choice(np.flatnonzero(pure), 16, replace=False)


def with_values(maps: PerfusionMaps, seed: int) -> PerfusionMaps:
    """Random kinetics in some voxels."""
    rng, voxels = np.random.default_rng(seed), some_tissue()

    def draw(low: float, high: float) -> Float32Array:
        volume = np.zeros(HEAD_SHAPE, dtype=np.float32)
        volume.ravel()[voxels] = rng.uniform(low, high, len(voxels))
        return volume

    return replace(
        maps, cbf=draw(2, 70), mtt_s=draw(3, 16), dispersion_s=draw(0.05, 4),
        delay_s=draw(-2, 12), residue_kind=draw(0, 1),
    )  # fmt: skip


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_curves_agree_with_direct_convolution(seed: int, late: bool) -> None:
    where = np.zeros(HEAD_SHAPE, dtype=np.bool_)
    where.ravel()[some_tissue()] = True
    maps, bolus = with_values(flow_cases.m1_maps(), seed), draw_bolus(seed, 60, late=late)
    enhancement = Enhancement(flow_cases.head(), maps, bolus, where=where)
    assert np.array_equal(enhancement.voxels, np.sort(some_tissue()))
    ours = curves(enhancement, TIMES_S)
    for index, voxel in enumerate(enhancement.voxels):
        theirs = direct(maps, bolus, voxel, TIMES_S)
        assert np.abs(ours[:, index] - theirs).max() <= 0.012 * theirs.max()


def test_tissue_peaks_are_those_of_patients() -> None:
    ours, (enhancement, _) = {}, usual()
    peak = 300 * curves(enhancement, np.arange(0, 60, 1.0)).max(axis=0)
    maps, anatomy = flow_cases.m1_maps(), flow_cases.anatomy()
    alive = ~maps.hypoperfused
    masks = {
        "grey": alive & (anatomy.grey > 0.95),
        "white": alive & (anatomy.white > 0.98),
        "penumbra": maps.hypoperfused & ~maps.core & (anatomy.grey > 0.95),
        "core": maps.core & (anatomy.grey > 0.95),
    }
    for name, mask in masks.items():
        ours[name] = float(np.median(peak[mask.ravel()[enhancement.voxels]]))
    assert 10 <= ours["grey"] <= 16
    assert 4.5 <= ours["white"] <= 7.5
    assert 3.5 <= ours["penumbra"] <= 8
    assert 1 <= ours["core"] <= 3.2


def test_the_area_under_the_curves_is_the_blood_volume() -> None:
    time = np.arange(0, 180, 0.05)
    u = np.clip(time - 5, 0, None) / 4.5
    arterial = np.asarray((u * np.exp(1 - u)) ** 3)
    bolus = Bolus(0.05, arterial, arterial, 300, 5)
    where = np.zeros(HEAD_SHAPE, dtype=np.bool_)
    where.ravel()[some_tissue()] = True
    maps = flow_cases.m1_maps()
    enhancement = Enhancement(flow_cases.head(), maps, bolus, where=where)
    times = np.arange(0, 179, 1.0)
    area = curves(enhancement, times).sum(axis=0)
    voxels = enhancement.voxels
    arterial = np.interp(times, bolus.times_s, bolus.arterial).sum()
    measured = 100 * 0.73 / 1.04 * area / arterial / share().ravel()[voxels]
    np.testing.assert_allclose(measured, maps.cbv.ravel()[voxels], rtol=0.01)


def test_delay_is_a_shift_of_time() -> None:
    enhancement, bolus = usual()
    maps = flow_cases.m1_maps()
    later = replace(maps, delay_s=np.asarray(maps.delay_s + 3, dtype=np.float32))
    shifted = Enhancement(flow_cases.head(), later, bolus, where=lattice())
    pure = pure_tissue(enhancement)
    one, other = curves(enhancement, TIMES_S)[:, pure], curves(shifted, TIMES_S + 3)[:, pure]
    assert np.abs(one - other).max() <= 0.005 * one.max()


def test_contrast_is_linear_in_flow() -> None:
    enhancement, bolus = usual()
    maps = flow_cases.m1_maps()
    twice = Enhancement(
        flow_cases.head(), replace(maps, cbf=2 * maps.cbf), bolus, where=lattice()
    )  # fmt: skip
    pure, times = pure_tissue(enhancement), np.array([14.0, 20.0, 31.0])
    np.testing.assert_allclose(
        curves(twice, times)[:, pure], 2 * curves(enhancement, times)[:, pure], rtol=1e-4, atol=1e-7
    )


def test_every_voxel_has_a_time_of_its_own() -> None:
    enhancement, _ = usual()
    which = np.arange(len(enhancement.voxels)) % len(TIMES_S)
    mixed = enhancement.at(TIMES_S, which)
    expected = curves(enhancement, TIMES_S)[which, np.arange(len(which))]
    assert np.array_equal(mixed, expected)


def test_vessels_follow_the_bolus() -> None:
    enhancement, bolus = usual()
    everywhere = whole()
    anatomy = flow_cases.anatomy()
    assert len(everywhere.voxels) > 1_000_000
    assert np.isin(enhancement.voxels, everywhere.voxels).all()
    inside = np.zeros(HEAD_SHAPE, dtype=np.bool_)
    inside.ravel()[everywhere.voxels] = True
    kind = anatomy.vessel.ravel()[everywhere.voxels]
    full = (anatomy.artery.ravel()[everywhere.voxels] > 0.99) & (kind == Vessel.BASILAR)
    peak_s = float(bolus.times_s[bolus.arterial.argmax()])
    values = everywhere.at(np.array([1.0, peak_s]), np.ones(len(everywhere.voxels), np.int64))
    assert np.median(values[full]) > 0.9
    sinus = (anatomy.vein.ravel()[everywhere.voxels] > 0.99) & (kind == Vessel.SUPERIOR_SAGITTAL)
    assert 0 <= np.median(values[sinus]) < 0.45
    before = everywhere.at(np.array([1.0]), np.zeros(len(everywhere.voxels), np.int64))
    assert not before.any()


def test_memory_stays_small() -> None:
    held = whole().voxels.nbytes + sum(
        part.rows.nbytes + part.delay_s.nbytes + part.coefficients.nbytes for part in whole()._parts
    )
    assert held < 250e6


def test_the_curve_at_a_point_is_that_of_its_voxel() -> None:
    enhancement, _ = usual()
    row = len(enhancement.voxels) // 3
    z, y, x = np.unravel_index(enhancement.voxels[row], HEAD_SHAPE)
    point = np.array(HEAD_ORIGIN_MM) + np.array([x, y, z])
    expected = curves(enhancement, TIMES_S)[:, row]
    np.testing.assert_allclose(enhancement.curve(point, TIMES_S), expected, atol=1e-6)
    assert not enhancement.curve(np.array([0.0, 0.0, 80.0]), TIMES_S).any()
    assert not enhancement.curve(np.array([500.0, 0.0, 0.0]), TIMES_S).any()


def test_blood_and_inclusions_keep_contrast_out() -> None:
    head, (enhancement, bolus) = flow_cases.head(), usual()
    block = np.zeros(HEAD_SHAPE, dtype=np.float32)
    block[95:125, 100:130, 60:90] = 1
    calcified = replace(head, inclusions={"calcification": Inclusion(block, 300)})
    bleeding = replace(head, blood={BloodKind.INTRAPARENCHYMAL: block})
    for one in (calcified, bleeding):
        less = Enhancement(one, flow_cases.m1_maps(), bolus, where=lattice())
        vessels = flow_cases.anatomy().artery + flow_cases.anatomy().vein
        held = less.voxels[(block.ravel()[less.voxels] == 1)]
        assert np.all(vessels.ravel()[held] > 0)
        assert len(less.voxels) < len(enhancement.voxels)


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    import torch

    enhancement, bolus = usual()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if before > 1 else 2)
        again = Enhancement(flow_cases.head(), flow_cases.m1_maps(), bolus, where=lattice())
    finally:
        torch.set_num_threads(before)
    times = np.array([18.0])
    assert curves(again, times).tobytes() == curves(enhancement, times).tobytes()


def test_times_and_voxels_that_do_not_fit_are_refused() -> None:
    enhancement, _ = usual()
    with pytest.raises(ValueError, match="which has shape"):
        enhancement.at(np.array([1.0]), np.zeros(3, dtype=np.int64))
    with pytest.raises(ValueError, match="after the end of the bolus curve"):
        enhancement.at(np.array([500.0]), np.zeros(len(enhancement.voxels), dtype=np.int64))


@pytest.mark.parametrize("tau_s", [0.0, 0.02, 0.5, 4.0])
def test_dispersion_keeps_area_and_mean(tau_s: float) -> None:
    weights = dispersion_weights(tau_s, 3000, 0.05)
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    assert (weights * np.arange(3000) * 0.05).sum() == pytest.approx(tau_s, abs=1e-4)
    assert weights.min() >= -1e-12
