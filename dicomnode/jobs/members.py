"""Which processes share the work of a data folder, which of them are alive, and which one decides what is complete.

One process alone owns its folder by a lock on a file; several, on any number of machines, share it with a PostgreSQL
database, whose advisory locks end with the connection of who holds them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import time
import uuid
from typing import Any, Protocol

import psycopg

from dicomnode import events, logs
from dicomnode.errors import NodeError

# What a machine that vanished held is free half a minute after its last word.
_VANISHED = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
_REJOINING_SECONDS = (
    20.0  # after a restart of the database every process comes back first, then it is asked who did not
)
_ANSWER_SECONDS = 10
_TRY_AGAIN_SECONDS = 3.0
_MISSED_SECONDS = 5.0  # a second for the loss to be seen, then the one above


class QueueAway(NodeError):
    """The queue's database cannot be reached."""


class Members(Protocol):
    """The processes that share a data folder."""

    @property
    def own(self) -> str:
        """The name of this process, which no other ever has."""

    def join(self, folder: str) -> None:
        """Be one of those that share the folder of that name; raises QueueAway."""

    def leads(self) -> bool:
        """Whether this process decides what is complete; no other does at the same time."""

    def is_dead(self, name: str) -> bool:
        """Whether a process is known not to run any more."""

    def leave(self) -> None:
        """Be no member any more."""


class Alone:
    """A process that owns its folder: whatever another began, that one is gone."""

    def __init__(self) -> None:
        self.own = own_name()

    def join(self, folder: str) -> None:
        """There is nobody to tell."""

    def leads(self) -> bool:
        """Always."""
        return True

    def is_dead(self, name: str) -> bool:
        """Everybody else."""
        return name != self.own

    def leave(self) -> None:
        """There is nobody to tell."""


class Several:
    """Processes that share a folder and a PostgreSQL database; any thread may ask who is dead, one the rest."""

    def __init__(self, url: str, say: events.Sink = logs.write) -> None:
        self.own = own_name()
        self._url = re.sub(r"^postgresql\+\w+:", "postgresql:", url)
        self._say = say
        self._folder = ""
        self._connection: psycopg.Connection[Any] | None = None
        self._leading = False
        self._missed: dict[str, float] = {}  # since when nobody holds the lock of a process
        self._since = 0.0
        self._try_again = 0.0

    def join(self, folder: str) -> None:
        """Hold the lock that says that this process is alive; raises QueueAway."""
        self._folder = folder
        self.leave()
        try:
            connection = psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=_ANSWER_SECONDS,
                keepalives_idle=_ANSWER_SECONDS,
                tcp_user_timeout=_ANSWER_SECONDS * 1000,
                options=_VANISHED,
            )
            connection.execute("SELECT pg_advisory_lock(%s)", (_key("member", self.own),))
        except psycopg.Error as fault:
            raise QueueAway(f"[engine] url: the queue's database cannot be reached: {fault}") from fault
        self._connection, self._since = connection, time.monotonic()

    def leads(self) -> bool:
        """Whether this process holds the lock of the one that decides; another takes it when this one is gone."""
        try:
            if self._connection is None:
                if time.monotonic() < self._try_again:
                    return False
                self.join(self._folder)
            connection = self._connection
            if connection is None:  # another thread has found it broken
                return False
            if self._leading:
                _ask(connection, "SELECT 1")  # it is held as long as the connection lives
            else:
                self._leading = bool(_ask(connection, "SELECT pg_try_advisory_lock(%s)", _key("leader", self._folder)))
                if self._leading:
                    self._say(events.Leading(self._folder))
        except (psycopg.Error, QueueAway):
            self.leave()
            self._try_again = time.monotonic() + _TRY_AGAIN_SECONDS
        return self._leading

    def is_dead(self, name: str) -> bool:
        """Whether nobody has held the lock of that process for seconds: one that lost its connection comes back.

        Not known shortly after the database was away.
        """
        connection, now = self._connection, time.monotonic()
        if name == self.own or connection is None or now - self._since < _REJOINING_SECONDS:
            return False
        try:
            key = _key("member", name)
            free = bool(_ask(connection, "SELECT pg_try_advisory_lock(%s)", key))
            if free:
                _ask(connection, "SELECT pg_advisory_unlock(%s)", key)
        except psycopg.Error:
            self._lose(connection)
            return False
        if not free:
            self._missed.pop(name, None)
            return False
        return now - self._missed.setdefault(name, now) >= _MISSED_SECONDS

    def leave(self) -> None:
        """Give every lock back."""
        self._leading = False
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
        self._connection = None

    def _lose(self, connection: psycopg.Connection[Any]) -> None:
        """Leave where a connection broke, unless another thread has joined anew since."""
        if self._connection is connection:
            self.leave()


def own_name() -> str:
    """A name that no other process has or had: for people, it begins with the machine's."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"


def _ask(connection: psycopg.Connection[Any], question: str, *values: int) -> Any:
    row = connection.execute(question, values).fetchone()
    return row[0] if row else None


def _key(kind: str, name: str) -> int:
    """A number for an advisory lock."""
    digest = hashlib.sha256(f"liver-iron-node:{kind}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
