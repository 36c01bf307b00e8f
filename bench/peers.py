"""Other programs that a measurement runs beside the node, each in a process of its own on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program from when it listens on a port; what it says goes into a file of the folder."""
    environment = {**os.environ, "TCP_NODELAY": "1"}
    with (folder / f"{port}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)  # noqa: S603
        try:
            _wait_for(port, process)
            yield process
        finally:
            process.terminate()
            process.wait(30)


@contextlib.contextmanager
def orthanc(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Debian's Orthanc as it is installed, called ORTHANC, which takes everything."""
    settings = {
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "HttpPort": free_port(),
        "DicomAlwaysAllowStore": True,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with running(["Orthanc", str(folder / "orthanc.json")], port, folder) as process:
        yield process


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60.0
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} does not listen")
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1.0):
            return
        time.sleep(0.1)
