"""What brings a result to destinations of one kind, whatever it speaks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dicomnode.config import DestinationSettings, TlsSettings

NO_PATIENT = "the images name no patient: nobody could file it"


class Outcome(StrEnum):
    """What became of one object."""

    DELIVERED = "delivered"
    REFUSED = "refused"  # whatever the reason, people may cure it: it is offered again


@dataclass(frozen=True)
class Sent:
    """The outcome for one object and what the destination said; of findings, the UID is that of their message."""

    sop_instance_uid: str
    outcome: Outcome
    reason: str | None = None


class Carrier(Protocol):
    """Sends the files of a result: its objects, or its findings where the kind of destination gets none."""

    def send(self, destination: DestinationSettings, files: list[Path]) -> Iterator[Sent]:
        """Send files, yielding after each; what is refused does not hold back the next.

        Raises Unreachable where nothing was sent, NoAnswer where the destination may or may not have it, NotAllowed,
        Busy.
        """


class Kind(Carrier, Protocol):
    """A carrier that can also ask a destination, before anything is sent, whether it answers."""

    def ask(self, destination: DestinationSettings) -> str:
        """What it says of itself, in a few words for an operator; raises DeliveryError."""

    def use(self, tls: TlsSettings) -> None:
        """Speak TLS with other certificates from the next connection on."""
