"""Reading single DICOM elements leniently: a value that does not parse is missing, not an error.

Values are taken from the raw bytes: files from many scanners carry malformed numbers, wrong VRs
and character sets of their own, and none of that may stop an analysis that does not need them.
"""

import math
import re
import struct
import warnings
from collections.abc import Iterator
from datetime import date
from functools import cache

from pydicom import charset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_EPOCH = date(2000, 1, 1).toordinal()
_DATE = re.compile(r"(\d{4})[.\-]?(\d{2})[.\-]?(\d{2})$")
_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?([.,]\d{1,9})?\d*$")
_DATETIME = re.compile(r"(\d{8})(\d{2,6}(?:\.\d{1,9})?)([+-]\d{4})?$")
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})$")
_BLOCKS = range(0x10, 0x100)


@cache
def tag_of(keyword: str) -> BaseTag:
    """Tag of a standard attribute."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(f"no DICOM attribute is called {keyword}")
    return BaseTag(tag)


@cache
def private_tags(group: int, element: int) -> frozenset[int]:
    """Every tag that a private element may have, and those of its private creators."""
    creators = {(group << 16) | block for block in _BLOCKS}
    return frozenset(creators | {(group << 16) | (b << 8) | element for b in _BLOCKS})


class Elements:
    """Lenient access to the elements of one data set.

    Parameters
    ----------
    ds : pydicom.Dataset
        The data set, or an item of a sequence.
    encodings : list of str
        Python codecs of SpecificCharacterSet, from the enclosing data set for an item.
    """

    __slots__ = ("_blocks", "_ds", "encodings")

    def __init__(self, ds: Dataset, encodings: list[str] | None = None) -> None:
        self._ds = ds
        self._blocks: dict[tuple[int, str], int] | None = None
        self.encodings = encodings or ["iso8859"]
        names = self.texts("SpecificCharacterSet")
        if names:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    self.encodings = charset.convert_encodings(list(names))
                except LookupError:
                    self.encodings = ["iso8859"]

    def _element(self, key: str | int) -> DataElement | RawDataElement | None:
        tag = tag_of(key) if isinstance(key, str) else BaseTag(key)
        found = self._ds.get_item(tag)
        return found if isinstance(found, DataElement | RawDataElement) else None

    def has(self, key: str | int) -> bool:
        """Whether the element is present with a value."""
        found = self._element(key)
        return found is not None and bool(found.value)

    def text(self, key: str | int) -> str:
        """The value as one string, stripped; empty when missing."""
        found = self._element(key)
        if found is None or found.value is None:
            return ""
        value = found.value
        if not isinstance(value, bytes):
            return str(value).strip(" \0\t\r\n")
        if value.isascii() and b"\x1b" not in value:
            return value.decode("ascii").strip(" \0\t\r\n")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decoded = charset.decode_bytes(value, self.encodings, {0x5C, 0x5E, 0x3D})
        return decoded.strip(" \0\t\r\n")

    def texts(self, key: str | int) -> tuple[str, ...]:
        """The values of a multi-valued string, each stripped; empty when missing."""
        joined = self.text(key)
        return tuple(part.strip(" \0") for part in joined.split("\\")) if joined else ()

    def numbers(self, key: str | int, vr: str = "DS") -> tuple[float, ...]:
        """The finite values of a numeric element; empty when missing or one does not parse.

        ``vr`` is assumed where the file names none (implicit VR, UN).
        """
        found = self._element(key)
        if found is None or found.value is None:
            return ()
        value = found.value
        if not isinstance(value, bytes):
            parts = value if isinstance(value, list | tuple) else [value]
            return _finite(str(part) for part in parts)
        named = found.VR
        actual = vr if named is None or named == "UN" else named
        if actual in _BINARY:
            code = _BINARY[actual]
            size = struct.calcsize(code)
            big = isinstance(found, RawDataElement) and not found.is_little_endian
            order = ">" if big else "<"
            count = len(value) // size
            unpacked = struct.unpack(f"{order}{count}{code}", value[: count * size])
            return tuple(map(float, unpacked)) if all(map(math.isfinite, unpacked)) else ()
        return _finite(iter(value.decode("latin-1").split("\\")))

    def number(self, key: str | int, vr: str = "DS") -> float | None:
        """First value of a numeric element, or None."""
        found = self.numbers(key, vr)
        return found[0] if found else None

    def integer(self, key: str | int, vr: str = "IS") -> int | None:
        """First value as a whole number, or None."""
        found = self.number(key, vr)
        return None if found is None else int(found)

    def tag_value(self, key: str | int) -> int | None:
        """The value of an attribute tag (VR AT) as one number, or None."""
        found = self._element(key)
        if found is None or not found.value:
            return None
        if not isinstance(found.value, bytes):
            return int(found.value) if isinstance(found.value, int) else None
        big = isinstance(found, RawDataElement) and not found.is_little_endian
        if len(found.value) < 4:
            return None
        group, element = struct.unpack(">HH" if big else "<HH", found.value[:4])
        return int(group << 16 | element)

    def items(self, key: str | int) -> "list[Elements]":
        """Items of a sequence; empty when missing or not a sequence."""
        found = self._element(key)
        if found is None:
            return []
        tag = tag_of(key) if isinstance(key, str) else BaseTag(key)
        if isinstance(found, RawDataElement) and found.VR not in ("SQ", None, "UN"):
            return []
        value = self._ds[tag].value
        if not isinstance(value, Sequence):
            return []
        return [Elements(item, self.encodings) for item in value]

    def item(self, key: str | int) -> "Elements":
        """First item of a sequence; an empty data set when there is none."""
        found = self.items(key)
        return found[0] if found else Elements(Dataset(), self.encodings)

    def private(self, creator: str, group: int, element: int) -> int:
        """Tag of a private element by its creator; a tag that no file has when it is missing."""
        if self._blocks is None:
            self._blocks = {}
            for tag in tuple(self._ds.keys()):
                if tag.is_private_creator:
                    self._blocks.setdefault((tag.group, self.text(tag)), tag.element)
        block = self._blocks.get((group, creator))
        return 0 if block is None else (group << 16) | (block << 8) | element


def _finite(parts: Iterator[str]) -> tuple[float, ...]:
    found = []
    for part in parts:
        try:
            number = float(part.strip(" \0\t\r\n"))
        except ValueError:
            return ()
        if not math.isfinite(number):
            return ()
        found.append(number)
    return tuple(found)


def date_s(value: str) -> float | None:
    """A DA value as seconds from 2000-01-01 to that midnight, or None."""
    match = _DATE.match(value)
    if match is None:
        return None
    try:
        day = date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None
    return 86400.0 * (day.toordinal() - _EPOCH)


def time_s(value: str) -> float | None:
    """A TM value as seconds after midnight, or None."""
    match = _TIME.match(value)
    if match is None:
        return None
    hours, minutes, seconds = (int(match[i] or 0) for i in (1, 2, 3))
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    fraction = float("0." + match[4][1:]) if match[4] else 0.0
    return 3600.0 * hours + 60.0 * minutes + seconds + fraction


def offset_s(value: str) -> float | None:
    """TimezoneOffsetFromUTC, such as ``+0530``, in seconds, or None."""
    match = _OFFSET.match(value)
    if match is None:
        return None
    seconds = 3600.0 * int(match[2]) + 60.0 * int(match[3])
    return -seconds if match[1] == "-" else seconds


def datetime_s(value: str, timezone_s: float | None) -> float | None:
    """A DT value as seconds since 2000-01-01, or None.

    In UTC when the value, or else ``timezone_s`` (TimezoneOffsetFromUTC), tells its offset.
    """
    match = _DATETIME.match(value)
    if match is None:
        return None
    day, clock = date_s(match[1]), time_s(match[2])
    if day is None or clock is None:
        return None
    own = offset_s(match[3]) if match[3] else timezone_s
    return day + clock - (own or 0.0)
