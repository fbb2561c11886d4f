"""Checks of what a network is given."""

import torch


def check_sequence(
    images: torch.Tensor,
    axes: tuple[str, ...],
    *,
    frames: int | None = None,
    channels: int | None = None,
) -> None:
    """Raise ValueError unless ``images`` has one non-empty axis per name in ``axes``.

    Parameters
    ----------
    images : tensor
    axes : tuple of str
        Names of the expected axes, among them ``time``.
    frames : int, optional
        Number of time points that are expected; any number above 0 by default.
    channels : int, optional
        Length of the axis ``channel``.
    """
    shape = tuple(images.shape)
    expected = f"expected ({', '.join(axes)})"
    if len(shape) != len(axes):
        raise ValueError(f"images of shape {shape} have {len(shape)} axes; {expected}")
    for name, wanted in (("time", frames), ("channel", channels)):
        if wanted is not None and shape[axes.index(name)] != wanted:
            found = shape[axes.index(name)]
            raise ValueError(
                f"images of shape {shape} have {found} along {name}; expected {wanted}"
            )
    if 0 in shape:
        empty = axes[shape.index(0)]
        raise ValueError(f"images of shape {shape} have 0 along {empty}; expected 1 or more")
