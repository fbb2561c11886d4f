"""Tables and figures of derived head CT, laid out as the paper's Tables II and III.

The usual and the shifted cohort stand apart, and so do patients with and without pathology.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from training.evaluate.derived_ncct import Score
from training.evaluate.figures import score_boxes
from training.evaluate.statistics import bootstrap_interval, compare_paired, holm
from training.evaluate.tables import Table, number, p_value, with_interval

METRICS = ("mse", "r2", "ssim", "noisy_mse", "noisy_r2", "noisy_ssim")
_NAMES = {
    "mse": "MSE HU²",
    "r2": "r²",
    "ssim": "SSIM",
    "noisy_mse": "MSE HU², noisy",
    "noisy_r2": "r², noisy",
    "noisy_ssim": "SSIM, noisy",
}
_DIGITS = {"mse": 1, "noisy_mse": 1}
_CONTRASTS = ("ich", "infarct", "calcification", "grey-white")
_LOW_PERCENT = 10

Group = tuple[str, str]
"""Split, and ``normal`` or ``pathology``."""


def grouped(scores: Sequence[Score]) -> dict[Group, dict[str, list[Score]]]:
    """Scores of each method, ordered by patient, for each group of patients."""
    out: dict[Group, dict[str, list[Score]]] = defaultdict(lambda: defaultdict(list))
    for one in sorted(scores, key=lambda one: one.case):
        group = (one.split, "pathology" if one.pathology else "normal")
        out[group][one.method].append(one)
    return {group: dict(methods) for group, methods in out.items()}


def accuracy_table(group: Group, methods: dict[str, list[Score]], against: str) -> Table:
    """Mean of each metric, with the interval over patients and p against one of the methods.

    Parameters
    ----------
    group : Group
    methods : dict of str to list of Score
        Of the same patients in the same order.
    against : str
        The method that the others are tested against.
    """
    names = [name for name in METRICS if values(next(iter(methods.values())), name)]
    tests: dict[str, dict[str, float | None]] = {}
    others = [method for method in methods if method != against]
    for name in names:
        found = [
            compare_paired(values(methods[method], name), values(methods[against], name)).p_value
            if against in methods
            else None
            for method in others
        ]
        tests[name] = dict(zip(others, holm(found), strict=True))
    rows = []
    for method, scores in methods.items():
        cells = [method, str(len(scores))]
        for name in names:
            known = values(scores, name)
            digits = _DIGITS.get(name, 3)
            interval = bootstrap_interval(known, np.mean) if len(known) > 1 else None
            cells.append(with_interval(float(np.mean(known)), interval, digits))
            cells.append("" if method == against else p_value(tests[name][method]))
        rows.append(cells)
    columns = ["method", "n", *(word for name in names for word in (_NAMES[name], "p"))]
    return Table(
        f"Derived head CT, {group[0]} patients, {group[1]}",
        columns,
        rows,
        "mean over patients (95 % bootstrap over patients), inside the cranial cavity; noisy: "
        "against the head CT as measured, else against the one without noise; p against "
        f"{against}, paired t or Wilcoxon by Shapiro-Wilk, Holm's correction within a column",
    )


def contrast_table(group: Group, methods: dict[str, list[Score]]) -> Table:
    """What is left of vessels, and the part of each contrast that is kept."""
    rows = []
    for method, scores in methods.items():
        vessels = [one.vessels_hu for one in scores if one.vessels_hu is not None]
        cells = [method, number(float(np.median(vessels)), 1) if vessels else "-"]
        for name in _CONTRASTS:
            kept = [one.contrast[name] for one in scores if name in one.contrast]
            cells.append(str(len(kept)))
            low = float(np.percentile(kept, _LOW_PERCENT)) if kept else None
            cells.append(f"{number(float(np.median(kept)))} {number(low)}" if kept else "-")
        rows.append(cells)
    columns = ["method", "vessels HU", *(w for name in _CONTRASTS for w in ("n", name))]
    return Table(
        f"Contrast in derived head CT, {group[0]} patients, {group[1]}",
        columns,
        rows,
        "vessels: median of what they read above the truth; of each contrast the part that is kept "
        "(1: all), median and 10th percentile of n patients that have it",
    )


def tables(scores: Sequence[Score], against: str) -> Iterator[Table]:
    """All tables, group by group."""
    for group, methods in sorted(grouped(scores).items()):
        yield accuracy_table(group, methods, against)
        if any(one.vessels_hu is not None for each in methods.values() for one in each):
            yield contrast_table(group, methods)


def write_report(scores: Sequence[Score], against: str, folder: Path) -> list[Table]:
    """Write every table as text and CSV and box plots of the metrics; the tables are returned."""
    made = list(tables(scores, against))
    for table in made:
        name = table.title.replace(",", "").replace(" ", "-").lower()
        table.write(folder / f"{name}.txt")
        table.write(folder / f"{name}.csv")
    for (split, kind), methods in grouped(scores).items():
        for name in METRICS:
            boxes = {method: values(each, name) for method, each in methods.items()}
            if all(boxes.values()):
                score_boxes(boxes, _NAMES[name], folder / f"{split}-{kind}-{name}.png")
    return made


def values(scores: Sequence[Score], name: str) -> list[float]:
    """One metric of all patients that have it."""
    found = [getattr(one, name) for one in scores]
    return [float(value) for value in found if value is not None]
