"""A head with blood flow and a stroke on any voxel grid, with the truth behind it.

Each voxel is the mean over a finer grid of points, so thin vessels and cortex have partial volume.
All sizes and flows are drawn from the seed; the same seed with the lesion on another side is the
same head. Flows are textbook values: CBF of grey matter 54-63, of white matter 23-28, of penumbra
14-22, of core 5-9 mL/100 g/min.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.geometry import Geometry
from tests.support.analytic.head import (
    BASELINE_HU,
    Float32Array,
    FloatArray,
    Head,
    Plane,
    Tissue,
    draw_head,
    ellipsoid,
    tissue_on_plane,
)

BoolArray = npt.NDArray[np.bool_]
Lesion = Literal["left", "right", "none"]

HYPOPERFUSED_TMAX_S = 6.0
CORE_RELATIVE_CBF = 0.3
_FINE_MM = 0.5
_FINE_SLICE_MM = 1.8
_BLUR_MM = 0.6
_CORE_OEDEMA_HU = 3.0
KEPT = (Tissue.CSF, Tissue.WHITE, Tissue.GREY, Tissue.ARTERY, Tissue.LATE_ARTERY, Tissue.VEIN)


@dataclass(frozen=True)
class Perfusion:
    """Kinetics of one tissue: CBF in mL/100 g/min, MTT and delay in s."""

    cbf: float
    mtt_s: float
    delay_s: float


@dataclass(frozen=True, eq=False)
class Stroke:
    """A lesion in the territory of one middle cerebral artery, in head coordinates (mm)."""

    centre_mm: FloatArray
    axes_mm: FloatArray
    core_centre_mm: FloatArray
    core_axes_mm: FloatArray


@dataclass(frozen=True, eq=False)
class Patient:
    """Everything that the seed decides; pairs are (grey matter, white matter)."""

    seed: int
    lesion: Lesion
    head: Head
    normal: tuple[Perfusion, Perfusion]
    penumbra: tuple[Perfusion, Perfusion]
    core: tuple[Perfusion, Perfusion]
    stroke: Stroke | None


@dataclass(frozen=True, eq=False)
class Phantom:
    """One patient on a voxel grid; arrays of shape ``(slice, row, column)``.

    ``fractions`` says how much of each voxel is one of :data:`KEPT`. CBF (mL/100 g/min) and CBV
    (mL/100 g) are those of the brain tissue in the voxel, diluted by the cerebrospinal fluid in it;
    MTT = 60 CBV/CBF. ``tmax_s`` is the time at which the residue function is largest, which for an
    exponential one is its delay. Outside brain tissue all four are 0. ``hypoperfused`` is Tmax
    above 6 s, ``core`` the part of it below 30 % of the mean CBF of healthy tissue.
    """

    patient: Patient
    geometry: Geometry
    baseline_hu: Float32Array
    fractions: dict[Tissue, Float32Array]
    cbf: Float32Array
    cbv: Float32Array
    mtt_s: Float32Array
    tmax_s: Float32Array
    brain: BoolArray
    hypoperfused: BoolArray
    core: BoolArray

    @property
    def penumbra(self) -> BoolArray:
        """Hypoperfused tissue outside the core."""
        return self.hypoperfused & ~self.core


def draw_patient(seed: int, lesion: Lesion = "left", vessel_scale: float = 1.0) -> Patient:
    """Draw one patient; ``lesion`` is the patient's side of the stroke.

    ``vessel_scale`` widens arteries for grids too coarse to show a radius of 1 to 2 mm.
    """
    if lesion not in ("left", "right", "none"):
        raise ValueError(f"lesion is {lesion!r}, expected left, right or none")
    anatomy, flow, stroke = (np.random.default_rng([seed, part]) for part in range(3))
    side = {"left": 1, "right": -1, "none": 0}[lesion]
    late, transit, core_transit = flow.uniform((7.2, 8.5, 8), (8.8, 11, 10))
    return Patient(
        seed=seed,
        lesion=lesion,
        head=draw_head(anatomy, side, vessel_scale),
        normal=(
            Perfusion(flow.uniform(54, 63), flow.uniform(4.4, 5.1), flow.uniform(0.4, 1.0)),
            Perfusion(flow.uniform(23, 28), flow.uniform(4.8, 5.5), flow.uniform(0.7, 1.5)),
        ),
        penumbra=(
            Perfusion(flow.uniform(18, 22), transit, late),
            Perfusion(flow.uniform(14, 16), transit, late),
        ),
        core=(
            Perfusion(flow.uniform(7, 9), core_transit, late + 2.0),
            Perfusion(flow.uniform(5, 7), core_transit, late + 2.0),
        ),
        stroke=_draw_stroke(stroke, side) if side else None,
    )


def _draw_stroke(rng: np.random.Generator, side: int) -> Stroke:
    mirror = np.array([side, 1, 1])
    centre = rng.normal((41, 2, 6), 2.5)
    axes = rng.uniform(0.8, 1.1) * rng.normal((26, 41, 32), 1.5)
    core_centre = centre + rng.normal((-8, -3, 0), 2)
    core_axes = axes * rng.uniform(0.45, 0.75)
    return Stroke(centre * mirror, axes, core_centre * mirror, core_axes)


def axial_geometry(
    slices: int = 16,
    matrix: int = 256,
    *,
    thickness_mm: float = 5.0,
    fov_mm: float = 230.0,
    centre_z_mm: float = 8.0,
) -> Geometry:
    """Axial stack around the head, ascending towards the vertex."""
    spacing = fov_mm / matrix
    corner = (spacing - fov_mm) / 2
    heights = centre_z_mm + (np.arange(slices) - (slices - 1) / 2) * thickness_mm
    positions = np.column_stack([np.full((slices, 2), corner), heights])
    x_axis, y_axis = np.eye(3)[:2]
    return Geometry(positions, x_axis, y_axis, (spacing, spacing), matrix, matrix)


def make_phantom(patient: Patient, geometry: Geometry, thickness_mm: float = 5.0) -> Phantom:
    """Compute ``patient`` on ``geometry`` with slices of ``thickness_mm``."""
    shape = geometry.shape
    fractions = {kind: np.zeros(shape, dtype=np.float32) for kind in KEPT}
    baseline, cbf, cbv, tmax = (np.zeros(shape, dtype=np.float32) for _ in range(4))
    healthy = np.zeros(shape, dtype=np.bool_)
    blur = [_BLUR_MM / spacing for spacing in geometry.pixel_spacing_mm]
    for index in range(geometry.slices):
        shares = _tissue_shares(patient.head, geometry, index, thickness_mm)
        for kind in KEPT:
            fractions[kind][index] = shares[kind]
        middle = _plane(patient.head, geometry, index, 0.0, 1)
        penumbra, core = _lesion_weights(patient.stroke, middle, patient.head)
        variation = 1 + 0.05 * patient.head.slow.on_plane(middle)
        grey_white = shares[[Tissue.GREY, Tissue.WHITE]]
        flows = _flow(patient, grey_white, (penumbra, core, variation))
        cbf[index], cbv[index], tmax[index] = flows
        healthy[index] = penumbra < 0.02
        oedema = _CORE_OEDEMA_HU * core * grey_white.sum(axis=0)
        plain = np.tensordot(BASELINE_HU, shares, axes=1) - oedema
        baseline[index] = ndimage.gaussian_filter(plain, blur)
    share = fractions[Tissue.GREY] + fractions[Tissue.WHITE]
    brain = share > 0.5
    tissue_cbf = np.divide(cbf, share, out=np.zeros_like(cbf), where=brain)
    healthy &= brain
    normal_cbf = tissue_cbf[healthy].mean() if healthy.any() else 0.0
    hypoperfused = brain & (tmax > HYPOPERFUSED_TMAX_S)
    return Phantom(
        patient=patient,
        geometry=geometry,
        baseline_hu=baseline,
        fractions=fractions,
        cbf=cbf,
        cbv=cbv,
        mtt_s=np.divide(60 * cbv, cbf, out=np.zeros_like(cbf), where=cbf > 0),
        tmax_s=tmax,
        brain=brain,
        hypoperfused=hypoperfused,
        core=hypoperfused & (tissue_cbf < CORE_RELATIVE_CBF * normal_cbf),
    )


def _tissue_shares(head: Head, geometry: Geometry, index: int, thickness_mm: float) -> Float32Array:
    """Share of every tissue in the voxels of one slice, shape ``(tissue, row, column)``."""
    fine = max(1, round(geometry.pixel_spacing_mm[0] / _FINE_MM))
    layers = max(1, round(thickness_mm / _FINE_SLICE_MM))
    shares = np.zeros((len(Tissue), geometry.rows, geometry.columns), dtype=np.float32)
    for layer in range(layers):
        height = ((layer + 0.5) / layers - 0.5) * thickness_mm
        tissue = tissue_on_plane(head, _plane(head, geometry, index, height, fine))
        for kind in np.flatnonzero(np.bincount(tissue.ravel())):
            points = (tissue == kind).astype(np.uint16)
            in_rows = sum(points[first::fine] for first in range(fine))
            shares[kind] += sum(in_rows[:, first::fine] for first in range(fine))
    return shares / np.float32(layers * fine**2)


def _plane(head: Head, geometry: Geometry, index: int, offset_mm: float, fine: int) -> Plane:
    """One plane of a slice, ``offset_mm`` from its middle, with ``fine`` points per pixel side."""
    to_head = head.rotation.T
    start = geometry.positions_mm[index] + geometry.normal * offset_mm - head.shift_mm
    rows, columns = (
        (np.arange(count * fine) + 0.5) / fine - 0.5 for count in (geometry.rows, geometry.columns)
    )
    return Plane(
        origin=to_head @ start,
        column_step=to_head @ geometry.row_cosines * geometry.pixel_spacing_mm[1],
        row_step=to_head @ geometry.column_cosines * geometry.pixel_spacing_mm[0],
        columns=columns,
        rows=rows,
    )


def _lesion_weights(
    stroke: Stroke | None, plane: Plane, head: Head
) -> tuple[Float32Array, Float32Array]:
    """How far a point belongs to the hypoperfused territory and to its core, 0 to 1, graded."""
    if stroke is None:
        nowhere = np.zeros(plane.xyz.shape[1:], dtype=np.float32)
        return nowhere, nowhere
    rough = 0.08 * head.slow.on_plane(plane) + 0.04 * head.gyri.on_plane(plane)
    weights = []
    for centre, axes, border_mm in (
        (stroke.centre_mm, stroke.axes_mm, 1.6),
        (stroke.core_centre_mm, stroke.core_axes_mm, 1.2),
    ):
        inside_mm = (1 - ellipsoid(plane.xyz, centre, axes) + rough) * float(axes.mean())
        weights.append(1 / (1 + np.exp(np.clip(-inside_mm / border_mm, -30, 30))))
    same_side = plane.xyz[0] * np.sign(stroke.centre_mm[0]) > 4
    penumbra, core = (np.asarray(weight * same_side, np.float32) for weight in weights)
    return penumbra, core * penumbra


def _flow(
    patient: Patient,
    grey_white: Float32Array,
    weights: tuple[Float32Array, Float32Array, Float32Array],
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """CBF, CBV and Tmax of one slice, graded from normal tissue over penumbra to core."""
    penumbra, core, variation = weights
    cbf, cbv, late = np.zeros((3, *penumbra.shape), dtype=np.float32)
    for index, share in enumerate(grey_white):
        levels = [level[index] for level in (patient.normal, patient.penumbra, patient.core)]
        flow, transit, delay = (
            _grade([getattr(level, name) for level in levels], penumbra, core)
            for name in ("cbf", "mtt_s", "delay_s")
        )
        cbf += share * flow * variation
        cbv += share * flow * variation * transit / 60
        late += share * delay
    total = grey_white.sum(axis=0)
    return cbf, cbv, np.divide(late, total, out=np.zeros_like(late), where=total > 0)


def _grade(levels: list[float], penumbra: Float32Array, core: Float32Array) -> Float32Array:
    normal_value, penumbra_value, core_value = levels
    outer = normal_value + (penumbra_value - normal_value) * penumbra
    return outer + (core_value - outer) * core
