"""Truth of flow: means over living tissue, and masks that fit together."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.simulate.mr_patient import stroke_patient
from training.simulate.arrays import FloatArray
from training.simulate.pathology.head import BloodKind
from training.simulate.pathology.patient import Patient
from training.simulate.scan.flow_truth import FLOW_TRUTH, brain_truth, flow_truth, flow_volumes
from training.simulate.space import HEAD_SHAPE

PARTS = 8


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), dead=st.floats(0, 1))
def test_maps_are_means_over_the_tissue_of_a_voxel(seed: int, dead: float) -> None:
    """Voxels are made of parts, of which ``dead`` in the mean hold no living tissue."""
    rng = np.random.default_rng(seed)
    size = (PARTS, 3, 4, 5)
    share = rng.uniform(0.5, 1, size) * (rng.random(size) >= dead)
    cbf, mtt = rng.uniform(5, 70, size), rng.uniform(3, 12, size)
    tmax = rng.uniform(1, 11, size)
    low = (tmax > 6).astype(np.float64)
    core = low * (cbf < 20)
    values: dict[str, FloatArray] = {
        "cbf": cbf, "cbv": cbf * mtt / 60, "tmax": tmax, "hypoperfused": low, "core": core,
    }  # fmt: skip
    sampled = {name: (share * value).mean(axis=0) for name, value in values.items()}
    sampled = {
        name: value.astype(np.float32)
        for name, value in {"tissue": share.mean(axis=0), **sampled}.items()
    }
    brain = rng.random(size[1:]) < 0.7
    found = {name: item.values for name, item in flow_truth(sampled, brain).items()}
    known = brain & (sampled["tissue"] > 0.05)
    total = np.where(known, share.sum(axis=0), 1)
    for name in ("cbf", "tmax"):
        expected = np.where(known, (share * values[name]).sum(axis=0) / total, 0)
        np.testing.assert_allclose(found[name], expected, rtol=1e-5)
    transit = (share * cbf * mtt).sum(axis=0) / np.where(known, (share * cbf).sum(axis=0), 1)
    np.testing.assert_allclose(found["mtt"], np.where(known, transit, 0), rtol=1e-5)
    np.testing.assert_array_equal(found["cbv"], found["cbf"] * found["mtt"] / np.float32(60))
    most = (share * low).sum(axis=0) / total
    clear = np.abs(most - 0.5) > 1e-4
    np.testing.assert_array_equal(found["hypoperfused"][clear], (known & (most >= 0.5))[clear])
    np.testing.assert_array_equal(found["hypoperfused"], found["core"] ^ found["penumbra"])


def test_brain_is_what_is_at_least_half_tissue() -> None:
    share = np.array([0.49, 0.5, 0.9], dtype=np.float32)
    assert brain_truth(share).values.tolist() == [False, True, True]


def test_blood_has_no_flow_and_leaves_that_of_the_tissue_beside_it() -> None:
    patient = stroke_patient()
    tissue = patient.head.anatomy.grey + patient.head.anatomy.white
    where = np.unravel_index(np.flatnonzero(tissue > 0.9)[:3], HEAD_SHAPE)
    blood = np.zeros(HEAD_SHAPE, dtype=np.float32)
    blood[where] = 1, 0.6, 0
    bleeding = replace(patient.head, blood={BloodKind.INTRAPARENCHYMAL: blood})
    ill = Patient(patient.case, bleeding, patient.stroke, None)
    volumes = {name: make()[where] for name, make in flow_volumes(ill, FLOW_TRUTH).items()}
    assert volumes["tissue"][0] == 0
    np.testing.assert_allclose(volumes["tissue"][1], 0.4 * tissue[where][1], rtol=1e-5)
    truth = flow_truth(volumes, np.ones(3, dtype=bool))
    assert truth["cbf"].values[0] == 0
    np.testing.assert_allclose(truth["cbf"].values[1:], ill.perfusion.cbf[where][1:], rtol=1e-5)
    assert set(truth) == set(FLOW_TRUTH)


def test_only_what_is_asked_for_is_sampled() -> None:
    assert set(flow_volumes(stroke_patient(), ("tmax",))) == {"tissue", "cbf", "tmax"}
    assert "hypoperfused" in flow_volumes(stroke_patient(), ("penumbra",))
