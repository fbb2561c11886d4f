"""What the simulator writes, the node reads: kinds, order, times, places and values."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from dicom_node.process import Found, find_acquisitions
from inference.dicom.headers import read_folder
from inference.dicom.reader import load_time_series, load_volume
from inference.dicom.stack import arrange
from inference.geometry import Geometry
from inference.kinds import SeriesKind
from tests.training.simulate.dicom.studies import (
    MIDDLE,
    START,
    hu,
    identity,
    interleaved,
    signal,
    stack,
    write,
)
from training.simulate.anatomy.person import Cohort
from training.simulate.arrays import FloatArray
from training.simulate.dicom import (
    Identity,
    ctp_datasets,
    ctp_times,
    dwi_datasets,
    gre_datasets,
    ncct_datasets,
    pwi_datasets,
)
from training.simulate.dicom.mr import FOLLOW_UP
from training.simulate.scanner import SCANNERS, Scanner

Values = npt.NDArray[Any]
PWI_POINTS = 32
SLICES = 3
CASES: list[tuple[Scanner, int | None, Cohort]] = [
    *((scanner, None, "usual") for scanner in SCANNERS),
    *((scanner, 11, "shifted") for scanner in SCANNERS),
]


def protocol_times(scanner: Scanner) -> FloatArray:
    return ctp_times(scanner, SLICES, None if scanner == "canon" else 16)


def a_study(scanner: Scanner, patient: Identity) -> Iterator[Dataset]:
    """NCCT, CTP, DWI, PWI and the follow-up of one patient."""
    head, slab, times = stack(9, tilt_deg=12), stack(SLICES), protocol_times(scanner)
    yield from ncct_datasets(patient, scanner, head, hu(head.shape), START)
    frames = hu((len(times), *slab.shape))
    yield from ctp_datasets(patient, scanner, slab, frames, times, START)
    weighted = {0.0: signal(slab.shape), 1000.0: signal(slab.shape, 2, 600)}
    yield from dwi_datasets(patient, scanner, slab, weighted, START)
    yield from pwi_datasets(
        patient, scanner, slab, signal((PWI_POINTS, *slab.shape)),
        interleaved(SLICES, PWI_POINTS, 1.6), START, repetition_time_ms=1600,
    )  # fmt: skip
    yield from gre_datasets(patient, scanner, slab, signal(slab.shape), START + FOLLOW_UP)


@pytest.mark.parametrize(("scanner", "seed", "cohort"), CASES)
def test_the_node_reads_a_whole_patient(
    scanner: Scanner, seed: int | None, cohort: Cohort, tmp_path: Path
) -> None:
    write(a_study(scanner, identity(seed, cohort)), tmp_path)
    found, unreadable = find_acquisitions(tmp_path)
    assert unreadable == []
    kinds = {item.kind.kind: item for item in found}
    assert sorted(kinds) == ["CTP", "DWI", "NCCT", "OTHER", "PWI"]
    assert len(found) == 5
    assert all(item.row()["complete"] for item in found)
    times = protocol_times(scanner)
    series = {
        SeriesKind.CTP: (times, hu((len(times), *stack(SLICES).shape))),
        SeriesKind.PWI: (
            interleaved(SLICES, PWI_POINTS, 1.6), signal((PWI_POINTS, *stack(SLICES).shape)),
        ),
    }  # fmt: skip
    for kind, (expected_s, values) in series.items():
        _is_equal_over_time(kinds[kind], expected_s, values)
    assert len(kinds[SeriesKind.CTP].group.series_uids) == (19 if scanner == "canon" else 1)
    _is_equal(kinds[SeriesKind.NCCT], stack(9, tilt_deg=12), hu(stack(9).shape))
    _is_equal(kinds[SeriesKind.DWI], stack(SLICES), signal(stack(SLICES).shape, 2, 600))


def _is_equal_over_time(found: Found, times_s: FloatArray, values: Values) -> None:
    assert (found.kind.time_points, found.kind.slices) == times_s.shape
    series = load_time_series(found.group.headers)
    assert not series.source.timing_guessed
    np.testing.assert_allclose(series.times_s, times_s - times_s.min(), atol=1e-3)
    np.testing.assert_allclose(series.data[MIDDLE], values[MIDDLE], atol=0.5)
    _same_place(series.geometry, stack(SLICES))


def _is_equal(found: Found, geometry: Geometry, values: Values) -> None:
    volume = load_volume(found.group.headers)
    np.testing.assert_allclose(volume.data[MIDDLE], values[MIDDLE], atol=0.5)
    _same_place(volume.geometry, geometry)


def _same_place(found: Geometry, expected: Geometry) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.affine_lps, expected.affine_lps, atol=0.01)
    np.testing.assert_allclose(found.positions_mm, expected.positions_mm, atol=0.01)
    assert found.tilt_deg == pytest.approx(expected.tilt_deg, abs=0.01)


@pytest.mark.parametrize("split", [False, True])
def test_the_node_reads_enhanced_mr(split: bool, tmp_path: Path) -> None:
    slab, times = stack(SLICES), interleaved(SLICES, PWI_POINTS, 1.4)
    frames = signal((PWI_POINTS, *slab.shape))
    weighted = {0.0: signal(slab.shape), 1000.0: signal(slab.shape, 2, 600)}
    patient = identity(5, "shifted", timezone="+0530")
    objects = [
        *pwi_datasets(
            patient, "siemens", slab, frames, times, START, repetition_time_ms=1400,
            enhanced=True, object_per_time_point=split,
        ),
        *dwi_datasets(patient, "siemens", slab, weighted, START, enhanced=True),
    ]  # fmt: skip
    write(objects, tmp_path)
    found, unreadable = find_acquisitions(tmp_path)
    assert unreadable == []
    kinds = {item.kind.kind: item for item in found}
    assert sorted(kinds) == ["DWI", "PWI"]
    _is_equal_over_time(kinds[SeriesKind.PWI], times, frames)
    _is_equal(kinds[SeriesKind.DWI], slab, weighted[1000.0])


def _without(datasets: list[Dataset], tags: list[int]) -> list[Dataset]:
    for ds in datasets:
        for tag in tags:
            del ds[tag]
    return datasets


@pytest.mark.parametrize(
    ("scanner", "gone", "source"),
    [
        ("ge", [0x00191024], "GEMS_PARM_01 (0043,xx1E)"),
        ("ge", [0x0043101E], "GEMS_ACQU_01 (0019,xx24)"),
    ],
)
def test_ge_shuttle_is_read_from_either_private_time(
    scanner: Scanner, gone: list[int], source: str, tmp_path: Path
) -> None:
    times = np.arange(12)[:, None] * 2.8 + np.array([0, 0, 1.4])
    frames = hu((12, *stack(SLICES).shape))
    images = list(ctp_datasets(identity(), scanner, stack(SLICES), frames, times, START))
    write(_without(images, gone), tmp_path)
    ((found,), _) = find_acquisitions(tmp_path)
    assert found.kind.kind is SeriesKind.CTP
    _is_equal_over_time(found, times, frames)
    assert load_time_series(found.group.headers).source.timing == source


@pytest.mark.parametrize(
    ("scanner", "gone", "source", "per_slice"),
    [
        ("ge", [0x00181060], "GEMS_RELA_01 (0021,xx5E)", True),
        ("philips", [0x00181060], "Philips MR Imaging DD 001 (2005,xxA0)", False),
    ],
)
def test_perfusion_mr_is_read_from_private_times(
    scanner: Scanner, gone: list[int], source: str, per_slice: bool, tmp_path: Path
) -> None:
    """Philips tells one time per volume there."""
    times, frames = interleaved(SLICES, PWI_POINTS, 1.6), signal((PWI_POINTS, *stack(SLICES).shape))
    images = list(pwi_datasets(identity(), scanner, stack(SLICES), frames, times, START))
    write(_without(images, gone), tmp_path)
    ((found,), _) = find_acquisitions(tmp_path)
    expected = times if per_slice else np.repeat(times.min(axis=1, keepdims=True), SLICES, axis=1)
    assert found.kind.kind is SeriesKind.PWI
    _is_equal_over_time(found, expected, frames)
    assert load_time_series(found.group.headers).source.timing == source


@given(
    st.sampled_from(SCANNERS),
    st.lists(st.floats(0.6, 4.0), min_size=7, max_size=11),
    st.floats(0, 0.5),
)
@settings(max_examples=6, deadline=None)
def test_uneven_times_are_kept(
    tmp_path_factory: pytest.TempPathFactory, scanner: Scanner, steps: list[float], sweep: float
) -> None:
    """Half an interval between the slices of a time point at most, as in every scan."""
    times = np.cumsum([0, *steps])[:, None] + np.array([0, sweep])
    frames = hu((len(times), *stack(2).shape))
    folder = tmp_path_factory.mktemp("uneven")
    write(ctp_datasets(identity(), scanner, stack(2), frames, times, START), folder)
    headers, unreadable = read_folder(folder)
    assert unreadable == []
    np.testing.assert_allclose(arrange(headers).times_s, times, atol=1e-3)
