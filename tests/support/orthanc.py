"""Debian's Orthanc as a test PACS in a process of its own."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread

from tests.support.ports import free_port
from tests.support.scu import LOOPBACK, echo, peer_environment, require_program


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc: where it listens, and its REST interface."""

    aet: str
    dicom_port: int
    http_port: int
    pid: int
    log: Path

    def rest(self, path: str, data: object = None, method: str | None = None) -> Any:
        """Call the REST interface: GET, or POST ``data`` as JSON; returns the decoded answer."""
        body = self.rest_bytes(path, data, method)
        return json.loads(body) if body else None

    def rest_bytes(self, path: str, data: object = None, method: str | None = None) -> bytes:
        """As :meth:`rest`, without decoding the answer."""
        request = urllib.request.Request(
            f"http://{LOOPBACK}:{self.http_port}/{path.lstrip('/')}",
            data=None if data is None else json.dumps(data).encode(),
            method=method,
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return bytes(answer.read())

    def studies(self) -> list[dict[str, Any]]:
        """All studies with their main tags, as Orthanc describes them."""
        return list(self.rest("studies?expand"))

    def series(self) -> list[dict[str, Any]]:
        """All series with their main tags, as Orthanc describes them."""
        return list(self.rest("series?expand"))

    def instances(self) -> list[dict[str, Any]]:
        """All instances with their main tags, as Orthanc describes them."""
        return list(self.rest("instances?expand"))

    def sop_instance_uids(self, study_uid: str | None = None) -> set[str]:
        """SOP Instance UIDs of all stored instances, or of one study's."""
        if study_uid is None:
            found = self.instances()
        else:
            query = {
                "Level": "Instance",
                "Query": {"StudyInstanceUID": study_uid},
                "Expand": True,
            }
            found = list(self.rest("tools/find", query))
        return {item["MainDicomTags"]["SOPInstanceUID"] for item in found}

    def dataset(self, sop_instance_uid: str) -> Dataset:
        """Download one instance; raise KeyError when it is not stored exactly once."""
        query = {"Level": "Instance", "Query": {"SOPInstanceUID": sop_instance_uid}}
        found = self.rest("tools/find", query)
        if len(found) != 1:
            raise KeyError(f"{len(found)} instances {sop_instance_uid} in the PACS, expected 1")
        return dcmread(BytesIO(self.rest_bytes(f"instances/{found[0]}/file")))

    def wait_for(self, count: int, timeout_s: float = 30) -> list[dict[str, Any]]:
        """Wait until at least ``count`` instances are stored; raise TimeoutError after that."""
        deadline = time.monotonic() + timeout_s
        while len(found := self.instances()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(found)} of {count} instances after {timeout_s} s")
            time.sleep(0.1)
        return found


@contextmanager
def orthanc(
    folder: Path,
    *,
    aet: str = "ORTHANC",
    modalities: Mapping[str, tuple[str, int]] | None = None,
    options: Mapping[str, object] | None = None,
) -> Iterator[Orthanc]:
    """Run Orthanc with its files in ``folder`` and free ports; end it on leaving.

    Parameters
    ----------
    folder : Path
        Existing empty folder (pytest's ``tmp_path``).
    aet : str
        Its AE title.
    modalities : mapping of AE title to (host, port)
        Peers that it may send to (C-MOVE, storage commitment reports).
    options : mapping
        Any entries of Orthanc's configuration, for example ``{"OverwriteInstances": False}``.

    Raises
    ------
    RuntimeError
        Orthanc is missing, ended at start or did not answer a C-ECHO in 20 s.
    """
    program = require_program("Orthanc")
    dicom_port, http_port = free_port(), free_port()
    storage = folder / "orthanc-storage"
    storage.mkdir()
    config = _config(storage, aet, dicom_port, http_port)
    config["DicomModalities"] = {
        name: [name, host, port] for name, (host, port) in (modalities or {}).items()
    }
    config.update(options or {})
    config_file = folder / "orthanc.json"
    config_file.write_text(json.dumps(config))
    log = folder / "orthanc.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, str(config_file)],
            env=peer_environment(), stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        running = Orthanc(aet, dicom_port, http_port, process.pid, log)
        _wait_until_up(running, process)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _config(storage: Path, aet: str, dicom_port: int, http_port: int) -> dict[str, object]:
    return {
        "Name": "TESTPACS",
        "StorageDirectory": str(storage),
        "IndexDirectory": str(storage),
        "DicomAet": aet,
        "DicomPort": dicom_port,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomCheckCalledAet": False,
        "UnknownSopClassAccepted": True,
        "OverwriteInstances": True,
        "SyncStorageArea": False,
        "SaveJobs": False,
        "StableAge": 1,
        "Plugins": [],
    }


def _wait_until_up(running: Orthanc, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        if process.poll() is not None:
            raise RuntimeError(
                f"Orthanc ended with {process.returncode}: {running.log.read_text()[-2000:]}"
            )
        if _answers_http(running) and echo(running.dicom_port, aec=running.aet):
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"Orthanc is not up after 20 s: {running.log.read_text()[-2000:]}")
        time.sleep(0.1)


def _answers_http(running: Orthanc) -> bool:
    try:
        running.rest("system")
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True
