"""Opening DICOM files within bounds: untrusted bytes, never more memory than a limit.

Reading stops at the pixel data, which are measured but not loaded.
"""

import os
import struct
import warnings
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    UncompressedTransferSyntaxes,
)

from inference.dicom.elements import Elements
from inference.errors import DicomReadError

MAX_INFLATED_BYTES = 2**31
_PIXEL_DATA = 0x7FE00010
_FIRST_PIXEL_TAG = 0x7FE00008
_UNCOMPRESSED = frozenset(str(uid) for uid in UncompressedTransferSyntaxes)
_UNDEFINED = 0xFFFFFFFF


@dataclass
class Pixels:
    """The pixel data element, at which reading stopped.

    ``length`` counts bytes of pixels; ``offset`` is their place in the file, 0 where they must be
    decoded (compressed, encapsulated, deflated).
    """

    found: bool = False
    length: int = 0
    offset: int = 0


@dataclass(frozen=True)
class ParsedFile:
    """A data set up to its pixel data, and how it was encoded."""

    ds: FileDataset
    sop_class_uid: str
    transfer_syntax_uid: str
    compressed: bool
    pixels: Pixels


def parse_file(file: BinaryIO, tags: list[BaseTag | int]) -> ParsedFile:
    """Read the wanted elements of an open file, up to the pixel data.

    Raises
    ------
    DicomReadError
        Not DICOM, truncated, or inflating to more than a limit.
    """
    stream, size, deflated = _open(file)
    pixels = Pixels()

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag < _FIRST_PIXEL_TAG:
            return False
        if tag == _PIXEL_DATA:
            pixels.found, pixels.length, pixels.offset = True, length, stream.tell()
        return True

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = read_partial(stream, at_pixels, force=True, specific_tags=tags)
    _refuse_truncated(ds, stream, size, pixels)
    meta = Elements(ds.file_meta)
    syntax = meta.text("TransferSyntaxUID") or _plain_syntax(ds)
    if deflated:
        syntax = str(DeflatedExplicitVRLittleEndian)
    compressed = syntax not in _UNCOMPRESSED
    if deflated or compressed:
        pixels.offset = 0
    return ParsedFile(ds, meta.text("MediaStorageSOPClassUID"), syntax, compressed, pixels)


def _open(file: BinaryIO) -> tuple[BinaryIO, int, bool]:
    """The stream to parse, its size, and whether it was deflated (inflated within a bound)."""
    size = os.fstat(file.fileno()).st_size
    head = file.read(4096)
    file.seek(0)
    if head[128:132] != b"DICM":
        # before DICOM files had a header, data sets were stored bare: group 0008 comes first
        if head[:2] not in (b"\x08\x00", b"\x02\x00", b"\x00\x08"):
            raise DicomReadError("not a DICOM file")
        return file, size, False
    uid = DeflatedExplicitVRLittleEndian.encode()
    if uid not in head:
        return file, size, False
    start = 144 + int.from_bytes(head[140:144], "little")
    if head[132:136] != b"\x02\x00\x00\x00" or not 144 < start <= len(head):
        raise DicomReadError("a deflated file without a usable File Meta Information Group Length")
    file.seek(start)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = inflater.decompress(file.read(), MAX_INFLATED_BYTES)
    except zlib.error as error:
        raise DicomReadError("the deflated data set is damaged") from error
    if inflater.unconsumed_tail:
        raise DicomReadError(f"the deflated data set is larger than {MAX_INFLATED_BYTES} bytes")
    meta = head[:start].replace(uid, ExplicitVRLittleEndian.encode().ljust(len(uid), b"\0"))
    return BytesIO(meta + body), start + len(body), True


def _refuse_truncated(ds: FileDataset, stream: BinaryIO, size: int, pixels: Pixels) -> None:
    if pixels.found and pixels.length != _UNDEFINED:
        if pixels.offset + pixels.length > size:
            raise DicomReadError(
                f"truncated: pixel data need {pixels.offset + pixels.length} bytes, the file has"
                f" {size}; send it again"
            )
        return
    if pixels.found:
        pixels.length = _encapsulated_length(stream, pixels.offset, size)
        return
    cut = stream.tell() > size
    for tag in tuple(ds.keys()):
        found = ds.get_item(tag)
        if isinstance(found, RawDataElement) and isinstance(found.value, bytes):
            cut = cut or len(found.value) != found.length
    if cut:
        raise DicomReadError(f"truncated after {size} bytes, before the pixel data; send it again")


def _encapsulated_length(stream: BinaryIO, offset: int, size: int) -> int:
    """Bytes of compressed pixel data, after following its items to the delimiter."""
    stream.seek(offset)
    total = 0
    while True:
        head = stream.read(8)
        if len(head) < 8:
            raise DicomReadError("truncated: the compressed pixel data have no end; send it again")
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == (0xFFFE, 0xE0DD):
            return total
        position = stream.tell() + length
        if (group, element) != (0xFFFE, 0xE000) or position > size:
            raise DicomReadError("truncated: the compressed pixel data end inside an item")
        total += length
        stream.seek(position)


def _plain_syntax(ds: FileDataset) -> str:
    """Transfer syntax of a data set that was stored without file meta information."""
    implicit, little = ds.original_encoding
    if implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if little else ExplicitVRBigEndian)
