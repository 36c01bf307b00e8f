"""Who may have a connection, and who an association: nobody can take the place of a scanner that is known."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicomnode.intake.wire import hang_up

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dicomnode.config import Settings

_MOST_PENDING = 100  # connections that have not become an association: each lives for seconds
_KEPT_FOR_EACH = 2  # associations that a known scanner gets however many others there are

# Result, source and reason of a rejection (PS3.8 table 9-21).
UNKNOWN_CALLING = (1, 1, 3)
UNKNOWN_CALLED = (1, 1, 7)
NO_PLACE = (2, 3, 2)


@dataclass(eq=False)
class Held:
    """A connection, from its first moment to its end."""

    connection: socket.socket
    address: str
    since: float = field(default_factory=time.monotonic)
    calling: str = ""  # once it is an association


@dataclass(frozen=True)
class Refusal:
    """Why a peer is turned away: for the log, for programs, and as PS3.8 puts it."""

    reason: str
    code: str
    said: tuple[int, int, int]


class Places:
    """The connections and associations of a receiver."""

    def __init__(self, settings: Settings) -> None:
        self.use(settings)
        self._lock = threading.Lock()
        self._pending: set[Held] = set()
        self._associations: set[Held] = set()

    def use(self, settings: Settings) -> None:
        """Let in by these rules from now on; who is in stays."""
        self._receive = settings.receive
        self._ae_title = settings.node.ae_title
        self._scanners = settings.scanner
        self._reporting = {one.ae_title for one in settings.destination if one.storage_commitment != "off"}

    def take(self, held: Held) -> Held | None:
        """Let a connection in; return the one that has to make room for it, if any."""
        with self._lock:
            self._pending.add(held)
            if len(self._pending) <= _MOST_PENDING:
                return None
            crowd = Counter(one.address for one in self._pending)
            # From where most come, the oldest goes first: a scanner speaks within milliseconds.
            leaver = max(self._pending, key=lambda one: (crowd[one.address], -one.since))
            self._pending.discard(leaver)
            return leaver

    def admit(self, held: Held, calling: str, called: str) -> Refusal | None:
        """Make a connection an association, or say why not."""
        refusal = self._unwanted(held.address, calling, called)
        if refusal is not None:
            return refusal
        with self._lock:
            known = any(scanner.ae_title == calling for scanner in self._scanners)
            own = sum(one.calling == calling for one in self._associations)
            if len(self._associations) >= self._receive.maximum_associations and not (known and own < _KEPT_FOR_EACH):
                return Refusal("[receive] maximum_associations are open", "no-place", NO_PLACE)
            held.calling = calling
            self._pending.discard(held)
            self._associations.add(held)
        return None

    def may_send(self, calling: str) -> bool:
        """Whether a peer may do more than report on commitment, as a destination does."""
        return self._receive.accept_any_scanner or any(one.ae_title == calling for one in self._scanners)

    def leave(self, held: Held) -> None:
        """A connection has ended."""
        with self._lock:
            self._pending.discard(held)
            self._associations.discard(held)

    def end_overdue(self) -> None:
        """Hang up on what has not become an association in its time, wherever it hangs."""
        latest = time.monotonic() - self._receive.setup_seconds
        with self._lock:
            overdue = [held for held in self._pending if held.since < latest]
        for held in overdue:
            hang_up(held.connection)

    def everyone(self) -> list[Held]:
        """All that are open."""
        with self._lock:
            return [*self._pending, *self._associations]

    def _unwanted(self, address: str, calling: str, called: str) -> Refusal | None:
        if self._receive.require_called_ae_title and called != self._ae_title:
            reason = f"it called {called!r}, and [node] ae_title is {self._ae_title!r}"
            return Refusal(reason, "unknown-called", UNKNOWN_CALLED)
        allowed = {scanner.address for scanner in self._scanners if scanner.ae_title == calling}
        if not allowed and not self._receive.accept_any_scanner and calling not in self._reporting:
            return Refusal("calling AE title is not in [[scanner]]", "unknown-calling", UNKNOWN_CALLING)
        if allowed and None not in allowed and address not in _resolved(name for name in allowed if name):
            return Refusal("address not allowed", "address", UNKNOWN_CALLING)
        return None


def _resolved(names: Iterable[str]) -> set[str]:
    found = set()
    for name in names:
        try:
            found |= {str(entry[4][0]) for entry in socket.getaddrinfo(name, None)}
        except OSError:
            found.add(name)
    return found
