from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage

from inference.derived_ncct import derive as module
from inference.derived_ncct.derive import (
    HALO,
    Limits,
    derive,
    most_voxels,
    network_share,
    tiling_error,
)
from inference.derived_ncct.model import Model, load_model
from inference.networks.precision import computes_bfloat16
from inference.pipelines.ctp_derived_ncct import CtpDerivedNcctSettings
from tests.support.models import write_derived_ncct

SPACING_MM = (0.8, 0.8)
EXACT = Limits(precision="float32")
BRAIN_HU, BONE_HU = 35.0, 900.0


@pytest.fixture
def model(tmp_path: Path) -> Model:
    write_derived_ncct(tmp_path, filters=4)
    return load_model(tmp_path, "cpu")


def cylinder(shape: tuple[int, int, int], radius: float) -> npt.NDArray[np.bool_]:
    rows, columns = (np.arange(size) - (size - 1) / 2 for size in shape[1:])
    disc = rows[:, None] ** 2 + columns[None, :] ** 2 < radius**2
    return np.broadcast_to(disc, shape).copy()


def head(
    times: int = 5, shape: tuple[int, int, int] = (4, 56, 64)
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Frames of a cylinder in bone, with noise and a bolus in a part of it; its cavity."""
    rng = np.random.default_rng(3)
    cavity = cylinder(shape, 18)
    still = np.where(cavity, BRAIN_HU, np.where(cylinder(shape, 22), BONE_HU, -1000.0))
    vessels = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5)
    bolus = 150 * np.sin(np.linspace(0, np.pi, times))
    frames = still + bolus[:, None, None, None] * np.clip(vessels / vessels.std() - 1, 0, None)
    frames += 5 * rng.standard_normal(frames.shape)
    return frames.astype(np.float32), cavity


def test_inside_is_the_networks_and_outside_the_scans_own(model: Model) -> None:
    frames, cavity = head()
    with torch.no_grad():
        for tensor in model.network.parameters():
            tensor.zero_()
        model.network.head.bias.fill_(0.4)  # type: ignore[union-attr]
    seen: list[float] = []
    found = derive(frames, cavity, SPACING_MM, model, EXACT, seen.append)
    share = network_share(cavity, SPACING_MM)
    mean = frames[:4].mean(axis=0)
    assert found.image.dtype == np.float32
    np.testing.assert_allclose(found.image[cavity], 0.4 * 250 - 50, atol=1e-3)
    np.testing.assert_array_equal(found.image[share == 0], mean[share == 0])
    np.testing.assert_allclose(found.image, share * 50 + (1 - share) * mean, atol=1e-2)
    assert (found.tiles, found.precision, seen) == (1, "float32", [1.0])


def test_the_share_falls_over_two_millimetres() -> None:
    cavity = np.zeros((2, 1, 80), np.bool_)
    cavity[0, 0, :20] = True
    share = network_share(cavity, (0.1, 0.1))
    assert not share[1].any()
    at_mm = {mm: float(share[0, 0, 19 + round(10 * mm)]) for mm in (0, 1, 2, 3)}
    assert at_mm == pytest.approx({0: 1, 1: 1, 2: 0.5, 3: 0}, abs=1e-6)
    assert np.abs(np.diff(share[0, 0])).max() < 0.06


def test_frames_are_not_changed(model: Model) -> None:
    frames, cavity = head()
    before = frames.copy()
    derive(frames, cavity, SPACING_MM, model, EXACT)
    np.testing.assert_array_equal(frames, before)


def test_without_a_cavity_the_mean_remains(model: Model) -> None:
    frames, cavity = head()
    found = derive(frames, np.zeros_like(cavity), SPACING_MM, model)
    np.testing.assert_array_equal(found.image, frames[:4].mean(axis=0))
    assert found.tiles == 0


def test_tiles_give_what_the_whole_gives(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, cavity = head(shape=(4, 100, 100))
    cavity = cylinder(cavity.shape, 40)
    whole = derive(frames, cavity, SPACING_MM, model, EXACT)
    seen: list[float] = []
    monkeypatch.setattr(module, "most_voxels", lambda *_arguments, **_half: 35_000)
    tiled = derive(frames, cavity, SPACING_MM, model, EXACT, seen.append)
    assert (whole.tiles, tiled.tiles) == (1, 4)
    assert seen == [0.25, 0.5, 0.75, 1.0]
    inside = network_share(cavity, SPACING_MM) > 0
    assert np.ptp(whole.image[cavity]) > 10
    assert np.abs(whole.image - tiled.image)[inside].max() < 0.5


def test_the_error_of_tiling_falls_with_the_halo(model: Model) -> None:
    frames, _ = head(shape=(4, 96, 96))
    errors = [tiling_error(frames, model, halo) for halo in (1, 4, HALO)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.5
    assert tiling_error(frames, model, 32) < 1e-3


def test_the_default_halo_is_the_measured_one() -> None:
    settings = CtpDerivedNcctSettings()
    assert Limits() == Limits(settings.memory_gb, settings.precision, settings.halo)
    assert settings.halo == HALO


def test_memory_bounds_the_voxels(model: Model) -> None:
    small = most_voxels(model, 19, Limits(memory_gb=1), half=False)
    assert most_voxels(model, 19, Limits(memory_gb=2), half=False) == pytest.approx(
        2 * small, abs=2
    )
    assert small < most_voxels(model, 19, Limits(memory_gb=1), half=True) < 2 * small
    assert most_voxels(model, 38, Limits(memory_gb=1), half=False) < small
    for layers in (1, 3):
        other = replace(model, network=type(model.network)(layers, 4, 3, 3))
        found = most_voxels(other, 19, Limits(memory_gb=1), half=False)
        assert (found > small) is (layers == 1)
    assert 4 * model.filters * most_voxels(model, 1, Limits(memory_gb=1000), half=True) < 2**31


@pytest.mark.skipif(not computes_bfloat16("cpu"), reason="no bfloat16 on this CPU")
def test_half_precision_stays_near(model: Model) -> None:
    frames, cavity = head()
    exact = derive(frames, cavity, SPACING_MM, model, EXACT)
    half = derive(frames, cavity, SPACING_MM, model)
    assert half.precision == "bfloat16"
    error = (half.image - exact.image)[cavity]
    assert error.any()
    assert np.sqrt(np.mean(error**2)) < 1.0


def test_float32_where_nothing_else_is_fast(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, cavity = head()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert derive(frames, cavity, SPACING_MM, model).precision == "float32"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_and_cpu_agree(model: Model, tmp_path: Path) -> None:
    frames, cavity = head()
    exact = derive(frames, cavity, SPACING_MM, model, EXACT)
    found = derive(frames, cavity, SPACING_MM, load_model(tmp_path, "cuda:0"), EXACT)
    np.testing.assert_allclose(found.image, exact.image, atol=0.5)
