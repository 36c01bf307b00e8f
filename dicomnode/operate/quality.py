"""What is kept of each scanner, for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dicomnode.control import rows, scanner
from dicomnode.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from dicomnode.control.rows import History
    from dicomnode.store.spool import Spool


def histories(spool: Spool, name: str = "") -> tuple[History, ...]:
    """Every scanner, or the one whose name begins so; raises InputError where there is none of that name."""
    found = tuple(one for one in rows.read(spool.folder) if one.scanner.name.startswith(name))
    if name and len(found) != 1:
        raise InputError(f"{len(found)} scanners have a name that begins with {name}: `dicomnode quality` lists them")
    return found


def restart(spool: Spool, name: str, now: datetime, by: str, why: str) -> History:
    """Judge a scanner by a new baseline from now on; raises InputError."""
    (history,) = histories(spool, name)
    rows.restart(spool.folder, history.scanner.name, rows.Restart(now.isoformat("T", "seconds")[:19], by, why))
    return history


def lines(history: History) -> Iterator[str]:
    """A scanner in words: its exams, its phantoms and what their charts say."""
    phantoms = scanner.phantoms(history)
    yield f"{history.scanner.name}  {history.scanner.title}"
    yield f"  {len(history.rows)} exams, the last on {history.rows[-1].at[:10]}"
    for one in history.restarts:
        yield f"  new baseline since {one.restart[:10]}, by {one.by}: {one.why}"
    for phantom in phantoms:
        baseline = phantom.charts[0].drawn.baseline
        missing = baseline - len(phantom.charts[0].drawn.values)
        state = (
            f"{missing} more scans until it can be judged" if missing > 0 else f"judged by its first {baseline} scans"
        )
        yield f"  {phantom.title}: {len(phantom.rows)} scans, {state}"
        for named, verdict in phantom.alarms(phantom.rows[-1]):
            since = named.rows[verdict.since].at[:10]
            yield f"    ALARM {named.title}: {verdict.kind} since {since}, {verdict.change:+.1f} {named.unit}"


def as_json(history: History) -> dict[str, Any]:
    """JSON values: the rows of a scanner and its charts."""
    return {
        **asdict(history),
        "name": history.scanner.name,
        "title": history.scanner.title,
        "phantoms": [
            {"title": one.title, "charts": [_chart(named) for named in one.charts]} for one in scanner.phantoms(history)
        ],
    }


def _chart(named: scanner.Named) -> dict[str, Any]:
    return {
        "code": named.code,
        "title": named.title,
        "unit": named.unit,
        "at": [row.at for row in named.rows],
        **asdict(named.drawn),
    }
