"""Keep pynetdicom's background thread off the answers while objects are sent.

The thread of a requested association also takes messages from its queue. pynetdicom pauses it for
each request, but takes it for paused a moment too early: an answer that comes at once may then be
taken by the thread and thrown away, and the sender waits for it until the DIMSE timeout. Pausing
once, for the whole association, and waiting until the pause has settled closes that gap. Uses
private names of pynetdicom 3.0.4, guarded by ``tests/dicom_node/send/test_reactor.py``.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pynetdicom.association import Association

_SETTLED_S = 0.02
_POLL_S = 0.001


class _Held(threading.Event):
    """An event that stays unset whatever pynetdicom does with it."""

    def set(self) -> None:
        """Do nothing: the thread goes on when the pause ends, not before."""


@contextmanager
def paused_reactor(association: Association) -> Iterator[None]:
    """Pause the association's background thread while the body runs."""
    checkpoint = association._reactor_checkpoint
    checkpoint.clear()
    since = time.monotonic()
    while time.monotonic() - since < _SETTLED_S and association.is_alive():
        if not association._is_paused:
            since = time.monotonic()
        time.sleep(_POLL_S)
    association._reactor_checkpoint = _Held()
    try:
        yield
    finally:
        association._reactor_checkpoint = checkpoint
        checkpoint.set()
