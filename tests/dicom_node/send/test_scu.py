"""The storage SCU and the outbox."""

from pathlib import Path

import pytest
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_node.config import Peer
from dicom_node.errors import SendError
from dicom_node.send.scu import Parcel, echo, judge, send
from tests.support.dicom_factory import ctp_datasets, save
from tests.support.ports import free_port
from tests.support.scp import RecordingSCP


@pytest.fixture(scope="module")
def parcels(tmp_path_factory: pytest.TempPathFactory) -> list[Parcel]:
    images = ctp_datasets(slices=2, matrix=32, time_points=3)
    paths = save(images, tmp_path_factory.mktemp("parcels"))
    return [
        Parcel(path, str(image.SOPClassUID), str(image.file_meta.TransferSyntaxUID))
        for path, image in zip(paths, images, strict=True)
    ]


def peer(scp: RecordingSCP) -> Peer:
    return Peer(name="pacs", ae_title=scp.aet, host="127.0.0.1", port=scp.port, receives=True)


@pytest.mark.parametrize(
    ("status", "event"),
    [
        (0x0000, "accepted"), (0xB000, "accepted"), (0xB006, "accepted"), (0x0111, "accepted"),
        (0xA700, "retry"), (0xA701, "retry"), (0x0110, "retry"), (0x0112, "retry"),
        (0xA900, "rejected"), (0xC000, "rejected"), (0xC123, "rejected"), (0x0122, "rejected"),
    ],
)  # fmt: skip
def test_what_a_status_means(status: int, event: str) -> None:
    assert judge(status)[0] == event


def test_sends_the_bytes_of_the_files(parcels: list[Parcel]) -> None:
    with RecordingSCP() as scp:
        answers = list(send("NODE", peer(scp), parcels, 10))
        assert [a.event for a in answers] == ["accepted"] * len(parcels)
        assert scp.association_count == 1
        for item, parcel in zip(scp.received, parcels, strict=True):
            assert parcel.path.read_bytes().endswith(item.encoded)


def test_a_refused_context_refuses_only_its_objects(parcels: list[Parcel]) -> None:
    other = Parcel(parcels[0].path, SecondaryCaptureImageStorage, parcels[0].transfer_syntax_uid)
    with RecordingSCP(reject_sop_classes=[SecondaryCaptureImageStorage]) as scp:
        answers = list(send("NODE", peer(scp), [other, *parcels], 10))
        assert [a.event for a in answers] == ["rejected"] + ["accepted"] * len(parcels)
        assert answers[0].status == 0x0122


def test_an_abort_leaves_the_rest_unanswered(parcels: list[Parcel]) -> None:
    with RecordingSCP(abort_at=[2]) as scp:
        answers = list(send("NODE", peer(scp), parcels, 10))
        assert [a.event for a in answers] == ["accepted", "accepted", "retry"]


def test_nobody_there(parcels: list[Parcel]) -> None:
    nobody = Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=free_port())
    with pytest.raises(SendError, match="no connection"):
        list(send("NODE", nobody, parcels, 5))
    assert echo("NODE", nobody, 5) == "no connection"


def test_a_peer_that_refuses(parcels: list[Parcel]) -> None:
    with RecordingSCP(require_called_aet=True) as scp:
        stranger = peer(scp).model_copy(update={"ae_title": "SOMEBODY"})
        with pytest.raises(SendError, match="refused"):
            list(send("NODE", stranger, parcels, 5))
        assert echo("NODE", stranger, 5) == "refused the association"


def test_a_file_that_is_gone_or_broken_holds_up_no_other(
    tmp_path: Path, parcels: list[Parcel]
) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"not DICOM")
    kind = parcels[0].sop_class_uid, parcels[0].transfer_syntax_uid
    with RecordingSCP() as scp:
        bad = [Parcel(tmp_path / "gone.dcm", *kind), Parcel(broken, *kind)]
        answers = list(send("NODE", peer(scp), [*bad, *parcels], 5))
        assert [a.event for a in answers] == ["rejected"] * 2 + ["accepted"] * len(parcels)


def test_a_peer_that_takes_none_of_the_classes(parcels: list[Parcel]) -> None:
    """The association stands by Verification, so each object is refused for good, not for ever."""
    with RecordingSCP(reject_sop_classes=[parcels[0].sop_class_uid]) as scp:
        answers = list(send("NODE", peer(scp), parcels, 5))
        assert {(a.event, a.status) for a in answers} == {("rejected", 0x0122)}
