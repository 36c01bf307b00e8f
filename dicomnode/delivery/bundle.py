"""Findings as a transaction of FHIR R4: one DiagnosticReport, an Observation for each quantity of each region."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dicomnode.report import codes
from dicomnode.report.findings import Concept
from dicomnode.report.identity import uid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicomnode.config import DestinationSettings
    from dicomnode.report.findings import Finding, Findings, Issuer, Region

_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
_URI = "urn:ietf:rfc:3986"
_SYSTEMS = {
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "UCUM": "http://unitsofmeasure.org",
    codes.SCHEME: f"urn:oid:{uid('liver-iron-node', 'codes')}",
}
_WITHDRAWN = "the result that replaces this one has no such region"
_Json = dict[str, Any]


def transaction(findings: Findings, destination: DestinationSettings) -> _Json:
    """The Bundle: what is there already under the same identifiers is updated, so that it may go again and again."""
    common = _Common(findings, destination)
    observations = [*_measured(common), *_withdrawn(common)]
    results = [entry["fullUrl"] for entry in observations if entry["resource"]["status"] != "entered-in-error"]
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [*observations, _entry(common.uid("diagnostic-report"), _report(common, results))],
    }


@dataclass(frozen=True, slots=True)
class _Common:
    """What every resource of a transaction says."""

    findings: Findings
    destination: DestinationSettings

    def uid(self, role: str) -> str:
        """The same for all results that replace each other, so that the newest updates what was told before."""
        return uid(self.findings.first_key, role)

    @property
    def status(self) -> str:
        """As the Structured Report says it: nobody has verified this, so it can be no final result's correction."""
        return "preliminary"

    @property
    def subject(self) -> _Json:
        patient = self.findings.patient
        return {
            "type": "Patient",
            "identifier": _issued(patient.id, patient.issuer, self.destination.patient_id_system),
        }

    @property
    def study(self) -> _Json:
        named = {"system": "urn:dicom:uid", "value": f"urn:oid:{self.findings.study.uid}"}
        return {"type": "ImagingStudy", "identifier": named}

    @property
    def times(self) -> _Json:
        return {**_effective(self.findings.study.date), "issued": self.findings.created}


def _report(common: _Common, results: list[str]) -> _Json:
    findings = common.findings
    return {
        "resourceType": "DiagnosticReport",
        **_based_on(findings),
        "status": common.status,
        "category": [_concept(f"{_TERMINOLOGY}v2-0074", "RAD", "Radiology")],
        "code": _coded(Concept.of(codes.MRI)),
        "subject": common.subject,
        **common.times,
        "result": [{"reference": reference} for reference in results],
        "imagingStudy": [common.study],
        "conclusion": "\n".join((findings.answer, *findings.notes)),
    }


def _based_on(findings: Findings) -> _Json:
    number = findings.study.accession_number
    if not number:
        return {}
    kind = _concept(f"{_TERMINOLOGY}v2-0203", "ACSN", "Accession ID")
    issued = _issued(number, findings.study.accession_issuer, "")
    return {"basedOn": [{"type": "ServiceRequest", "identifier": {"type": kind, **issued}}]}


def _measured(common: _Common) -> Iterator[_Json]:
    for place, region in enumerate(common.findings.regions, 1):
        for finding in region.findings:
            yield _entry(common.uid(f"observation/{place}/{finding.name}"), _observation(common, region, finding))


def _withdrawn(common: _Common) -> Iterator[_Json]:
    """Observations of a result that this one replaces and that has more regions: they must not stay as they are."""
    for place in range(len(common.findings.regions) + 1, common.findings.replaced_regions + 1):
        for finding in common.findings.regions[0].findings:
            resource = {
                "resourceType": "Observation",
                "status": "entered-in-error",
                "code": _coded(finding.concept),
                "subject": common.subject,
                "dataAbsentReason": _absent(_WITHDRAWN),
            }
            yield _entry(common.uid(f"observation/{place}/{finding.name}"), resource)


def _observation(common: _Common, region: Region, finding: Finding) -> _Json:
    findings = common.findings
    resource = {
        "resourceType": "Observation",
        "status": common.status,
        "category": [_concept(f"{_TERMINOLOGY}observation-category", "imaging", "Imaging")],
        "code": _coded(finding.concept),
        "subject": common.subject,
        **common.times,
        **_value(finding),
        "note": [{"text": text} for text in (*region.notes, *findings.notes)],
        "bodySite": {**_coded(region.site), "text": region.name},
        "device": {"display": f"{findings.device} {findings.software_version}"},
        "derivedFrom": [common.study],
    }
    if finding.method is not None:
        resource["method"] = _coded(finding.method)
    if finding.interval:
        resource["component"] = [
            {"code": _coded(end.concept), "valueQuantity": _quantity(end.value, finding.unit)}
            for end in finding.interval
        ]
    return resource


def _value(finding: Finding) -> _Json:
    if finding.value is None:
        return {"dataAbsentReason": _absent(finding.absent)}
    comparator = {"comparator": finding.comparator} if finding.comparator else {}
    return {"valueQuantity": {**_quantity(finding.value, finding.unit), **comparator}}


def _quantity(value: str, unit: Concept) -> _Json:
    return {"value": float(value), "unit": unit.meaning, "system": _SYSTEMS[unit.scheme], "code": unit.value}


def _absent(why: str) -> _Json:
    """There is a concentration in every liver: what is missing is the knowledge of it."""
    return {**_concept(f"{_TERMINOLOGY}data-absent-reason", "unknown", "Unknown"), "text": why}


def _entry(identifier: str, resource: _Json) -> _Json:
    """A conditional update by the resource's identifier (R4 3.1.0.4.3)."""
    value, kind = f"urn:oid:{identifier}", resource["resourceType"]
    own = {"system": _URI, "value": value}
    named = {**resource, "identifier": [own]}
    query = quote(f"{_URI}|{value}", safe=":")
    return {
        "fullUrl": uuid.UUID(int=int(identifier.removeprefix("2.25."))).urn,
        "resource": named,
        "request": {"method": "PUT", "url": f"{kind}?identifier={query}"},
    }


def _issued(value: str, issuer: Issuer, system: str) -> _Json:
    """An identifier with the system that the images name, else the one that is configured, and its local name."""
    if issuer.universal_type == "ISO":
        system = f"urn:oid:{issuer.universal_id}"
    assigner = {"assigner": {"display": issuer.name}} if issuer.name else {}
    return {**({"system": system} if system else {}), "value": value, **assigner}


def _effective(date: str) -> _Json:
    """The day of the examination: a time would need a zone, which images seldom name."""
    try:
        return {"effectiveDateTime": f"{datetime.strptime(date, '%Y%m%d'):%Y-%m-%d}"}  # noqa: DTZ007
    except ValueError:
        return {}


def _coded(concept: Concept) -> _Json:
    return _concept(_SYSTEMS[concept.scheme], concept.value, concept.meaning)


def _concept(system: str, code: str, display: str) -> _Json:
    return {"coding": [{"system": system, "code": code, "display": display}]}
