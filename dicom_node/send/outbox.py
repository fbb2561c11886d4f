"""The outbox: which object goes where, and what became of it."""

from collections.abc import Iterable

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dicom_node.config import Send
from dicom_node.jobs.database import now
from dicom_node.jobs.models import Job, OutboxItem
from dicom_node.jobs.transitions import JOB, OUTBOX, JobState, OutboxState, advance


def claim_batch(session: Session, destination: str, settings: Send) -> list[OutboxItem]:
    """Take the objects that are due for a destination, most urgent first, as ``sending``.

    Only one sender serves a destination at a time: what is ``sending`` now was left by one that
    died.
    """
    _recover(session, destination)
    items = list(
        session.scalars(
            select(OutboxItem)
            .where(
                OutboxItem.destination == destination,
                OutboxItem.state == OutboxState.PENDING,
                OutboxItem.not_before <= now(),
            )
            .order_by(OutboxItem.priority.desc(), OutboxItem.attempt, OutboxItem.id)
            .limit(settings.batch)
        )
    )
    for item in items:
        item.state = advance(OUTBOX, item.state, "claim")
        item.updated_at = now()
    return items


def settle(session: Session, item: OutboxItem, event: str, status: int, error: str | None) -> None:
    """Keep what the destination answered: ``event`` is ``accepted`` or ``rejected``."""
    row = session.get_one(OutboxItem, item.id)
    row.state = advance(OUTBOX, row.state, event)
    row.attempt += 1
    row.last_status = status
    row.error = error
    row.updated_at = now()


def put_back(
    session: Session,
    items: Iterable[OutboxItem],
    settings: Send,
    status: int | None,
    error: str,
    *,
    pause: bool,
) -> None:
    """Try these objects again: after a pause that doubles each time, or at once when untried.

    An object on which an association broke counts an attempt and goes behind those that have
    fewer, so that it cannot hold them up.
    """
    for item in items:
        row = session.get_one(OutboxItem, item.id)
        row.state = advance(OUTBOX, row.state, "retry")
        if pause:
            row.attempt += 1
            doubled = settings.retry_after_s * 2 ** min(row.attempt - 1, 20)
            row.not_before = now() + min(doubled, settings.retry_at_most_s)
        row.last_status = status
        row.error = error
        row.updated_at = now()
    _cancel_superseded(session)


def _recover(session: Session, destination: str) -> None:
    """Put back what a sender that died had in hand; the same files go out again."""
    session.execute(
        update(OutboxItem)
        .where(OutboxItem.destination == destination, OutboxItem.state == OutboxState.SENDING)
        .values(state=advance(OUTBOX, OutboxState.SENDING, "retry"), not_before=0.0)
    )
    _cancel_superseded(session)


def _cancel_superseded(session: Session) -> None:
    """Cancel what came back from a sender after its run was superseded."""
    session.flush()
    superseded = select(Job.run_uid).where(Job.state == JobState.SUPERSEDED)
    session.execute(
        update(OutboxItem)
        .where(OutboxItem.state == OutboxState.PENDING, OutboxItem.run_uid.in_(superseded))
        .values(state=advance(OUTBOX, OutboxState.PENDING, "cancel"), updated_at=now())
    )


def resend(session: Session, study_uid: str, destination: str) -> int:
    """Send a study's current results to a destination once more; returns how many objects."""
    jobs = session.scalars(
        select(Job).where(Job.study_uid == study_uid, Job.state != JobState.SUPERSEDED)
    ).all()
    total = 0
    for job in jobs:
        rows = session.scalars(
            select(OutboxItem).where(
                OutboxItem.run_uid == job.run_uid, OutboxItem.destination == destination
            )
        ).all()
        again = [row for row in rows if (row.state, "resend") in OUTBOX]
        for row in again:
            row.state = advance(OUTBOX, row.state, "resend")
            row.not_before = 0.0
            row.attempt = 0
            row.updated_at = now()
        if again and job.state is JobState.DONE:
            job.state = advance(JOB, job.state, "resend")
        total += len(again)
    return total


def cancel_orphans(session: Session, destinations: Iterable[str]) -> list[str]:
    """Cancel what waits for destinations that are no longer configured; returns their names."""
    orphans = OutboxItem.destination.not_in(list(destinations))
    waiting = (OutboxItem.state == OutboxState.PENDING) & orphans
    names = list(session.scalars(select(OutboxItem.destination).where(waiting).distinct()))
    session.execute(
        update(OutboxItem)
        .where(waiting)
        .values(state=advance(OUTBOX, OutboxState.PENDING, "cancel"), updated_at=now())
    )
    return names
