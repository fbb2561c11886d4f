"""Helpers for everybody's tests: simulated studies and DICOM peers."""
