"""One pipeline on one set of images: load, run, and turn every expected failure into a result."""

import logging
import sys
import time
from dataclasses import replace
from typing import Any

import psutil

from inference.dicom.headers import FrameHeader
from inference.dicom.reader import load_time_series, load_volume
from inference.errors import InferenceError, NotAnalysable, WeightsError
from inference.kinds import SeriesKind
from inference.pipelines import Pipeline, PipelineSettings, Progress, RunContext
from inference.results import PipelineResult, Status, Warning

log = logging.getLogger(__name__)

_OVER_TIME = (SeriesKind.CTP, SeriesKind.PWI)
_LOADED = 0.1


def resolve_device(wanted: str) -> str:
    """``auto``, ``cpu`` or ``cuda[:n]`` as the device to use now.

    Raises
    ------
    ValueError
        A GPU is asked for that this machine does not have.
    """
    import torch

    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return "cuda:0" if available else "cpu"
    if wanted == "cpu":
        return "cpu"
    index = int(wanted.partition(":")[2] or 0)
    if index >= available:
        raise ValueError(f"device {wanted}: this machine has {available} GPUs; use 'auto' or 'cpu'")
    return f"cuda:{index}"


def analyse(
    pipeline: Pipeline,
    headers: list[FrameHeader],
    settings: PipelineSettings,
    device: str,
    progress: Progress,
) -> PipelineResult:
    """Load the images and run a pipeline on them.

    A study that cannot be analysed comes back as a result with status ``not_analysed`` and the
    reason, a missing or damaged model as ``failed``; other errors are raised.
    """
    started = time.perf_counter()
    load = load_time_series if pipeline.accepts in _OVER_TIME else load_volume
    try:
        progress("load", 0.0)
        images = load(headers, lambda fraction: progress("load", fraction * _LOADED))
        loaded = time.perf_counter()
        context = RunContext(
            device, lambda stage, fraction: progress(stage, _LOADED + (1 - _LOADED) * fraction)
        )
        result = pipeline.run(images, settings, context)
    except WeightsError as error:
        log.error("%s: %s", pipeline.name, error)
        return without_result(pipeline.name, pipeline.version, "failed", str(error), device)
    except InferenceError as error:
        refused = without_result(
            pipeline.name, pipeline.version, "not_analysed", str(error), device
        )
        return replace(refused, warnings=_warnings_of(error))
    timings = {
        "load": loaded - started,
        **result.timings_s,
        "total": time.perf_counter() - started,
    }
    return replace(result, timings_s=timings, device=device)


def _warnings_of(error: InferenceError) -> tuple[Warning, ...]:
    """The warning that a refusal is the extreme of."""
    if not isinstance(error, NotAnalysable) or not error.code:
        return ()
    return (Warning(error.code, str(error), error.value),)


def without_result(
    name: str, version: str, status: Status, reason: str, device: str
) -> PipelineResult:
    """The result of a run that has none, with the reason; its pipeline need not be installed."""
    return PipelineResult(name, version, status, reason=reason, device=device)


def peak_memory_mb() -> float:
    """Largest memory that this process has used so far, in MB."""
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def record(result: PipelineResult, study_uid: str, series_uids: list[str]) -> dict[str, Any]:
    """One entry of results.json, without the list of files written."""
    return {
        "study_uid": study_uid,
        "pipeline": result.pipeline,
        "version": result.version,
        "inputs": sorted(series_uids),
        "status": result.status,
        "reason": result.reason,
        "measurements": {m.name: {"value": m.value, "unit": m.unit} for m in result.measurements},
        "findings": {
            f.name: {"present": f.present, "probability": f.probability} for f in result.findings
        },
        "warnings": [{"code": w.code, "text": w.text, "value": w.value} for w in result.warnings],
        "outputs": [],
        "criteria": {c.name: {"met": c.met, "inputs": c.inputs} for c in result.criteria},
        "side": result.side,
        "timings_s": {stage: round(seconds, 3) for stage, seconds in result.timings_s.items()},
        "peak_memory_mb": round(peak_memory_mb(), 1),
        "device": result.device,
    }
