"""Reading DICOM: headers, per-slice times, geometry, volumes. Torch-free."""
