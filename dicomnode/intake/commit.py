"""Storage commitment at the receiver: hears what a PACS reports, and answers a scanner that asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicomnode import events
from dicomnode.commitment import (
    ALL_COMMITTED,
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST,
    SOME_FAILED,
    Report,
    Request,
    decoded,
)
from dicomnode.errors import InputError, NodeError
from dicomnode.intake.commands import N_ACTION, Status
from dicomnode.jobs import commitments, promises

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicomnode.config import Settings
    from dicomnode.intake.commands import Command
    from dicomnode.store.spool import Spool

_MOST_BYTES = 1 << 24  # a hundred thousand objects


class Letter:
    """A small data set on its way into memory."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._is_too_long = False

    def write(self, chunk: memoryview) -> None:
        """Take bytes as they come."""
        self._is_too_long |= len(self._content) + len(chunk) > _MOST_BYTES
        if not self._is_too_long:
            self._content += chunk

    def content(self) -> bytes:
        """All of them; raises InputError where they were too many."""
        if self._is_too_long:
            raise InputError(f"the data set is longer than {_MOST_BYTES} bytes")
        return bytes(self._content)


@dataclass(frozen=True)
class Reply:
    """How a request is answered, and what is reported behind that on the same association."""

    status: int
    comment: str = ""
    report: Report | None = None


class Commitment:
    """Both sides of storage commitment at the receiver.

    ``reported(key, destination)`` is called when a PACS has said what becomes of a result's objects: a hint to look.
    """

    def __init__(
        self, settings: Settings, spool: Spool, reported: Callable[[str, str], None], say: events.Sink
    ) -> None:
        self.use(settings)
        self._spool = spool
        self._reported = reported
        self._say = say

    def use(self, settings: Settings) -> None:
        """Know other scanners from the next request on."""
        self._settings = settings

    def reply(self, command: Command, letter: Letter, transfer_syntax: str, calling: str) -> Reply:
        """Answer an N-ACTION or N-EVENT-REPORT; what goes wrong is its status."""
        try:
            _check(command)
            content = letter.content()
            if command.kind == N_ACTION:
                return self._promise(Request.read(decoded(content, transfer_syntax)), calling)
            return self._hear(Report.read(decoded(content, transfer_syntax)), calling)
        except _Unfit as fault:
            reply = Reply(fault.status, str(fault))
        except InputError as fault:
            reply = Reply(Status.INVALID_ARGUMENT, str(fault))
        except NodeError as fault:
            reply = Reply(Status.PROCESSING_FAILURE, str(fault))
        except Exception as fault:  # noqa: BLE001  the edge of a request
            self._say(events.StoreCrashed(fault))
            return Reply(Status.PROCESSING_FAILURE, "the node failed; its log says how")
        self._say(events.CommitmentRefused(calling, reply.comment))
        return reply

    def _hear(self, report: Report, calling: str) -> Reply:
        """Success says that the report is durable; one that belongs to no request of ours is no argument."""
        transaction = commitments.keep(self._spool, report)
        if transaction is None:
            self._say(events.CommitmentUnknown(report.transaction_uid, calling))
            return Reply(Status.INVALID_ARGUMENT, "no such transaction")
        counts = len(report.committed), len(report.failed)
        self._say(events.CommitmentReported(transaction.key, transaction.destination, transaction.uid, *counts))
        self._reported(transaction.key, transaction.destination)
        return Reply(Status.SUCCESS)

    def _promise(self, request: Request, calling: str) -> Reply:
        """Answer at once where the scanner hears it here; else write down that it waits for an answer."""
        scanner = self._settings.scanner_of(calling)
        if scanner is None and not self._settings.receive.accept_any_scanner:
            raise _Unfit(Status.NOT_AUTHORIZED, "only a [[scanner]] is given storage commitment")
        if scanner is None or scanner.port is None:
            return Reply(Status.SUCCESS, report=promises.judge(self._spool, request))
        promises.keep(self._spool, request, calling)
        return Reply(Status.SUCCESS)


class _Unfit(InputError):
    """The command is none of the service."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


def _check(command: Command) -> None:
    if command.sop_class_uid != PUSH_MODEL:
        raise _Unfit(Status.NO_SUCH_CLASS, "only the Storage Commitment Push Model is known here")
    if command.sop_instance_uid != PUSH_MODEL_INSTANCE:
        raise _Unfit(Status.NO_SUCH_INSTANCE, f"the instance of this service is {PUSH_MODEL_INSTANCE}")
    if command.kind == N_ACTION and command.action_type != REQUEST:
        raise _Unfit(Status.NO_SUCH_ACTION, f"action type {command.action_type} is not known")
    if command.kind != N_ACTION and command.event_type not in (ALL_COMMITTED, SOME_FAILED):
        raise _Unfit(Status.NO_SUCH_EVENT, f"event type {command.event_type} is not known")
