"""What a reader sees on the pages: numbers, warnings, regions and curves, each in its place."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from dicom_node.write.chart import Plot, draw_chart
from dicom_node.write.colour import RGB, colourise, greyscale, region_colour
from dicom_node.write.context import WriteContext
from dicom_node.write.layers import Layer, image_layer, map_layer
from dicom_node.write.maps_page import map_pages, maps_page
from dicom_node.write.page import RED, SIDE, Box, Page, paragraph
from dicom_node.write.quality_page import quality_page
from dicom_node.write.results import DEFAULT_SERIES, SourceImages
from dicom_node.write.scale import ticks
from dicom_node.write.secondary_capture import captures
from dicom_node.write.summary_page import summary_pages
from dicom_node.write.tiles import (
    Stack,
    draw_tile,
    draw_tiles,
    evenly_chosen,
    place_in_tile,
    split_slices,
)
from inference.geometry import Geometry
from inference.results import Criterion, Measurement, PipelineResult, Segmentation, Warning
from tests.dicom_node.write.examples import RUN, geometry, perfusion_result, source_files

GRID = geometry()
LOW_COVERAGE = Warning("low_coverage", "The scan covers 38 mm; a lesion outside is not seen.", 38)
TRUNCATED = Warning("truncated", "The scan ends too early; volumes may be wrong.", 0.45)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceImages:
    folder = tmp_path_factory.mktemp("source")
    return SourceImages.from_files(source_files(folder, GRID, times=1))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is drawn."""
    texts: list[str] = []
    draw = ImageDraw.ImageDraw.text

    def record(
        self: ImageDraw.ImageDraw, xy: object, text: str, *rest: object, **kw: object
    ) -> None:
        texts.append(text)
        draw(self, xy, text, *rest, **kw)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", record)
    return texts


def context_of(result: PipelineResult, source: SourceImages) -> WriteContext:
    return WriteContext(result, source, RUN, DEFAULT_SERIES)


def summary(result: PipelineResult, source: SourceImages) -> list[np.ndarray]:
    layer = image_layer(result.images[0])
    return list(summary_pages(layer, layer.data > 0, context_of(result, source)))


def blank() -> Page:
    image = Image.new("RGB", (SIDE, SIDE))
    return Page(image, ImageDraw.Draw(image), Box(0, 0, SIDE, SIDE))


def grey_stack(
    grid: Geometry, data: np.ndarray, overlays: tuple[tuple[np.ndarray, RGB], ...] = ()
) -> Stack:
    def render(values: np.ndarray) -> np.ndarray:
        return greyscale(values, 0, 100)

    return Stack(data.astype(np.float32), grid, render, np.ones(grid.shape, bool), 0, overlays)


def of_colour(page: np.ndarray, colour: RGB) -> np.ndarray:
    return np.asarray((page == colour).all(axis=-1))


class TestSummary:
    def test_the_four_numbers_are_there_with_their_definitions(
        self, source: SourceImages, said: list[str]
    ) -> None:
        result = perfusion_result(GRID)
        summary(result, source)
        values = {m.name: m.value for m in result.measurements}
        assert {f"{values['core_volume']:.1f} mL", f"{values['hypoperfused_volume']:.1f} mL"} <= {
            *said
        }
        assert f"{values['mismatch_ratio']:.2f}" in said
        assert "Core volume  rCBF < 30 %" in said
        assert "Mismatch, right hemisphere" in said
        assert "(no core)" not in said

    def test_without_a_core_the_ratio_is_not_a_number(
        self, source: SourceImages, said: list[str]
    ) -> None:
        pages = summary(perfusion_result(GRID, core_empty=True), source)
        assert {"0.0 mL", "n/a", "(no core)"} <= set(said)
        cards = of_colour(pages[0], region_colour("core"))[300:]
        assert not cards.any()

    def test_other_thresholds_findings_and_criteria(
        self, source: SourceImages, said: list[str]
    ) -> None:
        result = perfusion_result(GRID)
        more = (
            Measurement("tmax_gt_10s_volume", "Tmax > 10 s", 3.14, "mL"),
            Measurement("rcbf_lt_20pct_volume", "rCBF < 20 %", 1.0, "mL"),
            Measurement("cbv_index", "CBV index", None, "1"),
            Measurement("delay", "Delay", 2.5, "s"),
        )
        criteria = (
            Criterion("defuse_3", False, {"core_volume": 80.0, "age": 71}),
            Criterion("extend", None, {"mismatch_ratio": None, "nihss": None}),
        )
        summary(replace(result, measurements=result.measurements + more, criteria=criteria), source)
        assert {"Tmax > 10 s   3.1 mL", "rCBF < 20 %   1.0 mL", "CBV index   n/a"} <= set(said)
        assert "Delay   2.5 s" in said
        assert "Intracranial hemorrhage: absent (p = 0.03)" in said
        assert "Hemorrhagic transformation: cannot be told" in said
        place = said.index("DEFUSE-3")
        assert said[place + 1 : place + 3] == ["not met", "Core volume 80.0 mL, age 71"]
        place = said.index("EXTEND")
        assert said[place + 1 : place + 3] == [
            "cannot be told", "Mismatch ratio n/a, nihss unknown",
        ]  # fmt: skip

    def test_a_result_without_volumes_is_a_summary_too(
        self, source: SourceImages, said: list[str]
    ) -> None:
        result = replace(perfusion_result(GRID), measurements=(), side=None, criteria=())
        summary(result, source)
        assert "Summary" in said
        assert not any("mL" in text for text in said)

    @pytest.mark.parametrize(
        ("warnings", "red"),
        [((), False), ((LOW_COVERAGE,), False), ((LOW_COVERAGE, TRUNCATED), True)],
    )
    def test_warnings_in_full_and_a_banner_where_trust_ends(
        self, source: SourceImages, said: list[str], warnings: tuple[Warning, ...], red: bool
    ) -> None:
        page = summary(perfusion_result(GRID, warnings=warnings), source)[0]
        assert of_colour(page, RED)[:, 0].any() == red
        assert ("DO NOT TRUST THIS RESULT: truncated" in said) == red
        for warning in warnings:
            assert warning.text in " ".join(said)

    @given(st.lists(st.text("abc def", min_size=1, max_size=300), max_size=40))
    @settings(max_examples=15, deadline=None)
    def test_any_number_of_warnings_leaves_room_for_slices(
        self, source: SourceImages, texts: list[str]
    ) -> None:
        warnings = tuple(Warning("weak_bolus", text) for text in texts)
        page = summary(perfusion_result(GRID, warnings=warnings), source)[0]
        assert page.shape == (SIDE, SIDE, 3)
        assert of_colour(page[-650:-40], region_colour("core")).any()

    def test_every_slice_is_shown_with_sides_and_number_page_by_page(
        self, source: SourceImages, said: list[str]
    ) -> None:
        grid = geometry(21)
        assert len(summary(perfusion_result(grid), source)) == 2
        assert said.count("R") == said.count("L") == 21
        assert [t for t in said if t.isdigit()] == [str(i) for i in range(1, 22)]
        assert [t for t in said if "page" in t] == [
            f"Mismatch, right hemisphere, page {i} of 2" for i in (1, 2)
        ]

    def test_no_identity_but_the_purpose_is_on_every_page(
        self, source: SourceImages, said: list[str]
    ) -> None:
        result = perfusion_result(GRID)
        context = context_of(result, source)
        layers = [map_layer(m) for m in result.maps]
        image = image_layer(result.images[0])
        made = [*summary(result, source), maps_page(layers[:4], context)]
        made += [*map_pages(layers[0], context), quality_page(image, image.data > 0, context)]
        assert sum("RESEARCH USE ONLY" in text for text in said) == len(made) == 4
        assert not any(word in text for text in said for word in ("EXAMPLE", "0815", "DOCTOR"))


class TestTiles:
    def test_regions_are_outlined_and_anatomy_shines_through(self) -> None:
        grid = geometry(1, 40, spacing_mm=(1.0, 1.0))
        data = np.full(grid.shape, 50.0)
        data[0, 20:] = 25.0
        mask = np.zeros(grid.shape, bool)
        mask[0, 10:30, 10:30] = True
        colour = (250, 0, 100)
        page, box = blank(), Box(0, 0, 420, 400)
        stack = grey_stack(grid, data, ((mask, colour),))
        draw_tile(page, box, stack, 0)
        picture = page.array()
        assert picture[100 + 25, 210].tolist() == pytest.approx([177, 77, 117], abs=2)
        assert picture[300 - 25, 210].tolist() == pytest.approx([138, 38, 78], abs=2)
        assert of_colour(picture[100:102, 110:290], colour).all()
        outside = picture[60:90, 60:360]
        assert np.ptp(outside, axis=-1).max() == 0

    def test_a_later_region_covers_an_earlier_one(self) -> None:
        grid = geometry(1, 40, spacing_mm=(1.0, 1.0))
        large, small = np.zeros((2, *grid.shape), bool)
        large[0, 5:35, 5:35] = small[0, 15:25, 15:25] = True
        overlays = ((large, (0, 255, 0)), (small, (255, 0, 255)))
        page = blank()
        draw_tile(page, Box(0, 0, 420, 400), grey_stack(grid, np.zeros(grid.shape), overlays), 0)
        assert page.array()[200, 200].tolist() == [102, 0, 102]
        assert page.array()[100, 100].tolist() == [0, 102, 0]

    @given(
        place=st.tuples(st.integers(0, 2), st.integers(5, 18), st.integers(1, 24)),
        tilt=st.floats(-25, 25),
        width=st.integers(200, 500),
    )
    @settings(max_examples=40, deadline=None)
    def test_a_place_in_the_patient_is_marked_on_its_voxel(
        self, place: tuple[int, int, int], tilt: float, width: int
    ) -> None:
        grid = geometry(3, 24, tilt_deg=tilt)
        data = np.zeros(grid.shape)
        data[place] = 100
        page, box = blank(), Box(30, 40, width, 300)
        stack = grey_stack(grid, data)
        draw_tile(page, box, stack, place[0])
        x, y = place_in_tile(box, stack, grid.voxel_to_lps(*place))
        weight = page.array()[..., 0].astype(float)
        weight[: box.top + 30] = weight[box.bottom - 30 :] = 0  # letters
        rows, columns = np.nonzero(weight > 30)
        weights = weight[rows, columns]
        voxel = min(box.width / (26 * 7), box.height / (24 * 8)) * 7
        assert abs(y - np.average(rows + 0.5, weights=weights)) < 0.25 * voxel
        assert abs(x - np.average(columns + 0.5, weights=weights)) < 0.25 * voxel

    @given(slices=st.integers(1, 12), width=st.integers(150, 1200), height=st.integers(150, 1200))
    @settings(max_examples=25, deadline=None)
    def test_tiles_lie_in_their_box_without_overlap(
        self, slices: int, width: int, height: int
    ) -> None:
        grid = geometry(slices, 8)
        box = Box(20, 30, width, height)
        page = blank()
        tiles = draw_tiles(page, box, grey_stack(grid, np.full(grid.shape, 80.0)), range(slices))
        used = np.zeros((SIDE, SIDE), int)
        for tile in tiles:
            used[tile.top : tile.bottom, tile.left : tile.right] += 1
        assert used.max() == 1
        used[box.top : box.bottom, box.left : box.right] = 0
        assert not used.any()
        bright = np.asarray(page.array().any(axis=-1))
        bright[box.top : box.bottom, box.left : box.right] = False
        assert not bright.any()

    def test_the_image_keeps_its_side_and_proportions(self) -> None:
        grid = geometry(1, 40, spacing_mm=(1.0, 2.0))
        data = np.full(grid.shape, 20.0)
        data[0, :, :21] = 90.0
        page = blank()
        draw_tile(page, Box(0, 0, 420, 420), grey_stack(grid, data), 0)
        picture = page.array()[..., 0]
        assert picture[210, 100] > picture[210, 320] > 0
        assert (picture[:, 210] > 0).sum() == pytest.approx(420 * 40 / 84, abs=2)

    @given(st.integers(1, 200))
    def test_slices_are_split_evenly_and_in_order(self, slices: int) -> None:
        parts = split_slices(slices)
        assert [i for part in parts for i in part] == list(range(slices))
        sizes = {len(part) for part in parts}
        assert max(sizes) <= 20
        assert max(sizes) - min(sizes) <= 1
        assert len(parts) == -(-slices // 20)

    @given(first=st.integers(0, 20), used=st.integers(1, 80), count=st.integers(2, 20))
    def test_chosen_slices_span_the_brain(self, first: int, used: int, count: int) -> None:
        shown = np.zeros((first + used + 3, 2, 2), bool)
        shown[first : first + used, 0, 0] = True
        chosen = evenly_chosen(shown, count)
        assert (chosen[0], chosen[-1]) == (first, first + used - 1)
        assert len(chosen) == min(count, used)
        steps = np.diff(chosen)
        assert len(steps) == 0 or (np.ptp(steps) <= 1 and steps.min() >= 1)

    def test_nothing_measured_shows_all_slices_in_the_dark(self, source: SourceImages) -> None:
        assert evenly_chosen(np.zeros((3, 2, 2), bool), 16) == [0, 1, 2]
        dark = replace(perfusion_result(GRID).maps[0], data=np.full(GRID.shape, np.nan, np.float32))
        page = next(map_pages(map_layer(dark), context_of(perfusion_result(GRID), source)))
        assert page[100:200, 60:100].max() == 0


class TestMaps:
    def layers(self, result: PipelineResult) -> list[Layer]:
        return [map_layer(m) for m in result.maps[:4]]

    def test_four_maps_with_units_and_sixteen_slices_each(
        self, source: SourceImages, said: list[str]
    ) -> None:
        result = perfusion_result(geometry(30))
        maps_page(self.layers(result), context_of(result, source))
        headings = {"CBF (mL/100 g/min)", "CBV (mL/100 g)", "MTT (s)", "Tmax (s)"}
        assert headings <= set(said)
        assert said.count("R") == 4 * 16

    def test_scales_are_the_same_for_all_patients(self, source: SourceImages) -> None:
        one = perfusion_result(GRID)
        other = replace(one, maps=tuple(replace(m, data=m.data * 0.3) for m in one.maps))
        pages = [maps_page(self.layers(r), context_of(r, source)) for r in (one, other)]
        bars = [page[:, 560:640] for page in pages]
        np.testing.assert_array_equal(bars[0], bars[1])
        assert (pages[0] != pages[1]).any()

    @pytest.mark.parametrize("quantity", ["cbf", "cbv", "mtt", "tmax", "ttp", "ht_risk"])
    def test_lightness_grows_with_the_value(self, quantity: str) -> None:
        """What a reader who sees no colours goes by (luma of ITU-R BT.601)."""
        colours = colourise(np.linspace(0, 1, 64, dtype=np.float32), 0, 1, quantity)
        luma = colours @ np.array([0.299, 0.587, 0.114])
        assert (np.diff(luma) > 0).all()
        assert luma[0] > 20, "differs from the black of what was not measured"

    def test_values_outside_the_scale_and_unmeasured_ones(self) -> None:
        values = np.array([-5, 0, 12, 99, np.nan], np.float32)
        colours = colourise(values, 0, 12, "tmax")
        assert (colours[0] == colours[1]).all()
        assert (colours[2] == colours[3]).all()
        assert not colours[4].any()
        grey = greyscale(np.array([-1, 0.5, 2, np.nan], np.float32), 0, 1)
        assert grey[:, 0].tolist() == [0, 128, 255, 0]

    @given(low=st.floats(-1e3, 1e3), width=st.floats(1e-2, 1e4))
    def test_ticks_are_few_and_inside(self, low: float, width: float) -> None:
        found = ticks(low, low + width)
        assert 3 <= len(found) <= 10
        assert all(low - 1e-6 * width <= v <= low + width * (1 + 1e-6) for v in found)


class TestCharts:
    times = np.arange(0.0, 61.0, 2.0)
    box = Box(100, 100, 600, 400)

    def chart(
        self, *values: np.ndarray, least: float = 1.0, marked: tuple[float, ...] = ()
    ) -> np.ndarray:
        page = blank()
        colours = [(10, 250, 10), (250, 10, 250), (10, 10, 250)]
        plots = [Plot("", self.times, v, c) for v, c in zip(values, colours, strict=False)]
        draw_chart(page, self.box, "Title", "HU", plots, least, marked)
        return page.array()[self.box.top + 66 : self.box.bottom - 52, self.box.left + 72 :]

    def rows(self, chart: np.ndarray, colour: RGB) -> float:
        return float(np.nonzero(of_colour(chart, colour))[0].mean())

    def test_curves_lie_at_their_values(self) -> None:
        flat = np.ones(len(self.times))
        chart = self.chart(2 * flat, 10 * flat, 6 * flat)
        low, high, middle = (
            self.rows(chart, c) for c in [(10, 250, 10), (250, 10, 250), (10, 10, 250)]
        )
        assert high < middle < low
        assert middle == pytest.approx((low + high) / 2, abs=1.5)
        height = len(chart)
        assert low == pytest.approx(height * (1 - 2 / 10.5), abs=2)

    def test_noise_does_not_fill_a_chart(self) -> None:
        noise = 0.02 * np.sin(self.times)
        rows = np.nonzero(of_colour(self.chart(noise, least=1.0), (10, 250, 10)))[0]
        assert np.ptp(rows) < 0.1 * 282

    def test_what_was_not_measured_is_a_gap(self) -> None:
        values = np.where((self.times > 20) & (self.times < 40), np.nan, 5.0)
        columns = np.nonzero(of_colour(self.chart(values), (10, 250, 10)).any(axis=0))[0]
        width = 600 - 72 - 10
        assert not ((columns > width * 21 / 60) & (columns < width * 39 / 60)).any()
        assert columns.min() < 5
        assert columns.max() > width - 5

    def test_dropped_frames_are_marked_at_their_time(self) -> None:
        flat = np.ones(len(self.times))
        red = of_colour(self.chart(flat, marked=(15.0,)), RED).sum(axis=0)
        assert np.argmax(red) == pytest.approx((600 - 82) * 15 / 60, abs=2)

    def test_a_curve_of_nothing_is_an_empty_chart(self) -> None:
        chart = self.chart(np.full(len(self.times), np.nan))
        assert not of_colour(chart, (10, 250, 10)).any()


class TestQuality:
    def page(self, result: PipelineResult, source: SourceImages) -> np.ndarray:
        layer = image_layer(result.images[0])
        return quality_page(layer, layer.data > 0, context_of(result, source))

    def test_curves_places_motion_and_numbers(self, source: SourceImages, said: list[str]) -> None:
        self.page(perfusion_result(GRID), source)
        assert {"artery", "vein", "translation", "rotation", "tissue"} <= set(said)
        assert "dropped frames (1)" in said
        assert {"HU", "mm, deg", "time (s)", "301.5", "frames before contrast", "3"} <= set(said)
        assert "artery: highest and earliest of 12" in " ".join(said)

    def test_voxels_are_ringed_on_their_slices(self, source: SourceImages, said: list[str]) -> None:
        """The artery lies on slice 1, the vein on slice 4; without places there is no ring."""
        result = perfusion_result(GRID)
        with_places = self.page(result, source)
        assert [said[i + 2] for i, text in enumerate(said) if text == "R"] == ["1", "4"]
        unplaced = tuple(replace(c, voxels_mm=None) for c in result.curves)
        said.clear()
        without = self.page(replace(result, curves=unplaced), source)
        artery = (255, 110, 90)
        region = np.s_[40:560, 740:]
        assert of_colour(with_places[region], artery).sum() > 40
        assert of_colour(without[region], artery).sum() == 0
        assert {f"place of the {v}: not known" for v in ("artery", "vein")} <= set(said)

    def test_what_was_not_measured_is_said(self, source: SourceImages, said: list[str]) -> None:
        result = perfusion_result(GRID)
        self.page(replace(result, curves=result.curves[:1], parameters={}), source)
        assert {
            "Motion of the head: not measured",
            "Brain tissue, mean: not measured",
            "place of the vein: not known",
        } <= set(said)


class TestWhatThereIs:
    def roles(self, result: PipelineResult, source: SourceImages) -> Iterator[str]:
        images = [image_layer(image) for image in result.images]
        maps = [map_layer(m) for m in result.maps]
        return (role for role, _ in captures(images, maps, context_of(result, source)))

    def test_the_order_is_that_of_reading(self, source: SourceImages) -> None:
        roles = list(self.roles(perfusion_result(GRID), source))
        assert roles[:4] == ["summary", "maps", "quality", "cbf_colour"]
        numbers = [DEFAULT_SERIES[role].number for role in roles]
        assert numbers == sorted(numbers)

    def test_pages_that_would_be_empty_are_left_out(self, source: SourceImages) -> None:
        result = perfusion_result(GRID)
        assert "quality" not in self.roles(replace(result, curves=()), source)
        assert list(self.roles(replace(result, maps=()), source)) == ["summary", "quality"]
        pages = list(self.roles(replace(result, images=(), maps=result.maps[4:]), source))
        assert pages == ["ttp_colour"]

    def test_regions_of_another_grid_are_not_drawn(self, source: SourceImages) -> None:
        result = perfusion_result(GRID)
        other = geometry(2)
        strange = Segmentation("core", "Core", np.ones(other.shape, bool), other, "elsewhere")
        page = summary(replace(result, segmentations=(strange,)), source)[0]
        assert not of_colour(page[400:], region_colour("core")).any()


@given(
    texts=st.lists(st.text("ab cd", min_size=1, max_size=400), min_size=1, max_size=12),
    width=st.integers(120, 900),
    height=st.integers(30, 300),
)
@settings(max_examples=40, deadline=None)
def test_a_paragraph_stays_in_its_box(texts: list[str], width: int, height: int) -> None:
    page, box = blank(), Box(50, 60, width, height)
    bottom = paragraph(page.draw, box, texts, 24, (255, 255, 255))
    assert bottom <= box.bottom
    drawn = np.asarray(page.array().any(axis=-1))
    rows, columns = np.nonzero(drawn)
    assert len(rows) == 0 or (rows.max() <= box.bottom and columns.max() <= box.right + 2)
    assert not drawn[: box.top].any()


def test_a_paragraph_loses_no_word_where_there_is_room(said: list[str]) -> None:
    words = [f"word{i}" for i in range(200)]
    page = blank()
    paragraph(page.draw, Box(0, 0, 600, 600), [" ".join(words)], 24, (255, 255, 255))
    assert " ".join(said).split() == words
    said.clear()
    paragraph(page.draw, Box(0, 0, 200, 60), [" ".join(words)], 24, (255, 255, 255))
    assert said[-1] == "... more in the report"


def test_a_core_that_was_not_measured_is_said_to_be_so(
    source: SourceImages, said: list[str]
) -> None:
    known = perfusion_result(GRID)
    reason = "not measured on PWI: see diffusion (ADC)"
    result = replace(
        known,
        segmentations=known.segmentations[1:],
        measurements=tuple(
            m if m.name == "hypoperfused_volume" else replace(m, value=None, reason=reason)
            for m in known.measurements
        ),
        criteria=(Criterion("defuse_3", None, {"core_volume": None}),),
    )
    summary(result, source)
    assert said[0].startswith("Hypoperfusion")
    assert said.count(reason) == 3
    assert said.count("n/a") == 3
    assert any(text.endswith(f"Core volume n/a; {reason}") for text in said)
