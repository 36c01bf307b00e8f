"""The row of each exam, in a file of its scanner that only ever grows.

A row holds no identity: of a patient's exam it says the day, and its exam is a digest. It outlives what is purged.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from dicomnode.store import lines
from dicomnode.store.durable import digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FOLDER = "quality"
_DAY_S = 86_400.0
_FIRST_DAY = datetime(1, 1, 1)  # noqa: DTZ001  the scanner's own time; an ordinal of 1, as dates are counted


@dataclass(frozen=True, slots=True)
class Scanner:
    """A scanner, by what its images and its calling AE title say of it."""

    manufacturer: str = ""
    model: str = ""
    station: str = ""
    field_t: float | None = None
    sender: str = ""

    @property
    def name(self) -> str:
        """What its file and its page go by."""
        tesla = None if self.field_t is None else round(self.field_t, 2)
        return digest(repr((self.manufacturer, self.model, self.station, tesla, self.sender)).encode())[:20]

    @property
    def title(self) -> str:
        """What people call it."""
        said = [*dict.fromkeys(one for one in (self.manufacturer, self.model, self.station) if one)]
        said += [f"{self.field_t:.2f} T"] if self.field_t else []
        return (" ".join(said) or "unknown scanner") + (f", as {self.sender}" if self.sender else "")


@dataclass(frozen=True, slots=True)
class Row:
    """What one exam said; see ``exam.of`` for the figures."""

    key: str  # of the result
    exam: str  # digest: of several results of one exam the last counts
    at: str  # ISO 8601: when it was scanned, of a patient the day alone
    scanner: Scanner
    organ: str
    protocol: str
    software: str
    snr: float | None = None
    sigma: float | None = None
    n_coils: float | None = None
    ghosting: float | None = None
    echoes: float | None = None
    vials: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def of_phantom(self) -> bool:
        """Whether it goes into a control chart."""
        return bool(self.vials)


@dataclass(frozen=True, slots=True)
class Restart:
    """From then on a scanner is judged by a new baseline: it was serviced, or the phantom is another."""

    restart: str  # ISO 8601
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class History:
    """All that is kept of a scanner, in the order of the scans."""

    scanner: Scanner
    rows: tuple[Row, ...]
    restarts: tuple[Restart, ...] = ()

    @property
    def judged(self) -> tuple[Row, ...]:
        """The rows since the last new baseline."""
        since = max((one.restart for one in self.restarts), default="")
        return tuple(one for one in self.rows if one.at >= since)


def made(said: Mapping[str, Any], *, key: str, exam: str, created: str, sender: str, software: str, organ: str) -> Row:
    """The row of what ``exam.of`` said; ``created`` (ISO 8601) stands for the time of a scan that has no date."""
    taken = said.get("acquired_s") or 0.0
    when = (
        (_FIRST_DAY + timedelta(seconds=taken - _DAY_S)).isoformat("T", "seconds") if taken > _DAY_S else created[:19]
    )
    figures = {name: said.get(name) for name in ("snr", "sigma", "n_coils", "ghosting", "echoes")}
    vials = tuple(said.get("vials", ()))
    scanner = Scanner(**said["scanner"], sender=sender)
    at = when if vials else when[:10]
    return Row(key, exam, at, scanner, organ, said["protocol"], software, **figures, vials=vials)


def append(folder: Path, one: Row) -> None:
    """Keep a row; raises StorageError."""
    lines.append(_path(folder, one.scanner.name), asdict(one))


def restart(folder: Path, name: str, one: Restart) -> None:
    """Judge a scanner by a new baseline from then on; raises StorageError."""
    lines.append(_path(folder, name), asdict(one))


def keys(folder: Path) -> set[str]:
    """The results that have a row."""
    return {
        said["key"] for path in _paths(folder) for said in lines.read(path) if isinstance(said, dict) and "key" in said
    }


def read(folder: Path) -> tuple[History, ...]:
    """What is kept of every scanner, by its title; raises StorageError."""
    found = (_history(path) for path in _paths(folder))
    return tuple(sorted((one for one in found if one is not None), key=lambda one: one.scanner.title))


def of(folder: Path, name: str) -> History | None:
    """What is kept of a scanner; raises StorageError."""
    return next((_history(path) for path in _paths(folder) if path.stem == name), None)


def _paths(folder: Path) -> Iterator[Path]:
    yield from sorted((folder / FOLDER).glob("*.jsonl"))


def _path(folder: Path, name: str) -> Path:
    return folder / FOLDER / f"{name}.jsonl"


def _history(path: Path) -> History | None:
    exams: dict[str, Row] = {}
    restarts = []
    for said in lines.read(path):
        if "restart" in said:
            restarts.append(Restart(said["restart"], said["by"], said["why"]))
        else:
            exams[said["exam"]] = _row(said)
    rows = sorted(exams.values(), key=lambda one: one.at)
    return History(rows[-1].scanner, tuple(rows), tuple(restarts)) if rows else None


def _row(said: Mapping[str, Any]) -> Row:
    names = {one.name for one in fields(Row)}
    known = {name: value for name, value in said.items() if name in names}
    return Row(**{**known, "scanner": Scanner(**said["scanner"]), "vials": tuple(said["vials"])})
