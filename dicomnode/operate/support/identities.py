"""The words by which the data folder names patients and orders, to be taken out wherever else they stand."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import pydicom
from pydicom.errors import InvalidDicomError

from dicomnode.errors import NodeError
from dicomnode.store.durable import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicomnode.store.spool import Spool

_TAGS = [
    *("PatientName", "PatientID", "PatientBirthDate", "OtherPatientIDs", "OtherPatientNames", "PatientAddress"),
    *("PatientTelephoneNumbers", "AccessionNumber", "StudyID", "ReferringPhysicianName", "OperatorsName"),
    *("PerformingPhysicianName", "RequestingPhysician"),
]
_SHORTEST = 3  # letters or digits: what is shorter cannot be told from other words


def identities(spool: Spool) -> frozenset[str]:
    """Every such word in lower case; what cannot be read names nobody here."""
    found = (word for text in _texts(spool) for word in re.findall(r"[^\W_]+", text.lower()))
    return frozenset(word for word in found if len(word) >= _SHORTEST)


def _texts(spool: Spool) -> Iterator[str]:
    for path in spool.studies.glob("*.json"):
        with contextlib.suppress(NodeError):
            yield str((read_json(path) or {}).get("accession_number", ""))
    for job in spool.all_jobs():
        with contextlib.suppress(NodeError):
            yield from _strings((job.read(job.FINDINGS) or {}).get("patient"))
    for study_uid, _ in spool.study_changes():
        yield from _of_images(spool, study_uid)


def _of_images(spool: Spool, study_uid: str) -> Iterator[str]:
    """The first image of a study stands for all."""
    for path in sorted(spool.study_folder(study_uid).glob("[0-9]*.dcm"))[:1]:
        with contextlib.suppress(OSError, InvalidDicomError):
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
            yield from (str(header.get(tag, "")) for tag in _TAGS)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
