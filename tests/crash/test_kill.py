"""The node is killed at random times, as by a power cut; afterwards nothing acknowledged is gone.

``STROKENODE_KILLS`` sets the number of kills per stage (default 8), ``STROKENODE_SEED`` when they
come.
"""

import os
import random
import threading
import time
from collections import defaultdict
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from sqlalchemy import select

from dicom_node.jobs.models import Instance
from tests.support.dicom_factory import ctp_datasets
from tests.support.node import NODE_AE, SCANNER_AE, NodeProcess, node_document
from tests.support.ports import free_port
from tests.support.scp import RecordingSCP
from tests.support.scu import send_datasets
from tests.wire.test_line import all_sent

KILLS = int(os.environ.get("STROKENODE_KILLS", "8"))
SEED = int(os.environ.get("STROKENODE_SEED", "1"))
SLOW_S = 0.03

pytestmark = pytest.mark.timeout(1200)


class Scanner(threading.Thread):
    """Pushes images until the node no longer answers; keeps what was acknowledged."""

    def __init__(self, images: list[Dataset], port: int) -> None:
        super().__init__()
        self.images, self.port = images, port
        self.acknowledged: set[str] = set()
        self.started_sending = threading.Event()

    def run(self) -> None:
        for image in self.images:
            if send_datasets([image], self.port, aec=NODE_AE, aet=SCANNER_AE) != [0]:
                return
            self.acknowledged.add(image.SOPInstanceUID)
            self.started_sending.set()


def check_ledger(node: NodeProcess, images: dict[str, Dataset], acknowledged: set[str]) -> None:
    """Every acknowledged image is in the ledger and its file holds what was sent."""
    with node.database.read() as session:
        paths = {row.sop_instance_uid: row.path for row in session.scalars(select(Instance))}
    assert acknowledged <= set(paths)
    for uid in acknowledged:
        assert dcmread(node.config.spool / paths[uid]).PixelData == images[uid].PixelData


def check_arrivals(pacs: RecordingSCP, node: NodeProcess) -> None:
    """Each result has arrived, once or with the same bytes again."""
    arrivals = defaultdict(set)
    for item in pacs.stored:
        arrivals[item.sop_instance_uid].add(item.sha256)
    assert all(len(hashes) == 1 for hashes in arrivals.values())
    sent = {row["state"]: row["objects"] for row in node.status()["outbox"]}
    assert sent == {"sent": len(arrivals)}


def test_while_receiving(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    images = ctp_datasets()
    by_uid = {image.SOPInstanceUID: image for image in images}
    acknowledged: set[str] = set()
    with RecordingSCP() as pacs:
        document = node_document(tmp_path / "spool", {"pacs": (pacs.aet, pacs.port)})
        document["assemble"]["incomplete_after_s"] = 3600
        document["assemble"]["ctp_quiet_s"] = 3.0
        node = NodeProcess(tmp_path, document)
        for kill in range(KILLS):
            node.start()
            check_ledger(node, by_uid, acknowledged)
            start = kill * len(images) // (KILLS + 1)
            scanner = Scanner(images[start:], node.port)
            scanner.start()
            assert scanner.started_sending.wait(30)
            time.sleep(rng.uniform(0, 0.3))
            node.kill()
            scanner.join()
            acknowledged |= scanner.acknowledged
        try:
            node.start()
            check_ledger(node, by_uid, acknowledged)
            assert set(send_datasets(images, node.port, aec=NODE_AE, aet=SCANNER_AE)) == {0}
            check_ledger(node, by_uid, set(by_uid))
            assert list((tmp_path / "spool" / "tmp").iterdir()) == []
            status = node.wait_for(all_sent, "results")
            assert status["jobs"][0]["state"] == "done"
            check_arrivals(pacs, node)
        finally:
            node.stop()
            node.database.close()


def test_while_computing(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    with RecordingSCP() as pacs:
        document = node_document(
            tmp_path / "spool",
            {"pacs": (pacs.aet, pacs.port)},
            jobs={"max_attempts": 20, "retry_after_s": 0.1},
        )
        node = NodeProcess(tmp_path, document)
        node.start()
        try:
            for kill in range(KILLS):
                study = ctp_datasets(salt=f"study {kill}")
                assert set(send_datasets(study, node.port, aec=NODE_AE, aet=SCANNER_AE)) == {0}
                node.wait_for(
                    lambda s: any(job["state"] == "running" for job in s["jobs"]), "a running job"
                )
                time.sleep(rng.uniform(0, 2.0))
                node.kill()
                node.start()
            status = node.wait_for(lambda s: all_sent(s, KILLS), "all results", 600)
            assert [job["state"] for job in status["jobs"]] == ["done"] * KILLS
            check_arrivals(pacs, node)
            assert not list((tmp_path / "spool" / "results").glob("*.part"))
        finally:
            node.stop()
            node.database.close()


def test_while_sending(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    port = free_port()

    def slow(_dataset: Dataset) -> int:
        time.sleep(SLOW_S)
        return 0x0000

    document = node_document(tmp_path / "spool", {"pacs": ("RECORDER", port)}, send={"batch": 20})
    node = NodeProcess(tmp_path, document)
    node.start()
    try:
        studies = 2 + KILLS // 4
        for study in range(studies):
            images = ctp_datasets(salt=f"study {study}")
            assert set(send_datasets(images, node.port, aec=NODE_AE, aet=SCANNER_AE)) == {0}
        node.wait_for(
            lambda s: sum(job["state"] == "written" for job in s["jobs"]) == studies,
            "all results in the outbox", 300,
        )  # fmt: skip
        node.kill()
        with RecordingSCP(port=port, status=slow) as pacs:
            for _kill in range(KILLS):
                before = len(pacs.received)
                node.start()
                pacs.wait_for(before + 1, 60)
                time.sleep(rng.uniform(0, 0.3))
                node.kill()
            node.start()
            node.wait_for(lambda s: all_sent(s, studies), "all results", 300)
            check_arrivals(pacs, node)
            assert len(pacs.stored_uids) > KILLS
    finally:
        node.stop()
        node.database.close()
