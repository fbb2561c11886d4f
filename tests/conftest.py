"""Settings of the whole suite."""

import os

from pynetdicom.transport import AssociationSocket

os.environ.setdefault("OMP_NUM_THREADS", "2")

_shutdown = AssociationSocket._shutdown_socket


def _shutdown_and_close(self: AssociationSocket) -> None:
    """Close the sockets of the tests' own peers also when the other side ended first.

    pynetdicom leaves those to the garbage collector, which the suite counts as an error.
    """
    connection = self.socket
    _shutdown(self)
    if connection is not None:
        connection.close()


AssociationSocket._shutdown_socket = _shutdown_and_close  # type: ignore[method-assign]
