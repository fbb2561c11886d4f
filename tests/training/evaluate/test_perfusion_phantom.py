import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.perfusion.deconvolution import METHODS, Method
from training.evaluate.engines import own_engines, pipeline_engine
from training.evaluate.perfusion_phantom import (
    KERNEL_S,
    KH,
    RHO_G_PER_ML,
    SHAPES,
    SMOOTHING_VOXELS,
    Agreement,
    Shape,
    arterial_input,
    build_tiles,
    measure_engines,
    noisy_curves,
    seen_peak,
)


@pytest.fixture(scope="module")
def clean() -> dict[tuple[str, str], Agreement]:
    rows = list(measure_engines(own_engines(), (0.0,)))
    assert len(rows) == len(METHODS) * len(SHAPES)
    return {(row.engine, row.shape): row for row in rows}


@pytest.fixture(scope="module")
def noisy() -> dict[str, Agreement]:
    """The pipelines' method, on smaller tiles than the command's."""
    return {row.shape: row for row in measure_engines([pipeline_engine()], (6.0,), patch=24)}


@pytest.mark.parametrize("shape", SHAPES)
def test_tiles_cover_the_ranges_and_keep_the_central_volume_theorem(shape: Shape) -> None:
    tiles = build_tiles(shape)
    kudo = (tiles.delay_s >= 0) & (tiles.delay_s <= 3)
    assert int(kudo.sum()) == 5 * 7 * 7
    for values, low, high in (
        (tiles.cbf, 2.5, 87.5),
        (tiles.cbv, 1, 5),
        (tiles.mtt_s, 24 / 7, 24),
    ):
        assert (values.min(), values.max()) == pytest.approx((low, high))
    np.testing.assert_allclose(tiles.cbf * tiles.mtt_s, 60 * tiles.cbv)
    assert (tiles.delay_s.min(), tiles.delay_s.max()) == (-3, 5)


@pytest.mark.parametrize("shape", SHAPES)
def test_curves_are_the_convolution(shape: Shape) -> None:
    """Against direct quadrature in steps of 0.01 s, which samples the residue function."""
    tiles = build_tiles(shape)
    fine = 0.01
    t = np.arange(-10, 60, fine)
    artery = arterial_input(t)
    for index in (3, 100, 250, 419):
        since = np.arange(0, 60, fine) + fine / 2
        ratio = since / tiles.mtt_s[index]
        residue = np.exp(-ratio) if shape == "exponential" else (ratio < 1) * 1.0
        flow = RHO_G_PER_ML / KH * tiles.cbf[index] / 6000
        curve = flow * np.convolve(artery, residue)[: len(t)] * fine
        wanted = np.interp(tiles.times_s - tiles.delay_s[index] - fine / 2, t, curve)
        np.testing.assert_allclose(tiles.curves[index], wanted, atol=0.002 * wanted.max())


def test_the_artery_is_a_bolus_of_textbook_size() -> None:
    t = np.arange(0, 60, 0.01)
    curve = arterial_input(t)
    above = t[curve > curve.max() / 2]
    assert curve.max() == pytest.approx(300, rel=0.01)
    assert 5.5 < above[-1] - above[0] < 7
    assert not curve[t <= 8].any()


def test_the_kernel_is_what_the_first_pass_of_the_artery_resolves() -> None:
    """An ideal low pass at frequency f has a full width at half maximum of 0.603 / f."""
    t = np.arange(0, 400, 0.05)
    first = np.maximum(t - 8, 0) ** 3 * np.exp(-np.maximum(t - 8, 0) / 1.5)
    magnitude = np.abs(np.fft.rfft(first))
    frequency = np.fft.rfftfreq(len(t), 0.05)
    tenth = frequency[np.flatnonzero(magnitude < 0.1 * magnitude[0])[0]]
    assert tenth == pytest.approx(0.156, abs=0.003)
    assert pytest.approx(0.603 / tenth, abs=0.2) == KERNEL_S


@given(mtt=st.floats(3.4, 24))
@settings(max_examples=15, deadline=None)
def test_seen_peaks_are_those_of_the_convolution_with_the_kernel(mtt: float) -> None:
    t = np.arange(-20, 60, 0.02)
    kernel = np.exp(-4 * np.log(2) * (t[:1001] + 10) ** 2 / KERNEL_S**2)
    exponential = np.exp(-np.maximum(t, 0) / mtt) * (t >= 0)
    seen = np.convolve(exponential, kernel, "same")
    assert seen_peak("exponential", mtt) == pytest.approx(t[seen.argmax()], abs=0.05)
    assert seen_peak("box", mtt) == mtt / 2


def test_noise_has_the_stated_size_before_and_after_smoothing() -> None:
    """A Gaussian of s voxels leaves 1 / (2 sqrt(pi) s) of the noise in the plane."""
    tiles = build_tiles("box")
    curves, aif = noisy_curves(tiles, 6.0, patch=16)
    left = curves.reshape(len(tiles.curves), -1, 60) - tiles.curves[:, None]
    assert left.std() == pytest.approx(6 / (2 * np.sqrt(np.pi) * SMOOTHING_VOXELS), rel=0.02)
    assert np.std(aif - tiles.aif) == pytest.approx(2, rel=0.3)
    assert abs(left.mean()) < 0.01


def test_the_same_seed_gives_the_same_bytes() -> None:
    tiles = build_tiles("exponential")
    one, two, other = (noisy_curves(tiles, 6.0, patch=2, seed=s)[0].tobytes() for s in (4, 4, 5))
    assert one == two
    assert one != other


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", [m for m in METHODS if m != "ssvd"])
def test_without_noise_methods_that_do_not_depend_on_delay_agree(
    clean: dict[tuple[str, str], Agreement], method: Method, shape: Shape
) -> None:
    row = clean[method, shape]
    assert min(row.r_cbf, row.r_cbv, row.r_mtt, row.r_tmax) > 0.95
    assert abs(row.cbf_percent_per_s) < 2
    assert row.tmax_per_s == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_standard_method_is_told_apart(
    clean: dict[tuple[str, str], Agreement], shape: Shape
) -> None:
    assert abs(clean["ssvd", shape].tmax_per_s - 1) > 0.05
    assert clean["ssvd", shape].r_cbf < clean["osvd", shape].r_cbf


@pytest.mark.parametrize("shape", SHAPES)
def test_the_default_method_agrees_at_the_noise_of_a_scan(
    noisy: dict[str, Agreement], shape: Shape
) -> None:
    row = noisy[shape]
    assert min(row.r_cbf, row.r_cbv, row.r_mtt, row.r_tmax) > 0.9
    assert abs(row.cbf_percent_per_s) < 2
    assert row.tmax_per_s == pytest.approx(1, abs=0.05)
