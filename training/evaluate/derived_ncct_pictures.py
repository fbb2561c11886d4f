"""Pictures of derived head CT: of test patients beside their head CT, and of a scan."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from inference.derived_ncct.derive import derive
from inference.derived_ncct.frames import FIRST_FRAMES, still_frames
from inference.derived_ncct.model import Model
from inference.dicom.volumes import TimeSeries
from training.evaluate.derived_ncct import Derive, Float32Array, Score
from training.evaluate.derived_ncct_report import grouped
from training.evaluate.figures import image_panel
from training.pairs.pair import BoolArray, Pair
from training.pictures import Panel

_ERROR_HU = (-20.0, 20.0)
_ERROR_COLOURS = "RdBu_r"
_SLICE_SHARES = (0.3, 0.45, 0.6, 0.75)
_BORDER_MM = 12.0


def draw_patients(
    pairs: Sequence[Pair],
    scores: Sequence[Score],
    methods: Mapping[str, Derive],
    shown: str,
    folder: Path,
) -> list[Path]:
    """Draw two patients of each group: the one in the middle by a method's error, and the worst.

    Parameters
    ----------
    pairs : sequence of Pair
    scores : sequence of Score
        Of these patients.
    methods : dict of str to method
        A column for each.
    shown : str
        The method that chooses patients, and whose errors are drawn.
    folder : Path
        Of the PNG files.
    """
    by_name = {pair.case.name: pair for pair in pairs}
    made = []
    for (split, kind), found in grouped(scores).items():
        own = sorted(found.get(shown, []), key=_error)
        if not own:
            continue
        chosen = {own[-1].case: "worst", own[(len(own) - 1) // 2].case: "middle"}
        rows = [
            _patient_row(f"{name}: {case}", by_name[case], methods, shown)
            for case, name in reversed(chosen.items())
        ]
        path = folder / f"{split}-{kind}-patients.png"
        image_panel(rows, path)
        made.append(path)
    return made


def _error(score: Score) -> float:
    return score.noisy_mse if score.mse is None else score.mse


def _patient_row(title: str, pair: Pair, methods: Mapping[str, Derive], shown: str) -> list[Panel]:
    """One slice by all methods, as it was measured and as it is, and the error of one method."""
    index = _slice_to_show(pair)
    frames = np.asarray(pair.ctp, np.float32)
    images = {name: derive(frames, pair.masks["cavity"]) for name, derive in methods.items()}
    cut = _around(pair.masks["cavity"], pair.case.spacing_mm[1:])
    row = [
        Panel(f"{title}, {name}" if not place else name, image[index][cut])
        for place, (name, image) in enumerate(images.items())
    ]
    row.append(Panel("NCCT", np.asarray(pair.ncct[index], np.float32)[cut]))
    target = pair.ncct if pair.truth is None else pair.truth
    if pair.truth is not None:
        row.append(Panel("NCCT without noise", np.asarray(target[index], np.float32)[cut]))
    error = np.where(
        pair.masks["cavity"][index], images[shown][index] - np.asarray(target[index], np.float32), 0
    )
    row.append(Panel(f"error of {shown}", error[cut], _ERROR_HU, _ERROR_COLOURS, "HU"))
    return row


def _slice_to_show(pair: Pair) -> int:
    """Where there is most blood, else most infarct, else most brain."""
    for name in ("ich", "core", "brain"):
        sizes = pair.masks[name].sum(axis=(1, 2))
        if sizes.any():
            return int(sizes.argmax())
    return len(pair.ncct) // 2


def draw_scan(series: TimeSeries, model: Model, path: Path) -> None:
    """Draw slices of a CT perfusion: its first frame, the mean of the first, and what is derived.

    Parameters
    ----------
    series : TimeSeries
        HU.
    model : Model
    path : Path
        PNG file.

    Raises
    ------
    NotAnalysable
        As of :func:`inference.derived_ncct.frames.still_frames`.
    """
    still = still_frames(series, device=model.device)
    spacing = still.geometry.pixel_spacing_mm
    image = derive(still.data, still.cavity, spacing, model).image
    columns: dict[str, Float32Array] = {
        "first frame": still.data[0],
        f"mean of the first {FIRST_FRAMES}": still.first_mean,
        "derived NCCT": image,
    }
    inside = np.flatnonzero(still.cavity.any(axis=(1, 2)))
    places = sorted({int(inside[int(share * len(inside))]) for share in _SLICE_SHARES})
    cut = _around(still.cavity, spacing)
    image_panel(
        [
            [
                Panel(name if row == 0 else "", volume[place][cut])
                for name, volume in columns.items()
            ]
            for row, place in enumerate(places)
        ],
        path,
    )


def _around(cavity: BoolArray, spacing_mm: tuple[float, float]) -> tuple[slice, slice]:
    """Rows and columns of the inside of a skull, and some of what is around."""
    cuts = []
    for axis, spacing in zip((1, 2), spacing_mm, strict=True):
        used = np.flatnonzero(cavity.any(axis=tuple({0, 1, 2} - {axis})))
        border = round(_BORDER_MM / spacing)
        cuts.append(slice(max(int(used[0]) - border, 0), int(used[-1]) + border + 1))
    rows, columns = cuts
    return rows, columns
