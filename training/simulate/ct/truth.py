"""What is true of a CT scan, on the scan's own grid.

Maps are means over the tissue in a voxel, weighted by its share; a mask holds where its share is at
least one half. Kinds of blood exclude each other, core and penumbra make up what is hypoperfused,
and CBV is CBF · MTT / 60, all exactly.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.geometry import Geometry
from training.simulate.arrays import BoolArray, Float32Array, FloatArray
from training.simulate.ct.image import head_hu
from training.simulate.ct.protocols import CtProtocol
from training.simulate.pathology.head import BloodKind
from training.simulate.pathology.hemorrhage import Hemorrhage
from training.simulate.pathology.patient import Patient
from training.simulate.scan.motion import Motion
from training.simulate.scan.sampling import Box, box_of, labels, sample, volumes_ml
from training.simulate.space import Pose
from training.simulate.truth import Quantity, Truth

NCCT_TRUTH: tuple[str, ...] = ("brain", "ich", "baseline_hu")
CTP_TRUTH: tuple[str, ...] = (
    "cbf", "cbv", "mtt", "tmax", "delay", "residue_peak", "brain", "hypoperfused", "core",
    "penumbra", "ich", "territory", "ncct", "baseline_hu", "artery", "vein",
)  # fmt: skip
_UNITS = {
    "cbf": "mL/100 g/min",
    "cbv": "mL/100 g",
    "mtt": "s",
    "tmax": "s",
    "delay": "s",
    "residue_peak": "mL/100 g/min",
    "ncct": "HU",
    "baseline_hu": "HU",
}
_MEANINGS = {
    "brain": "grey and white matter, at least half of the voxel",
    "cbf": "cerebral blood flow of the tissue",
    "cbv": "cerebral blood volume of the tissue, CBF * MTT / 60",
    "mtt": "mean transit time",
    "tmax": "time of the peak of the residue with delay and dispersion",
    "delay": "delay of the tissue's curve",
    "residue_peak": "height of the peak at tmax",
    "hypoperfused": "tmax above 6 s",
    "core": "hypoperfused, CBF below 30 % of normal of its kind",
    "penumbra": "hypoperfused and not core",
    "ich": "hemorrhage of any kind",
    **{f"ich_{kind}": f"{kind} hemorrhage" for kind in BloodKind},
    "territory": "arterial territory, see Territory",
    "ncct": "head CT at 120 kVp without noise",
    "baseline_hu": "before noise and errors",
    "artery": "share of arteries",
    "vein": "share of veins",
}
_NEEDS = {
    "mtt": ("cbv",),
    "core": ("hypoperfused", "core"),
    "penumbra": ("hypoperfused", "core"),
}
_FLOW = {"cbf", "cbv", "mtt", "tmax", "delay", "residue_peak", "hypoperfused", "core", "penumbra"}
_HALF = np.float32(0.5)
_LEAST_SHARE = 0.05
_VOXELS_AT_ONCE = 4_000_000


def scan_truth(
    patient: Patient,
    protocol: CtProtocol,
    geometry: Geometry,
    poses: Sequence[Pose],
    names: Sequence[str],
    times_s: FloatArray,
    motion: Motion,
    baseline_hu: Float32Array | None = None,
) -> Truth:
    """Make the truth of a scan.

    Parameters
    ----------
    patient, protocol, geometry
        Whose scan.
    poses : sequence of Pose
        Of every slice.
    names : sequence of str
        Which arrays, of :data:`CTP_TRUTH`; ``ich`` brings a mask for each kind as well. Times,
        motion and the affine are always there.
    times_s, motion
        When slices were seen and how the head moved.
    baseline_hu : float32 array or None
        That array when it is at hand; made when None.

    Raises
    ------
    ValueError
        A name that there is not.
    """
    unknown = sorted(set(names) - set(CTP_TRUTH))
    if unknown:
        raise ValueError(f"no truth is called {', '.join(unknown)}; there are {CTP_TRUTH}")
    sources = _sources(patient, protocol, set(names), baseline_hu is None)
    kept: dict[str, Quantity] = {}
    at_once = max(1, _VOXELS_AT_ONCE // (geometry.rows * geometry.columns))
    for first in range(0, geometry.slices, at_once):
        chosen = slice(first, min(first + at_once, geometry.slices))
        part = replace(geometry, positions_mm=geometry.positions_mm[chosen])
        sampler = _Sampler(part, poses[chosen], protocol.thicknesses_mm[chosen])
        for name, quantity in _arrays(sampler, sources, patient, names).items():
            if name not in names and not name.startswith("ich_"):
                continue
            if name not in kept:
                whole = np.zeros(geometry.shape, dtype=quantity.values.dtype)
                kept[name] = replace(quantity, values=whole)
            kept[name].values[chosen] = quantity.values
    if baseline_hu is not None and "baseline_hu" in names:
        kept["baseline_hu"] = Quantity(baseline_hu, "HU", _MEANINGS["baseline_hu"])
    motion_times = times_s if times_s.ndim == 1 else times_s.mean(axis=1)
    kept["times_s"] = Quantity(times_s, "s", "when each slice was seen, after the start")
    kept["motion_mm_deg"] = Quantity(
        motion.parameters(motion_times - motion_times[0]), "mm, degrees",
        "shift along x, y, z and turns about them, against the start",
    )  # fmt: skip
    kept["head_to_scanner"] = head_to_scanner(poses)
    kept["affine_lps"] = Quantity(geometry.affine_lps, "mm", "(column, row, slice) to LPS")
    return Truth(kept, _numbers(patient, geometry, protocol.thickness_mm, kept))


def head_to_scanner(poses: Sequence[Pose]) -> Quantity:
    """Matrices of the poses of all slices, or of all time points."""
    matrices = np.stack([pose.matrix for pose in poses])
    return Quantity(matrices, "mm", "from the head's own LPS to the scanner's, for each pose")


@dataclass(frozen=True, eq=False)
class _Sampler:
    """Samples volumes of the head on a part of the grid of a scan."""

    geometry: Geometry
    poses: Sequence[Pose]
    thicknesses_mm: FloatArray

    def mean(self, source: "_Source") -> Float32Array:
        """Mean over each voxel, ``(slice, row, column)``."""
        volumes = [source.make()]
        found = sample(volumes, self.geometry, self.poses, self.thicknesses_mm, box=source.box)
        return np.asarray(found[0])


@dataclass(frozen=True, eq=False)
class _Source:
    """A volume of the head, made when it is needed; 0 beyond a box."""

    make: Callable[[], Float32Array]
    box: Box | None = None


def _sources(
    patient: Patient, protocol: CtProtocol, names: set[str], with_baseline: bool
) -> dict[str, _Source]:
    """What has to be sampled for the arrays that are asked for."""
    head, body = patient.head, patient.head.anatomy
    cavity = box_of(body.cavity)
    sources: dict[str, _Source] = {}
    if names & {"brain", *_FLOW}:
        sources["brain"] = _Source(lambda: body.grey + body.white, cavity)
    if names & _FLOW:
        sources |= _flow_sources(patient, names, cavity)
    if "ich" in names and head.blood:
        box = box_of(head.blood_share() > 0)
        sources |= {
            f"ich_{kind}": _Source(partial(head.blood.__getitem__, kind), box)
            for kind in head.blood
        }
    if "baseline_hu" in names and with_baseline:
        sources["baseline_hu"] = _Source(lambda: head_hu(head, protocol)[0])
    if "ncct" in names:
        sources["ncct"] = _Source(head.baseline_hu)
    for name, share in (("artery", body.artery), ("vein", body.vein)):
        if name in names:
            sources[name] = _Source(partial(np.asarray, share))
    return sources


def _flow_sources(patient: Patient, names: set[str], cavity: Box) -> dict[str, _Source]:
    """Flow of the tissue, times its share; blood that lies in the tissue has none."""
    maps, body = patient.perfusion, patient.head.anatomy
    share = np.clip(body.grey + body.white - patient.head.blood_share(), 0, 1)
    share[maps.cbf <= 0] = 0
    weighted = {
        "cbf": maps.cbf, "cbv": maps.cbv, "tmax": maps.tmax_s, "delay": maps.delay_s,
        "residue_peak": maps.residue_peak, "hypoperfused": maps.hypoperfused, "core": maps.core,
    }  # fmt: skip
    wanted = {"cbf"} | {one for name in names for one in _NEEDS.get(name, (name,))}
    return {"tissue": _Source(lambda: share, cavity)} | {
        name: _Source(partial(np.multiply, share, values), cavity)
        for name, values in weighted.items()
        if name in wanted
    }


def _arrays(
    sampler: _Sampler, sources: dict[str, _Source], patient: Patient, names: Sequence[str]
) -> dict[str, Quantity]:
    """Arrays of a part of the grid."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    if "brain" in sources:
        arrays["brain"] = sampler.mean(sources["brain"]) >= _HALF
    if "tissue" in sources:
        arrays |= _flow(sampler, sources, arrays["brain"])
    if "ich" in names:
        arrays |= _blood(sampler, sources)
    for name, source in sources.items():
        if name in ("baseline_hu", "ncct", "artery", "vein"):
            arrays[name] = sampler.mean(source)
    if "territory" in names:
        arrays["territory"] = labels(
            patient.head.anatomy.territory, sampler.geometry, sampler.poses
        )
    return {name: Quantity(array, _unit(name), _MEANINGS[name]) for name, array in arrays.items()}


def _flow(
    sampler: _Sampler, sources: dict[str, _Source], brain: BoolArray
) -> dict[str, npt.NDArray[Any]]:
    """Perfusion maps and lesions, as far as there are sources for them."""
    tissue, flow = sampler.mean(sources["tissue"]), sampler.mean(sources["cbf"])
    known = brain & (tissue > _LEAST_SHARE) & (flow > 0)
    weight = np.where(known, 1 / np.where(known, tissue, 1), 0).astype(np.float32)
    arrays: dict[str, npt.NDArray[Any]] = {"cbf": flow * weight}
    if "cbv" in sources:
        volume = sampler.mean(sources["cbv"])
        mtt = np.where(known, 60 * volume / np.where(known, flow, 1), 0).astype(np.float32)
        arrays["mtt"] = mtt
        arrays["cbv"] = arrays["cbf"] * mtt / np.float32(60)
    for name in ("tmax", "delay", "residue_peak"):
        if name in sources:
            arrays[name] = sampler.mean(sources[name]) * weight
    if "hypoperfused" in sources:
        hypoperfused = known & (sampler.mean(sources["hypoperfused"]) * weight >= _HALF)
        arrays["hypoperfused"] = hypoperfused
        if "core" in sources:
            core = hypoperfused & (sampler.mean(sources["core"]) * weight >= _HALF)
            arrays["core"], arrays["penumbra"] = core, hypoperfused & ~core
    return arrays


def _blood(sampler: _Sampler, sources: dict[str, _Source]) -> dict[str, npt.NDArray[Any]]:
    """Masks of extravasated blood; where kinds meet, the larger share decides."""
    masks = {f"ich_{kind}": np.zeros(sampler.geometry.shape, dtype=bool) for kind in BloodKind}
    total = np.zeros(sampler.geometry.shape, dtype=np.float32)
    names = [name for name in masks if name in sources]
    if names:
        shares = np.stack([sampler.mean(sources[name]) for name in names])
        total = np.sum(shares, axis=0)
        largest = np.argmax(shares, axis=0)
        for index, name in enumerate(names):
            masks[name] = (total >= _HALF) & (largest == index)
    return {"ich": total >= _HALF, **masks}


def _unit(name: str) -> str:
    return _UNITS.get(name, "1")


def _numbers(
    patient: Patient, geometry: Geometry, thickness_mm: float, arrays: dict[str, Quantity]
) -> dict[str, Any]:
    masks = {
        name: quantity.values
        for name, quantity in arrays.items()
        if quantity.values.dtype == np.bool_
    }
    stroke, hemorrhage = patient.stroke, patient.hemorrhage
    return {
        "seed": patient.case.seed,
        "cohort": patient.person.cohort,
        "side": None if stroke is None else stroke.side,
        "occlusion": None if stroke is None else str(stroke.occlusion),
        "onset_h": None if stroke is None else stroke.onset_h,
        "volumes_ml": volumes_ml(geometry, thickness_mm, masks),
        "blood_ml": {
            str(kind): volume
            for kind, volume in ({} if hemorrhage is None else hemorrhage.volumes_ml).items()
        },
        "hemorrhage": None if hemorrhage is None else _about(hemorrhage),
    }


def _about(hemorrhage: Hemorrhage) -> dict[str, Any]:
    """Where and when it bled; the midline's shift is positive to the patient's left."""
    return {
        "place": str(hemorrhage.place),
        "region": hemorrhage.region.name.lower(),
        "side": hemorrhage.side,
        "age_h": hemorrhage.age_h,
        "midline_shift_mm": hemorrhage.midline_shift_mm,
    }
