"""The supervisor: starts receiver, scheduler and workers, and starts again what ends.

Processes are spawned, never forked, and end with the supervisor, however it ends. The supervisor
itself loads neither torch nor the pipelines' computations.
"""

import ctypes
import fcntl
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import Any

from dicom_node import log as logs
from dicom_node.config import Config
from dicom_node.errors import NodeError
from dicom_node.jobs.database import Database
from dicom_node.receive.ledger import note_problem
from dicom_node.receive.spool import Spool
from dicom_node.send import outbox

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_RESTART_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_STABLE_S = 60.0
_GRACE_S = 10.0


@dataclass
class _Child:
    """One process that is kept running."""

    name: str
    target: Callable[[Config], None]
    process: BaseProcess | None = None
    started_at: float = 0.0
    failures: int = 0
    not_before: float = 0.0


@dataclass
class Supervisor:
    """Keeps the node's processes running until it is told to stop."""

    config: Config
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises
        ------
        NodeError
            Another node uses this spool, or spool or database cannot be used.
        """
        spool = Spool(self.config.spool)
        spool.create()
        lock = _lock(spool)
        try:
            prepare(self.config)[1].close()
            log.info("start: %d half-written files swept", spool.sweep())
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self._stop.set())
            children = [_Child("receiver", _receive), _Child("scheduler", _schedule)]
            for index in range(self.config.jobs.workers):
                children.append(_Child(f"worker-{index}", _work))
            self._supervise(children)
        finally:
            os.close(lock)

    def _supervise(self, children: list[_Child]) -> None:
        context = multiprocessing.get_context("spawn")
        while not self._stop.wait(0.1):
            for child in children:
                self._keep_running(context, child)
        log.info("stopping")
        for child in children:
            if child.process is not None:
                child.process.terminate()
        deadline = time.monotonic() + _GRACE_S
        for child in children:
            if child.process is not None:
                child.process.join(max(0.0, deadline - time.monotonic()))
                if child.process.is_alive():
                    child.process.kill()
                    child.process.join()

    def _keep_running(self, context: Any, child: _Child) -> None:
        process = child.process
        if process is not None and process.is_alive():
            return
        if process is not None and child.not_before == 0.0:
            stable = time.monotonic() - child.started_at > _STABLE_S
            child.failures = 1 if stable else child.failures + 1
            pause = min(_RESTART_PAUSE_S * 2 ** (child.failures - 1), _LONGEST_PAUSE_S)
            child.not_before = time.monotonic() + pause
            log.error(
                "%s ended with exit code %s; it starts again in %.0f s",
                child.name, process.exitcode, pause,
            )  # fmt: skip
        if time.monotonic() < child.not_before:
            return
        child.process = context.Process(
            target=_enter, args=(child.target, self.config, os.getpid()), name=child.name
        )
        child.process.start()
        child.started_at = time.monotonic()
        child.not_before = 0.0


def prepare(config: Config) -> tuple[Spool, Database]:
    """Make the spool and bring the database to this version.

    Raises
    ------
    NodeError
        Spool or database cannot be used.
    """
    spool = Spool(config.spool)
    spool.create()
    database = Database(config.database_url)
    database.upgrade()
    return spool, database


def work(config: Config) -> None:
    """Run one worker in this process until it is told to stop."""
    from dicom_node.jobs.analysis import resolve_device
    from dicom_node.jobs.worker import Worker

    try:
        device = resolve_device(config.device.use)
    except ValueError as error:
        raise NodeError(str(error)) from None
    worker = Worker(config, Database(config.database_url), Spool(config.spool), device)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, lambda *_: worker.stop())
    worker.run_forever()


def _enter(target: Callable[[Config], None], config: Config, parent: int) -> None:
    """Entry of every spawned process: end with the parent, log, run."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # the parent ended before the line above
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor ends its children itself
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logs.configure(config.log)
    try:
        target(config)
    except NodeError as error:
        log.error("%s", error)
        sys.exit(1)


def _receive(config: Config) -> None:
    from dicom_node.receive.scp import Receiver

    receiver = Receiver(config, Database(config.database_url), Spool(config.spool))
    receiver.start()
    receiver.serve_forever()


def _schedule(config: Config) -> None:
    from dicom_node import schedule

    database = Database(config.database_url)
    with database.write() as session:
        for name in outbox.cancel_orphans(session, [p.name for p in config.destinations()]):
            text = f"results for {name} are cancelled: it is no longer a destination in [[peers]]"
            note_problem(session, "unknown_destination", text)
    schedule.run(config, database, Spool(config.spool))


def _work(config: Config) -> None:
    work(config)


def _lock(spool: Spool) -> int:
    """Hold the spool for this node alone; the operating system lets go when the process ends."""
    handle = os.open(spool.root / "node.lock", os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise NodeError(
            f"another node uses the spool {spool.root}; stop it or set node.spool to another folder"
        ) from None
    return handle
