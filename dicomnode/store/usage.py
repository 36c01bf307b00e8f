"""How full the disk was on each day the node ran, and how long it will last."""

from __future__ import annotations

import shutil
from datetime import date
from typing import TYPE_CHECKING, Any

from dicomnode.errors import StorageError
from dicomnode.store.durable import read_json, write_json

if TYPE_CHECKING:
    from dicomnode.store.spool import Spool

_FILE = "usage.json"
_MOST_DAYS = 4000
_GROWTH_DAYS = 30  # over which growth is looked at
_FEWEST_DAYS = 3  # that tell a growth


def note(spool: Spool, today: date) -> list[date]:
    """Write down that the node runs today, and what the disk holds; return every day it ran."""
    said = _read(spool)
    used = shutil.disk_usage(spool.folder).used
    if not said or said[-1]["day"] != today.isoformat() or said[-1]["used"] != used:
        said = [*(one for one in said if one["day"] != today.isoformat()), {"day": today.isoformat(), "used": used}]
        write_json(spool.folder / _FILE, said[-_MOST_DAYS:])
    return [date.fromisoformat(one["day"]) for one in said]


def days_left(spool: Spool) -> float | None:
    """Days until images are refused for want of room, as the last month went; None where it does not fill."""
    said = _read(spool)[-_GROWTH_DAYS:]
    if len(said) < _FEWEST_DAYS:
        return None
    grown = said[-1]["used"] - said[0]["used"]
    if grown <= 0:
        return None
    days: float = spool.room() / (grown / (len(said) - 1))
    return days


def history(spool: Spool) -> list[dict[str, Any]]:
    """Each day the node ran, and the bytes that were used then."""
    return _read(spool)


def _read(spool: Spool) -> list[dict[str, Any]]:
    try:
        return read_json(spool.folder / _FILE) or []
    except StorageError:
        return []
