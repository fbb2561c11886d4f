"""One round of sending for one destination; a destination that is down holds up no other."""

import logging

from sqlalchemy.orm import Session

from dicom_node.config import Config, Peer
from dicom_node.errors import SendError
from dicom_node.jobs.database import Database
from dicom_node.jobs.models import OutboxItem
from dicom_node.receive.ledger import note_problem
from dicom_node.receive.spool import Spool
from dicom_node.send import outbox
from dicom_node.send.scu import Answer, Parcel, send

log = logging.getLogger(__name__)


def send_due(config: Config, database: Database, spool: Spool, peer: Peer) -> int:
    """Send what is due for a destination and return how many objects it took.

    Every answer is kept as it comes. What was not answered is tried again later.
    """
    with database.write() as session:
        items = outbox.claim_batch(session, peer.name, config.send)
    if not items:
        return 0
    untried = {item.id: item for item in items}
    reason = "not tried: an object before it ended the association"
    pause = False
    taken = 0
    try:
        items = _with_files(database, spool, items, untried)
        parcels = [
            Parcel(spool.root / item.path, item.sop_class_uid, item.transfer_syntax_uid)
            for item in items
        ]
        answers = send(config.node.ae_title, peer, parcels, config.node.network_timeout_s)
        for answer in answers if parcels else ():
            item = items[answer.index]
            with database.write() as session:
                _keep(session, config, item, answer)
            del untried[item.id]
            taken += answer.event == "accepted"
    except SendError as error:
        reason, pause = str(error), True
        log.warning("cannot send: %s", error)
    finally:  # whatever went wrong, nothing stays in hand
        if untried:
            with database.write() as session:
                outbox.put_back(session, untried.values(), config.send, None, reason, pause=pause)
    if taken:
        log.info("sent %d objects to %s", taken, peer.name)
    return taken


def _keep(session: Session, config: Config, item: OutboxItem, answer: Answer) -> None:
    """Enter an answer; a refusal for good shows in ``strokenode status``."""
    error = answer.error or ""
    if answer.event == "retry":
        outbox.put_back(session, [item], config.send, answer.status, error, pause=True)
        return
    outbox.settle(session, item, answer.event, answer.status, answer.error)
    if answer.event == "rejected":
        text = f"{item.destination} did not take the {item.role}: {error}"
        note_problem(session, "rejected", text, sop_instance_uid=item.sop_instance_uid)


def _with_files(
    database: Database, spool: Spool, items: list[OutboxItem], untried: dict[int, OutboxItem]
) -> list[OutboxItem]:
    """The items whose file is there; the others are rejected, loudly."""
    missing = [item for item in items if not (spool.root / item.path).is_file()]
    for item in missing:
        with database.write() as session:
            outbox.settle(session, item, "rejected", 0, "the file is missing in the spool")
            note_problem(
                session, "missing_file", f"the {item.role} is no longer in the spool",
                sop_instance_uid=item.sop_instance_uid,
            )  # fmt: skip
        del untried[item.id]
    return [item for item in items if item.id in untried]
