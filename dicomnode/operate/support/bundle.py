"""Writes a support bundle: one archive of small files, the first of which says what the others are."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import tarfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, TYPE_CHECKING, Any

from dicomnode import config
from dicomnode.errors import ConfigError, NodeError, StorageError
from dicomnode.operate.support import configuration, log, parts
from dicomnode.operate.support.anonymous import REMOVED, Anonymous
from dicomnode.operate.support.identities import identities
from dicomnode.operate.support.parts import Place
from dicomnode.operate.support.words import vocabulary
from dicomnode.store.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dicomnode.config import Settings

_README = """Support bundle of a liver iron node, made {when}

Read it before you send it: every file is text.

{files}

What was removed
  Pixel data, headers, findings, reports and whatever was measured are not in it; nor are received or made files, or
  their names. Patients' names, identifiers, birth dates and accession numbers are quoted by nothing the node writes
  here knowingly; where a reason, a log line or a path might, only the words are kept that the software itself says.
  All others, dates, and numbers of more than three digits are "{removed}", and so is what is quoted.
  UIDs and keys of results are keyed hashes ("uid-...", "id-..."): the same for the same thing within this bundle,
  different in the next, and the key was not kept. Names of accounts likewise ("user-...").
  Of the configuration: comments, passwords, users, e-mail addresses, and of URLs all but the host. Names of
  credentials stay.
  {network}
"""
_NETWORK = {
    True: "AE titles, hosts, addresses and names of destinations are kept; --anonymous-network replaces them, too.",
    False: 'AE titles, hosts, addresses and names of destinations are keyed hashes, too ("peer-...").',
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a bundle is made of: the log of how many days, from a file where the journal has none."""

    days: int = 7
    log: Path | None = None
    network: bool = True  # names of systems are told


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was written."""

    path: Path
    size: int  # bytes
    missing: dict[str, str]  # by file: why there is none


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    holds: str
    make: Callable[[], str]


def write(target: Path, path: Path | None, wanted: Wanted, now: datetime) -> Bundle:
    """Write the bundle of the node of a configuration file; what cannot be had is said in it.

    Raises StorageError where ``target`` exists or cannot be written.
    """
    place, tables = _place(path, wanted)
    made, missing = {}, {}
    files = list(_files(place, tables, wanted, now))
    for one in files:
        try:
            made[one.name] = one.make()
        except Exception as fault:  # noqa: BLE001  what is broken is what it is made for: the rest is told
            missing[one.name] = f"{type(fault).__name__}: {place.anonymous.text(str(fault))}"
    listed = [f"  {one.name:<20}{missing.get(one.name) or one.holds}" for one in files]
    readme = _README.format(
        when=now.isoformat(timespec="seconds"),
        files="\n".join(listed),
        removed=REMOVED,
        network=_NETWORK[wanted.network],
    )
    _pack(target, {"README.txt": readme, **made}, now)
    return Bundle(target, target.stat().st_size, missing)


def _place(path: Path | None, wanted: Wanted) -> tuple[Place, dict[str, Any]]:
    """Where the node is, also of a file that cannot be used, and the tables of that file."""
    tables: dict[str, Any] = {}
    settings, fault = None, ""
    with contextlib.suppress(OSError, ValueError):
        tables = {} if path is None else configuration.raw(path)
    try:
        settings = config.load(path)
        config.load(path, for_serving=True)
    except ConfigError as why:
        fault = str(why)
    spool = None if settings is None else _spool(settings)
    named = frozenset() if spool is None else identities(spool)
    peers = frozenset(configuration.peers(tables)) - {""}
    return Place(settings, spool, Anonymous(vocabulary(), named, peers, wanted.network), fault), tables


def _spool(settings: Settings) -> Spool | None:
    found = Spool(settings.storage_folder(), settings.storage.minimum_free_mb)
    return found if found.studies.is_dir() else None


def _files(place: Place, tables: dict[str, Any], wanted: Wanted, now: datetime) -> Iterator[_File]:
    """Every file of a bundle; each is made when it is asked for."""

    def of_spool(make: Callable[[Place, Spool], Any]) -> Callable[[], str]:
        return lambda: _json(make(place, _there(place)))

    yield _File("configuration.json", "the configuration file", lambda: _json(_configuration(place, tables)))
    yield _File("versions.json", "program, Python, libraries, system", lambda: _json(parts.versions(place)))
    yield _File("check.json", "what `check` says of file and machine", lambda: _json(parts.check(place)))
    yield _File("status.json", "series by state; those that wait", of_spool(parts.counts))
    yield _File("jobs.json", "results: states, times, deliveries", of_spool(parts.jobs))
    yield _File("fits.json", "sizes and times of the last fits", of_spool(parts.fits))
    yield _File("disk.json", "room, and what takes it", of_spool(parts.disk))
    yield _File("members.json", "who shares the data folder", of_spool(parts.members))
    yield _File("database.json", "whether the queue's database is sound", of_spool(parts.database))
    yield _File("metrics.txt", "what /metrics says", lambda: parts.metrics(place))
    yield _File("log.jsonl", f"events of {wanted.days} days", lambda: _log(place, wanted, now))


def _there(place: Place) -> Spool:
    if place.spool is None:
        raise NodeError("there is no data folder of a node, or the configuration that names it cannot be used")
    return place.spool


def _configuration(place: Place, tables: dict[str, Any]) -> Any:
    if not tables:
        raise ConfigError("there is no file, or it is no TOML")
    return configuration.masked(tables, place.anonymous)


def _log(place: Place, wanted: Wanted, now: datetime) -> str:
    lines = log.journal(wanted.days) if wanted.log is None else log.file(wanted.log)
    found = log.told(lines, now - timedelta(days=wanted.days), place.anonymous)
    if wanted.log is not None and found.unknown and not found.lines:
        raise NodeError(f"no line of {wanted.log} is one that serve --log-json writes: let it write its log so")
    head = {"lines": len(found.lines), "older_lines_left_out": found.left_out, "other_lines_left_out": found.unknown}
    return "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in (head, *found.lines))


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _pack(target: Path, files: dict[str, str], now: datetime) -> None:
    """Write the archive: readable by its owner, without the names of who made it."""
    try:
        with open(target, "xb", opener=_for_its_owner) as file:
            _pack_into(file, files, now)
    except FileExistsError as fault:
        raise StorageError(f"{target} is there already: name another file") from fault
    except OSError as fault:
        raise StorageError(f"{target} cannot be written: {fault.strerror or fault}") from fault


def _pack_into(file: IO[bytes], files: dict[str, str], now: datetime) -> None:
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name, text in files.items():
            content = text.encode()
            entry = tarfile.TarInfo(f"dicomnode-support/{name}")
            entry.size, entry.mtime, entry.mode = len(content), now.timestamp(), 0o600
            archive.addfile(entry, io.BytesIO(content))


def _for_its_owner(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)
