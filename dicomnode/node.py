"""Constructs, starts and stops the parts of the node; the only module that does."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import dicomnode
from dicomnode import events, logs
from dicomnode.delivery.deliver import Deliveries
from dicomnode.delivery.send import Sender
from dicomnode.errors import NodeError
from dicomnode.intake.receive import Receiver
from dicomnode.intake.watch import Watcher
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs import pipeline
from dicomnode.jobs.children import Children, Limits
from dicomnode.jobs.engine import Engine, Work
from dicomnode.jobs.recovery import Recovery
from dicomnode.jobs.space import Space
from dicomnode.jobs.steps import Steps
from dicomnode.store.spool import Spool

if TYPE_CHECKING:
    import threading

    from dicomnode.config import Settings
    from dicomnode.jobs.steps import RunStep
    from dicomnode.store.job import Job


class Node:
    """A running node: receiver, watcher, engine, sender.

    ``sender``, ``children`` and ``run_step`` stand in for the real ones; ``sinks`` are told of every event, beside the
    log.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        sender: Sender | None = None,
        children: Children | None = None,
        run_step: RunStep = pipeline.run_step,
        sinks: tuple[events.Sink, ...] = (),
    ) -> None:
        self._say = say = events.to_all(logs.write, *sinks)
        self._running = contextlib.ExitStack()
        self.spool = Spool(settings.storage_folder(), settings.storage.minimum_free_mb)
        self._space = space = Space(self.spool.folder, say)
        limits = Limits(settings.fit.step_seconds, settings.fit.step_memory_mb)
        self._children = children or Children(settings.fit.workers, pipeline.prepare, limits)
        sender = sender or Sender(settings.node.ae_title, settings.tls, say)
        more = self._expects_more
        deliveries = Deliveries(self.spool, settings.destination, sender, more_is_coming=more, space=space, say=say)
        steps = Steps(
            self.spool,
            self._children,
            deaths_allowed=settings.fit.deaths_allowed,
            settle=deliveries.settle,
            run_step=run_step,
            space=space,
            say=say,
        )
        self.engine = Engine(
            settings.engine_url(),
            Work(steps.table(), deliveries.beginnings, deliveries.attempt, steps.failed),
            fits_at_once=settings.fit.workers,
            poll_seconds=settings.engine.poll_seconds,
            say=say,
        )
        self.recovery = Recovery(
            self.spool,
            self.engine,
            deliveries,
            settings.report,
            look_at=self._look_at,
            rules_of=settings.grouping_of,
            space=space,
            say=say,
        )
        self._watcher = Watcher(
            settings.grouping,
            self.spool,
            parameters=settings.result_parameters(),
            software_version=dicomnode.__version__,
            bringing=self._bringing,
            stays_open=lambda sender: any(one.ae_title == sender and one.keeps_association for one in settings.scanner),
            start=self.recovery.start,
            drawing_replaces=settings.report.drawing_replaces_result,
            rules_of=settings.grouping_of,
            say=say,
        )
        self._receiver = Receiver(settings, self.spool, self._watcher.wake, say)

    @property
    def port(self) -> int:
        """The port the receiver listens on."""
        return self._receiver.port

    def start(self) -> None:
        """Start every part, the receiver last: nothing is accepted before it can be kept and followed up."""
        self.spool.create()
        with contextlib.ExitStack() as running:
            running.enter_context(self.spool.lock())
            self._children.start()
            running.callback(self._children.stop)
            self.engine.start(self.spool.name())
            running.callback(self.engine.stop)
            running.callback(self._space.stop)
            self.recovery.take_up(time.monotonic())
            self._watcher.start()
            running.callback(self._watcher.stop)
            self._receiver.start()
            running.callback(self._receiver.stop)
            self._running = running.pop_all()
        self._say(events.Started(dicomnode.__version__, str(self.spool.folder)))

    def stop(self) -> None:
        """Stop every part, the receiver first."""
        self._running.close()
        self._say(events.Stopped())

    def serve(self, stop: threading.Event) -> None:
        """Run until told to stop."""
        self.start()
        try:
            while not stop.wait(1.0):
                self.recovery.turn(time.monotonic())
        finally:
            self.stop()

    # The receiver and the watcher know of each other, and the watcher and the recovery: these are called later.

    def _bringing(self, study_uid: str) -> frozenset[str]:
        return self._receiver.bringing(study_uid)

    def _expects_more(self, job: Job) -> bool:
        try:
            made_from = manifests.read(job)
        except NodeError:
            return False  # what is made already is not held back
        return not made_from.drawing and self._watcher.expects_more(made_from.study_instance_uid, job.key)

    def _look_at(self, study_uid: str) -> None:
        self._watcher.wake(study_uid)
