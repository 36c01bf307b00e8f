"""Files that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import uuid
from typing import TYPE_CHECKING, Any, BinaryIO

from dicomnode.errors import DiskFull, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def unwritten(folder: Path, fault: OSError) -> StorageError:
    """What to raise where the disk refused."""
    kind = DiskFull if fault.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
    return kind(f"{folder} could not be written: {fault.strerror or fault}")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, content: bytes | memoryview) -> None:
    """Write, fsync, rename, fsync the folder: afterwards the file is whole, or not there.

    Raises StorageError when the disk refuses; a half-written temporary file is removed.
    """
    with Partial(path.parent) as file:
        file.hand_over()
        file.write(content)
        file.keep_as(path)


@contextlib.contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """The same of what is written piece by piece, so that it need not be in memory."""
    with Partial(path.parent) as file:
        file.hand_over()
        try:
            with file.path.open("r+b") as stream:
                yield stream
        except OSError as fault:
            raise unwritten(path.parent, fault) from fault
        file.keep_as(path)


class Partial:
    """A file that is being written under a name nobody looks at, until it is kept or discarded; raises StorageError."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f".{uuid.uuid4().hex}.part"
        self.size = 0
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        except OSError as fault:
            raise unwritten(folder, fault) from fault
        self._kept = False

    def hand_over(self) -> None:
        """Let the service and its group read what an operator writes, also as root."""
        os.fchmod(self._descriptor, 0o640)
        if os.geteuid() == 0:
            owner = self.path.parent.stat()
            os.fchown(self._descriptor, owner.st_uid, owner.st_gid)

    def write(self, chunk: bytes | memoryview) -> None:
        """Append; what the disk has not taken is said at once."""
        try:
            while chunk:
                taken = os.write(self._descriptor, chunk)
                self.size += taken
                chunk = chunk[taken:]
        except OSError as fault:
            raise unwritten(self.path.parent, fault) from fault

    def write_at(self, place: int, chunk: memoryview) -> None:
        """Write where it belongs, in any order; what is never written between is 0."""
        try:
            while chunk:
                taken = os.pwrite(self._descriptor, chunk, place)
                place, chunk = place + taken, chunk[taken:]
        except OSError as fault:
            raise unwritten(self.path.parent, fault) from fault

    def keep_as(self, path: Path, *, replace: bool = True) -> bool:
        """Give the file its name: afterwards it is whole and durable, or an error was raised.

        Without ``replace`` a file that has the name already stays, also where another machine gave it at this moment:
        False is returned then.
        """
        try:
            os.fsync(self._descriptor)
            if replace:
                self.path.replace(path)
                self._kept = True
            else:
                os.link(self.path, path)
            sync_folder(path.parent)
        except FileExistsError:
            return False
        except OSError as fault:
            raise unwritten(path.parent, fault) from fault
        return True

    def close(self) -> None:
        """Remove what was not kept."""
        os.close(self._descriptor)
        if not self._kept:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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


def make_folder(folder: Path, *, parents: bool = True) -> None:
    """Create a folder, and those it lies in unless they have to be there, and make its name durable."""
    if not folder.is_dir():
        folder.mkdir(parents=parents, exist_ok=True)
        sync_folder(folder.parent)


def digest(content: bytes) -> str:
    """Short SHA-256, for file names."""
    return hashlib.sha256(content).hexdigest()[:32]


def file_digest(path: Path) -> str:
    """The same of what a file holds."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
