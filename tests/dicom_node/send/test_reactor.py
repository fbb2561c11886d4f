"""No answer is lost to pynetdicom's background thread."""

import inspect
import threading

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicom_node.send.reactor import paused_reactor
from tests.support.scp import RecordingSCP

ROUNDS = 200


def test_private_names_exist() -> None:
    source = inspect.getsource(Association._run_reactor)
    assert "self._reactor_checkpoint.wait()" in source
    assert "self._is_paused = True" in source


def test_every_answer_arrives() -> None:
    """Many short exchanges while other threads keep the interpreter busy."""
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(2000))

    busy = [threading.Thread(target=spin) for _ in range(3)]
    for thread in busy:
        thread.start()
    try:
        with RecordingSCP() as scp:
            ae = AE(ae_title="NODE")
            ae.dimse_timeout = 20
            context = build_context(Verification)
            association = ae.associate("127.0.0.1", scp.port, contexts=[context])
            assert association.is_established
            with paused_reactor(association):
                statuses = [association.send_c_echo().get("Status") for _ in range(ROUNDS)]
            association.release()
            assert association.is_released
            assert statuses == [0x0000] * ROUNDS
    finally:
        stop.set()
        for thread in busy:
            thread.join()


def test_the_thread_ends_with_the_association() -> None:
    with RecordingSCP() as scp:
        context = build_context(Verification)
        association = AE().associate("127.0.0.1", scp.port, contexts=[context])
        with paused_reactor(association):
            assert association.send_c_echo().Status == 0x0000
        association.abort()
        association.join(10)
        assert not association.is_alive()
