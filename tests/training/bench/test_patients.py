"""Rows of patients and what they add up to."""

from dataclasses import replace

from training.bench.patients import AUTOMATIC, PatientRow, summarise_patients
from training.bench.tables import make_table

ROW = PatientRow(1, "ge", 8.0, 2.0, 40.0, "bsvd", 0.5, 0.6, 0.7, 0.4, 30.0, 0.2)


def test_the_best_tolerance_is_that_of_all_patients() -> None:
    """0.1 is best for one patient, 0.2 for both together; Dice has another best one."""
    values = {0.1: (0.9, 0.1), 0.2: (0.6, 0.5), 0.3: (0.2, 0.2)}
    rows = [
        replace(ROW, engine=f"dcmri TSVD {tolerance}", r_cbf_shown=r, dice=1 - tolerance)
        for tolerance, both in values.items()
        for r in both
    ]
    usual, cbf, dice = summarise_patients(rows)
    assert (usual.engine, usual.tuned) == ("dcmri TSVD 0.2", "")
    assert (cbf.engine, cbf.tuned, cbf.r_cbf_shown) == ("dcmri TSVD 0.2", "CBF", 0.55)
    assert (dice.engine, dice.tuned, dice.dice) == ("dcmri TSVD 0.1", "Dice", 0.9)


def test_patients_without_lesion_count_for_what_is_invented() -> None:
    healthy = replace(ROW, seed=2, truth_ml=0.0, dice=0.0, found_ml=7.0)
    refused = replace(
        ROW,
        seed=3,
        r_cbf=None,
        r_cbf_tissue=None,
        r_cbf_shown=None,
        dice=None,
        found_ml=None,
        reason="cut",
    )
    (row,) = summarise_patients([ROW, healthy, refused])
    assert (row.patients, row.analysed) == (3, 2)
    assert row.dice == 0.4
    assert row.false_ml == 7.0
    assert row.r_cbf == 0.5
    (row,) = summarise_patients([healthy])
    assert row.dice is None


def test_the_automatic_analysis_comes_last_with_the_aims() -> None:
    rows = [replace(ROW, engine=AUTOMATIC), ROW, replace(ROW, engine="dcmri TSVD 0.2")]
    found = summarise_patients(rows)
    assert [row.engine for row in found][-1] == AUTOMATIC
    table = make_table("summary", found)
    assert list(table.rows[-1])[3:7] == [*3 * ["0.75"], "0.80"]
    assert len(make_table("patients", rows).rows) == 1
