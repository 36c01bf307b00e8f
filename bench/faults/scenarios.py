"""The scenarios: each takes a folder and a size, and gives what became of its studies."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.faults.database import postgresql, programs
from bench.faults.forgetful import LATE_SECONDS, Forgetful
from bench.faults.versions import another_version, software_versions
from bench.faults.world import (
    ECHOES,
    LOOPBACK,
    PRODUCTS,
    Failed,
    Node,
    Pacs,
    Scanner,
    Study,
    Tally,
    all_reported,
    chance,
    free_port,
    tally,
    template,
    wait_for,
)
from dicomnode.commitment import PUSH_MODEL
from dicomnode.store.durable import read_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PATIENCE = 180.0
_UPGRADE_SECONDS = 40.0  # over which studies arrive while machines are upgraded
SHORT = '[grouping]\nanatomy = "any"\nquiet_seconds = 1.0\nunreleased_quiet_seconds = 20.0\nrescan_seconds = 2.0\n'
_SETTINGS = SHORT + "[storage]\nminimum_free_mb = 1\n"


def _world(folder: Path, studies: int) -> tuple[Pacs, Node, list[Study], Scanner]:
    """A PACS, a node, the studies to be sent to it, and who sends them; nothing is started."""
    pacs, images = Pacs(), template()
    node = Node(folder, pacs=pacs.port, more=_SETTINGS)
    return pacs, node, [Study(images) for _ in range(studies)], Scanner(node.port)


def killed_at_random(folder: Path, studies: int) -> Tally:
    """Kill -9 the node and its children at random moments while a scanner sends and a PACS is sent to."""
    dice, begin, kills, over = chance(1), time.monotonic(), 0, threading.Event()
    pacs, node, sent, scanner = _world(folder, studies)

    def send() -> None:
        for number, study in enumerate(sent):
            while kills * 1.5 < number - 2:  # so that two kills come on three studies
                time.sleep(0.1)
            scanner.insist(study)
        over.set()

    with pacs, node:
        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        while not over.is_set():
            over.wait(dice.uniform(0.1, 2.5))
            node.kill()
            node.start()
            kills += 1
        with contextlib.suppress(Failed):
            wait_for(all_reported(sent, pacs), _PATIENCE, "every report")
        time.sleep(2.0)
        return tally(sent, scanner, pacs, begin, f"{kills} kills")


def pacs_in_trouble(folder: Path, studies: int) -> Tally:
    """Answer 0xC000, 0xA700, 0x0110, 0xA900 and 0x0122 for a while, then Success."""
    statuses, begin = (0xC000, 0xA700, 0x0110, 0xA900, 0x0122), time.monotonic()
    pacs, node, sent, scanner = _world(folder, studies)
    with pacs, node:
        dice = chance(2)
        pacs.mood = lambda _: dice.choice(statuses)
        for study in sent:
            scanner.send(study)
        time.sleep(6.0)
        early = [one["status"] for one in node.status() if one["status"] in ("done", "no_number")]
        pacs.mood = lambda _: 0x0000
        with contextlib.suppress(Failed):
            wait_for(all_reported(sent, pacs), _PATIENCE, "every report")
        return tally(sent, scanner, pacs, begin, "said done too early" if early else "")


def pacs_away(folder: Path, studies: int) -> Tally:
    """Have no PACS at all at first, then one that hangs, then one that works."""
    begin = time.monotonic()
    pacs, node, sent, scanner = _world(folder, studies)
    with node:
        for study in sent[: studies // 2]:
            scanner.send(study)
        time.sleep(3.0)
        with socket.create_server((LOOPBACK, pacs.port)):  # takes connections and says nothing
            for study in sent[studies // 2 :]:
                scanner.send(study)
            time.sleep(4.0)
        with pacs:
            with contextlib.suppress(Failed):
                wait_for(all_reported(sent, pacs), _PATIENCE, "every report")
            return tally(sent, scanner, pacs, begin)


def forgetful_pacs(folder: Path, studies: int) -> Tally:
    """A PACS that loses objects before it commits to them, and reports late, twice or not at all; the node is killed.

    Lost is also a study that is said to be done while the PACS lacks an object of it.
    """
    dice, begin, kills = chance(6), time.monotonic(), 0
    pacs, node, sent, scanner = _world(folder, studies)
    memory = Forgetful(node.port, chance(7))
    pacs.mood, pacs.beside = memory.take, {PUSH_MODEL: memory.handlers}
    node.more = f'storage_commitment = "separate"\ncommitment_seconds = {LATE_SECONDS - 1.0}\n{_SETTINGS}'

    def settled() -> bool:
        done = [one for one in node.status() if one["status"] in ("done", "no_number")]
        return len(done) == studies

    with pacs, node:
        for study in sent:
            scanner.insist(study)
            time.sleep(dice.uniform(0.1, 2.0))
            node.kill()
            node.start()
            kills += 1
        with contextlib.suppress(Failed):
            wait_for(settled, _PATIENCE, "every commitment")
        results = [read_json(path) for path in node.data.glob("jobs/*/outputs.json")]
        wanted = [{one["sop_instance_uid"] for one in result if one["product"] in PRODUCTS} for result in results]
        lost = sum(not uids <= memory.kept for uids in wanted) + (0 if settled() else studies)
        remark = f"{kills} kills, {memory.requests} requests, {memory.lost} objects lost by the PACS"
        found = tally(sent, scanner, pacs, begin, remark)
        return replace(found, lost=max(found.lost, lost))


def crowd_at_the_door(folder: Path, studies: int) -> Tally:
    """Health checks once a tenth of a second, silent peers, trickling peers, garbage; scanners must get in."""
    begin = time.monotonic()
    pacs, node, sent, scanner = _world(folder, studies)
    over = threading.Event()

    def check_health() -> None:
        while not over.wait(0.1):
            with contextlib.suppress(OSError):
                socket.create_connection((LOOPBACK, node.port), timeout=1.0).close()

    def trickle() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, node.port), timeout=5.0) as one:
                while not over.wait(2.0):
                    one.sendall(b"\x01")

    slowest = 0.0
    with pacs, node, contextlib.ExitStack() as crowd:
        crowd.callback(over.set)
        for work in (check_health, *[trickle] * 10):
            threading.Thread(target=work, daemon=True).start()
        for _ in range(150):
            crowd.enter_context(socket.create_connection((LOOPBACK, node.port)))
        for study in sent:
            before = time.monotonic()
            scanner.insist(study, 60.0)
            slowest = max(slowest, time.monotonic() - before)
        with contextlib.suppress(Failed):
            wait_for(all_reported(sent, pacs), _PATIENCE, "every report")
        return tally(sent, scanner, pacs, begin, f"slowest study in {slowest:.1f} s")


def odd_ways_of_sending(folder: Path, studies: int) -> Tally:
    """Send on one slow association, in two halves, one image an association, broken off and sent again."""
    begin = time.monotonic()
    pacs, node, sent, scanner = _world(folder, max(studies, 4))

    def slowly(study: Study) -> None:
        with scanner.association() as association:
            for uid in study.images:
                scanner.store(association, study, [uid])
                time.sleep(1.6)  # longer than quiet_seconds

    def in_halves(study: Study) -> None:
        uids = list(study.images)
        scanner.send(study, uids[: ECHOES // 2])
        scanner.send(study, uids[ECHOES // 2 :])

    def one_by_one(study: Study) -> None:
        for uid in study.images:
            scanner.send(study, [uid])

    def broken_off(study: Study) -> None:
        with scanner.association() as association:
            scanner.store(association, study, list(study.images)[: ECHOES // 2 + 1])
            association.abort()
        time.sleep(6.0)
        scanner.send(study)

    ways = (slowly, in_halves, one_by_one, broken_off)
    with pacs, node:
        threads = [threading.Thread(target=ways[k % len(ways)], args=(study,)) for k, study in enumerate(sent)]
        for thread in threads:
            thread.start()
            time.sleep(0.2)
        for thread in threads:
            thread.join()
        with contextlib.suppress(Failed):
            wait_for(all_reported(sent, pacs), _PATIENCE, "every report")
        time.sleep(3.0)
        counts = [len(pacs.reports.get(study.uid, ())) for study in sent[: len(ways)]]
        said = ", ".join(f"{way.__name__.replace('_', ' ')} {n}" for way, n in zip(ways, counts, strict=True))
        return tally(sent, scanner, pacs, begin, f"reports: {said}")


def killed_while_receiving(folder: Path, studies: int) -> Tally:
    """Kill the node in the middle of an association; the scanner comes back later and sends all again."""
    begin = time.monotonic()
    pacs, node, sent, scanner = _world(folder, studies)
    with pacs, node:
        for study in sent:
            with contextlib.suppress(Failed), scanner.association() as association:
                scanner.store(association, study, list(study.images)[: ECHOES // 2 + 1])
                node.kill()
            node.start()
            time.sleep(2.0)
            scanner.insist(study)
        with contextlib.suppress(Failed):
            wait_for(all_reported(sent, pacs), _PATIENCE, "every report")
        time.sleep(2.0)
        return tally(sent, scanner, pacs, begin)


def full_disk(folder: Path, studies: int) -> Tally:
    """Fill the disk while studies are on their way, again and again; all goes on within 10 s of there being room."""
    begin, slowest = time.monotonic(), 0.0
    folder.mkdir(parents=True, exist_ok=True)
    mounted = ["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(folder)]
    if subprocess.run(mounted, check=False, capture_output=True).returncode:  # noqa: S603
        return Tally(remarks="not run: mounting a small disk needs root")
    try:
        pacs, node, sent, scanner = _world(folder, studies)
        dice, filler = chance(3), folder / "filler"
        with pacs, node:
            for number, study in enumerate(sent):
                scanner.insist(study)
                time.sleep(dice.uniform(0.0, 2.5))
                with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                    while True:
                        file.write(b"\0" * 4096)
                time.sleep(3.0)
                filler.unlink()
                slowest = max(slowest, wait_for(all_reported(sent[: number + 1], pacs), 60.0, "the report"))
            return tally(sent, scanner, pacs, begin, f"slowest {slowest:.1f} s after there was room")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)  # noqa: S603, S607


def damaged_database(folder: Path, studies: int) -> Tally:
    """Delete, cut short and overwrite the queue's database between kills."""
    begin = time.monotonic()
    pacs, node, sent, scanner = _world(folder, studies)
    with pacs, node:
        for number, study in enumerate(sent):
            scanner.send(study)
            time.sleep(0.4)
            node.kill()
            for path in node.data.glob("engine.sqlite*"):
                if number % 3 == 0:
                    path.unlink()
                elif number % 3 == 1:
                    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
                else:
                    path.write_bytes(b"this is no database " * 1000)
            node.start()
        with contextlib.suppress(Failed):
            wait_for(all_reported(sent, pacs), _PATIENCE, "every report")
        aside = len(list(node.data.glob("engine.sqlite.damaged-*")))
        return tally(sent, scanner, pacs, begin, f"{aside} set aside")


def stopped_at_any_moment(folder: Path, studies: int) -> Tally:
    """Stop the node (SIGTERM) while peers connect, stay silent, send and are sent to."""
    begin, slowest = time.monotonic(), 0.0
    pacs, node, sent, scanner = _world(folder, studies)
    with pacs, node:
        for study in sent:
            with contextlib.ExitStack() as silent:
                for _ in range(5):
                    silent.enter_context(socket.create_connection((LOOPBACK, node.port)))
                scanner.send(study)
                knocking = threading.Thread(target=_knock, args=(node.port, 1.0), daemon=True)
                knocking.start()
                slowest = max(slowest, node.stop())
                knocking.join()
            node.start()
        with contextlib.suppress(Failed):
            wait_for(all_reported(sent, pacs), _PATIENCE, "every report")
        return tally(sent, scanner, pacs, begin, f"slowest stop {slowest:.1f} s")


def _knock(port: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=0.5) as one:
            one.sendall(b"\x01\x00")
            time.sleep(0.05)


_CLOCK = """
import datetime, os, time
real, real_ns = time.time, time.time_ns
def offset():
    try:
        return float(open(os.environ["CLOCK_OFFSET"]).read() or 0)
    except (OSError, ValueError):
        return 0.0
time.time = lambda: real() + offset()
time.time_ns = lambda: real_ns() + int(offset() * 1e9)
"""


def set_clock(folder: Path, studies: int) -> Tally:
    """Set the clock hours forward and back while studies are on their way and the PACS is away.

    The clock is that of all Python code of the node and its libraries: libfaketime breaks the sleep of Python itself.
    """
    begin = time.monotonic()
    shim, moment = folder / "shim", folder / "offset"
    shim.mkdir(parents=True)
    (shim / "sitecustomize.py").write_text(_CLOCK)
    pacs, node, sent, scanner = _world(folder, studies)
    node.environment = {"PYTHONPATH": str(shim), "CLOCK_OFFSET": str(moment)}
    with node:
        for number, study in enumerate(sent):
            scanner.send(study)
            moment.write_text(str((5, -7, 0, -2, 9)[number % 5] * 3600.0))
            time.sleep(1.0)
        time.sleep(3.0)
        moment.write_text(str(-9 * 3600.0))
        with pacs:
            taken = 0.0
            with contextlib.suppress(Failed):
                taken = wait_for(all_reported(sent, pacs), 60.0, "every report")
            return tally(sent, scanner, pacs, begin, f"all sent {taken:.1f} s after the PACS was back")


def many_finished(folder: Path, studies: int) -> Tally:
    """Finish studies, stop, start: nothing is done again, and the node is there at once."""
    begin = time.monotonic()
    pacs, node, sent, scanner = _world(folder, studies)
    with pacs, node:
        for study in sent:
            scanner.send(study)
        wait_for(all_reported(sent, pacs), _PATIENCE, "every report")
        before = sum(pacs.got.values())
        node.stop()
        shutil.rmtree(node.data / "nothing", ignore_errors=True)
        node.start()
        for study in sent:
            scanner.send(study)  # again: the same images give no second result
        time.sleep(5.0)
        again = sum(pacs.got.values()) - before
        return tally(sent, scanner, pacs, begin, f"{again} objects sent again")


def many_machines(folder: Path, studies: int, workers: int = 4) -> Tally:
    """Two receivers and workers share a folder and a PostgreSQL server; one of each is killed again and again.

    A third of the studies come half over one receiver, half over the other.
    """
    if programs() is None:
        return Tally(remarks="not run: PostgreSQL is missing (Debian: postgresql)")
    images, begin, kills, over = template(), time.monotonic(), 0, threading.Event()
    dice = chance(4)
    sent = [Study(images) for _ in range(studies)]
    with postgresql() as server, Pacs() as pacs, contextlib.ExitStack() as running:
        more = f'{SHORT}[engine]\nurl = "{server.url}"\n[storage]\nminimum_free_mb = 1\n'
        shared = folder / "shared"
        receivers = [Node(folder / f"receiver{k}", pacs=pacs.port, more=more, shared=shared) for k in range(2)]
        helpers = [
            Node(folder / f"worker{k}", pacs=pacs.port, more=more, shared=shared, role="worker") for k in range(workers)
        ]
        for node in (*receivers, *helpers):
            running.enter_context(node)
        scanners = [Scanner(node.port) for node in receivers]

        def send() -> None:
            for number, study in enumerate(sent):
                uids = list(study.images)
                if number % 3 == 0:
                    _insist_in_halves(scanners, study, uids)
                else:
                    scanners[number % 2].insist(study)
            over.set()

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        while not over.is_set():
            over.wait(dice.uniform(4.0, 12.0))
            for node in (dice.choice(receivers), dice.choice(helpers)):
                node.kill()
                node.start()
                kills += 1
        slowest = 0.0
        with contextlib.suppress(Failed):
            slowest = wait_for(all_reported(sent, pacs), _PATIENCE + studies, "every report")
        time.sleep(3.0)
        scanners[0].taken |= scanners[1].taken
        remark = f"{len(receivers)} receivers, {workers} workers, {kills} kills, last report after {slowest:.0f} s"
        return tally(sent, scanners[0], pacs, begin, remark)


def rolling_upgrade(folder: Path, studies: int) -> Tally:
    """Two receivers and two workers become another version one after the other, stopped or killed, while studies come.

    The PACS refuses everything until half of them are done, so that the new version has to end what the old one began.
    """
    if programs() is None:
        return Tally(remarks="not run: PostgreSQL is missing (Debian: postgresql)")
    images, begin, over = template(), time.monotonic(), threading.Event()
    dice, newer = chance(5), another_version(folder / "newer", "99.0.0")
    sent = [Study(images) for _ in range(studies)]
    with postgresql() as server, Pacs() as pacs, contextlib.ExitStack() as running:
        more = f'{SHORT}[engine]\nurl = "{server.url}"\n[storage]\nminimum_free_mb = 1\n'
        shared = folder / "shared"
        receivers = [Node(folder / f"receiver{k}", pacs=pacs.port, more=more, shared=shared) for k in range(2)]
        helpers = [
            Node(folder / f"worker{k}", pacs=pacs.port, more=more, shared=shared, role="worker") for k in range(2)
        ]
        for node in (*receivers, *helpers):
            running.enter_context(node)
        pacs.mood = lambda _: 0xA700
        scanners = [Scanner(node.port) for node in receivers]

        def send() -> None:
            for number, study in enumerate(sent):
                if number % 3 == 0:
                    _insist_in_halves(scanners, study, list(study.images))
                else:
                    scanners[number % 2].insist(study)
                over.wait(_UPGRADE_SECONDS / studies)

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        for number, node in enumerate((helpers[0], receivers[0], helpers[1], receivers[1])):
            time.sleep(dice.uniform(3.0, 8.0))
            node.kill() if number % 2 else node.stop()
            node.environment = newer
            node.start()
            if number == 1:
                pacs.mood = lambda _: 0x0000
        sending.join(_PATIENCE + studies)
        with contextlib.suppress(Failed):
            wait_for(all_reported(sent, pacs), _PATIENCE + studies, "every report")
        time.sleep(3.0)
        scanners[0].taken |= scanners[1].taken
        made = software_versions(shared)
        remark = f"{made['99.0.0']} of {made.total()} results by the new version"
        return tally(sent, scanners[0], pacs, begin, remark)


def _insist_in_halves(scanners: list[Scanner], study: Study, uids: list[str]) -> None:
    """Send each half over a receiver of its own until it is taken."""
    for scanner, half in zip(scanners, (uids[: ECHOES // 2], uids[ECHOES // 2 :]), strict=True):
        end = time.monotonic() + 120.0
        while True:
            try:
                scanner.send(study, half)
            except Failed:
                if time.monotonic() > end:
                    raise
                time.sleep(0.3)
            else:
                break


def database_away(folder: Path, studies: int) -> Tally:
    """Start while PostgreSQL is away, receive, let it come; then let it go and come back with studies on their way."""
    if programs() is None:
        return Tally(remarks="not run: PostgreSQL is missing (Debian: postgresql)")
    images, begin = template(), time.monotonic()
    sent = [Study(images) for _ in range(studies)]
    with postgresql() as server, Pacs() as pacs:
        more = f'{SHORT}[engine]\nurl = "{server.url}"\n[storage]\nminimum_free_mb = 1\n'
        server.down()
        with Node(folder / "node", pacs=pacs.port, more=more, shared=folder / "shared") as node:
            scanner = Scanner(node.port)
            for study in sent[: studies // 2]:
                scanner.send(study)
            server.up()
            took = wait_for(all_reported(sent[: studies // 2], pacs), 60.0, "the reports of what came before the queue")
            for study in sent[studies // 2 :]:
                scanner.send(study)
            server.down()
            time.sleep(5.0)
            server.up()
            with contextlib.suppress(Failed):
                wait_for(all_reported(sent, pacs), _PATIENCE, "every report")
            return tally(sent, scanner, pacs, begin, f"{took:.1f} s after the database came")


SCENARIOS: dict[str, tuple[Callable[[Path, int], Tally], int, int]] = {
    # name: what, studies in `make faults`, studies in the tests
    "killed at random": (killed_at_random, 320, 6),
    "killed while receiving": (killed_while_receiving, 20, 2),
    "PACS in trouble": (pacs_in_trouble, 10, 3),
    "PACS away": (pacs_away, 10, 4),
    "forgetful PACS": (forgetful_pacs, 40, 4),
    "crowd at the door": (crowd_at_the_door, 10, 3),
    "odd ways of sending": (odd_ways_of_sending, 12, 4),
    "full disk": (full_disk, 10, 3),
    "damaged database": (damaged_database, 9, 3),
    "stopped at any moment": (stopped_at_any_moment, 10, 2),
    "set clock": (set_clock, 6, 3),
    "sent again": (many_finished, 10, 3),
    "database away": (database_away, 8, 4),
    "many machines": (many_machines, 500, 6),
    "rolling upgrade": (rolling_upgrade, 60, 8),
}
__all__ = ["SCENARIOS", "free_port"]
