"""What each process of torchrun runs in a test: a tiny training."""

import sys
from pathlib import Path

from tests.training.recipes.tiny import TINY
from training.recipes.derived_ncct import train

if __name__ == "__main__":
    pairs, runs = map(Path, sys.argv[1:])
    train(pairs, runs, preset=TINY, device="cpu")
