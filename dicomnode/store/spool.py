"""Where every durable file of the node lies, written so that a crash at any line loses nothing.

::

    incoming/<study uid>/<sop instance uid>.dcm     an instance, as it was received
    incoming/<study uid>/released-<id>.json         the instances of an association that ended well
    incoming/<study uid>/taken-<id>.json            the instances of files that were dropped whole
    incoming/<study uid>/conflict-<digest>.dcm      other bytes that came under a SOP Instance UID we hold
    drop/                                           files put here are taken in
    refused/<digest>.dcm, .json                     what could not be taken in, and why
    studies/<study uid>.json                        what the watcher knows of a study
    jobs/<key>/...                                  one result: see Job
    requests/<id>.json                              what an operator asked for (retry)
    node.lock                                       held by the one node that owns this folder
    node.json                                       the name this folder's work goes by in the queue's database
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
import uuid
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from dicomnode.errors import DiskLow, InputError, StorageError
from dicomnode.header.envelope import is_uid
from dicomnode.store.durable import digest, make_folder, read_json, write_durably, write_json
from dicomnode.store.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Received:
    """What became of an instance that was handed in."""

    path: Path
    new: bool  # False: the same bytes were here already
    conflict: bool = False  # other bytes are held under this SOP Instance UID; these were put aside


class Spool:
    """The storage folder."""

    def __init__(self, folder: Path, minimum_free_mb: int = 0) -> None:
        self.folder = folder
        self.incoming = folder / "incoming"
        self.drop = folder / "drop"
        self.refused = folder / "refused"
        self.studies = folder / "studies"
        self.jobs = folder / "jobs"
        self.requests = folder / "requests"
        self._minimum_free = minimum_free_mb * 1_000_000
        # Two associations may bring one instance at once; the second must find what the first has kept.
        self._one_at_a_time = [threading.Lock() for _ in range(64)]

    def create(self) -> None:
        """Make the folders; raises StorageError when that is not allowed."""
        try:
            for folder in (self.incoming, self.drop, self.refused, self.studies, self.jobs, self.requests):
                make_folder(folder)
        except OSError as fault:
            raise StorageError(f"{self.folder} cannot be used: {fault.strerror or fault}") from fault

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Own the folder; raises StorageError when another node does."""
        with (self.folder / "node.lock").open("a") as file:
            _lock(file, self.folder)
            yield

    def name(self) -> str:
        """A name for this folder that no other has, and that it keeps on another machine."""
        path = self.folder / "node.json"
        known = read_json(path)
        if known is None:
            known = {"name": uuid.uuid4().hex}
            write_json(path, known)
        return str(known["name"])

    def check_space(self) -> None:
        """Raise DiskLow before the disk is full."""
        try:
            free = shutil.disk_usage(self.incoming).free
        except OSError as fault:
            raise StorageError(f"{self.incoming} cannot be used: {fault.strerror or fault}") from fault
        if free < self._minimum_free:
            raise DiskLow(
                f"{free // 1_000_000} MB free, [storage] minimum_free_mb is {self._minimum_free // 1_000_000}"
            )

    def study_folder(self, study_uid: str) -> Path:
        """Folder of a study's instances; raises InputError for what is not a UID, so that it never becomes a path."""
        return self.incoming / _checked(study_uid, "StudyInstanceUID")

    def study_changes(self) -> Iterator[tuple[str, int]]:
        """Every study with the time stamp of its folder, ns: one stat a study."""
        with os.scandir(self.incoming) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if is_uid(entry.name) and entry.is_dir():
                        yield entry.name, entry.stat().st_mtime_ns

    def store(self, study_uid: str, sop_uid: str, content: bytes) -> Received:
        """Keep the bytes of an instance durably under their final name.

        The first bytes that came under a SOP Instance UID stay; others are put aside beside them.
        """
        folder = self.study_folder(study_uid)
        path = folder / f"{_checked(sop_uid, 'SOPInstanceUID')}.dcm"
        self.check_space()
        try:
            make_folder(folder)
            with self._one_at_a_time[hash(sop_uid) % len(self._one_at_a_time)]:
                return _keep(path, content)
        except OSError as fault:
            raise StorageError(f"{folder} cannot be used: {fault.strerror or fault}") from fault

    def refuse(self, content: bytes, code: str, sentence: str) -> Path:
        """Keep what cannot be taken in, with the reason beside it."""
        self.check_space()
        path = self.refused / f"{digest(content)}.dcm"
        write_durably(path, content)
        write_json(path.with_suffix(".json"), {"code": code, "reason": sentence})
        return path

    def release(self, study_uid: str, sop_uids: list[str], *, dropped: bool = False) -> None:
        """Record what an association brought to a study before it ended well, or what came as whole files."""
        name = f"{'taken' if dropped else 'released'}-{uuid.uuid4().hex}.json"
        write_json(self.study_folder(study_uid) / name, sop_uids)

    def job(self, key: str) -> Job:
        """The folder of a result."""
        return Job(self.jobs / key)

    def all_jobs(self) -> Iterator[Job]:
        """Every job with a manifest, oldest first."""
        folders = (path.parent for path in self.jobs.glob("*/manifest.json"))
        yield from (Job(folder) for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime_ns))


def _keep(path: Path, content: bytes) -> Received:
    if not path.exists():
        write_durably(path, content)
        return Received(path, new=True)
    if _same_object(path.read_bytes(), content):
        return Received(path, new=False)
    aside = path.with_name(f"conflict-{digest(content)}.dcm")
    if not aside.exists():
        write_durably(aside, content)
    return Received(aside, new=False, conflict=True)


def _checked(uid: str, name: str) -> str:
    if not is_uid(uid):
        raise InputError(f"{name} is not a UID")
    return uid


def _lock(file: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        raise StorageError(f"another node already uses {folder}; give each its own [storage] folder") from fault


def _same_object(held: bytes, offered: bytes) -> bool:
    """Compare data sets; the file meta information differs with the peer that wrote it."""
    return held == offered or _data_set(held) == _data_set(offered)


def _data_set(content: bytes) -> bytes:
    """Skip preamble and file meta group, whose length stands in (0002,0000) right behind DICM (PS3.10 7.1)."""
    if content[128:132] != b"DICM" or content[132:138] != b"\x02\x00\x00\x00UL":
        return content
    return content[144 + int.from_bytes(content[140:144], "little") :]
