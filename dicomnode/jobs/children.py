"""Runs steps in child processes, so that a step that dies takes nothing else with it."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import pickle
import queue
import resource
import signal
import threading
import time
import traceback
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING

from dicomnode.errors import StepError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess


# Ctrl-C and systemd's stop reach every process of the service; when a step ends is the parent's to say.
_NOT_ITS_OWN = (signal.SIGINT, signal.SIGTERM)
NICENESS = 5  # an image that arrives goes before a fit; yet a fit beside other busy programs gets a quarter of a core
_LATER_SECONDS = 15.0  # until the machine has started, and all that is started with it


class ChildDied(StepError):
    """The process that ran the step died."""


class TooLong(StepError):
    """The step took longer than a step may."""


class TooLarge(StepError):
    """The step asked for more memory than a step may have."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a step may take; one that runs alone may take twice the memory."""

    seconds: float = math.inf
    memory_mb: int = 0  # 0: whatever there is


class Stopped(StepError):
    """The step was interrupted because the node stops."""


class Children:
    """A fixed number of child processes; each runs one step at a time, so a death names its step.

    ``prepare`` is what a child does before its first step; it imports what steps need, which takes seconds. ``warm`` of
    them are started with the node, the others a little later, or when they are needed.
    """

    def __init__(
        self,
        count: int,
        prepare: Callable[[], None] | None = None,
        limits: Limits | None = None,
        *,
        warm: int | None = None,
    ) -> None:
        self._count = count
        self._warm = count if warm is None else warm
        self._prepare = prepare
        self._limits = limits or Limits()
        self._gathering = threading.Lock()
        self._idle: queue.LifoQueue[_Child | None] = queue.LifoQueue()  # one that is warm goes first
        self._alive: set[_Child] = set()
        self._lock = threading.Lock()
        self._stopped = False
        for _ in range(count):
            self._idle.put(None)  # not started yet
        self._later = threading.Timer(_LATER_SECONDS, self._start_idle, (count,))
        self._later.daemon = True

    def start(self) -> None:
        """Start children now, so that the first study finds them ready; does not wait for them."""
        self._start_idle(self._warm)
        self._later.start()

    def ready(self) -> int:
        """How many could begin at once: not at work, and started."""
        with self._idle.mutex:
            return sum(child is not None for child in self._idle.queue)

    def _start_idle(self, count: int) -> None:
        taken = []
        try:
            with contextlib.suppress(queue.Empty, Stopped):
                for _ in range(count):
                    taken.append(self._idle.get_nowait())
                    taken[-1] = taken[-1] or self._started()
        finally:
            for child in reversed(taken):
                self._idle.put(child)

    def run(self, step: Callable[..., None], *arguments: object, alone: bool = False) -> None:
        """Run a step in a child and wait for it, ``alone`` while no other runs.

        Raises what it raised, ChildDied, TooLong, TooLarge or Stopped.
        """
        limits = replace(self._limits, memory_mb=2 * self._limits.memory_mb) if alone else self._limits
        with self._others_idle() if alone else contextlib.nullcontext(), self._borrowed() as child:
            try:
                child.run(limits, step, *arguments)
            except ChildDied as fault:
                if self._stopped:
                    raise Stopped from fault
                raise

    def stop(self) -> None:
        """End every child, also one that is at work."""
        self._later.cancel()
        with self._lock:
            self._stopped = True
            for child in self._alive:
                child.kill()

    @contextlib.contextmanager
    def _others_idle(self) -> Iterator[None]:
        """Hold every child but one; one at a time, for the next would wait for the one that is left."""
        with self._gathering:
            held = [self._idle.get() for _ in range(self._count - 1)]
            try:
                yield
            finally:
                for child in held:
                    self._idle.put(child)

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[_Child]:
        child = self._idle.get()
        try:
            child = child or self._started()
            yield child
        except (ChildDied, TooLong):
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
        start_apart(self._process)
        theirs.close()  # so that its death ends our waiting

    def run(self, limits: Limits, step: Callable[..., None], *arguments: object) -> None:
        try:
            self._pipe.send((limits.memory_mb, step, arguments))
            if not self._pipe.poll(None if math.isinf(limits.seconds) else limits.seconds):
                self.kill()
                raise TooLong(f"it took more than {limits.seconds:g} s")
            fault = self._pipe.recv()
        except (EOFError, OSError) as lost:
            self.kill()
            raise ChildDied from lost
        if fault is not None:
            raise fault

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def start_apart(process: BaseProcess) -> None:
    """Start a process that hears no signal meant for the service, from its first moment to its ``stay_apart``."""
    resource_tracker.ensure_running()  # it would unblock what is blocked here
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_ITS_OWN)  # inherited, until it ignores them
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stay_apart() -> None:
    """Ignore, in such a process, the signals that are meant for the service."""
    for number in _NOT_ITS_OWN:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _NOT_ITS_OWN)


def _serve(pipe: Connection, parent: int, prepare: Callable[[], None] | None) -> None:
    """Run what is asked for until the parent is gone."""
    stay_apart()
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    if prepare is not None:
        _fault_of(prepare, ())  # what is wrong here is met again, and said, by the first step
    os.nice(NICENESS)
    with contextlib.suppress(OSError):  # where memory runs out, a step goes and not what receives
        Path("/proc/self/oom_score_adj").write_text("500")
    with contextlib.suppress(EOFError):
        while True:
            memory_mb, step, arguments = pipe.recv()
            with _at_most(memory_mb):
                fault = _fault_of(step, arguments)
            if isinstance(fault, MemoryError):
                fault = TooLarge(f"it asked for more than {memory_mb} MB")
            pipe.send(fault)


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


@contextlib.contextmanager
def _at_most(memory_mb: int) -> Iterator[None]:
    """Let what asks for more memory fail, and not the machine; the limit is on data, not on what is mapped."""
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = memory_mb << 20 if memory_mb else before
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def _die_with(parent: int) -> None:
    """End this child when the node is gone, even if the node was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
