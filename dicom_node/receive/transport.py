"""The receiver's tuning of pynetdicom: the one place that uses its private names.

Pinned to pynetdicom 3.0.4; ``tests/dicom_node/receive/test_transport.py`` fails when the names
used here change.
"""

import socket
from pathlib import Path
from socketserver import TCPServer
from typing import Any

from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.transport import AssociationServer, AssociationSocket, RequestHandler

_ASSOCIATE_REQUEST_LIMIT = 1 << 18
_PIECE = 1 << 18
_QUICK_ACK = getattr(socket, "TCP_QUICKACK", None)


class BoundedSocket(AssociationSocket):
    """A peer's socket that refuses oversized PDUs and objects before memory or disk is spent.

    ``object_bytes`` counts what arrived since the last complete object; whoever stores an object
    sets it back to 0.
    """

    _max_pdu: int
    _max_object: int
    object_bytes: int

    @classmethod
    def adopt(cls, connection: AssociationSocket, max_pdu: int, max_object: int) -> None:
        """Turn a socket that pynetdicom has made into one of this class."""
        connection.__class__ = cls
        assert isinstance(connection, cls)
        connection._max_pdu = max(max_pdu, _ASSOCIATE_REQUEST_LIMIT)
        connection._max_object = max_object
        connection.object_bytes = 0

    def recv(self, nr_bytes: int) -> bytearray:
        """Read ``nr_bytes``, fewer when the peer closes.

        Raises
        ------
        OSError
            The PDU is longer than was negotiated, or the object larger than allowed; pynetdicom
            then drops the association.
        """
        self.object_bytes += nr_bytes
        if nr_bytes > self._max_pdu or self.object_bytes > self._max_object:
            self.close()
            raise OSError(
                f"a PDU of {nr_bytes} bytes in an object of {self.object_bytes}; "
                f"{self._max_pdu} and {self._max_object} are allowed"
            )
        assert self.socket is not None
        received = bytearray(nr_bytes)
        view = memoryview(received)
        filled = 0
        while filled < nr_bytes:
            count = self.socket.recv_into(view[filled : filled + _PIECE])
            if count == 0:
                view.release()
                del received[filled:]
                break
            filled += count
        if _QUICK_ACK is not None:  # a sender with Nagle's algorithm on waits for it
            self.socket.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
        return received

    def _shutdown_socket(self) -> None:
        """Close the socket also when the peer has closed it first, which shutdown() rejects."""
        connection = self.socket
        super()._shutdown_socket()
        if connection is not None:
            connection.close()


def server_class(max_pdu: int, max_object: int, timeout_s: float) -> type[AssociationServer]:
    """An association server whose peers' sockets are bounded and time out."""

    class BoundedHandler(RequestHandler):
        def _create_association(self) -> Association:
            association = super()._create_association()
            connection = self.request
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.settimeout(timeout_s)
            assert association.dul.socket is not None
            BoundedSocket.adopt(association.dul.socket, max_pdu, max_object)
            return association

    class BoundedServer(AssociationServer):
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            keywords["request_handler"] = BoundedHandler
            super().__init__(*arguments, **keywords)
            assert self.socket is not None
            self.socket.listen(64)

        def shutdown(self) -> None:
            """Stop accepting; pynetdicom's own version expects a server that its AE started."""
            TCPServer.shutdown(self)
            self.server_close()

    return BoundedServer


def object_finished(association: Association) -> None:
    """Start counting the next object's bytes."""
    connection = association.dul.socket
    if isinstance(connection, BoundedSocket):
        connection.object_bytes = 0


def discard_partial(association: Association) -> None:
    """Delete the file of an object that was cut off by the end of its association."""
    message = association.dimse.message
    if message is not None and message._data_set_file is not None:
        message._data_set_file.close()
        Path(message._data_set_file.name).unlink(missing_ok=True)


def close(association: Association) -> None:
    """End an association now, also one that has not asked for anything yet."""
    association.abort()
    if association.dul.socket is not None:
        association.dul.socket.close()


def configure() -> None:
    """Set pynetdicom's process-wide switches for the receiver."""
    _config.STORE_RECV_CHUNKED_DATASET = True
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    _config.LOG_HANDLER_LEVEL = "none"
