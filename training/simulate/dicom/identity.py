"""Whose study: identity, UIDs, and the modules Patient, General Study and General Series."""

import codecs
import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from training.simulate.anatomy.person import Cohort
from training.simulate.arrays import stream

StudyName = Literal["", "mr", "follow-up"]
_NAMESPACE = uuid.UUID("5d0a3a52-2f5c-5a57-8d3f-8f1d6f1f6f27")
_ACCESSION_PREFIX: dict[StudyName, str] = {"": "A", "mr": "B", "follow-up": "C"}
_CODECS = {None: "ascii", "ISO_IR 100": "latin-1", "ISO_IR 192": "utf-8"}


@dataclass(frozen=True)
class Identity:
    """Whose study: ``key`` decides all UIDs, together with ``variant`` below the study.

    Parameters
    ----------
    key, variant : str
        What the UIDs are made of.
    patient_id, patient_name : str
        PatientID and PatientName.
    study_start : datetime
        StudyDate and StudyTime.
    character_set, timezone : str or None
        SpecificCharacterSet and TimezoneOffsetFromUTC, left out when None. With a ``seed``, a
        character set that the words of the scanner need is written although None was given.
    birth_date, sex : str
        PatientBirthDate, PatientSex.
    seed : int or None
        Decides the model of the scanner and the words of the department; None takes the first of
        every list.
    cohort : str
        ``shifted``: scanners that no study of the ``usual`` cohort has.
    """

    key: str
    patient_id: str
    patient_name: str
    study_start: dt.datetime
    variant: str = ""
    character_set: str | None = None
    timezone: str | None = None
    birth_date: str = "19500101"
    sex: str = "O"
    seed: int | None = None
    cohort: Cohort = "usual"

    def uid(self, *parts: object) -> str:
        """UID under the root 2.25 that depends on the key and the parts only."""
        name = "|".join((self.key, *map(str, parts)))
        return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"

    def draws(self, *names: object) -> np.random.Generator:
        """Random stream of one part of the headers; the same for every study without a seed."""
        return stream(self.seed or 0, "dicom", *names)

    def choose(self, name: str, options: Sequence[str]) -> str:
        """One of some words that the character set can hold; the first when there is no seed.

        Raises ValueError where no option can be written.
        """
        written = [word for word in options if _fits(word, self.written_character_set)]
        if not written:
            raise ValueError(f"none of {[*options]} can be written in {self.character_set}")
        if self.seed is None:
            return written[0]
        return written[int(self.draws(name).integers(len(written)))]

    @cached_property
    def written_character_set(self) -> str | None:
        """SpecificCharacterSet of every image of this patient, None to leave it out."""
        if self.character_set is not None or self.seed is None:
            return self.character_set
        if not _fits(self.patient_name, "ISO_IR 100"):
            return "ISO_IR 192"
        return "ISO_IR 192" if self.draws("character set").random() < 0.15 else "ISO_IR 100"

    def follow_up(self, delay: dt.timedelta) -> "Identity":
        """The same patient for a study that begins later."""
        return replace(self, study_start=self.study_start + delay)


def _fits(word: str, character_set: str | None) -> bool:
    try:
        codecs.encode(word, _CODECS.get(character_set, "ascii"))
    except UnicodeEncodeError:
        return False
    return True


def set_patient_and_study(
    ds: Dataset, identity: Identity, description: str, study: StudyName = ""
) -> None:
    """Set the Patient and General Study modules and the frame of reference.

    CT, MR and a follow-up are studies of their own, each with one frame of reference.
    """
    names = (study,) if study else ()
    if identity.written_character_set is not None:
        ds.SpecificCharacterSet = identity.written_character_set
    if identity.timezone is not None:
        ds.TimezoneOffsetFromUTC = identity.timezone
    ds.PatientName = identity.patient_name
    ds.PatientID = identity.patient_id
    ds.PatientBirthDate = identity.birth_date
    ds.PatientSex = identity.sex
    ds.PatientAge = _age(identity)
    ds.StudyInstanceUID = identity.uid("study", *names)
    ds.StudyDate = identity.study_start.strftime("%Y%m%d")
    ds.StudyTime = identity.study_start.strftime("%H%M%S")
    ds.StudyDescription = description
    ds.StudyID = "1"
    ds.AccessionNumber = f"{_ACCESSION_PREFIX[study]}{identity.patient_id}"[:16]
    ds.ReferringPhysicianName = ""
    ds.FrameOfReferenceUID = identity.uid("frame of reference", *names)
    ds.PositionReferenceIndicator = ""


def _age(identity: Identity) -> str:
    """PatientAge; empty where the birth date is none."""
    try:
        birth = dt.datetime.strptime(identity.birth_date, "%Y%m%d").date()
    except ValueError:
        return ""
    today = identity.study_start.date()
    years = today.year - birth.year - ((today.month, today.day) < (birth.month, birth.day))
    return f"{years:03d}Y" if 0 <= years <= 999 else ""


def set_uids(
    ds: Dataset, identity: Identity, series: str, instance: str, *, study: StudyName = ""
) -> None:
    """Set series and instance UID and the file meta information."""
    names = (study,) if study else ()
    ds.SeriesInstanceUID = identity.uid("series", identity.variant, *names, series)
    ds.SOPInstanceUID = identity.uid("instance", identity.variant, *names, instance)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta = meta


def set_times(ds: Dataset, start: dt.datetime, acquired_s: float, content_s: float) -> None:
    """Set acquisition and content date and time, in seconds after the start of the series."""
    acquired, content = (start + dt.timedelta(seconds=value) for value in (acquired_s, content_s))
    ds.SeriesDate, ds.SeriesTime = date_and_time(start)
    ds.AcquisitionDate, ds.AcquisitionTime = date_and_time(acquired)
    ds.ContentDate, ds.ContentTime = date_and_time(content)


def date_and_time(moment: dt.datetime) -> tuple[str, str]:
    """DA and TM of a moment, to the microsecond."""
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")


def decimal(value: float) -> str:
    """Format a number as a DICOM decimal string (at most 16 characters), to ten digits."""
    return f"{round(float(value), 10) + 0.0:.10g}"
