"""The CT perfusion analysis up to contrast curves; settings and name are in the pipeline's module.

Arteries and veins are found on a grid of their own, which keeps vessels sharp; tissue is measured
on slabs, which keep noise low.
"""

import numpy as np
import numpy.typing as npt

from inference.dicom.volumes import TimeSeries
from inference.geometry import Geometry
from inference.perfusion.agent import IODINE
from inference.perfusion.analysis import (
    STAGES,
    Scan,
    acquired_baseline,
    analyse_scan,
    check_quality,
    hold_still,
    lesion_rules,
    require_time_points,
    require_volume,
    search_frames,
)
from inference.perfusion.arterial_input import find_vessels
from inference.perfusion.concentration import enhancement, measure_baseline
from inference.perfusion.result import Bolus
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
from inference.results import DerivedImage, PipelineResult
from inference.stages import StageClock

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_SKULL_MARGIN_MM = 5.0
_BASELINE_WINDOW_HU = (0.0, 80.0)


def analyse(
    series: TimeSeries, settings: CtpPerfusionSettings, context: RunContext
) -> PipelineResult:
    """Run all stages; see :func:`inference.pipelines.ctp_perfusion.run`."""
    clock = StageClock(context, STAGES)
    require_time_points(series, settings)
    still = hold_still(series, settings, clock)
    grid_s = common_times(still.series.times_s, settings.time_step_s, settings.max_duration_s)
    with clock.stage("resample"):
        frames = resample(still.series, grid_s, settings.slab_thickness_mm)
    bolus = _find_bolus(still.series, frames, settings, clock)
    doubts = check_quality(still.series, bolus, float(grid_s[-1]))
    with clock.stage("masks"):
        cavity = _find_cavity(frames, settings)
        baseline = measure_baseline(frames, cavity, bolus.artery.arrival_s)
        brain = _brain(baseline.image, cavity, frames.geometry, settings)
        left = fit_midplane(cavity, frames.geometry).left(frames.geometry)
        contrast = enhancement(frames, baseline)
        vessels = vessel_mask(
            contrast.data.sum(axis=0),
            brain,
            contrast.geometry,
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
            "baseline", "Mean before contrast", baseline.image, contrast.geometry, "HU",
            _BASELINE_WINDOW_HU,
        ),
        baseline_frames=acquired_baseline(still.series, bolus),
        rules=lesion_rules(settings, settings.core_rcbf, settings.core_reach_mm),
        warnings=(*still.warnings, *doubts),
        curves=still.curves,
    )  # fmt: skip
    return analyse_scan(scan, settings, clock, NAME, VERSION)


def _find_cavity(frames: Frames, settings: CtpPerfusionSettings) -> BoolArray:
    """The inside of the skull, shape ``(slice, row, column)``.

    Raises
    ------
    NotAnalysable
        No head, or next to nothing inside a skull, is in the field of view.
    """
    image = quiet_image(frames.data)
    cavity = cranial_cavity(image, head_mask(image, frames.geometry), frames.geometry)
    require_volume(cavity, frames.geometry, settings.min_brain_ml, "inside a skull")
    return cavity


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
    require_volume(brain, geometry, settings.min_brain_ml, "of brain tissue")
    return brain


def _find_bolus(
    series: TimeSeries, frames: Frames, settings: CtpPerfusionSettings, clock: StageClock
) -> Bolus:
    search = search_frames(series, frames, settings, clock)
    with clock.stage("vessels"):
        cavity = _find_cavity(search, settings)
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
        return Bolus(vessels, factor, tissue, search.geometry, IODINE)
