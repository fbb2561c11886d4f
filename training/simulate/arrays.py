"""Types and random streams that all of the simulator shares."""

import zlib

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Uint8Array = npt.NDArray[np.uint8]
Int16Array = npt.NDArray[np.int16]


def stream(seed: int, *names: object) -> np.random.Generator:
    """Return the random stream that a seed and a name decide, independent of all other streams.

    Every part of a patient draws from a stream of its own: a part that is added, left out or
    computed in another process does not change what the others draw.
    """
    keys = [zlib.crc32(str(name).encode()) for name in names]
    return np.random.default_rng([seed, *keys])
