"""Findings go to who gets no objects: once, in order, and never an older one over a newer."""

import json

import hl7
import pytest

from dicomnode.config import DestinationSettings, TlsSettings
from dicomnode.delivery.deliver import Deliveries
from dicomnode.delivery.hl7 import Mllp
from dicomnode.errors import Busy
from dicomnode.jobs import lifecycle, tidy
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs.manifest import Manifest
from dicomnode.store.durable import make_folder
from dicomnode.store.spool import Spool
from tests.integration.mllp import Receiver, ack
from tests.integration.moments import Moments
from tests.told import findings


class Nobody:
    """The C-STORE sender of a node that has no PACS."""

    def send(self, destination, files):
        raise AssertionError("no objects go here")


class World:
    def __init__(self, folder, carrier, **more):
        self.spool = Spool(folder)
        self.spool.create()
        settings = {"host": "127.0.0.1", "port": 1, "retry_first_seconds": 5.0, **more}
        self.ris = DestinationSettings(name="ris", kind="hl7", **settings)
        self.now = 0.0
        self.deliveries = Deliveries(
            self.spool, [self.ris], Nobody(), carriers={"hl7": carrier}, clock=lambda: self.now
        )

    def job(self, key, supersedes=None, *, told=True):
        job = self.spool.job(key)
        make_folder(job.folder)
        manifests.write(job, Manifest(("1.2",), {}, "0.1.0", supersedes=supersedes))
        (job.folder / "map.dcm").touch()
        job.write("outputs.json", [{"path": "map.dcm", "sop_instance_uid": "1.1", "product": "mr_maps", "kind": "x"}])
        if told:
            job.write(job.FINDINGS, findings(key=key * 20, first_key="k" * 40, corrects=bool(supersedes)).as_json())
        lifecycle.say(job, lifecycle.JobStatus.DELIVERING)
        return job

    def attempt(self, key, attempt=0):
        return self.deliveries.attempt(key, "ris", attempt)


@pytest.fixture
def receiver():
    refused = set()

    def answer(message):
        return ack(message, "AE" if any(f"|{key}" in message for key in refused) else "AA")

    one = Receiver(answer)
    one.refused = refused
    yield one
    one.close()


@pytest.fixture
def world(tmp_path, receiver):
    return World(tmp_path, Mllp(TlsSettings()), port=receiver.port)


def control_ids(receiver):
    return [message.split("|")[9][:2] for message in receiver.messages]


def test_findings_are_delivered_once_and_the_job_is_done(world, receiver):
    job = world.job("k1")
    assert [world.attempt("k1"), world.attempt("k1")] == [None, None]
    assert control_ids(receiver) == ["k1"]
    assert lifecycle.state(job).status == "done"
    (uid,) = lifecycle.delivery(job, "ris").delivered
    assert uid.startswith("2.25.")


def test_a_refusal_is_tried_again_and_says_why(world, receiver):
    job = world.job("k1")
    receiver.refused.add("k1")
    assert world.attempt("k1") == 5.0
    assert lifecycle.delivery(job, "ris").reason == "acknowledged with AE"
    receiver.refused.clear()
    assert world.attempt("k1", 1) is None
    assert receiver.messages[0] == receiver.messages[1]


def test_what_replaces_a_result_waits_until_that_has_ended_there(world, receiver):
    world.job("k1")
    later = world.job("k2", supersedes="k1")
    assert world.attempt("k2") == 5.0
    assert "on its way" in lifecycle.delivery(later, "ris").reason
    world.attempt("k1")
    assert world.attempt("k2", 1) is None
    assert control_ids(receiver) == ["k1", "k2"]
    assert str(hl7.parse(receiver.messages[1])["OBR"][0][25]) == "P"


def test_an_older_result_is_never_told_after_the_one_that_replaces_it(world, receiver):
    """It was a dead letter, and an operator retries it."""
    earlier = world.job("k1")
    lifecycle.say_delivery(earlier, "ris", lifecycle.Delivery(status=lifecycle.DeliveryStatus.DEAD_LETTER))
    lifecycle.say(earlier, lifecycle.JobStatus.FAILED)
    world.job("k2", supersedes="k1")
    assert world.attempt("k2") is None
    lifecycle.say(earlier, lifecycle.JobStatus.DELIVERING)
    assert world.attempt("k1", 1) is None
    assert control_ids(receiver) == ["k2"]
    assert lifecycle.delivery(earlier, "ris").status == "replaced"
    assert lifecycle.delivery(earlier, "ris").reason == "the result that replaces it was sent there"
    assert lifecycle.state(earlier).status == "done"


@pytest.mark.parametrize("kept", [True, False])
def test_a_corrected_result_that_is_sent_again_needs_nobody(world, receiver, kept):
    earlier = world.job("k1")
    world.attempt("k1")
    later = world.job("k2", supersedes="k1")
    world.attempt("k2")
    if not kept:
        tidy.remove_objects(earlier)
    for job in (earlier, later):
        lifecycle.say_delivery(job, "ris", lifecycle.delivery(job, "ris").anew())
        lifecycle.say(job, lifecycle.JobStatus.DELIVERING)
        assert world.attempt(job.key, 1) is None
    assert control_ids(receiver) == ["k1", "k2", "k2"]
    assert [lifecycle.delivery(job, "ris").status for job in (earlier, later)] == ["replaced", "delivered"]
    assert {lifecycle.state(job).status for job in (earlier, later)} == {"done"}


@pytest.mark.parametrize("newer_at", range(15, 25))
@pytest.mark.parametrize("older_at", range(12, 44, 4))
def test_an_older_result_that_is_retried_while_the_newer_one_goes_is_never_told_last(
    world, receiver, monkeypatch, *, newer_at, older_at
):
    earlier = world.job("k1")
    lifecycle.say_delivery(earlier, "ris", lifecycle.Delivery(status=lifecycle.DeliveryStatus.DEAD_LETTER))
    lifecycle.say(earlier, lifecycle.JobStatus.FAILED)
    world.job("k2", supersedes="k1")

    def retried():
        lifecycle.say_delivery(earlier, "ris", lifecycle.delivery(earlier, "ris").again())
        lifecycle.say(earlier, lifecycle.JobStatus.DELIVERING)
        world.attempt("k1", 1)

    Moments(monkeypatch).cross(lambda: world.attempt("k2"), newer_at, retried, older_at)
    world.now += 1000.0
    for attempt in (2, 3):
        world.attempt("k1", attempt)
        world.attempt("k2", attempt)
    assert control_ids(receiver) in (["k1", "k2"], ["k2"])


def test_a_result_without_findings_says_what_to_do(world, receiver):
    job = world.job("k1", told=False)
    assert world.attempt("k1") is None
    assert "process the study again" in lifecycle.delivery(job, "ris").reason
    assert receiver.messages == []


def test_findings_go_when_the_objects_go(world):
    job = world.job("k1")
    tidy.remove_objects(job)
    assert not (job.folder / job.FINDINGS).exists()


def test_a_busy_destination_is_left_alone_for_as_long_as_it_asks_and_no_longer_than_allowed(tmp_path):
    class BusyOne:
        seconds = 60.0

        def send(self, destination, files):
            raise Busy("it is busy", self.seconds)
            yield

    carrier = BusyOne()
    world = World(tmp_path, carrier, retry_longest_seconds=100.0)
    for key in ("k1", "k2"):
        world.job(key)
    assert world.attempt("k1") == 60.0
    carrier.seconds = 0.0
    assert world.attempt("k2") == 5.0  # not asked: it is not knocked at for a minute
    world.now = 61.0
    carrier.seconds = 3600.0
    assert world.attempt("k1", 1) == 100.0


def test_no_receipt_names_the_patient(world, receiver):
    job = world.job("k1")
    receiver.refused.add("k1")
    world.attempt("k1")
    receipt = json.dumps(lifecycle.delivery(job, "ris").as_json())
    assert not any(word in receipt for word in ("Müller", "4711", "A-77"))
