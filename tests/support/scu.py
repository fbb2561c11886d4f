"""Senders: dcmtk's storescu as a separate process, and pynetdicom in this one."""

import os
import shutil
import subprocess
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydicom import Dataset, dcmread
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from dicom_node.send.reactor import paused_reactor

LOOPBACK = "127.0.0.1"
VERIFICATION = "1.2.840.10008.1.1"


def require_program(name: str) -> str:
    """Return the full path of a program; raise with what to install where it is missing."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        raise RuntimeError(f"{name} not found: install the Debian packages orthanc and dcmtk")
    return path


def peer_environment() -> dict[str, str]:
    """Environment of a started peer: dcmtk and Orthanc stall 40 ms per image with Nagle on."""
    return {**os.environ, "TCP_NODELAY": "1"}


def storescu(
    paths: Path | Sequence[Path],
    port: int,
    *,
    aec: str = "ANY-SCP",
    aet: str = "STORESCU",
    host: str = LOOPBACK,
    options: Sequence[str] = (),
    timeout_s: float = 60,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Send files, or all files below a folder, with dcmtk's storescu on one association.

    ``options`` are more arguments of storescu, for example ``["-xs"]`` for JPEG Lossless. With
    ``check`` a failing storescu raises RuntimeError with its output.
    """
    targets = [paths] if isinstance(paths, Path) else list(paths)
    command = [require_program("storescu"), "+sd", "+r", "-aet", aet, "-aec", aec, *options]
    done = subprocess.run(
        [*command, host, str(port), *map(str, targets)],
        env=peer_environment(), capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    if check and done.returncode != 0:
        raise RuntimeError(f"storescu ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done


def send_datasets(
    datasets: Iterable[Dataset | Path],
    port: int,
    *,
    aec: str = "ANY-SCP",
    aet: str = "TESTSCU",
    host: str = LOOPBACK,
    per_association: int | None = None,
) -> list[int | None]:
    """Send datasets (or files) by pynetdicom and return their C-STORE statuses.

    None stands for no answer: association rejected, context refused, or aborted on the way. A new
    association opens after every ``per_association`` datasets (None: one for all).
    """
    items = [dcmread(item) if isinstance(item, Path) else item for item in datasets]
    size = per_association or max(len(items), 1)
    statuses: list[int | None] = []
    for start in range(0, len(items), size):
        statuses += _send_on_one_association(items[start : start + size], host, port, aec, aet)
    return statuses


def _send_on_one_association(
    items: Sequence[Dataset], host: str, port: int, aec: str, aet: str
) -> list[int | None]:
    wanted = {(str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID)) for ds in items}
    ae = AE(ae_title=aet)
    ae.connection_timeout, ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = 5, 10, 30, 30
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in sorted(wanted)]
    assoc = _associate(ae, host, port, aec, contexts)
    if not assoc.is_established:
        return [None] * len(items)
    statuses: list[int | None] = []
    with paused_reactor(assoc):
        for ds in items:
            try:
                answer = assoc.send_c_store(ds)
            except ValueError:  # this presentation context was refused
                statuses.append(None)
                continue
            if "Status" not in answer:  # aborted, or no answer in time
                break
            statuses.append(int(answer.Status))
    if len(statuses) < len(items):
        assoc.abort()
        return statuses + [None] * (len(items) - len(statuses))
    assoc.release()
    return statuses


def echo(port: int, *, aec: str = "ANY-SCP", aet: str = "TESTSCU", host: str = LOOPBACK) -> bool:
    """Whether the peer answers a C-ECHO with success."""
    ae = AE(ae_title=aet)
    ae.connection_timeout, ae.acse_timeout, ae.dimse_timeout = 2, 5, 5
    assoc = _associate(ae, host, port, aec, [build_context(VERIFICATION)])
    if not assoc.is_established:
        return False
    answer = assoc.send_c_echo()
    assoc.release()
    return "Status" in answer and int(answer.Status) == 0


def _associate(
    ae: AE, host: str, port: int, aec: str, contexts: list[PresentationContext]
) -> Association:
    """Request an association; pynetdicom leaks its socket where nobody listens."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        return ae.associate(host, port, contexts=contexts, ae_title=aec)
