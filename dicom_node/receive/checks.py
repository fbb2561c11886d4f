"""What an object must be before it is acknowledged."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from dicom_node.errors import ReceiveError

CANNOT_UNDERSTAND = 0xC000
DOES_NOT_MATCH = 0xA900

# leading zeros are against PS3.5 9.1, but scanners write them
_UID = re.compile(r"(?=.{1,64}$)[0-9]+(\.[0-9]+)*")
_DEFER = 65536
_MOST_PIXELS = 1 << 28
_UNDEFINED_LENGTH = 0xFFFFFFFF
_UID_KEYWORDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(frozen=True)
class Identity:
    """The identifying attributes of an object, checked; ``patient_key`` is a hash."""

    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    study_date: str | None
    patient_key: str
    manufacturer: str


def read_identity(path: Path, sop_class_uid: str, sop_instance_uid: str) -> Identity:
    """Read and check a received file against the UIDs that its C-STORE command named.

    Raises
    ------
    ReceiveError
        The data set cannot be decoded, lacks UIDs, has malformed ones, or is another object than
        the command says.
    """
    try:
        dataset = dcmread(path, defer_size=_DEFER)
        _check_whole(dataset, path)
        values = {keyword: _text(dataset, keyword) for keyword in _UID_KEYWORDS}
        patient = _text(dataset, "PatientID")
        study_date = _text(dataset, "StudyDate") or None
        manufacturer = _text(dataset, "Manufacturer")
    except Exception as e:  # pydicom fails in many ways on bytes that are no data set
        raise ReceiveError(
            CANNOT_UNDERSTAND,
            "undecodable",
            f"the data set cannot be decoded ({type(e).__name__}); send it again unbroken",
        ) from e
    for keyword, value in values.items():
        if not value:
            raise ReceiveError(
                DOES_NOT_MATCH, "missing_uid", f"{keyword} is missing; every object needs it"
            )
        if not _UID.fullmatch(value):
            raise ReceiveError(
                DOES_NOT_MATCH,
                "invalid_uid",
                f"{keyword} is not a UID (digits and dots, at most 64 characters)",
            )
    for keyword, commanded in (
        ("SOPClassUID", sop_class_uid),
        ("SOPInstanceUID", sop_instance_uid),
    ):
        if values[keyword] != commanded:
            raise ReceiveError(
                DOES_NOT_MATCH,
                "uid_mismatch",
                f"{keyword} of the data set differs from the C-STORE command's",
            )
    return Identity(
        sop_class_uid=values["SOPClassUID"],
        sop_instance_uid=values["SOPInstanceUID"],
        study_uid=values["StudyInstanceUID"],
        series_uid=values["SeriesInstanceUID"],
        study_date=study_date,
        patient_key=hashlib.sha256(patient.encode()).hexdigest()[:32],
        manufacturer=manufacturer,
    )


def _check_whole(dataset: Dataset, path: Path) -> None:
    size = path.stat().st_size
    for element in dataset.values():
        if isinstance(element, RawDataElement) and element.length != _UNDEFINED_LENGTH:
            end = element.value_tell + element.length
            if end > size:
                raise EOFError(f"element {element.tag} ends {end - size} bytes behind the data set")


def same_object(first: Path, second: Path) -> bool:
    """Whether two files of one SOP Instance differ only in how they are encoded.

    A PACS recompresses what it stores; attributes and decoded pixels must still agree.
    """
    try:
        one, other = dcmread(first), dcmread(second)
        if _without_pixels(one) != _without_pixels(other) or _pixels(one) > _MOST_PIXELS:
            return False
        if "PixelData" not in one or "PixelData" not in other:
            return ("PixelData" in one) == ("PixelData" in other)
        return bool((one.pixel_array == other.pixel_array).all())
    except Exception:  # noqa: BLE001 what cannot be compared counts as different
        return False


def _pixels(dataset: Dataset) -> int:
    frames = int(dataset.get("NumberOfFrames") or 1)
    return frames * int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0)


def _without_pixels(dataset: Dataset) -> Dataset:
    kept = Dataset()
    for element in dataset:
        if element.keyword not in ("PixelData", "PlanarConfiguration", "DataSetTrailingPadding"):
            kept.add(element)
    return kept


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()
