"""Neural networks as torch modules only: no files, no DICOM, no training."""
