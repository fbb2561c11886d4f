"""Image analysis: arrays in, results out. No network, no database."""

__version__ = "0.1.0"
