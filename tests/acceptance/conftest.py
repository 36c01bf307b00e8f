"""A real PACS (Orthanc), real senders (dcmtk) and the node as the process hospital IT would run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dicomnode.operate.status import overview
from dicomnode.store.spool import Spool
from tests.conftest import absent

_DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.1)


@dataclass
class Orthanc:
    """The PACS and its REST interface."""

    dicom_port: int
    http_port: int
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", headers=self.headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            content = answer.read()
        return json.loads(content) if answer.headers.get_content_type() == "application/json" else content

    def alive(self) -> bool:
        try:
            return bool(self.get("/system"))
        except (urllib.error.URLError, ConnectionError):
            return False

    def instances(self, **wanted: str) -> list[dict[str, Any]]:
        """Simplified tags of every instance, with its identifier under "ID"."""
        found = []
        for one in self.get("/instances"):
            tags = self.get(f"/instances/{one}/simplified-tags")
            if all(tags.get(name) == value for name, value in wanted.items()):
                found.append({**tags, "ID": one})
        return found

    def delete(self, path: str) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", method="DELETE")
        urllib.request.urlopen(request, timeout=30).close()

    def file(self, identifier: str) -> bytes:
        return self.get(f"/instances/{identifier}/file")


@contextlib.contextmanager
def running_orthanc(program: str, folder: Path, authorization: str = "", **more: Any) -> Iterator[Orthanc]:
    """Orthanc with settings of its own."""
    headers = {"Authorization": authorization} if authorization else {}
    server = Orthanc(free_port(), free_port(), headers)
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "DicomAet": "ORTHANC",
        "DicomPort": server.dicom_port,
        "HttpPort": server.http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "Plugins": [],
        **more,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
        try:
            wait_for(server.alive, 30, "Orthanc's start")
            yield server
        finally:
            process.terminate()
            process.wait(20)


def dicomweb() -> dict[str, Any]:
    """The settings by which Orthanc speaks DICOMweb too; skips where it cannot."""
    if not _DICOMWEB.exists():
        absent(f"{_DICOMWEB} is missing (Debian: orthanc-dicomweb)")
    return {"Plugins": [str(_DICOMWEB)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}}


@pytest.fixture
def orthanc(peer, tmp_path) -> Iterator[Orthanc]:
    with running_orthanc(peer("Orthanc"), tmp_path) as server:
        yield server


@dataclass
class Serving:
    """`dicomnode serve` as a process, with its configuration file."""

    config: Path
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = field(default=0)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dicomnode", "--log-json", "serve", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1
        wait_for(self._listens, 60, "the node's start")

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        return self.log.read_text().count('"started"') == self.starts

    def kill(self) -> None:
        """Kill the node and its children at once, as a power cut would."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.log.read_text().count('"started"') < self.starts:
            self.starts -= 1

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def command(self, name: str, *arguments: str, ok: bool = True) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dicomnode", name, *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not ok or done.returncode == 0, done.stderr
        return done.stdout

    def status(self) -> list[dict[str, Any]]:
        """What `dicomnode status --json` prints, without starting an interpreter for each look."""
        return overview(Spool(self.config.parent / "dicomnode-data"))


@pytest.fixture
def serve(tmp_path) -> Iterator[Callable[..., Serving]]:
    nodes: list[Serving] = []

    def begin(destinations: dict[str, int], more: str = "", of_each: str = "", *, ae_title: str = "ORTHANC") -> Serving:
        folder = tmp_path / f"node{len(nodes)}"
        folder.mkdir()
        port = free_port()
        text = f'[node]\nhost = "127.0.0.1"\nport = {port}\n[[scanner]]\nae_title = "STORESCU"\n'
        text += "[storage]\nminimum_free_mb = 10\n" + more
        text += "" if "[web]" in more else "[web]\nenabled = false\n"
        for name, pacs in destinations.items():
            text += f'[[destination]]\nname = "{name}"\nae_title = "{ae_title}"\nhost = "127.0.0.1"\nport = {pacs}\n'
            text += f"retry_first_seconds = 0.5\nretry_longest_seconds = 2.0\n{of_each}"
        (folder / "config.toml").write_text(text)
        node = Serving(folder / "config.toml", port, folder / "log.jsonl")
        nodes.append(node)
        node.start()
        return node

    yield begin
    for node in nodes:
        node.stop()


@pytest.fixture
def storescu(peer) -> Callable[..., None]:
    """Send files with dcmtk."""

    def send(node: Serving, files: list[Path], *, check: bool = True) -> None:
        command = [peer("storescu"), "-R", "-aet", "STORESCU", "-aec", "LIVERIRON", "127.0.0.1", str(node.port)]
        subprocess.run([*command, *map(str, files)], check=check, capture_output=True, timeout=300)

    return send
