"""The storage SCU: several objects per association, one status per object."""

import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicom_node.config import Peer
from dicom_node.errors import SendError
from dicom_node.send.reactor import paused_reactor

log = logging.getLogger(__name__)

_MAX_CONTEXTS = 128
_DUPLICATE = 0x0111
_NO_STATUS = -1
_REFUSED_FOR_GOOD = (0x0122, 0x0117, 0x0118, 0x0119, 0x0124)


@dataclass(frozen=True)
class Parcel:
    """A file to send."""

    path: Path
    sop_class_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True)
class Answer:
    """What became of one parcel.

    ``event`` is ``accepted``, ``rejected`` or ``retry``; ``status`` the C-STORE status, -1 where
    there was none.
    """

    index: int
    event: str
    status: int
    error: str | None


def judge(status: int) -> tuple[str, str | None]:
    """What a C-STORE status means for the object (PS3.4 B.2.3, PS3.7 C)."""
    if status == 0x0000:
        return "accepted", None
    if status >> 8 == 0xB0 or status == 0x0001:
        return "accepted", f"accepted with warning 0x{status:04X}"
    if status == _DUPLICATE:
        return "accepted", "the destination had it already (0x0111)"
    if status >> 8 == 0xA9 or status >> 12 == 0xC or status in _REFUSED_FOR_GOOD:
        return "rejected", f"refused by the destination with 0x{status:04X}"
    return "retry", f"the destination answered 0x{status:04X}"


def send(own_ae: str, peer: Peer, parcels: list[Parcel], timeout_s: float) -> Iterator[Answer]:
    """Send files over one association, yielding an answer per file as it comes.

    Files whose presentation context is refused, or that cannot be read, are ``rejected``. When the
    association breaks, the file in flight is to be tried again and the generator ends: files
    without an answer were not tried.

    Raises
    ------
    SendError
        No association could be had.
    """
    pairs = list(dict.fromkeys((p.sop_class_uid, p.transfer_syntax_uid) for p in parcels))
    offered = pairs[: _MAX_CONTEXTS - 1]
    # Verification keeps the association alive where the peer takes none of the others
    contexts = [build_context(Verification), *(build_context(UID(c), UID(t)) for c, t in offered)]
    association = _ae(own_ae, timeout_s).associate(
        peer.host, peer.port, contexts=contexts, ae_title=peer.ae_title,
        evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay)],
    )  # fmt: skip
    if not association.is_established:
        reason = "it refused the association" if association.is_rejected else "no connection"
        raise SendError(f"{peer.name} ({peer.host}:{peer.port}): {reason}; check it and [[peers]]")
    accepted = {
        (str(context.abstract_syntax), str(context.transfer_syntax[0]))
        for context in association.accepted_contexts
    }
    try:
        with paused_reactor(association):
            for index, parcel in enumerate(parcels):
                pair = (parcel.sop_class_uid, parcel.transfer_syntax_uid)
                if pair in accepted:
                    answer = _send_one(association, index, parcel)
                    yield answer
                    if answer.status == _NO_STATUS and answer.event == "retry":
                        return
                elif pair in offered:
                    yield Answer(index, "rejected", 0x0122, "presentation context refused")
    finally:
        if association.is_established:
            association.release()


def _send_one(association: Association, index: int, parcel: Parcel) -> Answer:
    try:
        status = association.send_c_store(parcel.path)
    except (InvalidDicomError, OSError, ValueError, AttributeError, EOFError) as error:
        return Answer(
            index, "rejected", _NO_STATUS, f"the file cannot be read ({type(error).__name__})"
        )
    except RuntimeError:  # the association has ended
        return Answer(index, "retry", _NO_STATUS, "the association ended")
    if "Status" not in status:
        return Answer(index, "retry", _NO_STATUS, "the association ended before an answer")
    event, error_text = judge(int(status.Status))
    return Answer(index, event, int(status.Status), error_text)


def echo(own_ae: str, peer: Peer, timeout_s: float) -> str | None:
    """C-ECHO a peer; None when it answers, else what went wrong."""
    association = _ae(own_ae, timeout_s).associate(
        peer.host, peer.port, contexts=[build_context(Verification)], ae_title=peer.ae_title
    )
    if not association.is_established:
        return "refused the association" if association.is_rejected else "no connection"
    try:
        status = association.send_c_echo()
        return None if status.get("Status") == 0 else "did not answer C-ECHO with success"
    finally:
        association.release()


def _ae(title: str, timeout_s: float) -> AE:
    _config.LOG_HANDLER_LEVEL = "none"
    _config.STORE_SEND_CHUNKED_DATASET = True  # the bytes of the file, not decoded and encoded
    ae = AE(ae_title=title)
    ae.acse_timeout = timeout_s
    ae.dimse_timeout = timeout_s
    ae.network_timeout = timeout_s
    ae.connection_timeout = min(10.0, timeout_s)
    ae.maximum_pdu_size = 0
    ae.implementation_version_name = "STROKENODE"
    return ae


def _no_delay(event: Event) -> None:
    connection = getattr(event.assoc.dul.socket, "socket", None)
    if connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
