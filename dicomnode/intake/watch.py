"""Decides by content when a series is complete, and starts its job.

Events (watchdog's, the receiver's) only wake a look; a full rescan at the start and on a timer must be enough alone,
because events may be lost and files may not. All state is on disk: the instances, the markers of associations that
ended well, and one record a study.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from dicomnode import events, group, header, logs, protocol
from dicomnode.errors import NodeError, StorageError
from dicomnode.intake import study as studies
from dicomnode.intake.complete import Arrival, Decision, Verdict, decide
from dicomnode.intake.drop import DropFolder
from dicomnode.jobs import again, drawings, orders, retention
from dicomnode.jobs.manifest import Manifest
from dicomnode.measure import organs
from dicomnode.measure.rois import READERS
from dicomnode.model import Group, Reason
from dicomnode.store.durable import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dicomnode.config import GroupingSettings, ScannerSettings
    from dicomnode.header import Header
    from dicomnode.model import EchoStack
    from dicomnode.store.spool import Spool

_BATCH_SECONDS = 0.1  # what arrives within this time is looked at together
_AGAIN_SECONDS = 5.0  # after a look that failed
_LONGEST_REST_SECONDS = 5.0  # so that a watcher that hangs can be told from one that rests
_BETWEEN_LOOKS_SECONDS = 2.0  # at a study that is arriving
_SAME_TICK_SECONDS = 2.0  # a folder touched this recently may change again without a new time stamp


class Watcher:
    """Keeps a record of every study and hands complete series to ``start(manifest, stack)``.

    ``start`` makes the job durable before it returns; starting a job that exists does nothing. ``rules_of`` gives the
    rules for what a sender, by its AE title, sent of a series of some names, ``scanners`` those of which not every
    series is treated alike, ``stays_open`` whether a sender keeps an association for many series, ``bringing`` what of
    a study open associations have brought, and ``open_elsewhere`` whether one brings something of it to another
    machine. ``clock`` is one that nobody sets: time passes only while the node listens, and images that were there
    before it are as new as it is.
    """

    def __init__(
        self,
        rules: GroupingSettings,
        spool: Spool,
        *,
        parameters: dict[str, Any],
        software_version: str,
        bringing: Callable[[str], frozenset[str]],
        start: Callable[[Manifest, EchoStack | None], str],
        drawing_replaces: bool = False,
        rules_of: Callable[[str, tuple[str, ...]], GroupingSettings],
        scanners: Callable[[], Mapping[str, ScannerSettings]] = dict,
        stays_open: Callable[[str], bool] = lambda _: False,
        open_elsewhere: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
        say: events.Sink = logs.write,
    ) -> None:
        self._rules = rules
        self._rules_of = rules_of
        self._scanners = scanners
        self._spool = spool
        self._parameters = parameters
        self._version = software_version
        self._bringing = bringing
        self._stays_open = stays_open
        self._open_elsewhere = open_elsewhere
        self._start = start
        self._drawing_replaces = drawing_replaces
        self._clock = clock
        self._say = say
        self._studies: dict[str, studies.Study] = {}
        self._due: set[str] = set()
        self._looked_at: set[str] = set()  # in this turn
        self._drop_due = True
        self._due_lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._next_rescan = -math.inf
        self._turned = -math.inf
        self._drop = DropFolder(spool, rules.unreleased_quiet_seconds, say)
        self._turned = time.monotonic()  # when it last began with a study or an image
        self._observer: Any = None
        self._thread: threading.Thread | None = None

    @property
    def turned(self) -> float:
        """When it last got anywhere."""
        return max(self._turned, self._drop.turned)

    def start(self) -> None:
        """Watch in a thread of its own."""
        self._observer = Observer()
        self._observer.schedule(_Waker(self.look_at_drop), str(self._spool.drop), recursive=True)
        self._observer.start()
        self._turned = self._clock()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its turn."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()

    def wake(self, study_uid: str) -> None:
        """Ask for a look at a study."""
        with self._due_lock:
            self._due.add(study_uid)
        self._wake.set()

    def expects_more(self, study_uid: str, key: str) -> bool:
        """Whether images have come that make a result obsolete: they were not looked at yet, or wait for others."""
        with self._due_lock:
            if study_uid in self._due or study_uid in self._looked_at:
                return True
        return studies.is_overtaken(self._spool, study_uid, key)

    def silent_seconds(self) -> float:
        """How long ago the last turn ended; no end where the thread is gone."""
        alive = self._thread is not None and self._thread.is_alive()
        return self._clock() - self._turned if alive else math.inf

    def look_at_drop(self) -> None:
        """Ask for a look at the drop folder."""
        self._drop_due = True
        self._wake.set()

    def turn(self, now: float) -> float:
        """Look once at whatever may have changed; return the time of the next look if nothing happens."""
        if now >= self._next_rescan:
            self._next_rescan = now + self._rules.rescan_seconds
            self._drop_due = True
            self._mark_changed()
        if self._drop_due:
            self._drop_due = False
            for study_uid in self._drop.take(now):
                self.wake(study_uid)
            self._next_rescan = min(self._next_rescan, self._drop.again_at(now) or self._next_rescan)
        late = {uid for uid, study in self._studies.items() if study.look_at is not None and study.look_at <= now}
        with self._due_lock:
            due, self._due = self._due, set()
            self._looked_at = set(due)  # what came of these is in no record yet
        due |= late
        still_coming = {study_uid for study_uid in due if self._can_wait(study_uid, now)}
        with self._due_lock:
            self._due |= still_coming
        for study_uid in sorted(due - still_coming):
            self._look_safely(study_uid, now)
            with self._due_lock:
                self._looked_at.discard(study_uid)
        deadlines = [study.look_at for study in self._studies.values() if study.look_at is not None]
        if still_coming:
            deadlines.append(now + _BETWEEN_LOOKS_SECONDS)
        return min([self._next_rescan, *deadlines])

    def _can_wait(self, study_uid: str, now: float) -> bool:
        """Whether a study was looked at a moment ago and an association that brings it is open: nothing starts now."""
        study = self._studies.get(study_uid)
        if study is None or now - study.looked_at >= _BETWEEN_LOOKS_SECONDS:
            return False
        return bool(self._bringing(study_uid))

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            self._turned = time.monotonic()
            try:
                next_look = self.turn(self._clock())
            except Exception as fault:  # noqa: BLE001  the edge of a turn
                self._say(events.TurnFailed(fault))
                next_look = self._clock() + self._rules.rescan_seconds
            self._turned = self._clock()
            self._stop.wait(_BATCH_SECONDS)
            rest = min(next_look - self._clock(), self._rules.rescan_seconds, _LONGEST_REST_SECONDS)
            self._wake.wait(max(0.0, rest))

    def _mark_changed(self) -> None:
        """Find study folders that changed since they were last looked at: one stat a study."""
        for study_uid, changed_ns in self._spool.study_changes():
            if study_uid not in self._studies:
                self._studies[study_uid] = studies.Study(settled_ns=self._record(study_uid)["settled_ns"])
            if changed_ns != self._studies[study_uid].settled_ns:
                with self._due_lock:
                    self._due.add(study_uid)

    def _look_safely(self, study_uid: str, now: float) -> None:
        """One study that cannot be looked at must not hold back the others; the next rescan tries it again."""
        self._turned = time.monotonic()
        try:
            self._look(study_uid, now)
        except Exception as fault:  # noqa: BLE001  the edge of a look
            self._say(events.LookFailed(study_uid, fault))
            again = min(_AGAIN_SECONDS, self._rules.rescan_seconds)
            self._studies[study_uid] = studies.Study(look_at=now + again)

    def _look(self, study_uid: str, now: float) -> None:
        """Read what is new in a study, judge its groups, start what is ready, write down the rest."""
        folder = self._spool.study_folder(study_uid)
        if not folder.is_dir():
            self._studies.pop(study_uid, None)
            return
        study = self._studies.setdefault(study_uid, studies.Study())
        study.looked_at = now
        stamp = folder.stat().st_mtime_ns
        if study.stamp[0] != stamp:
            study.stamp = (stamp, now)
        # In this order, and asked again at the end: whoever ends in between has left its word, and all of its images,
        # before it was no longer open; who begins in between is open at the end.
        bringing, elsewhere = self._bringing(study_uid), self._open_elsewhere(study_uid)
        markers = studies.Markers.read(folder)
        self._read_new(folder, study, now)
        bringing |= self._bringing(study_uid)
        if elsewhere or self._open_elsewhere(study_uid):
            bringing |= frozenset(study.times)
        old = self._record(study_uid)
        groups: dict[str, Any] = {}
        deadlines = []
        damaged = header.damaged(one for _, one in sorted(study.headers.items()))
        begun = studies.Begun(self._spool, study_uid)
        wishes = group.Wishes(self._scanners(), frozenset(orders.of_study(self._spool, study_uid)))
        for candidate in group.assemble(studies.images(study), self._rules, damaged, wishes):
            before = {**studies.known_of(candidate, old["groups"]), **begun.of(candidate.group_id)}
            arrival = self._arrival(candidate, study, markers, bringing, before)
            started = before.get("started") == studies.sources(
                candidate
            )  # whatever else arrives, its job is on its way
            decision = Decision(Verdict.READY) if started else decide(candidate, arrival, self._rules, now)
            if decision.again_at is not None:
                deadlines.append(decision.again_at)
            groups[candidate.group_id] = self._act(candidate, decision, before, begun)
        if any(studies.is_unread(found) for found in study.headers.values()):
            deadlines.append(now + self._rules.rescan_seconds)
        study.look_at = min(deadlines, default=None)
        nothing_to_come = study.look_at is None and not bringing
        quiet = nothing_to_come and now - study.stamp[1] > _SAME_TICK_SECONDS
        folded = markers.are_folded(frozenset(study.times))
        study.settled_ns = stamp if quiet and folded else 0
        groups = self._no_longer_here(study_uid, old["groups"]) | groups
        drawn = self._measure_drawings(study_uid, study, groups, old.get("drawings", {}))
        record = {
            "study_instance_uid": study_uid,
            "groups": groups,
            "drawings": drawn,
            "others": [*studies.others(study, drawn), *studies.conflicts(folder)],
            "settled_ns": study.settled_ns,
            **studies.labels(study),
        }
        if record != old:
            write_json(self._spool.studies / f"{study_uid}.json", record)
        begun.forget()
        if nothing_to_come:
            _put_away(folder, study, markers, now, quiet=quiet)

    def _arrival(
        self,
        candidate: Group,
        study: studies.Study,
        markers: studies.Markers,
        bringing: frozenset[str],
        before: dict[str, Any],
    ) -> Arrival:
        """How a group came in, as far as what is known of it from before does not say more."""
        open_ends = self._stays_open(candidate.images[0].sender)
        arrival = studies.arrival(candidate, study, markers, bringing, stays_open=open_ends)
        if studies.was_waited_for(candidate, before):
            arrival = replace(arrival, newest=-math.inf)
        return replace(arrival, went_before=before.get("started") is not None)

    def _no_longer_here(self, study_uid: str, groups: dict[str, Any]) -> dict[str, Any]:
        """Groups with a result whose images were removed since, and so cannot be judged again."""
        if not retention.removed(self._spool, study_uid):
            return {}
        return {name: one for name, one in groups.items() if one["key"]}

    def _record(self, study_uid: str) -> dict[str, Any]:
        """What was written down of a study at the last look, also by an earlier run of the node."""
        nothing = {"groups": {}, "settled_ns": 0}
        try:
            return read_json(self._spool.studies / f"{study_uid}.json") or nothing
        except StorageError as fault:  # it is made again: the same images and settings give the same job
            self._say(events.RecordDamaged(study_uid, str(fault)))
            return nothing

    def _read_new(self, folder: Path, study: studies.Study, now: float) -> None:
        """Read the headers that are not known yet."""
        for path in sorted(folder.glob("[0-9]*.dcm")):
            self._turned = time.monotonic()
            known = study.headers.get(path.name)
            if known is None or studies.is_unread(known):
                study.headers[path.name] = header.read(path)
                study.times.setdefault(path.stem, now)

    def _act(
        self, candidate: Group, decision: Decision, before: dict[str, Any], begun: studies.Begun
    ) -> dict[str, Any]:
        """Start the job of a group that is ready; return what is to be remembered of the group."""
        first = candidate.images[0]
        entry = studies.entry(candidate, decision, before, self._rules_of(first.sender, first.names).organs)
        if decision.verdict is Verdict.READY and entry["started"] != entry["sources"]:
            stack = _stack(candidate, decision)
            said = {"started": entry["sources"], **studies.made(stack)}
            if entry["key"] is None or entry["made_of"] != said["made_of"]:
                manifest = self._manifest(candidate, stack, decision, before.get("key"))
                with begun.marked(candidate.group_id, manifest.key, said):
                    entry["key"] = self._start(manifest, stack)
                entry |= {**said, "left_out": list(candidate.left_out)}
            entry["started"] = entry["sources"]
        if (before.get("status"), before.get("code")) != (entry["status"], entry["code"]):
            self._say(
                events.SeriesJudged(
                    entry["status"],
                    candidate.study_instance_uid,
                    candidate.series_instance_uids,
                    entry["code"],
                    entry["reason"],
                    entry["key"],
                    entry["advice"],
                )
            )
        return entry

    def _measure_drawings(
        self, study_uid: str, study: studies.Study, groups: dict[str, Any], before: dict[str, Any]
    ) -> dict[str, Any]:
        """Start the job of every drawing on one of the study's results; return what is to be remembered of them."""
        keys = [entry["key"] for entry in groups.values() if entry["key"]]
        keys += again.of_study(self._spool, study_uid)
        entries = dict(before)
        for found in study.headers.values():
            known = entries.get(found.sop_instance_uid, {}).get("code", drawings.NO_LONGER_KEPT.code)
            if found.images or not keys or known != drawings.NO_LONGER_KEPT.code:
                continue
            entry = self._draw(found, keys)
            if entry is not None:
                entries[found.sop_instance_uid] = entry
                self._say(events.DrawingJudged(entry["status"], found.sop_instance_uid, entry["reason"]))
        return entries

    def _draw(self, found: Header, keys: list[str]) -> dict[str, Any] | None:
        if found.sop_class_uid not in READERS:
            return None
        uid, replaces = found.sop_instance_uid, self._drawing_replaces
        decided = drawings.manifest(self._spool, found.path, uid, keys, replaces=replaces)
        if decided is None:
            return None
        if isinstance(decided, Reason):
            return {"status": "refused", "code": decided.code, "reason": decided.sentence, "key": None}
        return {"status": "ready", "code": None, "reason": None, "key": self._start(decided, None)}

    def _manifest(self, candidate: Group, stack: EchoStack, decision: Decision, earlier_key: str | None) -> Manifest:
        folder, first = self._spool.folder, candidate.images[0]
        rules = self._rules_of(first.sender, first.names)
        return Manifest(
            sources=stack.sop_instance_uids,
            parameters=organs.made_from(
                self._parameters, protocol.choose(stack, rules.organs).organ, phantoms=rules.phantoms
            ),
            software_version=self._version,
            group_id=candidate.group_id,
            study_instance_uid=candidate.study_instance_uid,
            series_instance_uids=candidate.series_instance_uids,
            instances={image.sop_instance_uid: str(image.path.relative_to(folder)) for image in candidate.images},
            partial=decision.partial,
            grouping=rules.model_dump(mode="json"),
            sender=first.sender,
            samples=math.prod(stack.shape),
            supersedes=earlier_key,
        )


class _Waker(FileSystemEventHandler):
    """Every event is the same hint; what happened is read from the disk."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Wake the watcher for what came to stay."""
        if event.event_type in {"created", "moved", "modified", "closed"}:
            self._look()


def _put_away(folder: Path, study: studies.Study, markers: studies.Markers, now: float, *, quiet: bool) -> None:
    """Keep nothing in memory of a study to which nothing comes, once its markers are one; look again until then."""
    uids = frozenset(study.times)
    if quiet and markers.are_folded(uids):
        study.headers.clear()
        study.times.clear()
        return
    if quiet:
        markers.fold(folder, uids)  # touches the folder, so that it settles at another look
        study.stamp = (folder.stat().st_mtime_ns, now)
    study.look_at = now + _SAME_TICK_SECONDS + _BATCH_SECONDS


def _stack(candidate: Group, decision: Decision) -> EchoStack:
    stack = candidate.partial if decision.partial else candidate.stack
    if stack is None:
        raise NodeError(f"group {candidate.group_id} is {candidate.status} and has no stack")
    return stack
