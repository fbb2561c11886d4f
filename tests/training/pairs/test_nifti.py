import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from inference.errors import DicomReadError, NotAnalysable
from inference.geometry import Geometry
from tests.inference.preprocess.moving_head import even
from training.pairs.nifti import read_nifti_series, read_nifti_volume

RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
GRID = even(5, 4.0, 12, tilt_deg=10)


def values(geometry: Geometry, times: int = 1) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """Something else in every voxel, with air, shape ``(time, slice, row, column)``."""
    count = times * int(np.prod(geometry.shape))
    return (np.arange(count).reshape(times, *geometry.shape) - 1000).astype(np.int16)


def write(path: Path, data: Any, *, codes: str = "LPS", **header: Any) -> Path:
    """Write ``(time, slice, row, column)`` on GRID, the file's axes leading to ``codes``."""
    stored = data.transpose(3, 2, 1, 0)
    image: Any = nibabel.Nifti1Image(  # type: ignore[no-untyped-call]
        stored[..., 0] if len(data) == 1 else stored, RAS @ GRID.affine_lps
    )
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))  # type: ignore[no-untyped-call]
    image = image.as_reoriented(turn)
    units = header.get("units", ("mm", "sec"))
    image.header.set_xyzt_units(*units)
    if len(data) > 1:
        image.header["pixdim"][4] = header.get("step", 1.5)
    nibabel.save(image, path)
    return path


def patch(path: Path, offset: int, content: bytes) -> Path:
    """Overwrite a part of the header (nifti1.h) of a file that is not packed."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)
    return path


@pytest.mark.parametrize("codes", ["LPS", "RAS", "LAS", "RPI", "PSR", "SLA"])
def test_a_volume_lies_where_it_lay_whatever_the_order_of_its_axes(
    codes: str, tmp_path: Path
) -> None:
    data = values(GRID)
    read = read_nifti_volume(write(tmp_path / "a.nii.gz", data, codes=codes))
    assert np.array_equal(read.data, data[0])
    np.testing.assert_allclose(read.geometry.positions_mm, GRID.positions_mm, atol=1e-3)
    np.testing.assert_allclose(read.geometry.row_cosines, GRID.row_cosines, atol=1e-5)
    np.testing.assert_allclose(read.geometry.column_cosines, GRID.column_cosines, atol=1e-5)
    assert read.geometry.pixel_spacing_mm == pytest.approx(GRID.pixel_spacing_mm, rel=1e-5)
    assert read.geometry.tilt_deg == pytest.approx(10, abs=0.01)
    assert read.units == "HU"


@pytest.mark.parametrize(
    ("step", "unit", "seconds"), [(1.5, "sec", 1.5), (1500, "msec", 1.5), (2.0, "unknown", 2.0)]
)
def test_a_series_has_the_time_step_of_its_header(
    step: float, unit: str, seconds: float, tmp_path: Path
) -> None:
    data = values(GRID, 3)
    path = write(tmp_path / "a.nii", data, step=step, units=("mm", unit), codes="RAS")
    read = read_nifti_series(path)
    assert np.array_equal(read.data, data)
    assert read.times_s[:, 0] == pytest.approx(seconds * np.arange(3))
    assert (read.times_s == read.times_s[:, :1]).all()


def test_scaled_values_and_padding_are_hu(tmp_path: Path) -> None:
    data = np.full((1, *GRID.shape), 20.0, np.float32)
    data[0, 0, 0] = [-3024, -1024, np.nan, -1000, *[100] * 8]
    read = read_nifti_volume(write(tmp_path / "a.nii", data))
    assert read.data[0, 0, :5].tolist() == [-1024, -1024, -1024, -1000, 100]
    slope_and_intercept = struct.pack("<2f", 2, -1024)
    path = patch(write(tmp_path / "b.nii", values(GRID) + 1000), 112, slope_and_intercept)
    assert np.array_equal(read_nifti_volume(path).data, 2 * (values(GRID)[0] + 1000) - 1024)


def test_what_no_pair_can_be_made_of_is_refused(tmp_path: Path) -> None:
    one, many = values(GRID), values(GRID, 3)
    with pytest.raises(NotAnalysable, match="left and right are unknown"):
        read_nifti_volume(patch(write(tmp_path / "a.nii", one), 252, bytes(4)))  # both codes
    with pytest.raises(NotAnalysable, match="expected one volume"):
        read_nifti_volume(write(tmp_path / "b.nii", many))
    with pytest.raises(NotAnalysable, match="expected volumes over time"):
        read_nifti_series(write(tmp_path / "c.nii", one))
    with pytest.raises(NotAnalysable, match="a time step of 0 sec"):
        read_nifti_series(write(tmp_path / "d.nii", many, step=0.0))
    with pytest.raises(NotAnalysable, match="a time step of 5 hz"):
        read_nifti_series(write(tmp_path / "e.nii", many, step=5.0, units=("mm", "hz")))
    with pytest.raises(NotAnalysable, match="the lowest value is 24"):
        read_nifti_volume(write(tmp_path / "f.nii", one + np.int16(1024)))


@pytest.mark.parametrize(
    "content", [b"", b"no image", gzip.compress(b"x" * 400, mtime=0)], ids=["empty", "text", "gzip"]
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_what_is_no_nifti_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DicomReadError, match="NIfTI"):
        read_nifti_volume(tmp_path / name)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.nii", values(GRID)).read_bytes()
    (tmp_path / "a.nii").write_bytes(whole[:-100])
    with pytest.raises(DicomReadError, match="not readable"):
        read_nifti_volume(tmp_path / "a.nii")
    packed = write(tmp_path / "b.nii.gz", values(GRID)).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DicomReadError, match="not readable"):
        read_nifti_volume(tmp_path / "b.nii.gz")
