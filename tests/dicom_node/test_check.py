"""``strokenode check``: what it looks at, and how it ends."""

import sys
from pathlib import Path
from typing import Any

import pytest

from dicom_node import check, cli
from dicom_node.check import run_checks
from tests.support.node import as_toml, node_config, node_document
from tests.support.ports import free_port
from tests.support.scp import RecordingSCP


def results(spool: Path, *peers: tuple[str, int], **sections: Any) -> dict[str, tuple[bool, str]]:
    destinations = {f"pacs{number}": peer for number, peer in enumerate(peers)}
    config = node_config(spool, destinations, **sections)
    return {name: (good, details) for name, good, details in run_checks(config)}


def test_all_is_well(tmp_path: Path) -> None:
    with RecordingSCP() as pacs:
        found = results(tmp_path / "spool", (pacs.aet, pacs.port))
    assert all(good for good, _ in found.values())
    assert set(found) >= {"configuration", "spool", "device", "pipeline ctp_perfusion"}
    assert found["configuration"][1] == "2 peers, AE title STROKENODE"
    assert found["device"][1] == "cpu"
    assert f"{tmp_path / 'spool'}, " in found["spool"][1]
    assert found["peer pacs0"][1] == f"{pacs.aet} at 127.0.0.1:{pacs.port} answers C-ECHO"


def test_a_peer_that_does_not_answer(tmp_path: Path) -> None:
    with RecordingSCP(aet="RIGHT", require_called_aet=True) as pacs:
        closed = free_port()
        found = results(tmp_path, ("WRONG", pacs.port), ("PACS", closed), ("RIGHT", pacs.port))
    assert [found[f"peer pacs{number}"][0] for number in range(3)] == [False, False, True]
    for number, where in ((0, f"WRONG at 127.0.0.1:{pacs.port}"), (1, f"127.0.0.1:{closed}")):
        details = found[f"peer pacs{number}"][1]
        assert where in details
        assert "answers" not in details


def test_peers_are_left_alone_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("no echo was wanted")

    monkeypatch.setattr(check, "echo", never)
    config = node_config(tmp_path, {"pacs": ("PACS", 104)})
    assert all(good for _, good, _ in run_checks(config, echo=False))


def test_a_full_disk_and_a_spool_that_is_a_file(tmp_path: Path) -> None:
    good, details = results(tmp_path / "spool", storage={"min_free_gb": 100000.0})["spool"]
    assert not good
    assert "GB free, storage.min_free_gb is 100000: free some" in details
    (tmp_path / "file").write_text("")
    good, details = results(tmp_path / "file")["spool"]
    assert not good
    assert str(tmp_path / "file") in details


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    good, details = results(tmp_path, device={"use": "cuda:99"})["device"]
    assert not good
    assert "device cuda:99" in details


def test_a_pipeline_that_is_switched_off_is_not_listed(tmp_path: Path) -> None:
    found = results(tmp_path, pipelines={"ctp_perfusion": {"enabled": False}})
    assert "pipeline ctp_perfusion" not in found


@pytest.mark.parametrize(("reachable", "code"), [(True, 0), (False, 1)])
def test_exit_codes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reachable: bool,
    code: int,
) -> None:
    config = tmp_path / "config.toml"
    with RecordingSCP(start=reachable) as pacs:
        document = node_document(tmp_path / "spool", {"pacs": (pacs.aet, pacs.port)})
        config.write_text(as_toml(document))
        monkeypatch.setattr(sys, "argv", ["strokenode", "check", "--config", str(config)])
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert (end.value.code or 0) == code
    shown = capsys.readouterr().out
    assert ("problem" in shown) is not reachable
    assert "peer pacs" in shown
