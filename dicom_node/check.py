"""``strokenode check``: can the node run as it is configured?"""

from collections.abc import Iterator

from dicom_node.config import Config
from dicom_node.errors import NodeError
from dicom_node.receive.spool import Spool
from dicom_node.send.scu import echo
from inference.errors import WeightsError
from inference.pipelines import all_pipelines
from inference.weights import verify

_ECHO_TIMEOUT_S = 10.0

Check = tuple[str, bool, str]


def run_checks(config: Config, *, echo: bool = True) -> Iterator[Check]:
    """Each check as (name, good, details)."""
    yield "configuration", True, f"{len(config.peers)} peers, AE title {config.node.ae_title}"
    yield _spool(config)
    yield _device(config)
    for name in config.enabled_pipelines():
        yield f"pipeline {name}", True, "enabled"
        yield from _models(config, name)
    if echo:
        for peer in config.destinations():
            yield _echo(config, peer.name)


def _spool(config: Config) -> Check:
    spool = Spool(config.spool)
    try:
        spool.create()
    except NodeError as error:
        return "spool", False, str(error)
    free, floor = spool.free_gb(), config.storage.min_free_gb
    if free < floor:
        return "spool", False, f"{free:.1f} GB free, storage.min_free_gb is {floor:g}: free some"
    return "spool", True, f"{spool.root}, {free:.1f} GB free"


def _device(config: Config) -> Check:
    from dicom_node.jobs.analysis import resolve_device

    try:
        return "device", True, resolve_device(config.device.use)
    except ValueError as error:
        return "device", False, str(error)


def _models(config: Config, name: str) -> Iterator[Check]:
    """The trained models of a pipeline: which they are, or what is wrong with them."""
    pipeline = all_pipelines()[name]
    for folder in pipeline.models(config.pipeline_settings(name)) if pipeline.models else ():
        try:
            manifest = verify(folder)
        except WeightsError as error:
            yield f"weights of {name}", False, str(error)
            continue
        version = f"{manifest.name} {manifest.version}, {manifest.sha256[:12]}…"
        trained_on = manifest.parameters["weights_trained_on"]
        yield f"weights of {name}", True, f"{version}, trained on {trained_on}"


def _echo(config: Config, name: str) -> Check:
    peer = next(peer for peer in config.destinations() if peer.name == name)
    problem = echo(config.node.ae_title, peer, _ECHO_TIMEOUT_S)
    where = f"{peer.ae_title} at {peer.host}:{peer.port}"
    return f"peer {name}", problem is None, f"{where} {problem or 'answers C-ECHO'}"
