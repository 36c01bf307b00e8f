"""The storage SCP under damage, floods, races and a disk that comes and goes."""

import copy
import io
import random
import resource
import socket
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import MRImageStorage

from dicomnode import simulate
from dicomnode.config import NodeSettings, ReceiveSettings, ScannerSettings, Settings
from dicomnode.intake.receive import Receiver
from dicomnode.store.spool import Spool
from tests.integration.dimse import HEAR_REJECTION, ask

SEED = 20260101
FUZZ_SECONDS = 8.0


@pytest.fixture(scope="module")
def instances():
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=1)
    return simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)).instances


@pytest.fixture
def start(tmp_path):
    started = []

    def begin(**receive):
        spool = Spool(tmp_path / "store")
        spool.create()
        settings = Settings(
            node=NodeSettings.model_construct(ae_title="NODE", host="127.0.0.1", port=0),
            scanner=(ScannerSettings(ae_title="MR1"),),
            receive=ReceiveSettings(**receive),
        )
        receiver = Receiver(settings, spool, lambda _: None)
        receiver.start()
        started.append(receiver)
        return receiver, spool

    yield begin
    for receiver in started:
        receiver.stop()


def associate(receiver, syntax=ExplicitVRLittleEndian):
    entity = AE("MR1")
    entity.add_requested_context(MRImageStorage, syntax)
    return entity.associate("127.0.0.1", receiver.port, ae_title="NODE", evt_handlers=[HEAR_REJECTION])


def encoded(instance, syntax=ExplicitVRLittleEndian):
    """The data set as it travels, without file meta information."""
    return encode(copy.deepcopy(instance), syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)


def without_meta(content):
    return content[144 + int.from_bytes(content[140:144], "little") :]


def send_bytes(association, sop_uid, data_set):
    """C-STORE of bytes as they are, whatever they are; the status, None where the peer gave none."""
    request = C_STORE()
    request.MessageID = 1
    request.Priority = 2
    request.AffectedSOPClassUID = MRImageStorage
    request.AffectedSOPInstanceUID = sop_uid
    request.DataSet = io.BytesIO(data_set)
    answer = ask(association, request)
    return None if answer is None else answer.Status


def open_files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def store_one(receiver, instance):
    association = associate(receiver)
    status = association.send_c_store(instance).Status
    association.release()
    return status


def recorded(receiver, instance):
    """The PDUs of a healthy association that stores one instance, as sent by a scanner."""
    sent = []
    from pynetdicom import evt

    entity = AE("MR1")
    entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    association = entity.associate(
        "127.0.0.1",
        receiver.port,
        ae_title="NODE",
        evt_handlers=[(evt.EVT_DATA_SENT, lambda event: sent.append(bytes(event.data)))],
    )
    association.send_c_store(instance)
    association.release()
    return sent


def damaged(chance, pdus):
    """One way to spoil a conversation."""
    pdus = [bytearray(pdu) for pdu in pdus]
    victim = chance.choice(pdus[: 1 + chance.randrange(len(pdus))])
    kind = chance.randrange(6)
    if kind == 0:
        for _ in range(1 + chance.randrange(8)):
            victim[chance.randrange(len(victim))] = chance.randrange(256)
    elif kind == 1:
        del victim[chance.randrange(len(victim)) :]
    elif kind == 2:
        victim[2:6] = chance.randbytes(4)  # the PDU's length
    elif kind == 3:
        chance.shuffle(pdus)
    elif kind == 4:
        at = chance.randrange(min(len(victim), 120))
        victim[at:at] = chance.randbytes(1 + chance.randrange(20))
    else:
        pdus.insert(chance.randrange(len(pdus) + 1), bytearray(chance.randbytes(chance.randrange(1, 200))))
    return b"".join(bytes(pdu) for pdu in pdus)


def speak(port, stream):
    with socket.create_connection(("127.0.0.1", port), timeout=2.0) as connection:
        try:
            connection.sendall(stream)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        except OSError:
            pass


def test_spoilt_conversations_never_stop_the_next_scanner_or_leave_half_an_image(start, instances):
    receiver, spool = start(network_timeout_seconds=1.0, maximum_associations=100)
    pdus = recorded(receiver, instances[0])
    chance = random.Random(SEED)
    end = time.monotonic() + FUZZ_SECONDS
    count, handles = 0, open_files()
    with ThreadPoolExecutor(8) as pool:
        while time.monotonic() < end:
            list(pool.map(lambda stream: speak(receiver.port, stream), [damaged(chance, pdus) for _ in range(16)]))
            count += 16
            assert store_one(receiver, instances[1]) == 0x0000
    assert count >= 100
    for path in spool.incoming.rglob("*.dcm"):
        assert len(pydicom.dcmread(path).PixelData) == len(instances[0].PixelData)
    deadline = time.monotonic() + 10.0
    while receiver.connections or open_files() > handles:
        assert time.monotonic() < deadline, "associations are left over"
        time.sleep(0.05)
    assert not list(spool.incoming.rglob("*.part"))


def test_a_data_set_that_is_cut_short_stays_with_its_sender(start, instances):
    receiver, spool = start()
    whole = encoded(instances[0])
    chance = random.Random(SEED)
    association = associate(receiver)
    cuts = [len(whole) - 2, len(whole) - 1000, 9, *(chance.randrange(len(whole) - 6000) for _ in range(40))]
    for cut in cuts:
        status = send_bytes(association, instances[0].SOPInstanceUID, whole[:cut] + b"\0" * (cut % 2))
        kept = list(spool.incoming.rglob("*.dcm"))
        assert status is not None, cut
        assert not kept or status == 0x0000
        for path in kept:  # cut between two elements it is whole as far as anyone can tell
            assert "PixelData" not in pydicom.dcmread(path)
            path.unlink()
    assert send_bytes(association, instances[0].SOPInstanceUID, whole) == 0x0000
    association.release()


def test_a_deflated_object_that_would_fill_the_memory_is_refused(start, instances):
    """1.5 MB that inflate to 1.5 GB: the node must not hold them."""
    receiver, spool = start()
    whole = encoded(instances[0])
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(whole[:-6144])
    for _ in range(600):
        packed += packer.compress(bytes(1 << 20))
    packed += packer.flush()
    association = associate(receiver, DeflatedExplicitVRLittleEndian)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert send_bytes(association, instances[0].SOPInstanceUID, packed + bytes(len(packed) % 2)) == 0xC000
    association.release()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB
    assert "inflates to more" in next(spool.refused.glob("*.json")).read_text()


def test_random_bytes_for_a_data_set_are_refused_and_kept(start, instances):
    receiver, spool = start()
    chance = random.Random(SEED)
    association = associate(receiver)
    for _ in range(50):
        assert send_bytes(association, instances[0].SOPInstanceUID, chance.randbytes(chance.randrange(2, 3000))) != 0
    association.release()
    assert len(list(spool.refused.glob("*.dcm"))) == len(list(spool.refused.glob("*.json"))) == 50
    assert not list(spool.incoming.rglob("*.dcm"))


def test_a_flood_of_associations_is_refused_and_those_inside_go_on(start, instances):
    receiver, _ = start(maximum_associations=3)
    inside = [associate(receiver) for _ in range(3)]
    outside = [associate(receiver) for _ in range(5)]
    assert all(one.is_established for one in inside)
    assert all(one.is_rejected for one in outside)
    assert [one.send_c_store(instances[0]).Status for one in inside] == [0, 0, 0]
    for one in inside:
        one.release()
    deadline = time.monotonic() + 5.0
    while not (again := associate(receiver)).is_established:
        assert time.monotonic() < deadline
    again.release()


def test_a_disk_that_recovers_takes_the_image_on_the_same_association(start, instances):
    receiver, spool = start()
    association = associate(receiver)
    spool._minimum_free = 10**18
    assert association.send_c_store(instances[0]).Status == 0xA700
    spool._minimum_free = 0
    assert association.send_c_store(instances[0]).Status == 0x0000
    association.release()


def test_a_folder_that_cannot_be_made_leaves_the_image_with_its_sender(start, instances):
    receiver, spool = start()
    (spool.incoming / instances[0].StudyInstanceUID).write_text("in the way")
    assert store_one(receiver, instances[0]) == 0xA700


def test_a_fault_of_ours_leaves_the_image_with_its_sender_and_is_said(start, instances, monkeypatch, capsys):
    receiver, _ = start()

    def crash(*_):
        raise KeyError("a bug")

    monkeypatch.setattr(Spool, "keep", crash)
    assert store_one(receiver, instances[0]) == 0xC000
    said = capsys.readouterr()
    assert "store_crashed" in said.out + said.err


def test_one_instance_on_many_associations_is_kept_once(start, instances):
    receiver, spool = start()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: store_one(receiver, instances[0]), range(16))) == {0x0000}
    assert len(list(spool.incoming.rglob("*.dcm"))) == 1


def test_different_bytes_under_one_uid_at_once_are_all_kept(start, instances):
    """Each was answered with Success, so none may be overwritten."""
    receiver, spool = start()
    variants = []
    for number in range(8):
        one = copy.deepcopy(instances[0])
        one.PixelData = bytes([number]) * len(one.PixelData)
        variants.append(one)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda one: store_one(receiver, one), variants)) == {0x0000}
    kept = [pydicom.dcmread(path).PixelData[0] for path in spool.incoming.rglob("*.dcm")]
    assert sorted(kept) == list(range(8))


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda syntax: syntax.name,
)
def test_uncompressed_syntaxes_are_kept_byte_for_byte(start, instances, syntax):
    receiver, spool = start()
    data_set = encoded(instances[0], syntax)
    association = associate(receiver, syntax)
    assert send_bytes(association, instances[0].SOPInstanceUID, data_set) == 0x0000
    association.release()
    (path,) = spool.incoming.rglob("*.dcm")
    assert without_meta(path.read_bytes()) == data_set
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax


def test_a_compressed_syntax_is_kept_byte_for_byte(start, instances):
    receiver, spool = start()
    one = copy.deepcopy(instances[0])
    one.compress(RLELossless, generate_instance_uid=False)
    data_set = encoded(one, RLELossless)
    association = associate(receiver, RLELossless)
    assert send_bytes(association, one.SOPInstanceUID, data_set) == 0x0000
    cut = encoded(one, RLELossless)[:-20]
    assert send_bytes(association, one.SOPInstanceUID, cut) != 0x0000
    association.release()
    (path,) = spool.incoming.rglob("*.dcm")
    assert without_meta(path.read_bytes()) == data_set


def test_old_group_lengths_are_kept_as_they_came(start, instances):
    """PS3.5 7.2: retired, still sent; a wrong value in them must not matter."""
    receiver, spool = start()
    data_set = b"\x08\x00\x00\x00UL\x04\x00\x99\x99\x00\x00" + encoded(instances[0])
    association = associate(receiver)
    assert send_bytes(association, instances[0].SOPInstanceUID, data_set) == 0x0000
    assert send_bytes(association, instances[0].SOPInstanceUID, data_set) == 0x0000
    association.release()
    (path,) = spool.incoming.rglob("*.dcm")
    assert without_meta(path.read_bytes()) == data_set


@pytest.mark.shared_data
def test_real_files_of_every_syntax_are_kept_byte_for_byte(start, shared_data):
    receiver, spool = start()
    files = sorted((shared_data / "dicom" / "transfer_syntaxes_siemens").rglob("*.dcm"))
    assert len(files) >= 5
    for file in files:
        header = pydicom.dcmread(file, stop_before_pixels=True)
        association = associate(receiver, header.file_meta.TransferSyntaxUID)
        data_set = without_meta(file.read_bytes())
        assert send_bytes(association, header.SOPInstanceUID, data_set) == 0x0000, file.name
        association.release()
        (path,) = spool.incoming.rglob(f"{header.SOPInstanceUID}.dcm")
        assert without_meta(path.read_bytes()) == data_set, file.name
        path.unlink()


def test_stopping_waits_for_no_peer(start, instances):
    """systemd would kill the node, and with it what it was about to write down."""
    receiver, _ = start(network_timeout_seconds=60.0)
    open_association = associate(receiver)
    assert open_association.send_c_store(instances[0]).Status == 0x0000
    halves = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(5)]
    for connection in halves:
        connection.sendall(b"\x01\x00\x00\x00\x01")
    deadline = time.monotonic() + 10.0
    while receiver.connections < 6:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    begin = time.monotonic()
    receiver.stop()
    assert time.monotonic() - begin < 5.0
    for connection in halves:
        connection.close()
