"""What is waiting, done, refused or failed, and why: read from the files, whether or not a node is running."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

from dicomnode.errors import StorageError
from dicomnode.intake.complete import Verdict
from dicomnode.jobs import lifecycle
from dicomnode.jobs.lifecycle import JobStatus
from dicomnode.store.durable import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool


_NO_SERIES: dict[str, Any] = {
    "series_instance_uids": [],
    "missing": [],
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
    "deliveries": {},
}


def overview(spool: Spool) -> list[dict[str, Any]]:
    """One entry a series, oldest study first: where it stands and why; then what could not be taken in."""
    paths = sorted(spool.studies.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    return [*_disk(spool), *(entry for path in paths for entry in _study(spool, path)), *_not_taken_in(spool)]


def _disk(spool: Spool) -> Iterator[dict[str, Any]]:
    """Why nothing is taken in, where that is so; said from what the disk has free, not from what is written on it."""
    try:
        spool.check_space()
    except StorageError as fault:
        yield {**_NOTHING, "status": "disk low", "code": "disk-low", "reason": f"nothing is taken in: {fault}"}


def find(spool: Spool, wanted: str) -> list[dict[str, Any]]:
    """The entries of a study UID, series UID, accession number or result key."""
    return [entry for entry in overview(spool) if wanted and wanted in _names(entry)]


def _names(entry: dict[str, Any]) -> set[str]:
    names = {entry["study_instance_uid"], entry["accession_number"], entry["key"], *entry["series_instance_uids"]}
    return {name for name in names if name}


def _study(spool: Spool, path: Path) -> list[dict[str, Any]]:
    """Every entry of a study; a record that is damaged is one entry that says so."""
    try:
        record = read_json(path)
        return [] if record is None else list(_entries(spool, record))
    except StorageError as fault:
        return [{**_NOTHING, "study_instance_uid": path.stem, "status": "unreadable", "reason": str(fault)}]


def _not_taken_in(spool: Spool) -> Iterator[dict[str, Any]]:
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
        unknown = {"status": "not an echo", "key": None, "images": other["count"], "deliveries": {}}
        yield {**study, **_NO_SERIES, **unknown, **other}
    for group in record["groups"].values():
        said = {name: value for name, value in group.items() if name not in {"sources", "started"}}
        yield _with_job(spool, {**study, **said, "deliveries": {}})
    for drawing in record.get("drawings", {}).values():
        yield _with_job(spool, {**study, **_NO_SERIES, **drawing, "images": 1, "deliveries": {}})


def _with_job(spool: Spool, entry: dict[str, Any]) -> dict[str, Any]:
    """Add where the job of an entry stands, once there is one."""
    if not entry["key"] or entry["status"] != Verdict.READY:
        return entry
    job = spool.job(entry["key"])
    state = lifecycle.state(job)
    deliveries = {name: delivery.as_json() for name, delivery in lifecycle.deliveries(job).items()}
    said = {**entry, "status": state.status.value, "reason": state.reason, "deliveries": deliveries}
    said["code"] = state.code or entry["code"]
    return _without_number(said, job) if state.status is JobStatus.DONE else said


def _without_number(entry: dict[str, Any], job: Job) -> dict[str, Any]:
    """Tell a study whose report holds no number from one that does: a person has to look at it."""
    summary = job.read("summary.json") or {}
    if summary.get("supersedes"):
        entry = {**entry, "supersedes": summary["supersedes"]}
    if summary.get("status") != "no_number":
        return entry
    reasons = [why for why in (summary.get("reason"), entry["reason"]) if why]
    return {**entry, "status": "no_number", "code": summary.get("code"), "reason": "; ".join(reasons) or None}


def request_retry(spool: Spool, entries: list[dict[str, Any]], *, anyway: bool = False) -> None:
    """Ask the running node, or the next one, to try these again; the request is durable.

    ``anyway`` processes what was refused because it is no liver's.
    """
    request = {
        "keys": sorted({entry["key"] for entry in entries if entry["key"]}),
        "studies": sorted({entry["study_instance_uid"] for entry in entries}),
        "anyway": anyway,
    }
    write_json(spool.requests / f"{uuid.uuid4().hex}.json", request)
