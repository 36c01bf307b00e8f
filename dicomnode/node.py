"""Constructs, starts and stops the parts of the node; the only module that does."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dicomnode
from dicomnode.delivery.deliver import FINISHED, Deliveries
from dicomnode.delivery.send import Sender
from dicomnode.errors import InputError, NodeError
from dicomnode.intake.receive import Receiver
from dicomnode.intake.watch import Watcher
from dicomnode.jobs import pipeline
from dicomnode.jobs.children import ChildDied, Children
from dicomnode.jobs.engine import Engine, Standing, Work
from dicomnode.logs import logger
from dicomnode.store.durable import read_json
from dicomnode.store.spool import Spool

if TYPE_CHECKING:
    import threading

    from dicomnode.config import Settings
    from dicomnode.store.job import Job


_DOING = {"fit": "fitting", "measure": "measuring", "report": "reporting"}
_ENDS = {"done", "failed", "refused"}  # what is so stays so until an operator asks
_ROUND_SECONDS = 300.0


class Node:
    """A running node: receiver, watcher, engine, sender."""

    def __init__(self, settings: Settings) -> None:
        folder = settings.storage_folder()
        self._settings = settings
        self._log = logger("node")
        self.spool = Spool(folder, settings.storage.minimum_free_mb)
        self._running = contextlib.ExitStack()
        self._next_round = 0.0
        self._children = Children(settings.fit.workers)
        self._deliveries = Deliveries(self.spool, settings.destination, Sender(settings.node.ae_title, settings.tls))
        self._engine = Engine(
            settings.engine_url(),
            Work(
                steps=tuple((name, self._step(name)) for name in pipeline.STEPS),
                destinations=self._destinations,
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
            drawing_replaces=settings.report.drawing_replaces_result,
        )
        self._receiver = Receiver(settings, self.spool, self._watcher.wake)

    @property
    def port(self) -> int:
        """The port the receiver listens on."""
        return self._receiver.port

    def start(self) -> None:
        """Start every part, the receiver last: nothing is accepted before it can be kept and followed up."""
        self.spool.create()
        with contextlib.ExitStack() as running:
            running.enter_context(self.spool.lock())
            running.callback(self._children.stop)
            self._engine.start(self.spool.name())
            running.callback(self._engine.stop)
            self._take_up()
            self._watcher.start()
            running.callback(self._watcher.stop)
            self._receiver.start()
            running.callback(self._receiver.stop)
            self._running = running.pop_all()
        self._next_round = time.monotonic() + _ROUND_SECONDS
        self._log.info("started", version=dicomnode.__version__, folder=str(self.spool.folder))

    def stop(self) -> None:
        """Stop every part, the receiver first."""
        self._running.close()
        self._log.info("stopped")

    def serve(self, stop: threading.Event) -> None:
        """Run until told to stop."""
        self.start()
        try:
            while not stop.wait(1.0):
                self.answer_requests()
                self.go_round(time.monotonic())
        finally:
            self.stop()

    def go_round(self, now: float) -> None:
        """From time to time, queue again what came to an end without being finished, as when a disk was full."""
        if now >= self._next_round:
            self._next_round = now + _ROUND_SECONDS
            try:
                self._engine.take_up_lost()
                self._take_up()
            except Exception:  # noqa: BLE001  the edge of a turn; the queue's disk may still be full
                self._log.exception("round_failed")

    def answer_requests(self) -> None:
        """Do what operators asked for by ``dicomnode retry``; what cannot be done holds up nothing."""
        for path in sorted(self.spool.requests.glob("*.json")):
            try:
                request = read_json(path)
                for key in request["keys"]:
                    self._retry(self.spool.job(key))
                for study_uid in request["studies"]:
                    self._watcher.wake(study_uid)
            except Exception:  # noqa: BLE001  the edge of a turn
                self._log.exception("request_failed", request=path.name)
            with contextlib.suppress(OSError):
                path.unlink()

    def _is_receiving(self, study_uid: str) -> bool:
        return self._receiver.is_receiving(study_uid)

    def _start_job(self, manifest: dict[str, Any]) -> str:
        """Make a job durable, then queue it."""
        job = pipeline.create(self.spool, manifest, datetime.now(UTC), self._settings.report)
        self._engine.process(job.key, int(job.state.get("run", 0)))
        return job.key

    def _take_up(self) -> None:
        """Queue whatever the files say is not finished; what the engine has in hand already is left to it."""
        for job in self.spool.all_jobs():
            try:
                self._go_on(job)
            except Exception:  # noqa: BLE001  one damaged job must not hold up the others
                self._log.exception("job_not_taken_up", key=job.key)

    def _go_on(self, job: Job) -> None:
        state = job.state
        if state["status"] in _ENDS:
            return
        run = int(state.get("run", 0))
        while (standing := self._engine.process_standing(job.key, run)) is Standing.OVER:
            run += 1
        # Read again after the standing: a run says how it ended before it is over.
        if standing is Standing.GOING or job.state["status"] in _ENDS:
            return
        if job.outputs is None:
            job.say("queued", run=run)
            self._engine.process(job.key, run)
        else:
            self._deliver_what_is_left(job)

    def _destinations(self, key: str) -> list[tuple[str, int]]:
        job = self.spool.job(key)
        return [(name, int(job.delivery(name)["attempt"])) for name in self._deliveries.names()]

    def _deliver_what_is_left(self, job: Job) -> None:
        for name in self._deliveries.names():
            attempt = self._engine.next_attempt(job.key, name, int(job.delivery(name)["attempt"]))
            if job.delivery(name)["status"] not in FINISHED:
                self._engine.deliver(job.key, name, attempt)  # nothing happens when it is on its way
        self._deliveries.settle(job)

    def _retry(self, job: Job) -> None:
        """Run a failed job again, or its deliveries that ended badly or wait; what is on its way is left alone."""
        state = job.state
        run = int(state.get("run", 0))
        if state["status"] not in _ENDS and self._engine.process_standing(job.key, run) is Standing.GOING:
            return
        if job.outputs is None:
            job.say("queued", None, run=run + 1)
            self._go_on(job)
            return
        job.say("delivering")
        for name in self._deliveries.names():
            self._deliveries.forget_absence(name)
            delivery = job.delivery(name)
            if delivery["status"] == "delayed":
                self._engine.deliver_now(job.key, name, int(delivery["attempt"]) + 1)
            elif delivery["status"] in FINISHED and delivery["status"] != "delivered":
                again: dict[str, Any] = {
                    "status": "waiting",
                    "refused": {},
                    "first": None,
                    "attempt": int(delivery["attempt"]) + 1,
                }
                job.say_delivery(name, {**delivery, **again})
        self._deliver_what_is_left(job)

    def _step(self, name: str) -> Any:
        """One step of a job, run in a child process; a job that keeps killing its process is given up."""

        def step(key: str) -> None:
            job = self.spool.job(key)
            job.say(_DOING[name])
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
                self._deliveries.settle(job)  # where there is no destination, or all have it already

        return step

    def _failed(self, key: str, step: str, fault: Exception) -> None:
        reason = str(fault) if isinstance(fault, NodeError) else f"{type(fault).__name__}: {fault}"
        job = self.spool.job(key)
        if "drawing" in job.manifest and isinstance(fault, InputError):
            job.say("refused", reason)  # a person can draw it again; nothing here is broken
        else:
            job.say("failed", f"{step}: {reason}")
        self._log.error("job_failed", key=key, step=step, reason=reason, exc_info=fault)
