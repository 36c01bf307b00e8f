"""What a support bundle holds, file by file, as values without identities."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import sqlite3
import ssl
import subprocess
import sys
import urllib.request
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from dicomnode.errors import ConfigError, NodeError
from dicomnode.jobs import lifecycle
from dicomnode.jobs import manifest as manifests
from dicomnode.operate import machine, status
from dicomnode.store import usage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dicomnode.config import Settings
    from dicomnode.operate.support.anonymous import Anonymous
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool

_DISTRIBUTION = "liver-iron-node"
_MOST_JOBS = 2000  # the newest
_MOST_FITS = 200
_FIT = ("method", "converged", "iterations", "seconds", "slices", "rows", "columns", "field_strength_t")
_SECONDS = 10.0
_SAMPLE = re.compile(r"(?P<name>dicomnode_\w+)(\{(?P<labels>.*)\})?(?P<value> (?:[\d.e+-]+|[+-]Inf|NaN))")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_PEERS = {"scanner", "destination"}  # labels that name systems


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is, and by what its names are replaced; ``fault`` says why the file cannot be used, if so."""

    settings: Settings | None
    spool: Spool | None
    anonymous: Anonymous
    fault: str = ""


# ---- the machine


def versions(place: Place) -> dict[str, Any]:
    """Of the program, Python, libraries and operating system."""
    needed = (re.split(r"[^\w.-]", one)[0] for one in metadata.requires(_DISTRIBUTION) or () if "extra ==" not in one)
    return {
        "dicomnode": metadata.version(_DISTRIBUTION),
        "python": sys.version,
        "libraries": {name: _version(name) for name in sorted(set(needed))},
        "sqlite": sqlite3.sqlite_version,
        "openssl": ssl.OPENSSL_VERSION,
        "system": _system(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "host": place.anonymous.peer(platform.node()),
        "systemd": (_said(["systemctl", "--version"]).splitlines() or [""])[0],
        "units": _said(["systemctl", "show", "dicomnode.service", f"--property={_UNIT}"]).splitlines(),
        "cores": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000,
        "load": os.getloadavg(),
    }


_UNIT = "LoadState,ActiveState,SubState,NRestarts,Result,ActiveEnterTimestamp,MemoryCurrent,MemoryMax"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def _said(command: list[str]) -> str:
    """What a program of the system prints; nothing where it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603  of ours
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def check(place: Place) -> dict[str, Any]:
    """What `check` says of the file and of this machine; no destination is asked."""
    anonymous = place.anonymous
    found = [] if place.settings is None else machine.check_machine(place.settings)
    return {
        "syntax": [anonymous.text(line) for line in place.fault.splitlines()] or "the configuration is valid",
        "machine": [{"check": one.name, "grade": one.grade, "verdict": anonymous.text(one.sentence)} for one in found],
    }


# ---- the work


def counts(place: Place, spool: Spool) -> dict[str, Any]:
    """Series by state and code, as `status` shows them."""
    entries = status.overview(spool)
    found = Counter((entry["status"], entry["code"]) for entry in entries)
    listed = sorted(found.items(), key=str)
    tell = place.anonymous.values
    return {
        "series": [{"status": tell(state), "code": tell(code), "count": count} for (state, code), count in listed],
        "waiting": [_waiting(entry, place.anonymous) for entry in entries if entry["status"] not in status.FINISHED],
        "disk": status.disk_in_words(spool),
    }


def _waiting(entry: dict[str, Any], anonymous: Anonymous) -> dict[str, Any]:
    """A series of which something is still to come."""
    return {
        "study": anonymous.digest("uid", entry["study_instance_uid"]),
        "result": anonymous.digest("id", entry["key"] or ""),
        "images": entry["images"],
        "slices": entry["slices"],
        "missing": len(entry["missing"]),
        **anonymous.values({name: entry[name] for name in ("status", "code", "reason")}),
    }


def jobs(place: Place, spool: Spool) -> list[dict[str, Any]]:
    """Where each result stands, since when, and what became of its deliveries; the newest last."""
    return [_job(job, place.anonymous) for job in _newest(spool, "state.json", _MOST_JOBS)]


def _newest(spool: Spool, name: str, most: int) -> list[Job]:
    """The jobs whose file of a name changed last, the newest last."""
    found = []
    for job in spool.all_jobs():
        with contextlib.suppress(FileNotFoundError):
            found.append(((job.folder / name).stat().st_mtime, job.key))
    return [spool.job(key) for _, key in sorted(found)[-most:]]


def _job(job: Job, anonymous: Anonymous) -> dict[str, Any]:
    named = {
        "result": anonymous.digest("id", job.key),
        "study": anonymous.digest("uid", manifests.study_of(job)),
    }
    try:
        state, sent = lifecycle.state(job), lifecycle.deliveries(job)
        held = lifecycle.held_by(job) is not None
    except NodeError as fault:
        return {**named, "unreadable": anonymous.text(str(fault))}
    return {
        **named,
        "status": state.status,
        "code": anonymous.values(state.code),
        "reason": anonymous.values(state.reason),
        "run": state.run,
        "times": anonymous.values(state.times),
        "held": held,
        "deliveries": {anonymous.peer(name): _delivery(one, anonymous) for name, one in sent.items()},
    }


def _delivery(one: lifecycle.Delivery, anonymous: Anonymous) -> dict[str, Any]:
    return {
        "status": one.status,
        "attempt": one.attempt,
        "delivered": len(one.delivered),
        "committed": len(one.committed),
        "refused": Counter(map(anonymous.text, one.refused.values())),
        "warnings": Counter(map(anonymous.text, one.warnings.values())),
        "reason": anonymous.values(one.reason),
        "first": one.first,
        "next": one.next,
        "waited": one.waited,
    }


def fits(place: Place, spool: Spool) -> list[dict[str, Any]]:
    """How large the last fits were and how long they took; no value that they gave."""
    found = []
    for job in _newest(spool, "summary.json", _MOST_FITS):
        with contextlib.suppress(NodeError):
            said = job.read("summary.json") or {}
            told = {name: place.anonymous.values(said.get(name)) for name in _FIT}
            echoes = len(said.get("echo_times_ms") or ())
            found.append({"result": place.anonymous.digest("id", job.key), "echoes": echoes, **told})
    return found


# ---- the data folder


def disk(place: Place, spool: Spool) -> dict[str, Any]:
    """How full the disk is, what of it is the node's, and how it filled."""
    whole = shutil.disk_usage(spool.folder)
    folders = [path for path in sorted(spool.folder.iterdir()) if path.is_dir()]
    tell = place.anonymous.text
    return {
        "total_bytes": whole.total,
        "free_bytes": whole.free,
        "days_left": usage.days_left(spool),
        "folders": {tell(path.name): _size(path) for path in folders},
        "by_day": usage.history(spool),
    }


def _size(folder: Path) -> dict[str, int]:
    """What lies in a folder of the node's: entries in it, files and bytes in all."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    sizes = []
    for path in files:
        with contextlib.suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return {"entries": sum(1 for _ in folder.iterdir()), "files": len(sizes), "bytes": sum(sizes)}


def members(place: Place, spool: Spool) -> dict[str, Any]:
    """Which processes share the data folder, as far as its files say it."""
    open_ = Counter(path.name.split("-")[1] for path in spool.incoming.glob("*/open-*"))
    shared = place.settings is not None and place.settings.is_shared()
    return {
        "shared": shared,
        "running": None if shared or place.settings is None else machine.is_running(place.settings),
        "open_associations": {place.anonymous.peer(name): count for name, count in open_.items()},
        "versions_of_results": Counter(map(_software, spool.all_jobs())),
    }


def _software(job: Job) -> str:
    try:
        version = manifests.read(job).software_version
    except NodeError:
        return "unreadable"
    return version if re.fullmatch(r"[\d.]+\w*", version) else "other"


def database(place: Place, spool: Spool) -> dict[str, Any]:
    """Whether the queue's database is sound; of one on a server whether it answers is in what `check` says."""
    aside = len(list(spool.folder.glob("engine.sqlite.damaged-*")))
    path = spool.folder / "engine.sqlite"
    if place.settings is None or place.settings.engine.url or not path.exists():
        return {"kind": "a server's, or another file, or none yet", "set_aside": aside}
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_SECONDS)) as connection:
            answer = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as fault:
        answer = str(fault)
    sizes = {name: (spool.folder / name).stat().st_size for name in _sqlite_files(spool)}
    return {"kind": "sqlite", "quick_check": place.anonymous.text(answer), "bytes": sizes, "set_aside": aside}


def _sqlite_files(spool: Spool) -> Iterator[str]:
    yield from (path.name for path in sorted(spool.folder.glob("engine.sqlite*")) if "damaged" not in path.name)


# ---- the page


def metrics(place: Place) -> str:
    """What /metrics says at this moment; raises NodeError, OSError where it cannot be asked."""
    if place.settings is None:
        raise ConfigError("the configuration cannot be used, so it is not known where the page is")
    web = place.settings.web
    if not web.enabled:
        raise NodeError("[web] enabled is false: there are no metrics")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(web.host, web.host)  # noqa: S104  nothing is listened on
    host = f"[{host}]" if ":" in host else host
    encrypted = bool(web.certificate or (place.settings.tls.certificate and not web.is_local))
    url = f"http{'s' if encrypted else ''}://{host}:{web.port}/metrics"
    request = urllib.request.Request(url, headers={"Host": web.names[0]} if web.names else {})  # noqa: S310
    with urllib.request.urlopen(request, timeout=_SECONDS, context=_any_certificate()) as answer:  # noqa: S310
        text = answer.read().decode("utf-8", "replace")
    return "\n".join(_sample(line, place.anonymous) for line in text.splitlines()) + "\n"


def _any_certificate() -> ssl.SSLContext:
    """Nothing secret is sent or believed, and the page's certificate is for the name that browsers use."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _sample(line: str, anonymous: Anonymous) -> str:
    """A line of metrics, with labels as they may be told; of what else may answer there nothing is."""
    said = _SAMPLE.fullmatch(line)
    if said is None:
        return anonymous.text(line) if line.startswith("# ") else ""
    labels = (
        f'{name}="{anonymous.peer(value) if name in _PEERS else anonymous.text(value)}"'
        for name, value in _LABEL.findall(said["labels"] or "")
    )
    return f"{said['name']}{{{','.join(labels)}}}{said['value']}" if said["labels"] else line
