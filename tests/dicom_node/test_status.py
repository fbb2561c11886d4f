"""``strokenode status``: JSON for scripts, tables for people."""

import json
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dicom_node import cli
from dicom_node.jobs.database import Database
from dicom_node.jobs.models import Problem
from dicom_node.status import collect
from dicom_node.tables import results_table
from tests.support.dicom_factory import ctp_datasets
from tests.support.node import as_toml, node_document, small_node

TITLES = {"acquisitions", "jobs", "outbox", "problems", "peers", "associations"}
Show = Callable[..., str]


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    """What a command prints that ends well."""

    def show(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["strokenode", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code
        return capsys.readouterr().out

    return show


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config.toml of a node that has refused an incomplete study; its PACS is down."""
    folder = tmp_path_factory.mktemp("node")
    destinations = {"pacs": ("PACS", 9)}
    config = folder / "config.toml"
    config.write_text(as_toml(node_document(folder / "spool", destinations)))
    with small_node(folder / "spool", destinations) as running:
        assert set(running.send(ctp_datasets(drop=[5]))) == {0}
        running.settle(1)
        with running.database.write() as session:
            session.add(Problem(at=0.0, code="refused", calling_ae="[/] [red]X", text="[/b] found"))
    return config


def test_a_new_node_has_nothing_to_show(tmp_path: Path, show: Show) -> None:
    config = tmp_path / "config.toml"
    config.write_text(as_toml(node_document(tmp_path / "spool")))
    database = Database(f"sqlite:///{tmp_path / 'spool' / 'strokenode.db'}")
    database.upgrade()
    assert collect(database) == {title: [] for title in TITLES}
    shown = show("status", "--config", config)
    assert shown.split("\n")[:-1] == [f"{title}: none" for title in collect(database)]


def test_status_as_json(node: Path, show: Show) -> None:
    report: dict[str, list[dict[str, Any]]] = json.loads(show("status", "--config", node, "--json"))
    assert set(report) == TITLES
    (acquisition,) = report["acquisitions"]
    assert (acquisition["kind"], acquisition["state"]) == ("CTP", "incomplete")
    assert acquisition["received"] == 111
    assert acquisition["study_uid"] == ctp_datasets()[0].StudyInstanceUID
    (job,) = report["jobs"]
    assert (job["pipeline"], job["state"], job["revision"]) == ("ctp_perfusion", "not_analysed", 1)
    assert job["record"]["status"] == "not_analysed"
    assert job["record"]["reason"]
    (outbox,) = report["outbox"]
    assert (outbox["destination"], outbox["state"], outbox["objects"]) == ("pacs", "pending", 1)
    (problem,) = report["problems"]
    assert problem["at"] == "1970-01-01T00:00:00+00:00"
    for text in (acquisition["last_received_at"], job["created_at"], job["finished_at"]):
        assert datetime.fromisoformat(text).tzinfo is not None


def test_status_as_tables(node: Path, show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a peer sent is text, whatever brackets it holds."""
    monkeypatch.setattr(cli, "console", Console(width=400))
    shown = show("status", "--config", node)
    assert "associations: none" in shown
    assert "not_analysed" in shown
    assert "incomplete" in shown
    assert "[/] [red]X" in shown
    assert "[/b] found" in shown
    assert "record" not in shown


def test_status_holds_no_patient(node: Path, show: Show) -> None:
    shown = show("status", "--config", node, "--json") + show("status", "--config", node)
    for value in (ctp_datasets()[0].PatientID, "Patient", ctp_datasets()[0].PatientBirthDate):
        assert str(value) not in shown


def test_table_of_results() -> None:
    record = {
        "pipeline": "p", "status": "ok", "reason": "", "side": "L", "outputs": [1, 2],
        "warnings": [{"code": "motion", "text": "[/] moved", "value": None}],
        "measurements": {
            "core_volume": {"value": 1.25, "unit": "mL"},
            "ratio": {"value": 2.0, "unit": "1"},
            "undefined": {"value": None, "unit": "1"},
        },
        "timings_s": {},
    }  # fmt: skip
    table = results_table([record])
    (cell,) = table.columns[2].cells
    assert str(cell).splitlines() == [
        r"warning motion: \[/] moved",
        "side L",
        "core_volume 1.2 mL",
        "ratio 2.0",
        "undefined not defined",
    ]
    assert next(iter(table.columns[3].cells)) == "2"
