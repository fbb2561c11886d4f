"""Measure simulated patients against the ranges they are meant to have.

Every figure is taken from what a reader of the data has (images, masks, curves), not from the
settings behind it. The ranges are textbook values; their sources stand with the modules that draw.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Literal

import numpy as np
from scipy import fft, ndimage

from inference.geometry import Geometry
from training.simulate.arrays import BoolArray, Float32Array, FloatArray
from training.simulate.ct.noise import radial_frequency
from training.simulate.ct.protocols import draw_ctp_protocol, draw_ncct_protocol
from training.simulate.ct.scan import NcctScan, scan_ctp, scan_ncct
from training.simulate.pathology.bleeds import Place
from training.simulate.pathology.head import Head
from training.simulate.pathology.patient import Case, Patient, make_patient
from training.simulate.pathology.transformation import draw_transformation
from training.simulate.scan.motion import Grade, draw_grade
from training.simulate.scanner import SCANNERS
from training.simulate.space import HEAD_VOXEL_ML, Pose, render

Statistic = Literal["median", "mean", "log sd", "share"]
Measured = dict[str, list[float]]

_PURE = 0.95
_PATCH = 96
_REFERENCE_HU = 300.0
_DEEP = (Place.PUTAMEN, Place.THALAMUS, Place.CAUDATE)
_OTHER_PARENCHYMA = (Place.LOBAR, Place.CEREBELLUM, Place.BRAINSTEM)


@dataclass(frozen=True)
class Expectation:
    """What a quantity shall be: its ``statistic`` over all patients within ``low`` to ``high``."""

    name: str
    unit: str
    statistic: Statistic
    low: float
    high: float


EXPECTED: tuple[Expectation, ...] = (
    Expectation("NCCT grey matter", "HU", "median", 30, 40),
    Expectation("NCCT white matter", "HU", "median", 20, 35),
    Expectation("NCCT CSF", "HU", "median", 0, 10),
    Expectation("NCCT skull", "HU", "median", 500, 1500),
    Expectation("NCCT fat", "HU", "median", -105, -65),
    Expectation("NCCT blood in sinuses", "HU", "median", 40, 50),
    Expectation("NCCT air", "HU", "median", -1005, -990),
    Expectation("NCCT acute blood", "HU", "median", 50, 80),
    Expectation("NCCT oedema", "HU", "median", 10, 20),
    Expectation("NCCT noise at 5 mm", "HU", "median", 3, 5),
    Expectation("NCCT noise, 0.5 mm over 5 mm", "1", "median", 2.2, 3.3),
    Expectation("NCCT noise spectrum, r to kernel", "1", "median", 0.9, 1),
    Expectation("NCCT noise spectrum, peak", "1/mm", "median", 0.1, 0.4),
    Expectation("artery, true peak", "HU", "median", 200, 450),
    Expectation("artery, peak in the image", "HU", "median", 100, 340),
    Expectation("artery, width at half peak", "s", "median", 5, 7.5),
    Expectation("vein after artery", "s", "median", 4, 6),
    Expectation("grey peak per 300 HU", "HU", "median", 11, 16),
    Expectation("white peak per 300 HU", "HU", "median", 5, 7.5),
    Expectation("penumbra peak per 300 HU", "HU", "median", 5, 8),
    Expectation("core peak per 300 HU", "HU", "median", 1.5, 2.5),
    Expectation("CTP noise at 5 mm", "HU", "median", 5, 8),
    Expectation("CTP tissue less NCCT", "HU", "median", -17, -11),
    Expectation("penumbra CBF", "mL/100 g/min", "median", 12, 22),
    Expectation("core CBF", "mL/100 g/min", "median", 5, 10),
    Expectation("hypoperfused volume", "mL", "median", 30, 130),
    Expectation("core volume", "mL", "median", 2, 50),
    Expectation("patients without stroke", "1", "share", 0.04, 0.3),
    Expectation("lesion on the left", "1", "share", 0.3, 0.7),
    Expectation("posterior circulation", "1", "share", 0.05, 0.35),
    Expectation("ICH volume", "mL", "median", 10, 22),
    Expectation("ICH volume, spread of logarithm", "1", "log sd", 0.85, 1.45),
    Expectation("ICH under 2 mL", "1", "share", 0.03, 0.3),
    Expectation("intraparenchymal, deep grey", "1", "share", 0.45, 0.85),
    Expectation("risk of hemorrhagic transformation", "1", "share", 0.16, 0.31),
    Expectation("still or nearly still", "1", "share", 0.54, 0.62),
    Expectation("moderate motion", "1", "share", 0.2, 0.28),
    Expectation("large motion", "1", "share", 0.15, 0.23),
)


@dataclass(frozen=True)
class Result:
    """One expectation with what was found: ``value`` is its statistic, ``spread`` 5 to 95 %."""

    expectation: Expectation
    count: int
    value: float
    spread: tuple[float, float]

    @property
    def inside(self) -> bool:
        """Whether the value lies in the range."""
        return self.expectation.low <= self.value <= self.expectation.high


def measure_patients(
    seeds: Sequence[int], processes: int = 1, progress: Callable[[int], None] | None = None
) -> list[Result]:
    """Simulate, scan and measure patients.

    Parameters
    ----------
    seeds : sequence of int
        One patient each, twice: with a stroke or none, and with a hemorrhage.
    processes : int
        Spawned processes to use.
    progress : callable or None
        Called with the number of finished patients.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for done, measured in enumerate(_measured(seeds, processes), start=1):
        for name, values in measured.items():
            found[name].extend(values)
        if progress is not None:
            progress(done)
    return summarise(found)


def summarise(found: Measured) -> list[Result]:
    """Compare values with :data:`EXPECTED`; what nothing was found of is not a number."""
    results = []
    for expectation in EXPECTED:
        values = np.array(found.get(expectation.name, []), dtype=np.float64)
        if not values.size:
            results.append(Result(expectation, 0, float("nan"), (float("nan"),) * 2))
            continue
        low, high = np.percentile(values, (5, 95))
        value = _statistic(expectation.statistic, values)
        results.append(Result(expectation, values.size, value, (float(low), float(high))))
    return results


def measure_patient(seed: int) -> Measured:
    """Measure one patient; see :func:`measure_patients`."""
    found: dict[str, list[float]] = defaultdict(list)
    person_case = Case(seed, hemorrhage="none")
    patient = make_patient(person_case)
    tissue = _measure_ncct(patient, seed, found)
    _measure_ctp(patient, seed, tissue, found)
    _measure_stroke(patient, seed, found)
    _measure_blood(seed, found)
    grades = [draw_grade(seed * 100 + index) for index in range(100)]
    for name, grade in (
        ("still or nearly still", Grade.NEGLIGIBLE),
        ("moderate motion", Grade.MODERATE),
        ("large motion", Grade.LARGE),
    ):
        found[name].extend(float(drawn == grade) for drawn in grades)
    return dict(found)


def _measured(seeds: Sequence[int], processes: int) -> Iterator[Measured]:
    if processes == 1:
        yield from map(measure_patient, seeds)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(measure_patient, seeds)


def _statistic(statistic: Statistic, values: FloatArray) -> float:
    if statistic == "median":
        return float(np.median(values))
    if statistic == "log sd":
        return float(np.std(np.log(values), ddof=1))
    return float(np.mean(values))


def _measure_ncct(patient: Patient, seed: int, found: Measured) -> tuple[float, float]:
    """Tissues and noise of a head CT; the HU of grey and white matter."""
    scanner = SCANNERS[seed % len(SCANNERS)]
    protocol = draw_ncct_protocol(seed, scanner, slices=32, thickness_mm=5, matrix=256, tilt_deg=0)
    scan, again = (
        scan_ncct(patient, protocol, number, grade=Grade.NEGLIGIBLE) for number in (seed, seed + 1)
    )
    shares = pure_tissue(patient.head, scan.geometry, scan.pose, protocol.thickness_mm)
    ill = _ill(patient, scan.geometry, scan.pose, protocol.thickness_mm)
    hu: dict[str, float] = {}
    for name, mask in shares.items():
        healthy = mask & ~ill if name in ("grey matter", "white matter") else mask
        if healthy.sum() > 20:
            hu[name] = float(scan.volume[healthy].mean())
            found[f"NCCT {name}"].append(hu[name])
    noise = (scan.volume.astype(np.float32) - again.volume) / np.sqrt(2)
    deviation = float(noise[shares["white matter"]].std())
    found["NCCT noise at 5 mm"].append(deviation)
    _measure_spectrum(scan, noise, found)
    _measure_thin(patient, seed, deviation, found)
    return hu.get("grey matter", np.nan), hu.get("white matter", np.nan)


def pure_tissue(
    head: Head, geometry: Geometry, pose: Pose, thickness_mm: float
) -> dict[str, BoolArray]:
    """Voxels of a scan that are one tissue to at least 95 %, by name."""
    body = head.anatomy
    shares = render(
        [body.grey, body.white, body.csf, body.bone, body.fat, body.vein + body.artery],
        geometry, pose, thickness_mm,
    )  # fmt: skip
    if head.blood:
        shares *= 1 - render([head.blood_share()], geometry, pose, thickness_mm)
    names = ("grey matter", "white matter", "CSF", "skull", "fat", "blood in sinuses")
    masks = {name: share > _PURE for name, share in zip(names, shares, strict=True)}
    air = np.zeros(geometry.shape, dtype=bool)
    air[:, :6, :6] = True
    masks["air"] = air
    return masks


def _ill(patient: Patient, geometry: Geometry, pose: Pose, thickness_mm: float) -> BoolArray:
    """Voxels that water, inclusions or lack of flow have changed."""
    changed = patient.perfusion.hypoperfused.astype(np.float32)
    if patient.head.water_hu is not None:
        changed = np.maximum(changed, patient.head.water_hu)
    for inclusion in patient.head.inclusions.values():
        changed = np.maximum(changed, inclusion.share)
    return np.asarray(render([changed], geometry, pose, thickness_mm)[0] > 0.02)


def _measure_spectrum(scan: NcctScan, noise: Float32Array, found: Measured) -> None:
    """Noise power in the middle of the head against frequency, and the kernel's."""
    depth = scan.truth.arrays["brain"].values.sum(axis=(1, 2))
    slices = np.argsort(depth)[-8:]
    rows, columns = noise.shape[1:]
    middle = np.s_[slices, (rows - _PATCH) // 2 : (rows + _PATCH) // 2, (columns - _PATCH) // 2 :]
    patches = noise[middle][..., :_PATCH]
    patches = patches - patches.mean(axis=(1, 2), keepdims=True)
    window = np.hanning(_PATCH)[:, None] * np.hanning(_PATCH)
    power = np.mean(np.abs(fft.rfft2(patches * window)) ** 2, axis=0)
    pixel = scan.geometry.pixel_spacing_mm[0]
    per_mm = radial_frequency(_PATCH, _PATCH, pixel)
    bins = np.arange(0.0, 0.5 / pixel, 0.02)
    place = np.digitize(per_mm.ravel(), bins)
    inside = [place == index for index in range(1, len(bins))]
    profile = np.array([power.ravel()[chosen].mean() for chosen in inside])
    middles = np.array([per_mm.ravel()[chosen].mean() for chosen in inside])
    expected = scan.protocol.kernel.noise_power(middles) * np.sinc(middles * pixel) ** 2
    found["NCCT noise spectrum, r to kernel"].append(float(np.corrcoef(profile, expected)[0, 1]))
    found["NCCT noise spectrum, peak"].append(float(middles[np.argmax(profile)]))


def _measure_thin(patient: Patient, seed: int, thick_sd: float, found: Measured) -> None:
    scanner = SCANNERS[seed % len(SCANNERS)]
    protocol = draw_ncct_protocol(
        seed, scanner, slices=16, thickness_mm=0.5, spacing_mm=0.5, matrix=256, tilt_deg=0
    )
    scan, again = (
        scan_ncct(patient, protocol, number, grade=Grade.NEGLIGIBLE) for number in (seed, seed + 1)
    )
    shares = pure_tissue(patient.head, scan.geometry, scan.pose, protocol.thickness_mm)
    white = shares["white matter"]
    if white.sum() > 1000:
        noise = (scan.volume.astype(np.float32) - again.volume) / np.sqrt(2)
        found["NCCT noise, 0.5 mm over 5 mm"].append(float(noise[white].std()) / thick_sd)


def _measure_ctp(
    patient: Patient, seed: int, ncct_hu: tuple[float, float], found: Measured
) -> None:
    """Curves, noise and HU of a perfusion scan."""
    scanner = SCANNERS[seed % len(SCANNERS)]
    protocol = draw_ctp_protocol(seed, scanner, slices=12, thickness_mm=5, matrix=256)
    scan = scan_ctp(patient, protocol, seed)
    frames = np.stack(list(scan.frames())).astype(np.float32)
    bolus, truth = scan.bolus, scan.truth.arrays
    before = np.flatnonzero(scan.times_s.max(axis=1) < bolus.arrival_s)
    early = before[1:] if len(before) > 2 else before
    baseline = frames[early].mean(axis=0)
    tissue = pure_tissue(patient.head, scan.geometry, scan.poses[0], protocol.thickness_mm)
    grey, white = tissue["grey matter"], tissue["white matter"]
    healthy = ~ndimage.binary_dilation(truth["hypoperfused"].values, np.ones((3, 3, 3)))
    healthy &= ~_ill(patient, scan.geometry, scan.poses[0], protocol.thickness_mm)
    if len(early) > 1:
        change = (frames[early[0]] - frames[early[1]]) / np.sqrt(2)
        found["CTP noise at 5 mm"].append(float(change[white].std()))
    _measure_bolus(bolus.arterial, bolus.venous, bolus.step_s, bolus.peak_hu, found)
    arteries = truth["artery"].values
    largest = arteries >= np.sort(arteries.ravel())[-20]
    found["artery, peak in the image"].append(
        float(np.median((frames[:, largest] - baseline[largest]).max(axis=0)))
    )
    core, penumbra = truth["core"].values, truth["penumbra"].values
    for name, mask in (
        ("grey peak per 300 HU", grey & healthy),
        ("white peak per 300 HU", white & healthy),
        ("penumbra peak per 300 HU", ndimage.binary_erosion(penumbra) & grey),
        ("core peak per 300 HU", ndimage.binary_erosion(core)),
    ):
        if mask.sum() > 40:
            curve = (frames[:, mask] - baseline[mask]).mean(axis=1)
            found[name].append(float(curve.max()) * _REFERENCE_HU / bolus.peak_hu)
    for mask, reference in ((grey & healthy, ncct_hu[0]), (white & healthy, ncct_hu[1])):
        if mask.sum() > 40 and np.isfinite(reference):
            found["CTP tissue less NCCT"].append(float(baseline[mask].mean()) - reference)


def _measure_bolus(
    arterial: FloatArray, venous: FloatArray, step_s: float, peak_hu: float, found: Measured
) -> None:
    top = int(np.argmax(arterial))
    above = np.flatnonzero(arterial[: top + 1] < 0.5)
    below = np.flatnonzero(arterial[top:] < 0.5)
    found["artery, true peak"].append(float(peak_hu * arterial.max()))
    if above.size and below.size:
        found["artery, width at half peak"].append(float(top + below[0] - above[-1]) * step_s)
    found["vein after artery"].append(float(np.argmax(venous) - top) * step_s)


def _measure_stroke(patient: Patient, seed: int, found: Measured) -> None:
    maps, stroke = patient.perfusion, patient.stroke
    found["patients without stroke"].append(float(stroke is None))
    if stroke is None:
        return
    found["hypoperfused volume"].append(float(maps.hypoperfused.sum()) * HEAD_VOXEL_ML)
    found["core volume"].append(float(maps.core.sum()) * HEAD_VOXEL_ML)
    found["lesion on the left"].append(float(stroke.side == "L"))
    posterior = str(stroke.occlusion) in ("pca", "basilar", "cerebellar")
    found["posterior circulation"].append(float(posterior))
    grey = patient.head.anatomy.grey > _PURE
    for name, mask in (
        ("penumbra CBF", maps.hypoperfused & ~maps.core & grey),
        ("core CBF", maps.core & grey),
    ):
        if mask.any():
            found[name].append(float(np.median(maps.cbf[mask])))
    outcome = draw_transformation(patient, seed)
    found["risk of hemorrhagic transformation"].append(outcome.probability)


def _measure_blood(seed: int, found: Measured) -> None:
    """The same head with a hemorrhage, by a head CT."""
    patient = make_patient(Case(seed, stroke="none", hemorrhage=None, mimics=()))
    hemorrhage, head = patient.hemorrhage, patient.head
    if hemorrhage is None:
        raise RuntimeError(f"seed {seed} was asked for a hemorrhage and has none")
    total = sum(hemorrhage.volumes_ml.values())
    found["ICH volume"].append(total)
    found["ICH volume, spread of logarithm"].append(total)
    found["ICH under 2 mL"].append(float(total < 2))
    if hemorrhage.place in (*_DEEP, *_OTHER_PARENCHYMA):
        found["intraparenchymal, deep grey"].append(float(hemorrhage.place in _DEEP))
    protocol = draw_ncct_protocol(
        seed, SCANNERS[seed % len(SCANNERS)], slices=32, thickness_mm=5, matrix=256, tilt_deg=0
    )
    scan = scan_ncct(patient, protocol, seed, grade=Grade.NEGLIGIBLE)
    blood = render([head.blood_share()], scan.geometry, scan.pose, protocol.thickness_mm)[0]
    if hemorrhage.age_h < 48 and (blood > _PURE).sum() > 20:
        found["NCCT acute blood"].append(float(scan.volume[blood > _PURE].mean()))
    if head.water_hu is None:
        return
    body = head.anatomy
    wet = body.white * np.clip(head.water_hu / 6, 0, 1) * (1 - head.blood_share())
    oedema = render([wet], scan.geometry, scan.pose, protocol.thickness_mm)[0] > _PURE
    if oedema.sum() > 20:
        found["NCCT oedema"].append(float(scan.volume[oedema].mean()))
