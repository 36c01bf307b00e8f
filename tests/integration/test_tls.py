"""TLS both ways: who may speak, and that nobody who stays silent keeps another from speaking."""

import contextlib
import gc
import logging
import os
import socket
import ssl
import subprocess
import time
from datetime import UTC, datetime

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import MRImageStorage, Verification

from dicomnode import events, logs, simulate
from dicomnode.config import DestinationSettings, NodeSettings, ReceiveSettings, ScannerSettings, Settings, TlsSettings
from dicomnode.delivery.carrier import Outcome
from dicomnode.delivery.send import Sender
from dicomnode.errors import ConfigError, Unreachable
from dicomnode.intake.receive import Receiver
from dicomnode.store.spool import Spool
from dicomnode.tls import Certificates, days_left
from tests.integration.keys import make

pytestmark = [
    pytest.mark.peer,
    # pynetdicom leaves the socket of a failed connection to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def sockets_are_collected_here(caplog):
    caplog.set_level(logging.CRITICAL, "pynetdicom")  # as in the node; a kept record would keep its socket
    yield
    gc.collect()


@pytest.fixture(scope="module")
def keys(peer, tmp_path_factory):
    return make(tmp_path_factory.mktemp("keys"), peer("openssl"))


@pytest.fixture(scope="module")
def instance():
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=1)
    return simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)).instances[0]


@pytest.fixture
def said():
    """What happened."""
    return []


@pytest.fixture
def receiver(tmp_path, keys, said):
    started = []

    def begin(seconds=30.0, **tls):
        spool = Spool(tmp_path / "store")
        spool.create()
        files = {"certificate": keys / "node.pem", "key": keys / "node.key", "authority": keys / "authority.pem", **tls}
        settings = Settings(
            node=NodeSettings.model_construct(ae_title="NODE", host="127.0.0.1", port=0),
            scanner=(ScannerSettings(ae_title="MR1"),),
            receive=ReceiveSettings(network_timeout_seconds=seconds),
            tls=TlsSettings(receive=True, **files),
        )
        one = Receiver(settings, spool, lambda _: None, events.to_all(logs.write, said.append))
        one.start()
        started.append(one)
        return one

    yield begin
    for one in started:
        one.stop()


def client(keys, name):
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=keys / "authority.pem")
    if name:
        context.load_cert_chain(keys / f"{name}.pem", keys / f"{name}.key")
    return context


def associate(receiver, context):
    entity = AE("MR1")
    entity.connection_timeout = entity.acse_timeout = 5.0
    entity.add_requested_context(MRImageStorage)
    tls = (context, "127.0.0.1") if context else None
    return entity.associate("127.0.0.1", receiver.port, ae_title="NODE", tls_args=tls)


def stores(receiver, keys, instance):
    association = associate(receiver, client(keys, "scanner"))
    assert association.is_established
    status = association.send_c_store(instance).Status
    association.release()
    return status == 0x0000


def test_a_scanner_with_a_certificate_is_heard(receiver, keys, instance):
    assert stores(receiver(), keys, instance)


@pytest.mark.parametrize("name", [None, "stranger"])
def test_nobody_else_is(receiver, keys, instance, name, said):
    one = receiver()
    assert not associate(one, client(keys, name)).is_established
    assert not associate(one, None).is_established
    assert stores(one, keys, instance)
    assert [event.code for event in said if isinstance(event, events.ConnectionFailed)] == ["tls", "tls"]


def test_whoever_connects_and_goes_has_proven_nothing_wrong(receiver, keys, instance, said):
    one = receiver()
    socket.create_connection(("127.0.0.1", one.port)).close()
    assert stores(one, keys, instance)
    assert {event.code for event in said if isinstance(event, events.ConnectionFailed)} <= {""}


def test_silent_clients_keep_nobody_waiting_and_are_sent_away(receiver, keys, instance):
    one = receiver(seconds=1.0)
    silent = [socket.create_connection(("127.0.0.1", one.port)) for _ in range(60)]
    begin = time.monotonic()
    assert stores(one, keys, instance)
    assert time.monotonic() - begin < 5.0
    for connection in silent:
        connection.settimeout(10.0)
        with contextlib.suppress(ConnectionError):
            assert connection.recv(1) == b""
        connection.close()


def test_garbage_for_a_handshake_disturbs_nobody(receiver, keys, instance):
    one = receiver(seconds=1.0)
    for garbage in (b"\x16\x03\x01\xff\xff", b"\x01\x00\x00\x00\x00\x44" + bytes(68), b"GET / HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", one.port)) as connection:
            connection.sendall(garbage)
            assert stores(one, keys, instance)


def test_a_certificate_that_cannot_be_used_is_named(receiver, keys, tmp_path):
    with pytest.raises(ConfigError, match=r"\[tls\] certificate .*gone\.pem"):
        receiver(certificate=tmp_path / "gone.pem")


def shown(receiver, keys):
    """The certificate that the receiver shows now."""
    plain = socket.create_connection(("127.0.0.1", receiver.port), timeout=5.0)
    with client(keys, "scanner").wrap_socket(plain, server_hostname="127.0.0.1") as spoken:
        return spoken.getpeercert(binary_form=True)


def test_a_renewed_certificate_is_used_without_a_restart_and_a_broken_one_is_not(
    receiver, keys, instance, tmp_path, capsys
):
    own, key = tmp_path / "own.pem", tmp_path / "own.key"

    def put(name):
        for path, suffix in ((own, ".pem"), (key, ".key")):
            path.write_bytes((keys / f"{name}{suffix}").read_bytes())
            os.utime(path, ns=(time.time_ns(), time.time_ns()))

    put("node")
    one = receiver(certificate=own, key=key)
    first = shown(one, keys)
    put("scanner")
    renewed = shown(one, keys)
    assert renewed != first
    own.write_text("half of a certif")
    assert shown(one, keys) == renewed
    assert stores(one, keys, instance)
    said = capsys.readouterr().out
    assert "certificate_renewed" in said
    assert "certificate_not_taken" in said


@pytest.mark.parametrize("of", ["the node", "the page"])
@pytest.mark.parametrize(("days", "events"), [(40, 0), (20, 1)])
def test_a_certificate_that_ends_within_a_month_is_said_once_a_day(peer, tmp_path, days, events, of):
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=node"]
    files = ["-keyout", str(tmp_path / "own.key"), "-out", str(tmp_path / "own.pem"), "-days", str(days)]
    subprocess.run([peer("openssl"), "req", "-x509", *new, *files], check=True, capture_output=True)
    said = []
    own = TlsSettings(certificate=tmp_path / "own.pem", key=tmp_path / "own.key") if of == "the node" else TlsSettings()
    certificates = Certificates(own, said.append, also=[tmp_path / "own.pem"] if of == "the page" else [])
    for hour in range(20):
        certificates.remind(hour * 3600.0)
    assert [one.days for one in said] == [days - 1] * events or [one.days for one in said] == [days] * events
    assert days_left(tmp_path / "own.key") is None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_only_what_bcp_195_recommends_is_spoken(receiver, keys, version):
    one, context = receiver(), client(keys, "scanner")
    context.minimum_version = context.maximum_version = version
    plain = socket.create_connection(("127.0.0.1", one.port), timeout=5.0)
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as spoken:
        name = spoken.cipher()[0]
    assert "GCM" in name or "CHACHA20" in name
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA256")  # no authenticated encryption
    with socket.create_connection(("127.0.0.1", one.port), timeout=5.0) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


@pytest.fixture
def pacs(keys):
    servers = []

    def begin(name):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=keys / "authority.pem")
        context.load_cert_chain(keys / f"{name}.pem", keys / f"{name}.key")
        context.verify_mode = ssl.CERT_REQUIRED
        entity = AE("PACS")
        entity.add_supported_context(MRImageStorage)
        entity.add_supported_context(Verification)
        stored = []

        def on_store(event):
            stored.append(event.request.AffectedSOPInstanceUID)
            return 0x0000

        server = entity.start_server(
            ("127.0.0.1", 0), block=False, ssl_context=context, evt_handlers=[(evt.EVT_C_STORE, on_store)]
        )
        servers.append(server)
        settings = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "timeout_seconds": 3.0, "tls": True}
        return DestinationSettings(port=server.server_address[1], **settings), stored

    yield begin
    for one in servers:
        one.shutdown()


@pytest.fixture
def file(instance, tmp_path):
    instance.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    return tmp_path / "one.dcm"


def send(keys, destination, file, *, authority="authority", name="node"):
    certificates = {"certificate": keys / f"{name}.pem", "key": keys / f"{name}.key"} if name else {}
    tls = TlsSettings(authority=keys / f"{authority}.pem", **certificates)
    return [one.outcome for one in Sender("NODE", tls).send(destination, [file])]


def test_a_result_goes_to_a_pacs_that_is_known(pacs, keys, file):
    destination, stored = pacs("node")
    assert send(keys, destination, file) == [Outcome.DELIVERED]
    assert len(stored) == 1


@pytest.mark.parametrize(
    ("server", "how"),
    [
        ("stranger", {}),  # not signed by the authority
        ("elsewhere", {}),  # another host's certificate
        ("node", {"authority": "stranger"}),
        ("node", {"name": None}),  # the PACS wants to know who calls
    ],
)
def test_no_result_goes_to_anyone_else(pacs, keys, file, server, how):
    destination, stored = pacs(server)
    with pytest.raises(Unreachable):
        send(keys, destination, file, **how)
    assert stored == []
