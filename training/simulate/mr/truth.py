"""What is true of an MR scan, on the scan's own grid."""

from collections.abc import Collection

import numpy as np

from inference.geometry import Geometry
from training.simulate.arrays import BoolArray, Float32Array
from training.simulate.pathology.head import Head
from training.simulate.pathology.patient import Patient
from training.simulate.scan.flow_truth import FLOW_TRUTH, brain_truth, flow_truth, flow_volumes
from training.simulate.scan.sampling import labels
from training.simulate.space import Pose, render
from training.simulate.truth import Quantity


def brain_on(head: Head, geometry: Geometry, pose: Pose, thickness_mm: float) -> Quantity:
    """Voxels of a scan that are brain."""
    tissue = head.anatomy.grey + head.anatomy.white
    return brain_truth(render([tissue], geometry, pose, thickness_mm)[0])


def perfusion_truth(
    patient: Patient,
    geometry: Geometry,
    pose: Pose,
    thickness_mm: float,
    names: Collection[str] = FLOW_TRUTH,
) -> dict[str, Quantity]:
    """The brain and the maps and masks of its perfusion, as :func:`flow_truth` defines them."""
    volumes = flow_volumes(patient, names)
    sampled = render([make() for make in volumes.values()], geometry, pose, thickness_mm)
    brain = brain_on(patient.head, geometry, pose, thickness_mm)
    found = flow_truth(dict(zip(volumes, sampled, strict=True)), brain.values)
    return {"brain": brain} | {name: found[name] for name in names}


def place_truth(
    patient: Patient, geometry: Geometry, pose: Pose, thickness_mm: float
) -> dict[str, Quantity]:
    """Where the scan lies in the head, and whose territory and which vessel each voxel holds."""
    anatomy = patient.head.anatomy
    vessels = render([anatomy.artery, anatomy.vein], geometry, pose, thickness_mm)
    return {
        "territory": Quantity(
            labels(anatomy.territory, geometry, [pose] * geometry.slices),
            "1",
            "number of the arterial territory",
        ),
        "artery": Quantity(vessels[0], "1", "share of the voxel that is a large artery"),
        "vein": Quantity(vessels[1], "1", "share of the voxel that is a large vein"),
        "affine_lps": Quantity(geometry.affine_lps, "mm", "from (column, row, slice) to LPS"),
        "head_to_scanner": Quantity(pose.matrix, "mm", "from the head's own LPS to LPS"),
    }


def share_on(
    share: Float32Array, geometry: Geometry, pose: Pose, thickness_mm: float, least: float
) -> BoolArray:
    """Voxels of the scan of which at least ``least`` is what a share of the head grid tells."""
    return np.asarray(render([share], geometry, pose, thickness_mm)[0] >= least)
