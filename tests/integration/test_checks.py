"""What `check` finds out from real destinations before anything is sent."""

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from dicomnode.commitment import PUSH_MODEL
from dicomnode.config import DestinationSettings, Settings, TrendSettings
from dicomnode.delivery.archive import GET
from dicomnode.delivery.find import FIND
from dicomnode.operate.checks import check_destinations
from dicomnode.report.instance import KINDS
from dicomnode.report.rejection_note import SOP_CLASS_UID as NOTE
from tests.integration.fhir_service import FhirService

ALL = {kind.sop_class_uid for kind in KINDS.values()}
PARAMETRIC_MAP = KINDS["parametric_map_r2star"].sop_class_uid


@pytest.fixture
def check():
    servers = []

    def ask(taken, *, echo=True, trend=None, **settings):
        entity = AE("PACS")
        for sop_class in [*sorted(taken), *([Verification] if echo else [])]:
            entity.add_supported_context(sop_class)
        handlers = [(evt.EVT_C_ECHO, lambda _: 0x0000)]
        servers.append(entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers))
        port = servers[-1].socket.getsockname()[1]
        settings = {"ae_title": "PACS", "host": "127.0.0.1", "timeout_seconds": 5.0, **settings}
        pacs = DestinationSettings(name="pacs", port=port, **settings)
        (finding,) = check_destinations(Settings(destination=(pacs,), trend=trend or TrendSettings()))
        return finding

    yield ask
    for server in servers:
        server.shutdown()


def test_a_destination_that_takes_everything_is_well(check):
    finding = check(ALL)
    assert finding["ok"]
    assert "take every product" in finding["verdict"]


def test_what_would_be_refused_is_named(check):
    finding = check(ALL - {PARAMETRIC_MAP})
    assert not finding["ok"]
    assert finding["refuses"] == ["Parametric Map Storage"]


def test_a_destination_without_echo_is_asked_all_the_same(check):
    finding = check(ALL, echo=False)
    assert finding["ok"]
    assert "C-ECHO" in finding["verdict"]


def test_a_service_that_is_configured_and_not_offered_is_named_with_its_key(check):
    finding = check(ALL, storage_commitment="separate", read_back=True, rejection_notes=True)
    assert not finding["ok"]
    assert "does not offer Storage Commitment Push Model" in finding["verdict"]
    assert 'storage_commitment = "separate"' in finding["verdict"]
    assert "read_back" in finding["verdict"]
    assert "Key Object Selection Document Storage, which rejection_notes = true needs" in finding["verdict"]


def test_an_archive_that_is_to_be_asked_for_earlier_reports_is_asked_whether_it_gives_any(check):
    finding = check(ALL | {FIND}, trend=TrendSettings(ask=("pacs",)))
    assert not finding["ok"]
    (lack,) = finding["lacks"]
    assert "GET" in lack
    assert '[trend] ask = ["pacs"]' in lack
    assert check(ALL | {FIND, GET}, trend=TrendSettings(ask=("pacs",)))["ok"]


def test_a_service_that_is_configured_and_offered_is_well(check):
    asked = {"storage_commitment": "same", "read_back": True, "rejection_notes": True}
    assert check(ALL | {PUSH_MODEL, FIND, NOTE}, **asked)["ok"]


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "dicomweb", "url": "http://127.0.0.1:9/dicom-web"},
        {"kind": "hl7", "host": "127.0.0.1", "port": 9},
        {"kind": "fhir", "url": "http://127.0.0.1:9/fhir"},
    ],
)
def test_a_destination_of_another_kind_that_is_away_is_said(settings):
    away = DestinationSettings(name="elsewhere", timeout_seconds=5.0, **settings)
    (finding,) = check_destinations(Settings(destination=(away,)))
    assert (finding["ok"], finding["destination"]) == (False, "elsewhere")
    assert "cannot be reached" in finding["verdict"]


def test_a_destination_of_another_kind_says_what_it_says_of_itself():
    service = FhirService()
    record = DestinationSettings(name="record", kind="fhir", url=service.url)
    (finding,) = check_destinations(Settings(destination=(record,)))
    service.close()
    assert finding["ok"]
    assert "transactions" in finding["verdict"]
