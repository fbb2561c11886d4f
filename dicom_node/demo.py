"""``strokenode demo``: the whole line on one machine, on real DICOM connections.

An embedded PACS, the node and a simulated patient; nothing to configure, all ports are free ones,
everything that was started is stopped again.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.uid import (
    Comprehensive3DSRStorage,
    CTImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context, build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelGet,
)
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dicom_node.config import Config, Device, Node, Peer, Storage
from dicom_node.errors import NodeError
from dicom_node.jobs.database import Database
from dicom_node.send.scu import Parcel, echo, send
from dicom_node.status import collect
from dicom_node.tables import results_table
from inference.pipelines import all_pipelines

_SCANNER, _PACS, _NODE = "SCANNER", "PACS", "STROKENODE"
_START_TIMEOUT_S = 60.0
_RESULT_TIMEOUT_S = 600.0
_RESULT_CLASSES = (
    CTImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    Comprehensive3DSRStorage,
)
_ENDED = ("done", "not_analysed", "failed", "dead")


def run_demo(output: Path, console: Console) -> bool:
    """Run the demonstration and leave its pictures in ``output``; True when all went well.

    Raises
    ------
    NodeError
        A part of it did not start or did not finish in time.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="strokenode-demo-")))
        console.print(
            "1. a simulated stroke patient is scanned: head CT and CT perfusion, occlusion of the "
            "left middle cerebral artery"
        )
        images = _simulate(folder)
        study_uid = str(dcmread(images[0], stop_before_pixels=True).StudyInstanceUID)
        pacs, scanner, settings = _configure(folder)
        console.print(
            f"2. a PACS listens on port {pacs.port}, the node on port {settings.node.port}"
        )
        stack.enter_context(_embedded_pacs(folder, pacs))
        stack.enter_context(_node(folder, settings))
        console.print(f"3. the scanner pushes {len(images)} images to the node by C-STORE")
        _push(scanner, settings, images)
        console.print("4. the node analyses them and sends its results to the PACS")
        records = _wait(settings, console)
        console.print("5. the patient's study, fetched back from the PACS by C-GET:")
        table, pictures = _fetch(pacs, study_uid, output)
        console.print(table, results_table(records), *_without_pipeline(settings))
    console.print("pictures:", *(f"  {path}" for path in pictures), sep="\n")
    seconds = time.monotonic() - started
    console.print(f"done in {seconds:.0f} s; RESEARCH USE ONLY, simulated patient")
    return bool(pictures) and all(record["status"] == "ok" for record in records)


def _simulate(folder: Path) -> list[Path]:
    """Have ``strokenode simulate`` make the patient: it is a command of another package."""
    patient = folder / "patient"
    command = [sys.executable, "-m", "dicom_node.cli", "simulate", "ctp"]
    options = [
        "--output", str(patient), "--seed", "2", "--scanner", "siemens", "--with-ncct",
        "--lesion", "m1", "--side", "left", "--mimics", "none",
        "--matrix", "256", "--slices", "16", "--thickness", "5",
    ]  # fmt: skip
    outcome = subprocess.run([*command, *options], stdout=subprocess.DEVNULL, check=False)
    images = sorted((patient / "dicom").rglob("*.dcm"))
    if outcome.returncode or not images:
        raise NodeError(f"'strokenode simulate' ended with {outcome.returncode} and made no images")
    return images


def _configure(folder: Path) -> tuple[Peer, Peer, Config]:
    pacs_port, node_port = _free_ports(2)
    scanner = Peer(name="scanner", ae_title=_SCANNER, host="127.0.0.1", may_send=True)
    pacs = Peer(name="pacs", ae_title=_PACS, host="127.0.0.1", port=pacs_port, receives=True)
    node = Node(port=node_port, bind_address="127.0.0.1", spool=folder / "spool")
    settings = Config(
        node=node, peers=(scanner, pacs), storage=Storage(min_free_gb=0.5),
        device=Device(compile=False),  # a single study gains nothing from it
    )  # fmt: skip
    (folder / "config.toml").write_text(_as_toml(settings), encoding="utf-8")
    return pacs, scanner, settings


def _as_toml(settings: Config) -> str:
    """The few settings that differ from the defaults; JSON strings are TOML strings."""
    lines = ["[node]"]
    lines += [
        f"port = {settings.node.port}",
        f"bind_address = {json.dumps(settings.node.bind_address)}",
        f"spool = {json.dumps(str(settings.node.spool))}",
        "[storage]",
        f"min_free_gb = {settings.storage.min_free_gb}",
        "[device]",
        f"compile = {json.dumps(settings.device.compile)}",
        "[log]",
        f"file = {json.dumps(str(settings.node.spool.parent / 'node.log'))}",
    ]
    for peer in settings.peers:
        lines += [
            "[[peers]]",
            f"name = {json.dumps(peer.name)}",
            f"ae_title = {json.dumps(peer.ae_title)}",
            f"host = {json.dumps(peer.host)}",
            f"port = {peer.port}",
            f"may_send = {json.dumps(peer.may_send)}",
            f"receives = {json.dumps(peer.receives)}",
        ]
    return "\n".join(lines) + "\n"


@contextmanager
def _embedded_pacs(folder: Path, pacs: Peer) -> Iterator[None]:
    store = folder / "pacs"
    store.mkdir()
    command = [
        sys.executable, "-m", "pynetdicom", "qrscp", "--quiet", "--port", str(pacs.port),
        "--ae-title", pacs.ae_title, "--bind-address", pacs.host, "--max-pdu", "0",
        "--database-location", str(store / "index.sqlite"),
        "--instance-location", str(store / "instances"),
    ]  # fmt: skip
    with _running(command, store, "the embedded PACS", pacs):
        yield


@contextmanager
def _node(folder: Path, settings: Config) -> Iterator[None]:
    command = [sys.executable, "-m", "dicom_node.cli", "serve", "--config", "config.toml"]
    node = settings.node
    own = Peer(name="node", ae_title=node.ae_title, host=node.bind_address, port=node.port)
    with _running(command, folder, "the node", own):
        yield


@contextmanager
def _running(command: list[str], folder: Path, name: str, peer: Peer) -> Iterator[None]:
    """Run a server until the body ends; it is ready when it answers a C-ECHO."""
    log = folder / "server.log"
    with log.open("wb") as sink:
        environment = {**os.environ, "TCP_NODELAY": "1"}
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment
        )
    try:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while echo(_SCANNER, peer, 5.0) is not None:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2000:]
                raise NodeError(f"{name} did not start:\n{tail}")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _push(scanner: Peer, settings: Config, images: list[Path]) -> None:
    node = settings.node
    target = Peer(name="node", ae_title=node.ae_title, host=node.bind_address, port=node.port)
    parcels = []
    for path in images:
        dataset = dcmread(path, stop_before_pixels=True)
        syntax = str(dataset.file_meta.TransferSyntaxUID)
        parcels.append(Parcel(path, str(dataset.SOPClassUID), syntax))
    taken = sum(
        answer.event == "accepted" for answer in send(scanner.ae_title, target, parcels, 60.0)
    )
    if taken != len(images):
        raise NodeError(f"the node took {taken} of {len(images)} images; see its log")


def _wait(settings: Config, console: Console) -> list[dict[str, Any]]:
    """Follow the jobs until their results have left, with a progress bar; what they found."""
    database = Database(settings.database_url)
    deadline = time.monotonic() + _RESULT_TIMEOUT_S
    bar = Progress(
        TextColumn("   {task.description:<28}"), BarColumn(), TimeElapsedColumn(), console=console
    )
    with bar:
        task = bar.add_task("waiting for the last image", total=1.0)
        while time.monotonic() < deadline:
            report = collect(database)
            jobs = report["jobs"]
            waiting = [row for row in report["outbox"] if row["state"] in ("pending", "sending")]
            if jobs and all(job["state"] in _ENDED for job in jobs) and not waiting:
                bar.update(task, completed=1.0, description="results are in the PACS")
                return [job["record"] for job in jobs if job["record"]]
            if jobs:
                sending = jobs[0]["state"] == "written"
                stage = (
                    "send to the PACS" if sending else f"{jobs[0]['pipeline']}: {jobs[0]['stage']}"
                )
                bar.update(task, completed=jobs[0]["fraction"], description=stage)
            time.sleep(0.2)
    raise NodeError(
        f"no results after {_RESULT_TIMEOUT_S:.0f} s; the node's jobs: {report['jobs']}"
    )


def _without_pipeline(settings: Config) -> Iterator[str]:
    """Say which images the node took, and knows what they are, but has no pipeline for."""
    accepted = {pipeline.accepts for pipeline in all_pipelines().values()}
    for found in reversed(collect(Database(settings.database_url))["acquisitions"]):
        if found["kind"] not in accepted:
            yield f"{found['kind']}: {found['received']} images received; no pipeline for them yet"


def _fetch(pacs: Peer, study_uid: str, output: Path) -> tuple[Table, list[Path]]:
    """Fetch the study back from the PACS by C-GET: a table of its series, its pictures as PNG."""
    from PIL import Image

    output.mkdir(parents=True, exist_ok=True)
    for earlier in output.glob("StrokeNode-*.png"):
        earlier.unlink()
    series: Counter[tuple[int, str, str]] = Counter()
    pictures: list[Path] = []

    def keep(event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        description = str(dataset.SeriesDescription)
        series[int(dataset.SeriesNumber), str(dataset.Modality), description] += 1
        if dataset.SOPClassUID == SecondaryCaptureImageStorage:
            name = "".join(c if c.isalnum() else "-" for c in description)
            path = output / f"{name}-{int(dataset.InstanceNumber):03d}.png"
            Image.fromarray(dataset.pixel_array).save(path)
            pictures.append(path)
        return 0x0000

    _c_get(pacs, study_uid, keep)
    table = Table("series", "modality", "description", "objects")
    for (number, modality, description), objects in sorted(series.items()):
        table.add_row(str(number), modality, description, str(objects))
    return table, sorted(pictures)


def _c_get(pacs: Peer, study_uid: str, keep: Callable[[evt.Event], int]) -> None:
    model = StudyRootQueryRetrieveInformationModelGet
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = study_uid
    association = AE(ae_title=_NODE).associate(
        pacs.host, pacs.port, ae_title=pacs.ae_title,
        contexts=[build_context(model), *(build_context(uid) for uid in _RESULT_CLASSES)],
        ext_neg=[build_role(uid, scp_role=True) for uid in _RESULT_CLASSES],
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    )  # fmt: skip
    if not association.is_established:
        raise NodeError("the embedded PACS does not answer a C-GET")
    try:
        for status, _identifier in association.send_c_get(query, model):
            if status.get("Status") not in (0x0000, 0xFF00):
                raise NodeError(f"the embedded PACS answered a C-GET with {status}")
    finally:
        association.release()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [int(item.getsockname()[1]) for item in sockets]
    finally:
        for item in sockets:
            item.close()
