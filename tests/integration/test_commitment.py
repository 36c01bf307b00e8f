"""What follows when a PACS has a result: storage commitment, reading back, the rejection of what it replaces."""

import gc
import io
import json
import logging
import os
import time
import warnings
from dataclasses import replace
from datetime import UTC, datetime

import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_STORE, N_EVENT_REPORT
from pynetdicom.sop_class import MRImageStorage, StorageCommitmentPushModel

from dicomnode import events, simulate
from dicomnode.commitment import Report, encoded
from dicomnode.config import DestinationSettings, NodeSettings, ScannerSettings, Settings, TlsSettings
from dicomnode.delivery.deliver import Deliveries
from dicomnode.delivery.send import Sender
from dicomnode.intake.receive import Receiver
from dicomnode.jobs import commitments, lifecycle
from dicomnode.report.identity import uid
from dicomnode.store.durable import make_folder, write_json
from dicomnode.store.spool import Spool
from tests.integration.archive import Archive, answer, instances_of
from tests.integration.dimse import ask

# pynetdicom leaves the socket of a failed connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def sockets_are_collected_here(caplog):
    caplog.set_level(logging.CRITICAL, "pynetdicom")
    yield
    gc.collect()


class World:
    """Deliveries of one result to one archive, and the receiver that hears what it reports."""

    def __init__(self, folder, archive, **settings):
        self.archive = archive
        self.spool = Spool(folder)
        self.spool.create()
        self.said, self.hints = [], []
        more = {"storage_commitment": "separate", "timeout_seconds": 3.0, **settings}
        self.destination = DestinationSettings(
            name="pacs", ae_title="PACS", host="127.0.0.1", port=archive.port, **more
        )
        node = NodeSettings.model_construct(ae_title="NODE", host="127.0.0.1", port=0)
        everyone = Settings(node=node, scanner=(ScannerSettings(ae_title="MR1"),), destination=(self.destination,))
        self.receiver = Receiver(
            everyone, self.spool, lambda _: None, self.said.append, reported=lambda *of: self.hints.append(of)
        )
        self.receiver.start()
        self.archive.to = None if self.destination.storage_commitment == "same" else self.receiver.port
        self.restart()
        self.job = self._result()
        self.attempts = 0

    def restart(self):
        """What a new process knows: the files."""
        sender = Sender("NODE", TlsSettings(), self.said.append)
        self.deliveries = Deliveries(self.spool, (self.destination,), sender, say=self.said.append)

    def _result(self):
        job = self.spool.job("k")
        make_folder(job.folder)
        write_json(job.folder / "manifest.json", {})
        plan = simulate.SeriesPlan(rows=48, columns=64, slices=1)
        entries = []
        for number, one in enumerate(simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)).instances[:3]):
            one.save_as(job.folder / f"{number}.dcm", enforce_file_format=True)
            uids = {"sop_instance_uid": str(one.SOPInstanceUID), "sop_class_uid": str(one.SOPClassUID)}
            entries.append({"path": f"{number}.dcm", "product": "mr_maps", "kind": "x", **uids})
        write_json(job.folder / "outputs.json", entries)
        lifecycle.say(job, lifecycle.JobStatus.DELIVERING)
        self.uids = [one["sop_instance_uid"] for one in entries]
        return job

    def attempt(self):
        pause = self.deliveries.attempt("k", "pacs", self.attempts)
        self.attempts += 1
        return pause

    @property
    def delivery(self):
        return lifecycle.delivery(self.job, "pacs")

    def settled(self, seconds=15.0):
        """Attempt until the end, without the pauses."""
        end = time.monotonic() + seconds
        while self.attempt() is not None:
            assert time.monotonic() < end, self.delivery
            time.sleep(0.05)
        return self.delivery

    def heard(self, count=1):
        end = time.monotonic() + 10.0
        while len(self.archive.statuses) < count:
            assert time.monotonic() < end, "no report was answered"
            time.sleep(0.02)

    def names(self):
        return [one.name for one in self.said]


@pytest.fixture
def world(tmp_path):
    worlds = []

    def begin(archive=None, **settings):
        worlds.append(World(tmp_path / str(len(worlds)), archive or Archive(), **settings))
        return worlds[-1]

    yield begin
    for one in worlds:
        one.receiver.stop()
        one.archive.close()


def failing(failures, why=0x0112):
    """A PACS that loses an object so many times."""

    def report(request):
        if not failures:
            return [Report(request.transaction_uid, request.objects)]
        failures.pop()
        (lost, of), *kept = request.objects.items()
        return [Report(request.transaction_uid, dict(kept), {lost: (of, why)})]

    return report


@pytest.mark.parametrize("association", ["same", "separate"])
def test_a_result_is_delivered_when_the_pacs_has_committed_to_every_object(world, association):
    one = world(storage_commitment=association)
    assert one.settled().status == "delivered"
    assert sorted(one.delivery.committed) == sorted(one.uids)
    (request,) = one.archive.requests
    assert sorted(request.objects) == sorted(one.uids)
    assert one.archive.statuses == [0x0000]
    assert lifecycle.state(one.job).status == "done"


def test_on_the_association_of_the_request_one_attempt_is_enough(world):
    assert world(storage_commitment="same").attempt() is None


def test_off_asks_nothing(world):
    one = world(storage_commitment="off")
    assert one.attempt() is None
    assert one.archive.requests == []


def test_without_a_report_it_is_not_delivered_and_says_since_when(world):
    one = world(Archive(report=lambda _: []))
    assert one.attempt() == 1.0
    assert one.delivery.status == "awaiting commitment"
    assert one.delivery.reason.startswith("since 20")
    assert lifecycle.state(one.job).status == "delivering"
    assert one.archive.stored == one.uids
    assert "commitment_asked" in one.names()


def test_a_pacs_that_never_answers_is_asked_again_and_given_up_in_the_end(world):
    one = world(Archive(report=lambda _: []), commitment_seconds=100.0, give_up_after_hours=0.25)
    while one.attempt() is not None:
        assert one.attempts < 200
    assert len(one.archive.requests) == 10  # in 900 s
    assert len({request.transaction_uid for request in one.archive.requests}) == 10
    assert one.delivery.status == "dead letter"
    assert "no report" in lifecycle.state(one.job).reason
    assert one.archive.stored == one.uids


@pytest.mark.parametrize("association", ["same", "separate"])
@pytest.mark.parametrize("why", [0x0112, 0x0110])
def test_what_the_pacs_does_not_have_after_all_is_sent_again(world, association, why):
    one = world(Archive(report=failing([1], why)), storage_commitment=association)
    assert one.settled().status == "delivered"
    (lost,) = [uid for uid in one.uids if one.archive.stored.count(uid) == 2]
    assert len(one.archive.stored) == 4
    assert [list(request.objects) for request in one.archive.requests][1:] == [[lost]]
    assert f"0x{why:04X}" in next(event.reason for event in one.said if event.name == "object_missing")


def test_a_report_is_answered_before_its_association_is_released(world, monkeypatch):
    """pynetdicom lets an association be released while it is about to answer on it, which a busy machine takes long."""
    send = DIMSEServiceProvider.send_msg

    def send_slowly(provider, primitive, context_id):
        if isinstance(primitive, N_EVENT_REPORT) and primitive.MessageIDBeingRespondedTo is not None:
            time.sleep(0.3)
        send(provider, primitive, context_id)

    monkeypatch.setattr(DIMSEServiceProvider, "send_msg", send_slowly)
    one = world(Archive(report=lambda r: [Report(r.transaction_uid, r.objects)]), storage_commitment="same")
    assert one.settled().status == "delivered"
    one.heard()
    assert one.archive.statuses == [0x0000]


def test_pauses_grow_while_a_pacs_keeps_losing_an_object(world):
    one = world(Archive(report=failing([1, 2, 3])), storage_commitment="same", retry_first_seconds=5.0)
    assert [one.attempt() for _ in range(4)] == [5.0, 10.0, 20.0, None]


def test_the_same_report_twice_changes_nothing(world):
    one = world(Archive(report=lambda r: [Report(r.transaction_uid, r.objects)] * 2))
    assert one.settled().status == "delivered"
    one.heard(2)
    assert one.archive.statuses == [0x0000, 0x0000]
    assert len(one.archive.requests) == 1


def test_of_two_reports_the_later_counts(world):
    def first_lost(request):
        (lost, of), *kept = request.objects.items()
        return [
            Report(request.transaction_uid, dict(kept), {lost: (of, 0x0112)}),
            Report(request.transaction_uid, {lost: of}),
        ]

    one = world(Archive(report=first_lost))
    one.attempt()
    one.heard(2)
    assert one.settled().status == "delivered"
    assert one.archive.stored == one.uids


def test_a_report_for_another_transaction_is_refused_and_said(world):
    one = world(Archive(report=lambda request: [Report("2.25.1", request.objects)]))
    one.attempt()
    one.heard()
    assert one.archive.statuses == [0x0115]
    assert "commitment_unknown" in one.names()
    assert one.attempt() is not None
    assert one.delivery.status == "awaiting commitment"


@pytest.mark.parametrize("uid", ["../../k/state", "1.2.3/../x", "x" * 70])
def test_what_is_no_uid_is_never_a_path(world, uid):
    one = world(Archive(report=lambda _: []))
    one.attempt()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of the test's own UIDs
        assert one.archive.tell(Report(uid, {one.uids[0]: "1.2"})) == 0x0115


def test_a_late_report_on_an_older_request_counts_for_what_is_kept(world):
    one = world(Archive(report=lambda _: []), commitment_seconds=1.0)
    while len(one.archive.requests) < 2:
        one.attempt()
    first = one.archive.requests[0]
    assert one.archive.tell(Report(first.transaction_uid, first.objects)) == 0x0000
    assert one.settled().status == "delivered"


def test_a_late_report_on_an_older_request_sends_nothing_again(world):
    one = world(Archive(report=lambda _: []), commitment_seconds=1.0)
    while len(one.archive.requests) < 2:
        one.attempt()
    first, *_, newest = one.archive.requests
    lost = {uid: (of, 0x0112) for uid, of in first.objects.items()}
    assert one.archive.tell(Report(first.transaction_uid, {}, lost)) == 0x0000
    one.destination = one.destination.model_copy(update={"commitment_seconds": 1000.0})
    one.restart()
    one.attempt()
    assert one.archive.tell(Report(newest.transaction_uid, newest.objects)) == 0x0000
    assert one.settled().status == "delivered"
    assert one.archive.stored == one.uids


def test_a_report_after_the_end_is_taken(world):
    one = world()
    one.settled()
    one.heard()
    (request,) = one.archive.requests
    assert one.archive.tell(Report(request.transaction_uid, request.objects)) == 0x0000
    assert one.delivery.status == "delivered"


def test_a_restart_forgets_nothing_that_was_asked_or_reported(world):
    one = world(Archive(report=lambda _: []))
    one.attempt()
    one.restart()
    (request,) = one.archive.requests
    one.archive.tell(Report(request.transaction_uid, request.objects))
    assert one.hints == [("k", "pacs")]
    assert one.settled().status == "delivered"
    assert len(one.archive.requests) == 1


def test_a_crash_before_the_request_went_out_asks_again(world):
    one = world(Archive(report=lambda _: []))
    one.attempt()
    lifecycle.say_delivery(one.job, "pacs", replace(one.delivery, status=lifecycle.DeliveryStatus.SENDING, asked=None))
    one.restart()
    one.attempt()
    assert len(one.archive.requests) == 2


@pytest.mark.parametrize("role", [True, False])
def test_a_pacs_reports_with_role_selection_or_without(world, role):
    one = world(Archive(report=lambda _: []))
    one.attempt()
    (request,) = one.archive.requests
    assert one.archive.tell(Report(request.transaction_uid, request.objects), role=role) == 0x0000


def test_a_report_may_reach_another_receiver(world):
    one = world(Archive(report=lambda _: []))
    one.attempt()
    (request,) = one.archive.requests
    node = NodeSettings.model_construct(ae_title="NODE", host="127.0.0.1", port=0)
    other = Receiver(Settings(node=node, destination=(one.destination,)), Spool(one.spool.folder), lambda _: None)
    other.start()
    assert one.archive.tell(Report(request.transaction_uid, request.objects), to=other.port) == 0x0000
    other.stop()
    assert one.settled().status == "delivered"


def test_a_pacs_without_the_service_is_said_once_and_nothing_is_taken_for_safe(world):
    one = world(Archive(commits=False))
    pauses = [one.attempt() for _ in range(3)]
    assert pauses == [5.0, 10.0, 20.0]
    assert one.delivery.status == "awaiting commitment"
    assert "does not offer Storage Commitment Push Model" in one.delivery.reason
    assert "storage_commitment" in one.delivery.reason
    assert one.names().count("service_not_offered") == 1
    assert one.archive.stored == one.uids


def test_a_request_that_is_refused_is_made_again(world):
    one = world(Archive(action=0x0213))
    assert one.attempt() == 5.0
    assert "0x0213" in one.delivery.reason
    one.archive.action = 0x0000
    assert one.settled().status == "delivered"


def test_a_request_whose_answer_was_lost_may_be_reported_on_all_the_same(world):
    one = world(Archive(action=0x0110, report=lambda _: []))
    one.attempt()
    (request,) = one.archive.requests
    assert one.archive.tell(Report(request.transaction_uid, request.objects)) == 0x0000
    assert one.attempt() is None


def test_an_operator_who_switches_it_off_ends_the_waiting(world):
    one = world(Archive(report=lambda _: []))
    one.attempt()
    one.destination = one.destination.model_copy(update={"storage_commitment": "off"})
    one.restart()
    assert one.attempt() is None


def test_a_destination_may_report_and_nothing_else(world):
    one = world(Archive(report=lambda _: []))
    entity = AE("PACS")
    entity.add_requested_context(StorageCommitmentPushModel)
    entity.add_requested_context(MRImageStorage)
    association = entity.associate("127.0.0.1", one.receiver.port, ae_title="NODE")
    assert [context.abstract_syntax for context in association.accepted_contexts] == [StorageCommitmentPushModel]
    smuggled = pydicom.dcmread(one.job.folder / "0.dcm")
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = smuggled.SOPClassUID, smuggled.SOPInstanceUID
    request.DataSet = io.BytesIO(encoded(smuggled, ImplicitVRLittleEndian))
    assert ask(association, request).Status == 0xC000
    association.release()
    assert not list(one.spool.incoming.rglob("*.dcm"))


def test_transactions_are_forgotten_after_weeks(world):
    one = world(Archive(report=lambda _: []))
    one.attempt()
    (path,) = one.spool.commitments.glob("*.json")
    commitments.forget_old(one.spool)
    assert path.exists()
    os.utime(path, (1.0, 1.0))
    commitments.forget_old(one.spool)
    assert not path.exists()


# ---- reading back


def with_find(finds, **more):
    archive = Archive(**more, finds=lambda question: finds(archive, question))
    return archive


def counted_only(archive, question):
    return (0xA900, []) if question.QueryRetrieveLevel == "IMAGE" else instances_of(archive, question)


def silent_about_images(archive, question):
    return (0x0000, []) if question.QueryRetrieveLevel == "IMAGE" else instances_of(archive, question)


@pytest.mark.parametrize("finds", [instances_of, counted_only, silent_about_images])
def test_what_is_read_back_is_delivered(world, finds):
    one = world(with_find(finds), storage_commitment="off", read_back=True)
    assert one.attempt() is None
    assert one.archive.questions
    assert one.archive.stored == one.uids
    asked = {(event.series, event.answered) for event in one.said if isinstance(event, events.Queried)}
    assert asked == {(question.SeriesInstanceUID, True) for question in one.archive.questions}


@pytest.mark.parametrize("commitment", ["off", "same"])
@pytest.mark.parametrize("finds", [instances_of, counted_only])
def test_what_is_not_found_is_sent_again_and_committed_to_again(world, finds, commitment):
    lost = []

    def forgetful(archive, question):
        if not lost:
            lost.append(archive.stored[1])
            del archive.objects[lost[0]]
        return finds(archive, question)

    one = world(with_find(forgetful), storage_commitment=commitment, read_back=True)
    assert one.attempt() == 5.0
    assert "not found by C-FIND" in one.delivery.reason
    assert one.settled().status == "delivered"
    assert lost[0] in one.archive.stored[3:]
    assert set(one.archive.objects) == set(one.uids)
    assert len(one.archive.requests) == (2 if commitment == "same" else 0)


def test_a_pacs_that_refuses_every_question_is_asked_again_later(world):
    one = world(with_find(lambda *_: (0xC000, [])), storage_commitment="off", read_back=True)
    assert one.attempt() == 5.0
    assert one.delivery.status == "delayed"
    assert "C-FIND" in one.delivery.reason


def test_a_pacs_that_does_not_offer_c_find_is_said(world):
    one = world(Archive(), storage_commitment="off", read_back=True)
    assert one.attempt() == 5.0
    assert "read_back" in one.delivery.reason


def test_other_instances_of_the_series_do_not_stand_for_ours(world):
    def others(_, question):
        if question.QueryRetrieveLevel == "SERIES":
            return 0x0000, [answer(question, NumberOfSeriesRelatedInstances=9)]
        return 0x0000, [answer(question, SOPInstanceUID=f"2.25.{number}") for number in range(9)]

    one = world(with_find(others), storage_commitment="off", read_back=True)
    assert one.attempt() == 5.0
    assert one.delivery.delivered == ()


def test_a_number_that_cannot_be_read_is_none(world):
    def odd(_, question):
        return 0x0000, [answer(question)]

    one = world(with_find(odd), storage_commitment="off", read_back=True)
    assert one.attempt() == 5.0


# ---- rejecting what is replaced


def replaced(one, delivered, *, state="done", status="delivered", **manifest):
    """A result that the one of this world replaces; ``delivered`` is the number of its objects that the archive has."""
    old = one.spool.job("old")
    make_folder(old.folder)
    write_json(old.folder / "manifest.json", {"sources": [], "parameters": {}, "software_version": "0"})
    entries = [
        {"path": f"{uid}.dcm", "sop_instance_uid": uid, "sop_class_uid": sop_class, "product": product, "kind": kind}
        for uid, sop_class, product, kind in OLD
    ]
    write_json(old.folder / "outputs.json", entries)
    old.write("state.json", {"status": state, "reason": None})
    uids = tuple(uid for uid, *_ in OLD[:delivered])
    lifecycle.say_delivery(old, "pacs", lifecycle.Delivery(lifecycle.DeliveryStatus(status), delivered=uids))
    made_from = {"sources": [], "parameters": {}, "software_version": "1", "supersedes": "old", **manifest}
    write_json(one.job.folder / "manifest.json", made_from)
    results = json.loads((one.job.folder / "outputs.json").read_text())
    write_json(one.job.folder / "outputs.json", [{**entry, "kind": "mr_map_r2star"} for entry in results])
    return old


OLD = (
    ("2.25.7", "1.2.840.10008.5.1.4.1.1.4", "mr_maps", "mr_map_r2star"),
    ("2.25.8", "1.2.840.10008.5.1.4.1.1.88.33", "structured_report", "structured_report"),
    ("2.25.9", "1.2.840.10008.5.1.4.1.1.104.1", "pdf", "pdf"),
)


def rejected(archive):
    (note,) = [one for one in archive.objects.values() if one.Modality == "KO"]
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    series = {one.SeriesInstanceUID: one for one in study.ReferencedSeriesSequence}
    return note, {uid: one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for uid, one in series.items()}


@pytest.mark.parametrize("commitment", ["off", "same"])
def test_what_a_result_replaces_is_rejected_after_it(world, commitment):
    one = world(storage_commitment=commitment, rejection_notes=True)
    replaced(one, 2)
    assert one.attempt() is None
    note, named = rejected(one.archive)
    assert one.archive.stored == [*one.uids, note.SOPInstanceUID]
    assert named == {uid("old", f"{kind}/series"): sop_uid for sop_uid, _, _, kind in OLD[:2]}
    assert note.StudyInstanceUID == one.archive.objects[one.uids[0]].StudyInstanceUID
    assert one.delivery.delivered == (*one.uids, note.SOPInstanceUID)


def test_no_note_is_sent_where_it_is_not_wanted_or_nothing_was_there(world):
    unwanted = world(storage_commitment="off")
    replaced(unwanted, 3)
    never_sent = world(storage_commitment="off", rejection_notes=True)
    replaced(never_sent, 0)
    replaces_nothing = world(storage_commitment="off", rejection_notes=True)
    replaced(replaces_nothing, 3, supersedes=None)
    for one in (unwanted, never_sent, replaces_nothing):
        assert one.attempt() is None
        assert one.archive.stored == one.uids


def test_a_drawing_rejects_what_follows_from_its_regions_and_never_the_maps(world):
    one = world(storage_commitment="off", rejection_notes=True)
    replaced(one, 3, drawing="incoming/x.dcm")
    assert one.attempt() is None
    assert set(rejected(one.archive)[1].values()) == {"2.25.8", "2.25.9"}


def test_what_is_still_on_its_way_is_rejected_when_all_of_it_is_there(world):
    one = world(storage_commitment="off", rejection_notes=True)
    old = replaced(one, 1, state="delivering", status="delayed")
    assert one.attempt() == 5.0
    assert "still on its way" in one.delivery.reason
    assert one.archive.stored == one.uids
    everything = tuple(uid for uid, *_ in OLD)
    lifecycle.say_delivery(old, "pacs", lifecycle.Delivery(lifecycle.DeliveryStatus.DELIVERED, delivered=everything))
    assert one.attempt() is None
    assert set(rejected(one.archive)[1].values()) == set(everything)


def test_a_crash_behind_the_note_sends_no_other(world):
    one = world(storage_commitment="off", rejection_notes=True)
    replaced(one, 3)
    one.attempt()
    done = one.delivery
    (one.job.folder / "receipts/pacs.json").unlink()
    sent_all = replace(done, status=lifecycle.DeliveryStatus.SENDING, delivered=tuple(one.uids))
    lifecycle.say_delivery(one.job, "pacs", sent_all)
    one.restart()
    assert one.attempt() is None
    assert one.archive.stored[-2] == one.archive.stored[-1]
    assert one.delivery.delivered == done.delivered
