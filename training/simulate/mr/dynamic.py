"""The head grid's signal during the first pass of a contrast bolus, one frame after another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from inference.geometry import Geometry
from training.simulate.arrays import SHARE_STEPS, Float32Array, FloatArray, stream
from training.simulate.mr.protocols import MrProtocol
from training.simulate.mr.sampler import Sampler
from training.simulate.mr.signal import (
    blood_relaxation,
    gradient_echo,
    ischemic_t2,
    leakage_rate,
    leaky_relaxation,
    with_contrast,
)
from training.simulate.mr.tissue import FAT_LEFT_BY_SATURATION, MARROW, materials, own_tissues
from training.simulate.pathology.arteries import VesselFlow
from training.simulate.pathology.head import Head
from training.simulate.pathology.patient import Patient
from training.simulate.pathology.perfusion import PerfusionMaps
from training.simulate.pathology.transformation import leakage_percent
from training.simulate.scan.bolus import Bolus
from training.simulate.scan.enhancement import DENSITY_G_PER_ML, HEMATOCRIT_FACTOR, Enhancement
from training.simulate.space import HEAD_ORIGIN_MM, HEAD_SHAPE, Pose, render
from training.simulate.truth import Quantity

IntArray = npt.NDArray[np.int64]
Tissues = tuple[str, ...]

_SETTLED = 1e-3
_REFERENCE = (54.0, 4.5)
"""CBF (mL/100 g/min) and MTT (s) of the grey matter whose signal falls by the drawn amount."""
_BLOOD_VOLUME = 0.04
_STATIC: Tissues = ("csf", "soft", "fat", "bone", "clot")
_REFRESHED = {"csf": 0.2, "artery": 0.4, "vein": 0.3}
"""Share of what flows or pulsates that is replaced from pulse to pulse (textbook)."""
_GAINS = {"fat": FAT_LEFT_BY_SATURATION, "bone": MARROW * FAT_LEFT_BY_SATURATION}


@dataclass(frozen=True, eq=False)
class _Flowing:
    """Voxels through which contrast flows: flat indices, contrast, and what sends signal.

    ``shares`` maps a material to its share in each of the voxels; ``slice_of`` is the slice of
    the scan that each voxel lies in.
    """

    enhancement: Enhancement
    voxels: IntArray
    shares: dict[str, Float32Array]
    amount: Float32Array

    def concentration(self, times_s: FloatArray, slice_of: IntArray) -> Float32Array:
        """Concentration in the material itself, relative to the arterial peak."""
        seen = self.enhancement.at(times_s, slice_of[self.voxels])
        return seen / self.amount


class Dynamic:
    """Signal of a patient's head over the frames of a perfusion scan.

    Grey and white matter lose signal linearly in ΔR2* with the concentration of the tissue, blood
    in large vessels with its square; where the barrier leaks, ΔR2* is what
    :func:`~training.simulate.mr.signal.leaky_relaxation` makes of it. The slices of a frame see
    the head at their own times.

    Parameters
    ----------
    patient, protocol, geometry, bolus :
        What is scanned, how, where, and with which bolus.
    poses : sequence of Pose
        One per frame.
    kept : float32 array of ``HEAD_SHAPE``
        Share of the signal that the field's inhomogeneity leaves.
    seed : int
        Decides the usual dose.
    dose : float
        Contrast that came, as share of the usual.

    Attributes
    ----------
    baseline : float32 array of ``HEAD_SHAPE``
        Steady-state signal without contrast.
    arterial_peak_mm, tissue_relaxivity : float
        Arterial peak in mM, and ΔR2* per mM of contrast in tissue in 1/(s mM).
    """

    def __init__(
        self,
        patient: Patient,
        protocol: MrProtocol,
        geometry: Geometry,
        bolus: Bolus,
        poses: Sequence[Pose],
        kept: Float32Array,
        seed: int,
        dose: float = 1.0,
    ) -> None:
        self._protocol, self._geometry = protocol, geometry
        self._bolus, self._poses = bolus, poses
        self._tissues = own_tissues(patient.person, protocol.field_t)
        parts = materials(patient.head)
        anatomy = patient.head.anatomy
        maps, living = patient.perfusion, 1 - parts.clot
        growth = _water(patient, parts.oedema)
        brighter = np.exp(
            np.float32(protocol.te_ms / self._tissues["grey"].t2star_ms) * growth / (1 + growth)
        )
        brighter *= kept
        self._brain = _flowing(
            *_tissue_alone(patient.head, maps), bolus, (anatomy.grey + anatomy.white) * living,
            {"grey": parts.grey * brighter, "white": parts.white * brighter},
        )  # fmt: skip
        self._vessels = _flowing(
            *_vessels_alone(patient.head, maps), bolus, (anatomy.artery + anatomy.vein) * living,
            {"artery": parts.artery * kept, "vein": parts.vein * kept},
        )  # fmt: skip
        self._still = {name: getattr(parts, name) * kept for name in _STATIC}
        rng = stream(seed, "mr dose")
        self.arterial_peak_mm = float(rng.uniform(4.0, 8.0))
        loss = -np.log(1 - rng.uniform(0.22, 0.32)) / (protocol.te_ms / 1000)
        self.tissue_relaxivity = float(loss / (_reference_peak(bolus) * self.arterial_peak_mm))
        self.arterial_peak_mm *= dose
        self._leak = self._leakage(maps)
        reached = np.zeros(int(np.prod(HEAD_SHAPE)), dtype=np.bool_)
        for flowing in (self._brain, self._vessels):
            reached[flowing.voxels] = True
        self._voxels = np.flatnonzero(reached)
        self._rows = [
            np.searchsorted(self._voxels, flowing.voxels)
            for flowing in (self._brain, self._vessels)
        ]
        self.baseline = self._whole(self._static(None), self._flowing_signal(None, None, None))

    def _leakage(self, maps: PerfusionMaps) -> Float32Array:
        """K2 in 1/s of every voxel of tissue."""
        percent = leakage_percent(maps).ravel()[self._brain.voxels]
        protocol = self._protocol
        return leakage_rate(
            percent,
            self._tissues["grey"],
            protocol.te_ms,
            protocol.tr_ms,
            protocol.flip_deg,
            intravascular=self.tissue_relaxivity,
            extravascular=4.0 * protocol.field_t / 3 + 1.0,
            blood_volume=_BLOOD_VOLUME,
        )

    def _sent(self, name: str, pulse: int | None) -> np.float32:
        protocol = self._protocol
        tissue = self._tissues["fat" if name == "bone" else name]
        signal = gradient_echo(
            tissue, protocol.te_ms, protocol.tr_ms, protocol.flip_deg, pulse,
            refreshed=_REFRESHED.get(name, 0.0),
        )  # fmt: skip
        return np.float32(signal * _GAINS.get(name, 1.0))

    def _settled(self, pulse: int) -> bool:
        final = self._sent("csf", None)
        return bool(abs(self._sent("csf", pulse) - final) < _SETTLED * final)

    def _static(self, pulse: int | None) -> Float32Array:
        """Signal of what takes up no contrast, head grid."""
        static = np.zeros(HEAD_SHAPE, dtype=np.float32)
        for name, share in self._still.items():
            static += share * self._sent(name, pulse)
        return static

    def _flowing_signal(
        self, pulse: int | None, tissue: Float32Array | None, blood: Float32Array | None
    ) -> Float32Array:
        """Signal of the voxels that take up contrast, given ΔR2* of tissue and of blood."""
        total = np.zeros(len(self._voxels), dtype=np.float32)
        relaxations = tissue, blood
        for flowing, rows, relaxation in zip(
            (self._brain, self._vessels), self._rows, relaxations, strict=True
        ):
            signal = np.zeros(len(rows), dtype=np.float32)
            for name, share in flowing.shares.items():
                signal += share * self._sent(name, pulse)
            if relaxation is not None:
                signal = with_contrast(signal, self._protocol.te_ms, relaxation)
            total[rows] += signal
        return total

    def _whole(self, static: Float32Array, flowing: Float32Array) -> Float32Array:
        volume = static.copy()
        volume.ravel()[self._voxels] += flowing
        return volume

    def volumes(self) -> Iterator[Float32Array]:
        """Yield the noise-free volume of each frame on the scan's grid."""
        protocol, geometry, poses = self._protocol, self._geometry, self._poses
        thickness = protocol.thickness_mm
        still = all(pose is poses[0] for pose in poses)
        sampler = Sampler(self._voxels, geometry, poses[0], thickness) if still else None
        settled = self._static(None)
        seen = render([settled], geometry, poses[0], thickness)[0] if still else None
        for index, (tissue, blood) in enumerate(self._relaxations()):
            pulse = protocol.dummies + index
            late = self._settled(pulse)
            static = settled if late else self._static(pulse)
            flowing = self._flowing_signal(None if late else pulse, tissue, blood)
            if sampler is None or seen is None:
                volume = self._whole(static, flowing)
                yield render([volume], geometry, poses[index], thickness)[0]
            elif late:
                yield seen + sampler(flowing)
            else:
                yield render([static], geometry, poses[0], thickness)[0] + sampler(flowing)

    def _relaxations(self) -> Iterator[tuple[Float32Array, Float32Array]]:
        """Yield ΔR2* of tissue and of blood in 1/s, frame by frame."""
        protocol, geometry = self._protocol, self._geometry
        integral = np.zeros(len(self._brain.voxels), dtype=np.float32)
        before = integral
        slice_of: IntArray | None = None
        pose = self._poses[0]
        for index, times in enumerate(protocol.times_s):
            if slice_of is None or self._poses[index] is not pose:
                pose = self._poses[index]
                slice_of = _slice_of(geometry.positions_mm, geometry.normal, pose)
            relaxation = self._brain.concentration(times, slice_of)
            relaxation *= np.float32(self.arterial_peak_mm * self.tissue_relaxivity)
            integral = integral + (before + relaxation) * np.float32(protocol.tr_ms / 2000)
            before = relaxation
            apparent = leaky_relaxation(relaxation, integral, 1.0, self._leak)
            blood = self._vessels.concentration(times, slice_of) * np.float32(self.arterial_peak_mm)
            yield apparent, blood_relaxation(blood, protocol.field_t)

    def curves(self) -> dict[str, Quantity]:
        """True concentration of arterial and venous blood in mM at the bolus' own sampling."""
        peak = self.arterial_peak_mm
        bolus = self._bolus
        return {
            "arterial_mm": Quantity(bolus.arterial * peak, "mmol/L", "arterial blood"),
            "venous_mm": Quantity(bolus.venous * peak, "mmol/L", "venous blood"),
            "curve_times_s": Quantity(bolus.times_s, "s", "times of the blood curves"),
        }


def _water(patient: Patient, oedema: Float32Array) -> Float32Array:
    """Relative growth of T2 by water: oedema, and half of what the core's T2 grows by."""
    growth = np.float32(1.2) * oedema
    if patient.stroke is not None:
        longer = np.float32((ischemic_t2(patient.stroke.onset_h) - 1) / 2)
        core = patient.stroke.core_weight
        growth = np.where(core > 0, longer * core, growth)
    return growth


def _tissue_alone(head: Head, maps: PerfusionMaps) -> tuple[Head, PerfusionMaps]:
    """A head whose large vessels take up no contrast."""
    none = np.zeros(HEAD_SHAPE, dtype=np.float32)
    anatomy = replace(head.anatomy, artery=none, vein=none)
    empty = _no_vessels()
    return replace(head, anatomy=anatomy), replace(maps, arteries=empty, veins=empty)


def _vessels_alone(head: Head, maps: PerfusionMaps) -> tuple[Head, PerfusionMaps]:
    """A head whose tissue takes up no contrast."""
    none = np.zeros(HEAD_SHAPE, dtype=np.float32)
    anatomy = replace(head.anatomy, grey=none, white=none)
    return replace(head, anatomy=anatomy), replace(maps, cbf=none, cbv=none, residue_peak=none)


def _no_vessels() -> VesselFlow:
    nothing = np.zeros(0, dtype=np.float32)
    return VesselFlow(np.zeros(0, dtype=np.int64), nothing, nothing, nothing, nothing)


def _flowing(
    head: Head,
    maps: PerfusionMaps,
    bolus: Bolus,
    through: Float32Array,
    sending: dict[str, Float32Array],
) -> _Flowing:
    """Contrast of a head by what part of each voxel takes it up, and the signal of that part."""
    enhancement = Enhancement(head, maps, bolus)
    voxels = enhancement.voxels
    return _Flowing(
        enhancement,
        voxels,
        {name: share.ravel()[voxels] for name, share in sending.items()},
        np.maximum(through.ravel()[voxels], np.float32(1 / SHARE_STEPS)),
    )


def _reference_peak(bolus: Bolus) -> float:
    """Peak concentration of normal grey matter relative to the arterial peak."""
    flow, transit = _REFERENCE
    residue = np.exp(-bolus.times_s / transit)
    curve = np.convolve(bolus.arterial, residue)[: len(residue)] * bolus.step_s
    return float(DENSITY_G_PER_ML / HEMATOCRIT_FACTOR * flow / 6000 * curve.max())


def _slice_of(positions_mm: FloatArray, normal: FloatArray, pose: Pose) -> IntArray:
    """Index of the slice that each voxel of the head grid lies in or next to, flat."""
    # height = normal · (rotation @ head + shift)
    along = pose.rotation.T @ normal
    offset = float(normal @ pose.shift_mm)
    z, y, x = (
        (np.arange(count) + origin) * share
        for count, origin, share in zip(
            HEAD_SHAPE, reversed(HEAD_ORIGIN_MM), along[::-1], strict=True
        )
    )
    heights = positions_mm @ normal
    step = (heights[-1] - heights[0]) / max(len(heights) - 1, 1)
    place = (z + offset - heights[0])[:, None, None] + y[None, :, None] + x[None, None, :]
    nearest = np.rint(place / step if step else place * 0)
    return np.asarray(np.clip(nearest, 0, len(heights) - 1), dtype=np.int64).ravel()
