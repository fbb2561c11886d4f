"""Perfusion: concentration, arterial input, deconvolution, lesions."""
