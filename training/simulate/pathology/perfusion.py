"""Blood flow of a brain with or without a stroke, voxel by voxel."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.simulate.anatomy.fields import coarse_shape, head_noise, pick, sample
from training.simulate.anatomy.model import Region, Territory
from training.simulate.arrays import BoolArray, Float32Array, stream
from training.simulate.pathology.arteries import VesselFlow, arterial_flow, venous_flow
from training.simulate.pathology.head import Head
from training.simulate.pathology.residue import PeakTable, Residue, draw_residues
from training.simulate.pathology.stroke import Stroke
from training.simulate.space import HEAD_SHAPE

HYPOPERFUSED_TMAX_S = 6.0
CORE_RELATIVE_CBF = 0.3
MASK_TISSUE_SHARE = 0.5
NORMAL_TMAX_S = 5.6
"""Tissue that no stroke starves never peaks later, a stenosis or not."""
_STEP = 4
_STARVED = 0.02
_MIN_CBF = 1.0
_LEAST_TISSUE = 0.02


@dataclass(frozen=True, eq=False)
class PerfusionMaps:
    """Perfusion on the head grid, float32 arrays of ``HEAD_SHAPE``.

    Values are those of the tissue (grey and white matter by share) in the voxel, not diluted by
    CSF or vessels; 0 where a voxel has no tissue that lives.

    Parameters
    ----------
    cbf : array
        Cerebral blood flow, mL/100 g/min.
    cbv : array
        Cerebral blood volume, mL/100 g: ``cbf * mtt_s / 60`` in float32, exactly.
    mtt_s : array
        Mean transit time, the integral of the residue function without dispersion.
    delay_s : array
        Arrival after that of :attr:`Bolus.arterial`; negative is earlier.
    dispersion_s : array
        Time constant of the exponential by which the bolus is dispersed on its way.
    residue_kind : array
        0 to 1: the residue function is (1 - kind) ``residues[0]`` + kind ``residues[1]``.
    tmax_s : array
        Time of the maximum of the noise-free residue with delay and dispersion.
    residue_peak : array
        Height of that maximum, mL/100 g/min; CBF or less.
    leakage : array
        Permeability of the blood-brain barrier, relative, 0 (intact) to 1.
    hypoperfused, core : bool arrays
        Voxels more than half of which is tissue, with Tmax above 6 s; and those of them whose CBF
        is below 30 % of what the same tissue has without disease.
    residues : tuple of two Residue
        Mixtures between which all tissue of this brain lies.
    arteries, veins : VesselFlow
        When and how much the vessels fill.
    """

    cbf: Float32Array
    cbv: Float32Array
    mtt_s: Float32Array
    delay_s: Float32Array
    dispersion_s: Float32Array
    residue_kind: Float32Array
    tmax_s: Float32Array
    residue_peak: Float32Array
    leakage: Float32Array
    hypoperfused: BoolArray
    core: BoolArray
    residues: tuple[Residue, Residue]
    arteries: VesselFlow
    veins: VesselFlow


@dataclass(frozen=True, eq=False)
class _Tissue:
    """All voxels with tissue, as flat arrays of length ``voxel``.

    ``share`` is that of living tissue, ``grey`` the part of it that is grey matter.
    """

    voxels: npt.NDArray[np.int64]
    share: Float32Array
    grey: Float32Array
    region: npt.NDArray[np.uint8]
    left: BoolArray

    @classmethod
    def of(cls, head: Head) -> "_Tissue":
        body = head.anatomy
        share = body.grey + body.white
        if head.blood:
            left = 1 - head.blood_share()
            share *= np.where(left < _LEAST_TISSUE, 0, left)
        voxels = np.flatnonzero(share)
        grey, white = body.grey.ravel()[voxels], body.white.ravel()[voxels]
        return cls(
            voxels,
            share.ravel()[voxels],
            grey / (grey + white),
            body.region.ravel()[voxels],
            body.left.ravel()[voxels],
        )


@dataclass(frozen=True, eq=False)
class _Flow:
    """Kinetics of the tissue voxels."""

    cbf: Float32Array
    mtt: Float32Array
    delay: Float32Array
    dispersion: Float32Array


def perfusion_maps(head: Head, stroke: Stroke | None, seed: int) -> PerfusionMaps:
    """Draw the perfusion of a head.

    Normal flow by tissue kind (textbook: grey 45-65, white 18-28 mL/100 g/min, MTT 4-5 and
    4.5-5.5 s), less with age, with slow variation in space; a few patients have a stenosis that
    delays one side without starving it. A stroke prolongs transit and delay, and lowers flow, by
    how starved the tissue is. Blood has no flow; tissue under pressure of blood has less.

    Parameters
    ----------
    head : Head
        Tissue and blood.
    stroke : Stroke or None
        Drawn on the same anatomy.
    seed : int
        Decides everything else.
    """
    tissue = _Tissue.of(head)
    rng = stream(seed, "perfusion")
    normal = _normal_flow(rng, head, tissue)
    table_of = draw_residues(stream(seed, "residue"))
    kind = _residue_kind(stream(seed, "residue kind"), tissue)
    flow, leakage = normal, np.zeros_like(normal.cbf)
    low = core = leakage
    if stroke is not None:
        low = stroke.hypoperfusion.ravel()[tissue.voxels]
        core = stroke.core_weight.ravel()[tissue.voxels]
        flow = _starve(stream(seed, "starved flow"), normal, tissue, stroke, low, core)
        leakage = _leakage(stream(seed, "leakage"), tissue, stroke, core)
    flow = _displaced(flow, head, tissue)
    table = PeakTable(*table_of)
    peak_time, peak_height = table.look_up(flow.dispersion / flow.mtt, kind)
    after_arrival = peak_time * flow.mtt
    delay = np.where(
        low < _STARVED, np.minimum(flow.delay, NORMAL_TMAX_S - after_arrival), flow.delay
    )
    tmax = (delay + after_arrival).astype(np.float32)
    relative = flow.cbf / normal.cbf
    hypoperfused = (tissue.share > MASK_TISSUE_SHARE) & (tmax > HYPOPERFUSED_TMAX_S)
    dead = hypoperfused & (relative < CORE_RELATIVE_CBF)
    cbv = flow.cbf * flow.mtt / np.float32(60)
    put = tissue.voxels
    return PerfusionMaps(
        cbf=_scatter(put, flow.cbf),
        cbv=_scatter(put, cbv),
        mtt_s=_scatter(put, flow.mtt),
        delay_s=_scatter(put, delay),
        dispersion_s=_scatter(put, flow.dispersion),
        residue_kind=_scatter(put, kind),
        tmax_s=_scatter(put, tmax),
        residue_peak=_scatter(put, flow.cbf * peak_height),
        leakage=_scatter(put, leakage),
        hypoperfused=_scatter_mask(put, hypoperfused),
        core=_scatter_mask(put, dead),
        residues=table_of,
        arteries=arterial_flow(head, stroke, seed),
        veins=venous_flow(head, stroke, seed),
    )


def _scatter(voxels: npt.NDArray[np.int64], values: Float32Array) -> Float32Array:
    volume = np.zeros(HEAD_SHAPE, dtype=np.float32)
    volume.ravel()[voxels] = values
    return volume


def _scatter_mask(voxels: npt.NDArray[np.int64], values: BoolArray) -> BoolArray:
    volume = np.zeros(HEAD_SHAPE, dtype=np.bool_)
    volume.ravel()[voxels] = values
    return volume


_REGION_CBF = {
    Region.CEREBELLUM: 0.95,
    Region.LENTIFORM: 0.92,
    Region.CAUDATE: 0.94,
    Region.THALAMUS: 1.02,
    Region.BRAINSTEM: 0.85,
    Region.OCCIPITAL: 1.06,
    Region.INSULA: 1.05,
}
_TERRITORY_ARRIVAL_S = {
    Territory.ACA: 0.35,
    Territory.MCA_DEEP: -0.3,
    Territory.ANTERIOR_CHOROIDAL: -0.1,
    Territory.PCA: 0.8,
    Territory.THALAMIC: 0.2,
    Territory.SCA: 0.5,
    Territory.PICA: 0.6,
    Territory.BASILAR: 0.2,
}


def _normal_flow(rng: np.random.Generator, head: Head, tissue: _Tissue) -> _Flow:
    """Flow without disease."""
    person = head.anatomy.person
    young = np.float32(1 - 0.0025 * (person.age_years - 65))
    grey_cbf = np.clip(rng.normal(59, 3.5), 51, 65) * young
    white_cbf = np.clip(rng.normal(25.2, 1.3), 21.5, 28) * (0.4 + 0.6 * young)
    grey_mtt, white_mtt = rng.uniform(4.0, 5.0), rng.uniform(4.5, 5.5)
    noise = [head_noise(rng, _STEP, scale) for scale in (22, 22, 9, 16, 10)]
    arrival = _arrival_s(rng, head)
    flow_noise, mtt_noise, fine, late, spread, arrived = sample(
        [*noise, arrival], _STEP, tissue.voxels
    )
    gain = _by_index(tissue.region, {int(r): v for r, v in _REGION_CBF.items()}, 1.0)
    gain *= (
        1 + np.float32(0.05) * np.clip(flow_noise, -2, 2) + np.float32(0.03) * np.clip(fine, -2, 2)
    )
    grey, white = tissue.grey, 1 - tissue.grey
    grey_flow, white_flow = grey * np.float32(grey_cbf), white * np.float32(white_cbf)
    total = grey_flow + white_flow
    mtt = (grey_flow * np.float32(grey_mtt) + white_flow * np.float32(white_mtt)) / total
    mtt *= 1 + np.float32(0.04) * np.clip(mtt_noise, -2, 2)
    delay = arrived + np.float32(0.25) * late + white * np.float32(rng.uniform(0.2, 0.6))
    base, more = rng.uniform(0.3, 1.0), rng.uniform(0.1, 0.4)
    dispersion = np.float32(base) * np.exp(np.float32(0.25) * spread) + white * np.float32(more)
    return _Flow(
        (total * gain).astype(np.float32),
        mtt.astype(np.float32),
        np.maximum(delay, np.float32(-2)).astype(np.float32),
        np.clip(dispersion, 0.05, 2.0).astype(np.float32),
    )


def _by_index(
    index: npt.NDArray[np.uint8], values: dict[int, float], default: float
) -> Float32Array:
    """Value of every label, ``default`` for those that are not named."""
    table = np.full(256, default, dtype=np.float32)
    for label, value in values.items():
        table[label] = value
    return np.asarray(table[index], dtype=np.float32)


def _arrival_s(rng: np.random.Generator, head: Head) -> Float32Array:
    """Arrival of the bolus on a coarse grid: by territory, blurred over their borders.

    The two carotid systems and the posterior circulation each have an offset of their own; in one
    of ten people a stenosis delays one carotid side by 1.5-3.5 s.
    """
    from scipy import ndimage

    body = head.anatomy
    territory, left = pick(body.territory, _STEP), pick(body.left, _STEP)
    arrival = _by_index(territory, {int(t): v for t, v in _TERRITORY_ARRIVAL_S.items()}, 0.0)
    posterior = territory >= Territory.PCA
    offsets = np.clip(rng.normal(0, 0.3, 3), -0.8, 0.8)
    stenosis, side, lag = rng.random(), rng.random(), rng.uniform(1.5, 3.5)
    both, early = rng.random(), rng.uniform(0.6, 1.8)
    if stenosis < 0.1:
        offsets[int(side < 0.5)] += lag
    if both < 0.04:
        offsets[2] -= early
    arrival += np.where(posterior, offsets[2], np.where(left, offsets[0], offsets[1]))
    weight = (territory > 0).astype(np.float32)
    sigma = 5 / _STEP
    blurred = ndimage.gaussian_filter(arrival * weight, sigma)
    amount = ndimage.gaussian_filter(weight, sigma)
    return np.asarray(blurred / np.maximum(amount, 1e-3), dtype=np.float32)


def _residue_kind(rng: np.random.Generator, tissue: _Tissue) -> Float32Array:
    """Place of the residue function between the two mixtures: smooth, other in white matter."""
    (noise,) = sample([head_noise(rng, _STEP, 12)], _STEP, tissue.voxels)
    middle, white = rng.uniform(0.3, 0.7), rng.uniform(-0.25, 0.25)
    kind = np.float32(middle) + (1 - tissue.grey) * np.float32(white) + np.float32(0.15) * noise
    return np.clip(kind, 0, 1).astype(np.float32)


def _starve(
    rng: np.random.Generator,
    normal: _Flow,
    tissue: _Tissue,
    stroke: Stroke,
    low: Float32Array,
    core: Float32Array,
) -> _Flow:
    """Let a stroke lower flow and prolong transit, delay and dispersion.

    Penumbra keeps about a third to half of its flow (12-22 mL/100 g/min over both tissues), core
    about a tenth (5-10 with its rim). Transit is prolonged while flow falls to a third, so that
    CBV holds up in penumbra and breaks down in the core.
    """
    poor = 1 - stroke.collaterals
    penumbra = np.float32(rng.uniform(0.33, 0.39) - 0.02 * poor)
    dead = np.float32(rng.uniform(0.08, 0.14))
    white_spared = np.float32(rng.uniform(0.0, 0.06))
    grades, late, mottle = sample(
        [head_noise(rng, _STEP, scale) for scale in (10, 12, 5)],
        _STEP,
        tissue.voxels,
    )
    alive = penumbra + (1 - tissue.grey) * white_spared
    alive = np.clip(alive * (1 + np.float32(0.06) * grades), 0.31, 0.5)
    gone = np.clip(dead * (1 + np.float32(0.2) * mottle), 0.03, 0.2)
    # Flow and transit change before arrival does: at the rim Tmax is half way, flow is not.
    starved = 1 - (1 - low) ** 3
    relative = 1 - starved + (starved - core) * alive + core * gone
    longest = rng.uniform(9.0, 13.5) + 1.5 * (poor - 0.5)
    mtt = normal.mtt + starved * (np.float32(longest) + grades - normal.mtt)
    mtt = np.maximum(mtt + core * np.float32(rng.uniform(-2.5, 0.0)), normal.mtt)
    most = np.clip(rng.uniform(2.8, 5.4) + 3 * (poor - 0.5), 2.8, 10)
    delay = normal.delay + low * np.clip(
        np.float32(most) * (1 + np.float32(0.22) * late) + core * np.float32(rng.uniform(0, 2)),
        2.5,
        11.5,
    )
    dispersed = np.float32(rng.uniform(1.2, 3.2))
    dispersion = normal.dispersion + low * dispersed * np.clip(1 + 0.15 * late, 0.5, 1.5)
    return _Flow(
        np.maximum(normal.cbf * relative, _MIN_CBF).astype(np.float32),
        np.clip(mtt, 3, 16).astype(np.float32),
        np.clip(delay, -2, 12).astype(np.float32),
        np.clip(dispersion, 0.05, 4.0).astype(np.float32),
    )


def _leakage(
    rng: np.random.Generator, tissue: _Tissue, stroke: Stroke, core: Float32Array
) -> Float32Array:
    """Relative permeability: in patches of the core, more with time and without collaterals."""
    severity = rng.beta(1.2, 3.0) + 0.35 * (1 - np.exp(-stroke.onset_h / 10))
    severity *= 1.2 - 0.5 * stroke.collaterals
    (patches,) = sample([head_noise(rng, _STEP, 6)], _STEP, tissue.voxels)
    spread = np.clip(0.55 + 0.4 * patches, 0, 1)
    return np.asarray(np.clip(core**2 * spread * severity, 0, 1), dtype=np.float32)


def _displaced(flow: _Flow, head: Head, tissue: _Tissue) -> _Flow:
    """Lower the flow of tissue that blood presses on or oedema swells."""
    if not head.blood:
        return flow
    from scipy import ndimage

    size = coarse_shape(_STEP)
    blood = head.blood_share().reshape(
        size[0], _STEP, size[1], _STEP, size[2], _STEP
    ).mean(axis=(1, 3, 5))  # fmt: skip
    near = ndimage.gaussian_filter(blood, 7 / _STEP)
    (pressed,) = sample([np.asarray(near, dtype=np.float32)], _STEP, tissue.voxels)
    keep = 1 - np.clip(pressed, 0, np.float32(0.55))
    return _Flow(
        np.maximum(flow.cbf * keep, _MIN_CBF).astype(np.float32),
        np.clip(flow.mtt * (1 + np.float32(0.5) * (1 - keep)), 3, 16).astype(np.float32),
        flow.delay,
        flow.dispersion,
    )
