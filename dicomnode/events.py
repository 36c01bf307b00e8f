"""What happens in a node, as values: logs, and whatever else wants to know, are sinks of the same events.

The name of an event is the name of its class in lower case; its fields are UIDs, digests and reasons, never an
identity.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in one part of the node."""

    part: ClassVar[str] = "node"
    usual_level: ClassVar[Level] = "info"

    @property
    def name(self) -> str:
        """The event's name as it stands in a log."""
        return name_of(type(self))

    @property
    def level(self) -> Level:
        """How much it matters."""
        return self.usual_level

    def said(self) -> dict[str, Any]:
        """Its fields but the fault, which is a traceback."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "fault"}


def name_of(kind: type[Event]) -> str:
    """How a log names a kind of event."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


Sink = Callable[[Event], None]


def to_all(*sinks: Sink) -> Sink:
    """One sink that passes every event on to several."""

    def pass_on(event: Event) -> None:
        for sink in sinks:
            sink(event)

    return pass_on


@dataclass(frozen=True, slots=True)
class CertificateEnds(Event):
    """A certificate ends within a month, or has."""

    usual_level = "warning"
    path: str
    days: int

    @property
    def level(self) -> Level:
        """One that has ended shuts peers out."""
        return "error" if self.days < 0 else "warning"


@dataclass(frozen=True, slots=True)
class CertificateRenewed(Event):
    """A certificate was put in another's place, and is used from now on."""

    path: str


@dataclass(frozen=True, slots=True)
class CertificateNotTaken(Event):
    """What was put in a certificate's place cannot be used; the one before is used on."""

    usual_level = "error"
    reason: str


# ---- receive


@dataclass(frozen=True, slots=True)
class Listening(Event):
    """The receiver is up."""

    part = "receive"
    ae_title: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ConnectionFailed(Event):
    """A peer failed before there was an association."""

    part = "receive"
    usual_level = "warning"
    peer: str
    reason: str
    code: str = ""  # "tls": it cannot prove who it is, or speaks no TLS that is taken


@dataclass(frozen=True, slots=True)
class AssociationRejected(Event):
    """A peer was turned away."""

    part = "receive"
    usual_level = "warning"
    calling: str
    peer: str
    reason: str
    code: str = ""  # of the reason


@dataclass(frozen=True, slots=True)
class AssociationReleased(Event):
    """A peer has sent all it wanted to."""

    part = "receive"
    study: str
    instances: int
    calling: str = ""
    peer: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class AssociationLost(Event):
    """An association ended in another way than its peer's release."""

    part = "receive"
    usual_level = "warning"
    study: str
    instances: int
    calling: str = ""
    reason: str = ""
    peer: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class InstanceRefused(Event):
    """An object could not be taken in; it lies in refused/ under its digest."""

    part = "receive"
    usual_level = "warning"
    reason: str
    digest: str


@dataclass(frozen=True, slots=True)
class InstanceConflict(Event):
    """Other bytes came under a SOP Instance UID that is held."""

    part = "receive"
    usual_level = "warning"
    study: str
    instance: str
    kept_as: str


@dataclass(frozen=True, slots=True)
class StoreFailed(Event):
    """The disk refused; the object stays with its sender."""

    part = "receive"
    usual_level = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class StoreCrashed(Event):
    """A fault of ours; the object stays with its sender."""

    part = "receive"
    usual_level = "error"
    fault: BaseException


@dataclass(frozen=True, slots=True)
class CommitmentReported(Event):
    """A destination has said which objects of a result it keeps for good."""

    part = "receive"
    key: str
    destination: str
    transaction: str
    committed: int
    failed: int

    @property
    def level(self) -> Level:
        """What failed is sent again."""
        return "warning" if self.failed else "info"


@dataclass(frozen=True, slots=True)
class CommitmentUnknown(Event):
    """A peer reports on a transaction that this node did not begin, or began weeks ago."""

    part = "receive"
    usual_level = "warning"
    transaction: str
    calling: str


@dataclass(frozen=True, slots=True)
class CommitmentRefused(Event):
    """A request or a report of storage commitment cannot be understood, or is not this peer's to make."""

    part = "receive"
    usual_level = "warning"
    calling: str
    reason: str


@dataclass(frozen=True, slots=True)
class CommitmentGiven(Event):
    """A scanner has heard which of its objects are kept."""

    part = "receive"
    transaction: str
    calling: str
    committed: int
    failed: int
    status: int = 0

    @property
    def level(self) -> Level:
        """What is not here, the scanner has to send again."""
        return "warning" if self.failed or self.status else "info"


@dataclass(frozen=True, slots=True)
class CommitmentNotHeard(Event):
    """A scanner that asked for commitment could not be answered."""

    part = "receive"
    usual_level = "warning"
    transaction: str
    calling: str
    reason: str


# ---- watch


@dataclass(frozen=True, slots=True)
class SeriesJudged(Event):
    """What is thought of a series changed: ``series_waiting``, ``series_ready``, ..."""

    part = "watch"
    status: str
    study: str
    series: tuple[str, ...]
    code: str | None
    reason: str | None
    key: str | None
    advice: str = ""  # what to change at the scanner

    @property
    def level(self) -> Level:
        """That a series is on its way is nothing to know of."""
        return "debug" if self.code == "arriving" else "info"

    @property
    def name(self) -> str:
        """Tell the verdicts apart."""
        return f"series_{self.status}"

    def said(self) -> dict[str, Any]:
        """Its fields; the status is in the name."""
        return {"study": self.study, "series": list(self.series), "code": self.code, "reason": self.reason} | {
            "key": self.key,
            "advice": self.advice or None,
        }


@dataclass(frozen=True, slots=True)
class DrawingJudged(Event):
    """A drawing on a result came back: ``drawing_ready`` or ``drawing_refused``."""

    part = "watch"
    status: str
    instance: str
    reason: str | None

    @property
    def name(self) -> str:
        """Tell the verdicts apart."""
        return f"drawing_{self.status}"

    def said(self) -> dict[str, Any]:
        """Its fields; the status is in the name."""
        return {"instance": self.instance, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class RecordDamaged(Event):
    """What was written down of a study cannot be read; it is made again."""

    part = "watch"
    usual_level = "error"
    study: str
    reason: str


@dataclass(frozen=True, slots=True)
class LookFailed(Event):
    """A study could not be looked at; the next rescan tries again."""

    part = "watch"
    usual_level = "error"
    study: str
    fault: BaseException


@dataclass(frozen=True, slots=True)
class TurnFailed(Event):
    """A turn of the watcher failed; the next one tries again."""

    part = "watch"
    usual_level = "error"
    fault: BaseException


@dataclass(frozen=True, slots=True)
class DroppedFileWaits(Event):
    """A dropped file cannot be taken in now."""

    part = "drop"
    usual_level = "error"
    reason: str | None


@dataclass(frozen=True, slots=True)
class FileRefused(Event):
    """A dropped file cannot be taken in; it lies in refused/ under its digest."""

    part = "drop"
    usual_level = "warning"
    reason: str
    digest: str


@dataclass(frozen=True, slots=True)
class FilesTaken(Event):
    """Images of a study were taken in that had been dropped as files."""

    part = "drop"
    study: str
    instances: int


# ---- jobs


@dataclass(frozen=True, slots=True)
class StepDone(Event):
    """A step of a job came to its end."""

    usual_level = "debug"
    key: str
    step: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ResultMade(Event):
    """A result is written; its status says whether it holds a number."""

    study: str
    key: str
    status: str
    code: str | None
    flags: tuple[str, ...]  # codes, of every region
    objects: int
    seconds: float  # since the job was made

    def said(self) -> dict[str, Any]:
        """Its fields, with the flags as a list."""
        return {**Event.said(self), "flags": list(self.flags)}


@dataclass(frozen=True, slots=True)
class PriorsRead(Event):
    """Earlier results of a patient were looked for, before the report is made."""

    usual_level = "debug"
    study: str
    key: str
    found: int


@dataclass(frozen=True, slots=True)
class PriorsNotAsked(Event):
    """Somebody who could know earlier results was not heard; the report says so, and goes without."""

    usual_level = "warning"
    study: str
    key: str
    destination: str  # its name, "node" or "table"
    code: str


@dataclass(frozen=True, slots=True)
class PriorsFailed(Event):
    """A fault of this software while it looked for earlier results."""

    usual_level = "error"
    key: str
    destination: str
    fault: BaseException


@dataclass(frozen=True, slots=True)
class JobEnded(Event):
    """Nothing more becomes of a result unless a person asks."""

    study: str
    key: str
    status: str
    reason: str | None
    code: str | None = None  # of the reason, where it is a refusal

    @property
    def level(self) -> Level:
        """A result that is not everywhere is an error."""
        return "error" if self.status == "failed" else "info"


@dataclass(frozen=True, slots=True)
class Leading(Event):
    """Of the processes that share a folder, this one decides from now on what is complete."""

    folder: str


@dataclass(frozen=True, slots=True)
class QueueUnreachable(Event):
    """The queue's database does not answer; images are taken in, and their work begins when it does."""

    usual_level = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class DatabaseSetAside(Event):
    """The queue's database was damaged; a new one is filled from the files, the old one is kept under another name."""

    usual_level = "error"
    kept_as: str
    reason: str


@dataclass(frozen=True, slots=True)
class NotTidied(Event):
    """What a result need not keep could not be removed; it stays, and is tried again at the next start."""

    usual_level = "warning"
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class DiskFull(Event):
    """The disk is full; what met it waits, and goes on by itself."""

    usual_level = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class ScannerChanged(Event):
    """A phantom's scan lies beyond the limits of its scanner's control chart, or many have moved to one side."""

    part = "quality"
    usual_level = "warning"
    key: str  # of the result
    scanner: str  # as its page is called: a digest
    chart: str  # "r2star", "vial-3", "snr", ...
    code: str  # "outside", "step", "drift"
    change: float  # from the baseline, in the unit of the chart


@dataclass(frozen=True, slots=True)
class QualityNotKept(Event):
    """What a result says of its scanner could not be written down; it is tried again."""

    part = "quality"
    usual_level = "warning"
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class StepDied(Event):
    """A step broke its process or its limits; it is tried again, alone."""

    usual_level = "error"
    key: str
    step: str
    death: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class JobFailed(Event):
    """A job came to a bad end."""

    usual_level = "error"
    key: str
    step: str
    reason: str
    fault: BaseException
    study: str = ""


@dataclass(frozen=True, slots=True)
class JobNotTakenUp(Event):
    """A job's files cannot be understood; the others go on."""

    usual_level = "error"
    key: str
    fault: BaseException


@dataclass(frozen=True, slots=True)
class LeftToNewer(Event):
    """A newer version of the software began a job; it waits for that, here or on another machine."""

    usual_level = "warning"
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class RoundFailed(Event):
    """Looking for what was left behind failed; the next round tries again."""

    usual_level = "error"
    fault: BaseException


@dataclass(frozen=True, slots=True)
class StudyRemoved(Event):
    """Something of a study is no longer kept: its "originals", its "objects" or its "records".

    ``by`` is the account of who wanted that; empty where a rule did.
    """

    study: str
    kind: str
    why: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class PurgeRefused(Event):
    """A study that a person wants removed is still needed."""

    usual_level = "error"
    study: str
    reason: str


@dataclass(frozen=True, slots=True)
class RequestFailed(Event):
    """What an operator asked for cannot be done."""

    usual_level = "error"
    request: str
    fault: BaseException


@dataclass(frozen=True, slots=True)
class Asked(Event):
    """A person asked for something, and it was done; ``by`` is the name of an account, never of a patient."""

    part = "people"
    what: str
    by: str
    keys: tuple[str, ...]
    studies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RequestRefused(Event):
    """What a person asked for cannot be done as things are."""

    part = "people"
    usual_level = "warning"
    what: str
    by: str
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Reprocessed(Event):
    """A person has a result made again, beside the one ``of``; it is sent or not."""

    part = "people"
    study: str
    key: str
    of: str
    by: str
    sent: bool


@dataclass(frozen=True, slots=True)
class Ordered(Event):
    """A person wants a series processed that was refused, and the code of what was overruled."""

    part = "people"
    study: str
    group: str
    by: str
    code: str


@dataclass(frozen=True, slots=True)
class WorkflowTakenUp(Event):
    """The queue's database says that this runs, and it does not: it is started again."""

    part = "engine"
    usual_level = "warning"
    workflow: str


@dataclass(frozen=True, slots=True)
class SeriesFailed(Event):
    """``dicomnode process`` met a fault of ours in a series; the others go on."""

    part = "process"
    usual_level = "error"
    series: tuple[str, ...]
    fault: BaseException


# ---- deliver


@dataclass(frozen=True, slots=True)
class PagesGoUncompressed(Event):
    """Pages should have been compressed for a destination, and are sent as they are."""

    part = "send"
    usual_level = "warning"
    destination: str
    wanted: str
    why: str


@dataclass(frozen=True, slots=True)
class ObjectRefused(Event):
    """A destination refuses an object for good."""

    part = "deliver"
    usual_level = "error"
    instance: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class CommitmentAsked(Event):
    """A destination that has every object of a result is asked whether it keeps them for good."""

    part = "deliver"
    key: str
    destination: str
    transaction: str
    objects: int


@dataclass(frozen=True, slots=True)
class ServiceNotOffered(Event):
    """A destination does not offer a service that is configured for it; said once."""

    part = "deliver"
    usual_level = "error"
    destination: str
    reason: str


@dataclass(frozen=True, slots=True)
class AwaitingCommitment(Event):
    """A destination has not said yet that it keeps a result for good."""

    part = "deliver"
    key: str
    destination: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ObjectMissing(Event):
    """A destination does not have an object that it took, or does not keep it; it is sent again."""

    part = "deliver"
    usual_level = "error"
    instance: str
    destination: str
    reason: str


@dataclass(frozen=True, slots=True)
class Queried(Event):
    """A destination was asked by C-FIND which instances of a series it has."""

    part = "deliver"
    usual_level = "debug"
    study: str
    series: str
    destination: str
    answered: bool


@dataclass(frozen=True, slots=True)
class DeliveryDelayed(Event):
    """A destination did not take all of a result; it is tried again."""

    part = "deliver"
    usual_level = "warning"
    key: str
    destination: str
    attempt: int
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class DeliveryCrashed(Event):
    """A fault of ours; the delivery is tried again."""

    part = "deliver"
    usual_level = "error"
    key: str
    destination: str
    attempt: int
    fault: BaseException


@dataclass(frozen=True, slots=True)
class DeliveryBegun(Event):
    """Objects are on their way to a destination."""

    part = "deliver"
    usual_level = "debug"
    key: str
    destination: str
    objects: int
    study: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryEnded(Event):
    """A destination has a result, or never will."""

    part = "deliver"
    key: str
    destination: str
    status: str
    objects: int
    study: str = ""
    seconds: float = 0.0  # since the first attempt

    @property
    def level(self) -> Level:
        """A result that did not arrive is an error, unless the one that replaces it is there."""
        return "info" if self.status in {"delivered", "replaced"} else "error"


# ---- audit


@dataclass(frozen=True, slots=True)
class AuditAway(Event):
    """The audit repository takes nothing; messages are kept and sent when it does."""

    part = "audit"
    usual_level = "warning"
    reason: str


@dataclass(frozen=True, slots=True)
class AuditLost(Event):
    """An audit message could not be written down, and so will not be sent."""

    part = "audit"
    usual_level = "error"
    about: str
    reason: str


@dataclass(frozen=True, slots=True)
class NoticeDelayed(Event):
    """Nobody takes notices for people; they are kept and sent when somebody does."""

    part = "notify"
    usual_level = "warning"
    reason: str


@dataclass(frozen=True, slots=True)
class NoticeLost(Event):
    """A notice could not be written down, and so will not be sent."""

    part = "notify"
    usual_level = "error"
    about: str
    reason: str


# ---- web


@dataclass(frozen=True, slots=True)
class PageOpened(Event):
    """The web page can be asked for."""

    part = "web"
    address: str


@dataclass(frozen=True, slots=True)
class PageFailed(Event):
    """There is no web page for now; the node goes on without it."""

    part = "web"
    usual_level = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class PageBroke(Event):
    """A fault of ours while a page was made."""

    part = "web"
    usual_level = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class LoggedIn(Event):
    """Somebody logged in on the web page; ``by`` is the name of an account."""

    part = "web"
    by: str
    peer: str


@dataclass(frozen=True, slots=True)
class LoggedOut(Event):
    """Somebody ended a session on the web page; ``by`` is the name of an account."""

    part = "web"
    by: str
    peer: str


@dataclass(frozen=True, slots=True)
class StudyShown(Event):
    """Somebody was shown the page of a study; ``by`` is the name of an account."""

    part = "web"
    usual_level = "debug"
    study: str
    by: str
    peer: str


@dataclass(frozen=True, slots=True)
class LogInRefused(Event):
    """A name and a password do not belong together, or too many were tried."""

    part = "web"
    usual_level = "warning"
    reason: str
    peer: str


# ---- node


@dataclass(frozen=True, slots=True)
class ConfigurationRead(Event):
    """The configuration was read again: which keys hold at once, and which do after a restart."""

    at_once: tuple[str, ...]
    after_restart: tuple[str, ...]

    @property
    def level(self) -> Level:
        """What does not hold yet should be seen."""
        return "warning" if self.after_restart else "info"


@dataclass(frozen=True, slots=True)
class ConfigurationNotTaken(Event):
    """The configuration was read again and cannot be used; the one before is used on."""

    usual_level = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class Stuck(Event):
    """Parts of the node do not turn any more; systemd starts it anew where its watchdog is on."""

    usual_level = "error"
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Started(Event):
    """Every part is up."""

    version: str
    folder: str


@dataclass(frozen=True, slots=True)
class Stopped(Event):
    """Every part is down."""
