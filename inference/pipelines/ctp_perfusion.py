"""CT perfusion: maps of CBF, CBV, MTT, Tmax and TTP, core and hypoperfused tissue."""

from pydantic import Field

from inference.dicom.volumes import TimeSeries
from inference.kinds import SeriesKind
from inference.perfusion.settings import PerfusionSettings
from inference.pipelines import RunContext, pipeline
from inference.results import PipelineResult

NAME = "ctp_perfusion"
VERSION = "0.3.0"


class CtpPerfusionSettings(PerfusionSettings):
    """``[pipelines.ctp_perfusion]``: every constant that shapes the result."""

    tissue_min_hu: float = Field(15.0, ge=-10, le=30)
    tissue_max_hu: float = Field(90.0, ge=50, le=200)
    core_rcbf: float = Field(0.30, ge=0.05, le=0.9)
    core_reach_mm: float = Field(4.0, ge=0, le=30)


@pipeline(name=NAME, version=VERSION, accepts=SeriesKind.CTP, settings=CtpPerfusionSettings)
def run(series: TimeSeries, settings: CtpPerfusionSettings, context: RunContext) -> PipelineResult:
    """Analyse one CT perfusion acquisition.

    Parameters
    ----------
    series : TimeSeries
        HU of shape ``(time, slice, row, column)``; not changed.
    settings : CtpPerfusionSettings
    context : RunContext

    Raises
    ------
    inference.errors.NotAnalysable
        No head, no contrast, no baseline, no arterial input, too few time points, or a scan that
        was cut before the bolus had passed.
    """
    from inference.perfusion.ct_analysis import analyse

    return analyse(series, settings, context)
