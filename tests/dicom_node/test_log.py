"""The log: where it goes, and what never gets into it."""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node import log as logs
from dicom_node.config import Log
from tests.support.dicom_factory import ctp_datasets, ncct_datasets
from tests.support.node import small_node

TOUCHED = ("", "pydicom", "pynetdicom", "highdicom", "alembic", "py.warnings", "apscheduler")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Give the process its logging back."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    levels = {name: logging.getLogger(name).level for name in TOUCHED}
    yield
    logging.captureWarnings(False)
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_to_a_file_whose_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "node.log"
    logs.configure(Log(file=path))
    logging.getLogger("dicom_node.test").info("job %d: done", 7)
    logging.getLogger("dicom_node.test").debug("too much")
    (line,) = path.read_text(encoding="utf-8").splitlines()
    assert line.endswith("INFO    MainProcess dicom_node.test: job 7: done")


def test_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log(level="error"))
    logging.getLogger("dicom_node.test").warning("not shown")
    logging.getLogger("dicom_node.test").error("shown")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "dicom_node.test: shown" in captured.err
    assert "not shown" not in captured.err


def test_configuring_again_replaces(tmp_path: Path) -> None:
    for name in ("first", "second"):
        logs.configure(Log(file=tmp_path / name))
        (handler,) = logging.getLogger().handlers
        logging.getLogger("dicom_node.test").info("to %s", name)
        handler.close()
    assert (tmp_path / "first").read_text().count("\n") == 1
    assert (tmp_path / "second").read_text().count("\n") == 1


def test_libraries_that_quote_values_are_silent(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    logs.configure(Log(level="debug", file=path))
    for name in (
        "pydicom",
        "pydicom.dataset",
        "pynetdicom",
        "pynetdicom.acse",
        "pynetdicom.dsutils",
    ):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(level, "PatientName Zebra")
    logging.getLogger("highdicom.base").warning("PatientName Zebra")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("Invalid value for PatientName: Zebra", UserWarning, stacklevel=1)
    assert path.read_text() == ""


def test_no_patient_in_the_log_of_a_node(tmp_path: Path) -> None:
    """A study is analysed, one refused, one nonsense: at the finest level no name is written."""
    path = tmp_path / "node.log"
    logs.configure(Log(level="debug", file=path))
    identity = {"patient_id": "SECRET-ID", "patient_name": "Zebra^Quagga"}
    broken = ncct_datasets(patient_id="SECRET-ID", patient_name="Zebra^Quagga")[:1]
    del broken[0].StudyInstanceUID
    with small_node(tmp_path / "spool") as node:
        node.send(ctp_datasets(**identity))  # type: ignore[arg-type]
        node.send(ctp_datasets(**identity, salt="2", drop=[3]))  # type: ignore[arg-type]
        node.send(broken)
        states = [job.state for job in node.settle()]
    assert len(states) == 2
    text = path.read_text(encoding="utf-8")
    assert "job 1: ok" in text
    for value in ("SECRET-ID", "Zebra", "Quagga"):
        assert value not in text
