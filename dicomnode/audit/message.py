"""One audit message as XML (PS3.15 A.5.1), made from what happened in the node."""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET  # only written here, never read

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

_DCM = "DCM"


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value."""

    value: str
    meaning: str
    scheme: str = _DCM


APPLICATION_ACTIVITY = Code("110100", "Application Activity")
START, STOP = Code("110120", "Application Start"), Code("110121", "Application Stop")
BEGIN_TRANSFERRING = Code("110102", "Begin Transferring DICOM Instances")
TRANSFERRED = Code("110104", "DICOM Instances Transferred")
ACCESSED = Code("110103", "DICOM Instances Accessed")
STUDY_DELETED = Code("110105", "DICOM Study Deleted")
EXPORT, IMPORT = Code("110106", "Export"), Code("110107", "Import")
QUERY = Code("110112", "Query")
SECURITY_ALERT = Code("110113", "Security Alert")
NODE_AUTHENTICATION = Code("110126", "Node Authentication")
RECORDING_STOPPED, RECORDING_STARTED = (
    Code("110133", "Audit Recording Stopped"),
    Code("110134", "Audit Recording Started"),
)
SECURITY_CONFIGURATION = Code("110129", "Security Configuration")
USER_AUTHENTICATION = Code("110114", "User Authentication")
LOGIN, LOGOUT = Code("110122", "Login"), Code("110123", "Logout")

APPLICATION = Code("110150", "Application")
DESTINATION, SOURCE = Code("110152", "Destination Role ID"), Code("110153", "Source Role ID")
DESTINATION_MEDIA, SOURCE_MEDIA = Code("110154", "Destination Media"), Code("110155", "Source Media")
PERSON = Code("125676002", "Person", "SCT")
URI = Code("110037", "URI")  # CID 405, types of media
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_SOP_CLASS_UID = Code("110181", "SOP Class UID")
_IMPLICIT = b"1.2.840.10008.1.2"  # as the keys of a query are encoded
_STUDY_UID = Code("110180", "Study Instance UID")
_PATIENT_NUMBER = Code("2", "Patient Number", "RFC-3881")
_SERVER = "4"  # Audit Source Type Code: application server process


class Outcome(IntEnum):
    """Event Outcome Indicator."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8
    MAJOR_FAILURE = 12


@dataclass(frozen=True, slots=True)
class Participant:
    """A program, a person or a medium that took part; ``address`` is a host name or an IP address."""

    user_id: str
    role: Code
    ae_title: str = ""
    address: str = ""
    requestor: bool = False
    media: Code | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """What it was about; the patient's number only where the configuration says so."""

    uid: str
    accession_number: str = ""
    instances: int = 0
    sop_classes: tuple[tuple[str, int], ...] = ()
    patient_id: str | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """What was asked by C-FIND: the SOP class and the keys as a data set in Implicit VR Little Endian."""

    sop_class_uid: str
    keys: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """One thing that happened."""

    event: Code
    action: str  # C, R, U, D or E
    outcome: Outcome
    participants: Sequence[Participant]
    kind: Code | None = None
    study: Study | None = None
    description: str = ""
    query: Query | None = None

    def xml(self, when: datetime, source: str) -> bytes:
        """As it goes to the audit repository; ``source`` names this node."""
        root = ET.Element("AuditMessage")
        event = ET.SubElement(
            root,
            "EventIdentification",
            EventActionCode=self.action,
            EventDateTime=when.isoformat(timespec="milliseconds"),
            EventOutcomeIndicator=str(int(self.outcome)),
        )
        _coded(event, "EventID", self.event)
        if self.kind is not None:
            _coded(event, "EventTypeCode", self.kind)
        if self.description:
            ET.SubElement(event, "EventOutcomeDescription").text = self.description
        for one in self.participants:
            _participant(root, one)
        made = ET.SubElement(root, "AuditSourceIdentification", AuditSourceID=source)
        ET.SubElement(made, "AuditSourceTypeCode", {"csd-code": _SERVER})
        if self.study is not None:
            _study(root, self.study)
        if self.query is not None:
            _query(root, self.query)
        text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
        return text


def _participant(root: ET.Element, one: Participant) -> None:
    said = {"UserID": one.user_id, "UserIsRequestor": str(one.requestor).lower()}
    if one.ae_title:
        said["AlternativeUserID"] = f"AETITLES={one.ae_title}"
    if one.address:
        said |= {"NetworkAccessPointID": one.address, "NetworkAccessPointTypeCode": "2" if _is_ip(one.address) else "1"}
    found = ET.SubElement(root, "ActiveParticipant", said)
    _coded(found, "RoleIDCode", one.role)
    if one.media is not None:
        _coded(ET.SubElement(found, "MediaIdentifier"), "MediaType", one.media)


def _query(root: ET.Element, query: Query) -> None:
    """PS3.15 A.5.3.10; what is binary goes as Base64."""
    said = {"ParticipantObjectID": query.sop_class_uid, "ParticipantObjectTypeCode": "2"}
    found = ET.SubElement(root, "ParticipantObjectIdentification", said, ParticipantObjectTypeCodeRole="3")
    _coded(found, "ParticipantObjectIDTypeCode", _SOP_CLASS_UID)
    ET.SubElement(found, "ParticipantObjectQuery").text = base64.b64encode(query.keys).decode()
    ET.SubElement(found, "ParticipantObjectDetail", type="TransferSyntax", value=base64.b64encode(_IMPLICIT).decode())


def _study(root: ET.Element, study: Study) -> None:
    said = {"ParticipantObjectID": study.uid, "ParticipantObjectTypeCode": "2", "ParticipantObjectTypeCodeRole": "3"}
    found = ET.SubElement(root, "ParticipantObjectIdentification", said)
    _coded(found, "ParticipantObjectIDTypeCode", _STUDY_UID)
    ET.SubElement(found, "ParticipantObjectName").text = study.uid
    if study.accession_number:
        ET.SubElement(found, "Accession", Number=study.accession_number)
    classes = study.sop_classes or ((("", study.instances),) if study.instances else ())
    for uid, count in classes:
        ET.SubElement(found, "SOPClass", {**({"UID": uid} if uid else {}), "NumberOfInstances": str(count)})
    if study.patient_id is not None:
        said = {"ParticipantObjectID": study.patient_id, "ParticipantObjectTypeCode": "1"}
        person = ET.SubElement(root, "ParticipantObjectIdentification", said, ParticipantObjectTypeCodeRole="1")
        _coded(person, "ParticipantObjectIDTypeCode", _PATIENT_NUMBER)
        ET.SubElement(person, "ParticipantObjectName").text = study.patient_id


def _coded(parent: ET.Element, name: str, code: Code) -> None:
    ET.SubElement(parent, name, {"csd-code": code.value, "codeSystemName": code.scheme, "originalText": code.meaning})


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
