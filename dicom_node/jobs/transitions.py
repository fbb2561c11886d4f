"""Every change of state that is allowed, as tables; an unknown pair raises.

``TABLE[(state, event)]`` is the next state.
"""

from enum import StrEnum
from typing import TypeVar

from dicom_node.errors import StateError

State = TypeVar("State", bound=StrEnum)


class AcquisitionState(StrEnum):
    """Whether all images of an acquisition are here."""

    COLLECTING = "collecting"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"


class JobState(StrEnum):
    """Where one run of a pipeline stands."""

    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    WRITTEN = "written"
    DONE = "done"
    NOT_ANALYSED = "not_analysed"
    FAILED = "failed"
    DEAD = "dead"
    SUPERSEDED = "superseded"


class OutboxState(StrEnum):
    """Where one object on its way to one destination stands."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    COMMITTED = "committed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


ACQUISITION: dict[tuple[AcquisitionState, str], AcquisitionState] = {
    (AcquisitionState.COLLECTING, "complete"): AcquisitionState.COMPLETE,
    (AcquisitionState.COLLECTING, "give_up"): AcquisitionState.INCOMPLETE,
    (AcquisitionState.COMPLETE, "late_image"): AcquisitionState.COLLECTING,
    (AcquisitionState.INCOMPLETE, "late_image"): AcquisitionState.COLLECTING,
}

JOB: dict[tuple[JobState, str], JobState] = {
    (JobState.WAITING, "join"): JobState.READY,
    (JobState.READY, "claim"): JobState.RUNNING,
    (JobState.RUNNING, "retry"): JobState.READY,
    (JobState.RUNNING, "write"): JobState.WRITTEN,
    (JobState.RUNNING, "refuse"): JobState.NOT_ANALYSED,
    (JobState.RUNNING, "fail"): JobState.FAILED,
    (JobState.RUNNING, "give_up"): JobState.DEAD,
    (JobState.WRITTEN, "sent"): JobState.DONE,
    (JobState.DONE, "resend"): JobState.WRITTEN,
    **{
        (state, "supersede"): JobState.SUPERSEDED
        for state in JobState
        if state is not JobState.SUPERSEDED
    },
}

OUTBOX: dict[tuple[OutboxState, str], OutboxState] = {
    (OutboxState.PENDING, "claim"): OutboxState.SENDING,
    (OutboxState.SENDING, "accepted"): OutboxState.SENT,
    (OutboxState.SENDING, "rejected"): OutboxState.REJECTED,
    (OutboxState.SENDING, "retry"): OutboxState.PENDING,
    (OutboxState.PENDING, "cancel"): OutboxState.CANCELLED,
    (OutboxState.SENT, "commit"): OutboxState.COMMITTED,
    **{
        (state, "resend"): OutboxState.PENDING
        for state in (OutboxState.SENT, OutboxState.COMMITTED, OutboxState.REJECTED)
    },
}


def advance(table: dict[tuple[State, str], State], state: State, event: str) -> State:
    """The state after ``event``.

    Raises
    ------
    StateError
        The event is not allowed in that state.
    """
    try:
        return table[(state, event)]
    except KeyError:
        allowed = sorted(name for (source, name) in table if source == state)
        raise StateError(f"{state!s}: event {event!r} is not allowed; allowed: {allowed}") from None
