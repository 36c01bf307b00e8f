"""Storage commitment as SCP: a scanner that asks is told the truth about what lies in the spool."""

import gc
import io
import logging
import random
import shutil
import threading
import time
from datetime import UTC, datetime
from queue import Empty, Queue

import pytest
from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.sop_class import MRImageStorage, StorageCommitmentPushModel

from dicomnode import simulate
from dicomnode.commitment import NO_SUCH_OBJECT, PUSH_MODEL_INSTANCE, Report, Request, encoded
from dicomnode.config import DestinationSettings, NodeSettings, ReceiveSettings, ScannerSettings, Settings, TlsSettings
from dicomnode.delivery.promised import Promised
from dicomnode.delivery.send import Sender
from dicomnode.errors import NoAnswer
from dicomnode.intake.receive import Receiver
from dicomnode.jobs import promises
from dicomnode.store.spool import Spool
from tests.integration.dimse import ask as ask_as_it_is

# pynetdicom leaves the socket of a failed connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
NOT_HERE = "2.25.99"


@pytest.fixture(autouse=True)
def sockets_are_collected_here(caplog):
    caplog.set_level(logging.CRITICAL, "pynetdicom")
    yield
    gc.collect()


@pytest.fixture(scope="module")
def instances():
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=1)
    return simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)).instances[:3]


class Scanner:
    """A scanner that sends, asks, and listens where it asked and on a port of its own."""

    def __init__(self, ae_title="MR1"):
        self.ae_title = ae_title
        self.reports = Queue()
        self.answers = 0x0000
        self.server = None
        self.port = None
        self._handlers = [(evt.EVT_N_EVENT_REPORT, self._hear)]

    def listen(self, port=0):
        entity = AE(self.ae_title)
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        self.server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=self._handlers)
        self.port = self.server.server_address[1]

    def deafen(self):
        self.server.shutdown()
        self.server = None

    def call(self, port):
        entity = AE(self.ae_title)
        entity.add_requested_context(MRImageStorage)
        entity.add_requested_context(StorageCommitmentPushModel)
        return entity.associate("127.0.0.1", port, ae_title="NODE", evt_handlers=self._handlers)

    def heard(self, seconds=10.0):
        return self.reports.get(timeout=seconds)

    def _hear(self, event):
        self.reports.put(Report.read(event.event_information))
        return self.answers, None


class World:
    def __init__(self, folder, scanner, **settings):
        self.spool = Spool(folder)
        self.spool.create()
        self.said = []
        node = NodeSettings.model_construct(ae_title="NODE", host="127.0.0.1", port=0)
        self.settings = Settings(node=node, scanner=scanner, **settings)
        self.receiver = Receiver(self.settings, self.spool, lambda _: None, self.said.append)
        self.receiver.start()
        self.restart()

    def restart(self):
        sender = Sender("NODE", TlsSettings(), self.said.append)
        self.promised = Promised(self.settings, self.spool, sender, self.said.append)

    def names(self):
        return [one.name for one in self.said]

    def wait_for(self, name):
        end = time.monotonic() + 10.0
        while name not in self.names():
            assert time.monotonic() < end, self.names()
            time.sleep(0.02)


@pytest.fixture
def scanner():
    one = Scanner()
    yield one
    if one.server is not None:
        one.server.shutdown()


@pytest.fixture
def world(tmp_path):
    worlds = []

    def begin(*tables, **settings):
        worlds.append(World(tmp_path / str(len(worlds)), tables or (ScannerSettings(ae_title="MR1"),), **settings))
        return worlds[-1]

    yield begin
    for one in worlds:
        one.receiver.stop()


def at(scanner, **more):
    return ScannerSettings(ae_title="MR1", address="127.0.0.1", port=scanner.port, **more)


def objects(instances):
    return {str(one.SOPInstanceUID): str(one.SOPClassUID) for one in instances}


def ask(association, request, *, action=1, sop_class=StorageCommitmentPushModel, instance=PUSH_MODEL_INSTANCE):
    data_set = request if isinstance(request, Dataset) else request.as_data_set()
    status, _ = association.send_n_action(data_set, action, sop_class, instance)
    return status.Status


def send(scanner, node, instances):
    association = scanner.call(node.receiver.port)
    assert all(association.send_c_store(one).Status == 0x0000 for one in instances)
    return association


def test_a_scanner_hears_on_its_own_association_what_is_kept_and_what_is_not(world, scanner, instances):
    node = world()
    association = send(scanner, node, instances)
    assert ask(association, Request("2.25.1", {**objects(instances), NOT_HERE: str(MRImageStorage)})) == 0x0000
    report = scanner.heard()
    association.release()
    assert report.transaction_uid == "2.25.1"
    assert report.committed == objects(instances)
    assert report.failed == {NOT_HERE: (str(MRImageStorage), 0x0112)}
    node.wait_for("commitment_given")


def test_the_association_goes_on_behind_the_report(world, scanner, instances):
    node = world()
    association = send(scanner, node, instances[:1])
    ask(association, Request("2.25.1", objects(instances[:1])))
    scanner.heard()
    assert association.send_c_store(instances[1]).Status == 0x0000
    ask(association, Request("2.25.2", objects(instances[:2])))
    assert scanner.heard().committed == objects(instances[:2])
    association.release()


def test_what_came_on_an_earlier_association_is_found(world, scanner, instances):
    node = world()
    send(scanner, node, instances).release()
    association = scanner.call(node.receiver.port)
    ask(association, Request("2.25.1", objects(instances)))
    assert scanner.heard().committed == objects(instances)
    association.release()


def test_what_was_removed_from_the_spool_is_not_committed_to(world, scanner, instances):
    node = world()
    association = send(scanner, node, instances)
    shutil.rmtree(node.spool.study_folder(str(instances[0].StudyInstanceUID)))
    ask(association, Request("2.25.1", objects(instances)))
    assert {why for _, why in scanner.heard().failed.values()} == {0x0112}
    association.release()


def test_another_class_under_the_uid_is_a_conflict(world, scanner, instances):
    node = world()
    association = send(scanner, node, instances[:1])
    ask(association, Request("2.25.1", dict.fromkeys(objects(instances[:1]), "1.2.840.10008.5.1.4.1.1.2")))
    assert {why for _, why in scanner.heard().failed.values()} == {0x0119}
    association.release()


def without(keyword):
    data_set = Request("2.25.1", {NOT_HERE: str(MRImageStorage)}).as_data_set()
    del data_set[keyword]
    return data_set


@pytest.mark.parametrize(
    ("request_", "how", "status"),
    [
        (without("TransactionUID"), {}, 0x0115),
        (without("ReferencedSOPSequence"), {}, 0x0115),
        (Request("2.25.1", {NOT_HERE: "1.2"}), {"action": 2}, 0x0123),
        (Request("2.25.1", {NOT_HERE: "1.2"}), {"instance": "1.2.3"}, 0x0112),
    ],
)
def test_a_request_that_is_none_is_refused_with_its_status(world, scanner, request_, how, status):
    node = world()
    association = scanner.call(node.receiver.port)
    assert ask(association, request_, **how) == status
    assert "commitment_refused" in node.names()
    association.release()
    assert scanner.reports.empty()


@pytest.mark.parametrize("seed", range(20))
def test_whatever_bytes_come_are_answered_and_the_association_goes_on(world, scanner, instances, seed):
    """Half of a valid data set with bytes of it changed."""
    node = world()
    dice = random.Random(seed)
    association = scanner.call(node.receiver.port)
    content = bytearray(encoded(Request("2.25.1", objects(instances)).as_data_set(), ImplicitVRLittleEndian))
    for _ in range(dice.randrange(1, 8)):
        content[dice.randrange(len(content))] = dice.randrange(256)
    request = N_ACTION()
    request.MessageID, request.ActionTypeID = 1, 1
    request.RequestedSOPClassUID, request.RequestedSOPInstanceUID = StorageCommitmentPushModel, PUSH_MODEL_INSTANCE
    request.ActionInformation = io.BytesIO(bytes(content[: dice.randrange(1, len(content))]))
    context = next(one for one in association.accepted_contexts if one.abstract_syntax == StorageCommitmentPushModel)
    status = ask_as_it_is(association, request, context.context_id).Status
    assert status in (0x0000, 0x0115)
    assert "store_crashed" not in node.names()
    if status == 0x0000:
        scanner.heard()
    assert association.send_c_store(instances[0]).Status == 0x0000
    association.release()


def test_one_that_is_stopped_while_a_scanner_is_silent_and_started_again_looks_once(tmp_path, monkeypatch):
    """As where another process leads for a moment."""
    monkeypatch.setattr("dicomnode.delivery.promised._FAREWELL_SECONDS", 0.1)
    monkeypatch.setattr("dicomnode.delivery.promised._LOOK_SECONDS", 0.01)
    spool = Spool(tmp_path)
    spool.create()
    scanner = ScannerSettings(ae_title="MR1", address="127.0.0.1", port=1)
    settings = Settings(scanner=(scanner,))
    promises.keep(spool, Request("2.25.1", {NOT_HERE: str(MRImageStorage)}), "MR1")
    asked, silent = [], threading.Event()

    class Silent:
        def tell_commitment(self, *_):
            asked.append(threading.current_thread())
            silent.wait(10.0)
            raise NoAnswer("it says nothing")

    promised = Promised(settings, spool, Silent(), lambda _: None)
    promised.start()
    wait_until(lambda: asked)
    promised.stop()
    promised.start()
    wait_until(lambda: len(asked) == 2)
    silent.set()
    asked[0].join(2.0)
    promised.stop()
    assert not asked[0].is_alive()


def wait_until(condition):
    end = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_image_that_is_removed_while_it_is_promised_is_not_promised(world, instances, monkeypatch):
    """Its folder is there again, for another image has come since."""
    node, (gone, late, _) = world(), instances
    spool, content = node.spool, io.BytesIO()
    gone.save_as(content, enforce_file_format=True)
    spool.store(gone.StudyInstanceUID, gone.SOPInstanceUID, content.getvalue())
    mark = spool.mark_promised

    def mark_later(image):
        spool.remove_images(gone.StudyInstanceUID)
        spool.store(late.StudyInstanceUID, late.SOPInstanceUID, b"late")
        mark(image)

    monkeypatch.setattr(spool, "mark_promised", mark_later)
    report = promises.judge(spool, Request("2.25.1", objects([gone])))
    assert report.committed == {}
    assert report.failed[str(gone.SOPInstanceUID)] == (str(gone.SOPClassUID), NO_SUCH_OBJECT)


def test_a_destination_is_promised_nothing(world):
    pacs = DestinationSettings(name="p", ae_title="PACS", host="127.0.0.1", port=104, storage_commitment="separate")
    node = world(destination=(pacs,))
    association = Scanner("PACS").call(node.receiver.port)
    assert ask(association, Request("2.25.1", {NOT_HERE: "1.2"})) == 0x0124
    association.release()


def test_any_scanner_is_answered_where_any_is_accepted(world, scanner, instances):
    node = world(receive=ReceiveSettings(accept_any_scanner=True))
    other = Scanner("ELSE")
    association = send(other, node, instances)
    assert ask(association, Request("2.25.1", objects(instances))) == 0x0000
    assert other.heard().committed == objects(instances)
    association.release()


def asked(world, scanner, instances):
    """A node that a scanner with a port of its own has asked to keep what it sent."""
    scanner.listen()
    node = world(at(scanner))
    association = send(scanner, node, instances)
    ask(association, Request("2.25.1", objects(instances)))
    association.release()
    return node


def test_a_scanner_with_a_port_hears_it_there(world, scanner, instances):
    scanner.listen()
    node = world(at(scanner))
    association = send(scanner, node, instances)
    assert ask(association, Request("2.25.1", {**objects(instances), NOT_HERE: "1.2"})) == 0x0000
    association.release()
    with pytest.raises(Empty):
        scanner.heard(0.2)
    node.promised.turn(0.0)
    report = scanner.heard(0.0)
    assert (report.committed, set(report.failed)) == (objects(instances), {NOT_HERE})
    node.promised.turn(1.0)
    assert scanner.reports.empty()
    assert list(node.spool.promises.iterdir()) == []


def test_a_scanner_that_is_away_is_told_when_it_is_back_also_by_another_process(world, scanner, instances):
    node = asked(world, scanner, instances)
    scanner.deafen()
    node.promised.turn(0.0)
    node.promised.turn(1.0)
    assert node.names().count("commitment_not_heard") == 1  # it is not knocked for at every look
    scanner.listen(scanner.port)
    node.restart()
    node.promised.turn(0.0)
    assert scanner.heard(0.0).committed == objects(instances)


def test_a_scanner_that_is_away_for_a_day_is_given_up_and_said(world, scanner, instances):
    node = asked(world, scanner, instances)
    scanner.deafen()
    now, looks = 0.0, 0
    while list(node.spool.promises.iterdir()):
        node.promised.turn(now)
        now, looks = now + 900.0, looks + 1
        assert looks < 200
    assert 86400.0 <= now < 2 * 86400.0
    assert "given up" in node.said[-1].reason


def test_a_scanner_that_refuses_the_report_is_told_again(world, scanner, instances):
    node = asked(world, scanner, instances)
    scanner.answers = 0x0110
    node.promised.turn(0.0)
    scanner.answers = 0x0000
    node.promised.turn(1000.0)
    assert [scanner.heard(0.0).transaction_uid for _ in range(2)] == ["2.25.1", "2.25.1"]
    assert list(node.spool.promises.iterdir()) == []


def test_a_request_that_was_damaged_holds_up_no_other(world, scanner, instances):
    node = asked(world, scanner, instances)
    (node.spool.promises / "0.json").write_text("{")
    node.promised.turn(0.0)
    assert scanner.heard(0.0).transaction_uid == "2.25.1"
    node.promised.turn(1.0)
    (said,) = [one.reason for one in node.said if one.name == "commitment_not_heard"]
    assert "0.json is damaged" in said


def test_a_scanner_that_hangs_up_before_it_is_told_is_said(world, instances):
    deaf = Scanner()
    deaf.answers = 0x0110
    node = world()
    association = send(deaf, node, instances)
    association.send_n_action(
        Request("2.25.1", objects(instances)).as_data_set(), 1, StorageCommitmentPushModel, PUSH_MODEL_INSTANCE
    )
    association.abort()
    end = time.monotonic() + 10.0
    while not {"commitment_not_heard", "commitment_given"} & set(node.names()):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_thread_looks_by_itself(world, scanner, instances):
    scanner.listen()
    node = world(at(scanner))
    node.promised.start()
    association = send(scanner, node, instances)
    ask(association, Request("2.25.1", objects(instances)))
    association.release()
    assert scanner.heard().committed == objects(instances)
    node.promised.stop()
