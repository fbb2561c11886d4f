"""Figures show every score, and nothing lies outside of them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from training.evaluate import figures
from training.evaluate.figures import image_panel, score_boxes, score_lines
from training.pictures import Panel

SCORES = {"C-LSTM": [0.9, 0.92, 0.95, 0.91], "3D U-Net": [0.8, 0.85, 0.7], "t = 0": [0.6]}
LINES = {"network": ([1, 7, 19], [60.0, 30.0, 20.0]), "mean": ([1, 7], [80.0, 70.0])}
LONG = "a method with a name that is a good deal longer than others"
ABSENT = Path("absent.png")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures that would have been written."""
    kept: list[Figure] = []
    monkeypatch.setattr(figures, "save_png", lambda figure, path, dpi: kept.append(figure))
    return kept


def test_boxes_have_a_point_for_every_patient_and_the_median(drawn: list[Figure]) -> None:
    score_boxes(SCORES, "SSIM", ABSENT)
    (axis,) = drawn[0].axes
    assert axis.get_xlabel() == "SSIM"
    assert [label.get_text() for label in axis.get_yticklabels()] == list(SCORES)
    for place, (points, scores) in enumerate(zip(axis.collections, SCORES.values(), strict=True)):
        where = np.asarray(points.get_offsets())
        assert where[:, 0].tolist() == scores
        assert np.abs(where[:, 1] - place).max() < 0.25
    medians = [np.unique(line.get_xdata()) for line in axis.lines if line.get_linewidth() == 2]
    assert np.concatenate(medians) == pytest.approx([np.median(s) for s in SCORES.values()])


def test_lines_have_their_points_and_the_reference(drawn: list[Figure]) -> None:
    score_lines(LINES, "time points", "MSE (HU²)", ABSENT, ("best", 18.0))
    (axis,) = drawn[0].axes
    found = {str(line.get_label()): np.asarray(line.get_data()).tolist() for line in axis.lines}
    assert found["network"] == [[1, 7, 19], [60, 30, 20]]
    assert found["best"][1] == [18, 18]
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == [*LINES, "best"]
    ticks = axis.get_xticks()
    assert ticks.tolist() == ticks.round().tolist()
    score_lines({"one": ([1e4, 1e6], [0.1, 0.2])}, "pixels", "SSIM", ABSENT, log_x=True)
    assert drawn[1].axes[0].get_xscale() == "log"
    assert not drawn[1].legends


def test_names_lie_within_the_figure(drawn: list[Figure]) -> None:
    score_boxes({LONG: [1.0, 2.0], "short": [1.5]}, "error", ABSENT)
    score_lines({LONG: ([1, 2], [1.0, 2.0]), "b": ([1], [1.0])}, "x", "y", ABSENT, (LONG, 1.0))
    boxes, lines = drawn
    names = (boxes.axes[0].get_yticklabels(), lines.legends[0].get_texts())
    for figure, texts in zip(drawn, names, strict=True):
        figure.draw_without_rendering()
        assert len(texts) > 1
        for box in (text.get_window_extent() for text in texts):
            assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1


def test_figures_are_files_that_repeat(tmp_path: Path) -> None:
    def write(folder: Path) -> list[Path]:
        paths = [folder / f"{name}.png" for name in ("boxes", "lines", "images")]
        score_boxes(SCORES, "SSIM", paths[0])
        score_lines(LINES, "time points", "MSE", paths[1])
        image_panel([[Panel("CT", np.eye(16) * 80, unit="HU")]], paths[2])
        return paths

    for one, other in zip(write(tmp_path / "one"), write(tmp_path / "two"), strict=True):
        assert one.read_bytes() == other.read_bytes()
        with Image.open(one) as image:
            assert image.format == "PNG"
            assert len(image.convert("RGB").getcolors(100_000) or ()) > 3


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({}, "no method to draw SSIM of"),
        ({"a": []}, "'a' has no score"),
        ({"a": [1.0, math.nan]}, "1 of 2 a scores are not finite"),
    ],
)
def test_boxes_of_nothing_are_refused(scores: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        score_boxes(scores, "SSIM", ABSENT)


@pytest.mark.parametrize(
    ("series", "words"),
    [
        ({}, "no line of SSIM to draw"),
        ({"a": ([], [])}, "'a' has no score"),
        ({"a": ([1, 2], [1.0])}, "2 x and 1 y of 'a'"),
        ({"a": ([0, 2], [1.0, 2.0])}, "x of 'a' goes down to 0; expected above 0"),
    ],
)
def test_lines_of_nothing_are_refused(series: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        score_lines(series, "pixels", "SSIM", ABSENT, log_x=True)
