"""What the network sees of a CT perfusion: few frames, all brought to the first one, scaled.

Training and inference prepare their input here, so that they cannot differ.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.dicom.volumes import TimeSeries
from inference.errors import NotAnalysable
from inference.geometry import Geometry
from inference.preprocess.masks import cranial_cavity, head_mask
from inference.preprocess.motion import Motion, correct_motion, estimate_motion

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

MOST_FRAMES = 19
"""Time points of the paper's scans. Of longer scans later neighbours become their mean."""
FIRST_FRAMES = 4
"""The paper's t = 0-3: before the contrast arrives, and together less noisy than one."""

_OFFSET_HU, _RANGE_HU = 50.0, 250.0
_LOWEST_HU, _HIGHEST_HU = -150.0, 300.0


@dataclass(frozen=True, eq=False)
class StillFrames:
    """Frames in which the head lies as on the first one.

    Parameters
    ----------
    data : array, shape ``(time, slice, row, column)``
        HU, at most :data:`MOST_FRAMES` time points.
    cavity : array, shape ``(slice, row, column)``
        The inside of the skull.
    motion : Motion
        How the head moved before, between the frames of the scan.
    geometry : Geometry
        That of the slices.
    """

    data: Float32Array
    cavity: BoolArray
    motion: Motion
    geometry: Geometry

    @property
    def first_mean(self) -> Float32Array:
        """Mean of the first frames, shape ``(slice, row, column)``."""
        mean: Float32Array = self.data[:FIRST_FRAMES].mean(axis=0)
        return mean


def still_frames(
    series: TimeSeries, *, most: int = MOST_FRAMES, device: str = "cpu"
) -> StillFrames:
    """Bring all frames of a CT perfusion to its first one and make them few.

    Parameters
    ----------
    series : TimeSeries
        HU.
    most : int
        How many frames there may be.
    device : str
        torch device.

    Raises
    ------
    NotAnalysable
        There is no head in the field of view, or nothing inside a skull.
    """
    motion = estimate_motion(series, reference=0, device=device)
    still = correct_motion(series, motion)
    first = still.data[:FIRST_FRAMES].mean(axis=0)
    cavity = cranial_cavity(first, head_mask(first, series.geometry), series.geometry)
    if not cavity.any():
        raise NotAnalysable("nothing lies inside a skull, expected a head: is this a head CT?")
    return StillFrames(condense(still.data, most), cavity, motion, series.geometry)


def condense(data: Float32Array, most: int = MOST_FRAMES) -> Float32Array:
    """At most ``most`` time points: the first four as they are, then means of neighbours.

    The first ones are there without contrast and must stay so. No dose is thrown away: the noise
    of the others falls as they get fewer. Where fewer than five are wanted all are means.

    Parameters
    ----------
    data : array, shape ``(time, ...)``
    """
    if most < 1 or not len(data):
        raise ValueError(f"{len(data)} time points into {most}, expected at least one of each")
    if len(data) <= most:
        return data
    kept = FIRST_FRAMES if most > FIRST_FRAMES else 0
    groups = np.array_split(np.arange(kept, len(data)), most - kept)
    means = [data[group[0] : group[-1] + 1].mean(axis=0) for group in groups]
    return np.stack([*data[:kept], *means])


def to_network(hu: Float32Array) -> Float32Array:
    """Scale HU for the network: 0 at -50 HU, 1 at 200 HU.

    HU are cut at -150 and 300 first. The paper does not cut; then the errors of bone, a hundred
    times as large as those of brain, decide what is learned.
    """
    cut = np.clip(hu, np.float32(_LOWEST_HU), np.float32(_HIGHEST_HU))
    return (cut + np.float32(_OFFSET_HU)) / np.float32(_RANGE_HU)


def to_hu(values: Float32Array) -> Float32Array:
    """Undo :func:`to_network`, but for what it cut."""
    return values * np.float32(_RANGE_HU) - np.float32(_OFFSET_HU)
