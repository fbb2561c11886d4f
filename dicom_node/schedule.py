"""APScheduler wiring only: timers that call plain functions."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from dicom_node.assemble.assembler import Assembler
from dicom_node.config import Config
from dicom_node.errors import NodeError
from dicom_node.jobs import maintenance
from dicom_node.jobs.database import Database
from dicom_node.log import log_failure
from dicom_node.receive.spool import Spool
from dicom_node.send.sender import send_due

log = logging.getLogger(__name__)

_ECHO_EVERY_S = 60
_MAINTAIN_EVERY_S = 3
_RETENTION_EVERY_S = 3600


def build(config: Config, database: Database, spool: Spool) -> BackgroundScheduler:
    """A scheduler with all of the node's timers; each runs one at a time, none delays another."""
    # a timer that finds its last round still running skips one: that is meant, not worth a line
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    destinations = config.destinations()
    scheduler = BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(max_workers=6 + 2 * len(destinations))},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )
    soon = datetime.now(UTC) + timedelta(seconds=0.2)

    def every(
        seconds: float, name: str, function: Callable[..., object], *arguments: object
    ) -> None:
        scheduler.add_job(
            _guarded, "interval", args=(name, function, *arguments), seconds=seconds, id=name,
            next_run_time=soon,
        )  # fmt: skip

    every(config.assemble.interval_s, "assemble", Assembler(config, database, spool).run_due)
    every(_MAINTAIN_EVERY_S, "abandoned", maintenance.requeue_abandoned, config, database, spool)
    every(config.send.interval_s, "done", maintenance.mark_done, database)
    every(_RETENTION_EVERY_S, "retention", maintenance.apply_retention, config, database, spool)
    for peer in destinations:
        every(config.send.interval_s, f"send {peer.name}", send_due, config, database, spool, peer)
        every(_ECHO_EVERY_S, f"echo {peer.name}", maintenance.check_peer, config, database, peer)
    return scheduler


def _guarded(name: str, function: Callable[..., object], *arguments: object) -> None:
    """Run one round of a timer; an error ends the round, is logged, and the next one comes."""
    try:
        function(*arguments)
    except NodeError as error:
        log.error("%s: %s", name, error)
    except Exception as error:  # noqa: BLE001 a timer goes on whatever happens
        log_failure(log, name, error)


def run(config: Config, database: Database, spool: Spool) -> None:
    """Run all timers until the process is ended."""
    scheduler = build(config, database, spool)
    scheduler.start()
    try:
        while True:
            time.sleep(3600)
    finally:
        scheduler.shutdown(wait=False)
