"""Constructs, starts and stops the parts of the node; the only module that does."""

from __future__ import annotations

import contextlib
import os
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dicomnode
from dicomnode import pipeline
from dicomnode.children import ChildDied, Children
from dicomnode.deliver import FINISHED, Deliveries
from dicomnode.engine import Engine, Work
from dicomnode.errors import InputError, NodeError
from dicomnode.logs import logger
from dicomnode.receive import Receiver
from dicomnode.send import Sender
from dicomnode.spool import Spool, read_json
from dicomnode.watch import Watcher

if TYPE_CHECKING:
    import threading

    from dicomnode.config import Settings
    from dicomnode.spool import Job


_DOING = {"fit": "fitting", "measure": "measuring", "report": "reporting"}


class Node:
    """A running node: receiver, watcher, engine, sender."""

    def __init__(self, settings: Settings) -> None:
        folder = settings.storage_folder()
        self._settings = settings
        self._log = logger("node")
        self.spool = Spool(folder, settings.storage.minimum_free_mb)
        self._owned = contextlib.ExitStack()
        self._children = Children(settings.fit.workers)
        self._deliveries = Deliveries(self.spool, settings.destination, Sender(settings.node.ae_title, settings.tls))
        self._engine = Engine(
            settings.engine_url(),
            f"{socket.gethostname()}:{folder}",
            Work(
                steps=tuple((name, self._step(name)) for name in pipeline.STEPS),
                destinations=lambda _: self._deliveries.names(),
                deliver=self._deliveries.attempt,
                failed=self._failed,
            ),
            fits_at_once=settings.fit.workers,
            poll_seconds=settings.engine.poll_seconds,
        )
        self._watcher = Watcher(
            settings.grouping,
            self.spool,
            parameters=settings.result_parameters(),
            software_version=dicomnode.__version__,
            is_receiving=self._is_receiving,
            start=self._start_job,
        )
        self._receiver = Receiver(settings, self.spool, self._watcher.wake)

    @property
    def port(self) -> int:
        """The port the receiver listens on."""
        return self._receiver.port

    def start(self) -> None:
        """Start every part, the receiver last: nothing is accepted before it can be kept and followed up."""
        self.spool.create()
        self._owned.enter_context(self.spool.lock())
        self._engine.start()
        self._take_up()
        self._watcher.start()
        self._receiver.start()
        self._log.info("started", version=dicomnode.__version__, folder=str(self.spool.folder))

    def stop(self) -> None:
        """Stop every part, the receiver first."""
        self._receiver.stop()
        self._watcher.stop()
        self._engine.stop()
        self._children.stop()
        self._owned.close()
        self._log.info("stopped")

    def serve(self, stop: threading.Event) -> None:
        """Run until told to stop."""
        self.start()
        try:
            while not stop.wait(1.0):
                self.answer_requests()
        finally:
            self.stop()

    def answer_requests(self) -> None:
        """Do what operators asked for by ``dicomnode retry``."""
        for path in sorted(self.spool.requests.glob("*.json")):
            request = read_json(path)
            for key in request["keys"]:
                self._retry(self.spool.job(key))
            for study_uid in request["studies"]:
                self._watcher.wake(study_uid)
            path.unlink()

    def _is_receiving(self, study_uid: str) -> bool:
        return self._receiver.is_receiving(study_uid)

    def _start_job(self, manifest: dict[str, Any]) -> str:
        """Make a job durable, then queue it."""
        job = pipeline.create(self.spool, manifest, datetime.now(UTC), self._settings.report)
        self._engine.process(job.key, int(job.state.get("run", 0)))
        return job.key

    def _take_up(self) -> None:
        """Queue whatever the files say is not finished; what the engine knows already is not queued twice."""
        for job in self.spool.all_jobs():
            state = job.state
            if state["status"] in {"done", "failed", "refused"}:
                continue
            if job.outputs is not None:
                self._deliver_what_is_left(job)
                continue
            run = int(state.get("run", 0))
            while self._engine.over(job.key, run):
                run += 1
            job.say("queued", run=run)
            self._engine.process(job.key, run)

    def _deliver_what_is_left(self, job: Job) -> None:
        for name in self._deliveries.names():
            delivery = job.delivery(name)
            if delivery["status"] not in FINISHED:
                self._engine.deliver(job.key, name, int(delivery["attempt"]) + (delivery["status"] == "delayed"))

    def _retry(self, job: Job) -> None:
        """Run a failed job again, or its deliveries that ended badly."""
        state = job.state
        run = int(state.get("run", 0)) + 1
        for name in self._deliveries.names():
            delivery = job.delivery(name)
            if delivery["status"] in FINISHED and delivery["status"] != "delivered":
                job.say_delivery(
                    name, {**delivery, "status": "waiting", "refused": {}, "attempt": run * 1000, "first": None}
                )
        job.say("queued", None, run=run)
        if job.outputs is None:
            self._engine.process(job.key, run)
        else:
            self._deliver_what_is_left(job)

    def _step(self, name: str) -> Any:
        """One step of a job, run in a child process; a job that keeps killing its process is given up."""

        def step(key: str) -> None:
            job = self.spool.job(key)
            job.say(
                {"fit": "fitting", "measure": "measuring", "report": "reporting"}[name], run=job.state.get("run", 0)
            )
            for death in range(1, self._settings.fit.deaths_allowed + 1):
                try:
                    self._children.run(pipeline.run_step, str(self.spool.folder), key, name)
                except ChildDied:
                    self._log.error("step_died", key=key, step=name, death=death)
                    if death == self._settings.fit.deaths_allowed:
                        raise NodeError(f"the {name} step killed its process {death} times") from None
                else:
                    break
            if name == pipeline.STEPS[-1]:
                job.say("delivering")

        return step

    def _failed(self, key: str, step: str, fault: Exception) -> None:
        reason = str(fault) if isinstance(fault, NodeError) else f"{type(fault).__name__}: {fault}"
        job = self.spool.job(key)
        if "drawing" in job.manifest and isinstance(fault, InputError):
            job.say("refused", reason)  # a person can draw it again; nothing here is broken
        else:
            job.say("failed", f"{step}: {reason}")
        self._log.error("job_failed", key=key, step=step, reason=reason, exc_info=fault)


def use_cache_directory() -> None:
    """Let numba cache compiled kernels where systemd lets the service write."""
    cache = os.environ.get("CACHE_DIRECTORY")
    if cache:
        os.environ.setdefault("NUMBA_CACHE_DIR", cache.split(":")[0])
