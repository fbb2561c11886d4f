"""Whose study: UIDs, the words of the department and their character set, the scanners."""

import datetime as dt
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from tests.training.simulate.dicom.studies import START, identity
from training.simulate.dicom import Identity
from training.simulate.dicom.identity import decimal, set_patient_and_study, set_uids
from training.simulate.dicom.mr_vendors import MR_VENDORS, choose_mr
from training.simulate.dicom.vendors import CT_VENDORS, choose_model, set_equipment

WORDS = [
    word
    for vendor in [*CT_VENDORS.values(), *MR_VENDORS.values()]
    for name in ("study", "ncct", "ctp", "pwi", "dwi", "gre", "ncct_protocol", "protocol", "agents")
    for word in getattr(vendor, name, ())
]


def test_uids_depend_on_key_and_parts_only() -> None:
    one = Identity("key", "ID", "Name", START)
    assert one.uid("a", 1) == Identity("key", "other", "Name", START, seed=5).uid("a", 1)
    assert len({one.uid("a", 1), one.uid("a", 2), one.uid("a"), identity().uid("b")}) == 4
    assert one.uid("a").startswith("2.25.")
    assert len(one.uid("a")) <= 64


def test_ct_mr_and_follow_up_are_studies_of_one_patient() -> None:
    studies = [Dataset(), Dataset(), Dataset()]
    for ds, name in zip(studies, ("", "mr", "follow-up"), strict=True):
        set_patient_and_study(ds, identity(), "Stroke", name)  # type: ignore[arg-type]
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "AccessionNumber"):
        assert len({ds[keyword].value for ds in studies}) == 3, keyword
    assert {ds.PatientID for ds in studies} == {"SIM1"}
    again = Dataset()
    set_patient_and_study(again, identity(variant="other"), "Stroke")
    assert again.StudyInstanceUID == studies[0].StudyInstanceUID


def test_the_variant_changes_series_and_instances() -> None:
    first, second = Dataset(), Dataset()
    for ds, variant in ((first, "a"), (second, "b")):
        ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        set_uids(ds, identity(variant=variant), "ctp", "1")
    assert first.SeriesInstanceUID != second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID


def test_a_follow_up_begins_later() -> None:
    later = identity().follow_up(dt.timedelta(hours=24))
    assert later.study_start - identity().study_start == dt.timedelta(days=1)
    assert later.key == identity().key


@pytest.mark.parametrize(
    ("birth", "age"), [("19500101", "076Y"), ("19500116", "075Y"), ("", ""), ("20300101", "")]
)
def test_age_on_the_day_of_the_study(birth: str, age: str) -> None:
    ds = Dataset()
    set_patient_and_study(ds, identity(birth_date=birth), "Stroke")
    assert ds.PatientAge == age


def test_without_a_seed_the_first_word_is_taken_and_no_character_set_written() -> None:
    assert identity().choose("x", ["plain", "Schädel"]) == "plain"
    assert identity().written_character_set is None


def test_seeds_vary_words_and_character_sets() -> None:
    options = ["a", "Schädel", "頭部"]
    patients = [identity(seed) for seed in range(200)]
    by_set: dict[str | None, set[str]] = {}
    for one in patients:
        by_set.setdefault(one.written_character_set, set()).add(one.choose("x", options))
    assert by_set == {"ISO_IR 100": {"a", "Schädel"}, "ISO_IR 192": {"a", "Schädel", "頭部"}}
    assert sum(one.written_character_set == "ISO_IR 192" for one in patients) < 60
    assert patients[3].choose("x", options) == identity(3).choose("x", options)


def test_names_decide_the_character_set() -> None:
    assert identity(1, patient_name="山田^太郎").written_character_set == "ISO_IR 192"
    given = identity(1, patient_name="Test", character_set="ISO 2022 IR 87")
    assert given.written_character_set == "ISO 2022 IR 87"
    assert given.choose("x", ["頭部", "plain"]) == "plain"
    with pytest.raises(ValueError, match="none of"):
        identity().choose("x", ["頭部"])


def test_every_word_fits_its_element() -> None:
    assert WORDS
    for word in WORDS:
        assert 0 < len(word.format(thickness="3.75", kernel="Hr38f")) <= 64, word
    assert any(not word.isascii() for word in WORDS)


def test_the_first_word_of_every_list_is_plain() -> None:
    for vendor in [*CT_VENDORS.values(), *MR_VENDORS.values()]:
        for field in fields(vendor):  # type: ignore[arg-type]
            value = getattr(vendor, field.name)
            if isinstance(value, tuple) and value and isinstance(value[0], str):
                assert value[0].isascii(), field.name


def test_shifted_scanners_are_never_usual_ones() -> None:
    models = [vendor.models for vendor in CT_VENDORS.values()]
    models += [vendor.models for vendor in MR_VENDORS.values()]
    for of_vendor in models:
        usual, shifted = ({m.name for m in of_vendor[c]} for c in ("usual", "shifted"))
        assert usual
        assert shifted
        assert not usual & shifted
        assert all("Simulated" in name for name in usual | shifted)


def test_a_patient_has_one_scanner_and_seeds_have_several() -> None:
    vendor = CT_VENDORS["siemens"]
    names = {choose_model(identity(seed), "ct", vendor.models["usual"]).name for seed in range(40)}
    assert names == {model.name for model in vendor.models["usual"]}
    ds, same = Dataset(), Dataset()
    for image in (ds, same):
        set_equipment(
            image, identity(7), choose_model(identity(7), "ct", vendor.models["usual"]), "CT"
        )
    assert ds == same
    assert ds.StationName.startswith("CT")


def test_the_field_strength_chooses_the_scanner() -> None:
    for vendor in MR_VENDORS.values():
        for seed in range(8):
            for tesla in (1.5, 3.0):
                found = choose_mr(identity(seed), vendor, tesla).field_strength_t
                assert abs(found - tesla) < 0.2


@given(st.floats(-1e6, 1e6))
def test_decimal_strings_are_short_and_exact(value: float) -> None:
    text = decimal(value)
    assert len(text) <= 16
    assert float(text) == pytest.approx(value, rel=1e-9, abs=1e-10)
