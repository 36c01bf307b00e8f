"""What grouping costs as studies grow: ``python -m bench.grouping [--quick]``."""

from __future__ import annotations

import argparse
import sys
import tempfile
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.solver import machine, measure
from dicomnode import simulate
from dicomnode.compare.tables import Table
from dicomnode.config import GroupingSettings
from dicomnode.group import assemble
from dicomnode.header import read
from dicomnode.model import GroupStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

ECHOES = 12


def _study(folder: Path, slices: int, side: int) -> list[Path]:
    times = tuple(1.1 + 1.1 * k for k in range(ECHOES))
    plan = simulate.SeriesPlan(echo_times_ms=times, slices=slices, rows=side, columns=side)
    return list(simulate.write(simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)), folder))


def _row(paths: Sequence[Path], side: int) -> list[str]:
    reading, found = measure(lambda: [read(path) for path in paths], 1)
    images = [image for header in found for image in header.images]
    grouping, groups = measure(lambda: assemble(images, GroupingSettings()), 3)
    if [group.status for group in groups] != [GroupStatus.COMPLETE]:
        raise RuntimeError(f"one complete stack was expected, found {[str(group.status) for group in groups]}")
    tracemalloc.start()
    assemble([image for path in paths for image in read(path).images], GroupingSettings())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = sum(path.stat().st_size for path in paths) / 2**20
    cells = [f"{reading.cpu:.2f}", f"{grouping.cpu:.3f}", f"{peak / 2**20:.0f}", f"{size:.0f}"]
    return [f"{len(paths):,}", f"{side}×{side}", *cells]


def grouping(quick: bool) -> Table:
    """CPU and memory of reading headers and of making a stack of them, as instances and pixels grow."""
    rows = []
    for slices, side in ((10, 48), (40, 48)) if quick else ((42, 48), (167, 48), (334, 48), (334, 96)):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(_row(_study(Path(folder), slices, side), side))
    columns = ["instances", "pixels", "headers, CPU s", "grouping, CPU s", "peak memory, MB", "files, MB"]
    return Table(
        "From files to one stack", columns, rows, ["Memory is what Python allocated while reading and grouping."]
    )


def main(arguments: list[str] | None = None) -> None:
    """Print the table and write it to build/bench."""
    parser = argparse.ArgumentParser(prog="python -m bench.grouping", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer instances")
    options = parser.parse_args(arguments)
    text = f"{machine().markdown()}\n{grouping(options.quick).markdown()}\n"
    sys.stdout.write(text)
    folder = Path("build/bench")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "grouping.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
