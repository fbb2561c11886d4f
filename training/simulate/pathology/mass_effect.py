"""How blood pushes the brain aside.

The brain is all but incompressible and CSF can leave: displacement is a potential flow from where
blood comes in to the CSF spaces that give way, most of all those nearby. It does not cross the
skull, and hardly the dura: falx and tentorium hold the brain back, and it slides past their free
edges. The flow is computed on a coarse grid in two steps, the second on the brain as it lies after
the first.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from training.simulate.anatomy.fields import coarsen, refine
from training.simulate.anatomy.model import Anatomy, Region
from training.simulate.arrays import SHARE_STEPS, BoolArray, Float32Array, FloatArray
from training.simulate.pathology.surroundings import Surroundings
from training.simulate.space import Box

_CELL_MM = 4
_STEPS = 2
_DURA = 0.05
_THROUGH_DURA = 0.001
_REACH_MM = 45.0
_MOST_BEYOND = 0.85
_BEYOND_TENTORIUM = 0.15
_CANAL = 0.15
_MOST_CSF = 0.97
_MANY_STEPS_MM3 = 60_000
_MOVED_MM = 0.05


@dataclass(frozen=True, eq=False)
class Displacement:
    """Where the content of each voxel comes from.

    Parameters
    ----------
    box : Box
        Part of the head grid.
    back_mm : array of shape ``(3, *box)``
        Along z, y and x: what lies at a voxel comes from that place minus ``back_mm``.
    squeezed : array of the shape of the box
        By what factor the brain's share of a voxel grows because CSF has left it (below 1:
        has come to it).
    """

    box: Box
    back_mm: Float32Array
    squeezed: Float32Array


def make_room(
    around: Surroundings, blood: Float32Array, widening_ml: float = 0.0, *, held_open: bool = False
) -> Displacement:
    """Displacement that lets blood in.

    Parameters
    ----------
    around : Surroundings
        The brain before the bleed.
    blood : array
        Share of blood that pushes, on the box of the surroundings, where it comes to lie.
    widening_ml : float
        By how much the ventricles widen (blood in them, or outflow blocked by it).
    held_open : bool
        Whether blood in the ventricles keeps them from being compressed.
    """
    shape = around.cavity.shape
    cells = coarsen(around.cavity.astype(np.float32), _CELL_MM)
    share = cells > 0.5
    labels, count = ndimage.label(share)
    if count > 1:
        share = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    rigid = coarsen(around.firm * around.cavity, _CELL_MM) > _DURA
    sources = (coarsen(blood, _CELL_MM) * share).astype(np.float32)
    outer = coarsen(around.csf * (around.cavity & ~around.ventricles), _CELL_MM) * share
    outer *= _reached(around, sources, share)
    inner = coarsen(around.csf * around.ventricles, _CELL_MM) * share
    far = 1 - np.exp(-_distance_to(sources if sources.any() else inner) / _REACH_MM)
    across = np.asarray(far**2 * _opposite(around, sources), dtype=np.float32)
    beyond = _beyond(float(blood.sum(dtype=np.float64)) / 1000)
    widen = widening_ml / max(float(np.sum(inner**2)) * _CELL_MM**3 / 1000, 1e-6)
    steps = _STEPS if float(blood.sum(dtype=np.float64)) < _MANY_STEPS_MM3 else 2 * _STEPS
    back = np.zeros((3, *share.shape), dtype=np.float32)
    squeezed = np.ones(share.shape, dtype=np.float32)
    for _ in range(steps):
        sulci, ventricles = _pulled(outer, back), _pulled(inner, back)
        wider = np.asarray(widen * ventricles**2 / steps, dtype=np.float32)
        growth = np.asarray(sources / np.float32(steps) + wider, dtype=np.float32)
        fluid = _left_over(sulci + ventricles, squeezed)
        limit = np.asarray((1 - _MOST_CSF * fluid) ** np.float32(-1 / steps) - 1, dtype=np.float32)
        needed = float(growth.sum())
        close_by = (1 - far) * (sulci + np.float32(0 if held_open else 1.5) * ventricles)
        loss = _giving_way(close_by, limit, (1 - beyond) * needed)
        loss += _giving_way(across * sulci, limit - loss, needed - float(loss.sum()))
        loss += np.float32((needed - float(loss.sum())) / share.sum()) * share
        flow = _flow(growth - loss, share, rigid)
        back = flow + np.stack([_pulled(part, flow) for part in back])
        squeezed = _pulled(squeezed, flow) * (1 + loss - wider)
    fine = np.stack([refine(part, _CELL_MM, shape) for part in back])
    fine *= np.clip(around.depth_mm / 2, 0, 1)
    return Displacement(around.box, fine, refine(squeezed, _CELL_MM, shape))


def _left_over(fluid: Float32Array, squeezed: Float32Array) -> Float32Array:
    """Share of CSF that is left in cells which have been squeezed."""
    return np.asarray(np.clip(1 - (1 - np.clip(fluid, 0, 1)) * squeezed, 0, 1))


def _reached(around: Surroundings, sources: Float32Array, open_cells: BoolArray) -> Float32Array:
    """How far CSF spaces give way, by place: little beyond the tentorium, not in the canal."""
    below = coarsen(around.infratentorial.astype(np.float32), _CELL_MM)
    within = float(np.sum(sources * below)) > 0.5 * float(np.sum(sources))
    reached = np.where((below > 0.5) == within, np.float32(1), np.float32(_BEYOND_TENTORIUM))
    areas = open_cells.sum(axis=(1, 2))
    reached[areas < _CANAL * areas.max()] = 0
    return reached


def _opposite(around: Surroundings, sources: Float32Array) -> Float32Array:
    """Weight of the other hemisphere for bleeds of one side: the brain gives way across."""
    left = coarsen(around.on_side("L").astype(np.float32), _CELL_MM)
    balance = float(np.sum(sources * left)) / max(float(np.sum(sources)), 1e-6)
    other = left if balance < 0.5 else 1 - left
    one_sided = abs(2 * balance - 1)
    return np.asarray(1 - one_sided * (1 - other), dtype=np.float32)


def _beyond(blood_ml: float) -> float:
    """Part of the room that CSF spaces away from the bleed give: more, the larger it is."""
    return min(_MOST_BEYOND, 0.2 + blood_ml / 100)


def _distance_to(sources: Float32Array) -> Float32Array:
    away = ndimage.distance_transform_edt(sources <= 0.2 * sources.max())
    return np.asarray(away, dtype=np.float32) * np.float32(_CELL_MM)


def _pulled(values: Float32Array, back_mm: Float32Array) -> Float32Array:
    """Values on the coarse grid as they lie after a displacement."""
    places = np.indices(values.shape, dtype=np.float32) - back_mm / np.float32(_CELL_MM)
    return np.asarray(ndimage.map_coordinates(values, places, order=1, mode="nearest"))


def _giving_way(weights: Float32Array, limit: Float32Array, needed: float) -> Float32Array:
    """How much of each cell disappears: what is needed in all, within limits, by weight."""
    limit = np.where(weights > 0, np.maximum(limit, 0), 0).astype(np.float32)
    if float(limit.sum()) <= needed:
        return limit
    low, high = 0.0, 1e4
    for _ in range(50):
        middle = np.float32((low + high) / 2)
        taken = float(np.minimum(weights * middle, limit).sum())
        low, high = (float(middle), high) if taken < needed else (low, float(middle))
    return np.asarray(np.minimum(weights * np.float32(high), limit), dtype=np.float32)


def _flow(growth: Float32Array, open_cells: BoolArray, rigid: BoolArray) -> Float32Array:
    """Displacement in mm whose divergence is ``growth``, along z, y and x, at the cells' centres.

    Solves div(k grad p) = growth by conjugate gradients with no flow through the walls.
    """
    conductance = []
    for axis in range(3):
        ahead, behind = _halves(axis)
        k = (open_cells[ahead] & open_cells[behind]).astype(np.float64)
        k *= np.where(rigid[ahead] | rigid[behind], _THROUGH_DURA, 1.0)
        conductance.append(k)
    rhs = np.where(open_cells, growth, 0).astype(np.float64)
    rhs[open_cells] -= rhs[open_cells].mean()
    potential = _solve(conductance, -rhs)
    flow = np.zeros((3, *growth.shape), dtype=np.float64)
    for axis, k in enumerate(conductance):
        ahead, behind = _halves(axis)
        across = k * (potential[ahead] - potential[behind]) * _CELL_MM / 2
        flow[axis][ahead] += across
        flow[axis][behind] += across
    return flow.astype(np.float32)


def _halves(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    ahead = tuple(slice(1, None) if at == axis else slice(None) for at in range(3))
    behind = tuple(slice(None, -1) if at == axis else slice(None) for at in range(3))
    return ahead, behind


def _solve(conductance: list[FloatArray], rhs: FloatArray) -> FloatArray:
    """Conjugate gradients, preconditioned by the diagonal."""
    diagonal = np.zeros_like(rhs)
    for axis, k in enumerate(conductance):
        ahead, behind = _halves(axis)
        diagonal[ahead] += k
        diagonal[behind] += k
    inverse = np.where(diagonal > 0, 1 / np.maximum(diagonal, 1e-9), 0)
    solution = np.zeros_like(rhs)
    residual = np.where(diagonal > 0, rhs, 0)
    wanted = 1e-4 * float(np.sqrt(np.sum(residual**2)))
    z = inverse * residual
    direction = z.copy()
    rho = float(np.sum(residual * z))
    for _ in range(400):
        if float(np.sqrt(np.sum(residual**2))) <= wanted:
            break
        image = diagonal * direction
        for axis, k in enumerate(conductance):
            ahead, behind = _halves(axis)
            image[ahead] -= k * direction[behind]
            image[behind] -= k * direction[ahead]
        step = rho / float(np.sum(direction * image))
        solution += step * direction
        residual -= step * image
        z = inverse * residual
        following = float(np.sum(residual * z))
        direction = z + following / rho * direction
        rho = following
    return solution


def displace(anatomy: Anatomy, displacement: Displacement) -> Anatomy:
    """Move the content of the cavity; skull, dura and everything outside stay.

    The shares of the moving materials add up in every voxel to what they did before, in steps of
    1/255: beyond the walls of the cavity there is CSF to move in.
    """
    box, back = displacement.box, displacement.back_mm
    movable = anatomy.cavity[box] & (np.abs(back).max(axis=0) > _MOVED_MM)
    fixed = (anatomy.soft[box] + anatomy.bone[box] + anatomy.fat[box]) > 0
    index = np.nonzero(movable)
    source = np.stack(index).astype(np.float32) - back[:, index[0], index[1], index[2]]
    nearest = tuple(
        np.clip(np.round(line).astype(np.int64), 0, size - 1)
        for line, size in zip(source, movable.shape, strict=True)
    )
    names = ("grey", "white", "csf", "artery", "vein")
    moving = [getattr(anatomy, name)[box] for name in names]
    sums = np.round(SHARE_STEPS * sum(values[index] for values in moving))
    sampled = _sample(np.stack(moving), source)
    changed = {}
    loose = ~fixed[index] & ~fixed[nearest] & anatomy.cavity[box][nearest]
    for name in ("calcification", "static_hu"):
        values = getattr(anatomy, name).copy()
        old = values[box][index]
        values[box][index] = np.where(loose, values[box][nearest], old)
        changed[name] = values
    calcium = anatomy.calcification[box][index] - changed["calcification"][box][index]
    sums += np.round(SHARE_STEPS * calcium)
    sampled[2] += np.where(sampled.sum(axis=0) < 0.3, 1, 0)
    _squeeze(sampled, displacement.squeezed[index])
    for name, values in zip(names, _parts_of(sampled, sums), strict=True):
        changed[name] = getattr(anatomy, name).copy()
        changed[name][box][index] = values
    for name in ("region", "territory", "vessel", "left"):
        labels = getattr(anatomy, name).copy()
        labels[box][index] = labels[box][nearest]
        changed[name] = labels
    return replace(anatomy, **changed)


def _squeeze(parts: Float32Array, factor: Float32Array) -> None:
    """Let brain and vessels take the place of CSF, as far as there is any, or give place."""
    solid = parts.sum(axis=0) - parts[2]
    gain = np.minimum(solid * np.maximum(factor - 1, -1), parts[2])
    parts[2] -= gain
    growth = 1 + gain / np.maximum(solid, np.float32(1e-6))
    for row in (0, 1, 3, 4):
        parts[row] *= growth


def _sample(volumes: Float32Array, places: Float32Array) -> Float32Array:
    """Trilinear samples, shape ``(volume, place)``, at indices of shape ``(3, place)``."""
    import torch
    from torch.nn import functional

    sizes = np.array(volumes.shape[1:], dtype=np.float32)[:, None]
    grid = (2 * places / (sizes - 1) - 1)[::-1].T
    sampled = functional.grid_sample(
        torch.from_numpy(volumes)[None],
        torch.from_numpy(np.ascontiguousarray(grid))[None, None, None],
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    return np.asarray(sampled[0, :, 0, 0].numpy())


def _parts_of(weights: Float32Array, sums: Float32Array) -> Float32Array:
    """Whole 255ths in proportion to weights, shape ``(part, voxel)``, that add up to ``sums``."""
    ends = np.cumsum(weights, axis=0, dtype=np.float32)
    scale = sums / np.maximum(ends[-1], np.float32(1e-6))
    steps = np.round(ends * scale)
    steps[-1] = sums
    return np.asarray(np.diff(steps, axis=0, prepend=np.float32(0)) / np.float32(SHARE_STEPS))


def give_place(anatomy: Anatomy, box: Box, blood: Float32Array) -> Anatomy:
    """Anatomy whose CSF has left the voxels where ``blood`` has taken its place.

    Blood takes the place of everything in a voxel alike; where it has replaced CSF only, the
    other materials therefore stand for a larger share of what is not blood.
    """
    index = np.nonzero((blood > 0) & (blood < 1))
    names = ("grey", "white", "csf", "artery", "vein")
    parts = np.stack([getattr(anatomy, name)[box][index] for name in names])
    sums = np.round(SHARE_STEPS * parts.sum(axis=0))
    parts[2] = np.maximum(parts[2] - blood[index], 0)
    empty = parts.sum(axis=0) <= 0
    parts[2] += empty
    changed = {}
    for name, values in zip(names, _parts_of(parts, sums), strict=True):
        changed[name] = getattr(anatomy, name).copy()
        changed[name][box][index] = values
    return replace(anatomy, **changed)


def midline_shift_mm(around: Surroundings, displacement: Displacement) -> float:
    """How far the septum pellucidum has moved to the patient's left, in mm.

    Mean over the midline between the front halves of the lateral ventricles.
    """
    points = _septum(around)
    if not points.size:
        return 0.0
    back = displacement.back_mm
    moved = np.zeros_like(points)
    for _ in range(8):
        moved = _sample(back, (points + moved).astype(np.float32))
    return float(np.mean(moved[2]))


def _septum(around: Surroundings) -> Float32Array:
    """Indices in the box, shape ``(3, point)``, of the midline between the lateral ventricles."""
    lateral = around.region == Region.LATERAL_VENTRICLE
    left = around.on_side("L")
    sides = lateral & left, lateral & ~left
    if not (sides[0].any() and sides[1].any()):
        return np.zeros((3, 0), dtype=np.float32)
    both = sides[0].any(axis=2) & sides[1].any(axis=2)
    rows = np.flatnonzero(both.any(axis=0))
    front = rows[: max(len(rows) // 2, 1)]
    both[:, front[-1] + 1 :] = False
    z, y = np.nonzero(both)
    edge = np.argmax(left[z, y], axis=1)
    return np.stack([z, y, edge]).astype(np.float32)


def carry(values: Float32Array, displacement: Displacement) -> Float32Array:
    """Values of the head grid moved along with the tissue; outside the box they stay."""
    box, back = displacement.box, displacement.back_mm
    index = np.nonzero(np.abs(back).max(axis=0) > _MOVED_MM)
    source = np.stack(index).astype(np.float32) - back[:, index[0], index[1], index[2]]
    moved = values.copy()
    moved[box][index] = _sample(np.ascontiguousarray(values[box])[None], source)[0]
    return moved
