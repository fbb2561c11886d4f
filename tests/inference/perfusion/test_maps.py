import numpy as np
import pytest

from inference.perfusion.deconvolution import Residue
from inference.perfusion.maps import perfusion_maps

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
