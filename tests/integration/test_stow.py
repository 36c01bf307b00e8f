"""STOW-RS to services that answer in every way, over real HTTP."""

import contextlib
import email
import socket
import ssl
import threading
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pydicom
import pytest

from dicomnode import simulate
from dicomnode.config import DestinationSettings, TlsSettings
from dicomnode.delivery.carrier import Outcome, Sent
from dicomnode.delivery.stow import Stow, batches
from dicomnode.delivery.web import Web
from dicomnode.errors import Busy, NoAnswer, NotAllowed, NotOffered, Unreachable
from tests.integration.keys import make
from tests.integration.web_service import WebService

JSON = {"Content-Type": "application/dicom+json"}
NAME = "DOE^JANE"  # what a service may repeat in its words


@pytest.fixture(scope="module")
def keys(peer, tmp_path_factory):
    return make(tmp_path_factory.mktemp("keys"), peer("openssl"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    scan = simulate.make(simulate.SeriesPlan(rows=48, columns=64, slices=1), datetime(2026, 1, 1, tzinfo=UTC))
    return sorted(simulate.write(scan, tmp_path_factory.mktemp("scan")))[:4]


@pytest.fixture
def serve():
    running = []

    def begin(answer, context=None, **more):
        running.append(WebService(answer, context, **more))
        return running[-1]

    yield begin
    for one in running:
        one.close()


def pacs(url, **more):
    return DestinationSettings(name="cloud", kind="dicomweb", url=url, **{"timeout_seconds": 5.0, **more})


def send(url, files, web=None, **more):
    return list(Stow(web or Web(TlsSettings())).send(pacs(url, **more), files))


def uid(file):
    return str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID)


def parts(asked):
    head = f"Content-Type: {asked.headers['Content-Type']}\r\n\r\n".encode()
    return [part.get_payload(decode=True) for part in email.message_from_bytes(head + asked.body).get_payload()]


def module(stored=(), failed=(), warned=()):
    """A Store Instances Response Module in JSON."""

    def item(uid, tag=None, code=None):
        reason = {tag: {"vr": "US", "Value": [code]}} if tag else {}
        return {"00081155": {"vr": "UI", "Value": [uid]}, **reason}

    taken = [item(one) for one in stored] + [item(one, "00081196", code) for one, code in warned]
    refused = [item(one, "00081197", code) for one, code in failed]
    found = {"00081199": taken, "00081198": refused}
    return {tag: {"vr": "SQ", "Value": items} for tag, items in found.items() if items}


def all_stored(files):
    return lambda _: (200, JSON, module([uid(file) for file in files]))


def test_every_object_arrives_byte_by_byte_in_one_request(serve, files):
    service = serve(all_stored(files))
    assert {one.outcome for one in send(service.url + "/dicom-web/", files)} == {Outcome.DELIVERED}
    (asked,) = service.asked
    assert (asked.method, asked.path) == ("POST", "/dicom-web/studies")
    assert [len(part) for part in parts(asked)] == [file.stat().st_size for file in files]
    assert asked.body.count(files[0].read_bytes()) == 1
    assert 'type="application/dicom"' in asked.headers["Content-Type"]


def test_requests_are_bounded_and_an_object_that_is_larger_goes_alone(tmp_path):
    sizes = {"a": 40, "b": 50, "c": 20, "d": 300, "e": 1}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(bytes(size))
    found = [[file.name for file in batch] for batch in batches([tmp_path / name for name in sizes], 100)]
    assert found == [["a", "b"], ["c"], ["d"], ["e"]]


def test_a_result_is_never_in_memory_as_a_whole(serve, files, tmp_path):
    large = tmp_path / "large.dcm"
    large.write_bytes(files[0].read_bytes())
    with large.open("r+b") as file:
        file.truncate(80_000_000)
    service = serve(lambda _: (200, JSON, module([uid(files[0])])), keeps=False)
    tracemalloc.start()
    try:
        (sent,) = send(service.url, [large])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sent.outcome is Outcome.DELIVERED
    assert peak < 8_000_000


def test_each_instance_is_judged_by_what_is_said_of_it(serve, files):
    one, two, three, four = map(uid, files)
    answer = module([one], failed=[(three, 0xA700)], warned=[(two, 0xB000)])
    service = serve(lambda _: (202, JSON, answer))
    assert send(service.url, files) == [
        Sent(one, Outcome.DELIVERED),
        Sent(two, Outcome.DELIVERED, "with warning reason 0xB000"),
        Sent(three, Outcome.REFUSED, "failure reason 0xA700"),
        Sent(four, Outcome.REFUSED, "HTTP 202 that does not name it"),
    ]


@pytest.mark.parametrize("code", [0x0111, 45070])
def test_what_a_service_has_already_is_delivered(serve, files, code):
    one, two = map(uid, files[:2])
    service = serve(lambda _: (409, JSON, module(failed=[(one, code), (two, 0x0110)])))
    found = send(service.url, files[:2])
    assert [one.outcome for one in found] == [Outcome.DELIVERED, Outcome.REFUSED]
    assert "was there already" in found[0].reason


def test_a_conflict_that_says_nothing_is_no_delivery(serve, files):
    service = serve(lambda _: (409, {}, b""))
    assert {one.outcome for one in send(service.url, files)} == {Outcome.REFUSED}


def test_success_without_a_body_means_that_all_are_stored(serve, files):
    service = serve(lambda _: (200, {}, b""))
    assert {one.outcome for one in send(service.url, files)} == {Outcome.DELIVERED}


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"[1]", b'{"00081199": 7}', b'{"00081199": {"Value": [3]}}'])
def test_an_answer_that_is_none_delivers_nothing(serve, files, body):
    service = serve(lambda _: (202, JSON, body))
    assert {one.outcome for one in send(service.url, files)} == {Outcome.REFUSED}


@pytest.mark.parametrize(("status", "said"), [(400, "HTTP 400"), (413, "request_mb"), (500, "HTTP 500"), (301, "301")])
def test_a_batch_that_is_refused_does_not_hold_back_the_next(serve, files, status, said):
    size = files[0].stat().st_size

    def answer(asked):
        if len(service.asked) == 1:
            return status, {"Location": "/elsewhere"}, NAME.encode()
        return 200, JSON, module([uid(files[1])])

    service = serve(answer)
    stow, destination = Stow(Web(TlsSettings())), pacs(service.url)
    found = list(stow.send(destination.model_copy(update={"request_mb": size / 1e6}), files[:2]))
    assert [one.outcome for one in found] == [Outcome.REFUSED, Outcome.DELIVERED]
    assert said in found[0].reason
    assert NAME not in found[0].reason


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_are_not_taken_are_said(serve, files, status):
    service = serve(lambda _: (status, {}, NAME.encode()))
    with pytest.raises(NotAllowed, match=f"credentials: HTTP {status}$"):
        send(service.url, files)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_left_alone_for_as_long_as_it_asks(serve, files, status):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    for value, seconds in (("120", 120.0), (later, 90.0), ("soon", 0.0), ("", 0.0)):
        service = serve(lambda _, value=value: (status, {"Retry-After": value}, b""))
        with pytest.raises(Busy) as raised:
            send(service.url, files)
        assert raised.value.seconds == pytest.approx(seconds, abs=3.0)


def test_silence_is_no_answer_and_nobody_is_unreachable(serve, files):
    service = serve(lambda _: None)
    with pytest.raises(NoAnswer):
        send(service.url, files)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(NoAnswer):
            send(f"http://127.0.0.1:{silent.getsockname()[1]}", files, timeout_seconds=0.3)
    with pytest.raises(Unreachable):
        send("http://127.0.0.1:9", files)


@contextlib.contextmanager
def endless(pauses):
    """A service whose answer has no end."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
                    while True:
                        connection.sendall(b"x" * (1 << 4 if pauses else 1 << 20))
                        time.sleep(pauses)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("pauses", [0.0, 0.05])
def test_an_answer_without_end_is_none(files, pauses):
    with endless(pauses) as url, pytest.raises(NoAnswer, match="end of its answer"):
        send(url, files, timeout_seconds=0.5 if pauses else 30.0)


def test_a_token_is_read_anew_for_each_request(serve, files, tmp_path):
    service, token = serve(all_stored(files)), tmp_path / "token"
    for secret in ("first", "second"):
        token.write_text(f"{secret}\n")
        send(service.url, files, token_file=token)
    assert [asked.headers["Authorization"] for asked in service.asked] == ["Bearer first", "Bearer second"]


def test_a_secret_that_is_not_there_names_its_file(serve, files, tmp_path):
    service = serve(all_stored(files))
    with pytest.raises(NotAllowed, match="none"):
        send(service.url, files, token_file=tmp_path / "none")
    (tmp_path / "two").write_text("a secret\nand another")
    with pytest.raises(NotAllowed) as raised:
        send(service.url, files, token_file=tmp_path / "two")
    assert "another" not in str(raised.value)
    assert service.asked == []


def test_basic_authentication(serve, files, tmp_path):
    service, password = serve(all_stored(files)), tmp_path / "password"
    password.write_text("sesame")
    send(service.url, files, user="node", password_file=password)
    assert service.asked[0].headers["Authorization"] == "Basic bm9kZTpzZXNhbWU="


@pytest.fixture
def granting(serve, files, tmp_path):
    """A service that wants tokens and gives them; its tokens live for 100 s."""
    (tmp_path / "secret").write_text("sesame")
    revoked = set()

    def answer(asked):
        if asked.path == "/token":
            number = sum(one.path == "/token" for one in service.asked)
            return 200, {}, {"access_token": f"token{number}", "token_type": "Bearer", "expires_in": 100}
        token = asked.headers.get("Authorization", "")
        if not token.startswith("Bearer token") or token in revoked:
            return 401, {}, b""
        return 200, JSON, module([uid(file) for file in files])

    service = serve(answer)
    service.revoked = revoked
    service.keys = {
        "token_url": f"{service.url}/token",
        "client_id": "the node",
        "client_secret_file": tmp_path / "secret",
        "scope": "store",
    }
    return service


def test_a_token_is_asked_for_once_and_renewed_before_it_ends(granting, files):
    now = [1000.0]
    web = Web(TlsSettings(), clock=lambda: now[0])
    for later in (0.0, 80.0, 12.0):
        now[0] += later
        assert {one.outcome for one in send(granting.url, files, web, **granting.keys)} == {Outcome.DELIVERED}
    assert [asked.path for asked in granting.asked] == ["/token", "/studies", "/studies", "/token", "/studies"]
    first = granting.asked[0]
    assert first.body == b"grant_type=client_credentials&scope=store"
    assert first.headers["Authorization"] == "Basic dGhlJTIwbm9kZTpzZXNhbWU="


def test_a_token_that_is_no_longer_taken_is_renewed_and_the_objects_go_again(granting, files):
    web = Web(TlsSettings())
    send(granting.url, files, web, **granting.keys)
    granting.revoked.add("Bearer token1")
    assert {one.outcome for one in send(granting.url, files, web, **granting.keys)} == {Outcome.DELIVERED}
    assert parts(granting.asked[-1]) == parts(granting.asked[1])


def test_a_destination_that_was_changed_asks_for_a_token_of_its_own(granting, files):
    web = Web(TlsSettings())
    send(granting.url, files, web, **granting.keys)
    send(granting.url, files, web, **{**granting.keys, "scope": "other"})
    tokens = [asked.body for asked in granting.asked if asked.path == "/token"]
    assert tokens == [b"grant_type=client_credentials&scope=store", b"grant_type=client_credentials&scope=other"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((400, {}, {"error": "invalid_client"}), r"HTTP 400 \(invalid_client\)"),
        ((400, {}, {"error": f"{NAME} sesame"}), r"HTTP 400$"),
        ((200, {}, {"token": "x"}), "HTTP 200"),
        ((200, {}, b"<html>"), "HTTP 200"),
    ],
)
def test_no_token_is_said_and_nothing_is_sent(serve, files, tmp_path, answer, said):
    (tmp_path / "secret").write_text("sesame")
    service = serve(lambda _: answer)
    oauth = {"token_url": f"{service.url}/token", "client_id": "n", "client_secret_file": tmp_path / "secret"}
    with pytest.raises(NotAllowed, match=said):
        send(service.url, files, **oauth)
    assert [asked.path for asked in service.asked] == ["/token"]


def over_tls(keys, *, asks=False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "node.pem", keys / "node.key")
    if asks:
        context.load_verify_locations(keys / "authority.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_a_service_is_trusted_by_the_authority_of_the_configuration_only(serve, files, keys):
    service = serve(all_stored(files), over_tls(keys))
    known = Web(TlsSettings(authority=keys / "authority.pem"))
    assert {one.outcome for one in send(service.url, files, known)} == {Outcome.DELIVERED}
    for web in (Web(TlsSettings()), Web(TlsSettings(authority=keys / "stranger.pem"))):
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            send(service.url, files, web)
    assert len(service.asked) == 1


def test_the_node_shows_its_certificate_where_one_is_wanted(serve, files, keys):
    service = serve(all_stored(files), over_tls(keys, asks=True))
    shown = {"certificate": keys / "scanner.pem", "key": keys / "scanner.key", "authority": keys / "authority.pem"}
    assert {one.outcome for one in send(service.url, files, Web(TlsSettings(**shown)))} == {Outcome.DELIVERED}
    with pytest.raises((Unreachable, NoAnswer)):
        send(service.url, files, Web(TlsSettings(authority=keys / "authority.pem")))


def test_other_certificates_are_used_from_the_next_request_on(serve, files, keys):
    service = serve(all_stored(files), over_tls(keys))
    web = Web(TlsSettings(authority=keys / "stranger.pem"))
    stow = Stow(web)
    with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
        list(stow.send(pacs(service.url), files))
    stow.use(TlsSettings(authority=keys / "authority.pem"))
    assert {one.outcome for one in stow.send(pacs(service.url), files)} == {Outcome.DELIVERED}


def test_asking_names_no_patient(serve):
    service = serve(lambda _: (204, {}, b""))
    assert "QIDO-RS" in Stow(Web(TlsSettings())).ask(pacs(service.url))
    assert service.asked[0].path == "/studies?StudyInstanceUID=2.25.1&limit=1"
    with pytest.raises(NotOffered, match="HTTP 404"):
        Stow(Web(TlsSettings())).ask(pacs(serve(lambda _: (404, {}, b"")).url))
