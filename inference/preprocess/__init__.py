"""Masks, smoothing and resampling before the analysis proper."""
