"""Outcomes of patients and what they add up to."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from inference.dicom.volumes import TimeSeries
from inference.errors import NotAnalysable
from inference.results import PipelineResult, Segmentation, Warning
from training.evaluate import patient_scans
from training.evaluate.perfusion_patients import (
    Outcome,
    Volumes,
    evaluate_patients,
    summarise,
)


def outcome(**changes: Any) -> Outcome:
    usual = Outcome(
        seed=1, scanner="siemens", noise=6.0, displacement_mm=0.0, flaw="", expected=(),
        borderline=(), reason="", found=Volumes(9.0, 18.0), reference=Volumes(12.0, 20.0),
        truth=Volumes(15.0, 25.0), core_dice=0.8, hypoperfused_dice=0.9, side="L", true_side="L",
        warnings=(), seconds=5.0,
    )  # fmt: skip
    return replace(usual, **changes)


def test_errors_are_against_the_reference_and_of_large_regions_only() -> None:
    found = summarise(
        [
            outcome(),
            outcome(found=Volumes(12.0, 30.0), side="R"),
            outcome(found=Volumes(0.0, 0.0), reference=Volumes(5.0, 9.0)),
            outcome(found=Volumes(0.0, 0.0), flaw="truncated"),
        ]
    )
    assert found.volume_error is not None
    assert found.volume_error[0] == pytest.approx((0.1 + 0.5) / 2)
    assert found.core_error is not None
    assert found.core_error[0] == pytest.approx((0.25 + 0.0) / 2)
    assert found.sides_right == (1, 2)


def test_what_is_found_without_a_lesion() -> None:
    healthy = {"truth": Volumes(0.0, 0.0), "reference": Volumes(0.0, 0.0), "true_side": None}
    found = summarise([outcome(found=Volumes(0.0, ml), **healthy) for ml in (0.0, 2.0, 7.0)])
    assert found.false_ml == 2.0
    assert found.volume_error is None


def test_warnings_are_counted_where_they_are_deserved() -> None:
    found = summarise(
        [
            outcome(expected=("motion",), warnings=("motion",)),
            outcome(expected=("motion",)),
            outcome(expected=("motion",), warnings=("frames_dropped",)),
            outcome(warnings=("motion", "truncated")),
            outcome(expected=("motion",), borderline=("motion", "truncated")),
            outcome(warnings=("truncated",), borderline=("truncated",)),
            outcome(expected=("truncated",), reason="no contrast", found=None),
            outcome(
                expected=("truncated",),
                reason="cut",
                found=None,
                warnings=("truncated",),
            ),
        ]
    )
    assert found.precision["motion"] == 0.5
    assert found.recall["motion"] == pytest.approx(2 / 3)  # dropped frames tell of motion
    assert found.precision["truncated"] == 0.5
    assert found.recall["truncated"] == 1.0  # a scan that is refused was told enough
    assert found.precision["weak_bolus"] is None
    assert found.analysed == 6


def test_a_patient_is_scanned_twice_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The analysis stands in: it finds what is dense. The scans are those of the simulator."""
    monkeypatch.setattr(patient_scans, "_GRID", {"matrix": 64, "slices": 2})
    noise = []

    def analyse(series: TimeSeries) -> PipelineResult:
        noise.append(float(np.std(series.data[1] - series.data[0])))
        if len(noise) > 2:
            raise NotAnalysable("enough")
        dense = series.data[0] > 200
        regions = tuple(
            Segmentation(name, name, dense, series.geometry, "HU")
            for name in ("core", "hypoperfused")
        )
        return PipelineResult(
            "ctp_perfusion", "0", "ok", segmentations=regions, side="L",
            warnings=(Warning("motion", "It moved."),),
        )  # fmt: skip

    (found,) = evaluate_patients(1, 1, analyse=analyse)
    assert noise[0] < 0.5 * noise[1]  # the reference has no noise
    assert found.found is not None
    assert found.reference is not None
    assert found.core_dice is not None
    assert found.core_dice > 0.9
    assert found.warnings == ("motion",)
    assert 4 <= found.noise <= 9


def test_a_patient_on_mr_has_no_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """The analysis stands in: it takes what darkens most."""
    monkeypatch.setattr(patient_scans, "_PWI_GRID", {"slices": 2, "frames": 14})
    seen: list[TimeSeries] = []

    def analyse(series: TimeSeries) -> PipelineResult:
        seen.append(series)
        dark = series.data.min(axis=0) < 0.5 * series.data.max(axis=0)
        region = Segmentation("hypoperfused", "hypoperfused", dark, series.geometry, "")
        return PipelineResult("pwi_perfusion", "0", "ok", segmentations=(region,), side="L")

    (found,) = evaluate_patients(1, 1, kind="pwi", analyse=analyse)
    assert all(series.units == "1" and series.echo_time_s for series in seen)
    assert len(seen) == 2
    assert found.found is not None
    assert found.found.core is None
    assert found.core_dice is None
    assert found.hypoperfused_dice is not None
    assert 0 < found.noise < 10
    assert found.flaw != "truncated"
    assert summarise([found]).core_error is None
