"""What the receiver writes into the database: instances, associations, problems."""

from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from dicom_node.jobs.database import now
from dicom_node.jobs.models import Association, Instance, OutboxItem, Problem, Study

_TOUCH_EVERY_S = 60.0


@dataclass(frozen=True)
class SpooledInstance:
    """A received object that is safe in the spool; ``path`` is relative to the spool."""

    sop_instance_uid: str
    sop_class_uid: str
    series_uid: str
    study_uid: str
    study_date: str | None
    transfer_syntax_uid: str
    calling_ae: str
    peer: str | None
    path: str
    sha256: str
    size: int
    patient_key: str


def find_instance(session: Session, sop_instance_uid: str) -> Instance | None:
    """The ledger's row of an instance."""
    return session.get(Instance, sop_instance_uid)


def is_own_result(session: Session, sop_instance_uid: str) -> bool:
    """Whether this node made the object: an autoroute sends it back."""
    query = select(OutboxItem.id).where(OutboxItem.sop_instance_uid == sop_instance_uid).limit(1)
    return session.execute(query).first() is not None


def record_instance(session: Session, spooled: SpooledInstance) -> None:
    """Enter an instance, or its new file, and mark its study as changed."""
    received_at = now()
    values = {name: getattr(spooled, name) for name in spooled.__dataclass_fields__}
    study_date = values.pop("study_date")
    session.merge(Instance(**values, received_at=received_at))
    changed = session.execute(
        update(Study)
        .where(Study.study_uid == spooled.study_uid)
        .values(
            changes=Study.changes + 1,
            settled=False,
            changed_at=received_at,
            study_date=func.coalesce(Study.study_date, study_date),
        )
        .returning(Study.study_uid)
    )
    if changed.one_or_none() is None:
        session.add(
            Study(study_uid=spooled.study_uid, study_date=study_date, changes=1, assembled=0,
                  settled=False, changed_at=received_at)
        )  # fmt: skip


def touch_study(session: Session, sop_instance_uid: str, study_uid: str) -> bool:
    """Note that a known instance came again, which keeps its study from being deleted as old.

    False when the instance is not in the ledger any more.
    """
    study = session.get(Study, study_uid)
    if study is None or session.get(Instance, sop_instance_uid) is None:
        return False
    if now() - study.changed_at > _TOUCH_EVERY_S:
        study.changed_at = now()
    return True


def note_problem(
    session: Session,
    code: str,
    text: str,
    *,
    calling_ae: str | None = None,
    study_uid: str | None = None,
    sop_instance_uid: str | None = None,
    path: str | None = None,
) -> None:
    """Keep a refused or quarantined object for ``strokenode status``."""
    session.add(
        Problem(
            at=now(),
            code=code,
            text=text,
            calling_ae=calling_ae,
            study_uid=study_uid,
            sop_instance_uid=sop_instance_uid,
            path=path,
        )
    )


def open_association(session: Session, calling_ae: str, address: str) -> int:
    """Enter an association that has been accepted and return its id."""
    row = Association(calling_ae=calling_ae, address=address, opened_at=now())
    session.add(row)
    session.flush()
    return row.id


def close_association(session: Session, association_id: int, stored: int, refused: int) -> None:
    """Note that an association has ended, with the number of objects stored and refused."""
    session.execute(
        update(Association)
        .where(Association.id == association_id)
        .values(closed_at=now(), stored=stored, refused=refused)
    )


def close_stale_associations(session: Session) -> None:
    """Close what a receiver that died left open; called when a receiver starts."""
    session.execute(
        update(Association).where(Association.closed_at.is_(None)).values(closed_at=now())
    )
