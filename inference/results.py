"""What a pipeline returns: arrays and numbers with units, free of DICOM objects."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from inference.geometry import Geometry
from inference.quantities import Quantity

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Status = Literal["ok", "not_analysed", "failed"]
Side = Literal["L", "R", "both"]


@dataclass(frozen=True, eq=False)
class DerivedImage:
    """A grey-scale volume made from the source, for example the mean of the baseline frames.

    ``data`` has shape ``(slice, row, column)`` in ``units``; ``window`` is (low, high).
    """

    name: str
    description: str
    data: Float32Array
    geometry: Geometry
    units: str
    window: tuple[float, float]


@dataclass(frozen=True, eq=False)
class ParameterMap:
    """A measured quantity per voxel, shape ``(slice, row, column)``; NaN where not measured."""

    quantity: Quantity
    data: Float32Array
    geometry: Geometry


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A region, shape ``(slice, row, column)``, on the grid of the derived images.

    ``algorithm`` says in a few words how it was drawn, for example ``rCBF < 30 %``.
    """

    name: str
    label: str
    mask: BoolArray
    geometry: Geometry
    algorithm: str

    @property
    def volume_ml(self) -> float:
        """Volume of the region in mL."""
        return float(self.mask.sum(axis=(1, 2)) @ self.geometry.voxel_volumes_ml)


@dataclass(frozen=True)
class Measurement:
    """A number with a UCUM unit (``1`` for ratios); ``value`` is None when it is not defined.

    ``reason`` says why, in a few words, where that cannot be told from the other numbers.
    """

    name: str
    label: str
    value: float | None
    unit: str
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Curve:
    """A course over time that the reader should see, such as the arterial input or the motion.

    ``times_s`` and ``values`` have shape ``(time,)``, ``values`` in ``unit`` (UCUM);
    ``voxels_mm`` of shape ``(voxel, 3)`` holds the places it was measured at (LPS), None where it
    belongs to no place.
    """

    name: str
    label: str
    times_s: Float64Array
    values: Float64Array
    unit: str
    voxels_mm: Float64Array | None = None


@dataclass(frozen=True)
class Finding:
    """A yes or no with its probability where one is known; ``present`` None: cannot be told."""

    name: str
    present: bool | None
    probability: float | None = None


@dataclass(frozen=True)
class Warning:
    """Something that lowers trust in the result, with the number that says how much."""

    code: str
    text: str
    value: float | None = None


@dataclass(frozen=True)
class Criterion:
    """A published selection rule as a statement with its inputs; ``met`` None: cannot be told."""

    name: str
    met: bool | None
    inputs: dict[str, float | None]


@dataclass(frozen=True, eq=False)
class PipelineResult:
    """Everything that one run of a pipeline found.

    ``status`` ``not_analysed`` comes with a ``reason`` and without images, maps or numbers that
    could be taken for valid ones. ``parameters`` records every constant that shaped the result.
    """

    pipeline: str
    version: str
    status: Status
    reason: str = ""
    images: tuple[DerivedImage, ...] = ()
    maps: tuple[ParameterMap, ...] = ()
    segmentations: tuple[Segmentation, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    findings: tuple[Finding, ...] = ()
    warnings: tuple[Warning, ...] = ()
    criteria: tuple[Criterion, ...] = ()
    curves: tuple[Curve, ...] = ()
    side: Side | None = None
    parameters: dict[str, str | float | int | bool] = field(default_factory=dict)
    timings_s: dict[str, float] = field(default_factory=dict)
    device: str = "cpu"
