"""What there is of a result: what its summary says, and its objects."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pydicom

from dicomnode.errors import InputError
from dicomnode.jobs.tidy import content_of
from dicomnode.measure.organs import LIVER, ORGANS, PHANTOM
from dicomnode.store.durable import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pydicom.dataset import Dataset

    from dicomnode.store.job import Job

SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True)
class Finished:
    """An entry of a summary, and the folder that the paths in it start from."""

    summary: Mapping[str, Any]
    folder: Path

    @property
    def name(self) -> str:
        """The first 16 digits of its key: no more than a file name needs, and nobody's name."""
        return str(self.summary["key"])[:16]

    @property
    def subject(self) -> str:
        """What it is about; of an organ whose package is gone the organ's name."""
        name = str(self.summary.get("organ", LIVER.name))
        organ = PHANTOM if name == PHANTOM.name else ORGANS.get(name)
        return name if organ is None else organ.subject

    def object_of(self, kind: str) -> Dataset | None:
        """Its only object of a kind, None where none was made; raises InputError where the file is gone."""
        named = next((one["path"] for one in self.summary["outputs"] if one["kind"] == kind), None)
        if named is None:
            return None
        content = content_of(self.folder / str(named))
        if content is None:
            raise InputError(f"{self.folder / str(named)} is gone, which {SUMMARY} names; process the series again")
        return pydicom.dcmread(io.BytesIO(content))


def subjects(results: Iterable[Finished]) -> str:
    """What results are about, each once."""
    return " and ".join(dict.fromkeys(one.subject for one in results))


def of_folder(folder: Path) -> tuple[Finished, ...]:
    """The results that ``process`` left in a folder or below it; raises InputError where there are none."""
    found = {
        one["key"]: Finished(one, path.parent)
        for path in sorted(folder.rglob(SUMMARY))
        for one in (read_json(path) or {}).get("series", ())
        if one.get("key")
    }
    if not found:
        raise InputError(f"{folder} holds no {SUMMARY} with a result; name a folder that `dicomnode process` wrote")
    return tuple(found.values())


def of_job(job: Job) -> Finished | None:
    """The result of a job, None while there is none."""
    summary = job.read(SUMMARY) if job.outputs is not None else None
    return None if summary is None else Finished(summary, job.folder)
