"""Who looks at the page: sessions in memory, and how often a log-in may be tried."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from dicomnode.web.search import Search

if TYPE_CHECKING:
    from collections.abc import Callable

Role = Literal["none", "view", "act"]

_MOST = 1000  # sessions; the one that was used longest ago goes
_WINDOW_SECONDS = 300.0
# Refused log-ins within that time: of one name from one address, from one address, from everywhere.
_LIMITS = (5, 20, 200)


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody at a browser; before a log-in nobody yet."""

    token: str = field(repr=False)
    form_token: str = field(repr=False)  # of every form it is given
    user: str = ""
    role: Role = "none"
    search: Search = field(default_factory=Search)
    note: str = ""  # to be shown once

    @property
    def may_look(self) -> bool:
        """Whether it may see the pages."""
        return self.role != "none"

    @property
    def may_act(self) -> bool:
        """Whether it may ask the node for something."""
        return self.role == "act"

    def gave(self, form_token: str) -> bool:
        """Whether a form is one that this session was given."""
        return hmac.compare_digest(self.form_token.encode(), form_token.encode())


class Sessions:
    """All that are open; a restart ends them.

    ``everybody`` is the name and the role of who has not logged in. Who has no role is not remembered, so that nobody
    pushes out those who have one; the token of a form follows from that of the session.
    """

    def __init__(
        self, idle_seconds: float, everybody: tuple[str, Role], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._idle_seconds = idle_seconds
        self._everybody = everybody
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._used: OrderedDict[str, tuple[float, Session]] = OrderedDict()

    def of(self, token: str, *, clicked: bool = True) -> Session:
        """The session of a cookie; one of somebody who has not logged in where it is over, or never was.

        A page that renews itself, without a click, makes none last longer.
        """
        with self._lock:
            used, session = self._used.pop(token, (0.0, None))
            if session is not None and self._clock() - used <= self._idle_seconds:
                self._used[token] = (self._clock() if clicked else used, session)
                return session
        return self._made(token or secrets.token_urlsafe(32), *self._everybody)

    def begin(self, user: str, role: Role) -> Session:
        """A new session of somebody who has logged in."""
        session = self._made(secrets.token_urlsafe(32), user, role)
        self.keep(session)
        return session

    def keep(self, session: Session) -> None:
        """Remember what has changed of a session."""
        if not session.may_look:
            return
        with self._lock:
            self._used[session.token] = (self._clock(), session)
            self._used.move_to_end(session.token)
            while len(self._used) > _MOST:
                self._used.popitem(last=False)

    def end(self, session: Session) -> None:
        """Forget a session."""
        with self._lock:
            self._used.pop(session.token, None)

    def _made(self, token: str, user: str, role: Role) -> Session:
        return Session(token, hmac.digest(self._secret, token.encode(), "sha256").hex(), user, role)


class Attempts:
    """Refused log-ins of the last minutes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._refused: defaultdict[tuple[str, ...], deque[float]] = defaultdict(deque)

    def wait_seconds(self, name: str, peer: str) -> float:
        """How long until another may be tried; 0 where it may be now."""
        now = self._clock()
        with self._lock:
            self._forget(now)
            waits = [
                self._refused[key][-limit] + _WINDOW_SECONDS - now
                for key, limit in zip(_keys(name, peer), _LIMITS, strict=True)
                if key in self._refused and len(self._refused[key]) >= limit
            ]
        return max(waits, default=0.0)

    def refused(self, name: str, peer: str) -> None:
        """Remember one."""
        with self._lock:
            for key in _keys(name, peer):
                self._refused[key].append(self._clock())

    def _forget(self, now: float) -> None:
        for key, times in list(self._refused.items()):
            while times and now - times[0] > _WINDOW_SECONDS:
                times.popleft()
            if not times:
                del self._refused[key]


def _keys(name: str, peer: str) -> tuple[tuple[str, ...], ...]:
    return (name, peer), (peer,), ()
