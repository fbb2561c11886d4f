"""The whole line: scanner, node as processes, PACS."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
)

from dicom_node.jobs.transitions import JobState
from dicom_node.send.outbox import claim_batch
from tests.support.dicom_factory import ctp_datasets, save
from tests.support.node import (
    NODE_AE,
    SCANNER_AE,
    NodeProcess,
    node_document,
    serving,
    small_node,
)
from tests.support.orthanc import Orthanc, orthanc
from tests.support.ports import free_port
from tests.support.scp import ABORT, RecordingSCP
from tests.support.scu import send_datasets, storescu
from tests.support.shared import shared_data


def all_sent(status: dict[str, Any], jobs: int = 1) -> bool:
    """Every job has ended and nothing waits in the outbox."""
    ended = [j for j in status["jobs"] if j["state"] in ("done", "not_analysed", "failed", "dead")]
    waiting = [row for row in status["outbox"] if row["state"] in ("pending", "sending")]
    return len(ended) >= jobs and len(ended) == len(status["jobs"]) and not waiting


def find_images(pacs: Orthanc, study_uid: str) -> list[Dataset]:
    """All objects of a study, by C-FIND at image level for each series."""
    model = StudyRootQueryRetrieveInformationModelFind
    association = AE().associate(
        "127.0.0.1", pacs.dicom_port, contexts=[build_context(model)], ae_title=pacs.aet
    )
    assert association.is_established
    found = []
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    query.StudyInstanceUID = study_uid
    query.SeriesInstanceUID = ""
    series = [answer for _, answer in association.send_c_find(query, model) if answer]
    for item in series:
        query = Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.StudyInstanceUID = study_uid
        query.SeriesInstanceUID = item.SeriesInstanceUID
        query.SOPInstanceUID = ""
        query.SOPClassUID = ""
        found += [answer for _, answer in association.send_c_find(query, model) if answer]
    association.release()
    return found


@shared_data
def test_a_study_comes_back_to_orthanc(tmp_path: Path) -> None:
    """Orthanc as PACS, dcmtk as scanner; the study goes in twice, each result is there once."""
    folder = Path("../shared/data/ctp-sample")
    with (
        orthanc(tmp_path, options={"OverwriteInstances": False}) as pacs,
        RecordingSCP() as counter,
    ):
        destinations = {
            "pacs": (pacs.aet, pacs.dicom_port),
            "counter": (counter.aet, counter.port),
        }
        document = node_document(tmp_path / "spool", destinations)
        with serving(tmp_path, document) as node:
            storescu(folder, node.port, aec=NODE_AE, aet=SCANNER_AE)
            node.wait_for(all_sent, "results", 180)
            first = counter.stored_uids
            storescu(folder, node.port, aec=NODE_AE, aet=SCANNER_AE)
            status = node.wait_for(lambda s: all_sent(s) and not s["associations"], "second round")
        (job,) = status["jobs"]
        assert job["state"] == "done"
        study_uid = job["study_uid"]
        found = find_images(pacs, study_uid)
        assert {image.SOPInstanceUID for image in found} == first
        assert len(found) == len(first)
        assert Counter(item.sop_instance_uid for item in counter.received).most_common(1)[0][1] == 1


def test_results_return_and_are_not_analysed_again(tmp_path: Path) -> None:
    """A PACS that routes everything to the node: own results are recognised and ignored."""
    images = ctp_datasets()
    with RecordingSCP() as pacs:
        document = node_document(tmp_path / "spool", {"pacs": (pacs.aet, pacs.port)})
        with serving(tmp_path, document) as node:
            assert set(send_datasets(images, node.port, aec=NODE_AE, aet=SCANNER_AE)) == {0}
            node.wait_for(all_sent, "results")
            results = [item.dataset for item in pacs.stored]
            assert results
            assert set(send_datasets(results, node.port, aec=NODE_AE, aet=SCANNER_AE)) == {0}
            status = node.wait_for(lambda s: not s["associations"], "end of association")
        assert len(status["jobs"]) == 1
        assert len(status["acquisitions"]) == 1
        assert status["problems"] == []


def test_a_destination_that_is_down_loses_nothing_and_delays_nobody(tmp_path: Path) -> None:
    with RecordingSCP() as pacs, RecordingSCP(start=False) as late:
        destinations = {"pacs": (pacs.aet, pacs.port), "late": (late.aet, late.port)}
        with serving(tmp_path, node_document(tmp_path / "spool", destinations)) as node:
            send_datasets(ctp_datasets(), node.port, aec=NODE_AE, aet=SCANNER_AE)
            node.wait_for(
                lambda s: (
                    any(
                        row["destination"] == "pacs" and row["state"] == "sent"
                        for row in s["outbox"]
                    )
                    and not any(
                        row["destination"] == "pacs" and row["state"] != "sent"
                        for row in s["outbox"]
                    )
                ),
                "results at the PACS that is up",
            )
            assert late.stored == []
            late.up()
            node.wait_for(all_sent, "results at the PACS that was down")
        assert late.stored_uids == pacs.stored_uids


def test_busy_and_refusing_destinations(tmp_path: Path) -> None:
    with RecordingSCP(statuses=[0xA700, 0xB000, 0xC000]) as pacs:
        document = node_document(tmp_path / "spool", {"pacs": (pacs.aet, pacs.port)})
        with serving(tmp_path, document) as node:
            send_datasets(ctp_datasets(), node.port, aec=NODE_AE, aet=SCANNER_AE)
            status = node.wait_for(all_sent, "results")
        states = {row["state"]: row["objects"] for row in status["outbox"]}
        assert states["rejected"] == 1  # 0xC000
        # 0xA700 was tried again, 0xB000 counts as sent
        assert states["sent"] == len(pacs.stored_uids)


def test_a_late_image_supersedes(tmp_path: Path) -> None:
    images = ctp_datasets(time_points=30)
    with RecordingSCP() as pacs:
        document = node_document(tmp_path / "spool", {"pacs": (pacs.aet, pacs.port)})
        with serving(tmp_path, document) as node:
            send_datasets(images[:-4], node.port, aec=NODE_AE, aet=SCANNER_AE)
            node.wait_for(all_sent, "first results")
            before = pacs.stored_uids
            send_datasets(images[-4:], node.port, aec=NODE_AE, aet=SCANNER_AE)
            status = node.wait_for(
                lambda s: len(s["jobs"]) == 2 and s["jobs"][0]["state"] == "done", "second results"
            )
        new, old = status["jobs"]
        assert (new["revision"], old["state"]) == (2, "superseded")
        reports = [i.dataset for i in pacs.stored if i.dataset.Modality == "SR"]
        assert len(reports) == 2
        assert "rev 2" in reports[1].SeriesDescription
        predecessor = reports[1].PredecessorDocumentsSequence[0]
        referenced = predecessor.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        assert referenced.ReferencedSOPInstanceUID == reports[0].SOPInstanceUID
        assert not before & (pacs.stored_uids - before)


def test_a_quiet_timer_waits_for_an_open_association(tmp_path: Path) -> None:
    images = ctp_datasets()
    with RecordingSCP() as pacs:
        document = node_document(tmp_path / "spool", {"pacs": (pacs.aet, pacs.port)})
        with serving(tmp_path, document) as node:
            syntax = images[0].file_meta.TransferSyntaxUID
            context = build_context(images[0].SOPClassUID, syntax)
            association = AE(ae_title=SCANNER_AE).associate(
                "127.0.0.1", node.port, contexts=[context], ae_title=NODE_AE
            )
            half = len(images) // 2
            for image in images[:half]:
                association.send_c_store(image)
            with pytest.raises(AssertionError, match="job"):
                node.wait_for(lambda s: bool(s["jobs"]), "job", 3)
            for image in images[half:]:
                association.send_c_store(image)
            association.release()
            status = node.wait_for(all_sent, "results")
        assert [job["revision"] for job in status["jobs"]] == [1]


def test_a_restarted_node_forgets_nothing(tmp_path: Path) -> None:
    port = free_port()
    node = NodeProcess(tmp_path, node_document(tmp_path / "spool", {"pacs": ("PACS", port)}))
    node.start()
    try:
        send_datasets(ctp_datasets(), node.port, aec=NODE_AE, aet=SCANNER_AE)
        node.wait_for(lambda s: bool(s["outbox"]), "results in the outbox")
        node.stop()
        with RecordingSCP(aet="PACS", port=port) as pacs:
            node.start()
            node.wait_for(all_sent, "results after the restart")
            assert pacs.stored
    finally:
        node.stop()
        node.database.close()


def test_saved_files_are_not_named_after_patients(tmp_path: Path) -> None:
    images = ctp_datasets(patient_name="Very^Secret", patient_id="SECRET-77")
    save(images, tmp_path / "images")
    with RecordingSCP() as pacs:
        document = node_document(
            tmp_path / "spool", {"pacs": (pacs.aet, pacs.port)}, log={"level": "debug"}
        )
        with serving(tmp_path, document) as node:
            storescu(tmp_path / "images", node.port, aec=NODE_AE, aet=SCANNER_AE)
            node.wait_for(all_sent, "results")
            log = node.log()
        names = "\n".join(str(path) for path in (tmp_path / "spool").rglob("*"))
        database = (tmp_path / "spool" / "strokenode.db").read_bytes()
        for secret in ("Very", "Secret", "SECRET-77"):
            assert secret not in log
            assert secret not in names
            assert secret.encode() not in database


def test_one_object_that_breaks_the_association_holds_up_no_other(tmp_path: Path) -> None:
    """A PACS that aborts on reports still gets the maps."""

    def abort_on_reports(dataset: Dataset) -> int:
        return ABORT if dataset.Modality == "SR" else 0x0000

    with (
        RecordingSCP(status=abort_on_reports) as pacs,
        small_node(tmp_path, {"pacs": (pacs.aet, pacs.port)}) as node,
    ):
        node.send(ctp_datasets())
        (job,) = node.settle()
        assert job.record is not None
        assert len(pacs.stored_uids) == len(job.record["outputs"]) - 1
        assert job.state is JobState.WRITTEN


def test_what_a_dead_sender_had_in_hand_goes_out(tmp_path: Path) -> None:
    with RecordingSCP() as pacs, small_node(tmp_path, {"pacs": (pacs.aet, pacs.port)}) as node:
        node.send(ctp_datasets())
        node.assembler.run_due()
        assert node.worker.run_one()
        with node.database.write() as session:
            items = claim_batch(session, "pacs", node.config.send)
        assert items
        (job,) = node.settle()
        assert job.state is JobState.DONE
        assert len(pacs.stored_uids) == len(items)
