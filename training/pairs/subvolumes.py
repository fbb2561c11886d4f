"""Sub-volumes of pairs, drawn from inside the skull, as batches for the training loop."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from lightning import LightningDataModule
from scipy import ndimage
from torch.utils.data import DataLoader, Dataset

from inference.derived_ncct.frames import FIRST_FRAMES, condense, to_network
from inference.preprocess.morphology import dilate, erode
from training.pairs.pair import BoolArray, Pair, case_folders
from training.simulate.arrays import stream

CAVITY_RIM_MM = 1.4
"""What the paper's erosion takes off the cranial cavity: three voxels of 0.47 mm."""

_BEYOND_MM = 3.0
_PLACES = 3  # anywhere, dense tissue, vessels
_WAYS = {"all": 0.25, "means": 0.4, "first": 0.2, "some": 0.15}
_SMOOTHING_MM = 2.0
_DENSE_HU = 18.0
_VESSEL_SHARE = 0.01

Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Frames of shape ``(batch, time, z, y, x)``; target and weights of shape ``(batch, z, y, x)``."""
Cut = tuple[Float32Array, Float32Array, Float32Array]


@dataclass(frozen=True)
class Drawing:
    """How sub-volumes are drawn.

    Parameters
    ----------
    size : (int, int, int)
        Slices, rows and columns.
    batch : int
        Sub-volumes in a batch.
    batches : int
        Batches in an epoch.
    frames : int or None
        Every sub-volume has this many time points (for networks that take them as channels);
        None: the scan's own, at most 19, and in most batches fewer: means of neighbours, only the
        first ones, or some.
    first : int or None
        Every sub-volume has the first time points only, at most this many; instead of ``frames``.
    rare_share : float
        Share of the sub-volumes that are drawn around dense tissue, which is blood or calcium, and
        as large a share around vessels: there is so little of them that else they hardly count.
    seed : int
    """

    size: tuple[int, int, int]
    batch: int
    batches: int
    frames: int | None = None
    first: int | None = None
    rare_share: float = 0.25
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Drawable:
    """A pair, the voxels that sub-volumes are drawn around, and those that count.

    ``inside`` and, of what is rare in it, ``dense`` and ``vessels`` hold flat indices, ``weight``
    has shape ``(slice, row, column)``.
    """

    pair: Pair
    inside: IntArray
    dense: IntArray
    vessels: IntArray
    weight: BoolArray

    @classmethod
    def of(cls, pair: Pair) -> "Drawable":
        """Around voxels of the cavity without its rim; those up to 3 mm outside of it count."""
        weight = dilate(pair.masks["cavity"], _BEYOND_MM, pair.case.spacing_mm[1:])
        inside = eroded_cavity(pair)
        return cls(
            pair,
            np.flatnonzero(inside),
            np.flatnonzero(dense_tissue(pair, inside)),
            np.flatnonzero(vessels(pair, inside)),
            weight,
        )


def dense_tissue(pair: Pair, inside: BoolArray) -> BoolArray:
    """Where the head CT reads 18 HU more than its median."""
    smooth = _smoothed(np.asarray(pair.ncct, np.float32), inside, pair.case.spacing_mm)
    dense: BoolArray = inside & (smooth > np.median(smooth[inside]) + _DENSE_HU)
    return dense


def vessels(pair: Pair, inside: BoolArray) -> BoolArray:
    """The hundredth part of the inside where the CT perfusion varies most over time."""
    smooth = [
        _smoothed(np.asarray(frame, np.float32), inside, pair.case.spacing_mm)[inside]
        for frame in pair.ctp
    ]
    found = np.zeros_like(inside)
    variance = np.var(smooth, axis=0)
    found[inside] = variance >= np.quantile(variance, 1 - _VESSEL_SHARE)
    return found


def _smoothed(
    image: Float32Array, inside: BoolArray, spacing_mm: tuple[float, float, float]
) -> Float32Array:
    """An image without noise in its slices, of what lies inside only; useless outside."""
    sigma = [0.0, *(_SMOOTHING_MM / spacing for spacing in spacing_mm[1:])]
    total = ndimage.gaussian_filter(np.where(inside, image, 0), sigma)
    share = ndimage.gaussian_filter(inside.astype(np.float32), sigma)
    mean: Float32Array = total / np.maximum(share, np.float32(1e-6))
    return mean


class SubVolumes(Dataset[Batch]):
    """Batches of sub-volumes, each decided by the seed, the epoch and its number.

    Parameters
    ----------
    cases : sequence of Drawable
    drawing : Drawing
    epoch : int
    """

    def __init__(self, cases: Sequence[Drawable], drawing: Drawing, epoch: int) -> None:
        self.cases, self.drawing, self.epoch = cases, drawing, epoch
        # Large hemorrhages more often than small ones, but not as much as they are larger.
        self._dense = np.sqrt([float(len(case.dense)) for case in cases])

    def __len__(self) -> int:
        return self.drawing.batches

    def __getitem__(self, number: int) -> Batch:
        """Frames, target and weights of one batch."""
        drawing = self.drawing
        rng = stream(drawing.seed, "sub-volumes", self.epoch, number)
        which = [int(index) for index in rng.integers(len(self.cases), size=drawing.batch)]
        cut = [self._around(index, rng) for index in which]
        if drawing.first is not None:
            count = min(drawing.first, *(len(frames) for frames, _, _ in cut))
            frames = [frames[:count] for frames, _, _ in cut]
        elif drawing.frames is None:
            frames = _fewer([frames for frames, _, _ in cut], rng)
        else:
            frames = [with_frames(frames, drawing.frames) for frames, _, _ in cut]
        return (
            torch.from_numpy(to_network(np.stack(frames))),
            torch.from_numpy(to_network(np.stack([target for _, target, _ in cut]))),
            torch.from_numpy(np.stack([weight for _, _, weight in cut])),
        )

    def _around(self, index: int, rng: np.random.Generator) -> Cut:
        """Around dense tissue of any case, around vessels of this one, or anywhere in it."""
        case, drawn = self.cases[index], rng.random() / max(self.drawing.rare_share, 1e-9)
        if drawn < 1 and self._dense.any():
            index = int(rng.choice(len(self.cases), p=self._dense / self._dense.sum()))
            return self._cut(self.cases[index], self.cases[index].dense, rng)
        if 1 <= drawn < 2 and len(case.vessels):
            return self._cut(case, case.vessels, rng)
        return self._cut(case, case.inside, rng)

    def _cut(self, case: Drawable, around: IntArray, rng: np.random.Generator) -> Cut:
        """Frames, target and weights around one of some voxels."""
        size = self.drawing.size
        voxel = int(rng.choice(around))
        centre = [int(place) for place in np.unravel_index(voxel, case.weight.shape)]
        return (
            cut_out(case.pair.ctp, centre, size),
            cut_out(case.pair.ncct, centre, size),
            cut_out(case.weight, centre, size, outside=0.0),
        )


def _fewer(series: Sequence[Float32Array], rng: np.random.Generator) -> list[Float32Array]:
    """All time points, later ones as means of neighbours, only the first ones, or some in order.

    Means keep what there is to be seen in short sequences, from which more is learned in less time.
    """
    count = min(map(len, series))
    way = rng.choice(list(_WAYS), p=list(_WAYS.values()))
    if way == "means" and count > FIRST_FRAMES + 1:
        most = int(rng.integers(FIRST_FRAMES + 1, count))
        return [condense(frames[:count], most) for frames in series]
    kept = int(rng.integers(1, count + 1))
    chosen = {
        "first": np.arange(kept),
        "some": np.sort(rng.choice(count, kept, replace=False)),
    }.get(way, np.arange(count))
    return [frames[chosen] for frames in series]


def cut_out(
    volume: npt.NDArray[np.generic],
    centre: Sequence[int],
    size: tuple[int, int, int],
    *,
    outside: float | None = None,
) -> Float32Array:
    """The part of a volume around a voxel, moved inwards where the volume has room for it.

    Parameters
    ----------
    volume : array, shape ``(..., slice, row, column)``
    centre, size : slice, row and column
    outside : float or None
        What lies beyond a volume that is too small; None repeats its border.
    """
    cut: list[slice] = []
    widths: list[tuple[int, int]] = []
    for place, wanted, there in zip(centre, size, volume.shape[-3:], strict=True):
        first = min(max(place - wanted // 2, 0), max(there - wanted, 0))
        cut.append(slice(first, first + wanted))
        missing = max(wanted - there, 0)
        widths.append((missing // 2, missing - missing // 2))
    slices, rows, columns = cut
    part = np.asarray(volume[..., slices, rows, columns], np.float32)
    if not any(map(any, widths)):
        return part
    widths = [(0, 0)] * (part.ndim - 3) + widths
    if outside is None:
        return np.pad(part, widths, mode="edge")
    return np.pad(part, widths, constant_values=outside)


def with_frames(frames: Float32Array, count: int) -> Float32Array:
    """As many time points as wanted: means of neighbours, or linear interpolation for more."""
    if len(frames) >= count:
        return condense(frames, count)
    at = np.linspace(0, len(frames) - 1, count)
    low = np.minimum(at.astype(int), max(len(frames) - 2, 0))
    high = np.minimum(low + 1, len(frames) - 1)
    share = (at - low).astype(np.float32).reshape(-1, *[1] * (frames.ndim - 1))
    mixed: Float32Array = frames[low] * (1 - share) + frames[high] * share
    return mixed


def eroded_cavity(pair: Pair) -> BoolArray:
    """Where images are compared: the cranial cavity without its rim; all of it if nothing else."""
    cavity = pair.masks["cavity"]
    inside = erode(cavity, CAVITY_RIM_MM, pair.case.spacing_mm[1:])
    return inside if inside.any() else cavity


class PairData(LightningDataModule):
    """Training and validation sub-volumes for the loop.

    Those of validation are the same in every epoch and have all time points.

    Parameters
    ----------
    train, validation : sequence of Pair
    drawing : Drawing
        Of training.
    workers : int
        Processes that draw.
    """

    def __init__(
        self, train: Sequence[Pair], validation: Sequence[Pair], drawing: Drawing, workers: int = 0
    ) -> None:
        super().__init__()
        self.train = [Drawable.of(pair) for pair in train]
        self.validation = [Drawable.of(pair) for pair in validation]
        self.drawing, self.workers = drawing, workers

    def train_dataloader(self) -> DataLoader[Batch]:
        """The batches of the current epoch."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        return DataLoader(
            SubVolumes(self.train, self.drawing, epoch), batch_size=None, num_workers=self.workers
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """The batches of validation."""
        fixed = replace(self.drawing, batch=1, batches=_PLACES * len(self.validation), seed=0)
        return DataLoader(ValidationSubVolumes(self.validation, fixed, 0), batch_size=None)


class ValidationSubVolumes(SubVolumes):
    """Anywhere, around dense tissue and around vessels of each case, with all time points."""

    def __getitem__(self, number: int) -> Batch:
        """Frames, target and weights of one sub-volume."""
        rng = stream(self.drawing.seed, "validation", number)
        place, index = divmod(number, len(self.cases))
        case = self.cases[index]
        around = (case.inside, case.dense, case.vessels)[place]
        frames, target, weight = self._cut(case, around if len(around) else case.inside, rng)
        if self.drawing.frames is not None:
            frames = with_frames(frames, self.drawing.frames)
        frames = frames[: self.drawing.first]
        return (
            torch.from_numpy(to_network(frames[None])),
            torch.from_numpy(to_network(target[None])),
            torch.from_numpy(weight[None]),
        )


def load_split(folder: Path, split: str) -> list[Pair]:
    """All cases of a split."""
    return [Pair.load(path) for path in case_folders(folder, split)]
