"""Pictures show what they say they show."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from training.simulate import figures
from training.simulate.anatomy.build import build_anatomy
from training.simulate.anatomy.person import draw_person
from training.simulate.ct.kernels import KERNELS
from training.simulate.pathology.bleeds import draw_bleed
from training.simulate.pathology.head import BloodKind
from training.simulate.pathology.patient import Case, Patient, make_patient
from training.simulate.pathology.stroke import Occlusion

mpl.use("Agg")


@pytest.fixture(scope="module")
def patient() -> Patient:
    case = Case(1, stroke=Occlusion.M1, side="R", mimics=())
    return make_patient(case, build_anatomy(draw_person(1)))


@pytest.mark.parametrize("kind", [*BloodKind, "mixed"])
def test_hemorrhages_of_the_montage_are_fresh_and_large(kind: BloodKind) -> None:
    seeds = figures.acute_seeds(kind, 1, 2)
    assert len(set(seeds)) == 2
    for seed in seeds:
        bleed = draw_bleed(seed, kind)
        assert bleed.age_h < 48
        assert sum(bleed.volumes_ml.values()) >= 8


def test_a_row_of_perfusion_shows_contrast_maps_and_lesion(patient: Patient) -> None:
    panels = {panel.title: panel.image for panel in figures._ctp_panels(patient, "m1")}
    difference, tmax = panels["difference"], panels["Tmax 0-14 s"]
    brain = panels["CBF 0-80"] > 0
    assert np.percentile(difference[brain], 99.5) > 30
    assert difference[brain].mean() > 3
    assert abs(float(difference[:10].mean())) < 3
    lesion = panels["penumbra, core"] > 0
    assert tmax[lesion].mean() > 6 > tmax[brain & ~lesion].mean()
    columns = np.argwhere(lesion)[:, 1]
    assert columns.mean() < lesion.shape[1] / 2  # the patient's right is on the image's left


def test_noise_spectra_of_all_kernels_are_drawn() -> None:
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots()
    figures._plot_spectra(axis, 1, size=128)
    lines = axis.get_lines()
    groups = [group for purposes in KERNELS.values() for group in purposes["ncct"].values()]
    count = sum(len(group) for group in groups)
    assert len(lines) == count
    for line in lines:
        frequencies, power = np.asarray(line.get_data(), dtype=np.float64)
        peak = frequencies[np.argmax(power)]
        assert 0.05 < peak < 0.5
        assert power[-1] < 0.2  # noise of a head kernel ends before the pixels do
    plt.close(figure)


def test_pictures_of_the_same_seed_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(seed: int) -> Any:
        image = np.random.default_rng(seed).normal(40, 10, (32, 32))
        return figures._montage([[figures.Panel("a", image)], [figures.Panel("b", image)]])

    for name in ("ncct_figure", "ctp_figure", "mr_figure", "curves_figure"):
        monkeypatch.setattr(figures, name, small)
    told: list[str] = []
    first = figures.write_figures(tmp_path / "one", 1, told.append)
    second = figures.write_figures(tmp_path / "two", 1)
    assert [path.name for path in first] == told
    for left, right in zip(first, second, strict=True):
        assert left.read_bytes() == right.read_bytes()
        with Image.open(left) as image:
            assert image.size[0] > 100
