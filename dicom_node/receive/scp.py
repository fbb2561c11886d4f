"""The storage SCP: who may connect, what is accepted, when success is answered.

A C-STORE is answered 0x0000 only when the file and its ledger row would survive a power cut.
"""

import ipaddress
import logging
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.uid import UID
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicom_node.config import Config, Peer
from dicom_node.errors import NodeError, ReceiveError, StorageError
from dicom_node.jobs.database import Database
from dicom_node.log import log_failure
from dicom_node.receive import ledger, transport
from dicom_node.receive.checks import CANNOT_UNDERSTAND, Identity, read_identity, same_object
from dicom_node.receive.spool import Spool, file_sha256

log = logging.getLogger(__name__)

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
_PREAMBLE_AND_GROUP_LENGTH = 144
_REJECTED_PERMANENT = 0x01
_BY_SERVICE_USER = 0x01
_CALLING_AE_NOT_RECOGNISED = 0x03
_NOT_AUTHORISED = 0x0124
_PROCESSING_FAILURE = 0x0110
_SAME_PROBLEM_EVERY_S = 60.0
_IMPLEMENTATION = "STROKENODE"


@dataclass
class _Traffic:
    """What one open association has done so far; ``peer`` is the configured one it comes from."""

    row_id: int
    peer: Peer | None
    stored: int = 0
    refused: int = 0


@dataclass
class Receiver:
    """Accepts associations and keeps what arrives.

    ``start`` returns at once; ``port`` is then the port in use.
    """

    config: Config
    database: Database
    spool: Spool
    _open: dict[int, _Traffic] = field(default_factory=dict)
    _noted: dict[tuple[str, str], float] = field(default_factory=dict)
    _locks: list[threading.Lock] = field(
        default_factory=lambda: [threading.Lock() for _ in range(64)]
    )  # one image may come over two associations at a time
    _server: Any = None

    def start(self) -> None:
        """Listen.

        Raises
        ------
        NodeError
            The port or address cannot be used.
        """
        node = self.config.node
        transport.configure()
        tempfile.tempdir = str(self.spool.tmp)
        with self.database.write() as session:
            ledger.close_stale_associations(session)
        ae = AE(ae_title=node.ae_title)
        ae.require_called_aet = True
        ae.maximum_associations = node.max_associations
        ae.maximum_pdu_size = node.max_pdu_bytes
        ae.network_timeout = node.network_timeout_s
        ae.acse_timeout = min(30.0, node.network_timeout_s)
        ae.dimse_timeout = node.network_timeout_s
        ae.implementation_version_name = _IMPLEMENTATION
        ae.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax or "", ALL_TRANSFER_SYNTAXES)
        kind = transport.server_class(
            node.max_pdu_bytes, node.max_object_mb * 1_000_000, node.network_timeout_s
        )
        try:
            self._server = ae.make_server(
                (node.bind_address, node.port),
                ae_title=node.ae_title,
                contexts=ae.supported_contexts,
                evt_handlers=self._handlers(),
                server_class=kind,
            )
        except OSError as error:
            raise NodeError(
                f"port {node.port} on {node.bind_address} cannot be opened ({error.strerror}); "
                "set node.port and node.bind_address to free ones"
            ) from error
        log.info("listening as %s on %s:%d", node.ae_title, node.bind_address, node.port)

    def serve_forever(self) -> None:
        """Accept associations until :meth:`shutdown` is called from another thread."""
        self._server.serve_forever(poll_interval=0.1)

    def shutdown(self) -> None:
        """Stop accepting associations and end the open ones."""
        self._server.shutdown()
        for association in self._server.active_associations:
            transport.close(association)

    def _handlers(self) -> list[Any]:
        return [
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_ESTABLISHED, self._on_established),
            (evt.EVT_RELEASED, self._on_closed),
            (evt.EVT_ABORTED, self._on_closed),
            (evt.EVT_CONN_CLOSE, self._on_closed),
            (evt.EVT_C_ECHO, lambda _event: SUCCESS),
            (evt.EVT_C_STORE, self._on_store),
        ]

    def _on_requested(self, event: Event) -> None:
        """Refuse strangers; a destination that only receives may still ask for a C-ECHO."""
        calling_ae, address = _calling_ae(event), str(event.assoc.requestor.address)
        if self.config.node.open_to_unknown_peers or self._peer(calling_ae, address):
            return
        event.assoc.acse.send_reject(
            _REJECTED_PERMANENT, _BY_SERVICE_USER, _CALLING_AE_NOT_RECOGNISED
        )
        event.assoc.is_rejected = True
        event.assoc.kill()
        log.warning("refused association: unknown AE at %s", address)
        self._note(
            "unknown_peer",
            f"an association from {address} was refused: no [[peers]] entry has this AE title "
            "and host",
            calling_ae,
        )

    def _on_established(self, event: Event) -> None:
        calling_ae, address = _calling_ae(event), str(event.assoc.requestor.address)
        with self.database.write() as session:
            row_id = ledger.open_association(session, calling_ae, address)
        self._open[id(event.assoc)] = _Traffic(row_id, self._peer(calling_ae, address))

    def _on_closed(self, event: Event) -> None:
        transport.discard_partial(event.assoc)
        traffic = self._open.pop(id(event.assoc), None)
        if traffic is not None:
            with self.database.write() as session:
                ledger.close_association(session, traffic.row_id, traffic.stored, traffic.refused)

    def _on_store(self, event: Event) -> int:
        transport.object_finished(event.assoc)
        traffic = self._open.get(id(event.assoc))
        calling_ae = _calling_ae(event)
        sop_instance = str(getattr(event.request, "AffectedSOPInstanceUID", ""))
        status = self._try_to_keep(event, traffic, calling_ae, sop_instance)
        if traffic is not None:
            traffic.stored += status == SUCCESS
            traffic.refused += status != SUCCESS
        return status

    def _try_to_keep(
        self, event: Event, traffic: _Traffic | None, calling_ae: str, sop_instance: str
    ) -> int:
        """Keep an object; whatever goes wrong, the sender is told and the reason is noted."""
        peer = traffic.peer if traffic else None
        if not self.config.node.open_to_unknown_peers and not (peer and peer.may_send):
            text = "an object was refused: this peer has no may_send = true in [[peers]]"
            self._note("may_not_send", text, calling_ae, sop_instance)
            return _NOT_AUTHORISED
        try:
            self._keep(event, peer, calling_ae, sop_instance)
        except ReceiveError as error:
            log.warning("refused object (%s) from %s: %s", error.code, calling_ae, error)
            self._note(error.code, str(error), calling_ae, sop_instance)
            return error.status
        except (StorageError, OSError) as error:
            log.error("cannot store: %s", error)
            return OUT_OF_RESOURCES
        except Exception as error:  # noqa: BLE001 the sender must hear of it, the log too
            log_failure(log, "cannot handle an object", error)
            text = f"the object cannot be handled ({type(error).__name__})"
            self._note("internal", text, calling_ae, sop_instance)
            return _PROCESSING_FAILURE
        return SUCCESS

    def _keep(self, event: Event, peer: Peer | None, calling_ae: str, sop_instance: str) -> None:
        received: Path = event.dataset_path
        sop_class = str(getattr(event.request, "AffectedSOPClassUID", ""))
        floor = self.config.storage.min_free_gb
        if self.spool.free_gb() < floor:
            raise ReceiveError(
                OUT_OF_RESOURCES, "disk_full",
                f"less than {floor:g} GB free on the spool's disk; free some or lower "
                "storage.min_free_gb",
            )  # fmt: skip
        if UID(event.context.transfer_syntax).is_deflated:
            raise ReceiveError(
                CANNOT_UNDERSTAND, "deflated",
                "a deflated data set can grow a thousandfold in memory and is not taken; send it "
                "with another transfer syntax",
            )  # fmt: skip
        identity = read_identity(received, sop_class, sop_instance)
        with self._locks[hash(sop_instance) % len(self._locks)]:
            self._keep_checked(event, identity, peer, calling_ae)

    def _keep_checked(
        self, event: Event, identity: Identity, peer: Peer | None, calling_ae: str
    ) -> None:
        received, sop_instance = event.dataset_path, identity.sop_instance_uid
        sha256 = file_sha256(received, _dataset_start(received))
        with self.database.read() as session:
            if ledger.is_own_result(session, sop_instance):
                log.info("own result %s came back; ignored", sop_instance)
                return
            earlier = ledger.find_instance(session, sop_instance)
        if earlier is not None and (self.spool.root / earlier.path).is_file():
            if earlier.sha256 != sha256:
                earlier_file = self.spool.root / earlier.path
                self._keep_aside(received, earlier_file, sha256, identity, calling_ae)
            with self.database.write() as session:
                if ledger.touch_study(session, sop_instance, identity.study_uid):
                    return  # still in the ledger: retention did not take it in the meantime
        size = received.stat().st_size
        path = self.spool.keep_instance(received, sop_instance)
        spooled = ledger.SpooledInstance(
            sop_instance_uid=sop_instance,
            sop_class_uid=identity.sop_class_uid,
            series_uid=identity.series_uid,
            study_uid=identity.study_uid,
            study_date=identity.study_date,
            transfer_syntax_uid=str(event.context.transfer_syntax),
            calling_ae=calling_ae,
            peer=peer.name if peer else None,
            path=str(path),
            sha256=sha256,
            size=size,
            patient_key=identity.patient_key,
        )
        with self.database.write() as session:
            ledger.record_instance(session, spooled)

    def _keep_aside(
        self, received: Path, earlier: Path, sha256: str, identity: Identity, calling_ae: str
    ) -> None:
        if same_object(earlier, received):
            log.info("%s came again, encoded differently; ignored", identity.sop_instance_uid)
            return
        path = self.spool.keep_aside(received, sha256)
        log.warning("%s came again with other content", identity.sop_instance_uid)
        with self.database.write() as session:
            ledger.note_problem(
                session,
                "content_differs",
                "an image came again under the same SOP Instance UID with other content; the "
                "first one is used, the second is in quarantine",
                calling_ae=calling_ae,
                study_uid=identity.study_uid,
                sop_instance_uid=identity.sop_instance_uid,
                path=str(path),
            )

    def _note(self, code: str, text: str, calling_ae: str, sop_instance: str | None = None) -> None:
        """Enter a problem; the same one of the same sender at most once a minute."""
        last = self._noted.get((code, calling_ae), float("-inf"))
        repeats = sop_instance is None or code == "disk_full"
        if repeats and time.monotonic() - last < _SAME_PROBLEM_EVERY_S:
            return
        self._noted[code, calling_ae] = time.monotonic()
        uid = sop_instance[:64] if sop_instance else None
        try:
            with self.database.write() as session:
                ledger.note_problem(
                    session, code, text, calling_ae=calling_ae, sop_instance_uid=uid
                )
        except NodeError as error:
            log.error("cannot note a problem: %s", error)

    def _peer(self, calling_ae: str, address: str) -> Peer | None:
        """The configured peer with this AE title and address; one that may send comes first."""
        known = [
            peer
            for peer in self.config.peers
            if peer.ae_title == calling_ae and _same_host(peer, address)
        ]
        return next((peer for peer in known if peer.may_send), known[0] if known else None)


def _same_host(peer: Peer, address: str) -> bool:
    remote = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(remote, ipaddress.IPv6Address) and remote.ipv4_mapped:
        remote = remote.ipv4_mapped
    return any(
        ipaddress.ip_address(known.partition("%")[0]) == remote for known in peer.addresses()
    )


def _calling_ae(event: Event) -> str:
    primitive = event.assoc.requestor.primitive
    title = primitive.calling_ae_title if primitive else event.assoc.requestor.ae_title
    return str(title).strip()


def _dataset_start(path: Path) -> int:
    """Offset of the data set behind preamble and file meta information (PS3.10 7.1)."""
    with path.open("rb") as file:
        file.seek(_PREAMBLE_AND_GROUP_LENGTH - 4)
        return _PREAMBLE_AND_GROUP_LENGTH + int.from_bytes(file.read(4), "little")
