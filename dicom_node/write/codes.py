"""Codes: UCUM units, and the node's own coding scheme for what no standard scheme names."""

import zlib
from functools import cache

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node.write.text import shortened
from inference.results import PipelineResult

SCHEME = "99STROKENODE"
_SH_LENGTH = 16
_LO_LENGTH = 64
_OTHER_SPELLINGS = {"HU": "[hnsf'U]", "mL": "ml", "": "1", "a.u.": "[arb'U]"}

_THRESHOLDS = Code("THRESHOLD", SCHEME, "Thresholding")


@cache
def _known() -> dict[str, Code]:
    listed = (getattr(codes.CID7181, name) for name in codes.CID7181.dir())
    return {
        code.value: code
        for code in (*listed, Code("ml", "UCUM", "milliliter"))
        if code.scheme_designator == "UCUM"
    }


def unit_code(unit: str) -> Code:
    """The code of a unit that results use, with the meaning of CID 7181 where it is listed there.

    ``HU``, ``mL``, ``a.u.`` and the empty string are understood as their UCUM codes.
    """
    value = _OTHER_SPELLINGS.get(unit, unit)
    return _known().get(value) or Code(value, "UCUM", value)


def own_code(name: str, meaning: str) -> Code:
    """A code of the node's scheme: ``NAME``, or its start and a checksum where that is too long."""
    value = shortened(name, _LO_LENGTH).upper().replace(" ", "_")
    if len(value) > _SH_LENGTH:
        value = f"{value[:9]}_{zlib.crc32(name.encode()) & 0xFFFFFF:06X}"
    return Code(value, SCHEME, shortened(meaning, _LO_LENGTH) or value)


def algorithm_family(result: PipelineResult) -> Code:
    """Artificial intelligence where weights were used, thresholds otherwise (CID 7162)."""
    learned = any("weights" in name for name in result.parameters)
    return Code(*codes.DCM.ArtificialIntelligence) if learned else _THRESHOLDS


def scheme_identification() -> Dataset:
    """Item of Coding Scheme Identification Sequence for the node's scheme."""
    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = "StrokeNode"
    item.CodingSchemeResponsibleOrganization = "StrokeNode"
    return item
