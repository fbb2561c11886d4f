"""From the ledger to jobs: which acquisitions there are, whether they are whole, what to run.

Runs on a timer over the studies in which something changed or is still being waited for. A late
image reopens its acquisition; the job that follows supersedes the earlier one.
"""

import hashlib
import logging
from dataclasses import dataclass, field
from datetime import date, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_node.assemble.classify import Classification, classify
from dicom_node.assemble.completeness import Completeness, completeness
from dicom_node.assemble.groups import AcquisitionGroup, acquisition_groups
from dicom_node.config import Config
from dicom_node.jobs import queue
from dicom_node.jobs.database import Database, now
from dicom_node.jobs.models import Acquisition, Association, Instance, Job, Study
from dicom_node.jobs.transitions import ACQUISITION, AcquisitionState, JobState, advance
from dicom_node.receive.ledger import note_problem
from dicom_node.receive.spool import Spool
from inference.dicom.headers import FrameHeader, read_headers
from inference.errors import DicomReadError
from inference.kinds import SeriesKind
from inference.pipelines import all_pipelines

log = logging.getLogger(__name__)


@dataclass
class Assembler:
    """Looks at the studies that changed; keeps the headers of open studies in memory."""

    config: Config
    database: Database
    spool: Spool
    _headers: dict[str, dict[str, tuple[FrameHeader, ...]]] = field(default_factory=dict)
    _looks: dict[str, tuple[int, list["_Look"]]] = field(default_factory=dict)

    def run_due(self) -> None:
        """Assemble every study that is not settled."""
        with self.database.read() as session:
            due = list(session.scalars(select(Study.study_uid).where(Study.settled.is_(False))))
        for study_uid in due:
            self.assemble(study_uid)
        for study_uid in set(self._headers) - set(due):
            del self._headers[study_uid]
            del self._looks[study_uid]

    def assemble(self, study_uid: str) -> None:
        """Group, classify and judge one study, and queue the jobs that are due."""
        with self.database.read() as session:
            study = session.get_one(Study, study_uid)
            instances = list(
                session.scalars(select(Instance).where(Instance.study_uid == study_uid))
            )
            known = {
                row.key: row
                for row in session.scalars(
                    select(Acquisition).where(Acquisition.study_uid == study_uid)
                )
            }
            busy = _busy_senders(session, self.config.assemble.open_association_limit_s)
        rows = {instance.sop_instance_uid: instance for instance in instances}
        conflict = len({instance.patient_key for instance in instances}) > 1
        judged = [
            self._judge(acquisition, rows, known.get(acquisition.group.key), busy)
            for acquisition in self._look_at(study, instances)
        ]
        if study.changes == study.assembled and all(v.event is None for v in judged):
            return
        with self.database.write() as session:
            for verdict in judged:
                self._apply(session, study, verdict, conflict)
            self._drop_vanished(session, known, {verdict.group.key for verdict in judged})
            current = session.get_one(Study, study_uid)
            current.assembled = study.changes
            current.settled = current.changes == study.changes and all(
                verdict.event is not None for verdict in judged
            )

    def _look_at(self, study: Study, instances: list[Instance]) -> list["_Look"]:
        """Group and classify, once per change of the study."""
        changes, looks = self._looks.get(study.study_uid, (-1, []))
        if changes != study.changes:
            looks = []
            for group in acquisition_groups(self._read(study.study_uid, instances)):
                kind = classify(group)
                looks.append(_Look(group, kind, completeness(group, kind.kind)))
            self._looks[study.study_uid] = (study.changes, looks)
        return looks

    def _read(self, study_uid: str, instances: list[Instance]) -> list[FrameHeader]:
        cache = self._headers.setdefault(study_uid, {})
        for instance in instances:
            if instance.sop_instance_uid not in cache:
                cache[instance.sop_instance_uid] = self._read_one(instance)
        return [header for headers in cache.values() for header in headers]

    def _read_one(self, instance: Instance) -> tuple[FrameHeader, ...]:
        try:
            return read_headers(self.spool.root / instance.path)
        except DicomReadError as error:
            # only images have headers to assemble by; a broken one shows in status
            log.warning("%s cannot be read: %s", instance.sop_instance_uid, error)
            with self.database.write() as session:
                note_problem(
                    session,
                    "unreadable",
                    str(error),
                    calling_ae=instance.calling_ae,
                    study_uid=instance.study_uid,
                    sop_instance_uid=instance.sop_instance_uid,
                    path=instance.path,
                )
            return ()

    def _judge(
        self,
        look: "_Look",
        rows: dict[str, Instance],
        known: Acquisition | None,
        busy: set[str],
    ) -> "_Verdict":
        instances = [rows[uid] for uid in {h.sop_instance_uid for h in look.group.headers}]
        newest = max(instances, key=lambda instance: instance.received_at)
        kind, whole = look.kind, look.whole
        uids = sorted(instance.sop_instance_uid for instance in instances)
        fingerprint = hashlib.sha256("\n".join(uids).encode()).hexdigest()
        verdict = _Verdict(look.group, kind, whole, uids, fingerprint, newest)
        settled = known is not None and known.state is not AcquisitionState.COLLECTING
        if settled and known is not None and known.fingerprint == fingerprint:
            verdict.event = "unchanged"
            return verdict
        quiet = now() - newest.received_at
        waiting = newest.calling_ae in busy
        settings = self.config.assemble
        if whole.state == "declared":
            verdict.event = "complete"
        elif whole.state == "regular" or kind.kind is SeriesKind.OTHER:
            if quiet >= settings.quiet_s(kind.kind) and not waiting:
                verdict.event = "complete"
        elif quiet >= settings.incomplete_after_s and not waiting:
            verdict.event = "give_up"
        return verdict

    def _apply(self, session: Session, study: Study, verdict: "_Verdict", conflict: bool) -> None:
        if verdict.event == "unchanged":
            return
        row = self._store(session, study.study_uid, verdict)
        if verdict.event is None:
            return
        row.state = advance(ACQUISITION, row.state, verdict.event)
        refusal = None
        if conflict or verdict.group.patients > 1:
            refusal = (
                "the study holds images of two patients (two PatientIDs); correct it and resend"
            )
            note_problem(session, "two_patients", refusal, study_uid=study.study_uid)
        elif verdict.event == "give_up":
            refusal = f"incomplete: {verdict.whole.reason}"
        if self._too_old(study):
            row.reason = (
                f"kept, not analysed: the study is older than {self.config.node.max_study_age_days}"
                " days (node.max_study_age_days)"
            )
            return
        self._queue(session, row, verdict, refusal)

    def _store(self, session: Session, study_uid: str, verdict: "_Verdict") -> Acquisition:
        row = session.scalars(
            select(Acquisition).where(
                Acquisition.study_uid == study_uid, Acquisition.key == verdict.group.key
            )
        ).one_or_none()
        if row is None:
            row = Acquisition(
                study_uid=study_uid, key=verdict.group.key, state=AcquisitionState.COLLECTING
            )
            session.add(row)
        elif row.state is not AcquisitionState.COLLECTING:
            row.state = advance(ACQUISITION, row.state, "late_image")
        row.series_uids = list(verdict.group.series_uids)
        row.kind = verdict.kind.kind.value
        row.evidence = list(verdict.kind.evidence)
        row.slices = verdict.kind.slices
        row.time_points = verdict.kind.time_points
        row.expected = verdict.whole.expected
        row.received = len(verdict.uids)
        row.reason = verdict.whole.reason or verdict.kind.reason
        row.fingerprint = verdict.fingerprint
        row.peer = verdict.newest.peer
        row.last_received_at = verdict.newest.received_at
        session.flush()
        return row

    def _queue(
        self, session: Session, row: Acquisition, verdict: "_Verdict", refusal: str | None
    ) -> None:
        allowed = next((p.pipelines for p in self.config.peers if p.name == row.peer), None)
        pipelines = all_pipelines()
        for name in self.config.enabled_pipelines():
            if pipelines[name].accepts is not verdict.kind.kind:
                continue
            if allowed is not None and name not in allowed:
                continue
            settings = self.config.pipeline_settings(name)
            job = queue.create(
                session,
                queue.JobRequest(
                    acquisition_id=row.id,
                    study_uid=row.study_uid,
                    pipeline=name,
                    version=pipelines[name].version,
                    inputs=verdict.uids,
                    parameters=settings.model_dump(mode="json"),
                    peer=row.peer,
                    refusal=refusal,
                ),
            )
            if job is not None:
                log.info("job %d: %s on %d images", job.id, name, len(verdict.uids))

    def _drop_vanished(
        self, session: Session, known: dict[str, Acquisition], present: set[str]
    ) -> None:
        """Acquisitions that merged into others as more images came: their jobs are superseded."""
        for key, old in known.items():
            if key in present:
                continue
            query = select(Job).where(
                Job.acquisition_id == old.id, Job.state != JobState.SUPERSEDED
            )
            for job in session.scalars(query):
                queue.supersede(session, job)
            session.delete(session.get_one(Acquisition, old.id))

    def _too_old(self, study: Study) -> bool:
        days = self.config.node.max_study_age_days
        if days == 0 or not study.study_date:
            return False
        try:
            taken = date.fromisoformat(study.study_date)
        except ValueError:
            return False
        return date.today() - taken > timedelta(days=days)


@dataclass(frozen=True)
class _Look:
    """What one acquisition is, by its headers alone."""

    group: AcquisitionGroup
    kind: Classification
    whole: Completeness


@dataclass
class _Verdict:
    """What is thought of one acquisition; ``event`` None: wait for more images."""

    group: AcquisitionGroup
    kind: Classification
    whole: Completeness
    uids: list[str]
    fingerprint: str
    newest: Instance
    event: str | None = None


def _busy_senders(session: Session, limit_s: float) -> set[str]:
    """AE titles with an open association; one open for very long no longer counts."""
    rows = session.scalars(
        select(Association.calling_ae).where(
            Association.closed_at.is_(None), Association.opened_at > now() - limit_s
        )
    )
    return set(rows)
