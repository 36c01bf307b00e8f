"""Keeps what each result says of its scanner, and says where a scanner's control chart leaves its limits."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dicomnode import events
from dicomnode.control import rows, scanner
from dicomnode.errors import NodeError
from dicomnode.jobs import manifest as manifests
from dicomnode.store.durable import digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicomnode.control.rows import Row
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool


def row_of(job: Job) -> Row | None:
    """What a result says; None where it says nothing new: drawn, made again, or without one. Raises NodeError."""
    made_from = manifests.read(job)
    said = (job.read("summary.json") if job.outputs is not None else None) or {}
    quality = said.get("quality")
    if quality is None or made_from.drawing or made_from.beside is not None:
        return None
    return rows.made(
        quality,
        key=job.key,
        exam=digest(f"{made_from.study_instance_uid} {made_from.group_id}".encode())[:20],
        created=made_from.created,
        sender=made_from.sender,
        software=made_from.software_version,
        organ=said["organ"],
    )


def note(spool: Spool, job: Job) -> Iterator[events.Event]:
    """Keep the row of a result that was just made, and say what its scanner's charts make of it; raises NodeError."""
    row = row_of(job)
    if row is None or job.key in rows.keys(spool.folder):
        return
    rows.append(spool.folder, row)
    history = rows.of(spool.folder, row.scanner.name)
    for phantom in scanner.phantoms(history) if history is not None and row.of_phantom else ():
        for named, one in phantom.alarms(row):
            yield events.ScannerChanged(job.key, row.scanner.name, named.code, one.kind.value, round(one.change, 2))


class Rebuilder:
    """Puts in what a crash left out, from the files of the jobs; looks at each result once."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._looked: set[str] = set()

    def round(self) -> None:
        """Keep every row that is missing; raises NodeError where they cannot be written."""
        known = rows.keys(self._spool.folder)
        for job in self._spool.all_jobs():
            if job.key in known or job.key in self._looked:
                continue
            with contextlib.suppress(NodeError):  # a damaged job is said by whoever needs it
                if job.outputs is None:
                    continue
                self._looked.add(job.key)
                row = row_of(job)
                if row is not None:
                    rows.append(self._spool.folder, row)
