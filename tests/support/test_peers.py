"""The peers themselves: what they record, answer and clean up."""

import os
import socket
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.support.dicom_factory import ctp_datasets, save
from tests.support.orthanc import orthanc
from tests.support.ports import free_port
from tests.support.scp import RecordingSCP
from tests.support.scu import echo, require_program, send_datasets, storescu


@pytest.fixture(scope="module")
def images() -> list[Dataset]:
    return ctp_datasets(slices=2, time_points=3)


def test_free_port_can_be_bound() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))


def test_missing_program_is_named() -> None:
    with pytest.raises(RuntimeError, match="no-such-program not found"):
        require_program("no-such-program")


def test_scp_records_what_it_received(images: list[Dataset]) -> None:
    with RecordingSCP() as scp:
        assert echo(scp.port)
        assert send_datasets(images, scp.port, per_association=4) == [0] * 6
        received = scp.wait_for(6)
    assert [item.sop_instance_uid for item in received] == [ds.SOPInstanceUID for ds in images]
    assert [item.association - received[0].association for item in received] == [0] * 4 + [1] * 2
    assert scp.association_count == 3
    assert len({item.sha256 for item in received}) == 6
    assert received[0].dataset == images[0]
    assert received[0].calling_aet == "TESTSCU"
    assert received[0].sop_class_uid == CTImageStorage
    assert received[0].transfer_syntax_uid == ExplicitVRLittleEndian


def test_scp_answers_by_script(images: list[Dataset]) -> None:
    with RecordingSCP(statuses=[0xA700, 0xA700, 0xB000], status=0xC000) as scp:
        statuses = send_datasets(images[:4], scp.port)
    assert statuses == [0xA700, 0xA700, 0xB000, 0xC000]
    assert scp.stored_uids == {images[2].SOPInstanceUID}
    assert len(scp.received) == 4


def test_scp_answers_by_function(images: list[Dataset]) -> None:
    with RecordingSCP(status=lambda ds: 0xA900 if ds.InstanceNumber == 1 else 0) as scp:
        assert send_datasets(images[:2], scp.port) == [0xA900, 0]


def test_scp_aborts_where_told(images: list[Dataset]) -> None:
    with RecordingSCP(abort_at=[1]) as scp:
        assert send_datasets(images[:3], scp.port) == [0, None, None]
        assert send_datasets(images[1:3], scp.port) == [0, 0]
    assert [item.status for item in scp.received] == [0, None, 0, 0]


def test_scp_refuses_classes_and_titles(images: list[Dataset]) -> None:
    with RecordingSCP(reject_sop_classes=[CTImageStorage]) as scp:
        assert send_datasets(images[:1], scp.port) == [None]
    with RecordingSCP(transfer_syntaxes=[ImplicitVRLittleEndian]) as scp:
        assert send_datasets(images[:1], scp.port) == [None]
    with RecordingSCP(aet="RIGHT", require_called_aet=True) as scp:
        assert send_datasets(images[:1], scp.port, aec="WRONG") == [None]
        assert send_datasets(images[:1], scp.port, aec="RIGHT") == [0]


def test_scp_goes_down_and_comes_up(images: list[Dataset]) -> None:
    with RecordingSCP(start=False) as scp:
        assert send_datasets(images[:1], scp.port) == [None]
        scp.up()
        scp.up()
        assert send_datasets(images[:1], scp.port) == [0]
        scp.down()
        assert not echo(scp.port)
        scp.up()
        assert send_datasets(images[1:2], scp.port) == [0]
        with pytest.raises(TimeoutError, match="2 of 3"):
            scp.wait_for(3, timeout_s=0.1)


def test_storescu_sends_a_folder(images: list[Dataset], tmp_path: Path) -> None:
    paths = save(images, tmp_path)
    with RecordingSCP() as scp:
        storescu(tmp_path, scp.port, aet="SENDER")
        storescu(paths[:2], scp.port)
    assert len(scp.stored) == 8
    assert scp.received[0].calling_aet == "SENDER"


def test_storescu_failure_is_told(tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(RuntimeError, match="storescu ended with"):
        storescu(tmp_path, port)
    assert storescu(tmp_path, port, check=False).returncode != 0


def test_orthanc_stores_and_lists(images: list[Dataset], tmp_path: Path) -> None:
    modalities = {"NODE": ("127.0.0.1", free_port())}
    with orthanc(tmp_path, modalities=modalities) as pacs:
        paths = save(images, tmp_path / "images")
        storescu(paths, pacs.dicom_port, aec=pacs.aet)
        assert len(pacs.wait_for(6)) == 6
        assert [item["MainDicomTags"]["StudyInstanceUID"] for item in pacs.studies()] == [
            images[0].StudyInstanceUID
        ]
        assert len(pacs.series()) == 1
        assert pacs.sop_instance_uids() == {ds.SOPInstanceUID for ds in images}
        assert pacs.sop_instance_uids(images[0].StudyInstanceUID) == pacs.sop_instance_uids()
        assert pacs.dataset(images[3].SOPInstanceUID).PixelData == images[3].PixelData
        assert pacs.rest("modalities") == ["NODE"]
        with pytest.raises(KeyError, match="expected 1"):
            pacs.dataset("1.2.3")
        with pytest.raises(TimeoutError, match="6 of 7"):
            pacs.wait_for(7, timeout_s=0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pacs.pid, 0)


def test_orthanc_that_cannot_start_raises(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="Orthanc ended with"),
        orthanc(tmp_path, options={"DicomPort": "not a port"}),
    ):
        pass
