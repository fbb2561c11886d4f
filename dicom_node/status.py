"""What the node is doing, read from the database."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select

from dicom_node.jobs.database import Database
from dicom_node.jobs.models import Acquisition, Association, Job, OutboxItem, PeerStatus, Problem

_NEWEST = 50


def collect(database: Database) -> dict[str, Any]:
    """Acquisitions, jobs, outbox, problems and peers as plain values, newest first."""
    with database.read() as session:
        acquisitions = session.scalars(
            select(Acquisition).order_by(Acquisition.id.desc()).limit(_NEWEST)
        ).all()
        jobs = session.scalars(select(Job).order_by(Job.id.desc()).limit(_NEWEST)).all()
        problems = session.scalars(select(Problem).order_by(Problem.id.desc()).limit(_NEWEST)).all()
        peers = session.scalars(select(PeerStatus).order_by(PeerStatus.peer)).all()
        associations = session.scalars(
            select(Association).where(Association.closed_at.is_(None))
        ).all()
        outbox = session.execute(
            select(OutboxItem.destination, OutboxItem.state, func.count())
            .group_by(OutboxItem.destination, OutboxItem.state)
            .order_by(OutboxItem.destination)
        ).all()
        return {
            "acquisitions": [_acquisition(row) for row in acquisitions],
            "jobs": [_job(row) for row in jobs],
            "outbox": [
                {"destination": name, "state": state.value, "objects": count}
                for name, state, count in outbox
            ],
            "problems": [
                {
                    "at": _time(row.at),
                    "code": row.code,
                    "calling_ae": row.calling_ae,
                    "study_uid": row.study_uid,
                    "sop_instance_uid": row.sop_instance_uid,
                    "text": row.text,
                    "path": row.path,
                }
                for row in problems
            ],
            "peers": [
                {"peer": row.peer, "reachable": row.reachable, "text": row.text,
                 "checked_at": _time(row.checked_at)}
                for row in peers
            ],
            "associations": [
                {"calling_ae": row.calling_ae, "address": row.address,
                 "opened_at": _time(row.opened_at)}
                for row in associations
            ],
        }  # fmt: skip


def _acquisition(row: Acquisition) -> dict[str, Any]:
    return {
        "study_uid": row.study_uid,
        "series_uids": row.series_uids,
        "kind": row.kind,
        "state": row.state.value,
        "slices": row.slices,
        "time_points": row.time_points,
        "received": row.received,
        "expected": row.expected,
        "reason": row.reason,
        "evidence": row.evidence,
        "last_received_at": _time(row.last_received_at),
    }


def _job(row: Job) -> dict[str, Any]:
    return {
        "id": row.id,
        "study_uid": row.study_uid,
        "pipeline": row.pipeline,
        "version": row.version,
        "state": row.state.value,
        "revision": row.revision,
        "attempt": row.attempt,
        "stage": row.stage,
        "fraction": row.fraction,
        "error": row.error,
        "record": row.record,
        "created_at": _time(row.created_at),
        "finished_at": _time(row.finished_at) if row.finished_at else None,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
