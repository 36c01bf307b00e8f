"""Removes what need not be kept: received images first, then the objects made of them, then what is known of them.

Nothing goes that is not finished: delivered everywhere, or judged to be nothing that is delivered. Ages are counted in
days on which the node ran, from a list of its own: a clock that jumps ahead for years removes nothing.
"""

from __future__ import annotations

import contextlib
import math
import shutil
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from dicomnode import events, logs
from dicomnode.errors import InputError, NodeError, StorageError
from dicomnode.jobs import again, lifecycle, orders, tidy
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs.lifecycle import JobStatus
from dicomnode.store import usage
from dicomnode.store.durable import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from dicomnode.config import RetentionSettings
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool

ORIGINALS, OBJECTS, RECORDS = KINDS = ("originals", "objects", "records")  # in this order
BY_HAND = "removed outside the node"
_ROUND_SECONDS = 600.0
_FINISHED = frozenset({JobStatus.DONE, JobStatus.REFUSED, JobStatus.KEPT, JobStatus.OVERTAKEN})
_WAITING = "waiting"


class Retention:
    """Keeps the data folder within what the configuration allows; ``clock`` is the time that people read."""

    def __init__(
        self,
        spool: Spool,
        settings: RetentionSettings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        say: events.Sink = logs.write,
    ) -> None:
        self._spool = spool
        self._settings = settings
        self._clock = clock
        self._say = say
        self._next_round = -math.inf

    def use(self, settings: RetentionSettings) -> None:
        """Keep by other rules from the next round on."""
        self._settings = settings

    def turn(self, now: float) -> None:
        """From time to time, note how full the disk is and remove what is over its time; ``now`` is monotonic."""
        if now < self._next_round:
            return
        self._next_round = now + _ROUND_SECONDS
        try:
            self.round()
        except Exception as fault:  # noqa: BLE001  the edge of a turn
            self._say(events.RoundFailed(fault))

    def round(self) -> None:
        """Look once at every study."""
        today = self._clock().astimezone(UTC).date()
        days = usage.note(self._spool, today)
        self._spool.sweep()
        finished = []
        for path in sorted(self._spool.studies.glob("*.json"), key=_changed):
            with contextlib.suppress(StorageError, FileNotFoundError):  # a damaged record is said by the status
                study = _Study.read(self._spool, path)
                self._notice(study)
                if study.is_finished:
                    finished.append(study)
        self._by_age(finished, days)
        self._by_room(finished)

    def purge(self, study_uid: str, reason: str, undelivered: bool, by: str = "") -> None:
        """Remove all of a study, for a reason that a person gives; raises InputError where it is still needed."""
        path = self._spool.studies / f"{study_uid}.json"
        if not path.exists():
            return
        study = _Study.read(self._spool, path)
        if study.is_at_work:
            raise InputError(f"study {study_uid} is being processed or sent; purge it when that has ended")
        if not study.is_finished and not undelivered:
            raise InputError(f"study {study_uid} is not delivered everywhere; --undelivered removes it all the same")
        for kind in KINDS:
            if not self._remove(study, kind, f"purged: {reason}", by, whatever_came=undelivered):
                raise InputError(f"images of study {study_uid} came at this moment; purge it when they were looked at")

    def _notice(self, study: _Study) -> None:
        """Say it once when somebody has removed the images of a study by hand."""
        if not study.has_images and ORIGINALS not in study.removed:
            study.note(study.removed | {ORIGINALS: _said(BY_HAND, self._clock())})
            self._say(events.StudyRemoved(study.uid, ORIGINALS, BY_HAND))

    def _by_age(self, finished: list[_Study], days: list[date]) -> None:
        for kind, limit in zip(KINDS, self._settings.days(), strict=True):
            for study in finished if limit else ():
                if study.holds(kind) and sum(day > study.ended for day in days) >= limit:
                    self._remove_finished(study, kind, f"older than {limit} days")

    def _by_room(self, finished: list[_Study]) -> None:
        """Where the disk has less room than it should, remove the oldest images, then the oldest objects."""
        wanted = self._settings.keep_free_gb * 1e9
        for kind in (ORIGINALS, OBJECTS):
            for study in finished:
                if not wanted or shutil.disk_usage(self._spool.folder).free >= wanted:
                    return
                if study.holds(kind):
                    self._remove_finished(study, kind, f"less than {self._settings.keep_free_gb:g} GB free")

    def _remove_finished(self, judged: _Study, kind: str, why: str) -> None:
        """Look again first: a round is long, and the study may have been asked for, or grown, since it was judged."""
        with contextlib.suppress(StorageError, FileNotFoundError):
            study = judged.read_again()
            if study.is_finished and study.holds(kind):
                self._remove(study, kind, why)

    def _remove(self, study: _Study, kind: str, why: str, by: str = "", *, whatever_came: bool = False) -> bool:
        """Remove something of a study; False, and it stays, where images came that nobody has looked at yet."""
        before = study.removed
        study.note(before | {kind: _said(why, self._clock())})  # first, so that a crash leaves nothing unexplained
        if not study.remove(kind, whatever_came=whatever_came):
            study.note(before)
            return False
        self._say(events.StudyRemoved(study.uid, kind, why, by))
        return True


class _Study:
    """What lies in the data folder of one study."""

    def __init__(self, spool: Spool, path: Path, record: dict[str, Any]) -> None:
        self.uid = path.stem
        self._spool = spool
        self._path = path
        keys = _keys(spool, self.uid, record)
        self._jobs = [spool.job(key) for key in keys]
        self._replaced = [job for job in _with_replaced(spool, keys) if job not in self._jobs]
        self._before = [lifecycle.state(job).status for job in self._replaced]
        self._states = [lifecycle.state(job).status for job in self._jobs if manifests.exists(job)]
        self._waits = any(entry["status"] == _WAITING for entry in _entries(record))
        self._settled_ns = int(record["settled_ns"])
        self.removed = removed(spool, self.uid)

    @classmethod
    def read(cls, spool: Spool, path: Path) -> _Study:
        """Raises StorageError where the record, or the state of a job, cannot be read."""
        return cls(spool, path, read_json(path) or {"groups": {}, "settled_ns": 0})

    def read_again(self) -> _Study:
        """What lies there now; raises StorageError."""
        return _Study.read(self._spool, self._path)

    @property
    def has_images(self) -> bool:
        return self._spool.study_folder(self.uid).is_dir()

    @property
    def is_at_work(self) -> bool:
        """Whether something of it is in the queue."""
        states = (*self._states, *self._before)
        return any(not status.is_end and status is not JobStatus.DELIVERING for status in states)

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will come of it unless a person asks: what has failed is a person's to look at."""
        arrived = self._spool.changed_ns(self.uid) in (0, self._settled_ns)
        ended = all(status in _FINISHED for status in self._states) and all(status.is_end for status in self._before)
        return arrived and not self._waits and ended

    @property
    def ended(self) -> date:
        """The day of the last change."""
        paths = [self._path, *(job.folder / "state.json" for job in self._jobs)]
        return datetime.fromtimestamp(max(map(_changed, paths)), UTC).date()

    def holds(self, kind: str) -> bool:
        """Whether there is something of a kind that may be removed; what was promised to a scanner may not."""
        if kind == ORIGINALS:
            return self.has_images and not self._spool.is_promised(self.uid)
        if kind == RECORDS and self.has_images:
            return False  # it would be processed again
        return kind not in self.removed and (kind == RECORDS or any(job.outputs for job in self._jobs))

    def note(self, removed: dict[str, dict[str, str]]) -> None:
        self.removed = removed
        write_json(_note(self._spool, self.uid), removed)

    def remove(self, kind: str, *, whatever_came: bool) -> bool:
        """Remove something, images only if none came since the study was judged; whether that was done."""
        since = None if whatever_came else self._settled_ns
        if kind == ORIGINALS and self.has_images and not self._spool.remove_images(self.uid, since):
            return False
        for job in (*reversed(self._replaced), *self._jobs):  # the last names the others, also after a crash
            if kind == OBJECTS:
                tidy.remove_objects(job)
            elif kind == RECORDS:
                self._spool.remove_job(job.key)
        if kind == RECORDS:
            self._path.unlink(missing_ok=True)
            spool, uid = self._spool, self.uid
            for path in (_note(spool, uid), orders.path(spool, uid), again.path(spool, uid)):
                path.unlink(missing_ok=True)
        return True


def jobs_of(spool: Spool, study_uid: str) -> list[Job]:
    """Every result that is kept of a study, also those that others have replaced; raises StorageError."""
    record = read_json(spool.studies / f"{study_uid}.json") or {"groups": {}}
    return list(_with_replaced(spool, _keys(spool, study_uid, record)))


def _entries(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [*record["groups"].values(), *record.get("drawings", {}).values()]


def _keys(spool: Spool, study_uid: str, record: dict[str, Any]) -> list[str]:
    """The results of a study that nothing has replaced, and those that a person had made again."""
    of_record = (entry["key"] for entry in _entries(record) if entry.get("key"))
    return list(dict.fromkeys([*of_record, *again.of_study(spool, study_uid)]))


def _with_replaced(spool: Spool, keys: Iterable[str]) -> Iterator[Job]:
    """The jobs of those keys and, one after the other, those that they replace."""
    waiting, seen = list(keys), set[str]()
    while waiting:
        key = waiting.pop()
        job = spool.job(key)
        if key in seen or not manifests.exists(job):
            continue
        seen.add(key)
        yield job
        with contextlib.suppress(NodeError):  # of a newer version, or damaged: it is removed all the same
            waiting += [earlier for earlier in (manifests.read(job).supersedes,) if earlier]


def removed(spool: Spool, study_uid: str) -> dict[str, dict[str, str]]:
    """What of a study was removed: kind -> when and why."""
    try:
        return read_json(_note(spool, study_uid)) or {}
    except StorageError:
        return {}


def _said(why: str, when: datetime) -> dict[str, str]:
    return {"at": when.isoformat(timespec="seconds"), "why": why}


def _note(spool: Spool, study_uid: str) -> Path:
    return spool.removed / f"{study_uid}.json"


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
