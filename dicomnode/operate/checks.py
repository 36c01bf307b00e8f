"""Asks every destination, before anything is sent, whether it answers and what it would refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydicom.uid import UID

from dicomnode.delivery.send import Sender
from dicomnode.errors import DeliveryError
from dicomnode.report.instance import KINDS

if TYPE_CHECKING:
    from dicomnode.config import DestinationSettings, Settings


def check_destinations(settings: Settings) -> list[dict[str, Any]]:
    """C-ECHO and negotiate with each destination; one finding each."""
    sender = Sender(settings.node.ae_title, settings.tls)
    return [_check(sender, destination) for destination in settings.destination]


def _check(sender: Sender, destination: DestinationSettings) -> dict[str, Any]:
    wanted = {kind.sop_class_uid for kind in KINDS.values() if kind.product in destination.products}
    try:
        answers = sender.negotiate(destination, sorted(wanted))
    except DeliveryError as fault:
        return {"destination": destination.name, "ok": False, "verdict": str(fault), "refuses": []}
    silent = "" if _echoes(sender, destination) else " (it does not answer C-ECHO, which results do not need)"
    refuses = [UID(answer.sop_class_uid).name for answer in answers if not answer.accepted]
    verdict = f"answers, but would refuse {', '.join(refuses)}" if refuses else "answers and would take every product"
    return {"destination": destination.name, "ok": not refuses, "verdict": verdict + silent, "refuses": refuses}


def _echoes(sender: Sender, destination: DestinationSettings) -> bool:
    try:
        sender.echo(destination)
    except DeliveryError:
        return False
    return True
