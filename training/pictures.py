"""Grids of images, and PNG files that are the same for the same figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Image = npt.NDArray[Any]
BRAIN_WINDOW = (0.0, 80.0)
_TITLE_LETTERS = 30


@dataclass(frozen=True, eq=False)
class Panel:
    """One image of a grid, shape ``(row, column)``, with its window and colours.

    Images with a ``unit`` have a scale at the right end of their row, one for all with the same
    unit, window and colours.
    """

    title: str
    image: Image
    window: tuple[float, float] = BRAIN_WINDOW
    colours: str = "gray"
    unit: str = ""


def montage(rows: Sequence[Sequence[Panel]]) -> Figure:
    """Images in a grid on black, each in its window.

    Parameters
    ----------
    rows : sequence of sequences of Panel
        From top to bottom and left to right; rows may be shorter than others.

    Raises
    ------
    ValueError
        There is no image, or one is not of two dimensions.
    """
    columns = max(map(len, rows), default=0)
    if not columns:
        raise ValueError(f"{len(rows)} rows without an image; expected an image or more")
    for panel in (panel for row in rows for panel in row):
        if np.ndim(panel.image) != 2:
            raise ValueError(
                f"image {panel.title!r} has shape {np.shape(panel.image)}; expected (row, column)"
            )
    figure = Figure(
        figsize=(2.6 * columns, 2.8 * len(rows)), facecolor="black", layout="constrained"
    )
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axis in grid.ravel():
        axis.set_axis_off()
    for row, axes in zip(rows, grid, strict=True):
        _draw_row(figure, row, axes)
    return figure


def _draw_row(figure: Figure, row: Sequence[Panel], axes: "Sequence[Axes]") -> None:
    scaled: dict[tuple[object, ...], tuple[Any, str]] = {}
    for panel, axis in zip(row, axes, strict=False):
        low, high = panel.window
        shown = axis.imshow(panel.image, cmap=panel.colours, vmin=low, vmax=high)
        axis.set_title(fill(panel.title, _TITLE_LETTERS), color="white", fontsize=9)
        if panel.unit:
            scaled[panel.unit, panel.window, panel.colours] = shown, panel.unit
    for shown, unit in reversed(scaled.values()):
        bar = figure.colorbar(shown, ax=list(axes), fraction=0.03, pad=0.01, shrink=0.85)
        bar.ax.tick_params(colors="white", labelsize=8)
        bar.set_label(unit, color="white", fontsize=9)
        bar.outline.set_edgecolor("white")


def save_png(figure: Figure, path: Path, dpi: int = 70) -> None:
    """Write a figure as PNG, in a folder that is made when it is not there.

    The file does not tell the version of the program that drew it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=dpi, metadata={"Software": ""})
