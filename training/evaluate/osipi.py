"""OSIPI's digital reference object for DSC-MRI, and how near the methods come to it.

A CSV file with a pair of curves per row: ``label``, ``C_tis`` and ``C_aif`` (samples separated by
spaces), ``cbv`` (mL/100 mL), ``cbf`` (mL/100 mL/min) and ``tr`` (time step in s). Haematocrit
factor and density are 1. OSIPI's tolerance is 1 mL/100 mL of CBV and 15 mL/100 mL/min of CBF, each
plus 10 % (github.com/OSIPI/DCE-DSC-MRI_CodeCollection).
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.evaluate.engines import Engine, all_engines

Float64Array = npt.NDArray[np.float64]

CBF_TOLERANCE, CBV_TOLERANCE, RELATIVE_TOLERANCE = 15.0, 1.0, 0.1


@dataclass(frozen=True, eq=False)
class Pair:
    """Curves of tissue and artery, shape ``(time,)``, every ``step_s``, and what is known of them.

    ``cbf`` in mL/100 mL/min, ``cbv`` in mL/100 mL.
    """

    label: str
    tissue: Float64Array
    artery: Float64Array
    step_s: float
    cbf: float
    cbv: float

    @property
    def times_s(self) -> Float64Array:
        """Times of the samples."""
        return self.step_s * np.arange(len(self.artery), dtype=np.float64)

    def error(self, engine: Engine) -> tuple[float, float]:
        """How far an engine's CBF and CBV lie above the known ones."""
        found = engine.run(self.tissue[None], self.times_s, self.artery)
        cbf = 6000 * float(found.flow[0])
        cbv = 100 * float(self.tissue.sum() / self.artery.sum())
        return cbf - self.cbf, cbv - self.cbv

    def within(self, error: tuple[float, float], share: float = 1.0) -> bool:
        """Whether errors of CBF and CBV lie within a share of the tolerance."""
        most_cbf = CBF_TOLERANCE + RELATIVE_TOLERANCE * self.cbf
        most_cbv = CBV_TOLERANCE + RELATIVE_TOLERANCE * self.cbv
        return abs(error[0]) <= share * most_cbf and abs(error[1]) <= share * most_cbv


@dataclass(frozen=True)
class OsipiAgreement:
    """How an engine does on all pairs.

    ``within`` and ``within_half`` count the pairs of which CBF and CBV lie within the tolerance and
    within half of it; ``cbf_error`` (mL/100 mL/min) and ``cbv_error`` (mL/100 mL) are means of the
    absolute errors.
    """

    engine: str
    pairs: int
    within: int
    within_half: int
    cbf_error: float
    cbv_error: float


def read_pairs(path: Path) -> list[Pair]:
    """Read the reference object.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is not the reference object.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        pairs = [_pair(row) for row in rows]
    except (AttributeError, KeyError, TypeError, ValueError):
        pairs = []
    if not pairs:
        raise ValueError(
            f"{path} is not OSIPI's DSC reference object; expected the columns label, C_tis, "
            "C_aif, cbv, cbf and tr, and curves of equal length"
        )
    return pairs


def _pair(row: dict[str, str]) -> Pair:
    tissue, artery = (np.array(row[name].split(), np.float64) for name in ("C_tis", "C_aif"))
    if len(tissue) != len(artery):
        raise ValueError("curves of different length")
    return Pair(
        row["label"], tissue, artery, float(row["tr"]), float(row["cbf"]), float(row["cbv"])
    )


def measure_osipi(
    pairs: Sequence[Pair], engines: Iterable[Engine] | None = None
) -> Iterator[OsipiAgreement]:
    """Run engines, all by default, on all pairs."""
    for engine in all_engines() if engines is None else engines:
        errors = [pair.error(engine) for pair in pairs]
        cbf, cbv = np.abs(np.array(errors)).mean(axis=0)
        both = list(zip(pairs, errors, strict=True))
        yield OsipiAgreement(
            engine.name,
            len(pairs),
            sum(pair.within(error) for pair, error in both),
            sum(pair.within(error, 0.5) for pair, error in both),
            float(cbf),
            float(cbv),
        )
