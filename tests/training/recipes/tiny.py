"""A preset that trains in a second."""

from dataclasses import replace

from training.recipes.derived_ncct import PRESETS

TINY = replace(
    PRESETS["lite"], filters=3, unet_filters=2, size=(4, 12, 12), rival_size=(4, 12, 12),
    epochs=3, batches=4,
)  # fmt: skip
