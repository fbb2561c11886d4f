"""HU of a head at other tube voltages."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.simulate.anatomy.build import build_anatomy
from training.simulate.anatomy.person import draw_person
from training.simulate.pathology.head import Head, Inclusion
from training.simulate.space import HEAD_SHAPE

GAIN, BIAS = 1.36, -14.0


@settings(max_examples=12, deadline=None)
@given(hu=st.floats(40, 3000), share=st.floats(0.01, 1))
def test_calcium_gains_with_the_voltage_as_bone_does_and_a_clot_does_not(
    hu: float, share: float
) -> None:
    anatomy = build_anatomy(draw_person(1))
    plain = Head(anatomy).baseline_hu(bone_gain=GAIN, iodine_free_bias_hu=BIAS)
    where = tuple(np.argwhere(anatomy.white == 1)[0])
    shares = np.zeros(HEAD_SHAPE, dtype=np.float32)
    shares[where] = share
    head = Head(anatomy, inclusions={"thing": Inclusion(shares, hu)})
    found = float(head.baseline_hu(bone_gain=GAIN, iodine_free_bias_hu=BIAS)[where])
    expected = 100 + GAIN * (hu - 100) if hu > 100 else hu + BIAS
    assert found == pytest.approx(share * expected + (1 - share) * float(plain[where]), abs=0.1)


def test_bone_gains_with_the_voltage_and_soft_tissue_does_not() -> None:
    head = Head(build_anatomy(draw_person(1)))
    usual, low = (head.baseline_hu(bone_gain=gain) for gain in (1.0, GAIN))
    dense = head.anatomy.static_hu > 100
    np.testing.assert_array_equal(usual[~dense], low[~dense])
    gained = (low - usual)[dense]
    expected = (GAIN - 1) * (head.anatomy.static_hu[dense] - 100)
    np.testing.assert_allclose(gained, expected, atol=0.05)
