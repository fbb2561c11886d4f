"""A head CT without contrast, derived from CT perfusion by a trained network."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from inference.dicom.volumes import TimeSeries
from inference.kinds import SeriesKind
from inference.pipelines import PipelineSettings, RunContext, pipeline
from inference.results import PipelineResult
from inference.weights import shipped

NAME = "ctp_derived_ncct"
VERSION = "0.1.0"


class CtpDerivedNcctSettings(PipelineSettings):
    """``[pipelines.ctp_derived_ncct]``: every constant that shapes the result.

    ``enabled`` is off because no trained model comes with this version.
    """

    enabled: bool = False
    model: str = Field("derived_ncct", min_length=1)
    precision: Literal["auto", "float32"] = "auto"
    halo: int = Field(10, ge=1, le=40)
    memory_gb: float = Field(4.0, ge=0.5, le=1000)
    min_cavity_ml: float = Field(50.0, ge=0, le=500)


def models(settings: CtpDerivedNcctSettings) -> tuple[Path, ...]:
    """Folder of the model that is used."""
    return (shipped(settings.model),)


def prepare(settings: CtpDerivedNcctSettings, device: str, *, compiled: bool) -> None:
    """Read the model, and compile it, before a study asks for it."""
    from inference.derived_ncct.analysis import prepare

    prepare(settings, device, compiled=compiled)


@pipeline(
    name=NAME,
    version=VERSION,
    accepts=SeriesKind.CTP,
    settings=CtpDerivedNcctSettings,
    models=models,
    prepare=prepare,
    priority=-1,  # after the maps, on which a treatment may wait
)
def run(
    series: TimeSeries, settings: CtpDerivedNcctSettings, context: RunContext
) -> PipelineResult:
    """Derive the image of one CT perfusion acquisition.

    Parameters
    ----------
    series : TimeSeries
        HU of shape ``(time, slice, row, column)``; not changed.
    settings : CtpDerivedNcctSettings
    context : RunContext

    Raises
    ------
    inference.errors.NotAnalysable
        No head, or one that moved in most frames.
    inference.errors.WeightsError
        The model is missing or damaged.
    """
    from inference.derived_ncct.analysis import analyse

    return analyse(series, settings, context)
