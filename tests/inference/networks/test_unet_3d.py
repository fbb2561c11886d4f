"""Shape, first values and borders of the U-Net."""

import pytest
import torch
from torch import nn

from inference.networks.unet_3d import UNet3d


def convolutions(network: nn.Module) -> list[nn.Conv3d]:
    return [each for each in network.modules() if isinstance(each, nn.Conv3d)]


def test_widths_are_those_of_cicek() -> None:
    found = [(each.in_channels, each.out_channels) for each in convolutions(UNet3d(19))]
    assert found == [
        *[(19, 32), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512)],
        *[(768, 256), (256, 256), (384, 128), (128, 128), (192, 64), (64, 64), (64, 1)],
    ]


def test_first_values_are_those_of_he() -> None:
    torch.manual_seed(0)
    for each in convolutions(UNet3d(8, filters=8))[:-1]:
        fan_in = each.weight[0].numel()
        assert each.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)
        assert each.bias is not None
        assert not each.bias.any()


def test_other_sizes_are_filled_by_the_last_voxel() -> None:
    torch.manual_seed(0)
    network = UNet3d(2, filters=2)
    images = torch.randn(1, 2, 7, 8, 13)
    places = [torch.arange(size).clamp(max=last) for size, last in ((8, 6), (8, 7), (16, 12))]
    filled = images[:, :, places[0]][:, :, :, places[1]][:, :, :, :, places[2]]
    torch.testing.assert_close(network(images), network(filled)[:, :7, :, :13])


def test_image_reaches_beyond_the_coarsest_voxel() -> None:
    torch.manual_seed(0)
    network = UNet3d(1, filters=4)
    images = torch.zeros(1, 1, 8, 8, 64)
    marked = images.clone()
    marked[..., 32] = 1
    changed = (network(marked) - network(images)).detach().abs().amax(dim=(0, 1, 2))
    assert changed[16:48].gt(0).all()
