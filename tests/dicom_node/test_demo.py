"""``strokenode demo``: everything really runs, and nothing of it stays."""

import io
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from rich.console import Console

from dicom_node import demo
from dicom_node.config import Peer, load
from dicom_node.errors import NodeError
from tests.support.dicom_factory import ctp_datasets, ncct_datasets, save
from tests.support.ports import free_port
from tests.support.scp import RecordingSCP


@pytest.fixture
def small_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patient of few, small images instead of the demonstration's own."""

    def simulate(folder: Path) -> list[Path]:
        ctp = save(ctp_datasets(), folder / "patient" / "ctp")
        return [*ctp, *save(ncct_datasets(), folder / "patient" / "ncct")]

    monkeypatch.setattr(demo, "_simulate", simulate)


def children() -> list[str]:
    """Processes that this one started and that still run."""
    return [
        " ".join(child.cmdline())
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE
    ]


@pytest.mark.usefixtures("small_patient")
def test_the_whole_demonstration(tmp_path: Path) -> None:
    output = tmp_path / "results"
    output.mkdir()
    (output / "mine.txt").write_text("stays")
    (output / "StrokeNode-earlier-001.png").write_text("of an earlier call")
    before = children()
    shown = io.StringIO()
    assert demo.run_demo(output, Console(file=shown, width=200))
    assert children() == before
    pictures = sorted(output.glob("*.png"))
    assert len(pictures) >= 6
    assert any("summary" in path.name for path in pictures)
    for path in pictures:
        assert np.ptp(np.asarray(Image.open(path))) > 50
    assert (output / "mine.txt").read_text() == "stays"
    assert not (output / "StrokeNode-earlier-001.png").exists()
    text = shown.getvalue()
    for words in ("StrokeNode report", "StrokeNode CBF", "core_volume", "side L", "RESEARCH USE"):
        assert words in text
    assert all(str(path) in text for path in pictures)
    assert "NCCT: 8 images received; no pipeline for them yet" in text
    assert "CTP:" not in text


def test_a_simulation_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "patient" / "dicom").mkdir(parents=True)
    (tmp_path / "patient" / "dicom" / "left-over").write_text("")
    with pytest.raises(NodeError, match="'strokenode simulate' ended with 2 and made no images"):
        demo._simulate(tmp_path)


def test_a_server_that_does_not_start_is_told_and_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no licence'); raise SystemExit(3)"]
    peer = Peer(name="x", ae_title="X", host="127.0.0.1", port=free_port())
    before = children()
    with (
        pytest.raises(NodeError, match=r"the server did not start:\nno licence"),
        demo._running(command, tmp_path, "the server", peer),
    ):
        pass
    assert children() == before


def test_a_node_that_refuses_images_is_told(tmp_path: Path) -> None:
    images = save(ctp_datasets(slices=1, time_points=2), tmp_path / "images")
    with RecordingSCP(status=0xA700) as node:
        _, scanner, settings = demo._configure(tmp_path)
        target = settings.node.model_copy(update={"port": node.port, "ae_title": node.aet})
        with pytest.raises(NodeError, match="the node took 0 of 2 images"):
            demo._push(scanner, settings.model_copy(update={"node": target}), images)


def test_a_pacs_that_does_not_answer_is_told(tmp_path: Path) -> None:
    with RecordingSCP(start=False) as pacs:
        peer = Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=pacs.port)
        with pytest.raises(NodeError, match="does not answer a C-GET"):
            demo._fetch(peer, "1.2.3", tmp_path)


def test_the_config_that_it_writes_is_the_one_it_uses(tmp_path: Path) -> None:
    _, _, settings = demo._configure(tmp_path)
    written = load(tmp_path / "config.toml")
    assert written.node == settings.node
    assert written.peers == settings.peers
    assert written.storage == settings.storage
