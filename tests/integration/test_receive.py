"""The storage SCP against real associations, and against peers that misbehave."""

import copy
import json
import socket
import time
from datetime import UTC, datetime

import pydicom
import pytest
from pynetdicom import AE
from pynetdicom.sop_class import MRImageStorage, Verification

from dicomnode import simulate
from dicomnode.config import NodeSettings, ReceiveSettings, ScannerSettings, Settings
from dicomnode.errors import NodeError
from dicomnode.intake.receive import Receiver
from dicomnode.store.spool import Spool

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

    def begin(minimum_free_mb=0, address=None, **receive):
        spool = Spool(tmp_path / "store", minimum_free_mb)
        spool.create()
        settings = Settings(
            node=NodeSettings.model_construct(ae_title="NODE", host="127.0.0.1", port=0),
            scanner=(ScannerSettings(ae_title="MR1", address=address),),
            receive=ReceiveSettings(**receive),
        )
        receiver = Receiver(settings, spool, arrivals.append)
        receiver.start()
        started.append(receiver)
        return receiver, spool

    yield begin
    for receiver in started:
        receiver.stop()


def associate(receiver, calling="MR1"):
    entity = AE(calling)
    entity.add_requested_context(MRImageStorage)
    entity.add_requested_context(Verification)
    return entity.associate("127.0.0.1", receiver.port, ae_title="NODE")


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
    assert receiver.is_receiving(study)
    association.release()
    wait_for(lambda: list(spool.incoming.rglob("released-*.json")))
    assert not receiver.is_receiving(study)


def test_an_association_that_breaks_off_leaves_no_mark(start, instances):
    receiver, spool = start()
    association = associate(receiver)
    association.send_c_store(instances[0])
    association.abort()
    wait_for(lambda: not receiver.is_receiving(instances[0].StudyInstanceUID))
    assert not list(spool.incoming.rglob("released-*.json"))


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
