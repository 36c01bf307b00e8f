"""A PostgreSQL server of our own, run by an unprivileged user."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.faults.world import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


def programs() -> Path | None:
    """Where the server's programs lie; None where there is no server."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return found[-1] if found else None


@dataclass
class Server:
    """A cluster with its data, up or down."""

    folder: Path
    user: str
    port: int

    @property
    def url(self) -> str:
        """What ``[engine] url`` takes."""
        return f"postgresql://{self.user}@{LOOPBACK}:{self.port}/postgres"

    def up(self) -> None:
        """Start it and wait until it answers."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses={LOOPBACK} -c fsync=off -c max_connections=300"
        self._do(
            "pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", str(self.folder / "log"), "-o", options, "start"
        )

    def down(self) -> None:
        """End it at once, as a crash would."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._do("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", "immediate", "stop")

    def _do(self, program: str, *arguments: str) -> None:
        where = programs()
        if where is None:
            raise RuntimeError("PostgreSQL is missing (Debian: postgresql)")
        run = ["runuser", "-u", self.user, "--"] if os.geteuid() == 0 else []
        command = [*run, str(where / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, timeout=60)  # noqa: S603


@contextlib.contextmanager
def postgresql() -> Iterator[Server]:
    """A server that is up; its data go when it is not wanted any more."""
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    if os.geteuid() == 0:
        shutil.chown(folder, user)
    server = Server(folder, user, free_port())
    server._do("initdb", "-D", str(folder / "data"), "-A", "trust")  # noqa: SLF001
    server.up()
    try:
        yield server
    finally:
        server.down()
        shutil.rmtree(folder)
