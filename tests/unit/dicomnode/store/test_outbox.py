"""Messages that wait on the disk: each is sent, whoever else looks at their folder, and a stop is heard."""

import threading
import time

import pytest

from dicomnode.store.outbox import NotTaken, Outbox


def wait_for(condition):
    end = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


class World:
    """An outbox; ``take`` is what is done with a message."""

    def __init__(self, folder):
        self.folder, self.taken, self.away = folder, [], []
        self.take = self.taken.append
        self.outbox = Outbox(folder, self.taking, self.away.append, pause_seconds=0.05)

    def taking(self, message):
        self.take(message)


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "out")
    yield made
    stop(made.outbox)


def stop(outbox):
    stopper = threading.Thread(target=outbox.stop, daemon=True)
    stopper.start()
    stopper.join(10.0)
    return not stopper.is_alive()


class AtMoment(threading.Event):
    """An event where something happens once, around being cleared or right after being looked at."""

    def __init__(self, what, at):
        super().__init__()
        self.what, self.at, self.count = what, at, 0

    def moment(self):
        at, self.count = self.count, self.count + 1
        if at == self.at:
            self.what()

    def clear(self):
        self.moment()
        super().clear()
        self.moment()

    def is_set(self):
        found = super().is_set()
        self.moment()
        return found


@pytest.mark.parametrize(("where", "at"), [("_stop", 0), ("_due", 0), ("_due", 1)])
def test_a_stop_is_heard_at_any_moment(world, where, at):
    def say_stop():
        world.outbox._stop.set()
        world.outbox._due.set()

    world.outbox.put(b"one")
    setattr(world.outbox, where, AtMoment(say_stop, at))
    world.outbox.start()
    wait_for(lambda: not world.outbox._thread.is_alive())
    assert world.taken == [b"one"]


def test_a_message_that_another_process_has_sent_meanwhile_holds_up_no_other(world):
    """As where several machines share the folder."""

    def take(message):
        if not world.taken:
            for path in sorted(world.folder.iterdir())[:2]:
                path.unlink()  # this one and the next
        world.taken.append(message)

    world.take = take
    for message in (b"1", b"2", b"3"):
        world.outbox.put(message)
    world.outbox.start()
    wait_for(lambda: len(world.taken) == 2)
    world.outbox.put(b"4")
    wait_for(lambda: world.taken == [b"1", b"3", b"4"])


@pytest.mark.parametrize("fault", [NotTaken("away"), OSError("a disk in trouble"), RuntimeError("a bug")])
def test_whatever_goes_wrong_is_said_once_and_tried_again(world, fault):
    left = [fault, fault]

    def take(message):
        if left:
            raise left.pop()
        world.taken.append(message)

    world.take = take
    world.outbox.start()
    world.outbox.put(b"one")
    wait_for(lambda: world.taken == [b"one"])
    assert len(world.away) == 1
    assert list(world.folder.iterdir()) == []
