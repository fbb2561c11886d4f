"""The node under test: its parts in this process, or the whole of it as a process."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pynetdicom import _config
from sqlalchemy import select

from dicom_node.assemble.assembler import Assembler
from dicom_node.config import Assemble, Config, parse
from dicom_node.jobs import maintenance
from dicom_node.jobs.database import Database
from dicom_node.jobs.models import Association, Job, Problem
from dicom_node.jobs.worker import Worker
from dicom_node.receive.scp import Receiver
from dicom_node.receive.spool import Spool
from dicom_node.send.sender import send_due
from dicom_node.serve import prepare
from dicom_node.status import collect
from tests.support.ports import free_port
from tests.support.scu import LOOPBACK, echo, send_datasets

SCANNER_AE = "SCANNER"
NODE_AE = "STROKENODE"
PERFUSION_ONLY = {"ctp_derived_ncct": {"enabled": False}}
"""Settings of pipelines for tests that need one that serves CT perfusion, not all."""


def node_config(
    spool: Path, destinations: dict[str, tuple[str, int]] | None = None, **sections: Any
) -> Config:
    """A configuration on free ports: one scanner, and destinations as name: (AE title, port).

    Keyword arguments are merged into the tables of config.toml of the same name.
    """
    return parse(node_document(spool, destinations, **sections))


def node_document(
    spool: Path, destinations: dict[str, tuple[str, int]] | None = None, **sections: Any
) -> dict[str, Any]:
    """The same as the content of a config.toml."""
    document: dict[str, Any] = {
        "node": {"port": free_port(), "bind_address": LOOPBACK, "spool": str(spool)},
        "assemble": {
            "interval_s": 0.2, "ctp_quiet_s": 1.0, "other_quiet_s": 0.5, "ncct_quiet_s": 0.5,
            "incomplete_after_s": 1.5,
        },
        "jobs": {"retry_after_s": 0.5},
        "send": {"interval_s": 0.2, "retry_after_s": 0.3, "retry_at_most_s": 1.0},
        "storage": {"min_free_gb": 0.0},
        "device": {"use": "cpu", "compile": False},
        "pipelines": PERFUSION_ONLY,
        "peers": [
            {"name": "scanner", "ae_title": SCANNER_AE, "host": LOOPBACK, "may_send": True},
            *(
                {"name": name, "ae_title": title, "host": LOOPBACK, "port": port, "receives": True}
                for name, (title, port) in (destinations or {}).items()
            ),
        ],
    }  # fmt: skip
    for name, values in sections.items():
        document[name] = {**document.get(name, {}), **values}
    return document


@contextmanager
def receiving(config: Config) -> Iterator[tuple[Receiver, Database, Spool]]:
    """A receiver in a thread of this process."""
    spool, database = prepare(config)
    receiver = Receiver(config, database, spool)
    switches, temporary = dict(vars(_config)), tempfile.tempdir
    receiver.start()
    thread = threading.Thread(target=receiver.serve_forever)
    thread.start()
    try:
        yield receiver, database, spool
    finally:
        receiver.shutdown()
        thread.join()
        database.close()
        vars(_config).update(switches)
        tempfile.tempdir = temporary


@dataclass
class NodeProcess:
    """``strokenode serve`` as a process group of its own."""

    folder: Path
    document: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    database: Database = field(init=False)

    def __post_init__(self) -> None:
        self.config = parse(self.document)
        self.port = self.config.node.port
        self.database = Database(self.config.database_url)

    def start(self, timeout_s: float = 60.0) -> None:
        """Start it and wait until it answers a C-ECHO."""
        config = self.folder / "config.toml"
        config.write_text(as_toml(self.document))
        with (self.folder / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dicom_node.cli", "serve", "--config", str(config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + timeout_s
        while not echo(self.port, aec=NODE_AE, aet=SCANNER_AE):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the node did not start:\n{self.log()[-3000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End all of its processes at once, as a power cut does."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        """Ask it to stop, and wait."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def log(self) -> str:
        """What it has written to its log."""
        return (self.folder / "node.log").read_text(errors="replace")

    def status(self) -> dict[str, Any]:
        """What ``strokenode status --json`` would print."""
        return collect(self.database)

    def wait_for(
        self, condition: Callable[[dict[str, Any]], bool], what: str, timeout_s: float = 90.0
    ) -> dict[str, Any]:
        """The first status that fulfils a condition."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            status = self.status()
            if condition(status):
                return status
            time.sleep(0.05)
        raise AssertionError(
            f"{what}: not within {timeout_s} s; jobs {status['jobs']}, outbox {status['outbox']}, "
            f"problems {status['problems']}, acquisitions {status['acquisitions']};\n"
            f"{self.log()[-3000:]}"
        )


@contextmanager
def serving(folder: Path, document: dict[str, Any]) -> Iterator[NodeProcess]:
    """A running node that is stopped at the end, however the body ends."""
    node = NodeProcess(folder, document)
    node.start()
    try:
        yield node
    finally:
        node.stop()
        node.database.close()


def as_toml(document: dict[str, Any]) -> str:
    """A config.toml of plain tables and arrays of tables."""
    lines: list[str] = []
    for name, table in document.items():
        for entry in table if isinstance(table, list) else [table]:
            lines.append(f"[[{name}]]" if isinstance(table, list) else f"[{name}]")
            nested = {key: value for key, value in entry.items() if isinstance(value, dict)}
            lines += [
                f"{key} = {json.dumps(value)}"
                for key, value in entry.items()
                if not isinstance(value, dict)
            ]
            for key, inner in nested.items():
                lines.append(f"[{name}.{key}]")
                lines += [f"{k} = {json.dumps(v)}" for k, v in inner.items()]
    return "\n".join(lines) + "\n"


@dataclass
class SmallNode:
    """The node's parts in this process, driven step by step: fast, and without timers."""

    config: Config
    database: Database
    spool: Spool
    assembler: Assembler
    worker: Worker

    def settle(self, rounds: int = 4) -> list[Job]:
        """Assemble, analyse and send until nothing more happens; returns all jobs, oldest first."""
        for _ in range(rounds):
            self.assembler.run_due()
            while self.worker.run_one():
                pass
            for peer in self.config.destinations():
                send_due(self.config, self.database, self.spool, peer)
            maintenance.mark_done(self.database)
        with self.database.read() as session:
            return list(session.scalars(select(Job).order_by(Job.id)))

    def problems(self) -> list[str]:
        """Codes of everything refused or kept aside."""
        with self.database.read() as session:
            return list(session.scalars(select(Problem.code).order_by(Problem.id)))

    def send(self, datasets: list[Dataset]) -> list[int | None]:
        """Push images to the node over one association, and wait until it is closed."""
        statuses = send_datasets(datasets, self.config.node.port, aec=NODE_AE, aet=SCANNER_AE)
        open_ones = select(Association.id).where(Association.closed_at.is_(None))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with self.database.read() as session:
                if session.scalars(open_ones).first() is None:
                    return statuses
            time.sleep(0.02)
        raise AssertionError("the node keeps an association open")


@contextmanager
def small_node(
    folder: Path, destinations: dict[str, tuple[str, int]] | None = None, **sections: Any
) -> Iterator[SmallNode]:
    """A node that judges at once: nothing is waited for."""
    at_once = {name: 0.0 for name in Assemble.model_fields if name.endswith("_quiet_s")}
    sections.setdefault("assemble", {**at_once, "incomplete_after_s": 0.0})
    config = node_config(folder, destinations, **sections)
    with receiving(config) as (_, database, spool):
        assembler = Assembler(config, database, spool)
        yield SmallNode(config, database, spool, assembler, Worker(config, database, spool, "cpu"))
