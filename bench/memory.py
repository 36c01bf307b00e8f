"""Peak memory of each step of a job, beside the size of its stack: ``python -m bench.memory [--quick]``.

Each step runs as a node runs it, in a child process that has loaded what every step needs and nothing of the steps
before. The peak is what the kernel says was resident at once, mapped files included.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import dicomnode
from bench.solver import machine
from bench.study_time import Size
from dicomnode import group, header, simulate
from dicomnode.compare.tables import Table
from dicomnode.config import GroupingSettings, ReportSettings, Settings
from dicomnode.jobs import pipeline
from dicomnode.jobs.manifest import Manifest
from dicomnode.store.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dicomnode.model import EchoImage, EchoStack
    from dicomnode.store.job import Job

SIZES = (Size(192, 256, 8, 3, 1.5), Size(320, 320, 12, 20, 6.0), Size(512, 512, 12, 40, 30.0))
DIALECTS = ("siemens-ve", "philips-enhanced")  # a file a frame, and one file
MB = 1_000_000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the smallest size only")
    sizes = SIZES[:1] if parser.parse_args().quick else SIZES
    sys.stdout.write(machine().markdown() + "\n" + run(sizes).markdown())


def run(sizes: Sequence[Size]) -> Table:
    """Measure each size as one file a frame, and as one file."""
    rows = [row(size, dialect) for size in sizes for dialect in DIALECTS]
    notes = ["Signal: the decoded pixels. Loaded: a child that has done nothing yet."]
    heads = ("size", "files", "signal", "loaded", *pipeline.STEPS)
    return Table("Peak of resident memory in MB", heads, rows, notes)


def row(size: Size, dialect: str) -> list[str]:
    """Peaks of the steps of one study."""
    with study(size, dialect) as (spool, job):
        found = [measure(spool, job, step) for step in pipeline.STEPS]
        files = len(list(spool.incoming.rglob("*.dcm")))
    loaded = max(one.loaded_mb for one in found)
    return [str(size), str(files), *(f"{mb:.0f}" for mb in (signal_mb(size), loaded, *(one.peak_mb for one in found)))]


def signal_mb(size: Size) -> float:
    """The decoded pixels, MB."""
    return size.rows * size.columns * size.echoes * size.slices * np.float32().itemsize / MB


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process held, MB."""

    loaded_mb: float  # before its step
    peak_mb: float


@contextlib.contextmanager
def study(size: Size, dialect: str) -> Iterator[tuple[Spool, Job]]:
    """A job that is to be done, in a data folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        spool = Spool(Path(name))
        spool.create()
        yield spool, _begun(spool, _received(spool, size, dialect))


def measure(spool: Spool, job: Job, step: str) -> Memory:
    """The most that a fresh process held while it ran a step."""
    command = [sys.executable, "-m", "bench.one_step", str(spool.folder), job.key, step]
    said = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)  # noqa: S603
    return Memory(said["loaded"] / MB, said["peak"] / MB)


def _received(spool: Spool, size: Size, dialect: str) -> EchoStack:
    """The stack of a simulated study, its files in the data folder."""
    plan = replace(size.plan(1), dialect=dialect)
    images: list[EchoImage] = []
    for instance in simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)).instances:
        folder = spool.study_folder(instance.StudyInstanceUID)
        folder.mkdir(exist_ok=True)
        path = folder / f"{instance.SOPInstanceUID}.dcm"
        instance.save_as(path, enforce_file_format=True)
        images += header.read(path).images
    (candidate,) = group.assemble(images, GroupingSettings())
    if candidate.stack is None:
        raise RuntimeError(str(candidate.reason))
    return candidate.stack


def _begun(spool: Spool, stack: EchoStack) -> Job:
    manifest = Manifest(stack.sop_instance_uids, Settings().result_parameters(), dicomnode.__version__)
    return pipeline.create(spool, manifest, stack, datetime(2026, 1, 1, tzinfo=UTC), ReportSettings())


if __name__ == "__main__":
    main()
