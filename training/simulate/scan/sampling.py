"""Sampling the head on a scanner's grid, slice by slice where it moves, and only where it is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.geometry import Geometry
from training.simulate.arrays import BoolArray, Float32Array, FloatArray, Uint8Array
from training.simulate.space import (
    HEAD_ORIGIN_MM,
    HEAD_SHAPE,
    Box,
    Pose,
    head_index,
    render_slices,
)

_FAR = 1000.0


def volumes_ml(
    geometry: Geometry, thickness_mm: float, masks: Mapping[str, BoolArray]
) -> dict[str, float]:
    """Volume of each mask: its count in every slice times that slice's voxel volume.

    A single slice, which has no neighbour, is as high as it is thick.
    """
    voxel_ml = geometry.voxel_volumes_ml
    if geometry.slices == 1:
        voxel_ml = np.full(1, thickness_mm * np.prod(geometry.pixel_spacing_mm) / 1000)
    return {
        name: float(np.sum(np.count_nonzero(mask, axis=(1, 2)) * voxel_ml))
        for name, mask in masks.items()
    }


def part_of(geometry: Geometry, slices: slice, rows: slice, columns: slice) -> Geometry:
    """The geometry of a part of the grid; the slices bounded, without step."""
    row_mm, column_mm = geometry.pixel_spacing_mm
    corner = rows.start * row_mm * geometry.column_cosines
    corner = corner + columns.start * column_mm * geometry.row_cosines
    return replace(
        geometry,
        positions_mm=geometry.positions_mm[slices] + corner,
        rows=rows.stop - rows.start,
        columns=columns.stop - columns.start,
    )


def sample(
    volumes: Sequence[npt.NDArray[Any]],
    geometry: Geometry,
    poses: Sequence[Pose],
    thicknesses_mm: FloatArray,
    *,
    box: Box | None = None,
    outside: float = 0.0,
) -> Float32Array:
    """:func:`~training.simulate.space.render` with a pose and a thickness for every slice.

    Parameters
    ----------
    volumes : sequence of arrays of ``HEAD_SHAPE``
        What to sample.
    geometry : Geometry
        The scanner's grid.
    poses, thicknesses_mm
        One for every slice.
    box : Box or None
        Part of the head beyond which all volumes are ``outside``; the whole head when None.
    outside : float
        See ``box``.

    Returns
    -------
    float32 array of shape ``(volume, slice, row, column)``
    """
    images = np.full((len(volumes), *geometry.shape), outside, dtype=np.float32)
    window = _window(geometry, poses, thicknesses_mm, box)
    if window is None:
        return images
    slices, rows, columns = window
    part = part_of(geometry, *window)
    whole = slice(0, part.rows), slice(0, part.columns)
    for image, volume in zip(images, volumes, strict=True):
        source = [volume.astype(np.float32, copy=False)]
        for run, thickness in _runs(poses[slices], thicknesses_mm[slices]):
            pose = poses[slices][run.start]
            for found, values in render_slices(source, part_of(part, run, *whole), pose, thickness):
                first = slices.start + run.start
                chosen = slice(first + found.start, first + found.stop)
                image[chosen, rows, columns] = values[0]
    return images


def labels(values: Uint8Array, geometry: Geometry, poses: Sequence[Pose]) -> Uint8Array:
    """Labels of the head in the middle of each voxel, ``(slice, row, column)``; 0 outside."""
    result = np.zeros(geometry.shape, dtype=np.uint8)
    rows = np.arange(geometry.rows)[:, None, None] * geometry.pixel_spacing_mm[0]
    columns = np.arange(geometry.columns)[None, :, None] * geometry.pixel_spacing_mm[1]
    plane = rows * geometry.column_cosines + columns * geometry.row_cosines
    limit = np.array(HEAD_SHAPE)
    for index, pose in enumerate(poses):
        place = np.rint(head_index(pose.to_head(geometry.positions_mm[index] + plane)))
        place = place.astype(np.int64)
        inside = np.all((place >= 0) & (place < limit), axis=-1)
        z, y, x = np.moveaxis(np.clip(place, 0, limit - 1), -1, 0)
        result[index] = np.where(inside, values[z, y, x], 0)
    return result


def _runs(poses: Sequence[Pose], thicknesses_mm: FloatArray) -> Iterator[tuple[slice, float]]:
    """Yield which neighbouring slices have the same pose and thickness, and the thickness."""
    start, count = 0, len(thicknesses_mm)
    for index in range(1, count + 1):
        same = index < count and poses[index] is poses[start]
        if same and thicknesses_mm[index] == thicknesses_mm[start]:
            continue
        yield slice(start, index), float(thicknesses_mm[start])
        start = index


def _window(
    geometry: Geometry, poses: Sequence[Pose], thicknesses_mm: FloatArray, box: Box | None
) -> Box | None:
    """The part of the grid that shows a box of the head; None when none does.

    What lies at the border of the head grid goes on beyond it.
    """
    if box is None:
        return slice(0, geometry.slices), slice(0, geometry.rows), slice(0, geometry.columns)
    if any(axis.start >= axis.stop for axis in box):
        return None
    spans = []
    for axis, size in zip(box, HEAD_SHAPE, strict=True):
        below, above = (1.0 if inner else _FAR for inner in (axis.start > 0, axis.stop < size))
        spans.append((axis.start - below, axis.stop - 1 + above))
    corners = np.array(list(product(*spans)))[:, ::-1] + np.array(HEAD_ORIGIN_MM)
    axes = np.stack([geometry.normal, geometry.column_cosines, geometry.row_cosines])
    placed = np.concatenate([pose.to_scanner(corners) for pose in dict.fromkeys(poses)]) @ axes.T
    low, high = placed.min(axis=0), placed.max(axis=0)
    positions = geometry.positions_mm @ axes.T
    reach = thicknesses_mm / 2
    seen = np.flatnonzero((positions[:, 0] + reach > low[0]) & (positions[:, 0] - reach < high[0]))
    if not seen.size:
        return None
    spans_in_plane = []
    for which, count in ((1, geometry.rows), (2, geometry.columns)):
        spacing = geometry.pixel_spacing_mm[which - 1]
        starts = positions[seen, which]
        first = max(int(np.floor((low[which] - starts.max()) / spacing)) - 1, 0)
        last = min(int(np.ceil((high[which] - starts.min()) / spacing)) + 2, count)
        if last <= first:
            return None
        spans_in_plane.append(slice(first, last))
    return slice(int(seen[0]), int(seen[-1]) + 1), spans_in_plane[0], spans_in_plane[1]
