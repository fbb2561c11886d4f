"""What is true of the perfusion of a brain on the grid of a scan, CT and MR alike.

Maps are means over the living tissue of each voxel of brain, weighted by its share; a mask holds
where at least half of that tissue is what it tells. Core and penumbra make up what is hypoperfused,
and CBV is CBF · MTT / 60 in float32, both exactly. Where blood or a foreign body has left no
tissue alive all maps are 0.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from training.simulate.arrays import BoolArray, Float32Array
from training.simulate.pathology.patient import Patient
from training.simulate.pathology.transformation import leakage_percent
from training.simulate.scan.enhancement import living_share
from training.simulate.truth import Quantity

_ABOUT: dict[str, tuple[str, str]] = {
    "cbf": ("mL/100 g/min", "cerebral blood flow of the tissue"),
    "cbv": ("mL/100 g", "cerebral blood volume of the tissue, CBF * MTT / 60"),
    "mtt": ("s", "mean transit time"),
    "tmax": ("s", "time of the peak of the residue with delay and dispersion"),
    "delay": ("s", "delay of the tissue's curve"),
    "residue_peak": ("mL/100 g/min", "height of the peak at tmax"),
    "leakage": ("%", "leakage of the blood-brain barrier"),
    "hypoperfused": ("1", "tmax above 6 s"),
    "core": ("1", "hypoperfused, CBF below 30 % of normal of its kind"),
    "penumbra": ("1", "hypoperfused and not core"),
}
FLOW_TRUTH: tuple[str, ...] = tuple(_ABOUT)
_NEEDS = {
    "mtt": ("cbv",),
    "core": ("hypoperfused", "core"),
    "penumbra": ("hypoperfused", "core"),
}
_HALF = np.float32(0.5)
_LEAST_SHARE = 0.05


def brain_truth(tissue: Float32Array) -> Quantity:
    """Voxels that are brain, from the share of grey and white matter in each."""
    return Quantity(tissue >= _HALF, "1", "grey and white matter, at least half of the voxel")


def flow_volumes(patient: Patient, names: Collection[str]) -> dict[str, Callable[[], Float32Array]]:
    """Volumes of the head to sample for maps and masks; each is made when it is called.

    Parameters
    ----------
    patient : Patient
        Whose perfusion.
    names : collection of str
        Which of :data:`FLOW_TRUTH`.

    Returns
    -------
    dict of name to callable
        ``tissue``, the share of living tissue, and quantities times that share.
    """
    maps = patient.perfusion
    share = living_share(patient.head)
    share[maps.cbf <= 0] = 0
    makers: dict[str, Callable[[], npt.NDArray[Any]]] = {
        "cbf": lambda: maps.cbf,
        "cbv": lambda: maps.cbv,
        "tmax": lambda: maps.tmax_s,
        "delay": lambda: maps.delay_s,
        "residue_peak": lambda: maps.residue_peak,
        "leakage": partial(leakage_percent, maps),
        "hypoperfused": lambda: maps.hypoperfused,
        "core": lambda: maps.core,
    }
    wanted = {"cbf"} | {one for name in names for one in _NEEDS.get(name, (name,))}
    return {"tissue": lambda: share} | {
        name: partial(_weighted, share, make) for name, make in makers.items() if name in wanted
    }


def flow_truth(sampled: Mapping[str, Float32Array], brain: BoolArray) -> dict[str, Quantity]:
    """Maps and masks from the volumes of :func:`flow_volumes`, sampled.

    Parameters
    ----------
    sampled : mapping of name to float32 array ``(slice, row, column)``
        ``tissue``, ``cbf`` and what else was asked for.
    brain : bool array ``(slice, row, column)``
        Outside of it nothing is known.
    """
    tissue, flow = sampled["tissue"], sampled["cbf"]
    known = brain & (tissue > _LEAST_SHARE) & (flow > 0)
    weight = np.where(known, 1 / np.where(known, tissue, 1), 0).astype(np.float32)
    arrays: dict[str, npt.NDArray[Any]] = {"cbf": flow * weight}
    if "cbv" in sampled:
        mtt = np.where(known, 60 * sampled["cbv"] / np.where(known, flow, 1), 0).astype(np.float32)
        arrays["cbv"] = arrays["cbf"] * mtt / np.float32(60)
        arrays["mtt"] = mtt
    for name in ("tmax", "delay", "residue_peak", "leakage"):
        if name in sampled:
            arrays[name] = sampled[name] * weight
    if "hypoperfused" in sampled:
        low = known & (sampled["hypoperfused"] * weight >= _HALF)
        arrays["hypoperfused"] = low
        if "core" in sampled:
            core = low & (sampled["core"] * weight >= _HALF)
            arrays["core"], arrays["penumbra"] = core, low & ~core
    return {name: Quantity(values, *_ABOUT[name]) for name, values in arrays.items()}


def _weighted(share: Float32Array, make: Callable[[], npt.NDArray[Any]]) -> Float32Array:
    return np.asarray(share * make())
