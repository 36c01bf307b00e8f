"""Findings to FHIR services that answer in every way, over real HTTP."""

import json

import pytest

from dicomnode.config import DestinationSettings, TlsSettings
from dicomnode.delivery.carrier import NO_PATIENT, Outcome
from dicomnode.delivery.fhir import Fhir
from dicomnode.delivery.web import Web
from dicomnode.errors import Busy, NotAllowed, NotOffered, Unreachable
from tests.integration.fhir_service import FHIR, FhirService
from tests.integration.web_service import WebService
from tests.told import WITHHELD, findings

NAME = "DOE^JANE 4711"  # what a service may repeat in its words


@pytest.fixture
def service():
    one = FhirService()
    yield one
    one.close()


@pytest.fixture
def serve():
    running = []

    def begin(answer):
        running.append(WebService(lambda _: answer))
        return running[-1]

    yield begin
    for one in running:
        one.close()


def record(url, **more):
    return DestinationSettings(name="record", kind="fhir", url=url, timeout_seconds=5.0, **more)


@pytest.fixture
def send(tmp_path):
    def tell(url, told=None, **more):
        file = tmp_path / "findings.json"
        file.write_text(json.dumps((told or findings()).as_json()))
        (sent,) = Fhir(Web(TlsSettings())).send(record(url, **more), [file])
        return sent

    return tell


def test_a_report_and_its_observations_arrive_and_again_are_the_same(service, send):
    for _ in range(2):
        assert send(service.url).outcome is Outcome.DELIVERED
    assert len(service.kind("DiagnosticReport")) == 1
    assert len(service.kind("Observation")) == 3
    assert {version for _, version in service.resources.values()} == {2}
    assert service.asked[0].headers["Content-Type"] == FHIR["Content-Type"]
    assert service.asked[0].body == service.asked[1].body


def test_a_correction_leaves_no_value_of_what_it_corrects(service, send):
    send(service.url)
    corrected = findings(WITHHELD, corrects=True, key="f" * 40)
    assert send(service.url, corrected).outcome is Outcome.DELIVERED
    assert {one["status"] for one in service.kind("Observation")} == {"preliminary"}
    assert not any("valueQuantity" in one for one in service.kind("Observation"))


def outcome(*codes):
    issues = [{"severity": "error", "code": code, "diagnostics": NAME} for code in codes]
    return {"resourceType": "OperationOutcome", "issue": issues}


def response(*statuses):
    return {"type": "transaction-response", "entry": [{"response": {"status": one}} for one in statuses]}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((422, FHIR, outcome("required", "required", NAME)), "HTTP 422, required"),
        ((412, FHIR, outcome("multiple-matches")), "HTTP 412, multiple-matches"),
        ((400, {}, NAME.encode()), "HTTP 400"),
        ((500, {}, b""), "HTTP 500"),
        ((302, {"Location": "https://elsewhere.example"}, b""), "HTTP 302"),
        ((200, {}, b"<html>"), "HTTP 200 that is no answer to a transaction"),
        ((200, FHIR, [1]), "HTTP 200 that is no answer to a transaction"),
        ((200, FHIR, response("201 Created", "404 " + NAME)), "an entry was answered with 404"),
        ((200, FHIR, response(NAME)), "an entry was answered with no status"),
    ],
)
def test_what_is_not_taken_is_refused_and_says_codes_and_no_words(serve, send, answer, said):
    sent = send(serve(answer).url)
    assert (sent.outcome, sent.reason) == (Outcome.REFUSED, said)


def test_credentials_busyness_and_absence_have_their_own_errors(serve, send, tmp_path):
    with pytest.raises(NotAllowed):
        send(serve((401, {}, b"")).url)
    with pytest.raises(Busy) as raised:
        send(serve((429, {"Retry-After": "7"}, b"")).url)
    assert raised.value.seconds == 7.0
    with pytest.raises(Unreachable):
        send("http://127.0.0.1:9/fhir")


def test_a_token_goes_along(service, send, tmp_path):
    (tmp_path / "token").write_text("sesame")
    send(service.url, token_file=tmp_path / "token")
    assert service.asked[0].headers["Authorization"] == "Bearer sesame"


def test_findings_without_a_patient_go_nowhere(service, send):
    sent = send(service.url, findings(patient={"id": ""}))
    assert (sent.outcome, sent.reason) == (Outcome.REFUSED, NO_PATIENT)
    assert service.asked == []


def test_asking_reads_what_a_service_says_of_itself(service, serve):
    asking = Fhir(Web(TlsSettings()))
    assert asking.ask(record(service.url)) == "speaks FHIR R4 and takes transactions"
    assert [asked.path for asked in service.asked] == ["/fhir/metadata"]
    for statement in ({"fhirVersion": "5.0.0"}, {"fhirVersion": "4.0.1", "rest": [{"interaction": []}]}, [], "x"):
        with pytest.raises(NotOffered):
            asking.ask(record(serve((200, FHIR, statement)).url))
