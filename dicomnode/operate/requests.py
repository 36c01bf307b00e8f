"""What a person may ask of a series, by command or on the page, and how the node is asked."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dicomnode
from dicomnode import protocol
from dicomnode.config import changed
from dicomnode.errors import InputError
from dicomnode.jobs import lifecycle, remake, tidy
from dicomnode.operate import status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from dicomnode.config import Settings
    from dicomnode.operate.status import Action
    from dicomnode.store.spool import Spool

_BAD_ENDS = frozenset({"failed", "refused", "incomplete"})
_WITH_RESULT = frozenset({"done", "no_number", "failed", "kept"})
_LATE = frozenset({"delayed", "dead letter", "partly refused"})
_RUNNING = frozenset(one.value for one in lifecycle.JobStatus if not one.is_end)


def may(spool: Spool, entry: dict[str, Any]) -> frozenset[Action]:
    """What is of use to ask of a series, by its entry in the status; raises StorageError."""
    found = {what for what, is_so in _RULES.items() if is_so(entry)}
    if "send again" in found and not _can_be_sent(spool, entry):
        found.remove("send again")
    if "reprocess" in found and not spool.study_folder(entry["study_instance_uid"]).is_dir():
        found.remove("reprocess")
    return frozenset(found)


def ask(
    spool: Spool, what: Action, entries: Sequence[dict[str, Any]], *, by: str, to: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Ask for something of those series that it is of use for; return these.

    Raises InputError where there are none. ``to`` names the destinations that a result is sent to again: all of them
    where it is empty.
    """
    meant = [entry for entry in entries if what in may(spool, entry)]
    if not meant:
        states = "; ".join(sorted({_state(entry) for entry in entries}))
        raise InputError(f"{_NOTHING_TO[what]}: {states}")
    status.request(spool, what, meant, by=by, to=to)
    return meant


@dataclass(frozen=True, slots=True)
class Reprocess:
    """Which result is to be made again, which settings are changed for this once, whether it is sent in its place."""

    key: str
    changes: Mapping[str, str]  # "fit.method" -> "nls"
    by: str
    sends: bool


def check_reprocess(spool: Spool, settings: Settings, asked: Reprocess) -> None:
    """Raise what stands against making a result again: InputError, ConfigError, StepError."""
    try:
        remake.manifest(spool, asked.key, changed(settings, asked.changes), dicomnode.__version__)
    except remake.AlreadyMade as fault:  # it may be there and not sent
        if not asked.sends or lifecycle.state(spool.job(fault.key)).status is not lifecycle.JobStatus.KEPT:
            raise


def ask_to_reprocess(spool: Spool, asked: Reprocess, name: str = "") -> Path:
    """Ask the running node, or the next one; ``name`` is what the request goes by. Returns its file: see ``status``."""
    return status.request_reprocess(spool, asked.key, asked.changes, by=asked.by, sends=asked.sends, name=name)


def operator() -> str:
    """The account at the command line, also behind ``sudo``: for who asked for something."""
    number = os.getuid()
    try:
        own = pwd.getpwuid(number).pw_name
    except KeyError:  # a container may run as a number that has no name
        own = str(number)
    return own if number else os.environ.get("SUDO_USER", own)


def _is_late(entry: dict[str, Any]) -> bool:
    return any(one["status"] in _LATE for one in entry["deliveries"].values())


_RULES: Mapping[Action, Callable[[dict[str, Any]], bool]] = {
    "retry": lambda entry: entry["status"] in _BAD_ENDS or (_is_late(entry) and not entry["held"]),
    "hold": lambda entry: entry["status"] in _RUNNING and not entry["held"],
    "release": lambda entry: entry["held"] is not None,
    "reprocess": lambda entry: bool(entry["key"] and entry["group"]) and entry["status"] in {*_WITH_RESULT, "refused"},
    "process anyway": lambda entry: entry["status"] == "refused" and entry["code"] in protocol.OVERRULED,
    "send again": lambda entry: entry["status"] in _WITH_RESULT,
}
_NOTHING_TO: Mapping[Action, str] = {
    "hold": "nothing of it can be held back",
    "release": "nothing of it is held back",
    "send again": "nothing of it can be sent again",
    "retry": "nothing of it can be tried again",
    "reprocess": "nothing of it can be made again",
    "process anyway": "no order makes a number of it",
}


def _can_be_sent(spool: Spool, entry: dict[str, Any]) -> bool:
    job = spool.job(entry["key"]) if entry["key"] else None
    return job is not None and job.outputs is not None and tidy.has_objects(job)


def _state(entry: dict[str, Any]) -> str:
    why = f": {entry['reason']}" if entry["status"] in _BAD_ENDS and entry["reason"] else ""
    return f"{entry['status']}{', held back' if entry['held'] else ''}{why}"
