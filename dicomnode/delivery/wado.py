"""Asks a DICOMweb archive for earlier reports of a patient: QIDO-RS and WADO-RS (PS3.18 10.6, 10.4)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pydicom
from pydicom.errors import InvalidDicomError

from dicomnode.delivery.archive import MOST_REPORTS, MOST_STUDIES
from dicomnode.delivery.find import Sought
from dicomnode.errors import NoAnswer, NotOffered
from dicomnode.report.reading import SOP_CLASS_UID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom import Dataset

    from dicomnode.delivery.archive import Question
    from dicomnode.delivery.web import Session

_JSON = "application/dicom+json"
_OBJECT = 'multipart/related; type="application/dicom"'
_PATIENT_ID, _STUDY_DATE, _MODALITY, _SOP_CLASS = "00100020", "00080020", "00080060", "00080016"
_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"


def reports(session: Session, question: Question) -> list[Dataset]:
    """Find and fetch; raises DeliveryError."""
    found = [one for study in _studies(session, question) for one in _instances(session, study, question)]
    return [report for one in found[:MOST_REPORTS] for report in _fetched(session, one, question)]


def _studies(session: Session, question: Question) -> list[str]:
    """The newest studies first."""
    asked = {"PatientID": question.patient_id, "includefield": "StudyDate"}
    known = {
        _value(one, _STUDY): _value(one, _STUDY_DATE)
        for one in _search(session, "/studies", asked, question)
        if _value(one, _PATIENT_ID).strip() == question.patient_id
    }
    wanted = [(date, uid) for uid, date in known.items() if question.wants(uid, date)]
    return [uid for _, uid in sorted(wanted, reverse=True)[:MOST_STUDIES]]


def _instances(session: Session, study_uid: str, question: Question) -> Iterator[Sought]:
    for series in _search(session, f"/studies/{study_uid}/series", {"Modality": "SR"}, question):
        uid = _value(series, _SERIES)
        if not uid or _value(series, _MODALITY) not in {"", "SR"}:
            continue
        for one in _search(session, f"/studies/{study_uid}/series/{uid}/instances", {}, question):
            if _value(one, _SOP_CLASS) in {"", SOP_CLASS_UID} and _value(one, _INSTANCE):
                yield Sought(study_uid, uid, _value(one, _INSTANCE))


def _search(session: Session, path: str, asked: dict[str, str], question: Question) -> list[dict[str, Any]]:
    answer = session.ask("GET", path, params=asked, headers={"Accept": _JSON}, timeout=question.seconds)
    if answer.status == 204:  # nothing matches
        return []
    found = answer.json()
    if not answer.is_success or not isinstance(found, list):
        raise NotOffered(f"it does not answer QIDO-RS: {answer}")
    return [one for one in found if isinstance(one, dict)]


def _fetched(session: Session, one: Sought, question: Question) -> Iterator[Dataset]:
    """One report; one that the archive does not give is left out."""
    path = f"/studies/{one.study_uid}/series/{one.series_uid}/instances/{one.sop_uid}"
    answer = session.ask("GET", path, headers={"Accept": _OBJECT}, timeout=question.seconds)
    if answer.is_success:
        yield from map(_read, parts(answer.content))


def _read(content: bytes) -> Dataset:
    try:
        return pydicom.dcmread(io.BytesIO(content))
    except (InvalidDicomError, ValueError, KeyError, EOFError) as fault:
        raise NoAnswer(f"what it gives is no DICOM object: {type(fault).__name__}") from fault


def parts(body: bytes) -> Iterator[bytes]:
    """The parts of a multipart/related body (RFC 2387), which begins with its own boundary."""
    first, _, _ = body.lstrip(b"\r\n").partition(b"\r\n")
    if not first.startswith(b"--"):
        return
    for part in body.split(first)[1:]:
        head, separator, content = part.partition(b"\r\n\r\n")
        if separator and not head.startswith(b"--"):
            yield content.removesuffix(b"\r\n")


def _value(of: dict[str, Any], tag: str) -> str:
    """The first value of an element in the DICOM JSON Model (PS3.18 F)."""
    element = of.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]) if isinstance(values, list) and values else ""
