"""The cerebral arteries and veins of a person.

The large vessels are smooth centre lines of the template, displaced at random and brought to the
head; branches over the cortex grow along the sulci. Tubes around them are spread over the voxels
as clouds of small equal volumes, so that the volume of a vessel is what its radius says, however
thin it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.simulate.anatomy.canvas import Warp
from training.simulate.anatomy.model import Region, Vessel
from training.simulate.anatomy.person import Person
from training.simulate.anatomy.vessel_paths import ARTERIES, SPROUTS, VEINS, Path
from training.simulate.arrays import Float32Array, FloatArray, Uint8Array, stream
from training.simulate.space import HEAD_SHAPE, head_index

_SPACING_MM = 0.5
_CLOUD_MM2 = 0.16
_GOLDEN = np.pi * (3 - np.sqrt(5))
_GROWTH_MM = 2.5
_MOST_STEPS = 40
_PATIENCE = 8
_JOINT_MM = 16.0
_TAPER = 0.6
_TRIANGLE = 0.55


@dataclass(frozen=True, eq=False)
class Line:
    """A centre line in the head: points ``(n, 3)`` as x, y, z in mm, radii ``(n,)`` in mm.

    ``free`` lines may leave the cavity; ``sinus`` ones are flat against the skull.
    """

    vessel: Vessel
    points: FloatArray
    radii: FloatArray
    free: bool = False
    sinus: bool = False

    def volume_ml(self) -> float:
        """Volume of the tube, mL."""
        steps = np.sqrt((np.diff(self.points, axis=0) ** 2).sum(axis=1))
        area = np.pi * self.radii**2
        return float((steps * (area[1:] + area[:-1]) / 2).sum() / 1000)


@dataclass(frozen=True, eq=False)
class Vessels:
    """Vessels of a head.

    Parameters
    ----------
    artery, vein : float32 arrays of shape ``HEAD_SHAPE``
        Share of each voxel, together at most 1. Carotid and vertebral arteries, jugular veins and
        cavernous sinuses go on outside the cavity, where they take the place of bone and soft
        tissue.
    vessel : uint8 array of shape ``HEAD_SHAPE``
        :class:`~training.simulate.anatomy.model.Vessel` of each voxel with a vessel.
    lines : tuple of Line
        The centre lines.
    """

    artery: Float32Array
    vein: Float32Array
    vessel: Uint8Array
    lines: tuple[Line, ...]


def build_vessels(
    person: Person, warp: Warp, depth_mm: Float32Array, region: Uint8Array
) -> Vessels:
    """Build the arterial and venous tree of a person.

    Parameters
    ----------
    person : Person
        Whose calibre, tortuosity and variants.
    warp : Warp
        From the template to this head.
    depth_mm : float32 array of shape ``HEAD_SHAPE``
        Distance from the inner table, positive inside the cavity.
    region : uint8 array of shape ``HEAD_SHAPE``
        :class:`~training.simulate.anatomy.model.Region`; branches follow its sulci.
    """
    rng = stream(person.seed, "vessels")
    shift = _Wave.draw(rng, amplitude_mm=1.3, wavelength_mm=45)
    factors = _variants(person, rng)
    ends: dict[tuple[str, int], FloatArray] = {}
    arteries, veins = (
        [
            line
            for path in paths
            for line in _trace(path, person, warp, depth_mm, shift, factors, ends)
        ]
        for paths in (ARTERIES, VEINS)
    )
    cortical_arteries, cortical_veins = _grow(person, warp, depth_mm, region, shift)
    arteries += cortical_arteries
    veins += cortical_veins
    artery, artery_label = rasterise(arteries, depth_mm)
    vein, vein_label = rasterise(veins, depth_mm)
    vessel = np.where(artery >= vein, artery_label, vein_label)
    np.minimum(vein, 1 - artery, out=vein)
    return Vessels(artery, vein, vessel, (*arteries, *veins))


@dataclass(frozen=True, eq=False)
class _Wave:
    """A smooth random displacement, a sum of plane waves."""

    directions: FloatArray
    phases: FloatArray
    amplitudes: FloatArray

    @classmethod
    def draw(cls, rng: np.random.Generator, amplitude_mm: float, wavelength_mm: float) -> "_Wave":
        count = 6
        directions = rng.standard_normal((count, 3)) * 2 * np.pi / wavelength_mm / np.sqrt(3)
        phases = rng.uniform(0, 2 * np.pi, count)
        amplitudes = rng.standard_normal((count, 3)) * amplitude_mm * np.sqrt(2 / count)
        return cls(directions, phases, amplitudes)

    def __call__(self, points: FloatArray) -> FloatArray:
        total = np.zeros_like(points)
        for direction, phase, amplitude in zip(
            self.directions, self.phases, self.amplitudes, strict=True
        ):
            angle = (points * direction).sum(axis=1) + phase
            total += np.sin(angle)[:, None] * amplitude
        return total


def _variants(person: Person, rng: np.random.Generator) -> dict[tuple[str, int], float]:
    """Factors of the radius by name and side (1 left, -1 right) that differ from 1."""
    factors: dict[tuple[str, int], float] = {}
    for side in (1, -1):
        absent = rng.random() < 0.3
        factors["PComm", side] = float(rng.uniform(0.3, 0.5) if absent else rng.uniform(0.7, 1.3))
        factors["vertebral", side] = float(rng.uniform(0.65, 1.2))
    if rng.random() < 0.12:
        small = int(rng.choice([-1, 1]))
        factors["A1", small] = float(rng.uniform(0.3, 0.6))
        factors["A1", -small] = 1.15
    if person.fetal_pca is not None:
        side = 1 if person.fetal_pca == "L" else -1
        factors["P1", side] = float(rng.uniform(0.3, 0.55))
        factors["PComm", side] = 1.7
    wide = 1 if person.dominant_transverse_sinus == "L" else -1
    narrow = float(rng.uniform(0.35, 0.55) if rng.random() < 0.25 else rng.uniform(0.65, 0.95))
    for name in ("transverse", "sigmoid", "jugular"):
        factors[name, wide] = 1.1
        factors[name, -wide] = narrow
    return factors


def _trace(
    path: Path,
    person: Person,
    warp: Warp,
    depth_mm: Float32Array,
    shift: _Wave,
    factors: dict[tuple[str, int], float],
    ends: dict[tuple[str, int], FloatArray],
) -> list[Line]:
    """The lines of a path in the head of a person, one or one of each side.

    ``ends`` collects the last points of all paths, from which later ones may go on.
    """
    lines = []
    for side in (1, -1) if path.paired else (1,):
        rng = stream(person.seed, "vessels", path.name, side)
        points = np.array(path.points, dtype=np.float64) * (side, 1, 1)
        midline = np.abs(points[:, :1]) < 1
        moved = shift(points)
        moved[:, :1] = np.where(midline & path.hugging, 0.5 * moved[:, :1], moved[:, :1])
        points = smooth_line(points + moved, 2.0)
        points += _winding(points, person.tortuosity * path.winding, rng)
        radii = np.linspace(*path.radii, len(points))
        radii *= person.vessel_scale * factors.get((path.name, side), 1.0)
        radii *= np.clip(1 + 0.08 * rng.standard_normal(), 0.8, 1.2)
        points = warp.template_to_head(points)
        if path.hugging:
            points = move_to_depth(points, depth_mm, 0.85 * radii, exact=True)
        elif not path.free:
            points = move_to_depth(points, depth_mm, radii + 0.5)
        if path.after:
            offset = ends.get((path.after, side), ends[path.after, 1]) - points[0]
            fading = np.clip(1 - 2.0 * np.arange(len(points)) / _JOINT_MM, 0, 1)
            points = points + fading[:, None] * offset
        ends[path.name, side] = points[-1]
        lines.append(
            resample(Line(path.vessel, points, radii, path.free, path.hugging), _SPACING_MM)
        )
    return lines


def _winding(points: FloatArray, strength: float, rng: np.random.Generator) -> FloatArray:
    """Random bends across a line that vanish at both of its ends."""
    length = float(np.sqrt((np.diff(points, axis=0) ** 2).sum(axis=1)).sum())
    along = np.linspace(0, 1, len(points))
    total = np.zeros_like(points)
    for wave in range(1, 4):
        size = strength * min(length / 12, 3.0) / wave
        total += np.sin(np.pi * wave * along)[:, None] * rng.normal(0, size / 2, 3)
    return total


def smooth_line(points: FloatArray, spacing_mm: float) -> FloatArray:
    """Points of about equal spacing on a spline through control points, both ``(n, 3)``."""
    from scipy.interpolate import Akima1DInterpolator

    chord = np.sqrt(np.sqrt((np.diff(points, axis=0) ** 2).sum(axis=1)) + 1e-9)
    knots = np.concatenate([[0], np.cumsum(chord)])
    spline = Akima1DInterpolator(knots, points)
    fine = spline(np.linspace(0, knots[-1], 12 * len(points)))
    return _equidistant(fine, spacing_mm)[0]


def _equidistant(points: FloatArray, spacing_mm: float) -> tuple[FloatArray, FloatArray]:
    """Points every ``spacing_mm`` of a polygon, and at which of its (fractional) indices."""
    steps = np.sqrt((np.diff(points, axis=0) ** 2).sum(axis=1))
    along = np.concatenate([[0], np.cumsum(steps)])
    count = max(2, round(along[-1] / spacing_mm) + 1)
    index = np.interp(np.linspace(0, along[-1], count), along, np.arange(len(points)))
    places = np.arange(len(points))
    parts = [np.interp(index, places, points[:, axis]) for axis in range(3)]
    return np.column_stack(parts), index


def resample(line: Line, spacing_mm: float) -> Line:
    """A line with points of equal spacing, smoothed over some mm."""
    from scipy.ndimage import gaussian_filter1d

    points, index = _equidistant(line.points, spacing_mm)
    first, last = points[0].copy(), points[-1].copy()
    points = gaussian_filter1d(points, 2.0 / spacing_mm * 0.5, axis=0, mode="nearest")
    points[0], points[-1] = first, last
    radii = np.interp(index, np.arange(len(line.radii)), line.radii)
    return Line(line.vessel, points, radii, line.free, line.sinus)


def depth_at(points: FloatArray, depth_mm: Float32Array) -> FloatArray:
    """Trilinear depth below the inner table at points of the head ``(n, 3)``."""
    from scipy.ndimage import map_coordinates

    index = head_index(points).T
    return np.asarray(map_coordinates(depth_mm, index, order=1, mode="nearest", output=np.float64))


def depth_gradient(points: FloatArray, depth_mm: Float32Array, step: float = 1.5) -> FloatArray:
    """Unit vectors into the cavity at points of the head ``(n, 3)``."""
    offsets = np.concatenate([points + sign * step * np.eye(3)[axis]
                              for axis in range(3) for sign in (1, -1)])  # fmt: skip
    values = depth_at(offsets, depth_mm).reshape(3, 2, len(points))
    gradient = (values[:, 0] - values[:, 1]).T
    norm = np.sqrt((gradient**2).sum(axis=1, keepdims=True))
    return np.asarray(gradient / np.maximum(norm, 1e-6))


def move_to_depth(
    points: FloatArray, depth_mm: Float32Array, wanted: FloatArray, *, exact: bool = False
) -> FloatArray:
    """Move points to a depth below the inner table; without ``exact`` only those less deep."""
    points = points.copy()
    for _ in range(8):
        missing = wanted - depth_at(points, depth_mm)
        if not exact:
            missing = np.maximum(missing, 0)
        points += 0.8 * missing[:, None] * depth_gradient(points, depth_mm)
    return points


def _grow(
    person: Person, warp: Warp, depth_mm: Float32Array, region: Uint8Array, shift: _Wave
) -> tuple[list[Line], list[Line]]:
    """Let arteries and veins with their branches grow over the cortex; both lists of lines."""
    rng = stream(person.seed, "vessels", "cortex")
    sprouts = [(sprout, side) for sprout in SPROUTS for side in (1, -1)]
    ends = np.array([[s.start, s.goal] for s, _ in sprouts], dtype=np.float64)
    ends[..., 0] *= np.array([side for _, side in sprouts])[:, None]
    ends[:, 1] += rng.normal(0, 5.0, (len(ends), 3))
    flat = ends.reshape(-1, 3)
    ends = warp.template_to_head(flat + shift(flat)).reshape(ends.shape)
    surface = person.subarachnoid_gap_mm + 0.5
    trunks = _walk(ends[:, 0], ends[:, 1], depth_mm, region, surface, rng)
    radii = np.array([s.radius for s, _ in sprouts]) * person.vessel_scale
    radii *= rng.uniform(0.8, 1.2, len(radii))
    parents = np.repeat(np.arange(len(trunks)), rng.integers(2, 5, len(trunks)))
    lengths = np.array([len(trunk) for trunk in trunks])
    parents = parents[lengths[parents] >= 8]
    at = rng.integers(2, lengths[parents] - 3)
    starts = np.array([trunks[k][j] for k, j in zip(parents, at, strict=True)])
    ahead = np.array([trunks[k][-1] for k in parents]) - starts
    aside = np.cross(ahead, depth_gradient(starts, depth_mm))
    aside *= rng.choice([-0.8, 0.8], len(aside))[:, None]
    branches = _walk(starts, starts + 0.6 * ahead + aside, depth_mm, region, surface, rng)
    grown: tuple[list[Line], list[Line]] = ([], [])
    owners = [*range(len(trunks)), *parents]
    for line, (points, owner) in enumerate(zip([*trunks, *branches], owners, strict=True)):
        sprout = sprouts[owner][0]
        radius = radii[owner] * (1.0 if line < len(trunks) else _TAPER)
        taper = np.linspace(radius, 0.45 * radius, len(points))
        grown[sprout.vein].append(resample(Line(sprout.vessel, points, taper), _SPACING_MM))
    return grown


def _walk(
    starts: FloatArray,
    goals: FloatArray,
    depth_mm: Float32Array,
    region: Uint8Array,
    surface_mm: float,
    rng: np.random.Generator,
) -> list[FloatArray]:
    """Walk from starts to goals over the cortex, by preference within the sulci.

    At every step each walker chooses among directions fanned out in the plane of the surface, at
    three depths, the one that scores best: on towards the goal, straight, in a sulcus, near the
    surface. It stops where it comes close to the goal.
    """
    fan = np.deg2rad([-60, -40, -20, 0, 20, 40, 60])
    sink = np.repeat([-0.9, 0.0, 0.9], len(fan))
    fan = np.tile(fan, 3)
    place = move_to_depth(starts, depth_mm, np.full(len(starts), 1.0))
    heading = _unit(goals - place)
    steps = [place]
    for _ in range(_MOST_STEPS):
        inward = depth_gradient(place, depth_mm)
        forward = _unit(heading - (heading * inward).sum(1, keepdims=True) * inward)
        across = np.cross(forward, inward)
        moves = forward[:, None] * np.cos(fan)[:, None] + across[:, None] * np.sin(fan)[:, None]
        moves = moves + inward[:, None] * sink[:, None]
        ahead = place[:, None] + _GROWTH_MM * _unit(moves)
        index = tuple(
            np.clip(np.rint(head_index(ahead)[..., axis]).astype(np.intp), 0, count - 1)
            for axis, count in enumerate(HEAD_SHAPE)
        )
        depth = depth_mm[index]
        score = 1.1 * (moves * _unit(goals - place)[:, None]).sum(-1)
        score += 0.5 * np.cos(fan) + 0.9 * (region[index] == Region.SULCI)
        score -= 0.12 * np.abs(depth - surface_mm) + 2.0 * np.maximum(1.0 - depth, 0)
        score += 0.35 * rng.standard_normal(score.shape)
        best = score.argmax(axis=1)
        reached = ahead[np.arange(len(best)), best]
        heading = _unit(heading + 1.2 * _unit(reached - place))
        place = move_to_depth(reached, depth_mm, np.full(len(place), 0.8))
        steps.append(place)
    paths = np.stack(steps, axis=1)
    left = np.sqrt(((paths - goals[:, None]) ** 2).sum(-1))
    best = np.minimum.accumulate(left, axis=1)
    stuck = np.full_like(best, True, dtype=np.bool_)
    stuck[:, :-_PATIENCE] = best[:, _PATIENCE:] > best[:, :-_PATIENCE] - _GROWTH_MM
    stop = np.maximum((stuck | (left < 2 * _GROWTH_MM)).argmax(axis=1), 2)
    return [path[: last + 1] for path, last in zip(paths, stop, strict=True)]


def _unit(vectors: FloatArray) -> FloatArray:
    norm = np.sqrt((vectors**2).sum(axis=-1, keepdims=True))
    return np.asarray(vectors / np.maximum(norm, 1e-9))


def rasterise(lines: Sequence[Line], depth_mm: Float32Array) -> tuple[Float32Array, Uint8Array]:
    """Share of each voxel that lies in the tubes around lines, and whose it is.

    Every tube is a cloud of points that stand for about ``_CLOUD_MM2 * _SPACING_MM`` mm³ each and
    are spread over the eight voxels around them: the sum of the shares is the volume, except where
    tubes overlap, leave the cavity without being free to, or leave the grid. A voxel belongs to
    the line next to it. Returns shares and labels of ``HEAD_SHAPE``.
    """
    share = np.zeros(HEAD_SHAPE, dtype=np.float32)
    label = np.zeros(HEAD_SHAPE, dtype=np.uint8)
    clouds = [_cloud(line, depth_mm) for line in lines]
    points, volumes, off_axis = (np.concatenate(part) for part in zip(*clouds, strict=True))
    sizes = [len(cloud[1]) for cloud in clouds]
    names = np.repeat(np.array([line.vessel for line in lines], dtype=np.uint8), sizes)
    free = np.repeat([line.free for line in lines], sizes)
    order = np.argsort(-off_axis, kind="stable")
    voxels, weights = _corners(points[order])
    weights *= volumes[order, None]
    weights *= free[order, None] | (depth_mm.ravel()[voxels] > 0)
    np.add.at(share.ravel(), voxels.ravel(), weights.ravel().astype(np.float32))
    np.minimum(share, 1, out=share)
    used = weights > 0
    label.ravel()[voxels[used]] = np.broadcast_to(names[order, None], used.shape)[used]
    return share, label


def _cloud(line: Line, depth_mm: Float32Array) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Points that fill a tube, their volumes in mm³, and their relative distance from its axis.

    The cross-section is a disc; that of a sinus is squeezed to a triangle whose base is the skull.
    """
    tangent = _unit(np.gradient(line.points, axis=0))
    if line.sinus:
        normal = depth_gradient(line.points, depth_mm)
    else:
        normal = np.eye(3)[np.abs(tangent).argmin(axis=1)]
    normal = _unit(normal - (normal * tangent).sum(axis=1, keepdims=True) * tangent)
    across = np.cross(tangent, normal)
    steps = np.sqrt((np.diff(line.points, axis=0) ** 2).sum(axis=1))
    length = np.concatenate([[0], steps]) / 2 + np.concatenate([steps, [0]]) / 2
    area = np.pi * line.radii**2
    count = np.maximum(np.ceil(area / _CLOUD_MM2), 3).astype(np.intp)
    owner = np.repeat(np.arange(len(count)), count)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    radius = np.sqrt((number + 0.5) / count[owner])
    angle = number * _GOLDEN + owner * 2.4
    u, v = radius * np.cos(angle), radius * np.sin(angle)
    volumes = (area * length / count)[owner]
    if line.sinus:
        squeeze = 1 - _TRIANGLE * v
        u, volumes = 1.25 * u * squeeze, volumes * squeeze
        v = 0.8 * v
    size = line.radii[owner, None]
    points = line.points[owner] + size * (u[:, None] * across[owner] + v[:, None] * normal[owner])
    return points, volumes, radius * line.radii[owner]


def _corners(
    points: FloatArray,
) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.intp]], FloatArray]:
    """Flat indices of the eight voxels around points and their trilinear weights, ``(n, 8)``."""
    place = head_index(points)
    low = np.floor(place)
    weight = place - low
    base = low.astype(np.intp)
    inside = np.all((base >= 0) & (base < np.array(HEAD_SHAPE) - 1), axis=1)
    base[~inside] = 0
    stride = (HEAD_SHAPE[1] * HEAD_SHAPE[2], HEAD_SHAPE[2], 1)
    flat = base[:, 0] * stride[0] + base[:, 1] * stride[1] + base[:, 2]
    voxels, weights = [], []
    for corner in np.ndindex(2, 2, 2):
        voxels.append(flat + sum(c * s for c, s in zip(corner, stride, strict=True)))
        parts = [weight[:, k] if c else 1 - weight[:, k] for k, c in enumerate(corner)]
        weights.append(parts[0] * parts[1] * parts[2] * inside)
    return np.stack(voxels, axis=1), np.stack(weights, axis=1)
