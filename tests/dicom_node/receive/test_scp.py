"""The receiver, with real associations."""

import socket
import threading
import time
from copy import deepcopy
from pathlib import Path
from typing import TypeVar

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1
from sqlalchemy import select

from dicom_node.config import Config
from dicom_node.errors import StorageError
from dicom_node.jobs.database import Database
from dicom_node.jobs.models import Association, Instance, Problem, Study
from dicom_node.receive import scp
from dicom_node.receive.spool import file_sha256
from tests.support.dicom_factory import ctp_datasets, save
from tests.support.node import NODE_AE, SCANNER_AE, node_config, receiving
from tests.support.scu import echo, send_datasets, storescu

Row = TypeVar("Row")


@pytest.fixture(scope="module")
def images() -> list[Dataset]:
    return ctp_datasets(slices=2, matrix=32, time_points=3)


def send(config: Config, datasets: list[Dataset], **options: str) -> list[int | None]:
    titles = {"aec": NODE_AE, "aet": SCANNER_AE, **options}
    return send_datasets(datasets, config.node.port, **titles)  # type: ignore[arg-type]


def rows(database: Database, table: type[Row]) -> list[Row]:
    with database.read() as session:
        return list(session.scalars(select(table)))


def test_keeps_what_it_acknowledges(tmp_path: Path, images: list[Dataset]) -> None:
    config = node_config(tmp_path)
    with receiving(config) as (_, database, spool):
        assert echo(config.node.port, aec=NODE_AE, aet=SCANNER_AE)
        assert send(config, images) == [0] * len(images)
        kept = rows(database, Instance)
        assert len(kept) == len(images)
        for row in kept:
            path = spool.root / row.path
            original = next(i for i in images if i.SOPInstanceUID == row.sop_instance_uid)
            assert dcmread(path).PixelData == original.PixelData
            assert (row.calling_ae, row.peer) == (SCANNER_AE, "scanner")
        study = rows(database, Study)[0]
        assert study.changes == len(images)
        assert not study.settled
        assert list(spool.tmp.iterdir()) == []


def test_closes_the_books_on_an_association(tmp_path: Path, images: list[Dataset]) -> None:
    config = node_config(tmp_path)
    with receiving(config) as (_, database, _spool):
        send(config, images[:2])
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            row = rows(database, Association)[-1]
            if row.closed_at is not None:
                break
            time.sleep(0.02)
        assert row.closed_at is not None
        assert (row.stored, row.refused) == (2, 0)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, JPEGLosslessSV1])
def test_takes_other_transfer_syntaxes(tmp_path: Path, syntax: str) -> None:
    config = node_config(tmp_path)
    encoded = ctp_datasets(slices=1, matrix=32, time_points=2, transfer_syntax=syntax)
    with receiving(config) as (_, database, _spool):
        assert send(config, encoded) == [0, 0]
        assert {row.transfer_syntax_uid for row in rows(database, Instance)} == {syntax}


def test_dcmtk_can_send(tmp_path: Path, images: list[Dataset]) -> None:
    config = node_config(tmp_path / "spool")
    save(images, tmp_path / "images")
    with receiving(config) as (_, database, _spool):
        storescu(tmp_path / "images", config.node.port, aec=NODE_AE, aet=SCANNER_AE)
        assert len(rows(database, Instance)) == len(images)


def test_the_same_image_again_is_success_and_not_duplicated(
    tmp_path: Path, images: list[Dataset]
) -> None:
    config = node_config(tmp_path)
    with receiving(config) as (_, database, spool):
        assert send(config, images[:1] * 3) == [0, 0, 0]
        assert len(rows(database, Instance)) == 1
        assert rows(database, Problem) == []
        assert list(spool.quarantine.iterdir()) == []


def test_other_content_under_the_same_uid_is_kept_aside(
    tmp_path: Path, images: list[Dataset]
) -> None:
    changed = deepcopy(images[0])
    changed.PixelData = bytes(len(images[0].PixelData))
    config = node_config(tmp_path)
    with receiving(config) as (_, database, spool):
        assert send(config, [images[0], changed]) == [0, 0]
        row = rows(database, Instance)[0]
        assert dcmread(spool.root / row.path).PixelData == images[0].PixelData
        (problem,) = rows(database, Problem)
        assert problem.code == "content_differs"
        assert problem.path is not None
        assert dcmread(spool.root / problem.path).PixelData == changed.PixelData


def test_a_recompressed_duplicate_is_no_alarm(tmp_path: Path) -> None:
    plain = ctp_datasets(slices=1, matrix=32, time_points=1)
    packed = ctp_datasets(slices=1, matrix=32, time_points=1, transfer_syntax=JPEGLosslessSV1)
    assert plain[0].SOPInstanceUID == packed[0].SOPInstanceUID
    config = node_config(tmp_path)
    with receiving(config) as (_, database, _spool):
        assert send(config, [*plain, *packed]) == [0, 0]
        assert len(rows(database, Instance)) == 1
        assert rows(database, Problem) == []


@pytest.mark.parametrize(
    ("titles", "why"),
    [({"aec": "SOMEBODY"}, "called AE"), ({"aet": "STRANGER"}, "calling AE")],
)
def test_refuses_wrong_titles(
    tmp_path: Path, images: list[Dataset], titles: dict[str, str], why: str
) -> None:
    config = node_config(tmp_path)
    with receiving(config) as (_, database, _spool):
        assert send(config, images[:1], **titles) == [None], why
        assert rows(database, Instance) == []
        assert send(config, images[:1]) == [0]


def test_refuses_a_known_title_from_another_address(tmp_path: Path, images: list[Dataset]) -> None:
    document = node_config(tmp_path).model_dump(mode="json")
    document["peers"][0]["host"] = "192.0.2.1"
    config = Config.model_validate(document)
    with receiving(config) as (_, database, _spool):
        assert send(config, images[:1]) == [None]
        deadline = time.monotonic() + 5
        while not rows(database, Problem) and time.monotonic() < deadline:
            time.sleep(0.02)
        (problem,) = rows(database, Problem)
        assert problem.code == "unknown_peer"


def test_open_nodes_take_images_from_anybody(tmp_path: Path, images: list[Dataset]) -> None:
    config = node_config(tmp_path, node={"open_to_unknown_peers": True})
    with receiving(config) as (_, database, _spool):
        assert send(config, images[:1], aet="STRANGER") == [0]
        row = rows(database, Instance)[0]
        assert (row.calling_ae, row.peer) == ("STRANGER", None)


def test_a_full_disk_is_out_of_resources(tmp_path: Path, images: list[Dataset]) -> None:
    config = node_config(tmp_path, storage={"min_free_gb": 100000})
    with receiving(config) as (_, database, spool):
        assert send(config, images[:1]) == [0xA700]
        assert rows(database, Instance) == []
        assert [p for p in spool.instances.rglob("*") if p.is_file()] == []
        assert list(spool.tmp.iterdir()) == []


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_refuses_missing_uids(tmp_path: Path, images: list[Dataset], keyword: str) -> None:
    broken = deepcopy(images[0])
    delattr(broken, keyword)
    config = node_config(tmp_path)
    with receiving(config) as (_, database, _spool):
        assert send(config, [broken, images[1]]) == [0xA900, 0]
        (problem,) = rows(database, Problem)
        assert problem.code == "missing_uid"
        assert keyword in problem.text


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_refuses_uids_with_path_characters(tmp_path: Path, images: list[Dataset]) -> None:
    broken = deepcopy(images[0])
    broken.StudyInstanceUID = "1.2/../../etc"
    config = node_config(tmp_path)
    with receiving(config) as (_, database, _spool):
        assert send(config, [broken, images[1]]) == [0xA900, 0]
        assert len(rows(database, Instance)) == 1


def test_refuses_truncated_pixels(tmp_path: Path, images: list[Dataset]) -> None:
    config = node_config(tmp_path)
    with receiving(config) as (_, database, _spool):
        truncated = save(images[:1], tmp_path / "whole")[0].read_bytes()[:-100]
        path = tmp_path / "truncated.dcm"
        path.write_bytes(truncated)
        assert _send_raw(config, path, images[0]) == 0xC000
        (problem,) = rows(database, Problem)
        assert problem.code == "undecodable"
        assert send(config, images[:1]) == [0]


def _send_raw(config: Config, path: Path, image: Dataset) -> int:
    """C-STORE a file's bytes as they are."""
    from dicom_node.config import Peer
    from dicom_node.send.scu import Parcel
    from dicom_node.send.scu import send as send_files

    peer = Peer(name="node", ae_title=NODE_AE, host="127.0.0.1", port=config.node.port)
    syntax = str(image.file_meta.TransferSyntaxUID)
    (answer,) = send_files(SCANNER_AE, peer, [Parcel(path, str(image.SOPClassUID), syntax)], 10)
    return answer.status


def test_an_oversized_object_is_dropped_before_the_disk_fills(tmp_path: Path) -> None:
    config = node_config(tmp_path, node={"max_object_mb": 1})
    big = ctp_datasets(slices=1, matrix=32, time_points=1)[0]
    big.Rows = big.Columns = 1024
    big.PixelData = bytes(2 * 1024 * 1024)
    with receiving(config) as (_, database, spool):
        assert send(config, [big]) == [None]
        assert rows(database, Instance) == []
        deadline = time.monotonic() + 5
        while list(spool.tmp.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert sum(path.stat().st_size for path in spool.tmp.iterdir()) < 2_000_000


def test_an_oversized_pdu_ends_the_connection(tmp_path: Path, images: list[Dataset]) -> None:
    config = node_config(tmp_path)
    with receiving(config):
        with socket.create_connection(("127.0.0.1", config.node.port), timeout=10) as peer:
            peer.sendall(b"\x01\x00\xff\xff\xff\xf0")
            try:
                answer = peer.recv(64)
            except ConnectionResetError:
                answer = b""
            assert answer == b""
        assert send(config, images[:1]) == [0]


def test_noise_on_the_port_does_not_disturb_others(tmp_path: Path, images: list[Dataset]) -> None:
    config = node_config(tmp_path)
    with receiving(config) as (_, database, _spool):
        idle = socket.create_connection(("127.0.0.1", config.node.port), timeout=10)
        with socket.create_connection(("127.0.0.1", config.node.port), timeout=10) as peer:
            peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert send(config, images) == [0] * len(images)
        idle.close()
        assert len(rows(database, Instance)) == len(images)


def test_two_scanners_at_once(tmp_path: Path) -> None:

    config = node_config(tmp_path)
    studies = [ctp_datasets(slices=2, matrix=32, time_points=4, salt=s) for s in "ab"]
    with receiving(config) as (_, database, _spool):
        answers: list[list[int | None]] = []
        threads = [
            threading.Thread(target=lambda s=study: answers.append(send(config, s)))
            for study in studies
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [[0] * 8, [0] * 8]
        assert len(rows(database, Study)) == 2


def test_the_hash_covers_the_data_set_alone(tmp_path: Path, images: list[Dataset]) -> None:
    config = node_config(tmp_path / "spool")
    with receiving(config) as (_, database, spool):
        send(config, images[:1])
        row = rows(database, Instance)[0]
        with (spool.root / row.path).open("rb") as file:
            data = file.read()
        length = int.from_bytes(data[140:144], "little")
        assert row.sha256 == file_sha256(spool.root / row.path, 144 + length)


def test_a_destination_may_echo_but_not_send(tmp_path: Path, images: list[Dataset]) -> None:
    config = node_config(tmp_path, {"pacs": ("PACS", 104)})
    with receiving(config) as (_, database, _spool):
        assert echo(config.node.port, aec=NODE_AE, aet="PACS")
        assert send(config, images[:1], aet="PACS") == [0x0124]
        assert rows(database, Instance) == []


def test_deflated_data_sets_are_not_taken(tmp_path: Path, images: list[Dataset]) -> None:
    """They can grow a thousandfold in memory."""
    deflated = deepcopy(images[0])
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    config = node_config(tmp_path)
    with receiving(config) as (_, database, _spool):
        assert send(config, [deflated]) == [0xC000]
        assert rows(database, Instance) == []
        assert [problem.code for problem in rows(database, Problem)] == ["deflated"]


def test_an_image_whose_file_was_lost_is_taken_again(tmp_path: Path, images: list[Dataset]) -> None:
    config = node_config(tmp_path)
    with receiving(config) as (_, database, spool):
        send(config, images[:1])
        (spool.root / rows(database, Instance)[0].path).unlink()
        assert send(config, images[:1]) == [0]
        (row,) = rows(database, Instance)
        assert dcmread(spool.root / row.path).PixelData == images[0].PixelData
        assert rows(database, Study)[0].changes == 2


def test_trouble_of_any_kind_is_told_and_noted(
    tmp_path: Path, images: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise RecursionError

    config = node_config(tmp_path)
    with receiving(config) as (_, database, _spool), monkeypatch.context() as patch:
        patch.setattr(scp, "file_sha256", broken)
        assert send(config, images[:1]) == [0x0110]
        patch.setattr(scp, "file_sha256", _locked)
        assert send(config, images[:1]) == [0xA700]
        assert [problem.code for problem in rows(database, Problem)] == ["internal"]


def _locked(*_arguments: object) -> None:
    raise StorageError("the database is locked")
