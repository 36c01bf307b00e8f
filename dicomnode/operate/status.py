"""What is waiting, done, refused or failed, and why: read from the files, whether or not a node is running."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dicomnode
from dicomnode.errors import Newer, NodeError, StorageError
from dicomnode.intake.complete import Verdict
from dicomnode.jobs import again, comparison, lifecycle
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs.lifecycle import JobStatus
from dicomnode.store import usage
from dicomnode.store.durable import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool


_NO_SERIES: dict[str, Any] = {
    "series_instance_uids": [],
    "missing": [],
    "holes": [],
    "left_out": [],
    "echo_times_ms": [],
    "slices": 0,
}


_NOTHING: dict[str, Any] = {
    **_NO_SERIES,
    "study_instance_uid": "",
    "accession_number": "",
    "status": "",
    "code": None,
    "reason": None,
    "images": 0,
    "key": None,
    "group": None,
    "held": None,
    "deliveries": {},
}


def overview(spool: Spool) -> list[dict[str, Any]]:
    """One entry a series, oldest study first: where it stands and why; then what could not be taken in."""
    entries = [entry for study in Studies(spool).look() for entry in study.entries]
    return [*_disk(spool), *entries, *not_taken_in(spool)]


@dataclass(frozen=True, slots=True)
class Study:
    """The entries of a study, and when its record last changed, seconds since the epoch."""

    changed: float
    entries: tuple[dict[str, Any], ...]


class Studies:
    """Every study; of those that are settled, one look after the other reads nothing but time stamps."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._index = _Index.read(spool)

    def look(self) -> list[Study]:
        """Every study, the one that changed last at the end."""
        found = [
            Study(stamp / 1e9, tuple(self._index.entries(path, stamp))) for stamp, path in sorted(_records(self._spool))
        ]
        self._index.write()
        return found


def _records(spool: Spool) -> Iterator[tuple[int, str]]:
    """Time stamp and path of the record of every study."""
    with os.scandir(spool.studies) as found:
        for one in found:
            if one.name.endswith(".json"):
                with contextlib.suppress(FileNotFoundError):
                    yield one.stat().st_mtime_ns, one.path


class _Index:
    """The entries of studies of which nothing changes any more, so that ten thousand need not be read for each look.

    What is in it counts as long as the study's record and the state of its jobs bear the time stamps they had.
    """

    def __init__(self, spool: Spool, known: dict[str, Any]) -> None:
        self._spool = spool
        self._known = known
        self._now: dict[str, Any] = {}

    @classmethod
    def read(cls, spool: Spool) -> _Index:
        """What an earlier look has written down; nothing where that cannot be read."""
        try:
            said = read_json(spool.folder / _INDEX) or {}
        except StorageError:
            said = {}
        return cls(spool, said.get("studies", {}) if said.get("version") == _INDEX_VERSION else {})

    def entries(self, path: str, stamp: int) -> list[dict[str, Any]]:
        """The entries of a study, from the index where nothing has changed."""
        name = path.rpartition("/")[2]
        known = self._known.get(name)
        if known is None or known["stamp"] != stamp or any(_stamp(job) != then for job, then in known["jobs"].items()):
            entries, stamps = _study(self._spool, Path(path))
            if any(entry["status"] not in _SETTLED for entry in entries):
                return entries
            known = {"stamp": stamp, "jobs": stamps, "entries": entries}
        self._now[name] = known
        found: list[dict[str, Any]] = known["entries"]
        return found

    def write(self) -> None:
        """Write down what may be of use next time; where that is not allowed, it is read again next time."""
        known, self._known, self._now = self._known, self._now, {}
        if self._known.keys() == known.keys() and all(known[name] is one for name, one in self._known.items()):
            return
        target = self._spool.folder / _INDEX
        part = target.with_name(f".{_INDEX}-{uuid.uuid4().hex}.part")
        try:
            part.write_text(json.dumps({"version": _INDEX_VERSION, "studies": self._known}))
            part.replace(target)
        except OSError:
            part.unlink(missing_ok=True)


def _stamp(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116  ten thousand times
    except OSError:
        return 0


def _disk(spool: Spool) -> Iterator[dict[str, Any]]:
    """Why nothing is taken in, where that is so; said from what the disk has free, not from what is written on it."""
    try:
        spool.check_space()
    except StorageError as fault:
        yield {**_NOTHING, "status": "disk low", "code": "disk-low", "reason": f"nothing is taken in: {fault}"}


def disk_in_words(spool: Spool) -> str:
    """How much room there is until images are refused, and how long it will last."""
    room, days = spool.room() / 1e9, usage.days_left(spool)
    return f"disk: {room:.1f} GB until images are refused" + ("" if days is None else f", about {days:.0f} days")


def find(spool: Spool, wanted: str) -> list[dict[str, Any]]:
    """The entries of a study UID, series UID, accession number or result key."""
    return [entry for entry in overview(spool) if wanted and wanted in _names(entry)]


def _names(entry: dict[str, Any]) -> set[str]:
    names = {entry["study_instance_uid"], entry["accession_number"], entry["key"], *entry["series_instance_uids"]}
    return {name for name in names if name}


_INDEX = "status-index.json"
REMOVED = "removed"
NEEDS_A_PERSON = {"failed", "disk low", "unreadable"}
# Nothing more comes of these.
FINISHED = {"done", "no_number", "refused", "incomplete", "not an echo", "overtaken", "kept", REMOVED}
_INDEX_VERSION = f"{dicomnode.__version__}/3"  # the second raises with what an entry holds
_SETTLED = {"done", "no_number", "failed", "refused", "kept", "incomplete", "not an echo", REMOVED}


def _study(spool: Spool, path: Path) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Every entry of a study, and the time stamps of its jobs; a record that is damaged is one entry that says so.

    The stamps are older than what was read: what changes meanwhile is read again.
    """
    try:
        record = read_json(path)
        if record is None:
            return [], {}
        made_again = str(again.path(spool, path.stem))
        stamps = {made_again: _stamp(made_again)}  # first: it says which results there are
        stamps |= {state: _stamp(state) for state in _states(spool, record)}
        return list(_entries(spool, record)), stamps
    except StorageError as fault:
        return [{**_NOTHING, "study_instance_uid": path.stem, "status": "unreadable", "reason": str(fault)}], {}


def _states(spool: Spool, record: dict[str, Any]) -> list[str]:
    """Where it stands what became of the results of a study."""
    said = (*record["groups"].values(), *record.get("drawings", {}).values())
    keys = {one["key"] for one in said if one.get("key")} | again.of_study(spool, record["study_instance_uid"]).keys()
    return sorted(f"{spool.jobs}/{key}/state.json" for key in keys)


def not_taken_in(spool: Spool) -> Iterator[dict[str, Any]]:
    """What arrived and belongs to no study, by reason."""
    reasons = Counter(_reason(path) for path in spool.refused.glob("*.json"))
    for (code, reason), count in sorted(reasons.items()):
        yield {**_NOTHING, "status": "not taken in", "code": code, "reason": reason, "images": count}


def _reason(path: Path) -> tuple[str, str]:
    try:
        said = read_json(path) or {}
    except StorageError as fault:
        return "unreadable", str(fault)
    return said.get("code", "unreadable"), said.get("reason", "")


def _entries(spool: Spool, record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    study = {name: record[name] for name in ("study_instance_uid", "accession_number")}
    for other in record["others"]:
        unknown = {"status": "not an echo", "images": other["count"], "key": None, "held": None, "deliveries": {}}
        yield {**study, **_NO_SERIES, **unknown, **other, "group": None}
    made_again = again.of_study(spool, record["study_instance_uid"])
    for group_id, group in record["groups"].items():
        said = {name: value for name, value in group.items() if name not in {"sources", "started"}}
        entry = {**study, "holes": [], **said, "group": group_id, "held": None, "deliveries": {}}
        key = group["key"] and again.newest(made_again, group["key"])
        yield _with_job(spool, {**entry, "key": key})
        for beside, one in made_again.items():
            if one.group == group_id and not one.sent and manifests.exists(spool.job(beside)):
                yield _with_job(spool, {**entry, **_BESIDE, "key": beside, "beside": one.of})
    for drawing in record.get("drawings", {}).values():
        said = {**drawing, "images": 1, "group": None, "held": None, "deliveries": {}}
        yield _with_job(spool, {**study, **_NO_SERIES, **said})


_BESIDE: dict[str, Any] = {"status": Verdict.READY.value, "code": None, "reason": None, "missing": [], "holes": []}


def _no_longer_there(what: str, code: str) -> dict[str, Any]:
    reason = f"{what} removed outside the node; send the series again"
    return {"status": REMOVED, "code": code, "reason": reason}


def _with_job(spool: Spool, entry: dict[str, Any]) -> dict[str, Any]:
    """Add where the job of an entry stands, once there is one."""
    if entry["status"] == Verdict.WAIT and not spool.study_folder(entry["study_instance_uid"]).is_dir():
        return {**entry, **_no_longer_there("its images were", "images-removed")}
    if not entry["key"] or entry["status"] != Verdict.READY:
        return entry
    job = spool.job(entry["key"])
    if not manifests.exists(job):
        return {**entry, **_no_longer_there("its result was", "result-removed")}
    state = lifecycle.state(job)
    deliveries = {name: delivery.as_json() for name, delivery in lifecycle.deliveries(job).items()}
    said = {**entry, "status": state.status.value, "reason": state.reason, "deliveries": deliveries}
    said["held"] = lifecycle.held_by(job)
    said["code"] = state.code or entry["code"]
    if not state.status.is_end:
        said["reason"] = state.reason or _newer(job)
    return _without_number(said, job) if state.status in {JobStatus.DONE, JobStatus.KEPT} else said


def _newer(job: Job) -> str | None:
    """That a job waits for newer software than this, where it does."""
    try:
        manifests.read(job)
    except Newer as fault:
        return f"waits for newer software: {fault}"
    except NodeError:
        return None  # not there yet, or damaged: its step says so
    return None


def _without_number(entry: dict[str, Any], job: Job) -> dict[str, Any]:
    """Tell a study whose report holds no number from one that does: a person has to look at it."""
    summary = job.read("summary.json") or {}
    if summary.get("ordered"):
        entry = {**entry, "ordered": summary["ordered"]}
    if summary.get("supersedes"):
        entry = {**entry, "supersedes": summary["supersedes"]}
    if summary.get("status") != "no_number" or entry["status"] == JobStatus.KEPT:
        return entry
    reasons = [why for why in (summary.get("reason"), entry["reason"]) if why]
    return {**entry, "status": "no_number", "code": summary.get("code"), "reason": "; ".join(reasons) or None}


def in_full(spool: Spool, entry: dict[str, Any]) -> dict[str, Any]:
    """The same with what a result says, and how one that was made again differs from the one before.

    Raises StorageError.
    """
    if not entry["key"]:
        return entry
    job = spool.job(entry["key"])
    said = {
        "comparison": job.read(comparison.FILE),
        "result": _result(job.read("summary.json"), job.read(job.FINDINGS)),
    }
    return {**entry, **{name: what for name, what in said.items() if what is not None}}


def _result(summary: dict[str, Any] | None, findings: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a report says first, and the numbers of each region as it words them."""
    if summary is None:
        return None
    answer = "" if findings is None else findings.get("answer", "")
    regions = [{"name": roi["name"], **roi.get("words", {})} for roi in summary.get("rois", ())]
    return {"answer": answer, "regions": regions}


def request_purge(spool: Spool, entries: list[dict[str, Any]], reason: str, *, undelivered: bool, by: str) -> list[str]:
    """Ask the running node, or the next one, to remove all it keeps of the studies of entries; return those."""
    studies = sorted({entry["study_instance_uid"] for entry in entries if entry["study_instance_uid"]})
    spool.ask({"what": "purge", "by": by, "purge": studies, "reason": reason, "undelivered": undelivered})
    return studies


Action = Literal["retry", "send again", "hold", "release", "process anyway", "reprocess"]


_LOOKED_AT = ("retry", "process anyway")  # the watcher judges the study again


def request_retry(
    spool: Spool, entries: list[dict[str, Any]], *, by: str = "command line", anyway: bool = False
) -> None:
    """Ask the running node, or the next one, to try these again; the request is durable.

    ``anyway`` processes what was refused because it is no liver's.
    """
    request(spool, "process anyway" if anyway else "retry", entries, by=by)


def request(
    spool: Spool,
    what: Action,
    entries: Sequence[dict[str, Any]],
    *,
    by: str,
    to: Sequence[str] = (),
) -> None:
    """Ask the running node, or the next one, for something; durable. ``by`` is who asks, for the log.

    ``to`` names destinations, where it is to be done for some of them only.
    """
    request = {
        "what": what,
        "by": by,
        "keys": sorted({entry["key"] for entry in entries if entry["key"]}),
        "studies": sorted({entry["study_instance_uid"] for entry in entries}) if what in _LOOKED_AT else [],
        "groups": [_group(entry) for entry in entries if not entry["key"]] if what == "process anyway" else [],
        "to": list(to),
    }
    spool.ask(request)


def _group(entry: dict[str, Any]) -> dict[str, Any]:
    """A series of which no job was made."""
    return {"study": entry["study_instance_uid"], "group": entry["group"], "code": entry["code"]}


def request_reprocess(
    spool: Spool, key: str, changes: Mapping[str, str], *, by: str, sends: bool, name: str = ""
) -> Path:
    """Ask for a result to be made again with some settings changed; ``name`` is what the request goes by.

    Returns the file of the request, which is there until the node has answered.
    """
    said = {"changes": dict(changes), "sends": sends, "name": name or uuid.uuid4().hex}
    return spool.ask({"what": "reprocess", "by": by, "keys": [key], **said})
