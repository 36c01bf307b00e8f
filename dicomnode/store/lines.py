"""Files of JSON lines that only ever grow; a crash at any moment loses no line that was written before."""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING, Any

from dicomnode.errors import StorageError
from dicomnode.store.durable import make_folder, sync_folder, unwritten

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def append(path: Path, value: Any) -> None:
    """Add a line durably; what a crash left of the one before stays a line of its own, which nobody can read."""
    line = json.dumps(value, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    try:
        make_folder(path.parent)
        is_new = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            file.write(b"\n" * torn + line)
            os.fsync(descriptor)
        if is_new:
            sync_folder(path.parent)
    except OSError as fault:
        raise unwritten(path.parent, fault) from fault


def read(path: Path) -> Iterator[Any]:
    """Every line that is whole, in order; nothing where there is no file; raises StorageError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as fault:
        raise StorageError(f"{path} cannot be read: {fault.strerror or fault}") from fault
    for line in content.splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # what a crash left of it
            continue
