"""What every writer is given: the result, its source, the run, and what the series are called."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from pydicom.uid import UID

from dicom_node.write.series import SeriesEntry
from dicom_node.write.source import SourceImages
from dicom_node.write.text import plain, warning_codes
from dicom_node.write.uids import result_uid
from inference.results import PipelineResult

SeriesTable = Mapping[str, SeriesEntry]

_LO_LENGTH = 64


@dataclass(frozen=True)
class Predecessor:
    """The report of the run that this one supersedes."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """Which run made the results.

    Parameters
    ----------
    run_uid : str
        Stored with the job; every UID of the results follows from it.
    software_version : str
        Version of the node.
    created : datetime
        Stored with the job as well, so that writing again gives the same bytes. An aware time is
        converted to the source's TimezoneOffsetFromUTC where it has one; otherwise its own clock
        is written, so give it in the local time of the hospital.
    revision : int
        2 and above: this run supersedes an earlier one.
    predecessor : Predecessor, optional
        The earlier run's report.
    device_serial_number : str
        DeviceSerialNumber of the node.
    """

    run_uid: str
    software_version: str
    created: datetime
    revision: int = 1
    predecessor: Predecessor | None = None
    device_serial_number: str = "1"

    def __post_init__(self) -> None:
        if self.revision < 1:
            raise ValueError(f"revision is {self.revision}, expected 1 or more")


class Series(NamedTuple):
    """One series of results."""

    uid: UID
    number: int
    description: str


@dataclass(frozen=True, eq=False)
class WriteContext:
    """The arguments of one call of :func:`dicom_node.write.results.write_results`."""

    result: PipelineResult
    source: SourceImages
    run: RunIdentity
    table: SeriesTable

    @property
    def created(self) -> datetime:
        """When the results were made, in the time zone that the source's times are in."""
        zone = self.source.timezone
        if zone is None or self.run.created.tzinfo is None:
            return self.run.created
        return self.run.created.astimezone(zone)

    def uid(self, role: str, index: int = 0) -> UID:
        """A UID of this run."""
        return result_uid(self.run.run_uid, role, index)

    def series(self, role: str) -> Series:
        """UID, number and description of a role's series.

        The description says ``MR`` where the source is that, so that results of CT and MR in one
        study can be told apart, ``rev N`` from the second revision on, and lists the warnings. A
        role that is missing from the table gets a number and a name that are the same every time.
        ``ROLE_PIPELINE`` of the table goes before ``ROLE``: several pipelines write reports into
        one study.
        """
        own = self.table.get(f"{role}_{self.result.pipeline}")
        entry = own or self.table.get(role) or _unlisted(role)
        added = " MR" if self.source.modality == "MR" else ""
        added += f" rev {self.run.revision}" if self.run.revision > 1 else ""
        base = plain(entry.description)[: _LO_LENGTH - len(added) - 4].rstrip() + added
        warnings = warning_codes(self.result.warnings, _LO_LENGTH - len(base) - 1)
        description = f"{base} {warnings}".rstrip()
        return Series(self.uid(f"{role}/series"), entry.number, description)


def _unlisted(role: str) -> SeriesEntry:
    number = 9200 + zlib.crc32(role.encode()) % 700
    return SeriesEntry(number=number, description=f"StrokeNode {plain(role)}"[:40])
