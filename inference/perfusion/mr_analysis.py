"""The DSC-MR analysis up to contrast curves; settings and name are in the pipeline's module.

The signal is converted to ΔR2* frame by frame as it was acquired: averages over time or slices of
a signal that falls exponentially would be too low where it falls most.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from inference.dicom.volumes import TimeSeries
from inference.errors import NotAnalysable
from inference.perfusion import quality
from inference.perfusion.agent import GADOLINIUM
from inference.perfusion.analysis import (
    STAGES,
    Scan,
    acquired_baseline,
    analyse_scan,
    check_quality,
    hold_still,
    lesion_rules,
    present,
    require_time_points,
    require_volume,
    search_bin,
    search_frames,
)
from inference.perfusion.arterial_input import find_vessels
from inference.perfusion.concentration import curve_noise, enhancement, measure_baseline
from inference.perfusion.dsc import (
    Baseline,
    Relaxation,
    correct_leakage,
    find_baseline,
    relaxation_change,
    unsettled_frames,
)
from inference.perfusion.result import Bolus
from inference.perfusion.tissue_curve import measure_tissue
from inference.pipelines import RunContext
from inference.pipelines.pwi_perfusion import NAME, VERSION, PwiPerfusionSettings
from inference.preprocess.frames import Frames, average, common_times, resample
from inference.preprocess.masks import vessel_mask
from inference.preprocess.midplane import fit_midplane
from inference.preprocess.morphology import erode
from inference.preprocess.mr_masks import brain_tissue, intracranial_space
from inference.results import DerivedImage, PipelineResult
from inference.stages import StageClock

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_SKULL_MARGIN_MM = 5.0
_HIDDEN_BY_NOISE = 3.0
_NO_CORE = "not measured on PWI: see diffusion (ADC)"
_ALL = 0.999
# The vein's area tells the artery's partial volume on CT. ΔR2* of large vessels grows faster than
# the concentration (Kjolby 2006, Magn Reson Med 56:187), so that here it would tell something else.
_FACTOR = 1.0


@dataclass(frozen=True, eq=False)
class _Converted:
    """ΔR2* and what it was made of.

    Parameters
    ----------
    series : TimeSeries
        ΔR2* in 1/s, 0 outside of ``space``.
    s0 : array, shape ``(slice, row, column)``
        Signal before contrast.
    space : array, same shape
        Inside of the skull.
    noise : float
        Standard deviation of the signal of one frame.
    echo_time_s : float
    clipped : int
        Samples that were raised to 1 % of the signal before contrast.
    """

    series: TimeSeries
    s0: Float32Array
    space: BoolArray
    noise: float
    echo_time_s: float
    clipped: int


def analyse(
    series: TimeSeries, settings: PwiPerfusionSettings, context: RunContext
) -> PipelineResult:
    """Run all stages; see :func:`inference.pipelines.pwi_perfusion.run`."""
    clock = StageClock(context, STAGES)
    require_time_points(series, settings)
    if series.echo_time_s is None:
        raise NotAnalysable(
            "the images do not say their echo time, expected EchoTime or EffectiveEchoTime: "
            "without it the signal cannot be converted"
        )
    unsettled = unsettled_frames(series.data[:, _inside(series, settings)])
    still = hold_still(_from_frame(series, unsettled), settings, clock)
    with clock.stage("convert"):
        converted = _convert(still.series, series.echo_time_s, settings)
    grid_s = common_times(converted.series.times_s, settings.time_step_s, settings.max_duration_s)
    with clock.stage("resample"):
        frames = resample(converted.series, grid_s, settings.slab_thickness_mm)
    bolus, hidden = _find_bolus(converted, frames, settings, clock)
    doubts = check_quality(converted.series, bolus, float(grid_s[-1]))
    geometry = frames.geometry
    with clock.stage("masks"):
        s0, space = _on_grid(converted, settings.slab_thickness_mm)
        brain = _brain(frames, s0, space, settings, settings.brain_rim_mm)
        left = fit_midplane(space, geometry).left(geometry)
        contrast = enhancement(frames, measure_baseline(frames, space, bolus.artery.arrival_s))
        if settings.leakage_correction:
            _take_leakage_out(contrast, brain, bolus.artery.arrival_s)
        vessels = vessel_mask(
            contrast.data.sum(axis=0),
            brain,
            geometry,
            factor=settings.vessel_cbv_factor,
            margin_mm=settings.vessel_margin_mm,
        )
    scan = Scan(
        contrast=contrast,
        brain=brain,
        vessels=vessels,
        left=left,
        bolus=bolus,
        baseline=DerivedImage(
            "baseline", "Mean before contrast", s0, geometry, "a.u.", _window(s0),
        ),
        baseline_frames=acquired_baseline(converted.series, bolus),
        rules=lesion_rules(settings, settings.low_flow_rcbf, settings.low_flow_reach_mm),
        warnings=(*still.warnings, *doubts, *present(quality.check_saturation(hidden))),
        curves=still.curves,
        no_core=_NO_CORE,
        normal_cbf=settings.normal_cbf,
        parameters={
            "echo_time_ms": round(1000 * series.echo_time_s, 2),
            "unsettled_frames": unsettled,
            "clipped_samples": converted.clipped,
            "aif_saturated_share": round(hidden, 2),
        },
    )  # fmt: skip
    return analyse_scan(scan, settings, clock, NAME, VERSION)


def _convert(series: TimeSeries, echo_time_s: float, settings: PwiPerfusionSettings) -> _Converted:
    """Find the frames before contrast, and convert what lies inside the skull.

    The frames are told some millimetres inside: along the skull motion changes the signal more
    than contrast does.
    """
    space = _inside(series, settings)
    signal = series.data[:, space]
    deep = erode(space, _SKULL_MARGIN_MM, series.geometry.pixel_spacing_mm)
    inner = signal[:, deep[space]] if deep.any() else signal
    baseline = find_baseline(inner, most_unsettled=0)
    found = relaxation_change(signal, echo_time_s, baseline)
    data = np.zeros(series.data.shape, np.float32)
    data[:, space] = found.curves
    return _Converted(
        replace(series, data=data, units=GADOLINIUM.unit),
        series.data[: baseline.end].mean(axis=0),
        space,
        curve_noise(signal, series.times_s.mean(axis=1)),
        echo_time_s,
        found.clipped,
    )


def _inside(series: TimeSeries, settings: PwiPerfusionSettings) -> BoolArray:
    """The space inside the skull on a series of signals.

    Raises
    ------
    NotAnalysable
        No head, or next to nothing of it, is in the field of view.
    """
    space = intracranial_space(series.data.mean(axis=0), series.geometry)
    require_volume(space, series.geometry, settings.min_brain_ml, "inside a skull")
    return space


def _from_frame(series: TimeSeries, first: int) -> TimeSeries:
    """The series without its first frames."""
    uids = series.source.sop_instance_uids[first:]
    source = replace(series.source, sop_instance_uids=uids)
    return replace(series, data=series.data[first:], times_s=series.times_s[first:], source=source)


def _on_grid(
    converted: _Converted, thickness_mm: float, bin_size: int = 1
) -> tuple[Float32Array, BoolArray]:
    """Signal before contrast and the inside of the skull on the slabs of a grid."""
    geometry = converted.series.geometry
    s0 = average(converted.s0, geometry, thickness_mm, bin_size)
    share = average(converted.space.astype(np.float32), geometry, thickness_mm, bin_size)
    return s0, share >= _ALL


def _find_bolus(
    converted: _Converted, frames: Frames, settings: PwiPerfusionSettings, clock: StageClock
) -> tuple[Bolus, float]:
    """Artery and vein, and the share of the artery's voxels whose signal noise hides."""
    search = search_frames(converted.series, frames, settings, clock)
    with clock.stage("vessels"):
        thin = search is not frames
        s0, space = _on_grid(
            converted,
            settings.search_thickness_mm if thin else settings.slab_thickness_mm,
            search_bin(converted.series, settings),
        )
        deep = _brain(search, s0, space, settings, settings.brain_rim_mm + _SKULL_MARGIN_MM)
        tissue = measure_tissue(search, deep, GADOLINIUM)
        baseline = measure_baseline(search, space, tissue.baseline_end_s)
        midplane = fit_midplane(space, search.geometry)
        vessels = find_vessels(
            search, baseline, space, tissue, midplane,
            artery_at_mm=settings.aif_at_mm, vein_at_mm=settings.vof_at_mm, agent=GADOLINIUM,
        )  # fmt: skip
    slices, rows, columns = vessels.artery.voxels.T
    highest = search.data[:, slices, rows, columns].max(axis=0)
    left = s0[slices, rows, columns] * np.exp(-converted.echo_time_s * highest)
    hidden = float(np.mean(left < _HIDDEN_BY_NOISE * converted.noise))
    return Bolus(vessels, _FACTOR, tissue, search.geometry, GADOLINIUM), hidden


def _brain(
    frames: Frames,
    s0: Float32Array,
    space: BoolArray,
    settings: PwiPerfusionSettings,
    rim_mm: float,
) -> BoolArray:
    area = frames.data.sum(axis=0)
    brain = brain_tissue(s0, area, space, frames.geometry, rim_mm=rim_mm)
    require_volume(brain, frames.geometry, settings.min_brain_ml, "of brain tissue")
    return brain


def _take_leakage_out(contrast: Frames, brain: BoolArray, arrival_s: float) -> None:
    """Correct the brain's curves in place."""
    curves = contrast.data[:, brain]
    quiet = Baseline(0, max(1, int(np.count_nonzero(contrast.times_s <= arrival_s))))
    relaxation = Relaxation(curves, np.ones(curves.shape[1], np.float32), quiet, 0, 0)
    try:
        contrast.data[:, brain] = correct_leakage(relaxation, contrast.step_s).curves
    except ValueError as error:
        raise NotAnalysable(f"leakage cannot be corrected: {error}") from error


def _window(s0: Float32Array) -> tuple[float, float]:
    """From black to what only fluid exceeds."""
    return 0.0, float(np.quantile(s0, 0.99))
