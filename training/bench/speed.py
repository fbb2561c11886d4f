"""Seconds of deconvolution and of the stages of the whole analysis."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from inference.dicom.volumes import TimeSeries
from training.bench.engines import USUAL_TOLERANCE, dcmri_engine, timed
from training.bench.scans import Given
from training.evaluate.engines import all_engines
from training.evaluate.perfusion_patients import analyse_ctp

REPEATS = 5
STAGE_REPEATS = 3


@dataclass(frozen=True)
class SpeedRow:
    """Median seconds of one engine, and how often the first one's that is."""

    engine: str
    voxels: int
    samples: int
    seconds: float
    relative: float


@dataclass(frozen=True)
class StageRow:
    """Median seconds of a stage of the analysis; ``all`` is the sum of the stages."""

    stage: str
    seconds: float


def time_engines(given: Given, repeats: int = REPEATS) -> list[SpeedRow]:
    """Time all engines on the same curves, in turn, so that other work on the machine hits all.

    Parameters
    ----------
    given : Given
        Curves of a brain.
    repeats : int
        Runs of each, of which the median counts; one more comes first to warm up.
    """
    engines = [*all_engines(), dcmri_engine("TSVD", USUAL_TOLERANCE)]
    arguments = (given.curves, given.times_s, given.aif)
    runs = [[timed(engine, *arguments)[1] for engine in engines] for _ in range(repeats + 1)]
    seconds = np.median(runs[1:], axis=0)
    voxels, samples = given.curves.shape
    return [
        SpeedRow(engine.name, voxels, samples, float(one), float(one / seconds[0]))
        for engine, one in zip(engines, seconds, strict=True)
    ]


def time_stages(series: TimeSeries, repeats: int = STAGE_REPEATS) -> Iterator[StageRow]:
    """Run the automatic analysis on a scan, and yield the seconds of its stages.

    Parameters
    ----------
    series : TimeSeries
        A CT perfusion that can be analysed.
    repeats : int
        Runs, of which the median counts.
    """
    runs = [analyse_ctp(series).timings_s for _ in range(repeats)]
    for stage in runs[0]:
        yield StageRow(stage, float(np.median([run[stage] for run in runs])))
    yield StageRow("all", float(np.median([sum(run.values()) for run in runs])))
