"""The patient in the scanner: pose in the head holder, where the slices go, the holder itself."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from inference.geometry import Geometry
from training.simulate.anatomy.model import Anatomy
from training.simulate.arrays import Float32Array, FloatArray
from training.simulate.ct.protocols import CtProtocol
from training.simulate.space import HEAD_ORIGIN_MM, Pose

_COARSE = 4
_BASAL_GANGLIA_MM = 8.0
_SHELL_HU = (30.0, 60.0, 260.0)
_FOAM_HU = (-955.0, -930.0, -900.0)
_WHOLE_HEAD_MM = 130.0


@dataclass(frozen=True)
class Extent:
    """Corners of a box in the scanner, x, y, z in mm."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]


def holder_pose(protocol: CtProtocol) -> Pose:
    """How the head lies before it moves."""
    return Pose.from_angles(protocol.pose_deg)


def place_stack(protocol: CtProtocol, anatomy: Anatomy, pose: Pose) -> Geometry:
    """Put the protocol's slices where a technician would.

    A head CT ends above the vertex. A perfusion scan that covers less than the whole brain lies at
    the basal ganglia. The protocol says by how much the technician missed.
    """
    cavity, head = _extent(_points(anatomy)[0], pose), _extent(_points(anatomy)[1], pose)
    x, y = ((cavity.low[axis] + cavity.high[axis]) / 2 for axis in (0, 1))
    heights = protocol.heights_mm
    covered = float(np.sum(protocol.thicknesses_mm) * protocol.spacing_mm / protocol.thickness_mm)
    tilt = np.radians(protocol.tilt_deg)
    if covered >= _WHOLE_HEAD_MM:
        top = head.high[2] + 6 + abs(np.sin(tilt)) * 40
        spare = covered - (top - cavity.low[2] + 8)
        z = top + (0.5 * spare if spare < 0 else 0.15 * spare) - covered / 2
    else:
        z = float(pose.to_scanner(np.array([0.0, 10.0, _BASAL_GANGLIA_MM]))[2])
    centre = np.array([x, y, z]) + np.array(protocol.off_centre_mm)
    pixel = protocol.pixel_mm
    row_axis = np.array([1.0, 0.0, 0.0])
    column_axis = np.array([0.0, np.cos(tilt), -np.sin(tilt)])
    corner = -pixel * (protocol.columns - 1) / 2 * row_axis
    corner = corner - pixel * (protocol.rows - 1) / 2 * column_axis
    table = np.array([0.0, 0.0, 1.0]) * heights[:, None]
    return Geometry(
        centre + table + corner, row_axis, column_axis, (pixel, pixel), protocol.rows,
        protocol.columns,
    )  # fmt: skip


def holder_hu(
    protocol: CtProtocol, geometry: Geometry, anatomy: Anatomy, pose: Pose
) -> Float32Array:
    """HU of head holder, pads and table top around the head, -1000 elsewhere; one slice's shape.

    The holder is the same at all heights: a shell under the occiput with foam inside and, at some
    scanners, two side pads and the top of the table.
    """
    pixel = geometry.pixel_spacing_mm[0]
    origin = geometry.positions_mm[0]
    x = origin[0] + np.arange(geometry.columns) * pixel
    y = origin[1] + np.arange(geometry.rows) * pixel * geometry.column_cosines[1]
    values = np.full((geometry.rows, geometry.columns), -1000.0)
    if protocol.holder == 0:
        return values.astype(np.float32)
    style = protocol.holder - 1
    head = _extent(_points(anatomy)[1], pose)
    middle = (head.low[0] + head.high[0]) / 2
    half = (head.high[0] - head.low[0]) / 2 + (14.0, 22.0, 9.0)[style]
    bottom = head.high[1] + (8.0, 4.0, 12.0)[style]
    depth = (95.0, 120.0, 75.0)[style]
    power = (2.4, 3.5, 2.2)[style]
    across, down = np.abs(x - middle)[None, :] / half, (y[:, None] - (bottom - depth)) / depth
    rho = (across**power + np.clip(down, 0, None) ** power) ** (1 / power)
    shell = (rho - 1) * np.minimum(half, depth)
    ending = np.clip((y - (bottom - depth + (0, 25, -20)[style])) / pixel, 0, 1)[:, None]
    foam = _band(shell + 40, 40.0, pixel) * ending
    values += foam * (_FOAM_HU[style] + 1000)
    wall = _band(shell, (1.6, 2.2, 1.2)[style], pixel) * ending
    values += wall * (_SHELL_HU[style] - values)
    if style != 1:
        table = bottom + (22.0, 0.0, 30.0)[style] + 0.0006 * (x - middle) ** 2
        top = _band(y[:, None] - table[None, :], 0.8, pixel)
        values += top * (-250 - values)
    return values.astype(np.float32)


def _band(distance_mm: FloatArray, half_width_mm: float, pixel_mm: float) -> FloatArray:
    """Share of a pixel within a band about distance 0."""
    return np.asarray(np.clip((half_width_mm - np.abs(distance_mm)) / pixel_mm + 0.5, 0, 1))


@lru_cache(maxsize=4)
def _points(anatomy: Anatomy) -> tuple[FloatArray, FloatArray]:
    """Coarse grid points inside the cavity, and inside the head without the neck, ``(n, 3)``."""
    thin = (slice(None, None, _COARSE),) * 3
    cavity = anatomy.cavity[thin]
    shares = (
        anatomy.grey, anatomy.white, anatomy.csf, anatomy.artery, anatomy.vein, anatomy.bone,
        anatomy.fat, anatomy.soft,
    )  # fmt: skip
    body = np.zeros(cavity.shape, dtype=np.float32)
    for share in shares:
        body += share[thin]
    lowest = int(np.flatnonzero(cavity.any(axis=(1, 2)))[0])
    body[:lowest] = 0
    origin = np.array(HEAD_ORIGIN_MM)
    inside, outline = (
        np.argwhere(mask)[:, ::-1] * float(_COARSE) + origin for mask in (cavity, body > 0.5)
    )
    return inside, outline


def _extent(points: FloatArray, pose: Pose) -> Extent:
    placed = pose.to_scanner(points)
    low, high = placed.min(axis=0), placed.max(axis=0)
    return Extent((low[0], low[1], low[2]), (high[0], high[1], high[2]))
