import csv

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.perfusion.deconvolution import TRUNCATIONS, Method, deconvolve
from tests.inference.perfusion.phantom import bolus, tissue_curve
from tests.support.shared import SHARED_DATA, shared_data

Array = npt.NDArray[np.float64]
TIMES = np.arange(40.0)


def fine_tissue(cbf: float, mtt: float, delay: float, box: bool = False) -> Array:
    """Tissue curve at whole seconds, convolved in steps of 0.05 s, kH and density 1."""
    step = 0.05
    t = np.arange(0, 60, step)
    artery = bolus(t, 8.0, 300.0)
    lag = t - delay
    shape = (lag < mtt) if box else np.exp(-np.maximum(lag, 0) / mtt)
    residue = cbf / 6000 * shape * (lag >= 0)
    return np.asarray(np.convolve(artery, residue)[: len(t)] * step)[:: round(1 / step)][:60]


def circulant_residues(curve: Array, aif: Array, step: float, truncation: float) -> Array:
    """Block-circulant solution by the singular value decomposition of the full matrix."""
    samples = 2 * len(aif)
    padded = np.r_[aif, np.zeros(len(aif))]
    matrix = step * np.stack([np.roll(padded, k) for k in range(samples)], axis=1)
    left, values, right = np.linalg.svd(matrix)
    inverse = np.where(values >= truncation * values[0], 1 / values, 0)
    return np.asarray(right.T @ (inverse * (left.T @ np.r_[curve, np.zeros(len(aif))])))


def oscillation(residue: Array) -> float:
    total = 0.0
    for i in range(2, len(residue)):
        total += abs(residue[i] - 2 * residue[i - 1] + residue[i - 2])
    return total / (len(residue) * float(np.abs(residue).max()))


def noisy_case(seed: int) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed)
    aif = bolus(TIMES, 6.0, 300.0) + generator.normal(0, 2, 40)
    curves = np.stack(
        [
            tissue_curve(aif, 1.0, generator.uniform(5, 80), generator.uniform(2, 14), delay)
            for delay in (0.0, 1.0, 2.0, 5.0)
        ]
    )
    return aif, curves + generator.normal(0, 1.0, curves.shape)


@pytest.mark.parametrize("seed", range(4))
def test_fourier_bsvd_equals_matrix(seed: int) -> None:
    aif, curves = noisy_case(seed)
    found = deconvolve(curves, 1.5 * TIMES, aif, "bsvd", truncation=0.12, keep_residue=True)
    wanted = [circulant_residues(curve, aif, 1.5, 0.12) for curve in curves]
    assert found.residue is not None
    np.testing.assert_allclose(found.residue, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("target", [0.02, 0.035, 0.095])
@pytest.mark.parametrize("seed", range(3))
def test_fourier_osvd_equals_matrix(seed: int, target: float) -> None:
    aif, curves = noisy_case(seed)
    found = deconvolve(curves, TIMES, aif, "osvd", oscillation_target=target, keep_residue=True)
    assert found.residue is not None
    for curve, residue in zip(curves, found.residue, strict=True):
        for truncation in TRUNCATIONS:
            wanted = circulant_residues(curve, aif, 1.0, truncation)
            if oscillation(wanted) <= target:
                break
        np.testing.assert_allclose(residue, wanted, rtol=0, atol=1e-9)


def test_ssvd_equals_matrix() -> None:
    aif, curves = noisy_case(1)
    matrix = np.array([[aif[i - j] if i >= j else 0.0 for j in range(40)] for i in range(40)])
    left, values, right = np.linalg.svd(matrix)
    inverse = np.where(values >= 0.2 * values[0], 1 / values, 0)
    found = deconvolve(curves, TIMES, aif, "ssvd", keep_residue=True)
    assert found.residue is not None
    np.testing.assert_allclose(
        found.residue, [right.T @ (inverse * (left.T @ c)) for c in curves], atol=1e-9
    )


@pytest.mark.parametrize("method", ["osvd", "bsvd"])
def test_shift_moves_tmax_one_for_one_and_not_cbf(method: Method) -> None:
    aif = bolus(np.arange(60.0), 12.0, 300.0)
    still = tissue_curve(aif, 1.0, 50, 4, 0)
    shifts = np.arange(-5, 6)
    curves = np.stack([np.interp(np.arange(60.0) - s, np.arange(60.0), still) for s in shifts])
    found = deconvolve(curves, np.arange(60.0), aif, method)
    np.testing.assert_allclose(found.tmax_s - found.tmax_s[5], shifts, atol=0.2)
    np.testing.assert_allclose(found.flow, found.flow[5], rtol=0.03)


@given(shift=st.floats(-4, 4), mtt=st.floats(3, 12), cbf=st.floats(5, 80))
@settings(max_examples=25, deadline=None)
def test_fractional_delay(shift: float, mtt: float, cbf: float) -> None:
    t = np.arange(0, 60, 0.05)
    fine = bolus(t, 12.0, 300.0)
    curve = tissue_curve(fine, 0.05, cbf, mtt, 0)
    pair = np.stack([curve, np.interp(t - shift, t, curve, left=0.0)])[:, ::20]
    found = deconvolve(pair, t[::20], fine[::20], "bsvd")
    assert found.tmax_s[1] - found.tmax_s[0] == pytest.approx(shift, abs=0.35)
    assert found.flow[1] == pytest.approx(found.flow[0], rel=0.06)


@given(scale=st.floats(0.1, 10), seed=st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_linear_in_tissue_and_inverse_in_artery(scale: float, seed: int) -> None:
    aif, curves = noisy_case(seed)
    one = deconvolve(curves, TIMES, aif)
    np.testing.assert_allclose(deconvolve(scale * curves, TIMES, aif).flow, scale * one.flow)
    np.testing.assert_allclose(deconvolve(curves, TIMES, scale * aif).flow, one.flow / scale)
    np.testing.assert_allclose(deconvolve(scale * curves, TIMES, aif).tmax_s, one.tmax_s)


def test_batch_equals_single_voxels_and_single_precision_is_close() -> None:
    aif, curves = noisy_case(5)
    batch = deconvolve(curves, TIMES, aif)
    for index in range(len(curves)):
        single = deconvolve(curves[index : index + 1], TIMES, aif)
        assert single.flow[0] == pytest.approx(batch.flow[index], rel=1e-9)
    short = deconvolve(curves.astype(np.float32), TIMES, aif)
    assert short.flow.dtype == np.float32
    np.testing.assert_allclose(short.flow, batch.flow, rtol=1e-3)


@pytest.mark.parametrize("box", [False, True])
def test_ranges_of_the_kudo_phantom(box: bool) -> None:
    """CBF 2.5 to 87.5, CBV 1 to 5, MTT 3.4 to 24 s, delay 0 to 3 s (Kudo 2013, Radiology 267)."""
    truth = [
        (60 * cbv / mtt, cbv, mtt, delay)
        for cbv in (1.0, 2.0, 3.0, 4.0, 5.0)
        for mtt in (3.43, 4.0, 4.8, 6.0, 8.0, 12.0, 24.0)
        for delay in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
    ]
    t = np.arange(60.0)
    aif = bolus(t, 8.0, 300.0)
    curves = np.stack([fine_tissue(cbf, mtt, delay, box) for cbf, _, mtt, delay in truth])
    curves += np.random.default_rng(0).normal(0, 0.25, curves.shape)
    found = deconvolve(curves, t, aif)
    cbf, cbv, mtt, delay = np.array(truth).T
    cbf_found, cbv_found = 6000 * found.flow, 100 * curves.sum(axis=1) / aif.sum()
    assert np.corrcoef(cbf, cbf_found)[0, 1] > 0.9
    assert np.corrcoef(cbv, cbv_found)[0, 1] > 0.9
    assert np.corrcoef(mtt, 60 * cbv_found / cbf_found)[0, 1] > 0.9
    # Tmax holds part of MTT, so delays are compared at equal MTT; a long box has no one maximum.
    for one in np.unique(mtt[mtt <= 6]):
        same = (mtt == one) & (cbv >= 2)
        assert np.corrcoef(delay[same], found.tmax_s[same])[0, 1] > 0.9
    slope = np.polyfit(delay, cbf_found / cbf, 1)[0]
    assert abs(slope) < 0.02


@shared_data
def test_osipi_reference_object() -> None:
    """Half of OSIPI's tolerance for CBF; curves of high signal-to-noise allow more oscillation.

    The reference curves were summed by rectangles, which adds half a time step to the area of an
    exponential residue function: the expected CBV says so.
    """
    path = SHARED_DATA / "osipi-dsc" / "dsc_data.csv"
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 14
    for row in rows:
        curve = np.array(row["C_tis"].split(), float)
        aif = np.array(row["C_aif"].split(), float)
        step, cbf, cbv = (float(row[k]) for k in ("tr", "cbf", "cbv"))
        found = deconvolve(
            curve[None], step * np.arange(float(len(aif))), aif, oscillation_target=0.095
        )
        assert 6000 * found.flow[0] == pytest.approx(cbf, abs=7.5 + 0.05 * cbf)
        expected = cbv + cbf / 60 * step / 2
        assert 100 * curve.sum() / aif.sum() == pytest.approx(expected, abs=0.5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("method", ["osvd", "bsvd", "ssvd"])
def test_cuda_agrees_with_cpu(method: Method) -> None:
    aif, curves = noisy_case(7)
    curves = np.repeat(curves, 500, axis=0).astype(np.float32)
    here = deconvolve(curves, TIMES, aif, method)
    there = deconvolve(curves, TIMES, aif, method, "cuda")
    np.testing.assert_allclose(there.flow, here.flow, rtol=1e-3)
    np.testing.assert_allclose(there.tmax_s, here.tmax_s, atol=1e-2)


def test_simpson_weights_neighbours() -> None:
    aif, curves = noisy_case(2)
    padded = np.r_[aif, np.zeros(40)]
    smooth = (np.roll(padded, 1) + 4 * padded + np.roll(padded, -1)) / 6
    found = deconvolve(curves, TIMES, aif, "bsvd", quadrature="simpson", keep_residue=True)
    matrix = np.stack([np.roll(smooth, k) for k in range(80)], axis=1)
    left, values, right = np.linalg.svd(matrix)
    inverse = np.where(values >= 0.1 * values[0], 1 / values, 0)
    wanted = right.T @ (inverse * (left.T @ np.r_[curves[0], np.zeros(40)]))
    assert found.residue is not None
    np.testing.assert_allclose(found.residue[0], wanted, atol=1e-9)


def test_zero_curves_give_zero_and_no_voxels_give_nothing() -> None:
    aif, _ = noisy_case(0)
    found = deconvolve(np.zeros((3, 40)), TIMES, aif)
    assert np.all(found.flow == 0)
    assert np.isfinite(found.tmax_s).all()
    assert len(deconvolve(np.zeros((0, 40)), TIMES, aif, keep_residue=True).flow) == 0


@pytest.mark.parametrize(
    ("curves", "times", "aif", "method", "words"),
    [
        (np.zeros((2, 39)), TIMES, np.ones(40), "osvd", "expected"),
        (np.zeros((2, 40)), TIMES, np.ones(39), "osvd", "samples"),
        (np.zeros((2, 40)), TIMES**1.1, np.ones(40), "osvd", "even"),
        (np.zeros((2, 40)), TIMES, np.zeros(40), "osvd", "positive area"),
        (np.zeros((2, 40)), TIMES, np.ones(40), "magic", "unknown method"),
    ],
)
def test_arguments_that_do_not_fit(
    curves: Array, times: Array, aif: Array, method: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        deconvolve(curves, times, aif, method)  # type: ignore[arg-type]
