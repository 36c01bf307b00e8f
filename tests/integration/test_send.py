"""The storage SCU against peers that take, refuse, fall silent, hang up or are not there."""

import gc
import logging
import socket
import struct
import subprocess
import threading
import time
from datetime import UTC, datetime

import numpy as np
import pydicom
import pydicom.data
import pytest
import structlog
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, evt
from pynetdicom.acse import ACSE
from pynetdicom.sop_class import MRImageStorage, SecondaryCaptureImageStorage

from dicomnode import simulate
from dicomnode.config import DestinationSettings, TlsSettings
from dicomnode.delivery.carrier import Outcome
from dicomnode.delivery.send import Sender
from dicomnode.errors import DeliveryError, NoAnswer, Unreachable

# pynetdicom leaves the socket of a failed connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def sockets_are_collected_here(caplog):
    caplog.set_level(logging.CRITICAL, "pynetdicom")  # as in the node; a kept record would keep its socket
    yield
    gc.collect()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Four MR images and, third, a Secondary Capture."""
    folder = tmp_path_factory.mktemp("objects")
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=1)
    made = simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)).instances[:5]
    paths = []
    for number, one in enumerate(made):
        if number == 2:
            one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        paths.append(folder / f"{number}.dcm")
        one.save_as(paths[-1], enforce_file_format=True)
    return paths


def uid(file):
    return str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID)


class Pacs:
    """A PACS made with pynetdicom; ``answer(number of the object, its UID)`` gives the status."""

    def __init__(self, classes=(MRImageStorage, SecondaryCaptureImageStorage), answer=None, syntax=None, context=None):
        self.stored = []
        self.datasets = []
        self.files = []
        self.asked = 0
        self.answer = answer or (lambda *_: 0x0000)
        entity = AE("PACS")
        entity.add_supported_context("1.2.840.10008.1.1")
        for sop_class in classes:
            entity.add_supported_context(sop_class, *([syntax] if syntax else []))
        handlers = [(evt.EVT_C_STORE, self.on_store)]
        self.server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=context)
        self.port = self.server.server_address[1]

    def on_store(self, event):
        uid = str(event.request.AffectedSOPInstanceUID)
        self.asked += 1
        status = self.answer(self.asked, uid)
        if status == "abort":
            event.assoc.abort()
            return 0x0000
        if status == 0x0000:
            self.stored.append(uid)
            self.datasets.append(event.dataset)
            received = event.dataset
            received.file_meta = event.file_meta
            self.files.append(received)
        return status


@pytest.fixture
def pacs():
    servers = []

    def begin(**how):
        servers.append(Pacs(**how))
        return servers[-1]

    yield begin
    for one in servers:
        one.server.shutdown()


@pytest.fixture
def rude():
    """A server that treats each connection with a function of its own."""
    open_things = []

    def begin(treat):
        listener = socket.create_server(("127.0.0.1", 0))
        open_things.append(listener)

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                open_things.append(connection)
                threading.Thread(target=treat, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        return listener.getsockname()[1]

    yield begin
    for one in open_things:
        one.close()


def to(port, **more):
    settings = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "timeout_seconds": 1.0, **more}
    return DestinationSettings(port=port, **settings)


def sender(**tls):
    return Sender("NODE", TlsSettings(**tls))


def outcomes(destination, files, **tls):
    return [one.outcome for one in sender(**tls).send(destination, files)]


def test_every_object_is_stored_on_one_association(pacs, files):
    server = pacs()
    assert outcomes(to(server.port), files) == [Outcome.DELIVERED] * 5
    assert server.stored == [uid(file) for file in files]


def test_a_pacs_that_only_speaks_implicit_gets_the_same_values(pacs, files):
    server = pacs(syntax=ImplicitVRLittleEndian)
    assert outcomes(to(server.port), files[:1]) == [Outcome.DELIVERED]
    assert server.datasets[0].PixelData == pydicom.dcmread(files[0]).PixelData


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A colour page of two hues and noise."""
    image = pydicom.dcmread(pydicom.data.get_testdata_file("SC_rgb_rle.dcm"))
    image.decompress()
    image.PlanarConfiguration = 0
    path = tmp_path_factory.mktemp("page") / "page.dcm"
    image.save_as(path, enforce_file_format=True)
    return path


SYNTAXES = {"rle": RLELossless, "jpeg-ls": JPEGLSLossless, "jpeg-2000": JPEG2000Lossless}


@pytest.mark.parametrize("wanted", SYNTAXES)
def test_pages_go_losslessly_compressed_where_the_destination_takes_that(pacs, page, wanted):
    server = pacs(syntax=[SYNTAXES[wanted], ExplicitVRLittleEndian])
    assert outcomes(to(server.port, compress_pages=wanted), [page]) == [Outcome.DELIVERED]
    [received] = server.files
    assert received.file_meta.TransferSyntaxUID == SYNTAXES[wanted]
    assert server.stored == [uid(page)]
    np.testing.assert_array_equal(received.pixel_array, pydicom.dcmread(page).pixel_array)


def test_pages_go_as_they_are_where_the_destination_does_not_and_the_log_says_so(pacs, page, caplog):
    server = pacs()
    structlog.configure(logger_factory=structlog.stdlib.LoggerFactory())
    with caplog.at_level(logging.WARNING, "dicomnode.send"):
        assert outcomes(to(server.port, compress_pages="jpeg-ls"), [page]) == [Outcome.DELIVERED]
    structlog.reset_defaults()
    assert server.files[0].file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert "pages_go_uncompressed" in caplog.text


def test_only_pages_are_compressed(pacs, files):
    server = pacs(syntax=[RLELossless, ExplicitVRLittleEndian])
    assert outcomes(to(server.port, compress_pages="rle"), files) == [Outcome.DELIVERED] * 5
    assert {one.file_meta.TransferSyntaxUID for one in server.files} == {ExplicitVRLittleEndian}


def test_a_refused_class_does_not_hold_back_the_rest(pacs, files):
    server = pacs(classes=(MRImageStorage,))
    said = list(sender().send(to(server.port), files))
    assert [one.outcome for one in said].count(Outcome.DELIVERED) == 4
    assert said[2].outcome is Outcome.REFUSED
    assert "Secondary Capture" in said[2].reason
    assert len(server.stored) == 4


def test_a_refused_object_does_not_hold_back_the_rest(pacs, files):
    server = pacs(answer=lambda number, _: 0xA900 if number == 2 else 0x0000)
    said = list(sender().send(to(server.port), files))
    assert [one.outcome for one in said].count(Outcome.DELIVERED) == 4
    assert said[1].reason == "status 0xA900"


def test_a_pacs_short_of_space_is_asked_again_later(pacs, files):
    server = pacs(answer=lambda number, _: 0xA700 if number == 2 else 0x0000)
    said = outcomes(to(server.port), files)
    assert said == [Outcome.DELIVERED, Outcome.REFUSED, *[Outcome.DELIVERED] * 3]


@pytest.mark.parametrize("status", [0xB000, 0x0111])
def test_a_warning_and_an_instance_that_is_there_already_are_deliveries(pacs, files, status):
    assert outcomes(to(pacs(answer=lambda *_: status).port), files[:1]) == [Outcome.DELIVERED]


def test_a_pacs_that_hangs_up_midway_keeps_what_it_has(pacs, files):
    server = pacs(answer=lambda number, _: "abort" if number == 3 else 0x0000)
    got = []
    with pytest.raises(NoAnswer):
        got.extend(sender().send(to(server.port), files))
    assert [one.outcome for one in got] == [Outcome.DELIVERED, Outcome.DELIVERED]


def test_nobody_there(files):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(Unreachable, match=rf"PACS@127.0.0.1:{port}\) cannot be reached"):
        outcomes(to(port), files)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "256.1.1.1"])
def test_a_host_that_does_not_exist(files, host):
    with pytest.raises(Unreachable):
        outcomes(to(104, host=host), files)


def in_time(action, seconds):
    begin = time.monotonic()
    with pytest.raises(DeliveryError) as caught:
        action()
    assert time.monotonic() - begin < seconds
    return str(caught.value)


def test_a_peer_that_accepts_the_connection_and_says_nothing(rude, files):
    port = rude(lambda connection: connection.recv(1) and time.sleep(0))
    assert "aborted the association" in in_time(lambda: outcomes(to(port), files), 10.0)


@pytest.mark.parametrize("late", [0.0, 0.5], ids=["waited for", "before pynetdicom waits"])
def test_a_rejection_is_told_as_one_however_quickly_it_comes(rude, files, monkeypatch, late):
    """On a busy machine the answer, and the end of the connection, may be there before anybody asks for them."""
    ask = ACSE.send_request

    def ask_and_be_held_up(acse):
        ask(acse)
        time.sleep(late)

    monkeypatch.setattr(ACSE, "send_request", ask_and_be_held_up)
    unknown_title = struct.pack(">BBIBBBB", 3, 0, 4, 0, 1, 1, 3)  # PS3.8 9.3.4
    port = rude(lambda connection: connection.recv(4096) and connection.sendall(unknown_title))
    said = in_time(lambda: outcomes(to(port), files), 10.0)
    assert "rejected the association: Calling AE title not recognised" in said


def test_a_pacs_that_never_answers_is_given_up_in_time(pacs, files):
    gate = threading.Event()
    server = pacs(answer=lambda *_: gate.wait(20) and 0x0000)
    said = in_time(lambda: outcomes(to(server.port), files), 10.0)
    gate.set()
    assert "did not answer within 1 s" in said


def test_a_pacs_that_stops_reading_is_given_up_in_time(rude, tmp_path, files):
    """Its full receive window blocks the sending thread, not only the waiting one."""
    big = pydicom.dcmread(files[0])
    big.Rows, big.Columns = 4096, 4096
    big.PixelData = bytes(2 * 4096 * 4096)
    big.save_as(tmp_path / "big.dcm", enforce_file_format=True)
    port = rude(accept_and_never_read)
    in_time(lambda: outcomes(to(port), [tmp_path / "big.dcm"]), 15.0)


def accept_and_never_read(connection):
    """Answer the association request, accepting its first context, and read no more."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = connection.recv(6)
    request = b""
    while len(request) < int.from_bytes(head[2:], "big"):
        request += connection.recv(65536)
    syntax = b"1.2.840.10008.1.2.1\0"
    application = b"\x10\0\0\x15" + b"1.2.840.10008.3.1.1.1"
    context = b"\x21\0" + (8 + len(syntax)).to_bytes(2, "big") + b"\x01\0\0\0" + b"\x40\0"
    context += len(syntax).to_bytes(2, "big") + syntax
    length = b"\x51\0\0\x04\0\0\0\0"
    implementation = b"\x52\0\0\x07" + b"1.2.3.4"
    user = b"\x50\0" + (len(length) + len(implementation)).to_bytes(2, "big") + length + implementation
    body = b"\0\x01\0\0" + request[4:36] + bytes(32) + application + context + user
    connection.sendall(b"\x02\0" + len(body).to_bytes(4, "big") + body)


def test_an_answer_that_was_lost_is_unknown_and_the_same_uid_is_sent_again(pacs, files, monkeypatch):
    """pynetdicom's reactor can take the response (3 in 12,000): the status comes back empty."""
    from pynetdicom.association import Association

    server = pacs()
    monkeypatch.setattr(Association, "send_c_store", lambda *_: pydicom.Dataset())
    with pytest.raises(NoAnswer):
        outcomes(to(server.port), files[:1])
    monkeypatch.undo()
    assert outcomes(to(server.port), files[:1]) == [Outcome.DELIVERED]
    assert server.stored == [uid(files[0])]


def test_an_object_that_is_gone_is_a_fault_with_a_name(pacs, files, tmp_path):
    with pytest.raises((DeliveryError, FileNotFoundError)):
        outcomes(to(pacs().port), [tmp_path / "gone.dcm"])


def test_nothing_is_left_open(pacs, files):
    server = pacs()
    outcomes(to(server.port), files)
    end = time.monotonic() + 20.0  # a thread may still be on its way out on a busy machine
    while server.server.active_associations or any("Requestor" in one.name for one in threading.enumerate()):
        assert time.monotonic() < end, [one.name for one in threading.enumerate()]
        time.sleep(0.02)


def test_check_says_what_would_be_refused(pacs):
    server = pacs(classes=(MRImageStorage,))
    sender().echo(to(server.port))
    answers = sender().negotiate(to(server.port), [MRImageStorage, SecondaryCaptureImageStorage])
    assert [one.accepted for one in answers] == [True, False]


def test_check_of_a_pacs_that_refuses_everything(pacs):
    server = pacs(classes=(MRImageStorage,))
    (answer,) = sender().negotiate(to(server.port), [SecondaryCaptureImageStorage])
    assert not answer.accepted


@pytest.mark.peer
def test_dcmtk_takes_every_object(peer, files, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [peer("storescp"), "-od", str(tmp_path), "-aet", "PACS", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10.0
        while True:
            try:
                said = outcomes(to(port, timeout_seconds=10.0), files)
                break
            except Unreachable:
                assert time.monotonic() < end
                time.sleep(0.05)
    finally:
        process.terminate()
        process.wait()
    assert said == [Outcome.DELIVERED] * 5
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("fault", ["missing.pem", "no certificate"])
def test_certificates_that_cannot_be_used_are_named(pacs, files, tmp_path, fault):
    path = tmp_path / "authority.pem"
    if fault != "missing.pem":
        path.write_text(fault)
    with pytest.raises(DeliveryError, match=r"\[tls\].*authority"):
        outcomes(to(pacs().port, tls=True), files, authority=path)


def test_a_peer_that_speaks_no_tls_is_unreachable_in_time(pacs, files):
    in_time(lambda: outcomes(to(pacs().port, tls=True), files), 10.0)


def test_a_peer_that_is_silent_in_the_handshake_is_unreachable_in_time(rude, files):
    port = rude(lambda connection: None)
    in_time(lambda: outcomes(to(port, tls=True), files), 10.0)
