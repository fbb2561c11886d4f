"""Image data in memory: one volume, or a series of volumes over time, with where it came from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.geometry import Geometry

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Source:
    """Which DICOM images an array was read from.

    Parameters
    ----------
    study_uid : str
        StudyInstanceUID.
    series_uids : tuple of str
        SeriesInstanceUIDs, several when a scanner writes one series per volume.
    sop_instance_uids : array of str, shape ``(time, slice)``
        The image behind every slice (``time`` is 1 for a volume; frames of one multi-frame object
        repeat its UID).
    timing : str
        The attribute that times were read from, for example ``AcquisitionTime``.
    timing_guessed : bool
        True when that attribute only orders the images and the times are an assumption.
    """

    study_uid: str
    series_uids: tuple[str, ...]
    sop_instance_uids: npt.NDArray[np.str_]
    timing: str = ""
    timing_guessed: bool = False


@dataclass(frozen=True, eq=False)
class Volume:
    """One volume: ``data`` of shape ``(slice, row, column)`` in ``units`` (HU for CT)."""

    data: Float32Array
    geometry: Geometry
    units: str
    source: Source

    def __post_init__(self) -> None:
        if self.data.shape != self.geometry.shape:
            raise ValueError(f"data {self.data.shape} does not fit geometry {self.geometry.shape}")


@dataclass(frozen=True, eq=False)
class TimeSeries:
    """Volumes over time: ``data`` of shape ``(time, slice, row, column)`` in ``units``.

    ``times_s`` of shape ``(time, slice)`` holds the acquisition time of every slice in seconds
    after the earliest one: shuttle and jog scans measure their slices at different times.
    ``echo_time_s`` is that of all images in seconds, None where they have none (CT) or do not say.
    """

    data: Float32Array
    times_s: npt.NDArray[np.float64]
    geometry: Geometry
    units: str
    source: Source
    echo_time_s: float | None = None

    def __post_init__(self) -> None:
        if self.data.ndim != 4 or self.data.shape[1:] != self.geometry.shape:
            raise ValueError(f"data {self.data.shape} does not fit geometry {self.geometry.shape}")
        if self.times_s.shape != self.data.shape[:2]:
            raise ValueError(f"times_s {self.times_s.shape} does not fit data {self.data.shape}")
        if len(self.times_s) > 1 and np.min(np.diff(self.times_s, axis=0)) <= 0:
            raise ValueError("times_s must grow from frame to frame in every slice")
