"""From the ledger to jobs: which acquisitions there are, whether they are whole, what to run.

Runs on a timer over the studies in which something changed or is still being waited for. A late
image reopens its acquisition; the job that follows supersedes the earlier one.
"""

import hashlib
import logging
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicom_node.assemble.classify import Classification, classify
from dicom_node.assemble.completeness import Completeness, completeness
from dicom_node.assemble.groups import AcquisitionGroup, acquisition_groups
from dicom_node.config import Config
from dicom_node.errors import StorageError
from dicom_node.jobs import queue
from dicom_node.jobs.database import Database, now
from dicom_node.jobs.models import Acquisition, Association, Instance, Study
from dicom_node.jobs.transitions import ACQUISITION, AcquisitionState, advance
from dicom_node.log import log_failure
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
        """Assemble every study that is not settled; one that fails holds up no other."""
        with self.database.read() as session:
            due = list(session.scalars(select(Study.study_uid).where(Study.settled.is_(False))))
        for study_uid in due:
            try:
                self.assemble(study_uid)
            except StorageError:
                raise  # the disk is in trouble: the same for every study
            except Exception as error:  # noqa: BLE001 whatever a strange study makes go wrong
                self._failed(study_uid, error)
        for study_uid in set(self._headers) - set(due):
            del self._headers[study_uid]
            self._looks.pop(study_uid, None)

    def assemble(self, study_uid: str) -> None:
        """Group, classify and judge one study, and queue the jobs that are due."""
        with self.database.read() as session:
            study = session.get_one(Study, study_uid)
            known = {
                row.key: row
                for row in session.scalars(
                    select(Acquisition).where(Acquisition.study_uid == study_uid)
                )
            }
            busy_since = _busy_since(session)
        verdicts = [
            self._judge(look, known.get(look.group.key), busy_since)
            for look in self._look_at(study)
        ]
        if study.changes == study.assembled and all(v.event is None for v in verdicts):
            return
        with self.database.write() as session:
            self._follow_vanished(session, known, verdicts)
            for verdict in verdicts:
                self._apply(session, study, verdict)
            current = session.get_one(Study, study_uid)
            current.assembled = study.changes
            current.settled = current.changes == study.changes and all(
                verdict.event is not None for verdict in verdicts
            )

    def _look_at(self, study: Study) -> list["_Look"]:
        """Group and classify, once per change of the study."""
        changes, looks = self._looks.get(study.study_uid, (-1, []))
        if changes == study.changes:
            return looks
        with self.database.read() as session:
            instances = list(
                session.scalars(select(Instance).where(Instance.study_uid == study.study_uid))
            )
        rows = {instance.sop_instance_uid: instance for instance in instances}
        conflict = len({instance.patient_key for instance in instances}) > 1
        looks = []
        for group in acquisition_groups(self._read(study.study_uid, instances)):
            uids = sorted({header.sop_instance_uid for header in group.headers})
            kind = classify(group)
            looks.append(
                _Look(
                    group=group,
                    kind=kind,
                    whole=completeness(group, kind.kind),
                    uids=uids,
                    newest=max((rows[uid] for uid in uids), key=lambda row: row.received_at),
                    two_patients=conflict or group.patients > 1,
                )
            )
        self._looks[study.study_uid] = (study.changes, looks)
        return looks

    def _failed(self, study_uid: str, error: Exception) -> None:
        """Say so, and leave the study alone until something more of it arrives."""
        log_failure(log, f"study {study_uid} cannot be assembled", error)
        text = f"the study cannot be assembled ({type(error).__name__}); the log has the details"
        with self.database.write() as session:
            note_problem(session, "not_assembled", text, study_uid=study_uid)
            session.get_one(Study, study_uid).settled = True

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
        self, look: "_Look", known: Acquisition | None, busy_since: dict[str, float]
    ) -> "_Verdict":
        """What to do about an acquisition now; event None: wait for more images."""
        if (
            known is not None
            and known.state is not AcquisitionState.COLLECTING
            and known.fingerprint == look.fingerprint
        ):
            return _Verdict(look, "unchanged")
        settings = self.config.assemble
        quiet = now() - look.newest.received_at
        # an association that was opened after the last image says nothing about that series
        opened = busy_since.get(look.newest.calling_ae, float("inf"))
        waiting = opened <= look.newest.received_at and quiet < settings.open_association_limit_s
        if look.whole.state == "declared":
            return _Verdict(look, "complete")
        if look.whole.state == "regular" or look.kind.kind is SeriesKind.OTHER:
            is_due = quiet >= settings.quiet_s(look.kind.kind) and not waiting
            return _Verdict(look, "complete" if is_due else None)
        is_due = quiet >= settings.incomplete_after_s and not waiting
        return _Verdict(look, "give_up" if is_due else None)

    def _apply(self, session: Session, study: Study, verdict: "_Verdict") -> None:
        look = verdict.look
        if verdict.event == "unchanged":
            return
        row = self._store(session, study.study_uid, look)
        if verdict.event is None:
            return
        row.state = advance(ACQUISITION, row.state, verdict.event)
        refusal = None
        if look.two_patients:
            refusal = "the study holds images of two patients (two PatientIDs); correct the source"
            note_problem(session, "two_patients", refusal, study_uid=study.study_uid)
        elif verdict.event == "give_up":
            refusal = f"incomplete: {look.whole.reason}"
        if self._too_old(study):
            row.reason = (
                f"kept, not analysed: the study is older than {self.config.node.max_study_age_days}"
                " days (node.max_study_age_days)"
            )
            return
        self._queue(session, row, look, refusal)

    def _store(self, session: Session, study_uid: str, look: "_Look") -> Acquisition:
        row = session.scalars(
            select(Acquisition).where(
                Acquisition.study_uid == study_uid, Acquisition.key == look.group.key
            )
        ).one_or_none()
        if row is None:
            row = Acquisition(
                study_uid=study_uid, key=look.group.key, state=AcquisitionState.COLLECTING
            )
            session.add(row)
        elif row.state is not AcquisitionState.COLLECTING:
            row.state = advance(ACQUISITION, row.state, "late_image")
        row.series_uids = list(look.group.series_uids)
        row.kind = look.kind.kind.value
        row.evidence = list(look.kind.evidence)
        row.slices = look.kind.slices
        row.time_points = look.kind.time_points
        row.expected = look.whole.expected
        row.received = len(look.uids)
        row.reason = "; ".join(filter(None, [look.kind.reason, look.whole.reason]))
        row.fingerprint = look.fingerprint
        row.peer = look.newest.peer
        row.last_received_at = look.newest.received_at
        session.flush()
        return row

    def _queue(
        self, session: Session, row: Acquisition, look: "_Look", refusal: str | None
    ) -> None:
        """Queue what serves this kind; jobs of a kind that it no longer is are superseded."""
        allowed = next((p.pipelines for p in self.config.peers if p.name == row.peer), None)
        serving = [
            name
            for name in self.config.enabled_pipelines()
            if all_pipelines()[name].accepts is look.kind.kind
            and (allowed is None or name in allowed)
        ]
        for job in queue.live_jobs(session, row.study_uid, row.key):
            if job.pipeline not in serving:
                queue.supersede(session, job)
        for name in serving:
            pipeline = all_pipelines()[name]
            parameters = self.config.pipeline_settings(name).model_dump(mode="json")
            job_or_none = queue.create(
                session,
                queue.JobRequest(
                    study_uid=row.study_uid,
                    acquisition_key=row.key,
                    pipeline=name,
                    version=pipeline.version,
                    inputs=look.uids,
                    parameters=parameters,
                    peer=row.peer,
                    priority=pipeline.priority,
                    refusal=refusal,
                    weights=pipeline.weights_sha256(parameters),
                ),
            )
            if job_or_none is not None:
                log.info("job %d: %s on %d images", job_or_none.id, name, len(look.uids))

    def _follow_vanished(
        self, session: Session, known: dict[str, Acquisition], verdicts: list["_Verdict"]
    ) -> None:
        """Acquisitions that merged into others as more images came.

        Their jobs pass to the acquisition that now holds their series, where a new run follows
        them as a revision; jobs that nothing follows are superseded.
        """
        present = {verdict.look.group.key: verdict.look for verdict in verdicts}
        for key, old in known.items():
            if key in present:
                continue
            heir = next(
                (k for k, look in present.items()
                 if set(old.series_uids) <= set(look.group.series_uids)),
                None,
            )  # fmt: skip
            for job in queue.live_jobs(session, old.study_uid, key):
                if heir is None:
                    queue.supersede(session, job)
                else:
                    job.acquisition_key = heir
            session.delete(session.get_one(Acquisition, old.id))
        session.flush()

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
    """What one acquisition is, by its images alone."""

    group: AcquisitionGroup
    kind: Classification
    whole: Completeness
    uids: list[str]
    newest: Instance
    two_patients: bool

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the images, and when they turn out to be of two patients."""
        text = "\n".join([*self.uids, str(self.two_patients)])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class _Verdict:
    """What to do about one acquisition: an event of its state table, ``unchanged``, or None."""

    look: _Look
    event: str | None


def _busy_since(session: Session) -> dict[str, float]:
    """AE titles with an open association, and since when."""
    rows = session.execute(
        select(Association.calling_ae, func.min(Association.opened_at).label("opened_at"))
        .where(Association.closed_at.is_(None))
        .group_by(Association.calling_ae)
    )
    return {row.calling_ae: row.opened_at for row in rows}
