import numpy as np
import pytest

from inference.perfusion.deconvolution import Residue, deconvolve
from inference.perfusion.maps import perfusion_maps
from tests.inference.perfusion.phantom import bolus, tissue_curve

TIMES = np.arange(30.0)


def bump(at: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(np.exp(-(((TIMES - at) / 4) ** 2)))


def test_units_and_central_volume_theorem() -> None:
    aif = 300 * bump(10)
    curves = (0.05 * 300 * bump(12.3))[None].astype(np.float32)
    residue = Residue(np.array([0.01]), np.array([2.5]), np.array([0.1]))
    found = perfusion_maps(curves, TIMES, aif, residue, arrival_s=4.0, kh=0.73, rho_g_per_ml=1.04)
    scale = 0.73 / 1.04
    assert found.cbf[0] == pytest.approx(6000 * scale * 0.01)
    assert found.cbv[0] == pytest.approx(100 * scale * 0.05, rel=1e-3)
    assert found.mtt[0] == pytest.approx(60 * found.cbv[0] / found.cbf[0])
    assert found.tmax[0] == pytest.approx(2.5)
    assert found.ttp[0] == pytest.approx(12.3 - 4.0, abs=0.05)
    assert found.cbf.dtype == np.float32


@pytest.mark.parametrize(("end_s", "error"), [(30, 0.14), (40, 0.1), (60, 0.06)])
@pytest.mark.parametrize("mtt", [4.0, 8.0])
def test_a_short_scan_takes_little_from_the_volume_of_late_tissue(
    end_s: int, error: float, mtt: float
) -> None:
    """Closer to the truth than the ratio of the whole areas, with less spread over delays."""
    fine = np.arange(0, end_s, 0.1)
    artery = bolus(fine, 6.0, 300.0)
    delays = (0.0, 2.0, 4.0, 6.0)
    curves = np.stack([tissue_curve(artery, 0.1, 60 * 4 / mtt, mtt, d)[::10] for d in delays])
    aif, times = artery[::10], np.arange(float(end_s))
    residue = deconvolve(curves.astype(np.float32), times, aif)
    found = perfusion_maps(
        curves.astype(np.float32), times, aif, residue, arrival_s=6.0, kh=0.73, rho_g_per_ml=1.04
    ).cbv
    whole = 100 * 0.73 / 1.04 * curves.sum(axis=1) / aif.sum()
    assert np.all(np.abs(found / 4 - 1) <= np.abs(whole / 4 - 1))
    assert np.ptp(found) < np.ptp(whole)
    if mtt == 4.0:
        assert np.all(np.abs(found / 4 - 1) < error)


def test_noise_that_puts_tmax_at_the_end_leaves_half_of_the_artery() -> None:
    aif = np.ones(30)
    residue = Residue(np.array([0.01, 0.01]), np.array([29.0, -5.0]), np.array([0.1, 0.1]))
    found = perfusion_maps(
        np.ones((2, 30), np.float32), TIMES, aif, residue, arrival_s=5.0, kh=1.0, rho_g_per_ml=1.0
    )
    np.testing.assert_allclose(found.cbv, [100 * 30 / (30 - 12), 100])


def test_negative_areas_and_flows_become_zero() -> None:
    residue = Residue(np.array([-0.01]), np.array([2.5]), np.array([0.1]))
    curves = np.full((1, 30), -1, np.float32)
    found = perfusion_maps(
        curves, TIMES, bump(10), residue, arrival_s=4.0, kh=0.73, rho_g_per_ml=1.04
    )
    assert found.cbf[0] == found.cbv[0] == found.mtt[0] == 0


def test_arrival_at_the_very_end_leaves_no_peak() -> None:
    residue = Residue(np.array([0.01]), np.array([2.5]), np.array([0.1]))
    found = perfusion_maps(
        bump(10)[None].astype(np.float32),
        TIMES,
        bump(10),
        residue,
        arrival_s=28.0,
        kh=0.73,
        rho_g_per_ml=1.04,
    )
    assert found.ttp[0] == pytest.approx(1.0)
