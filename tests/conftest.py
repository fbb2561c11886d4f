"""Settings of the whole suite."""

import ctypes
import gc
import os
from collections.abc import Iterator

import pytest
from pynetdicom.transport import AssociationSocket

# Two workers of pytest share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

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


@pytest.fixture(scope="module", autouse=True)
def memory_is_given_back(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a module of tests cached is gone after it: heads and scans take gigabytes together."""
    yield
    for value in vars(request.module).values():
        if getattr(value, "__module__", "") == request.module.__name__:
            getattr(value, "cache_clear", lambda: None)()
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _pad: 0)(0)
