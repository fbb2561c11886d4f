from dataclasses import replace
from functools import cache
from typing import Literal

import numpy as np
import pytest

from tests.training.simulate import flow_cases
from training.simulate.anatomy.model import Vessel
from training.simulate.pathology.stroke import (
    _SOMETIMES,
    _TERRITORIES,
    FREQUENCIES,
    MAX_EARLY_CHANGE_HU,
    Occlusion,
    Stroke,
    draw_stroke,
    early_change_hu,
)


def volume_ml(stroke: Stroke, core: bool = False) -> float:
    anatomy = flow_cases.anatomy()
    weight = stroke.core_weight if core else stroke.hypoperfusion
    inside = weight > 0.5
    return float(anatomy.grey[inside].sum() + anatomy.white[inside].sum()) / 1000


@cache
def drawn(seed: int) -> tuple[Occlusion, str, float, float]:
    stroke = draw_stroke(flow_cases.anatomy(), seed)
    return stroke.occlusion, stroke.side, volume_ml(stroke), volume_ml(stroke, core=True)


@pytest.mark.parametrize("occlusion", list(Occlusion))
def test_a_stroke_lies_in_its_territory_and_on_its_side(occlusion: Occlusion) -> None:
    anatomy = flow_cases.anatomy()
    side: Literal["L", "R"] = (
        "L" if occlusion in (Occlusion.M1, Occlusion.PCA, Occlusion.CEREBELLAR) else "R"
    )
    stroke = draw_stroke(anatomy, 4, occlusion, side)
    assert (stroke.occlusion, stroke.side) == (occlusion, side)
    low, core = stroke.hypoperfusion, stroke.core_weight
    assert low.dtype == core.dtype == np.float32
    assert low.min() >= 0
    assert low.max() <= 1
    assert np.all(core <= low)
    assert np.all(low[(anatomy.grey + anatomy.white) == 0] == 0)
    assert np.all(low[anatomy.left != (side == "L")] == 0)
    inside = low > 0.5
    fed = (*_TERRITORIES[occlusion], *_SOMETIMES.get(occlusion, ()))
    named = np.isin(anatomy.territory[inside], np.array(fed, np.uint8))
    assert named.mean() > (0.6 if occlusion is Occlusion.PERFORATOR else 0.9)
    least, most = (0.3, 4) if occlusion is Occlusion.PERFORATOR else (4, 280)
    assert least <= volume_ml(stroke) <= most


def test_borders_are_graded() -> None:
    low = flow_cases.m1_stroke().hypoperfusion
    full = (low > 0.7).sum()
    between = ((low > 0.05) & (low < 0.6)).sum()
    assert between > 0.05 * full


def test_volumes_are_those_of_patients() -> None:
    cases = [drawn(seed) for seed in range(16)]
    large = np.array([case[2:] for case in cases if case[0] != Occlusion.PERFORATOR])
    assert 45 <= np.median(large[:, 0]) <= 130
    assert large[:, 0].min() < 35
    assert large[:, 0].max() > 120
    ratio = large[:, 1] / large[:, 0]
    assert (large[:, 1] < 10).mean() > 0.2
    assert ratio.max() > 0.5
    assert {case[1] for case in cases} >= {"L", "R"}


def test_sites_have_their_frequencies() -> None:
    assert sum(FREQUENCIES.values()) == pytest.approx(1)
    assert set(FREQUENCIES) == set(Occlusion)
    sites = [drawn(seed)[0] for seed in range(16)]
    assert len(set(sites)) >= 4
    middle = (Occlusion.M1, Occlusion.M2_SUPERIOR, Occlusion.M2_INFERIOR, Occlusion.ICA)
    assert sum(site in middle for site in sites) >= 8


def test_one_seed_gives_one_stroke() -> None:
    first, again = (draw_stroke(flow_cases.anatomy(), 7, Occlusion.ACA, "R") for _ in range(2))
    assert first.hypoperfusion.tobytes() == again.hypoperfusion.tobytes()
    assert first.core_weight.tobytes() == again.core_weight.tobytes()
    assert (first.onset_h, first.collaterals) == (again.onset_h, again.collaterals)
    assert first.occluded is Vessel.ACA
    assert 8 <= first.clot_mm == again.clot_mm <= 22


def test_a_basilar_stroke_can_be_on_both_sides() -> None:
    anatomy = flow_cases.anatomy()
    sides = {}
    for seed in range(3):
        stroke = draw_stroke(anatomy, seed, Occlusion.BASILAR)
        sides[stroke.side] = stroke
    low, left = sides["both"].hypoperfusion, anatomy.left
    assert (low[left] > 0.5).any()
    assert (low[~left] > 0.5).any()
    assert sides["both"].on_side(left).all()


def test_an_artery_without_tissue_is_refused() -> None:
    anatomy = flow_cases.anatomy()
    empty = replace(anatomy, territory=np.zeros_like(anatomy.territory))
    with pytest.raises(ValueError, match="no tissue that lives on the artery aca"):
        draw_stroke(empty, 1, Occlusion.ACA)


def test_early_change_grows_with_time_in_the_core_and_takes_the_contrast_of_grey_matter() -> None:
    anatomy, stroke = flow_cases.anatomy(), flow_cases.m1_stroke()
    early, late = (
        early_change_hu(replace(stroke, onset_h=hours), anatomy, 3) for hours in (1.0, 20.0)
    )
    core = stroke.core_weight > 0.9
    assert core.any()
    assert np.all((late >= 0) & (late <= MAX_EARLY_CHANGE_HU))
    assert np.all(late[stroke.hypoperfusion == 0] == 0)
    assert 0 < early[core].mean() < 0.6 * late[core].mean()
    assert late[core].mean() > 3
    grey, white = core & (anatomy.grey > 0.9), core & (anatomy.white > 0.9)
    assert late[grey].mean() > 1.2 * late[white].mean()
    rim = (stroke.hypoperfusion > 0.6) & (stroke.core_weight < 0.05)
    assert late[rim].mean() < 0.25 * late[core].mean()
    nothing = replace(stroke, hypoperfusion=np.zeros_like(stroke.hypoperfusion))
    assert not early_change_hu(nothing, anatomy, 3).any()
