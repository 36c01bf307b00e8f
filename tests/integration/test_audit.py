"""The audit trail reaches a syslog receiver, also one that was away, that hangs up, and by TLS."""

import base64
import contextlib
import io
import os
import socket
import ssl
import subprocess
import threading
import time
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode import events
from dicomnode.audit import Trail
from dicomnode.audit.message import Study
from dicomnode.audit.subject import Subjects
from dicomnode.config import AuditSettings, DestinationSettings, NodeSettings, Settings, TlsSettings
from dicomnode.store.durable import write_json
from dicomnode.store.spool import Spool
from dicomnode.tls import Certificates


class Receiver:
    """A syslog receiver that counts octets; hangs up after some messages where it is told to."""

    def __init__(self, port=0, tls=None, most=10**6):
        self.said, self._tls, self._most = [], tls, most
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    self._read(self._tls.wrap_socket(connection, server_side=True) if self._tls else connection)
                except (OSError, ValueError):
                    continue

    def _read(self, connection):
        with connection, connection.makefile("rb") as stream:
            for _ in range(self._most):
                digits = b""
                while (one := stream.read(1)) not in (b" ", b""):
                    digits += one
                if not digits:
                    return
                self.said.append(stream.read(int(digits)))

    def stop(self):
        with contextlib.suppress(OSError):  # it was stopped already
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def messages(self):
        return [ET.fromstring(one[one.index(b"\xef\xbb\xbf") + 3 :]) for one in self.said]

    def codes(self):
        return [one.find("EventIdentification/EventID").get("csd-code") for one in self.messages()]


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr("dicomnode.audit.trail._TRY_AGAIN_SECONDS", 0.1)
    open_ = []

    def receiver(**more):
        open_.append(Receiver(**more))
        return open_[-1]

    def trail(say=None, tls=None, **audit):
        pacs = DestinationSettings(name="pacs", ae_title="PACS", host="pacs.example", port=104)
        cloud = DestinationSettings(name="cloud", kind="dicomweb", url="https://cloud.example:8443/dicom-web")
        ris = DestinationSettings(name="ris", kind="hl7", host="ris.example", port=2575)
        settings = Settings(
            node=NodeSettings(ae_title="NODE"),
            destination=(pacs, cloud, ris),
            audit=AuditSettings(**audit),
            tls=tls or TlsSettings(),
        )
        sink = (lambda _: None) if say is None else say.append
        made = Trail(
            settings,
            tmp_path / "audit",
            Certificates(settings.tls, sink),
            study_of=lambda uid: Study(uid, "A1"),
            say=sink,
            clock=lambda: datetime.now(UTC),
        )
        made.start()
        open_.append(made)
        return made

    trail.receiver = receiver
    yield trail
    for one in reversed(open_):
        one.stop()


STORY = [
    events.Started("1", "/data"),
    events.AssociationReleased("1.2", 24, "MR1", "10.0.0.7", 3.0),
    events.AssociationRejected("EVIL", "10.0.0.8", "calling AE title not recognised"),
    events.DeliveryBegun("k", "pacs", 8, "1.2"),
    events.DeliveryEnded("k", "pacs", "delivered", 8, "1.2"),
    events.DeliveryEnded("k", "gone", "dead letter", 0, "1.2"),
    events.StudyRemoved("1.2", "originals", "older than 30 days"),
    events.LoggedIn("anna", "10.0.0.9"),
    events.LogInRefused("wrong name or password", "10.0.0.9"),
    events.FilesTaken("1.2", 24),
    events.ConnectionFailed("10.0.0.8", "SSLCertVerificationError: unknown authority", "tls"),
    events.DeliveryEnded("k", "ris", "delivered", 1, "1.2"),
    events.Queried("1.2", "1.2.3", "pacs", True),
    events.StudyShown("1.2", "anna", "10.0.0.9"),
    events.LoggedOut("anna", "10.0.0.9"),
    events.ConfigurationRead(("[tls] key", "[retention] records_days"), ()),
    events.Stopped(),
]
CODES = ["110100", "110104", "110113", "110102", "110104", "110104", "110105", "110114", "110114"]
CODES += ["110107", "110113", "110106", "110112", "110103", "110114", "110113", "110100"]
# Of which the standard wants no message.
SILENT = [
    events.StepDone("k", "fit", 1.0),
    events.ConnectionFailed("10.0.0.8", "it went away"),
    events.DeliveryBegun("k", "ris", 1, "1.2"),
    events.DeliveryEnded("k", "ris", "replaced", 0, "1.2"),
    events.ConfigurationRead(("[node] log_level",), ("[tls] key",)),
    events.AssociationReleased("", 0, "MR1", "10.0.0.7", 3.0),
]


@pytest.mark.parametrize(
    ("event", "code", "action", "what"),
    [
        (events.StudyRemoved("1.2", "originals", "purged: a test", "anna"), "110105", "D", "purged: a test"),
        (events.Ordered("1.2", "g", "anna", "other-anatomy"), "110103", "U", "although refused: other-anatomy"),
    ],
)
def test_who_wanted_something_of_a_study_is_told(world, event, code, action, what):
    server = world.receiver()
    world(host="127.0.0.1", port=server.port, transport="tcp")(event)
    wait_for(lambda: server.said)
    (message,) = server.messages()
    found = message.find("EventIdentification")
    assert (found.find("EventID").get("csd-code"), found.get("EventActionCode")) == (code, action)
    assert what in found.find("EventOutcomeDescription").text
    people = {one.get("UserID"): one.get("UserIsRequestor") for one in message.iter("ActiveParticipant")}
    assert people == {"anna": "true", "dicomnode": "false"}
    assert message.find("ParticipantObjectIdentification").get("ParticipantObjectID") == "1.2"


def test_what_the_standard_lists_is_told_in_its_order(world):
    server = world.receiver()
    trail = world(host="127.0.0.1", port=server.port, transport="tcp")
    for event in [*SILENT, *STORY]:
        trail(event)
    wait_for(lambda: len(server.said) == len(CODES))
    assert server.codes() == CODES
    outcomes = [one.find("EventIdentification").get("EventOutcomeIndicator") for one in server.messages()]
    assert outcomes == ["0", "0", "8", "0", "0", "8", "0", "0", "4", "0", "8", "0", "0", "0", "0", "0", "0"]
    sent = server.messages()[4]
    assert [one.get("UserID") for one in sent.findall("ActiveParticipant")] == ["dicomnode", "PACS"]


@pytest.fixture
def told(world, tmp_path):
    """The message of an event."""

    def tell(event):
        world(file=tmp_path / "audit.log")(event)
        wait_for((tmp_path / "audit.log").exists)
        return ET.fromstring((tmp_path / "audit.log").read_bytes().partition(b"\xef\xbb\xbf")[2])

    return tell


def test_a_query_holds_its_sop_class_and_its_keys(told):
    message = told(events.Queried("1.2", "1.2.3", "pacs", False))
    assert message.find("EventIdentification").get("EventOutcomeIndicator") == "8"
    assert [one.get("UserID") for one in message.findall("ActiveParticipant")] == ["dicomnode", "PACS"]
    (asked,) = message.findall("ParticipantObjectIdentification")
    assert asked.get("ParticipantObjectID") == "1.2.840.10008.5.1.4.1.2.2.1"
    assert asked.find("ParticipantObjectIDTypeCode").get("csd-code") == "110181"
    keys = base64.b64decode(asked.find("ParticipantObjectQuery").text)
    question = pydicom.filereader.read_dataset(io.BytesIO(keys), is_implicit_VR=True, is_little_endian=True)
    assert (question.QueryRetrieveLevel, question.StudyInstanceUID) == ("IMAGE", "1.2")
    assert (question.SeriesInstanceUID, question.SOPInstanceUID) == ("1.2.3", "")
    syntax = asked.find("ParticipantObjectDetail")
    assert (syntax.get("type"), base64.b64decode(syntax.get("value"))) == ("TransferSyntax", b"1.2.840.10008.1.2")


def test_what_is_told_by_hl7_is_an_export_to_where_it_goes(told):
    message = told(events.DeliveryEnded("k", "ris", "delivered", 1, "1.2"))
    own, record = message.findall("ActiveParticipant")
    assert own.get("UserIsRequestor") == "true"
    assert (record.get("UserID"), record.get("NetworkAccessPointID")) == ("ris", "ris.example")
    assert record.find("RoleIDCode").get("csd-code") == "110154"
    assert record.find("MediaIdentifier/MediaType").get("csd-code") == "110037"
    assert message.find("ParticipantObjectIdentification").get("ParticipantObjectID") == "1.2"


def test_who_was_shown_a_study_is_a_person(told):
    message = told(events.StudyShown("1.2", "anna", "10.0.0.9"))
    assert message.find("EventIdentification").get("EventActionCode") == "R"
    _, person = message.findall("ActiveParticipant")
    assert (person.get("UserID"), person.get("NetworkAccessPointID")) == ("anna", "10.0.0.9")
    assert person.find("RoleIDCode").get("csd-code") == "125676002"


def test_a_change_of_who_may_do_what_is_an_alert_that_names_keys(told):
    message = told(events.ConfigurationRead(("[[scanner]] MR1 address", "[retention] records_days"), ()))
    event = message.find("EventIdentification")
    assert event.find("EventTypeCode").get("csd-code") == "110129"
    assert event.find("EventOutcomeDescription").text == "changed while the node runs: [[scanner]] MR1 address"


def test_a_destination_without_an_ae_title_is_told_by_its_name_and_the_host_of_its_url(world):
    server = world.receiver()
    world(host="127.0.0.1", port=server.port, transport="tcp")(events.DeliveryBegun("k", "cloud", 8, "1.2"))
    wait_for(lambda: len(server.said) == 1)
    _, told = server.messages()[0].findall("ActiveParticipant")
    assert (told.get("UserID"), told.get("NetworkAccessPointID")) == ("cloud", "cloud.example")
    assert told.get("AlternativeUserID") is None


def test_a_repository_that_is_away_gets_everything_when_it_is_back_also_from_an_earlier_run(world, tmp_path):
    server = world.receiver()
    port = server.port
    server.stop()
    said = []
    first = world(say=said, host="127.0.0.1", port=port, transport="tcp")
    for event in STORY[:3]:
        first(event)
    wait_for(lambda: said)
    first.stop()
    assert [type(one) for one in said] == [events.AuditAway]
    assert len(list((tmp_path / "audit").iterdir())) == 3
    back = world.receiver(port=port)
    world(host="127.0.0.1", port=port, transport="tcp")
    wait_for(lambda: len(back.said) == 3)
    assert back.codes() == CODES[:3]
    wait_for(lambda: not list((tmp_path / "audit").iterdir()))


def with_audit(**audit):
    return Settings(node=NodeSettings(ae_title="NODE"), audit=AuditSettings(**audit))


def test_messages_go_where_the_configuration_says_from_now_on_also_those_that_wait(world):
    gone, there, said = world.receiver(), world.receiver(), []
    gone.stop()
    trail = world(say=said, host="127.0.0.1", port=gone.port, transport="tcp")
    trail(STORY[0])
    wait_for(lambda: said)
    trail.use(with_audit(host="127.0.0.1", port=there.port, transport="tcp"))
    trail(STORY[1])
    wait_for(lambda: len(there.said) == 2)
    assert there.codes() == CODES[:2]


def test_recording_that_ends_or_begins_is_told(world):
    server = world.receiver()
    on = with_audit(host="127.0.0.1", port=server.port, transport="tcp")
    trail = world()
    trail.use(on)
    trail.use(with_audit())
    trail(STORY[0])
    trail.use(on)
    trail(STORY[1])
    wait_for(lambda: len(server.said) == 4)
    kinds = [one.find("EventIdentification/EventTypeCode") for one in server.messages()]
    assert [None if kind is None else kind.get("csd-code") for kind in kinds] == ["110134", "110133", "110134", None]


def test_a_repository_that_is_as_dead_as_the_one_before_is_said_anew(world):
    said, ports = [], []
    for _ in range(2):
        server = world.receiver()
        server.stop()
        ports.append(server.port)
    trail = world(say=said, host="127.0.0.1", port=ports[0], transport="tcp")
    trail(STORY[0])
    wait_for(lambda: len(said) == 1)
    trail.use(with_audit(host="127.0.0.1", port=ports[1], transport="tcp"))
    wait_for(lambda: len(said) == 2)
    assert str(ports[1]) in said[1].reason


def test_a_repository_that_hangs_up_is_called_again_and_nothing_is_lost(world):
    server = world.receiver(most=1)
    trail = world(host="127.0.0.1", port=server.port, transport="tcp")
    for number, event in enumerate(STORY, 1):
        trail(event)
        wait_for(lambda number=number: len(server.said) >= number)
        time.sleep(0.1)  # so that its hanging up has arrived
    assert server.codes() == CODES


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate), "-days", "9"]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def test_by_tls_with_a_receiver_that_the_authority_signed_and_with_no_other(world, pair):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    server = world.receiver(tls=context)
    said = []
    stranger = world(say=said, host="127.0.0.1", port=server.port)
    stranger(STORY[0])
    wait_for(lambda: said)
    assert "certificate" in said[0].reason.lower()
    stranger.stop()
    assert server.said == []
    friend = world(tls=TlsSettings(authority=pair[0]), host="127.0.0.1", port=server.port)
    friend(STORY[1])
    wait_for(lambda: len(server.said) == 2)
    assert server.codes() == CODES[:2]


def test_by_udp(world):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20)
        world(host="127.0.0.1", port=server.getsockname()[1], transport="udp")(STORY[0])
        assert b"110100" in server.recv(65536)


def test_into_a_file_that_its_group_may_read_one_line_a_message(world, tmp_path):
    path = tmp_path / "audit.log"
    trail = world(file=path)
    for event in STORY:
        trail(event)
    wait_for(lambda: path.exists() and len(path.read_bytes().splitlines()) == len(CODES))
    assert path.stat().st_mode & 0o777 & ~0o640 == 0


def test_without_a_repository_nothing_is_written(world, tmp_path):
    trail = world()
    trail(STORY[0])
    assert not (tmp_path / "audit").exists()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_what_cannot_be_written_down_is_said_and_stops_nothing(world, tmp_path):
    said = []
    trail = world(say=said, file=tmp_path / "audit.log")
    (tmp_path / "audit").chmod(0o500)
    trail(STORY[0])
    assert [type(one) for one in said] == [events.AuditLost]


@pytest.mark.parametrize(("wanted", "patient"), [(False, None), (True, "P7")])
def test_the_patients_number_is_looked_up_only_where_it_is_wanted(tmp_path, wanted, patient):
    spool = Spool(tmp_path)
    spool.create()
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID, image.PatientID, image.AccessionNumber = "1.2.840.1", "1.3", "P7", "A7"
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    spool.study_folder("1.2").mkdir()
    image.save_as(spool.study_folder("1.2") / "1.3.dcm", enforce_file_format=True)
    subjects = Subjects(spool, patient_id=not wanted)
    subjects.use(patient_id=wanted)
    assert subjects("1.2") == Study("1.2", "A7", patient_id=patient)
    spool.remove_images("1.2")
    write_json(spool.studies / "1.2.json", {"accession_number": "A7"})
    assert Subjects(spool, patient_id=wanted)("1.2") == Study("1.2", "A7")
    assert Subjects(spool, patient_id=wanted)("1.9") == Study("1.9")
