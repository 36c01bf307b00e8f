"""Asks an archive for earlier reports of a patient: C-FIND and C-GET (Study Root, PS3.4 C.4.1, C.4.3)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pydicom.dataset import Dataset
from pynetdicom import build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet  # type: ignore[attr-defined]

from dicomnode.delivery.find import Sought, ask
from dicomnode.errors import NoAnswer, NotOffered
from dicomnode.report.reading import SOP_CLASS_UID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pynetdicom.association import Association
    from pynetdicom.events import EventHandlerType
    from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

    from dicomnode.config import DestinationSettings

GET = str(StudyRootQueryRetrieveInformationModelGet)
MOST_STUDIES, MOST_REPORTS = 30, 60  # the newest; a report is some 100 KB
_WILD = set("*?\\")  # PS3.4 C.2.2.2: of these a query makes more patients than one


class TooLate(NoAnswer):
    """The time for all questions is over."""


@dataclass(frozen=True, slots=True)
class Question:
    """Whose earlier reports are wanted, and until when; never for a log."""

    patient_id: str
    study_uid: str  # the new one, which is none of them
    date: str  # YYYYMMDD: what was scanned later is none either
    until: float  # by time.monotonic

    @property
    def can_be_asked(self) -> bool:
        """Whether the identifier names one patient in a query."""
        return bool(self.patient_id) and not _WILD & set(self.patient_id)

    @property
    def seconds(self) -> float:
        """What is left; raises TooLate where nothing is."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise TooLate("it did not come to an end in time")
        return left

    def wants(self, study_uid: str, date: str) -> bool:
        """Whether a study is another one, and not later."""
        return bool(study_uid) and study_uid != self.study_uid and bool(date) and date <= self.date


class Archive(Protocol):
    """Something that keeps what it was sent, and can be asked for it."""

    def earlier(self, destination: DestinationSettings, question: Question) -> list[Dataset]:
        """Structured reports of earlier studies, whoever made them; raises DeliveryError."""


@dataclass(slots=True)
class Arriving:
    """What comes back on an association on which a C-GET was asked for."""

    reports: list[Dataset] = field(default_factory=list)

    @property
    def handlers(self) -> list[EventHandlerType]:
        """What pynetdicom has to call."""
        return [(evt.EVT_C_STORE, self._keep)]

    def _keep(self, event: evt.Event) -> int:
        self.reports.append(event.dataset)
        return 0x0000


def roles() -> list[SCP_SCU_RoleSelectionNegotiation]:
    """Let the archive store reports on our own association (PS3.7 D.3.3.4)."""
    return [build_role(SOP_CLASS_UID, scp_role=True)]


def reports(association: Association, question: Question, arriving: Arriving) -> list[Dataset]:
    """Find and fetch, on an association for C-FIND, C-GET and the reports; raises NoAnswer, NotOffered."""
    for one in _found(association, question):
        _fetch(association, one, question)
    return arriving.reports


def _found(association: Association, question: Question) -> list[Sought]:
    found: list[Sought] = []
    for study_uid in _studies(association, question):
        for series_uid in _series(association, study_uid, question):
            found += _instances(association, study_uid, series_uid, question)
    return found[:MOST_REPORTS]


def _studies(association: Association, question: Question) -> list[str]:
    """The newest studies first."""
    asked = {"QueryRetrieveLevel": "STUDY", "PatientID": question.patient_id, "StudyInstanceUID": "", "StudyDate": ""}
    known = {
        str(one.get("StudyInstanceUID", "")): str(one.get("StudyDate") or "")
        for one in _answers(association, asked, question)
        if str(one.get("PatientID", "")).strip() == question.patient_id
    }
    wanted = [(date, uid) for uid, date in known.items() if question.wants(uid, date)]
    return [uid for _, uid in sorted(wanted, reverse=True)[:MOST_STUDIES]]


def _series(association: Association, study_uid: str, question: Question) -> Iterator[str]:
    asked = {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": study_uid, "SeriesInstanceUID": "", "Modality": "SR"}
    for one in _answers(association, asked, question):
        if str(one.get("Modality", "SR")) == "SR" and one.get("SeriesInstanceUID"):
            yield str(one.SeriesInstanceUID)


def _instances(association: Association, study_uid: str, series_uid: str, question: Question) -> Iterator[Sought]:
    place = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid}
    asked = {"QueryRetrieveLevel": "IMAGE", **place, "SOPInstanceUID": "", "SOPClassUID": ""}
    for one in _answers(association, asked, question):
        if str(one.get("SOPClassUID") or SOP_CLASS_UID) == SOP_CLASS_UID and one.get("SOPInstanceUID"):
            yield Sought(study_uid, series_uid, str(one.SOPInstanceUID))


def _answers(association: Association, asked: dict[str, str], question: Question) -> list[Dataset]:
    association.dimse_timeout = question.seconds
    found = ask(association, asked, go_on=lambda: question.seconds)
    if found is None:
        raise NotOffered(f"it refuses C-FIND at the level {asked['QueryRetrieveLevel']}")
    return found


def _fetch(association: Association, one: Sought, question: Question) -> None:
    """Ask for one report; one that the archive does not give is left out."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "IMAGE"
    identifier.StudyInstanceUID, identifier.SeriesInstanceUID = one.study_uid, one.series_uid
    identifier.SOPInstanceUID = one.sop_uid
    association.dimse_timeout = question.seconds
    try:
        for status, _ in association.send_c_get(identifier, GET):
            if "Status" not in status:
                raise NoAnswer("it did not answer C-GET")
            association.dimse_timeout = question.seconds
    except (RuntimeError, ValueError) as fault:  # pynetdicom: the association is gone
        raise NoAnswer("it closed the association before it answered C-GET") from fault
