"""What the pages show of the whole node, read from its files and kept for moments."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dicomnode import tls
from dicomnode.control import rows, scanner
from dicomnode.errors import NodeError
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs.lifecycle import DeliveryStatus, JobStatus
from dicomnode.operate.status import Studies, not_taken_in
from dicomnode.store import usage
from dicomnode.store.durable import digest
from dicomnode.web.tally import OTHER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dicomnode.config import Settings
    from dicomnode.operate.status import Study
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool
    from dicomnode.web.tally import Tally

RUNNING = tuple(status.value for status in JobStatus if not status.is_end)
UNDER_WAY = ("waiting", *RUNNING)
_DELIVERY_ENDS = frozenset(status.value for status in DeliveryStatus if status.is_end)
_LOOK_SECONDS = 2.0  # what is known of the studies may be that old
_RECENT = 200  # studies that are asked for when something was sent or received last
_FORTNIGHT = 14 * 86400.0
_SILENT_SECONDS = 30.0  # the node says every two that it is alive


@dataclass(frozen=True, slots=True)
class Destination:
    """What waits for a PACS, and what it said last."""

    name: str
    backlog: int = 0
    given_up: int = 0
    oldest: float | None = None  # since when the oldest of the backlog waits
    last_success: float | None = None
    last_error: float | None = None
    reason: str = ""  # of the last error


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk under the data folder, bytes."""

    free: int
    total: int
    least: int  # below this nothing is taken in
    days_left: float | None  # None: not enough is known


@dataclass(frozen=True, slots=True)
class Figures:
    """The node in numbers."""

    states: Counter[str]  # series by status
    destinations: tuple[Destination, ...]
    oldest: float | None  # since when the oldest series under way is so
    not_taken_in: tuple[dict[str, Any], ...]


class Shelf:
    """Every study, by the name that its page has."""

    def __init__(self, settings: Settings, spool: Spool, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._spool = spool
        self._clock = clock
        self._lock = threading.Lock()
        self._looker = Studies(spool)
        self._looked = self._asked = -_FORTNIGHT  # by a clock that nobody sets
        self._studies: list[Study] = []
        self._figures = Figures(Counter(), (), None, ())
        self._last_words: dict[str, tuple[float | None, float | None, str]] = {}
        self._last_image: dict[str, float] | None = None
        self._ailments: dict[str, str] = {}
        self._heard = time.monotonic()

    # ---- what the node tells

    def count(self, counted: Tally) -> None:
        """Remember when images came."""
        if counted.metric == "images_received":
            self.last_images()[counted.labels[0]] = self._clock()

    def examined(self, ailments: dict[str, str]) -> None:
        """Remember what of the node does not work."""
        self._ailments, self._heard = ailments, time.monotonic()

    def ailments(self) -> dict[str, str]:
        """What of the node does not work now, and why."""
        silent = time.monotonic() - self._heard
        if silent > _SILENT_SECONDS:
            reason = f"it has said nothing for {silent:.0f} s: its queue's database is away, or it is overloaded"
            return {"node": reason}
        return self._ailments

    # ---- what the files tell

    def studies(self) -> list[Study]:
        """Every study, the one that changed last first."""
        with self._lock:
            self._look()
            return self._studies

    def figures(self) -> Figures:
        """The node in numbers."""
        with self._lock:
            self._look()
            return self._figures

    def study(self, name: str) -> Study | None:
        """The study of a name."""
        return next((study for study in self.studies() if name_of(study) == name), None)

    def job(self, key: str) -> Job:
        """The folder of a result."""
        return self._spool.job(key)

    def disk(self) -> Disk:
        """The disk, and for how many days it lasts as things go."""
        space = shutil.disk_usage(self._spool.folder)
        least = self._settings.storage.minimum_free_mb * 1_000_000
        return Disk(space.free, space.total, least, usage.days_left(self._spool))

    def last_images(self) -> dict[str, float]:
        """When each scanner sent last, as far as the recent studies and this process know; by AE title."""
        if self._last_image is None:
            self._last_image = self._last_image_of_files()
        return self._last_image

    def certificates(self) -> list[tuple[Path, int]]:
        """The certificates and their days."""
        web, own = self._settings.web, self._settings.tls
        paths = dict.fromkeys(path for path in (own.certificate, own.authority, web.certificate) if path is not None)
        return [(path, days) for path in paths if (days := tls.days_left(path)) is not None]

    def scanner_alarms(self) -> list[tuple[str, str]]:
        """Scanners whose last scan of a phantom is beyond its charts' limits, and which charts say so."""
        found = []
        with contextlib.suppress(NodeError):
            for history in rows.read(self._spool.folder):
                alarms = dict.fromkeys(f"{named.title} ({one.kind})" for named, one in scanner.standing(history))
                if alarms:
                    found.append((history.scanner.title, ", ".join(alarms)))
        return found

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        self._studies = [study for study in reversed(self._looker.look()) if study.entries]
        if now - self._asked > _LOOK_SECONDS * 5:
            self._asked = now
            self._last_words = {one.name: self._last_word(one.name) for one in self._settings.destination}
        self._figures = self._counted()

    def _counted(self) -> Figures:
        states: Counter[str] = Counter()
        oldest: list[float] = []
        waiting: dict[str, list[float]] = {one.name: [] for one in self._settings.destination}
        given_up: Counter[str] = Counter()
        for study in self._studies:
            for entry in study.entries:
                states[entry["status"]] += 1
                if entry["status"] in UNDER_WAY:
                    oldest.append(study.changed)
                if entry["status"] == JobStatus.DELIVERING:
                    for name, since in _unsent(entry, study, waiting):
                        waiting[name].append(since)
                given_up.update(
                    name for name, one in entry["deliveries"].items() if one["status"] == DeliveryStatus.DEAD_LETTER
                )
        destinations = tuple(
            Destination(name, len(since), given_up[name], min(since, default=None), *self._last_words[name])
            for name, since in waiting.items()
        )
        return Figures(states, destinations, min(oldest, default=None), tuple(not_taken_in(self._spool)))

    def _last_word(self, name: str) -> tuple[float | None, float | None, str]:
        """When a destination took something last, and when and why it did not."""
        success = error = None
        reason = ""
        for study in self._studies[:_RECENT]:
            for entry in study.entries:
                said = entry["deliveries"].get(name)
                if said is None:
                    continue
                at = _changed(self._spool.job(entry["key"]).folder / "receipts" / f"{name}.json")
                if said["status"] == DeliveryStatus.DELIVERED:
                    success = max(at, success or 0.0)
                elif said["reason"] and not entry["held"] and at > (error or 0.0):
                    error, reason = at, said["reason"]
        return success, error, reason

    def _last_image_of_files(self) -> dict[str, float]:
        scanners = {scanner.ae_title for scanner in self._settings.scanner}
        found: dict[str, float] = {}
        for study in self.studies()[:_RECENT]:
            for key in {entry["key"] for entry in study.entries if entry["key"]}:
                with contextlib.suppress(NodeError):
                    sender = manifests.read(self._spool.job(key)).sender
                    found.setdefault(sender if sender in scanners else OTHER, study.changed)
        return found


def uid_of(study: Study) -> str:
    """Its Study Instance UID."""
    return str(study.entries[0]["study_instance_uid"])


def name_of(study: Study) -> str:
    """The name of its page: no identifier of anybody's."""
    return digest(uid_of(study).encode())[:20]


def _unsent(entry: dict[str, Any], study: Study, names: dict[str, list[float]]) -> Iterator[tuple[str, float]]:
    """The destinations that a result has not reached, and since when it waits."""
    for name in names:
        said = entry["deliveries"].get(name)
        if said is None or said["status"] not in _DELIVERY_ENDS:
            yield name, (said or {}).get("first") or study.changed


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
