"""The template brain that every person deforms, and what lies where in it.

Made from the ICBM 2009a Nonlinear Symmetric atlas, copyright (C) 1993-2009 Louis Collins, McConnell
Brain Imaging Centre, Montreal Neurological Institute, McGill University, by
:mod:`~training.simulate.anatomy.derive_template`. The notice beside this module
(``ICBM152-NOTICE.txt``) must stay with copies of it and of ``template.npz``.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.simulate.arrays import SHARE_STEPS, Float32Array, Int16Array, Uint8Array

TEMPLATE_FILE = Path(__file__).with_name("template.npz")
STEPS_PER_MM = 8
_PULL_STEP = 2
PULL_STEP_MM = float(_PULL_STEP)
_PULL_REACH_MM, _PULL_INSIDE_MM = 13.0, 5.0

Uint16Array = npt.NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class Template:
    """The template on the head grid.

    Parameters
    ----------
    maps : float32 array, shape ``(3, *HEAD_SHAPE)``
        Probabilities of grey and white matter, deep grey matter and the spinal cord completed (the
        rest of the hull is CSF); distance from the lateral and third ventricles in mm, positive
        outside, smoothed.
    hull_mm : float32 array, shape ``HEAD_SHAPE``
        Distance from the brain's hull, positive inside. The hull contains the cisterns and goes on
        as the spinal canal.
    codes : uint16 array, shape ``HEAD_SHAPE``
        What lies at a point, see :func:`decode`.
    cortical_territory : uint8 array, shape ``HEAD_SHAPE``
        :class:`Territory` of cerebral cortex and white matter, defined everywhere.
    ventricle_pull : float32 array, shape ``(3, slice, row, column)``
        x, y, z components of the unit direction away from the ventricles times a weight that dies
        away with the distance, on a grid of ``PULL_STEP_MM``.
    """

    maps: Float32Array
    hull_mm: Float32Array
    codes: Uint16Array
    cortical_territory: Uint8Array
    ventricle_pull: Float32Array


def decode(codes: Uint16Array) -> tuple[Uint8Array, Uint8Array, Uint8Array]:
    """Tell the labels in codes of the template apart.

    Returns
    -------
    region : uint8 array
        :class:`Region` of the tissue, also where there is none: the parts reach beyond their
        surface.
    ventricle : uint8 array
        :class:`Region` of the ventricle that fluid here belongs to, 2 mm beyond its walls.
    territory : uint8 array
        :class:`Territory` of deep grey matter, brainstem and cerebellum; 0 elsewhere.
    """
    parts = (codes & 15, (codes >> 4) & 15, codes >> 8)
    region, ventricle, territory = (part.astype(np.uint8) for part in parts)
    return region, ventricle, territory


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Read the template, once per process."""
    with np.load(TEMPLATE_FILE) as stored:
        shares, distances_mm = stored["shares"], stored["distances_mm"]
        codes, cortical = stored["codes"], stored["cortical_territory"]
    maps = np.empty((3, *codes.shape), dtype=np.float32)
    np.divide(shares, np.float32(SHARE_STEPS), out=maps[:2])
    hull_mm, maps[2] = (_in_mm(steps) for steps in distances_mm)
    return Template(maps, hull_mm, codes, cortical, _ventricle_pull(maps[2]))


def _in_mm(steps: Int16Array) -> Float32Array:
    return np.divide(steps, np.float32(STEPS_PER_MM), dtype=np.float32)


def _ventricle_pull(ventricle_mm: Float32Array) -> Float32Array:
    """Weighted direction away from the ventricles, see :class:`Template`."""
    coarse = ventricle_mm[::_PULL_STEP, ::_PULL_STEP, ::_PULL_STEP]
    outside = np.exp(-((np.maximum(coarse, 0) / _PULL_REACH_MM) ** 2))
    weight = outside * np.clip(1 + coarse / _PULL_INSIDE_MM, 0, 1)
    return np.stack([part * weight for part in np.gradient(coarse, PULL_STEP_MM)[::-1]])
