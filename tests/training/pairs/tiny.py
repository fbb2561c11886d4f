"""Pairs of a few thousand voxels, made by formula: tissue, a vessel, a hemorrhage, noise."""

from pathlib import Path

import numpy as np

from training.pairs.pair import Case, Pair, as_half

BIAS_HU = -14.0
NOISE_HU = 4.0


def tiny_pair(
    name: str = "one",
    *,
    split: str = "train",
    pathology: bool = False,
    shape: tuple[int, int, int] = (6, 24, 24),
    frames: int = 8,
    seed: int = 0,
) -> Pair:
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    cavity = np.hypot(x, y) < 0.8
    truth = np.where(cavity, 30 + 6 * np.sign(np.sin(9 * x + 2 * z)), 300.0)
    vessels = np.hypot(x - 0.3, y) < 0.15
    ich = np.zeros(shape, bool)
    if pathology:
        ich = (np.hypot(x + 0.3, y) < 0.25) & cavity
        truth = truth + 30.0 * ich
    course = 150 * np.exp(-(((np.arange(frames) - frames / 2) / (frames / 6)) ** 2))
    course[: max(1, frames // 4)] = 0
    clean = truth + BIAS_HU + course[:, None, None, None] * vessels
    ctp = clean + rng.normal(0, NOISE_HU, (frames, *shape))
    ncct = truth + rng.normal(0, NOISE_HU, shape)
    masks = {
        "cavity": cavity,
        "brain": cavity & ~vessels,
        "ich": ich,
        "core": np.zeros(shape, bool),
        "vessels": vessels,
    }
    case = Case(name, split, "ge", pathology, (5.0, 1.0, 1.0))
    return Pair(case, as_half(ctp), as_half(ncct), masks, as_half(truth))


def tiny_folder(folder: Path, frames: int = 8) -> Path:
    """Four patients to train on, half of them with blood, and one for validation and each test."""
    for number in range(4):
        tiny_pair(f"train-{number}", pathology=number > 1, seed=number, frames=frames).save(folder)
    for seed, split in enumerate(("validation", "test", "shifted"), start=10):
        tiny_pair(f"{split}-0", split=split, pathology=True, seed=seed, frames=frames).save(folder)
    return folder
