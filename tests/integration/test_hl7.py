"""Findings to receivers of HL7 v2 that answer in every way, over real MLLP."""

import json
import socket
import ssl
from dataclasses import replace

import hl7
import pytest

from dicomnode.config import DestinationSettings, TlsSettings
from dicomnode.delivery.carrier import NO_PATIENT, Outcome
from dicomnode.delivery.hl7 import Mllp
from dicomnode.errors import NoAnswer, Unreachable
from dicomnode.report.findings import Concept
from tests.integration.keys import make
from tests.integration.mllp import Receiver, ack
from tests.told import MEASURED, findings

NAME = "DOE^JANE 4711"  # what a receiver may repeat in its words


@pytest.fixture(scope="module")
def keys(peer, tmp_path_factory):
    return make(tmp_path_factory.mktemp("keys"), peer("openssl"))


@pytest.fixture
def serve():
    running = []

    def begin(answer=ack, context=None):
        running.append(Receiver(answer, context))
        return running[-1]

    yield begin
    for one in running:
        one.close()


@pytest.fixture
def send(tmp_path):
    def tell(port, told=None, known=None, **more):
        file = tmp_path / "findings.json"
        file.write_text(json.dumps((told or findings()).as_json()))
        settings = {"host": "127.0.0.1", "timeout_seconds": 5.0, **more}
        ris = DestinationSettings(name="ris", kind="hl7", port=port, **settings)
        (sent,) = Mllp(known or TlsSettings()).send(ris, [file])
        return sent

    return tell


def test_a_message_arrives_in_its_letters_and_is_acknowledged(serve, send):
    receiver = serve()
    sent = send(receiver.port)
    assert (sent.outcome, sent.reason) == (Outcome.DELIVERED, None)
    (message,) = receiver.messages
    assert "Müller" in str(hl7.parse(message)["PID"][0][5])


@pytest.mark.parametrize("code", ["AE", "AR", "CE", "CR"])
def test_a_refusal_is_one_and_says_its_codes_and_none_of_its_words(serve, send, code):
    errors = f"ERR||PID^1^3|204^Unknown key identifier^HL70357|E|||{NAME}\rERR||{NAME}|4711^{NAME}|E\r"
    receiver = serve(lambda message: ack(message, code, more=errors))
    sent = send(receiver.port)
    assert sent.outcome is Outcome.REFUSED
    assert sent.reason == f"acknowledged with {code}, error 204 at PID^1^3"


def test_other_versions_and_line_ends_are_understood(serve, send):
    for text in ("MSH|^~\\&|||||||ACK|1|P|2.9\nMSA|AA|{of}\n", "\r\nMSH#^~\\&#####\rMSA#CA#{of}#fine\rZZZ#1"):
        receiver = serve(lambda message, text=text: text.format(of=hl7.parse(message)["MSH"][0][10]))
        assert send(receiver.port).outcome is Outcome.DELIVERED


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: None,
        lambda _: b"",
        lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n",
        lambda _: b"\x0bMSH|^~\\&|half of an acknowl",
        lambda _: "MSH|^~\\&|",
        lambda _: "MSH",
        lambda _: "MSH|^~\\&|x\rMSA|AA",
        lambda message: ack(message, of="another"),
        lambda message: ack(message, "OK"),
        lambda _: b"\x0b" + b"x" * (2 << 20) + b"\x1c\r",
    ],
)
def test_what_is_no_acknowledgement_of_the_message_is_no_answer(serve, send, answer):
    receiver = serve(answer)
    with pytest.raises(NoAnswer) as raised:
        send(receiver.port)
    assert "4711" not in str(raised.value)


def test_what_was_not_acknowledged_goes_again_as_the_same_message(serve, send):
    heard = []
    receiver = serve(lambda message: heard.append(message) or (ack(message) if len(heard) > 1 else None))
    with pytest.raises(NoAnswer):
        send(receiver.port)
    assert send(receiver.port).outcome is Outcome.DELIVERED
    assert receiver.messages[0] == receiver.messages[1]


def test_one_that_stays_silent_or_trickles_is_given_up_in_time(send):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(NoAnswer, match="in time"):
            send(silent.getsockname()[1], timeout_seconds=0.3)


def test_nobody_there_is_unreachable(send):
    with pytest.raises(Unreachable, match="ris"):
        send(9)


def test_findings_without_a_patient_go_nowhere(serve, send):
    receiver = serve()
    sent = send(receiver.port, findings(patient={"id": ""}))
    assert (sent.outcome, sent.reason) == (Outcome.REFUSED, NO_PATIENT)
    assert receiver.messages == []


def test_what_the_version_does_not_allow_is_said_without_quoting_it(serve, send):
    receiver = serve()
    nameless = replace(MEASURED[0], concept=Concept("", "", ""))
    sent = send(receiver.port, findings((nameless,)))
    assert (sent.outcome, sent.reason) == (Outcome.REFUSED, "HL7 v2.5.1 cannot say it: ValidationError")
    assert receiver.messages == []


def test_over_tls_the_receiver_is_trusted_by_the_authority_only(serve, send, keys):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "node.pem", keys / "node.key")
    context.load_verify_locations(keys / "authority.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    receiver = serve(context=context)
    own = {"certificate": keys / "scanner.pem", "key": keys / "scanner.key"}
    known = TlsSettings(**own, authority=keys / "authority.pem")
    assert send(receiver.port, None, known, tls=True).outcome is Outcome.DELIVERED
    with pytest.raises(Unreachable, match="TLS"):
        send(receiver.port, None, TlsSettings(**own, authority=keys / "stranger.pem"), tls=True)
    with pytest.raises((NoAnswer, Unreachable)):
        send(receiver.port, None, TlsSettings(authority=keys / "authority.pem"), tls=True)
    assert len(receiver.messages) == 1


def test_asking_says_nothing(serve):
    receiver = serve()
    ris = DestinationSettings(name="ris", kind="hl7", host="127.0.0.1", port=receiver.port)
    assert "takes connections" in Mllp(TlsSettings()).ask(ris)
    assert receiver.messages == []
