"""What an audit message says of a study: its accession number, and the patient's number where that is wanted."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pydicom
from pydicom.errors import InvalidDicomError

from dicomnode.audit.message import Study
from dicomnode.errors import NodeError
from dicomnode.store.durable import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from dicomnode.store.spool import Spool

_TAGS = ["AccessionNumber", "PatientID"]


class Subjects:
    """Looks into the data folder; what cannot be read is not said."""

    def __init__(self, spool: Spool, *, patient_id: bool) -> None:
        self._spool = spool
        self._patient_id = patient_id

    def use(self, *, patient_id: bool) -> None:
        """From now on, say the patient's number or do not."""
        self._patient_id = patient_id

    def __call__(self, study_uid: str) -> Study:
        """What is known of a study."""
        accession, patient = "", None
        with contextlib.suppress(NodeError, OSError, InvalidDicomError, StopIteration):
            accession = (read_json(self._spool.studies / f"{study_uid}.json") or {}).get("accession_number", "")
            image: Path = next(self._spool.study_folder(study_uid).glob("[0-9]*.dcm"))
            header = pydicom.dcmread(image, stop_before_pixels=True, specific_tags=_TAGS)
            accession = accession or str(header.get("AccessionNumber", ""))
            patient = str(header.get("PatientID", "")) if self._patient_id else None
        return Study(study_uid, accession, patient_id=patient or None)
