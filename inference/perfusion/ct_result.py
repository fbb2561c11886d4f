"""What the CT perfusion analysis passes between its stages, and how it becomes a result."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference import quantities
from inference.geometry import Geometry
from inference.perfusion.arterial_input import VesselCurve
from inference.perfusion.lesions import Lesions
from inference.pipelines.ctp_perfusion import CtpPerfusionSettings
from inference.results import ParameterMap, Segmentation

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bolus:
    """Artery and vein, the artery's partial-volume factor, and the time the brain peaks."""

    artery: VesselCurve
    vein: VesselCurve | None
    factor: float
    tissue_peak_s: float

    @property
    def aif(self) -> Float64Array:
        """Arterial input in HU, baseline taken before its own arrival, partial volume undone."""
        return self.factor * self.artery.curve


@dataclass(frozen=True, eq=False)
class Maps:
    """Quantities on the output grid, shape ``(slice, row, column)``; NaN outside the brain."""

    cbf: Float32Array
    cbv: Float32Array
    mtt: Float32Array
    tmax: Float32Array
    ttp: Float32Array


@dataclass(frozen=True, eq=False)
class SmoothCurves:
    """Curves of shape ``(voxel, time)``, the width of the kernel, and what it gained."""

    curves: Float32Array
    width_mm: float
    contrast_to_noise: float


def parameter_maps(maps: Maps, geometry: Geometry) -> tuple[ParameterMap, ...]:
    """The five maps with their quantities."""
    return (
        ParameterMap(quantities.CBF, maps.cbf, geometry),
        ParameterMap(quantities.CBV, maps.cbv, geometry),
        ParameterMap(quantities.MTT, maps.mtt, geometry),
        ParameterMap(quantities.TMAX, maps.tmax, geometry),
        ParameterMap(quantities.TTP, maps.ttp, geometry),
    )


def segmentations(
    lesions: Lesions, geometry: Geometry, settings: CtpPerfusionSettings
) -> tuple[Segmentation, ...]:
    """Core and hypoperfused tissue, possibly empty."""
    return (
        Segmentation(
            "core", "Core", lesions.core, geometry, f"rCBF < {100 * settings.core_rcbf:.0f} %"
        ),
        Segmentation(
            "hypoperfused",
            "Hypoperfused",
            lesions.hypoperfused,
            geometry,
            f"Tmax > {settings.hypoperfused_tmax_s:g} s",
        ),
    )


def parameters(
    settings: CtpPerfusionSettings,
    bolus: Bolus,
    lesions: Lesions,
    baseline_frames: int,
    smooth: SmoothCurves,
) -> dict[str, str | float | int | bool]:
    """Every constant and every choice that shaped the result."""
    found: dict[str, str | float | int | bool] = {
        name: value for name, value in settings.model_dump().items() if name != "enabled"
    }
    for name, vessel in (("aif", bolus.artery), ("vof", bolus.vein)):
        if vessel is None:
            continue
        found[f"{name}_peak_hu"] = round(vessel.peak_hu, 1)
        found[f"{name}_arrival_s"] = round(vessel.arrival_s, 2)
        found[f"{name}_peak_time_s"] = round(vessel.peak_time_s, 2)
        found[f"{name}_width_s"] = round(vessel.width_s, 2)
        found[f"{name}_tail_share"] = round(vessel.tail_share, 3)
        found[f"{name}_voxels"] = len(vessel.voxels)
        for axis, value in zip("xyz", vessel.position_mm, strict=True):
            found[f"{name}_{axis}_mm"] = round(float(value), 1)
    found["partial_volume_factor"] = round(bolus.factor, 3)
    found["tissue_peak_time_s"] = round(bolus.tissue_peak_s, 2)
    found["baseline_frames"] = baseline_frames
    found["smoothing_used_mm"] = round(smooth.width_mm, 2)
    found["contrast_to_noise_found"] = round(smooth.contrast_to_noise, 2)
    found["reference_cbf"] = round(lesions.reference.cbf, 2)
    found["reference_cbv"] = round(lesions.reference.cbv, 2)
    found["reference_side"] = lesions.reference.side
    return found
