"""MR of a stroke patient: perfusion (PWI), diffusion (DWI), and T2*-weighted images a day later.

The signal is formed on the head grid, where every voxel is nearly one material, and then averaged
over the scanner's voxels; coil, ghost, distortion and noise follow on the scanner's grid.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.geometry import Geometry
from training.simulate.arrays import BoolArray, Float32Array, FloatArray, stream
from training.simulate.mr.dynamic import Dynamic
from training.simulate.mr.field import air_field_hz, dephasing, distort, distort_mask, epi_shift_px
from training.simulate.mr.image import coil_shading, receive, stored, with_ghost
from training.simulate.mr.protocols import MrProtocol
from training.simulate.mr.tissue import diffusion_signals, gradient_echo_parts
from training.simulate.mr.truth import (
    brain_on,
    perfusion_truth,
    place_truth,
    share_on,
)
from training.simulate.pathology.patient import Patient
from training.simulate.pathology.transformation import Transformation, draw_transformation
from training.simulate.scan.bolus import draw_bolus
from training.simulate.scan.motion import Grade, Motion, draw_motion
from training.simulate.scan.sampling import volumes_ml
from training.simulate.space import HEAD_ORIGIN_MM, Pose, render
from training.simulate.truth import Quantity, Truth

UInt16Array = npt.NDArray[np.uint16]
_LESION = ("hypoperfused", "core", "penumbra")
_LEAST_BLOOD = 0.3
"""Share of blood from which a reader would outline a voxel of a T2*-weighted image as bleeding."""


@dataclass(frozen=True, eq=False)
class PwiScan:
    """A dynamic perfusion scan; ``times_s`` of shape ``(time, slice)``, one pose per frame."""

    geometry: Geometry
    times_s: FloatArray
    protocol: MrProtocol
    poses: tuple[Pose, ...]
    truth: Truth
    dynamic: Dynamic
    seed: int
    finish: "_Finish"

    def frames(self) -> Iterator[UInt16Array]:
        """Yield one volume ``(slice, row, column)`` per time point, the same at every call."""
        drift = _drift(self.protocol, self.seed)
        for index, volume in enumerate(self.dynamic.volumes()):
            rng = stream(self.seed, "pwi noise", index)
            yield self.finish.image(volume * np.float32(drift[index]), rng)


@dataclass(frozen=True, eq=False)
class DwiScan:
    """Diffusion at b 0 and 1000 s/mm² (trace), uint16 volumes ``(slice, row, column)``."""

    b0: UInt16Array
    b1000: UInt16Array
    geometry: Geometry
    times_s: FloatArray
    protocol: MrProtocol
    pose: Pose
    truth: Truth


@dataclass(frozen=True, eq=False)
class GreScan:
    """T2*-weighted magnitude a day after the stroke, uint16 ``(slice, row, column)``."""

    volume: UInt16Array
    geometry: Geometry
    times_s: FloatArray
    protocol: MrProtocol
    pose: Pose
    transformation: Transformation
    truth: Truth


@dataclass(frozen=True, eq=False)
class _Finish:
    """What the scanner does to a noise-free volume.

    ``noise`` is the standard deviation of either channel in stored units.
    """

    protocol: MrProtocol
    shading: Float32Array
    shift_px: Float32Array | None
    noise: float

    def clean(self, volume: Float32Array) -> Float32Array:
        """The volume as it would be without noise, in stored units."""
        image = volume * self.shading * np.float32(self.protocol.gain)
        return image if self.shift_px is None else distort(image, self.shift_px)

    def image(
        self, volume: Float32Array, rng: np.random.Generator, averages: int = 1
    ) -> UInt16Array:
        """The stored volume."""
        image = with_ghost(self.clean(volume), self.protocol.ghost)
        noise = self.noise / np.sqrt(averages)
        return stored(receive(image, noise, self.protocol.acquired, rng))

    def mask(self, mask: BoolArray) -> BoolArray:
        """A mask, distorted as the image is."""
        return mask if self.shift_px is None else distort_mask(mask, self.shift_px)


def draw_pose(seed: int, series: str) -> Pose:
    """How the head lies in the scanner: one position per examination, a little off per series."""
    rng = stream(seed, "mr pose")
    lying = Pose.from_angles(rng.normal(0, (5, 2.5, 3)).tolist(), rng.normal(0, (2, 3, 4)).tolist())
    rng = stream(seed, "mr pose", series)
    little = Pose.from_angles(rng.normal(0, 0.7, 3).tolist(), rng.normal(0, 0.7, 3).tolist())
    return little.after(lying)


def place(protocol: MrProtocol, patient: Patient, pose: Pose) -> Geometry:
    """Put the slices where a technician does: around the cranial cavity.

    A stack that is lower than the cavity leaves out more of its base than of its top.
    """
    coarse = 4
    found = np.argwhere(patient.head.anatomy.cavity[::coarse, ::coarse, ::coarse])
    points = pose.to_scanner(found[:, ::-1] * float(coarse) + np.array(HEAD_ORIGIN_MM))
    low, high = points.min(0), points.max(0)
    missing = high[2] - low[2] - protocol.slices * protocol.spacing_mm
    middle = (low + high) / 2
    middle[2] += 0.35 * max(float(missing), 0.0)
    return protocol.geometry(middle)


def scan_pwi(
    patient: Patient,
    protocol: MrProtocol,
    seed: int,
    *,
    motion: Motion | None = None,
    distortion: bool = True,
    transformation: Transformation | None = None,
    weak_bolus: bool = False,
    late_bolus: bool = False,
) -> PwiScan:
    """Scan the first pass of a contrast bolus.

    Parameters
    ----------
    patient : Patient
        Whom.
    protocol : MrProtocol
        How; of kind ``pwi``.
    seed : int
        Bolus, pose, coil and noise.
    motion : Motion or None
        How the head moves from where it lies at the start; None for a still head.
    distortion : bool
        Whether the field near air displaces the EPI image (the truth along with it).
    transformation : Transformation or None
        Puts its mask on the scan's grid as truth ``ht``; the scan itself comes before it.
    weak_bolus, late_bolus : bool
        As for :func:`~training.simulate.scan.bolus.draw_bolus`.

    Raises
    ------
    ValueError
        The protocol is not one for perfusion.
    """
    _require(protocol, "pwi")
    first = draw_pose(seed, "pwi")
    poses = _poses(protocol, first, motion)
    geometry, thickness = place(protocol, patient, first), protocol.thickness_mm
    duration = float(protocol.times_s.max()) + protocol.tr_ms / 1000
    bolus = draw_bolus(
        seed, duration, modality="mr", weak=weak_bolus, late=late_bolus,
        cohort=patient.person.cohort,
    )  # fmt: skip
    field = air_field_hz(patient.head, protocol.field_t)
    kept = dephasing(field, first.rotation.T @ geometry.normal, thickness, protocol.te_ms)
    dose = float(stream(seed, "weak mr dose").uniform(0.12, 0.35)) if weak_bolus else 1.0
    dynamic = Dynamic(patient, protocol, geometry, bolus, poses, kept, seed, dose)
    plain = render([dynamic.baseline], geometry, first, thickness)[0]
    arrays = perfusion_truth(patient, geometry, first, thickness)
    shift = render([field], geometry, first, thickness)[0] if distortion else None
    finish = _finish(protocol, geometry, plain, arrays["brain"].values, shift, seed)
    arrays |= place_truth(patient, geometry, first, thickness)
    if transformation is not None:
        bleeding = share_on(transformation.mask, geometry, first, thickness, _LEAST_BLOOD)
        arrays["ht"] = Quantity(bleeding, "1", "bleeds within a day")
    arrays = _distorted(arrays, finish)
    masks = {
        name: item.values
        for name, item in arrays.items()
        if item.values.dtype == np.bool_ and name != "brain"
    }
    arrays["s0"] = Quantity(finish.clean(plain), "1", "noise-free steady state before the bolus")
    arrays["times_s"] = Quantity(protocol.times_s, "s", "acquisition time, (time, slice)")
    arrays |= dynamic.curves()
    arrays["motion"] = Quantity(_motion(poses), "mm", "scanner to scanner, frame to first frame")
    numbers: dict[str, Any] = {
        **_about(patient),
        "volumes_ml": volumes_ml(geometry, protocol.thickness_mm, masks),
        "arterial_peak_mm": dynamic.arterial_peak_mm,
        "tissue_relaxivity": dynamic.tissue_relaxivity,
        "noise_sd": finish.noise,
    }
    return PwiScan(
        geometry, protocol.times_s, protocol, poses, Truth(arrays, numbers), dynamic, seed, finish
    )


def pwi_flaws(protocol: MrProtocol, seed: int, irregular: Collection[str]) -> dict[str, Any]:
    """Arguments of :func:`scan_pwi` for flaws by their names, ``motion`` and ``weak_bolus``.

    Motion is moderate in 24 of 43 patients who move, large in the others; half of the weak boluses
    are late as well.
    """
    motion = None
    if "motion" in irregular:
        moderate = stream(seed, "mr motion grade").random() < 24 / 43
        grade = Grade.MODERATE if moderate else Grade.LARGE
        motion = draw_motion(seed, float(protocol.times_s.max()), grade)
    weak = "weak_bolus" in irregular
    late = weak and bool(stream(seed, "late mr bolus").random() < 0.5)
    return {"motion": motion, "weak_bolus": weak, "late_bolus": late}


def scan_dwi(
    patient: Patient, protocol: MrProtocol, seed: int, *, distortion: bool = True
) -> DwiScan:
    """Scan diffusion: b 0 and the trace at b 1000 s/mm², three directions averaged.

    Raises
    ------
    ValueError
        The protocol is not one for diffusion.
    """
    _require(protocol, "dwi")
    pose, thickness = draw_pose(seed, "dwi"), protocol.thickness_mm
    geometry = place(protocol, patient, pose)
    signals = diffusion_signals(patient, protocol, seed)
    plain = [render([signal], geometry, pose, thickness)[0] for signal in signals]
    arrays = perfusion_truth(patient, geometry, pose, thickness, _LESION)
    brain = arrays["brain"].values
    shift = None
    if distortion:
        field = air_field_hz(patient.head, protocol.field_t)
        shift = render([field], geometry, pose, thickness)[0]
    finish = _finish(protocol, geometry, plain[0], brain, shift, seed)
    rng = stream(seed, "dwi noise")
    b0, b1000 = (
        finish.image(volume, rng, averages) for volume, averages in zip(plain, (1, 3), strict=True)
    )
    low, high = (np.maximum(volume, 1e-6) for volume in plain)
    adc = np.log(low / high) * np.float32(1e6 / (protocol.b_values[1] - protocol.b_values[0]))
    arrays |= place_truth(patient, geometry, pose, thickness)
    arrays["adc"] = Quantity(
        np.where(plain[0] > 0.01, adc, 0).astype(np.float32),
        "10^-6 mm2/s",
        "apparent diffusion coefficient of the noise-free images, 0 where there is no signal",
    )
    if patient.stroke is not None:
        dead = share_on(patient.stroke.core_weight, geometry, pose, thickness, 0.5) & brain
    else:
        dead = np.zeros(geometry.shape, dtype=np.bool_)
    arrays["restricted"] = Quantity(dead, "1", "tissue with acutely restricted diffusion")
    arrays = _distorted(arrays, finish)
    masks = {
        name: item.values
        for name, item in arrays.items()
        if item.values.dtype == np.bool_ and name != "brain"
    }
    numbers = {**_about(patient), "volumes_ml": volumes_ml(geometry, protocol.thickness_mm, masks)}
    times = protocol.slice_times_s
    return DwiScan(b0, b1000, geometry, times, protocol, pose, Truth(arrays, numbers))


def scan_gre(
    patient: Patient,
    protocol: MrProtocol,
    seed: int,
    *,
    transformation: Transformation | None = None,
) -> GreScan:
    """Scan T2*-weighted magnitude images a day after treatment.

    Real and imaginary parts are averaged over the voxels with the phase that the field gives
    them: bleeding and veins turn dark beyond their size, and signal is lost near air.

    Parameters
    ----------
    patient, protocol, seed :
        Whom, how, and pose, coil and noise.
    transformation : Transformation or None
        What became of the infarct; drawn from the seed when None.

    Raises
    ------
    ValueError
        The protocol is not one for a gradient echo.
    """
    _require(protocol, "gre")
    if transformation is None:
        transformation = draw_transformation(patient, seed)
    # a day later the patient lies differently
    pose = draw_pose(int(stream(seed, "next day").integers(2**31)), "gre")
    geometry, thickness = place(protocol, patient, pose), protocol.thickness_mm
    parts = gradient_echo_parts(patient, transformation, protocol, seed)
    real, imaginary = (render([part], geometry, pose, thickness)[0] for part in parts)
    plain = np.sqrt(real**2 + imaginary**2)
    brain = brain_on(patient.head, geometry, pose, thickness)
    finish = _finish(protocol, geometry, plain, brain.values, None, seed)
    volume = finish.image(plain, stream(seed, "gre noise"))
    arrays = place_truth(patient, geometry, pose, thickness)
    bleeding = share_on(transformation.mask, geometry, pose, thickness, _LEAST_BLOOD)
    arrays["ht"] = Quantity(bleeding, "1", "hemorrhagic transformation")
    arrays["brain"] = brain
    numbers = {
        **_about(patient),
        "volumes_ml": volumes_ml(geometry, protocol.thickness_mm, {"ht": bleeding}),
        "ht_present": transformation.present,
        "ht_kind": transformation.kind.value if transformation.kind else None,
        "ht_probability": transformation.probability,
        "ht_volume_ml": transformation.volume_ml,
        "ht_predictors": dict(transformation.predictors),
    }
    times = protocol.slice_times_s
    truth = Truth(arrays, numbers)
    return GreScan(volume, geometry, times, protocol, pose, transformation, truth)


def _poses(protocol: MrProtocol, first: Pose, motion: Motion | None) -> tuple[Pose, ...]:
    """The head's pose in the middle of every frame."""
    if motion is None:
        return (first,) * protocol.frames
    middle = protocol.times_s.mean(1)
    return tuple(motion.at(float(time), first) for time in middle - middle[0])


def _require(protocol: MrProtocol, kind: str) -> None:
    if protocol.kind != kind:
        raise ValueError(f"the protocol is of kind {protocol.kind}, expected {kind}")


def _finish(
    protocol: MrProtocol,
    geometry: Geometry,
    plain: Float32Array,
    brain: BoolArray,
    field_hz: Float32Array | None,
    seed: int,
) -> _Finish:
    """Choose coil and noise so that the brain's mean signal has the protocol's SNR."""
    shading = coil_shading(geometry, protocol.shading, stream(seed, "coil", protocol.kind))
    mean = float((plain * shading)[brain].mean()) if brain.any() else 1.0
    noise = mean * protocol.gain / protocol.snr
    shift = None
    if field_hz is not None and protocol.echo_spacing_ms > 0:
        shift = epi_shift_px(field_hz, protocol.echo_spacing_ms, protocol.acquired)
        shift *= np.float32(protocol.rows / protocol.acquired)
    return _Finish(protocol, shading, shift, noise)


def _distorted(arrays: dict[str, Quantity], finish: _Finish) -> dict[str, Quantity]:
    """Maps and masks displaced as the image is: each voxel tells of the tissue it shows."""
    shape = finish.shading.shape
    return {
        name: replace(item, values=finish.mask(item.values)) if item.values.shape == shape else item
        for name, item in arrays.items()
    }


def _drift(protocol: MrProtocol, seed: int) -> FloatArray:
    """Instability of the scanner and of the patient's physiology, a factor per frame."""
    rng = stream(seed, "pwi drift")
    time = np.linspace(0, 1, protocol.frames)
    breathing = 2 * np.pi * (protocol.frames * protocol.tr_ms / 1000 * rng.uniform(0.2, 0.3))
    wave = 0.0015 * np.sin(breathing * time + rng.uniform(0, 2 * np.pi))
    return np.asarray(1 + rng.normal(0, 0.008) * time + wave + rng.normal(0, 0.001, len(time)))


def _motion(poses: Sequence[Pose]) -> FloatArray:
    """Matrices from where tissue was in the first frame to where it is, ``(time, 4, 4)``."""
    start = np.linalg.inv(poses[0].matrix)
    return np.stack([pose.matrix @ start for pose in poses])


def _about(patient: Patient) -> dict[str, Any]:
    stroke = patient.stroke
    return {
        "side": stroke.side if stroke else None,
        "occlusion": stroke.occlusion.value if stroke else None,
        "onset_h": stroke.onset_h if stroke else None,
    }
