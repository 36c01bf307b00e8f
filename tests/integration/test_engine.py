"""The durable queue and the node around it: nothing stuck, nothing twice, nothing falsely failed."""

import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from bench.faults import database
from dicomnode import events
from dicomnode.config import (
    DestinationSettings,
    FitSettings,
    NodeSettings,
    ScannerSettings,
    Settings,
    StorageSettings,
)
from dicomnode.delivery.carrier import Outcome, Sent
from dicomnode.errors import NodeError, Unreachable
from dicomnode.jobs import engine as engine_module
from dicomnode.jobs import lifecycle, pipeline
from dicomnode.jobs.children import ChildDied
from dicomnode.jobs.engine import Engine, Standing, Work
from dicomnode.jobs.manifest import Manifest
from dicomnode.node import Node
from dicomnode.operate.status import request, request_retry
from dicomnode.store.durable import write_json
from tests.integration.inline import Inline

DEADLINE = 30.0
REPOSITORY = Path(__file__).parents[2]


def wait_for(condition, deadline=DEADLINE):
    end = time.monotonic() + deadline
    while not (value := condition()):
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.02)
    return value


# --- the engine alone


class Script:
    """Work that writes down what happens to it."""

    def __init__(self, destinations=("pacs",), fail=None, pauses=()):
        self.said = []
        self.fail = fail
        self.pauses = list(pauses)
        self.gate = threading.Event()
        self.gate.set()
        self.idle = threading.Event()
        self.work = Work(
            steps=tuple((name, lambda key, name=name: self.step(name, key)) for name in ("fit", "measure", "report")),
            destinations=lambda _: [(name, 0) for name in destinations],
            deliver=self.deliver,
            failed=lambda key, step, fault: self.said.append(("failed", key, step, str(fault))),
        )

    def step(self, name, key):
        self.said.append((name, key))
        try:
            self.gate.wait(DEADLINE)
            if self.fail == name:
                raise NodeError("broken")
        finally:
            self.idle.set()

    def deliver(self, key, destination, attempt):
        self.said.append(("deliver", key, destination, attempt))
        return self.pauses.pop(0) if self.pauses else None

    def names(self):
        return [one[0] for one in self.said]


@contextlib.contextmanager
def running(url, script, folder="here", versions=(1, 2)):
    engine = Engine(url, script.work, fits_at_once=1, poll_seconds=0.05, versions=versions)
    engine.start(folder)
    engine.take_over(lambda _: True)  # as a node does that owns its folder alone
    try:
        yield engine
    finally:
        script.gate.set()
        engine.stop(patience_seconds=10)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'engine.sqlite'}"


def over(engine, key, run=0):
    return lambda: engine.process_standing(key, run) is Standing.OVER


def test_a_job_goes_its_way_once_however_often_it_is_put_in(url):
    script = Script()
    with running(url, script) as engine:
        for _ in range(3):
            engine.process("k")
        wait_for(lambda: "deliver" in script.names())
        wait_for(over(engine, "k"))
    assert script.names() == ["fit", "measure", "report", "deliver"]


def test_each_queue_is_looked_into_while_the_engine_runs(url):
    with running(url, Script()) as engine:
        wait_for(engine.is_polling)
    wait_for(lambda: not engine.is_polling())


def test_every_connection_writes_ahead_and_syncs_fully(url, tmp_path):
    with running(url, Script()):
        from dbos._dbos import _get_dbos_instance

        with _get_dbos_instance()._sys_db.engine.connect() as connection:
            ask = connection.exec_driver_sql
            assert ask("PRAGMA journal_mode").scalar() == "wal"
            assert ask("PRAGMA synchronous").scalar() == 2  # FULL
        assert (tmp_path / "engine.sqlite-wal").exists()


def test_a_failing_step_ends_the_job_and_says_so(url):
    script = Script(fail="measure")
    with running(url, script) as engine:
        engine.process("k")
        wait_for(over(engine, "k"))
    assert script.said[-1] == ("failed", "k", "measure", "broken")
    assert "report" not in script.names()


def test_an_attempt_that_wants_another_gets_it_after_its_pause(url):
    script = Script(pauses=[0.1, 0.1])
    with running(url, script) as engine:
        engine.process("k")
        wait_for(lambda: script.names().count("deliver") == 3)
        wait_for(lambda: engine.deliver_standing("k", "pacs", 2) is Standing.OVER)
    assert [one[3] for one in script.said if one[0] == "deliver"] == [0, 1, 2]


def test_a_pause_can_be_ended(url):
    script = Script(pauses=[3600.0])
    with running(url, script) as engine:
        engine.process("k")
        wait_for(lambda: engine.deliver_standing("k", "pacs", 1) is Standing.GOING)
        engine.deliver_now("k", "pacs", 1)
        wait_for(lambda: script.names().count("deliver") == 2)


def test_an_attempt_that_raises_is_no_end(url):
    script = Script()
    calls = []

    def crash(*arguments):
        calls.append(arguments)
        raise RuntimeError("a bug")

    script.work = Work(script.work.steps, script.work.destinations, crash, script.work.failed)
    with running(url, script) as engine:
        engine.process("k")
        wait_for(lambda: engine.deliver_standing("k", "pacs", 1) is Standing.GOING)
    assert len(calls) == 1


def test_stopping_in_a_step_is_no_failure_and_the_next_start_goes_on(url):
    script = Script()
    script.gate.clear()
    engine = Engine(url, script.work, fits_at_once=1, poll_seconds=0.05)
    engine.start("here")
    engine.process("k")
    wait_for(lambda: script.said)
    stopper = threading.Thread(target=engine.stop, args=(1,))
    stopper.start()
    stopper.join(20.0)
    script.fail = "fit"  # as a child that is killed at the end of the stop
    script.gate.set()
    assert script.idle.wait(DEADLINE)
    again = Script()
    with running(url, again) as engine:
        wait_for(lambda: "deliver" in again.names())
    assert script.names() == ["fit"]
    assert again.names() == ["fit", "measure", "report", "deliver"]


def test_the_next_version_finishes_the_jobs_of_this_one(url, monkeypatch):
    """DBOS leaves what another application version left in flight alone for ever."""
    script = Script()
    script.gate.clear()
    engine = Engine(url, script.work, fits_at_once=1, poll_seconds=0.05)
    engine.start("here")
    for key in ("a", "b", "c"):
        engine.process(key)
    wait_for(lambda: script.said)
    engine.stop(patience_seconds=1)
    monkeypatch.setattr("dicomnode.__version__", "99.0.0")
    after = Script()
    with running(url, after) as engine:
        for key in ("a", "b", "c"):
            wait_for(over(engine, key))
    script.gate.set()
    assert {one[1] for one in after.said if one[0] == "report"} == {"a", "b", "c"}


def test_two_folders_on_one_database_leave_each_others_jobs_alone(url):
    """As two nodes with one PostgreSQL URL: the files of a job are only in one folder."""
    first = Script()
    with running(url, first, "one") as engine:
        engine.process("k")
        wait_for(over(engine, "k"))
    second = Script()
    with running(url, second, "two") as engine:
        assert engine.process_standing("k", 0) is Standing.UNKNOWN
        engine.process("k")
        wait_for(over(engine, "k"))
    assert second.names()[:3] == ["fit", "measure", "report"]


@pytest.mark.parametrize("text", ["sqlite:////nowhere/at/all/engine.sqlite", "postgresql://nobody@127.0.0.1:1/none"])
def test_a_database_that_cannot_be_opened_is_said_with_its_key(text):
    engine = Engine(text, Script().work, fits_at_once=1, poll_seconds=0.05)
    with pytest.raises(NodeError, match=r"\[engine\] url"):
        engine.start("here")


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be looked at\n" * 100, None])
def test_a_damaged_database_is_set_aside_and_said_and_work_goes_on(url, tmp_path, content, capsys):
    path = tmp_path / "engine.sqlite"
    with running(url, Script()) as engine:
        engine.process("before")
        wait_for(over(engine, "before"))
    before = path.read_bytes()
    path.write_bytes(content or before[: len(before) // 2] + bytes(4096) + before[len(before) // 2 :])
    script = Script()
    with running(url, script) as engine:
        engine.process("after")
        wait_for(over(engine, "after"))
    assert "fit" in script.names()
    (kept,) = tmp_path.glob("engine.sqlite.damaged-*[0-9]")
    assert kept.stat().st_size > 0
    assert "database_set_aside" in capsys.readouterr().out


def test_a_database_that_cannot_be_opened_is_said(tmp_path):
    (tmp_path / "engine.sqlite").mkdir()
    engine = Engine(f"sqlite:///{tmp_path / 'engine.sqlite'}", Script().work, fits_at_once=1, poll_seconds=0.05)
    with pytest.raises(NodeError, match=r"\[engine\] url: .*cannot be opened"):
        engine.start("here")


def test_the_bundled_sqlite_stands_in_for_an_old_one(monkeypatch):
    newer = pytest.importorskip("pysqlite3.dbapi2", reason="only installed for Python 3.12 and later")
    monkeypatch.setattr(engine_module.sqlite3, "sqlite_version_info", (3, 40, 1))
    monkeypatch.setattr(engine_module.sys, "version_info", (3, 12, 0))
    assert engine_module._sqlite_module() is newer


# --- the node: files are the truth, whatever the engine remembers


class Pacs:
    """Stands for the sender; takes everything, or is away."""

    def __init__(self):
        self.away = False
        self.sent = []

    def send(self, destination, files):
        if self.away:
            raise Unreachable(f"{destination.name} is away")
        for file in files:
            self.sent.append(file.name)
            yield Sent(file.stem, Outcome.DELIVERED)


def make_outputs(folder, key, step):
    """Stands for the science: the report step leaves one object."""
    job_folder = Path(folder) / "jobs" / key
    (job_folder / f"ran-{step}-{time.monotonic_ns()}").touch()
    if (job_folder / "die").exists() and step == "fit":
        raise ChildDied
    if (job_folder / "break").exists() and step == "measure":
        raise NodeError("cannot be measured")
    if step == "report":
        entry = {"path": f"{key}.dcm", "sop_instance_uid": key, "product": "mr_maps", "kind": "x"}
        (job_folder / entry["path"]).touch()
        write_json(job_folder / "outputs.json", [entry])


@pytest.fixture
def pacs():
    return Pacs()


@pytest.fixture
def world(tmp_path, pacs):
    nodes = []

    def begin(sinks=(), **more):
        destination = DestinationSettings(
            name="pacs", ae_title="PACS", host="127.0.0.1", port=1, retry_first_seconds=0.05, retry_longest_seconds=0.1
        )
        settings = Settings(
            node=NodeSettings.model_construct(ae_title="NODE", host="127.0.0.1", port=0),
            scanner=(ScannerSettings(ae_title="MR1"),),
            storage=StorageSettings(folder=tmp_path / "store", minimum_free_mb=0),
            **{"destination": (destination,), **more},
        )
        node = Node(settings, sender=pacs, children=Inline(), run_step=make_outputs, sinks=sinks)
        node.start()
        nodes.append(node)
        return node

    yield begin
    for node in nodes:
        node.stop()


def put_in(node, number=1):
    manifest = Manifest(sources=(f"1.{number}",), parameters={}, software_version="1")
    return node.spool.job(node.recovery.start(manifest, None))


def left_behind(job, status):
    """As a crash leaves it: what is said does not follow from what was said before."""
    write_json(job.folder / "state.json", {"status": status, "reason": None})


def ran(job, step):
    return len(list(job.folder.glob(f"ran-{step}-*")))


def is_said(job, status):
    return lambda: lifecycle.state(job).status == status


def retry(node, *jobs):
    entries = [{"key": job.key, "study_instance_uid": "1.2"} for job in jobs]
    request_retry(node.spool, entries)
    node.recovery.turn(0.0)


def test_a_job_is_done_when_its_deliveries_are(world, pacs):
    node = world()
    job = put_in(node)
    wait_for(is_said(job, "done"))
    assert pacs.sent == [f"{job.key}.dcm"]


def test_retry_of_what_is_done_changes_nothing(world, pacs):
    node = world()
    job = put_in(node)
    wait_for(is_said(job, "done"))
    retry(node, job)
    assert lifecycle.state(job).status == "done"
    assert len(pacs.sent) == 1


def ask(node, what, *jobs, **more):
    request(node.spool, what, [{"key": job.key, "study_instance_uid": "1.2"} for job in jobs], by="anna", **more)
    node.recovery.turn(0.0)


def test_what_is_sent_again_goes_once_more_to_every_destination(world, pacs):
    node = world()
    job = put_in(node)
    wait_for(is_said(job, "done"))
    ask(node, "send again", job)
    wait_for(lambda: len(pacs.sent) == 2 and lifecycle.state(job).status == "done")
    ask(node, "send again", job)
    wait_for(lambda: len(pacs.sent) == 3 and lifecycle.state(job).status == "done")


def test_what_is_sent_again_to_one_destination_leaves_the_others_alone(world, pacs):
    names = ("pacs", "archive")
    both = [DestinationSettings(name=name, ae_title="PACS", host="127.0.0.1", port=1) for name in names]
    node = world(destination=tuple(both))
    job = put_in(node)
    wait_for(is_said(job, "done"))
    ask(node, "send again", job, to=("archive", "gone"))
    wait_for(lambda: len(pacs.sent) == 3 and lifecycle.state(job).status == "done")
    assert [lifecycle.delivery(job, name).attempt for name in names] == [0, 1]


def test_a_result_that_is_held_back_goes_when_it_is_released(world, pacs):
    pacs.away = True
    node = world()
    job = put_in(node)
    wait_for(lambda: lifecycle.delivery(job, "pacs").status == "delayed")
    ask(node, "hold", job)
    pacs.away = False
    wait_for(lambda: lifecycle.delivery(job, "pacs").reason == "held back by a person")
    assert pacs.sent == []
    ask(node, "release", job)
    wait_for(is_said(job, "done"))
    assert pacs.sent == [f"{job.key}.dcm"]


def test_what_replaces_a_result_that_is_held_back_is_held_back_too(world, pacs):
    pacs.away = True
    node = world()
    first = put_in(node)
    ask(node, "hold", first)
    later = Manifest(sources=("1.1", "1.2"), parameters={}, software_version="1", supersedes=first.key)
    second = node.spool.job(node.recovery.start(later, None))
    assert lifecycle.held_by(second) == "anna"


def asked(node, *whats):
    """Ask for one thing after the other before the node looks."""
    for what, jobs in whats:
        request(node.spool, what, [{"key": job.key, "study_instance_uid": "1.2"} for job in jobs], by="anna")
    node.recovery.turn(0.0)


def test_what_is_asked_for_is_done_in_the_order_it_was_asked_for_also_when_the_clock_is_set_back(
    world, pacs, monkeypatch
):
    pacs.away = True
    node = world()
    job = put_in(node)
    wait_for(lambda: lifecycle.delivery(job, "pacs").status == "delayed")
    clock = iter(range(10**18, 0, -(10**12)))
    monkeypatch.setattr("dicomnode.store.spool.time.time_ns", lambda: next(clock))
    asked(node, *[("hold", [job]), ("release", [job])] * 6)
    assert lifecycle.held_by(job) is None
    asked(node, *[("release", [job]), ("hold", [job])] * 6)
    assert lifecycle.held_by(job) == "anna"


def test_one_result_that_cannot_be_held_does_not_keep_the_others_from_it(world, pacs):
    pacs.away = True
    said = []
    node = world(sinks=(said.append,))
    jobs = [put_in(node, number) for number in (1, 2, 3)]
    gone = node.spool.job("0" * 40)
    asked(node, ("hold", [*jobs[:1], gone, *jobs[1:]]))
    assert [lifecycle.held_by(job) for job in jobs] == ["anna"] * 3
    assert not gone.folder.exists()
    assert [one for one in said if isinstance(one, events.RequestFailed)]


def test_who_asked_is_said(world):
    said = []
    node = world(sinks=(said.append,))
    job = put_in(node)
    wait_for(is_said(job, "done"))
    ask(node, "send again", job)
    (asked,) = [event for event in said if isinstance(event, events.Asked)]
    assert (asked.what, asked.by, asked.keys) == ("send again", "anna", (job.key,))


def test_retry_of_what_is_on_its_way_changes_nothing(world, pacs):
    pacs.away = True
    node = world()
    job = put_in(node)
    retry(node, job)
    wait_for(lambda: lifecycle.delivery(job, "pacs").status == "delayed")
    retry(node, job)
    pacs.away = False
    wait_for(is_said(job, "done"))
    assert [ran(job, step) for step in pipeline.STEPS] == [1, 1, 1]
    assert len(pacs.sent) == 1


def test_a_retry_that_meets_the_end_of_an_attempt_ends_the_pause_behind_it(world, pacs, monkeypatch):
    """The receipt says that it waits; the attempt that it waits for is not in the queue yet."""
    pacs.away = True
    slow = {"ae_title": "PACS", "host": "127.0.0.1", "port": 1, "retry_first_seconds": 900.0}
    node = world(destination=(DestinationSettings(name="pacs", **slow),))
    put_behind, gate = node.engine.deliver, threading.Event()

    def deliver(key, destination, attempt, delay_seconds=0.0):
        if delay_seconds:
            gate.wait(DEADLINE)
        put_behind(key, destination, attempt, delay_seconds)

    monkeypatch.setattr(node.engine, "deliver", deliver)
    job = put_in(node)
    wait_for(lambda: lifecycle.delivery(job, "pacs").status == "delayed")
    pacs.away = False
    retry(node, job)
    gate.set()
    wait_for(is_said(job, "done"))


def test_retry_runs_a_failed_job_again_as_often_as_it_is_asked(world):
    node = world()
    job = put_in(node)
    (job.folder / "break").touch()
    retry(node, job)
    for _ in range(2):
        wait_for(is_said(job, "failed"))
        assert lifecycle.state(job).reason == "measure: cannot be measured"
        retry(node, job)
    wait_for(is_said(job, "failed"))
    (job.folder / "break").unlink()
    retry(node, job)
    wait_for(is_said(job, "done"))


def test_a_dead_letter_is_said_and_retry_brings_it_back(world, pacs):
    pacs.away = True
    quick = DestinationSettings(
        name="pacs",
        ae_title="PACS",
        host="127.0.0.1",
        port=1,
        retry_first_seconds=0.01,
        retry_longest_seconds=0.02,
        give_up_after_hours=0.1 / 3600.0,
    )
    node = world(destination=(quick,))
    job = put_in(node)
    for _ in range(2):
        wait_for(lambda: lifecycle.delivery(job, "pacs").status == "dead letter")
        wait_for(is_said(job, "failed"))
        assert "pacs is away" in lifecycle.state(job).reason
        retry(node, job)
        assert lifecycle.delivery(job, "pacs").status != "dead letter"
    pacs.away = False
    wait_for(lambda: lifecycle.state(job).status in {"done", "failed"})
    retry(node, job)
    wait_for(is_said(job, "done"))
    assert len(pacs.sent) == 1


def test_a_request_that_cannot_be_done_stops_nothing(world):
    node = world()
    (node.spool.requests / "damaged.json").write_text("{")
    write_json(node.spool.requests / "unknown.json", {"keys": ["nothing"], "studies": []})
    node.recovery.turn(0.0)
    job = put_in(node)
    wait_for(is_said(job, "done"))
    assert not list(node.spool.requests.glob("*.json"))


def test_a_job_that_keeps_killing_its_process_is_given_up_and_says_so(world):
    node = world(fit=FitSettings(deaths_allowed=2))
    job = put_in(node)
    (job.folder / "die").touch()
    retry(node, job)
    wait_for(is_said(job, "failed"))
    assert lifecycle.state(job).reason in {
        "fit: given up after 2 trials, the last of them alone: The process that ran the step died.",
        "measure: cannot be measured",
    }
    other = put_in(node, 2)
    wait_for(is_said(other, "done"))


@pytest.mark.parametrize("status", ["queued", "fitting", "delivering"])
@pytest.mark.parametrize("remembered", [True, False], ids=["engine kept", "engine deleted"])
def test_whatever_the_files_say_a_start_finishes_it_once(world, pacs, tmp_path, status, remembered):
    """The engine may know of the job, have seen it end, or know nothing; the files decide."""
    node = world()
    job = put_in(node)
    wait_for(is_said(job, "done"))
    wait_for(lambda: node.engine.process_standing(job.key, 0) is Standing.OVER)
    node.stop()
    if status != "delivering":
        (job.folder / "outputs.json").unlink()
    for path in (job.folder / "receipts").iterdir():
        path.unlink()
    if not remembered:
        for path in (tmp_path / "store").glob("engine.sqlite*"):
            path.unlink()
    left_behind(job, status)
    world()
    wait_for(is_said(job, "done"))
    assert len(pacs.sent) == 2


def test_a_crash_before_the_last_word_is_made_good(world, pacs, tmp_path):
    """The receipt was written, the job not yet said to be done, and the engine's database is gone."""
    node = world()
    job = put_in(node)
    wait_for(is_said(job, "done"))
    node.stop()
    left_behind(job, "delivering")
    for path in (tmp_path / "store").glob("engine.sqlite*"):
        path.unlink()
    world()
    wait_for(is_said(job, "done"))
    assert len(pacs.sent) == 1


@pytest.mark.parametrize("status", ["done", "failed", "refused"])
def test_what_has_ended_stays_so(world, status):
    node = world()
    job = put_in(node)
    wait_for(is_said(job, "done"))
    (job.folder / "outputs.json").unlink()
    left_behind(job, status)
    node.recovery.turn(time.monotonic() + 1000.0)
    assert lifecycle.state(job).status == status


def test_a_damaged_job_does_not_keep_the_node_from_starting(world):
    node = world()
    job = put_in(node)
    wait_for(is_said(job, "done"))
    node.stop()
    (job.folder / "state.json").write_text("{")
    again = world()
    other = put_in(again, 2)
    wait_for(is_said(other, "done"))


def test_a_node_without_destinations_says_done(world):
    node = world(destination=())
    job = put_in(node)
    wait_for(is_said(job, "done"))


def test_a_destination_that_left_the_configuration_ends_its_waiting(world, pacs):
    pacs.away = True
    node = world()
    job = put_in(node)
    wait_for(lambda: lifecycle.delivery(job, "pacs").status == "delayed")
    node.stop()
    world(destination=())
    wait_for(is_said(job, "done"))


def test_a_folder_moved_to_another_machine_goes_on(world, pacs, monkeypatch):
    """A container gets a new host name at every start; what was in flight must not wait for the old one."""
    monkeypatch.setattr("socket.gethostname", lambda: "one")
    pacs.away = True
    node = world()
    job = put_in(node)
    wait_for(lambda: lifecycle.delivery(job, "pacs").status == "delayed")
    node.stop()
    pacs.away = False
    monkeypatch.setattr("socket.gethostname", lambda: "two")
    world()
    wait_for(is_said(job, "done"))


def test_a_start_that_fails_leaves_nothing_running(world, tmp_path):
    node = world()
    with pytest.raises(NodeError, match="another node already uses"):
        world()
    job = put_in(node)
    wait_for(is_said(job, "done"))


def test_a_port_in_use_ends_the_process_with_status_1(world, tmp_path):
    node = world()
    config = tmp_path / "config.toml"
    config.write_text(
        f'[node]\nhost = "127.0.0.1"\nport = {node.port}\n[[scanner]]\nae_title = "A"\n'
        '[[destination]]\nname = "p"\nae_title = "P"\nhost = "127.0.0.1"\nport = 1\n'
    )
    command = [sys.executable, "-m", "dicomnode", "serve", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=REPOSITORY, check=False)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{node.port}" in done.stderr


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with 16 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_queue_database_is_said_and_nothing_is_lost(small_disk):
    url = f"sqlite:///{small_disk / 'engine.sqlite'}"
    script = Script()
    filler = small_disk / "filler"
    with running(url, script) as engine:
        engine.process("before")
        wait_for(over(engine, "before"))
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        refused = []
        for number in range(50):  # the log may still have room for a few
            try:
                engine.process(f"k{number}")
            except Exception as fault:  # noqa: BLE001  whatever the database says
                refused.append((number, fault))
        assert refused
        assert "full" in str(refused[0][1])
        filler.unlink()
        for number, _ in refused:
            engine.process(f"k{number}")
        taken = [f"k{number}" for number in range(50)]

        def all_delivered():
            engine.take_up_lost()
            return {one[1] for one in script.said if one[0] == "deliver"} >= set(taken)

        wait_for(all_delivered)


@pytest.mark.peer
def test_the_same_node_runs_on_postgresql(world, pacs, postgresql):
    from dicomnode.config import EngineSettings

    node = world(engine=EngineSettings(url=postgresql))
    jobs = [put_in(node, number) for number in range(3)]
    for job in jobs:
        wait_for(is_said(job, "done"))
    node.stop()
    job = jobs[0]
    left_behind(job, "delivering")
    again = world(engine=EngineSettings(url=postgresql))
    wait_for(is_said(job, "done"))
    assert len(pacs.sent) == 3
    again.stop()  # before its database goes


@pytest.mark.peer
def test_a_folder_goes_on_with_a_database_that_is_new(world, pacs, postgresql):
    """A backup of the files is enough."""
    from dicomnode.config import EngineSettings

    pacs.away = True
    node = world(engine=EngineSettings(url=postgresql))
    job = put_in(node)
    wait_for(lambda: lifecycle.delivery(job, "pacs").status == "delayed")
    node.stop()
    pacs.away = False
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("CREATE DATABASE fresh")
    again = world(engine=EngineSettings(url=f"{postgresql.rpartition('/')[0]}/fresh"))
    wait_for(is_said(job, "done"))
    assert len(pacs.sent) == 1
    again.stop()  # before its database goes


@pytest.fixture
def postgresql(peer):
    if database.programs() is None:
        peer("pg_ctl")
    with database.postgresql() as server:
        yield server.url


def test_a_job_of_a_manifest_that_is_not_known_waits_for_software_that_knows_it(url):
    older, newer = Script(), Script()
    with running(url, older) as engine:
        engine.process("theirs", version=3)
        engine.process("ours", version=2)
        wait_for(over(engine, "ours"))
        assert engine.process_standing("theirs", 0) is Standing.GOING
    with running(url, newer, versions=(1, 2, 3)) as engine:
        wait_for(over(engine, "theirs"))
    assert {one[1] for one in older.said} == {"ours"}


def test_a_small_series_overtakes_the_large_ones_that_wait(url):
    script = Script()
    script.gate.clear()
    with running(url, script) as engine:
        for number in range(3):
            engine.process(f"large{number}")
        wait_for(lambda: script.said)
        engine.process("small", quick=True)
        wait_for(lambda: ("fit", "small") in script.said)
        assert [one[1] for one in script.said if one[0] == "fit"] == ["large0", "small"]
