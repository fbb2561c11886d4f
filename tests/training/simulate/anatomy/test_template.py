"""The template: placed without interpolation, labelled as in textbooks, honest when missing."""

import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from training.simulate.anatomy import derive_template as module
from training.simulate.anatomy.model import Region, Territory
from training.simulate.anatomy.template import TEMPLATE_FILE, Template, decode, load_template
from training.simulate.arrays import SHARE_STEPS, Uint8Array
from training.simulate.space import HEAD_ORIGIN_MM, HEAD_SHAPE


@pytest.fixture(scope="module")
def template() -> Template:
    return load_template()


@pytest.fixture(scope="module")
def labels(template: Template) -> tuple[Uint8Array, Uint8Array, Uint8Array]:
    return decode(template.codes)


def at(x: float, y: float, z: float) -> tuple[int, int, int]:
    """Index of an LPS point in mm."""
    return tuple(round(v - o) for v, o in zip((z, y, x), HEAD_ORIGIN_MM[::-1], strict=True))  # type: ignore[return-value]  # fmt: skip


def test_maps_keep_the_atlas_values(template: Template) -> None:
    from nilearn import datasets

    atlas = datasets.load_mni152_gm_template(resolution=1)
    for ras in ((40, 20, 30), (-35, -60, 40), (50, -30, -10)):
        column = np.linalg.inv(atlas.affine) @ np.array([*ras, 1])
        expected = np.asarray(atlas.dataobj)[tuple(np.rint(column[:3]).astype(int))]
        found = template.maps[0][at(-ras[0], -ras[1], ras[2])]
        assert found == pytest.approx(expected, abs=0.5 / SHARE_STEPS)


def test_the_file_is_what_the_atlas_gives() -> None:
    """Another version of a library may round a few voxels the other way, by one step."""
    with np.load(TEMPLATE_FILE) as stored:
        for name, derived in module.derive_template().items():
            change = stored[name].astype(int) - derived.astype(int)
            assert np.count_nonzero(change) < 1e-4 * change.size, name


def test_the_same_template_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = {"codes": np.arange(6, dtype=np.uint16).reshape(1, 2, 3)}
    monkeypatch.setattr(module, "derive_template", lambda: arrays)
    for name in ("one.npz", "two.npz"):
        module.write_template(tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz") as stored:
        np.testing.assert_array_equal(stored["codes"], arrays["codes"])


@pytest.mark.parametrize(
    ("region", "low_ml", "high_ml"),
    [
        (Region.FRONTAL, 400, 680),
        (Region.PARIETAL, 220, 460),
        (Region.TEMPORAL, 220, 420),
        (Region.OCCIPITAL, 110, 230),
        (Region.INSULA, 14, 50),
        (Region.LENTIFORM, 8, 18),
        (Region.CAUDATE, 6, 14),
        (Region.THALAMUS, 9, 20),
        (Region.BRAINSTEM, 22, 48),
        (Region.CEREBELLUM, 130, 210),
    ],
)
def test_parts_of_the_brain_have_their_size(
    template: Template,
    labels: tuple[Uint8Array, ...],
    region: Region,
    low_ml: float,
    high_ml: float,
) -> None:
    tissue = template.maps[0] + template.maps[1] > 0.5
    assert low_ml < (tissue & (labels[0] == region)).sum() / 1000 < high_ml


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize(
    ("point", "region", "territory"),
    [
        ((25, 0, 3), Region.LENTIFORM, Territory.MCA_DEEP),
        ((13, -12, 8), Region.CAUDATE, Territory.MCA_DEEP),
        ((11, 18, 8), Region.THALAMUS, Territory.THALAMIC),
        ((6, 25, -30), Region.BRAINSTEM, Territory.BASILAR),
        ((25, 65, -25), Region.CEREBELLUM, Territory.SCA),
        ((25, 65, -50), Region.CEREBELLUM, Territory.PICA),
        ((6, -45, 20), Region.FRONTAL, Territory.ACA),
        ((45, -25, 25), Region.FRONTAL, Territory.MCA_SUPERIOR),
        ((55, 25, -8), Region.TEMPORAL, Territory.MCA_INFERIOR),
        ((50, 55, 30), Region.PARIETAL, Territory.MCA_INFERIOR),
        ((10, 85, 5), Region.OCCIPITAL, Territory.PCA),
        ((37, 0, 5), Region.INSULA, Territory.MCA_SUPERIOR),
    ],
)
def test_landmarks_lie_in_their_part_and_territory(
    template: Template,
    labels: tuple[Uint8Array, ...],
    side: int,
    point: tuple[float, float, float],
    region: Region,
    territory: Territory,
) -> None:
    where = at(side * point[0], *point[1:])
    assert Region(int(labels[0][where])) is region
    fixed = int(labels[2][where])
    assert Territory(fixed or int(template.cortical_territory[where])) is territory


def test_ventricles_have_their_size_and_hold_fluid(
    template: Template, labels: tuple[Uint8Array, ...]
) -> None:
    fluid = 1 - template.maps[0] - template.maps[1] > 0.5
    volumes = {
        region: (fluid & (labels[1] == region)).sum() / 1000
        for region in (Region.LATERAL_VENTRICLE, Region.THIRD_VENTRICLE, Region.FOURTH_VENTRICLE)
    }
    assert 10 < volumes[Region.LATERAL_VENTRICLE] < 30
    assert 0.5 < volumes[Region.THIRD_VENTRICLE] < 4
    assert 1 < volumes[Region.FOURTH_VENTRICLE] < 5
    assert fluid[template.maps[2] < -1.5].mean() > 0.99


def test_the_hull_holds_the_brain_and_goes_on_as_spinal_canal(template: Template) -> None:
    tissue = template.maps[0] + template.maps[1] > 0.5
    assert (template.hull_mm[tissue] > -0.5).mean() > 0.97
    assert template.hull_mm[tissue].min() > -3
    assert 1.6e6 < (template.hull_mm > 0).sum() < 2.1e6
    canal = template.hull_mm[0] > 0
    assert 150 < canal.sum() < 500
    cord = tissue[0]
    assert 50 < cord.sum() < 130
    assert not (cord & ~canal).any()


def test_codes_decode_to_known_labels(labels: tuple[Uint8Array, ...]) -> None:
    region, ventricle, territory = labels
    assert region.shape == HEAD_SHAPE
    assert set(np.unique(region)) <= set(Region)
    assert set(np.unique(ventricle)) == {0, 12, 13, 14}
    assert set(np.unique(territory)) <= set(Territory)


def test_a_missing_nilearn_is_said_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    with pytest.raises(ImportError, match=r"pip install strokenode\[train\]"):
        module._load_maps()


def test_the_notice_of_the_atlas_lies_beside_the_module() -> None:
    text = (resources.files("training.simulate.anatomy") / "ICBM152-NOTICE.txt").read_text("utf-8")
    assert "Copyright (C) 1993-2009 Louis Collins" in text
    assert "provided that the above copyright" in text
