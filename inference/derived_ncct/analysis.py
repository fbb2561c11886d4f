"""From a CT perfusion to a derived head CT; settings and name are in the pipeline's module."""

from inference.derived_ncct.derive import Derived, Limits, derive, takes_bfloat16
from inference.derived_ncct.frames import FIRST_FRAMES, StillFrames, still_frames
from inference.derived_ncct.model import Model, compile_model, load_model
from inference.dicom.volumes import TimeSeries
from inference.perfusion import quality
from inference.perfusion.analysis import present, require_volume
from inference.pipelines import RunContext
from inference.pipelines.ctp_derived_ncct import NAME, VERSION, CtpDerivedNcctSettings
from inference.results import DerivedImage, PipelineResult, Warning
from inference.stages import StageClock
from inference.weights import shipped

IMAGE = "ncct"

_WINDOW_HU = (0.0, 80.0)
_STAGES = {"model": 0.0, "motion": 0.02, "derive": 0.2}


def analyse(
    series: TimeSeries, settings: CtpDerivedNcctSettings, context: RunContext
) -> PipelineResult:
    """Run all stages; see :func:`inference.pipelines.ctp_derived_ncct.run`."""
    clock = StageClock(context, _STAGES)
    with clock.stage("model"):
        model = load_model(shipped(settings.model), context.device)
    with clock.stage("motion"):
        still = still_frames(series, device=context.device)
        warnings = _check(series, still, settings)
    with clock.stage("derive"):
        derived = _derive(still, model, settings, context)
    context.progress("done", 1.0)
    description = (
        f"Derived NCCT: inside the skull by a trained network from {len(still.data)} time points "
        f"of CT perfusion, elsewhere mean of the first {FIRST_FRAMES} of these"
    )
    return PipelineResult(
        pipeline=NAME,
        version=VERSION,
        status="ok",
        images=(DerivedImage(IMAGE, description, derived.image, still.geometry, "HU", _WINDOW_HU),),
        warnings=warnings,
        parameters=_parameters(series, still, derived, settings) | model.manifest.parameters,
        timings_s=clock.timings_s,
        device=context.device,
    )


def prepare(settings: CtpDerivedNcctSettings, device: str, *, compiled: bool) -> None:
    """Read the model, and compile it, before a study asks for it.

    Raises
    ------
    WeightsError
        The model is missing or damaged.
    Exception
        It cannot be compiled, see :func:`inference.derived_ncct.model.compile_model`.
    """
    model = load_model(shipped(settings.model), device)
    if compiled:
        compile_model(model, half=takes_bfloat16(model, Limits(precision=settings.precision)))


def _check(
    series: TimeSeries, still: StillFrames, settings: CtpDerivedNcctSettings
) -> tuple[Warning, ...]:
    """What lowers trust in the image.

    Raises
    ------
    NotAnalysable
        Next to nothing inside a skull, or most frames dropped for motion.
    """
    require_volume(still.cavity, still.geometry, settings.min_cavity_ml, "inside a skull")
    motion = still.motion
    moved = quality.check_motion(
        motion.extent_mm, motion.extent_deg, len(motion.dropped), len(series.data)
    )
    return (*moved, *present(quality.check_coverage(still.geometry)))


def _derive(
    still: StillFrames, model: Model, settings: CtpDerivedNcctSettings, context: RunContext
) -> Derived:
    start = _STAGES["derive"]
    return derive(
        still.data,
        still.cavity,
        still.geometry.pixel_spacing_mm,
        model,
        Limits(settings.memory_gb, settings.precision, settings.halo),
        lambda fraction: context.progress("derive", start + (1 - start) * fraction),
    )


def _parameters(
    series: TimeSeries, still: StillFrames, derived: Derived, settings: CtpDerivedNcctSettings
) -> dict[str, str | float | int | bool]:
    """Every constant and every choice that shaped the image."""
    return {
        "acquired_frames": len(series.data),
        "network_frames": len(still.data),
        "dropped_frames": len(still.motion.dropped),
        "outside_frames": FIRST_FRAMES,
        "motion_mm": round(still.motion.extent_mm, 2),
        "motion_deg": round(still.motion.extent_deg, 2),
        "min_cavity_ml": settings.min_cavity_ml,
        "halo": settings.halo,
        "memory_gb": settings.memory_gb,
        "tiles": derived.tiles,
        "precision": derived.precision,
    }
