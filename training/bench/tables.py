"""Tables of what the benchmarks measured, with what is aimed at beside it."""

from collections.abc import Callable, Sequence
from typing import Any

from rich.table import Table

from training.bench.motion import MotionRow
from training.bench.patients import AUTOMATIC, EngineSummary, PatientRow
from training.bench.phantom import PhantomRow
from training.bench.speed import SpeedRow, StageRow

AIM_R_CBF, AIM_DICE = 0.75, 0.80
_R_CBF = (
    "r CBF: of all voxels of brain; tissue: without large vessels; shown: without a CBV above 2.5 "
    "times the engine's own median"
)
AIM_DECONVOLUTION_S, AIM_MOTION_S, AIM_MOTION_MM = 2.0, 5.0, 0.5


def make_table(name: str, rows: Sequence[Any]) -> Table:
    """The table of what :func:`~training.bench.perfusion.measure` yields under a name."""
    return _MAKERS[name](rows)


def phantom_table(rows: Sequence[PhantomRow]) -> Table:
    """Table of the engines on the phantom."""
    noise = ", ".join(sorted({f"{row.noise_hu:g}" for row in rows}))
    table = Table(
        "engine", "tuned for", "residue", "r CBF", "r CBV", "r MTT", "r Tmax", "CBF", "CBV", "MTT",
        "Tmax", "s",
        title="Digital reference phantom, delays 0-3 s: Pearson's r and mean absolute error",
        caption=f"{rows[0].voxels} voxels per residue function, noise {noise} HU before smoothing; "
        "errors in mL/100 g/min, mL/100 g and s; Tmax where MTT is up to 8 s; CBV is the same "
        "quotient of areas for all",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.engine, row.tuned, row.shape,
            *(f"{r:.3f}" for r in (row.r.cbf, row.r.cbv, row.r.mtt, row.r.tmax)),
            *(f"{e:.2f}" for e in (row.error.cbf, row.error.cbv, row.error.mtt, row.error.tmax)),
            f"{row.seconds:.2f}",
        )  # fmt: skip
    return table


def patients_table(rows: Sequence[PatientRow]) -> Table:
    """Table of the automatic analysis and the best of dcmri, patient by patient."""
    table = Table(
        "seed", "scanner", "HU", "moved mm", "true mL", "found mL", "r CBF", "tissue",
        "shown", "Dice", "s", "dcmri: r CBF", "tissue", "shown", "Dice", "not analysed",
        title="Simulated patients: the automatic analysis",
        caption="dcmri is given true poses, brain and arterial input; its best tolerance is chosen "
        f"for each patient and number; {_R_CBF}",
    )  # fmt: skip
    for row in (row for row in rows if row.engine == AUTOMATIC):
        theirs = [o for o in rows if o.seed == row.seed and o.engine.startswith("dcmri")]
        best = [
            max((value for value in values if value is not None), default=None)
            for values in zip(
                *((o.r_cbf, o.r_cbf_tissue, o.r_cbf_shown, o.dice) for o in theirs), strict=True
            )
        ]
        table.add_row(
            str(row.seed), row.scanner, f"{row.noise_hu:.1f}", f"{row.displacement_mm:.1f}",
            f"{row.truth_ml:.0f}", _number(row.found_ml, 0), _number(row.r_cbf),
            _number(row.r_cbf_tissue), _number(row.r_cbf_shown), _number(row.dice),
            f"{row.seconds:.1f}",
            *map(_number, best), row.reason,
        )  # fmt: skip
    return table


def summary_table(rows: Sequence[EngineSummary]) -> Table:
    """Table of medians over the patients, with what is aimed at."""
    table = Table(
        "engine", "tuned for", "analysed", "r CBF", "tissue", "shown", "Dice of Tmax > 6 s",
        "mL without lesion", "s",
        title="Simulated patients, medians",
        caption="all but the automatic analysis are given true poses, brain and arterial input; "
        f"tuned: the tolerance that is best for all patients together; {_R_CBF}",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.engine, row.tuned, f"{row.analysed} of {row.patients}", _number(row.r_cbf),
            _number(row.r_cbf_tissue), _number(row.r_cbf_shown), _number(row.dice),
            _number(row.false_ml, 1),
            f"{row.seconds:.2f}",
        )  # fmt: skip
    table.add_section()
    table.add_row(
        f"aim of {AUTOMATIC}", "", "", *3 * (f"{AIM_R_CBF:.2f}",), f"{AIM_DICE:.2f}", "", ""
    )
    return table


def speed_table(rows: Sequence[SpeedRow]) -> Table:
    """Table of the times of deconvolution."""
    table = Table(
        "engine", "s", "of osvd's",
        title=f"Deconvolution of {rows[0].voxels} voxels of brain, {rows[0].samples} samples",
        caption=f"medians; aim: osvd in {AIM_DECONVOLUTION_S:g} s on 2 cores",
    )  # fmt: skip
    for row in rows:
        table.add_row(row.engine, f"{row.seconds:.2f}", f"{row.relative:.2f}")
    return table


def motion_table(rows: Sequence[MotionRow]) -> Table:
    """Table of the registrations."""
    table = Table(
        "engine", "head", "frames", "dropped", "moved mm", "error mm", "worst mm", "s to register",
        "s to correct",
        title="Motion: distance of the brain from its true place",
        caption="error: median over frames, on a still head what was invented; aim: "
        f"{AIM_MOTION_MM:g} mm, and {AIM_MOTION_S:g} s for both steps on 2 cores",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.engine, row.head, str(row.frames), str(row.dropped), f"{row.moved_mm:.2f}",
            f"{row.median_mm:.3f}", f"{row.worst_mm:.3f}", f"{row.register_s:.1f}",
            _number(row.correct_s, 1),
        )  # fmt: skip
    return table


def stages_table(rows: Sequence[StageRow]) -> Table:
    """Table of the stages of the analysis."""
    table = Table("stage", "s", title="Stages of the whole analysis", caption="medians")
    for row in rows:
        table.add_row(row.stage, f"{row.seconds:.2f}")
    return table


_MAKERS: dict[str, Callable[[Sequence[Any]], Table]] = {
    "phantom": phantom_table,
    "patients": patients_table,
    "summary": summary_table,
    "speed": speed_table,
    "motion": motion_table,
    "stages": stages_table,
}


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
