"""Grids show their images, each in its window, and say what their values are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.pictures import Panel, montage, save_png

RAMP = np.linspace(0, 100, 64).reshape(8, 8)


def test_images_stand_in_their_place_and_window() -> None:
    rows = [[Panel("a", RAMP), Panel("b", RAMP, (-5, 5), "RdBu_r")], [Panel("c", RAMP.T)]]
    figure = montage(rows)
    assert [axis.get_title() for axis in figure.axes] == ["a", "b", "c", ""]
    shown = [axis.get_images() for axis in figure.axes]
    assert [len(images) for images in shown] == [1, 1, 1, 0]
    np.testing.assert_array_equal(shown[2][0].get_array(), RAMP.T)
    assert shown[1][0].get_clim() == (-5, 5)


def test_a_row_has_one_scale_for_each_unit_window_and_colours() -> None:
    ct = [Panel(name, RAMP, unit="HU") for name in "ab"]
    figure = montage([[*ct, Panel("c", RAMP, (0, 14), "turbo", "s")], [Panel("d", RAMP)]])
    scales = [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()]
    assert sorted(scales) == ["HU", "s"]


def test_a_long_title_takes_two_lines() -> None:
    (axis,) = montage([[Panel("a title that is longer than its image is wide", RAMP)]]).axes
    assert axis.get_title().count("\n") == 1


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"image 'a' has shape \(1, 8, 8\); expected \(row, colu"):
        montage([[Panel("a", RAMP[None])]])
    with pytest.raises(ValueError, match="1 rows without an image"):
        montage([[]])


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    paths = [tmp_path / name / "a.png" for name in ("one", "two")]
    for path in paths:
        save_png(montage([[Panel("a", RAMP, unit="HU")]]), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with Image.open(paths[0]) as image:
        assert image.size == (182, 196)
        assert image.getpixel((0, 195)) == (0, 0, 0, 255)
