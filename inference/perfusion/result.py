"""What a perfusion analysis passes between its stages, and how it becomes a result."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from inference import quantities
from inference.geometry import Geometry
from inference.perfusion.agent import Agent
from inference.perfusion.arterial_input import Vessels
from inference.perfusion.lesions import LesionRules, Lesions
from inference.perfusion.settings import PerfusionSettings
from inference.perfusion.tissue_curve import TissueCurve
from inference.perfusion.vessel_curves import VesselCurve
from inference.preprocess.motion import Motion
from inference.results import Curve, ParameterMap, Segmentation

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Parameters = dict[str, str | float | int | bool]


@dataclass(frozen=True, eq=False)
class Bolus:
    """Artery and vein with the grid they were found on, partial volume, and the brain's curve.

    ``factor`` is by how much the artery's curve is too low for its partial volume, ``agent`` says
    in which unit the curves are.
    """

    vessels: Vessels
    factor: float
    tissue: TissueCurve
    geometry: Geometry
    agent: Agent

    @property
    def artery(self) -> VesselCurve:
        """The arterial input, as measured."""
        return self.vessels.artery

    @property
    def vein(self) -> VesselCurve | None:
        """The venous output."""
        return self.vessels.vein

    @property
    def aif(self) -> Float64Array:
        """Arterial input, baseline taken before its own arrival, partial volume undone."""
        return self.factor * self.artery.curve


@dataclass(frozen=True, eq=False)
class Maps:
    """Quantities on the output grid, shape ``(slice, row, column)``; NaN outside the brain."""

    cbf: Float32Array
    cbv: Float32Array
    mtt: Float32Array
    tmax: Float32Array
    ttp: Float32Array

    def scaled(self, factor: float) -> "Maps":
        """The same with CBF and CBV times a factor."""
        return replace(self, cbf=self.cbf * factor, cbv=self.cbv * factor)


@dataclass(frozen=True, eq=False)
class SmoothCurves:
    """Curves of shape ``(voxel, time)``, and how they were freed of noise.

    ``width_mm`` is the standard deviation of the kernel, ``contrast_to_noise`` what it gained,
    ``components`` how many principal components over time were kept.
    """

    curves: Float32Array
    width_mm: float
    contrast_to_noise: float
    components: int


def parameter_maps(maps: Maps, geometry: Geometry) -> tuple[ParameterMap, ...]:
    """The five maps with their quantities."""
    return (
        ParameterMap(quantities.CBF, maps.cbf, geometry),
        ParameterMap(quantities.CBV, maps.cbv, geometry),
        ParameterMap(quantities.MTT, maps.mtt, geometry),
        ParameterMap(quantities.TMAX, maps.tmax, geometry),
        ParameterMap(quantities.TTP, maps.ttp, geometry),
    )


def bolus_curves(bolus: Bolus, times_s: Float64Array) -> tuple[Curve, ...]:
    """Artery, vein and brain over time with their places, as the reader should see them."""
    vessels = [("aif", "Arterial input", bolus.artery), ("vof", "Venous output", bolus.vein)]
    shown = [
        Curve(
            name, label, times_s, vessel.curve, bolus.agent.unit,
            np.array([bolus.geometry.voxel_to_lps(int(s), r, c) for s, r, c in vessel.voxels]),
        )
        for name, label, vessel in vessels
        if vessel is not None
    ]  # fmt: skip
    return (*shown, Curve("tissue", "Brain", times_s, bolus.tissue.curve, bolus.agent.unit))


def motion_curves(motion: Motion, times_s: Float64Array) -> tuple[Curve, ...]:
    """Motion of the head over time, and the times of the frames that were dropped."""
    dropped = times_s[list(motion.dropped)]
    return (
        Curve("motion_mm", "Displacement", times_s, motion.displacement_mm, "mm"),
        Curve("motion_deg", "Rotation", times_s, motion.rotation_deg, "deg"),
        Curve("dropped", "Dropped frames", dropped, np.ones(len(dropped)), "1"),
    )


def segmentations(
    lesions: Lesions, geometry: Geometry, rules: LesionRules, core_is_known: bool
) -> tuple[Segmentation, ...]:
    """Core, where low flow defines it, and hypoperfused tissue, both possibly empty."""
    low = f"rCBF < {100 * rules.core_rcbf:.0f} %"
    core = Segmentation("core", "Core", lesions.core, geometry, low)
    hypoperfused = Segmentation(
        "hypoperfused",
        "Hypoperfused",
        lesions.hypoperfused,
        geometry,
        f"Tmax > {rules.hypoperfused_tmax_s:g} s, or {'core' if core_is_known else low}",
    )
    return (core, hypoperfused) if core_is_known else (hypoperfused,)


def parameters(
    settings: PerfusionSettings,
    bolus: Bolus,
    lesions: Lesions,
    baseline_frames: int,
    smooth: SmoothCurves,
) -> Parameters:
    """Every constant and every choice that shaped the result."""
    found: Parameters = {
        name: str(value) if isinstance(value, tuple) else value
        for name, value in settings.model_dump().items()
        if name != "enabled" and value is not None
    }
    for name, vessel in (("aif", bolus.artery), ("vof", bolus.vein)):
        if vessel is None:
            continue
        found[f"{name}_peak_{bolus.agent.suffix}"] = round(vessel.peak, 1)
        found[f"{name}_arrival_s"] = round(vessel.arrival_s, 2)
        found[f"{name}_peak_time_s"] = round(vessel.peak_time_s, 2)
        found[f"{name}_width_s"] = round(vessel.width_s, 2)
        found[f"{name}_tail_share"] = round(vessel.tail_share, 3)
        found[f"{name}_voxels"] = len(vessel.voxels)
        for axis, value in zip("xyz", vessel.position_mm, strict=True):
            found[f"{name}_{axis}_mm"] = round(float(value), 1)
    for prefix, kind in (("aif", "artery"), ("vof", "vein")):
        told = [c.reason(bolus.agent.unit) for c in bolus.vessels.candidates if c.vessel == kind]
        found |= {f"{prefix}_reason_{number}": text for number, text in enumerate(told, start=1)}
    found["partial_volume_factor"] = round(bolus.factor, 3)
    found["tissue_peak_time_s"] = round(bolus.tissue.peak_time_s, 2)
    found["baseline_frames"] = baseline_frames
    found["smoothing_used_mm"] = round(smooth.width_mm, 2)
    found["principal_components_kept"] = smooth.components
    found["contrast_to_noise_found"] = round(smooth.contrast_to_noise, 2)
    found["reference_cbf"] = round(lesions.reference.cbf, 2)
    found["reference_cbv"] = round(lesions.reference.cbv, 2)
    found["reference_side"] = lesions.reference.side
    return found
