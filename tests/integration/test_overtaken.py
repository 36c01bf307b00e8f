"""A result and the one that takes its place, wherever they meet: never two reports of which none names the other."""

import contextlib
import itertools
from dataclasses import replace

import pytest

from dicomnode import events
from dicomnode.config import DestinationSettings, GroupingSettings, ReportSettings
from dicomnode.delivery.carrier import Outcome, Sent
from dicomnode.delivery.deliver import Deliveries
from dicomnode.errors import NoAnswer, Unreachable
from dicomnode.jobs import lifecycle
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs.engine import Standing
from dicomnode.jobs.lifecycle import IllegalTransition, JobStatus
from dicomnode.jobs.manifest import Manifest
from dicomnode.jobs.recovery import Recovery
from dicomnode.jobs.steps import Steps
from dicomnode.store.durable import write_json
from dicomnode.store.spool import Spool
from tests.integration.moments import Moments

FIRST = Manifest(sources=("1.1",), parameters={}, software_version="1")
SECOND = replace(FIRST, sources=("1.1", "1.2"), supersedes=FIRST.key)
LONGEST = 100  # moments of a result's way: all


class Peers:
    """A destination that takes everything; when it is to be ``silent`` it says nothing of that."""

    def __init__(self):
        self.got = []
        self.silent = False

    def send(self, destination, files):
        for file in files:
            self.got.append(file.stem)
            if self.silent:
                raise NoAnswer("it did not answer")
            yield Sent(file.stem, Outcome.DELIVERED)


class Inline:
    """Runs steps where they are."""

    def ready(self):
        return 1

    def run(self, step, *arguments, alone=False):
        step(*arguments)


class Queue:
    """What was put in and is run by the test."""

    def __init__(self):
        self.put_in = []

    def process(self, key, run=0, *, quick=False, version=1):
        self.put_in.append(key)

    def end_pauses(self):
        pass

    def take_over(self, is_dead):
        pass

    def take_up_lost(self):
        pass

    def process_standing(self, key, run):
        return Standing.OVER if key in self.put_in else Standing.UNKNOWN


class World:
    def __init__(self, folder, monkeypatch):
        self.spool = Spool(folder)
        self.spool.create()
        self.peers, self.queue, self.moments = Peers(), Queue(), Moments(monkeypatch)
        pacs = DestinationSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=1)
        self.said = []
        say = self.said.append
        self.deliveries = Deliveries(self.spool, (pacs,), self.peers, say=say)
        self.steps = Steps(
            self.spool,
            Inline(),
            deaths_allowed=1,
            settle=self.deliveries.settle,
            run_step=self.run_step,
            say=say,
        )
        self.recovery = Recovery(
            self.spool,
            self.queue,
            self.deliveries,
            ReportSettings(),
            look_at=lambda _: None,
            rules_of=lambda _: GroupingSettings(),
            say=say,
        )

    def run_step(self, _folder, key, name):
        if name == "report":
            entry = {"path": f"{key}.dcm", "sop_instance_uid": key, "product": "mr_maps", "kind": "x"}
            (self.spool.jobs / key / entry["path"]).touch()
            write_json(self.spool.jobs / key / "outputs.json", [entry])

    def way_of(self, key):
        """All that becomes of a job, in as many pieces as there are workflows' steps."""
        for name, step in self.steps.table():
            try:
                step(key)
            except Exception as fault:  # noqa: BLE001  as the engine does
                self.steps.failed(key, name, fault)
                return
            yield
        for name, attempt in self.deliveries.beginnings(key):
            self.deliveries.attempt(key, name, attempt)
            yield

    def second(self):
        return self.spool.job(self.recovery.start(SECOND, None))

    def finish(self):
        """As the rounds of recovery do with what is to be delivered, and was not."""
        first = self.spool.job(FIRST.key)
        if lifecycle.state(first).status is JobStatus.DELIVERING:
            self.deliveries.attempt(FIRST.key, "pacs", lifecycle.delivery(first, "pacs").attempt + 1)


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = World(tmp_path, monkeypatch)
    made.recovery.start(FIRST, None)
    return made


def judge(world):
    """Of two reports in a PACS the second names the first; of one that was not sent nobody speaks."""
    world.moments.end()
    second = world.second()
    world.finish()
    for _ in world.way_of(second.key):
        pass
    first = world.spool.job(FIRST.key)
    is_sent, named = FIRST.key in world.peers.got, manifests.read(second).supersedes
    assert (lifecycle.state(first).status, named) == (
        (JobStatus.DONE, FIRST.key) if is_sent else (JobStatus.OVERTAKEN, None)
    )
    assert second.key in world.peers.got


@pytest.mark.parametrize("at", range(LONGEST))
def test_a_result_that_is_overtaken_at_any_moment_of_its_way(world, at):
    world.moments.interrupt(at, world.second)
    for _ in world.way_of(FIRST.key):
        pass
    assert world.moments.count <= LONGEST, "there are more moments than were looked at"
    judge(world)


@pytest.mark.parametrize("until", range(0, 80, 8))
@pytest.mark.parametrize("at", range(0, 80, 8))
def test_a_result_that_two_machines_work_on_is_done(world, until, at):
    """As where one was thought dead and comes back: what the other has finished stays so."""

    def work():
        with contextlib.suppress(IllegalTransition):  # of an attempt, which the engine makes again
            for _ in world.way_of(FIRST.key):
                pass

    world.moments.cross(work, until, work, at)
    first = world.spool.job(FIRST.key)
    assert FIRST.key in world.peers.got
    assert lifecycle.delivery(first, "pacs").status == "delivered"
    if not lifecycle.state(first).status.is_end:
        world.deliveries.attempt(FIRST.key, "pacs", 9)  # as a round of recovery does
    assert lifecycle.state(first).status is JobStatus.DONE


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("at", range(28))
def test_what_replaces_a_result_that_is_held_is_held_whenever_the_process_dies(world, at):
    def die():
        raise Killed

    lifecycle.hold(world.spool.job(FIRST.key), "anna")
    world.moments.interrupt(at, die)
    with contextlib.suppress(Killed):
        world.second()
    world.moments.end()
    assert world.moments.count <= 28, "there are more moments than were looked at"
    second = world.spool.job(SECOND.key)
    if manifests.exists(second):
        assert lifecycle.held_by(second) == "anna"


@pytest.mark.parametrize("done", range(5))
@pytest.mark.parametrize("at", range(24))
def test_a_result_that_goes_on_at_any_moment_of_being_overtaken(world, done, at):
    way = world.way_of(FIRST.key)
    for _ in itertools.islice(way, done):
        pass
    world.moments.interrupt(at, lambda: list(way))
    world.second()
    assert world.moments.count <= 24, "there are more moments than were looked at"
    judge(world)


THIRD = replace(FIRST, sources=("1.1", "1.2", "1.3"), supersedes=SECOND.key)


@pytest.mark.parametrize("end", [JobStatus.REFUSED, JobStatus.FAILED])
@pytest.mark.parametrize("first_sent", [True, False])
def test_what_follows_a_result_that_came_to_nothing_names_what_was_sent_before(world, first_sent, end):
    if first_sent:
        for _ in world.way_of(FIRST.key):
            pass
    second = world.second()
    lifecycle.say(second, end, "no liver")
    third = world.spool.job(world.recovery.start(THIRD, None))
    assert manifests.read(third).supersedes == (FIRST.key if first_sent else None)


def test_what_was_sent_without_an_answer_is_named_by_what_follows(world):
    world.peers.silent = True
    for _ in world.way_of(FIRST.key):
        pass
    assert lifecycle.delivery(world.spool.job(FIRST.key), "pacs").status == "delayed"
    assert manifests.read(world.second()).supersedes == FIRST.key


def test_an_attempt_that_was_cut_off_may_have_sent_something(world):
    for _ in itertools.islice(world.way_of(FIRST.key), 3):
        pass
    first = world.spool.job(FIRST.key)
    lifecycle.say_delivery(first, "pacs", lifecycle.Delivery(status=lifecycle.DeliveryStatus.SENDING))

    def unreachable(destination, files):
        raise Unreachable("nobody there")

    world.peers.send = unreachable
    world.deliveries.attempt(FIRST.key, "pacs", 1)
    assert manifests.read(world.second()).supersedes == FIRST.key


@pytest.mark.parametrize("what", ["retry", "send again", "release"])
def test_a_result_that_was_overtaken_is_not_brought_back(world, what):
    for _ in itertools.islice(world.way_of(FIRST.key), 3):
        pass
    second = world.second()
    write_json(world.spool.requests / "one.json", {"what": what, "by": "anna", "keys": [FIRST.key]})
    world.recovery.turn(-1.0)  # requests only
    assert lifecycle.state(world.spool.job(FIRST.key)).status is JobStatus.OVERTAKEN
    assert manifests.read(second).supersedes is None
    refused = [one for one in world.said if isinstance(one, events.RequestRefused)]
    asked = [one for one in world.said if isinstance(one, events.Asked)]
    assert (len(refused), len(asked)) == ((0, 1) if what == "release" else (1, 0))


@pytest.mark.parametrize("done", range(5))
def test_a_result_never_takes_its_own_place(world, done):
    """As where a phase comes after its magnitudes have gone: another set of images, the same values."""
    way = world.way_of(FIRST.key)
    for _ in itertools.islice(way, done):
        pass
    assert world.recovery.start(replace(FIRST, supersedes=FIRST.key), None) == FIRST.key
    for _ in way:
        pass
    first = world.spool.job(FIRST.key)
    assert (lifecycle.state(first).status, manifests.read(first).supersedes) == (JobStatus.DONE, None)
    assert world.peers.got == [FIRST.key]
