"""Puts jobs into the queue: new ones, what a crash or a full disk left behind, what an operator asks for again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from dicomnode import events, logs, protocol
from dicomnode.errors import ConfigError, InputError, Newer, NodeError
from dicomnode.jobs import again, checkpoint, commitments, lifecycle, orders, pipeline, quality, remake, tidy
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs.engine import Standing
from dicomnode.jobs.lifecycle import DeliveryStatus, JobStatus
from dicomnode.jobs.space import Space
from dicomnode.store.durable import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from dicomnode.config import GroupingSettings, ReportSettings
    from dicomnode.jobs.manifest import Manifest
    from dicomnode.model import EchoStack
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool

Purge = Callable[[str, str, bool, str], None]  # study, reason, whether it may be undelivered, who wants it
Remake = Callable[[str, "Mapping[str, str]"], "tuple[Manifest, EchoStack]"]  # key, settings that are to be others
_ROUND_SECONDS = 300.0
_FORGET_SECONDS = 86400.0
_LOOK_FOR_DEAD_SECONDS = 6.0
_ROUND_SECONDS_AFTER_A_FULL_DISK = 3.0


def _cannot(_key: str, _changes: Mapping[str, str]) -> tuple[Manifest, EchoStack]:
    raise InputError("nothing is made again here")


class Queue(Protocol):
    """What drives the jobs: ``Engine``."""

    def process(self, key: str, run: int = 0, *, quick: bool = False, version: int = 1) -> None:
        """Put a job in; nothing happens when this run of it is known."""

    def process_standing(self, key: str, run: int) -> Standing:
        """Where a run of a job stands."""

    def deliver(self, key: str, destination: str, attempt: int, delay_seconds: float = 0.0) -> None:
        """Put an attempt to send a result in; nothing happens when this attempt is known."""

    def deliver_now(self, key: str, destination: str, attempt: int) -> None:
        """End the pause before an attempt."""

    def next_attempt(self, key: str, destination: str, attempt: int) -> int:
        """The first attempt, from the given one on, that is not over."""

    def remember_pause(self, key: str, destination: str, attempt: int, delay_seconds: float) -> None:
        """Know of a pause that an earlier process began."""

    def end_pauses(self) -> None:
        """Let attempts begin whose pause is over."""

    def take_over(self, is_dead: Callable[[str], bool]) -> None:
        """Put back what processes have begun that are gone."""

    def take_up_lost(self) -> None:
        """Start again what the queue believes is running and is not."""


class Destinations(Protocol):
    """Where results go: ``Deliveries``."""

    def names(self) -> list[str]:
        """Every destination."""

    def settle(self, job: Job) -> None:
        """Say that a job whose deliveries have all ended is done, or failed."""

    def longest_pause(self, name: str) -> float:
        """The longest pause before an attempt at a destination, seconds."""

    def forget_absence(self, name: str) -> None:
        """Let the next attempt knock even if the destination could not be reached a moment ago."""


class Recovery:
    """Every way into the queue; the files say what is not finished, whatever the queue remembers."""

    def __init__(
        self,
        spool: Spool,
        queue: Queue,
        deliveries: Destinations,
        settings: ReportSettings,
        *,
        look_at: Callable[[str], None],
        rules_of: Callable[[str, tuple[str, ...]], GroupingSettings],
        remake: Remake = _cannot,
        purge: Purge = lambda _study_uid, _reason, _undelivered, _by: None,
        space: Space | None = None,
        is_dead: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        say: events.Sink = logs.write,
    ) -> None:
        self._spool = spool
        self._queue = queue
        self._deliveries = deliveries
        self._settings = settings
        self._look_at = look_at  # asks for a look at a study
        self._rules_of = rules_of  # for what a sender sent, by the names of the series
        self._clock = clock
        self._say = say
        self._purge = purge
        self._remake = remake
        self._space = space or Space(spool.folder, say)
        self._is_dead = is_dead
        self._next_look_for_dead = 0.0
        self._next_round = 0.0
        self._next_forgetting = 0.0
        self._seen_done: set[str] = set()
        self._quality = quality.Rebuilder(spool)

    def start(self, manifest: Manifest, stack: EchoStack | None) -> str:
        """Make a job durable, then queue it; return its key."""
        earlier = None if manifest.drawing else manifest.supersedes
        if earlier == manifest.key:  # only something has come that gives no value, a phase for instance
            earlier, manifest = None, replace(manifest, supersedes=None)
        if earlier is not None:
            known = again.of_study(self._spool, manifest.study_instance_uid)
            return self._start(manifest, stack, self._spool.job(again.newest(known, earlier)))
        return self._start(manifest, stack, None)

    def _start(self, manifest: Manifest, stack: EchoStack | None, earlier: Job | None) -> str:
        """The same, in place of an earlier result."""
        holder = None
        if earlier is not None:
            self._overtake(earlier)
            manifest = replace(manifest, supersedes=self._replaced_by_what_follows(earlier))
            holder = lifecycle.held_by(earlier)
        job = pipeline.create(self._spool, manifest, stack, self._clock(), self._settings, held_by=holder)
        self._put_in(job, manifest, lifecycle.state(job).run)
        return job.key

    def reprocess(self, key: str, changes: Mapping[str, str], by: str, request: str, *, sends: bool) -> str:
        """Make a result again with some settings changed, beside the one of that key; return the key of the new one.

        ``request`` names what was asked: asked twice, as after a crash, it is done once. Raises InputError where it
        cannot be done, ConfigError where the changes cannot.
        """
        study_uid = manifests.study_of(self._spool.job(key))
        known = again.of_study(self._spool, study_uid)
        if sends:
            again.check_current(self._spool, study_uid, key)
        begun = next((new for new, one in known.items() if one.request == request), None)
        if begun is None or not manifests.exists(self._spool.job(begun)):
            try:
                made, stack = self._remake(key, changes)
            except remake.AlreadyMade as fault:
                if not sends or fault.key not in known:
                    raise
                begun = fault.key  # it is there, and only to be sent
            else:
                begun = self._begin_again(known, made, stack, again.Again(key, key, made.group_id, by, "", request))
                self._say(events.Reprocessed(study_uid, begun, key, by, sends))
        if sends:
            self._send_kept(self._spool.job(begun))
        self._go_on(self._spool.job(begun))
        return begun

    def _begin_again(self, known: Mapping[str, again.Again], made: Manifest, stack: EchoStack, one: again.Again) -> str:
        """Make a job durable that nobody sends as long as nobody asks."""
        root = known[one.of].root if one.of in known else one.of
        noted = replace(one, root=root, at=self._clock().isoformat(timespec="seconds"))
        again.note(self._spool, made.study_instance_uid, made.key, noted)
        would_replace = self._spool.job(again.newest(known, root))
        made = replace(made, supersedes=self._replaced_by_what_follows(would_replace))
        pipeline.create(self._spool, made, stack, self._clock(), self._settings)
        return made.key

    def _replaced_by_what_follows(self, job: Job) -> str | None:
        """What a result that follows another replaces where results go: that one, or what that one was to replace.

        Of what nothing can be read it is that one: it may have been sent.
        """
        if lifecycle.is_sent(job) or lifecycle.state(job).status is JobStatus.DONE or not manifests.exists(job):
            return job.key
        try:
            return manifests.read(job).supersedes
        except Newer:
            return job.key

    def _send_kept(self, job: Job) -> None:
        """Send what was made again, in place of what was sent before; raises InputError where that must not be.

        Its report says what it replaces, and is made again where that is another one by now.
        """
        made_from = manifests.read(job)
        again.check_current(self._spool, made_from.study_instance_uid, job.key)
        known = again.of_study(self._spool, made_from.study_instance_uid)
        earlier = self._spool.job(again.newest(known, known[job.key].root, before=job.key))
        if (holder := lifecycle.held_by(earlier)) is not None:
            lifecycle.hold(job, holder)  # before it may go
        again.send(self._spool, made_from.study_instance_uid, job.key)
        self._overtake(earlier)
        replaced = self._replaced_by_what_follows(earlier)
        if made_from.supersedes != replaced or (job.outputs is None and lifecycle.state(job).status is JobStatus.KEPT):
            lifecycle.give_back(job)
            (job.folder / "outputs.json").unlink(missing_ok=True)
            manifests.write(job, replace(made_from, supersedes=replaced))
            lifecycle.say(job, JobStatus.QUEUED, run=lifecycle.state(job).run + 1)
        elif lifecycle.state(job).status is JobStatus.KEPT:
            lifecycle.say(job, JobStatus.DELIVERING)

    def _put_in(self, job: Job, manifest: Manifest, run: int) -> None:
        self._queue.process(job.key, run, quick=manifest.is_small, version=manifest.version)

    def _overtake(self, job: Job) -> None:
        """End a job of which nothing was sent yet, where that can be, so that the PACS gets one report."""
        if not manifests.exists(job):
            return
        before = lifecycle.state(job).status
        if _has_ended(before) or (before is not JobStatus.OVERTAKEN and lifecycle.is_sent(job)):
            return
        try:
            made_from = manifests.read(job)
        except Newer:  # left alone: the later report says that it replaces it
            return
        last = lifecycle.overtake(job)
        if _has_ended(last) or lifecycle.is_sent(job):
            # At the same moment; an attempt looks at the state after it has said so.
            lifecycle.give_back(job)
            return
        try:
            lifecycle.say(job, JobStatus.OVERTAKEN, "more of its series arrived before it was sent")
        except lifecycle.IllegalTransition:  # it ended otherwise at this moment
            lifecycle.give_back(job)
            return
        if before is not JobStatus.OVERTAKEN:
            self._say(events.JobEnded(made_from.study_instance_uid, job.key, JobStatus.OVERTAKEN.value, None))

    def take_up(self, now: float) -> None:
        """Queue whatever the files say is not finished; what the engine has in hand already is left to it."""
        self._next_round = now + _ROUND_SECONDS
        self._take_over(now)
        if now >= self._next_forgetting:
            self._next_forgetting = now + _FORGET_SECONDS
            commitments.forget_old(self._spool)
        for job in self._spool.all_jobs():
            try:
                self._go_on(job)
            except Exception as fault:  # noqa: BLE001  one damaged job must not hold up the others
                self._say(events.JobNotTakenUp(job.key, fault))
        try:
            self._quality.round()
        except (NodeError, OSError) as fault:
            self._say(events.QualityNotKept("", str(fault)))

    def turn(self, now: float) -> None:
        """Answer requests; from time to time, queue again what ended without being finished, as on a full disk."""
        self._answer_requests()
        try:
            self._queue.end_pauses()
        except Exception as fault:  # noqa: BLE001  the edge of a turn
            self._say(events.RoundFailed(fault))
        if now >= self._next_look_for_dead:
            self._take_over(now)
        if self._space.was_short:
            self._next_round = min(self._next_round, now + _ROUND_SECONDS_AFTER_A_FULL_DISK)
        if now >= self._next_round:
            self._next_round = now + _ROUND_SECONDS
            try:
                self._queue.take_up_lost()
                self.take_up(now)
            except Exception as fault:  # noqa: BLE001  the edge of a turn; the queue's disk may still be full
                self._say(events.RoundFailed(fault))

    def commitment_reported(self, key: str, destination: str) -> None:
        """Let a delivery that awaits commitment look at what was reported; what is missed here its next look finds."""
        delivery = lifecycle.delivery(self._spool.job(key), destination)
        if delivery.status is DeliveryStatus.AWAITING_COMMITMENT:
            self._queue.deliver_now(key, destination, delivery.attempt + 1)

    def hurry(self) -> None:
        """Make the next turn look for what is not finished: there may be one more destination."""
        self._next_round = 0.0

    def _take_over(self, now: float) -> None:
        self._next_look_for_dead = now + _LOOK_FOR_DEAD_SECONDS
        try:
            self._queue.take_over(self._is_dead)
        except Exception as fault:  # noqa: BLE001  the edge of a turn
            self._say(events.RoundFailed(fault))

    def _answer_requests(self) -> None:
        """Do what operators asked for, by command or on the web page; what cannot be done holds up nothing."""
        for path in sorted(self._spool.requests.glob("*.json")):
            try:
                self._answer(path)
            except Exception as fault:  # noqa: BLE001  the edge of a turn
                self._say(events.RequestFailed(path.name, fault))
            with contextlib.suppress(OSError):
                path.unlink()

    def _answer(self, path: Path) -> None:
        request = read_json(path)
        what, by = request.get("what", "retry"), request.get("by", "")
        if request.get("anyway"):  # as the version before asks
            what = "process anyway"
        for study_uid in request.get("purge", ()):
            with self._by_itself(path.name):
                try:
                    self._purge(study_uid, request["reason"], request["undelivered"], by)
                except InputError as fault:
                    self._say(events.PurgeRefused(study_uid, str(fault)))
        done = []
        for key in request.get("keys", ()):
            with self._by_itself(path.name):
                try:
                    self._do(what, self._spool.job(key), request)
                    done.append(key)
                except (InputError, ConfigError) as fault:
                    self._say(events.RequestRefused(what, by, key, str(fault)))
        for one in request.get("groups", ()):
            with self._by_itself(path.name):
                self._order(one["study"], one["group"], by, one["code"])
        for study_uid in request.get("studies", ()):
            self._look_at(study_uid)
        studies = (*request.get("purge", ()), *request.get("studies", ()))
        if done or studies or request.get("groups"):
            self._say(events.Asked(what, by, tuple(done), studies))

    @contextlib.contextmanager
    def _by_itself(self, name: str) -> Iterator[None]:
        """Let what cannot be done, of the request of that name, keep nothing else from being done."""
        try:
            yield
        except Exception as fault:  # noqa: BLE001  the edge of a turn, for each of many
            self._say(events.RequestFailed(name, fault))

    def _do(self, what: str, job: Job, request: Mapping[str, Any]) -> None:
        """Do with one result what is asked for."""
        by = request.get("by", "")
        answers: dict[str, Callable[[], None]] = {
            "retry": lambda: self._retry(job),
            "hold": lambda: lifecycle.hold(job, by),
            "release": lambda: self._release(job),
            "send again": lambda: self._send_again(job, request.get("to") or self._deliveries.names()),
            "process anyway": lambda: self._process_anyway(job, by),
            "reprocess": lambda: self._reprocess(job, request),
        }
        answers[what]()

    def _go_on(self, job: Job) -> None:
        state = lifecycle.state(job)
        if state.status is JobStatus.DONE and job.key not in self._seen_done:
            self._seen_done.add(job.key)
            if tidy.is_untidy(job):
                self._deliveries.settle(job)  # it ended between two writes
        if state.status.is_end:
            return
        try:
            manifest: Manifest | Newer = manifests.read(job)
        except Newer as fault:
            self._say(events.LeftToNewer(job.key, str(fault)))
            manifest = fault
        run = state.run
        while (standing := self._queue.process_standing(job.key, run)) is Standing.OVER:
            run += 1
        # Read again after the standing: a run says how it ended before it is over.
        if standing is Standing.GOING or lifecycle.state(job).status.is_end:
            return
        if job.outputs is not None and again.is_kept_here(self._spool, job):
            lifecycle.say(job, JobStatus.KEPT)
        elif job.outputs is not None:
            self._deliver_what_is_left(job)
        elif isinstance(manifest, Newer):
            self._queue.process(job.key, run, version=manifest.version)  # into a queue that this software leaves alone
        else:
            lifecycle.say(job, JobStatus.QUEUED, run=run)
            self._put_in(job, manifest, run)

    def _deliver_what_is_left(self, job: Job) -> None:
        lifecycle.say(job, JobStatus.DELIVERING)
        for name in self._deliveries.names():
            delivery = lifecycle.delivery(job, name)
            attempt = self._queue.next_attempt(job.key, name, delivery.attempt)
            if not delivery.status.is_end:
                if delivery.status.is_pause:
                    self._queue.remember_pause(job.key, name, attempt, self._deliveries.longest_pause(name))
                self._queue.deliver(job.key, name, attempt)  # nothing happens when it is on its way
        self._deliveries.settle(job)

    def _release(self, job: Job) -> None:
        lifecycle.release(job)
        if lifecycle.state(job).status is not JobStatus.OVERTAKEN:
            self._retry(job)

    def _retry(self, job: Job, *, anyway: bool = False) -> None:
        """Run a failed job again, or its deliveries that ended badly or wait; what is on its way is left alone.

        ``anyway`` lets pass what was refused because it is no liver's; so do the rules of today.
        """
        state = lifecycle.state(job)
        _check_current(state.status)
        if state.status is JobStatus.KEPT:
            return
        going = self._queue.process_standing(job.key, state.run) is Standing.GOING
        if not state.status.is_end and going:
            return
        if job.outputs is None:
            rules = self._rules_of(manifests.read(job).sender, checkpoint.names(self._spool, job))
            wanted = anyway or rules.anatomy == "any"
            lifecycle.give_back(job)
            lifecycle.say(job, JobStatus.QUEUED, run=state.run + 1, anyway=wanted)
            self._go_on(job)
            return
        lifecycle.give_back(job)
        for name in self._deliveries.names():
            self._deliveries.forget_absence(name)
            delivery = lifecycle.delivery(job, name)
            if delivery.status.is_pause:
                if delivery.status is DeliveryStatus.DELAYED:  # its last word: what follows may not be put in yet
                    self._queue.deliver(job.key, name, delivery.attempt + 1)
                self._queue.deliver_now(job.key, name, delivery.attempt + 1)
            elif delivery.status.is_end and delivery.status is not DeliveryStatus.DELIVERED:
                lifecycle.say_delivery(job, name, delivery.again())
        self._deliver_what_is_left(job)

    def _reprocess(self, job: Job, request: Mapping[str, Any]) -> None:
        self.reprocess(job.key, request["changes"], request["by"], request["name"], sends=request["sends"])

    def _process_anyway(self, job: Job, by: str) -> None:
        """Let a job that was refused pass on a person's word; whatever else ended it is only tried again."""
        made_from, code = manifests.read(job), lifecycle.state(job).code or ""
        ordered = code in protocol.OVERRULED
        if ordered:
            self._order(made_from.study_instance_uid, made_from.group_id, by, code)
        self._retry(job, anyway=ordered)

    def _order(self, study_uid: str, group_id: str, by: str, code: str) -> None:
        if code in protocol.OVERRULED:
            order = orders.Order(by, self._clock().isoformat(timespec="seconds"), code)
            orders.give(self._spool, study_uid, group_id, order)
            self._say(events.Ordered(study_uid, group_id, by, code))

    def _send_again(self, job: Job, destinations: Sequence[str]) -> None:
        """Send all of a result to destinations, as to a PACS that lost it; what was never sent is left alone."""
        _check_current(lifecycle.state(job).status)
        if lifecycle.state(job).status is JobStatus.KEPT:
            self._send_kept(job)
            self._go_on(job)
            return
        if job.outputs is None or not lifecycle.state(job).status.is_end:
            return
        lifecycle.give_back(job)
        for name in set(destinations) & set(self._deliveries.names()):
            self._deliveries.forget_absence(name)
            lifecycle.say_delivery(job, name, lifecycle.delivery(job, name).anew())
        self._deliver_what_is_left(job)


def _check_current(status: JobStatus) -> None:
    """Raise InputError for a result that was overtaken: what took its place has all of its images, and more."""
    if status is JobStatus.OVERTAKEN:
        raise InputError("more of its series came before it was sent: ask for the result that took its place")


def _has_ended(status: JobStatus) -> bool:
    """Whether a job came to another end than being overtaken."""
    return status.is_end and status is not JobStatus.OVERTAKEN
