"""What an event counts as: metrics without identities, UIDs or words that a stranger can choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dicomnode import events

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

OTHER = "other"  # in place of an AE title that is in no [[scanner]]


@dataclass(frozen=True, slots=True)
class Tally:
    """So much more of a metric; ``labels`` in the order that the metric names them."""

    metric: str
    labels: tuple[str, ...] = ()
    amount: float = 1.0


_COUNTED: dict[type[events.Event], Callable[[Any], Tally]] = {
    events.AssociationRejected: lambda event: Tally("associations_refused", (event.code,)),
    events.InstanceRefused: lambda _: Tally("images_refused"),
    events.StoreFailed: lambda _: Tally("images_not_stored"),
    events.SeriesJudged: lambda event: Tally("series_judged", (event.status, event.code or "")),
    events.StepDone: lambda event: Tally("step_seconds", (event.step,), event.seconds),
    events.StepDied: lambda event: Tally("steps_died", (event.step,)),
    events.JobEnded: lambda event: Tally("jobs_ended", (event.status,)),
    events.DeliveryEnded: lambda event: Tally("deliveries", (event.destination, event.status)),
    events.DeliveryDelayed: lambda event: Tally("deliveries", (event.destination, "delayed")),
    events.ScannerChanged: lambda event: Tally("scanner_alarms", (event.code,)),
    events.LogInRefused: lambda _: Tally("logins_refused"),
}


def of(event: events.Event, scanners: Collection[str]) -> Tally | None:
    """What is counted of an event; ``scanners`` are the AE titles that may stand in a label."""
    if isinstance(event, events.AssociationReleased | events.AssociationLost):
        calling = event.calling if event.calling in scanners else OTHER
        return Tally("images_received", (calling,), event.instances) if event.instances else None
    counted = _COUNTED.get(type(event))
    if counted is not None:
        return counted(event)
    return Tally("errors", (event.part,)) if event.level == "error" else None
