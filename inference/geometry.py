"""Where the voxels of a stack of slices lie in the patient.

Positions, never SliceThickness or SpacingBetweenSlices, decide: gantry tilt and uneven spacing are
read right that way (DICOM PS3.3 C.7.6.2.1.1).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Geometry:
    """Stack of parallel slices in patient coordinates (LPS, mm).

    Parameters
    ----------
    positions_mm : array, shape ``(slice, 3)``
        ImagePositionPatient of every slice, in ascending order along the slice normal.
    row_cosines, column_cosines : array, shape ``(3,)``
        The two halves of ImageOrientationPatient: direction of growing column index, then of
        growing row index.
    pixel_spacing_mm : (row spacing, column spacing)
        PixelSpacing.
    rows, columns : int
        Size of one slice.

    Raises
    ------
    ValueError
        Shapes, spacings or directions that no image can have.
    """

    positions_mm: FloatArray
    row_cosines: FloatArray
    column_cosines: FloatArray
    pixel_spacing_mm: tuple[float, float]
    rows: int
    columns: int

    def __post_init__(self) -> None:
        positions = self.positions_mm
        if positions.ndim != 2 or positions.shape[1] != 3 or len(positions) == 0:
            raise ValueError(f"positions_mm has shape {positions.shape}, expected (slice, 3)")
        if self.row_cosines.shape != (3,) or self.column_cosines.shape != (3,):
            raise ValueError("row_cosines and column_cosines must have shape (3,)")
        if min(self.pixel_spacing_mm) <= 0 or self.rows < 1 or self.columns < 1:
            raise ValueError("pixel spacing, rows and columns must be positive")
        if abs(float(self.row_cosines @ self.column_cosines)) > 1e-2:
            raise ValueError("row and column directions are not perpendicular")
        if len(positions) > 1 and np.min(np.diff(positions @ self.normal)) <= 0:
            raise ValueError("slices must ascend along the slice normal, without duplicates")

    @cached_property
    def normal(self) -> FloatArray:
        """Unit normal of the slices, shape ``(3,)``."""
        normal = np.cross(self.row_cosines, self.column_cosines)
        return np.asarray(normal / np.linalg.norm(normal))

    @property
    def slices(self) -> int:
        """Number of slices."""
        return len(self.positions_mm)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a volume on this grid: ``(slice, row, column)``."""
        return self.slices, self.rows, self.columns

    @cached_property
    def slice_extents_mm(self) -> FloatArray:
        """Height of tissue that each slice stands for, shape ``(slice,)``, perpendicular to it.

        Half the distance to either neighbour; the end slices count their one neighbour twice. A
        single slice has no neighbour: 0.
        """
        if self.slices == 1:
            return np.zeros(1)
        heights = self.positions_mm @ self.normal
        gaps = np.diff(heights)
        return np.asarray((np.r_[gaps[:1], gaps] + np.r_[gaps, gaps[-1:]]) / 2)

    @cached_property
    def slice_spacing_mm(self) -> float:
        """Median distance of neighbouring slices along the normal."""
        return float(np.median(self.slice_extents_mm))

    @cached_property
    def voxel_volumes_ml(self) -> FloatArray:
        """Volume of one voxel of each slice in mL, shape ``(slice,)``."""
        return self.slice_extents_mm * self.pixel_spacing_mm[0] * self.pixel_spacing_mm[1] / 1000

    @cached_property
    def evenly_spaced(self) -> bool:
        """Whether all gaps between slices agree within 1 % or 0.01 mm."""
        gaps = np.diff(self.positions_mm @ self.normal)
        return len(gaps) < 2 or bool(np.ptp(gaps) <= max(0.01, 0.01 * float(np.median(gaps))))

    @cached_property
    def tilt_deg(self) -> float:
        """Angle between the slice normal and the line that the slice origins follow.

        Non-zero after an axial scan with tilted gantry: the stack is then a sheared box.
        """
        if self.slices < 2:
            return 0.0
        step = self.positions_mm[-1] - self.positions_mm[0]
        cosine = float(step @ self.normal / np.linalg.norm(step))
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    @cached_property
    def affine_lps(self) -> FloatArray:
        """4×4 matrix from (column, row, slice) indices to LPS mm; mean step for uneven spacing."""
        affine = np.eye(4)
        affine[:3, 0] = self.row_cosines * self.pixel_spacing_mm[1]
        affine[:3, 1] = self.column_cosines * self.pixel_spacing_mm[0]
        if self.slices > 1:
            affine[:3, 2] = (self.positions_mm[-1] - self.positions_mm[0]) / (self.slices - 1)
        else:
            affine[:3, 2] = self.normal
        affine[:3, 3] = self.positions_mm[0]
        return affine

    def voxel_to_lps(self, slice_index: int, row: float, column: float) -> FloatArray:
        """Patient position (LPS, mm) of a voxel, exact also for uneven spacing."""
        return np.asarray(
            self.positions_mm[slice_index]
            + self.row_cosines * (self.pixel_spacing_mm[1] * column)
            + self.column_cosines * (self.pixel_spacing_mm[0] * row)
        )

    def coordinates_mm(self, axis: int) -> FloatArray:
        """LPS coordinate (axis 0 = x towards the patient's left) of every voxel.

        Returns an array of shape ``(slice, row, column)``.
        """
        rows = np.arange(self.rows) * self.pixel_spacing_mm[0] * self.column_cosines[axis]
        columns = np.arange(self.columns) * self.pixel_spacing_mm[1] * self.row_cosines[axis]
        origin = self.positions_mm[:, axis]
        return np.asarray(origin[:, None, None] + rows[None, :, None] + columns[None, None, :])
