"""The quantities that are measured per voxel: name, code, unit, display range, source.

Codes are DICOM PS3.16 (CID 4033 and 7180), units UCUM as in CID 7181.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """One quantity of a parameter map.

    Parameters
    ----------
    name : str
        Short lower-case name, also the file name of an exported map.
    label : str
        Name on pictures.
    code : (CodeValue, CodingSchemeDesignator, CodeMeaning)
        What is measured.
    unit : str
        UCUM code value.
    unit_label : str
        Unit on pictures.
    display_range : (float, float)
        Values at both ends of the colour bar; also the default window.
    reference : str
        Where the definition comes from.
    """

    name: str
    label: str
    code: tuple[str, str, str]
    unit: str
    unit_label: str
    display_range: tuple[float, float]
    reference: str


CBF = Quantity(
    "cbf", "CBF", ("113055", "DCM", "Regional Cerebral Blood Flow"),
    "ml/[100]g/min", "mL/100 g/min", (0.0, 60.0),
    "Ostergaard 1996: 6000 (kH/rho) max of the flow-scaled residue function",
)  # fmt: skip
CBV = Quantity(
    "cbv", "CBV", ("113056", "DCM", "Regional Cerebral Blood Volume"),
    "ml/[100]g", "mL/100 g", (0.0, 6.0),
    "100 (kH/rho) times the ratio of the areas under tissue and arterial curve",
)  # fmt: skip
MTT = Quantity(
    "mtt", "MTT", ("113052", "DCM", "Mean Transit Time"),
    "s", "s", (0.0, 12.0),
    "central volume theorem: 60 CBV/CBF",
)  # fmt: skip
TMAX = Quantity(
    "tmax", "Tmax", ("113084", "DCM", "Tmax"),
    "s", "s", (0.0, 12.0),
    "middle of the time in which the residue function is near its maximum",
)  # fmt: skip
TTP = Quantity(
    "ttp", "TTP", ("113069", "DCM", "Time To Peak"),
    "s", "s", (0.0, 30.0),
    "time of the tissue curve's maximum after arterial arrival",
)  # fmt: skip

QUANTITIES: dict[str, Quantity] = {q.name: q for q in (CBF, CBV, MTT, TMAX, TTP)}
