"""What is true of an MR scan, on the scan's own grid."""

import numpy as np

from inference.geometry import Geometry
from training.simulate.arrays import BoolArray, Float32Array
from training.simulate.pathology.head import Head
from training.simulate.pathology.patient import Patient
from training.simulate.pathology.transformation import leakage_percent
from training.simulate.scan.sampling import labels
from training.simulate.space import Pose, render
from training.simulate.truth import Quantity

_LEAST_TISSUE = 0.5


def brain_on(head: Head, geometry: Geometry, pose: Pose, thickness_mm: float) -> BoolArray:
    """Voxels of which at least half is grey or white matter."""
    tissue = head.anatomy.grey + head.anatomy.white
    return np.asarray(render([tissue], geometry, pose, thickness_mm)[0] >= _LEAST_TISSUE)


def perfusion_truth(
    patient: Patient, geometry: Geometry, pose: Pose, thickness_mm: float
) -> dict[str, Quantity]:
    """Maps and masks of a patient's perfusion: means over the tissue in each voxel.

    Blood volume and flow are averaged, the transit time follows from them, and the stored CBV is
    CBF · MTT / 60 in float32, exactly. A voxel of brain is hypoperfused when at least half of its
    tissue is, and core when, of that, at least half is; the rest is penumbra.
    """
    maps, anatomy = patient.perfusion, patient.head.anatomy
    tissue = (anatomy.grey + anatomy.white) * (maps.cbf > 0)
    parts = [maps.cbf, maps.cbv, maps.tmax_s, maps.delay_s, maps.residue_peak]
    parts += [leakage_percent(maps)]
    parts += [maps.hypoperfused.astype(np.float32), maps.core.astype(np.float32)]
    weight, *rendered = render(
        [tissue, *(part * tissue for part in parts)], geometry, pose, thickness_mm
    )
    brain = weight >= _LEAST_TISSUE
    share = np.where(brain, weight, 1)
    cbf, cbv, tmax, delay, peak, leakage, low, dead = (
        np.where(brain, part / share, 0).astype(np.float32) for part in rendered
    )
    minute = np.float32(60)
    mtt = np.divide(cbv * minute, cbf, out=np.zeros_like(cbv), where=cbf > 0)
    hypoperfused = brain & (low >= 0.5)
    core = hypoperfused & (dead >= 0.5)
    return {
        "cbf": Quantity(cbf, "mL/100 g/min", "cerebral blood flow of the tissue"),
        "cbv": Quantity(cbf * mtt / minute, "mL/100 g", "cerebral blood volume of the tissue"),
        "mtt": Quantity(mtt, "s", "mean transit time, 60 CBV / CBF"),
        "tmax": Quantity(tmax, "s", "time of the residue's peak, with delay and dispersion"),
        "delay": Quantity(delay, "s", "delay of the tissue's own artery"),
        "residue_peak": Quantity(peak, "mL/100 g/min", "height of the dispersed residue's peak"),
        "leakage": Quantity(leakage, "%", "leakage of the blood-brain barrier"),
        "brain": Quantity(brain, "1", "at least half grey or white matter"),
        "hypoperfused": Quantity(hypoperfused, "1", "Tmax above 6 s"),
        "core": Quantity(core, "1", "hypoperfused with less than 30 % of normal flow"),
        "penumbra": Quantity(hypoperfused & ~core, "1", "hypoperfused and not core"),
    }


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
