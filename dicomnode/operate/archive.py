"""Has a whole archive made again, result by result behind new studies, and says what moved and why.

Nothing is sent. What was made is known by the name of its request, so the same command goes on where it was killed.
"""

from __future__ import annotations

import csv
import html
import io
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import dicomnode
from dicomnode.errors import InputError, NodeError
from dicomnode.jobs import again, comparison, lifecycle, remake
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs.lifecycle import JobStatus
from dicomnode.operate import reprocess, requests
from dicomnode.operate.status import Studies
from dicomnode.store.durable import digest, write_durably

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from dicomnode.config import Settings
    from dicomnode.operate.reprocess import Outcome
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool

MOVED = 0.5  # mg/g: what counts as a change of a number
FORMATS = (".csv", ".html", ".json")
_CAME_OR_WENT = frozenset({"flags", "organ"})  # causes by ``comparison.why`` that leave no change to be measured
_LOOK_SECONDS = 5.0
_WITH_RESULT = frozenset({"done", "no_number"})


@dataclass(frozen=True, slots=True)
class Again:
    """What came of one result: ``state`` is "made", "same" or why it could not be made."""

    before: str  # keys of results
    after: str | None
    day: str  # on which the earlier one was made
    state: str
    software: tuple[str, str] | None = None
    lic_mg_per_g: tuple[float | None, float | None] = (None, None)
    change: float | None = None
    cause: str | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    flags: str = ""  # that came (+) and went (-)

    @property
    def moved(self) -> bool:
        """Whether its number moved by more than counts, came or went."""
        return self.cause in _CAME_OR_WENT or (self.change is not None and abs(self.change) > MOVED)


def candidates(spool: Spool, since: date | None) -> list[str]:
    """The results that stand, of those made since a day, the oldest first."""
    found = []
    for study in Studies(spool).look():
        for entry in study.entries:
            if entry["key"] and entry["group"] and not entry.get("beside") and entry["status"] in _WITH_RESULT:
                made = _day(spool.job(entry["key"]))
                if since is None or made >= since.isoformat():
                    found.append((made, str(entry["key"])))
    return [key for _, key in sorted(found)]


def run(
    spool: Spool,
    settings: Settings,
    changes: Mapping[str, str],
    keys: Sequence[str],
    *,
    report: Path,
    progress: Callable[[str], None],
) -> list[Again]:
    """Have every result made again, one after the other; the report is written anew after each.

    Raises StorageError where it cannot be written.
    """
    done: list[Again] = []
    for number, key in enumerate(keys, 1):
        _wait_for_others(spool, progress)
        one = _again(spool, settings, changes, key)
        done.append(one)
        progress(f"{number} of {len(keys)}: {_said(one)}")
        write_durably(report, text(done, len(keys), report.suffix).encode())
    return done


def is_busy(spool: Spool) -> bool:
    """Whether new studies are waiting to be worked on, or are."""
    return any(_is_in_the_way(spool, job) for job in spool.all_jobs())


def text(done: Sequence[Again], count: int, suffix: str) -> str:
    """The report as CSV, HTML or JSON."""
    makers: dict[str, Callable[[], str]] = {
        ".csv": lambda: _csv(done),
        ".html": lambda: _html(done, count),
        ".json": lambda: json.dumps([{**asdict(one), "moved": one.moved} for one in done], indent=1),
    }
    return makers[suffix]()


def summary(done: Sequence[Again]) -> Iterator[str]:
    """How many there were, how many numbers moved, and why."""
    states = Counter(one.state if one.state in {"made", "same"} else "not made" for one in done)
    yield ", ".join(f"{count} {state}" for state, count in states.most_common()) or "nothing to make again"
    compared = [one for one in done if one.after is not None]
    moved = [one for one in compared if one.moved]
    yield f"{len(moved)} of {len(compared)} LIC moved by more than {MOVED:g} mg/g, came or went"
    for cause, count in Counter(str(one.cause) for one in moved).most_common():
        yield f"  {count}: {cause}"


# ---- one result


def _again(spool: Spool, settings: Settings, changes: Mapping[str, str], key: str) -> Again:
    job, name = spool.job(key), _name(key, changes)
    day = _day(job)
    try:
        made = _made(spool, job, name)
        if made is None:
            asked = requests.Reprocess(key, changes, requests.operator(), sends=False)
            made = reprocess.reprocess(spool, settings, asked, lambda _: None, name)
    except remake.AlreadyMade as fault:
        return _of_same(spool.job(fault.key), job, day)
    except (InputError, NodeError) as fault:
        return Again(key, None, day, str(fault))
    if made.comparison is None:
        return Again(key, made.key, day, f"{made.status}: {made.reason or 'no result'}")
    return _compared(key, made.key, day, made.comparison)


def _made(spool: Spool, job: Job, name: str) -> Outcome | None:
    """What came of it when it was asked for before; None where it was not, or is not finished."""
    known = again.of_study(spool, manifests.study_of(job))
    found = next((key for key, one in known.items() if one.request == name), None)
    if found is None or not lifecycle.state(spool.job(found)).status.is_end:
        return None
    return reprocess.outcome(spool.job(found))


def _of_same(existing: Job, job: Job, day: str) -> Again:
    """One that exists already: the same result, or one that was made again from it before."""
    made = existing.read(comparison.FILE)
    if existing.key != job.key and made is not None and made["of"] == job.key:
        return _compared(job.key, existing.key, day, made)
    return Again(job.key, job.key, day, "same")


def _compared(before: str, after: str, day: str, said: Mapping[str, Any]) -> Again:
    region = next(iter(said["regions"]), None)
    why = said.get("why") or {}
    old, new = said["software_version"]
    return Again(
        before,
        after,
        day,
        "made",
        (old, new),
        (None, None) if region is None else (region["lic_mg_per_g"][0], region["lic_mg_per_g"][1]),
        why.get("change"),
        why.get("cause"),
        why.get("parts", {}),
        "" if region is None else comparison.flags(region),
    )


def _name(key: str, changes: Mapping[str, str]) -> str:
    """What a request goes by: the same for the same result, settings and software."""
    return f"archive-{digest(json.dumps([key, sorted(changes.items()), dicomnode.__version__]).encode())}"


def _day(job: Job) -> str:
    try:
        return manifests.read(job).created[:10]
    except NodeError:
        return ""


def _wait_for_others(spool: Spool, progress: Callable[[str], None]) -> None:
    """Let new studies go first: what a person had made again may wait."""
    said = False
    while is_busy(spool):
        if not said:
            progress("new studies go first")
            said = True
        time.sleep(_LOOK_SECONDS)


def _is_in_the_way(spool: Spool, job: Job) -> bool:
    status = lifecycle.state(job).status
    if status.is_end or status is JobStatus.DELIVERING:
        return False
    try:
        return manifests.read(job).beside is None and spool.job(job.key).outputs is None
    except NodeError:
        return False


# ---- the report


def _said(one: Again) -> str:
    if one.state != "made":
        return one.state
    old, new = ("–" if value is None else f"{value:.1f}" for value in one.lic_mg_per_g)
    moved = f", moved by its {one.cause}" if one.moved else ""
    return f"LIC {old} -> {new} mg/g{moved}"


_HEADS = (
    "before",
    "after",
    "made on",
    "state",
    "LIC before",
    "LIC after",
    "change",
    "cause",
    "fit",
    "region",
    "calibration",
    "flags",
)


def _row(one: Again) -> list[str]:
    lics = ["" if value is None else f"{value:.2f}" for value in (*one.lic_mg_per_g, one.change)]
    parts = [f"{one.parts[name]:.2f}" if name in one.parts else "" for name in ("fit", "region", "calibration")]
    return [one.before, one.after or "", one.day, one.state, *lics, one.cause or "", *parts, one.flags]


def _csv(done: Sequence[Again]) -> str:
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([_HEADS, *map(_row, done)])
    return lines.getvalue()


def _html(done: Sequence[Again], count: int) -> str:
    """One page without a script; what moved comes first."""

    def cells(tag: str, values: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(value)}</{tag}>" for value in values) + "</tr>"

    ordered = sorted(done, key=lambda one: (not one.moved, -abs(one.change or 0.0)))
    said = "".join(f"<p>{html.escape(line)}</p>" for line in summary(done))
    rows = "".join(cells("td", _row(one)) for one in ordered)
    style = "body{font:15px sans-serif;margin:2em}td,th{text-align:left;padding:.2em .8em;border-top:1px solid #ccc}"
    title = f"Results made again by {dicomnode.__version__}"
    return (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{style}</style>'
        f"<h1>{title}</h1><p>{len(done)} of {count} looked at; LIC in mg/g dry weight.</p>{said}"
        f"<table>{cells('th', _HEADS)}{rows}</table></html>\n"
    )
