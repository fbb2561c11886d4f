"""3-D U-Net for regression (Ronneberger et al. 2015, Çiçek et al. 2016).

As the rival in van de Leemput et al. 2020 (IEEE Trans Med Imaging 39:985): the time points are the
channels, up-sampling repeats the nearest voxel, and nothing follows the last convolution. Widths
are Çiçek's: on each level down, the second convolution doubles the filters of the first.
"""

import torch
from torch import nn
from torch.nn.functional import interpolate, max_pool3d, pad

from inference.networks.checks import check_sequence
from inference.networks.convolutions import ImageConv3d, he_normal

_POOLINGS = 3


class UNet3d(nn.Module):
    """Three halvings of the resolution and three doublings, joined level by level.

    Parameters
    ----------
    frames : int
        Number of time points, the same for all sequences.
    filters : int
        Filters of the first convolution; they double with each level.
    """

    def __init__(self, frames: int, filters: int = 32) -> None:
        super().__init__()
        self.frames = frames
        widths = [filters * 2**level for level in range(_POOLINGS + 1)]
        self.down = nn.ModuleList(
            _two_convolutions(frames if level == 0 else width, width, 2 * width)
            for level, width in enumerate(widths)
        )
        self.up = nn.ModuleList(
            _two_convolutions(6 * width, 2 * width, 2 * width) for width in reversed(widths[:-1])
        )
        self.head = ImageConv3d(2 * filters, 1, kernel_size=1)
        he_normal(self.head)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Image of shape ``(batch, z, y, x)`` from ``(batch, time, z, y, x)``.

        Sizes are filled up to multiples of 8 by repeating the last voxel, and cut back at the end.
        """
        check_sequence(images, ("batch", "time", "z", "y", "x"), frames=self.frames)
        depth, height, width = images.shape[2:]
        values = _filled(images)
        skipped = []
        for level, block in enumerate(self.down):
            values = block(values if level == 0 else max_pool3d(values, 2))
            skipped.append(values)
        skipped.pop()
        for block in self.up:
            fine = interpolate(values, scale_factor=2, mode="nearest")
            values = block(torch.cat([skipped.pop(), fine], dim=1))
        image: torch.Tensor = self.head(values)
        return image[:, 0, :depth, :height, :width]


def _two_convolutions(given: int, first: int, second: int) -> nn.Sequential:
    """Two convolutions of 3 voxels, each with a ReLU; zeros are assumed beyond the image."""
    steps: list[nn.Module] = []
    for channels, filters in ((given, first), (first, second)):
        convolution = nn.Conv3d(channels, filters, kernel_size=3, padding="same")
        he_normal(convolution)
        steps += [convolution, nn.ReLU()]
    return nn.Sequential(*steps)


def _filled(images: torch.Tensor) -> torch.Tensor:
    """Images with sizes that can be halved three times."""
    missing = [-size % 2**_POOLINGS for size in reversed(images.shape[2:])]
    if not any(missing):
        return images
    return pad(images, [length for after in missing for length in (0, after)], mode="replicate")
