"""FHIR transactions, read by models that others made; R4B differs from R4 in none of these resources."""

import json
from dataclasses import replace

import pytest
from fhir.resources.R4B.bundle import Bundle

from dicomnode.config import DestinationSettings
from dicomnode.delivery.bundle import transaction
from tests.told import BEYOND, MEASURED, WHY, WITHHELD, Issuer, findings


def record(**more):
    return DestinationSettings(name="record", kind="fhir", url="https://ehr.example/fhir", **more)


def read(told=None, **more):
    return Bundle.model_validate_json(json.dumps(transaction(told or findings(), record(**more))))


def observations(bundle):
    return [entry.resource for entry in bundle.entry if entry.resource.get_resource_type() == "Observation"]


def report(bundle):
    (found,) = [one.resource for one in bundle.entry if one.resource.get_resource_type() == "DiagnosticReport"]
    return found


@pytest.mark.parametrize("measured", [MEASURED, BEYOND, WITHHELD])
def test_what_is_sent_is_valid_and_the_report_points_at_its_observations(measured):
    bundle = read(findings(measured, notes=("low confidence: few echoes",)))
    assert bundle.type == "transaction"
    found = {entry.fullUrl for entry in bundle.entry if entry.resource.get_resource_type() == "Observation"}
    assert {reference.reference for reference in report(bundle).result} == found
    assert len(found) == 3


def test_values_have_units_codes_methods_and_intervals():
    lic, r2star, t2star = observations(read())
    quantity = lic.valueQuantity
    assert (float(quantity.value), quantity.code, quantity.system) == (11.7, "mg/g", "http://unitsofmeasure.org")
    assert quantity.comparator is None
    assert [float(part.valueQuantity.value) for part in lic.component] == [10.9, 12.5]
    assert [part.code.coding[0].code for part in lic.component] == ["LIC-CI95-LOW", "LIC-CI95-HIGH"]
    assert [(one.code.coding[0].code, one.valueQuantity.code) for one in (r2star, t2star)] == [
        ("126395", "/s"),
        ("113064", "ms"),
    ]
    assert lic.method.coding[0].code == "HERNANDO-2023"
    assert lic.bodySite.coding[0].code == "10200004"


def test_a_bound_has_a_comparator_and_what_is_not_measured_a_reason_and_no_value():
    lic, _, t2star = observations(read(findings(BEYOND)))
    assert (lic.valueQuantity.comparator, float(lic.valueQuantity.value)) == (">", 21.0)
    assert (t2star.valueQuantity, t2star.dataAbsentReason.text) == (None, WHY)
    for one in observations(read(findings(WITHHELD))):
        assert one.valueQuantity is None
        assert one.component is None
        assert one.dataAbsentReason.coding[0].code == "unknown"


def test_flags_and_limits_of_use_stand_with_every_number():
    bundle = read(findings(notes=("low confidence: few echoes",)))
    for one in observations(bundle):
        assert [note.text for note in one.note] == ["low confidence: few echoes", *findings().notes]
    assert report(bundle).conclusion.splitlines() == [findings().answer, *findings().notes]


def test_the_patient_is_named_by_identifier_alone():
    whole = json.dumps(transaction(findings(), record()))
    assert "Müller" not in whole
    assert "M\\u00fcller" not in whole
    subject = observations(read())[0].subject
    assert (subject.identifier.system, subject.identifier.value) == ("urn:oid:1.2.3", "4711")
    unnamed = findings(patient={"issuer": Issuer("HOSP")})
    assert observations(read(unnamed, patient_id_system="https://h.example/mrn"))[0].subject.identifier.system == (
        "https://h.example/mrn"
    )


def test_order_and_study_are_named_by_identifiers():
    found = report(read())
    assert found.basedOn[0].identifier.value == "A-77"
    assert found.imagingStudy[0].identifier.value == "urn:oid:1.2.840.99"
    assert str(found.effectiveDateTime) == "2026-03-04"
    assert (
        report(read(replace(findings(), study=replace(findings().study, accession_number="", date="x")))).basedOn
        is None
    )


def test_a_correction_updates_what_it_corrects_and_withdraws_what_it_no_longer_tells():
    first, second = read(), read(findings(corrects=True, key="f" * 40, replaced_regions=2))
    urls = [[entry.request.url for entry in bundle.entry] for bundle in (first, second)]
    assert set(urls[0]) <= set(urls[1])
    assert {one.status for one in observations(first)} == {"preliminary"}
    assert report(second).status == "preliminary"
    withdrawn = [one for one in observations(second) if one.status == "entered-in-error"]
    assert len(withdrawn) == 3
    assert all(one.valueQuantity is None for one in withdrawn)
    assert len(report(second).result) == 3


def test_every_entry_is_a_conditional_update_by_its_own_identifier():
    bundle = read()
    for entry in bundle.entry:
        (own,) = entry.resource.identifier
        assert entry.request.method == "PUT"
        assert entry.request.url.endswith(f"?identifier=urn:ietf:rfc:3986%7C{own.value}")
    assert len({entry.fullUrl for entry in bundle.entry}) == len(bundle.entry)
