"""Studies a minute of one, two and four workers on one machine: ``python -m bench.faults.machines``.

Each process stands for a machine, but they share the cores: where those are used up, more workers add nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.faults.database import postgresql
from bench.faults.scenarios import SHORT
from bench.faults.world import Node, Pacs, Scanner, Study, all_reported, template, wait_for
from dicomnode.compare.tables import Table

_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=60)
    studies = parser.parse_args().studies
    rows = []
    for workers in (1, 2, 4):
        with tempfile.TemporaryDirectory() as name:
            seconds, received, cpu = _run(Path(name), studies, workers)
        rows.append((str(workers), f"{studies / seconds * 60:.0f}", f"{received:.1f}", f"{cpu / studies:.2f}"))
    columns = ("workers", "studies a minute", "s to receive all", "CPU s a study, all processes")
    sys.stdout.write(Table(f"{studies} studies of 48 × 64 × 6, one receiver", columns, rows).markdown())
    return 0


def _run(folder: Path, studies: int, workers: int) -> tuple[float, float, float]:
    images = template()
    sent = [Study(images) for _ in range(studies)]
    with postgresql() as server, Pacs() as pacs, contextlib.ExitStack() as running:
        more = f'{SHORT}[engine]\nurl = "{server.url}"\n[storage]\nminimum_free_mb = 1\n'
        shared = folder / "shared"
        receiver = running.enter_context(Node(folder / "receiver", pacs=pacs.port, more=more, shared=shared))
        helpers = [
            running.enter_context(Node(folder / f"w{k}", pacs=pacs.port, more=more, shared=shared, role="worker"))
            for k in range(workers - 1)
        ]
        time.sleep(8.0)  # children are warm
        nodes = (receiver, *helpers)
        before, begin, scanner = sum(map(_cpu_seconds, nodes)), time.monotonic(), Scanner(receiver.port)
        for study in sent:
            scanner.send(study)
        received = time.monotonic() - begin
        wait_for(all_reported(sent, pacs), 600.0, "every report")
        return time.monotonic() - begin, received, sum(map(_cpu_seconds, nodes)) - before


def _cpu_seconds(node: Node) -> float:
    """User and system time of a node and its children (proc(5))."""
    total = 0.0
    waiting = [node.process.pid] if node.process is not None else []
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            said = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, said[11:15])) / _TICKS
            for thread in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (thread / "children").read_text().split())
    return total


if __name__ == "__main__":
    sys.exit(main())
