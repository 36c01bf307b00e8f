"""Runs steps in child processes, so that a step that dies takes nothing else with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

from dicomnode.errors import StepError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class ChildDied(StepError):
    """The process that ran the step died."""


class Children:
    """A fixed number of child processes; each runs one step at a time, so a death names its step."""

    def __init__(self, count: int) -> None:
        self._idle: queue.Queue[ProcessPoolExecutor] = queue.Queue()
        for _ in range(count):
            self._idle.put(_child())

    def run(self, step: Callable[..., None], *arguments: object) -> None:
        """Run a step in a child and wait for it; raises what it raised, or ChildDied."""
        with self._borrowed() as child:
            child.submit(step, *arguments).result()

    def stop(self) -> None:
        """End the children that are idle; one at work ends with this process."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().shutdown(wait=False, cancel_futures=True)

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[ProcessPoolExecutor]:
        child = self._idle.get()
        try:
            yield child
        except BrokenProcessPool as fault:
            child.shutdown(wait=False)
            child = _child()
            raise ChildDied from fault
        finally:
            self._idle.put(child)


def _child() -> ProcessPoolExecutor:
    # spawn: a forked child would inherit sockets, locks and the engine's threads.
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_die_with_parent)


def _die_with_parent() -> None:
    """End this child when the node is gone, even if the node was killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
