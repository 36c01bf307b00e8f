"""Runs the steps of a job in child processes and says how they end."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from dicomnode import events, logs
from dicomnode.errors import InputError, NodeError, Refused, StepError
from dicomnode.jobs import again, lifecycle, pipeline, quality, tidy
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs.children import ChildDied, TooLarge, TooLong
from dicomnode.jobs.lifecycle import JobStatus
from dicomnode.jobs.space import Space, Stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool

    RunStep = Callable[[str, str, str], None]

_DOING = {"fit": JobStatus.FITTING, "measure": JobStatus.MEASURING, "report": JobStatus.REPORTING}


class Overtaken(StepError):
    """Another result has taken the place of the job, or a person has removed it."""


def _is_over(job: Job) -> bool:
    return not manifests.exists(job) or lifecycle.state(job).status is JobStatus.OVERTAKEN


def _go_on(job: Job) -> None:
    if _is_over(job):
        raise Overtaken


class Runner(Protocol):
    """What runs a step elsewhere: ``Children``."""

    def run(self, step: Callable[..., None], *arguments: object, alone: bool = False) -> None:
        """Run a step and wait for it; raises what it raised, or ChildDied, TooLong, TooLarge."""

    def ready(self) -> int:
        """How many steps could begin at once."""


class Steps:
    """The steps of every job; ``settle`` is told when a job has its outputs.

    ``look_back`` writes down, before the report is made, what was measured of the patient earlier.
    """

    def __init__(
        self,
        spool: Spool,
        children: Runner,
        *,
        deaths_allowed: int,
        settle: Callable[[Job], None],
        look_back: Callable[[Job], None] = lambda _job: None,
        run_step: RunStep = pipeline.run_step,
        space: Space | None = None,
        say: events.Sink = logs.write,
    ) -> None:
        self._spool = spool
        self._space = space or Space(spool.folder, say)
        self._children = children
        self._deaths_allowed = deaths_allowed
        self._settle = settle
        self._look_back = look_back
        self._run_step = run_step
        self._say = say
        self._spent: dict[str, float] = {}  # seconds, by job

    def table(self) -> tuple[tuple[str, Callable[[str], None]], ...]:
        """Name and function of each, in order; a function is given the key of a job."""
        return tuple((name, self._step(name)) for name in pipeline.STEPS)

    def failed(self, key: str, step: str, fault: Exception) -> None:
        """Say that a step of a job came to a bad end."""
        reason = str(fault) if isinstance(fault, NodeError) else f"{type(fault).__name__}: {fault}"
        job = self._spool.job(key)
        if isinstance(fault, Stopping) or _is_over(job) or job.outputs is not None:
            return  # nothing is wrong with the job; its outputs may be the work of another machine
        study_uid = manifests.study_of(job)
        if isinstance(fault, Refused) or (isinstance(fault, InputError) and manifests.read(job).drawing):
            code = fault.code if isinstance(fault, Refused) else None
            after = lifecycle.say(job, JobStatus.REFUSED, reason, code=code)
        else:
            code = None
            after = lifecycle.say(job, JobStatus.FAILED, f"{step}: {reason}")
            self._say(events.JobFailed(key, step, reason, fault, study_uid))
        self._spent.pop(key, None)
        self._say(events.JobEnded(study_uid, key, after.status.value, after.reason, code))

    def _step(self, name: str) -> Callable[[str], None]:
        def step(key: str) -> None:
            self._space.patiently(lambda: whole(key))

        def whole(key: str) -> None:
            job = self._spool.job(key)
            _go_on(job)
            lifecycle.say(job, _DOING[name])
            begin = time.monotonic()
            if name == "report":
                self._look_back(job)
                self._at_once(key, pipeline.PARTS)
            self._run(key, name)
            _go_on(job)
            seconds = round(time.monotonic() - begin, 3)
            self._say(events.StepDone(key, name, seconds))
            self._spent[key] = self._spent.get(key, 0.0) + seconds
            if name == pipeline.STEPS[-1]:
                self._say(self._made(job))
                self._note(job)
                self._end(job)

        return step

    def _note(self, job: Job) -> None:
        """Keep what the result says of its scanner; what fails is put in later, and holds up nothing."""
        try:
            for event in quality.note(self._spool, job):
                self._say(event)
        except Exception as fault:  # noqa: BLE001  the result is there, whatever becomes of its row
            self._say(events.QualityNotKept(job.key, f"{type(fault).__name__}: {fault}"))

    def _end(self, job: Job) -> None:
        """Let a result go, or stay where nobody has asked to send it."""
        if not again.is_kept_here(self._spool, job):
            lifecycle.say(job, JobStatus.DELIVERING)
            self._settle(job)  # where there is no destination, or all have it already
            return
        lifecycle.say(job, JobStatus.KEPT)
        self._say(events.JobEnded(manifests.study_of(job), job.key, JobStatus.KEPT.value, None))
        try:
            tidy.tidy(self._spool, job)
        except (NodeError, OSError) as fault:
            self._say(events.NotTidied(job.key, str(fault)))

    def _made(self, job: Job) -> events.ResultMade:
        summary = job.read("summary.json") or {}
        flags = sorted({flag["code"] for roi in summary.get("rois", ()) for flag in roi["flags"]})
        study_uid, status, code = manifests.study_of(job), summary.get("status", ""), summary.get("code")
        spent = round(self._spent.pop(job.key, 0.0), 3)
        return events.ResultMade(study_uid, job.key, status, code, tuple(flags), len(job.outputs or ()), spent)

    def _at_once(self, key: str, names: Sequence[str]) -> None:
        """Run steps that do not need each other, if there are children for all; raises what the first raised."""
        if self._children.ready() < len(names):
            return  # what is missing is made later, one after the other, sooner than a child would be free
        with ThreadPoolExecutor(len(names)) as pool:
            running = [pool.submit(self._run, key, name) for name in names]
        for one in running:
            one.result()

    def _run(self, key: str, name: str) -> None:
        """Run a step; one that breaks its limits or its process is run again alone, and given up in the end."""
        last = ""
        for death in range(1, self._deaths_allowed + 1):
            try:
                self._children.run(self._run_step, str(self._spool.folder), key, name, alone=death > 1)
            except (ChildDied, TooLong, TooLarge) as fault:
                last = str(fault)
                self._say(events.StepDied(key, name, death, last))
            else:
                return
        raise NodeError(f"given up after {self._deaths_allowed} trials, the last of them alone: {last}")
