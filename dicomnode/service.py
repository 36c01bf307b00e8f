"""Tells systemd how the service is, in the datagrams of sd_notify(3); where nobody asked, it tells nobody."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicomnode.events import Event

_PATIENCE_SECONDS = 600.0
_FEEDS = 4  # within the time that systemd waits for one


class Service:
    """What systemd knows of this process: whether it is ready, whether it turns, and one line of how it goes.

    ``count`` is a sink of events. A datagram that cannot be sent is not sent: the service works without.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        own = str(os.getpid())
        asked = environment.get("WATCHDOG_USEC", "") if environment.get("WATCHDOG_PID", own) == own else ""
        self._is_watched = bool(asked)
        self.patience_seconds = float(asked) / 1e6 if asked else _PATIENCE_SECONDS  # with a part that does not turn
        self._next_feed = 0.0
        self._is_ready = False
        self._said = ""
        self._counts: Counter[tuple[str, str]] = Counter()

    def count(self, event: Event) -> None:
        """Remember what has happened since the start."""
        self._counts[event.name, event.level] += 1

    def turned(self, now: float, *, ready: bool, how: str) -> None:
        """Every part has turned a moment ago; ``how`` the service is, in a few words without an identity."""
        if ready and not self._is_ready:
            self._is_ready = True
            self._tell("READY=1")
        status = f"{how}; since the start: {self._counted()}"
        if status != self._said:
            self._said = status
            self._tell(f"STATUS={status}")
        if self._is_watched and now >= self._next_feed:
            self._next_feed = now + self.patience_seconds / _FEEDS
            self._tell("WATCHDOG=1")

    def stuck(self, parts: tuple[str, ...]) -> None:
        """Some parts do not turn any more: the watchdog is not fed."""
        self._said = f"does not turn any more: {', '.join(parts)}"
        self._tell(f"STATUS={self._said}")

    def reloading(self) -> None:
        """The configuration is read again; ``reloaded`` ends that."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def reloaded(self) -> None:
        """The configuration was read, and taken or not."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """The service comes to its end."""
        self._tell("STOPPING=1\nSTATUS=stopping")

    def _counted(self) -> str:
        return ", ".join(f"{sum(self._counts[key] for key in keys)} {what}" for what, keys in _COUNTED.items())

    def _tell(self, what: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaking:
            speaking.sendto(what.encode(), self._address)


# By word of the status line: names and levels of events.
_COUNTED = {
    "series complete": [("series_ready", "info")],
    "deliveries done": [("delivery_ended", "info")],
    "delayed": [("delivery_delayed", "warning")],
    "failed": [("delivery_ended", "error"), ("job_failed", "error")],
}
