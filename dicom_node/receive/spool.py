"""The spool: folders on one file system, written so that a power cut loses nothing acknowledged."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from dicom_node.errors import StorageError

_PIECE = 1 << 20


class Spool:
    """The folders below the spool's root.

    ``tmp/`` holds what is being received, ``instances/DATE/HASH/`` what was acknowledged,
    ``results/RUN/`` what was computed, ``quarantine/`` what was kept aside, ``compiled/`` networks
    made faster for this machine.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tmp = root / "tmp"
        self.instances = root / "instances"
        self.results = root / "results"
        self.quarantine = root / "quarantine"
        self.compiled = root / "compiled"

    def create(self) -> None:
        """Make the folders and prove that they can be written.

        Raises
        ------
        StorageError
            A folder cannot be made or written.
        """
        try:
            for folder in (self.tmp, self.instances, self.results, self.quarantine):
                folder.mkdir(parents=True, exist_ok=True, mode=0o750)
                probe = folder / f".probe-{os.getpid()}"
                probe.write_bytes(b"")
                probe.unlink()
        except OSError as error:
            raise StorageError(
                f"the spool {self.root} cannot be written ({error.strerror}); "
                "set node.spool to a folder on a local disk that this user may write"
            ) from error

    def sweep(self) -> int:
        """Delete half-written files of an earlier run and return how many; nothing acknowledged."""
        left = [path for path in self.tmp.iterdir() if path.is_file()]
        for path in left:
            path.unlink()
        for folder in self.results.glob("*.part"):
            shutil.rmtree(folder)
        return len(left)

    def free_gb(self) -> float:
        """Free space on the spool's file system in GB."""
        return shutil.disk_usage(self.root).free / 1e9

    def keep_instance(self, received: Path, sop_instance_uid: str) -> Path:
        """Move a received file, synced to disk, to its place and return its relative path."""
        day = datetime.now(UTC).strftime("%Y%m%d")
        digest = hashlib.sha256(sop_instance_uid.encode("ascii")).hexdigest()
        return self._keep(received, self.instances / day / digest[:2] / f"{digest[:40]}.dcm")

    def keep_aside(self, received: Path, sha256: str) -> Path:
        """Move a received file into quarantine and return its relative path."""
        return self._keep(received, self.quarantine / f"{sha256[:40]}.dcm")

    def _keep(self, received: Path, target: Path) -> Path:
        try:
            new_folders = list(_missing_folders(target.parent))
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            sync(received)
            received.replace(target)
            sync(target.parent)
            for folder in new_folders:
                sync(folder.parent)
        except OSError as error:
            raise StorageError(
                f"the spool {self.root} cannot be written ({error.strerror}); check its disk"
            ) from error
        return target.relative_to(self.root)


def sync(path: Path) -> None:
    """Force a file or folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_sha256(path: Path, start: int = 0) -> str:
    """SHA-256 of a file from byte ``start`` on, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(start)
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _missing_folders(folder: Path) -> Iterator[Path]:
    while not folder.exists():
        yield folder
        folder = folder.parent
