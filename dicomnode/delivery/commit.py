"""Storage commitment on an association that this node opened (PS3.4 annex J)."""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from pynetdicom import evt
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.presentation import build_role

from dicomnode.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, REQUEST, Report, reason
from dicomnode.errors import InputError, NoAnswer, NodeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydicom import Dataset
    from pynetdicom.association import Association
    from pynetdicom.events import Event, EventHandlerType
    from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

    from dicomnode.commitment import Request

_SUCCESS, _PROCESSING_FAILURE, _INVALID_ARGUMENT = 0x0000, 0x0110, 0x0115
_LOOK_SECONDS = 0.2  # between looks whether the association is still open


class Listener:
    """Hears reports on an association; ``keep`` makes one durable and says whether it belongs to a request of ours."""

    def __init__(self, keep: Callable[[Report], bool]) -> None:
        self._keep = keep
        self._answering: SimpleQueue[str] = SimpleQueue()
        self._heard: SimpleQueue[str] = SimpleQueue()

    @property
    def handlers(self) -> list[EventHandlerType]:
        """What pynetdicom calls."""
        return [(evt.EVT_N_EVENT_REPORT, self._hear), (evt.EVT_PDU_SENT, self._sent)]

    def wait(self, association: Association, transaction_uid: str, seconds: float) -> None:
        """Wait until the report for a request was heard and answered, or the association or the time is over."""
        until = time.monotonic() + seconds
        while association.is_established and (left := until - time.monotonic()) > 0:
            try:
                if self._heard.get(timeout=min(left, _LOOK_SECONDS)) == transaction_uid:
                    return
            except Empty:
                continue

    def _hear(self, event: Event) -> tuple[int, Dataset | None]:
        try:
            report = Report.read(event.event_information)
            status = _SUCCESS if self._keep(report) else _INVALID_ARGUMENT
        except InputError:
            return _INVALID_ARGUMENT, None
        except NodeError:
            return _PROCESSING_FAILURE, None
        self._answering.put(report.transaction_uid)
        return status, None

    def _sent(self, event: Event) -> None:
        """Only what was answered was heard: pynetdicom releases an association also while it answers."""
        if isinstance(event.pdu, P_DATA_TF) and not self._answering.empty():
            self._heard.put(self._answering.get())


def ask(association: Association, request: Request) -> None:
    """Ask for commitment; raises NoAnswer where that is not taken."""
    try:
        status, _ = association.send_n_action(request.as_data_set(), REQUEST, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    except (RuntimeError, ValueError) as fault:  # pynetdicom: the association is gone
        raise NoAnswer("it closed the association before it was asked for storage commitment") from fault
    _judge(status, "the request for storage commitment")


def tell(association: Association, report: Report) -> None:
    """Report on a request of the peer's; raises NoAnswer where that is not taken."""
    try:
        status, _ = association.send_n_event_report(
            report.as_data_set(), report.event_type, PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
    except (RuntimeError, ValueError) as fault:
        raise NoAnswer("it closed the association before it was told of storage commitment") from fault
    _judge(status, "the report of storage commitment")


def provider() -> SCP_SCU_RoleSelectionNegotiation:
    """Say that the side which opens the association is the one that commits."""
    return build_role(PUSH_MODEL, scp_role=True)


def _judge(status: Dataset, what: str) -> None:
    said = status.get("Status")
    if said is None:
        raise NoAnswer(f"{what} was not answered")
    if said != _SUCCESS:
        comment = f" ({status.ErrorComment})" if status.get("ErrorComment") else ""
        raise NoAnswer(f"{what} was refused: status {reason(int(said))}{comment}")
