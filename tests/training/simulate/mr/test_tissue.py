"""What the materials of a head send: displaced tissue, oedema, iron, microbleeds."""

from dataclasses import replace

import numpy as np
import pytest

from tests.training.simulate.mr_patient import healthy_patient
from training.simulate.anatomy.person import draw_person
from training.simulate.arrays import Float32Array
from training.simulate.mr.protocols import draw_dwi_protocol
from training.simulate.mr.tissue import diffusion_signals, materials, microbleeds, own_tissues
from training.simulate.pathology.head import BloodKind, Head, Inclusion
from training.simulate.pathology.patient import Patient
from training.simulate.space import HEAD_SHAPE

BOX = slice(120, 130), slice(120, 130), slice(70, 80)


def share(value: float) -> Float32Array:
    values = np.zeros(HEAD_SHAPE, dtype=np.float32)
    values[BOX] = value
    return values


def with_head(head: Head) -> Patient:
    return replace(healthy_patient(), head=head)


def test_blood_and_calcium_take_the_place_of_tissue() -> None:
    head = healthy_patient().head
    inclusions = {"calcification": Inclusion(share(0.5), 150.0)}
    blood = {BloodKind.INTRAPARENCHYMAL: share(0.4)}
    parts = materials(replace(head, blood=blood, inclusions=inclusions))
    plain = materials(head)
    np.testing.assert_allclose(parts.white[BOX], 0.3 * plain.white[BOX], atol=1e-6)
    np.testing.assert_allclose(parts.clot[BOX], 0.4)
    outside = parts.grey.copy()
    outside[BOX] = plain.grey[BOX]
    assert np.array_equal(outside, plain.grey)


def test_staining_on_ct_is_invisible() -> None:
    head = healthy_patient().head
    stained = replace(head, inclusions={"contrast_staining": Inclusion(share(0.8), 110.0)})
    assert np.array_equal(materials(stained).grey, materials(head).grey)


def test_water_of_the_core_is_left_to_the_diffusion_model() -> None:
    head = replace(healthy_patient().head, water_hu=share(14.0))
    assert materials(head).oedema[BOX].min() == pytest.approx(0.5)
    assert not materials(head, core=share(1.0)).oedema.any()


def test_oedema_diffuses_faster_and_is_brighter_at_b0() -> None:
    patient = healthy_patient()
    protocol = draw_dwi_protocol(1, field_t=3.0)
    wet = with_head(replace(patient.head, water_hu=share(14.0)))
    (dry0, dry1), (wet0, wet1) = (diffusion_signals(one, protocol, 1) for one in (patient, wet))
    inside = np.zeros(HEAD_SHAPE, dtype=np.bool_)
    inside[BOX] = True
    anatomy = patient.head.anatomy
    inside &= (anatomy.grey + anatomy.white) > 0.95
    assert inside.sum() > 100
    dry, swollen = np.log(dry0[inside] / dry1[inside]), np.log(wet0[inside] / wet1[inside])
    assert 0.65 < np.median(dry) < 0.95
    assert np.median(swollen) > np.median(dry) + 0.4
    assert np.median(wet0[inside]) > 1.1 * np.median(dry0[inside])


@pytest.mark.parametrize("field_t", [1.5, 3.0])
def test_relaxation_of_persons_stays_in_published_ranges(field_t: float) -> None:
    people = [own_tissues(draw_person(seed), field_t) for seed in range(60)]
    ratio = [own["grey"].t2_ms / own["white"].t2_ms for own in people]
    assert min(ratio) > 0.8
    assert max(ratio) < 1.45
    adc = np.array([[own["grey"].adc, own["white"].adc, own["csf"].adc] for own in people])
    assert np.all((adc[:, :2] > 640) & (adc[:, :2] < 900))
    np.testing.assert_allclose(adc[:, 2].mean(), 3000, rtol=0.02)
    assert own_tissues(draw_person(3), field_t) == own_tissues(draw_person(3), field_t)


def test_microbleeds_come_with_age_and_lie_in_tissue() -> None:
    patient = healthy_patient()
    anatomy = patient.head.anatomy
    found: dict[bool, list[bool]] = {True: [], False: []}
    worst = np.zeros(HEAD_SHAPE, dtype=np.float32)
    for seed in range(40):
        age = 85.0 if seed % 2 else 42.0
        person = replace(draw_person(seed), age_years=age)
        sources = microbleeds(with_head(Head(replace(anatomy, person=person))))
        found[age > 60].append(bool(sources.any()))
        if sources.sum() > worst.sum():
            worst = sources
    assert not any(found[False])
    assert 0.1 < np.mean(found[True]) < 0.7
    centres = worst >= worst.max()
    assert np.all((anatomy.grey + anatomy.white)[centres] > 0.5)
