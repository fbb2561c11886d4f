"""Pictures show what they say they show."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from training.pictures import Panel, montage
from training.simulate import figures
from training.simulate.anatomy.build import build_anatomy
from training.simulate.anatomy.person import draw_person
from training.simulate.ct.kernels import KERNELS
from training.simulate.pathology.bleeds import draw_bleed
from training.simulate.pathology.head import BloodKind
from training.simulate.pathology.patient import Case, Patient, make_patient
from training.simulate.pathology.stroke import Occlusion

mpl.use("Agg")
SIZES: dict[str, dict[str, float]] = {
    "ncct": {"matrix": 128},
    "ctp": {"matrix": 96},
    "pwi": {"rows": 64, "columns": 64, "acquired": 64, "slices": 10, "frames": 24},
    "dwi": {"rows": 96, "columns": 96, "acquired": 96, "slices": 14},
    "gre": {"rows": 96, "columns": 96, "acquired": 96, "slices": 20},
}


@pytest.fixture(autouse=True)
def small_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the pictures from small scans of one head."""

    def smaller(name: str) -> Callable[..., Any]:
        draw = getattr(figures, name)
        sizes = SIZES[name.split("_")[1]]
        return lambda seed, scanner, **asked: draw(seed, scanner, **{**asked, **sizes})

    for kind in SIZES:
        name = f"draw_{kind}_protocol"
        monkeypatch.setattr(figures, name, smaller(name))
    monkeypatch.setattr(figures, "make_patient", on_one_head)


def on_one_head(case: Case) -> Patient:
    return make_patient(replace(case, anatomy_seed=1), build_anatomy(draw_person(1)))


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


def test_a_panel_of_blood_shows_the_slice_that_holds_most() -> None:
    panel = figures._blood_panel(BloodKind.INTRAPARENCHYMAL, 1)
    assert panel.title.startswith("intraparenchymal")
    volume_ml = float(panel.title.split()[1])
    assert np.count_nonzero((panel.image > 45) & (panel.image < 90)) > 0.2 * volume_ml


def test_a_panel_of_a_mimic_shows_it_and_one_of_early_stroke_its_time() -> None:
    calcium = figures._mimic_panel("calcification", 3)
    assert calcium.title == "calcification"
    early = figures._early_panel(1, 2.0)
    assert int(early.title.removeprefix("stroke, ").removesuffix(" h")) >= 2
    brain = early.image[(early.image > 10) & (early.image < 60)]
    assert 20 < np.median(brain) < 40


def test_a_mimic_that_a_head_cannot_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = on_one_head(Case(1, stroke="none", mimics=()))
    monkeypatch.setattr(figures, "make_patient", lambda case: healthy)
    with pytest.raises(RuntimeError, match="seed 1 has no metal"):
        figures._mimic_panel("metal", 1)


def test_a_row_of_mr_shows_the_bolus_the_core_and_the_next_day(patient: Patient) -> None:
    panels = figures._mr_panels(patient)
    images = {panel.title: panel.image.astype(np.float64) for panel in panels}
    before, peak = images["PWI before contrast"], images["PWI at the peak"]
    tmax = images["Tmax 0-14 s"]
    alive, late = (tmax > 0) & (tmax < 4), tmax > 8
    assert peak[alive].mean() / before[alive].mean() < 0.9
    assert peak[late].mean() / before[late].mean() > peak[alive].mean() / before[alive].mean()
    b0, b1000, adc = images["b 0"], images["b 1000"], images["ADC"]
    restricted = (adc > 200) & (adc < 550) & (b0 > np.median(b0[adc > 0]) / 2)
    normal = (adc > 700) & (adc < 950)
    assert b1000[restricted].mean() > 1.2 * b1000[normal].mean()
    assert panels[-1].title.startswith("T2* next day: ")


def test_curves_come_late_and_low_where_flow_is_low(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib.pyplot as plt

    monkeypatch.setattr(figures, "make_patient", lambda case: patient)
    monkeypatch.setattr(figures, "_plot_spectra", lambda axis, seed: None)
    figure = figures.curves_figure(1)
    ct, mr = (
        {str(line.get_label()): np.asarray(line.get_data(), float) for line in axis.get_lines()}
        for axis in figure.axes[:2]
    )
    peaks = {name: float(curve[1].max()) for name, curve in ct.items()}
    assert peaks["artery / 10"] > peaks["normal"] > peaks["penumbra"] > peaks["core"] > 0
    times = {name: float(curve[0][curve[1].argmax()]) for name, curve in ct.items()}
    assert times["artery / 10"] < times["normal"] < times["penumbra"]
    assert times["artery / 10"] < times["vein / 10"]
    least = {name: float(curve[1].min()) for name, curve in mr.items()}
    assert least["normal"] < least["penumbra"] < least["core"] < 1
    plt.close(figure)


def test_the_montage_of_head_ct_has_every_kind_of_blood_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import matplotlib.pyplot as plt

    def panel(name: object, *_: object) -> Panel:
        return Panel(str(name), np.zeros((8, 8)))

    for name in ("_blood_panel", "_mimic_panel", "_early_panel"):
        monkeypatch.setattr(figures, name, panel)
    figure = figures.ncct_figure(1)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles.count("no finding") == 6
    for kind in (*BloodKind, "mixed"):
        assert titles.count(str(kind)) == 2
    assert "metal" in titles
    levels = [axis.get_images()[0].get_array() for axis in figure.axes[:6]]
    brain = [np.mean((level > 5) & (level < 60)) for level in levels if level is not None]
    assert max(brain[0], brain[5]) < min(brain[2:4])  # from the base of the brain to its vertex
    plt.close(figure)


def test_the_first_stroke_that_bleeds_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "make_patient", lambda case: case)
    monkeypatch.setattr(
        figures, "draw_transformation", lambda case, seed: SimpleNamespace(present=seed == 9)
    )
    case = figures._transformed(7)
    assert (case.seed, case.anatomy_seed, case.stroke) == (9, 7, Occlusion.ICA)
    with pytest.raises(RuntimeError, match="10 to 109"):
        figures._transformed(10)


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
        return montage([[Panel("a", image)], [Panel("b", image)]])

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
