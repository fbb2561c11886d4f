"""Jobs: creating, claiming by lease, finishing. Each function is part of one transaction.

A claim counts the attempt and hands out a token; every later write of the worker checks that the
job is still running under that token, so a worker that lost its lease can change nothing.
"""

import hashlib
import json
import os
import secrets
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from pydantic import ValidationError
from pydicom.uid import generate_uid
from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session

from dicom_node.config import Jobs
from dicom_node.errors import LeaseLost, NodeError
from dicom_node.jobs.database import now
from dicom_node.jobs.models import Instance, Job, OutboxItem
from dicom_node.jobs.transitions import JOB, OUTBOX, JobState, OutboxState, advance
from inference.pipelines import all_pipelines

_UNSENT = (OutboxState.PENDING, OutboxState.SENDING)
_LEFT_THE_NODE = (OutboxState.SENDING, OutboxState.SENT, OutboxState.COMMITTED)
_ENDED = (JobState.NOT_ANALYSED, JobState.FAILED, JobState.DEAD, JobState.WRITTEN, JobState.DONE)


@dataclass(frozen=True)
class JobRequest:
    """A pipeline run that is wanted: what on, with which settings.

    ``refusal`` is the reason when the study is known not to be analysable (images missing, two
    patients): the run then only writes the report that says so. ``weights`` are the checksums of
    the models that the pipeline uses.
    """

    study_uid: str
    acquisition_key: str
    pipeline: str
    version: str
    inputs: list[str]
    parameters: dict[str, Any]
    peer: str | None
    refusal: str | None = None
    priority: int = 0
    weights: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Equal for equal work: inputs, pipeline version, parameters, refusal and weights."""
        document = [sorted(self.inputs), self.pipeline, self.version, self.parameters, self.refusal]
        document += self.weights
        text = json.dumps(document, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class ResultFile:
    """One object that a run wrote; ``path`` relative to the spool."""

    role: str
    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    transfer_syntax_uid: str
    path: str
    destinations: tuple[str, ...]


def worker_name() -> str:
    """Name of this process in the job table; no other process ever has the same."""
    return f"{socket.gethostname()}/{os.getpid()}/{_start_mark(os.getpid())}"


def _start_mark(process: int) -> str:
    """When a process started, by a clock that nobody sets: boot id and ticks since boot."""
    if sys.platform != "linux":
        return f"{psutil.Process(process).create_time():.0f}"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    return f"{boot}.{fields.rpartition(')')[2].split()[19]}"


def create(session: Session, request: JobRequest, *, again: bool = False) -> Job | None:
    """Queue a run, superseding the acquisition's earlier run of the same pipeline.

    Returns None when the current run already does exactly this, unless ``again`` asks for a new
    one. Unsent objects of the superseded run are cancelled; the new one counts as a revision when
    anything of the old one has left the node.
    """
    earlier = live_jobs(session, request.study_uid, request.acquisition_key, request.pipeline)
    if earlier and earlier[0].key == request.key and not again:
        for old in earlier[1:]:
            supersede(session, old)
        return None
    revision = max((job.revision for job in earlier), default=1)
    predecessor = next((job.predecessor_run_uid for job in earlier), None)
    sent = [job for job in earlier if _has_left(session, job.run_uid)]
    if sent:
        revision, predecessor = revision + 1, sent[0].run_uid
    for old in earlier:
        supersede(session, old)
    job = Job(
        run_uid=generate_uid(prefix=None),
        key=request.key,
        study_uid=request.study_uid,
        acquisition_key=request.acquisition_key,
        pipeline=request.pipeline,
        version=request.version,
        inputs=sorted(request.inputs),
        parameters=request.parameters,
        refusal=request.refusal,
        peer=request.peer,
        revision=revision,
        predecessor_run_uid=predecessor,
        priority=request.priority,
        state=JobState.READY,
        created_at=now(),
    )
    session.add(job)
    session.flush()
    return job


def live_jobs(
    session: Session, study_uid: str, acquisition_key: str, pipeline: str | None = None
) -> list[Job]:
    """An acquisition's jobs that are in force, newest first."""
    query = select(Job).where(
        Job.study_uid == study_uid,
        Job.acquisition_key == acquisition_key,
        Job.state != JobState.SUPERSEDED,
    )
    if pipeline is not None:
        query = query.where(Job.pipeline == pipeline)
    return list(session.scalars(query.order_by(Job.id.desc())))


def supersede(session: Session, job: Job) -> None:
    """Put a job out of force and cancel what it has not sent yet."""
    job.state = advance(JOB, job.state, "supersede")
    job.lease_token = None
    job.finished_at = job.finished_at or now()
    session.execute(
        update(OutboxItem)
        .where(OutboxItem.run_uid == job.run_uid, OutboxItem.state == OutboxState.PENDING)
        .values(state=advance(OUTBOX, OutboxState.PENDING, "cancel"), updated_at=now())
    )


def rerun(session: Session, job_id: int) -> Job:
    """Queue a job again as a new run with new UIDs.

    Raises
    ------
    NodeError
        There is no such job, it has not ended yet, or its images are gone.
    """
    job = session.get(Job, job_id)
    if job is None:
        raise NodeError(f"there is no job {job_id}; 'strokenode status' lists them")
    if job.state not in _ENDED:
        raise NodeError(f"job {job_id} is {job.state}; only a job that has ended can run again")
    if len(input_paths(session, job)) != len(job.inputs):
        raise NodeError(
            f"job {job_id}: its images are no longer in the spool; send the study again"
        )
    again = create(
        session,
        JobRequest(
            study_uid=job.study_uid,
            acquisition_key=job.acquisition_key,
            pipeline=job.pipeline,
            version=job.version,
            inputs=job.inputs,
            parameters=job.parameters,
            peer=job.peer,
            refusal=job.refusal,
            priority=job.priority,
            weights=_weights(job),
        ),
        again=True,
    )
    assert again is not None
    return again


def _weights(job: Job) -> tuple[str, ...]:
    """Checksums of the models that a job uses now; none where its pipeline is no longer there."""
    pipeline = all_pipelines().get(job.pipeline)
    try:
        return pipeline.weights_sha256(job.parameters) if pipeline else ()
    except ValidationError:  # settings of an earlier version; the run will say so
        return ()


def claim(session: Session, settings: Jobs) -> Job | None:
    """Take the most urgent job that is due; its lease and token are in the returned row."""
    due = (
        select(Job.id)
        .where(Job.state == JobState.READY, Job.not_before <= now())
        .order_by(Job.priority.desc(), Job.created_at, Job.id)
        .limit(1)
        .scalar_subquery()
    )
    return session.scalars(
        update(Job)
        .where(Job.id == due, Job.state == JobState.READY)
        .values(
            state=advance(JOB, JobState.READY, "claim"),
            attempt=Job.attempt + 1,
            worker=worker_name(),
            lease_token=secrets.token_hex(16),
            lease_until=now() + settings.lease_s,
            stage="start",
            fraction=0.0,
            error=None,
        )
        .returning(Job)
    ).one_or_none()


def heartbeat(session: Session, job: Job, settings: Jobs, stage: str, fraction: float) -> None:
    """Extend the lease and keep the progress.

    Raises
    ------
    LeaseLost
        The job is no longer this worker's.
    """
    _owned(session, job, lease_until=now() + settings.lease_s, stage=stage, fraction=fraction)


def finish(
    session: Session,
    job: Job,
    event: str,
    record: dict[str, Any] | None,
    files: Iterable[ResultFile],
    error: str | None = None,
) -> None:
    """End a run: state, record and outbox rows in one transaction.

    ``event`` is ``write``, ``refuse``, ``fail`` or ``give_up``.

    Raises
    ------
    LeaseLost
        The job is no longer this worker's; nothing is written.
    """
    _owned(
        session, job, state=advance(JOB, JobState.RUNNING, event), record=record, error=error,
        stage="finished", fraction=1.0, finished_at=now(), lease_token=None, lease_until=None,
    )  # fmt: skip
    session.add_all(
        OutboxItem(
            run_uid=job.run_uid,
            role=file.role,
            sop_class_uid=file.sop_class_uid,
            sop_instance_uid=file.sop_instance_uid,
            series_uid=file.series_uid,
            transfer_syntax_uid=file.transfer_syntax_uid,
            path=file.path,
            destination=destination,
            priority=job.priority,
            state=OutboxState.PENDING,
            updated_at=now(),
        )
        for file in files
        for destination in file.destinations
    )


def retry_later(
    session: Session, job: Job, settings: Jobs, error: str, *, pause_s: float | None = None
) -> None:
    """Give a running job back, to be tried again after a pause that doubles each time.

    Raises
    ------
    LeaseLost
        The job is no longer this worker's.
    """
    pause = settings.retry_after_s * 2 ** (job.attempt - 1) if pause_s is None else pause_s
    _owned(
        session, job, state=advance(JOB, JobState.RUNNING, "retry"), error=error,
        not_before=now() + pause, lease_token=None, lease_until=None,
    )  # fmt: skip


def give_back(session: Session, job: Job) -> None:
    """Give a running job back as if it had not been claimed: the node is being stopped.

    Raises
    ------
    LeaseLost
        The job is no longer this worker's.
    """
    _owned(
        session, job, state=advance(JOB, JobState.RUNNING, "retry"), attempt=job.attempt - 1,
        not_before=0.0, lease_token=None, lease_until=None,
    )  # fmt: skip


def abandoned(session: Session) -> list[Job]:
    """Running jobs whose lease has run out, or whose worker on this host no longer exists."""
    running = session.scalars(select(Job).where(Job.state == JobState.RUNNING)).all()
    return [job for job in running if (job.lease_until or 0) < now() or _worker_is_gone(job)]


def mark_done(session: Session) -> int:
    """Move written jobs whose objects have all left (or were refused) to ``done``."""
    unsent = exists().where(OutboxItem.run_uid == Job.run_uid, OutboxItem.state.in_(_UNSENT))
    result = session.execute(
        update(Job)
        .where(Job.state == JobState.WRITTEN, ~unsent)
        .values(state=advance(JOB, JobState.WRITTEN, "sent"))
        .returning(Job.id)
    )
    return len(result.all())


def input_paths(session: Session, job: Job) -> list[str]:
    """Spool paths of a job's input images, in the order of ``job.inputs``."""
    rows = session.execute(
        select(Instance.sop_instance_uid, Instance.path).where(Instance.study_uid == job.study_uid)
    )
    paths = {row.sop_instance_uid: row.path for row in rows}
    return [paths[uid] for uid in job.inputs if uid in paths]


def _owned(session: Session, job: Job, **values: Any) -> None:
    changed = session.execute(
        update(Job)
        .where(Job.id == job.id, Job.state == JobState.RUNNING, Job.lease_token == job.lease_token)
        .values(**values)
        .execution_options(synchronize_session=False)
        .returning(Job.id)
    )
    if changed.one_or_none() is None:
        raise LeaseLost(f"job {job.id}: the lease is lost, another worker or run has taken over")


def _has_left(session: Session, run_uid: str) -> bool:
    query = select(func.count()).where(
        OutboxItem.run_uid == run_uid, OutboxItem.state.in_(_LEFT_THE_NODE)
    )
    return bool(session.scalar(query))


def _worker_is_gone(job: Job) -> bool:
    host, process, mark = (job.worker or "//").rsplit("/", 2)
    if host != socket.gethostname():
        return False
    try:
        return _start_mark(int(process)) != mark
    except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        return True
