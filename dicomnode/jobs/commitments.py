"""The files of storage commitment: what a PACS was asked to keep, and what it has said.

A report may reach another process than the one that asked, long after it asked; who hears it writes it down beside the
result, and who delivers the result reads it there.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from dicomnode.header.envelope import is_uid
from dicomnode.jobs import manifest as manifests
from dicomnode.store.durable import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dicomnode.commitment import Report
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool

_KEPT_SECONDS = 14 * 86400.0  # a later report belongs to a transaction that is no longer known
_FOLDER = "commitments"


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a destination was asked to keep."""

    uid: str
    key: str  # of the result
    destination: str
    objects: tuple[str, ...]  # SOP Instance UIDs
    asked: float  # seconds since the epoch, for people


@dataclass(frozen=True, slots=True)
class Answer:
    """What a destination has said of a transaction so far."""

    committed: frozenset[str] = frozenset()
    failed: tuple[tuple[str, int], ...] = ()  # SOP Instance UID and Failure Reason


def begin(spool: Spool, transaction: Transaction) -> None:
    """Make a transaction known, before anybody is asked."""
    write_json(_path(spool, transaction.uid), asdict(transaction))


def find(spool: Spool, uid: str) -> Transaction | None:
    """A transaction that was begun in the last weeks; raises StorageError."""
    said = read_json(_path(spool, uid)) if is_uid(uid) else None
    return None if said is None else Transaction(**{**said, "objects": tuple(said["objects"])})


def keep(spool: Spool, report: Report) -> Transaction | None:
    """Write a report down beside its result; None where its transaction is not known. Raises StorageError.

    Of two reports for one transaction the later counts for every object that it names.
    """
    transaction = find(spool, report.transaction_uid)
    if transaction is None:
        return None
    job = spool.job(transaction.key)
    if not manifests.exists(job):
        return transaction  # the result is no longer kept
    before = _answer(job, transaction.destination, transaction.uid)
    failed = {uid: why for uid, why in before.failed if uid not in report.committed}
    failed |= {uid: why for uid, (_, why) in report.failed.items()}
    committed = (before.committed | report.committed.keys()) - failed.keys()
    said = {"committed": sorted(committed & set(transaction.objects)), "failed": failed}
    job.write(_name(transaction.destination, transaction.uid), said)
    return transaction


def answers(job: Job, destination: str, transactions: Iterable[str]) -> list[Answer]:
    """What was reported for each of these transactions of a result, in their order."""
    return [_answer(job, destination, uid) for uid in transactions]


def forget_old(spool: Spool) -> None:
    """Remove transactions for which no report comes any more."""
    for path in spool.commitments.glob("*.json"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _KEPT_SECONDS:
                path.unlink()


def _answer(job: Job, destination: str, uid: str) -> Answer:
    said = job.read(_name(destination, uid)) or {"committed": [], "failed": {}}
    return Answer(frozenset(said["committed"]), tuple(said["failed"].items()))


def _name(destination: str, uid: str) -> str:
    return f"{_FOLDER}/{destination}/{uid}.json"


def _path(spool: Spool, uid: str) -> Path:
    return spool.commitments / f"{uid}.json"
