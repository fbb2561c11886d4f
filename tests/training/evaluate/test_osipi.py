"""Reading the reference object, and its tolerance."""

from pathlib import Path

import numpy as np
import pytest

from training.evaluate.engines import own_engines
from training.evaluate.osipi import Pair, measure_osipi, read_pairs


def write(path: Path, rows: list[str], header: str = "label,C_tis,C_aif,cbv,cbf,tr") -> Path:
    path.write_text("\n".join([header, *rows]), encoding="utf-8")
    return path


def exponential(cbf: float, cbv: float) -> tuple[str, str]:
    """Tissue with an exponential residue function and its artery, a sample per second."""
    t = np.arange(0, 60, 0.05)
    u = np.clip(t - 8, 0, None) / 4.5
    artery = 300 * (u * np.exp(1 - u)) ** 3
    tissue = np.convolve(artery, cbf / 6000 * np.exp(-t * cbf / (60 * cbv)))[: len(t)] * 0.05
    one, two = (" ".join(f"{value:.6e}" for value in curve[::20]) for curve in (tissue, artery))
    return one, two


def test_rows_become_pairs(tmp_path: Path) -> None:
    (pair,) = read_pairs(write(tmp_path / "a.csv", ["x,1 2  3e-1,4 5 6,2,30,1.5"]))
    assert (pair.label, pair.cbv, pair.cbf) == ("x", 2.0, 30.0)
    np.testing.assert_array_equal(pair.tissue, [1, 2, 0.3])
    np.testing.assert_array_equal(pair.artery, [4, 5, 6])
    np.testing.assert_array_equal(pair.times_s, [0, 1.5, 3])


@pytest.mark.parametrize(
    ("rows", "header"),
    [
        ([], "label,C_tis,C_aif,cbv,cbf,tr"),
        (["x,1 2 3,4 5,2,30,1.5"], "label,C_tis,C_aif,cbv,cbf,tr"),
        (["x,1 2 a,4 5 6,2,30,1.5"], "label,C_tis,C_aif,cbv,cbf,tr"),
        (["x,1 2 3"], "label,C_tis,C_aif,cbv,cbf,tr"),
        (["x,1 2 3,4 5 6,2,30"], "label,tissue,C_aif,cbv,cbf"),
    ],
    ids=["empty", "lengths", "numbers", "short", "columns"],
)
def test_other_files_are_refused(tmp_path: Path, rows: list[str], header: str) -> None:
    with pytest.raises(ValueError, match="not OSIPI's DSC reference object; expected the columns"):
        read_pairs(write(tmp_path / "a.csv", rows, header))


def test_the_tolerance_is_absolute_plus_relative() -> None:
    curve = np.ones(3)
    pair = Pair("x", curve, curve, 1.0, cbf=40.0, cbv=4.0)
    assert pair.within((-19.0, 1.4))
    assert not pair.within((19.1, 0.0))
    assert not pair.within((0.0, -1.41))
    assert pair.within((9.5, 0.7), share=0.5)
    assert not pair.within((9.6, 0.0), share=0.5)


def test_methods_come_near_to_exponential_residue_functions(tmp_path: Path) -> None:
    rows = [f"x,{','.join(exponential(cbf, 4.0))},4,{cbf},1" for cbf in (20.0, 40.0)]
    bsvd, tikhonov = measure_osipi(
        read_pairs(write(tmp_path / "a.csv", rows)), own_engines(["bsvd", "tikhonov"])
    )
    assert (bsvd.engine, bsvd.pairs, bsvd.within, tikhonov.within) == ("bsvd", 2, 2, 2)
    assert bsvd.within_half <= bsvd.within
    assert 0 < bsvd.cbf_error < 15
    assert bsvd.cbv_error == pytest.approx(0, abs=0.1)
