"""What is true of a CT scan, on the scan's own grid.

Maps are means over the tissue in a voxel, weighted by its share; a mask holds where its share is at
least one half, and those of blood are as large as the blood, however thick the slices are. Kinds of
blood exclude each other, core and penumbra make up what is hypoperfused, and CBV is CBF · MTT / 60,
all exactly.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.geometry import Geometry
from training.simulate.arrays import Float32Array, FloatArray
from training.simulate.ct.blood_masks import kind_masks
from training.simulate.ct.image import head_hu
from training.simulate.ct.protocols import CtProtocol
from training.simulate.pathology.head import BloodKind, Head
from training.simulate.pathology.hemorrhage import Hemorrhage
from training.simulate.pathology.patient import Patient
from training.simulate.scan.flow_truth import FLOW_TRUTH, brain_truth, flow_truth, flow_volumes
from training.simulate.scan.motion import Motion
from training.simulate.scan.sampling import labels, sample, volumes_ml
from training.simulate.space import Box, Pose, bounding_box
from training.simulate.truth import Quantity, Truth

NCCT_TRUTH: tuple[str, ...] = ("brain", "ich", "baseline_hu")
CTP_TRUTH: tuple[str, ...] = (
    "cbf", "cbv", "mtt", "tmax", "delay", "residue_peak", "brain", "hypoperfused", "core",
    "penumbra", "ich", "territory", "ncct", "baseline_hu", "artery", "vein",
)  # fmt: skip
_UNITS = {"ncct": "HU", "baseline_hu": "HU"}
_MEANINGS = {
    "ich": "hemorrhage of any kind",
    **{f"ich_{kind}": f"{kind} hemorrhage" for kind in BloodKind},
    "territory": "arterial territory, see Territory",
    "ncct": "head CT at 120 kVp without noise",
    "baseline_hu": "before noise and errors",
    "artery": "share of arteries",
    "vein": "share of veins",
}
_FLOW = tuple(name for name in FLOW_TRUTH if name in CTP_TRUTH)
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
    thin = protocol.thicknesses_mm
    for chosen, sampler in _slabs(geometry, poses, thin):
        for name, quantity in _arrays(sampler, sources, patient, names).items():
            if name not in names:
                continue
            if name not in kept:
                whole = np.zeros(geometry.shape, dtype=quantity.values.dtype)
                kept[name] = replace(quantity, values=whole)
            kept[name].values[chosen] = quantity.values
    if "ich" in names:
        kept |= _blood(patient.head, geometry, poses, thin)
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


def _slabs(
    geometry: Geometry, poses: Sequence[Pose], thicknesses_mm: FloatArray
) -> Iterator[tuple[slice, _Sampler]]:
    """Yield parts of the grid that are small enough to be held in memory several times."""
    at_once = max(1, _VOXELS_AT_ONCE // (geometry.rows * geometry.columns))
    for first in range(0, geometry.slices, at_once):
        chosen = slice(first, min(first + at_once, geometry.slices))
        part = replace(geometry, positions_mm=geometry.positions_mm[chosen])
        yield chosen, _Sampler(part, poses[chosen], thicknesses_mm[chosen])


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
    cavity = bounding_box(body.cavity)
    sources: dict[str, _Source] = {}
    if names & {"brain", *_FLOW}:
        sources["brain"] = _Source(lambda: body.grey + body.white, cavity)
    if names & {*_FLOW}:
        volumes = flow_volumes(patient, names & {*_FLOW})
        sources |= {name: _Source(make, cavity) for name, make in volumes.items()}
    if "baseline_hu" in names and with_baseline:
        sources["baseline_hu"] = _Source(lambda: head_hu(head, protocol)[0])
    if "ncct" in names:
        sources["ncct"] = _Source(head.baseline_hu)
    for name, share in (("artery", body.artery), ("vein", body.vein)):
        if name in names:
            sources[name] = _Source(partial(np.asarray, share))
    return sources


def _arrays(
    sampler: _Sampler, sources: dict[str, _Source], patient: Patient, names: Sequence[str]
) -> dict[str, Quantity]:
    """Arrays of a part of the grid."""
    quantities: dict[str, Quantity] = {}
    if "brain" in sources:
        quantities["brain"] = brain_truth(sampler.mean(sources["brain"]))
    flow = {name: sampler.mean(sources[name]) for name in ("tissue", *_FLOW) if name in sources}
    if flow:
        quantities |= flow_truth(flow, quantities["brain"].values)
    arrays: dict[str, npt.NDArray[Any]] = {
        name: sampler.mean(source)
        for name, source in sources.items()
        if name in ("baseline_hu", "ncct", "artery", "vein")
    }
    if "territory" in names:
        arrays["territory"] = labels(
            patient.head.anatomy.territory, sampler.geometry, sampler.poses
        )
    return quantities | {
        name: Quantity(array, _UNITS.get(name, "1"), _MEANINGS[name])
        for name, array in arrays.items()
    }


def _blood(
    head: Head, geometry: Geometry, poses: Sequence[Pose], thicknesses_mm: FloatArray
) -> dict[str, Quantity]:
    """Masks of extravasated blood, of all and of each kind, from all voxels that hold any."""
    masks = {kind: np.zeros(geometry.shape, dtype=bool) for kind in BloodKind}
    everywhere = np.zeros(geometry.shape, dtype=bool)
    if head.blood:
        box = bounding_box(head.blood_share() > 0)
        sources = [_Source(partial(np.asarray, share), box) for share in head.blood.values()]
        places, shares = [], []
        for chosen, sampler in _slabs(geometry, poses, thicknesses_mm):
            found = np.stack([sampler.mean(source).ravel() for source in sources])
            place = np.flatnonzero(found.any(axis=0))
            shares.append(found[:, place])
            places.append(place + chosen.start * geometry.rows * geometry.columns)
        place = np.concatenate(places)
        weights = thicknesses_mm[place // (geometry.rows * geometry.columns)]
        for kind, mask in zip(head.blood, kind_masks(np.hstack(shares), weights), strict=True):
            masks[kind].ravel()[place] = mask
            everywhere.ravel()[place[mask]] = True
    named = {"ich": everywhere, **{f"ich_{kind}": mask for kind, mask in masks.items()}}
    return {name: Quantity(mask, "1", _MEANINGS[name]) for name, mask in named.items()}


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
