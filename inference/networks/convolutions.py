"""Plain convolutions: the one that makes an image, and first values."""

import torch
from torch import nn


class ImageConv3d(nn.Conv3d):
    """Convolution in the type of its weights, also under autocast.

    For the last of a network: with 250 HU as 1, bfloat16 rounds an image to steps of 1 HU.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """See :class:`torch.nn.Conv3d`."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.to(self.weight.dtype))


def xavier_uniform(convolution: nn.Conv3d) -> None:
    """Initialise for inputs and outputs of one variance (Glorot and Bengio 2010); biases 0."""
    nn.init.xavier_uniform_(convolution.weight)
    _no_bias(convolution)


def he_normal(convolution: nn.Conv3d) -> None:
    """Initialise by the number of inputs for a ReLU that follows (He et al. 2015); biases 0."""
    nn.init.kaiming_normal_(convolution.weight, mode="fan_in", nonlinearity="relu")
    _no_bias(convolution)


def _no_bias(convolution: nn.Conv3d) -> None:
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
