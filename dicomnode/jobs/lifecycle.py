"""The states of a job and of its deliveries, and which may follow which; every reader and writer goes through here."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from dicomnode.errors import NodeError, StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicomnode.store.job import Job


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    FITTING = "fitting"
    MEASURING = "measuring"
    REPORTING = "reporting"
    DELIVERING = "delivering"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"  # values or a drawing that cannot be measured: nothing here is broken, and a person can cure it
    KEPT = "kept"  # a person had it made again beside another result, and has not asked to send it
    OVERTAKEN = "overtaken"  # more of its series arrived before anything of it was sent: another result takes its place

    @property
    def is_end(self) -> bool:
        """Whether it stays so until an operator asks."""
        return self in _JOB_ENDS


class DeliveryStatus(StrEnum):
    """Where a delivery to one destination stands."""

    WAITING = "waiting"
    SENDING = "sending"
    DELAYED = "delayed"
    AWAITING_COMMITMENT = "awaiting commitment"  # it has every object, and has not said that it keeps them
    DELIVERED = "delivered"
    PARTLY_REFUSED = "partly refused"  # no longer said: what is refused is tried again, for days
    DEAD_LETTER = "dead letter"  # tried for days
    NOT_CONFIGURED = "not configured"
    REPLACED = "replaced"  # the result that replaces it was told there, and nothing is told after that

    @property
    def is_end(self) -> bool:
        """Whether it stays so until an operator asks."""
        return self in _DELIVERY_ENDS

    @property
    def is_pause(self) -> bool:
        """Whether the next attempt waits for its time."""
        return self in _PAUSES


class IllegalTransition(NodeError):
    """A state may not follow the one before it."""


_J, _D = JobStatus, DeliveryStatus
_JOB_ENDS = frozenset({_J.DONE, _J.FAILED, _J.REFUSED, _J.KEPT, _J.OVERTAKEN})
_DELIVERY_ENDS = frozenset({_D.DELIVERED, _D.PARTLY_REFUSED, _D.DEAD_LETTER, _D.NOT_CONFIGURED, _D.REPLACED})
_PAUSES = frozenset({_D.DELAYED, _D.AWAITING_COMMITMENT})
_STEPS = frozenset({_J.FITTING, _J.MEASURING, _J.REPORTING})
_BAD_ENDS = frozenset({_J.FAILED, _J.REFUSED, _J.OVERTAKEN})
_WITH_OUTPUTS = frozenset({_J.DELIVERING, _J.KEPT})

# A state may always be said again. QUEUED from anywhere: by an operator, or because the queue's database was lost and
# the files say what is left. A step or a delivery may come again where its end was not recorded before a crash, also
# after it had said how the job ended. DELIVERING or KEPT from wherever the outputs are found to be there.
JOB_TRANSITIONS: Mapping[JobStatus, frozenset[JobStatus]] = {
    _J.QUEUED: frozenset({_J.FITTING}) | _WITH_OUTPUTS | _BAD_ENDS,
    _J.FITTING: frozenset({_J.QUEUED, _J.MEASURING}) | _WITH_OUTPUTS | _BAD_ENDS,
    _J.MEASURING: frozenset({_J.QUEUED, _J.FITTING, _J.REPORTING}) | _WITH_OUTPUTS | _BAD_ENDS,
    _J.REPORTING: frozenset({_J.QUEUED}) | _STEPS | _WITH_OUTPUTS | _BAD_ENDS,
    _J.DELIVERING: frozenset({_J.QUEUED, _J.REPORTING, _J.DONE, _J.FAILED, _J.OVERTAKEN}),
    _J.DONE: frozenset({_J.QUEUED, _J.REPORTING, _J.DELIVERING, _J.FAILED}),
    _J.FAILED: frozenset({_J.QUEUED, _J.DELIVERING, _J.DONE}) | _STEPS,
    _J.REFUSED: frozenset({_J.QUEUED}) | _STEPS,
    _J.KEPT: frozenset({_J.QUEUED, _J.DELIVERING}) | _STEPS,
    _J.OVERTAKEN: frozenset({_J.QUEUED, _J.DELIVERING}),
}
# What is delivered stays delivered, unless an operator asks for it to be sent again. The other ends begin again when an
# operator asks, or when a crash came before the end was recorded in the queue. WAITING from anywhere: an operator wants
# all of it sent again, or an attempt found that it must not begin.
_ATTEMPTED = _DELIVERY_ENDS | _PAUSES | {_D.SENDING}
DELIVERY_TRANSITIONS: Mapping[DeliveryStatus, frozenset[DeliveryStatus]] = {
    _D.WAITING: _ATTEMPTED,
    _D.SENDING: _ATTEMPTED | {_D.WAITING},
    _D.DELAYED: _ATTEMPTED | {_D.WAITING},
    _D.AWAITING_COMMITMENT: _ATTEMPTED | {_D.WAITING},
    _D.DELIVERED: frozenset({_D.WAITING}),
    _D.PARTLY_REFUSED: _ATTEMPTED | {_D.WAITING},
    _D.DEAD_LETTER: _ATTEMPTED | {_D.WAITING},
    _D.NOT_CONFIGURED: _ATTEMPTED | {_D.WAITING},
    _D.REPLACED: _ATTEMPTED | {_D.WAITING},
}


@dataclass(frozen=True, slots=True)
class JobState:
    """What was last said of a job."""

    status: JobStatus = JobStatus.QUEUED
    reason: str | None = None
    run: int = 0  # how often it was begun anew
    code: str | None = None  # of the reason, where it is a refusal
    anyway: bool = False  # a person wants it processed although it is no liver's
    times: tuple[tuple[str, float], ...] = field(default=(), compare=False)  # status, and since when, for people


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was last said of the delivery of a result to one destination."""

    status: DeliveryStatus = DeliveryStatus.WAITING
    attempt: int = 0
    delivered: tuple[str, ...] = ()  # SOP Instance UIDs that the destination has confirmed
    refused: Mapping[str, str] = field(default_factory=dict)  # SOP Instance UID -> what the destination said last
    warnings: Mapping[str, str] = field(default_factory=dict)  # the same of objects that it has taken
    reason: str | None = None
    first: float | None = None  # when the trying began, seconds since the epoch, for people
    first_attempt: int = 0
    next: float | None = None  # when it is tried again, the same
    waited: float = 0.0  # seconds of pauses so far: what counts, for no clock is trusted over days
    committed: tuple[str, ...] = ()  # of those delivered: SOP Instance UIDs that it has said to keep
    transactions: tuple[str, ...] = ()  # UIDs of the requests for commitment whose reports count, newest last
    asked: float | None = None  # since when a report is awaited, seconds since the epoch, for people
    unanswered: float = 0.0  # seconds of pauses since the newest request
    maybe: bool = False  # something was sent of which nobody said whether it arrived

    def again(self) -> Delivery:
        """The same, to be tried anew: what is confirmed stays so, what was refused is offered again."""
        return Delivery(
            attempt=self.attempt + 1,
            delivered=self.delivered,
            warnings=self.warnings,
            committed=self.committed,
            transactions=self.transactions,
            maybe=self.maybe,
        )

    def without(self, failed: Mapping[str, str]) -> Delivery:
        """The same, with objects to be sent again that the destination does not have after all, and why."""
        return replace(
            self,
            delivered=tuple(uid for uid in self.delivered if uid not in failed),
            committed=tuple(uid for uid in self.committed if uid not in failed),
            refused={**self.refused, **failed},
        )

    def anew(self) -> Delivery:
        """The same from the beginning: what is confirmed is sent again, too."""
        return Delivery(attempt=self.attempt + 1)

    def as_json(self) -> dict[str, Any]:
        """JSON values by name, as they lie on the disk and as ``status --json`` prints them."""
        return {
            "status": self.status.value,
            "attempt": self.attempt,
            "delivered": list(self.delivered),
            "refused": dict(self.refused),
            "warnings": dict(self.warnings),
            "reason": self.reason,
            "first": self.first,
            "first_attempt": self.first_attempt,
            "next": self.next,
            "waited": self.waited,
            "committed": list(self.committed),
            "transactions": list(self.transactions),
            "asked": self.asked,
            "unanswered": self.unanswered,
            "maybe": self.maybe,
        }


def state(job: Job) -> JobState:
    """Where a job stands; raises StorageError where that cannot be read."""
    found = _last_said(job)
    return replace(found, status=JobStatus.OVERTAKEN) if _is_marked(job) else found


def _last_said(job: Job) -> JobState:
    said = job.read(_STATE)
    if said is None:
        return JobState()
    try:
        return JobState(
            JobStatus(said["status"]),
            said.get("reason"),
            int(said.get("run", 0)),
            said.get("code"),
            bool(said.get("anyway", False)),
            tuple((str(status), float(since)) for status, since in said.get("times", ())),
        )
    except (KeyError, TypeError, ValueError) as fault:
        raise StorageError(f"{job.folder / _STATE} is damaged") from fault


def say(
    job: Job,
    status: JobStatus,
    reason: str | None = None,
    *,
    code: str | None = None,
    run: int | None = None,
    anyway: bool = False,
) -> JobState:
    """Record where a job stands; what is to be processed ``anyway`` stays so. Raises IllegalTransition."""
    before = _last_said(job)
    if _is_marked(job) and status is not JobStatus.OVERTAKEN:
        raise _illegal("a job", JobStatus.OVERTAKEN, status)
    _allow("a job", before.status, status, JOB_TRANSITIONS)
    times = before.times if before.status is status and before.times else (*before.times, (status.value, time.time()))
    run = before.run if run is None else run
    after = JobState(status, reason, run, code, before.anyway or anyway, times[-_TIMES_KEPT:])
    job.write(_STATE, {**asdict(after), "status": after.status.value})
    return after


def overtake(job: Job) -> JobStatus:
    """Let nothing more be said of a job until it is given back; return what was said last.

    A mark of its own, for whoever works on the job may be about to say its next state, which does not undo this.
    """
    job.write(_OVERTAKEN, {"since": time.time()})
    return _last_said(job).status


def give_back(job: Job) -> None:
    """Let a job go on that was overtaken."""
    (job.folder / _OVERTAKEN).unlink(missing_ok=True)


def delivery(job: Job, destination: str) -> Delivery:
    """Where the delivery to a destination stands; raises StorageError where that cannot be read."""
    said = job.read(_receipt(destination))
    return Delivery() if said is None else _delivery(said, job, destination)


def deliveries(job: Job) -> dict[str, Delivery]:
    """Every delivery that was begun, by destination."""
    return {path.stem: delivery(job, path.stem) for path in sorted((job.folder / "receipts").glob("*.json"))}


def say_delivery(job: Job, destination: str, after: Delivery) -> None:
    """Record where the delivery to a destination stands; raises IllegalTransition."""
    before = delivery(job, destination)
    _allow(f"a delivery to {destination}", before.status, after.status, DELIVERY_TRANSITIONS)
    job.write(_receipt(destination), after.as_json())


def is_sent(job: Job) -> bool:
    """Whether a destination has, or may have, something of a result."""
    begun = (DeliveryStatus.SENDING, DeliveryStatus.AWAITING_COMMITMENT, DeliveryStatus.DELIVERED)
    return any(one.delivered or one.maybe or one.status in begun for one in deliveries(job).values())


def hold(job: Job, by: str) -> None:
    """Send nothing of a result until it is released; ``by`` is who wants that."""
    job.write(_HOLD, {"by": by, "since": time.time()})


def release(job: Job) -> None:
    """Let a result go that was held."""
    (job.folder / _HOLD).unlink(missing_ok=True)


def held_by(job: Job) -> str | None:
    """Who holds a result back; None where nobody does. Raises StorageError."""
    said = job.read(_HOLD)
    return None if said is None else str(said.get("by", ""))


_STATE = "state.json"
_HOLD = "hold.json"
_OVERTAKEN = "overtaken.json"
_TIMES_KEPT = 50  # of a job that is run again and again
_Status = TypeVar("_Status", JobStatus, DeliveryStatus)


def _is_marked(job: Job) -> bool:
    return (job.folder / _OVERTAKEN).exists()


def _receipt(destination: str) -> str:
    return f"receipts/{destination}.json"


def _delivery(said: Mapping[str, Any], job: Job, destination: str) -> Delivery:
    try:
        return Delivery(
            status=DeliveryStatus(said["status"]),
            attempt=int(said["attempt"]),
            delivered=tuple(said["delivered"]),
            refused=dict(said["refused"]),
            warnings=dict(said.get("warnings", {})),
            reason=said.get("reason"),
            first=said.get("first"),
            first_attempt=int(said.get("first_attempt", 0)),
            next=said.get("next"),
            waited=float(said.get("waited", 0.0)),
            committed=tuple(said.get("committed", ())),
            transactions=tuple(said.get("transactions", ())),
            asked=said.get("asked"),
            unanswered=float(said.get("unanswered", 0.0)),
            maybe=bool(said.get("maybe", False)),
        )
    except (KeyError, TypeError, ValueError) as fault:
        raise StorageError(f"{job.folder / _receipt(destination)} is damaged") from fault


def _allow(what: str, before: _Status, after: _Status, transitions: Mapping[_Status, frozenset[_Status]]) -> None:
    if after != before and after not in transitions[before]:
        raise _illegal(what, before, after)


def _illegal(what: str, before: _Status, after: _Status) -> IllegalTransition:
    return IllegalTransition(f"{what} that is {before.value} cannot become {after.value}")
