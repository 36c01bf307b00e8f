"""Messages that are written down first and sent by a thread until they are taken, also after a restart."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dicomnode.errors import NodeError
from dicomnode.store.durable import make_folder, write_durably

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class NotTaken(NodeError):
    """Nobody takes messages now; they are sent again."""


class Outbox:
    """A folder of messages, the oldest sent first.

    ``take`` sends one and raises NotTaken; ``away`` is told why when that begins. ``pause_seconds`` lie between trials.
    """

    def __init__(
        self, folder: Path, take: Callable[[bytes], None], away: Callable[[str], None], *, pause_seconds: float
    ) -> None:
        self._folder = folder
        self._take = take
        self._tell = away
        self._pause = pause_seconds
        self._due, self._hurried, self._stop = threading.Event(), threading.Event(), threading.Event()
        self._is_away = self._abandoned = False
        self._thread: threading.Thread | None = None

    def put(self, message: bytes) -> None:
        """Write a message down; raises StorageError, OSError where that cannot be."""
        make_folder(self._folder)
        name = f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%S%f')}-{uuid.uuid4().hex[:8]}"
        write_durably(self._folder / name, message)
        self._due.set()

    def start(self) -> None:
        """Begin to send, first what an earlier run has left."""
        make_folder(self._folder)
        self._due.set()
        self._thread = threading.Thread(target=self._run, name=self._folder.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send what there is, if it is taken; the rest is sent by the next run."""
        self._stop.set()
        self._wake()
        if self._thread is not None:
            self._thread.join()

    def abandon(self) -> None:
        """Send nothing more, and wait for nothing; what is left lies there."""
        self._abandoned = True
        self._wake()

    def hurry(self) -> None:
        """Try at once, and tell anew where nobody takes messages: they may go elsewhere now."""
        self._is_away = False
        self._wake()

    def _wake(self) -> None:
        self._hurried.set()
        self._due.set()

    def _run(self) -> None:
        while True:
            self._due.clear()
            self._hurried.clear()
            stopping = self._stop.is_set()  # only now: who says it later is heard by the wait
            if self._abandoned:
                return
            sent = self._send_safely()
            if stopping:
                return
            if sent:
                self._due.wait()
            else:
                self._hurried.wait(self._pause)

    def _send_safely(self) -> bool:
        """Send every message that lies there; whether all were taken. Why not, is told once."""
        try:
            self._send()
        except Exception as fault:  # noqa: BLE001  the edge of a turn: the messages stay, and are tried again
            if not self._is_away:
                self._tell(str(fault) if isinstance(fault, NotTaken) else f"{type(fault).__name__}: {fault}")
            self._is_away = True
            return False
        return True

    def _send(self) -> None:
        for path in sorted(path for path in self._folder.iterdir() if not path.name.startswith(".")):
            try:
                message = path.read_bytes()
            except FileNotFoundError:  # another machine that shares the folder has sent it
                continue
            self._take(message)
            path.unlink(missing_ok=True)
            self._is_away = False
