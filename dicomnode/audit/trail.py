"""A sink of events that tells an audit repository of those it has to know: nothing waits for it, nothing is lost."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicomnode import events, logs
from dicomnode.audit import message as audit
from dicomnode.audit.message import Message, Outcome, Participant, Query, Study
from dicomnode.audit.syslog import Datagrams, File, Repository, Stream, line
from dicomnode.errors import NodeError
from dicomnode.store.outbox import NotTaken, Outbox

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dicomnode.config import AuditSettings, DestinationSettings, Settings
    from dicomnode.tls import Certificates

_TRY_AGAIN_SECONDS = 30.0
_PROGRAM = "dicomnode"
_SECURITY = ("[tls]", "[receive]", "[[scanner]]", "[web]", "[audit]")  # tables of which a change is an alert


class Trail:
    """Writes down what happened before it returns, and sends it from a thread of its own, for as long as it takes.

    ``study_of`` tells what is known of a study: accession number and, where the configuration wants it, the patient's
    number. What could not be sent yet lies in ``folder``, one file a message.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        certificates: Certificates,
        *,
        study_of: Callable[[str], Study],
        say: events.Sink = logs.write,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ae_title, self._host = settings.node.ae_title, socket.gethostname()
        self._folder = folder
        self._certificates = certificates
        self._study_of = study_of
        self._say = say
        self._clock = clock
        self._settings = settings.audit
        self._destinations = _by_name(settings)
        self._wanted = self._reached = _repository(settings.audit, certificates)  # reached: by the outbox's thread
        self._outbox = None if self._wanted is None else self._made()

    def use(self, settings: Settings) -> None:
        """Name other destinations, and send elsewhere, from the next message on; what is not sent yet goes there, too.

        Where recording ends, or begins, that is the last message, or the first.
        """
        self._destinations = _by_name(settings)
        self._certificates.use(settings.tls)
        if settings.audit == self._settings:
            return
        self._settings = settings.audit
        wanted = _repository(settings.audit, self._certificates)
        if wanted is None:
            self._end()
            return
        self._wanted = wanted
        if self._outbox is not None:
            self._outbox.hurry()
        else:
            self._outbox = self._made()
            self._outbox.start()
            self._put(self._recording(audit.RECORDING_STARTED), "audit_recording_started")

    def __call__(self, event: events.Event) -> None:
        """Note an event that an audit repository has to know of."""
        told = None if self._outbox is None else self._told(event)
        if told is not None:
            self._put(told, event.name)

    def start(self) -> None:
        """Begin to send, first what an earlier run has left."""
        if self._outbox is not None:
            self._outbox.start()

    def stop(self) -> None:
        """Send what there is, if the repository takes it; the rest is sent by the next run."""
        outbox, self._outbox = self._outbox, None
        if outbox is not None:
            outbox.stop()
        if self._reached is not None:
            self._reached.close()

    # ---- how it is sent

    def _made(self) -> Outbox:
        away = events.AuditAway
        return Outbox(self._folder, self._take, lambda why: self._say(away(why)), pause_seconds=_TRY_AGAIN_SECONDS)

    def _put(self, told: Message, about: str) -> None:
        when, outbox = self._clock(), self._outbox
        if outbox is None:
            return  # recording ended at this moment
        try:
            outbox.put(line(told.xml(when, self._ae_title), when, self._host, _PROGRAM))
        except (OSError, NodeError) as fault:
            self._say(events.AuditLost(about, str(fault)))

    def _take(self, message: bytes) -> None:
        """Send one message where messages go now; raises NotTaken."""
        wanted = self._wanted
        if self._reached is not wanted and self._reached is not None:
            self._reached.close()
        self._reached = wanted
        if wanted is None:
            raise NotTaken("[audit] names no repository")
        wanted.take(message)

    def _end(self) -> None:
        """Record nothing more; what its repository does not take now is sent where recording begins again."""
        self._put(self._recording(audit.RECORDING_STOPPED), "audit_recording_stopped")
        self.stop()
        self._wanted = self._reached = None

    def _recording(self, kind: audit.Code) -> Message:
        return Message(audit.SECURITY_ALERT, "E", Outcome.SUCCESS, [self._own(requestor=True)], kind)

    # ---- what is told

    def _told(self, event: events.Event) -> Message | None:
        makers: dict[type[events.Event], Callable[[Any], Message | None]] = {
            events.Started: lambda _: self._activity(audit.START),
            events.Stopped: lambda _: self._activity(audit.STOP),
            events.AssociationReleased: self._received,
            events.AssociationLost: self._received,
            events.FilesTaken: self._imported,
            events.AssociationRejected: lambda event: self._alert(event.calling, event.peer, event.reason),
            events.ConnectionFailed: self._unproven,
            events.ConfigurationRead: self._configured,
            events.Queried: self._queried,
            events.StudyShown: self._shown,
            events.DeliveryBegun: self._begun,
            events.DeliveryEnded: self._ended,
            events.StudyRemoved: self._removed,
            events.Ordered: self._ordered,
            events.Reprocessed: self._reprocessed,
            events.LoggedIn: lambda event: self._known(event, audit.LOGIN),
            events.LoggedOut: lambda event: self._known(event, audit.LOGOUT),
            events.LogInRefused: self._unknown,
        }
        make = makers.get(type(event))
        if make is None or getattr(event, "study", None) == "":  # an association that brought nothing
            return None
        return make(event)

    def _activity(self, kind: audit.Code) -> Message:
        return Message(audit.APPLICATION_ACTIVITY, "E", Outcome.SUCCESS, [self._own()], kind)

    def _received(self, event: events.AssociationReleased | events.AssociationLost) -> Message:
        lost = isinstance(event, events.AssociationLost)
        scanner = Participant(event.calling, audit.SOURCE, event.calling, event.peer, requestor=True)
        study = _counted(self._study_of(event.study), event.instances)
        outcome = Outcome.MINOR_FAILURE if lost else Outcome.SUCCESS
        why = event.reason if isinstance(event, events.AssociationLost) else ""
        return Message(
            audit.TRANSFERRED, "C", outcome, [scanner, self._own(audit.DESTINATION)], study=study, description=why
        )

    def _imported(self, event: events.FilesTaken) -> Message:
        study = _counted(self._study_of(event.study), event.instances)
        media = Participant("drop", audit.SOURCE_MEDIA, media=audit.URI)
        own = self._own(audit.DESTINATION, requestor=True)
        return Message(audit.IMPORT, "C", Outcome.SUCCESS, [own, media], study=study)

    def _begun(self, event: events.DeliveryBegun) -> Message | None:
        if not self._gets_objects(event.destination):
            return None  # an export is told when it has ended
        study = _counted(self._study_of(event.study), event.objects)
        return Message(audit.BEGIN_TRANSFERRING, "E", Outcome.SUCCESS, self._ends(event.destination), study=study)

    def _ended(self, event: events.DeliveryEnded) -> Message | None:
        if event.status == "replaced":
            return None  # nothing was sent
        outcome = Outcome.SUCCESS if event.status == "delivered" else Outcome.SERIOUS_FAILURE
        if not self._gets_objects(event.destination):
            return self._exported(event, outcome)
        study = _counted(self._study_of(event.study), event.objects)
        return Message(audit.TRANSFERRED, "C", outcome, self._ends(event.destination), study=study)

    def _exported(self, event: events.DeliveryEnded, outcome: Outcome) -> Message:
        """What is measured, told to a record of patients: no DICOM instances go there."""
        known = self._destinations[event.destination]
        to = Participant(event.destination, audit.DESTINATION_MEDIA, address=known.address, media=audit.URI)
        participants = [self._own(audit.SOURCE, requestor=True), to]
        return Message(audit.EXPORT, "R", outcome, participants, study=self._study_of(event.study))

    def _gets_objects(self, name: str) -> bool:
        known = self._destinations.get(name)
        return known is None or known.gets_objects

    def _queried(self, event: events.Queried) -> Message:
        outcome = Outcome.SUCCESS if event.answered else Outcome.SERIOUS_FAILURE
        query = Query(audit.STUDY_ROOT_FIND, _keys(event.study, event.series))
        return Message(audit.QUERY, "E", outcome, self._ends(event.destination), query=query)

    def _ends(self, name: str) -> list[Participant]:
        known = self._destinations.get(name)
        title, address = (known.ae_title, known.address) if known else (name, "")
        destination = Participant(title or name, audit.DESTINATION, title, address)
        return [self._own(audit.SOURCE, requestor=True), destination]

    def _removed(self, event: events.StudyRemoved) -> Message:
        participants = [self._own(), _person(event.by)] if event.by else [self._own()]
        study = self._study_of(event.study)
        return Message(audit.STUDY_DELETED, "D", Outcome.SUCCESS, participants, study=study, description=event.why)

    def _ordered(self, event: events.Ordered) -> Message:
        return self._used(event.study, event.by, f"processed on order although refused: {event.code}")

    def _reprocessed(self, event: events.Reprocessed) -> Message:
        what = "and sent in its place" if event.sent else "and kept beside it"
        return self._used(event.study, event.by, f"result {event.of} made again as {event.key}, {what}")

    def _used(self, study_uid: str, by: str, what: str) -> Message:
        """The nearest that A.5.3 has: a person had the instances used in another way than the rules say."""
        participants = [self._own(), _person(by)]
        study = self._study_of(study_uid)
        return Message(audit.ACCESSED, "U", Outcome.SUCCESS, participants, study=study, description=what)

    def _shown(self, event: events.StudyShown) -> Message:
        who = _person(event.by, event.peer)
        return Message(audit.ACCESSED, "R", Outcome.SUCCESS, [self._own(), who], study=self._study_of(event.study))

    def _known(self, event: events.LoggedIn | events.LoggedOut, kind: audit.Code) -> Message:
        participants = [self._own(), _person(event.by, event.peer)]
        return Message(audit.USER_AUTHENTICATION, "E", Outcome.SUCCESS, participants, kind)

    def _unknown(self, event: events.LogInRefused) -> Message:
        participants = [self._own(), _person("unknown", event.peer)]
        return Message(audit.USER_AUTHENTICATION, "E", Outcome.MINOR_FAILURE, participants, audit.LOGIN)

    def _alert(self, title: str, peer: str, reason: str) -> Message:
        return Message(
            audit.SECURITY_ALERT,
            "E",
            Outcome.SERIOUS_FAILURE,
            [self._own(), Participant(title or "unknown", audit.SOURCE, title, peer, requestor=True)],
            audit.NODE_AUTHENTICATION,
            description=reason,
        )

    def _unproven(self, event: events.ConnectionFailed) -> Message | None:
        """One that cannot prove by TLS who it is; whoever only knocks and goes, as health checks do, is none."""
        return self._alert("", event.peer, event.reason) if event.code == "tls" else None

    def _configured(self, event: events.ConfigurationRead) -> Message | None:
        """Keys that say who may do what; their values are not told."""
        changed = [key for key in event.at_once if key.startswith(_SECURITY)]
        if not changed:
            return None
        said = f"changed while the node runs: {', '.join(changed)}"
        kind, own = audit.SECURITY_CONFIGURATION, [self._own(requestor=True)]
        return Message(audit.SECURITY_ALERT, "E", Outcome.SUCCESS, own, kind, description=said)

    def _own(self, role: audit.Code = audit.APPLICATION, *, requestor: bool = False) -> Participant:
        return Participant(_PROGRAM, role, self._ae_title, self._host, requestor)


def _by_name(settings: Settings) -> Mapping[str, DestinationSettings]:
    return {one.name: one for one in settings.destination}


def _person(name: str, peer: str = "") -> Participant:
    return Participant(name, audit.PERSON, address=peer, requestor=True)


def _keys(study_uid: str, series_uid: str) -> bytes:
    """The question that ``delivery.find`` asks, in Implicit VR Little Endian."""
    question = Dataset()
    question.QueryRetrieveLevel = "IMAGE"
    question.StudyInstanceUID, question.SeriesInstanceUID, question.SOPInstanceUID = study_uid, series_uid, ""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    write_dataset(buffer, question)
    return buffer.getvalue()


def _counted(study: Study, instances: int) -> Study:
    return Study(study.uid, study.accession_number, instances, (), study.patient_id)


def _repository(settings: AuditSettings, certificates: Certificates) -> Repository | None:
    if settings.file is not None:
        return File(settings.file)
    if settings.host is None:
        return None
    if settings.transport == "udp":
        return Datagrams(settings.host, settings.port)
    return Stream(settings.host, settings.port, certificates.sending if settings.transport == "tls" else None)
