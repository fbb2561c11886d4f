"""Shape and first values of the plain network."""

import torch
from torch import nn

from inference.networks.nie import NieNetwork


def test_convolutions_are_those_of_the_paper() -> None:
    steps = [each for each in NieNetwork(19).modules() if not list(each.children())]
    found = [
        (each.kernel_size[0], each.in_channels, each.out_channels)
        if isinstance(each, nn.Conv3d)
        else type(each)
        for each in steps
    ]
    relu = nn.ReLU
    assert found == [(7, 19, 32), relu, (5, 32, 64), relu, (3, 64, 32), relu, (3, 32, 1)]


def test_first_values_fill_the_bound_of_xavier() -> None:
    torch.manual_seed(0)
    for each in NieNetwork(3).modules():
        if isinstance(each, nn.Conv3d):
            volume = each.kernel_size[0] ** 3
            bound = (6 / ((each.in_channels + each.out_channels) * volume)) ** 0.5
            assert 0.95 * bound < each.weight.abs().max().item() <= bound
            assert each.bias is not None
            assert not each.bias.any()
