"""One round of sending for one destination; a destination that is down holds up no other."""

import logging

from dicom_node.config import Config, Peer
from dicom_node.errors import SendError
from dicom_node.jobs.database import Database
from dicom_node.jobs.models import OutboxItem
from dicom_node.receive.spool import Spool
from dicom_node.send import outbox
from dicom_node.send.scu import Parcel, send

log = logging.getLogger(__name__)


def send_due(config: Config, database: Database, spool: Spool, peer: Peer) -> int:
    """Send what is due for a destination and return how many objects it took.

    Every answer is kept as it comes. What was not answered is tried again later.
    """
    with database.write() as session:
        items = outbox.claim_batch(session, peer.name, config.send)
    if not items:
        return 0
    items = _with_files(database, spool, items)
    parcels = [
        Parcel(spool.root / item.path, item.sop_class_uid, item.transfer_syntax_uid)
        for item in items
    ]
    open_items = dict(enumerate(items))
    taken = 0
    status, reason = None, "the association ended before the object was answered"
    try:
        for answer in send(config.node.ae_title, peer, parcels, config.node.network_timeout_s):
            item = open_items.pop(answer.index)
            with database.write() as session:
                if answer.event == "retry":
                    error = answer.error or ""
                    outbox.put_back(session, [item], config.send, answer.status, error)
                else:
                    outbox.settle(session, item, answer.event, answer.status, answer.error)
            taken += answer.event == "accepted"
    except SendError as error:
        reason = str(error)
        log.warning("cannot send: %s", error)
    if open_items:
        with database.write() as session:
            outbox.put_back(session, open_items.values(), config.send, status, reason)
    if taken:
        log.info("sent %d objects to %s", taken, peer.name)
    return taken


def _with_files(database: Database, spool: Spool, items: list[OutboxItem]) -> list[OutboxItem]:
    """The items whose file is there; the others are rejected, loudly."""
    missing = [item for item in items if not (spool.root / item.path).is_file()]
    if missing:
        log.error("%d result files are missing in the spool", len(missing))
        with database.write() as session:
            for item in missing:
                outbox.settle(session, item, "rejected", 0, "the file is missing in the spool")
    return [item for item in items if item not in missing]
