"""What of a changed configuration a running node takes at once; all else waits for its next start."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dicomnode.config import Settings

# By section: its keys, or None for all of them. What is in no row needs a restart, as what is part of a result's
# identity must: a job and what it is made from are of one start.
AT_ONCE: dict[str, tuple[str, ...] | None] = {
    "node": ("log_level",),
    "receive": None,
    "scanner": None,
    "destination": None,
    "trend": None,
    "storage": ("minimum_free_mb",),
    "web": None,
    "tls": None,
    "retention": None,
    "audit": None,
    "notify": None,
}


@dataclass(frozen=True)
class Change:
    """Two configurations beside each other; the keys are named without their values, for some are secret."""

    settings: Settings  # what to run with from now on
    at_once: tuple[str, ...]
    after_restart: tuple[str, ...]


def compare(running: Settings, read: Settings) -> Change:
    """Take from what was read what may change at once."""
    taken = running.model_copy(update={section: _taken(section, running, read) for section in AT_ONCE})
    return Change(taken, _differing(running, taken), _differing(taken, read))


def _taken(section: str, running: Settings, read: Settings) -> Any:
    keys = AT_ONCE[section]
    if keys is None:
        return getattr(read, section)
    return getattr(running, section).model_copy(update={key: getattr(getattr(read, section), key) for key in keys})


def _differing(one: Settings, other: Settings) -> tuple[str, ...]:
    """The keys of which the values differ, as they stand in the file; a table that is new or gone by its name."""
    ours, theirs = _tables(one), _tables(other)
    found = []
    for table in dict.fromkeys([*ours, *theirs]):
        here, there = ours.get(table), theirs.get(table)
        if here is None or there is None:
            found.append(table)
        else:
            found += [f"{table} {key}" for key in here if here[key] != there[key]]
    return tuple(found)


def _tables(settings: Settings) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {}
    for section in type(settings).model_fields:
        value = getattr(settings, section)
        if not isinstance(value, tuple):
            tables[f"[{section}]"] = dict(value)
            continue
        seen: Counter[str] = Counter()
        for one in value:
            name = getattr(one, "name", one.ae_title)
            seen[name] += 1
            tables[f"[[{section}]] {name}" + (f" ({seen[name]})" if seen[name] > 1 else "")] = dict(one)
    return tables
