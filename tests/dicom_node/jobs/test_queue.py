"""Jobs and leases, on a real database."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_node.config import Jobs
from dicom_node.errors import LeaseLost, NodeError
from dicom_node.jobs import queue
from dicom_node.jobs.database import Database, now
from dicom_node.jobs.models import Instance, Job, OutboxItem
from dicom_node.jobs.queue import JobRequest, ResultFile
from dicom_node.jobs.transitions import JobState, OutboxState

SETTINGS = Jobs(lease_s=30, retry_after_s=10)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    database.upgrade()
    yield database
    database.close()


def request(inputs: int = 3, priority: int = 0, acquisition: int = 1) -> JobRequest:
    return JobRequest(
        study_uid="1.2.3",
        acquisition_key=f"key {acquisition}",
        pipeline="ctp_perfusion",
        version="1",
        inputs=[f"1.2.3.{index}" for index in range(inputs)],
        parameters={"kh": 0.73},
        peer="scanner",
        priority=priority,
    )


def create(database: Database, wanted: JobRequest) -> Job:
    with database.write() as session:
        job = queue.create(session, wanted)
    assert job is not None
    return job


def claim(database: Database) -> Job:
    with database.write() as session:
        job = queue.claim(session, SETTINGS)
    assert job is not None
    return job


def instance(uid: str) -> Instance:
    return Instance(
        sop_instance_uid=uid, sop_class_uid="1.2", series_uid="1.2", study_uid="1.2.3",
        transfer_syntax_uid="1.2", calling_ae="CT", peer=None, path=uid, sha256="", size=1,
        patient_key="", received_at=0.0,
    )  # fmt: skip


def result(uid: str = "2.25.1", destinations: tuple[str, ...] = ("pacs",)) -> ResultFile:
    return ResultFile("cbf", "1.2.840", uid, "2.25.9", "1.2.840.1", "results/x", destinations)


def state(database: Database, job: Job) -> Job:
    with database.read() as session:
        return session.get_one(Job, job.id)


def outbox(database: Database) -> list[OutboxItem]:
    with database.read() as session:
        return list(session.scalars(select(OutboxItem).order_by(OutboxItem.id)))


def test_a_claim_counts_the_attempt_and_leases(database: Database) -> None:
    create(database, request())
    job = claim(database)
    assert (job.state, job.attempt, job.worker) == (JobState.RUNNING, 1, queue.worker_name())
    assert job.lease_token
    assert job.lease_until is not None
    assert 25 < job.lease_until - now() <= 30
    with database.write() as session:
        assert queue.claim(session, SETTINGS) is None


def test_urgent_jobs_come_first_then_old_ones(database: Database) -> None:
    wanted = [request(acquisition=n, priority=p) for n, p in [(1, 0), (2, 5), (3, 5), (4, 0)]]
    for item in wanted:
        create(database, item)
    assert [claim(database).acquisition_key for _ in wanted] == ["key 2", "key 3", "key 1", "key 4"]


def test_other_weights_are_other_work(database: Database) -> None:
    create(database, request())
    for weights in (("a",), ("b",), ("b", "c")):
        wanted = replace(request(), weights=weights)
        create(database, wanted)
        with database.write() as session:
            assert queue.create(session, wanted) is None


def test_two_workers_never_get_the_same_job(database: Database) -> None:
    for number in range(20):
        create(database, request(acquisition=number))
    taken: list[int] = []

    def work() -> None:
        while True:
            with database.write() as session:
                job = queue.claim(session, SETTINGS)
            if job is None:
                return
            taken.append(job.id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 21))


def test_the_same_work_is_queued_once(database: Database) -> None:
    create(database, request())
    with database.write() as session:
        assert queue.create(session, request()) is None


def test_more_images_supersede_and_cancel_what_is_unsent(database: Database) -> None:
    create(database, request())
    old = claim(database)
    with database.write() as session:
        queue.finish(session, old, "write", {}, [result()])
    new = create(database, request(inputs=4))
    assert state(database, old).state is JobState.SUPERSEDED
    assert [row.state for row in outbox(database)] == [OutboxState.CANCELLED]
    # nothing of the old run had left the node: the new one is the first that anybody sees
    assert (new.revision, new.predecessor_run_uid) == (1, None)
    assert new.run_uid != old.run_uid


def test_a_run_after_sending_is_a_revision(database: Database) -> None:
    create(database, request())
    old = claim(database)
    with database.write() as session:
        queue.finish(session, old, "write", {}, [result()])
    with database.write() as session:
        session.scalars(select(OutboxItem)).one().state = OutboxState.SENT
    new = create(database, request(inputs=4))
    assert (new.revision, new.predecessor_run_uid) == (2, old.run_uid)
    assert [row.state for row in outbox(database)] == [OutboxState.SENT]


def test_a_superseded_worker_can_change_nothing(database: Database) -> None:
    create(database, request())
    old = claim(database)
    create(database, request(inputs=4))
    attempts: list[Callable[[Session], None]] = [
        lambda s: queue.heartbeat(s, old, SETTINGS, "stage", 0.5),
        lambda s: queue.finish(s, old, "write", {}, [result()]),
        lambda s: queue.retry_later(s, old, SETTINGS, "error"),
    ]
    for attempt in attempts:
        with pytest.raises(LeaseLost), database.write() as session:
            attempt(session)
    assert outbox(database) == []
    assert state(database, old).state is JobState.SUPERSEDED


def test_a_worker_whose_lease_went_to_another_can_change_nothing(database: Database) -> None:
    create(database, request())
    first = claim(database)
    with database.write() as session:
        queue.retry_later(session, first, SETTINGS.model_copy(update={"retry_after_s": 0}), "x")
    second = claim(database)
    assert second.attempt == 2
    with pytest.raises(LeaseLost), database.write() as session:
        queue.finish(session, first, "write", {}, [result()])
    with database.write() as session:
        queue.finish(session, second, "write", {}, [result()])
    assert len(outbox(database)) == 1


def test_a_heartbeat_extends_the_lease_and_keeps_the_progress(database: Database) -> None:
    create(database, request())
    job = claim(database)
    longer = SETTINGS.model_copy(update={"lease_s": 300.0})
    with database.write() as session:
        queue.heartbeat(session, job, longer, "deconvolve", 0.6)
    now_is = state(database, job)
    assert (now_is.stage, now_is.fraction) == ("deconvolve", 0.6)
    assert now_is.lease_until is not None
    assert now_is.lease_until - now() > 200


def test_retries_wait_longer_each_time(database: Database) -> None:
    create(database, request())
    pauses = []
    for _ in range(3):
        job = claim(database)
        with database.write() as session:
            queue.retry_later(session, job, SETTINGS, "the worker ended")
            row = session.get_one(Job, job.id)
            session.refresh(row)
            pauses.append(row.not_before - now())
            row.not_before = 0.0
    assert pauses == pytest.approx([10, 20, 40], abs=1)


def test_abandoned_jobs_are_found(database: Database) -> None:
    create(database, request(acquisition=1))
    create(database, request(acquisition=2))
    alive, dead = claim(database), claim(database)
    with database.read() as session:
        assert queue.abandoned(session) == []
    with database.write() as session:
        row = session.get_one(Job, dead.id)
        host = queue.worker_name().split("/")[0]
        row.worker = f"{host}/4194304/1"  # beyond the largest process id
    with database.read() as session:
        assert [job.id for job in queue.abandoned(session)] == [dead.id]
    with database.write() as session:
        session.get_one(Job, alive.id).lease_until = now() - 1
    with database.read() as session:
        assert {job.id for job in queue.abandoned(session)} == {alive.id, dead.id}


def test_done_when_everything_has_left(database: Database) -> None:
    create(database, request())
    job = claim(database)
    with database.write() as session:
        queue.finish(session, job, "write", {}, [result("2.25.1"), result("2.25.2")])
    with database.write() as session:
        assert queue.mark_done(session) == 0
    with database.write() as session:
        for row in session.scalars(select(OutboxItem)):
            row.state = OutboxState.REJECTED if row.id == 1 else OutboxState.SENT
    with database.write() as session:
        assert queue.mark_done(session) == 1
    assert state(database, job).state is JobState.DONE


def test_one_row_per_destination(database: Database) -> None:
    create(database, request())
    job = claim(database)
    with database.write() as session:
        queue.finish(session, job, "write", {}, [result(destinations=("a", "b"))])
    assert [row.destination for row in outbox(database)] == ["a", "b"]


def test_rerun_is_a_new_run(database: Database) -> None:
    create(database, request())
    job = claim(database)
    with pytest.raises(NodeError, match="running"), database.write() as session:
        queue.rerun(session, job.id)
    with database.write() as session:
        queue.finish(session, job, "fail", None, [], "ValueError")
    with pytest.raises(NodeError, match="no longer"), database.write() as session:
        queue.rerun(session, job.id)
    with database.write() as session:
        session.add_all(instance(uid) for uid in job.inputs)
    with database.write() as session:
        again = queue.rerun(session, job.id)
        assert again.run_uid != job.run_uid
        assert again.inputs == job.inputs
    assert state(database, job).state is JobState.SUPERSEDED
    with pytest.raises(NodeError, match="no job 99"), database.write() as session:
        queue.rerun(session, 99)
