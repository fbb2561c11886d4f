from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from tests.training.simulate import flow_cases
from training.simulate.anatomy.model import Vessel
from training.simulate.arrays import BoolArray, Float32Array
from training.simulate.pathology.arteries import arterial_flow
from training.simulate.pathology.head import BloodKind, Head
from training.simulate.pathology.perfusion import PerfusionMaps, perfusion_maps
from training.simulate.pathology.stroke import Occlusion, draw_stroke
from training.simulate.space import HEAD_SHAPE


def mean(values: Float32Array, mask: BoolArray) -> float:
    return float(values[mask].mean())


def check_invariants(maps: PerfusionMaps, head: Head) -> None:
    cbv = maps.cbf * maps.mtt_s / np.float32(60)
    assert maps.cbv.dtype == np.float32
    assert np.array_equal(maps.cbv, cbv)
    alive = maps.cbf > 0
    share = head.anatomy.grey + head.anatomy.white
    assert not alive[share == 0].any()
    assert np.all(maps.residue_peak[alive] <= maps.cbf[alive] * 1.0001)
    assert np.all(maps.residue_peak[alive] > 0)
    assert np.all(maps.tmax_s[alive] >= maps.delay_s[alive])
    assert maps.delay_s.min() >= -2
    assert maps.delay_s.max() <= 12
    assert maps.dispersion_s.max() <= 4
    assert np.all(maps.core <= maps.hypoperfused)
    assert np.all(maps.tmax_s[maps.hypoperfused] > 6)
    assert np.all(share[maps.hypoperfused] > 0.5)


@pytest.mark.parametrize("seed", [0, 11])
def test_normal_flow_is_that_of_textbooks_and_nothing_is_starved(seed: int) -> None:
    head = flow_cases.head()
    maps = flow_cases.normal_maps() if seed == 11 else perfusion_maps(head, None, seed)
    check_invariants(maps, head)
    assert not maps.hypoperfused.any()
    assert not maps.core.any()
    assert not maps.leakage.any()
    anatomy = head.anatomy
    grey, white = anatomy.grey > 0.9, anatomy.white > 0.95
    assert 45 <= mean(maps.cbf, grey) <= 65
    assert 18 <= mean(maps.cbf, white) <= 28
    assert 3.9 <= mean(maps.mtt_s, grey) <= 5.1
    assert 4.3 <= mean(maps.mtt_s, white) <= 5.7
    assert 3.5 <= mean(maps.cbv, grey) <= 5.1
    assert 1.4 <= mean(maps.cbv, white) <= 2.6
    assert 0.5 <= mean(maps.tmax_s, grey) <= 4.5
    assert mean(maps.tmax_s, white) > mean(maps.tmax_s, grey)
    assert 0.03 <= maps.cbf[grey].std() / mean(maps.cbf, grey) <= 0.15


def test_a_stroke_has_penumbra_and_core_of_the_published_flow() -> None:
    head, maps = flow_cases.head(), flow_cases.m1_maps()
    check_invariants(maps, head)
    anatomy = head.anatomy
    penumbra = maps.hypoperfused & ~maps.core
    grey = anatomy.grey > 0.9
    relative = maps.cbf / np.maximum(flow_cases.normal_maps().cbf, 1e-3)
    assert np.all(relative[maps.core] < 0.3)
    normal = grey & ~maps.hypoperfused & (relative > 0.99)
    assert 12 <= mean(maps.cbf, penumbra) <= 24
    assert 4 <= mean(maps.cbf, maps.core) <= 11
    assert 7.5 <= mean(maps.mtt_s, penumbra) <= 14
    assert mean(maps.cbv, maps.core & grey) < 0.5 * mean(maps.cbv, normal)
    assert mean(maps.cbv, penumbra & grey) > 0.6 * mean(maps.cbv, normal)
    assert mean(maps.tmax_s, penumbra) > 7
    assert maps.hypoperfused[~anatomy.left].sum() == 0
    assert 0 < maps.leakage.max() <= 1
    assert not maps.leakage[~anatomy.left].any()


def test_the_lesion_follows_the_stroke() -> None:
    stroke, maps = flow_cases.m1_stroke(), flow_cases.m1_maps()
    low = (stroke.hypoperfusion > 0.5) & (maps.cbf > 0)
    both = (low & maps.hypoperfused).sum()
    assert 2 * both / (low.sum() + maps.hypoperfused.sum()) > 0.85
    assert mean(stroke.core_weight, maps.core) > 0.5
    assert not maps.hypoperfused[stroke.hypoperfusion == 0].any()


def test_flow_is_the_same_away_from_the_stroke() -> None:
    normal = flow_cases.normal_maps()
    away = flow_cases.m1_stroke().hypoperfusion == 0
    for name in ("cbf", "mtt_s", "delay_s", "tmax_s"):
        ours, theirs = getattr(flow_cases.m1_maps(), name), getattr(normal, name)
        assert np.array_equal(ours[away], theirs[away])


def test_one_seed_gives_one_perfusion() -> None:
    again = perfusion_maps(flow_cases.head(), flow_cases.m1_stroke(), 11)
    first = flow_cases.m1_maps()
    for name in ("cbf", "cbv", "tmax_s", "residue_peak", "leakage", "hypoperfused", "core"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert first.arteries.delay_s.tobytes() == again.arteries.delay_s.tobytes()


def test_arteries_behind_the_clot_fill_late_and_weakly_and_the_clot_does_not() -> None:
    anatomy, maps = flow_cases.anatomy(), flow_cases.m1_maps()
    vessel = anatomy.vessel.ravel()[maps.arteries.voxels]
    left = anatomy.left.ravel()[maps.arteries.voxels]
    branches = np.isin(vessel, (Vessel.M2_SUPERIOR, Vessel.M2_INFERIOR))
    delay, fill = maps.arteries.delay_s, maps.arteries.fill
    assert delay[branches & left].min() > delay[branches & ~left].max() + 1
    assert 0 < fill[branches & left].max() < 1
    assert np.all(fill[~left] == 1)
    trunk = fill[(vessel == Vessel.M1) & left]
    assert (trunk == 0).any()
    tissue_after = maps.tmax_s[maps.hypoperfused].mean()
    assert delay[branches & left].max() < tissue_after
    assert np.all(maps.veins.fill == 1)


def test_an_occluded_carotid_does_not_fill() -> None:
    stroke = draw_stroke(flow_cases.anatomy(), 3, Occlusion.ICA, "R")
    maps = perfusion_maps(flow_cases.head(), stroke, 3)
    vessel = flow_cases.anatomy().vessel.ravel()[maps.arteries.voxels]
    left = flow_cases.anatomy().left.ravel()[maps.arteries.voxels]
    assert np.all(maps.arteries.fill[(vessel == Vessel.ICA) & ~left] == 0)
    assert np.all(maps.arteries.fill[(vessel == Vessel.ICA) & left] == 1)


@pytest.mark.parametrize("side", ["L", "R"])
def test_a_clot_in_the_basilar_artery_blocks_all_of_it_whichever_side_starves(
    side: Literal["L", "R"],
) -> None:
    anatomy, head = flow_cases.anatomy(), flow_cases.head()
    stroke = draw_stroke(anatomy, 3, Occlusion.BASILAR, side)
    flow = arterial_flow(head, stroke, 3)
    vessel, left = (values.ravel()[flow.voxels] for values in (anatomy.vessel, anatomy.left))
    here = left == (side == "L")
    empty = flow.fill == 0
    assert (empty & here).any()
    assert (empty & ~here).any()
    assert np.all(flow.fill[vessel == Vessel.BASILAR] < 1)
    for branch in (Vessel.PCA, Vessel.CEREBELLAR):
        assert np.all(flow.fill[(vessel == branch) & here] < 1)
        assert np.all(flow.fill[(vessel == branch) & ~here] == 1)
    assert np.all(flow.fill[vessel == Vessel.VERTEBRAL] == 1)


def test_blood_has_no_flow_and_lowers_that_around_it() -> None:
    head = flow_cases.head()
    share = np.zeros(HEAD_SHAPE, dtype=np.float32)
    share[100:125, 110:135, 60:85] = 0.99
    bleeding = replace(head, blood={BloodKind.INTRAPARENCHYMAL: share})
    normal, maps = flow_cases.normal_maps(), perfusion_maps(bleeding, None, 11)
    check_invariants(maps, head)
    assert not maps.cbf[share > 0.98].any()
    near = np.zeros(HEAD_SHAPE, dtype=np.bool_)
    near[98:127, 108:137, 58:87] = True
    near &= (share == 0) & (maps.cbf > 0)
    assert mean(maps.cbf, near) < 0.85 * mean(normal.cbf, near)
    far = np.zeros(HEAD_SHAPE, dtype=np.bool_)
    far[:, :, 120:] = True
    far &= maps.cbf > 0
    assert mean(maps.cbf, far) == pytest.approx(mean(normal.cbf, far), rel=2e-3)
    assert not maps.hypoperfused.any()


def test_a_stenosis_delays_one_side_of_some_patients_without_starving_it() -> None:
    anatomy = flow_cases.anatomy()
    middle = (anatomy.grey > 0.8) & np.isin(anatomy.territory, (2, 3))
    found = 0
    for seed in range(60):
        offsets = _side_difference_s(seed, middle)
        if abs(offsets) > 1.2:
            found += 1
    assert 1 <= found <= 15


def _side_difference_s(seed: int, middle: BoolArray) -> float:
    from training.simulate.arrays import stream
    from training.simulate.pathology import perfusion

    arrival = perfusion._arrival_s(stream(seed, "stenosis test"), flow_cases.head())
    here = middle[2::4, 2::4, 2::4]
    left = flow_cases.anatomy().left[2::4, 2::4, 2::4]
    return mean(arrival, here & left) - mean(arrival, here & ~left)
