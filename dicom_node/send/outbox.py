"""The outbox: which object goes where, and what became of it."""

from collections.abc import Iterable

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dicom_node.config import Send
from dicom_node.jobs.database import now
from dicom_node.jobs.models import Job, OutboxItem
from dicom_node.jobs.transitions import JOB, OUTBOX, JobState, OutboxState, advance


def claim_batch(session: Session, destination: str, settings: Send) -> list[OutboxItem]:
    """Take the objects that are due for a destination, most urgent first, as ``sending``."""
    items = list(
        session.scalars(
            select(OutboxItem)
            .where(
                OutboxItem.destination == destination,
                OutboxItem.state == OutboxState.PENDING,
                OutboxItem.not_before <= now(),
            )
            .order_by(OutboxItem.priority.desc(), OutboxItem.id)
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
    session: Session, items: Iterable[OutboxItem], settings: Send, status: int | None, error: str
) -> None:
    """Try these objects again after a pause that doubles each time."""
    for item in items:
        row = session.get_one(OutboxItem, item.id)
        row.state = advance(OUTBOX, row.state, "retry")
        row.attempt += 1
        pause = min(
            settings.retry_after_s * 2 ** min(row.attempt - 1, 20), settings.retry_at_most_s
        )
        row.not_before = now() + pause
        row.last_status = status
        row.error = error
        row.updated_at = now()
    _cancel_superseded(session)


def recover(session: Session) -> int:
    """Put back what a sender that died had in hand; the same files go out again."""
    result = session.execute(
        update(OutboxItem)
        .where(OutboxItem.state == OutboxState.SENDING)
        .values(state=advance(OUTBOX, OutboxState.SENDING, "retry"), not_before=0.0)
        .returning(OutboxItem.id)
    )
    _cancel_superseded(session)
    return len(result.all())


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
    count = 0
    for job in jobs:
        rows = session.scalars(select(OutboxItem).where(OutboxItem.run_uid == job.run_uid)).all()
        here = [row for row in rows if row.destination == destination]
        for row in here:
            if (row.state, "resend") in OUTBOX:
                row.state = advance(OUTBOX, row.state, "resend")
                row.not_before = 0.0
                row.attempt = 0
                row.updated_at = now()
                count += 1
        if count and job.state is JobState.DONE:
            job.state = advance(JOB, job.state, "resend")
    return count
