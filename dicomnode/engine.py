"""The durable queue: a thin adapter around DBOS Transact, the only module that knows it.

The engine drives; files are the truth. Every job can be put in again from its files, because a workflow id that is
known already is not started twice.
"""

from __future__ import annotations

import logging
import sqlite3
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dbos import DBOS, DBOSConfig, SetEnqueueOptions, SetWorkflowID
from dbos import error as dbos_error
from sqlalchemy.engine import make_url

from dicomnode.errors import NodeError
from dicomnode.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable

# The protocol between what is in the database and this module. It stays when the product's version changes: DBOS
# leaves what was in flight under another application version alone for ever.
_PROTOCOL = "liver-iron-node-1"
_FITS, _SENDS = "fits", "sends"
_SENDS_AT_ONCE = 8


@dataclass(frozen=True)
class Work:
    """What the engine drives; each function is given the key of the job.

    ``steps`` are run in order, each checkpointed; what one raises ends the job through ``failed``. ``destinations``
    names where the result goes. ``deliver(key, destination, attempt)`` returns the seconds until the next attempt,
    or None when nothing is left to try.
    """

    steps: tuple[tuple[str, Callable[[str], None]], ...]
    destinations: Callable[[str], list[str]]
    deliver: Callable[[str, str, int], float | None]
    failed: Callable[[str, str, Exception], None]


class Engine:
    """Runs work durably; at most one in a process, because DBOS is."""

    def __init__(self, url: str, executor: str, work: Work, *, fits_at_once: int, poll_seconds: float) -> None:
        self._url = url
        self._executor = executor
        self._work = work
        self._fits_at_once = fits_at_once
        self._poll_seconds = poll_seconds
        self._stopping = False
        self._process: Any = None
        self._deliver: Any = None

    def start(self) -> None:
        """Open the database, take up what was in flight, listen to the queues."""
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
        try:
            DBOS.launch()
        except Exception as fault:
            DBOS.destroy(destroy_registry=True)
            raise NodeError(f"[engine] url: the queue's database cannot be opened: {fault}") from fault
        poll = self._poll_seconds
        DBOS.register_queue(_FITS, worker_concurrency=self._fits_at_once, polling_interval_sec=poll)
        DBOS.register_queue(
            _SENDS, partition_concurrency=2, worker_concurrency=_SENDS_AT_ONCE, polling_interval_sec=poll
        )

    def stop(self, patience_seconds: int = 20) -> None:
        """Stop taking up work, wait for what is running; what is not done by then is taken up at the next start."""
        self._stopping = True
        DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=patience_seconds)

    def over(self, key: str, run: int) -> bool:
        """Whether this run of a job has come to an end, so that putting it in again would do nothing."""
        found = DBOS.get_workflow_status(f"process:{key}:{run}")
        return found is not None and found.status not in {"ENQUEUED", "PENDING", "DELAYED"}

    def process(self, key: str, run: int = 0) -> None:
        """Put a job in; nothing happens when this run of it is known."""
        with SetWorkflowID(f"process:{key}:{run}"):
            DBOS.enqueue_workflow(_FITS, self._process, key)

    def deliver(self, key: str, destination: str, attempt: int, delay_seconds: float = 0.0) -> None:
        """Put an attempt to send a result in; nothing happens when this attempt is known."""
        options = SetEnqueueOptions(queue_partition_key=destination, delay_seconds=delay_seconds or None)
        with SetWorkflowID(f"deliver:{key}:{destination}:{attempt}"), options:
            DBOS.enqueue_workflow(_SENDS, self._deliver, key, destination, attempt)

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
            try:
                DBOS.run_step({"name": name}, step, key)
            except Exception as fault:
                if self._stopping and isinstance(fault, dbos_error.DBOSException):
                    raise  # the database was closed under the step: its end cannot be recorded, so it is not one
                self._work.failed(key, name, fault)
                return f"failed in {name}"
        for destination in DBOS.run_step({"name": "destinations"}, self._work.destinations, key):
            self.deliver(key, destination, 0)
        return "done"

    def _deliver_workflow(self, key: str, destination: str, attempt: int) -> str:
        delay = DBOS.run_step({"name": "send"}, self._attempt, key, destination, attempt)
        if delay is None:
            return "finished"
        self.deliver(key, destination, attempt + 1, delay)
        return "again"

    def _attempt(self, key: str, destination: str, attempt: int) -> float | None:
        try:
            return self._work.deliver(key, destination, attempt)
        except Exception:  # noqa: BLE001  the edge of a turn
            # ERROR would be final for the workflow id, and the result would never be sent.
            logger("engine").exception("delivery_crashed", key=key, destination=destination, attempt=attempt)
            return 60.0


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
