from dataclasses import dataclass, replace

import numpy as np
import pytest

from inference.errors import NotAnalysable
from inference.perfusion import arterial_input
from inference.perfusion.arterial_input import Point, Vessels, find_vessels
from inference.perfusion.concentration import measure_baseline
from inference.perfusion.tissue_curve import measure_tissue
from inference.perfusion.venous_output import partial_volume_factor
from inference.perfusion.vessel_curves import VesselCurve, describe_curve
from inference.preprocess.frames import Frames, common_times, resample
from inference.preprocess.midplane import Midplane
from tests.inference.perfusion.phantom import (
    ARTERY,
    BONE,
    VEIN,
    Phantom,
    Scan,
    bolus,
    canon,
    cine,
    scan,
    shuttle,
    siemens,
)

SMALL = Phantom(rows=96, pixel_mm=2.2, slices=6, turn_deg=0, roll_deg=0, centre_mm=(0, 0, 0))
MIDPLANE = Midplane(np.array([1.0, 0.0, 0.0]), 0.0)
# Where the phantom draws its tubes, LPS.
LEFT, RIGHT, FRONT, SINUS = (36, -14, 0), (-36, -14, 0), (0, -45, 0), (0, 79, 0)


@dataclass(frozen=True, eq=False)
class Found:
    case: Scan
    frames: Frames
    vessels: Vessels

    @property
    def truth(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.interp(self.frames.times_s, self.case.fine_s, self.case.artery)

    def share(self, curve: VesselCurve, kind: int) -> float:
        return float((self.case.labels[tuple(curve.voxels.T)] == kind).mean())


def find(case: Scan, artery_at_mm: Point | None = None, vein_at_mm: Point | None = None) -> Found:
    series = case.series
    frames = resample(series, common_times(series.times_s, 1.0, 120.0), 5.0)
    tissue = measure_tissue(frames, case.brain)
    baseline = measure_baseline(frames, case.inside, tissue.baseline_end_s)
    vessels = find_vessels(
        frames,
        baseline,
        case.inside,
        tissue,
        MIDPLANE,
        artery_at_mm=artery_at_mm,
        vein_at_mm=vein_at_mm,
    )
    return Found(case, frames, vessels)


def at(
    case: Scan, place: Point, radius_mm: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    where = case.series.geometry
    x, y = (where.coordinates_mm(axis) - place[axis] for axis in (0, 1))
    return np.asarray(np.hypot(x, y) < radius_mm)


@pytest.fixture(scope="module")
def still() -> Scan:
    return scan(SMALL)


TIMES = {"siemens": siemens(), "cine": cine(), "shuttle": shuttle(6), "canon": canon()}


@pytest.mark.parametrize("scanner", TIMES)
@pytest.mark.parametrize(("seed", "noise"), [(0, 4.0), (2, 10.0)])
def test_artery_and_vein_are_where_they_are(scanner: str, seed: int, noise: float) -> None:
    found = find(scan(replace(SMALL, seed=seed, noise_hu=noise, times_s=TIMES[scanner])))
    artery, vein = found.vessels.artery, found.vessels.vein
    assert found.share(artery, ARTERY) >= 0.9
    assert vein is not None
    assert found.share(vein, VEIN) >= 0.9
    assert np.corrcoef(found.truth, artery.curve)[0, 1] > 0.98
    assert artery.peak == pytest.approx(found.truth.max(), rel=0.15)
    assert artery.curve.sum() == pytest.approx(found.truth.sum(), rel=0.15)
    assert artery.peak_time_s < vein.peak_time_s
    assert partial_volume_factor(artery, vein) < 1.3


@pytest.mark.parametrize(("peak_hu", "arrival_s"), [(60.0, 9.0), (300.0, 4.0), (300.0, 20.0)])
def test_weak_early_and_late_boluses(peak_hu: float, arrival_s: float) -> None:
    spec = replace(SMALL, peak_hu=peak_hu, arrival_s=arrival_s, noise_hu=5, times_s=cine(1.0, 60))
    found = find(scan(spec))
    assert found.share(found.vessels.artery, ARTERY) >= 0.8
    assert np.corrcoef(found.truth, found.vessels.artery.curve)[0, 1] > 0.95
    assert found.vessels.artery.arrival_s == pytest.approx(arrival_s, abs=1.5)


@pytest.mark.parametrize("place", [LEFT, RIGHT])
def test_artery_that_fills_late_and_low_is_not_used_and_the_reason_kept(place: Point) -> None:
    case = scan(replace(SMALL, times_s=cine()))
    late = np.interp(case.series.times_s[:, 0] - 2.5, case.fine_s, case.artery)
    tube = at(case, place, 5) & (case.labels == ARTERY)
    now = np.interp(case.series.times_s[:, 0], case.fine_s, case.artery)
    case.series.data[:, tube] += (0.6 * late - now)[:, None].astype(np.float32)
    vessels = find(case).vessels
    arteries = [c for c in vessels.candidates if c.vessel == "artery"]
    assert arteries[0].curve is vessels.artery
    assert arteries[0].rejected == ""
    assert "used" in arteries[0].reason("HU")
    worse = next(c for c in arteries if c.place == ("left" if place[0] > 0 else "right"))
    assert "s later" in worse.rejected
    assert "% as high" in worse.rejected
    assert worse.rejected in worse.reason("HU")
    x, y, z = worse.curve.position_mm
    side = f"L {x:.0f}" if x > 0 else f"R {-x:.0f}"
    assert f"({side}, {'AP'[int(y >= 0)]} {abs(y):.0f}, {'IS'[int(z >= 0)]} {abs(z):.0f} mm)" in (
        worse.reason("HU")
    )
    assert {c.place for c in arteries} == {"left", "right", "midline"}
    assert [c.score for c in arteries] == sorted((c.score for c in arteries), reverse=True)


def test_one_voxel_more_does_not_jump(still: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    areas = []
    for most in (11, 12, 13, 14):
        monkeypatch.setattr(arterial_input, "_MOST_VOXELS", most)
        vessels = find(still).vessels
        areas.append(float(vessels.artery.curve.sum()))
        assert len(vessels.artery.voxels) == most
    assert np.ptp(areas) < 0.03 * np.mean(areas)


def test_edges_of_a_moving_skull_are_no_vessels() -> None:
    case = scan(SMALL)
    generator = np.random.default_rng(3)
    shell = np.zeros(case.labels.shape, bool)
    for axis in (1, 2):
        for step in (-1, 1):
            shell |= np.roll(case.labels == BONE, step, axis=axis) & case.inside
    steps = np.repeat(generator.normal(0, 1, 10), 3)[: len(case.series.data)]
    strength = generator.uniform(200, 900, int(shell.sum()))
    case.series.data[:, shell] += np.outer(steps - steps[0], strength).astype(np.float32)
    found = find(case)
    assert found.share(found.vessels.artery, ARTERY) >= 0.9
    assert found.vessels.vein is None or found.share(found.vessels.vein, VEIN) >= 0.9
    assert np.corrcoef(found.truth, found.vessels.artery.curve)[0, 1] > 0.97


def test_what_stays_bright_while_the_brain_empties_is_no_vein() -> None:
    case = scan(replace(SMALL, times_s=cine(1.0, 26)))
    times = case.series.times_s[:, 0]
    edge = at(case, (0, 40, 0), 8) & case.brain
    late = np.interp(times - 6, case.fine_s, case.artery)
    case.series.data[:, edge] += (0.6 * np.maximum.accumulate(late))[:, None].astype(np.float32)
    found = find(case)
    veins = [c.curve for c in found.vessels.candidates if c.vessel == "vein"]
    assert veins
    assert all(found.share(vein, VEIN) >= 0.9 for vein in veins)


@pytest.mark.parametrize("place", [LEFT, RIGHT, FRONT])
def test_artery_where_the_reader_points(still: Scan, place: Point) -> None:
    found = find(still, artery_at_mm=place)
    artery = found.vessels.artery
    assert np.hypot(*(artery.position_mm - place)[:2]) < 4
    assert found.share(artery, ARTERY) >= 0.9
    assert found.vessels.candidates[0].curve is artery
    assert np.corrcoef(found.truth, artery.curve)[0, 1] > 0.98


def test_vein_where_the_reader_points(still: Scan) -> None:
    vessels = find(still, vein_at_mm=SINUS).vessels
    assert vessels.vein is not None
    assert np.hypot(*(vessels.vein.position_mm - SINUS)[:2]) < 6
    assert partial_volume_factor(vessels.artery, vessels.vein) < 1.3


def test_places_without_a_vessel_are_refused(still: Scan) -> None:
    with pytest.raises(NotAnalysable, match="none of them enhances like a vessel"):
        find(still, artery_at_mm=(25.0, 30.0, 0.0))
    with pytest.raises(NotAnalysable, match="0 voxels lie within 6 mm"):
        find(still, artery_at_mm=(500.0, 0.0, 0.0))
    with pytest.raises(NotAnalysable, match="peaks after the artery"):
        find(still, artery_at_mm=RIGHT, vein_at_mm=FRONT)


def test_without_arteries_or_cut_before_they_fall_is_refused(still: Scan) -> None:
    data = still.series.data.copy()
    data[:, np.isin(still.labels, (ARTERY, VEIN))] = 40
    bare = replace(still, series=replace(still.series, data=data))
    with pytest.raises(NotAnalysable, match="no arterial input"):
        find(bare)
    kept = still.series.times_s[:, 0] < 14
    series = replace(still.series, data=still.series.data[kept], times_s=still.series.times_s[kept])
    with pytest.raises(NotAnalysable, match="cut before the bolus had passed"):
        find(replace(still, series=series))


def curve(peak: float, tail: float) -> VesselCurve:
    values = np.r_[np.zeros(5), np.linspace(0, peak, 5), np.full(5, tail)]
    geometry = scan(Phantom(rows=16, slices=2, noise_hu=0)).series.geometry
    return describe_curve(values, np.arange(15.0), np.array([[0, 1, 1], [0, 1, 2]]), geometry)


def test_partial_volume_only_where_the_vein_is_complete_and_plausible() -> None:
    artery, vein = curve(100, 0), curve(180, 0)
    assert partial_volume_factor(artery, vein) == pytest.approx(1.8)
    assert partial_volume_factor(vein, artery) == 1
    assert partial_volume_factor(artery, None) == 1
    assert partial_volume_factor(artery, curve(300, 0)) == 1
    assert partial_volume_factor(artery, curve(180, 90)) == 1


def test_description_of_a_curve() -> None:
    found = curve(100, 10)
    assert found.peak == 100
    assert found.peak_time_s == 9
    assert found.tail_share == pytest.approx(0.1)
    assert found.width_s == pytest.approx(9 + 50 / 90 - 7, abs=0.01)
    np.testing.assert_allclose(found.position_mm[0] + 13.5, 1.5 * 1.8)
    assert np.isinf(curve(100, 80).width_s)
    falling = bolus(np.arange(0, 20.0), 2, 100.0)
    where = scan(Phantom(rows=16, slices=2, noise_hu=0)).series.geometry
    seen = describe_curve(falling, np.arange(20.0), np.array([[0, 1, 1]]), where)
    assert seen.tail == pytest.approx(falling[-1], rel=0.1)
