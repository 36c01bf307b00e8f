"""Takes in files that were put into the drop folder, like images from a scanner."""

from __future__ import annotations

import io
import time
import uuid
from typing import TYPE_CHECKING

from dicomnode import events, header, logs
from dicomnode.errors import InputError, NodeError
from dicomnode.header.envelope import read_envelope
from dicomnode.store.durable import digest, sync_folder

if TYPE_CHECKING:
    from pathlib import Path

    from dicomnode.header import Header
    from dicomnode.store.spool import Spool

_QUIET_SECONDS = 2.0  # a file being copied in changes within this time
_MAY_BE_HALF = {"not-dicom", "damaged", "unreadable"}  # header's codes of what a half-written file may look like


class DropFolder:
    """The folder ``drop/`` of the spool; a file's name may be a patient's, so it is never said."""

    def __init__(self, spool: Spool, patience_seconds: float, say: events.Sink = logs.write) -> None:
        self.turned = time.monotonic()  # when it last began with a file
        self._spool = spool
        self._patience_seconds = patience_seconds  # for a file that cannot be read to its end
        self._say = say
        self._known: dict[Path, tuple[int, int, float]] = {}  # size, change time, first seen like that

    def take(self, now: float) -> set[str]:
        """Take in what has stopped changing; return the studies it belongs to."""
        seen = {}
        taken: dict[str, list[str]] = {}
        for path in sorted(path for path in self._spool.drop.rglob("*") if path.is_file()):
            self.turned = time.monotonic()
            try:
                age, seen[path] = self._age(path, now)
                if age >= _QUIET_SECONDS and (stored := self._take(path, age, seen[path][:2])):
                    taken.setdefault(stored[0], []).append(stored[1])
            except (OSError, NodeError) as fault:  # it stays where it is
                reason = fault.strerror if isinstance(fault, OSError) else str(fault)
                self._say(events.DroppedFileWaits(reason))
        self._known = {path: shape for path, shape in seen.items() if path.exists()}
        for study_uid, sop_uids in taken.items():
            self._spool.release(study_uid, sop_uids, dropped=True)
            self._say(events.FilesTaken(study_uid, len(sop_uids)))
        return set(taken)

    def again_at(self, now: float) -> float | None:
        """When a file that is there now will have stopped changing; None when there is none to wait for."""
        fresh = any(now - since < _QUIET_SECONDS for *_, since in self._known.values())
        return now + _QUIET_SECONDS if fresh else None

    def _age(self, path: Path, now: float) -> tuple[float, tuple[int, int, float]]:
        """How long a dropped file has not changed, and what to remember to know it next time."""
        shape = _shape(path)
        size, changed_ns, since = self._known.get(path, (-1, -1, now))
        if (size, changed_ns) != shape:
            since = now
        return now - since, (*shape, since)

    def _take(self, path: Path, age: float, shape: tuple[int, int]) -> tuple[str, str] | None:
        """Move one file to where it belongs: into its study, or to what was refused; return its study and instance.

        What cannot be read to its end may still be on its way, and is given more time. What is put in its place, or
        changes, while it is taken in stays, and is taken in next.
        """
        content = path.read_bytes()
        found = header.read(path)
        doubtful = found.reason is not None and found.reason.code in _MAY_BE_HALF
        cut = _cut_short(content)
        if (doubtful or cut) and age < self._patience_seconds:
            return None
        refusal = "the file is cut short" if cut else self._store(found, content)
        if refusal is not None:
            self._spool.refuse(content, "unreadable", refusal)
            self._say(events.FileRefused(refusal, digest(content)))
        taken = path.rename(path.with_name(f".taken-{uuid.uuid4().hex}"))  # under a name that nobody writes to
        if _shape(taken) == shape:
            taken.unlink()
        sync_folder(path.parent)
        return (found.study_instance_uid, found.sop_instance_uid) if refusal is None else None

    def _store(self, found: Header, content: bytes) -> str | None:
        """Keep an instance; return why that cannot be done."""
        try:
            self._spool.store(found.study_instance_uid, found.sop_instance_uid, content)
        except InputError as fault:
            return str(found.reason or fault)
        return None


def _shape(path: Path) -> tuple[int, int]:
    """Size and time of the last change."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _cut_short(content: bytes) -> bool:
    try:
        return read_envelope(io.BytesIO(content)).cut_short
    except InputError:  # header says what is wrong with it
        return False
