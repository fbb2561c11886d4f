"""The DICOM node: network, state, results as DICOM."""
