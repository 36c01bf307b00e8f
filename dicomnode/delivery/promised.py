"""Tells scanners that asked for storage commitment which of their objects are kept."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicomnode import events, logs
from dicomnode.errors import DeliveryError, StorageError
from dicomnode.jobs import promises

if TYPE_CHECKING:
    from pathlib import Path

    from dicomnode.config import Settings
    from dicomnode.delivery.send import Sender
    from dicomnode.jobs.promises import Promise
    from dicomnode.store.spool import Spool

_LOOK_SECONDS = 1.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 5.0, 900.0
_GIVEN_UP_AFTER_SECONDS = 86400.0
_FAREWELL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Scanner:
    """A scanner as it is called; it speaks TLS where the node does."""

    name: str
    ae_title: str
    host: str
    port: int
    tls: bool
    timeout_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class _Pause:
    """How long a scanner that could not be told is left alone."""

    seconds: float
    until: float


class Promised:
    """Answers what lies in ``promises/``: each on an association of its own, with growing pauses, for a day."""

    def __init__(self, settings: Settings, spool: Spool, sender: Sender, say: events.Sink = logs.write) -> None:
        self.use(settings)
        self._spool = spool
        self._sender = sender
        self._say = say
        self._pauses: dict[str, _Pause] = {}  # by AE title
        self._unread: set[str] = set()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def use(self, settings: Settings) -> None:
        """Know other scanners from the next look on."""
        self._settings = settings

    def start(self) -> None:
        """Look from time to time, in a thread of its own: a scanner may be silent for long."""
        self._stopping = threading.Event()  # a thread that was not waited for to its end goes on hearing its own
        self._thread = threading.Thread(target=self._run, args=(self._stopping,), name="promised", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more; what is not answered yet is answered after the next start."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_FAREWELL_SECONDS)
            self._thread = None

    def turn(self, now: float) -> None:
        """Tell every scanner that waits, but those that could not be told a moment ago."""
        for promise in filter(None, map(self._read, promises.waiting(self._spool))):
            pause = self._pauses.get(promise.calling)
            if not self._stopping.is_set() and (pause is None or now >= pause.until):
                self._tell(promise, now)

    def _read(self, path: Path) -> Promise | None:
        """A request, where it can be read; one that cannot is said once and holds up no other."""
        try:
            return promises.read(path)
        except StorageError as fault:
            if path.name not in self._unread:
                self._unread.add(path.name)
                self._say(events.CommitmentNotHeard("", "", str(fault)))
            return None

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.wait(_LOOK_SECONDS):
            try:
                self.turn(time.monotonic())
            except Exception as fault:  # noqa: BLE001  the edge of a turn
                self._say(events.RoundFailed(fault))

    def _tell(self, promise: Promise, now: float) -> None:
        scanner, uid = self._scanner(promise.calling), promise.request.transaction_uid
        if scanner is None:
            self._give_up(promise, "it has no [[scanner]] port any more")
            return
        report = promises.judge(self._spool, promise.request)
        try:
            self._sender.tell_commitment(scanner, report)
        except DeliveryError as fault:
            self._later(promise, str(fault), now)
            return
        promises.settle(promise)
        self._pauses.pop(promise.calling, None)
        self._say(events.CommitmentGiven(uid, promise.calling, len(report.committed), len(report.failed)))

    def _later(self, promise: Promise, why: str, now: float) -> None:
        if promise.waited >= _GIVEN_UP_AFTER_SECONDS:
            self._give_up(promise, f"given up after a day: {why}")
            return
        before = self._pauses.get(promise.calling)
        seconds = min(before.seconds * 2.0, _LONGEST_PAUSE_SECONDS) if before else _FIRST_PAUSE_SECONDS
        self._pauses[promise.calling] = _Pause(seconds, now + seconds)
        promises.wait(promise, seconds)
        self._say(events.CommitmentNotHeard(promise.request.transaction_uid, promise.calling, why))

    def _give_up(self, promise: Promise, why: str) -> None:
        promises.settle(promise)
        self._say(events.CommitmentNotHeard(promise.request.transaction_uid, promise.calling, why))

    def _scanner(self, ae_title: str) -> _Scanner | None:
        found = self._settings.scanner_of(ae_title)
        if found is None or found.port is None or found.address is None:
            return None
        return _Scanner(ae_title, ae_title, found.address, found.port, self._settings.tls.receive)
