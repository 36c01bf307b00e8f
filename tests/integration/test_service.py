"""The node as a service: what systemd is told, and a configuration that is read again while it runs."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from dicomnode import events
from dicomnode.service import Service

WATCHDOG_SECONDS = 4.0


class Manager:
    """The socket that systemd listens on, and what it has been told."""

    def __init__(self, path):
        self.path = path
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._listening.bind(str(path))
        self.told = []

    def hear(self, seconds=0.2):
        """What is told within that time, beside what was before."""
        end = time.monotonic() + seconds
        new = []
        while (left := end - time.monotonic()) > 0:
            self._listening.settimeout(left)
            try:
                new += self._listening.recv(4096).decode().splitlines()
            except TimeoutError:
                break
        self.told += new
        return new

    def wait_for(self, beginning, seconds=30.0):
        end = time.monotonic() + seconds
        while not (found := [line for line in self.told if line.startswith(beginning)]):
            assert time.monotonic() < end, f"{beginning} was not told: {self.told}"
            self.hear()
        return found[-1]

    def wait_for_no(self, line, seconds, deadline=30.0):
        """Wait until it was not told for so long."""
        end = time.monotonic() + deadline
        while line in self.hear(seconds):
            assert time.monotonic() < end, f"{line} was told again and again"

    def forget(self):
        self.hear(0.01)
        self.told.clear()

    def close(self):
        self._listening.close()


@pytest.fixture
def manager(tmp_path):
    one = Manager(tmp_path / "notify")
    yield one
    one.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    """`dicomnode serve` under a manager."""

    def __init__(self, folder, manager):
        self.config = folder / "config.toml"
        self.log = folder / "log.jsonl"
        self.folder = folder / "dicomnode-data"
        self.port = free_port()
        self.configure()
        told = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1e6))}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dicomnode", "--log-json", "serve", "--config", str(self.config)],
                env={**os.environ, **told},
                stdout=log,
                stderr=log,
            )

    def configure(self, scanners=("ONE",), more=""):
        text = f'[node]\nhost = "127.0.0.1"\nport = {self.port}\n[grouping]\nrescan_seconds = 0.5\n'
        text += "".join(f'[[scanner]]\nae_title = "{name}"\n' for name in scanners)
        text += '[[destination]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 1\n'
        self.config.write_text(text + more)

    def hang_up(self):
        self.process.send_signal(signal.SIGHUP)

    def said(self, name, seconds=20.0):
        """The log line of that event, once there is one."""
        end = time.monotonic() + seconds
        while True:
            lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
            found = [line for line in lines if line["event"] == name]
            if found:
                return found[-1]
            assert time.monotonic() < end, f"{name} was not logged: {self.log.read_text()[-2000:]}"
            time.sleep(0.05)

    def lets_in(self, calling):
        entity = AE(calling)
        entity.add_requested_context(Verification)
        association = entity.associate("127.0.0.1", self.port, ae_title="LIVERIRON")
        established = association.is_established
        if established:
            association.release()
        return established

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture
def node(tmp_path, manager):
    one = Node(tmp_path, manager)
    yield one
    one.end()


def test_ready_is_told_once_the_port_is_listened_on_and_the_queue_answers(node, manager):
    manager.wait_for("READY=1")
    socket.create_connection(("127.0.0.1", node.port), timeout=5).close()
    assert (node.folder / "engine.sqlite").exists()
    status = manager.wait_for("STATUS=")
    assert f"listening on 127.0.0.1:{node.port}" in status
    assert "0 deliveries done, 0 delayed, 0 failed" in status
    node.process.terminate()
    manager.wait_for("STOPPING=1")
    assert node.process.wait(30) == 0


def test_the_watchdog_is_fed_until_the_watcher_hangs(node, manager):
    manager.wait_for("WATCHDOG=1")
    manager.forget()
    manager.wait_for("WATCHDOG=1")
    pipe = node.folder / "incoming" / "1.2.3" / "1.2.3.4.dcm"
    pipe.parent.mkdir()
    os.mkfifo(pipe)  # opening it waits for somebody who writes
    assert "watcher" in node.said("stuck")["parts"]
    assert "watcher" in manager.wait_for("STATUS=does not turn any more")
    manager.wait_for_no("WATCHDOG=1", WATCHDOG_SECONDS)
    manager.forget()
    os.close(os.open(pipe, os.O_WRONLY))
    manager.wait_for("WATCHDOG=1")


def test_the_watchdog_is_not_fed_when_the_main_loop_hangs_and_the_log_says_where(node, manager):
    manager.wait_for("READY=1")
    os.mkfifo(node.folder / "requests" / "1.json")  # opening it waits for somebody who writes
    manager.wait_for_no("WATCHDOG=1", WATCHDOG_SECONDS)
    node.process.send_signal(signal.SIGABRT)  # as systemd does then
    assert node.process.wait(30) == -signal.SIGABRT
    assert "_answer_requests" in node.log.read_text()


def test_what_may_change_at_once_does_and_the_log_says_what_does_not(node, manager):
    manager.wait_for("READY=1")
    assert not node.lets_in("TWO")
    manager.forget()
    node.configure(("ONE", "TWO"), "[fit]\nworkers = 2\n[receive]\nidle_seconds = 20.0\n")
    node.hang_up()
    said = node.said("configuration_read")
    assert said["at_once"] == ["[receive] idle_seconds", "[[scanner]] TWO"]
    assert said["after_restart"] == ["[fit] workers"]
    manager.wait_for("READY=1")
    assert manager.told.index("READY=1") > manager.told.index("RELOADING=1")
    assert any(line.startswith("MONOTONIC_USEC=") for line in manager.told)
    assert node.lets_in("TWO")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("[storage]\nminimum_free = 3\n", "line 14: [storage] minimum_free: unknown key; did you mean"),
        ('[tls]\nreceive = true\ncertificate = "none.pem"\nkey = "none.key"\n', "none.pem"),
    ],
)
def test_a_configuration_with_a_fault_changes_nothing_and_is_said(node, manager, fault, said):
    manager.wait_for("READY=1")
    manager.forget()
    node.configure(("TWO",), fault)
    node.hang_up()
    reason = node.said("configuration_not_taken")["reason"]
    assert said in reason
    assert str(node.config.parent) in reason
    manager.wait_for("READY=1")
    assert node.lets_in("ONE")
    assert not node.lets_in("TWO")


def test_no_manager_is_told_nothing(manager):
    service = Service({})
    service.turned(0.0, ready=True, how="well")
    service.stopping()
    assert manager.hear() == []


def test_a_watchdog_of_another_process_is_not_fed(manager):
    service = Service({"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"})
    service.turned(0.0, ready=True, how="well")
    assert "WATCHDOG=1" not in manager.hear()
    assert "READY=1" in manager.told


def test_what_has_happened_is_counted_in_the_status(manager):
    service = Service({"NOTIFY_SOCKET": str(manager.path)})
    service.count(events.DeliveryEnded("k", "pacs", "delivered", 3))
    service.count(events.DeliveryEnded("k", "pacs", "dead letter", 0))
    service.count(events.DeliveryDelayed("k", "pacs", 1, "away", 5.0))
    service.turned(0.0, ready=False, how="well")
    assert manager.hear() == ["STATUS=well; since the start: 0 series complete, 1 deliveries done, 1 delayed, 1 failed"]


def test_an_abstract_address_is_understood(tmp_path):
    name = f"dicomnode-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        Service({"NOTIFY_SOCKET": f"@{name}"}).stopping()
        listening.settimeout(5)
        assert listening.recv(100).startswith(b"STOPPING=1")
