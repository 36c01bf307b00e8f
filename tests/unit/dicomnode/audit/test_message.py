"""What an audit repository reads: elements and codes of PS3.15 A.5, and no identity that was not asked for."""

from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest

from dicomnode.audit import message as audit
from dicomnode.audit.message import Message, Outcome, Participant, Study
from dicomnode.audit.syslog import line

WHEN = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)


def parsed(**more):
    people = [Participant("MR1", audit.SOURCE, "MR1", "10.0.0.7", requestor=True), Participant("x", audit.APPLICATION)]
    usual = {"study": Study("1.2.3", "A1", 24), "description": ""}
    made = Message(audit.TRANSFERRED, "C", Outcome.SUCCESS, people, **{**usual, **more})
    return ET.fromstring(made.xml(WHEN, "NODE"))


def test_the_event_has_its_code_its_time_and_its_outcome():
    event = parsed().find("EventIdentification")
    assert event.attrib == {
        "EventActionCode": "C",
        "EventDateTime": "2026-03-01T12:30:15.123+00:00",
        "EventOutcomeIndicator": "0",
    }
    assert event.find("EventID").attrib == {
        "csd-code": "110104",
        "codeSystemName": "DCM",
        "originalText": "DICOM Instances Transferred",
    }


def test_every_participant_has_a_role_and_an_address_of_its_kind():
    scanner, program = parsed().findall("ActiveParticipant")
    assert scanner.attrib == {
        "UserID": "MR1",
        "AlternativeUserID": "AETITLES=MR1",
        "UserIsRequestor": "true",
        "NetworkAccessPointID": "10.0.0.7",
        "NetworkAccessPointTypeCode": "2",
    }
    assert scanner.find("RoleIDCode").get("csd-code") == "110153"
    assert "NetworkAccessPointID" not in program.attrib


@pytest.mark.parametrize(("address", "code"), [("pacs.example", "1"), ("10.0.0.7", "2"), ("fe80::1", "2")])
def test_a_host_name_is_none_of_the_addresses(address, code):
    made = Message(audit.QUERY, "E", Outcome.SUCCESS, [Participant("p", audit.DESTINATION, "P", address)])
    root = ET.fromstring(made.xml(WHEN, "NODE"))
    assert root.find("ActiveParticipant").get("NetworkAccessPointTypeCode") == code


def test_a_study_is_named_with_its_accession_number_and_count_and_no_patient():
    (study,) = parsed().findall("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == "1.2.3"
    assert study.find("ParticipantObjectIDTypeCode").get("csd-code") == "110180"
    assert study.find("Accession").get("Number") == "A1"
    assert study.find("SOPClass").get("NumberOfInstances") == "24"


def test_a_patient_is_named_where_that_is_wanted():
    _, person = parsed(study=Study("1.2.3", patient_id="P7")).findall("ParticipantObjectIdentification")
    assert (person.get("ParticipantObjectID"), person.get("ParticipantObjectTypeCode")) == ("P7", "1")
    assert person.find("ParticipantObjectIDTypeCode").get("csd-code") == "2"


def test_what_is_said_cannot_break_out_of_the_xml():
    root = parsed(description='"><AuditMessage/>&', study=Study('1"><x/>'))
    assert root.find("EventIdentification/EventOutcomeDescription").text == '"><AuditMessage/>&'
    assert root.findall(".//x") == []


def test_a_syslog_line_is_of_rfc_5424():
    said = line(b"<xml/>", WHEN, "host", "dicomnode").split(b" ", 7)
    assert said[0] == b"<85>1"
    assert said[1] == b"2026-03-01T12:30:15.123+00:00"
    assert said[5:] == [b"DICOM+RFC3881", b"-", b"\xef\xbb\xbf<xml/>"]
