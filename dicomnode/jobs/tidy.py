"""Of a job that is done, keeps what cannot be made again; and makes the rest again when a person draws on its maps.

The received images stay as they are. Decoded pixels, maps and masks follow from them; objects are in the PACS and are
kept here packed.
"""

from __future__ import annotations

import contextlib
import gzip
from typing import TYPE_CHECKING

from dicomnode.jobs import manifest as manifests
from dicomnode.store.durable import write_durably

if TYPE_CHECKING:
    from pathlib import Path

    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool

# Headers go first: as long as they are there, so are the pixels.
MADE_AGAIN = ("headers.npz", "signal.npy", "maps.npz", "measurement.npz")
_PACKED = ".gz"


def tidy(spool: Spool, job: Job) -> None:
    """Pack the objects and remove what the received images give again, as long as those are there.

    What a drawing was measured on stays for the next drawing; it is tidied at a start.
    """
    for path in _objects(job):
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # it is packed, perhaps by another at this moment
            continue
        write_durably(_packed(path), gzip.compress(content, 6, mtime=0))
        path.unlink(missing_ok=True)
    sources = manifests.read(job).instances.values()
    if sources and all((spool.folder / path).exists() for path in sources):
        for name in MADE_AGAIN:
            (job.folder / name).unlink(missing_ok=True)


def unpack(job: Job) -> None:
    """Give the objects of a job their files again."""
    for path in _objects(job):
        if not path.exists() and _packed(path).exists():
            write_durably(path, gzip.decompress(_packed(path).read_bytes()))  # another may read it at this moment


def content_of(path: Path) -> bytes | None:
    """The bytes of an object's file, packed or not; None where neither is there."""
    for one, read in ((path, bytes), (_packed(path), gzip.decompress), (path, bytes)):
        with contextlib.suppress(FileNotFoundError):  # packed or unpacked by another at this moment
            return read(one.read_bytes())
    return None


def is_untidy(job: Job) -> bool:
    """Whether a job holds what it need not."""
    return any((job.folder / name).exists() for name in MADE_AGAIN)


def remove_objects(job: Job) -> None:
    """Remove the objects of a job, packed or not, its findings, which name the patient, and its picture; UIDs stay."""
    for path in (*_objects(job), *(job.folder / "outputs").glob(".*.part")):  # the last are what a killed step left
        for one in (path, _packed(path)):
            one.unlink(missing_ok=True)
    for name in (job.FINDINGS, job.DIFFERENCE):
        (job.folder / name).unlink(missing_ok=True)


def has_objects(job: Job) -> bool:
    """Whether the objects of a job are still there, packed or not."""
    return all(path.exists() or _packed(path).exists() for path in _objects(job))


def _objects(job: Job) -> list[Path]:
    return [job.folder / one["path"] for one in job.outputs or ()]


def _packed(path: Path) -> Path:
    return path.with_name(path.name + _PACKED)
