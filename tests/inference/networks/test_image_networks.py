"""What holds for every network that makes an image of a sequence."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from inference.networks.conv_lstm import StackedConvLstm
from inference.networks.nie import NieNetwork
from inference.networks.unet_3d import UNet3d

FRAMES = 4
SIZE = 5, 9, 6

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "conv_lstm": lambda: StackedConvLstm(2, 4, 3, 3),
    "unet_3d": lambda: UNet3d(FRAMES, filters=2),
    "nie": lambda: NieNetwork(FRAMES),
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[request.param]()


def test_batch_is_each_element_alone(network: nn.Module) -> None:
    images = torch.randn(3, FRAMES, *SIZE)
    together = network(images)
    assert together.shape == (3, *SIZE)
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("size", [(1, 1, 1), (8, 16, 8), (3, 17, 9)])
def test_image_has_the_size_of_a_frame(network: nn.Module, size: tuple[int, int, int]) -> None:
    assert network(torch.randn(1, FRAMES, *size)).shape == (1, *size)


def test_image_is_float32_under_autocast(network: nn.Module) -> None:
    images = torch.rand(1, FRAMES, *SIZE)
    with torch.inference_mode():
        plain = network(images)
        with torch.autocast("cpu", torch.bfloat16):
            fast = network(images)
    assert fast.dtype == torch.float32
    torch.testing.assert_close(fast, plain, rtol=0, atol=0.02)
    assert not torch.equal(fast, plain)


def test_channels_last_give_the_same_image(network: nn.Module) -> None:
    images = torch.randn(2, FRAMES, *SIZE)
    plain = network(images)
    turned = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    torch.testing.assert_close(turned(images), plain, rtol=0, atol=1e-5)


def test_wrong_rank_is_refused(network: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"\(4, 5, 9, 6\) have 4 axes; expected \(batch, time, z"):
        network(torch.randn(FRAMES, *SIZE))


def test_no_time_point_is_refused(network: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"have 0 along time; expected (1 or more|4)"):
        network(torch.randn(1, 0, *SIZE))


def test_empty_image_is_refused(network: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"have 0 along y; expected 1 or more"):
        network(torch.randn(1, FRAMES, 5, 0, 6))


@pytest.mark.parametrize("frames", [FRAMES - 1, FRAMES + 1])
@pytest.mark.parametrize("make", [UNet3d, NieNetwork])
def test_frames_as_channels_are_fixed(make: Callable[[int], nn.Module], frames: int) -> None:
    with pytest.raises(ValueError, match=rf"have {frames} along time; expected {FRAMES}"):
        make(FRAMES)(torch.randn(1, frames, *SIZE))
