"""Every kind of bad input ends in a clear state, and the next study is analysed as usual.

One table: what is done to a study, what the sender is told, what becomes of it.
"""

import datetime as dt
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import Dataset

from dicom_node.config import Peer
from dicom_node.jobs.models import Job
from dicom_node.send.scu import Parcel, send
from tests.support.dicom_factory import ctp_datasets, save
from tests.support.node import NODE_AE, SCANNER_AE, SmallNode, small_node
from tests.support.scp import RecordingSCP
from tests.support.scu import send_datasets

Statuses = list[int | None]
LOCK_STEP = pytest.mark.filterwarnings("ignore:Invalid value for VR UI")


@dataclass(frozen=True)
class Line:
    """A node with its PACS."""

    node: SmallNode
    pacs: RecordingSCP
    folder: Path

    def send_file(self, path: Path, like: Dataset) -> int:
        """C-STORE the bytes of a file as they are, announced as ``like``."""
        node = self.node.config.node
        peer = Peer(name="node", ae_title=NODE_AE, host="127.0.0.1", port=node.port)
        syntax = str(like.file_meta.TransferSyntaxUID)
        (answer,) = send(SCANNER_AE, peer, [Parcel(path, str(like.SOPClassUID), syntax)], 10.0)
        return answer.status


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("line")
    with (
        RecordingSCP() as pacs,
        small_node(folder / "spool", {"pacs": (pacs.aet, pacs.port)}) as node,
    ):
        yield Line(node, pacs, folder)


def truncated_file(line: Line) -> Statuses:
    image = ctp_datasets(salt="truncated")[0]
    path = save([image], line.folder / "truncated")[0]
    path.write_bytes(path.read_bytes()[:-200])
    return [line.send_file(path, image)]


def not_dicom(line: Line) -> Statuses:
    image = ctp_datasets(salt="noise")[0]
    path = save([image], line.folder / "noise")[0]
    whole = path.read_bytes()
    start = 144 + int.from_bytes(whole[140:144], "little")
    path.write_bytes(whole[:start] + random.Random(1).randbytes(5000))
    return [line.send_file(path, image)]


def wrong_ae(line: Line) -> Statuses:
    image = ctp_datasets(salt="wrong AE")[0]
    return send_datasets([image], line.node.config.node.port, aec="OTHER", aet=SCANNER_AE)


def missing_uids(line: Line) -> Statuses:
    image = deepcopy(ctp_datasets(salt="missing UIDs")[0])
    del image.StudyInstanceUID
    return line.node.send([image])


def path_in_uid(line: Line) -> Statuses:
    image = deepcopy(ctp_datasets(salt="path in UID")[0])
    image.SeriesInstanceUID = "../../../etc/passwd"
    return line.node.send([image])


def zero_length_pixels(line: Line) -> Statuses:
    return line.node.send(ctp_datasets(salt="zero length", zero_length_pixels=[17]))


def images_missing(line: Line) -> Statuses:
    return line.node.send(ctp_datasets(salt="missing images", drop=[13, 46, 81]))


def interleaved(line: Line) -> Statuses:
    one, two = ctp_datasets(salt="one"), ctp_datasets(salt="two", lesion="right")
    return line.node.send([image for pair in zip(one, two, strict=True) for image in pair])


def sent_twice(line: Line) -> Statuses:
    study = ctp_datasets(salt="twice")
    statuses = line.node.send(study)
    line.node.settle()
    return statuses + line.node.send(study)


def any_order(line: Line) -> Statuses:
    study = ctp_datasets(salt="shuffled")
    random.Random(3).shuffle(study)
    return line.node.send(study)


def cut_off(line: Line) -> Statuses:
    return line.node.send(ctp_datasets(salt="cut", keep_time_points=10))


def no_contrast(line: Line) -> Statuses:
    return line.node.send(ctp_datasets(salt="no contrast", no_contrast=True))


def all_air(line: Line) -> Statuses:
    return line.node.send(ctp_datasets(salt="all air", all_air=True))


def without_type_2(line: Line) -> Statuses:
    absent = ["PatientBirthDate", "PatientSex", "ReferringPhysicianName", "AccessionNumber",
              "StudyID", "PatientName", "PositionReferenceIndicator"]  # fmt: skip
    return line.node.send(ctp_datasets(salt="type 2", remove=absent))


def japanese(line: Line) -> Statuses:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    charset = "\\ISO 2022 IR 87"
    return line.node.send(ctp_datasets(salt="ja", patient_name=name, character_set=charset))


def arabic(line: Line) -> Statuses:
    name = "قباني^لنزار"
    return line.node.send(ctp_datasets(salt="ar", patient_name=name, character_set="ISO_IR 127"))


def time_zone(line: Line) -> Statuses:
    return line.node.send(ctp_datasets(salt="zone", timezone="+0930"))


def midnight(line: Line) -> Statuses:
    start = dt.datetime(2026, 1, 15, 23, 59, 45)
    return line.node.send(ctp_datasets(salt="midnight", start=start))


def two_patients(line: Line) -> Statuses:
    study = ctp_datasets(salt="two patients")
    half = len(study) // 2
    for image in study[half:]:
        image.PatientID = "ANOTHER"
    return line.node.send(study)


@dataclass(frozen=True)
class Case:
    """What is done, what the sender is told, how the new jobs end, and what is noted."""

    do: Callable[[Line], Statuses]
    status: int | None = 0x0000
    states: tuple[str, ...] = ("done",)
    reason: str = ""
    problem: str | None = None
    marks: tuple[pytest.MarkDecorator, ...] = ()


CASES = [
    Case(truncated_file, 0xC000, (), problem="undecodable"),
    Case(not_dicom, 0xC000, (), problem="undecodable"),
    Case(wrong_ae, None, ()),
    Case(missing_uids, 0xA900, (), problem="missing_uid"),
    Case(path_in_uid, 0xA900, (), problem="invalid_uid", marks=(LOCK_STEP,)),
    Case(zero_length_pixels, states=("not_analysed",), reason="pixel"),
    Case(images_missing, states=("not_analysed",), reason="3 of 112 images"),
    Case(interleaved, states=("done", "done")),
    Case(sent_twice),
    Case(any_order),
    Case(cut_off, states=("not_analysed",), reason="bolus"),
    Case(no_contrast, states=("not_analysed",), reason="contrast"),
    Case(all_air, states=("not_analysed",), reason="head"),
    Case(without_type_2),
    Case(japanese),
    Case(arabic),
    Case(time_zone),
    Case(midnight),
    Case(two_patients, states=("not_analysed",), reason="two patients", problem="two_patients"),
]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.do.__name__, marks=case.marks) for case in CASES]
)
def test_bad_input(line: Line, case: Case) -> None:
    before = {job.id for job in line.node.settle()}
    problems = len(line.node.problems())
    statuses = case.do(line)
    assert set(statuses) == {case.status}
    jobs = [job for job in line.node.settle() if job.id not in before]
    assert tuple(job.state for job in jobs) == case.states
    for job in jobs:
        check_reader_is_told(line, job, case.reason)
    new = line.node.problems()[problems:]
    assert new == ([case.problem] if case.problem else [])
    good = ctp_datasets(salt=f"after {case.do.__name__}")
    assert set(line.node.send(good)) == {0}
    assert line.node.settle()[-1].state == "done"
    assert list(line.node.spool.tmp.iterdir()) == []


def check_reader_is_told(line: Line, job: Job, reason: str) -> None:
    """The report is in the PACS, in the patient's study, and says what became of it."""
    assert job.record is not None
    assert reason.lower() in str(job.record["reason"]).lower()
    (output,) = [o for o in job.record["outputs"] if o["role"] == "report"]
    (item,) = [i for i in line.pacs.stored if i.sop_instance_uid == output["sop_instance_uid"]]
    report = item.dataset
    assert report.StudyInstanceUID == job.study_uid
    text = str(report)
    if job.state == "done":
        assert "Analysed" in text
    else:
        assert "Not analysed" in text
        assert len(job.record["outputs"]) == 1


@pytest.mark.parametrize(
    ("send_study", "written"),
    [(japanese, "山田"), (arabic, "قباني")],
)
def test_names_survive_to_the_pacs(
    line: Line, send_study: Callable[[Line], Statuses], written: str
) -> None:
    send_study(line)
    jobs = line.node.settle()
    names = {
        str(item.dataset.PatientName)
        for item in line.pacs.stored
        if item.dataset.StudyInstanceUID in {job.study_uid for job in jobs}
    }
    assert any(written in name for name in names)
