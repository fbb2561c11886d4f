import dataclasses

import numpy as np
import pytest

from inference.errors import NotAnalysable
from inference.perfusion import quality
from inference.perfusion.arterial_input import VesselCurve
from tests.inference.perfusion.phantom import Phantom, geometry

ARTERY = VesselCurve(np.zeros(40), np.zeros((4, 3), int), np.zeros(3), 8.0, 13.0, 6.0, 300.0, 30.0)
VEIN = dataclasses.replace(ARTERY, arrival_s=13.0, peak_time_s=19.0, width_s=9.0)


def test_complete_scan_passes() -> None:
    assert quality.check_truncation(ARTERY, VEIN, 18.0, 45.0) is None
    assert quality.check_truncation(ARTERY, None, 18.0, 45.0) is None


def test_truncated_by_tail_or_by_length() -> None:
    tail = dataclasses.replace(VEIN, tail_hu=150.0)
    found = quality.check_truncation(ARTERY, tail, 18.0, 45.0)
    assert found is not None
    assert (found.code, found.value) == ("truncated", 0.5)
    long = dataclasses.replace(VEIN, width_s=20.0)
    found = quality.check_truncation(ARTERY, long, 18.0, 36.0)
    assert found is not None
    assert (found.code, found.value) == ("truncated", 28.0)


@pytest.mark.parametrize(
    ("artery", "tissue_peak", "end"),
    [
        (dataclasses.replace(ARTERY, tail_hu=200.0), 18.0, 45.0),
        (dataclasses.replace(ARTERY, width_s=float("inf")), 18.0, 45.0),
        (ARTERY, 18.0, 20.0),
        (ARTERY, 30.0, 31.0),
    ],
)
def test_cut_before_the_bolus_has_passed(
    artery: VesselCurve, tissue_peak: float, end: float
) -> None:
    with pytest.raises(NotAnalysable, match="before the bolus had passed"):
        quality.check_truncation(artery, VEIN, tissue_peak, end)


def test_weak_bolus() -> None:
    assert quality.check_bolus(ARTERY) is None
    found = quality.check_bolus(dataclasses.replace(ARTERY, peak_hu=12.0))
    assert found is not None
    assert (found.code, found.value) == ("weak_bolus", 12.0)
    assert quality.check_contrast_to_noise(8.0) is None
    found = quality.check_contrast_to_noise(4.0)
    assert found is not None
    assert (found.code, found.value) == ("weak_bolus", 4.0)
    with pytest.raises(NotAnalysable, match="too weak or the images too noisy"):
        quality.check_contrast_to_noise(1.0)


def test_short_baseline_late_input_coverage_and_timing() -> None:
    assert quality.check_baseline(2) is None
    found = quality.check_baseline(1)
    assert found is not None
    assert (found.code, found.value) == ("short_baseline", 1.0)
    assert quality.check_arterial_lead(ARTERY, 18.0) is None
    found = quality.check_arterial_lead(ARTERY, 13.0)
    assert found is not None
    assert (found.code, found.value) == ("aif_late", 0.0)
    assert quality.check_coverage(geometry(Phantom(slices=8, slice_mm=5))) is None
    found = quality.check_coverage(geometry(Phantom(slices=2, slice_mm=10)))
    assert found is not None
    assert (found.code, found.value) == ("low_coverage", 20.0)
    assert quality.check_timing("AcquisitionTime", False) is None
    found = quality.check_timing("InstanceNumber", True)
    assert found is not None
    assert found.code == "timing_guessed"
    assert "InstanceNumber" in found.text
