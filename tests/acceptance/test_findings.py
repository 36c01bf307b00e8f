"""A whole node tells a receiver of HL7 v2 and a FHIR service what it measured, and nobody else whose it is."""

from dataclasses import dataclass
from datetime import UTC, datetime

import hl7
import pytest

from dicomnode import simulate
from tests.acceptance.conftest import wait_for
from tests.integration.fhir_service import FhirService
from tests.integration.mllp import Receiver

pytestmark = [pytest.mark.peer, pytest.mark.timeout(600)]
ANY = '[grouping]\nanatomy = "any"\nquiet_seconds = 1.0\n'
PAUSES = "retry_first_seconds = 0.5\nretry_longest_seconds = 2.0\n"


@pytest.fixture
def receiver():
    one = Receiver()
    yield one
    one.close()


@pytest.fixture
def ris(receiver):
    """The receiver in a configuration."""
    return f'[[destination]]\nname = "ris"\nkind = "hl7"\nhost = "127.0.0.1"\nport = {receiver.port}\n{PAUSES}'


@dataclass(frozen=True)
class Exam:
    files: list
    identities: tuple


@pytest.fixture
def exam(tmp_path):
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=1, patient_name="TELLING^IDA", patient_id="PID-4711")
    scan = simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC))
    for instance in scan.instances:
        instance.AccessionNumber = "ACC-0815"
    return Exam(list(simulate.write(scan, tmp_path / "study")), ("TELLING", "PID-4711"))


def delivered(node, name):
    return any(entry["deliveries"].get(name, {}).get("status") == "delivered" for entry in node.status())


def test_a_study_becomes_a_message_and_late_images_its_correction(serve, storescu, receiver, ris, exam):
    node = serve({}, ANY + ris)
    storescu(node, exam.files[:-1])
    wait_for(lambda: len(receiver.messages) == 1, 120, "the first message")
    wait_for(lambda: delivered(node, "ris"), 20, "its receipt")
    storescu(node, exam.files[-1:])
    wait_for(lambda: len(receiver.messages) == 2, 120, "the correction")
    first, second = map(hl7.parse, receiver.messages)
    assert [str(one["PID"][0][3]) for one in (first, second)] == ["PID-4711"] * 2
    assert [str(one["OBR"][0][18]) for one in (first, second)] == ["ACC-0815"] * 2
    assert [str(one["OBR"][0][25]) for one in (first, second)] == ["P", "P"]
    assert str(first["OBR"][0][3]) == str(second["OBR"][0][3])
    assert str(first["MSH"][0][10]) != str(second["MSH"][0][10])
    said = node.log.read_text() + node.command("status") + node.command("status", "--json")
    assert not any(identity in said for identity in exam.identities)
    names = [path.name for path in node.config.parent.rglob("*")]
    assert not any(identity in name for identity in exam.identities for name in names)
    assert "takes connections" in node.command("check", ok=False)


def test_a_study_becomes_resources_that_late_images_correct(serve, storescu, exam):
    service = FhirService()
    table = f'[[destination]]\nname = "record"\nkind = "fhir"\nurl = "{service.url}"\n{PAUSES}'
    node = serve({}, ANY + table + "[report]\nproducts = []\n")
    storescu(node, exam.files[:-1])
    wait_for(lambda: delivered(node, "record"), 120, "the first result")
    storescu(node, exam.files[-1:])
    wait_for(lambda: max(version for _, version in service.resources.values()) == 2, 120, "the correction")
    (report,) = service.kind("DiagnosticReport")
    assert report["status"] == "preliminary"
    assert report["subject"]["identifier"]["value"] == "PID-4711"
    assert len(report["result"]) == len(service.kind("Observation")) == 3
    said = node.log.read_text() + node.command("status", "--json") + node.command("check", ok=False)
    assert not any(identity in said for identity in exam.identities)
    assert "takes transactions" in said
    node.stop()
    service.close()
