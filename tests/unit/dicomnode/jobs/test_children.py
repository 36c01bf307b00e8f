"""Child processes: what a step does to its process stays there."""

import errno
import functools
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from dicomnode.errors import StepError, UndecodablePixels
from dicomnode.jobs.children import ChildDied, Children, Limits, Stopped, TooLarge, TooLong


class Stubborn(Exception):
    """Cannot be sent between processes."""

    def __init__(self, lock):
        super().__init__("stubborn")
        self.lock = lock


def write(path, text):
    Path(path).write_text(text)


def raise_ours():
    raise UndecodablePixels("not today")


def raise_stubborn():
    raise Stubborn(threading.Lock())


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def name_process(path):
    Path(path).write_text(str(os.getpid()))


def wait_for_ever(path):
    Path(path).write_text(str(os.getpid()))
    signal.pause()


def signal_itself():
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)


@pytest.fixture
def children():
    started = Children(1)
    yield started
    started.stop()


def wait_for(condition):
    end = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_step_runs_in_another_process(children, tmp_path):
    children.run(name_process, str(tmp_path / "pid"))
    assert int((tmp_path / "pid").read_text()) != os.getpid()


def write_niceness(path):
    path.write_text(str(os.nice(0)))


def test_a_step_stands_back_but_is_never_starved_by_what_else_runs(children, tmp_path):
    children.run(write_niceness, tmp_path / "niceness")
    above_ours = int((tmp_path / "niceness").read_text()) - os.nice(0)
    share_beside_one_busy_program = 1.25**-above_ours / (1.25**-above_ours + 1)  # Linux weighs each level 1.25 times
    assert above_ours > 0
    assert share_beside_one_busy_program >= 0.2


def test_what_a_step_raises_is_raised_with_its_place(children):
    with pytest.raises(UndecodablePixels, match="not today") as caught:
        children.run(raise_ours)
    assert "raise_ours" in "".join(caught.value.__notes__)


def test_a_fault_that_cannot_be_sent_is_said(children):
    with pytest.raises(StepError, match="Stubborn: stubborn"):
        children.run(raise_stubborn)


def test_a_death_is_named_and_the_next_step_runs(children, tmp_path):
    with pytest.raises(ChildDied):
        children.run(die)
    children.run(write, str(tmp_path / "after"), "well")
    assert (tmp_path / "after").read_text() == "well"


def test_a_signal_to_the_whole_service_is_no_death(children):
    children.run(signal_itself)


def test_stopping_ends_a_step_at_work_at_once(children, tmp_path):
    ends = []

    def run():
        try:
            children.run(wait_for_ever, str(tmp_path / "pid"))
        except Stopped as fault:
            ends.append(fault)

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    children.stop()
    thread.join(10.0)
    assert len(ends) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_nothing_starts_after_the_stop(tmp_path):
    children = Children(1)
    children.stop()
    with pytest.raises(Stopped):
        children.run(write, str(tmp_path / "late"), "x")


def sleep_and_write(path):
    time.sleep(0.5)
    Path(path).write_text(str(os.getpid()))


def test_children_that_are_started_prepare_before_their_first_step(tmp_path):
    started = Children(1, functools.partial(write, str(tmp_path / "ready"), "yes"))
    started.start()
    try:
        wait_for((tmp_path / "ready").exists)
        started.run(name_process, str(tmp_path / "pid"))
    finally:
        started.stop()


def test_the_others_are_started_when_the_first_have_had_time(monkeypatch):
    monkeypatch.setattr("dicomnode.jobs.children._LATER_SECONDS", 0.3)
    started = Children(3, warm=1)
    started.start()
    try:
        assert started.ready() == 1
        wait_for(lambda: started.ready() == 3)
    finally:
        started.stop()


def test_one_at_work_is_not_ready(tmp_path):
    started = Children(2)
    started.start()
    try:
        working = threading.Thread(target=started.run, args=(sleep_and_write, str(tmp_path / "pid")))
        working.start()
        wait_for(lambda: started.ready() == 1)
        working.join()
        assert started.ready() == 2
    finally:
        started.stop()


def test_a_child_that_cannot_prepare_still_runs_its_steps(tmp_path):
    started = Children(1, raise_ours)
    started.start()
    try:
        started.run(name_process, str(tmp_path / "pid"))
    finally:
        started.stop()
    assert (tmp_path / "pid").exists()


def test_an_interrupt_while_a_child_starts_is_not_the_childs(tmp_path):
    """As when Ctrl-C ends a node that was just started: nothing of it may end up in its log."""
    started = Children(1, functools.partial(sleep_and_write, str(tmp_path / "ready")))
    started.start()
    try:
        (child,) = started._alive
        os.kill(child._process.pid, signal.SIGINT)
        wait_for((tmp_path / "ready").exists)
    finally:
        started.stop()


def take_memory(mb):
    import numpy as np

    np.ones(mb << 17)


def note_times(path, seconds):
    begin = time.monotonic()
    time.sleep(seconds)
    Path(path).write_text(f"{begin} {time.monotonic()}")


def test_a_step_that_hangs_is_ended_and_the_next_runs(tmp_path):
    limited = Children(1, limits=Limits(seconds=8.0))
    limited.run(name_process, str(tmp_path / "first"))
    try:
        with pytest.raises(TooLong, match=r"more than 8 s"):
            limited.run(wait_for_ever, str(tmp_path / "hung"))
        limited.run(name_process, str(tmp_path / "next"))
    finally:
        limited.stop()
    assert (tmp_path / "next").read_text() != (tmp_path / "hung").read_text()


def test_a_step_that_wants_too_much_memory_fails_and_has_twice_as_much_alone(tmp_path):
    limited = Children(1, limits=Limits(memory_mb=600))
    try:
        limited.run(take_memory, 100)
        with pytest.raises(TooLarge, match="600 MB"):
            limited.run(take_memory, 700)
        limited.run(take_memory, 700, alone=True)
    finally:
        limited.stop()


def test_alone_is_alone(tmp_path):
    """What broke once must not break a neighbour, and must not be broken by one."""
    several, files = Children(3), [tmp_path / str(number) for number in range(4)]
    try:
        calls = [(note_times, str(file), 1.0) for file in files]
        threads = [
            threading.Thread(target=several.run, args=call, kwargs={"alone": number == 1})
            for number, call in enumerate(calls)
        ]
        for thread in threads:
            thread.start()
            time.sleep(0.1)
        for thread in threads:
            thread.join()
    finally:
        several.stop()
    spans = [tuple(map(float, file.read_text().split())) for file in files]
    alone = spans.pop(1)
    assert all(end <= alone[0] or begin >= alone[1] for begin, end in spans)


def run_at_once(several, steps):
    """Run steps alone, all at once; whether they have come to an end."""
    threads = [threading.Thread(target=several.run, args=step, kwargs={"alone": True}, daemon=True) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    return not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("count", [2, 3])
def test_several_that_go_alone_at_once_go_one_after_the_other(monkeypatch, tmp_path, count):
    """As when the machine runs out of memory and more than one step dies: none may hold what another waits for."""
    several = Children(count)
    borrow = several._borrowed

    def borrow_later():
        time.sleep(0.2)  # the others are held, its own child is not yet
        return borrow()

    monkeypatch.setattr(several, "_borrowed", borrow_later)
    try:
        assert run_at_once(several, [(write, str(tmp_path / str(number)), "done") for number in range(count)])
    finally:
        several.stop()
    assert len(list(tmp_path.iterdir())) == count


def test_a_child_that_cannot_be_started_leaves_its_place(monkeypatch, tmp_path):
    """As where there is no memory for one more process at that moment."""
    several = Children(2)
    begin = several._started

    def no_memory():
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr(several, "_started", no_memory)
    with pytest.raises(OSError, match="no memory"):
        several.start()
    monkeypatch.setattr(several, "_started", begin)
    try:
        assert run_at_once(several, [(write, str(tmp_path / "after"), "well")])
    finally:
        several.stop()
