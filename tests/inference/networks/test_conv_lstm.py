"""The network against the paper's equations, written with eight convolutions per step."""

from typing import Literal

import pytest
import torch
from torch.nn.functional import conv3d, mse_loss

from inference.networks import conv_lstm
from inference.networks.conv_lstm import (
    ConvLstmCell,
    LastLayer,
    SequenceLayer,
    StackedConvLstm,
)

SIZE = 4, 5, 3
KERNELS = [(1, 1), (3, 1), (3, 3), (5, 3)]
FILTERS = 3


def sequence(frames: int, batch: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, frames, *SIZE, generator=generator)


def scrambled(network: StackedConvLstm) -> StackedConvLstm:
    """The network with other values, so that no bias or gate is like another."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network


def layers_of(network: StackedConvLstm) -> list[SequenceLayer | LastLayer]:
    return [each for each in network.modules() if isinstance(each, SequenceLayer | LastLayer)]


def cells_of(network: StackedConvLstm) -> list[ConvLstmCell]:
    return [cell for cell in network.modules() if isinstance(cell, ConvLstmCell)]


def hidden_states(cell: ConvLstmCell, frames: list[torch.Tensor]) -> list[torch.Tensor]:
    """Equations 1 of van de Leemput et al. 2020 for one direction, from states of zeros."""
    w_xi, w_xf, w_xo, w_xc = cell.input_weight.chunk(4)
    w_hi, w_hf, w_ho, w_hc = cell.recurrent_weight.chunk(4)
    b_i, b_f, b_o, b_c = cell.bias.chunk(4)
    h = c = torch.zeros(len(frames[0]), len(b_i), *SIZE)

    def convolved(image: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return conv3d(image, weight, padding=weight.shape[-1] // 2)

    out = []
    for x in frames:
        i = torch.sigmoid(convolved(x, w_xi) + convolved(h, w_hi) + b_i[:, None, None, None])
        f = torch.sigmoid(convolved(x, w_xf) + convolved(h, w_hf) + b_f[:, None, None, None])
        o = torch.sigmoid(convolved(x, w_xo) + convolved(h, w_ho) + b_o[:, None, None, None])
        g = torch.tanh(convolved(x, w_xc) + convolved(h, w_hc) + b_c[:, None, None, None])
        c = f * c + i * g
        h = o * torch.tanh(c)
        out.append(h)
    return out


def expected(
    network: StackedConvLstm, images: torch.Tensor, backward_place: Literal[0, -1] = -1
) -> torch.Tensor:
    """Image by all states of all layers; of the last layer the backward state at one place."""
    frames = [images[:, time, None] for time in range(images.shape[1])]
    for layer in layers_of(network):
        forward = hidden_states(layer.from_first, frames)
        backward = hidden_states(layer.from_last, frames[::-1])[::-1]
        frames = [one + other for one, other in zip(forward, backward, strict=True)]
    last = forward[-1] + backward[backward_place]
    weight = network.head.weight.flatten()[:, None, None, None]
    assert network.head.bias is not None
    return (last * weight).sum(dim=1) + network.head.bias


@pytest.mark.parametrize("frames", range(1, 6))
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kernels", KERNELS)
def test_network_is_the_papers_equations(
    kernels: tuple[int, int], layers: int, frames: int
) -> None:
    network = scrambled(StackedConvLstm(layers, FILTERS, *kernels))
    images = sequence(frames)
    torch.testing.assert_close(network(images), expected(network, images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 4])
def test_full_last_state_is_that_of_the_first_time_point(frames: int) -> None:
    network = scrambled(StackedConvLstm(2, FILTERS, 3, 3, last_state="full"))
    images = sequence(frames)
    torch.testing.assert_close(
        network(images), expected(network, images, backward_place=0), rtol=0, atol=1e-5
    )


def test_last_layer_takes_one_step_backward() -> None:
    network = StackedConvLstm(2, FILTERS, 3, 3)
    steps = dict.fromkeys(cells_of(network), 0)

    def count(cell: torch.nn.Module, *_: object) -> None:
        assert isinstance(cell, ConvLstmCell)
        steps[cell] += 1

    for cell in steps:
        cell.register_forward_hook(count)
    network(sequence(4))
    assert list(steps.values()) == [4, 4, 4, 1]


def test_first_step_takes_no_recurrent_convolution() -> None:
    network = StackedConvLstm(2, FILTERS, 3, 3)
    with torch.no_grad():
        for cell in cells_of(network):
            cell.recurrent_weight.fill_(torch.nan)
    assert network(sequence(1)).isfinite().all()
    assert network(sequence(2)).isnan().all()


def test_two_layers_of_64_filters_have_the_papers_parameters() -> None:
    network = StackedConvLstm(2, 64, 3, 3)
    assert sum(parameter.numel() for parameter in network.parameters()) == 2_669_121


def test_biases_are_zero_but_for_the_forget_gate() -> None:
    network = StackedConvLstm(2, FILTERS, 3, 3)
    for cell in cells_of(network):
        gates = [set(gate.tolist()) for gate in cell.bias.chunk(4)]
        assert gates == [{0.0}, {1.0}, {0.0}, {0.0}]
    assert network.head.bias is not None
    assert network.head.bias.item() == 0


def test_recurrent_kernels_are_orthogonal_per_gate() -> None:
    for cell in cells_of(StackedConvLstm(2, 8, 3, 3)):
        for gate in cell.recurrent_weight.chunk(4):
            matrix = gate.flatten(1)
            torch.testing.assert_close(matrix @ matrix.T, torch.eye(8), rtol=0, atol=1e-5)


def test_input_kernels_fill_the_bound_of_xavier_per_gate() -> None:
    torch.manual_seed(0)
    network = StackedConvLstm(2, 8, 3, 1)
    for cell in cells_of(network):
        bound = (6 / ((cell.input_weight.shape[1] + 8) * 3**3)) ** 0.5
        for gate in cell.input_weight.chunk(4):
            assert 0.95 * bound < gate.abs().max().item() <= bound
    assert 0 < network.head.weight.abs().max().item() <= (6 / (8 + 1)) ** 0.5


@pytest.mark.parametrize("kernels", [(3, 3), (3, 1)])
def test_checkpointing_leaves_the_gradients(kernels: tuple[int, int]) -> None:
    network = scrambled(StackedConvLstm(2, FILTERS, *kernels))
    images = sequence(4, batch=2)
    gradients = []
    for network.checkpointing in (False, True):
        network.zero_grad()
        network(images).square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0)


def test_every_parameter_has_a_gradient_where_it_has_a_part() -> None:
    network = StackedConvLstm(2, FILTERS, 3, 3)
    network(sequence(3)).square().sum().backward()
    without = [name for name, each in network.named_parameters() if each.grad is None]
    assert without == ["last_layer.from_last.recurrent_weight"]


def test_more_channels_have_an_axis_of_their_own() -> None:
    network = StackedConvLstm(2, FILTERS, 3, 3, channels=2)
    images = torch.randn(1, 3, 2, *SIZE)
    assert network(images).shape == (1, *SIZE)
    with pytest.raises(ValueError, match=r"have 4 along channel; expected 2"):
        network(torch.randn(1, 3, 4, *SIZE))
    with pytest.raises(ValueError, match=r"have 5 axes; expected \(batch, time, channel"):
        network(images[:, :, 0])


def test_network_learns_one_subvolume() -> None:
    torch.manual_seed(0)
    network = StackedConvLstm(2, 4, 3, 3)
    images = torch.rand(1, 4, 6, 6, 6)
    target = images.amin(dim=1)
    optimiser = torch.optim.RMSprop(network.parameters(), lr=0.01, alpha=0.9, eps=1e-6)
    losses = []
    for _ in range(200):
        loss = mse_loss(network(images), target)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
    assert losses[-1] < 0.1 * target.var().item()


@torch.no_grad()
def test_steps_can_be_compiled_one_by_one() -> None:
    network = scrambled(StackedConvLstm(2, FILTERS, 3, 3))
    images = sequence(3)
    plain = network(images)
    for cell in cells_of(network):
        cell.compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(network(images), plain)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4, 3, 3), "0 layers; expected 1 or more"),
        ((1, 4, 2, 3), "input kernel of 2 voxels; expected an odd number"),
        ((1, 4, 3, 4), "recurrent kernel of 4 voxels; expected an odd number"),
    ],
)
def test_impossible_networks_are_refused(
    arguments: tuple[int, int, int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        StackedConvLstm(*arguments)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("voxels", [1, 40, 10_000])
def test_slab_by_slab_is_the_same_as_at_once(
    kernels: tuple[int, int], voxels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = scrambled(StackedConvLstm(2, FILTERS, *kernels))
    for depth in (1, 2, 7):
        images = torch.randn(2, 3, depth, 5, 4, generator=torch.Generator().manual_seed(depth))
        whole = network(images).detach()
        monkeypatch.setattr(conv_lstm, "_SLAB_VOXELS", {"cpu": voxels})
        with torch.no_grad():
            torch.testing.assert_close(network(images), whole, rtol=0, atol=1e-5)
