"""DSC-MR perfusion: maps of CBF, CBV, MTT, Tmax and TTP, and hypoperfused tissue.

The core is defined on diffusion, so none is drawn and no selection criterion decided.
"""

from pydantic import Field

from inference.dicom.volumes import TimeSeries
from inference.kinds import SeriesKind
from inference.perfusion.settings import PerfusionSettings
from inference.pipelines import RunContext, pipeline
from inference.results import PipelineResult

NAME = "pwi_perfusion"
VERSION = "0.1.0"


class PwiPerfusionSettings(PerfusionSettings):
    """``[pipelines.pwi_perfusion]``: every constant that shapes the result."""

    smoothing_mm: float = Field(1.5, ge=0, le=10)
    leakage_correction: bool = False
    normal_cbf: float = Field(40.0, ge=0, le=100)
    low_flow_rcbf: float = Field(0.20, ge=0.05, le=0.9)
    low_flow_reach_mm: float = Field(4.0, ge=0, le=30)


@pipeline(name=NAME, version=VERSION, accepts=SeriesKind.PWI, settings=PwiPerfusionSettings)
def run(series: TimeSeries, settings: PwiPerfusionSettings, context: RunContext) -> PipelineResult:
    """Analyse one dynamic susceptibility contrast acquisition.

    Parameters
    ----------
    series : TimeSeries
        Signal of any scale of shape ``(time, slice, row, column)``, with its echo time; not
        changed.
    settings : PwiPerfusionSettings
    context : RunContext

    Raises
    ------
    inference.errors.NotAnalysable
        No echo time, no head, no contrast, no settled frame before it, no arterial input, too few
        time points, or a scan that was cut before the bolus had passed.
    """
    from inference.perfusion.mr_analysis import analyse

    return analyse(series, settings, context)
