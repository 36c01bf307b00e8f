"""The durable queue: a thin adapter around DBOS Transact, the only module that knows it.

The engine drives; files are the truth. Every job can be put in again from its files, because a workflow id that is
known already is not started twice.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import sys
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbos import DBOS, DBOSConfig, SetEnqueueOptions, SetWorkflowID
from dbos._dbos import _get_dbos_instance
from sqlalchemy.engine import make_url

from dicomnode import events, logs
from dicomnode.errors import NodeError
from dicomnode.jobs.members import QueueAway, own_name

if TYPE_CHECKING:
    from collections.abc import Callable

# The protocol between what is in the database and this module. It stays when the product's version changes: DBOS
# leaves what was in flight under another application version alone for ever.
_PROTOCOL = "liver-iron-node-1"
_SENDS_AT_ONCE = 2  # to one destination
_SHARED_VERSIONS = 2  # of manifests, whose jobs wait in one queue


@dataclass(frozen=True)
class Work:
    """What the engine drives; each function is given the key of the job.

    ``steps`` are run in order, each checkpointed; what one raises ends the job through ``failed``, unless the engine
    is being stopped: then the job goes on at the next start. ``destinations`` says where the result goes and with which
    attempt to begin.
    ``deliver(key, destination, attempt)`` returns the seconds until the next attempt, or None when nothing is left to
    try.
    """

    steps: tuple[tuple[str, Callable[[str], None]], ...]
    destinations: Callable[[str], list[tuple[str, int]]]
    deliver: Callable[[str, str, int], float | None]
    failed: Callable[[str, str, Exception], None]


class Standing(StrEnum):
    """Where a workflow stands."""

    UNKNOWN = "unknown"  # can be put in
    GOING = "going"  # waits or runs; it is brought to its end whatever happens to this process
    OVER = "over"  # has come to an end, so that putting it in again would do nothing


class Engine:
    """Runs work durably; at most one in a process, because DBOS is."""

    def __init__(
        self,
        url: str,
        work: Work,
        *,
        fits_at_once: int,
        poll_seconds: float,
        versions: tuple[int, ...] = (1,),
        say: events.Sink = logs.write,
    ) -> None:
        self._say = say
        self._versions = versions  # of manifests that this software understands
        self._url = url
        self._folder = self._executor = ""
        self._work = work
        self._fits_at_once = fits_at_once
        self._poll_seconds = poll_seconds
        self._stopping = self._running = False
        self._lost: set[str] = set()
        self._due: dict[tuple[str, str, int], float] = {}  # pauses before attempts, by a clock that nobody sets
        self._process: Any = None
        self._deliver: Any = None

    def start(self, folder: str, executor: str | None = None) -> None:
        """Open the database and listen to the queues; raises QueueAway where a server does not answer, NodeError.

        ``folder`` names the folder of files that this engine drives: where several nodes share one database none
        touches what another's folder holds. ``executor`` is a name that no other process has.
        """
        self._folder = folder
        self._executor = executor or own_name()
        if self._url.startswith("sqlite"):
            self._set_aside_if_damaged()
        self._register()
        config: DBOSConfig = {
            "name": "liver-iron-node",
            "system_database_url": _sqlalchemy_url(self._url),
            "executor_id": self._executor,
            "application_version": _PROTOCOL,
            "log_level": "ERROR",
            "run_admin_server": False,
        }  # type: ignore[typeddict-unknown-key]
        if self._url.startswith("sqlite"):
            config["db_engine_kwargs"] = _durable_sqlite(self._url)
        logging.getLogger("dbos").setLevel(logging.ERROR)
        DBOS(config=config)
        DBOS.listen_queues([*self._fits, *self._quick, self._sends])
        poll = self._poll_seconds
        try:
            DBOS.launch()
            for queue in self._fits:
                DBOS.register_queue(queue, worker_concurrency=self._fits_at_once, polling_interval_sec=poll)
            for queue in self._quick:
                DBOS.register_queue(queue, worker_concurrency=1, polling_interval_sec=poll)
            DBOS.register_queue(self._sends, partition_concurrency=_SENDS_AT_ONCE, polling_interval_sec=poll)
        except Exception as fault:
            DBOS.destroy(destroy_registry=True)
            kind = NodeError if self._url.startswith("sqlite") else QueueAway
            raise kind(f"[engine] url: the queue's database cannot be opened: {fault}") from fault
        self._running = True

    def _set_aside_if_damaged(self) -> None:
        """Begin with an empty database where the old one cannot be read: the files say what is to be done."""
        path = Path(str(make_url(self._url).database))
        if not path.exists():
            return
        module = _sqlite_module()
        try:
            with contextlib.closing(module.connect(path, timeout=30.0)) as connection:
                answer = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        except module.OperationalError as fault:
            raise NodeError(f"[engine] url: {path} cannot be opened: {fault}") from fault  # its folder, not its content
        except module.DatabaseError as fault:
            answer = str(fault)
        if answer == "ok":
            return
        aside = f"{path.name}.damaged-{time.time_ns() // 1_000_000_000}"
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(path.with_name(aside + suffix))
        self._say(events.DatabaseSetAside(aside, answer.splitlines()[0]))

    def stop(self, patience_seconds: int = 20) -> None:
        """Stop taking up work, wait for what is running; what is not done by then is taken up at the next start."""
        self._stopping = True
        if not self._running:
            return
        patience = patience_seconds if _running_here() else 0  # DBOS waits a whole second even for nothing
        DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=patience)

    def is_polling(self) -> bool:
        """Whether a thread looks into each queue; DBOS starts one a second after ``start``, and anew where it died."""
        alive = {thread.name for thread in threading.enumerate()}
        return all(f"queue-worker-{queue}" in alive for queue in (*self._fits, *self._quick, self._sends))

    def process(self, key: str, run: int = 0, *, quick: bool = False, version: int = 1) -> None:
        """Put a job in; nothing happens when this run of it is known. One that is ``quick`` waits for no long one.

        ``version`` is that of its manifest: no software takes it that does not understand it.
        """
        queue = self._queue("quick" if quick else "fits", version)
        with SetWorkflowID(self._process_id(key, run)):
            DBOS.enqueue_workflow(queue, self._process, key)

    def process_standing(self, key: str, run: int) -> Standing:
        """Where a run of a job stands."""
        return _standing(self._process_id(key, run))

    def deliver(self, key: str, destination: str, attempt: int, delay_seconds: float = 0.0) -> None:
        """Put an attempt to send a result in; nothing happens when this attempt is known."""
        due = time.monotonic() + delay_seconds
        options = SetEnqueueOptions(queue_partition_key=destination, delay_seconds=delay_seconds or None)
        with SetWorkflowID(self._deliver_id(key, destination, attempt)), options:
            DBOS.enqueue_workflow(self._sends, self._deliver, key, destination, attempt)
        if delay_seconds:  # known only now: a pause that is not in the database yet cannot be ended
            self._due[key, destination, attempt] = due

    def answers(self) -> bool:
        """Whether the database answers; waits for as long as it is away."""
        return self._running and _state_of("none") is None

    def deliver_standing(self, key: str, destination: str, attempt: int) -> Standing:
        """Where an attempt to send a result stands."""
        return _standing(self._deliver_id(key, destination, attempt))

    def next_attempt(self, key: str, destination: str, attempt: int) -> int:
        """The first attempt, from the given one on, that is not over."""
        while self.deliver_standing(key, destination, attempt) is Standing.OVER:
            attempt += 1
        return attempt

    def deliver_now(self, key: str, destination: str, attempt: int) -> None:
        """End the pause before an attempt."""
        DBOS.set_workflow_delay(self._deliver_id(key, destination, attempt), delay_seconds=0.0)

    def remember_pause(self, key: str, destination: str, attempt: int, delay_seconds: float) -> None:
        """Know of a pause that an earlier process began."""
        self._due.setdefault((key, destination, attempt), time.monotonic() + delay_seconds)

    def end_pauses(self) -> None:
        """End the pauses that are over: the database keeps the time of day, which may have been set back since.

        Or be set back in the moment between this and its own look, so what still pauses is ended again.
        """
        now = time.monotonic()
        for one in [one for one, due in list(self._due.items()) if due <= now]:
            if _state_of(self._deliver_id(*one)) == "DELAYED":
                self.deliver_now(*one)
            else:
                del self._due[one]

    def take_up_lost(self) -> None:
        """Start again what the database says is running and is not, because its end met a full disk.

        To be called from time to time: what is found so twice is lost, what is found so once may just be starting.
        """
        pending = {one.workflow_id: one.queue_name for one in self._pending() if one.executor_id == self._executor}
        lost = pending.keys() - _running_here()
        for workflow_id in lost & self._lost:
            self._take_up(workflow_id, pending[workflow_id])
        self._lost = lost - self._lost

    def take_over(self, is_dead: Callable[[str], bool]) -> None:
        """Put back into their queues what processes have begun that are gone; for one process of a folder at a time."""
        pending = self._pending()
        dead = {name for name in {one.executor_id for one in pending} if name != self._executor and is_dead(name)}
        for one in pending:
            if one.executor_id in dead:
                self._take_up(one.workflow_id, one.queue_name)

    def _pending(self) -> list[Any]:
        """What runs of the folder's work, also in queues that only newer software listens to."""
        found = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        return [one for one in found if (one.queue_name or "").endswith(f":{self._folder}")]

    def _take_up(self, workflow_id: str, queue: str) -> None:
        self._say(events.WorkflowTakenUp(workflow_id))
        DBOS.resume_workflow(workflow_id, queue_name=queue)

    @property
    def _fits(self) -> list[str]:
        return sorted({self._queue("fits", version) for version in self._versions})

    @property
    def _quick(self) -> list[str]:
        return sorted({self._queue("quick", version) for version in self._versions})

    def _queue(self, kind: str, version: int) -> str:
        """The first versions share a queue, each later one has its own."""
        return f"{kind}:{self._folder}" if version <= _SHARED_VERSIONS else f"{kind}-{version}:{self._folder}"

    @property
    def _sends(self) -> str:
        return f"sends:{self._folder}"

    def _process_id(self, key: str, run: int) -> str:
        return f"process:{self._folder}:{key}:{run}"

    def _deliver_id(self, key: str, destination: str, attempt: int) -> str:
        return f"deliver:{self._folder}:{key}:{destination}:{attempt}"

    def _register(self) -> None:
        """Tell DBOS the workflows: it takes functions, not methods."""

        def process(key: str) -> str:
            return self._process_workflow(key)

        def deliver(key: str, destination: str, attempt: int) -> str:
            return self._deliver_workflow(key, destination, attempt)

        # A node may be killed any number of times; steps run in child processes, so its deaths are not the job's.
        self._process = DBOS.workflow(name="process", max_recovery_attempts=None)(process)
        self._deliver = DBOS.workflow(name="deliver", max_recovery_attempts=None)(deliver)

    def _process_workflow(self, key: str) -> str:
        for name, step in self._work.steps:
            if not DBOS.run_step({"name": name}, self._run, key, name, step):
                return f"failed in {name}"
        for destination, attempt in DBOS.run_step({"name": "destinations"}, self._beginnings, key):
            self.deliver(key, destination, attempt)
        return "done"

    def _beginnings(self, key: str) -> list[tuple[str, int]]:
        return [(name, self.next_attempt(key, name, attempt)) for name, attempt in self._work.destinations(key)]

    def _run(self, key: str, name: str, step: Callable[[str], None]) -> bool:
        """Run one step; what the database says of its record is never mistaken for what the step says."""
        try:
            step(key)
        except Exception as fault:
            if self._stopping:
                raise  # it was interrupted
            self._work.failed(key, name, fault)
            return False
        return True

    def _deliver_workflow(self, key: str, destination: str, attempt: int) -> str:
        delay = DBOS.run_step({"name": "send"}, self._attempt, key, destination, attempt)
        if delay is None:
            return "finished"
        self.deliver(key, destination, attempt + 1, delay)
        return "again"

    def _attempt(self, key: str, destination: str, attempt: int) -> float | None:
        try:
            return self._work.deliver(key, destination, attempt)
        except Exception as fault:  # noqa: BLE001  the edge of a turn
            # ERROR would be final for the workflow id, and the result would never be sent.
            self._say(events.DeliveryCrashed(key, destination, attempt, fault))
            return 60.0


def _running_here() -> set[str]:
    # DBOS counts them for its own limits and tells nobody; the fault tests cover this on every change of its version.
    return set(_get_dbos_instance()._active_workflows_set.activeList())  # noqa: SLF001


def _standing(workflow_id: str) -> Standing:
    found = _state_of(workflow_id)
    if found is None:
        return Standing.UNKNOWN
    return Standing.GOING if found in {"ENQUEUED", "PENDING", "DELAYED"} else Standing.OVER


def _state_of(workflow_id: str) -> str | None:
    found = DBOS.get_workflow_status(workflow_id)
    return None if found is None else str(found.status)


def _sqlalchemy_url(url: str) -> str:
    """PostgreSQL is spoken through psycopg 3, which DBOS brings."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def _sqlite_module() -> Any:
    """The interpreter's SQLite, or the bundled one where that is too old for DBOS on Python 3.12 and later."""
    if sys.version_info >= (3, 12) and sqlite3.sqlite_version_info < (3, 42):
        import pysqlite3.dbapi2 as newer  # noqa: PLC0415  only installed where it is needed

        return newer
    return sqlite3


def _durable_sqlite(url: str) -> dict[str, Any]:
    """Write-ahead log with synchronous FULL: with the default journal a power cut loses committed work."""
    module, path = _sqlite_module(), make_url(url).database

    def connect() -> Any:
        connection = module.connect(path, check_same_thread=False, timeout=30.0)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    return {"creator": connect, "module": module}
