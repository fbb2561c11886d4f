"""Types, random streams and the steps of shares, which all of the simulator has in common."""

import zlib

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Uint8Array = npt.NDArray[np.uint8]
Int16Array = npt.NDArray[np.int16]

SHARE_STEPS = 255
"""Shares of a voxel are kept in so many steps: one byte each on disk, and sums are exact."""


def stream(seed: int, *names: object) -> np.random.Generator:
    """Return the random stream that a seed and a name decide, independent of all other streams.

    Every part of a patient draws from a stream of its own: a part that is added, left out or
    computed in another process does not change what the others draw.
    """
    keys = [zlib.crc32(str(name).encode()) for name in names]
    return np.random.default_rng([seed, *keys])


def in_steps(share: Float32Array) -> Float32Array:
    """Round shares to whole steps of 1/``SHARE_STEPS``."""
    return np.asarray(np.round(share * SHARE_STEPS) / np.float32(SHARE_STEPS), dtype=np.float32)
