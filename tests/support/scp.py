"""A scripted storage SCP that remembers what it received."""

import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from types import TracebackType
from typing import Self

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, _config, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.transport import ThreadedAssociationServer

from tests.support.ports import free_port
from tests.support.scu import LOOPBACK, VERIFICATION


@dataclass(frozen=True)
class Received:
    """One C-STORE request: what came, on which association, and what was answered.

    ``encoded`` is the dataset as it came over the wire, without file meta, and ``sha256`` its
    hash; ``association`` counts from 0; ``status`` is None where the association was aborted.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_aet: str
    association: int
    status: int | None
    encoded: bytes

    @property
    def sha256(self) -> str:
        """SHA-256 of the encoded dataset, hexadecimal."""
        return hashlib.sha256(self.encoded).hexdigest()

    @property
    def is_stored(self) -> bool:
        """Whether it was answered with success or a warning (0xB000 to 0xBFFF)."""
        return self.status is not None and (self.status == 0 or self.status >> 12 == 0xB)

    @property
    def dataset(self) -> Dataset:
        """The received dataset, decoded, with its transfer syntax as file meta."""
        syntax = UID(self.transfer_syntax_uid)
        ds = read_dataset(BytesIO(self.encoded), syntax.is_implicit_VR, syntax.is_little_endian)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = syntax
        return ds


Answer = int | Callable[[Dataset], int]
ABORT = -1  # as a status: abort the association instead of answering


class RecordingSCP:
    """Storage SCP on a free port of 127.0.0.1, listening inside a ``with`` block.

    Parameters
    ----------
    aet : str
        Its AE title.
    statuses : sequence of int
        Answers to the first requests, for example ``[0xA700] * 3``; ``status`` after that.
    status : int or callable
        Answer to every other request; a callable is given the decoded dataset.
    abort_at : iterable of int
        Request numbers, from 0, on which the association is aborted instead of answered.
    reject_sop_classes : iterable of str
        SOP classes whose presentation contexts are refused.
    transfer_syntaxes : sequence of str
        Transfer syntaxes that are accepted; all by default.
    require_called_aet : bool
        Reject associations that call another AE title.
    start : bool
        False: be down until :meth:`up` is called.
    port : int or None
        Port to listen on, None for a free one; it stays the same over :meth:`down` and :meth:`up`.
    """

    def __init__(
        self,
        *,
        aet: str = "RECORDER",
        statuses: Sequence[int] = (),
        status: Answer = 0x0000,
        abort_at: Iterable[int] = (),
        reject_sop_classes: Iterable[str] = (),
        transfer_syntaxes: Sequence[str] = ALL_TRANSFER_SYNTAXES,
        require_called_aet: bool = False,
        start: bool = True,
        port: int | None = None,
    ) -> None:
        self.aet = aet
        self.port = port or free_port()
        self.statuses = list(statuses)
        self.status = status
        self.abort_at = set(abort_at)
        self._start = start
        self._arrived = threading.Condition()
        self._received: list[Received] = []
        self._associations: dict[int, int] = {}
        self._server: ThreadedAssociationServer | None = None
        self._ae = AE(ae_title=aet)
        self._ae.require_called_aet = require_called_aet
        self._ae.supported_contexts = _contexts(set(reject_sop_classes), transfer_syntaxes)
        self._ae.network_timeout = 30

    def __enter__(self) -> Self:
        if self._start:
            self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    def up(self) -> None:
        """Start listening; nothing happens when it listens already."""
        if self._server is None:
            handlers: list[evt.EventHandlerType] = [
                (evt.EVT_ACCEPTED, self._on_accepted),
                (evt.EVT_C_STORE, self._on_store),
            ]
            self._server = self._ae.start_server(
                (LOOPBACK, self.port), block=False, evt_handlers=handlers
            )

    def down(self) -> None:
        """Stop listening and abort open associations, as a crashed peer would."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None
            for assoc in self._ae.active_associations:
                assoc.abort()
                assoc.join(timeout=5)

    @property
    def received(self) -> list[Received]:
        """All requests so far, in order of arrival, whatever was answered."""
        with self._arrived:
            return list(self._received)

    @property
    def stored(self) -> list[Received]:
        """The requests that were answered with success or a warning (0xB000 to 0xBFFF)."""
        return [item for item in self.received if item.is_stored]

    @property
    def stored_uids(self) -> set[str]:
        """SOP Instance UIDs of :attr:`stored`."""
        return {item.sop_instance_uid for item in self.stored}

    @property
    def association_count(self) -> int:
        """Number of associations accepted so far."""
        with self._arrived:
            return len(self._associations)

    def wait_for(self, count: int, timeout_s: float = 10) -> list[Received]:
        """Wait until ``count`` instances are stored and return them; raise TimeoutError after."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._stored_count() >= count, timeout_s):
                raise TimeoutError(
                    f"{self._stored_count()} of {count} instances stored after {timeout_s} s"
                )
        return self.stored

    def _stored_count(self) -> int:
        return sum(item.is_stored for item in self._received)

    def _on_accepted(self, event: evt.Event) -> None:
        with self._arrived:
            self._associations[id(event.assoc)] = len(self._associations)

    def _on_store(self, event: evt.Event) -> int:
        request = event.request
        assert isinstance(request, C_STORE)
        encoded = _encoded(event)
        with self._arrived:
            number = len(self._received)
            aborted = number in self.abort_at
            status = None if aborted else self._answer(event)
            status = None if status == ABORT else status
            self._received.append(
                Received(
                    sop_class_uid=str(request.AffectedSOPClassUID),
                    sop_instance_uid=str(request.AffectedSOPInstanceUID),
                    transfer_syntax_uid=str(event.context.transfer_syntax),
                    calling_aet=str(event.assoc.requestor.ae_title),
                    association=self._associations[id(event.assoc)],
                    status=status,
                    encoded=encoded,
                )
            )
            self._arrived.notify_all()
        if status is None:
            event.assoc.abort()
            return 0x0110
        return status

    def _answer(self, event: evt.Event) -> int:
        if self.statuses:
            return self.statuses.pop(0)
        return self.status if isinstance(self.status, int) else self.status(event.dataset)


def _encoded(event: evt.Event) -> bytes:
    """The dataset's bytes; a receiver in this process makes pynetdicom write them to a file."""
    if not _config.STORE_RECV_CHUNKED_DATASET:
        return event.encoded_dataset(include_meta=False)
    written = event.dataset_path.read_bytes()
    return written[144 + int.from_bytes(written[140:144], "little") :]


def _contexts(rejected: set[str], syntaxes: Sequence[str]) -> list[PresentationContext]:
    accepted = [
        build_context(str(context.abstract_syntax), list(syntaxes))
        for context in AllStoragePresentationContexts
        if context.abstract_syntax not in rejected
    ]
    return [*accepted, build_context(VERIFICATION)]
