"""The tables: all state of the node. Times are seconds since 1970 (UTC).

Paths are relative to the spool.
"""

from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Enum, ForeignKey, Index, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from dicom_node.jobs.transitions import AcquisitionState, JobState, OutboxState

_NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


def _states(states: type[StrEnum]) -> Enum:
    """Column type that stores a state by its value."""
    return Enum(
        states,
        native_enum=False,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )


class Base(DeclarativeBase):
    """Root of the tables."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map = {  # noqa: RUF012
        dict[str, Any]: JSON,
        list[str]: JSON,
        AcquisitionState: _states(AcquisitionState),
        JobState: _states(JobState),
        OutboxState: _states(OutboxState),
    }


class Instance(Base):
    """One received DICOM object: the ledger."""

    __tablename__ = "instances"

    sop_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    sop_class_uid: Mapped[str]
    series_uid: Mapped[str] = mapped_column(index=True)
    study_uid: Mapped[str] = mapped_column(index=True)
    transfer_syntax_uid: Mapped[str]
    calling_ae: Mapped[str]
    peer: Mapped[str | None]
    path: Mapped[str]
    sha256: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    patient_key: Mapped[str]
    received_at: Mapped[float]


class Study(Base):
    """A study and whether anything in it changed since it was last assembled."""

    __tablename__ = "studies"

    study_uid: Mapped[str] = mapped_column(primary_key=True)
    study_date: Mapped[str | None]
    changes: Mapped[int] = mapped_column(default=0)
    assembled: Mapped[int] = mapped_column(default=0)
    settled: Mapped[bool] = mapped_column(default=False, index=True)
    changed_at: Mapped[float]


class Acquisition(Base):
    """Images that belong together, of one or several series."""

    __tablename__ = "acquisitions"
    __table_args__ = (Index("uq_acquisitions_study_key", "study_uid", "key", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_uid: Mapped[str] = mapped_column(index=True)
    key: Mapped[str]
    series_uids: Mapped[list[str]]
    kind: Mapped[str]
    evidence: Mapped[list[str]]
    state: Mapped[AcquisitionState]
    slices: Mapped[int]
    time_points: Mapped[int]
    expected: Mapped[int | None]
    received: Mapped[int]
    reason: Mapped[str]
    fingerprint: Mapped[str]
    peer: Mapped[str | None]
    last_received_at: Mapped[float]


class Job(Base):
    """One run of one pipeline on one acquisition."""

    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_uid: Mapped[str] = mapped_column(unique=True)
    key: Mapped[str] = mapped_column(index=True)
    study_uid: Mapped[str] = mapped_column(index=True)
    acquisition_key: Mapped[str]
    pipeline: Mapped[str]
    version: Mapped[str]
    inputs: Mapped[list[str]]
    parameters: Mapped[dict[str, Any]]
    refusal: Mapped[str | None]
    peer: Mapped[str | None]
    revision: Mapped[int] = mapped_column(default=1)
    predecessor_run_uid: Mapped[str | None]
    priority: Mapped[int] = mapped_column(default=0)
    state: Mapped[JobState] = mapped_column(index=True)
    attempt: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[float] = mapped_column(default=0.0)
    worker: Mapped[str | None]
    lease_token: Mapped[str | None]
    lease_until: Mapped[float | None]
    stage: Mapped[str] = mapped_column(default="")
    fraction: Mapped[float] = mapped_column(default=0.0)
    error: Mapped[str | None]
    record: Mapped[dict[str, Any] | None]
    created_at: Mapped[float]
    finished_at: Mapped[float | None]


class OutboxItem(Base):
    """One result object on its way to one destination."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("uq_outbox_object", "destination", "sop_instance_uid", unique=True),
        Index("ix_outbox_due", "destination", "state", "not_before"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    run_uid: Mapped[str] = mapped_column(ForeignKey("jobs.run_uid"), index=True)
    role: Mapped[str]
    sop_class_uid: Mapped[str]
    sop_instance_uid: Mapped[str] = mapped_column(index=True)
    series_uid: Mapped[str]
    transfer_syntax_uid: Mapped[str]
    path: Mapped[str]
    destination: Mapped[str]
    priority: Mapped[int] = mapped_column(default=0)
    state: Mapped[OutboxState]
    attempt: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[float] = mapped_column(default=0.0)
    last_status: Mapped[int | None]
    error: Mapped[str | None]
    updated_at: Mapped[float]


class Association(Base):
    """A peer's association with the receiver; ``closed_at`` None while it is open."""

    __tablename__ = "associations"

    id: Mapped[int] = mapped_column(primary_key=True)
    calling_ae: Mapped[str] = mapped_column(index=True)
    address: Mapped[str]
    opened_at: Mapped[float]
    closed_at: Mapped[float | None]
    stored: Mapped[int] = mapped_column(default=0)
    refused: Mapped[int] = mapped_column(default=0)


class Problem(Base):
    """Something that was refused or kept aside, for ``strokenode status``; no patient data."""

    __tablename__ = "problems"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    code: Mapped[str]
    calling_ae: Mapped[str | None]
    study_uid: Mapped[str | None]
    sop_instance_uid: Mapped[str | None]
    text: Mapped[str]
    path: Mapped[str | None]


class PeerStatus(Base):
    """The last C-ECHO of every destination."""

    __tablename__ = "peer_status"

    peer: Mapped[str] = mapped_column(primary_key=True)
    checked_at: Mapped[float]
    reachable: Mapped[bool]
    text: Mapped[str]
