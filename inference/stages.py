"""The stages of a run: how long each took, and progress as they begin."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from inference.pipelines import RunContext


@dataclass
class StageClock:
    """Measures the stages of a run and reports them as progress.

    Parameters
    ----------
    context : RunContext
    starts : mapping of str to float
        Fraction of the run that is done when each stage begins.
    """

    context: RunContext
    starts: Mapping[str, float]
    timings_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body of the ``with`` statement as ``name``."""
        self.context.progress(name, self.starts[name])
        start = time.perf_counter()
        yield
        self.timings_s[name] = self.timings_s.get(name, 0.0) + time.perf_counter() - start
