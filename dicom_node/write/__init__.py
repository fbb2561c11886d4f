"""Results as DICOM objects, one module per kind of object."""
