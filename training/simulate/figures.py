"""Pictures of simulated patients: what a reader sees, and the curves and spectra behind it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from training.pictures import Image, Panel, montage, save_png
from training.simulate.arrays import BoolArray, Float32Array, stream
from training.simulate.ct.kernels import KERNELS
from training.simulate.ct.noise import radial_frequency, unit_noise
from training.simulate.ct.protocols import draw_ctp_protocol, draw_ncct_protocol
from training.simulate.ct.scan import CtpScan, NcctScan, scan_ctp, scan_ncct
from training.simulate.mr.protocols import (
    draw_dwi_protocol,
    draw_gre_protocol,
    draw_pwi_protocol,
)
from training.simulate.mr.scan import scan_dwi, scan_gre, scan_pwi
from training.simulate.pathology.bleeds import draw_bleed
from training.simulate.pathology.head import BloodKind
from training.simulate.pathology.patient import Case, Patient, make_patient
from training.simulate.pathology.stroke import Occlusion
from training.simulate.pathology.transformation import draw_transformation
from training.simulate.scan.motion import Grade
from training.simulate.scanner import SCANNERS, Scanner
from training.simulate.space import HEAD_ORIGIN_MM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STAINS = ("calcification", "hyperdense_artery", "contrast_staining", "metal")


def write_figures(
    folder: Path, seed: int, progress: Callable[[str], None] | None = None
) -> list[Path]:
    """Write the pictures of the simulator as PNG; the same seed gives the same pictures.

    Parameters
    ----------
    folder : Path
        Where to; made when it is not there.
    seed : int
        The first patient; the others follow.
    progress : callable or None
        Called with the name of each picture as its work begins.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, make in (
        ("simulator-ncct.png", ncct_figure),
        ("simulator-ctp.png", ctp_figure),
        ("simulator-mr.png", mr_figure),
        ("simulator-curves.png", curves_figure),
    ):
        if progress is not None:
            progress(name)
        path = folder / name
        figure = make(seed)
        save_png(figure, path)
        plt.close(figure)
        paths.append(path)
    return paths


def ncct_figure(seed: int) -> "Figure":
    """Head CT from base to vertex, two patients of each kind of hemorrhage, and mimics."""
    plain = _ncct(make_patient(Case(seed, stroke="none", mimics=())), seed)
    levels = np.linspace(5, 27, 6).astype(int)
    rows = [[Panel("no finding", plain.volume[level]) for level in levels]]
    kinds: tuple[BloodKind | Literal["mixed"], ...] = (*BloodKind, "mixed")
    acute = {kind: acute_seeds(kind, seed, 2) for kind in kinds}
    rows += [[_blood_panel(kind, acute[kind][row]) for kind in kinds] for row in range(2)]
    rows.append([_early_panel(seed, 8.0), *(_mimic_panel(name, seed) for name in _STAINS)])
    return montage(rows)


def ctp_figure(seed: int) -> "Figure":
    """Perfusion scans of strokes in several territories and of none: image, maps, lesion."""
    occlusions = (Occlusion.M1, Occlusion.M2_INFERIOR, Occlusion.PCA, None)
    rows = []
    for number, occlusion in enumerate(occlusions):
        side: Literal["L", "R"] = "L" if number % 2 else "R"
        case = Case(seed + number, stroke=occlusion or "none", side=side, mimics=())
        rows.append(_ctp_panels(make_patient(case), str(occlusion or "no stroke")))
    return montage(rows)


def mr_figure(seed: int) -> "Figure":
    """Perfusion, diffusion and the next day's T2*; the last patient's stroke has bled by then."""
    cases = [
        Case(seed + number, stroke=occlusion, mimics=())
        for number, occlusion in enumerate((Occlusion.M1, Occlusion.M2_SUPERIOR))
    ]
    cases.append(_transformed(seed))
    return montage([_mr_panels(make_patient(case)) for case in cases])


def curves_figure(seed: int) -> "Figure":
    """Curves of CT and MR perfusion over time, and the measured noise spectrum of every kernel."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(18, 5), layout="constrained")
    patient = make_patient(Case(seed, stroke=Occlusion.M1, mimics=()))
    _plot_ct_curves(axes[0], patient)
    _plot_mr_curves(axes[1], patient)
    _plot_spectra(axes[2], seed)
    return figure


def _ncct(patient: Patient, seed: int) -> NcctScan:
    scanner = SCANNERS[seed % len(SCANNERS)]
    protocol = draw_ncct_protocol(seed, scanner, slices=32, thickness_mm=5, matrix=512, tilt_deg=0)
    return scan_ncct(patient, protocol, seed, grade=Grade.NEGLIGIBLE)


def _fullest(mask: BoolArray) -> int:
    """The slice in which most of a mask lies; the middle one for an empty mask."""
    return int(np.argmax(mask.sum(axis=(1, 2)))) if mask.any() else len(mask) // 2


def _blood_panel(kind: BloodKind | Literal["mixed"], seed: int) -> Panel:
    patient = make_patient(Case(seed, stroke="none", hemorrhage=kind, mimics=()))
    scan = _ncct(patient, seed)
    volumes = {} if patient.hemorrhage is None else patient.hemorrhage.volumes_ml
    level = _fullest(scan.truth.arrays["ich"].values)
    return Panel(f"{kind} {sum(volumes.values()):.1f} mL", scan.volume[level])


def acute_seeds(kind: BloodKind | Literal["mixed"], seed: int, count: int) -> list[int]:
    """The first seeds from ``seed`` on whose hemorrhage of a kind is fresh and of 8 mL or more."""
    found: list[int] = []
    for number in range(seed, seed + 1000):
        bleed = draw_bleed(number, kind)
        if not bleed.anaemic and bleed.age_h < 48 and sum(bleed.volumes_ml.values()) >= 8:
            found.append(number)
        if len(found) == count:
            return found
    raise RuntimeError(f"no fresh {kind} hemorrhage among the seeds {seed} to {seed + 999}")


def _transformed(seed: int) -> Case:
    """The first case from ``seed`` on, of one head, whose stroke has bled by the next day."""
    for number in range(seed, seed + 100):
        case = Case(number, anatomy_seed=seed, stroke=Occlusion.ICA, mimics=())
        if draw_transformation(make_patient(case), number).present:
            return case
    raise RuntimeError(f"no hemorrhagic transformation among the seeds {seed} to {seed + 99}")


def _early_panel(seed: int, onset_h: float) -> Panel:
    """The head CT of a large stroke after at least ``onset_h`` hours."""
    for number in range(seed, seed + 200):
        patient = make_patient(Case(number, anatomy_seed=seed, stroke=Occlusion.M1, mimics=()))
        if patient.stroke is not None and patient.stroke.onset_h >= onset_h:
            scan = _ncct(patient, seed)
            core = patient.perfusion.core
            level = _level_of(scan, core)
            return Panel(f"stroke, {patient.stroke.onset_h:.0f} h", scan.volume[level])
    raise RuntimeError(f"no stroke after {onset_h} h among the seeds {seed} to {seed + 199}")


def _level_of(scan: NcctScan, mask: BoolArray) -> int:
    """The slice of a scan nearest to the middle of a mask of the head."""
    geometry = scan.geometry
    middle = np.argwhere(mask).mean(axis=0)[::-1] + np.array(HEAD_ORIGIN_MM)
    height = scan.pose.to_scanner(middle) @ geometry.normal
    return int(np.argmin(np.abs(geometry.positions_mm @ geometry.normal - height)))


def _mimic_panel(name: str, seed: int) -> Panel:
    patient = make_patient(Case(seed, stroke=Occlusion.M1, mimics=(name,)))
    scan = _ncct(patient, seed)
    inclusion = patient.head.inclusions.get(name)
    if inclusion is None:
        raise RuntimeError(f"seed {seed} has no {name}, take another")
    level = _level_of(scan, inclusion.share > inclusion.share.max() / 2)
    return Panel(name.replace("_", " "), scan.volume[level])


def _ctp_panels(patient: Patient, title: str) -> list[Panel]:
    seed = patient.case.seed
    scan = _ctp(patient, SCANNERS[seed % len(SCANNERS)], matrix=256)
    truth = {name: quantity.values for name, quantity in scan.truth.arrays.items()}
    level = _fullest(truth["hypoperfused"])
    frames = [volume[level].astype(np.float32) for volume in scan.frames()]
    peak = max(range(len(frames)), key=lambda index: float(frames[index].sum()))
    lesion = truth["hypoperfused"].astype(np.float32) + truth["core"]
    return [
        Panel(f"{title}, first frame", frames[0], (-20, 80)),
        Panel(f"frame at {scan.times_s[peak, level]:.0f} s", frames[peak], (-20, 120)),
        Panel("difference", frames[peak] - frames[0], (-20, 80)),
        Panel("CBF 0-80", truth["cbf"][level], (0, 80), "turbo"),
        Panel("CBV 0-6", truth["cbv"][level], (0, 6), "turbo"),
        Panel("MTT 0-14 s", truth["mtt"][level], (0, 14), "turbo"),
        Panel("Tmax 0-14 s", truth["tmax"][level], (0, 14), "turbo"),
        Panel("penumbra, core", lesion[level], (0, 2), "inferno"),
    ]


def _ctp(patient: Patient, scanner: Scanner, matrix: int) -> CtpScan:
    seed = patient.case.seed
    protocol = draw_ctp_protocol(seed, scanner, slices=16, thickness_mm=5, matrix=matrix)
    return scan_ctp(patient, protocol, seed)


def _mr_panels(patient: Patient) -> list[Panel]:
    seed = patient.case.seed
    scanner = SCANNERS[seed % len(SCANNERS)]
    pwi = scan_pwi(patient, draw_pwi_protocol(seed, scanner), seed)
    dwi = scan_dwi(patient, draw_dwi_protocol(seed, scanner), seed)
    gre = scan_gre(patient, draw_gre_protocol(seed, scanner), seed)
    middle = _fullest(pwi.truth.arrays["core"].values | pwi.truth.arrays["penumbra"].values)
    frames = [volume[middle] for volume in pwi.frames()]
    lowest = min(range(5, len(frames)), key=lambda index: float(frames[index].sum()))
    height = float(pwi.geometry.positions_mm[middle] @ dwi.geometry.normal)
    at = [
        int(np.argmin(np.abs(scan.geometry.positions_mm @ scan.geometry.normal - height)))
        for scan in (dwi, gre)
    ]
    adc = dwi.truth.arrays["adc"].values[at[0]]
    bleed = gre.truth.arrays["ht"].values
    level = _fullest(bleed) if bleed.any() else at[1]
    outcome = f"{gre.transformation.kind or 'no transformation'}"
    return [
        _magnitude("PWI before contrast", frames[4]),
        _magnitude("PWI at the peak", frames[lowest], frames[4]),
        Panel("Tmax 0-14 s", pwi.truth.arrays["tmax"].values[middle], (0, 14), "turbo"),
        _magnitude("b 0", dwi.b0[at[0]]),
        _magnitude("b 1000", dwi.b1000[at[0]]),
        Panel("ADC", adc, (0, 2000 if adc.max() > 100 else 2e-3)),
        _magnitude(f"T2* next day: {outcome}", gre.volume[level]),
    ]


def _magnitude(title: str, image: Image, reference: Image | None = None) -> Panel:
    top = float(np.percentile(image if reference is None else reference, 99.7))
    return Panel(title, image, (0, top))


def _plot_ct_curves(axis: "Axes", patient: Patient) -> None:
    scan = _ctp(patient, "siemens", matrix=128)
    frames = np.stack(list(scan.frames())).astype(np.float32)
    truth = {name: quantity.values for name, quantity in scan.truth.arrays.items()}
    curves = {
        "artery / 10": (_top(truth["artery"]), 0.1),
        "vein / 10": (_top(truth["vein"]), 0.1),
        "normal": (truth["brain"] & ~truth["hypoperfused"], 1.0),
        "penumbra": (truth["penumbra"], 1.0),
        "core": (truth["core"], 1.0),
    }
    for name, (mask, factor) in curves.items():
        curve = frames[:, mask].mean(axis=1)
        axis.plot(scan.times_s.mean(axis=1), (curve - curve[:3].mean()) * factor, label=name)
    axis.set(title="CT perfusion, means of regions", xlabel="s", ylabel="HU")
    axis.legend()


def _top(share: Float32Array) -> BoolArray:
    """The twenty voxels with the largest share."""
    return np.asarray(share >= np.sort(share.ravel())[-20])


def _plot_mr_curves(axis: "Axes", patient: Patient) -> None:
    seed = patient.case.seed
    scan = scan_pwi(patient, draw_pwi_protocol(seed, "siemens"), seed)
    frames = np.stack(list(scan.frames())).astype(np.float32)
    truth = {name: quantity.values for name, quantity in scan.truth.arrays.items()}
    for name, mask in (
        ("normal", truth["brain"] & ~truth["hypoperfused"]),
        ("penumbra", truth["penumbra"]),
        ("core", truth["core"]),
    ):
        curve = frames[:, mask].mean(axis=1)
        axis.plot(scan.times_s.mean(axis=1), curve / curve[3:8].mean(), label=name)
    axis.set(title="MR perfusion, means of regions", xlabel="s", ylabel="signal / before contrast")
    axis.legend()


def _plot_spectra(axis: "Axes", seed: int, size: int = 256, pixel_mm: float = 0.45) -> None:
    """Power of drawn noise, of every kernel of head CT."""
    per_mm = radial_frequency(size, size, pixel_mm)
    bins = np.digitize(per_mm.ravel(), np.arange(0, 1.1, 0.02))
    counts = np.maximum(np.bincount(bins), 1)
    middles = np.bincount(bins, per_mm.ravel()) / counts
    for scanner, purposes in KERNELS.items():
        for cohort, style in (("usual", "-"), ("shifted", ":")):
            for kernel in purposes["ncct"][cohort]:  # type: ignore[index]
                rng = stream(seed, "spectrum", kernel.name)
                images = np.stack(
                    list(unit_noise(rng, kernel, 24, size, size, pixel_mm, np.ones(1)))
                )
                power = np.mean(np.abs(np.fft.rfft2(images)) ** 2, axis=0).ravel()
                profile = np.bincount(bins, power) / counts
                axis.plot(
                    middles[1:],
                    profile[1:] / profile.max(),
                    style,
                    label=f"{scanner} {kernel.name}",
                )
    axis.set(
        title="noise power of head CT kernels (dotted: shifted cohort)", xlabel="cycles per mm",
        xlim=(0, 1.0),
    )  # fmt: skip
    axis.legend(fontsize=6, ncols=2)
