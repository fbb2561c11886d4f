"""The pipelines: one file each, registered by a decorator, found automatically.

A pipeline module is torch-free at import. It states on top what it accepts, what it joins and its
version; heavy imports happen inside ``run``.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from inference.dicom.volumes import TimeSeries, Volume
from inference.kinds import SeriesKind
from inference.results import PipelineResult
from inference.weights import stated_sha256

Progress = Callable[[str, float], None]


class PipelineSettings(BaseModel):
    """Base of every pipeline's settings: ``[pipelines.NAME]`` of config.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True


@dataclass(frozen=True)
class RunContext:
    """What a pipeline is given besides images and settings.

    ``device`` is ``cpu`` or ``cuda:n``; ``progress(stage, fraction)`` is called as work goes on,
    with the fraction of the whole run done so far (0 to 1).
    """

    device: str
    progress: Progress


@dataclass(frozen=True)
class Pipeline:
    """One registered pipeline.

    ``run(images, settings, context)`` takes a :class:`TimeSeries` for kinds measured over time and
    a :class:`Volume` for the others, and raises :class:`inference.errors.NotAnalysable` when no
    trustworthy result can be had. ``models(settings)`` gives the folders of the models that it
    uses; ``prepare(settings, device, compiled=…)`` does what the first run would have to wait for.
    Jobs of a higher ``priority`` are done and sent first.
    """

    name: str
    version: str
    accepts: SeriesKind
    settings: type[PipelineSettings]
    run: Callable[..., PipelineResult]
    joins: SeriesKind | None = None
    models: Callable[[Any], tuple[Path, ...]] | None = None
    prepare: Callable[..., None] | None = None
    priority: int = 0

    def weights_sha256(self, parameters: Mapping[str, Any]) -> tuple[str, ...]:
        """Checksums of the models that are used with these settings; empty for a damaged one."""
        if self.models is None:
            return ()
        folders = self.models(self.settings.model_validate(parameters))
        return tuple(stated_sha256(folder) for folder in folders)


_REGISTRY: dict[str, Pipeline] = {}


def pipeline(
    *,
    name: str,
    version: str,
    accepts: SeriesKind,
    settings: type[PipelineSettings],
    joins: SeriesKind | None = None,
    models: Callable[[Any], tuple[Path, ...]] | None = None,
    prepare: Callable[..., None] | None = None,
    priority: int = 0,
) -> Callable[[Callable[..., PipelineResult]], Callable[..., PipelineResult]]:
    """Register the decorated ``run`` function; a name that is taken raises ValueError."""

    def register(run: Callable[..., PipelineResult]) -> Callable[..., PipelineResult]:
        if name in _REGISTRY:
            raise ValueError(f"two pipelines are called {name!r}")
        _REGISTRY[name] = Pipeline(
            name, version, accepts, settings, run, joins, models, prepare, priority
        )  # fmt: skip
        return run

    return register


@cache
def all_pipelines() -> dict[str, Pipeline]:
    """Every pipeline in this package by name (imports each module once)."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_REGISTRY.items()))


__all__ = [
    "Pipeline",
    "PipelineSettings",
    "Progress",
    "RunContext",
    "TimeSeries",
    "Volume",
    "all_pipelines",
    "pipeline",
]
