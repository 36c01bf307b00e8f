"""What `serve` would fail on here, and what would fail tomorrow: files, ports, space, certificates, the clock."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import ssl
import stat
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dicomnode import analyse
from dicomnode.errors import ConfigError, InputError, NodeError
from dicomnode.jobs.members import QueueAway, Several
from dicomnode.store.spool import Spool
from dicomnode.tls import WARN_DAYS, days_left
from dicomnode.trend import table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dicomnode.config import Settings

Grade = Literal["ok", "warning", "error"]
_CLOCK_SECONDS = 60.0  # that files may be ahead of the clock
_EARLIEST = 1_767_225_600  # 2026-01-01: no clock that is right shows less
_MOST_LINES = 5  # of a table that are named
_COMFORT = 5  # times the room below which images are refused


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what is so, and what to do where it is not as it should be."""

    name: str
    grade: Grade
    sentence: str

    def as_json(self) -> dict[str, Any]:
        """With the keys that a finding about a destination has, too."""
        return {
            "check": self.name,
            "destination": None,
            "ok": self.grade != "error",
            "grade": self.grade,
            "verdict": self.sentence,
            "refuses": [],
        }


def check_machine(settings: Settings) -> list[Finding]:
    """Look at everything of this machine that the node needs; nothing is left behind."""
    running = is_running(settings)
    return [
        *_storage(settings),
        *_clock(settings),
        _port(settings, running=running),
        *_page_port(settings, running=running),
        *_queue(settings),
        *_certificates(settings),
        *_page_certificate(settings),
        *_secrets(settings),
        *_table(settings),
        *_scanners(settings),
        *_processors(settings),
        *_extensions(),
    ]


def _extensions() -> Iterator[Finding]:
    """The organs and methods that other packages add."""
    try:
        for one in analyse.extensions():
            yield Finding("extensions", "ok", f"the {one.title} is there")
    except ConfigError as fault:
        yield Finding("extensions", "error", str(fault))


def _storage(settings: Settings) -> Iterator[Finding]:
    if os.geteuid() == 0 and (owner := _owner(settings)) not in {None, "root"}:
        whose = f"user {owner} may not: ask again by runuser -u {owner} -- dicomnode check"
        yield Finding("user", "warning", f"root may read and write everything, {whose}")
    folder = settings.storage_folder()
    place = f"[storage] folder {folder}"
    existing = next(one for one in (folder, *folder.parents) if one.exists())
    if not existing.is_dir():
        yield Finding("storage", "error", f"{place}: {existing} is not a folder; name another or remove that file")
        return
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".check-"):
            pass
    except OSError as fault:
        whose = f"user {_user()}"
        yield Finding(
            "storage", "error", f"{place}: {whose} may not write there ({fault.strerror}); give it that right"
        )
        return
    will = "" if folder.exists() else ", which will be made"
    yield Finding("storage", "ok", f"{place} can be written{will}")
    if folder.exists() and folder.stat().st_mode & stat.S_IROTH:
        yield Finding("storage", "warning", f"{place} can be read by every user of this machine: chmod o-rwx {folder}")
    free, least = shutil.disk_usage(existing).free, settings.storage.minimum_free_mb * 1_000_000
    said = f"{free / 1e9:.1f} GB free; below {least / 1e9:.1f} GB ([storage] minimum_free_mb) images are refused"
    yield Finding("space", "error" if free < least else "warning" if free < _COMFORT * least else "ok", said)


def _clock(settings: Settings) -> Iterator[Finding]:
    now = time.time()
    newest = max((path.stat().st_mtime for path in _files(settings.storage_folder())), default=0.0)
    shown = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now))
    if now < _EARLIEST:
        yield Finding("clock", "error", f"the clock shows {shown}; set it, and let NTP keep it")
    elif newest > now + _CLOCK_SECONDS:
        yield Finding(
            "clock", "error", f"the clock shows {shown}, but files of the node are newer; set it, let NTP keep it"
        )
    else:
        yield Finding("clock", "ok", f"the clock shows {shown}")


def _files(folder: Path) -> list[Path]:
    return [path for path in (folder / "usage.json", folder / "status-index.json", folder / "studies") if path.exists()]


def _port(settings: Settings, *, running: bool) -> Finding:
    place = ("node", settings.node.host, settings.node.port)
    return _listening("port", place, running=running)


def _page_port(settings: Settings, *, running: bool) -> Iterator[Finding]:
    if settings.web.enabled:
        yield _listening("web", ("web", settings.web.host, settings.web.port), running=running)


def _listening(name: str, at: tuple[str, str, int], *, running: bool) -> Finding:
    section, host, port = at
    place = f"[{section}] host {host}, port {port}"
    if running:
        return Finding(name, "ok", f"{place}: a node that uses this storage folder is running")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except PermissionError:
        return Finding(name, "error", f"{place}: user {_user()} may not listen below 1024; choose another port")
    except OSError as fault:
        return Finding(name, "error", f"{place}: cannot be listened on: {fault.strerror or fault}")
    return Finding(name, "ok", f"{place} is free")


def is_running(settings: Settings) -> bool:
    """Whether a node holds the data folder for itself."""
    spool = Spool(settings.storage_folder())
    if settings.is_shared() or not (spool.folder / "node.lock").exists():
        return False
    try:
        with spool.lock():
            return False
    except (NodeError, OSError):
        return True


def _queue(settings: Settings) -> Iterator[Finding]:
    if not settings.is_shared():
        return
    members = Several(settings.engine_url(), lambda _: None)
    try:
        members.join("check")
    except QueueAway as fault:
        yield Finding("queue", "error", str(fault))
    else:
        yield Finding("queue", "ok", "[engine] url: the queue's database answers")
    finally:
        members.leave()


def _certificates(settings: Settings) -> Iterator[Finding]:
    tls = settings.tls
    if tls.authority is not None:
        yield _certificate("tls", "authority", tls.authority)
    yield from _own(("tls", tls.certificate, tls.key))


def _page_certificate(settings: Settings) -> Iterator[Finding]:
    if settings.web.enabled:
        yield from _own(("web", settings.web.certificate, settings.web.key))


def _own(of: tuple[str, Path | None, Path | None]) -> Iterator[Finding]:
    """A certificate and its key, of a section."""
    section, certificate, key = of
    if certificate is not None:
        yield _certificate(section, "certificate", certificate)
    if certificate is None or key is None:
        return
    if not key.is_file():
        yield Finding(section, "error", f"[{section}] key: {key} is not there")
    elif not os.access(key, os.R_OK):
        yield Finding(section, "error", f"[{section}] key: user {_user()} may not read {key}")
    else:
        if key.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
            yield Finding(section, "warning", f"[{section}] key: every user may read {key}: chmod o-rwx {key}")
        if certificate.is_file():
            yield _pair(section, certificate, key)


def _certificate(section: str, key: str, path: Path) -> Finding:
    place = f"[{section}] {key}: {path}"
    try:
        path.read_bytes()
    except OSError as fault:
        return Finding(section, "error", f"{place} cannot be read: {fault.strerror}")
    days = days_left(path)
    if days is None:
        return Finding(section, "error", f"{place} holds no certificate in PEM")
    if days < 0:
        said = f"{place} ended {-days} days ago; put the new one there, no restart is needed"
        return Finding(section, "error", said)
    return Finding(section, "warning" if days <= WARN_DAYS else "ok", f"{place} ends in {days} days")


def _pair(section: str, certificate: Path, key: Path) -> Finding:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as fault:
        why = "is not the key of the certificate" if "MISMATCH" in str(fault) else f"cannot be used: {fault}"
        return Finding(section, "error", f"[{section}] key: {key} {why} ({certificate})")
    return Finding(section, "ok", f"[{section}] certificate and key belong together")


def _secrets(settings: Settings) -> Iterator[Finding]:
    """Whether they can be read at all, asking their destinations says."""
    for destination in settings.destination:
        for key, path in destination.secret_files().items():
            if path.is_file() and path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
                place = f"[[destination]] {destination.name} {key}"
                yield Finding("secret", "warning", f"{place}: every user may read {path}: chmod o-rwx {path}")


def _table(settings: Settings) -> Iterator[Finding]:
    """The site's table of earlier results."""
    path = settings.trend.table
    if path is None:
        return
    try:
        known = table.read(path)
    except InputError as fault:
        yield Finding("earlier results", "error", f"[trend] table {fault}")
        return
    if known.faults:
        first = "; ".join(known.faults[:_MOST_LINES])
        more = f"; and {len(known.faults) - _MOST_LINES} more" if len(known.faults) > _MOST_LINES else ""
        yield Finding("earlier results", "warning", f"[trend] table {path}: left out: {first}{more}; mend these lines")
    if path.stat().st_mode & stat.S_IROTH:
        yield Finding("earlier results", "warning", f"[trend] table {path}: every user may read it: chmod o-rwx {path}")
    yield Finding("earlier results", "ok", f"[trend] table {path}: {len(known.lines)} earlier results")


def _scanners(settings: Settings) -> Iterator[Finding]:
    own = settings.node.ae_title
    for name, count in Counter((one.ae_title, one.address) for one in settings.scanner).items():
        if count > 1:
            yield Finding("scanner", "warning", f"[[scanner]] {name[0]} stands there {count} times; the first counts")
    for scanner in settings.scanner:
        if scanner.ae_title == own:
            said = f"[[scanner]] {own} has the AE title of this node; scanners are told apart by theirs"
            yield Finding("scanner", "warning", said)
        if scanner.address is None:
            continue
        try:
            socket.getaddrinfo(scanner.address, None)
        except OSError:
            said = f"[[scanner]] {scanner.ae_title}: address {scanner.address} is not known here; it would be shut out"
            yield Finding("scanner", "error", said)


def _processors(settings: Settings) -> Iterator[Finding]:
    cores, workers = os.cpu_count() or 1, settings.fit.workers
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    wanted = (workers + 1) * settings.fit.step_memory_mb
    if workers > cores:
        yield Finding(
            "processors", "warning", f"[fit] workers = {workers} on {cores} cores; fits use every core already"
        )
    if wanted > memory:
        said = f"[fit] {workers + 1} steps at once may take {wanted / 1e3:.0f} GB of {memory / 1e3:.0f} GB; "
        yield Finding("memory", "warning", said + "lower workers or step_memory_mb")


def _owner(settings: Settings) -> str | None:
    """Whose the data folder is; None where there is none, or nobody of that number."""
    try:
        return pwd.getpwuid(settings.storage_folder().stat().st_uid).pw_name
    except (OSError, KeyError):
        return None


def _user() -> str:
    return os.environ.get("USER") or str(os.getuid())
