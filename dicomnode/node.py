"""Constructs, starts and stops the parts of the node; the only module that does."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import dicomnode
from dicomnode import analyse, events, logs
from dicomnode.audit import Trail
from dicomnode.audit.subject import Subjects
from dicomnode.config import changed
from dicomnode.delivery import kinds
from dicomnode.delivery.deliver import Deliveries
from dicomnode.delivery.priors import LookBack
from dicomnode.delivery.promised import Promised
from dicomnode.delivery.send import Sender
from dicomnode.errors import ConfigError, NodeError
from dicomnode.intake.receive import Receiver
from dicomnode.intake.study import is_overtaken
from dicomnode.intake.watch import Watcher
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs import pipeline, remake
from dicomnode.jobs.children import Children, Limits
from dicomnode.jobs.engine import Engine, Work
from dicomnode.jobs.members import Alone, QueueAway, Several
from dicomnode.jobs.recovery import Recovery
from dicomnode.jobs.retention import Retention
from dicomnode.jobs.space import Space
from dicomnode.jobs.steps import Steps
from dicomnode.notices import Notices
from dicomnode.reload import compare
from dicomnode.service import Service
from dicomnode.store.spool import Spool
from dicomnode.tls import Certificates

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from dicomnode.config import FitSettings, GroupingSettings, ScannerSettings, Settings
    from dicomnode.jobs.manifest import Manifest
    from dicomnode.jobs.members import Members
    from dicomnode.jobs.steps import RunStep
    from dicomnode.model import EchoStack
    from dicomnode.store.job import Job

_TRY_AGAIN_SECONDS = 5.0  # to reach a database that is away
_LOOK_SECONDS = 30.0  # between looks for what this process has lost
_SILENT_SECONDS = 300.0  # a watcher that has not come to the end of a turn for so long is stuck
_LOOK_ELSEWHERE_SECONDS = 2.0  # between looks for what other machines have received


class Node:
    """A running node: receiver, watcher, engine, sender; or one of several that share a folder and a database.

    One that does not receive is a worker. Of all, one decides what is complete, and another when that one is gone.
    ``sender``, ``children`` and ``run_step`` stand in for the real ones; ``sinks`` are told of every event, beside the
    log, and ``beside`` of a configuration that was read again.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        sender: Sender | None = None,
        children: Children | None = None,
        run_step: RunStep = pipeline.run_step,
        receives: bool = True,
        sinks: tuple[events.Sink, ...] = (),
        beside: tuple[Callable[[Settings], None], ...] = (),
    ) -> None:
        analyse.extensions()  # what cannot be used is refused before anything is received
        self._settings, self._receives, self._beside = settings, receives, beside
        self._running = contextlib.ExitStack()
        folder, shared = settings.storage_folder(), settings.is_shared()
        self.spool = Spool(folder, settings.storage.minimum_free_mb, shared=shared)
        self._subjects = Subjects(self.spool, patient_id=settings.audit.patient_id)
        self.audit = Trail(settings, folder / "audit", Certificates(settings.tls), study_of=self._subjects)
        self._notices = Notices(settings, folder / "notices")
        self._say = say = events.to_all(logs.write, self.audit, self._notices, *sinks)
        self._members: Members = Several(settings.engine_url(), say) if shared else Alone()
        self._space = Space(folder, say)
        self._sender = sender or Sender(settings.node.ae_title, settings.tls, say)
        self._carriers = kinds.carriers(settings.tls, say)
        self._deliveries = self._made_deliveries()
        self._look_back = LookBack(self.spool, settings, kinds.archives(self._sender, self._carriers), say)
        self._promised = Promised(settings, self.spool, self._sender, say)
        self._children = children or _children(settings.fit)
        self.engine = self._made_engine(run_step)
        self._retention = Retention(self.spool, settings.retention, say=say)
        self.recovery = self._made_recovery()
        shown = settings.web.certificate if settings.web.enabled else None
        self._certificates = Certificates(settings.tls, say, also=() if shown is None else (shown,))
        self._receiver = self._made_receiver()
        self._watcher: Watcher | None = None  # of the one process that decides
        self._connected = False
        self._next_try = self._next_look = 0.0
        self._polled = time.monotonic()  # when the queues were last known to be looked into
        self._known_stuck: tuple[str, ...] = ()

    # ---- the parts, by room; each is made of those before it

    def _made_deliveries(self) -> Deliveries:
        return Deliveries(
            self.spool,
            self._settings.destination,
            self._sender,
            carriers=self._carriers,
            more_is_coming=self._expects_more,
            space=self._space,
            say=self._say,
        )

    def _made_engine(self, run_step: RunStep) -> Engine:
        settings, deliveries = self._settings, self._deliveries
        steps = Steps(
            self.spool,
            self._children,
            deaths_allowed=settings.fit.deaths_allowed,
            settle=deliveries.settle,
            look_back=self._look_back,
            run_step=run_step,
            space=self._space,
            say=self._say,
        )
        return Engine(
            settings.engine_url(),
            Work(steps.table(), deliveries.beginnings, deliveries.attempt, steps.failed),
            fits_at_once=settings.fit.workers,
            poll_seconds=settings.engine.poll_seconds,
            versions=manifests.KNOWN_VERSIONS,
            say=self._say,
        )

    def _made_recovery(self) -> Recovery:
        return Recovery(
            self.spool,
            self.engine,
            self._deliveries,
            self._settings.report,
            look_at=self._look_at,
            rules_of=self._rules_of,
            remake=self._remake,
            purge=self._retention.purge,
            space=self._space,
            is_dead=self._members.is_dead,
            say=self._say,
        )

    def _made_receiver(self) -> Receiver:
        return Receiver(
            self._settings,
            self.spool,
            self._look_at,
            self._say,
            member=self._members.own,
            certificates=self._certificates,
            reported=self._commitment_reported,
        )

    def _made_watcher(self) -> Watcher:
        settings, rules = self._settings, self._settings.grouping
        if settings.is_shared():  # what arrives at another machine is not said here
            rules = rules.model_copy(update={"rescan_seconds": min(rules.rescan_seconds, _LOOK_ELSEWHERE_SECONDS)})
        return Watcher(
            rules,
            self.spool,
            parameters=settings.result_parameters(),
            software_version=dicomnode.__version__,
            bringing=self._receiver.bringing,
            stays_open=self._stays_open,
            open_elsewhere=self._open_elsewhere,
            start=self.recovery.start,
            drawing_replaces=settings.report.drawing_replaces_result,
            rules_of=self._rules_of,
            scanners=self._scanners,
            say=self._say,
        )

    # ---- what others ask of it

    @property
    def port(self) -> int:
        """The port the receiver listens on."""
        return self._receiver.port

    def ailments(self) -> dict[str, str]:
        """What of the node does not work, and why; empty where all does. Waits for a database that is away."""
        found = {}
        if self._receives and not self._receiver.listens:
            found["receiver"] = "scanners cannot connect"
        watcher = self._watcher
        if watcher is not None and watcher.silent_seconds() > _SILENT_SECONDS:
            found["watcher"] = "what arrives is not looked at"
        if not self._connected or not self.engine.answers():
            found["queue"] = "the queue's database does not answer; images are taken in and wait"
        return found

    def start(self) -> None:
        """Start every part, the receiver last: nothing is accepted before it can be kept.

        Where the queue is a server that does not answer, images are taken in all the same: the files say what is to do.
        """
        self.spool.create()
        tellers = (self.audit, self._notices)
        for one in tellers:
            one.start()
        try:
            self._start()
        except BaseException:
            for one in tellers:
                one.stop()
            raise
        self._say(events.Started(dicomnode.__version__, str(self.spool.folder)))

    def _start(self) -> None:
        with contextlib.ExitStack() as running:
            running.enter_context(self.spool.lock())
            self._children.start()
            running.callback(self._children.stop)
            running.callback(self._members.leave)
            running.callback(self.engine.stop)
            running.callback(self._space.stop)
            running.callback(self._follow)
            self.turn(time.monotonic())
            if self._receives:
                self._receiver.start()
                running.callback(self._receiver.stop)
            self._running = running.pop_all()

    def stop(self) -> None:
        """Stop every part, the receiver first."""
        self._running.close()
        self._say(events.Stopped())
        self.audit.stop()
        self._notices.stop()

    def serve(
        self,
        stop: threading.Event,
        *,
        service: Service | None = None,
        reread: Callable[[], Settings | None] = lambda: None,
    ) -> None:
        """Run until told to stop, telling ``service`` how it goes.

        ``reread`` gives the configuration where it is to be read again, and None otherwise.
        """
        service = service or Service({})
        self.start()
        try:
            self._tell(service, time.monotonic())
            while not stop.wait(1.0):
                self._reread(service, reread)
                self.turn(time.monotonic())
                self._tell(service, time.monotonic())
        finally:
            service.stopping()
            self.stop()

    def use(self, read: Settings) -> None:
        """Take at once what can change at once; raises ConfigError, and then nothing has changed."""
        change = compare(self._settings, read)
        settings = change.settings
        audits = settings.audit.host is not None and settings.audit.transport == "tls"
        sends = audits or any(one.tls or one.url for one in settings.destination)
        Certificates(settings.tls).try_out(sends=sends)
        self._settings = settings
        logs.set_level(settings.node.log_level)
        self.spool.keep_free(settings.storage.minimum_free_mb)
        self._certificates.use(settings.tls)
        self._sender.use(settings.tls)
        for kind in self._carriers.values():
            kind.use(settings.tls)
        self._subjects.use(patient_id=settings.audit.patient_id)
        for use in (self._receiver.use, self._promised.use, self.audit.use, self._notices.use, *self._beside):
            use(settings)
        self._deliveries.use(settings.destination)
        self._look_back.use(settings)
        self._retention.use(settings.retention)
        self.recovery.hurry()
        self._say(events.ConfigurationRead(change.at_once, change.after_restart))

    def _reread(self, service: Service, reread: Callable[[], Settings | None]) -> None:
        try:
            read = reread()
            if read is None:
                return
            service.reloading()
            self.use(read)
        except ConfigError as fault:
            service.reloading()
            self._say(events.ConfigurationNotTaken(str(fault)))
        service.reloaded()

    def _tell(self, service: Service, now: float) -> None:
        """Say how it goes, unless a part hangs: then this process is of no use any more."""
        stuck = self._stuck(now, service.patience_seconds)
        if not stuck:
            service.turned(now, ready=self._connected, how=self._how())
        elif stuck != self._known_stuck:
            self._say(events.Stuck(stuck))
            service.stuck(stuck)
        self._known_stuck = stuck

    def _stuck(self, now: float, patience_seconds: float) -> tuple[str, ...]:
        """The parts that have not turned for so long; that the queue answers is known, or this would not be asked."""
        turned = {"receiver": self._receiver.turned if self._receives else now}
        if self._watcher is not None:
            turned["watcher"] = self._watcher.turned
        if self._connected and self.engine.is_polling():
            self._polled = now
        turned["queue"] = self._polled if self._connected else now
        return tuple(name for name, when in turned.items() if now - when > patience_seconds)

    def _how(self) -> str:
        if not self._connected:
            return "the queue's database does not answer" + ("; images are taken in" if self._receives else "")
        if not self._receives:
            return "working"
        return f"listening on {self._settings.node.host}:{self.port}, {self._receiver.connections} connections"

    def turn(self, now: float) -> None:
        """What is to be done from time to time: reach the queue, decide if this process does, end pauses."""
        self._certificates.remind(now)
        if not self._connected and now >= self._next_try:
            self._connect(now)
        if not self._connected:
            return
        if self._members.leads():
            self._lead(now)
            self.recovery.turn(now)
            self._retention.turn(now)
            return
        self._follow()
        try:
            self.engine.end_pauses()
            if now >= self._next_look:
                self._next_look = now + _LOOK_SECONDS
                self.engine.take_up_lost()
        except Exception as fault:  # noqa: BLE001  the edge of a turn; the database may be away
            self._say(events.RoundFailed(fault))

    def _connect(self, now: float) -> None:
        self._next_try = now + _TRY_AGAIN_SECONDS
        try:
            self._members.join(self.spool.name())
            self.engine.start(self.spool.name(), self._members.own)
            self._connected = True
        except QueueAway as fault:
            self._say(events.QueueUnreachable(str(fault)))

    def _lead(self, now: float) -> None:
        """Decide what is complete, and put into the queue what the files say is not finished."""
        if self._watcher is not None:
            return
        self.recovery.take_up(now)
        self._watcher = self._made_watcher()
        self._watcher.start()
        self._promised.start()

    def _follow(self) -> None:
        """Leave the deciding to another process, or to nobody."""
        if self._watcher is not None:
            self._promised.stop()
            self._watcher.stop()
            self._watcher = None

    def _open_elsewhere(self, study_uid: str) -> bool:
        """Whether an association at another machine brings something of a study; the marks of dead ones go."""
        found = self.spool.open_elsewhere(study_uid, self._members.own)
        dead = {member for member in found if self._members.is_dead(member)}
        for mark in (mark for member in dead for mark in found[member]):
            mark.unlink(missing_ok=True)
        return bool(found.keys() - dead)

    # These are called by parts that are made before what they ask for.

    def _expects_more(self, job: Job) -> bool:
        try:
            made_from = manifests.read(job)
        except NodeError:
            return False  # what is made already is not held back
        if made_from.drawing:
            return False
        study_uid, watcher = made_from.study_instance_uid, self._watcher
        if watcher is not None:
            return watcher.expects_more(study_uid, job.key)
        return is_overtaken(self.spool, study_uid, job.key)

    def _rules_of(self, sender: str, names: tuple[str, ...]) -> GroupingSettings:
        return self._settings.grouping_of(sender, names)

    def _remake(self, key: str, changes: Mapping[str, str]) -> tuple[Manifest, EchoStack]:
        return remake.manifest(self.spool, key, changed(self._settings, changes), dicomnode.__version__)

    def _scanners(self) -> dict[str, ScannerSettings]:
        return self._settings.choosing_scanners()

    def _stays_open(self, sender: str) -> bool:
        return any(one.ae_title == sender and one.keeps_association for one in self._settings.scanner)

    def _look_at(self, study_uid: str) -> None:
        watcher = self._watcher  # another thread may leave the deciding at this moment
        if watcher is not None:
            watcher.wake(study_uid)

    def _commitment_reported(self, key: str, destination: str) -> None:
        if not self._connected:
            return  # it is read beside the result at the next attempt
        try:
            self.recovery.commitment_reported(key, destination)
        except Exception as fault:  # noqa: BLE001  a hint; the queue may be away, and the next attempt looks anyway
            self._say(events.RoundFailed(fault))


def _children(fit: FitSettings) -> Children:
    """For as many series as are fitted at once, and one for small series, which none of the large ones holds up."""
    limits = Limits(fit.step_seconds, fit.step_memory_mb)
    return Children(fit.workers + 1, pipeline.prepare, limits, warm=fit.workers)
