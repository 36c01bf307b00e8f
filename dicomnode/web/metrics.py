"""Metrics in Prometheus' text format: counters of what the node tells, gauges read from its files when asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

import dicomnode
from dicomnode.errors import NodeError
from dicomnode.web.tally import OTHER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from dicomnode.config import Settings
    from dicomnode.web.shelf import Shelf
    from dicomnode.web.tally import Tally

_PREFIX = "dicomnode_"
# By the name of its tally: what it counts, and its labels.
COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "images_received": ("Images taken in, by the calling AE title of a [[scanner]].", ("scanner",)),
    "images_refused": ("Objects that could not be taken in.", ()),
    "images_not_stored": ("Objects that the disk did not take; they stay with their sender.", ()),
    "associations_refused": ("Peers that were turned away, by reason.", ("reason",)),
    "series_judged": (
        "Changes of what is thought of a series, by verdict and code of its reason.",
        ("verdict", "code"),
    ),
    "steps_died": ("Steps that broke their process or their limits.", ("step",)),
    "jobs_ended": ("Jobs that came to an end, by state.", ("state",)),
    "results": ("Reports that were made, with a number or without.", ("outcome",)),
    "flags": ("Flags of the regions of reports, by code and grade.", ("code", "grade")),
    "deliveries": ("Attempts at a destination, by what came of them.", ("destination", "outcome")),
    "scanner_alarms": ("Scans of phantoms beyond the limits of their scanner's control chart, by kind.", ("kind",)),
    "logins_refused": ("Log-ins on the page that were refused.", ()),
    "errors": ("What else went wrong, by the part of the node.", ("part",)),
}
_STEP_BUCKETS = (0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1800)


class Metrics:
    """All metrics of one node, in a registry of its own."""

    def __init__(self, settings: Settings, shelf: Shelf) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._job = shelf.job
        self._registry = CollectorRegistry()
        self._counters = {
            name: Counter(f"{_PREFIX}{name}", text, labels, registry=self._registry)
            for name, (text, labels) in COUNTERS.items()
        }
        self._steps = Histogram(
            f"{_PREFIX}step_seconds",
            "How long the steps of jobs take.",
            ("step",),
            buckets=_STEP_BUCKETS,
            registry=self._registry,
        )
        for scanner in (*sorted({one.ae_title for one in settings.scanner}), OTHER):
            self._counters["images_received"].labels(scanner)  # 0 is a value, too
        for one in settings.destination:
            self._counters["deliveries"].labels(one.name, "delivered")
        self._registry.register(_Gauges(settings, shelf))

    def count(self, counted: Tally) -> None:
        """Add what the node tells."""
        if counted.metric == "step_seconds":
            self._steps.labels(*counted.labels).observe(counted.amount)
            return
        counter = self._counters[counted.metric]
        (counter.labels(*counted.labels) if counted.labels else counter).inc(counted.amount)

    def count_result(self, key: str) -> None:
        """Count the outcome and the flags of a report that was made."""
        try:
            summary: dict[str, Any] = self._job(key).read("summary.json") or {}
        except NodeError:
            return
        if "status" not in summary:
            return
        self._counters["results"].labels(summary["status"]).inc()
        for region in summary.get("rois", ()):
            for flag in region.get("flags", ()):
                self._counters["flags"].labels(flag["code"], flag["grade"]).inc()

    def text(self) -> bytes:
        """All of it, as it is asked for."""
        return generate_latest(self._registry)


class _Gauges(Collector):
    """What the files say at this moment."""

    def __init__(self, settings: Settings, shelf: Shelf) -> None:
        self._settings = settings
        self._shelf = shelf

    def describe(self) -> list[Metric]:
        """Nothing is read to register this."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every gauge."""
        yield InfoMetricFamily("dicomnode", "The software.", {"version": dicomnode.__version__})
        figures, now = self._shelf.figures(), time.time()
        states = figures.states
        yield _gauge("series", "Series by state.", "state", {name: float(count) for name, count in states.items()})
        oldest = 0.0 if figures.oldest is None else max(0.0, now - figures.oldest)
        yield _gauge("oldest_waiting_seconds", "How long the oldest series under way has not changed.", value=oldest)
        to = figures.destinations
        yield _gauge("backlog", "Results that wait for a destination.", "destination", {d.name: d.backlog for d in to})
        waits = {d.name: 0.0 if d.oldest is None else max(0.0, now - d.oldest) for d in to}
        yield _gauge("backlog_oldest_seconds", "How long the oldest of them waits.", "destination", waits)
        given_up: dict[str, float] = {d.name: d.given_up for d in to}
        yield _gauge("dead_letters", "Results that a destination did not take for days.", "destination", given_up)
        yield from self._disk()
        times = self._shelf.last_images()
        text = "When a scanner sent last, seconds since the epoch."
        yield _gauge("last_image_timestamp_seconds", text, "scanner", dict(times))
        days = {path.name: float(left) for path, left in self._shelf.certificates()}
        yield _gauge("certificate_days_left", "Days until a certificate ends.", "file", days)
        yield _gauge("ready", "1 where the node takes in images and works on them.", value=not self._shelf.ailments())

    def _disk(self) -> Iterator[Metric]:
        disk = self._shelf.disk()
        yield _gauge("disk_free_bytes", "Free on the disk of the data folder.", value=disk.free)
        yield _gauge("disk_total_bytes", "The size of that disk.", value=disk.total)
        yield _gauge("disk_minimum_free_bytes", "Below this nothing is taken in.", value=disk.least)
        if disk.days_left is not None:
            yield _gauge("disk_days_left", "Days until then, as the disk filled in a month.", value=disk.days_left)


def _gauge(
    name: str, text: str, label: str | None = None, values: dict[str, Any] | None = None, *, value: float | None = None
) -> Metric:
    gauge = GaugeMetricFamily(f"{_PREFIX}{name}", text, value=value, labels=None if label is None else [label])
    for of, one in (values or {}).items():
        gauge.add_metric([of], float(one))
    return gauge
