"""Stacked bidirectional 3-D convolutional LSTM.

After van de Leemput et al. 2020, IEEE Trans Med Imaging 39:985. With input x, hidden state h, cell
state c, convolutions ``*`` and per gate i, f, o and g its own W_x, W_h and b, a step computes

=======  ==================================================
i, f, o  sigmoid(x_t * W_x + h_(t-1) * W_h + b)
g        tanh(x_t * W_x + h_(t-1) * W_h + b)
c_t      f c_(t-1) + i g
h_t      o tanh(c_t)
=======  ==================================================

A layer reads the sequence once from the first and once from the last time point, and adds the two
hidden states of each time point. States are zero before the first step, which therefore takes no
recurrent convolution. The last layer passes on the sum at the last time point: the forward state
after all steps and the backward state after its first, so no other backward step is computed.

Where both kernels have the same size the four gates are one convolution of [x, h]: with 16 filters
on a CPU 1.2 (bfloat16) to 4 times (float32) as fast as two.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import conv3d
from torch.utils.checkpoint import checkpoint

from inference.networks.checks import check_sequence
from inference.networks.convolutions import ImageConv3d, xavier_uniform

State = tuple[torch.Tensor, torch.Tensor]
LastState = Literal["formula", "full"]

_GATES = 4
_MOST_COMPILATIONS = 64
_SLAB_VOXELS = {"cpu": 160_000, "cuda": 4_000_000}  # what caches hold, what keeps a GPU busy
_FEWEST_SLICES = 2
_FORGET = 1


class ConvLstmCell(nn.Module):
    """One step of one direction of one layer.

    Parameters
    ----------
    channels, filters : int
        Channels of the input and of the state.
    input_kernel, recurrent_kernel : int
        Edges of the cubic kernels in voxels, odd.

    Attributes
    ----------
    input_weight : tensor, shape ``(4 × filters, channels, z, y, x)``
        Gates in the order i, f, o, g, here and below.
    recurrent_weight : tensor, shape ``(4 × filters, filters, z, y, x)``
    bias : tensor, shape ``(4 × filters,)``
    """

    def __init__(
        self, channels: int, filters: int, input_kernel: int, recurrent_kernel: int
    ) -> None:
        super().__init__()
        for name, edge in (("input", input_kernel), ("recurrent", recurrent_kernel)):
            if edge < 1 or edge % 2 == 0:
                raise ValueError(f"{name} kernel of {edge} voxels; expected an odd number")
        rows = _GATES * filters
        self.input_weight = nn.Parameter(torch.empty(rows, channels, *[input_kernel] * 3))
        self.recurrent_weight = nn.Parameter(torch.empty(rows, filters, *[recurrent_kernel] * 3))
        self.bias = nn.Parameter(torch.empty(rows))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise each gate as a convolution of its own, with ``filters`` outputs.

        Input kernels Xavier uniform, recurrent kernels random orthogonal as matrices of shape
        ``(filters, filters × kernel volume)``, biases 0 but 1 for the forget gate.
        """
        for gate in self.input_weight.chunk(_GATES):
            nn.init.xavier_uniform_(gate)
        for gate in self.recurrent_weight.chunk(_GATES):
            nn.init.orthogonal_(gate)
        for place, gate in enumerate(self.bias.chunk(_GATES)):
            gate.fill_(float(place == _FORGET))

    def forward(self, frame: torch.Tensor, state: State | None) -> State:
        """Hidden and cell state after one step.

        Without gradients, slabs of a few slices are computed one after the other: their gates are
        used while they are still in the cache, and never all held at once.

        Parameters
        ----------
        frame : tensor, shape ``(batch, channel, z, y, x)``
        state : two tensors of shape ``(batch, filter, z, y, x)``, or None for zeros
        """
        hidden, cell = (None, None) if state is None else state
        if torch.is_grad_enabled():
            return self.step(frame, hidden, cell, slab=False)
        parts = [
            self.step(
                _slab(frame, start, stop, self.reach),
                None if hidden is None else _slab(hidden, start, stop, self.reach),
                None if cell is None else _slab(cell, start, stop, self.reach),
                slab=True,
            )
            for start, stop in _slabs(frame)
        ]
        if len(parts) == 1:
            return parts[0]
        return torch.cat([each[0] for each in parts], 2), torch.cat([each[1] for each in parts], 2)

    def step(
        self,
        frame: torch.Tensor,
        hidden: torch.Tensor | None,
        cell: torch.Tensor | None,
        *,
        slab: bool,
    ) -> State:
        """The equations; all parts of a slab come with :attr:`reach` slices more on both sides."""
        gates = self._gates(frame, hidden, slab=slab)
        input_gate, forget_gate, output_gate, candidate = gates.chunk(_GATES, 1)
        after = input_gate.sigmoid() * _tanh(candidate)
        if cell is not None:
            inner = _without(cell, self.reach) if slab else cell
            after = forget_gate.sigmoid() * inner + after
        return output_gate.sigmoid() * _tanh(after), after

    @property
    def reach(self) -> int:
        """Slices that a step sees above and below."""
        return max(self.input_weight.shape[2], self.recurrent_weight.shape[2]) // 2

    def compile_step(self, *, any_size: bool) -> None:
        """See :meth:`StackedConvLstm.compile_steps`."""
        self.__dict__["step"] = torch.compile(self.step, dynamic=any_size)

    def _gates(
        self, frame: torch.Tensor, hidden: torch.Tensor | None, *, slab: bool
    ) -> torch.Tensor:
        """Gates before their activation, shape ``(batch, 4 × filter, z, y, x)``."""
        around = self.reach if slab else None
        if hidden is None:
            return _convolve(frame, self.input_weight, self.bias, around)
        if self.input_weight.shape[2:] == self.recurrent_weight.shape[2:]:
            # Of two types, torch.cat would take the wider one and copy the state.
            both = torch.cat([frame.to(hidden.dtype), hidden], dim=1)
            weight = torch.cat([self.input_weight, self.recurrent_weight], dim=1)
            return _convolve(both, weight, self.bias, around)
        gates = _convolve(frame, self.input_weight, self.bias, around)
        return gates + _convolve(hidden, self.recurrent_weight, None, around)


class _TwoDirections(nn.Module):
    """Two cells that read a sequence from its two ends; parameters as of :class:`ConvLstmCell`."""

    def __init__(
        self, channels: int, filters: int, input_kernel: int, recurrent_kernel: int
    ) -> None:
        super().__init__()
        self.from_first = ConvLstmCell(channels, filters, input_kernel, recurrent_kernel)
        self.from_last = ConvLstmCell(channels, filters, input_kernel, recurrent_kernel)


class SequenceLayer(_TwoDirections):
    """Bidirectional layer that passes on the whole sequence."""

    def forward(self, frames: Sequence[torch.Tensor], checkpointing: bool) -> list[torch.Tensor]:
        """Sums of both directions, one tensor of shape ``(batch, filter, z, y, x)`` per frame.

        Parameters
        ----------
        frames : sequence of tensors, shape ``(batch, channel, z, y, x)``
        checkpointing : bool
        """
        out = list(_hidden_states(self.from_first, frames, checkpointing))
        backward = _hidden_states(self.from_last, frames[::-1], checkpointing)
        for place, hidden in zip(reversed(range(len(out))), backward, strict=True):
            # Replaced one by one, so that without gradients a single sequence is held.
            out[place] = out[place] + hidden
        return out


class LastLayer(_TwoDirections):
    """Bidirectional layer that passes on the last time point; other parameters as of a cell.

    Parameters
    ----------
    last_state : {"formula", "full"}
        See :class:`StackedConvLstm`.
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        input_kernel: int,
        recurrent_kernel: int,
        last_state: LastState,
    ) -> None:
        super().__init__(channels, filters, input_kernel, recurrent_kernel)
        self.last_state = last_state

    def forward(self, frames: Sequence[torch.Tensor], checkpointing: bool) -> torch.Tensor:
        """Sum of both directions, shape ``(batch, filter, z, y, x)``.

        Parameters as of :class:`SequenceLayer`.
        """
        read = frames[-1:] if self.last_state == "formula" else frames[::-1]
        forward = deque(_hidden_states(self.from_first, frames, checkpointing), maxlen=1)
        backward = deque(_hidden_states(self.from_last, read, checkpointing), maxlen=1)
        return forward.pop() + backward.pop()


class StackedConvLstm(nn.Module):
    """Bidirectional layers and one convolution of 1 voxel to a single image.

    Parameters
    ----------
    layers, filters : int
        Number of layers and of filters in each.
    input_kernel, recurrent_kernel : int
        Edges of the cubic kernels in voxels, odd; zeros are assumed beyond the image.
    channels : int
        Channels of the input.
    checkpointing : bool
        Keep only the states for the gradient and compute each step again; may be set later.
    last_state : {"formula", "full"}
        Backward state of the last layer: after its first step, which is at the last time point as
        the paper's formula has it, or after all steps, at the first time point.
    """

    def __init__(
        self,
        layers: int,
        filters: int,
        input_kernel: int,
        recurrent_kernel: int,
        channels: int = 1,
        *,
        checkpointing: bool = False,
        last_state: LastState = "formula",
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"{layers} layers; expected 1 or more")
        self.channels = channels
        self.checkpointing = checkpointing
        kernels = input_kernel, recurrent_kernel
        given = [channels] + [filters] * (layers - 1)
        self.sequence_layers = nn.ModuleList(
            SequenceLayer(size, filters, *kernels) for size in given[:-1]
        )
        self.last_layer = LastLayer(given[-1], filters, *kernels, last_state)
        self.head = ImageConv3d(filters, 1, kernel_size=1)
        xavier_uniform(self.head)

    def compile_steps(self, *, any_size: bool) -> None:
        """Compile a step at its first use, which takes up to a minute; on CPUs by a C++ compiler.

        The gates then take one pass over memory instead of ten. First and other steps, first and
        other layers, and training or not are compiled apart.

        Parameters
        ----------
        any_size : bool
            For images of all sizes at once; else every size is another compilation.
        """
        torch._dynamo.config.recompile_limit = _MOST_COMPILATIONS
        for module in self.modules():
            if isinstance(module, ConvLstmCell):
                module.compile_step(any_size=any_size)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Image of shape ``(batch, z, y, x)`` from a sequence of any length above 0.

        Parameters
        ----------
        images : tensor, shape ``(batch, time, z, y, x)``
            With more than one channel ``(batch, time, channel, z, y, x)``.
        """
        if self.channels == 1:
            check_sequence(images, ("batch", "time", "z", "y", "x"))
            images = images.unsqueeze(2)
        else:
            axes = ("batch", "time", "channel", "z", "y", "x")
            check_sequence(images, axes, channels=self.channels)
        # Compiled steps ask for one layout; views of a sequence have one for each length and place.
        frames: Sequence[torch.Tensor] = [
            frame.clone(memory_format=torch.contiguous_format) for frame in images.unbind(1)
        ]
        for layer in self.sequence_layers:
            frames = layer(frames, self.checkpointing)
        image: torch.Tensor = self.head(self.last_layer(frames, self.checkpointing))
        return image.squeeze(1)


def _hidden_states(
    cell: ConvLstmCell, frames: Sequence[torch.Tensor], checkpointing: bool
) -> Iterator[torch.Tensor]:
    """Yield the hidden state after each of ``frames``, starting from zeros."""
    state: State | None = None
    for frame in frames:
        if checkpointing and torch.is_grad_enabled():
            state = checkpoint(cell, frame, state, use_reentrant=False)
        else:
            state = cell(frame, state)
        yield state[0]


def _convolve(
    image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, around: int | None
) -> torch.Tensor:
    """Convolution that keeps the size, or takes off so many slices around."""
    if around is None:
        return conv3d(image, weight, bias, padding="same")
    z, y, x = (edge // 2 for edge in weight.shape[2:])
    return conv3d(_without(image, around - z), weight, bias, padding=(0, y, x))


def _without(volume: torch.Tensor, around: int) -> torch.Tensor:
    """A volume without some of its first and last slices."""
    return volume[:, :, around : volume.shape[2] - around]


def _slabs(frame: torch.Tensor) -> Iterator[tuple[int, int]]:
    """First slices of slabs, and those after their last."""
    depth, rows, columns = frame.shape[2:]
    thickness = max(_SLAB_VOXELS[frame.device.type] // (rows * columns), _FEWEST_SLICES)
    count = max(depth // thickness, 1)
    return pairwise(depth * place // count for place in range(count + 1))


def _slab(volume: torch.Tensor, start: int, stop: int, reach: int) -> torch.Tensor:
    """A copy of slices with what lies around them, zeros beyond the volume.

    The layout is always the same, which compiled steps ask for.
    """
    first, after = start - reach, stop + reach
    low, high = max(first, 0), min(after, volume.shape[2])
    shape = (*volume.shape[:2], after - first, *volume.shape[3:])
    part = torch.empty(
        shape, dtype=volume.dtype, device=volume.device, memory_format=torch.channels_last_3d
    )
    part[:, :, : low - first] = 0
    part[:, :, high - first :] = 0
    part[:, :, low - first : high - first] = volume[:, :, low:high]
    return part


def _tanh(values: torch.Tensor) -> torch.Tensor:
    """Hyperbolic tangent; compiled, where all is float32 inside, by the faster sigmoid."""
    if torch.compiler.is_compiling():
        return 2 * (2 * values).sigmoid() - 1
    return values.tanh()
