"""Tables of what the benchmarks measured, with what is aimed at beside it."""

from collections.abc import Callable, Sequence
from typing import Any

from training.bench.motion import MotionRow
from training.bench.patients import AUTOMATIC, EngineSummary, PatientRow
from training.bench.phantom import PhantomRow
from training.bench.speed import SpeedRow, StageRow
from training.evaluate.tables import Table, number

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
    return Table(
        "Digital reference phantom, delays 0-3 s: Pearson's r and mean absolute error",
        ("engine", "tuned for", "residue", "r CBF", "r CBV", "r MTT", "r Tmax", "CBF", "CBV", "MTT",
         "Tmax", "s"),
        [
            (
                row.engine, row.tuned, row.shape,
                *(number(r, 3) for r in (row.r.cbf, row.r.cbv, row.r.mtt, row.r.tmax)),
                *map(number, (row.error.cbf, row.error.cbv, row.error.mtt, row.error.tmax)),
                number(row.seconds),
            )
            for row in rows
        ],
        f"{rows[0].voxels} voxels per residue function, noise {noise} HU before smoothing; errors "
        "in mL/100 g/min, mL/100 g and s; Tmax where MTT is up to 8 s; CBV is the same quotient of "
        "areas for all",
    )  # fmt: skip


def patients_table(rows: Sequence[PatientRow]) -> Table:
    """Table of the automatic analysis and the best of dcmri, patient by patient."""
    cells = []
    for row in (row for row in rows if row.engine == AUTOMATIC):
        theirs = [o for o in rows if o.seed == row.seed and o.engine.startswith("dcmri")]
        best = [
            max((value for value in values if value is not None), default=None)
            for values in zip(
                *((o.r_cbf, o.r_cbf_tissue, o.r_cbf_shown, o.dice) for o in theirs), strict=True
            )
        ]
        cells.append((
            str(row.seed), row.scanner, number(row.noise_hu, 1), number(row.displacement_mm, 1),
            number(row.truth_ml, 0), number(row.found_ml, 0), number(row.r_cbf),
            number(row.r_cbf_tissue), number(row.r_cbf_shown), number(row.dice),
            number(row.seconds, 1), *map(number, best), row.reason,
        ))  # fmt: skip
    return Table(
        "Simulated patients: the automatic analysis",
        ("seed", "scanner", "HU", "moved mm", "true mL", "found mL", "r CBF", "tissue", "shown",
         "Dice", "s", "dcmri: r CBF", "tissue", "shown", "Dice", "not analysed"),
        cells,
        "dcmri is given true poses, brain and arterial input; its best tolerance is chosen for "
        f"each patient and number; {_R_CBF}",
    )  # fmt: skip


def summary_table(rows: Sequence[EngineSummary]) -> Table:
    """Table of medians over the patients, with what is aimed at."""
    cells = [
        (
            row.engine, row.tuned, f"{row.analysed} of {row.patients}", number(row.r_cbf),
            number(row.r_cbf_tissue), number(row.r_cbf_shown), number(row.dice),
            number(row.false_ml, 1), number(row.seconds),
        )
        for row in rows
    ]  # fmt: skip
    aim = (f"aim of {AUTOMATIC}", "", "", *3 * (number(AIM_R_CBF),), number(AIM_DICE), "", "")
    return Table(
        "Simulated patients, medians",
        ("engine", "tuned for", "analysed", "r CBF", "tissue", "shown", "Dice of Tmax > 6 s",
         "mL without lesion", "s"),
        [*cells, (), aim],
        "all but the automatic analysis are given true poses, brain and arterial input; tuned: the "
        f"tolerance that is best for all patients together; {_R_CBF}",
    )  # fmt: skip


def speed_table(rows: Sequence[SpeedRow]) -> Table:
    """Table of the times of deconvolution."""
    return Table(
        f"Deconvolution of {rows[0].voxels} voxels of brain, {rows[0].samples} samples",
        ("engine", "s", "of osvd's"),
        [(row.engine, number(row.seconds), number(row.relative)) for row in rows],
        f"medians; aim: osvd in {AIM_DECONVOLUTION_S:g} s on 2 cores",
    )


def motion_table(rows: Sequence[MotionRow]) -> Table:
    """Table of the registrations."""
    return Table(
        "Motion: distance of the brain from its true place",
        ("engine", "head", "frames", "dropped", "moved mm", "error mm", "worst mm",
         "s to register", "s to correct"),
        [
            (
                row.engine, row.head, str(row.frames), str(row.dropped), number(row.moved_mm),
                number(row.median_mm, 3), number(row.worst_mm, 3), number(row.register_s, 1),
                number(row.correct_s, 1),
            )
            for row in rows
        ],
        "error: median over frames, on a still head what was invented; aim: "
        f"{AIM_MOTION_MM:g} mm, and {AIM_MOTION_S:g} s for both steps on 2 cores",
    )  # fmt: skip


def stages_table(rows: Sequence[StageRow]) -> Table:
    """Table of the stages of the analysis."""
    cells = [(row.stage, number(row.seconds)) for row in rows]
    return Table("Stages of the whole analysis", ("stage", "s"), cells, "medians")


_MAKERS: dict[str, Callable[[Sequence[Any]], Table]] = {
    "phantom": phantom_table,
    "patients": patients_table,
    "summary": summary_table,
    "speed": speed_table,
    "motion": motion_table,
    "stages": stages_table,
}
