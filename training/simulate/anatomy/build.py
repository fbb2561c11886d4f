"""Build the anatomy of a person: brain, skull and vessels put together, voxel by voxel."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from training.simulate.anatomy.brain import CALCIFICATION_HU, Brain, build_brain
from training.simulate.anatomy.deform import draw_warp
from training.simulate.anatomy.model import Anatomy
from training.simulate.anatomy.person import Person
from training.simulate.anatomy.skull import Skull, build_skull
from training.simulate.anatomy.vessels import Vessels, build_vessels
from training.simulate.arrays import SHARE_STEPS, BoolArray, Float32Array
from training.simulate.space import HEAD_SHAPE

_SLAB = 8


@lru_cache(maxsize=1)
def build_anatomy(person: Person) -> Anatomy:
    """Build a person's head without disease; the same person always gives the same bytes.

    Blood vessels take the place of whatever they run through, then calcium, then dura; brain and
    CSF share the rest of the cavity.
    """
    warp = draw_warp(person)
    brain = build_brain(person, warp)
    with ThreadPoolExecutor(1) as beside:
        building = beside.submit(build_vessels, person, warp, brain.depth_mm, brain.region)
        skull = build_skull(person, warp, brain.depth_mm)
        vessels = building.result()
    shares = _mix(brain, skull, vessels)
    return Anatomy(
        person=person,
        **shares,
        cavity=brain.depth_mm > 0,
        depth_mm=brain.depth_mm,
        region=brain.region,
        territory=brain.territory,
        vessel=vessels.vessel,
        left=brain.left,
    )


def _mix(brain: Brain, skull: Skull, vessels: Vessels) -> dict[str, Float32Array]:
    """Shares and static HU by their names in :class:`Anatomy`; reuses the arrays it is given."""
    result = {
        "grey": brain.grey,
        "white": brain.white,
        "csf": brain.csf,
        "artery": vessels.artery,
        "vein": vessels.vein,
        "bone": skull.bone,
        "fat": skull.fat,
        "soft": skull.soft,
        "calcification": brain.calcification,
        "static_hu": skull.static_hu,
    }
    for start in range(0, HEAD_SHAPE[0], _SLAB):
        part = slice(start, start + _SLAB)
        before = {name: values[part] for name, values in result.items()}
        after = _mix_slab(before, skull.dura[part], brain.depth_mm[part] > 0)
        for name, values in after.items():
            result[name][part] = values
        tissue = after["grey"] + after["white"] > 0
        brain.territory[part] *= tissue
    return result


def _mix_slab(
    given: dict[str, Float32Array], dura: Float32Array, cavity: BoolArray
) -> dict[str, Float32Array]:
    """Vessels first, then calcium, dura, and brain and CSF in what room is left."""
    artery = np.clip(given["artery"], 0, 1)
    vein = np.minimum(np.clip(given["vein"], 0, 1), 1 - artery)
    free = 1 - artery - vein
    calcification = np.minimum(given["calcification"], 1 - dura) * free
    dura = dura * free
    room = np.maximum(free - calcification - dura, 0) * cavity
    scale = room / np.maximum(1 - given["calcification"], np.float32(1e-6))
    grey, white = given["grey"] * scale, given["white"] * scale
    shares = {
        "grey": grey,
        "white": white,
        "csf": np.maximum(room - grey - white, 0),
        "artery": artery,
        "vein": vein,
        "bone": given["bone"] * free,
        "fat": given["fat"] * free,
        "soft": given["soft"] * free + dura,
        "calcification": calcification,
    }
    static_hu = given["static_hu"] * free + calcification * np.float32(CALCIFICATION_HU)
    return {**in_steps_together(shares), "static_hu": np.rint(static_hu)}


def in_steps_together(shares: Mapping[str, Float32Array]) -> dict[str, Float32Array]:
    """Shares in steps of 1/255 whose sum is the rounded sum of the given ones, at most 1.

    Each running sum is rounded: no share is off by more than one step, none is negative, and what
    sums to 1 still does, exactly, in units of a step.
    """
    result = {}
    total = before = np.zeros((), dtype=np.float32)
    for name, share in shares.items():
        total = total + share
        reached = np.minimum(np.rint(total * np.float32(SHARE_STEPS)), np.float32(SHARE_STEPS))
        result[name] = (reached - before) / np.float32(SHARE_STEPS)
        before = reached
    return result
