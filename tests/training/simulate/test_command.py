"""``strokenode simulate``: files, truth, repeatability, bad usage."""

import datetime as dt
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import typer
from pydicom import Dataset, dcmread
from typer.testing import CliRunner, Result

from dicom_node.process import find_acquisitions
from training.simulate import cohort, command, study
from training.simulate.cohort import MANIFEST, read_manifest
from training.simulate.ct.ctp_scan import Irregularity
from training.simulate.mr.protocols import draw_pwi_protocol
from training.simulate.mr.scan import pwi_flaws
from training.simulate.pathology.head import BloodKind
from training.simulate.pathology.patient import Case, make_patient
from training.simulate.pathology.stroke import Occlusion
from training.simulate.scan.motion import Grade
from training.simulate.scanner import SCANNERS
from training.simulate.truth import Truth

ROOT = Path(__file__).parents[3]
TINY = ["--matrix", "64", "--slices", "2", "--thickness", "10", "--date", "2026-12-31"]
program = typer.Typer()
program.add_typer(command.app, name="simulate")
same_patient = lru_cache(maxsize=1)(lambda case: make_patient(case))


@pytest.fixture(autouse=True, scope="module")
def one_patient() -> Iterator[None]:
    """Make a patient once for several scans of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "make_patient", lambda case, anatomy: same_patient(case))
        yield
    same_patient.cache_clear()


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(program, ["simulate", *map(str, arguments)])


def run(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def content(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def images(folder: Path, series: str) -> list[Dataset]:
    return [dcmread(path) for path in sorted((folder / "dicom" / series).iterdir())]


def kinds(folder: Path) -> list[str]:
    found, unreadable = find_acquisitions(folder / "dicom", lambda fraction: None)
    assert not unreadable
    return sorted(item.row()["kind"] for item in found)


def readme_commands() -> list[list[str]]:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line.startswith(".venv/bin/strokenode simulate ")]
    return [shlex.split(line)[2:] for line in wanted]


def run_small(arguments: list[str], output: Path) -> Path:
    """Run a command of the README as it stands, but for sizes, and with the head of all tests."""
    kind = arguments[0]
    few = {
        "ncct": ["--slices", "14"],
        "pwi": ["--time-points", "24"],
        "ctp": ["--time-points", "9"],
    }
    more = [*TINY, *few[kind], "--seed", "1", "--mimics", "none"]
    assert re.search(r"\d+ images in ", run(*arguments, *more, "--output", output))
    return output


@pytest.fixture(scope="module")
def readme(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Output of the README's commands for single studies, by the name that it gives them."""
    folder, found = tmp_path_factory.mktemp("readme"), {}
    for arguments in readme_commands():
        if arguments[0] != "cohort":
            name = arguments[arguments.index("--output") + 1]
            found[name] = run_small(arguments, folder / "new" / name)
    return found


@pytest.fixture(scope="module")
def ctp(readme: dict[str, Path]) -> Path:
    return readme["patient"]


def test_commands_of_the_readme(readme: dict[str, Path]) -> None:
    assert {name: kinds(folder) for name, folder in readme.items()} == {
        "patient": ["CTP", "NCCT"],
        "bleed": ["NCCT"],
        "mr": ["DWI", "OTHER", "PWI"],
        "moving": ["CTP"],
    }


def test_same_seed_same_bytes(ctp: Path, tmp_path: Path) -> None:
    same_patient.cache_clear()
    assert content(run_small(readme_commands()[0], tmp_path)) == content(ctp)


def test_head_ct_and_perfusion_are_one_study(ctp: Path) -> None:
    head, perfusion = images(ctp, "ncct"), images(ctp, "ctp")
    assert len(perfusion) == 2 * 9
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientBirthDate"):
        assert len({ds[keyword].value for ds in (*head, *perfusion)}) == 1
    assert {ds.SeriesInstanceUID for ds in head}.isdisjoint(
        ds.SeriesInstanceUID for ds in perfusion
    )
    assert (head[0].StudyDate, head[0].PatientID, head[0].Rows) == ("20261231", "SIM1", 64)
    assert max(ds.AcquisitionTime for ds in head) < min(ds.AcquisitionTime for ds in perfusion)
    assert len({ds.SOPInstanceUID for ds in (*head, *perfusion)}) == len(head) + 18


def test_truth_lies_beside_the_images(ctp: Path) -> None:
    truth = Truth.load(ctp / "truth" / "ctp")
    numbers = truth.numbers
    assert (numbers["side"], numbers["occlusion"], numbers["scanner"]) == ("L", "m1", "siemens")
    assert (numbers["seed"], numbers["anatomy_seed"], numbers["cohort"]) == (1, 1, "usual")
    assert truth.arrays["cbf"].values.shape == (2, 64, 64)
    assert truth.arrays["times_s"].values.shape == (9, 2)
    first = images(ctp, "ctp")[0]
    voxel_ml = float(first.PixelSpacing[0]) ** 2 * 10 / 1000
    count = int(truth.arrays["hypoperfused"].values.sum())
    assert numbers["volumes_ml"]["hypoperfused"] == pytest.approx(count * voxel_ml)
    head = Truth.load(ctp / "truth" / "ncct")
    assert len(head.arrays["brain"].values) == len(images(ctp, "ncct"))


def test_mr_and_its_follow_up(readme: dict[str, Path]) -> None:
    dwi, pwi, gre = (images(readme["mr"], name) for name in ("dwi", "pwi", "gre"))
    assert len(pwi) == 2 * 24
    assert {ds.StudyDate for ds in (*dwi, *pwi)} == {"20261231"}
    assert {ds.StudyDate for ds in gre} == {"20270101"}
    assert dwi[0].StudyInstanceUID == pwi[0].StudyInstanceUID != gre[0].StudyInstanceUID
    assert dwi[0].MagneticFieldStrength == pwi[0].MagneticFieldStrength
    assert {ds.PatientID for ds in (*dwi, *pwi, *gre)} == {"SIM1"}
    ht = Truth.load(readme["mr"] / "truth" / "gre").numbers
    assert ht["ht_present"] == (ht["ht_volume_ml"] > 0)
    assert "ht" in Truth.load(readme["mr"] / "truth" / "pwi").arrays


def test_a_bleeding_head(readme: dict[str, Path]) -> None:
    truth = Truth.load(readme["bleed"] / "truth")
    assert truth.numbers["side"] is None
    assert truth.numbers["scanner"] == "ge"
    assert truth.numbers["blood_ml"].keys() == {"subdural"}
    volumes = truth.numbers["volumes_ml"]
    assert volumes["ich"] == pytest.approx(volumes["ich_subdural"])


def test_a_scan_with_flaws(readme: dict[str, Path]) -> None:
    truth = Truth.load(readme["moving"] / "truth")
    assert truth.numbers["irregular"] == ["motion"]  # nine time points leave nothing to cut off
    assert truth.arrays["motion_mm_deg"].values.any()
    times = truth.arrays["times_s"].values
    series = {ds.SeriesInstanceUID for ds in images(readme["moving"], "ctp")}
    assert len(series) == len(times) <= 9


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[study.Request]:
    """What the commands ask for, instead of doing it."""
    asked: list[study.Request] = []

    def write(request: study.Request, *arguments: Any, **more: Any) -> study.Written:
        asked.append(request)
        return study.Written(0, {})

    monkeypatch.setattr(study, "write_study", write)
    return asked


def test_what_options_ask_for(requests: list[study.Request], tmp_path: Path) -> None:
    common = ["--seed", 5, "--output", tmp_path, "--cohort", "shifted", "--patient", "X-7"]
    run(
        "pwi", *common, "--enhanced", "--irregular", "motion", "--mimics", "none", "--side", "right"
    )
    run("ctp", *common, "--ich", "mixed", "--lesion", "random", "--noise", 3, "--mimics", "metal")
    run("ncct", *common, "--ich", "random", "--lesion", "none", "--date", "2025-05-05")
    mr, ct, head = requests
    assert (mr.kind, mr.enhanced, mr.irregular) == ("pwi", True, ("motion",))
    assert (mr.case.stroke, mr.case.side, mr.case.mimics) == (None, "R", ())
    assert abs((mr.day - dt.date.today()).days) <= 1
    assert (ct.case.hemorrhage, ct.case.stroke, ct.case.mimics) == ("mixed", None, ("metal",))
    assert (ct.grid.noise_hu, ct.grid.matrix) == (3, None)
    assert (head.case.hemorrhage, head.case.stroke, head.case.mimics) == (None, "none", None)
    assert head.day == dt.date(2025, 5, 5)
    for request in requests:
        assert (request.case.seed, request.case.cohort) == (5, "shifted")
        assert request.identity.patient_id == "X-7"
        assert request.identity.sex == request.case.person.sex


def test_motion_in_mr_is_worth_the_name() -> None:
    protocol = draw_pwi_protocol(3, frames=40)
    flaws = pwi_flaws(protocol, 3, ("motion",))
    assert flaws["motion"].grade in (Grade.MODERATE, Grade.LARGE)
    assert not flaws["weak_bolus"]
    none = {"motion": None, "weak_bolus": False, "late_bolus": False}
    assert pwi_flaws(protocol, 3, ()) == none


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "old.dcm").touch()
    result = invoke("ctp", "--seed", 1, "--output", tmp_path)
    assert result.exit_code == 2
    assert "not empty" in plain(result)
    assert list((tmp_path / "dicom").iterdir()) == [tmp_path / "dicom" / "old.dcm"]


def plain(result: Result) -> str:
    return " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["ctp", "--matrix", "4096"], "--matrix"),
        (["ctp", "--scanner", "acme"], "--scanner"),
        (["ncct", "--noise", "-1"], "--noise"),
        (["ncct", "--mimics", "jewel"], "'jewel' is not 'none', 'random', or any of"),
        (["ctp", "--lesion", "none", "--side", "left"], "no lesion to have a side"),
        (["pwi", "--enhanced", "--scanner", "ge"], "only --scanner siemens"),
        (["pwi", "--irregular", "truncated"], "only motion and weak_bolus"),
        (["cohort", "ctp", "--count", "2", "--split", "train"], "something like train=0.7"),
        (["cohort", "ctp", "--count", "2", "--split", "train=0.5"], "add to 0.5"),
    ],
)
def test_bad_options_are_refused(options: list[str], message: str, tmp_path: Path) -> None:
    result = invoke(*options, "--seed", "1", "--output", tmp_path / "new")
    assert result.exit_code == 2
    assert message in plain(result)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("choices", "known"),
    [
        (command.ScannerName, set(SCANNERS)),
        (command.LesionName, {*map(str, Occlusion), "none", "random"}),
        (command.IchName, {*map(str, BloodKind), "none", "random", "mixed"}),
        (command.FlawName, set(map(str, Irregularity))),
    ],
)
def test_choices_are_those_of_the_simulator(choices: type[StrEnum], known: set[str]) -> None:
    assert set(map(str, choices)) == known


@pytest.fixture
def one_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """All people of a cohort are the one whom all tests share."""
    monkeypatch.setattr(cohort, "anatomy_seeds", lambda seed, split, count: [1] * count)


@pytest.mark.usefixtures("one_head")
def test_a_cohort_and_its_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "cohort"
    options = ["cohort", "ncct", "--seed", 5, "--count", 3, "--split", "train=0.67,test=0.33",
               "--ich-share", "0.5", *TINY, "--output", output]  # fmt: skip
    write = study.write_study
    bad = cohort.draw_cohort("ncct", 3, 5, {"train": 0.67, "test": 0.33})[1].seed

    def fail(request: study.Request, *arguments: Any, **more: Any) -> study.Written:
        if request.case.seed == bad:
            raise RuntimeError("no such head")
        return write(request, *arguments, **more)

    monkeypatch.setattr(study, "write_study", fail)
    result = invoke(*options)
    assert result.exit_code == 1
    assert f"seed {bad}: RuntimeError: no such head" in plain(result)
    assert len(list(read_manifest(output / MANIFEST))) == 2
    monkeypatch.setattr(study, "write_study", write)
    assert "1 cases made, 2 were ready" in " ".join(run(*options).split())
    rows = list(read_manifest(output / MANIFEST))
    assert sorted(row["split"] for row in rows) == ["test", "train", "train"]
    for row in rows:
        truth = Truth.load(output / row["truth"])
        assert float(row["ich_ml"]) == truth.numbers["volumes_ml"]["ich"]
        assert (row["ich_kinds"] == "") == (not truth.numbers["blood_ml"])
        assert row["side"] == (truth.numbers["side"] or "")
        (ds, *_) = (dcmread(path) for path in (output / row["dicom"]).rglob("*.dcm"))
        assert ds.PatientID == ("SIMS" if row["split"] == "shifted" else "SIM") + row["seed"]
        assert ds.StudyDate == "20261231"
        assert row["case"].startswith("ncct-")
    assert json.loads((output / "cohort.json").read_text())["settings"]["matrix"] == 64


@pytest.mark.usefixtures("one_head", "requests")
@pytest.mark.parametrize(
    ("kind", "option"), [("ncct", "--with-ncct"), ("pwi", "--with-ncct"), ("ctp", "--follow-up")]
)
def test_a_cohort_is_refused_what_its_scans_cannot_have(
    kind: str, option: str, tmp_path: Path
) -> None:
    result = invoke("cohort", kind, option, "--count", 1, "--seed", 1, "--output", tmp_path / "c")
    assert result.exit_code == 2
    assert option in plain(result)
    assert f"cases of {kind} cannot have it" in " ".join(plain(result).split())
    assert not (tmp_path / "c").exists()


def test_a_request_is_refused_what_its_study_cannot_have() -> None:
    for kind, more in (("ncct", {"with_ncct": True}), ("ctp", {"follow_up": True})):
        with pytest.raises(ValueError, match=f"was asked for with {kind}"):
            study.Request(kind, Case(1), "ge", dt.date(2026, 1, 1), **more)  # type: ignore[arg-type]


def test_the_cohort_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (arguments,) = (words for words in readme_commands() if words[0] == "cohort")
    monkeypatch.chdir(tmp_path)
    run(*arguments, "--processes", "1")
    rows = list(read_manifest(Path("cohort") / MANIFEST))
    assert Counter(row["split"] for row in rows) == {"train": 4, "validation": 2, "test": 2}
    cases = json.loads(Path("cohort/cohort.json").read_text())
    assert cases["settings"]["day"] == "2026-01-01"


def test_a_single_slice_has_volumes_and_two_patients_have_two_studies(tmp_path: Path) -> None:
    single = ["ncct", "--seed", 1, *TINY, "--slices", "1", "--lesion", "none"]
    run(*single, "--patient", "A", "--output", tmp_path / "a")
    run(*single, "--patient", "B", "--output", tmp_path / "b")
    truth = Truth.load(tmp_path / "a" / "truth")
    (a,), (b,) = images(tmp_path / "a", "ncct"), images(tmp_path / "b", "ncct")
    pixels = truth.arrays["brain"].values.sum()
    volume_ml = pixels * a.PixelSpacing[0] * a.PixelSpacing[1] * a.SliceThickness / 1000
    assert truth.numbers["volumes_ml"]["brain"] == pytest.approx(float(volume_ml), rel=1e-3)
    assert a.StudyInstanceUID != b.StudyInstanceUID
    assert a.FrameOfReferenceUID != b.FrameOfReferenceUID


def test_an_output_that_cannot_be_a_folder_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = invoke("ctp", "--seed", 1, "--output", tmp_path / "file")
    assert result.exit_code == 2
    assert "cannot be a folder" in re.sub(r"[│\s]+", " ", result.output)


def test_a_scan_that_ends_before_the_bolus_shows_no_contrast(tmp_path: Path) -> None:
    few = [*TINY, "--time-points", "2", "--noise", "0", "--lesion", "none", "--scanner", "ge"]
    run("ctp", "--seed", 5, *few, "--output", tmp_path / "early")
    first, *_, last = (ds.pixel_array.astype(int) for ds in images(tmp_path / "early", "ctp"))
    assert first.max() > 500
    assert last.max() > 500
    truth = Truth.load(tmp_path / "early" / "truth")
    assert float(truth.arrays["arterial_hu"].values.min()) >= 0
