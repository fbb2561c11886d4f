"""Grids of axial slices for the tests of scans."""

from collections.abc import Sequence

import numpy as np

from inference.geometry import Geometry


def axial_stack(
    slices: int,
    rows: int,
    *,
    thickness_mm: float = 5.0,
    fov_mm: float = 230.0,
    centre_mm: Sequence[float] = (0.0, 0.0, 0.0),
) -> Geometry:
    """Square slices without gaps around a point of the scanner, ascending towards the vertex."""
    pixel = fov_mm / rows
    x, y, z = centre_mm
    heights = z + (np.arange(slices) - (slices - 1) / 2) * thickness_mm
    corner = (x - pixel * (rows - 1) / 2, y - pixel * (rows - 1) / 2)
    positions = np.column_stack([np.full((slices, 2), corner), heights])
    x_axis, y_axis = np.eye(3)[:2]
    return Geometry(positions, x_axis, y_axis, (pixel, pixel), rows, rows)
