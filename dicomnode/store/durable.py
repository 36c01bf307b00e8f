"""Files that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from dicomnode.errors import StorageError


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


def digest(content: bytes) -> str:
    """Short SHA-256, for file names."""
    return hashlib.sha256(content).hexdigest()[:32]
