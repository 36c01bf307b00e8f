"""Waits for room on the disk: what meets a full one goes on where it was as soon as there is some."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from dicomnode import events, logs
from dicomnode.errors import DiskFull, StepError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_T = TypeVar("_T")
_AGAIN_SECONDS = 1.0
_REMEMBERED_SECONDS = 60.0  # what was left half done is looked for so long
_NEARLY_FULL_BYTES = 1 << 20


class Stopping(StepError):
    """The node stops while it waits for room on the disk."""


class Space:
    """The room on the disk of a folder, for everything that writes there."""

    def __init__(self, folder: Path, say: events.Sink = logs.write) -> None:
        self._folder = folder
        self._say = say
        self._stopping = threading.Event()
        self._short_until = 0.0

    def stop(self) -> None:
        """Let nobody wait any longer."""
        self._stopping.set()

    @property
    def was_short(self) -> bool:
        """Whether the disk is full, or was a moment ago: what it cost may not all have come to light."""
        try:
            if shutil.disk_usage(self._folder).free < _NEARLY_FULL_BYTES:
                self._remember()
        except OSError:
            self._remember()
        return time.monotonic() < self._short_until

    def patiently(self, what: Callable[[], _T]) -> _T:
        """Do something that can be done again, waiting where the disk is full; raises what it raises, or Stopping."""
        said = False
        while True:
            try:
                return what()
            except Exception as fault:
                if not is_full(fault):
                    raise
                if not said:
                    self._say(events.DiskFull(str(fault)))
                    said = True
                self._remember()
                if self._stopping.wait(_AGAIN_SECONDS):
                    raise Stopping from fault

    def _remember(self) -> None:
        self._short_until = time.monotonic() + _REMEMBERED_SECONDS


def is_full(fault: BaseException | None) -> bool:
    """Whether a fault came of a full disk, by what it says of itself and of what it came from."""
    while fault is not None:
        if isinstance(fault, DiskFull):
            return True
        if isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if isinstance(fault, sqlite3.OperationalError) and getattr(fault, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
            return True
        fault = getattr(fault, "orig", None) or fault.__cause__  # sqlalchemy keeps what it wraps in ``orig``
    return False
