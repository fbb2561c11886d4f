"""The command line: exit codes, one clear message, JSON that scripts can rely on."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dicom_node import cli
from dicom_node.errors import LeaseLost, NodeError
from dicom_node.jobs import analysis
from dicom_node.jobs.database import Database
from inference import __version__
from inference.results import PipelineResult
from tests.support.dicom_factory import ctp_datasets, ncct_datasets, save
from tests.support.node import as_toml, node_document, small_node
from tests.support.scp import RecordingSCP


class Outcome(NamedTuple):
    """What a command ended with."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """Standard error without progress bars, frames and line breaks."""
        lines = [line for line in self.err.splitlines() if "━" not in line]
        return " ".join(" ".join(lines).replace("│", " ").split())


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process, as the installed script runs it."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["strokenode", *map(str, arguments)])
        capsys.readouterr()
        code: Any = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        captured = capsys.readouterr()
        return Outcome(code or 0, captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def ctp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ctp")
    save(ctp_datasets(), folder)
    return folder


@pytest.fixture(scope="module")
def ncct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ncct")
    save(ncct_datasets(), folder)
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(as_toml(node_document(tmp_path / "spool", {"pacs": ("PACS", 104)})))
    return path


def test_the_installed_command() -> None:
    script = Path(sys.executable).with_name("strokenode")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    for name in ("serve", "worker", "check", "process", "classify", "status", "retry", "resend",
                 "demo", "simulate", "evaluate", "bench"):  # fmt: skip
        assert f" {name} " in done.stdout
    assert "RESEARCH USE ONLY" in done.stdout
    done = subprocess.run(
        [script, "classify", "/no/such/folder"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_version(run: Run) -> None:
    assert run("version").out.strip() == __version__


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--pipeline", "guess"],
            "--pipeline: unknown ['guess']; known are ['ctp_derived_ncct', ",
        ),
        (["--method", "magic"], "--method: found 'magic'; allowed: auto, deconvolution, stm-dlp"),
        (["--method", "stm-dlp"], "this version has no such model; available: auto, "),
        (["--config", "missing.toml"], "missing.toml: no such file"),
        (["--unknown"], "No such option"),
        (["--aif-at", "1,2"], "--aif-at: found '1,2'; expected X,Y,Z in mm (LPS) such as"),
        (["--vof-at", "-1,2,nan"], "--vof-at: found '-1,2,nan'; expected X,Y,Z in mm (LPS)"),
    ],
)
def test_bad_usage_of_process(
    run: Run, tmp_path: Path, ctp: Path, options: list[str], message: str
) -> None:
    outcome = run("process", ctp, "--output", tmp_path / "out", *options)
    assert outcome.code == 2
    assert message in outcome.message
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["process", "classify"])
def test_folders_that_cannot_be_used(run: Run, tmp_path: Path, command: str) -> None:
    options = ["--output", tmp_path / "out"] if command == "process" else []
    missing = run(command, tmp_path / "missing", *options)
    assert missing.code == 2
    assert f"error: {tmp_path / 'missing'} is not a folder" in missing.message
    (tmp_path / "empty").mkdir()
    empty = run(command, tmp_path / "empty", *options)
    assert empty.code == 2
    assert "holds no files" in empty.message


def test_an_output_that_is_a_file_is_bad_usage(run: Run, tmp_path: Path, ncct: Path) -> None:
    (tmp_path / "out").write_text("here already")
    outcome = run("process", ncct, "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "is a file" in outcome.message
    assert (tmp_path / "out").read_text() == "here already"


def test_a_device_that_is_not_there_is_bad_usage(run: Run, tmp_path: Path, ncct: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[device]\nuse = "cuda:99"\n')
    outcome = run("process", ncct, "--output", tmp_path / "out", "--config", config)
    assert outcome.code == 2
    assert "device cuda:99: this machine has" in outcome.message


def test_classify_as_json(run: Run, ctp: Path) -> None:
    outcome = run("classify", ctp, "--json")
    assert outcome.code == 0
    (entry,) = json.loads(outcome.out)
    assert set(entry) == {
        "series_uids", "kind", "evidence", "slices", "time_points", "complete", "reason",
    }  # fmt: skip
    assert (entry["kind"], entry["slices"], entry["time_points"]) == ("CTP", 4, 28)
    assert entry["complete"] is True
    assert entry["evidence"]
    assert len(entry["series_uids"]) == 1


def test_classify_as_a_table_and_what_it_could_not_read(run: Run, tmp_path: Path) -> None:
    """Brackets in a name are text, not colours for the terminal."""
    save(ctp_datasets(drop=[3]), tmp_path / "[red]")
    broken = tmp_path / "[red]" / "[" / "bold].dcm"
    broken.parent.mkdir()
    broken.write_bytes(b"no image")
    outcome = run("classify", tmp_path / "[red]")
    assert outcome.code == 0
    assert f"not read: {broken}: not a DICOM file" in outcome.message
    assert "CTP" in outcome.out
    assert "no" in outcome.out.split()


def test_process_with_table(run: Run, tmp_path: Path, ctp: Path) -> None:
    outcome = run("process", ctp, "--output", tmp_path / "out", "--nifti", "--png")
    assert outcome.code == 0
    assert "core_volume" in outcome.out
    assert f"results: {tmp_path / 'out' / 'results.json'}" in outcome.out
    (record,) = json.loads((tmp_path / "out" / "results.json").read_text())
    folder = tmp_path / "out" / record["study_uid"] / "ctp_perfusion"
    assert (folder / "cbf.nii.gz").is_file()
    assert (folder / "pages" / "summary_0001.png").is_file()
    assert all((tmp_path / "out" / item["path"]).is_file() for item in record["outputs"])


def test_process_with_json(run: Run, tmp_path: Path, ctp: Path) -> None:
    outcome = run("process", ctp, "--output", tmp_path, "--json", "--method", "deconvolution",
                  "--pipeline", "ctp_perfusion")  # fmt: skip
    assert outcome.code == 0
    assert json.loads(outcome.out) == json.loads((tmp_path / "results.json").read_text())


def test_process_takes_the_vessels_from_where_it_is_told(
    run: Run, tmp_path: Path, ctp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At points of those that it finds by itself, and where there is no head at all."""
    results: list[PipelineResult] = []
    analyse = analysis.analyse

    def watched(*arguments: Any) -> PipelineResult:
        results.append(analyse(*arguments))
        return results[-1]

    monkeypatch.setattr(analysis, "analyse", watched)
    config = tmp_path / "config.toml"
    config.write_text("[pipelines.ctp_perfusion]\nmedian_mm = 2.5\naif_at_mm = [500, 500, 500]\n")
    assert run("process", ctp, "--output", tmp_path / "one").code == 0
    places = {}
    for curve in results[0].curves:
        if curve.name in ("aif", "vof"):
            assert curve.voxels_mm is not None
            places[curve.name] = curve.voxels_mm[0].round(3).tolist()
    options = []
    for name, place in places.items():
        options += [f"--{name}-at", ",".join(map(str, place))]
    assert run("process", ctp, "--output", tmp_path / "two", "--config", config, *options).code == 0
    assert results[1].status == "ok"
    parameters = results[1].parameters
    assert parameters["median_mm"] == 2.5
    for name, place in places.items():
        assert parameters[f"{name}_at_mm"] == str(tuple(place))
        found = [parameters[f"{name}_{axis}_mm"] for axis in "xyz"]
        assert found == pytest.approx(place, abs=12)
    assert run("process", ctp, "--output", tmp_path / "two", "--vof-at", "-500,0,0").code == 0
    (record,) = json.loads((tmp_path / "two" / "results.json").read_text())
    assert record["status"] == "not_analysed"
    assert "-500, 0, 0" in record["reason"]


def test_process_says_what_is_for_no_pipeline(run: Run, tmp_path: Path, ncct: Path) -> None:
    outcome = run("process", ncct, "--output", tmp_path, "--pipeline", "ctp_perfusion")
    assert outcome.code == 0
    assert "NCCT: for no pipeline" in outcome.out
    assert json.loads((tmp_path / "results.json").read_text()) == []
    outcome = run("process", ncct, "--output", tmp_path, "--pipeline", "ctp_perfusion", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out) == []
    assert "NCCT: for no pipeline" in outcome.message


def test_not_analysed_is_no_failure(run: Run, tmp_path: Path) -> None:
    save(ctp_datasets(drop=[17]), tmp_path / "in")
    outcome = run("process", tmp_path / "in", "--output", tmp_path / "out")
    assert outcome.code == 0
    assert "not_analysed" in outcome.out
    assert "incomplete" in outcome.out


def test_a_failed_analysis_ends_with_1(
    run: Run, tmp_path: Path, ctp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> PipelineResult:
        raise RuntimeError("broken")

    monkeypatch.setattr(analysis, "analyse", broken)
    outcome = run("process", ctp, "--output", tmp_path)
    assert outcome.code == 1
    (record,) = json.loads((tmp_path / "results.json").read_text())
    assert record["status"] == "failed"
    assert [item["role"] for item in record["outputs"]] == ["report"]
    assert (tmp_path / record["outputs"][0]["path"]).is_file()


@pytest.mark.parametrize(
    "arguments", [["status"], ["retry", "1"], ["resend", "1.2.3", "--to", "pacs"]]
)
def test_before_any_node_ran(run: Run, config: Path, arguments: list[str]) -> None:
    outcome = run(*arguments, "--config", config)
    assert outcome.code == 2
    assert "no node has run with spool" in outcome.message
    assert "start one with 'serve'" in outcome.message
    assert not (config.parent / "spool").exists()


def test_a_wrong_configuration_ends_with_2(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[node]\nport = 0\n[jobs]\nworkers = -1\n")
    for command in (["status"], ["check"], ["serve"], ["worker"]):
        outcome = run(*command, "--config", config)
        assert outcome.code == 2
        assert "node.port: found 0" in outcome.message
        assert "jobs.workers: found -1" in outcome.message


def test_retry_and_resend_of_unknown_things(run: Run, config: Path, tmp_path: Path) -> None:
    Database(f"sqlite:///{tmp_path / 'spool' / 'strokenode.db'}").upgrade()
    outcome = run("retry", 7, "--config", config)
    assert outcome.code == 2
    assert "there is no job 7; 'strokenode status' lists them" in outcome.message
    outcome = run("resend", "1.2.3", "--to", "nobody", "--config", config)
    assert outcome.code == 2
    assert "--to: found 'nobody'; destinations are ['pacs']" in outcome.message
    outcome = run("resend", "1.2.3", "--to", "scanner", "--config", config)
    assert outcome.code == 2
    outcome = run("resend", "1.2.3", "--to", "pacs", "--config", config)
    assert outcome.code == 2
    assert "nothing of study 1.2.3 has gone to pacs yet" in outcome.message
    assert run("retry", "x", "--config", config).code == 2


def test_retry_and_resend_of_a_job(run: Run, tmp_path: Path) -> None:
    """Results that have gone are sent once more, then made once more as a revision."""
    config = tmp_path / "config.toml"
    with RecordingSCP() as pacs:
        destinations = {"pacs": (pacs.aet, pacs.port)}
        config.write_text(as_toml(node_document(tmp_path / "spool", destinations)))
        with small_node(tmp_path / "spool", destinations) as node:
            assert set(node.send(ctp_datasets(drop=[9]))) == {0}
            (job,) = node.settle()
            study = ctp_datasets()[0].StudyInstanceUID
            outcome = run("resend", study, "--to", "pacs", "--config", config)
            assert outcome.code == 0
            assert "1 objects go to pacs again" in outcome.out
            node.settle(1)
        assert len(pacs.received) == 2
        assert len(pacs.stored_uids) == 1
    outcome = run("retry", job.id, "--config", config)
    assert outcome.code == 0
    assert f"job {job.id} runs again as job {job.id + 1} (revision 2)" in outcome.out
    again = run("retry", job.id + 1, "--config", config)
    assert again.code == 2
    assert f"job {job.id + 1} is ready; only a job that has ended" in again.message


def test_errors_that_a_retry_can_help_end_with_1(
    run: Run, monkeypatch: pytest.MonkeyPatch, ncct: Path
) -> None:
    for error, code in ((LeaseLost("[/] gone"), 1), (NodeError("[red] wrong"), 2)):

        def fail(*_: object, error: NodeError = error) -> None:
            raise error

        monkeypatch.setattr("dicom_node.process.find_acquisitions", fail)
        outcome = run("classify", ncct)
        assert outcome.code == code
        assert f"error: {error}" in outcome.message
