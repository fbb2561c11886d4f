"""Simulated patients as DICOM, in the way that each vendor writes them."""

from training.simulate.dicom.ct import ctp_datasets, ctp_times, ncct_datasets
from training.simulate.dicom.identity import Identity
from training.simulate.dicom.mr import dwi_datasets, gre_datasets, pwi_datasets

__all__ = [
    "Identity",
    "ctp_datasets",
    "ctp_times",
    "dwi_datasets",
    "gre_datasets",
    "ncct_datasets",
    "pwi_datasets",
]
