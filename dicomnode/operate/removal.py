"""What a person removes when a study is deleted here, what stays elsewhere, and what speaks against it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicomnode.errors import InputError
from dicomnode.jobs import lifecycle, retention
from dicomnode.jobs.lifecycle import JobStatus
from dicomnode.operate import status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from dicomnode.store.spool import Spool

_AT_WORK = frozenset(one.value for one in JobStatus if not one.is_end) - {JobStatus.DELIVERING.value}


class Unfinished(InputError):
    """Something of it has not come to its end."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What goes with a study, and what does not."""

    images: int
    results: int
    gone: tuple[str, ...]  # what was removed before: "originals", "objects"
    stays: Mapping[str, int]  # objects that a destination has, by its name
    unfinished: tuple[str, ...]  # states that are no end
    at_work: bool  # the node would refuse it now
    promised: bool  # a scanner was told that its images are kept here


def of(spool: Spool, entries: Sequence[dict[str, Any]]) -> Removal:
    """What lies here of the study that these are all entries of; raises StorageError where that cannot be read."""
    study_uid: str = entries[0]["study_instance_uid"]
    jobs = retention.jobs_of(spool, study_uid)
    stays: Counter[str] = Counter()
    for job in jobs:
        stays.update({name: len(one.delivered) for name, one in lifecycle.deliveries(job).items()})
    states = {entry["status"] for entry in entries}
    return Removal(
        images=sum(1 for _ in spool.study_folder(study_uid).glob("[0-9]*.dcm")),
        results=sum(job.outputs is not None for job in jobs),
        gone=tuple(retention.removed(spool, study_uid)),
        stays=dict(+stays),
        unfinished=tuple(sorted(states - status.FINISHED)),
        at_work=not states.isdisjoint(_AT_WORK),
        promised=spool.is_promised(study_uid),
    )


def ask(spool: Spool, study_uids: set[str], reason: str, *, undelivered: bool, by: str) -> list[str]:
    """Ask the running node, or the next one, to remove all it keeps of studies; return those.

    Raises Unfinished where one has not come to its end, unless what is not delivered may go, too; InputError without a
    reason.
    """
    if not reason.strip():
        raise InputError("a reason is needed: it is logged and audited")
    entries = [entry for uid in study_uids for entry in status.find(spool, uid)]
    states = sorted({entry["status"] for entry in entries} - status.FINISHED)
    if states and not undelivered:
        raise Unfinished(f"it is not finished ({', '.join(states)})")
    return status.request_purge(spool, entries, reason.strip(), undelivered=undelivered, by=by)
