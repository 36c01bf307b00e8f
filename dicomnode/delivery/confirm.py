"""Whether a destination has for good what it took: storage commitment, then the reading back."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pydicom

from dicomnode import events
from dicomnode.commitment import Request, reason
from dicomnode.delivery.find import Sought
from dicomnode.errors import DeliveryError, NotOffered
from dicomnode.jobs import commitments, lifecycle, tidy
from dicomnode.jobs.commitments import Answer, Transaction
from dicomnode.jobs.lifecycle import Delivery, DeliveryStatus
from dicomnode.report import identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicomnode.commitment import Report
    from dicomnode.config import DestinationSettings
    from dicomnode.delivery.send import Sender
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool

_FIRST_LOOK_SECONDS = 1.0  # after the request; then ever later
_MOST_TRANSACTIONS = 100  # whose late reports count


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a delivery cannot end yet, and what it is until its next attempt."""

    why: str
    status: DeliveryStatus = DeliveryStatus.DELAYED
    seconds: float | None = None  # None: as after a refusal
    at_least: float = 0.0  # seconds that the destination asks for


class Confirmation:
    """Asks a destination that took every object of a result; what it says is in the receipt."""

    def __init__(self, spool: Spool, sender: Sender, say: events.Sink) -> None:
        self._spool = spool
        self._sender = sender
        self._say = say
        self._not_offering: set[tuple[str, str]] = set()  # destination and what was said of it

    def look(self, job: Job, destination: DestinationSettings, state: Delivery) -> tuple[Delivery, Wait | None]:
        """What the receipt says now, and what is waited for, if anything."""
        wait = None
        if destination.storage_commitment != "off":
            state, wait = self._committed(job, destination, state)
        if wait is None and destination.read_back:
            state, wait = self._read_back(job, destination, state)
        return state, wait

    # ---- storage commitment

    def _committed(self, job: Job, destination: DestinationSettings, state: Delivery) -> tuple[Delivery, Wait | None]:
        """Read what was reported; ask where nothing was for too long."""
        state, wait = self._reported(job, destination, state)
        if wait is not None or not _uncommitted(job, destination, state):
            return state, wait
        if state.asked is not None and state.unanswered < destination.commitment_seconds:
            return state, _awaiting(destination, state)
        since = state.asked or time.time()
        state = self._begin(job, destination, state)
        try:
            self._ask(job, destination, state)
        except NotOffered as fault:
            return state, self._not_offered(destination, "storage_commitment", fault)
        except DeliveryError as fault:
            return state, Wait(str(fault), DeliveryStatus.AWAITING_COMMITMENT)
        state = replace(state, asked=since)
        state, wait = self._reported(job, destination, state)
        if wait is None and _uncommitted(job, destination, state):
            wait = _awaiting(destination, state)
        return state, wait

    def _reported(self, job: Job, destination: DestinationSettings, state: Delivery) -> tuple[Delivery, Wait | None]:
        """Take in what was reported: of any request what is kept, of the one that is awaited what is not.

        What an older one found missing, the newest finds missing too, unless it was sent again since.
        """
        found = commitments.answers(job, destination.name, state.transactions)
        kept = {uid for one in found for uid in one.committed}
        state = replace(state, committed=tuple(uid for uid in state.delivered if uid in kept or uid in state.committed))
        newest = found[-1] if found and state.asked is not None else Answer()
        failed = {uid: f"not committed: {reason(why)}" for uid, why in newest.failed}
        failed = {uid: why for uid, why in failed.items() if uid in state.delivered and uid not in state.committed}
        return self._sent_again(destination, state, failed)

    def _begin(self, job: Job, destination: DestinationSettings, state: Delivery) -> Delivery:
        """Begin a request for everything that is not committed: the receipt knows it before the destination does."""
        uid = f"2.25.{uuid.uuid4().int}"
        objects = tuple(_uncommitted(job, destination, state))
        transactions = (*state.transactions, uid)[-_MOST_TRANSACTIONS:]
        state = replace(state, transactions=transactions, asked=None, unanswered=0.0)
        lifecycle.say_delivery(job, destination.name, state)
        commitments.begin(self._spool, Transaction(uid, job.key, destination.name, objects, time.time()))
        self._say(events.CommitmentAsked(job.key, destination.name, uid, len(objects)))
        return state

    def _ask(self, job: Job, destination: DestinationSettings, state: Delivery) -> None:
        request = Request(state.transactions[-1], _uncommitted(job, destination, state))
        self._sender.ask_commitment(destination, request, self._keep)

    def _keep(self, report: Report) -> bool:
        """Write down what was reported on the association of the request; whether it belongs to one of ours."""
        return commitments.keep(self._spool, report) is not None

    # ---- reading back

    def _read_back(self, job: Job, destination: DestinationSettings, state: Delivery) -> tuple[Delivery, Wait | None]:
        """Ask for every object; what is missing is sent again, and to be committed to anew."""
        tidy.unpack(job)
        sought = _sought(job, destination)
        try:
            missing = self._sender.missing(destination, sought)
            self._asked(destination, sought, answered=True)
        except NotOffered as fault:
            return state, replace(self._not_offered(destination, "read_back", fault), status=DeliveryStatus.DELAYED)
        except DeliveryError as fault:
            self._asked(destination, sought, answered=False)
            return state, Wait(str(fault))
        if missing:
            state = replace(state, transactions=())
        return self._sent_again(destination, state, dict.fromkeys(missing, "taken, and not found by C-FIND"))

    def _asked(self, destination: DestinationSettings, sought: list[Sought], *, answered: bool) -> None:
        for study_uid, series_uid in dict.fromkeys((one.study_uid, one.series_uid) for one in sought):
            self._say(events.Queried(study_uid, series_uid, destination.name, answered))

    # ---- both

    def _sent_again(
        self, destination: DestinationSettings, state: Delivery, failed: Mapping[str, str]
    ) -> tuple[Delivery, Wait | None]:
        """Let objects be sent again that the destination does not have."""
        if not failed:
            return state, None
        for uid, why in failed.items():
            self._say(events.ObjectMissing(uid, destination.name, why))
        state = replace(state.without(failed), asked=None, unanswered=0.0)
        objects = "1 object is" if len(failed) == 1 else f"{len(failed)} objects are"
        return state, Wait(f"{objects} sent again: {'; '.join(sorted(set(failed.values())))}")

    def _not_offered(self, destination: DestinationSettings, key: str, fault: NotOffered) -> Wait:
        """What the operator asked for cannot be had: nothing is taken for safe, and it is said once in the log."""
        why = f'{fault}: allow it there, or set [[destination]] {key} of "{destination.name}" back'
        if (destination.name, why) not in self._not_offering:
            self._not_offering.add((destination.name, why))
            self._say(events.ServiceNotOffered(destination.name, why))
        return Wait(why, DeliveryStatus.AWAITING_COMMITMENT)


def wanted(job: Job, destination: DestinationSettings) -> list[dict[str, str]]:
    """The objects of a result that a destination gets, or the findings where it gets none: each a path and a UID."""
    if not destination.gets_objects:
        return [{"path": job.FINDINGS, "sop_instance_uid": identity.uid(job.key, "findings")}]
    return [one for one in job.outputs or () if one["product"] in destination.products]


def _uncommitted(job: Job, destination: DestinationSettings, state: Delivery) -> dict[str, str]:
    """What the destination has not said to keep: SOP Instance UID -> SOP Class UID."""
    return {
        one["sop_instance_uid"]: one["sop_class_uid"]
        for one in wanted(job, destination)
        if one["sop_instance_uid"] not in state.committed
    }


def _awaiting(destination: DestinationSettings, state: Delivery) -> Wait:
    since = datetime.fromtimestamp(state.asked or 0.0, UTC).isoformat(timespec="seconds")
    left = destination.commitment_seconds - state.unanswered
    seconds = max(_FIRST_LOOK_SECONDS, min(state.unanswered, left))
    return Wait(f"since {since} no report whether it keeps them", DeliveryStatus.AWAITING_COMMITMENT, seconds)


def _sought(job: Job, destination: DestinationSettings) -> list[Sought]:
    tags = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    paths = (job.folder / one["path"] for one in wanted(job, destination))
    headers = (pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags) for path in paths)
    return [Sought(*(str(header[tag].value) for tag in tags)) for header in headers]
