"""Asks every destination, before anything is sent, whether it answers and what it would refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydicom.uid import UID

from dicomnode.commitment import PUSH_MODEL
from dicomnode.delivery import kinds
from dicomnode.delivery.archive import GET
from dicomnode.delivery.find import FIND
from dicomnode.delivery.send import Sender
from dicomnode.errors import DeliveryError
from dicomnode.report.instance import KINDS
from dicomnode.report.rejection_note import SOP_CLASS_UID as NOTE

if TYPE_CHECKING:
    from dicomnode.config import DestinationSettings, Settings
    from dicomnode.delivery.carrier import Kind


def check_destinations(settings: Settings) -> list[dict[str, Any]]:
    """C-ECHO and negotiate with each PACS, ask each other destination what its kind can say; one finding each."""
    sender, others = Sender(settings.node.ae_title, settings.tls), kinds.carriers(settings.tls)
    return [
        _ask(others[one.kind], one)
        if one.kind in others
        else _negotiate(sender, one, asked=one.name in settings.trend.ask)
        for one in settings.destination
    ]


def _ask(kind: Kind, destination: DestinationSettings) -> dict[str, Any]:
    try:
        ok, verdict = True, kind.ask(destination)
    except DeliveryError as fault:
        ok, verdict = False, str(fault)
    return {"destination": destination.name, "ok": ok, "verdict": verdict, "refuses": [], "lacks": []}


def _negotiate(sender: Sender, destination: DestinationSettings, *, asked: bool) -> dict[str, Any]:
    wanted = {kind.sop_class_uid for kind in KINDS.values() if kind.product in destination.products}
    services = _services(destination, asked=asked)
    try:
        answers = sender.negotiate(destination, sorted(wanted | services.keys()))
    except DeliveryError as fault:
        return {"destination": destination.name, "ok": False, "verdict": str(fault), "refuses": [], "lacks": []}
    silent = "" if _echoes(sender, destination) else " (it does not answer C-ECHO, which results do not need)"
    refused = {answer.sop_class_uid for answer in answers if not answer.accepted}
    refuses = [UID(one).name for one in sorted(refused & wanted)]
    lacks = [f"{UID(one).name}, which {services[one]} needs" for one in sorted(refused & services.keys())]
    faults = [f"would refuse {', '.join(refuses)}"] if refuses else []
    faults += [f"does not offer {', '.join(lacks)}"] if lacks else []
    verdict = f"answers, but {' and '.join(faults)}" if faults else "answers and would take every product"
    ok = not faults
    return {"destination": destination.name, "ok": ok, "verdict": verdict + silent, "refuses": refuses, "lacks": lacks}


def _services(destination: DestinationSettings, *, asked: bool) -> dict[str, str]:
    """What is asked of a destination beside the storing, by SOP class, and the key that asks for it."""
    commitment = destination.storage_commitment
    query = f'[trend] ask = ["{destination.name}"]'
    return {
        **(dict.fromkeys((FIND, GET), query) if asked else {}),
        **({PUSH_MODEL: f'storage_commitment = "{commitment}"'} if commitment != "off" else {}),
        **({FIND: "read_back = true"} if destination.read_back else {}),
        **({NOTE: "rejection_notes = true"} if destination.rejection_notes else {}),
    }


def _echoes(sender: Sender, destination: DestinationSettings) -> bool:
    try:
        sender.echo(destination)
    except DeliveryError:
        return False
    return True
