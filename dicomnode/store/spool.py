"""Where every durable file of the node lies, written so that a crash at any line loses nothing.

::

    incoming/<study uid>/<sop instance uid>.dcm     an instance, as it was received
    incoming/<study uid>/released-<id>.json         the instances of an association that ended well
    incoming/<study uid>/taken-<id>.json            the instances of files that were dropped whole
    incoming/<study uid>/promised.json              a scanner was promised that these images are kept
    incoming/<study uid>/open-<member>-<id>         an association on that machine that brings images is open
    incoming/<study uid>/conflict-<digest>.dcm      other bytes that came under a SOP Instance UID we hold
    incoming/.leaving-<study uid>/                  images that are removed if none came since they were judged
    incoming/.removed-<study uid>/                  images that are being removed
    incoming/.arriving-<n>/                         bytes on their way, under names nobody looks at
    drop/                                           files put here are taken in
    refused/<digest>.dcm, .json                     what could not be taken in, and why
    studies/<study uid>.json                        what the watcher knows of a study
    studies/<study uid>.ordered                     what a person wants processed although it was refused, and who
    studies/<study uid>.again                       which of its results a person had made again
    studies/<study uid>.begun                       the jobs of it that are begun, until the record says so
    jobs/<key>/...                                  one result: see Job
    jobs/.removed-<key>/                            one that is being removed
    requests/<number>-<id>.json                     what an operator asked for (retry, purge, ...), the first first
    removed/<study uid>.json                        what was removed of a study, when and why
    audit/, notices/<time>-<id>                     what the audit repository, or people, were not told yet
    quality/<digest>.jsonl                          what each exam said of that scanner: lines are added, none goes
    usage.json                                      how full the disk was on each day the node ran
    commitments/<transaction uid>.json              what a PACS was asked to keep for good, and for which result
    promises/<id>.json                              what a scanner asked us to keep, until it has our answer
    status-index.json                               what ``status`` has read already; can be deleted
    node.lock                                       held by the one node that owns this folder
    node.json                                       the name this folder's work goes by in the queue's database
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import math
import os
import shutil
import threading
import time
import uuid
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from dicomnode.errors import DiskLow, InputError, StorageError
from dicomnode.store.durable import Partial, file_digest, make_folder, read_json, sync_folder, write_json
from dicomnode.store.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


_CHUNK = 1 << 20
_LEAVING, _REMOVED = ".leaving-", ".removed-"
_PROMISED = "promised.json"
_LEFT_OVER_SECONDS = 3600.0  # nothing is written for so long
_LOOKED_AT_SECONDS = 0.25  # how old what is known of the free space may be


@dataclass(frozen=True)
class Received:
    """What became of an instance that was handed in."""

    path: Path
    new: bool  # False: the same bytes were here already
    conflict: bool = False  # other bytes are held under this SOP Instance UID; these were put aside


class Spool:
    """The storage folder."""

    def __init__(self, folder: Path, minimum_free_mb: int = 0, *, shared: bool = False) -> None:
        self.folder = folder
        self._shared = shared  # other machines write here, too
        self.incoming = folder / "incoming"
        self.drop = folder / "drop"
        self.refused = folder / "refused"
        self.studies = folder / "studies"
        self.jobs = folder / "jobs"
        self.requests = folder / "requests"
        self.removed = folder / "removed"
        self.commitments = folder / "commitments"
        self.promises = folder / "promises"
        # Several folders, for a new name in a folder waits for whoever makes another there.
        self._arriving = [self.incoming / f".arriving-{number}" for number in range(8)]
        self._next_arriving = itertools.cycle(self._arriving)
        self._minimum_free = minimum_free_mb * 1_000_000
        self._free = (-math.inf, 0)  # when it was looked at, and bytes
        # Two associations may bring one instance at once; the second must find what the first has kept.
        self._one_at_a_time = [threading.Lock() for _ in range(64)]

    def keep_free(self, minimum_free_mb: int) -> None:
        """From now on, refuse what comes when there is less room than that."""
        self._minimum_free = minimum_free_mb * 1_000_000

    def create(self) -> None:
        """Make the folders; raises StorageError when that is not allowed."""
        try:
            received, kept = (self.incoming, self.drop, self.refused), (self.studies, self.jobs, self.requests)
            durable = (*received, *kept, self.removed, self.commitments, self.promises)
            for folder in (*durable, *self._arriving):
                make_folder(folder)
                _remove_leftovers(folder)
        except OSError as fault:
            raise StorageError(f"{self.folder} cannot be used: {fault.strerror or fault}") from fault

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Own the folder; raises StorageError when another node does. One that is shared has many owners."""
        if self._shared:
            yield
            return
        with (self.folder / "node.lock").open("a") as file:
            _lock(file, self.folder)
            yield

    def name(self) -> str:
        """A name for this folder that no other has, and that it keeps on another machine."""
        path = self.folder / "node.json"
        if not path.exists():
            with Partial(self.folder) as file:
                file.write(json.dumps({"name": uuid.uuid4().hex}).encode())
                file.keep_as(path, replace=False)  # another machine may name it at this moment
        return str(read_json(path)["name"])

    def check_space(self) -> None:
        """Raise DiskLow before the disk is full."""
        since, free = self._free
        if time.monotonic() - since > _LOOKED_AT_SECONDS:
            try:
                free = shutil.disk_usage(self.incoming).free
            except OSError as fault:
                raise StorageError(f"{self.incoming} cannot be used: {fault.strerror or fault}") from fault
            self._free = (time.monotonic(), free)
        if free < self._minimum_free:
            raise DiskLow(
                f"{free // 1_000_000} MB free, [storage] minimum_free_mb is {self._minimum_free // 1_000_000}"
            )

    def room(self) -> int:
        """Bytes until images are refused for want of room."""
        return max(0, shutil.disk_usage(self.folder).free - self._minimum_free)

    def changed_ns(self, study_uid: str) -> int:
        """The time stamp of a study's folder: another one as soon as something of it came; 0 where there is none."""
        try:
            return self.study_folder(study_uid).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def remove_images(self, study_uid: str, unless_changed_since_ns: int | None = None) -> bool:
        """Remove what was received of a study; return whether that is gone.

        With a time stamp only if the folder still has it once nobody can put anything into it any more; else
        everything stays.
        """
        folder = self.study_folder(study_uid)
        leaving, aside = (folder.with_name(f"{prefix}{study_uid}") for prefix in (_LEAVING, _REMOVED))
        self._put_back(leaving)
        if unless_changed_since_ns not in (None, self.changed_ns(study_uid)):
            return False
        shutil.rmtree(aside, ignore_errors=True)
        try:
            folder.rename(leaving)
            if unless_changed_since_ns not in (None, leaving.stat().st_mtime_ns):
                self._put_back(leaving)
                return False
            leaving.rename(aside)
        except FileNotFoundError:  # another machine was here
            return not folder.exists()
        shutil.rmtree(aside, ignore_errors=True)
        return True

    def _put_back(self, leaving: Path) -> None:
        """Give the images back to their study, into which others may have come meanwhile."""
        folder = leaving.with_name(leaving.name.removeprefix(_LEAVING))
        with contextlib.suppress(FileNotFoundError):
            for path in leaving.iterdir():
                make_folder(folder)
                path.replace(folder / path.name)
            leaving.rmdir()
            sync_folder(folder)

    def mark_promised(self, image: Path) -> None:
        """Note durably that a scanner was promised that we keep an image, so that its study stays."""
        mark = image.parent / _PROMISED
        if not mark.exists():
            write_json(mark, {})

    def is_promised(self, study_uid: str) -> bool:
        """Whether a scanner was promised that images of a study are kept."""
        return (self.study_folder(study_uid) / _PROMISED).exists()

    def remove_job(self, key: str) -> None:
        """Remove all of a result at once: who still works on it finds nothing, and can put nothing back."""
        aside = self.jobs / f"{_REMOVED}{key}"
        shutil.rmtree(aside, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            (self.jobs / key).rename(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def ask(self, request: dict[str, Any]) -> Path:
        """Make durable what a person asks of the node: behind what was asked before, whatever the clock says.

        Returns its file, which is there until the node has answered.
        """
        before = (path.name.partition("-")[0] for path in self.requests.glob("*-*.json"))
        number = max((time.time_ns(), *(int(one) + 1 for one in before if one.isdecimal())))
        path = self.requests / f"{number:020d}-{uuid.uuid4().hex}.json"
        write_json(path, request)
        return path

    def sweep(self) -> None:
        """Finish what a crash left half done: put back what was only looked at, remove what was to go."""
        for folder in self.incoming.glob(f"{_LEAVING}*"):
            self._put_back(folder)
        for place in (self.incoming, self.jobs):
            for folder in place.glob(f"{_REMOVED}*"):
                shutil.rmtree(folder, ignore_errors=True)

    def study_folder(self, study_uid: str) -> Path:
        """Folder of a study's instances; raises InputError for what is not a UID, so that it never becomes a path."""
        return self.incoming / _checked(study_uid, "StudyInstanceUID")

    def study_changes(self) -> Iterator[tuple[str, int]]:
        """Every study with the time stamp of its folder, ns: one stat a study."""
        from dicomnode.header.envelope import is_uid  # noqa: PLC0415  as below

        with os.scandir(self.incoming) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if is_uid(entry.name) and entry.is_dir():
                        yield entry.name, entry.stat().st_mtime_ns

    def arriving(self) -> Partial:
        """Where the bytes of an object go while they arrive; raises StorageError, before the disk is full."""
        self.check_space()
        return Partial(next(self._next_arriving))

    def keep(self, study_uid: str, sop_uid: str, arrived: Partial) -> Received:
        """Keep an instance that has arrived durably under its final name.

        The first bytes that came under a SOP Instance UID stay; others are put aside beside them.
        """
        folder = self.study_folder(study_uid)
        path = folder / f"{_checked(sop_uid, 'SOPInstanceUID')}.dcm"
        try:
            make_folder(folder)
            with self._one_at_a_time[hash(sop_uid) % len(self._one_at_a_time)]:
                return _keep(path, arrived, replace=not self._shared)
        except OSError as fault:
            raise StorageError(f"{folder} cannot be used: {fault.strerror or fault}") from fault

    def set_aside(self, arrived: Partial, code: str, sentence: str) -> Path:
        """Keep what cannot be taken in, with the reason beside it."""
        path = self.refused / f"{file_digest(arrived.path)}.dcm"
        arrived.keep_as(path)
        write_json(path.with_suffix(".json"), {"code": code, "reason": sentence})
        return path

    def store(self, study_uid: str, sop_uid: str, content: bytes) -> Received:
        """The same as ``keep`` for bytes that are in memory."""
        with self.arriving() as arrived:
            arrived.write(content)
            return self.keep(study_uid, sop_uid, arrived)

    def refuse(self, content: bytes, code: str, sentence: str) -> Path:
        """The same as ``set_aside`` for bytes that are in memory."""
        with self.arriving() as arrived:
            arrived.write(content)
            return self.set_aside(arrived, code, sentence)

    def release(self, study_uid: str, sop_uids: list[str], *, dropped: bool = False) -> None:
        """Record what an association brought to a study before it ended well, or what came as whole files."""
        name = f"{'taken' if dropped else 'released'}-{uuid.uuid4().hex}.json"
        write_json(self.study_folder(study_uid) / name, sop_uids)

    def mark_open(self, study_uid: str, member: str) -> Path | None:
        """Tell the other machines that an association which brings images of a study is open; None where none is."""
        if not self._shared:
            return None
        path = self.study_folder(study_uid) / f"open-{member}-{uuid.uuid4().hex}"
        path.touch()
        return path

    def open_elsewhere(self, study_uid: str, member: str) -> dict[str, list[Path]]:
        """The marks that other members made of open associations, by member."""
        found: dict[str, list[Path]] = {}
        for path in self.study_folder(study_uid).glob("open-*") if self._shared else ():
            name = path.name.removeprefix("open-").rpartition("-")[0]
            if name != member:
                found.setdefault(name, []).append(path)
        return found

    def held(self, sop_uids: Iterable[str]) -> dict[str, Path]:
        """Where received instances lie, by SOP Instance UID; the studies that changed last are looked at first."""
        wanted = set(sop_uids)
        found: dict[str, Path] = {}
        for study_uid, _ in sorted(self.study_changes(), key=lambda change: -change[1]):
            if len(found) == len(wanted):
                break
            with contextlib.suppress(FileNotFoundError):
                folder = self.incoming / study_uid
                names = {path.stem for path in folder.iterdir() if path.suffix == ".dcm"}
                found |= {uid: folder / f"{uid}.dcm" for uid in wanted & names}
        return found

    def job(self, key: str) -> Job:
        """The folder of a result."""
        return Job(self.jobs / key)

    def all_jobs(self) -> Iterator[Job]:
        """Every job with a manifest, oldest first."""
        found = []
        for path in self.jobs.glob("[!.]*/manifest.json"):
            with contextlib.suppress(FileNotFoundError):  # removed at this moment
                found.append((path.parent.stat().st_mtime_ns, path.parent))
        yield from (Job(folder) for _, folder in sorted(found))


def _remove_leftovers(folder: Path) -> None:
    """What a killed node was writing; not what another one may be writing now."""
    for path in folder.glob(".*.part"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _LEFT_OVER_SECONDS:
                path.unlink()


def _keep(path: Path, arrived: Partial, *, replace: bool) -> Received:
    if not path.exists() and arrived.keep_as(path, replace=replace):
        return Received(path, new=True)
    if _same_object(path, arrived.path):
        os.utime(path.parent)  # who would remove it at this moment sees that it came again
        if not path.exists():
            raise StorageError(f"{path.parent} was removed at this moment; send it again")
        return Received(path, new=False)
    aside = path.with_name(f"conflict-{file_digest(arrived.path)}.dcm")
    if not aside.exists():
        arrived.keep_as(aside)
    return Received(aside, new=False, conflict=True)


def _checked(uid: str, name: str) -> str:
    # Loaded late: it brings pydicom, and whoever asks for a status should not wait for that.
    from dicomnode.header.envelope import is_uid  # noqa: PLC0415

    if not is_uid(uid):
        raise InputError(f"{name} is not a UID")
    return uid


def _lock(file: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        raise StorageError(f"another node already uses {folder}; give each its own [storage] folder") from fault


def _same_object(held: Path, offered: Path) -> bool:
    """Compare data sets; the file meta information differs with the peer that wrote it."""
    with held.open("rb") as one, offered.open("rb") as other:
        if _data_set_bytes(one) != _data_set_bytes(other):
            return False
        while chunk := one.read(_CHUNK):
            if chunk != other.read(_CHUNK):
                return False
    return True


def _data_set_bytes(file: BinaryIO) -> int:
    """Skip preamble and file meta group, whose length stands in (0002,0000) right behind DICM (PS3.10 7.1)."""
    size, head = file.seek(0, os.SEEK_END), b""
    file.seek(0)
    head = file.read(144)
    known = head[128:132] == b"DICM" and head[132:138] == b"\x02\x00\x00\x00UL"
    begin = 144 + int.from_bytes(head[140:144], "little") if known else 0
    file.seek(begin)
    return size - begin
