"""Brings every object of a result to every destination, trying for days, and says what became of it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from dicomnode import events, logs
from dicomnode.delivery.send import Outcome
from dicomnode.errors import DeliveryError
from dicomnode.jobs import lifecycle
from dicomnode.jobs.lifecycle import Delivery, DeliveryStatus, JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from dicomnode.config import DestinationSettings
    from dicomnode.delivery.send import Sender, Sent
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool


class Deliveries:
    """Attempts deliveries; what each destination has confirmed is in the job's receipts, durable after each object."""

    def __init__(
        self,
        spool: Spool,
        destinations: Sequence[DestinationSettings],
        sender: Sender,
        clock: Callable[[], float] = time.time,
        say: events.Sink = logs.write,
    ) -> None:
        self._spool = spool
        self._destinations = {destination.name: destination for destination in destinations}
        self._sender = sender
        self._clock = clock
        self._say = say
        self._not_before: dict[str, tuple[float, str]] = {}  # by destination that could not be reached: when, why

    def names(self) -> list[str]:
        """Every destination."""
        return list(self._destinations)

    def beginnings(self, key: str) -> list[tuple[str, int]]:
        """Where a result goes, and with which attempt to begin."""
        job = self._spool.job(key)
        return [(name, lifecycle.delivery(job, name).attempt) for name in self._destinations]

    def attempt(self, key: str, name: str, attempt: int) -> float | None:
        """Send what one destination still lacks of a result; return seconds until the next attempt, None at the end."""
        job = self._spool.job(key)
        before = lifecycle.delivery(job, name)
        if before.status is DeliveryStatus.DELIVERED:
            self.settle(job)  # the end came before a crash and was not recorded in the queue
            return None
        begun = replace(before, attempt=attempt)
        if not begun.first:
            begun = replace(begun, first=self._clock(), first_attempt=attempt)
        destination = self._destinations.get(name)
        if destination is None:
            why = "this destination is no longer in the configuration"
            self._end(job, name, begun, DeliveryStatus.NOT_CONFIGURED, why)
            return None
        begun, problem = self._try(job, destination, begun)
        return self._judge(job, destination, begun, problem)

    def settle(self, job: Job) -> None:
        """A job whose deliveries have all ended is done, or failed where one was given up."""
        ends = {name: lifecycle.delivery(job, name) for name in self._destinations}
        if all(end.status.is_end for end in ends.values()):
            bad = {name: end for name, end in ends.items() if end.status is not DeliveryStatus.DELIVERED}
            given_up = any(end.status is DeliveryStatus.DEAD_LETTER for end in bad.values())
            reason = "; ".join(f"{name}: {end.reason}" for name, end in bad.items())
            lifecycle.say(job, JobStatus.FAILED if given_up else JobStatus.DONE, reason or None)

    def forget_absence(self, name: str) -> None:
        """Let the next attempt knock even if the destination could not be reached a moment ago."""
        self._not_before.pop(name, None)

    def _try(self, job: Job, destination: DestinationSettings, begun: Delivery) -> tuple[Delivery, str | None]:
        """Send what is missing; return what was confirmed, and why something must be tried again, if so."""
        missing = _missing(job, destination, begun)
        if not missing:
            return begun, None
        until, why = self._not_before.get(destination.name, (0.0, ""))
        if self._clock() < until:
            return begun, why  # it could not be reached a moment ago; do not knock for every waiting result
        state, later = begun, None
        try:
            for sent in self._sent(destination, missing):
                if sent.outcome is Outcome.LATER:
                    later = sent.reason
                    continue
                state = _with(state, sent)
                lifecycle.say_delivery(job, destination.name, replace(state, status=DeliveryStatus.SENDING))
        except DeliveryError as fault:
            later = str(fault)
            self._not_before[destination.name] = (self._clock() + destination.retry_first_seconds, later)
        except Exception as fault:  # noqa: BLE001  the edge of an attempt: whatever it was, it is said and tried again
            later = f"{type(fault).__name__}: {fault}"
            self._say(events.DeliveryCrashed(job.key, destination.name, begun.attempt, fault))
        return state, later

    def _sent(self, destination: DestinationSettings, missing: list[Path]) -> Iterator[Sent]:
        for sent in self._sender.send(destination, missing):
            if sent.outcome is Outcome.REFUSED:
                self._say(events.ObjectRefused(sent.sop_instance_uid, sent.reason))
            yield sent

    def _judge(self, job: Job, destination: DestinationSettings, tried: Delivery, problem: str | None) -> float | None:
        """End the delivery, or say when it is tried again."""
        name, begun_at = destination.name, tried.first or self._clock()
        if problem is None:
            refused = "; ".join(sorted(set(tried.refused.values()))) or None
            self._end(job, name, tried, DeliveryStatus.PARTLY_REFUSED if refused else DeliveryStatus.DELIVERED, refused)
            return None
        if self._clock() - begun_at > destination.give_up_after_hours * 3600.0:
            self._end(job, name, tried, DeliveryStatus.DEAD_LETTER, problem)
            return None
        doublings = min(tried.attempt - tried.first_attempt, 30)
        delay = min(destination.retry_first_seconds * 2.0**doublings, destination.retry_longest_seconds)
        later = replace(tried, status=DeliveryStatus.DELAYED, reason=problem, next=self._clock() + delay)
        lifecycle.say_delivery(job, name, later)
        self._say(events.DeliveryDelayed(job.key, name, tried.attempt, problem, delay))
        return delay

    def _end(self, job: Job, name: str, tried: Delivery, status: DeliveryStatus, reason: str | None) -> None:
        lifecycle.say_delivery(job, name, replace(tried, status=status, reason=reason, next=None))
        self._say(events.DeliveryEnded(job.key, name, status.value, len(tried.delivered)))
        self.settle(job)


def _missing(job: Job, destination: DestinationSettings, begun: Delivery) -> list[Path]:
    """The files that a destination wants and has not confirmed.

    Each attempt begins with another object: one that makes the destination hang up must not hold back the rest.
    """
    wanted = [one for one in job.outputs or () if one["product"] in destination.products]
    missing = [job.folder / one["path"] for one in wanted if one["sop_instance_uid"] not in begun.settled]
    begin = (begun.attempt - begun.first_attempt) % len(missing) if missing else 0
    return missing[begin:] + missing[:begin]


def _with(state: Delivery, sent: Sent) -> Delivery:
    if sent.outcome is Outcome.REFUSED:
        return replace(state, refused={**state.refused, sent.sop_instance_uid: sent.reason or "no reason given"})
    return replace(state, delivered=(*state.delivered, sent.sop_instance_uid))
