"""The storage SCP against real associations, and against peers that misbehave."""

import contextlib
import copy
import errno
import io
import json
import socket
import time
from datetime import UTC, datetime

import pydicom
import pytest
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_MOVE
from pynetdicom.sop_class import MRImageStorage, Verification

from dicomnode import simulate
from dicomnode.config import NodeSettings, ReceiveSettings, ScannerSettings, Settings
from dicomnode.errors import NodeError
from dicomnode.intake.receive import Receiver
from dicomnode.store.spool import Spool
from tests.integration.dimse import HEAR_REJECTION, ask

DEADLINE = 10.0


def wait_for(condition, deadline=DEADLINE):
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def instances():
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=1)
    return simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)).instances


@pytest.fixture
def arrivals():
    return []


@pytest.fixture
def start(tmp_path, arrivals):
    started = []

    def begin(minimum_free_mb=0, address=None, scanners=("MR1",), *, shared=False, **receive):
        spool = Spool(tmp_path / "store", minimum_free_mb, shared=shared)
        spool.create()
        settings = Settings(
            node=NodeSettings.model_construct(ae_title="NODE", host="127.0.0.1", port=0),
            scanner=tuple(ScannerSettings(ae_title=title, address=address) for title in scanners),
            receive=ReceiveSettings(**receive),
        )
        receiver = Receiver(settings, spool, arrivals.append)
        receiver.start()
        started.append(receiver)
        return receiver, spool

    yield begin
    for receiver in started:
        receiver.stop()


def associate(receiver, calling="MR1", called="NODE"):
    entity = AE(calling)
    entity.add_requested_context(MRImageStorage)
    entity.add_requested_context(Verification)
    return entity.associate("127.0.0.1", receiver.port, ae_title=called, evt_handlers=[HEAR_REJECTION])


def test_silent_peers_at_the_door_do_not_keep_the_receiver_from_turning(start):
    receiver, _ = start()
    peers = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(3)]
    before = time.monotonic()
    deadline = before + 10.0
    while receiver.turned <= before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for peer in peers:
        peer.close()


def is_heard(receiver, instance, calling="MR1"):
    begin = time.monotonic()
    association = associate(receiver, calling)
    if not association.is_established:
        return False
    status = association.send_c_store(instance).Status
    association.release()
    return status == 0x0000 and time.monotonic() - begin < 5.0


def test_an_instance_is_durable_when_success_is_answered(start, instances, arrivals):
    receiver, spool = start()
    association = associate(receiver)
    assert association.send_c_store(instances[0]).Status == 0x0000
    path = spool.incoming / instances[0].StudyInstanceUID / f"{instances[0].SOPInstanceUID}.dcm"
    assert path.exists()
    assert arrivals == [instances[0].StudyInstanceUID]
    association.release()


def test_the_bytes_are_kept_as_they_were_sent(start, instances):
    receiver, spool = start()
    association = associate(receiver)
    association.send_c_store(instances[0])
    association.release()
    kept = pydicom.dcmread(next(spool.incoming.rglob("*.dcm")))
    assert kept.PixelData == instances[0].PixelData
    assert {e.tag for e in kept} == {e.tag for e in instances[0]}
    assert kept.file_meta.SendingApplicationEntityTitle == "MR1"


def test_a_released_association_leaves_its_mark(start, instances):
    receiver, spool = start()
    study = instances[0].StudyInstanceUID
    association = associate(receiver)
    association.send_c_store(instances[0])
    assert receiver.bringing(study) == {instances[0].SOPInstanceUID}
    association.release()
    wait_for(lambda: list(spool.incoming.rglob("released-*.json")))
    assert not receiver.bringing(study)


def test_an_association_that_breaks_off_leaves_no_mark(start, instances):
    receiver, spool = start()
    association = associate(receiver)
    association.send_c_store(instances[0])
    association.abort()
    wait_for(lambda: not receiver.bringing(instances[0].StudyInstanceUID))
    assert not list(spool.incoming.rglob("released-*.json"))


def test_an_association_is_open_until_its_end_is_written_down(start, instances, monkeypatch):
    """What is no longer open and left no word counts as broken off."""
    receiver, spool = start()
    study, write, open_then = instances[0].StudyInstanceUID, spool.release, []

    def release(*told):
        open_then.append(receiver.bringing(study))
        write(*told)

    monkeypatch.setattr(spool, "release", release)
    association = associate(receiver)
    association.send_c_store(instances[0])
    association.release()
    wait_for(lambda: not receiver.bringing(study))
    assert open_then == [{instances[0].SOPInstanceUID}]


def test_whatever_ends_an_association_it_leaves_no_word_that_it_is_open(start, instances, arrivals, monkeypatch):
    """Other machines would wait for its end, and its study with them, for as long as this one lives."""
    receiver, spool = start(shared=True)
    study = instances[0].StudyInstanceUID

    def stale(*_):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(spool, "set_aside", stale)
    association = associate(receiver)
    association.send_c_store(instances[0])
    assert list(spool.study_folder(study).glob("open-*"))
    del arrivals[:]
    nameless = copy.deepcopy(instances[1])
    nameless.StudyInstanceUID = ""
    association.send_c_store(nameless)
    wait_for(lambda: not receiver.bringing(study))
    wait_for(lambda: not list(spool.study_folder(study).glob("open-*")))
    assert not list(spool.study_folder(study).glob("released-*"))
    wait_for(lambda: arrivals == [study])


def test_an_unknown_scanner_is_rejected_and_the_log_says_who_and_why(start, capsys):
    receiver, _ = start()
    association = associate(receiver, calling="STRANGER")
    assert association.is_rejected
    said = []

    def heard():
        said.append(capsys.readouterr().out)
        return "STRANGER" in "".join(said) and "not in [[scanner]]" in "".join(said)

    wait_for(heard)


def test_a_known_title_from_another_address_is_rejected(start):
    receiver, _ = start(address="192.0.2.1")
    assert associate(receiver).is_rejected


def test_a_known_title_from_its_address_is_taken(start):
    receiver, _ = start(address="127.0.0.1")
    association = associate(receiver)
    assert association.send_c_echo().Status == 0x0000
    association.release()


def test_a_low_disk_leaves_the_object_with_its_sender(start, instances):
    receiver, spool = start(minimum_free_mb=10**9)
    association = associate(receiver)
    assert association.send_c_store(instances[0]).Status == 0xA700
    association.release()
    assert not list(spool.incoming.rglob("*.dcm"))


def test_an_object_without_study_is_refused_and_kept_with_its_reason(start, instances):
    receiver, spool = start()
    broken = copy.deepcopy(instances[0])
    del broken.StudyInstanceUID
    association = associate(receiver)
    assert association.send_c_store(broken).Status == 0xC000
    assert association.send_c_store(instances[0]).Status == 0x0000
    association.release()
    reason = json.loads(next(spool.refused.glob("*.json")).read_text())["reason"]
    assert "StudyInstanceUID" in reason
    assert len(list(spool.refused.glob("*.dcm"))) == 1


def test_half_a_pdu_frees_its_slot(start, instances):
    """Peers that send half a PDU and wait must not shut the scanner out."""
    receiver, _ = start(maximum_associations=2, network_timeout_seconds=1.0)
    silent = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(2)]
    for connection in silent:
        connection.sendall(b"\x01\x00\x00\x00\x01")

    def accepted():
        association = associate(receiver)
        ok = association.is_established
        if ok:
            association.release()
        return ok

    wait_for(accepted)
    for connection in silent:
        connection.close()


def connect(receiver):
    return socket.create_connection(("127.0.0.1", receiver.port))


def ended_by_the_node(connection, within):
    """The seconds until the node hangs up."""
    begin = time.monotonic()
    connection.settimeout(within)
    try:
        while connection.recv(1000):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - begin


def test_health_checks_that_connect_and_close_shut_nobody_out(start, instances):
    receiver, _ = start(maximum_associations=2)
    for _ in range(300):
        connect(receiver).close()
    assert is_heard(receiver, instances[0])
    wait_for(lambda: receiver.connections == 0)


def test_peers_that_say_nothing_are_sent_away_in_seconds_and_shut_nobody_out(start, instances):
    receiver, _ = start(maximum_associations=2)
    silent = [connect(receiver) for _ in range(200)]
    assert is_heard(receiver, instances[0])
    assert max(ended_by_the_node(one, 10.0) for one in silent) < 6.5  # setup_seconds is 5
    for one in silent:
        one.close()
    wait_for(lambda: receiver.connections == 0)


def test_a_request_for_an_association_that_trickles_is_cut_off_as_a_whole(start, instances):
    receiver, _ = start(setup_seconds=1.0)
    connection, begin = connect(receiver), time.monotonic()
    with contextlib.suppress(OSError):
        while time.monotonic() - begin < 10.0:
            connection.sendall(b"\x01")
            time.sleep(0.2)
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                if connection.recv(100) == b"":
                    break
            connection.setblocking(True)
    assert time.monotonic() - begin < 3.0
    connection.close()
    assert is_heard(receiver, instances[0])


class Trickle:
    """A scanner's association of which the test sends the bytes itself."""

    def __init__(self, receiver, instance):
        sent = []
        entity = AE("MR1")
        entity.add_requested_context(MRImageStorage)
        keep = [(evt.EVT_DATA_SENT, lambda event: sent.append(bytes(event.data)))]
        association = entity.associate("127.0.0.1", receiver.port, ae_title="NODE", evt_handlers=keep)
        association.send_c_store(instance)
        association.release()
        self.request, self.store = sent[0], b"".join(sent[1:-1])
        self.connection = connect(receiver)
        self.connection.sendall(self.request)
        self.connection.recv(10_000)


def test_an_image_that_trickles_is_cut_off_as_a_whole(start, instances):
    receiver, spool = start(request_seconds=1.5)
    slow = Trickle(receiver, instances[1])
    begin = time.monotonic()
    with contextlib.suppress(OSError):
        for byte in slow.store[:100]:
            slow.connection.sendall(bytes([byte]))
            time.sleep(0.1)
            if time.monotonic() - begin > 8.0 or receiver.connections == 0:
                break
    assert time.monotonic() - begin < 4.0
    slow.connection.close()
    wait_for(lambda: not list(spool.incoming.glob(".arriving-*/.*")))


def test_an_association_that_asks_for_nothing_is_ended(start, instances):
    receiver, _ = start(idle_seconds=1.0)
    idle = Trickle(receiver, instances[0])
    assert ended_by_the_node(idle.connection, 10.0) < 3.0
    idle.connection.close()


def test_an_association_whose_peer_is_gone_frees_its_place_at_once(start, instances):
    receiver, _ = start()
    Trickle(receiver, instances[0]).connection.close()
    wait_for(lambda: receiver.connections == 0, 1.0)


def test_known_scanners_get_a_place_however_many_others_there_are(start, instances):
    receiver, _ = start(maximum_associations=3, scanners=("MR1", "MR2"), accept_any_scanner=True)
    crowd = [associate(receiver, "STRANGER") for _ in range(5)]
    assert [one.is_established for one in crowd] == [True, True, True, False, False]
    assert is_heard(receiver, instances[0], "MR1")
    assert is_heard(receiver, instances[1], "MR2")
    for one in crowd[:3]:
        one.release()


def test_whoever_calls_another_name_is_rejected_unless_that_is_allowed(start, instances):
    receiver, _ = start()
    association = associate(receiver, called="ELSEWHERE")
    assert association.is_rejected
    receiver, _ = start(require_called_ae_title=False)
    association = associate(receiver, called="ELSEWHERE")
    assert association.is_established
    association.release()


def test_an_object_that_is_too_large_is_refused_and_the_association_goes_on(start, instances):
    receiver, spool = start(maximum_object_mb=1)
    large = copy.deepcopy(instances[0])
    large.PixelData = bytes(2_000_000)
    association = associate(receiver)
    status = association.send_c_store(large)
    assert status.Status == 0xC000
    assert "maximum_object_mb" in status.ErrorComment
    assert association.send_c_store(instances[0]).Status == 0x0000
    association.release()
    assert len(list(spool.incoming.rglob("*.dcm"))) == 1
    assert not list(spool.incoming.glob(".arriving-*/.*"))


def test_a_request_that_is_not_for_us_is_answered_so(start):
    receiver, _ = start()
    association = associate(receiver)
    request = C_MOVE()
    request.MessageID, request.Priority, request.MoveDestination = 7, 2, "X"
    request.AffectedSOPClassUID = MRImageStorage
    request.Identifier = io.BytesIO(b"\x08\x00\x52\x00CS\x00\x00")
    assert ask(association, request).Status == 0x0211
    association.release()


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\xff\xff\xff\xff", b"\x00" * 200, b"\x04\x00\x00\x00\x00\x04"]
)
def test_garbage_harms_nobody_else(start, instances, garbage):
    receiver, _ = start(network_timeout_seconds=1.0)
    with socket.create_connection(("127.0.0.1", receiver.port)) as connection:
        connection.sendall(garbage)
        association = associate(receiver)
        assert association.send_c_store(instances[0]).Status == 0x0000
        association.release()


def test_an_address_in_use_is_said(start):
    receiver, spool = start()
    settings = Settings(node=NodeSettings.model_construct(ae_title="B", host="127.0.0.1", port=receiver.port))
    with pytest.raises(NodeError, match=f"cannot listen on 127.0.0.1:{receiver.port}"):
        Receiver(settings, spool, lambda _: None).start()
