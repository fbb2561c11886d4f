"""The tables of states."""

from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.errors import StateError
from dicom_node.jobs.transitions import (
    ACQUISITION,
    JOB,
    OUTBOX,
    AcquisitionState,
    JobState,
    OutboxState,
    advance,
)

TABLES: list[tuple[type[StrEnum], Any]] = [
    (AcquisitionState, ACQUISITION),
    (JobState, JOB),
    (OutboxState, OUTBOX),
]


@pytest.mark.parametrize(("states", "table"), TABLES)
def test_every_state_is_used(
    states: type[StrEnum], table: dict[tuple[StrEnum, str], StrEnum]
) -> None:
    used = {state for state, _ in table} | set(table.values())
    assert used == set(states)


@given(st.sampled_from(JobState), st.text(max_size=12))
def test_what_is_not_in_the_table_raises(state: JobState, event: str) -> None:
    if (state, event) in JOB:
        assert advance(JOB, state, event) == JOB[state, event]
    else:
        with pytest.raises(StateError, match="allowed"):
            advance(JOB, state, event)


def test_a_superseded_job_stays_superseded() -> None:
    assert not [event for state, event in JOB if state is JobState.SUPERSEDED]
