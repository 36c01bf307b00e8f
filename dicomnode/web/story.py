"""One study from its first image to its last delivery, as values for a page."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dicomnode.errors import NodeError
from dicomnode.jobs import comparison, lifecycle
from dicomnode.jobs import manifest as manifests
from dicomnode.operate import requests
from dicomnode.web import words
from dicomnode.web.shelf import uid_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicomnode.operate.status import Action, Study
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool

_MOST_EARLIER = 10  # results that one after the other replaced


@dataclass(frozen=True, slots=True)
class Images:
    """What of a study was received."""

    count: int
    first: float | None
    last: float | None


@dataclass(frozen=True, slots=True)
class Sent:
    """A delivery to one destination."""

    name: str
    status: str
    attempts: int
    objects: int
    reason: str
    since: float | None
    next: float | None
    refused: int
    warnings: int


@dataclass(frozen=True, slots=True)
class Chapter:
    """One series: what was thought of it, what was made of it, where that went."""

    entry: dict[str, Any]
    times: tuple[tuple[float, str], ...] = ()
    sender: str = ""
    deliveries: tuple[Sent, ...] = ()
    summary: dict[str, Any] | None = None
    pictures: int = 0
    earlier: tuple[str, ...] = ()  # keys of results that this one replaces
    problem: str = ""  # why something of it cannot be shown
    comparison: dict[str, Any] | None = None  # with the result that it was made again from
    difference: bool = False  # whether there is a picture of where it differs
    may: frozenset[Action] = frozenset()  # what is of use to ask of it

    @property
    def flags(self) -> list[tuple[str, dict[str, str]]]:
        """Region and flag, the worst first."""
        regions = (self.summary or {}).get("rois", ())
        found = [(region["name"], flag) for region in regions for flag in region["flags"]]
        order = list(words.GRADES)
        return sorted(found, key=lambda one: order.index(one[1]["grade"]))


def images(spool: Spool, study: Study) -> Images:
    """What of a study lies in the data folder."""
    found = [path.stat().st_mtime for path in (spool.incoming / uid_of(study)).glob("[0-9]*.dcm")]
    return Images(len(found), min(found, default=None), max(found, default=None))


def chapters(spool: Spool, study: Study) -> list[Chapter]:
    """Every series of a study; those with a result first."""
    ordered = sorted(study.entries, key=lambda entry: (entry["key"] is None, words.ORDER.index(entry["status"])))
    return [_chapter(spool, entry) for entry in ordered]


def _chapter(spool: Spool, entry: dict[str, Any]) -> Chapter:
    if not entry["key"]:
        return Chapter(entry, may=requests.may(spool, entry))
    job = spool.job(entry["key"])
    try:
        made_from, state = manifests.read(job), lifecycle.state(job)
        return Chapter(
            entry,
            times=tuple(_times(made_from.created, state.times)),
            sender=made_from.sender,
            deliveries=tuple(_sent(job)),
            summary=job.read("summary.json"),
            pictures=len(pictures(job)),
            earlier=tuple(_earlier(spool, made_from.supersedes)),
            comparison=job.read(comparison.FILE),
            difference=(job.folder / job.DIFFERENCE).exists(),
            may=requests.may(spool, entry),
        )
    except NodeError as fault:
        return Chapter(entry, problem=str(fault))


def pictures(job: Job) -> list[str]:
    """Where the pages of a result lie in its folder."""
    return [one["path"] for one in job.outputs or () if one["kind"] == "picture"]


def summary_of(spool: Spool, entry: dict[str, Any]) -> dict[str, Any] | None:
    """What came of a series; None where nothing did yet, or it cannot be read."""
    if not entry["key"] or entry["status"] not in {"done", "no_number"}:
        return None
    try:
        found: dict[str, Any] | None = spool.job(entry["key"]).read("summary.json")
    except NodeError:
        return None
    return found


def _times(created: str, times: tuple[tuple[str, float], ...]) -> Iterator[tuple[float, str]]:
    with contextlib.suppress(ValueError):
        yield datetime.fromisoformat(created).timestamp(), words.state("queued").words
    for status, since in times:
        yield since, words.state(status).words


def _sent(job: Job) -> Iterator[Sent]:
    for name, one in lifecycle.deliveries(job).items():
        changed = (job.folder / "receipts" / f"{name}.json").stat().st_mtime
        attempts = one.attempt - one.first_attempt + 1
        counts = (len(one.refused), len(one.warnings))
        yield Sent(name, one.status.value, attempts, len(one.delivered), one.reason or "", changed, one.next, *counts)


def _earlier(spool: Spool, key: str | None) -> Iterator[str]:
    for _ in range(_MOST_EARLIER):
        if key is None:
            return
        yield key
        try:
            key = manifests.read(spool.job(key)).supersedes
        except NodeError:
            return
