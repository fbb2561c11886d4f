"""The worker: what becomes of jobs that go wrong."""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from sqlalchemy import select

from dicom_node.errors import AnalysisError, LeaseLost
from dicom_node.jobs import analysis, maintenance, queue, worker
from dicom_node.jobs.database import now
from dicom_node.jobs.models import Instance, Job, OutboxItem, Study
from dicom_node.jobs.transitions import JobState, OutboxState
from dicom_node.write.results import write_results
from inference.pipelines import all_pipelines
from tests.support.dicom_factory import ctp_datasets, ncct_datasets
from tests.support.node import SmallNode, small_node
from tests.support.scp import RecordingSCP


@pytest.fixture
def node(tmp_path: Path) -> Iterator[SmallNode]:
    destinations = {"pacs": ("PACS", 1)}  # nobody listens there
    with small_node(tmp_path, destinations, jobs={"retry_after_s": 0.01}) as node:
        yield node


def queued(node: SmallNode, **options: Any) -> Job:
    assert set(node.send(ctp_datasets(**options))) == {0}
    node.assembler.run_due()
    return job(node)


def job(node: SmallNode) -> Job:
    with node.database.read() as session:
        return session.scalars(select(Job).order_by(Job.id.desc())).first() or pytest.fail("no job")


def report_text(node: SmallNode) -> str:
    with node.database.read() as session:
        (item,) = session.scalars(select(OutboxItem).where(OutboxItem.role == "report"))
    report = dcmread(node.spool.root / item.path)
    return "\n".join(str(element.value) for element in report.iterall() if element.VR != "SQ")


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def analyse(*_arguments: Any) -> Any:
        raise error

    monkeypatch.setattr(analysis, "analyse", analyse)


def test_a_defect_ends_the_job_and_tells_the_reader(
    node: SmallNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued(node)
    fail_with(monkeypatch, ValueError("Smith^John has no brain"))
    assert node.worker.run_one()
    ended = job(node)
    assert (ended.state, ended.attempt) == (JobState.FAILED, 1)
    assert "ValueError" in (ended.error or "")
    text = report_text(node)
    assert "Failed" in text
    assert "ValueError" in text
    assert "Smith" not in text


def test_what_a_retry_can_help_is_tried_again_then_given_up(
    node: SmallNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued(node)
    fail_with(monkeypatch, MemoryError())
    for attempt in (1, 2):
        assert node.worker.run_one()
        assert (job(node).state, job(node).attempt) == (JobState.READY, attempt)
        time.sleep(0.05)
    assert node.worker.run_one()
    assert (job(node).state, job(node).attempt) == (JobState.DEAD, 3)
    assert "MemoryError" in report_text(node)


def test_a_passing_fault_leaves_no_trace(node: SmallNode, monkeypatch: pytest.MonkeyPatch) -> None:
    queued(node)
    with monkeypatch.context() as patch:
        fail_with(patch, AnalysisError("the GPU is busy", retryable=True))
        assert node.worker.run_one()
    time.sleep(0.05)
    assert node.worker.run_one()
    ended = job(node)
    assert (ended.state, ended.attempt, ended.error) == (JobState.WRITTEN, 2, None)


def test_a_worker_that_died_three_times_is_reported_by_the_scheduler(node: SmallNode) -> None:
    waiting = queued(node)
    for attempt in (1, 2, 3):
        with node.database.write() as session:
            row = session.get_one(Job, waiting.id)
            row.not_before = 0.0
        with node.database.write() as session:
            queue.claim(session, node.config.jobs)
        with node.database.write() as session:
            session.get_one(Job, waiting.id).lease_until = now() - 1
        maintenance.requeue_abandoned(node.config, node.database, node.spool)
        assert job(node).state is (JobState.READY if attempt < 3 else JobState.DEAD)
    assert "Failed" in report_text(node)


def test_a_failure_without_a_report_is_noted(
    node: SmallNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued(node)

    def broken(*_arguments: Any) -> Any:
        raise ValueError("cannot write")

    monkeypatch.setattr(worker, "write_results", broken)
    assert node.worker.run_one()
    assert job(node).state is JobState.FAILED
    assert node.problems() == ["no_report"]


def test_images_that_are_gone_are_missed(node: SmallNode) -> None:
    queued(node)
    with node.database.write() as session:
        session.delete(session.scalars(select(Instance)).first())
    assert node.worker.run_one()
    assert job(node).state is JobState.FAILED
    assert node.problems() == ["no_report"]


def test_late_images_stop_a_running_job(node: SmallNode, monkeypatch: pytest.MonkeyPatch) -> None:
    images = ctp_datasets(time_points=30)
    node.send(images[:-4])
    node.assembler.run_due()
    stopped: list[BaseException] = []
    running = threading.Event()

    def analyse(*arguments: Any) -> Any:
        progress = arguments[-1]
        running.set()
        try:
            for _ in range(600):
                progress("compute", 0.5)
                time.sleep(0.05)
        except LeaseLost as error:
            stopped.append(error)
            raise

    with monkeypatch.context() as patch:
        patch.setattr(analysis, "analyse", analyse)
        thread = threading.Thread(target=node.worker.run_one)
        thread.start()
        assert running.wait(10)
        node.send(images[-4:])
        node.assembler.run_due()
        thread.join(30)
        assert not thread.is_alive()
    assert stopped
    assert node.worker.run_one()
    with node.database.read() as session:
        states = [row.state for row in session.scalars(select(Job).order_by(Job.id))]
        runs = set(session.scalars(select(OutboxItem.run_uid)))
    assert states == [JobState.SUPERSEDED, JobState.WRITTEN]
    assert runs == {job(node).run_uid}


def test_the_deadline_ends_the_worker(node: SmallNode, monkeypatch: pytest.MonkeyPatch) -> None:
    queued(node)
    ended = threading.Event()
    clock = iter([0.0, *([1e9] * 1000)])
    monkeypatch.setattr(os, "_exit", lambda _code: ended.set())
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))

    def analyse(*_arguments: Any) -> Any:
        assert ended.wait(20)
        raise ValueError

    monkeypatch.setattr(analysis, "analyse", analyse)
    node.worker.run_one()
    assert ended.is_set()


def test_results_wanted_differ_by_destination(tmp_path: Path) -> None:
    with RecordingSCP() as all_kinds, RecordingSCP() as reports:
        document_peers = {
            "all": (all_kinds.aet, all_kinds.port),
            "reports": (reports.aet, reports.port),
        }
        with small_node(tmp_path, document_peers) as node:
            peers = list(node.config.peers)
            wants = peers[-1].wants.model_copy(
                update={
                    "derived_images": False,
                    "secondary_captures": False,
                    "segmentations": False,
                }
            )
            peers[-1] = peers[-1].model_copy(update={"wants": wants})
            node.worker.config = node.config = node.config.model_copy(
                update={"peers": tuple(peers)}
            )
            node.send(ctp_datasets())
            node.settle()
            assert {item.dataset.Modality for item in reports.stored} == {"SR"}
            assert {"SR", "CT", "SEG"} <= {item.dataset.Modality for item in all_kinds.stored}
            node.send(ctp_datasets(salt="no contrast", no_contrast=True))
            node.settle()
            assert len(reports.stored) == 2


def test_retention_deletes_only_what_is_old_and_sent(tmp_path: Path) -> None:
    with RecordingSCP() as pacs:
        days = {"keep_instances_days": 1.0, "keep_results_days": 1.0, "min_free_gb": 0.0}
        destinations = {"pacs": (pacs.aet, pacs.port)}
        with small_node(tmp_path, destinations, storage=days) as node:
            node.send(ctp_datasets(salt="old"))
            node.send(ctp_datasets(salt="unsent"))
            node.send(ncct_datasets(salt="new"))
            node.settle()
            with node.database.write() as session:
                old, unsent = session.scalars(select(Job).order_by(Job.id))
                for row in session.scalars(select(Study)):
                    if row.study_uid in (old.study_uid, unsent.study_uid):
                        row.changed_at -= 5 * 86400
                for item in (old, unsent):
                    assert item.finished_at is not None
                    item.finished_at -= 5 * 86400
                unsent.state = JobState.WRITTEN
                first = session.scalars(
                    select(OutboxItem).where(OutboxItem.run_uid == unsent.run_uid)
                ).first()
                assert first is not None
                first.state = OutboxState.PENDING
            maintenance.apply_retention(node.config, node.database, node.spool)
            with node.database.read() as session:
                studies = set(session.scalars(select(Study.study_uid)))
                paths = set(session.scalars(select(Instance.path)))
            assert old.study_uid not in studies
            assert unsent.study_uid in studies
            assert len(studies) == 2
            files = {
                str(path.relative_to(node.spool.root))
                for path in node.spool.instances.rglob("*")
                if path.is_file()
            }
            assert files == paths
            assert {folder.name for folder in node.spool.results.iterdir()} == {unsent.run_uid}


def test_a_worker_that_lost_its_lease_leaves_the_results_of_the_other_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RecordingSCP() as pacs, small_node(tmp_path, {"pacs": (pacs.aet, pacs.port)}) as node:
        node.send(ctp_datasets())
        node.assembler.run_due()
        target = "dicom_node.jobs.worker.write_results"

        def overtaken(*arguments: Any) -> Any:
            """While the first writes, its job goes to a second worker, which finishes it."""
            monkeypatch.setattr(target, write_results)
            with node.database.write() as session:
                row = session.scalars(select(Job)).one()
                row.state, row.lease_token, row.not_before = JobState.READY, None, 0.0
            assert node.worker.run_one()
            return write_results(*arguments)

        monkeypatch.setattr(target, overtaken)
        assert node.worker.run_one()
        (done,) = node.settle()
        assert done.state is JobState.DONE
        assert len(pacs.stored_uids) == len((done.record or {})["outputs"])
        assert [folder.name for folder in node.spool.results.iterdir()] == [done.run_uid]


def test_a_pipeline_that_is_gone_ends_the_job(node: SmallNode) -> None:
    waiting = queued(node)
    with node.database.write() as session:
        session.get_one(Job, waiting.id).pipeline = "forgotten"
    assert node.worker.run_one()
    assert job(node).state is JobState.FAILED
    assert "Failed" in report_text(node)


def test_being_stopped_costs_no_attempt(node: SmallNode, monkeypatch: pytest.MonkeyPatch) -> None:
    queued(node)
    fail_with(monkeypatch, SystemExit(0))
    with pytest.raises(SystemExit):
        node.worker.run_one()
    assert (job(node).state, job(node).attempt) == (JobState.READY, 0)


def test_pipelines_are_made_ready_while_nothing_is_to_be_done(
    node: SmallNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []
    (enabled, *_) = names = node.config.enabled_pipelines()

    def prepare(_settings: object, device: str, *, compiled: bool) -> None:
        seen.append(f"ready {device} {compiled}")
        raise OSError("no compiler")

    def run_one() -> bool:
        seen.append("looked for a job")
        if len(seen) > len(names) + 3:
            node.worker.stop()
        return len(seen) == 1

    ready = replace(all_pipelines()[enabled], prepare=prepare)
    monkeypatch.setattr(worker, "all_pipelines", lambda: all_pipelines() | {enabled: ready})
    monkeypatch.setattr(node.worker, "run_one", run_one)
    with caplog.at_level("INFO"):
        node.worker.run_forever(poll_s=0.001)
    assert seen[:4] == ["looked for a job", "looked for a job", "ready cpu False", *seen[:1]]
    assert seen.count("ready cpu False") == 1
    assert f"{enabled} is not ready in advance (OSError)" in caplog.text
