"""Few time points of many, and the network's scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.derived_ncct.frames import FIRST_FRAMES, condense, to_hu, to_network


@given(st.integers(1, 60), st.integers(1, 25))
def test_the_first_frames_stay_and_none_is_lost(there: int, most: int) -> None:
    frames = np.eye(there, dtype=np.float32)
    found = condense(frames, most)
    assert len(found) == min(there, most)
    shares = (found > 0).sum(axis=0)
    np.testing.assert_array_equal(shares, 1)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    if most > FIRST_FRAMES:
        kept = min(FIRST_FRAMES, there)
        np.testing.assert_array_equal(found[:kept], frames[:kept])
    sizes = (found > 0).sum(axis=1)[FIRST_FRAMES if most > FIRST_FRAMES else 0 :]
    assert np.ptp(sizes) <= 1 if len(sizes) else True


@pytest.mark.parametrize(("there", "most"), [(0, 3), (3, 0)])
def test_nothing_cannot_be_shortened(there: int, most: int) -> None:
    with pytest.raises(ValueError, match="expected at least one of each"):
        condense(np.zeros((there, 2), np.float32), most)


def test_the_scale_is_the_papers_and_comes_back() -> None:
    hu = np.array([-1024, -50, 0, 40, 200, 3000], np.float32)
    scaled = to_network(hu)
    np.testing.assert_allclose(scaled[[1, 4]], [0, 1], atol=1e-6)
    np.testing.assert_allclose(to_hu(scaled), np.clip(hu, -150, 300), atol=1e-3)
