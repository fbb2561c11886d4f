"""UIDs of runs, and the text that goes into objects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from dicom_node.write.codes import own_code, unit_code
from dicom_node.write.context import WriteContext
from dicom_node.write.results import DEFAULT_SERIES, SourceImages
from dicom_node.write.series import SeriesEntry
from dicom_node.write.text import (
    distrusted_codes,
    number,
    plain,
    shortened,
    value_text,
    warning_codes,
    warning_text,
)
from dicom_node.write.uids import result_uid
from inference.quantities import QUANTITIES
from inference.results import Measurement, Warning
from tests.dicom_node.write.examples import RUN, geometry, perfusion_result, source_files


@given(st.text(min_size=1), st.text(), st.integers(0, 10_000))
def test_uid_is_valid_and_fixed(run_uid: str, role: str, index: int) -> None:
    uid = result_uid(run_uid, role, index)
    assert uid.is_valid
    assert uid == result_uid(run_uid, role, index)
    assert uid != result_uid(run_uid, role, index + 1)


def test_uid_has_not_changed() -> None:
    assert result_uid("2.25.1", "cbf", 1) == UID("2.25.230722451891559150643966095717523352630")


def test_a_run_without_uid_is_refused() -> None:
    with pytest.raises(ValueError, match="run UID is empty"):
        result_uid("", "cbf", 1)


@given(st.text())
def test_plain_text_is_printable_ascii_without_backslash(text: str) -> None:
    assert all(" " <= c <= "}" and c != "\\" for c in plain(text))


@given(st.text(), st.integers(8, 80))
def test_shortened_text_fits(text: str, length: int) -> None:
    assert len(shortened(text, length)) <= length


def test_symbols_are_spelled() -> None:
    assert plain("Tmax ≥ 6 s, 30 °C, µ × 2 – é") == "Tmax >= 6 s, 30 deg C, u x 2 - e"


@given(st.lists(st.from_regex(r"[a-z_]{1,20}", fullmatch=True)), st.integers(3, 60))
def test_warning_codes_fit(codes: list[str], length: int) -> None:
    text = warning_codes([Warning(code, "") for code in codes], length)
    assert len(text) <= length
    assert bool(text) == bool(codes)


def test_warning_codes_name_what_fits() -> None:
    warnings = [Warning("weak_bolus", ""), Warning("motion", ""), Warning("weak_bolus", "")]
    assert warning_codes(warnings, 40) == "[!weak_bolus,motion]"
    assert warning_codes(warnings, 18) == "[!weak_bolus,+1]"


def test_numbers_and_warnings_are_readable() -> None:
    assert [number(v) for v in (12.34567, 123456.7, float("inf"))] == [
        "12.35",
        "123457",
        "not finite",
    ]
    assert warning_text(Warning("motion", "too much", 5.25)) == "motion: too much (5.25)"


@given(st.floats(-2000, 2000))
def test_values_keep_what_thresholds_need(value: float) -> None:
    """A core of 69.9 mL does not read as 70, a ratio of 1.77 not as 1.8."""
    volume, unit = value_text(Measurement("core_volume", "Core", value, "mL")).split()
    assert unit == "mL"
    assert abs(float(volume) - value) <= (0.05 if abs(value) < 99.95 else 0.5) + 1e-9
    ratio = value_text(Measurement("mismatch_ratio", "Ratio", value, "1"))
    assert abs(float(ratio) - value) <= (0.005 if abs(value) < 9.995 else 0.05) + 1e-9


def test_an_undefined_value_is_no_number() -> None:
    assert value_text(Measurement("mismatch_ratio", "Ratio", None, "1")) == "n/a"
    assert value_text(Measurement("delay", "Delay", 2.5, "s")) == "2.5 s"


def test_some_warnings_end_trust_and_others_do_not() -> None:
    codes = ["low_coverage", "truncated", "short_baseline", "motion", "truncated"]
    assert distrusted_codes([Warning(code, "") for code in codes]) == ["truncated", "motion"]


@given(st.from_regex(r"[a-z_0-9]{1,60}", fullmatch=True))
def test_own_codes_fit_a_code_value(name: str) -> None:
    code = own_code(name, name)
    assert 1 <= len(code.value) <= 16
    assert 1 <= len(code.meaning) <= 64


def test_units_of_all_quantities_are_codes() -> None:
    assert unit_code(QUANTITIES["cbf"].unit).meaning == "milliliter per 100 gram per minute"
    assert unit_code("HU").value == "[hnsf'U]"
    assert unit_code("mL").value == "ml"
    assert unit_code("s").meaning == "second"
    assert unit_code("ml/[100]g").value == "ml/[100]g"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceImages:
    return SourceImages.from_files(
        source_files(tmp_path_factory.mktemp("source"), geometry(), times=1)
    )


@given(
    codes=st.lists(st.from_regex(r"[a-z_]{1,20}", fullmatch=True), max_size=12),
    revision=st.integers(1, 1000),
    description=st.text(min_size=1, max_size=40),
)
def test_series_description_fits(
    source: SourceImages, codes: list[str], revision: int, description: str
) -> None:
    from dataclasses import replace

    result = perfusion_result(geometry(), warnings=tuple(Warning(c, "") for c in codes))
    table = {"cbf": SeriesEntry(number=1, description=description)}
    context = WriteContext(result, source, replace(RUN, revision=revision), table)
    found = context.series("cbf").description
    assert len(found) <= 64
    assert (f"rev {revision}" in found) == (revision > 1) or "rev" in description
    assert ("[!" in found) == bool(codes) or "[!" in description


def test_a_role_missing_from_the_table_has_a_fixed_entry(source: SourceImages) -> None:
    context = WriteContext(perfusion_result(geometry()), source, RUN, DEFAULT_SERIES)
    series = context.series("something_new")
    assert series == context.series("something_new")
    assert series.description == "StrokeNode something_new"
    assert series.number not in {entry.number for entry in DEFAULT_SERIES.values()}


def test_revision_below_one_is_refused() -> None:
    from dataclasses import replace

    with pytest.raises(ValueError, match="revision is 0"):
        replace(RUN, revision=0)
