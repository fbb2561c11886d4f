"""The names of pynetdicom's inside that the receiver relies on; a new version must pass here."""

import inspect

import pynetdicom
from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dul import DULServiceProvider
from pynetdicom.transport import AssociationServer, AssociationSocket, RequestHandler


def test_the_version_is_the_pinned_one() -> None:
    assert pynetdicom.__version__ == "3.0.4"


def test_switches_exist() -> None:
    for name in (
        "STORE_RECV_CHUNKED_DATASET",
        "STORE_SEND_CHUNKED_DATASET",
        "UNRESTRICTED_STORAGE_SERVICE",
        "LOG_HANDLER_LEVEL",
    ):
        assert hasattr(_config, name)


def test_private_names_exist() -> None:
    assert callable(RequestHandler._create_association)
    assert callable(AssociationSocket._shutdown_socket)
    assert "_data_set_file" in inspect.getsource(DIMSEMessage.__init__)
    assert "request_handler" in inspect.signature(AssociationServer.__init__).parameters
    assert "self.is_rejected" in inspect.getsource(Association.run_reactor)


def test_pdus_are_read_through_the_socket_class() -> None:
    """The bound on PDU lengths works because every byte is read by ``AssociationSocket.recv``."""
    source = inspect.getsource(DULServiceProvider._read_pdu_data)
    assert source.count("self.socket.recv(") == 2
    assert "self.socket.recv(pdu_length)" in source
