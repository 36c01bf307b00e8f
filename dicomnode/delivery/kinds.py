"""Which carrier serves which kind of destination, where that is not C-STORE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicomnode import events, logs
from dicomnode.delivery.fhir import Fhir
from dicomnode.delivery.hl7 import Mllp
from dicomnode.delivery.stow import Stow
from dicomnode.delivery.web import Web

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicomnode.config import TlsSettings
    from dicomnode.delivery.archive import Archive
    from dicomnode.delivery.carrier import Kind
    from dicomnode.delivery.send import Sender


def carriers(tls: TlsSettings, say: events.Sink = logs.write) -> Mapping[str, Kind]:
    """By kind of destination: what sends to it, and asks it."""
    web = Web(tls, say)
    return {"dicomweb": Stow(web), "hl7": Mllp(tls, say), "fhir": Fhir(web)}


def archives(sender: Sender, carriers: Mapping[str, Kind]) -> Mapping[str, Archive]:
    """By kind of destination: what asks it for objects that it keeps."""
    stow = carriers["dicomweb"]
    return {"dicom": sender} | ({"dicomweb": stow} if isinstance(stow, Stow) else {})
