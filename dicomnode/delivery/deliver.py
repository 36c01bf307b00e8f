"""Brings every object of a result to every destination, trying for days, and says what became of it."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from dicomnode import events, logs
from dicomnode.delivery.carrier import Outcome
from dicomnode.delivery.confirm import Confirmation, Wait, wanted
from dicomnode.errors import Busy, DeliveryError, NoAnswer, NodeError
from dicomnode.jobs import lifecycle, rejections, tidy
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs.lifecycle import Delivery, DeliveryStatus, JobStatus
from dicomnode.jobs.space import Space, is_full

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from dicomnode.config import DestinationSettings
    from dicomnode.delivery.carrier import Carrier, Sent
    from dicomnode.delivery.send import Sender
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool


_SENDING = DeliveryStatus.SENDING
_GOOD_ENDS = (DeliveryStatus.DELIVERED, DeliveryStatus.REPLACED)
_HELD_SECONDS = 300.0  # the same for what a person holds back; to release it ends the pause
_ON_ITS_WAY = "the result it replaces is still on its way there"
_ARRIVING_SECONDS = 1.0  # between looks whether a result has been overtaken by more of its series


class Deliveries:
    """Attempts deliveries; what each destination has confirmed is in the job's receipts, durable after each object.

    ``sender`` serves destinations of kind "dicom", ``carriers`` those of the other kinds. ``more_is_coming`` tells
    whether images are arriving that will make a result obsolete; ``clock`` is one that nobody sets.
    """

    def __init__(
        self,
        spool: Spool,
        destinations: Sequence[DestinationSettings],
        sender: Sender,
        *,
        carriers: Mapping[str, Carrier] = MappingProxyType({}),
        more_is_coming: Callable[[Job], bool] = lambda _: False,
        space: Space | None = None,
        clock: Callable[[], float] = time.monotonic,
        say: events.Sink = logs.write,
    ) -> None:
        self._spool = spool
        self._space = space or Space(spool.folder, say)
        self.use(destinations)
        self._carriers: Mapping[str, Carrier] = {"dicom": sender, **carriers}
        self._confirmation = Confirmation(spool, sender, say)
        self._more_is_coming = more_is_coming
        self._clock = clock
        self._say = say

    def use(self, destinations: Sequence[DestinationSettings]) -> None:
        """Send there from the next attempt on; whoever could not be reached a moment ago may be at another address."""
        self._destinations = {destination.name: destination for destination in destinations}
        self._not_before: dict[str, tuple[float, str]] = {}  # by destination that could not be reached: when, why

    def names(self) -> list[str]:
        """Every destination."""
        return list(self._destinations)

    def beginnings(self, key: str) -> list[tuple[str, int]]:
        """Where a result goes, and with which attempt to begin."""
        job = self._spool.job(key)
        if lifecycle.state(job).status in {JobStatus.OVERTAKEN, JobStatus.KEPT}:
            return []
        return [(name, lifecycle.delivery(job, name).attempt) for name in self._destinations]

    def attempt(self, key: str, name: str, attempt: int) -> float | None:
        """Send what one destination still lacks of a result; return seconds until the next attempt, None at the end."""
        job = self._spool.job(key)
        if not manifests.exists(job) or lifecycle.state(job).status is JobStatus.OVERTAKEN:
            return None  # a person has removed it, or another has its place
        try:
            return self._space.patiently(lambda: self._attempt(key, name, attempt))
        except Exception:
            if manifests.exists(job):
                raise
            return None  # removed at this moment

    def _attempt(self, key: str, name: str, attempt: int) -> float | None:
        job = self._spool.job(key)
        before = lifecycle.delivery(job, name)
        if before.status is DeliveryStatus.DELIVERED:
            self.settle(job)  # the end came before a crash and was not recorded in the queue
            return None
        # Of an attempt that was cut off nobody knows what it has sent.
        begun = replace(before, attempt=attempt, maybe=before.maybe or before.status is _SENDING)
        if begun.first is None:
            begun = replace(begun, first=time.time(), first_attempt=attempt)
        destination = self._destinations.get(name)
        if destination is None:
            why = "this destination is no longer in the configuration"
            self._end(job, name, begun, DeliveryStatus.NOT_CONFIGURED, why)
            return None
        if not_yet := self._not_yet(job, begun):
            return self._wait(job, name, replace(begun, first=None), *not_yet)  # no trial: pauses of those begin small
        doing = begun if before.status is DeliveryStatus.AWAITING_COMMITMENT else replace(begun, status=_SENDING)
        lifecycle.say_delivery(job, name, doing)
        # From here on who would take its place waits for the end of this; who did before has left a word, which it may
        # take back when it sees this.
        if lifecycle.state(job).status is JobStatus.OVERTAKEN:
            lifecycle.say_delivery(job, name, before)
            return _ARRIVING_SECONDS
        if hindrance := _hindrance(job, destination):
            self._end(job, name, doing, *hindrance)
            return None
        tried, wait = self._try(job, destination, doing)
        return self._judge(job, destination, tried, wait)

    def _not_yet(self, job: Job, begun: Delivery) -> tuple[Wait, float] | None:
        """What is waited for before anything is sent, and the seconds until the next look."""
        if lifecycle.held_by(job) is not None:
            return Wait("held back by a person"), _HELD_SECONDS
        if not begun.delivered and self._more_is_coming(job):
            return Wait("more of its series is arriving"), _ARRIVING_SECONDS
        return None

    def settle(self, job: Job) -> None:
        """A job whose deliveries have all ended is done, or failed where one was given up."""
        ends = {name: lifecycle.delivery(job, name) for name in self._destinations}
        if all(end.status.is_end for end in ends.values()):
            bad = {name: end for name, end in ends.items() if end.status not in _GOOD_ENDS}
            gone = all(end.status is DeliveryStatus.NOT_CONFIGURED for end in bad.values())
            reason = "; ".join(f"{name}: {end.reason}" for name, end in bad.items())
            before, status = lifecycle.state(job).status, JobStatus.DONE if gone else JobStatus.FAILED
            lifecycle.say(job, status, reason or None)
            if before is not status:
                self._say(events.JobEnded(manifests.study_of(job), job.key, status.value, reason or None))
            if not bad:
                self._tidy(job)

    def forget_absence(self, name: str) -> None:
        """Let the next attempt knock even if the destination could not be reached a moment ago."""
        self._not_before.pop(name, None)

    def longest_pause(self, name: str) -> float:
        """The longest pause before an attempt at a destination, seconds."""
        destination = self._destinations.get(name)
        return 0.0 if destination is None else destination.retry_longest_seconds

    def _tidy(self, job: Job) -> None:
        """Keep of a result that is everywhere only what cannot be made again; whatever happens, it stays done."""
        try:
            tidy.tidy(self._spool, job)
        except (NodeError, OSError) as fault:
            self._say(events.NotTidied(job.key, str(fault)))

    def _try(self, job: Job, destination: DestinationSettings, begun: Delivery) -> tuple[Delivery, Wait | None]:
        """Send what is missing, ask whether it is kept, reject what it replaces; each when the one before is done."""
        if behind := self._behind(job, destination):
            return begun, behind
        state, wait = self._send(job, destination, begun, _missing(job, destination, begun))
        try:
            if wait is None:
                state, wait = self._confirmation.look(job, destination, state)
            if wait is None and destination.rejection_notes:
                state, wait = self._reject(job, destination, state)
        except Exception as fault:  # the edge of an attempt: whatever it was, it is said and tried again
            if is_full(fault) or not manifests.exists(job):
                raise  # what was confirmed could not be written down
            self._say(events.DeliveryCrashed(job.key, destination.name, begun.attempt, fault))
            return state, Wait(f"{type(fault).__name__}: {fault}")
        return state, wait

    def _behind(self, job: Job, destination: DestinationSettings) -> Wait | None:
        """Findings that replace others go after them: a record of patients keeps what it was told last."""
        made_from = None if destination.gets_objects else manifests.read(job)
        earlier = self._spool.job(made_from.supersedes) if made_from and made_from.supersedes else None
        if earlier is None or not manifests.exists(earlier):
            return None
        if not _has_ended(earlier, destination.name):
            return Wait(_ON_ITS_WAY)
        earlier.write(_replaced(destination.name), {"by": job.key})
        # A person may have asked for it at this moment: from now on it looks at the word.
        return None if _has_ended(earlier, destination.name) else Wait(_ON_ITS_WAY)

    def _send(
        self, job: Job, destination: DestinationSettings, begun: Delivery, files: Sequence[Path]
    ) -> tuple[Delivery, Wait | None]:
        """Send files; return what was confirmed, and why something must be tried again, if so."""
        if not files:
            return begun, None
        tidy.unpack(job)  # where a result that was done goes to one more destination
        until, why = self._not_before.get(destination.name, (-math.inf, ""))
        if self._clock() < until:
            return begun, Wait(why)  # it could not be reached a moment ago; do not knock for every waiting result
        state, problems, asked = begun, set[str](), 0.0
        self._say(events.DeliveryBegun(job.key, destination.name, len(files), manifests.study_of(job)))
        try:
            for sent in self._carriers[destination.kind].send(destination, list(files)):
                if sent.outcome is not Outcome.DELIVERED:
                    problems.add(sent.reason or "no reason given")
                    if state.refused.get(sent.sop_instance_uid) != sent.reason:
                        self._say(events.ObjectRefused(sent.sop_instance_uid, sent.reason))
                state = _with(state, sent)
                lifecycle.say_delivery(job, destination.name, replace(state, status=_SENDING))
        except DeliveryError as fault:
            problems.add(str(fault))
            state = replace(state, maybe=state.maybe or isinstance(fault, NoAnswer))
            asked = min(fault.seconds, destination.retry_longest_seconds) if isinstance(fault, Busy) else 0.0
            pause = max(destination.retry_first_seconds, asked)
            self._not_before[destination.name] = (self._clock() + pause, str(fault))
        except Exception as fault:  # the edge of an attempt, as above
            if is_full(fault) or not manifests.exists(job):
                raise
            problems.add(f"{type(fault).__name__}: {fault}")
            state = replace(state, maybe=True)
            self._say(events.DeliveryCrashed(job.key, destination.name, begun.attempt, fault))
        return state, Wait("; ".join(sorted(problems)), at_least=asked) if problems else None

    def _reject(self, job: Job, destination: DestinationSettings, state: Delivery) -> tuple[Delivery, Wait | None]:
        """Tell a destination that has this result that the one it replaces is rejected."""
        rejection = rejections.of(self._spool, job, destination.name)
        if rejection is None:
            return state, None
        if not rejection.is_settled:
            return state, Wait("the result it replaces is still on its way there, and is rejected when all of it is")
        if rejection.note_uid in state.delivered:
            return state, None
        tidy.unpack(job)
        return self._send(job, destination, state, [rejections.write(job, destination.name, rejection)])

    def _judge(self, job: Job, destination: DestinationSettings, tried: Delivery, wait: Wait | None) -> float | None:
        """End the delivery, or say when it is tried again: nothing that was refused is ever forgotten."""
        if wait is None:
            self._end(job, destination.name, tried, DeliveryStatus.DELIVERED, None)
            return None
        if tried.waited >= destination.give_up_after_hours * 3600.0:
            self._end(job, destination.name, tried, DeliveryStatus.DEAD_LETTER, wait.why)
            return None
        doublings = min(tried.attempt - tried.first_attempt, 30)
        delay = min(destination.retry_first_seconds * 2.0**doublings, destination.retry_longest_seconds)
        delay = max(delay, wait.at_least)
        if wait.seconds is None:
            self._say(events.DeliveryDelayed(job.key, destination.name, tried.attempt, wait.why, delay))
        else:
            delay = min(wait.seconds, destination.retry_longest_seconds)
            self._say(events.AwaitingCommitment(job.key, destination.name, wait.why, delay))
        later = replace(tried, waited=tried.waited + delay, unanswered=tried.unanswered + delay)
        return self._wait(job, destination.name, later, wait, delay)

    def _wait(self, job: Job, name: str, tried: Delivery, wait: Wait, delay: float) -> float:
        later = replace(tried, status=wait.status, reason=wait.why, next=time.time() + delay)
        lifecycle.say_delivery(job, name, later)
        return delay

    def _end(self, job: Job, name: str, tried: Delivery, status: DeliveryStatus, reason: str | None) -> None:
        lifecycle.say_delivery(job, name, replace(tried, status=status, reason=reason, next=None))
        lasted = 0.0 if tried.first is None else max(0.0, round(time.time() - tried.first, 3))
        said = events.DeliveryEnded(job.key, name, status.value, len(tried.delivered), manifests.study_of(job), lasted)
        self._say(said)
        self.settle(job)


def _hindrance(job: Job, destination: DestinationSettings) -> tuple[DeliveryStatus, str] | None:
    """How the delivery ends, and why, where nothing of a result can go to a destination any more."""
    if not destination.gets_objects and job.read(_replaced(destination.name)) is not None:
        return DeliveryStatus.REPLACED, "the result that replaces it was sent there"
    if not tidy.has_objects(job):
        return DeliveryStatus.DEAD_LETTER, "its objects are no longer kept here"
    if not destination.gets_objects and not (job.folder / job.FINDINGS).exists():
        why = "an older version made it, which kept no findings: process the study again"
        return DeliveryStatus.DEAD_LETTER, why
    return None


def _has_ended(job: Job, destination: str) -> bool:
    """Whether nothing of a result is on its way to a destination."""
    return lifecycle.state(job).status.is_end or lifecycle.delivery(job, destination).status.is_end


def _replaced(destination: str) -> str:
    return f"replaced/{destination}.json"


def _missing(job: Job, destination: DestinationSettings, begun: Delivery) -> list[Path]:
    """The files that a destination wants and has not confirmed.

    Each attempt begins with another object: one that makes the destination hang up must not hold back the rest.
    """
    lacking = (one for one in wanted(job, destination) if one["sop_instance_uid"] not in begun.delivered)
    missing = [job.folder / one["path"] for one in lacking]
    begin = (begun.attempt - begun.first_attempt) % len(missing) if missing else 0
    return missing[begin:] + missing[:begin]


def _with(state: Delivery, sent: Sent) -> Delivery:
    uid = sent.sop_instance_uid
    refused = {known: why for known, why in state.refused.items() if known != uid}
    if sent.outcome is not Outcome.DELIVERED:
        return replace(state, refused={**refused, uid: sent.reason or "no reason given"})
    warnings = {**state.warnings, uid: sent.reason} if sent.reason else state.warnings
    return replace(state, delivered=(*state.delivered, uid), refused=refused, warnings=warnings)
