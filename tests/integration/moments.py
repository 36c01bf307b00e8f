"""Something that happens while something else is done: at any moment between what that reads and writes of a job."""

import threading
from collections.abc import Callable

import pytest

from dicomnode.store import job


class Moments(threading.local):
    """One before and one after each file of a job that is read or written; each thread has its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._at, self._what, self._interrupted = -1, lambda: None, False
        if threading.current_thread() is threading.main_thread():
            for name in ("read_json", "write_json"):
                monkeypatch.setattr(job, name, self._between(getattr(job, name)))

    def interrupt(self, at: int, what: Callable[[], object]) -> None:
        """Do something once, at the moment of that number from now on."""
        self.count, self._at, self._what = 0, at, what

    def end(self) -> None:
        """Let nothing happen any more."""
        self._at = -1

    def cross(self, one: Callable[[], object], until: int, other: Callable[[], object], while_at: int) -> None:
        """Do one thing as far as a moment, another as far as a moment, then the rest of the one, then of the other."""
        rests, goes_on = threading.Event(), threading.Event()

        def rest() -> None:
            rests.set()
            goes_on.wait(20.0)

        def first() -> None:
            self.interrupt(until, rest)
            one()
            rests.set()

        thread = threading.Thread(target=first)

        def finish() -> None:
            goes_on.set()
            thread.join(20.0)

        thread.start()
        rests.wait(20.0)
        self.interrupt(while_at, finish)
        other()
        self.end()
        finish()

    def _between(self, access):
        def accessed(*arguments):
            self._pass()
            found = access(*arguments)
            self._pass()
            return found

        return accessed

    def _pass(self) -> None:
        if self._interrupted:
            return
        at, self.count = self.count, self.count + 1
        if at == self._at:
            self._interrupted = True
            self._what()
            self._interrupted = False
