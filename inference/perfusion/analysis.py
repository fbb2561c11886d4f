"""From contrast curves to lesions: the part of a perfusion analysis that knows no modality.

What comes before, from images to a :class:`Scan`, differs: see
:mod:`inference.perfusion.ct_analysis`.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from inference.dicom.volumes import TimeSeries
from inference.errors import NotAnalysable
from inference.geometry import Geometry
from inference.perfusion import quality
from inference.perfusion.concentration import contrast_to_noise
from inference.perfusion.criteria import selection_criteria
from inference.perfusion.deconvolution import Residue, deconvolve
from inference.perfusion.lesions import (
    LesionRules,
    confirm_clusters,
    edges_that_moved,
    find_lesions,
    median_in_plane,
    prolonged_tmax,
    volume_ml,
)
from inference.perfusion.maps import PerfusionMaps, perfusion_maps
from inference.perfusion.measurements import measure_lesions, without_core
from inference.perfusion.result import (
    Bolus,
    Maps,
    Parameters,
    SmoothCurves,
    bolus_curves,
    motion_curves,
    parameter_maps,
    parameters,
    segmentations,
)
from inference.perfusion.settings import PerfusionSettings
from inference.preprocess.frames import Frames, resample
from inference.preprocess.motion import correct_motion, estimate_motion
from inference.preprocess.principal_components import keep_components
from inference.preprocess.smoothing import smooth_curves
from inference.results import Curve, DerivedImage, PipelineResult, Warning
from inference.stages import StageClock

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_LEAST_CONFIRMATION = 1.1
_WIDEST_CONFIRMATION = 2.0
# Wider kernels spread a vessel over the tissue beside it.
_VESSEL_SMOOTHING_MM = 1.0
STAGES = {
    "motion": 0.0,
    "convert": 0.12,
    "resample": 0.15,
    "vessels": 0.2,
    "masks": 0.35,
    "smooth": 0.45,
    "deconvolve": 0.55,
    "lesions": 0.9,
}
"""Stages of a perfusion analysis, with the fraction of it that is done when each begins."""


@dataclass(frozen=True, eq=False)
class StillSeries:
    """A series in which the head lies still, what moved before, and what that means for trust."""

    series: TimeSeries
    curves: tuple[Curve, ...] = ()
    warnings: tuple[Warning, ...] = ()


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan, ready for deconvolution.

    Parameters
    ----------
    contrast : Frames
        Proportional to the concentration of the contrast agent.
    brain, vessels, left : array, shape ``(slice, row, column)``
        Parenchyma with the vessels in it, those vessels, and the patient's left half.
    bolus : Bolus
        In the unit of ``contrast``.
    baseline : DerivedImage
        What the reader sees below the regions.
    baseline_frames : int
        Frames that the scanner took before the contrast arrived.
    rules : LesionRules
    warnings : tuple of Warning
    curves : tuple of Curve
        Besides those of the bolus.
    no_core : str
        Why low flow does not define a core on these images; empty where it does.
    normal_cbf : float
        What CBF of normal tissue is set to in mL/100 g/min, and CBV with it, on images that have
        no absolute scale; 0 where they have one.
    parameters : dict
        What else is recorded.
    """

    contrast: Frames
    brain: BoolArray
    vessels: BoolArray
    left: BoolArray
    bolus: Bolus
    baseline: DerivedImage
    baseline_frames: int
    rules: LesionRules
    warnings: tuple[Warning, ...]
    curves: tuple[Curve, ...]
    no_core: str = ""
    normal_cbf: float = 0.0
    parameters: Parameters = field(default_factory=dict)

    @property
    def tissue(self) -> BoolArray:
        """Parenchyma without vessels."""
        return self.brain & ~self.vessels


def analyse_scan(
    scan: Scan, settings: PerfusionSettings, clock: StageClock, pipeline: str, version: str
) -> PipelineResult:
    """Reduce noise, deconvolve, draw lesions and put the result together."""
    geometry, context = scan.contrast.geometry, clock.context
    with clock.stage("smooth"):
        smooth = smooth_to_noise(scan, settings, context.device)
        noisy = quality.check_contrast_to_noise(
            smooth.contrast_to_noise, smooth.width_mm, scan.bolus.agent
        )
    with clock.stage("deconvolve"):
        maps = _perfusion(smooth.curves, scan, settings, context.device)
        scale = _scale(maps, scan)
        if scale is not None:
            maps = maps.scaled(scale)
    with clock.stage("lesions"):
        cbf = median_in_plane(maps.cbf, scan.brain, geometry, settings.median_mm)
        tmax = median_in_plane(maps.tmax, scan.brain, geometry, settings.median_mm)
        tissue = scan.tissue & ~edges_that_moved(scan.tissue, cbf, tmax, geometry, scan.rules)
        limit_s = scan.rules.hypoperfused_tmax_s
        delayed = prolonged_tmax(tissue, tmax, limit_s, geometry, scan.rules)
        hypoperfused = _confirmed(delayed, scan, smooth, settings, context.device)
        lesions = find_lesions(
            hypoperfused, tissue, scan.left, cbf, maps.cbv, tmax, geometry, scan.rules
        )
        measurements = measure_lesions(
            lesions, tissue, cbf, maps.cbv, tmax, geometry, scan.rules
        )  # fmt: skip
        if scan.no_core:
            measurements = without_core(measurements, scan.rules.core_rcbf, scan.no_core)
        volume, lower, higher = (
            volume_ml(prolonged_tmax(tissue, tmax, limit_s + doubt, geometry, scan.rules), geometry)
            for doubt in (0, -quality.TMAX_DOUBT_S, quality.TMAX_DOUBT_S)
        )
        borderline = quality.check_threshold(volume, lower, higher, limit_s)
    context.progress("done", 1.0)
    recorded = parameters(settings, scan.bolus, lesions, scan.baseline_frames, smooth)
    if scale is not None:
        recorded["cbf_scale"] = round(scale, 4)
    recorded["unconfirmed_volume_ml"] = round(volume_ml(delayed & ~hypoperfused, geometry), 2)
    return PipelineResult(
        pipeline=pipeline,
        version=version,
        status="ok",
        images=(scan.baseline,),
        maps=parameter_maps(maps, geometry),
        segmentations=segmentations(lesions, geometry, scan.rules, not scan.no_core),
        measurements=measurements,
        warnings=(*scan.warnings, *present(noisy, borderline)),
        criteria=selection_criteria(measurements),
        curves=(*bolus_curves(scan.bolus, scan.contrast.times_s), *scan.curves),
        side=lesions.side,
        parameters=recorded | scan.parameters,
        timings_s=clock.timings_s,
        device=context.device,
    )


def require_time_points(series: TimeSeries, settings: PerfusionSettings) -> None:
    """Refuse scans that are too short for any bolus.

    Raises
    ------
    NotAnalysable
    """
    if len(series.data) < settings.min_time_points:
        raise NotAnalysable(
            f"the scan has {len(series.data)} time points, expected at least "
            f"{settings.min_time_points}: send the whole acquisition"
        )


def require_volume(mask: BoolArray, geometry: Geometry, least_ml: float, what: str) -> None:
    """Refuse scans that hold next to nothing of a head.

    Raises
    ------
    NotAnalysable
    """
    found = volume_ml(mask, geometry)
    if found < least_ml:
        raise NotAnalysable(
            f"{found:.0f} mL {what} in the field of view, expected at least {least_ml:.0f} mL: "
            "no head, or too little of it, was scanned"
        )


def hold_still(series: TimeSeries, settings: PerfusionSettings, clock: StageClock) -> StillSeries:
    """Correct the motion of the head, where that is wanted.

    Raises
    ------
    NotAnalysable
        No head, or one that moved in most frames.
    """
    if not settings.motion_correction:
        return StillSeries(series)
    with clock.stage("motion"):
        motion = estimate_motion(series, device=clock.context.device)
        warnings = quality.check_motion(
            motion.extent_mm, motion.extent_deg, len(motion.dropped), len(series.data)
        )
        curves = motion_curves(motion, series.times_s.mean(axis=1))
        return StillSeries(correct_motion(series, motion), curves, warnings)


def search_bin(series: TimeSeries, settings: PerfusionSettings) -> int:
    """In-plane pixels that are averaged in each direction where vessels are looked for."""
    return max(1, round(settings.search_pixel_mm / min(series.geometry.pixel_spacing_mm)))


def search_frames(
    series: TimeSeries, frames: Frames, settings: PerfusionSettings, clock: StageClock
) -> Frames:
    """The grid on which vessels are looked for: thin slabs, which keep them sharp."""
    bin_size = search_bin(series, settings)
    if bin_size == 1 and series.geometry.slices == frames.geometry.slices:
        return frames
    with clock.stage("resample"):
        return resample(series, frames.times_s, settings.search_thickness_mm, bin_size)


def lesion_rules(
    settings: PerfusionSettings, low_flow_rcbf: float, low_flow_reach_mm: float
) -> LesionRules:
    """The thresholds among the settings; what low flow is differs between CT and MR."""
    return LesionRules(
        settings.hypoperfused_tmax_s,
        settings.normal_tmax_s,
        low_flow_rcbf,
        low_flow_reach_mm,
        settings.min_cluster_ml,
        settings.min_cluster_radius_mm,
        settings.one_sided_share,
        settings.delayed_rcbf_limit,
        settings.core_closing_mm,
    )


def acquired_baseline(series: TimeSeries, bolus: Bolus) -> int:
    """Frames that the scanner took of every slice before the contrast arrived."""
    return int((series.times_s <= bolus.artery.arrival_s).sum(axis=0).min())


def check_quality(series: TimeSeries, bolus: Bolus, end_s: float) -> tuple[Warning, ...]:
    """What lowers trust in a scan that ends at ``end_s``, before its curves are smoothed.

    Raises
    ------
    NotAnalysable
        Nothing of the result could be trusted.
    """
    source = series.source
    quality.check_start(bolus.artery, bolus.tissue)
    return present(
        quality.check_truncation(bolus.artery, bolus.vein, bolus.tissue, end_s),
        quality.check_bolus(float(bolus.aif.max()), bolus.agent),
        quality.check_width(bolus.artery),
        quality.check_baseline(acquired_baseline(series, bolus)),
        quality.check_arterial_lead(bolus.artery, bolus.tissue),
        quality.check_coverage(series.geometry),
        quality.check_timing(source.timing, source.timing_guessed),
        quality.check_sampling(series.times_s, bolus.artery),
    )


def present(*checks: Warning | None) -> tuple[Warning, ...]:
    """The warnings among the outcomes of checks."""
    return tuple(warning for warning in checks if warning is not None)


def smooth_to_noise(scan: Scan, settings: PerfusionSettings, device: str) -> SmoothCurves:
    """Curves of the brain, smoothed more where the bolus is weak against the noise.

    Smoothing by ``smoothing_mm`` comes first. Noise falls with the inverse of the kernel's width,
    so the contrast-to-noise ratio that it gave tells the width that ``contrast_to_noise`` needs;
    ``max_smoothing_mm`` bounds it. Tissue and vessels are not mixed.
    """
    contrast, brain, vessels, tissue = scan.contrast, scan.brain, scan.vessels, scan.tissue
    width = settings.smoothing_mm
    curves = smooth_curves(contrast, tissue, width, device)
    ratio = contrast_to_noise(curves, contrast)
    wider = min(width * settings.contrast_to_noise / max(ratio, 1e-3), settings.max_smoothing_mm)
    if 0 < width < wider:
        width = wider
        curves = smooth_curves(contrast, tissue, width, device)
        ratio = contrast_to_noise(curves, contrast)
    out = np.empty((int(brain.sum()), len(contrast.times_s)), np.float32)
    out[tissue[brain]] = curves
    out[vessels[brain]] = smooth_curves(contrast, vessels, min(width, _VESSEL_SMOOTHING_MM), device)
    out, kept = keep_components(
        out, tissue[brain], len(contrast.acquired), settings.principal_components
    )
    return SmoothCurves(out, width, ratio, kept)


def _confirmed(
    delayed: BoolArray, scan: Scan, smooth: SmoothCurves, settings: PerfusionSettings, device: str
) -> BoolArray:
    """Keep the clusters of delay that a wider kernel shows too, the wider the noisier the curves.

    Nothing is asked where the contrast-to-noise ratio reaches ``confirmation_cnr``, or of
    clusters above ``confirmation_max_ml``.
    """
    factor = min(settings.confirmation_cnr / smooth.contrast_to_noise, _WIDEST_CONFIRMATION)
    if factor < _LEAST_CONFIRMATION or smooth.width_mm == 0 or not delayed.any():
        return delayed
    curves = smooth_curves(
        scan.contrast, scan.tissue, factor * smooth.width_mm, device, wanted=delayed
    )
    wide = np.zeros(delayed.shape, np.float32)
    wide[delayed] = _residue(curves, scan, settings, device).tmax_s
    lowest = settings.confirmation_share * settings.hypoperfused_tmax_s
    most_ml = settings.confirmation_max_ml
    return confirm_clusters(delayed, wide, lowest, scan.contrast.geometry, most_ml)


def _perfusion(curves: Float32Array, scan: Scan, settings: PerfusionSettings, device: str) -> Maps:
    found = perfusion_maps(
        curves,
        scan.contrast.times_s,
        scan.bolus.aif,
        _residue(curves, scan, settings, device),
        arrival_s=scan.bolus.artery.arrival_s,
        kh=settings.kh,
        rho_g_per_ml=settings.rho_g_per_ml,
    )
    return _to_volume(found, scan.brain)


def _scale(maps: Maps, scan: Scan) -> float | None:
    """What CBF and CBV are multiplied by, None on images with an absolute scale."""
    if not scan.normal_cbf:
        return None
    normal = scan.tissue & (maps.tmax < scan.rules.normal_tmax_s)
    found = float(maps.cbf[normal if normal.any() else scan.tissue].mean())
    return scan.normal_cbf / max(found, 1e-6)


def _residue(curves: Float32Array, scan: Scan, settings: PerfusionSettings, device: str) -> Residue:
    return deconvolve(
        curves,
        scan.contrast.times_s,
        scan.bolus.aif,
        settings.solver,
        device,
        truncation=settings.truncation,
        oscillation_target=settings.oscillation_target,
        quadrature=settings.quadrature,
        tmax_range_s=(settings.tmax_min_s, settings.tmax_max_s),
        plateau=settings.tmax_plateau,
    )


def _to_volume(found: PerfusionMaps, brain: BoolArray) -> Maps:
    volumes = []
    for values in (found.cbf, found.cbv, found.mtt, found.tmax, found.ttp):
        volume = np.full(brain.shape, np.nan, np.float32)
        volume[brain] = values
        volumes.append(volume)
    return Maps(*volumes)
