"""What scanners ask us to keep for good: judged by what lies in the spool, and durable until they have our answer."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from dicomnode.commitment import CLASS_CONFLICT, NO_SUCH_OBJECT, Report, Request
from dicomnode.errors import StorageError
from dicomnode.store.durable import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from dicomnode.store.spool import Spool


@dataclass(frozen=True, slots=True)
class Promise:
    """A request whose answer goes on an association of its own."""

    path: Path
    calling: str  # AE title of the scanner
    request: Request
    waited: float = 0.0  # seconds of pauses so far: what counts, for no clock is trusted over days


def judge(spool: Spool, request: Request) -> Report:
    """Say of each object whether it is kept.

    Only what lies in the spool is, and is marked to stay, whatever ``[retention]`` says: a scanner that was promised
    that may delete its own. Of what was removed, however long ago and however well it was delivered, the
    scanner is told that there is no such object, and so keeps its own.
    """
    held = spool.held(request.objects)
    committed, failed = {}, {}
    for sop_uid, sop_class in request.objects.items():
        found = _sop_class(held[sop_uid]) if sop_uid in held else None
        if found == sop_class:
            spool.mark_promised(held[sop_uid])
        if found is None or not held[sop_uid].exists():  # removed before the mark, which keeps it from now on
            failed[sop_uid] = sop_class, NO_SUCH_OBJECT
        elif found != sop_class:
            failed[sop_uid] = sop_class, CLASS_CONFLICT
        else:
            committed[sop_uid] = sop_class
    return Report(request.transaction_uid, committed, failed)


def keep(spool: Spool, request: Request, calling: str) -> None:
    """Make durable that a scanner waits for an answer."""
    _write(Promise(spool.promises / f"{uuid.uuid4().hex}.json", calling, request))


def waiting(spool: Spool) -> list[Path]:
    """The files of the requests that were not answered yet."""
    return sorted(spool.promises.glob("*.json"))


def read(path: Path) -> Promise | None:
    """Read a request that was kept; None where it was settled meanwhile. Raises StorageError."""
    said = read_json(path)
    if said is None:
        return None
    try:
        return Promise(path, said["calling"], Request(**said["request"]), float(said["waited"]))
    except (KeyError, TypeError, ValueError) as fault:
        raise StorageError(f"{path} is damaged") from fault


def wait(promise: Promise, seconds: float) -> None:
    """Write down that a pause begins before it is tried again."""
    _write(replace(promise, waited=promise.waited + seconds))


def settle(promise: Promise) -> None:
    """Nothing more is owed."""
    promise.path.unlink(missing_ok=True)


def _write(promise: Promise) -> None:
    said = {"calling": promise.calling, "request": asdict(promise.request), "waited": promise.waited}
    write_json(promise.path, said)


def _sop_class(path: Path) -> str | None:
    """The SOP class of a file; None where it can no longer be read."""
    try:
        return str(read_file_meta_info(path).MediaStorageSOPClassUID)
    except (OSError, InvalidDicomError, AttributeError, ValueError):
        return None
