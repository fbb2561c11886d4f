"""Motion of the head during a perfusion scan: found, corrected, or the frame given up.

Every frame is registered rigidly to one before contrast (:mod:`inference.preprocess.registration`).
Frames that hardly moved keep their values, others are fetched from where the head lay
(:mod:`inference.preprocess.warp`), and those that no rigid motion explains are dropped. Slices keep
their own acquisition times.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from inference.dicom.volumes import TimeSeries
from inference.errors import NotAnalysable
from inference.preprocess.reference_frame import (
    choose_reference,
    head_on,
    interior,
    value_limits,
)
from inference.preprocess.registration import (
    Grid,
    Misfit,
    Poses,
    blurred_grid,
    edges,
    locally_normalised,
    misfit,
    register,
)
from inference.preprocess.warp import warp

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_STILL_MM = 0.2
_BESIDE_HEAD = 3  # voxels of the coarse grid, 12 mm
_MOST_MM, _MOST_DEG = 10.0, 10.0
# Misfit of the whole head above that of the median frame, and of the worst slice. Contrast alone
# leaves up to 0.15 and 0.7 mm in CT, 0.9 and 2.7 mm in MR (simulated scans).
_CT_MISFIT_MM, _MR_MISFIT_MM = (0.4, 1.2), (1.5, 3.5)
_LEAST_GAIN = 0.95
_APART_S, _APART_MM = 0.8, 30.0
_SLAB_DIFFERENCE_MM, _SLAB_GAIN = 0.5, 0.8


@dataclass(frozen=True, eq=False)
class Slab:
    """Slices that move together; ``parameters`` as those of :class:`Motion`."""

    slices: range
    parameters: FloatArray


@dataclass(frozen=True, eq=False)
class Motion:
    """How the head moved, against the frame ``reference``.

    A point ``x`` of the reference (LPS, mm) lies at ``R (x - centre) + centre + shift`` in a frame.

    Parameters
    ----------
    displacement_mm, rotation_deg : arrays, shape ``(time,)``
        Mean distance that points of the brain moved, and the angle that the head turned by,
        against the reference.
    extent_mm, extent_deg : float
        The same between the two frames that lie farthest apart, of those that are kept.
    parameters : array, shape ``(time, 6)``
        Shift along x, y, z in mm, turns about x, then y, then z in degrees, of the whole frame; 0
        where no pose fits better than stillness.
    centre_mm : array, shape ``(3,)``
        Centre of the turns, the middle of the head (LPS).
    rows, columns : range
        Pixels that hold the head in the reference.
    slabs : tuple of Slab
        The slices once more, by themselves where they were scanned apart and moved apart.
    residual_before, residual_after : arrays, shape ``(time,)``
        How far the edges of the head lie from those of the reference, mean in mm.
    dropped : tuple of int
        Frames that no rigid motion explains, or that moved more than 10 mm or 10 degrees.
    reference : int
        The frame that the others are brought to.
    """

    displacement_mm: FloatArray
    rotation_deg: FloatArray
    extent_mm: float
    extent_deg: float
    parameters: FloatArray
    centre_mm: FloatArray
    rows: range
    columns: range
    slabs: tuple[Slab, ...]
    residual_before: FloatArray
    residual_after: FloatArray
    dropped: tuple[int, ...]
    reference: int


@dataclass(frozen=True, eq=False)
class _Part:
    """Slices that are registered together, and the points of the brain in them."""

    slices: range
    grid: Grid
    head: BoolArray
    brain_mm: FloatArray


@dataclass(frozen=True, eq=False)
class _Fit:
    """Poses of some slices, and the misfit without and with them."""

    part: _Part
    poses: Poses
    before: Misfit
    after: Misfit


def estimate_motion(
    series: TimeSeries, *, reference: int | None = None, device: str = "cpu"
) -> Motion:
    """Register every frame to one of them.

    Parameters
    ----------
    series : TimeSeries
        CT (units HU) or MR.
    reference : int, optional
        The frame to register to; by default the least noisy one before contrast.
    device : str
        torch device.

    Raises
    ------
    NotAnalysable
        There is no head in the field of view.
    """
    raw = blurred_grid(series, value_limits(series))
    if reference is None:
        reference = choose_reference(series, raw)
    whole = _part(raw, range(series.geometry.slices), reference, series.units)
    if whole is None:
        raise NotAnalysable(
            f"no head on frame {reference}, which the others are registered to: expected one on "
            "every frame"
        )
    centre = whole.grid.positions_mm(whole.head).mean(axis=0)
    poses = register(whole.grid, reference, whole.head, centre, device)
    together = _fit(whole, reference, poses, device)
    fits = _fit_slabs(series, reference, together.poses, device) or [together]
    weights = [len(fit.part.brain_mm) for fit in fits]
    displacement, before, after = (
        np.average(values, axis=0, weights=weights)
        for values in (
            [fit.poses.displacements_mm(fit.part.brain_mm) for fit in fits],
            [fit.before.mean_mm for fit in fits],
            [fit.after.mean_mm for fit in fits],
        )
    )
    rotation = np.max([fit.poses.angles_deg for fit in fits], axis=0)
    worst = np.max([fit.after.worst_mm for fit in fits], axis=0)
    most_mm, most_worst_mm = _CT_MISFIT_MM if series.units == "HU" else _MR_MISFIT_MM
    bad = (displacement > _MOST_MM) | (rotation > _MOST_DEG)
    bad |= (after > np.median(after) + most_mm) | (worst > most_worst_mm)
    kept = np.flatnonzero(~bad)
    return Motion(
        displacement_mm=displacement,
        rotation_deg=rotation,
        extent_mm=max(fit.poses.extent_mm(fit.part.brain_mm, kept) for fit in fits),
        extent_deg=max(fit.poses.extent_deg(kept) for fit in fits),
        parameters=together.poses.parameters,
        centre_mm=centre,
        rows=_held(whole.head, 1, series.geometry.rows),
        columns=_held(whole.head, 2, series.geometry.columns),
        slabs=tuple(Slab(fit.part.slices, fit.poses.parameters) for fit in fits),
        residual_before=before,
        residual_after=after,
        dropped=tuple(int(index) for index in np.flatnonzero(bad)),
        reference=reference,
    )


def _held(head: BoolArray, axis: int, pixels: int) -> range:
    """Pixels along one axis that hold the head, from the voxels of the coarse grid that do."""
    used = np.unique(np.nonzero(head)[axis])
    size = pixels / head.shape[axis]
    first = int(np.floor((used[0] - _BESIDE_HEAD) * size))
    last = int(np.ceil((used[-1] + 1 + _BESIDE_HEAD) * size))
    return range(max(0, first), min(pixels, last))


def correct_motion(series: TimeSeries, motion: Motion) -> TimeSeries:
    """Bring every frame to the reference and leave the dropped ones out.

    Pixels beside the head keep their values, and so do frames that moved by less than 0.2 mm:
    interpolation would cost them more. ``series`` itself comes back when nothing is to be done.
    """
    kept = np.setdiff1d(np.arange(len(series.data)), motion.dropped)
    moved = motion.displacement_mm >= _STILL_MM
    if len(kept) == len(series.data) and not moved.any():
        return series
    data = np.empty((len(kept), *series.data.shape[1:]), np.float32)
    rows, columns = motion.rows, motion.columns
    for place, frame in enumerate(kept):
        data[place] = series.data[frame]
        if not moved[frame]:
            continue
        for slab in motion.slabs:
            angles = slab.parameters[frame, 3:]
            turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
            shift = slab.parameters[frame, :3] + motion.centre_mm - turn @ motion.centre_mm
            target = data[place, slab.slices.start : slab.slices.stop]
            target[:, rows.start : rows.stop, columns.start : columns.stop] = warp(
                series.data[frame], series.geometry, slab.slices, turn, shift,
                rows=rows, columns=columns,
            )  # fmt: skip
    uids = series.source.sop_instance_uids
    source = replace(series.source, sop_instance_uids=uids[kept])
    return replace(series, data=data, times_s=series.times_s[kept], source=source)


def scanned_apart(series: TimeSeries) -> list[range]:
    """Neighbouring slices that were scanned together, for scans that take table positions in turn.

    Returns all slices as one range where neighbours are at most 0.8 s apart, or where a position
    covers too little (below 30 mm) to be registered by itself.
    """
    count = series.geometry.slices
    gaps = np.abs(np.median(np.diff(series.times_s, axis=1), axis=0))
    borders = [0, *(np.flatnonzero(gaps > _APART_S) + 1).tolist(), count]
    ranges = [range(start, stop) for start, stop in pairwise(borders)]
    extents = series.geometry.slice_extents_mm
    if min(float(extents[each.start : each.stop].sum()) for each in ranges) < _APART_MM:
        return [range(count)]
    return ranges


def _part(raw: Grid, slices: range, reference: int, units: str) -> _Part | None:
    """Slices with a head to register, None without."""
    head = head_on(raw.data[reference], units)
    brain = interior(head, raw)
    if not brain.any():
        return None
    grid = raw if units == "HU" else locally_normalised(raw)
    return _Part(slices, grid, head, raw.positions_mm(brain))


def _fit(part: _Part, reference: int, poses: Poses, device: str) -> _Fit:
    """Keep the poses of the frames that fit better with them; the others count as still."""
    found = edges(part.grid, reference, part.head, poses.centre_mm)
    still = Poses.still(len(part.grid.data), poses.centre_mm)
    before = misfit(part.grid, found, still, device)
    after = misfit(part.grid, found, poses, device)
    better = after.mean_mm < _LEAST_GAIN * before.mean_mm
    return _Fit(part, poses.where(better, still), before, after.where(better, before))


def _fit_slabs(series: TimeSeries, reference: int, whole: Poses, device: str) -> list[_Fit]:
    """Poses of slabs that were scanned apart: their own where the head moved in between.

    That is where they lie apart and fit clearly better; elsewhere the pose of all slices together
    is the more accurate one. Empty for scans without such slabs.
    """
    ranges = scanned_apart(series)
    if len(ranges) == 1:
        return []
    fits = []
    for slices in ranges:
        slab = _slices_of(series, slices)
        part = _part(blurred_grid(slab, value_limits(slab)), slices, reference, series.units)
        if part is None:
            return []
        found = edges(part.grid, reference, part.head, whole.centre_mm)
        joint = misfit(part.grid, found, whole, device)
        poses = register(part.grid, reference, part.head, whole.centre_mm, device)
        own = _fit(part, reference, poses, device)
        between = own.poses.moved_mm(part.brain_mm) - whole.moved_mm(part.brain_mm)
        apart = np.linalg.norm(between, axis=2).mean(axis=1) > _SLAB_DIFFERENCE_MM
        chosen = apart & (own.after.mean_mm < _SLAB_GAIN * joint.mean_mm)
        after = own.after.where(chosen, joint)
        fits.append(_Fit(part, own.poses.where(chosen, whole), own.before, after))
    return fits


def _slices_of(series: TimeSeries, slices: range) -> TimeSeries:
    """A part of a series' slices."""
    chosen = slice(slices.start, slices.stop)
    return replace(
        series,
        data=series.data[:, chosen],
        times_s=series.times_s[:, chosen],
        geometry=replace(series.geometry, positions_mm=series.geometry.positions_mm[chosen]),
    )
