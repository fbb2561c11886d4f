"""The simulated MR scanners: models, image types, and the words their users write."""

from dataclasses import dataclass

from training.simulate.anatomy.person import Cohort
from training.simulate.dicom.identity import Identity
from training.simulate.dicom.vendors import Model, Words, choose_model
from training.simulate.scanner import Scanner


@dataclass(frozen=True)
class MrVendor:
    """What differs between MR scanners besides time and diffusion weighting.

    ``image_types`` are ImageType of PWI, b0, trace and GRE; ``sequence`` their SequenceName, empty
    where the vendor writes none.
    """

    models: dict[Cohort, tuple[Model, ...]]
    signed: bool
    bits: int
    body_part: str
    coil: str
    sequence_variant: tuple[str, ...]
    scan_options: tuple[str, ...]
    image_types: dict[str, Words]
    sequences: dict[str, str]
    study: Words
    pwi: Words
    dwi: Words
    gre: Words
    protocol: Words
    agents: Words


_SIEMENS_MR = MrVendor(
    models={
        "usual": (
            Model("SIEMENS", "Skyra Simulated", "syngo MR E11", 2.89),
            Model("SIEMENS", "Avanto Simulated", "syngo MR B19", 1.5),
            Model("SIEMENS", "Aera Simulated", "syngo MR E11", 1.5),
        ),
        "shifted": (
            Model("Siemens Healthineers", "MAGNETOM Vida Simulated", "syngo MR XA30", 2.89),
            Model("Siemens Healthineers", "MAGNETOM Sola Simulated", "syngo MR XA20", 1.5),
        ),
    },
    signed=False,
    bits=12,
    body_part="HEAD",
    coil="HeadNeck_20",
    sequence_variant=("SK",),
    scan_options=("PFP", "FS"),
    image_types={
        "pwi": ("ORIGINAL", "PRIMARY", "M", "ND", "NORM"),
        "b0": ("ORIGINAL", "PRIMARY", "DIFFUSION", "NONE", "ND", "NORM"),
        "trace": ("DERIVED", "PRIMARY", "DIFFUSION", "TRACEW", "ND", "NORM"),
        "gre": ("ORIGINAL", "PRIMARY", "M", "ND", "NORM"),
    },
    sequences={"pwi": "*epfid2d1_128", "b0": "*ep_b0", "trace": "*ep_b{b}t", "gre": "*fl2d1"},
    study=(
        "MR stroke", "Kopf^Stroke", "MR Schädel Stroke", "IRM cérébrale", "Head^Stroke protocol",
    ),
    pwi=("ep2d_perf", "ep2d_perf_p2", "Perfusion DSC tra", "ep2d_perf_DSC_GRE"),
    dwi=("ep2d_diff_tra_TRACEW", "ep2d_diff_3scan_trace_p2", "DWI tra b1000", "resolve_3scan"),
    gre=("t2_fl2d_tra_hemo", "T2* tra", "t2_fl2d_tra_hemo_p2"),
    protocol=("Stroke", "Schlaganfall", "AVC", "Stroke_Fast"),
    agents=("Gadolinium", "Gadovist", "Dotarem", "MULTIHANCE"),
)  # fmt: skip

_GE_MR = MrVendor(
    models={
        "usual": (
            Model("GE MEDICAL SYSTEMS", "DISCOVERY MR750w Simulated", "DV26.0_R01", 3.0),
            Model("GE MEDICAL SYSTEMS", "Signa HDxt Simulated", "HD16.0_V02", 1.5),
            Model("GE MEDICAL SYSTEMS", "Optima MR450w Simulated", "DV25.0_R02", 1.5),
        ),
        "shifted": (
            Model("GE MEDICAL SYSTEMS", "SIGNA Architect Simulated", "DV28.0_R02", 3.0),
            Model("GE MEDICAL SYSTEMS", "SIGNA Premier Simulated", "RX29.1_R02", 3.0),
        ),
    },
    signed=True,
    bits=16,
    body_part="BRAIN",
    coil="HNS Head",
    sequence_variant=("SS",),
    scan_options=("EPI_GEMS", "PFF", "FS"),
    image_types={
        "pwi": ("ORIGINAL", "PRIMARY", "EPI", "NONE"),
        "b0": ("ORIGINAL", "PRIMARY", "OTHER"),
        "trace": ("ORIGINAL", "PRIMARY", "OTHER"),
        "gre": ("ORIGINAL", "PRIMARY", "OTHER"),
    },
    sequences={},
    study=("MR stroke", "MRI BRAIN STROKE", "MRI BRAIN W/WO", "IRM ENCÉPHALE", "RM CEREBRAL"),
    pwi=("AX PERFUSION", "Perf GRE-EPI", "DSC PERFUSION", "AX DSC GRE PERF"),
    dwi=("AX DWI b1000", "DWI ASSET", "Ax DWI 1000b", "DWI EPI STROKE"),
    gre=("AX T2* GRE", "Ax GRE", "AX T2 GRE HEMO"),
    protocol=("STROKE", "BRAIN STROKE", "Head/Stroke fast"),
    agents=("Gadolinium", "GADAVIST", "MAGNEVIST", "CONTRAST"),
)  # fmt: skip

_PHILIPS_MR = MrVendor(
    models={
        "usual": (
            Model("Philips Medical Systems", "Ingenia Simulated", "5.3.1", 3.0),
            Model("Philips Medical Systems", "Achieva Simulated", "3.2.3", 1.5),
            Model("Philips Medical Systems", "Achieva dStream Simulated", "5.1.7", 3.0),
        ),
        "shifted": (
            Model("Philips Healthcare", "Ingenia Elition X Simulated", "5.7.1", 3.0),
            Model("Philips", "Ingenia Ambition X Simulated", "5.6.1", 1.5),
        ),
    },
    signed=False,
    bits=12,
    body_part="BRAIN",
    coil="MULTI COIL",
    sequence_variant=("SK",),
    scan_options=("FS",),
    image_types={
        "pwi": ("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"),
        "b0": ("ORIGINAL", "PRIMARY", "M_SE", "M", "SE"),
        "trace": ("ORIGINAL", "PRIMARY", "M_SE", "M", "SE"),
        "gre": ("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"),
    },
    sequences={},
    study=("MR stroke", "MRI Hersenen", "MRT Kopf Stroke", "Stroke", "RM encéfalo"),
    pwi=("PWI", "T2* perfusie", "DSC_Perfusion", "sT2W_FFE_PWI", "Perfusão T2*"),
    dwi=("DWI", "DWI_SENSE", "DWI b1000 TRA", "DWI 2 waarden"),
    gre=("T2W_FFE", "T2*_FFE tra", "T2 FFE bloed"),
    protocol=("Stroke", "PWI", "Hersenen CVA", "WIP Stroke"),
    agents=("Gadolinium", "Gadovist", "Dotarem", "YES"),
)  # fmt: skip

_CANON_MR = MrVendor(
    models={
        "usual": (
            Model("TOSHIBA", "Vantage Titan Simulated", "V3.00*R004", 1.5),
            Model("TOSHIBA", "Vantage Titan 3T Simulated", "V2.50*R001", 3.0),
        ),
        "shifted": (
            Model("CANON_MEC", "Vantage Galan 3T Simulated", "V6.0SP2001*R10", 3.0),
            Model("CANON_MEC", "Vantage Orian Simulated", "V5.0SP1003*R08", 1.5),
        ),
    },
    signed=True,
    bits=16,
    body_part="HEAD",
    coil="Atlas Head",
    sequence_variant=("SK",),
    scan_options=("FS",),
    image_types={
        "pwi": ("ORIGINAL", "PRIMARY", "OTHER"),
        "b0": ("ORIGINAL", "PRIMARY", "OTHER"),
        "trace": ("DERIVED", "PRIMARY", "OTHER"),
        "gre": ("ORIGINAL", "PRIMARY", "OTHER"),
    },
    sequences={"pwi": "FE_EPI", "b0": "SE_EPI", "trace": "SE_EPI", "gre": "FE"},
    study=("MR stroke", "BRAIN^STROKE", "頭部MRI", "MR BRAIN PERFUSION", "MR KOPF"),
    pwi=("Perfusion FE_EPI", "PWI Dynamic", "頭部 Perfusion", "DSC 2D EPI"),
    dwi=("DWI SE_EPI", "DWI b=1000", "拡散強調 b1000"),
    gre=("T2* FE", "T2*WI AX", "FE2D T2*"),
    protocol=("Stroke", "Brain Stroke", "Brain Perfusion"),
    agents=("Gadolinium", "GADOVIST", "MAGNESCOPE"),
)  # fmt: skip

MR_VENDORS: dict[Scanner, MrVendor] = {
    "siemens": _SIEMENS_MR,
    "ge": _GE_MR,
    "philips": _PHILIPS_MR,
    "canon": _CANON_MR,
}


def choose_mr(identity: Identity, vendor: MrVendor, field_strength_t: float | None) -> Model:
    """The MR scanner of a patient, of the nearest field strength where one is asked for."""
    models = vendor.models[identity.cohort]
    if field_strength_t is not None:
        nearest = min(abs(model.field_strength_t - field_strength_t) for model in models)
        models = tuple(
            m for m in models if abs(m.field_strength_t - field_strength_t) <= nearest + 0.2
        )
    return choose_model(identity, "mr", models)
