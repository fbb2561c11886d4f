"""From received images to jobs, with the real database and real images."""

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from sqlalchemy import delete, select

from dicom_node.assemble.groups import AcquisitionGroup, acquisition_groups
from dicom_node.jobs.models import Acquisition, Instance, Job, Study
from dicom_node.jobs.models import Association as Opened
from dicom_node.jobs.transitions import AcquisitionState, JobState
from inference.dicom.headers import FrameHeader
from tests.support.dicom_factory import ctp_datasets, ncct_datasets
from tests.support.node import SmallNode, small_node
from tests.support.scp import RecordingSCP


@pytest.fixture
def node(tmp_path: Path) -> Iterator[SmallNode]:
    with small_node(tmp_path) as node:
        yield node


def acquisitions(node: SmallNode) -> list[Acquisition]:
    with node.database.read() as session:
        return list(session.scalars(select(Acquisition).order_by(Acquisition.id)))


def jobs(node: SmallNode) -> list[Job]:
    with node.database.read() as session:
        return list(session.scalars(select(Job).order_by(Job.id)))


def settled(node: SmallNode) -> bool:
    with node.database.read() as session:
        return all(session.scalars(select(Study.settled)))


def test_a_perfusion_study_becomes_a_job(node: SmallNode) -> None:
    images = ctp_datasets()
    node.send(images)
    node.assembler.run_due()
    (row,) = acquisitions(node)
    assert (row.kind, row.state) == ("CTP", AcquisitionState.COMPLETE)
    assert (row.slices, row.time_points, row.received) == (4, 28, 112)
    assert row.evidence
    (job,) = jobs(node)
    assert job.inputs == sorted(image.SOPInstanceUID for image in images)
    assert job.parameters["kh"] == node.config.pipeline_settings("ctp_perfusion").model_dump()["kh"]
    assert settled(node)


def test_other_series_become_no_job(node: SmallNode) -> None:
    node.send(ncct_datasets(slices=12))
    node.assembler.run_due()
    (row,) = acquisitions(node)
    assert (row.kind, row.state) == ("NCCT", AcquisitionState.COMPLETE)
    assert jobs(node) == []
    assert settled(node)


def test_an_unchanged_study_is_left_alone(node: SmallNode) -> None:
    images = ctp_datasets()
    for _ in range(2):
        node.send(images)
        for _ in range(3):
            node.assembler.run_due()
    assert len(jobs(node)) == 1


def test_one_series_per_volume_is_one_acquisition(node: SmallNode) -> None:
    node.send(ctp_datasets(vendor="canon"))
    node.assembler.run_due()
    (row,) = acquisitions(node)
    assert (row.kind, row.time_points, len(row.series_uids)) == ("CTP", 19, 19)
    assert len(jobs(node)) == 1


@pytest.mark.parametrize("backwards", [False, True])
def test_acquisitions_merge_as_volumes_arrive(node: SmallNode, backwards: bool) -> None:
    """Single volumes look like other series until there are enough of them."""
    images = ctp_datasets(vendor="canon")
    series: dict[str, list[Dataset]] = {}
    for image in images:
        series.setdefault(image.SeriesInstanceUID, []).append(image)
    volumes = list(series.values())
    for volume in reversed(volumes) if backwards else volumes:
        node.send(volume)
        node.assembler.run_due()
    live = [job for job in jobs(node) if job.state is not JobState.SUPERSEDED]
    assert len(live) == 1
    assert len(live[0].inputs) == len(images)
    assert [row.kind for row in acquisitions(node)] == ["CTP"]


def test_quiet_time_is_awaited(tmp_path: Path) -> None:
    with small_node(tmp_path, assemble={"ctp_quiet_s": 1.0, "incomplete_after_s": 60.0}) as node:
        node.send(ctp_datasets())
        node.assembler.run_due()
        assert jobs(node) == []
        assert not settled(node)
        deadline = time.monotonic() + 10
        while not jobs(node) and time.monotonic() < deadline:
            time.sleep(0.1)
            node.assembler.run_due()
        assert len(jobs(node)) == 1


def test_missing_images_are_awaited_then_reported(tmp_path: Path) -> None:
    images = ctp_datasets()
    with small_node(tmp_path, assemble={"ctp_quiet_s": 0.0, "incomplete_after_s": 1.0}) as node:
        node.send([*images[:50], *images[51:]])
        node.assembler.run_due()
        assert acquisitions(node)[0].state is AcquisitionState.COLLECTING
        assert jobs(node) == []
        time.sleep(1.1)
        node.assembler.run_due()
        (row,) = acquisitions(node)
        assert row.state is AcquisitionState.INCOMPLETE
        assert "1 of 112 images" in row.reason
        (job,) = jobs(node)
        assert job.refusal is not None
        assert "1 of 112 images" in job.refusal
        node.send([images[50]])
        node.assembler.run_due()
        assert acquisitions(node)[0].state is AcquisitionState.COMPLETE
        assert [job.refusal is None for job in jobs(node)] == [False, True]


def test_old_studies_are_kept_not_analysed(tmp_path: Path) -> None:
    with small_node(tmp_path, node={"max_study_age_days": 7}) as node:
        node.send(ctp_datasets(start=dt.datetime(2020, 1, 1, 10, 0)))
        node.assembler.run_due()
        assert jobs(node) == []
        assert "older than 7 days" in acquisitions(node)[0].reason
        today = dt.datetime.combine(dt.date.today(), dt.time(0, 5))
        node.send(ctp_datasets(start=today))
        node.assembler.run_due()
        assert len(jobs(node)) == 1


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"pipelines": {"ctp_perfusion": {"enabled": False}}}, 0),
        ({"pipelines": {"ctp_perfusion": {"enabled": True}}}, 1),
    ],
)
def test_a_pipeline_can_be_switched_off(
    tmp_path: Path, sections: dict[str, Any], expected: int
) -> None:
    with small_node(tmp_path, **sections) as node:
        node.send(ctp_datasets())
        node.assembler.run_due()
        assert len(jobs(node)) == expected


def test_a_source_can_be_served_by_no_pipeline(tmp_path: Path) -> None:
    with small_node(tmp_path) as node:
        scanner = node.config.peers[0].model_copy(update={"pipelines": ()})
        node.assembler.config = node.config.model_copy(update={"peers": (scanner,)})
        node.send(ctp_datasets())
        node.assembler.run_due()
        assert jobs(node) == []


def test_an_unreadable_image_is_a_problem_once(node: SmallNode) -> None:
    images = ctp_datasets()
    node.send(images)
    with node.database.read() as session:
        path = session.scalars(select(Instance.path)).first()
    assert path is not None
    (node.spool.root / path).write_bytes(b"not DICOM any more")
    for _ in range(3):
        node.assembler.run_due()
    assert node.problems() == ["unreadable"]
    (job,) = jobs(node)
    assert job.refusal is not None
    assert "1 of 112 images" in job.refusal


def test_an_earlier_volume_that_comes_late_is_a_revision(tmp_path: Path) -> None:
    """The first volume gives the acquisition its key; the run that follows still has a past."""
    images = ctp_datasets(vendor="canon")
    first = images[0].SeriesInstanceUID
    with RecordingSCP() as pacs, small_node(tmp_path, {"pacs": (pacs.aet, pacs.port)}) as node:
        node.send([image for image in images if image.SeriesInstanceUID != first])
        (old,) = node.settle()
        assert old.state is JobState.DONE
        node.send([image for image in images if image.SeriesInstanceUID == first])
        node.settle()
        live = [job for job in jobs(node) if job.state is not JobState.SUPERSEDED]
        assert [(job.revision, job.predecessor_run_uid) for job in live] == [(2, old.run_uid)]


def test_a_study_never_follows_another_ones_run(tmp_path: Path) -> None:
    """Rows of the ledger go with retention; what comes later is nobody's revision."""
    with RecordingSCP() as pacs, small_node(tmp_path, {"pacs": (pacs.aet, pacs.port)}) as node:
        node.send(ctp_datasets(salt="first"))
        (first,) = node.settle()
        with node.database.write() as session:
            for table in (Instance, Acquisition, Study):
                session.execute(delete(table))
        node.send(ctp_datasets(salt="second", patient_id="OTHER-9"))
        _, second = node.settle()
        assert (second.revision, second.predecessor_run_uid) == (1, None)
        assert jobs(node)[0].state is JobState.DONE
        assert jobs(node)[0].run_uid == first.run_uid


def test_a_sender_that_is_always_connected_delays_nothing(node: SmallNode) -> None:
    node.send(ctp_datasets())
    with node.database.write() as session:
        session.add(Opened(calling_ae="SCANNER", address="127.0.0.1", opened_at=time.time()))
    node.assembler.run_due()
    assert len(jobs(node)) == 1


def test_a_study_that_cannot_be_assembled_holds_up_no_other(
    node: SmallNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.send(ctp_datasets(salt="strange"))
    strange = ctp_datasets(salt="strange")[0].StudyInstanceUID
    node.send(ctp_datasets(salt="usual"))

    def fail_for_one(headers: list[FrameHeader]) -> list[AcquisitionGroup]:
        if headers[0].study_instance_uid == strange:
            raise ZeroDivisionError
        return acquisition_groups(headers)

    monkeypatch.setattr("dicom_node.assemble.assembler.acquisition_groups", fail_for_one)
    for _ in range(3):
        node.assembler.run_due()
    assert len(jobs(node)) == 1
    assert node.problems() == ["not_assembled"]
