"""A PACS that loses what it took, and is silent, late or repeats itself when it is asked what it keeps."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from pynetdicom import AE, build_context, build_role, evt

from bench.faults.world import LOOPBACK
from dicomnode.commitment import NO_SUCH_OBJECT, PUSH_MODEL, PUSH_MODEL_INSTANCE, Report, Request

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

LATE_SECONDS = 4.0
_LOSES, _SILENT, _LATE, _TWICE = 0.3, 0.15, 0.15, 0.15


class Forgetful:
    """What such a PACS has, and how it answers N-ACTION: with reports to a node's port."""

    def __init__(self, to: int, dice: random.Random) -> None:
        self.kept: set[str] = set()
        self._promised: set[str] = set()  # what it has said to keep, it keeps
        self.lost = self.requests = 0
        self._to = to
        self._dice = dice
        self._lock = threading.Lock()

    @property
    def handlers(self) -> Sequence[Any]:
        """What pynetdicom calls."""
        return [(evt.EVT_N_ACTION, self._asked)]

    def take(self, uid: str) -> int:
        """Store an object."""
        with self._lock:
            self.kept.add(uid)
        return 0x0000

    def _asked(self, event: Any) -> tuple[int, None]:
        request = Request.read(event.action_information)
        with self._lock:
            self.requests += 1
            chances = [self._dice.random() for _ in range(4)]
            unsaid = sorted(request.objects.keys() - self._promised)
            if chances[0] < _LOSES and unsaid:
                self.kept.discard(self._dice.choice(unsaid))
                self.lost += 1
        if chances[1] >= _SILENT:
            late, twice = chances[2] < _LATE, chances[3] < _TWICE
            threading.Thread(target=self._tell, args=(request, late, twice), daemon=True).start()
        return 0x0000, None

    def _tell(self, request: Request, late: bool, twice: bool) -> None:
        time.sleep(LATE_SECONDS if late else 0.05)
        with self._lock:
            kept = {uid: of for uid, of in request.objects.items() if uid in self.kept}
            self._promised |= kept.keys()
        failed = {uid: (of, NO_SUCH_OBJECT) for uid, of in request.objects.items() if uid not in kept}
        report = Report(request.transaction_uid, kept, failed)
        for _ in range(2 if twice else 1):
            self._report(report)

    def _report(self, report: Report) -> None:
        """A node that was killed at this moment never hears it."""
        roles: list[Any] = [build_role(PUSH_MODEL, scp_role=True)]
        association = AE("PACS").associate(
            LOOPBACK, self._to, contexts=[build_context(PUSH_MODEL)], ext_neg=roles, ae_title="NODE"
        )
        if not association.is_established:
            return
        try:
            association.send_n_event_report(report.as_data_set(), report.event_type, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        except (RuntimeError, ValueError):
            return
        association.release()
