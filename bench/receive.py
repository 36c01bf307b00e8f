"""Images a second into the node, beside other receivers in one run: ``python -m bench.receive [--quick]``.

dcmtk's ``storescu`` (with TCP_NODELAY, without which it is the slow one) sends MR images of 100 KB over 1, 4 and 8
associations to the node as a hospital starts it, to the same node while stacks are fitted on every core, to the
``storescp`` of pynetdicom, to Orthanc and, as a mark of what a receiver could do that keeps nothing safe, to that of
dcmtk. Rounds are interleaved, so that whatever else the machine does hits all alike; the median and the range are
printed, with the CPU time an image costs the receiver and all its children.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
from pydicom.uid import UID

from bench.peers import LOOPBACK, free_port, orthanc, running
from bench.solver import machine
from dicomnode import simulate
from dicomnode.compare.tables import Table
from dicomnode.jobs.children import NICENESS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ASSOCIATIONS = (1, 4, 8)
_TICKS = os.sysconf("SC_CLK_TCK")
_UID_LENGTH = 44


@dataclass
class Peer:
    """A receiver in a process of its own."""

    name: str
    ae_title: str
    port: int
    process: subprocess.Popen[bytes]
    rates: dict[int, list[float]] = field(default_factory=dict)  # images a second, by associations
    cpu_ms: dict[int, list[float]] = field(default_factory=dict)  # an image
    beside: subprocess.Popen[bytes] | None = None  # what works at the same time

    def cpu_seconds(self) -> float:
        """What the process and its children have used; of those, what is not the receiver's is told by its name."""
        return _cpu_seconds(self.process.pid)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400, help="a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one small round")
    asked = parser.parse_args(arguments)
    images, rounds = (40, 1) if asked.quick else (asked.images, asked.rounds)
    sys.stdout.write(f"{machine().markdown()}\n{images} images of 100 KB a round, {rounds} rounds\n\n")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        folder = Path(name)
        fits = running.enter_context(_fits())
        peers = [running.enter_context(start(folder)) for start in (_node, _pynetdicom, _orthanc, _storescp)]
        peers.insert(1, replace(peers[0], name="this node, while stacks are fitted", rates={}, cpu_ms={}, beside=fits))
        template = _template()
        for number in range(rounds + 1):  # the first warms up and is not counted
            for count in ASSOCIATIONS:
                for peer in peers:
                    _round(peer, template, folder / "images", count, images, counted=number > 0)
        if fits.poll() is not None:
            raise RuntimeError("the fits ended before the measurement")
    sys.stdout.write(_table(peers).markdown() + "\n")
    return 0


def _table(peers: Sequence[Peer]) -> Table:
    columns = [f"{count} assoc., images/s" for count in ASSOCIATIONS] + [f"{count}, CPU ms" for count in ASSOCIATIONS]
    rows = [
        [
            peer.name,
            *(_spread(peer.rates[count], "{:.0f}") for count in ASSOCIATIONS),
            *(_spread(peer.cpu_ms[count], "{:.2f}") for count in ASSOCIATIONS),
        ]
        for peer in peers
    ]
    return Table("Receiving", ("receiver", *columns), tuple(tuple(row) for row in rows))


def _spread(values: Sequence[float], form: str) -> str:
    """The median, and between what the rounds lie: a machine that does something else shows there."""
    return f"{form} ({form}-{form})".format(statistics.median(values), min(values), max(values))


def _round(peer: Peer, template: bytes, folder: Path, associations: int, images: int, *, counted: bool) -> None:
    """Send images that nobody has seen over some associations at once."""
    # Nothing is deleted before the end: ext4 takes most of a millisecond for a new file where many were just deleted.
    folder, study = folder / uuid.uuid4().hex, _uid()
    for number in range(images):
        share = folder / str(number % associations)
        share.mkdir(parents=True, exist_ok=True)
        content = template.replace(_mark("1"), study).replace(_mark("2"), study[:-1] + b"0")
        (share / f"{number}.dcm").write_bytes(content.replace(_mark("3"), _uid()))
    if peer.beside is not None:
        peer.beside.send_signal(signal.SIGCONT)
        time.sleep(1.0)  # what has waited long is let go first for a moment
    before, begin = peer.cpu_seconds(), time.monotonic()
    command = ["storescu", "-aec", peer.ae_title, "-aet", "BENCH", "+sd", "-xe", LOOPBACK, str(peer.port)]
    environment = {**os.environ, "TCP_NODELAY": "1"}
    senders = [
        subprocess.Popen([*command, str(share)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
        for share in sorted(folder.iterdir())
    ]
    failed = [sender.wait(300) for sender in senders]
    seconds = time.monotonic() - begin
    if peer.beside is not None:
        peer.beside.send_signal(signal.SIGSTOP)
    if any(failed):
        raise RuntimeError(f"{peer.name} did not take them")
    if counted:
        peer.rates.setdefault(associations, []).append(images / seconds)
        peer.cpu_ms.setdefault(associations, []).append((peer.cpu_seconds() - before) / images * 1e3)


# ---- images


def _template() -> bytes:
    """An MR image of 100 KB with places for its UIDs: one echo of a slice that never becomes a stack."""
    plan = simulate.SeriesPlan(rows=224, columns=224, slices=1)
    image = simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)).instances[0]
    marks = [UID(_mark(digit).decode()) for digit in "123"]
    image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = marks
    image.file_meta.MediaStorageSOPInstanceUID = marks[2]
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, image, enforce_file_format=True)
    return buffer.getvalue()


def _mark(digit: str) -> bytes:
    return b"2.25." + digit.encode() * (_UID_LENGTH - 5)


def _uid() -> bytes:
    return f"2.25.1{uuid.uuid4().int:038d}"[:_UID_LENGTH].ljust(_UID_LENGTH, "1").encode()


# ---- receivers


@contextlib.contextmanager
def _node(folder: Path) -> Iterator[Peer]:
    port = free_port()
    config = folder / "node.toml"
    config.write_text(
        f'[node]\nae_title = "NODE"\nhost = "{LOOPBACK}"\nport = {port}\n'
        f'[storage]\nfolder = "{folder / "node"}"\nminimum_free_mb = 1\n'
        '[[scanner]]\nae_title = "BENCH"\n[web]\nenabled = false\n'
        f'[[destination]]\nname = "nobody"\nae_title = "NOBODY"\nhost = "{LOOPBACK}"\nport = {free_port()}\n'
    )
    command = [sys.executable, "-m", "dicomnode", "serve", "--config", str(config)]
    with running(command, port, folder) as process:
        yield Peer("this node", "NODE", port, process)


@contextlib.contextmanager
def _pynetdicom(folder: Path) -> Iterator[Peer]:
    port, kept = free_port(), folder / "pynetdicom"
    kept.mkdir()
    command = [sys.executable, "-m", "pynetdicom", "storescp", "-q", "-od", str(kept), str(port)]
    with running(command, port, folder) as process:
        yield Peer("pynetdicom storescp", "STORESCP", port, process)


@contextlib.contextmanager
def _orthanc(folder: Path) -> Iterator[Peer]:
    port = free_port()
    with orthanc(folder, port) as process:
        yield Peer("Orthanc", "ORTHANC", port, process)


@contextlib.contextmanager
def _storescp(folder: Path) -> Iterator[Peer]:
    port, kept = free_port(), folder / "storescp"
    kept.mkdir()
    with running(["storescp", "--fork", "-q", "-od", str(kept), str(port)], port, folder) as process:
        yield Peer("dcmtk storescp (nothing is made durable)", "STORESCP", port, process)


@contextlib.contextmanager
def _fits() -> Iterator[subprocess.Popen[bytes]]:
    """Fits on every core, as the children of a node run them; stopped until they are wanted."""
    code = (
        "import numpy as np, os, solver\n"
        f"os.nice({NICENESS})\n"
        "signal = np.random.default_rng(1).normal(300, 20, (320, 320, 20, 12)).astype('f4')\n"
        "while True:\n"
        "    solver.fit_t2star(signal, [1.1 * (k + 1) for k in range(12)])\n"
        "    print('fitted', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)  # noqa: S603
    if process.stdout is not None:
        process.stdout.readline()  # it is warm
    process.send_signal(signal.SIGSTOP)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process, of its living children and of those it has waited for (proc(5))."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    own = sum(map(int, said[11:15])) / _TICKS
    return own + sum(_cpu_seconds(int(child)) for child in children)


if __name__ == "__main__":
    sys.exit(main())
