"""The supervisor, as a process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.dicom_factory import ctp_datasets
from tests.support.node import NODE_AE, SCANNER_AE, node_document, serving
from tests.support.scp import RecordingSCP
from tests.support.scu import send_datasets
from tests.wire.test_line import all_sent


def test_what_ends_is_started_again(tmp_path: Path) -> None:
    with RecordingSCP() as pacs:
        document = node_document(tmp_path / "spool", {"pacs": (pacs.aet, pacs.port)})
        with serving(tmp_path, document) as node:
            assert node.process is not None
            supervisor = psutil.Process(node.process.pid)
            deadline = time.monotonic() + 20
            while "worker" not in node.log() and time.monotonic() < deadline:
                time.sleep(0.1)
            children = {child.pid for child in supervisor.children()}
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            while children & {child.pid for child in supervisor.children()}:
                time.sleep(0.05)
            deadline = time.monotonic() + 30
            statuses: list[int | None] = [None]
            while statuses != [0] and time.monotonic() < deadline:
                time.sleep(0.2)
                statuses = send_datasets(ctp_datasets()[:1], node.port, aec=NODE_AE, aet=SCANNER_AE)
            assert set(send_datasets(ctp_datasets(), node.port, aec=NODE_AE, aet=SCANNER_AE)) == {0}
            node.wait_for(all_sent, "results")
            assert "starts again" in node.log()


def test_children_end_with_the_supervisor(tmp_path: Path) -> None:
    with serving(tmp_path, node_document(tmp_path / "spool")) as node:
        assert node.process is not None
        children = psutil.Process(node.process.pid).children()
        assert children
        node.process.kill()
        node.process.wait()
        node.process = None
        gone, alive = psutil.wait_procs(children, timeout=10)
        assert not alive
        assert len(gone) == len(children)


def test_a_spool_belongs_to_one_node(tmp_path: Path) -> None:
    with serving(tmp_path, node_document(tmp_path / "spool")) as node:
        config = node.folder / "config.toml"
        second = subprocess.run(
            [sys.executable, "-m", "dicom_node.cli", "serve", "--config", str(config)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert second.returncode == 2
    assert "another node uses the spool" in second.stderr.replace("\n", " ")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_node_without_workers_loads_no_torch(tmp_path: Path) -> None:
    document = node_document(tmp_path / "spool", jobs={"workers": 0})
    with serving(tmp_path, document) as node:
        assert node.process is not None
        processes = [psutil.Process(node.process.pid)]
        processes += processes[0].children(recursive=True)
        time.sleep(1.0)
        for process in processes:
            maps = Path(f"/proc/{process.pid}/maps").read_text()
            assert "libtorch" not in maps
