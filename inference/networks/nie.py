"""Plain convolutional network (Nie et al. 2016; as in van de Leemput et al. 2020).

van de Leemput: IEEE Trans Med Imaging 39:985, where the time points are the channels.
"""

import torch
from torch import nn

from inference.networks.checks import check_sequence
from inference.networks.convolutions import ImageConv3d, xavier_uniform

_KERNELS = 7, 5, 3
_FILTERS = 32, 64, 32


class NieNetwork(nn.Module):
    """Four convolutions of 7, 5, 3 and 3 voxels to 32, 64, 32 filters and one image.

    ReLU between them; zeros are assumed beyond the image.

    Parameters
    ----------
    frames : int
        Number of time points, the same for all sequences.
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames
        steps: list[nn.Module] = []
        given = frames
        for kernel, filters in zip(_KERNELS, _FILTERS, strict=True):
            convolution = nn.Conv3d(given, filters, kernel, padding="same")
            xavier_uniform(convolution)
            steps += [convolution, nn.ReLU()]
            given = filters
        self.steps = nn.Sequential(*steps)
        self.head = ImageConv3d(given, 1, kernel_size=3, padding="same")
        xavier_uniform(self.head)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Image of shape ``(batch, z, y, x)`` from ``(batch, time, z, y, x)``."""
        check_sequence(images, ("batch", "time", "z", "y", "x"), frames=self.frames)
        image: torch.Tensor = self.head(self.steps(images))
        return image.squeeze(1)
