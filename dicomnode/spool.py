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
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydicom.filereader import read_partial
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomnode.errors import DiskLow, InputError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.tag import BaseTag

_UID = re.compile(r"[0-9][0-9.]{0,63}")
_PIXEL_DATA = 0x7FE00010
_UNDEFINED = 0xFFFFFFFF
_STUDY_INSTANCE_UID, _SOP_INSTANCE_UID = 0x0020000D, 0x00080018


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, content: bytes) -> None:
    """Write, fsync, rename, fsync the folder: afterwards the file is whole, or not there.

    Raises StorageError when the disk refuses; a half-written temporary file is removed.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part", delete=False) as file:
            temporary = Path(file.name)
            _hand_over(file.fileno(), path.parent)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as fault:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise StorageError(f"{path.parent} could not be written: {fault.strerror or fault}") from fault


def _hand_over(descriptor: int, folder: Path) -> None:
    """Let the service and its group read what an operator writes, also as root."""
    os.fchmod(descriptor, 0o640)
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file durably."""
    write_durably(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode())


def read_json(path: Path) -> Any:
    """Read a JSON file of ours; None where there is none; raises StorageError where it cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise StorageError(f"{path} cannot be read: {fault.strerror or fault}") from fault
    except ValueError as fault:
        raise StorageError(f"{path} is damaged") from fault


def make_folder(folder: Path) -> None:
    """Create a folder and make its name durable."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)


@dataclass(frozen=True)
class Received:
    """What became of an instance that was handed in."""

    path: Path
    new: bool  # False: the same bytes were here already
    conflict: bool = False  # other bytes are held under this SOP Instance UID; these were put aside


@dataclass(frozen=True)
class Job:
    """The folder of one result.

    ::

        manifest.json        sources, settings, software version, creation time: written before the job is queued
        maps.npz             the fit           } each written whole, so its presence
        measurement.npz/json the regions       } means the step is done
        outputs/*.dcm, outputs.json            }
        receipts/<destination>.json            what the destination has confirmed, by SOP Instance UID
        state.json           what to tell an operator
    """

    folder: Path

    @property
    def key(self) -> str:
        """Digest of sources, settings and software version."""
        return self.folder.name

    @property
    def manifest(self) -> dict[str, Any]:
        """What the job is made from."""
        manifest: dict[str, Any] = read_json(self.folder / "manifest.json")
        return manifest

    @property
    def state(self) -> dict[str, Any]:
        """What was last said of the job."""
        return read_json(self.folder / "state.json") or {"status": "queued", "reason": None}

    def say(self, status: str, reason: str | None = None, **more: Any) -> None:
        """Record the state of the job; what else was said of it before stays."""
        write_json(self.folder / "state.json", {**self.state, **more, "status": status, "reason": reason})

    @property
    def outputs(self) -> list[dict[str, str]] | None:
        """The objects that were made; None until the report step is done."""
        outputs: list[dict[str, str]] | None = read_json(self.folder / "outputs.json")
        return outputs

    def delivery(self, destination: str) -> dict[str, Any]:
        """State of the delivery to one destination."""
        path = self.folder / "receipts" / f"{destination}.json"
        return read_json(path) or {"status": "waiting", "attempt": 0, "delivered": [], "refused": {}, "reason": None}

    def say_delivery(self, destination: str, delivery: dict[str, Any]) -> None:
        """Record the state of the delivery to one destination."""
        make_folder(self.folder / "receipts")
        write_json(self.folder / "receipts" / f"{destination}.json", delivery)


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
                    if _UID.fullmatch(entry.name) and entry.is_dir():
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


def digest(content: bytes) -> str:
    """Short SHA-256, for file names."""
    return hashlib.sha256(content).hexdigest()[:32]


@dataclass(frozen=True)
class Envelope:
    """What has to be known of an encoded object to keep it."""

    study_uid: str
    sop_uid: str
    cut_short: bool  # the bytes end before the pixel data does


def read_envelope(content: bytes) -> Envelope:
    """Look into a DICOM file as far as its pixel data, which stays untouched; raises InputError."""
    lengths: list[int] = []

    def at_pixel_data(tag: BaseTag, _vr: str | None, length: int) -> bool:
        if int(tag) == _PIXEL_DATA:
            lengths.append(length)
        return int(tag) == _PIXEL_DATA

    file = io.BytesIO(content)
    try:
        header = read_partial(file, stop_when=at_pixel_data, specific_tags=[_STUDY_INSTANCE_UID, _SOP_INSTANCE_UID])
        study_uid, sop_uid = (str(header.get(keyword, "")) for keyword in ("StudyInstanceUID", "SOPInstanceUID"))
        syntax = header.file_meta.get("TransferSyntaxUID")
    except Exception as fault:  # any bytes may arrive: the parser's every complaint is the same answer
        raise InputError(f"the data set cannot be read: {type(fault).__name__}") from fault
    return Envelope(study_uid, sop_uid, _cut_short(content, syntax, file.tell(), lengths))


def _cut_short(content: bytes, syntax: str, at: int, pixel_lengths: list[int]) -> bool:
    """Whether the bytes end too early; ``at`` is where the pixel data element begins, or where reading ended."""
    if syntax == DeflatedExplicitVRLittleEndian:
        return False  # it could not have been inflated
    if pixel_lengths == [_UNDEFINED]:  # fragments, then a sequence delimitation item (PS3.5 A.4)
        return content.find(b"\xfe\xff\xdd\xe0", at) < 0
    tag_vr_length = 8 if syntax == ImplicitVRLittleEndian else 12
    return len(content) < at + sum(tag_vr_length + length for length in pixel_lengths)


def _checked(uid: str, name: str) -> str:
    if not _UID.fullmatch(uid):
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
