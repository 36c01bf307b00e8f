"""From the last image to the last object in a PACS, step by step: ``python -m bench.study_time [--quick]``.

A node, a scanner and Debian's Orthanc on loopback. The first study of each size comes to a node that has just started;
then, when all its children have started, the median of three more is printed. What the machine did beside it is in the
seconds: run it on an idle one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.peers import LOOPBACK, free_port, orthanc
from bench.solver import machine
from dicomnode import events, simulate
from dicomnode.compare.tables import Table
from dicomnode.config import DestinationSettings, NodeSettings, ScannerSettings, Settings, StorageSettings
from dicomnode.node import Node
from dicomnode.operate.demo import send_series

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE_SECONDS = 600.0
WARM_SECONDS = 20.0  # until a node has started all its children, and they have loaded what they need
STUDIES = 3  # of which the median is printed


@dataclass(frozen=True, slots=True)
class Size:
    """Rows, columns, echoes and slices of a study, and the seconds it should take on two idle cores."""

    rows: int
    columns: int
    echoes: int
    slices: int
    goal_seconds: float

    def __str__(self) -> str:
        """As the paper writes it."""
        return f"{self.rows} × {self.columns} × {self.echoes} × {self.slices}"

    def plan(self, seed: int) -> simulate.SeriesPlan:
        """A series of that size."""
        times = tuple(round(1.1 + 1.1 * k, 2) for k in range(self.echoes))
        return simulate.SeriesPlan(
            rows=self.rows, columns=self.columns, slices=self.slices, echo_times_ms=times, seed=seed
        )


SIZES = (Size(192, 256, 8, 1, 1.0), Size(192, 256, 8, 3, 1.5), Size(320, 320, 12, 20, 6.0))
STEPS = ("fit", "measure", "report")


@dataclass
class Clock:
    """A sink of events that remembers when each came."""

    seen: list[tuple[float, events.Event]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __call__(self, event: events.Event) -> None:
        """Note an event."""
        self.seen.append((time.monotonic(), event))
        if isinstance(event, (events.DeliveryEnded, events.JobFailed)):
            self.over.set()

    def at(self, kind: type[events.Event]) -> float:
        """When the last event of a kind came."""
        return next(when for when, event in reversed(self.seen) if isinstance(event, kind))

    def seconds(self, step: str) -> float:
        """What a step took."""
        done = (event for _, event in reversed(self.seen) if isinstance(event, events.StepDone) and event.step == step)
        return next(done).seconds


def study(node: Node, clock: Clock, size: Size, seed: int) -> list[float]:
    """Send a study; return seconds from its last image to the start of its job, of each step, of sending, in all."""
    instances = simulate.make(size.plan(seed), datetime(2026, 1, 1, tzinfo=UTC)).instances
    clock.seen.clear()
    clock.over.clear()
    send_series(instances, LOOPBACK, node.port, calling="SCANNER", called="LIVERIRON")
    if not clock.over.wait(PATIENCE_SECONDS):
        raise RuntimeError("the study did not come to an end")
    failed = [event for _, event in clock.seen if isinstance(event, events.JobFailed)]
    if failed:
        raise RuntimeError(failed[0].reason)
    arrived, ended = clock.at(events.AssociationReleased), clock.at(events.DeliveryEnded)
    judged, reported = clock.at(events.SeriesJudged), clock.at(events.StepDone)
    steps = [clock.seconds(step) for step in STEPS]
    queue = reported - judged - sum(steps)
    return [judged - arrived, *steps, queue, ended - reported, ended - arrived]


def run(sizes: Sequence[Size]) -> Table:
    """Measure each size on a node of its own."""
    rows, load = [], os.getloadavg()[0]
    for size in sizes:
        port = free_port()
        with tempfile.TemporaryDirectory() as folder, orthanc(Path(folder), port):
            clock = Clock()
            node = Node(_settings(Path(folder) / "store", port), sinks=(clock,))
            begin = time.monotonic()
            node.start()
            up = time.monotonic() - begin
            try:
                first = study(node, clock, size, seed=0)
                time.sleep(WARM_SECONDS)
                later = [study(node, clock, size, seed) for seed in range(1, STUDIES + 1)]
            finally:
                node.stop()
        typical = [f"{statistics.median(each):.2f}" for each in zip(*later, strict=True)]
        rows.append([str(size), f"{up:.2f}", f"{first[-1]:.2f}", *typical, f"{size.goal_seconds:g}"])
    heads = ("size", "node up", "first study", "grouped", *STEPS, "queue", "sent", "later study", "goal")
    notes = [f"Load of the machine before: {load:.1f}."]
    return Table("Seconds from the last image to the last object in Orthanc", heads, rows, notes)


def _settings(storage: Path, pacs_port: int) -> Settings:
    pacs = DestinationSettings(name="pacs", ae_title="ORTHANC", host=LOOPBACK, port=pacs_port)
    return Settings(
        node=NodeSettings.model_construct(ae_title="LIVERIRON", host=LOOPBACK, port=0),
        scanner=(ScannerSettings(ae_title="SCANNER"),),
        destination=(pacs,),
        storage=StorageSettings(folder=storage, minimum_free_mb=0),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the smallest size only")
    sizes = SIZES[:1] if parser.parse_args().quick else SIZES
    sys.stdout.write(machine().markdown() + "\n" + run(sizes).markdown())


if __name__ == "__main__":
    main()
