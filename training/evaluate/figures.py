"""Figures of an evaluation as PNG: scores of methods, curves, and images side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.evaluate.statistics import FloatArray, Values, finite_scores
from training.pictures import Panel, montage, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by colour-blind readers too (Okabe and Ito 2008)."""
_MARKERS = "os^Dv*P"
_DPI = 120
_JITTER = 0.16
_LEGEND_LETTERS = 26


def score_boxes(scores: Mapping[str, Values], metric_name: str, path: Path) -> None:
    """Draw the scores of methods: a box with the median, and a point for every patient.

    Parameters
    ----------
    scores : mapping of str to array-like of float, shape (patient,)
        Scores of each method; the first one stands on top.
    metric_name : str
        What was measured, with its unit.
    path : Path
        PNG file.

    Raises
    ------
    ValueError
        There is no method, or a method has no score or one that is not finite.
    """
    found = {name: _some(values, name) for name, values in scores.items()}
    if not found:
        raise ValueError(f"no method to draw {metric_name} of; expected one or more")
    figure = Figure(figsize=(7.6, 1.1 + 0.55 * len(found)), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(found))
    axis.boxplot(
        list(found.values()), positions=places, orientation="horizontal", widths=0.55,
        showfliers=False, medianprops={"color": "black", "linewidth": 2},
    )  # fmt: skip
    for place, values in zip(places, found.values(), strict=True):
        colour = COLOURS[place % len(COLOURS)]
        axis.scatter(values, place + _spread(len(values)), s=14, color=colour, alpha=0.6, zorder=3)
    axis.set_yticks(places, [fill(name, _LEGEND_LETTERS) for name in found])
    axis.invert_yaxis()
    _finish(axis, metric_name, "")
    save_png(figure, path, _DPI)


def score_lines(
    series: Mapping[str, tuple[Values, Values]],
    x_name: str,
    y_name: str,
    path: Path,
    reference: tuple[str, float] | None = None,
    *,
    log_x: bool = False,
) -> None:
    """Draw a score against what was varied, a line for each method.

    Parameters
    ----------
    series : mapping of str to (x, y)
        Points of each line, each of shape ``(point,)``.
    x_name, y_name : str
        What was varied and what was measured, with their units.
    path : Path
        PNG file.
    reference : (str, float), optional
        Name and score of a dotted line across.
    log_x : bool
        Whether equal factors are equally far apart along x.

    Raises
    ------
    ValueError
        There is no line, or one has no point, as many x as not y, or values that are not finite
        (for ``log_x``, above 0).
    """
    if not series:
        raise ValueError(f"no line of {y_name} to draw; expected one or more")
    figure = Figure(figsize=(7.6, 4.2), layout="constrained")
    axis = figure.subplots()
    for index, (name, (x, y)) in enumerate(series.items()):
        across, up = _some(x, name), _some(y, name)
        if len(across) != len(up):
            raise ValueError(f"{len(across)} x and {len(up)} y of {name!r}; expected pairs")
        if log_x and across.min() <= 0:
            raise ValueError(f"x of {name!r} goes down to {across.min():g}; expected above 0")
        axis.plot(
            across, up, label=fill(name, _LEGEND_LETTERS), color=COLOURS[index % len(COLOURS)],
            marker=_MARKERS[index % len(_MARKERS)], markersize=5, linewidth=1.5,
        )  # fmt: skip
    if reference:
        label = fill(reference[0], _LEGEND_LETTERS)
        axis.axhline(reference[1], color="red", linestyle=":", linewidth=1.5, label=label)
    if log_x:
        axis.set_xscale("log")
    elif all(_whole(x) for x, _ in series.values()):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(series) + bool(reference) > 1:
        figure.legend(loc="outside right upper", fontsize=9, frameon=False)
    _finish(axis, x_name, y_name)
    save_png(figure, path, _DPI)


def image_panel(rows: Sequence[Sequence[Panel]], path: Path) -> None:
    """Draw images side by side; rows and errors are those of :func:`training.pictures.montage`."""
    save_png(montage(rows), path, _DPI)


def _some(values: Values, name: str) -> FloatArray:
    numbers = finite_scores(values, name)
    if not len(numbers):
        raise ValueError(f"{name!r} has no score; expected one or more")
    return numbers


def _whole(values: Values) -> bool:
    return all(float(value).is_integer() for value in values)


def _spread(count: int) -> FloatArray:
    """Where points stand across their box, the same for the same count."""
    return np.random.default_rng(count).uniform(-_JITTER, _JITTER, count)


def _finish(axis: "Axes", x_name: str, y_name: str) -> None:
    axis.set_xlabel(x_name)
    axis.set_ylabel(y_name)
    axis.grid(alpha=0.3)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
