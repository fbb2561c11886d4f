"""Hospitals' tables of cases, and simulated patients from DICOM and NIfTI to pairs."""

import datetime as dt
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest

from inference.dicom.volumes import Volume
from inference.preprocess.morphology import erode
from training.pairs import manifest
from training.pairs.manifest import ManifestError, Outcome, prepare_pairs, read_manifest
from training.pairs.pair import Pair
from training.pairs.register import Registered
from training.pairs.resample import Rigid, resample
from training.pairs.sources import read_ctp, read_ncct
from training.simulate import study
from training.simulate.ct import scan
from training.simulate.pathology.patient import Case, Patient, make_patient
from training.simulate.scan.motion import no_motion
from training.simulate.scanner import Scanner
from training.simulate.truth import Truth

HEADER = "case,split,scanner,pathology,ctp,ncct"
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
PERSON = Case(1, stroke="none", hemorrhage="none", mimics=())
GRID = study.Grid(matrix=96, slices=4, thickness_mm=8.0, time_points=6)
# A head CT with a tilted gantry, and a perfusion with one series per volume.
CASES: tuple[tuple[str, Scanner], ...] = (("tilted", "ge"), ("volumes", "canon"))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Folders and files that a manifest may name."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "d.nii.gz").touch()
    (tmp_path / "letter.doc").touch()
    return tmp_path


def written(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def problems(path: Path) -> tuple[str, ...]:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems


def test_a_manifest_is_read(files: Path) -> None:
    path = written(
        files, "p-1,train,siemens,no,a,d.nii.gz,x", f"P_2.b,test,canon,TRUE,{files / 'b'},c,y", "",
        header="\ufeff" + HEADER + ",patient",
    )  # fmt: skip
    first, second = read_manifest(path)
    assert (first.case, first.split, first.scanner, first.pathology) == (
        "p-1", "train", "siemens", False,
    )  # fmt: skip
    assert (first.ctp, first.ncct, first.patient) == (files / "a", files / "d.nii.gz", "x")
    assert (second.ctp, second.ncct, second.pathology) == (files / "b", files / "c", True)


def test_everything_that_is_wrong_is_told_at_once(files: Path) -> None:
    told = problems(
        written(
            files, ".hidden,training,,perhaps,nowhere,letter.doc", "two,test,ge,1,a,b",
            "Two,train,ge,0,a,c", "x/y,test,ge,0,,c", "short,test,ge",
        )
    )  # fmt: skip
    expected = (
        "line 2: case '.hidden', expected letters",
        "line 2: split 'training', expected one of train, validation, test, shifted",
        "line 2: no scanner",
        "line 2: pathology 'perhaps', expected yes or no",
        "line 2: ctp 'nowhere' does not exist",
        "line 2: ncct 'letter.doc' is a file of another kind",
        "line 4: case 'Two' is that of line 3",
        "line 4: ctp ",
        "line 5: case 'x/y', expected letters",
        "line 5: no ctp, expected a folder of DICOM files",
        "line 5: ncct ",
        "line 6: more or fewer cells",
        "line 6: pathology ''",
        "line 6: no ctp",
        "line 6: no ncct",
    )
    assert len(told) == len(expected), told
    for problem, start in zip(told, expected, strict=True):
        assert problem.startswith(start)


def test_a_patient_is_in_one_split_only(files: Path) -> None:
    lines = ("one,train,ge,0,a,d.nii.gz,X", "two,train,ge,0,b,b,X", "three,test,ge,0,c,c,X")
    (told,) = problems(written(files, *lines, header=HEADER + ",patient"))
    assert told.startswith("line 4: patient 'X' in split test, but in train on line 2")


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("case,split,ctp", "line 1: no column scanner, pathology, ncct in 'case,split,ctp'"),
        (HEADER.replace(",", ";"), "separated by commas"),
        ("", "no column"),
        (HEADER, "no case, expected one per line"),
    ],
)
def test_a_table_of_another_kind_is_refused(header: str, told: str, files: Path) -> None:
    (problem,) = problems(written(files, header=header))
    assert told in problem


def test_a_file_that_is_no_table_is_refused(files: Path) -> None:
    (files / "bytes.csv").write_bytes(b"case,split\n\xff\xfe")
    assert "not readable as CSV in UTF-8" in problems(files / "bytes.csv")[0]
    assert "not readable as CSV in UTF-8" in problems(files / "absent.csv")[0]
    with pytest.raises(ManifestError):  # before the first case is asked for
        prepare_pairs(files / "absent.csv", files / "pairs")


@dataclass(frozen=True, eq=False)
class Hospital:
    """Simulated cases, what their manifest names, and what became of them."""

    root: Path
    outcomes: list[Outcome]
    told: list[tuple[str, int, int]]

    @property
    def pairs(self) -> Path:
        return self.root / "pairs"

    def truth(self, name: str, series: str) -> dict[str, npt.NDArray[Any]]:
        arrays = Truth.load(self.root / name / "truth" / series).arrays
        return {name: quantity.values for name, quantity in arrays.items()}

    def true_pose(self, name: str) -> Rigid:
        """From points of the perfusion's first frame to the head CT."""
        ncct, ctp = (self.truth(name, s)["head_to_scanner"][0] for s in ("ncct", "ctp"))
        matrix = ncct @ np.linalg.inv(ctp)
        return Rigid(matrix[:3, :3], matrix[:3, 3])


def simulate(root: Path, patient: Patient) -> None:
    """Write the cases as DICOM; the head CT is still, so that it has one true pose."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "make_patient", lambda case, anatomy: patient)
        patch.setattr(scan, "draw_motion", lambda *arguments: no_motion())
        for name, scanner in CASES:
            request = study.Request(
                "ctp", replace(PERSON, seed=6, anatomy_seed=1), scanner, dt.date(2026, 1, 1),
                grid=GRID, with_ncct=True,
            )  # fmt: skip
            study.write_study(request, root / name)


def to_nifti(root: Path) -> None:
    """The second case as NIfTI, its head CT without noise."""
    folder = root / CASES[1][0]
    ctp = read_ctp(folder / "dicom" / "ctp").image
    ncct = read_ncct(folder / "dicom" / "ncct").image
    clean = Truth.load(folder / "truth" / "ncct").arrays["baseline_hu"].values
    for name, data, geometry in (
        ("ctp", ctp.data, ctp.geometry),
        ("ncct", clean[None].astype(np.float32), ncct.geometry),
    ):
        stored = data.transpose(3, 2, 1, 0)
        stored = stored[..., 0] if len(data) == 1 else stored
        image: Any = nibabel.Nifti1Image(stored, RAS @ geometry.affine_lps)  # type: ignore[no-untyped-call]
        image.header.set_xyzt_units("mm", "sec")
        if len(data) > 1:
            image.header["pixdim"][4] = 2.0
        nibabel.save(image, root / f"{name}.nii.gz")


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """Three cases that are prepared, and two that cannot be."""
    root = tmp_path_factory.mktemp("hospital")
    simulate(root, make_patient(PERSON))
    to_nifti(root)
    (root / "empty").mkdir()
    (root / "bad.nii").write_bytes(b"bad")
    lines = [
        "t1,train,ge,no,tilted/dicom/ctp,tilted/dicom/ncct", "bad,train,ge,no,bad.nii,empty",
        "t2,test,canon,no,volumes/dicom/ctp,volumes/dicom/ncct",
        "none,test,canon,no,tilted/dicom,volumes/truth",
        "t3,validation,canon,no,ctp.nii.gz,ncct.nii.gz",
    ]  # fmt: skip
    told: list[tuple[str, int, int]] = []
    path = written(root, *lines)
    outcomes = list(prepare_pairs(path, root / "pairs", lambda *about: told.append(about)))
    return Hospital(root, outcomes, told)


def test_a_case_that_cannot_be_prepared_does_not_stop_the_others(hospital: Hospital) -> None:
    states = {outcome.case: outcome.state for outcome in hospital.outcomes}
    assert states == {
        "t1": "made", "bad": "refused", "t2": "made", "none": "refused", "t3": "made",
    }  # fmt: skip
    reasons = {outcome.case: outcome.reason for outcome in hospital.outcomes if outcome.reason}
    assert "not readable as NIfTI" in reasons["bad"]
    assert "no head CT without contrast" in reasons["none"]
    assert hospital.told == [(name, n, 5) for n, name in enumerate(states)]
    folders = sorted(str(p.relative_to(hospital.pairs)) for p in hospital.pairs.glob("*/*"))
    assert folders == ["test/t2", "train/t1", "validation/t3"]


def test_cases_that_are_there_stay_and_never_change_their_split(hospital: Hospital) -> None:
    before = (hospital.pairs / "train" / "t1" / "ncct.npy").stat().st_mtime_ns
    path = written(
        hospital.root, "t1,train,ge,no,tilted/dicom/ctp,tilted/dicom/ncct",
        "t2,train,canon,no,volumes/dicom/ctp,volumes/dicom/ncct",
    )  # fmt: skip
    ready, moved = prepare_pairs(path, hospital.pairs)
    assert (ready.state, ready.moved_mm) == ("ready", None)
    assert (moved.state, moved.split) == ("refused", "train")
    assert "already there in split test" in moved.reason
    assert (hospital.pairs / "train" / "t1" / "ncct.npy").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("name", "place"),
    [("tilted", "train/t1"), ("volumes", "test/t2"), ("volumes", "validation/t3")],
)
def test_pairs_agree_with_the_true_registration(name: str, place: str, hospital: Hospital) -> None:
    pair = Pair.load(hospital.pairs / place)
    ctp = read_ctp(hospital.root / name / "dicom" / "ctp").image.geometry
    assert pair.ctp.shape == (6, *ctp.shape)
    assert pair.case.spacing_mm == pytest.approx((8.0, *ctp.pixel_spacing_mm), rel=1e-4)
    (outcome,) = (o for o in hospital.outcomes if o.case == pair.case.name)
    assert (outcome.likeness or 0) > 0.95
    cavity = pair.masks["cavity"]
    read = read_ncct(hospital.root / name / "dicom" / "ncct").image
    clean = hospital.truth(name, "ncct")["baseline_hu"].astype(np.float32)
    source = read if place != "validation/t3" else replace(read, data=clean)
    right = resample(source, ctp, hospital.true_pose(name))
    assert correlation(np.asarray(pair.ncct, np.float32), right, cavity) > 0.95
    # Bone smears into the rim of the cavity on images, other than in the truth.
    inner = erode(cavity, 5.0, pair.case.spacing_mm[1:])
    true = hospital.truth(name, "ctp")["ncct"]
    least = 0.95 if place == "validation/t3" else 0.85
    assert correlation(np.asarray(pair.ncct, np.float32), true, inner) > least


def correlation(a: npt.NDArray[Any], b: npt.NDArray[Any], where: npt.NDArray[np.bool_]) -> float:
    return float(np.corrcoef(a[where], b[where])[0, 1])


@pytest.fixture
def misplaced(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Registrations that show a part of the head only, or another head."""

    def prepare(hidden: int, likeness: float) -> Outcome:
        def register(ncct: Volume, reference: Volume) -> Registered:
            data = reference.data.copy()
            data[:hidden] = np.nan
            data[hidden, :40] = np.nan
            return Registered(data, Rigid.still(), 0.0, likeness)

        monkeypatch.setattr(manifest, "register", register)
        path = written(hospital.root, "other,train,canon,no,ctp.nii.gz,ncct.nii.gz")
        shutil.rmtree(hospital.root / "other", ignore_errors=True)
        (outcome,) = prepare_pairs(path, hospital.root / "other")
        return outcome

    return prepare


def test_a_pair_has_no_cavity_where_the_head_ct_shows_nothing(
    misplaced: Any, hospital: Hospital
) -> None:
    assert misplaced(1, 0.9).state == "made"
    pair = Pair.load(hospital.root / "other" / "train" / "other")
    assert np.isfinite(pair.ncct).all()
    assert (pair.ncct[0] == -1024).all()
    cavity = pair.masks["cavity"]
    assert not cavity[0].any()
    assert not cavity[1, : 40 + int(4.0 / pair.case.spacing_mm[1])].any()
    assert cavity[2:].any(axis=(1, 2)).all()


@pytest.mark.parametrize(
    ("hidden", "likeness", "reason"),
    [(3, 0.9, "of the cranial cavity"), (0, 0.5, "resembles the perfusion by 0.50")],
)
def test_a_head_ct_that_does_not_fit_is_refused(
    hidden: int, likeness: float, reason: str, misplaced: Any
) -> None:
    outcome = misplaced(hidden, likeness)
    assert outcome.state == "refused"
    assert reason in outcome.reason


def test_images_of_two_patients_are_refused(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = read_ctp(hospital.root / "volumes" / "dicom" / "ctp")
    monkeypatch.setattr(manifest, "read_ctp", lambda path: replace(one, patient="another"))
    path = written(hospital.root, "x,train,canon,no,empty,volumes/dicom/ncct")
    (outcome,) = prepare_pairs(path, hospital.root / "two")
    assert "are of two patients" in outcome.reason
