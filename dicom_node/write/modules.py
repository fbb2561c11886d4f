"""The modules that all objects share: patient, study, series, equipment, SOP common.

Results are built module by module. Identity is carried over from the source as the bytes that it
came in, so that no name is decoded and encoded again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pydicom import dcmwrite
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from dicom_node.write.context import WriteContext
from dicom_node.write.source import MALFORMED, ImageReference, SourceSlice, items_of, value_of
from dicom_node.write.text import plain

MANUFACTURER = "StrokeNode"
HEAD_PARTS = ("HEAD", "BRAIN")

_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber",
)  # fmt: skip
_WHEN_PRESENT = (
    "SpecificCharacterSet", "TimezoneOffsetFromUTC", "IssuerOfPatientID", "TypeOfPatientID",
    "PatientBirthTime", "OtherPatientIDs", "PatientIdentityRemoved", "DeidentificationMethod",
    "LongitudinalTemporalInformationModified", "PatientAge", "PatientSize", "PatientWeight",
    "StudyDescription",
)  # fmt: skip
_SEQUENCES = {
    "DeidentificationMethodCodeSequence": (
        "CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning",
    ),
    "IssuerOfPatientIDQualifiersSequence": (
        "UniversalEntityID", "UniversalEntityIDType", "IdentifierTypeCode",
    ),
    "IssuerOfAccessionNumberSequence": (
        "LocalNamespaceEntityID", "UniversalEntityID", "UniversalEntityIDType",
    ),
}  # fmt: skip
_SCANNER = (
    "Manufacturer", "InstitutionName", "StationName", "ManufacturerModelName",
    "DeviceSerialNumber", "SoftwareVersions",
)  # fmt: skip
_DE_IDENTIFIED_SOMEHOW = "not stated by the source"


def code_item(code: Code) -> Dataset:
    """A code as an item of a code sequence."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def decimal_string(value: float) -> str:
    """A number as DS, in at most 16 characters; negative zero becomes zero."""
    return format_number_as_ds(float(value) + 0.0)


def add_common_modules(
    ds: Dataset, context: WriteContext, *, role: str, index: int, sop_class_uid: str, modality: str
) -> None:
    """Fill the modules that every object has, replacing what is there.

    Parameters
    ----------
    index : int
        Number of the object in its series, from 1.
    """
    _add_patient_and_study(ds, context.source.header)
    _add_series(ds, context, role, modality)
    _add_equipment(ds, context)
    ds.SOPClassUID = sop_class_uid
    ds.SOPInstanceUID = context.uid(role, index)
    ds.InstanceNumber = index
    created = context.created
    ds.InstanceCreationDate = ds.ContentDate = created.strftime("%Y%m%d")
    ds.InstanceCreationTime = ds.ContentTime = created.strftime("%H%M%S.%f")
    ds.set_original_encoding(False, True, context.source.header.original_character_set)


def _add_patient_and_study(ds: Dataset, header: Dataset) -> None:
    for keyword in _TYPE_2:
        _copy(header, ds, keyword, required=True)
    for keyword in _WHEN_PRESENT:
        _copy(header, ds, keyword, required=False)
    ds.StudyInstanceUID = header.StudyInstanceUID
    for sequence, keywords in _SEQUENCES.items():
        items = [_subset(item, keywords) for item in items_of(header, sequence)]
        if items:
            setattr(ds, sequence, items)
    de_identified = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
    if ds.get("PatientIdentityRemoved") == "YES" and not any(k in ds for k in de_identified):
        ds.DeidentificationMethod = _DE_IDENTIFIED_SOMEHOW


def _subset(item: Dataset, keywords: Sequence[str]) -> Dataset:
    """Those of the named attributes that have a value, as a new item."""
    subset = Dataset()
    for keyword in keywords:
        value = value_of(item, keyword)
        if value is not None:
            setattr(subset, keyword, value)
    return subset


def _copy(source: Dataset, target: Dataset, keyword: str, *, required: bool) -> None:
    """Carry one text attribute over as it is; an empty one only where it is required."""
    tag = Tag(tag_for_keyword(keyword) or 0)
    try:
        element = source.get_item(tag) if tag in source else None
    except MALFORMED:
        element = None
    value = None if element is None else element.value
    if element is None or not value or (isinstance(value, bytes) and not value.strip(b" \0")):
        target.pop(tag, None)
        if required:
            target[tag] = DataElement(tag, dictionary_VR(tag), None)
    elif isinstance(element, RawDataElement):
        padded = bytes(element.value or b"")
        padded += b" " * (len(padded) % 2)
        target[tag] = RawDataElement(tag, dictionary_VR(tag), len(padded), padded, 0, False, True)
    else:
        target[tag] = element


def _add_series(ds: Dataset, context: WriteContext, role: str, modality: str) -> None:
    series = context.series(role)
    ds.Modality = modality
    ds.SeriesInstanceUID = series.uid
    ds.SeriesNumber = series.number
    ds.SeriesDescription = series.description
    ds.SeriesDate = context.created.strftime("%Y%m%d")
    ds.SeriesTime = context.created.strftime("%H%M%S.%f")


def _add_equipment(ds: Dataset, context: WriteContext) -> None:
    ds.Manufacturer = MANUFACTURER
    ds.ManufacturerModelName = MANUFACTURER
    ds.DeviceSerialNumber = context.run.device_serial_number
    ds.SoftwareVersions = [
        plain(context.run.software_version),
        plain(f"{context.result.pipeline} {context.result.version}"),
    ]
    header = context.source.header
    ds.pop("ContributingEquipmentSequence", None)
    if value_of(header, "Manufacturer"):
        scanner = _subset(header, _SCANNER)
        scanner.PurposeOfReferenceCodeSequence = [code_item(codes.DCM.AcquisitionEquipment)]
        ds.ContributingEquipmentSequence = [scanner]


def add_body_part(ds: Dataset, context: WriteContext) -> None:
    """BodyPartExamined: the source's where it is the head, ``HEAD`` where it says nothing."""
    found = str(value_of(context.source.header, "BodyPartExamined") or "").strip().upper()
    ds.BodyPartExamined = found if found in HEAD_PARTS else HEAD_PARTS[0]


def add_frame_of_reference(ds: Dataset, context: WriteContext) -> None:
    """The source's frame of reference; a new one for the run where the source has none."""
    header = context.source.header
    ds.FrameOfReferenceUID = value_of(header, "FrameOfReferenceUID") or context.uid(
        "frame-of-reference"
    )
    _copy(header, ds, "PositionReferenceIndicator", required=True)
    _copy(header, ds, "PatientPosition", required=False)


def add_lossy_compression(ds: Dataset, context: WriteContext) -> None:
    """LossyImageCompression: a result of lossy images stays marked as lossy."""
    header = context.source.header
    ds.LossyImageCompression = "00"
    if value_of(header, "LossyImageCompression") == "01":
        ds.LossyImageCompression = "01"
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            _copy(header, ds, keyword, required=False)


def source_image_items(slices: Iterable[SourceSlice]) -> list[Dataset]:
    """Items of Source Image Sequence: all images at some slice positions."""
    return [image.macro() for plane in slices for image in plane.images]


def referenced_series(
    references: Iterable[ImageReference], instances: str = "ReferencedInstanceSequence"
) -> list[Dataset]:
    """Items of Referenced Series Sequence, every instance once.

    ``instances`` is the keyword of the sequence of instances inside.
    """
    by_series: dict[str, dict[str, ImageReference]] = {}
    for image in references:
        by_series.setdefault(image.series_instance_uid, {})[image.sop_instance_uid] = image
    items = []
    for series_uid, images in sorted(by_series.items()):
        item = Dataset()
        item.SeriesInstanceUID = series_uid
        whole = [replace(image, frame_numbers=()) for _, image in sorted(images.items())]
        setattr(item, instances, [image.macro() for image in whole])
        items.append(item)
    return items


def save(ds: Dataset, path: Path) -> None:
    """Write a dataset in Explicit VR Little Endian; the same dataset gives the same bytes."""
    correct_ambiguous_vr(ds, is_little_endian=True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(path, ds, enforce_file_format=True, overwrite=True)
