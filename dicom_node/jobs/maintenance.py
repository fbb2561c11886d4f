"""What the scheduler does for the node's health: leases, finished jobs, retention, peers."""

import logging
import shutil

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from dicom_node.config import Config, Peer
from dicom_node.errors import LeaseLost
from dicom_node.jobs import queue
from dicom_node.jobs.database import Database, now
from dicom_node.jobs.models import (
    Acquisition,
    Association,
    Instance,
    Job,
    OutboxItem,
    PeerStatus,
    Problem,
    Study,
)
from dicom_node.jobs.transitions import JobState, OutboxState
from dicom_node.log import log_failure
from dicom_node.receive.spool import Spool
from dicom_node.send.scu import echo

log = logging.getLogger(__name__)

_DAY_S = 86400.0
_ECHO_TIMEOUT_S = 10.0
_ACTIVE = (JobState.WAITING, JobState.READY, JobState.RUNNING, JobState.WRITTEN)
_UNSENT = (OutboxState.PENDING, OutboxState.SENDING)


def requeue_abandoned(config: Config, database: Database, spool: Spool) -> None:
    """Give jobs whose worker died to another; after the last attempt report the failure."""
    with database.read() as session:
        jobs = queue.abandoned(session)
    for job in jobs:
        cause = f"the worker ended during attempt {job.attempt} (stage {job.stage})"
        log.warning("job %d: %s", job.id, cause)
        try:
            if job.attempt < config.jobs.max_attempts:
                with database.write() as session:
                    queue.retry_later(session, job, config.jobs, cause)
            else:
                from dicom_node.jobs.worker import Worker

                Worker(config, database, spool, "cpu").report_failure(job, cause, "give_up")
        except LeaseLost as error:
            log.info("%s", error)
        except Exception as error:  # noqa: BLE001 one job must not hold up the others
            log_failure(log, f"job {job.id} cannot be taken from its worker", error)


def mark_done(database: Database) -> None:
    """Move jobs whose results have all left to ``done``."""
    with database.write() as session:
        queue.mark_done(session)


def check_peer(config: Config, database: Database, peer: Peer) -> None:
    """C-ECHO a destination and keep what it said."""
    error = echo(config.node.ae_title, peer, _ECHO_TIMEOUT_S)
    with database.write() as session:
        session.merge(
            PeerStatus(
                peer=peer.name, checked_at=now(), reachable=error is None, text=error or "answers"
            )
        )
    if error:
        log.warning("%s does not answer C-ECHO: %s", peer.name, error)


def apply_retention(config: Config, database: Database, spool: Spool) -> None:
    """Delete files older than ``[storage]`` keeps; nothing in use, nothing unsent."""
    with database.write() as session:
        folders = _old_results(session, now() - config.storage.keep_results_days * _DAY_S)
        paths = _forget_old_studies(session, now() - config.storage.keep_instances_days * _DAY_S)
        session.execute(delete(Association).where(Association.closed_at < now() - 30 * _DAY_S))
        session.execute(delete(Problem).where(Problem.at < now() - 90 * _DAY_S))
    folders = [folder for folder in folders if (spool.results / folder).exists()]
    for folder in folders:
        shutil.rmtree(spool.results / folder)
    removed = _remove_unlisted(database, spool, paths)
    if folders or removed:
        log.info("retention: %d runs and %d images deleted", len(folders), removed)


def _remove_unlisted(database: Database, spool: Spool, paths: list[str]) -> int:
    """Delete files that the ledger no longer lists; one that has come again by now stays."""
    removed = 0
    for path in paths:
        with database.write() as session:  # no image is entered while the file goes
            if session.scalars(select(Instance.path).where(Instance.path == path)).first() is None:
                (spool.root / path).unlink(missing_ok=True)
                removed += 1
    return removed


def _old_results(session: Session, before: float) -> list[str]:
    """Runs that ended before a time and have nothing left to send."""
    unsent = exists().where(OutboxItem.run_uid == Job.run_uid, OutboxItem.state.in_(_UNSENT))
    query = select(Job.run_uid).where(Job.finished_at < before, Job.state.not_in(_ACTIVE), ~unsent)
    return list(session.scalars(query))


def _forget_old_studies(session: Session, before: float) -> list[str]:
    """Take settled studies without active jobs out of the ledger; returns their files."""
    active = exists().where(Job.study_uid == Study.study_uid, Job.state.in_(_ACTIVE))
    studies = list(
        session.scalars(
            select(Study.study_uid).where(Study.changed_at < before, Study.settled, ~active)
        )
    )
    paths: list[str] = []
    for study_uid in studies:
        paths += session.scalars(select(Instance.path).where(Instance.study_uid == study_uid))
        for table in (Instance, Acquisition, Study):
            session.execute(delete(table).where(table.study_uid == study_uid))
    return paths
