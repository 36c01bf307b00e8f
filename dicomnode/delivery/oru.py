"""Findings as an HL7 v2.5.1 message ORU^R01 (chapter 7), filed as IHE RAD files what belongs to an order."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message

from dicomnode.report import codes
from dicomnode.report.findings import Concept

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hl7apy.core import Group, Segment

    from dicomnode.config import DestinationSettings
    from dicomnode.report.findings import Finding, Findings, Issuer, Patient, Region

_VERSION = "2.5.1"
_ESCAPED = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}  # 2.7.1
_STUDY = Concept("113014", "DCM", "DICOM Study")  # RAD TF-2 4.4
_SITE = Concept("363698007", "SCT", "Finding Site")
_SEXES = ("M", "F", "O")
_PRELIMINARY = "P"  # OBR-25 and OBX-11 (tables 0123, 0085), as the Structured Report says it: nobody has verified this
_NAME_PARTS = (0, 1, 2, 4, 3)  # family, given, middle, suffix, prefix, of a DICOM name that has the last two turned
_NO_NAME = "^^^^^^U"  # XPN.7, table 0200: unspecified
_NOT_OBTAINED, _OF_THE_ORDER = "X", "O"  # OBX-11, table 0085


def control_id(findings: Findings) -> str:
    """MSH-10: the same for the same result, so that a receiver can tell a repetition; at most 20 characters."""
    return findings.key[:20]


def message(findings: Findings, destination: DestinationSettings) -> str:
    """The message; raises hl7apy's exceptions where 2.5.1 does not allow what is in it, in words that quote it."""
    whole = Message("ORU_R01", version=_VERSION, validation_level=VALIDATION_LEVEL.TOLERANT)
    _head(whole.msh, findings, destination)
    result = whole.add_group("oru_r01_patient_result")
    _patient(result.add_group("oru_r01_patient").add_segment("pid"), findings.patient, destination)
    order = result.add_group("oru_r01_order_observation")
    _order(order.add_segment("obr"), findings, destination)
    _notes(order, findings.notes)
    for number, (fields, notes) in enumerate(_observations(findings), 1):
        observation = order.add_group("oru_r01_observation")
        _put(observation.add_segment("obx"), {1: str(number), **fields})
        _notes(observation, notes)
    whole.validate()
    return str(whole.to_er7())


def _head(msh: Segment, findings: Findings, destination: DestinationSettings) -> None:
    _put(
        msh,
        {
            3: _parts(destination.sending_application),
            4: _parts(destination.sending_facility),
            5: _parts(destination.receiving_application),
            6: _parts(destination.receiving_facility),
            7: _created(findings),
            9: "ORU^R01^ORU_R01",
            10: control_id(findings),
            11: "P",
            12: _VERSION,
            18: "UNICODE UTF-8",
        },
    )


def _patient(pid: Segment, patient: Patient, destination: DestinationSettings) -> None:
    issuer = _issuer(patient.issuer) or _parts(destination.patient_id_issuer)
    name = patient.name.split("=")
    shown = next((group for group in name if group.strip("^ ")), "").split("^")
    family, *others = (_text(shown[k]) if k < len(shown) else "" for k in _NAME_PARTS)
    _put(
        pid,
        {
            1: "1",
            3: f"{_text(patient.id)}^^^{issuer}".rstrip("^"),
            5: "^".join((family, *others)).rstrip("^") or _NO_NAME,
            7: _date(patient.birth_date),
            8: patient.sex if patient.sex in _SEXES else "U",
        },
    )


def _order(obr: Segment, findings: Findings, destination: DestinationSettings) -> None:
    """The filler's order is the first of the results that replace each other; the placer's is not in the images."""
    _put(
        obr,
        {
            1: "1",
            3: _parts(findings.first_key[:20], destination.sending_application),
            4: _coded(Concept.of(codes.MRI)),
            7: _examined(findings),
            18: _parts(findings.study.accession_number),
            22: _created(findings),
            24: "RAD",
            25: _PRELIMINARY,
        },
    )


def _observations(findings: Findings) -> Iterator[tuple[dict[int, str], tuple[str, ...]]]:
    """Fields and notes of each OBX: the study, the answer, then region by region."""
    status, at = _PRELIMINARY, _examined(findings)
    yield {2: "ST", 3: _coded(_STUDY), 5: findings.study.uid, 11: _OF_THE_ORDER}, ()
    yield {2: "TX", 3: _coded(Concept.of(codes.ANSWER)), 5: _text(findings.answer), 11: status, 14: at}, ()
    for place, region in enumerate(findings.regions, 1):
        for fields, notes in _of_region(region, status):
            yield {4: str(place), 14: at, **fields}, notes


def _of_region(region: Region, status: str) -> Iterator[tuple[dict[int, str], tuple[str, ...]]]:
    site = f"{_coded(region.site)}^^^^^^{_text(region.name)}"  # CWE.9: what it is called
    yield {2: "CWE", 3: _coded(_SITE), 5: site, 11: status}, region.notes
    for finding in region.findings:
        yield from _of_finding(finding, status)


def _of_finding(finding: Finding, status: str) -> Iterator[tuple[dict[int, str], tuple[str, ...]]]:
    """A number, a bound as structured numeric, or none; then the ends of its interval."""
    fields = {3: _coded(finding.concept), 6: _coded(finding.unit)}
    if finding.value is None:
        yield {**fields, 11: _NOT_OBTAINED}, (finding.absent,)
        return
    value = {2: "SN", 5: f"{finding.comparator}^{finding.value}"} if finding.comparator else {2: "NM", 5: finding.value}
    method = {17: _coded(finding.method)} if finding.method else {}
    yield {**fields, **value, **method, 11: status}, ()
    for end in finding.interval:
        yield {2: "NM", 3: _coded(end.concept), 5: end.value, 6: _coded(finding.unit), 11: status}, ()


def _notes(group: Group, notes: Iterable[str]) -> None:
    for number, note in enumerate(notes, 1):
        _put(group.add_segment("nte"), {1: str(number), 2: "L", 3: _text(note)})


def _put(segment: Segment, fields: dict[int, str]) -> None:
    """Set fields by their number; empty ones stay out."""
    for number, value in sorted(fields.items()):
        if value:
            setattr(segment, f"{segment.name.lower()}_{number}", value)


def _created(findings: Findings) -> str:
    return f"{datetime.fromisoformat(findings.created):%Y%m%d%H%M%S%z}"


def _examined(findings: Findings) -> str:
    date, time = _date(findings.study.date), findings.study.time
    return date + (time if len(time) == 6 and time.isdigit() else "") if date else ""


def _date(value: str) -> str:
    """A date as DICOM and HL7 v2 both write it; none where it is none."""
    try:
        return f"{datetime.strptime(value, '%Y%m%d'):%Y%m%d}"  # noqa: DTZ007  a date has no zone
    except ValueError:
        return ""


def _issuer(issuer: Issuer) -> str:
    """A Hierarchic Designator as a component."""
    parts = (issuer.name, issuer.universal_id, issuer.universal_type)
    return "&".join(map(_text, parts)).rstrip("&")


def _coded(concept: Concept) -> str:
    return _parts(concept.value, concept.meaning, concept.scheme)


def _parts(*components: str) -> str:
    return "^".join(map(_text, components)).rstrip("^")


def _text(value: str) -> str:
    """One line, without what would end a field."""
    return "".join(_ESCAPED.get(char, char) for char in " ".join(value.split()))
