"""The simulated CT scanners: models, how they store values, and the words their users write.

All names are made up after the way in which the vendors and departments name things; every model
carries the word Simulated. The first entry of each list is the plain one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset

from training.simulate.anatomy.person import Cohort
from training.simulate.dicom.identity import Identity
from training.simulate.scanner import Scanner

Words = tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """One scanner: Manufacturer, ManufacturerModelName, SoftwareVersions, and T for MR."""

    manufacturer: str
    name: str
    software: str
    field_strength_t: float = 0.0


@dataclass(frozen=True)
class Stored:
    """How a CT stores HU.

    ``padding`` is the stored value outside the reconstruction circle; None where the image is
    filled to its corners.
    """

    bits: int
    signed: bool
    intercept: int
    padding: int | None = None

    @property
    def limits(self) -> tuple[int, int]:
        """Lowest and highest stored value."""
        if self.signed:
            return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1
        return 0, 2**self.bits - 1


@dataclass(frozen=True)
class CtVendor:
    """What differs between CT scanners besides time.

    ``fields_mm`` are the diameters of the scan fields, ``image_type`` the values after AXIAL (dose
    and mode), ``scan_options`` those of NCCT and CTP, ``windows`` centre and width,
    ``writes_spacing`` whether there is a SpacingBetweenSlices.
    """

    models: dict[Cohort, tuple[Model, ...]]
    stored: dict[Cohort, Stored]
    kernels: tuple[str, str]
    fields_mm: tuple[float, ...]
    distances_mm: tuple[float, float]
    image_types: tuple[Words, Words]
    scan_options: tuple[str, str]
    filter_type: str
    windows: tuple[tuple[int, int], ...]
    body_part: str
    rotation_s: tuple[float, float]
    study: Words
    ncct: Words
    ctp: Words
    ncct_protocol: Words
    ctp_protocol: Words
    agents: Words
    writes_spacing: bool = False


_SIEMENS_CT = CtVendor(
    models={
        "usual": (
            Model("SIEMENS", "SOMATOM Definition AS+ Simulated", "syngo CT VA48A"),
            Model("SIEMENS", "SOMATOM Definition Flash Simulated", "syngo CT VA44A"),
            Model("SIEMENS", "Sensation 64 Simulated", "syngo CT 2009E"),
        ),
        "shifted": (
            Model("SIEMENS", "SOMATOM Force Simulated", "syngo CT VB20A"),
            Model("Siemens Healthineers", "SOMATOM X.cite Simulated", "syngo CT VA40A"),
        ),
    },
    stored={"usual": Stored(12, False, -1024), "shifted": Stored(16, False, -8192, padding=0)},
    kernels=("J40s", "H20f"),
    fields_mm=(300.0, 500.0),
    distances_mm=(1085.6, 595.0),
    image_types=(("CT_SOM5 SEQ",), ("CT_SOM5 SPI",)),
    scan_options=("", ""),
    filter_type="0",
    windows=((40, 80), (100, 200)),
    body_part="HEAD",
    rotation_s=(1.0, 0.3),
    study=(
        "CT stroke", "CT Head Stroke", "Kopf^Stroke (Erwachsener)", "CT Schädel und Perfusion",
        "TDM cérébral", "TC cráneo", "Neuro^01_Schlaganfall (Adult)",
    ),
    ncct=(
        "Head {thickness} mm", "Head {thickness} {kernel}", "Schaedel {thickness} {kernel}",
        "Nativ {thickness} {kernel}", "Schädel axial {thickness}", "CRANE {thickness} {kernel}",
    ),
    ctp=(
        "Brain Perfusion {thickness} mm", "VPCT {thickness} {kernel}", "NeuroVPCT {thickness}",
        "Perfusion Schädel {thickness} {kernel}", "PERFUSION CEREBRALE {thickness}",
    ),
    ncct_protocol=("Head without contrast", "HeadSeq", "Schlaganfall_Nativ", "01_HeadRoutine"),
    ctp_protocol=("Stroke perfusion", "NeuroVPCT", "Schlaganfall_Perfusion", "PCT_Adaptive4D"),
    agents=("Iodine", "APPLIED", "Imeron 400", "Ultravist 370", "CE"),
)  # fmt: skip

_GE_CT = CtVendor(
    models={
        "usual": (
            Model("GE MEDICAL SYSTEMS", "LightSpeed VCT Simulated", "gmp_vct.42"),
            Model("GE MEDICAL SYSTEMS", "Discovery CT750 HD Simulated", "gmp_hde.119"),
            Model("GE MEDICAL SYSTEMS", "BrightSpeed Simulated", "07MW18.4"),
        ),
        "shifted": (
            Model("GE MEDICAL SYSTEMS", "Revolution CT Simulated", "revo_ct_21a.19"),
            Model("GE MEDICAL SYSTEMS", "Revolution EVO Simulated", "revo_evo_22.5"),
        ),
    },
    stored={
        "usual": Stored(16, True, -1024, padding=-2000),
        "shifted": Stored(16, True, 0, padding=-3024),
    },
    kernels=("STANDARD", "STANDARD"),
    fields_mm=(250.0, 320.0, 500.0),
    distances_mm=(949.075, 541.0),
    image_types=((), ()),
    scan_options=("AXIAL MODE", "CINE MODE"),
    filter_type="HEAD FILTER",
    windows=((40, 80),),
    body_part="HEAD",
    rotation_s=(1.0, 1.0),
    study=(
        "CT stroke", "CT HEAD W/O CONTRAST", "CT HEAD PERFUSION", "STROKE PROTOCOL",
        "TDM CRANE SANS IV", "TC CRANEO SIN CONTRASTE", "TC CRÂNIO",
    ),
    ncct=("Head {thickness} mm", "HEAD W/O {thickness}MM", "AXIAL BRAIN", "AX STD", "CRANE"),
    ctp=(
        "Brain Perfusion {thickness} mm", "CT PERFUSION {thickness}mm", "CTP CINE", "Neuro Perf 4i",
        "PERF CEREBRALE", "PERFUSIÓN CEREBRAL",
    ),
    ncct_protocol=("Head without contrast", "1.1 ROUTINE HEAD", "1.5 HEAD STROKE"),
    ctp_protocol=("Stroke perfusion", "1.14 BRAIN PERFUSION", "1.9 CTA CTP NEURO SHUTTLE"),
    agents=("Iodine", "OMNI 350", "Omnipaque 350", "CONTRAST", "ISOVUE 370"),
)  # fmt: skip

_PHILIPS_CT = CtVendor(
    models={
        "usual": (
            Model("Philips", "iCT 256 Simulated", "4.1"),
            Model("Philips", "Brilliance 64 Simulated", "3.6.6"),
            Model("Philips", "Ingenuity CT Simulated", "4.1.10"),
        ),
        "shifted": (
            Model("Philips", "IQon - Spectral CT Simulated", "4.7.7"),
            Model("Philips", "Incisive CT Simulated", "5.0.0"),
        ),
    },
    stored={"usual": Stored(12, False, -1024), "shifted": Stored(16, False, -1024)},
    kernels=("UB", "B"),
    fields_mm=(250.0, 350.0, 500.0),
    distances_mm=(1040.0, 570.0),
    image_types=((), ("HELIX",)),
    scan_options=("AXIAL", "AXIAL"),
    filter_type="UB",
    windows=((40, 80), (40, 80)),
    body_part="BRAIN",
    rotation_s=(0.75, 0.4),
    study=(
        "CT stroke", "CT Hersenen", "CT Brain", "Stroke CT", "CT Schaedel", "TC encéfalo",
        "CT cerebrum met perfusie",
    ),
    ncct=(
        "Head {thickness} mm", "Head native {thickness}mm", "HERSENEN BLANCO",
        "Axial Brain, iDose (3)", "Schädel nativ {thickness}mm",
    ),
    ctp=(
        "Brain Perfusion {thickness} mm", "Perfusion JOG {thickness}mm", "PERFUSIE",
        "CTP {thickness}mm", "Perfusão cerebral",
    ),
    ncct_protocol=("Head without contrast", "Brain Routine /Head", "Stroke native/Head"),
    ctp_protocol=("Stroke perfusion", "Brain Perfusion JOG/Head", "CTP Stroke /Head"),
    agents=("Iodine", "Iomeron 350", "Xenetix 350", "YES", "CONTRAST"),
    writes_spacing=True,
)  # fmt: skip

_CANON_CT = CtVendor(
    models={
        "usual": (
            Model("TOSHIBA", "Aquilion ONE Simulated", "V4.93ER012"),
            Model("TOSHIBA", "Aquilion ONE ViSION Simulated", "V7.0ER005"),
        ),
        "shifted": (
            Model("Canon Medical Systems", "Aquilion ONE GENESIS Simulated", "V10.4SP0020"),
            Model("Canon Medical Systems", "Aquilion ONE PRISM Simulated", "V10.14SP0003"),
        ),
    },
    stored={
        "usual": Stored(16, True, 0),
        "shifted": Stored(16, True, 0, padding=-2048),
    },
    kernels=("FC26", "FC41"),
    fields_mm=(240.0, 320.0, 400.0, 500.0),
    distances_mm=(1072.0, 600.0),
    image_types=((), ()),
    scan_options=("VOLUME_CT", "DVOLUME_CT"),
    filter_type="MEDIUM",
    windows=((40, 80),),
    body_part="HEAD",
    rotation_s=(1.0, 0.75),
    study=(
        "CT stroke", "HEAD^STROKE", "Brain CT+CTP", "頭部CT", "CT CEREBRAL", "CT Kopf Schlaganfall",
    ),
    ncct=(
        "Head {thickness} mm", "Brain {thickness}", "Head AIDR 3D {thickness}",
        "頭部単純 {thickness}",
    ),
    ctp=(
        "Brain Perfusion {thickness} mm", "Dynamic Volume {thickness}", "4D CTA/CTP {thickness}",
        "頭部 Perfusion {thickness}", "CBP {thickness} CE",
    ),
    ncct_protocol=("Head without contrast", "Brain Routine", "Head Volume"),
    ctp_protocol=("Stroke perfusion", "Neuro ONE Dynamic", "CBP Volume"),
    agents=("Iodine", "IOPAMIRON 370", "CE", "Omnipaque"),
)  # fmt: skip

CT_VENDORS: dict[Scanner, CtVendor] = {
    "siemens": _SIEMENS_CT,
    "ge": _GE_CT,
    "philips": _PHILIPS_CT,
    "canon": _CANON_CT,
}


def set_equipment(ds: Dataset, identity: Identity, model: Model, modality: str) -> None:
    """Set the General Equipment module; one scanner has one station name and serial number."""
    ds.Manufacturer = model.manufacturer
    ds.ManufacturerModelName = model.name
    ds.SoftwareVersions = model.software
    ds.InstitutionName = "Simulated"
    draws = identity.draws("station", modality, model.name)
    ds.StationName = f"{modality}{int(draws.integers(1, 100)):02d}SIM"
    ds.DeviceSerialNumber = f"{int(draws.integers(10_000, 99_999))}"


def choose_model(identity: Identity, modality: str, models: Sequence[Model]) -> Model:
    """The scanner of a patient, the same for all series of a modality."""
    name = identity.choose(f"{modality} model", [model.name for model in models])
    return next(model for model in models if model.name == name)
