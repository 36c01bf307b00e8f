"""What a node has said in the last days, without identities."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dicomnode import events
from dicomnode.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from dicomnode.operate.support.anonymous import Anonymous

MOST_LINES = 50_000  # the newest
_JOURNAL_SECONDS = 120.0
_UNITS = ("dicomnode.service", "dicomnode-worker@*.service")
_NUMBERED = {"study", "studies", "series", "instance", "group", "key", "keys", "of"}
_NUMBERED |= {"transaction", "workflow", "request", "digest", "scanner"}
_PEERS = {"calling", "peer", "host", "destination", "ae_title", "address"}
_PEOPLE = {"by"}
_TYPED = "typed"  # stands for a field that holds what a person typed
_OTHERWISE = {("study_removed", "why"): _TYPED}  # by event and field: as what it is told
_PREFIXES = ("series_", "drawing_")  # of events that are named by what is thought of something


@dataclass(slots=True)
class Told:
    """Lines that may be told, and how many of what was read may not."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    left_out: int = 0
    unknown: int = 0


def journal(days: int) -> Iterator[str]:
    """The lines of the service in systemd's journal; raises NodeError where that cannot be read."""
    units = [f"--unit={unit}" for unit in _UNITS]
    command = ["journalctl", *units, f"--since=-{days}d", "--output=cat", "--no-pager", "--quiet"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_JOURNAL_SECONDS, check=False)  # noqa: S603  numbers and names of ours
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise NodeError(f"journalctl cannot be asked: {fault}; name a log by --log") from fault
    if done.returncode or not done.stdout:
        raise NodeError("the journal shows this user no line of the service; ask as root, or name a log by --log")
    yield from done.stdout.decode("utf-8", "replace").splitlines()


def file(path: Path) -> Iterator[str]:
    """The lines of a file that the service's log was written to; raises OSError."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        yield from lines


def told(lines: Iterable[str], since: datetime, anonymous: Anonymous) -> Told:
    """The events among lines, as they may be told, from a time on."""
    found = Told()
    for line in lines:
        said = _parsed(line)
        if said is None:
            found.unknown += 1
        elif _time(said) >= since:
            found.lines.append(_event(said, anonymous))
    found.left_out = max(0, len(found.lines) - MOST_LINES)
    del found.lines[: found.left_out]
    return found


def _parsed(line: str) -> dict[str, Any] | None:
    """An event of this software; None for anything else, which may say what it likes."""
    try:
        said = json.loads(line)
        known = isinstance(said, dict) and _is_known(said["event"]) and _time(said).tzinfo is not None
    except (ValueError, KeyError, TypeError):
        return None
    return said if known else None


def _time(said: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(said["timestamp"])


def _kinds() -> Iterator[type[events.Event]]:
    yield from (one for one in vars(events).values() if isinstance(one, type) and issubclass(one, events.Event))


_EVENTS = {events.name_of(kind) for kind in _kinds()}
_FIELDS = {one.name for kind in _kinds() for one in fields(kind)}


def _is_known(event: str) -> bool:
    return event in _EVENTS or (event.startswith(_PREFIXES) and event.partition("_")[2].isalpha())


def _event(said: dict[str, Any], anonymous: Anonymous) -> dict[str, Any]:
    head = {"timestamp": _time(said).isoformat(), "level": anonymous.text(str(said.get("level", "")))}
    kinds = {name: _OTHERWISE.get((said["event"], name), name) for name in said if name in _FIELDS}
    known = {name: _field(kind, said[name], anonymous) for name, kind in kinds.items()}
    trace = {"exception": anonymous.trace(said["exception"])} if isinstance(said.get("exception"), str) else {}
    return {**head, "event": anonymous.text(said["event"]), **known, **trace}


def _field(name: str, value: Any, anonymous: Anonymous) -> Any:
    """A field of an event; what no event holds is not told."""
    if isinstance(value, list):
        return [_field(name, one, anonymous) for one in value]
    if isinstance(value, str):
        return _text(name, value, anonymous)
    return value if isinstance(value, bool | int | float) else None


def _text(name: str, value: str, anonymous: Anonymous) -> str:
    """A text by the field that it stands in."""
    if name in _NUMBERED:
        return anonymous.digest("uid" if "." in value else "id", value)
    if name in _PEERS:
        return anonymous.peer(value)
    if name in _PEOPLE:
        return anonymous.digest("user", value)
    return anonymous.digest("text", value) if name == _TYPED else anonymous.text(value)
