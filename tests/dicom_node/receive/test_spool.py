"""The spool on disk."""

from pathlib import Path

import pytest

from dicom_node.errors import StorageError
from dicom_node.receive.spool import Spool, file_sha256


def test_keeps_by_hash_of_the_uid(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.create()
    received = spool.tmp / "received"
    received.write_bytes(b"image")
    path = spool.keep_instance(received, "1.2.3")
    assert path.parts[0] == "instances"
    assert (spool.root / path).read_bytes() == b"image"
    assert not received.exists()


def test_sweeps_what_was_half_received_or_half_written(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.create()
    (spool.tmp / "half").write_bytes(b"x")
    (spool.results / "1.2.part").mkdir()
    (spool.results / "1.3").mkdir()
    assert spool.sweep() == 1
    assert list(spool.tmp.iterdir()) == []
    assert [folder.name for folder in spool.results.iterdir()] == ["1.3"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(StorageError, match=r"node\.spool"):
        Spool(blocked / "spool").create()


def test_hash_from_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"headbody")
    (tmp_path / "body").write_bytes(b"body")
    assert file_sha256(path, 4) == file_sha256(tmp_path / "body")
