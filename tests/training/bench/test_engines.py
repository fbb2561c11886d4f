"""dcmri through its engine, against the same inversion written out here."""

import numpy as np
import pytest

from training.bench import engines
from training.bench.engines import (
    MissingPackageError,
    dcmri_engine,
    require_dcmri,
    timed,
)
from training.evaluate.engines import own_engines
from training.evaluate.perfusion_phantom import KH, RHO_G_PER_ML, build_tiles, noisy_curves

TILES = build_tiles("exponential")


def test_dcmri_truncates_the_singular_values_of_its_matrix() -> None:
    curves, aif = noisy_curves(TILES, 2.0, patch=1)
    times = 1.5 * np.arange(len(aif), dtype=np.float64)
    found, seconds = timed(dcmri_engine("TSVD", 0.2), curves, times, aif)
    size = len(aif)
    matrix = np.zeros((size, size))
    for i in range(1, size):  # the integral of a product of two piecewise linear functions
        matrix[i, 0] = aif[i - 1] + 2 * aif[i]
        matrix[i, i] = 2 * aif[0] + aif[1]
        for j in range(1, i):
            matrix[i, i - j] = aif[j - 1] + 4 * aif[j] + aif[j + 1]
    left, values, right = np.linalg.svd(1.5 * matrix / 6)
    inverse = np.where(values > 0.2 * values[0], 1 / values, 0)
    residues = right.T @ (inverse[:, None] * (left.T @ curves.T.astype(np.float64)))
    np.testing.assert_allclose(found.flow, residues.max(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(found.tmax_s, 1.5 * residues.argmax(axis=0))
    assert set(found.truncation) == {0.2}
    assert seconds > 0


def test_engines_agree_on_tissue_without_noise_and_delay() -> None:
    """In proportion; each underestimates an exponential residue function by a share of its own."""
    still = TILES.delay_s == 0
    (ours,) = own_engines(["bsvd"])
    for engine in (ours, dcmri_engine("TSVD", 0.1), dcmri_engine("Tikhonov", 0.1)):
        curves = TILES.curves[still].astype(np.float32)
        cbf = 6000 * KH / RHO_G_PER_ML * engine.run(curves, TILES.times_s, TILES.aif).flow
        assert np.corrcoef(cbf, TILES.cbf[still])[0, 1] > 0.98
        assert 0.5 < cbf.sum() / TILES.cbf[still].sum() < 1


def test_dcmri_is_asked_for_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    require_dcmri()
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"^dcmri is not installed; .*pip install"):
        require_dcmri()
