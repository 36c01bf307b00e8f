"""Has a result made again from the images that are kept: by the node where it runs, else here."""

from __future__ import annotations

import contextlib
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dicomnode
from dicomnode import events, logs
from dicomnode.config import changed
from dicomnode.errors import InputError, NodeError, StorageError
from dicomnode.jobs import again, comparison, lifecycle, pipeline, remake
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs.children import Children, Limits
from dicomnode.jobs.engine import Standing
from dicomnode.jobs.lifecycle import JobStatus
from dicomnode.jobs.recovery import Recovery
from dicomnode.jobs.steps import Steps
from dicomnode.operate import requests, status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dicomnode.config import Settings
    from dicomnode.jobs.manifest import Manifest
    from dicomnode.model import EchoStack
    from dicomnode.operate.requests import Reprocess
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool

_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    key: str
    status: str
    reason: str | None
    comparison: dict[str, Any] | None  # None where it came to no result

    @property
    def is_made(self) -> bool:
        """Whether there is a result."""
        return self.comparison is not None


def key_of(spool: Spool, identifier: str) -> str:
    """The one result that a person means; raises InputError where there are several, or none."""
    found = [one for one in status.find(spool, identifier) if one["key"] and one["group"] is not None]
    named = [one for one in found if one["key"] == identifier] or [one for one in found if one["status"] != "kept"]
    keys = [str(one["key"]) for one in named]
    if not keys:
        raise InputError(f"there is no result of {identifier} that could be made again")
    if len(keys) > 1:
        raise InputError(f"{identifier} has {len(keys)} results; name one of them: {', '.join(keys)}")
    return keys[0]


def reprocess(
    spool: Spool, settings: Settings, asked: Reprocess, progress: Callable[[str], None], name: str | None = None
) -> Outcome:
    """Have a result made again and wait for it; what is begun is finished also when nobody waits any more.

    ``name`` is what the request goes by: asked twice by one name, it is done once.

    Raises InputError where it cannot be made again, ConfigError where a change is none.
    """
    if not _is_begun(spool, asked.key, name):
        requests.check_reprocess(spool, settings, asked)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(spool.lock())
            is_alone = not settings.is_shared()
        except StorageError:
            is_alone = False
        if is_alone:
            progress("no node runs here: it is made by this command")
            key = _here(spool, settings, asked, name or uuid.uuid4().hex)
        else:
            progress("the node makes it, also when you do not wait for it")
            key = _by_the_node(spool, asked, name or uuid.uuid4().hex)
    return outcome(spool.job(key))


def _is_begun(spool: Spool, key: str, name: str | None) -> bool:
    """Whether a request of that name was taken before, and what it asked for is only to be finished."""
    known = again.of_study(spool, manifests.study_of(spool.job(key)))
    return name is not None and any(one.request == name for one in known.values())


def outcome(job: Job) -> Outcome:
    """What came of a result that was made again."""
    state = lifecycle.state(job)
    made = job.read(comparison.FILE) if job.outputs is not None else None
    return Outcome(job.key, state.status.value, state.reason, made)


def _by_the_node(spool: Spool, asked: Reprocess, name: str) -> str:
    """Leave a request, and wait until the node has answered it and the result is there, or is not."""
    study_uid = manifests.study_of(spool.job(asked.key))
    request = requests.ask_to_reprocess(spool, asked, name)
    while request.exists():
        time.sleep(_LOOK_SECONDS)
    known = again.of_study(spool, study_uid)
    kept = next((key for key, one in known.items() if one.request == name), None)
    if kept is None:
        kept = next((key for key, one in known.items() if one.of == asked.key and asked.sends and one.sent), None)
    if kept is None:
        raise NodeError("the node has not taken it: its log says why (request_refused, request_failed)")
    job = spool.job(kept)
    while not lifecycle.state(job).status.is_end and job.outputs is None:
        time.sleep(_LOOK_SECONDS)
    return kept


def _here(spool: Spool, settings: Settings, asked: Reprocess, name: str) -> str:
    """Do what the node would, in processes of its own; the next node sends what is to be sent."""

    def made(key: str, changes: Mapping[str, str]) -> tuple[Manifest, EchoStack]:
        return remake.manifest(spool, key, changed(settings, changes), dicomnode.__version__)

    recovery = Recovery(
        spool,
        _NoQueue(),
        _Nowhere(),
        settings.report,
        look_at=lambda _: None,
        rules_of=settings.grouping_of,
        remake=made,
    )
    key = recovery.reprocess(asked.key, asked.changes, asked.by, name, sends=asked.sends)
    if lifecycle.state(spool.job(key)).status is JobStatus.QUEUED:
        _run(spool, settings, key)
    return key


def _run(spool: Spool, settings: Settings, key: str) -> None:
    """Every step of a job, in a child as in the node; how it ended stands in its files."""
    fit = settings.fit
    children = Children(1, pipeline.prepare, Limits(fit.step_seconds, fit.step_memory_mb), warm=1)
    steps = Steps(spool, children, deaths_allowed=fit.deaths_allowed, settle=lambda _: None, say=_say)
    children.start()
    try:
        for name, step in steps.table():
            try:
                step(key)
            except Exception as fault:  # noqa: BLE001  the edge of a job, as in the engine
                steps.failed(key, name, fault)
                return
    finally:
        children.stop()


def _say(event: events.Event) -> None:
    """On standard error what matters; that a step is done is seen."""
    if event.level != "info":
        logs.write(event)


class _NoQueue:
    """Keeps nothing: the files say what is to be done, and the next node puts it in."""

    def process(self, key: str, run: int = 0, *, quick: bool = False, version: int = 1) -> None:
        """Leave it to whoever called."""

    def process_standing(self, key: str, run: int) -> Standing:  # noqa: ARG002
        """Nothing is known here."""
        return Standing.UNKNOWN

    def deliver(self, key: str, destination: str, attempt: int, delay_seconds: float = 0.0) -> None:
        """Leave it to the next node."""

    def deliver_now(self, key: str, destination: str, attempt: int) -> None:
        """Leave it to the next node."""

    def next_attempt(self, key: str, destination: str, attempt: int) -> int:  # noqa: ARG002
        """As it was."""
        return attempt

    def remember_pause(self, key: str, destination: str, attempt: int, delay_seconds: float) -> None:
        """Nothing pauses here."""

    def end_pauses(self) -> None:
        """Nothing pauses here."""

    def take_over(self, is_dead: object) -> None:
        """Nobody is here."""

    def take_up_lost(self) -> None:
        """Nothing is lost here."""


class _Nowhere:
    """Sends nothing: the next node does."""

    def names(self) -> list[str]:
        """None."""
        return []

    def settle(self, job: Job) -> None:
        """Leave a job as it is."""

    def longest_pause(self, name: str) -> float:  # noqa: ARG002
        """None."""
        return 0.0

    def forget_absence(self, name: str) -> None:
        """Nothing is known of anybody."""
