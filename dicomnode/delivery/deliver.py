"""Brings every object of a result to every destination, trying for days, and says what became of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dicomnode.delivery.send import Outcome
from dicomnode.errors import DeliveryError
from dicomnode.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dicomnode.config import DestinationSettings
    from dicomnode.delivery.send import Sender
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool

FINISHED = ("delivered", "partly refused", "dead letter", "not configured")


class Deliveries:
    """Attempts deliveries; what each destination has confirmed is in the job's receipts, durable after each object."""

    def __init__(
        self,
        spool: Spool,
        destinations: Sequence[DestinationSettings],
        sender: Sender,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._spool = spool
        self._destinations = {destination.name: destination for destination in destinations}
        self._sender = sender
        self._clock = clock
        self._log = logger("deliver")
        self._not_before: dict[str, tuple[float, str]] = {}  # by destination that could not be reached: when, why

    def names(self) -> list[str]:
        """Every destination."""
        return list(self._destinations)

    def attempt(self, key: str, name: str, attempt: int) -> float | None:
        """Send what one destination still lacks of a result; return seconds until the next attempt, None at the end."""
        job = self._spool.job(key)
        state = job.delivery(name)
        if not state.get("first"):
            state.update(first=self._clock(), first_attempt=attempt)
        state["attempt"] = attempt
        destination = self._destinations.get(name)
        if destination is None:
            self._end(job, name, state, "not configured", "this destination is no longer in the configuration")
            return None
        try:
            problem = self._send(job, destination, state)
        except DeliveryError as fault:
            problem = str(fault)
            self._not_before[name] = (self._clock() + destination.retry_first_seconds, problem)
        except Exception as fault:  # noqa: BLE001  the edge of an attempt: whatever it was, it is said and tried again
            problem = f"{type(fault).__name__}: {fault}"
            self._log.exception("delivery_crashed", key=key, destination=name, attempt=attempt)
        if problem is None:
            refused = "; ".join(sorted(set(state["refused"].values()))) or None
            self._end(job, name, state, "partly refused" if refused else "delivered", refused)
            return None
        if self._clock() - state["first"] > destination.give_up_after_hours * 3600.0:
            self._end(job, name, state, "dead letter", problem)
            return None
        doublings = min(attempt - int(state["first_attempt"]), 30)
        delay = min(destination.retry_first_seconds * 2.0**doublings, destination.retry_longest_seconds)
        state.update(status="delayed", reason=problem, next=self._clock() + delay)
        job.say_delivery(name, state)
        self._log.warning("delivery_delayed", key=key, destination=name, attempt=attempt, reason=problem, seconds=delay)
        return delay

    def _send(self, job: Job, destination: DestinationSettings, state: dict[str, Any]) -> str | None:
        """Send what is missing; return why something must be tried again, if so."""
        wanted = [one for one in job.outputs or () if one["product"] in destination.products]
        settled = {*state["delivered"], *state["refused"]}
        missing = [job.folder / one["path"] for one in wanted if one["sop_instance_uid"] not in settled]
        if not missing:
            return None
        # Each attempt begins with another object: one that makes the destination hang up must not hold back the rest.
        begin = (state["attempt"] - state["first_attempt"]) % len(missing)
        missing = missing[begin:] + missing[:begin]
        until, why = self._not_before.get(destination.name, (0.0, ""))
        if self._clock() < until:
            return why  # it could not be reached a moment ago; do not knock for every waiting result
        later = None
        for sent in self._sender.send(destination, missing):
            if sent.outcome is Outcome.LATER:
                later = sent.reason
                continue
            if sent.outcome is Outcome.REFUSED:
                state["refused"][sent.sop_instance_uid] = sent.reason
                self._log.error("object_refused", instance=sent.sop_instance_uid, reason=sent.reason)
            else:
                state["delivered"].append(sent.sop_instance_uid)
            job.say_delivery(destination.name, {**state, "status": "sending"})
        return later

    def _end(self, job: Job, name: str, state: dict[str, Any], status: str, reason: str | None) -> None:
        state.update(status=status, reason=reason, next=None)
        job.say_delivery(name, state)
        log = self._log.info if status == "delivered" else self._log.error
        log("delivery_ended", key=job.key, destination=name, status=status, objects=len(state["delivered"]))
        self.settle(job)

    def settle(self, job: Job) -> None:
        """A job whose deliveries have all ended is done, or failed where one was given up."""
        ends = {name: job.delivery(name) for name in self._destinations}
        if all(end["status"] in FINISHED for end in ends.values()):
            troubles = [f"{name}: {end['reason']}" for name, end in ends.items() if end["status"] != "delivered"]
            given_up = any(end["status"] == "dead letter" for end in ends.values())
            job.say("failed" if given_up else "done", "; ".join(troubles) or None)

    def forget_absence(self, name: str) -> None:
        """Let the next attempt knock even if the destination could not be reached a moment ago."""
        self._not_before.pop(name, None)
