"""The CT perfusion analysis, stage by stage; settings and name are in the pipeline's module."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from inference.dicom.volumes import TimeSeries
from inference.errors import NotAnalysable
from inference.geometry import Geometry
from inference.perfusion import quality
from inference.perfusion.arterial_input import find_vessels
from inference.perfusion.concentration import (
    contrast_to_noise,
    enhancement,
    measure_baseline,
)
from inference.perfusion.criteria import selection_criteria
from inference.perfusion.ct_result import (
    Bolus,
    Maps,
    SmoothCurves,
    bolus_curves,
    motion_curves,
    parameter_maps,
    parameters,
    segmentations,
)
from inference.perfusion.deconvolution import Residue, deconvolve
from inference.perfusion.lesions import (
    LesionRules,
    confirm_clusters,
    find_lesions,
    median_in_plane,
    prolonged_tmax,
    volume_ml,
)
from inference.perfusion.maps import PerfusionMaps, perfusion_maps
from inference.perfusion.measurements import measure_lesions
from inference.perfusion.tissue_curve import measure_tissue
from inference.perfusion.venous_output import partial_volume_factor
from inference.pipelines import RunContext
from inference.pipelines.ctp_perfusion import NAME, VERSION, CtpPerfusionSettings
from inference.preprocess.frames import Frames, common_times, resample
from inference.preprocess.masks import (
    brain_tissue,
    cranial_cavity,
    head_mask,
    quiet_image,
    vessel_mask,
)
from inference.preprocess.midplane import fit_midplane
from inference.preprocess.morphology import erode
from inference.preprocess.motion import Motion, correct_motion, estimate_motion
from inference.preprocess.principal_components import keep_components
from inference.preprocess.smoothing import smooth_curves
from inference.results import DerivedImage, PipelineResult, Warning

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_SKULL_MARGIN_MM = 5.0
_LEAST_CONFIRMATION = 1.1
_WIDEST_CONFIRMATION = 2.0
_BASELINE_WINDOW_HU = (0.0, 80.0)
_STAGES = {
    "motion": 0.0,
    "resample": 0.15,
    "vessels": 0.2,
    "masks": 0.35,
    "smooth": 0.45,
    "deconvolve": 0.55,
    "lesions": 0.9,
}


@dataclass
class StageClock:
    """Measures the stages of a run and reports them as progress."""

    context: RunContext
    timings_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body of the ``with`` statement as ``name``."""
        self.context.progress(name, _STAGES[name])
        start = time.perf_counter()
        yield
        self.timings_s[name] = self.timings_s.get(name, 0.0) + time.perf_counter() - start


def analyse(
    series: TimeSeries, settings: CtpPerfusionSettings, context: RunContext
) -> PipelineResult:
    """Run all stages; see :func:`inference.pipelines.ctp_perfusion.run`."""
    clock = StageClock(context)
    _check_series(series, settings)
    motion: Motion | None = None
    moved: tuple[Warning, ...] = ()
    if settings.motion_correction:
        with clock.stage("motion"):
            acquired_s = series.times_s.mean(axis=1)
            motion = estimate_motion(series, device=context.device)
            moved = quality.check_motion(
                motion.extent_mm, motion.extent_deg, len(motion.dropped), len(series.data)
            )
            series = correct_motion(series, motion)
    grid_s = common_times(series.times_s, settings.time_step_s, settings.max_duration_s)
    with clock.stage("resample"):
        frames = resample(series, grid_s, settings.slab_thickness_mm)
    bolus = _find_bolus(series, frames, settings, clock)
    warnings = (*moved, *_check_quality(series, bolus, grid_s))
    with clock.stage("masks"):
        cavity = find_cavity(frames, settings)
        baseline = measure_baseline(frames, cavity, bolus.artery.arrival_s)
        brain = _brain(baseline.image, cavity, frames.geometry, settings)
        left = fit_midplane(cavity, frames.geometry).left(frames.geometry)
    with clock.stage("smooth"):
        contrast = enhancement(frames, baseline)
        vessels = _vessels(contrast, brain, settings)
        smooth = smooth_to_noise(contrast, brain, vessels, settings, context.device)
        warnings += _present(
            quality.check_contrast_to_noise(smooth.contrast_to_noise, smooth.width_mm)
        )
    geometry = frames.geometry
    with clock.stage("deconvolve"):
        found = _perfusion(smooth.curves, grid_s, bolus, settings, context.device)
        maps = _to_volume(found, brain)
    rules = lesion_rules(settings)
    with clock.stage("lesions"):
        tissue = brain & ~vessels
        cbf = median_in_plane(maps.cbf, brain, geometry, settings.median_mm)
        tmax = median_in_plane(maps.tmax, brain, geometry, settings.median_mm)
        delayed = prolonged_tmax(tissue, tmax, rules.hypoperfused_tmax_s, geometry, rules)
        hypoperfused = _confirmed(
            delayed, contrast, tissue, smooth, grid_s, bolus, settings, context.device
        )
        lesions = find_lesions(hypoperfused, tissue, left, cbf, maps.cbv, tmax, geometry, rules)
        measurements = measure_lesions(lesions, tissue, cbf, maps.cbv, tmax, geometry, rules)
        criteria = selection_criteria(measurements)
    context.progress("done", 1.0)
    return PipelineResult(
        pipeline=NAME,
        version=VERSION,
        status="ok",
        images=(
            DerivedImage(
                "baseline", "Mean before contrast", baseline.image, geometry, "HU",
                _BASELINE_WINDOW_HU,
            ),
        ),
        maps=parameter_maps(maps, geometry),
        segmentations=segmentations(lesions, geometry, settings),
        measurements=measurements,
        warnings=warnings,
        criteria=criteria,
        curves=(
            *bolus_curves(bolus, grid_s),
            *(() if motion is None else motion_curves(motion, acquired_s)),
        ),
        side=lesions.side,
        parameters=parameters(settings, bolus, lesions, acquired_baseline(series, bolus), smooth)
        | {"unconfirmed_volume_ml": round(volume_ml(delayed & ~hypoperfused, geometry), 2)},
        timings_s=clock.timings_s,
        device=context.device,
    )  # fmt: skip


def find_cavity(frames: Frames, settings: CtpPerfusionSettings) -> BoolArray:
    """The inside of the skull, shape ``(slice, row, column)``.

    Raises
    ------
    NotAnalysable
        No head, or next to nothing inside a skull, is in the field of view.
    """
    image = quiet_image(frames.data)
    cavity = cranial_cavity(image, head_mask(image, frames.geometry), frames.geometry)
    _require_volume(cavity, frames.geometry, settings.min_brain_ml, "inside a skull")
    return cavity


def acquired_baseline(series: TimeSeries, bolus: Bolus) -> int:
    """Frames that the scanner took of every slice before the contrast arrived."""
    return int((series.times_s <= bolus.artery.arrival_s).sum(axis=0).min())


def lesion_rules(settings: CtpPerfusionSettings) -> LesionRules:
    """The thresholds among the settings."""
    return LesionRules(
        settings.hypoperfused_tmax_s,
        settings.normal_tmax_s,
        settings.core_rcbf,
        settings.core_reach_mm,
        settings.min_cluster_ml,
        settings.min_cluster_radius_mm,
        settings.one_sided_share,
    )


def _check_series(series: TimeSeries, settings: CtpPerfusionSettings) -> None:
    if len(series.data) < settings.min_time_points:
        raise NotAnalysable(
            f"the scan has {len(series.data)} time points, expected at least "
            f"{settings.min_time_points}: send the whole acquisition"
        )


def _brain(
    image: Float32Array, cavity: BoolArray, geometry: Geometry, settings: CtpPerfusionSettings
) -> BoolArray:
    brain = brain_tissue(
        image,
        cavity,
        geometry,
        rim_mm=settings.brain_rim_mm,
        range_hu=(settings.tissue_min_hu, settings.tissue_max_hu),
    )
    _require_volume(brain, geometry, settings.min_brain_ml, "of brain tissue")
    return brain


def _vessels(contrast: Frames, brain: BoolArray, settings: CtpPerfusionSettings) -> BoolArray:
    return vessel_mask(
        contrast.data.sum(axis=0),
        brain,
        contrast.geometry,
        factor=settings.vessel_cbv_factor,
        margin_mm=settings.vessel_margin_mm,
    )


def smooth_to_noise(
    contrast: Frames,
    brain: BoolArray,
    vessels: BoolArray,
    settings: CtpPerfusionSettings,
    device: str,
) -> SmoothCurves:
    """Curves of the brain, smoothed more where the bolus is weak against the noise.

    Smoothing by ``smoothing_mm`` comes first. Noise falls with the inverse of the kernel's width,
    so the contrast-to-noise ratio that it gave tells the width that ``contrast_to_noise`` needs;
    ``max_smoothing_mm`` bounds it. Tissue and vessels are not mixed.
    """
    tissue = brain & ~vessels
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
    out[vessels[brain]] = smooth_curves(contrast, brain & vessels, width, device)
    out, kept = keep_components(
        out, tissue[brain], len(contrast.acquired), settings.principal_components
    )
    return SmoothCurves(out, width, ratio, kept)


def _require_volume(mask: BoolArray, geometry: Geometry, least_ml: float, what: str) -> None:
    found = volume_ml(mask, geometry)
    if found < least_ml:
        raise NotAnalysable(
            f"{found:.0f} mL {what} in the field of view, expected at least {least_ml:.0f} mL: "
            "no head, or too little of it, was scanned"
        )


def _find_bolus(
    series: TimeSeries, frames: Frames, settings: CtpPerfusionSettings, clock: StageClock
) -> Bolus:
    """Find artery and vein on thin slabs, which keep vessels sharp."""
    bin_size = max(1, round(settings.search_pixel_mm / min(series.geometry.pixel_spacing_mm)))
    search = frames
    if bin_size > 1 or series.geometry.slices != frames.geometry.slices:
        with clock.stage("resample"):
            search = resample(series, frames.times_s, settings.search_thickness_mm, bin_size)
    with clock.stage("vessels"):
        cavity = find_cavity(search, settings)
        deep = erode(cavity, _SKULL_MARGIN_MM, search.geometry.pixel_spacing_mm)
        brain = _brain(quiet_image(search.data), deep, search.geometry, settings)
        tissue = measure_tissue(search, brain)
        baseline = measure_baseline(search, cavity, tissue.baseline_end_s)
        midplane = fit_midplane(cavity, search.geometry)
        vessels = find_vessels(
            search, baseline, cavity, tissue, midplane,
            artery_at_mm=settings.aif_at_mm, vein_at_mm=settings.vof_at_mm,
        )  # fmt: skip
        factor = partial_volume_factor(vessels.artery, vessels.vein)
        return Bolus(vessels, factor, tissue, search.geometry)


def _check_quality(series: TimeSeries, bolus: Bolus, grid_s: Float64Array) -> tuple[Warning, ...]:
    source = series.source
    quality.check_start(bolus.artery, bolus.tissue)
    checks = (
        quality.check_truncation(bolus.artery, bolus.vein, bolus.tissue, float(grid_s[-1])),
        quality.check_bolus(bolus.artery),
        quality.check_width(bolus.artery),
        quality.check_baseline(acquired_baseline(series, bolus)),
        quality.check_arterial_lead(bolus.artery, bolus.tissue),
        quality.check_coverage(series.geometry),
        quality.check_timing(source.timing, source.timing_guessed),
        quality.check_sampling(series.times_s, bolus.artery),
    )
    return _present(*checks)


def _present(*checks: Warning | None) -> tuple[Warning, ...]:
    return tuple(warning for warning in checks if warning is not None)


def _confirmed(
    delayed: BoolArray,
    contrast: Frames,
    tissue: BoolArray,
    smooth: SmoothCurves,
    grid_s: Float64Array,
    bolus: Bolus,
    settings: CtpPerfusionSettings,
    device: str,
) -> BoolArray:
    """Keep the clusters of delay that a wider kernel shows too, the wider the noisier the curves.

    Nothing is asked where the contrast-to-noise ratio reaches ``confirmation_cnr``, or of
    clusters above ``confirmation_max_ml``.
    """
    factor = min(settings.confirmation_cnr / smooth.contrast_to_noise, _WIDEST_CONFIRMATION)
    if factor < _LEAST_CONFIRMATION or smooth.width_mm == 0 or not delayed.any():
        return delayed
    curves = smooth_curves(contrast, tissue, factor * smooth.width_mm, device, wanted=delayed)
    wide = np.zeros(delayed.shape, np.float32)
    wide[delayed] = _residue(curves, grid_s, bolus, settings, device).tmax_s
    lowest = settings.confirmation_share * settings.hypoperfused_tmax_s
    return confirm_clusters(delayed, wide, lowest, contrast.geometry, settings.confirmation_max_ml)


def _perfusion(
    curves: Float32Array,
    grid_s: Float64Array,
    bolus: Bolus,
    settings: CtpPerfusionSettings,
    device: str,
) -> PerfusionMaps:
    return perfusion_maps(
        curves,
        grid_s,
        bolus.aif,
        _residue(curves, grid_s, bolus, settings, device),
        arrival_s=bolus.artery.arrival_s,
        kh=settings.kh,
        rho_g_per_ml=settings.rho_g_per_ml,
    )


def _residue(
    curves: Float32Array,
    grid_s: Float64Array,
    bolus: Bolus,
    settings: CtpPerfusionSettings,
    device: str,
) -> Residue:
    return deconvolve(
        curves,
        grid_s,
        bolus.aif,
        settings.solver,
        device,
        truncation=settings.truncation,
        oscillation_target=settings.oscillation_target,
        quadrature=settings.quadrature,
        tmax_range_s=(settings.tmax_min_s, settings.tmax_max_s),
    )


def _to_volume(found: PerfusionMaps, brain: BoolArray) -> Maps:
    volumes = []
    for values in (found.cbf, found.cbv, found.mtt, found.tmax, found.ttp):
        volume = np.full(brain.shape, np.nan, np.float32)
        volume[brain] = values
        volumes.append(volume)
    return Maps(*volumes)
