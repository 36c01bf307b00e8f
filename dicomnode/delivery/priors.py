"""Looks, once before a report is made, for earlier results of its patient: here, in a site's table, in archives.

Nothing of it holds a study back: who does not answer within the time that all have together is left out, by name.
"""

from __future__ import annotations

import contextlib
import time
from threading import Thread
from typing import TYPE_CHECKING

from dicomnode import events, logs
from dicomnode.delivery.archive import Archive, Question, TooLate
from dicomnode.errors import InputError, NodeError, NotAllowed, NotOffered, StepError, StorageError, Unreachable
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs import priors
from dicomnode.report import reading
from dicomnode.trend import table, values
from dicomnode.trend.values import Priors, Silence, Unasked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pydicom import Dataset

    from dicomnode.config import Settings
    from dicomnode.jobs.priors import Whose
    from dicomnode.report.findings import Patient
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool
    from dicomnode.trend.values import Point

NODE, TABLE = "node", "table"


class NotConfigured(InputError):
    """It is the name of no destination any more."""


class NotAskable(InputError):
    """The identifier of the patient holds characters that would ask for other patients, too."""


_WHY: tuple[tuple[type[Exception], Silence], ...] = (
    (TooLate, Silence.TOO_LATE),
    (NotConfigured, Silence.NOT_CONFIGURED),
    (NotAskable, Silence.NO_PATIENT),
    (Unreachable, Silence.UNREACHABLE),
    (NotAllowed, Silence.NOT_ALLOWED),
    (NotOffered, Silence.NOT_OFFERED),
    (InputError, Silence.UNREADABLE),
    (StepError, Silence.UNREADABLE),
    (StorageError, Silence.UNREADABLE),
    (NodeError, Silence.NO_ANSWER),
)


class LookBack:
    """Called with a job whose report is about to be made; ``archives`` are those that can be asked, by kind."""

    def __init__(
        self, spool: Spool, settings: Settings, archives: Mapping[str, Archive], say: events.Sink = logs.write
    ) -> None:
        self._spool = spool
        self._settings = settings
        self._archives = archives
        self._say = say

    def use(self, settings: Settings) -> None:
        """Look, from the next report on, where these settings say."""
        self._settings = settings

    def __call__(self, job: Job) -> None:
        """Write down what was measured earlier, unless that was done before; raises StorageError where it cannot."""
        trend = self._settings.trend
        if priors.are_known(job) or not (trend.own or trend.table or trend.ask):
            return
        found = self._found(job)
        priors.keep(job, found)
        study_uid = manifests.study_of(job)
        for one in found.unasked:
            self._say(events.PriorsNotAsked(study_uid, job.key, one.where, one.why.value))
        self._say(events.PriorsRead(study_uid, job.key, len(found.points)))

    def _found(self, job: Job) -> Priors:
        try:
            whose = priors.whose(self._spool, job)
        except NodeError:
            return Priors(unasked=(Unasked(NODE, Silence.UNREADABLE),))
        if not whose.patient.id:
            return Priors(unasked=(Unasked(NODE, Silence.NO_PATIENT),))
        if not whose.study.date:
            return Priors(unasked=(Unasked(NODE, Silence.NO_DATE),))
        points: list[Point] = []
        unasked: list[Unasked] = []
        for where, look in self._places(whose):
            try:
                points += look()
            except Exception as fault:  # noqa: BLE001  the edge of a question: no study waits for its answer
                unasked.append(Unasked(where, self._why(job, where, fault)))
        return Priors(values.before(points, whose.organ.name, whose.study.date, whose.study.time), tuple(unasked))

    def _why(self, job: Job, where: str, fault: Exception) -> Silence:
        found = next((why for kind, why in _WHY if isinstance(fault, kind)), Silence.FAILED)
        if found is Silence.FAILED:
            self._say(events.PriorsFailed(job.key, where, fault))
        return found

    def _places(self, whose: Whose) -> Iterator[tuple[str, Callable[[], Iterable[Point]]]]:
        trend = self._settings.trend
        if trend.own:
            yield NODE, lambda: list(priors.own(self._spool, whose))
        if trend.table is not None:
            path = trend.table
            yield TABLE, lambda: of_table(table.read(path), whose.patient)
        until = time.monotonic() + trend.ask_seconds
        for name in trend.ask:
            yield name, lambda name=name: self._archived(name, whose, until)  # type: ignore[misc]

    def _archived(self, name: str, whose: Whose, until: float) -> list[Point]:
        destination = next((one for one in self._settings.destination if one.name == name), None)
        if destination is None:
            raise NotConfigured
        question = Question(whose.patient.id, whose.study.uid, whose.study.date, until)
        if not question.can_be_asked:
            raise NotAskable
        archive = self._archives[destination.kind]
        return of_reports(in_time(lambda: archive.earlier(destination, question), question), whose.patient)


def of_table(known: table.Table, patient: Patient) -> list[Point]:
    """What a table says of a patient."""
    return list(known.of(patient.id, patient.issuer.name))


def of_reports(reports: Iterable[Dataset], patient: Patient) -> list[Point]:
    """What reports of ours say of a patient.

    What others made, is of others, was replaced or holds nothing that can be placed in time says nothing.
    """
    ours = [one for one in reports if reading.is_ours(one) and priors.is_report_of(patient, one)]
    replaced = {uid for one in ours for uid in reading.replaced(one)}
    found = []
    for one in ours:
        if str(one.SOPInstanceUID) not in replaced:
            with contextlib.suppress(StepError):
                found.append(reading.point(one))
    return found


def in_time(asked: Callable[[], list[Dataset]], question: Question) -> list[Dataset]:
    """What is answered while there is time, whatever a peer or a name server does; raises what it raises, TooLate."""
    answered: list[list[Dataset]] = []
    faults: list[Exception] = []

    def run() -> None:
        try:
            answered.append(asked())
        except Exception as fault:  # noqa: BLE001  raised again by who waits
            faults.append(fault)

    thread = Thread(target=run, name="priors", daemon=True)
    thread.start()
    thread.join(question.seconds)
    if faults:
        raise faults[0]
    if not answered:
        raise TooLate
    return answered[0]
