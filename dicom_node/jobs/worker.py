"""The worker: claims jobs, runs pipelines, writes results; keeps torch and models loaded.

A thread extends the lease while the pipeline computes. A worker that loses its lease stops at the
next report of progress; one that is past the job's deadline ends itself, to be started anew.
"""

import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from sqlalchemy import select

from dicom_node.config import Config, Wants
from dicom_node.errors import AnalysisError, LeaseLost, NodeError
from dicom_node.jobs import analysis, queue
from dicom_node.jobs.database import Database
from dicom_node.jobs.models import Job, OutboxItem
from dicom_node.jobs.transitions import OutboxState
from dicom_node.log import log_failure
from dicom_node.receive.ledger import note_problem
from dicom_node.receive.spool import Spool, sync
from dicom_node.write.context import Predecessor, RunIdentity
from dicom_node.write.results import write_results
from dicom_node.write.source import SourceImages
from inference import __version__
from inference.dicom.headers import read_headers
from inference.pipelines import all_pipelines
from inference.results import PipelineResult

log = logging.getLogger(__name__)

DEADLINE_EXIT = 75
_KINDS = {
    Comprehensive3DSRStorage: "reports",
    ParametricMapStorage: "parametric_maps",
    SecondaryCaptureImageStorage: "secondary_captures",
    SegmentationStorage: "segmentations",
}
_REPORT_RETRY_S = 600.0
_EVENTS = {"ok": "write", "not_analysed": "refuse", "failed": "fail"}


@dataclass
class Worker:
    """Runs jobs one after the other on one device."""

    config: Config
    database: Database
    spool: Spool
    device: str
    _stop: threading.Event = field(default_factory=threading.Event)

    def run_forever(self, poll_s: float = 0.5) -> None:
        """Claim and run jobs until :meth:`stop` is called."""
        log.info("worker %s on %s", queue.worker_name(), self.device)
        waiting = iter(self.config.enabled_pipelines())
        while not self._stop.is_set():
            if self.run_one():
                continue
            if (name := next(waiting, None)) is not None:
                self.prepare(name)
            else:
                self._stop.wait(poll_s)

    def prepare(self, name: str) -> None:
        """Read a pipeline's models and compile them; if that fails, only time is lost."""
        pipeline = all_pipelines()[name]
        if pipeline.prepare is None:
            return
        compiled = self.config.device.compile
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(self.spool.compiled))
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no processes of its own
        start = time.monotonic()
        try:
            pipeline.prepare(self.config.pipeline_settings(name), self.device, compiled=compiled)
        except Exception as error:  # noqa: BLE001 its jobs will say what is wrong, or are slower
            log.warning(
                "%s is not ready in advance (%s): its first study may take longer; strokenode "
                "check looks at its model, [device] compile = false needs no C++ compiler",
                name,
                type(error).__name__,
            )
            return
        log.info("%s is ready, in %.1f s", name, time.monotonic() - start)

    def stop(self) -> None:
        """End after the current job."""
        self._stop.set()

    def run_one(self) -> bool:
        """Run the most urgent job that is due; False when there is none."""
        with self.database.write() as session:
            job = queue.claim(session, self.config.jobs)
        if job is None:
            return False
        log.info("job %d: %s, attempt %d", job.id, job.pipeline, job.attempt)
        try:
            with _lease(self.database, self.config, job) as progress:
                self._run(job, progress)
        except LeaseLost as error:
            log.warning("%s", error)
        return True

    def _run(self, job: Job, progress: "_Progress") -> None:
        try:
            result = self._analyse(job, progress)
            progress("write", 0.95)
            failure = result.reason if result.status == "failed" else None
            self._finish(job, result, _EVENTS[result.status], failure)
        except LeaseLost:
            raise
        except (SystemExit, KeyboardInterrupt):  # the node is being stopped
            with suppress(LeaseLost), self.database.write() as session:
                queue.give_back(session, job)
            raise
        except Exception as error:  # noqa: BLE001 a pipeline may fail in any way; the job says how
            self._failed(job, error)

    def _analyse(self, job: Job, progress: "_Progress") -> PipelineResult:
        if job.refusal is not None:
            return analysis.without_result(
                job.pipeline, job.version, "not_analysed", job.refusal, self.device
            )
        pipeline = all_pipelines()[job.pipeline]
        settings = pipeline.settings.model_validate(job.parameters)
        headers = [h for path in self._inputs(job) for h in read_headers(path)]
        return analysis.analyse(pipeline, headers, settings, self.device, progress)

    def _failed(self, job: Job, error: Exception) -> None:
        """Retry what a retry can help; else report the failure to the reader."""
        cause = f"{type(error).__name__} in job {job.id}"
        log_failure(log, f"job {job.id} failed", error)
        retryable = _can_pass(error)
        if retryable and job.attempt < self.config.jobs.max_attempts:
            with self.database.write() as session:
                queue.retry_later(session, job, self.config.jobs, cause)
            return
        self.report_failure(job, cause, "give_up" if retryable else "fail")

    def report_failure(self, job: Job, cause: str, event: str) -> None:
        """Tell the reader by a report that the analysis failed, and end the job.

        While the disk is full or the database locked this is tried again later; when the report
        cannot be written for another reason the job ends all the same, and ``status`` says so.
        """
        text = f"the analysis failed ({cause}); the log of the node has the details"
        result = analysis.without_result(job.pipeline, job.version, "failed", text, self.device)
        try:
            self._finish(job, result, event, cause)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 whatever kept the report from being written
            log_failure(log, f"job {job.id}: the report of the failure cannot be written", error)
            with self.database.write() as session:
                if _can_pass(error):
                    queue.retry_later(
                        session, job, self.config.jobs, cause, pause_s=_REPORT_RETRY_S
                    )
                    return
                queue.finish(session, job, event, None, [], f"{cause}; no report could be written")
                note_problem(
                    session,
                    "no_report",
                    f"job {job.id} failed ({cause}) and its report could not be written "
                    f"({type(error).__name__}): the reader has not been told",
                    study_uid=job.study_uid,
                )

    def _finish(
        self, job: Job, result: PipelineResult, event: str, error: str | None = None
    ) -> None:
        """Write the objects, then enter state and outbox rows in one transaction."""
        part = self.spool.results / f"{job.run_uid}.{job.lease_token}.part"
        part.mkdir(parents=True)
        try:
            self._write_and_commit(job, result, event, error, part)
        finally:  # on success it has become the run's folder
            shutil.rmtree(part, ignore_errors=True)

    def _write_and_commit(
        self, job: Job, result: PipelineResult, event: str, error: str | None, part: Path
    ) -> None:
        source = SourceImages.from_files(self._inputs(job))
        destinations = self.config.destinations()
        final = self.spool.results / job.run_uid
        written = write_results(
            result, source, self._identity(job), _union(self.config), self.config.series_table, part
        )
        for item in written:
            sync(item.path)
        for folder in {item.path.parent for item in written} | {part}:
            sync(folder)
        files = [
            queue.ResultFile(
                role=item.role,
                sop_class_uid=item.sop_class_uid,
                sop_instance_uid=item.sop_instance_uid,
                series_uid=item.series_instance_uid,
                transfer_syntax_uid=item.transfer_syntax_uid,
                path=str((final / item.path.relative_to(part)).relative_to(self.spool.root)),
                destinations=tuple(
                    peer.name
                    for peer in destinations
                    if result.status != "ok" or getattr(peer.wants, _kind(item.sop_class_uid))
                ),
            )
            for item in written
        ]
        series_uids = list({image.series_instance_uid for image in source.references})
        record = analysis.record(result, job.study_uid, series_uids)
        record["outputs"] = [
            item.row(str(final.relative_to(self.spool.root) / item.path.relative_to(part)))
            for item in written
        ]
        with self.database.write() as session:
            queue.finish(session, job, event, record, files, error)  # or the lease is lost
            session.flush()
            if final.exists():  # of an attempt that was cut off before its commit
                shutil.rmtree(final)
            part.replace(final)
            sync(self.spool.results)
        log.info("job %d: %s, %d objects", job.id, result.status, len(written))

    def _inputs(self, job: Job) -> list[Path]:
        with self.database.read() as session:
            paths = queue.input_paths(session, job)
        if len(paths) != len(job.inputs):
            raise AnalysisError(
                f"{len(job.inputs) - len(paths)} of {len(job.inputs)} images are no longer in the "
                "spool; send the study again",
                retryable=False,
            )
        return [self.spool.root / path for path in paths]

    def _identity(self, job: Job) -> RunIdentity:
        return RunIdentity(
            run_uid=job.run_uid,
            revision=job.revision,
            predecessor=self._predecessor(job),
            software_version=__version__,
            created=datetime.fromtimestamp(job.created_at).astimezone(),
        )

    def _predecessor(self, job: Job) -> Predecessor | None:
        if job.predecessor_run_uid is None:
            return None
        with self.database.read() as session:
            report = session.scalars(
                select(OutboxItem).where(
                    OutboxItem.run_uid == job.predecessor_run_uid,
                    OutboxItem.role == "report",
                    OutboxItem.state.in_((OutboxState.SENT, OutboxState.COMMITTED)),
                )
            ).first()
        if report is None:
            return None
        return Predecessor(
            report.sop_class_uid, report.sop_instance_uid, report.series_uid, job.study_uid
        )


def _can_pass(error: Exception) -> bool:
    """Whether trying again later can help."""
    return isinstance(error, (MemoryError, OSError)) or (
        isinstance(error, NodeError) and error.retryable
    )


def _union(config: Config) -> Wants:
    """What any destination wants."""
    wants = [peer.wants for peer in config.destinations()]
    return Wants(**{name: any(getattr(w, name) for w in wants) for name in Wants.model_fields})


def _kind(sop_class_uid: str) -> str:
    """Which of a destination's ``wants`` decides about an object."""
    return _KINDS.get(UID(sop_class_uid), "derived_images")


class _Progress:
    """Keeps the last report of progress; raises once the lease is lost."""

    def __init__(self) -> None:
        self.stage = "start"
        self.fraction = 0.0
        self.lost: LeaseLost | None = None

    def __call__(self, stage: str, fraction: float) -> None:
        self.stage, self.fraction = stage, fraction
        if self.lost is not None:
            raise self.lost


@contextmanager
def _lease(database: Database, config: Config, job: Job) -> Iterator[_Progress]:
    """Extend the job's lease in a thread while the body runs."""
    progress = _Progress()
    ended = threading.Event()
    deadline = time.monotonic() + config.jobs.deadline_s

    def beat() -> None:
        while not ended.wait(min(1.0, config.jobs.lease_s / 4)):
            if time.monotonic() > deadline:
                log.error("job %d is past its deadline; the worker ends itself", job.id)
                os._exit(DEADLINE_EXIT)
            try:
                with database.write() as session:
                    queue.heartbeat(session, job, config.jobs, progress.stage, progress.fraction)
            except LeaseLost as error:
                progress.lost = error
                return
            except Exception as error:  # noqa: BLE001 the lease must be extended as long as it can
                log.warning("no heartbeat for job %d: %s", job.id, type(error).__name__)

    thread = threading.Thread(target=beat, name=f"lease-{job.id}", daemon=True)
    thread.start()
    try:
        yield progress
    finally:
        ended.set()
        thread.join()
