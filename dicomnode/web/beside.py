"""The node's side of the page: starts its process, tells it what happens, and never waits for it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

from dicomnode import events, logs
from dicomnode.jobs.children import start_apart
from dicomnode.web import tally
from dicomnode.web.process import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from dicomnode.config import Settings
    from dicomnode.web.tally import Tally

_MOST_UNTOLD = 10_000  # events; what is more is not counted, for the node waits for nobody
_HEALTH_SECONDS = 2.0
_LOOK_SECONDS = 0.5
_SHOWN = ("scanner", "destination", "storage", "web", "tls")  # sections that the page's process goes by
_PATIENCE_SECONDS = 10.0
_AGAIN_SECONDS = (2.0, 60.0)  # first and longest pause after a page that could not be opened, or broke


class Page:
    """The page of a node: ``sink`` is told of every event; ``stop`` closes it, and is set when it is closed."""

    def __init__(
        self, settings: Settings, say: events.Sink = logs.write, *, stop: threading.Event | None = None
    ) -> None:
        self._settings = settings
        self._say = say
        self._scanners = _scanners(settings)
        self._renewed = threading.Event()
        self._untold: queue.Queue[tuple[Any, ...]] = queue.Queue(_MOST_UNTOLD)
        self._stop = stop or threading.Event()
        self._last_failure = ""
        self._process: SpawnProcess | None = None

    def use(self, settings: Settings) -> None:
        """Open it anew where it would not be the same: whoever was logged in has to log in again."""
        before, self._settings = self._settings, settings
        self._scanners = _scanners(settings)
        if any(getattr(before, section) != getattr(settings, section) for section in _SHOWN):
            self._last_failure = ""
            self._renewed.set()

    def sink(self, event: events.Event) -> None:
        """Count an event."""
        counted = tally.of(event, self._scanners)
        if counted is not None:
            self._tell("tally", counted)
        if isinstance(event, events.StepDone) and event.step == "report":
            self._tell("report", event.key)

    def _tell(self, *what: str | Tally | dict[str, str]) -> None:
        if not self._settings.web.enabled:
            return
        with contextlib.suppress(queue.Full):
            self._untold.put_nowait(what)

    @contextlib.contextmanager
    def open(self, ailments: Callable[[], dict[str, str]]) -> Iterator[None]:
        """Keep the page open, as soon and as well as that is possible; whatever fails, the node goes on.

        ``ailments`` says what of the node does not work, and why.
        """
        keeper = threading.Thread(target=self._keep_open, name="page", daemon=True)
        examiner = threading.Thread(target=self._examine, args=(ailments,), name="health", daemon=True)
        keeper.start()
        examiner.start()
        try:
            yield
        finally:
            self._stop.set()
            keeper.join(_PATIENCE_SECONDS)  # the other may wait for a database
            if keeper.is_alive() and self._process is not None:
                self._process.kill()

    def _examine(self, ailments: Callable[[], dict[str, str]]) -> None:
        while not self._stop.wait(_HEALTH_SECONDS):
            if not self._settings.web.enabled:
                continue
            try:
                self._tell("health", ailments())
            except Exception as fault:  # noqa: BLE001  the edge of a turn; silence is an ailment, too
                self._tell("health", {"node": f"{type(fault).__name__}: {fault}"})

    def _keep_open(self) -> None:
        pause, longest = _AGAIN_SECONDS
        while not self._stop.is_set():
            try:
                self._open_once()
            except Exception as fault:  # noqa: BLE001  whatever it is, the node goes on
                self._failed(f"{type(fault).__name__}: {fault}")
            pause = self._rest(pause, longest)

    def _rest(self, seconds: float, longest: float) -> float:
        """Wait, unless it is to be opened anew; return how long to wait next time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stop.wait(_LOOK_SECONDS):
            if self._renewed.is_set():
                return _AGAIN_SECONDS[0]
        return min(2 * seconds, longest)

    def _failed(self, reason: str) -> None:
        """Say it once, however often it is tried again."""
        if reason != self._last_failure and not self._stop.is_set():
            self._say(events.PageFailed(reason))
        self._last_failure = reason

    def _open_once(self) -> None:
        """Run the process of the page to its end, where one is wanted."""
        self._renewed.clear()
        if not self._settings.web.enabled:
            return
        context = multiprocessing.get_context("spawn")
        pipe, theirs = context.Pipe()
        process = context.Process(target=serve, args=(self._settings, theirs, os.getpid()), name="page", daemon=True)
        start_apart(process)
        self._process = process
        theirs.close()
        with pipe:
            teller = threading.Thread(target=self._pass_on, args=(pipe, process.is_alive), daemon=True)
            teller.start()
            for event in _heard(pipe):
                if self._stop.is_set():
                    continue
                if isinstance(event, events.PageFailed):
                    self._failed(event.reason)
                    continue
                self._last_failure = "" if isinstance(event, events.PageOpened) else self._last_failure
                self._say(event)
                self.sink(event)
            teller.join(_HEALTH_SECONDS)
        process.join(5)
        if process.is_alive():
            process.kill()
        if process.exitcode and not self._last_failure:
            self._failed(f"its process ended with {process.exitcode}")

    def _pass_on(self, pipe: Connection, alive: Callable[[], bool]) -> None:
        with contextlib.suppress(OSError):  # it is gone
            while alive() and not self._stop.is_set() and not self._renewed.is_set():
                with contextlib.suppress(queue.Empty):
                    pipe.send(self._untold.get(timeout=_LOOK_SECONDS))
            pipe.send(("stop",))


def _scanners(settings: Settings) -> frozenset[str]:
    return frozenset(scanner.ae_title for scanner in settings.scanner)


def _heard(pipe: Connection) -> Iterator[events.Event]:
    """What happens on the page, until it is closed."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            yield pipe.recv()
