"""What CT and classic MR images share: plane and pixels."""

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from inference.geometry import Geometry
from training.simulate.dicom.identity import decimal


def set_plane(ds: Dataset, geometry: Geometry, index: int, thickness_mm: float) -> None:
    """Set the Image Plane module of one slice."""
    position = geometry.positions_mm[index]
    ds.SliceThickness = decimal(thickness_mm)
    ds.SliceLocation = decimal(round(float(position @ geometry.normal), 4))
    ds.ImagePositionPatient = [decimal(value) for value in position]
    directions = (*geometry.row_cosines, *geometry.column_cosines)
    ds.ImageOrientationPatient = [decimal(value) for value in directions]
    ds.PixelSpacing = [decimal(value) for value in geometry.pixel_spacing_mm]


def set_pixels(ds: Dataset, stored: npt.NDArray[np.integer], *, bits: int, signed: bool) -> None:
    """Set the Image Pixel module from values as they are stored; 16 bits are allocated."""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.BitsAllocated = 16
    ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PixelRepresentation = int(signed)
    ds.add_new(0x7FE00010, "OW", stored.astype("<i2" if signed else "<u2").tobytes())
