import numpy as np
import pytest

from inference.preprocess.morphology import dilate, erode, largest_component, opening

SPACING = (0.5, 1.0)


def square(rows: slice, columns: slice) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    mask = np.zeros((2, 40, 40), bool)
    mask[0, rows, columns] = True
    return mask


def test_radii_are_millimetres_along_either_axis() -> None:
    mask = square(slice(10, 30), slice(10, 30))
    np.testing.assert_array_equal(erode(mask, 2.0, SPACING), square(slice(14, 26), slice(12, 28)))
    grown = dilate(mask, 2.0, SPACING)
    assert np.flatnonzero(grown[0].any(axis=1))[[0, -1]].tolist() == [6, 33]
    assert np.flatnonzero(grown[0].any(axis=0))[[0, -1]].tolist() == [8, 31]
    assert not grown[1].any()


def test_full_slices_have_no_rim() -> None:
    assert erode(np.ones((1, 5, 5), bool), 2.0, SPACING).all()


def test_opening_removes_thin_bridges_and_largest_component_the_rest() -> None:
    mask = square(slice(5, 25), slice(5, 15)) | square(slice(5, 17), slice(25, 33))
    bridge = square(slice(10, 12), slice(15, 25))
    opened = opening(mask | bridge, 1.5, SPACING)
    assert not opened[bridge].any()
    assert largest_component(opened).sum() == pytest.approx(200, abs=10)
    assert not largest_component(np.zeros((1, 4, 4), bool)).any()
