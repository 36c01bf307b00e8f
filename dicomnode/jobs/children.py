"""Runs steps in child processes, so that a step that dies takes nothing else with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
import traceback
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

from dicomnode.errors import StepError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection


# Ctrl-C and systemd's stop reach every process of the service; when a step ends is the parent's to say.
_NOT_ITS_OWN = (signal.SIGINT, signal.SIGTERM)


class ChildDied(StepError):
    """The process that ran the step died."""


class Stopped(StepError):
    """The step was interrupted because the node stops."""


class Children:
    """A fixed number of child processes; each runs one step at a time, so a death names its step.

    ``prepare`` is what a child does before its first step; it imports what steps need, which takes seconds.
    """

    def __init__(self, count: int, prepare: Callable[[], None] | None = None) -> None:
        self._count = count
        self._prepare = prepare
        self._idle: queue.Queue[_Child | None] = queue.Queue()
        self._alive: set[_Child] = set()
        self._lock = threading.Lock()
        self._stopped = False
        for _ in range(count):
            self._idle.put(None)  # started when it is first needed

    def start(self) -> None:
        """Start every child now, so that the first study finds them ready; does not wait for them."""
        for _ in range(self._count):
            self._idle.put(self._idle.get() or self._started())

    def run(self, step: Callable[..., None], *arguments: object) -> None:
        """Run a step in a child and wait for it; raises what it raised, ChildDied or Stopped."""
        with self._borrowed() as child:
            try:
                child.run(step, *arguments)
            except ChildDied as fault:
                if self._stopped:
                    raise Stopped from fault
                raise

    def stop(self) -> None:
        """End every child, also one that is at work."""
        with self._lock:
            self._stopped = True
            for child in self._alive:
                child.kill()

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[_Child]:
        child = self._idle.get()
        try:
            child = child or self._started()
            yield child
        except ChildDied:
            with self._lock:
                self._alive.discard(child)
            child = None
            raise
        finally:
            self._idle.put(child)

    def _started(self) -> _Child:
        with self._lock:
            if self._stopped:
                raise Stopped
            child = _Child(self._prepare)
            self._alive.add(child)
        return child


class _Child:
    """One process and the pipe to it."""

    def __init__(self, prepare: Callable[[], None] | None) -> None:
        # spawn: a forked child would inherit sockets, locks and the engine's threads.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, os.getpid(), prepare), daemon=True)
        resource_tracker.ensure_running()  # it would unblock what is blocked here
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_ITS_OWN)  # inherited, until it ignores them
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()  # so that its death ends our waiting

    def run(self, step: Callable[..., None], *arguments: object) -> None:
        try:
            self._pipe.send((step, arguments))
            fault = self._pipe.recv()
        except (EOFError, OSError) as lost:
            self.kill()
            raise ChildDied from lost
        if fault is not None:
            raise fault

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, parent: int, prepare: Callable[[], None] | None) -> None:
    """Run what is asked for until the parent is gone."""
    for number in _NOT_ITS_OWN:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _NOT_ITS_OWN)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    if prepare is not None:
        _fault_of(prepare, ())  # what is wrong here is met again, and said, by the first step
    with contextlib.suppress(EOFError):
        while True:
            step, arguments = pipe.recv()
            pipe.send(_fault_of(step, arguments))


def _fault_of(step: Callable[..., None], arguments: tuple[object, ...]) -> Exception | None:
    """Run a step; return what it raised, in a form that can be sent."""
    try:
        step(*arguments)
    except Exception as fault:  # noqa: BLE001  the edge of a process
        fault.add_note(traceback.format_exc())  # the traceback itself cannot be sent
        try:
            pickle.loads(pickle.dumps(fault))  # noqa: S301  what was made here a moment ago
        except Exception:  # noqa: BLE001  any class may refuse in its own way
            return StepError(f"{type(fault).__name__}: {fault}")
        return fault
    return None


def _die_with(parent: int) -> None:
    """End this child when the node is gone, even if the node was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
