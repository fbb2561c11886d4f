"""Seconds of derived head CT, beside what the device reaches in convolutions alone."""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch.nn.functional import conv3d

from inference.derived_ncct.derive import Derived, Limits, derive, takes_bfloat16
from inference.derived_ncct.model import Model, compile_model, load_model
from inference.networks.conv_lstm import StackedConvLstm
from inference.weights import write_model
from training.evaluate.tables import Table, number

FIELD_MM = 220.0
SKULL_MM = (175.0, 140.0)
"""Length and width of the inside of the skull, an ellipse, the same in every slice."""

_CEILING_VOXELS = 1_500_000
_GB = 1e9

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Size:
    """A scan and a network.

    Parameters
    ----------
    matrix, slices, frames : int
    layers, filters, kernel : int
        Of a network with first weights; ``kernel`` of input and state.
    """

    matrix: int
    slices: int
    frames: int
    layers: int = 2
    filters: int = 16
    kernel: int = 3


@dataclass(frozen=True)
class DerivedRow:
    """One way to compute it.

    Parameters
    ----------
    how : str
        ``as it is`` or ``compiled``.
    seconds : float
        Median over the runs.
    voxels, tiles : int
        What the network was given, and in how many parts.
    tflop_s, ceiling_tflop_s : float
        Of the whole, and of its largest convolution alone on the same device, in 10¹² a second.
    memory_gb : float
        The most: of the GPU's allocations, or of the whole process so far.
    precision, device : str
    """

    how: str
    seconds: float
    voxels: int
    tiles: int
    tflop_s: float
    ceiling_tflop_s: float
    memory_gb: float
    precision: str
    device: str


def time_derived_ncct(
    size: Size, device: str, *, repeats: int = 3, memory_gb: float = 4.0, compiled: bool = True
) -> Iterator[DerivedRow]:
    """Time the network of derived head CT on a scan with a head in it, with first weights.

    Parameters
    ----------
    size : Size
    device : str
        Of torch.
    repeats : int
        Runs of each, of which the median counts; one more comes first.
    memory_gb : float
        As of :class:`inference.derived_ncct.derive.Limits`.
    compiled : bool
        Also with compiled steps.
    """
    limits = Limits(memory_gb=memory_gb)
    spacing = FIELD_MM / size.matrix
    cavity = skull(size)
    rng = np.random.default_rng(0)
    shape = (size.frames, size.slices, size.matrix, size.matrix)
    frames = rng.standard_normal(shape, np.float32) * 10 + 30
    with tempfile.TemporaryDirectory() as folder:
        model = first_weights(Path(folder), size, device)
        half = takes_bfloat16(model, limits)
        ceiling = convolution_ceiling(size, device, half=half, repeats=repeats)

        def run() -> Derived:
            return derive(frames, cavity, (spacing, spacing), model, limits)

        for how in ("as it is", "compiled")[: 1 + compiled]:
            if how == "compiled":
                compile_model(model, half=half)
            seconds, found = median_seconds(run, repeats, device)
            work = flop_per_voxel(model.network, size) * found.voxels
            yield DerivedRow(
                how, seconds, found.voxels, found.tiles, work / seconds / 1e12, ceiling,
                most_memory_gb(device), found.precision, device,
            )  # fmt: skip


def skull(size: Size) -> np.ndarray[tuple[int, int, int], np.dtype[np.bool_]]:
    """The inside of a skull in the middle of every slice."""
    away = (np.arange(size.matrix) - (size.matrix - 1) / 2) * FIELD_MM / size.matrix
    rows, columns = (away / (length / 2) for length in SKULL_MM)
    ellipse = rows[:, None] ** 2 + columns**2 <= 1
    return np.repeat(ellipse[None], size.slices, axis=0)


def first_weights(folder: Path, size: Size, device: str) -> Model:
    """A network that has learned nothing, read as a shipped one is."""
    torch.manual_seed(0)
    settings = {
        "layers": size.layers, "filters": size.filters,
        "input_kernel": size.kernel, "recurrent_kernel": size.kernel,
    }  # fmt: skip
    about = {
        "name": "first_weights", "version": "0", "network": "StackedConvLstm",
        "settings": settings, "input": "HU", "trained_on": "nothing", "simulated": True,
        "measured": {},
    }  # fmt: skip
    write_model(folder, StackedConvLstm(*settings.values()).state_dict(), about)
    return load_model(folder, device)


def flop_per_voxel(network: StackedConvLstm, size: Size) -> float:
    """Multiplications and additions of all convolutions for one voxel.

    First steps have no state to convolve, and the last layer reads one frame backwards.
    """
    total = 2.0 * network.head.in_channels
    gates = 4 * size.filters
    volume = size.kernel**3
    for layer in range(size.layers):
        channels = size.filters if layer else network.channels
        last = layer == size.layers - 1
        for steps in (size.frames, 1 if last else size.frames):
            total += 2.0 * gates * volume * (channels * steps + size.filters * (steps - 1))
    return total


def convolution_ceiling(size: Size, device: str, *, half: bool, repeats: int) -> float:
    """10¹² operations a second that a convolution of frame and state to the gates reaches."""
    kind = torch.bfloat16 if half else torch.float32
    channels, gates = 2 * size.filters, 4 * size.filters
    edge = max(8, round((_CEILING_VOXELS / max(size.filters / 16, 1)) ** (1 / 3)))
    edges = min(edge, size.slices), min(edge, size.matrix), min(edge, size.matrix)
    states = torch.randn(1, channels, *edges, device=device, dtype=kind)
    weight = torch.randn(gates, channels, *[size.kernel] * 3, device=device, dtype=kind)
    states = states.to(memory_format=torch.channels_last_3d)
    weight = weight.to(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        seconds, _ = median_seconds(
            lambda: conv3d(states, weight, padding="same"), max(repeats, 5), device
        )
    return 2.0 * weight.numel() * float(np.prod(edges)) / seconds / 1e12


def median_seconds(run: Callable[[], _Found], repeats: int, device: str) -> tuple[float, _Found]:
    """Median over some runs after a first one, and what the last of them found."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        found = run()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:]), found


def most_memory_gb(device: str) -> float:
    """The most memory so far, in GB."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _GB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _GB


def derived_table(size: Size, rows: list[DerivedRow]) -> Table:
    """Table of what was measured."""
    return Table(
        f"Derived head CT, {size.matrix} x {size.matrix} x {size.slices}, {size.frames} frames, "
        f"K={size.layers}, f={size.filters}",
        ("", "device", "states", "s", "voxels", "tiles", "TFLOP/s", "convolution alone", "part",
         "GB"),
        [
            (
                row.how, row.device, row.precision, number(row.seconds, 1), str(row.voxels),
                str(row.tiles), number(row.tflop_s), number(row.ceiling_tflop_s),
                number(row.tflop_s / row.ceiling_tflop_s), number(row.memory_gb, 1),
            )
            for row in rows
        ],
        "the inside of the skull only, first weights; s: median, without registration; part: of "
        "what the largest convolution reaches alone; GB: the most of the GPU, or of the process",
    )  # fmt: skip
